"""Kernels over whole stretches beside the loop over their steps, in every form of a unit."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

import modules
from modules import HALF, quarters
from spikebridge.errors import ConfigError
from spikebridge.hybrid import (
    FIR,
    Alpha,
    Difference,
    Exponential,
    Gaussian,
    HybridUnit,
    Kernel,
    Mean,
    Since,
    Sliding,
    Sum,
    Tumbling,
    Window,
)
from spikebridge.hybrid.unit.scan import scan_with_resets
from spikebridge.ops import reference, selection, without_native
from spikebridge.ops.filters.fir import finite_response, last_response
from spikebridge.ops.filters.leaky_sum import last_sum, leaky_sum, one_step_late

pytestmark = pytest.mark.untyped

T = 29
B = 3
N = 5
KERNELS: dict[str, Callable[[bool], Kernel]] = {
    # a delay is no sum: nothing replaces its loop
    **{name: make for name, make in modules.KERNELS.items() if name != "delay"},
    "exponential, fixed": lambda keep: Exponential(0.003, dt=0.001, keep=keep),
    "exponential a neuron": lambda keep: Exponential(torch.full((N,), 0.003), dt=0.001, keep=keep, learn="tau"),
    "alpha, fixed": lambda keep: Alpha(0.003, dt=0.001, keep=keep),
    "alpha a neuron": lambda keep: Alpha(torch.full((N,), 0.003), dt=0.001, keep=keep, learn="tau"),
    "taps of one": lambda keep: FIR(1, keep=keep),
    "taps a neuron": lambda keep: FIR(9, (N,), keep=keep),
}
FORMS: dict[str, tuple[Callable[[], Window | None], bool]] = {
    "one window": (lambda: None, True),
    "windows of 7 kept": (lambda: Tumbling(7), True),
    "windows of 7": (lambda: Tumbling(7), False),
    "windows longer than all taps": (lambda: Tumbling(13), False),
    "windows of 2": (lambda: Tumbling(2), False),
    "overlapping windows": (lambda: Sliding(7, 2), False),
    "since a trigger": (lambda: Since("trigger"), True),
    "since a trigger a sample": (lambda: Since("trigger"), True),
}
SUMS = ["sum", "mean", "exponential, fixed", "exponential a neuron", "alpha, fixed", "alpha a neuron"]
every_kernel = pytest.mark.parametrize("name", KERNELS)


@pytest.fixture(params=["native", "pytorch"], autouse=True)
def _paths(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # whole signals pay then, however short
    monkeypatch.setattr("spikebridge.ops.selection.LARGE_SIGNAL", 0)
    with nullcontext() if request.param == "native" else without_native():
        yield


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The methods that ran without a loop, in their order."""
    seen: list[str] = []
    monkeypatch.setattr(selection, "MIN_STEPS", {"native": 1, "torch": 1})
    for kind in (Sum, Mean, Exponential, Alpha, FIR, Gaussian, Difference):
        for method in ("run", "values", "last"):
            plain = getattr(kind, method)
            monkeypatch.setattr(kind, method, lambda *a, _p=plain, _m=method: seen.append(_m) or _p(*a))

    return seen


def flags(form: str) -> Tensor | None:
    """Windows that open at step 5, 6 and 20; the second sample's at 6 and 11."""
    if "trigger" not in form:
        return None

    starts = torch.zeros(T, B, dtype=torch.bool)
    starts[[5, 6, 20]] = True
    if form == "since a trigger":
        return starts[:, 0]

    starts[:, 1] = False
    starts[[6, 11], 1] = True

    return starts


