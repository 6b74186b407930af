"""The contract of every window, kernel and discretizer, in all units in which they can stand."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import modules
import spikebridge.hybrid as hybrid
from modules import POPULATION
from spikebridge.errors import ConfigError
from spikebridge.hybrid import (
    Difference,
    Discretizer,
    Exponential,
    Gaussian,
    HybridUnit,
    Kernel,
    Mean,
    Since,
    Threshold,
    Window,
)
from spikebridge.hybrid.unit.unit import UnitState
from spikebridge.neurons import Effect, select
from spikebridge.neurons.state import tensors_of
from spikebridge.ops.precision import HALF

STEPS = 13
BATCH = 3
WIDTH = 2

WINDOWS: dict[str, Callable[[], Window | None]] = {"none": lambda: None, **modules.WINDOWS}
KERNELS: dict[str, Callable[[bool], Kernel | None]] = {"none": lambda keep: None, **modules.KERNELS}
DISCRETIZERS: dict[str, Callable[[], Discretizer | None]] = {"none": lambda: None, **modules.DISCRETIZERS}
DEFAULT = ("none", False)


def make(window: str, kernel: str, keep: bool, discretizer: str) -> HybridUnit:
    unit = HybridUnit(WINDOWS[window](), KERNELS[kernel](keep), None, DISCRETIZERS[discretizer]())
    return unit.double().eval()


def possible(window: str, kernel: str, keep: bool, discretizer: str) -> bool:
    try:
        make(window, kernel, keep, discretizer)
    except ConfigError:
        return False

    return True


EVERY_KERNEL = [(w, k, keep, "none") for w in WINDOWS for k in KERNELS for keep in (False, True)]
EVERY_DISCRETIZER = [
    (w, k, keep, q) for w in WINDOWS for k, keep in [DEFAULT, ("sum", False), ("sum", True)] for q in DISCRETIZERS
]
UNITS = [case for case in dict.fromkeys([*EVERY_KERNEL, *EVERY_DISCRETIZER]) if possible(*case)]
every_unit = pytest.mark.parametrize("case", UNITS, ids=lambda case: "-".join(map(str, case)))


def signal(seed: int = 0, steps: int = STEPS) -> Tensor:
    return torch.randn(steps, BATCH, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def flags(unit: HybridUnit, seed: int = 0) -> Tensor | None:
    if not isinstance(unit.window, Since):
        return None
    return torch.rand(STEPS, BATCH, generator=torch.Generator().manual_seed(seed)) < 0.3


def run_cut(
    unit: HybridUnit, x: Tensor, starts: Tensor | None, cuts: list[int], state: UnitState | None = None
) -> tuple[Tensor, UnitState]:
    """The unit on a signal cut at some steps."""
    pieces = []
    for start, stop in zip([0, *cuts], [*cuts, len(x)], strict=True):
        y, state = unit(x[start:stop], state, starts=None if starts is None else starts[start:stop])
        pieces.append(y)

    return torch.cat(pieces), state


def test_every_stage_has_a_case() -> None:
    exported = [getattr(hybrid, name) for name in hybrid.__all__]
    for base, cases in ((Window, modules.WINDOWS), (Kernel, modules.KERNELS), (Discretizer, modules.DISCRETIZERS)):
        classes = {one for one in exported if isinstance(one, type) and issubclass(one, base) and one is not base}
        made = {type(case(False) if base is Kernel else case()) for case in cases.values()}
        assert made == classes


def test_every_stage_stands_in_some_unit() -> None:
    for place, cases in enumerate((WINDOWS, KERNELS, None, DISCRETIZERS)):
        assert cases is None or {case[place] for case in UNITS} == set(cases)


@every_unit
def test_two_halves_and_single_steps_and_any_cut_make_the_whole(case: tuple[str, str, bool, str]) -> None:
    unit = make(*case)
    x = signal()
    starts = flags(unit)
    whole, end = unit(x, starts=starts)

    for cuts in ([6], [0, 1, 1, 5, 11, STEPS], list(range(1, STEPS))):
        cut, last = run_cut(unit, x, starts, cuts)
        torch.testing.assert_close(cut, whole, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(last, end, rtol=1e-12, atol=1e-12)


@every_unit
@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_is_float32_rounded_at_the_end(case: tuple[str, str, bool, str], dtype: torch.dtype) -> None:
    unit = make(*case).float()
    x = signal().to(dtype)
    starts = flags(unit)
    expected, _ = unit(x.float(), starts=starts)

    for cuts in ([], [6], list(range(1, STEPS))):
        y, state = run_cut(unit, x, starts, cuts)
        assert y.dtype == dtype

        # rounding in float32 may differ between a whole and its steps, by one place of the last digit afterwards
        torch.testing.assert_close(y, expected.to(dtype), rtol=2 * torch.finfo(dtype).eps, atol=1e-6)
        floats = [t for t in tensors_of(state) if t.is_floating_point()]

        assert all(t.dtype == torch.float32 for t in floats)


@every_unit
def test_a_sample_never_depends_on_its_batch_mates_nor_the_past_on_the_future(case: tuple[str, str, bool, str]) -> None:
    unit = make(*case)
    x = signal()
    starts = flags(unit)
    whole, _ = unit(x, starts=starts)
    others = signal(seed=1)
    mixed = torch.stack([x[:, 0], others[:, 1], others[:, 2]], dim=1)
    torch.testing.assert_close(unit(mixed, starts=starts)[0][:, 0], whole[:, 0], rtol=0, atol=0)

    for present in (0, 4, 9):
        past, _ = unit(x[:present], starts=None if starts is None else starts[:present])
        later, _ = unit(torch.cat([x[:present], others[present:]]), starts=starts)
        torch.testing.assert_close(later[: len(past)], past, rtol=1e-12, atol=1e-12)


@every_unit
def test_gradients_flow_and_do_not_depend_on_cuts(case: tuple[str, str, bool, str]) -> None:
    unit = make(*case)
    found = []

    for cuts in ([], [2, 5, 6]):
        x = (signal() + 0.4).requires_grad_()
        unit.zero_grad()
        y, _ = run_cut(unit, x, flags(unit), cuts)
        (y * torch.linspace(1, 2, y.numel(), dtype=y.dtype).reshape(y.shape)).sum().backward()
        found.append([x.grad, *(parameter.grad for parameter in unit.parameters())])

    whole, cut = found
    torch.testing.assert_close(cut, whole, rtol=1e-10, atol=1e-10)

    assert all(gradient.isfinite().all() for gradient in whole)
    # the difference between the steps of a held value is 0, whatever the value
    if not (case[0] == "hold" and case[1].startswith("difference")):
        assert all(gradient.abs().sum() > 0 for gradient in whole)


@every_unit
def test_samples_can_be_selected_from_any_state(case: tuple[str, str, bool, str]) -> None:
    unit = make(*case)
    x = signal()
    starts = flags(unit)
    whole, _ = unit(x, starts=starts)
    before, state = unit(x[:7], starts=None if starts is None else starts[:7])
    rest, _ = unit(x[7:, [2, 0]], select(state, [2, 0]), starts=None if starts is None else starts[7:, [2, 0]])
    torch.testing.assert_close(rest, whole[len(before) :, [2, 0]], rtol=1e-12, atol=1e-12)


@every_unit
def test_what_is_shorter_than_a_window_is_empty_never_an_error(case: tuple[str, str, bool, str]) -> None:
    unit = make(*case)
    x = signal(steps=0)
    starts = None if flags(unit) is None else torch.zeros(0, BATCH, dtype=torch.bool)
    y, state = unit(x, starts=starts)
    shape = (0, BATCH, WIDTH, POPULATION) if case[3] == "population" else (0, BATCH, WIDTH)

    assert y.shape == shape

    whole, _ = unit(signal(), state, starts=flags(unit))
    torch.testing.assert_close(whole, unit(signal(), starts=flags(unit))[0], rtol=0, atol=0)
    if unit.form == "framed" and unit.window.length > 1 and case[0] != "hold":
        assert unit(signal(steps=unit.window.length - 1))[0].shape == shape


def weights(name: str, steps: int) -> Tensor | None:
    """The response to a single 1, from the formula of a kernel; None where it has none."""
    k = torch.arange(steps, dtype=torch.float64)
    bell = torch.exp(-((k[:7] - 2) ** 2) / 2)

    return {
        "sum": torch.ones(steps, dtype=torch.float64),
        "exponential": torch.exp(-k),
        "alpha": k / 2 * torch.exp(1 - k / 2),
        "gaussian": torch.cat([bell / bell.sum(), torch.zeros(steps - 7, dtype=torch.float64)]),
        "delay": (k == 2).double(),
        "taps": torch.tensor([1 / 3] * 3 + [0.0] * (steps - 3), dtype=torch.float32).double(),
    }.get(name)


@pytest.mark.parametrize("name", [name for name in modules.KERNELS if weights(name, 10) is not None])
def test_a_kernel_is_the_convolution_that_its_formula_says(name: str) -> None:
    x = signal()
    h, _ = modules.KERNELS[name](True).double()(x)
    response = weights(name, STEPS)

    for t in range(STEPS):
        expected = sum(response[k] * x[t - k] for k in range(t + 1))
        torch.testing.assert_close(h[t], expected, rtol=1e-6, atol=1e-6)


def test_mean_and_difference_are_what_they_say() -> None:
    x = signal()
    for t in range(STEPS):
        torch.testing.assert_close(Mean()(x)[0][t], x[: t + 1].mean(0))
        torch.testing.assert_close(Difference()(x)[0][t], x[t] - x[0])
        torch.testing.assert_close(Difference(lag=2)(x)[0][t], x[t] - x[max(t - 2, 0)])


@pytest.mark.parametrize("name", modules.KERNELS)
def test_a_sample_that_restarts_goes_on_as_a_new_unit(name: str) -> None:
    unit = make("since", name, False, "none")
    x = signal()
    starts = torch.zeros(STEPS, BATCH, dtype=torch.bool)
    starts[5, 0] = starts[8, 1] = True
    y, _ = unit(x, starts=starts)
    plain, _ = unit(x, starts=torch.zeros(STEPS, dtype=torch.bool))
    torch.testing.assert_close(y[:, 2], plain[:, 2])

    for sample, start in ((0, 5), (1, 8)):
        torch.testing.assert_close(y[:start, sample], plain[:start, sample])
        fresh, _ = unit(x[start:, [sample]], starts=torch.zeros(STEPS - start, dtype=torch.bool))
        torch.testing.assert_close(y[start:, [sample]], fresh)


@pytest.mark.parametrize("name", modules.KERNELS)
def test_gradients_of_kernels_are_those_of_finite_differences(name: str) -> None:
    kernel = modules.KERNELS[name](True).double()
    x = signal(steps=6)[:, :1].requires_grad_()
    learned = dict(kernel.named_parameters())

    def run(x: Tensor, *values: Tensor) -> Tensor:
        inside = dict(zip(learned, values, strict=True))
        return torch.func.functional_call(kernel, inside, (x,))[0]

    values = [value.detach().clone().requires_grad_() for value in learned.values()]
    assert torch.autograd.gradcheck(run, (x, *values))


@pytest.mark.parametrize(
    ("name", "quantity", "value"),
    [("exponential", "tau", 0.03), ("alpha", "tau", 0.05), ("gaussian", "sigma", 0.02)],
)
def test_a_quantity_of_a_kernel_can_be_modulated_for_each_sample(name: str, quantity: str, value: float) -> None:
    kernel = modules.KERNELS[name](True).double()
    x = signal()
    factors = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).reshape(1, BATCH, 1)
    together, _ = kernel(x, **{quantity: Effect(factors, "multiply")})
    base = getattr(kernel, quantity).item()

    for sample, factor in enumerate((1.0, 2.0, 3.0)):
        setattr(kernel, quantity, base * factor)
        torch.testing.assert_close(together[:, [sample]], kernel(x[:, [sample]])[0])

    setattr(kernel, quantity, base)
    changing = torch.full((STEPS, 1, 1), value, dtype=torch.float64)
    once, _ = kernel(x, **{quantity: torch.tensor(value, dtype=torch.float64)})
    torch.testing.assert_close(kernel(x, **{quantity: changing})[0], once)

    with pytest.raises(ConfigError, match="has no quantity 'v_threshold'"):
        kernel(x, v_threshold=torch.tensor(1.0))


def test_learned_quantities_are_kept_and_misspelt_ones_refused() -> None:
    kernel = Exponential(0.02, dt=0.01, learn="tau")
    assert [name for name, _ in kernel.named_parameters()] == ["log_tau"]
    assert math.isclose(kernel.tau.item(), 0.02, rel_tol=1e-6)

    with pytest.raises(ConfigError, match="Gaussian cannot learn 'width'"):
        Gaussian(0.02, 0.01, dt=0.01, learn="width")

    with pytest.raises(ConfigError, match=r"Threshold cannot learn 'tau'; .*Known: v_threshold"):
        Threshold(0.5, learn="tau")