def train(unit: HybridUnit, x: Tensor, starts: Tensor | None, cut: int) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Values of both parts of a stream, the state after them, and gradients."""
    unit.zero_grad()
    x = x.detach().requires_grad_()
    first, state = unit(x[:cut], None, starts=None if starts is None else starts[:cut])
    second, state = unit(x[cut:], state, starts=None if starts is None else starts[cut:])
    y = torch.cat([first, second])
    # unequal weights, so that exchanged gradients show
    (y * torch.linspace(0.5, 1.5, y.numel(), dtype=x.dtype).reshape(y.shape)).sum().backward()
    carry = list(state.kernel or ())
    gradients = {"x": x.grad, **{n: p.grad for n, p in unit.named_parameters()}}

    return [y.detach(), *[m.detach() for m in carry]], gradients


@every_kernel
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_kernel_in_every_form(name: str, form: str, dtype: torch.dtype, calls: list[str]) -> None:
    window, keep = FORMS[form]
    unit = HybridUnit(window(), KERNELS[name](keep)).to(dtype)
    x = torch.randn(T, B, N, generator=torch.Generator().manual_seed(3), dtype=dtype)
    fast = train(unit, x, flags(form), cut=16)

    assert calls, "no fast path was taken"
    with reference():
        slow = train(unit, x, flags(form), cut=16)

    # rounding of sums over 29 steps
    tolerance = 1e-11 if dtype == torch.float64 else 2e-5
    for a, b in zip(fast[0], slow[0], strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)

    for key, expected in slow[1].items():
        torch.testing.assert_close(fast[1][key], expected, rtol=tolerance, atol=tolerance * 10)


@pytest.mark.parametrize("name", ["sum", "mean", "exponential, fixed", "alpha, fixed"])
@pytest.mark.parametrize("form", [form for form, (_, keep) in FORMS.items() if keep])
def test_leaky_kernels_give_the_bits_of_the_loop(name: str, form: str) -> None:
    unit = HybridUnit(FORMS[form][0](), KERNELS[name](True))
    x = torch.randn(T, B, N, generator=torch.Generator().manual_seed(4))
    fast = train(unit, x, flags(form), cut=16)[0]

    with reference():
        slow = train(unit, x, flags(form), cut=16)[0]

    assert all(torch.equal(a, b) for a, b in zip(fast, slow, strict=True))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("form", ["windows of 7 kept", "since a trigger", "since a trigger a sample"])
def test_large_steps_in_pytorch_begin_again_where_they_should(
    name: str, form: str, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spikebridge.ops.selection.SMALL_STEP", 0)
    unit = HybridUnit(FORMS[form][0](), KERNELS[name](True))
    x = torch.randn(T, B, N, generator=torch.Generator().manual_seed(6))

    with without_native(), torch.set_grad_enabled(training):
        fast = train(unit, x, flags(form), cut=16) if training else unit(x, starts=flags(form))[0]

    with reference(), torch.set_grad_enabled(training):
        slow = train(unit, x, flags(form), cut=16) if training else unit(x, starts=flags(form))[0]

    torch.testing.assert_close(fast, slow, rtol=2e-5, atol=2e-4)


EXACT = {
    "Sum": lambda keep: Sum(keep=keep),
    "Mean": lambda keep: Mean(keep=keep),
    "Exponential": lambda keep: Exponential(HALF, dt=1.0, keep=keep),
    "Difference": lambda keep: Difference(3, keep=keep),
}


@pytest.mark.parametrize("name", [*EXACT, "Taps"])
@pytest.mark.parametrize("window", [Tumbling(4), Tumbling(8), Sliding(4, 1)], ids=str)
def test_exact_numbers_are_equal_to_the_bit_in_windows_too(name: str, window: Window) -> None:
    kernel = FIR(3) if name == "Taps" else EXACT[name](False)
    if isinstance(kernel, FIR):
        torch.nn.init.constant_(kernel.weight, 0.25)

    unit = HybridUnit(window, kernel).double()
    # multiples of 1/4, halved a few times: sums in any order are exact
    x = quarters(torch.Generator().manual_seed(5), 24, B, N, largest=2)
    fast, _ = unit(x)

    with reference():
        slow, _ = unit(x)

    assert torch.equal(fast, slow)


@every_kernel
def test_a_kernel_alone_runs_over_time_too(name: str, calls: list[str]) -> None:
    kernel = KERNELS[name](True)
    x = torch.randn(T, B, N)
    first, carry = kernel(x[:11])
    second, carry = kernel(x[11:], carry)

    assert len(calls) == 2
    with reference():
        values, end = kernel(x)

    torch.testing.assert_close(torch.cat([first, second]), values, rtol=1e-5, atol=1e-5)
    for a, b in zip(carry, end, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@every_kernel
def test_a_state_shares_no_memory_with_a_long_signal(name: str) -> None:
    with torch.no_grad():
        _, carry = KERNELS[name](True)(torch.randn(200, B, N))
    # 20 steps of float32; the signal has 200
    assert all(tensor.untyped_storage().nbytes() <= 20 * B * N * 4 for tensor in carry)


@every_kernel
@pytest.mark.parametrize("shape", [(1, 1, N), (2, 1, N), (4, 2, 3, N), (70, 1, N)], ids=str)
def test_odd_sizes_and_any_strides(name: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikebridge.ops.sequence.tiling.ROW_SIZE", 12)
    kernel = KERNELS[name](True)
    # every second number: no axis is contiguous
    x = torch.randn(*shape[:-1], 2 * N)[..., ::2]
    fast, _ = kernel(x)

    with reference():
        slow, _ = kernel(x)

    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)


@every_kernel
def test_a_restart_leaves_behind_what_was_not_finite(name: str) -> None:
    x = torch.randn(T, B, N)
    # before the restart in step 12
    x[2, 1, 3] = float("inf")
    resets = [t == 12 for t in range(T)]
    fast, _ = scan_with_resets(KERNELS[name](True), x, None, resets)

    with reference():
        slow, _ = scan_with_resets(KERNELS[name](True), x, None, resets)

    assert fast[12:].isfinite().all()

    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("decay", [1.0, 0.5, "one", "neuron"])
@pytest.mark.parametrize("shape", [(1, 2, 3), (7, 3, 5), (40, 2, 70), (300, 1, 1)], ids=str)
@pytest.mark.parametrize("lies", ["dense", "windows", "overlapping", "other order"])
def test_a_last_sum_keeps_nothing_and_loses_nothing(decay: float | str, shape: tuple[int, ...], lies: str) -> None:
    num_steps, batch, neurons = shape
    signal = torch.randn(num_steps + batch, batch, neurons, generator=torch.Generator().manual_seed(7))
    signal.requires_grad_()
    x = signal[:num_steps]

    if lies == "windows":
        x = signal.transpose(0, 1)[:, :num_steps].contiguous().transpose(0, 1)
    elif lies == "overlapping":
        x = signal[:, 0].unfold(0, num_steps, 1).movedim(-1, 0)[:, :batch]
    elif lies == "other order":
        x = x.transpose(1, 2).contiguous().transpose(1, 2)

    learned = {"one": torch.tensor(0.7), "neuron": torch.linspace(0.1, 0.9, neurons)}
    left = learned[decay].requires_grad_() if isinstance(decay, str) else decay
    wanted = [signal, left] if isinstance(left, Tensor) else [signal]
    weights = torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(8))
    expected = torch.zeros(x.shape[1:])

    for x_t in x.unbind(0):
        expected = expected * left + x_t

    last = last_sum(x, left)
    torch.testing.assert_close(last, expected, rtol=1e-5, atol=1e-5)
    fast, slow = (torch.autograd.grad((v * weights).sum(), wanted, retain_graph=True) for v in (last, expected))

    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_a_kernel_with_a_step_of_its_own_is_never_replaced(calls: list[str]) -> None:
    class Doubled(Sum):
        def step(self, x_t: Tensor, state: Any, **modulation: Any) -> tuple[Tensor, Any]:
            return super().step(2 * x_t, state)

    y, _ = HybridUnit(Tumbling(4), Doubled())(torch.ones(4, 1, 1))
    # 4 steps of 1, each doubled
    assert y.item() == 8.0 and not calls


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", SUMS)
def test_in_pytorch_alone_short_stretches_are_left_to_the_loop(
    name: str, training: bool, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spikebridge.ops.selection.LARGE_SIGNAL", 2**21)
    monkeypatch.setattr("spikebridge.ops.selection.SMALL_STEP", 0)
    kernel = KERNELS[name](True)
    x = torch.randn(100, B, N)
    every_ten = [t % 10 == 0 for t in range(100)]

    with without_native(), torch.set_grad_enabled(training):
        _, carry = scan_with_resets(kernel, x[:10], None)
        kernel(x[:10], carry)
        scan_with_resets(kernel, x, carry, every_ten)

        assert not calls

        kernel(x, carry)
        scan_with_resets(kernel, x, carry, [False] * 100)

        assert calls == ["run", "run"]

        # last values need no loop, however short
        HybridUnit(Tumbling(10), KERNELS[name](False))(x)
        assert calls.pop() == "last"


def test_transforms_and_the_reference_take_the_loop(calls: list[str]) -> None:
    kernel = Exponential(0.003, dt=0.001, keep=True)
    x = torch.randn(T, B, N)
    expected, _ = kernel(x)
    calls.clear()
    mapped = torch.func.vmap(lambda one: kernel(one.unsqueeze(1))[0].squeeze(1), in_dims=1, out_dims=1)(x)

    with reference():
        kernel(x)

    assert not calls and torch.equal(mapped, expected)


def test_second_derivatives_of_taps_are_refused() -> None:
    x = torch.randn(8, 1, 1).requires_grad_()
    with pytest.raises(ConfigError, match="second derivative"):
        torch.autograd.grad(FIR(3, keep=True)(x)[0].sum(), x, create_graph=True)


@pytest.mark.parametrize("shape", [(3,), (3, 4), (3, 2, 4), (3, 2, 1)], ids=str)
def test_a_finite_response_by_its_formula(shape: tuple[int, ...]) -> None:
    signal = torch.randn(9, 2, 4, dtype=torch.float64, requires_grad=True)
    taps = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    response = finite_response(signal[2:], taps, signal[:2])
    expected = torch.stack([sum(taps[k] * signal[2 + t - k] for k in range(3)) for t in range(7)])
    torch.testing.assert_close(response, expected)
    weights = torch.randn_like(response)

    for a, b in zip(*(torch.autograd.grad((r * weights).sum(), (signal, taps)) for r in (response, expected))):  # noqa: B905
        torch.testing.assert_close(a, b)


LONG = [(steps, taps, 1037) for steps in (2, 11) for taps in (1, 5, 8)]
LARGER_THAN_CACHES = [(2, 1, 50001), (5, 5, 50001)]  # more than one block, fewer combinations


@pytest.mark.parametrize(("num_steps", "num_taps", "columns"), [*LONG, *LARGER_THAN_CACHES])
@pytest.mark.parametrize("alike", [True, False], ids=["alike", "a neuron"])
@pytest.mark.usefixtures("instructions")
def test_responses_of_long_rows_by_their_formula(
    num_steps: int, num_taps: int, columns: int, alike: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a block holds three steps
    monkeypatch.setattr("spikebridge.ops.sequence.tiling.BLOCK_SIZE", 3 * 2 * columns)
    past = num_taps - 1
    signal = torch.randn(past + num_steps, 2, columns, requires_grad=True)
    taps = torch.randn((num_taps,) if alike else (num_taps, columns), requires_grad=True)
    weights = torch.randn(num_steps, 2, columns)

    for before in (signal[:past], None):
        known = signal if before is not None else torch.cat([torch.zeros(past, 2, columns), signal[past:]])
        response = finite_response(signal[past:], taps, before)
        expected = torch.stack([sum(taps[k] * known[past + t - k] for k in range(num_taps)) for t in range(num_steps)])
        torch.testing.assert_close(response, expected, rtol=1e-5, atol=1e-5)
        ours, theirs = (torch.autograd.grad((r * weights).sum(), (signal, taps)) for r in (response, expected))
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-2)


def test_taps_and_decays_of_another_dtype_are_read_as_what_they_are() -> None:
    signal = torch.randn(9, 2, 4)
    taps = torch.tensor([0.5, 0.25, 1.0]).reshape(3, 1).expand(3, 4)

    assert torch.equal(finite_response(signal, taps.double()), finite_response(signal, taps))

    decay = torch.full((4,), 0.5)
    torch.testing.assert_close(last_sum(signal, decay.bfloat16()), last_sum(signal, decay))
    sums = [leaky_sum(signal, torch.zeros(2, 4), d)[0] for d in (decay, decay.bfloat16(), decay.double())]

    assert torch.equal(sums[0], sums[1]) and torch.equal(sums[0], sums[2].float())


@pytest.mark.parametrize("num_steps", [1, 2, 6])
@pytest.mark.parametrize("in_time", [False, True])
def test_one_step_late_by_its_formula(num_steps: int, in_time: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikebridge.ops.sequence.tiling.ROW_SIZE", 16)
    sums = torch.randn(num_steps, 2, 4, dtype=torch.float64, requires_grad=True)
    before = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    decay = torch.rand(num_steps, 1, 1, dtype=torch.float64) if in_time else 0.5
    expected = torch.cat([before.unsqueeze(0), sums[:-1]]) * decay
    y, last = one_step_late(sums, before, decay, 3.0)
    torch.testing.assert_close(y, 3 * expected)
    torch.testing.assert_close(last, expected[-1])

    assert torch.autograd.gradcheck(lambda *t: one_step_late(*t, decay, 3.0), (sums, before))
    assert torch.autograd.gradcheck(lambda *t: one_step_late(*t, decay, 3.0)[1], (sums, before))


@pytest.mark.parametrize("shape", [(5, 4), (5, 3, 4), (5, 3, 1)], ids=str)
def test_a_last_response_by_its_formula(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikebridge.ops.filters.fir.PART_SIZE", 24)
    signal = torch.randn(3, 5, 4, dtype=torch.float64).movedim(1, 0).requires_grad_()
    taps = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    weights = taps if taps.ndim == 3 else taps.unsqueeze(1)
    torch.testing.assert_close(last_response(signal, taps), (weights.flip(0) * signal).sum(0))

    assert torch.autograd.gradcheck(last_response, (signal, taps))
