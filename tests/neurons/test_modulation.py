"""A modulated quantity, in every form, against the plain equation with that quantity written out for every neuron."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from spikebridge.errors import ConfigError, ShapeError
from spikebridge.neurons import LIF, PLIF, Effect, Integrator, Memoryless

T = 12
B = 3
C = 2
W = 4


@dataclass(frozen=True)
class Form:
    """A way to modulate: the shape of the signal, the argument made of it, and what it makes of a quantity."""

    name: str
    shape: tuple[int, ...]
    argument: Callable[[Tensor], Any]
    spread: tuple[int, ...] | None = None
    by: str = "replace"

    def signal(self, base: float) -> Tensor:
        around_one = 0.8 + 0.4 * torch.rand(self.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        return {"replace": base * around_one, "multiply": around_one, "add": base * (around_one - 1)}[self.by]

    def expected(self, base: float, signal: Tensor) -> Tensor:
        full = signal.reshape(self.spread or self.shape).expand(T, B, C, W)
        return {"replace": full, "multiply": base * full, "add": base + full}[self.by]


FORMS = [
    Form("one for all", (), lambda s: s),
    Form("a value a neuron", (C, W), lambda s: s),
    Form("a value a channel", (C, 1), lambda s: s),
    Form("a value a sample and neuron", (B, C, W), lambda s: s),
    Form("a value a sample", (B, 1, 1), lambda s: s),
    Form("a value a step, sample and neuron", (T, B, C, W), lambda s: s),
    Form("a value a step", (T, 1, 1, 1), lambda s: s),
    Form("one step for all steps", (1, B, C, W), lambda s: s),
    Form("added", (T, B, C, W), lambda s: Effect(s, "add"), by="add"),
    Form("multiplied", (T, B, C, W), lambda s: Effect(s, "multiply"), by="multiply"),
    Form("replacing", (T, B, C, W), lambda s: Effect(s, "replace")),
    Form("constant, added", (1, B, C, W), lambda s: Effect(s, "add"), by="add"),
    Form("constant, multiplied", (1, B, C, W), lambda s: Effect(s, "multiply"), by="multiply"),
    Form("constant, replacing", (1, B, C, W), lambda s: Effect(s, "replace")),
    Form("lined up from the left", (T, B, C), lambda s: Effect(s, "multiply"), (T, B, C, 1), by="multiply"),
    Form("lined up from the left, constant", (1, B, C), lambda s: Effect(s, "add"), (1, B, C, 1), by="add"),
    Form("a factor a sample", (T, B), lambda s: Effect(s, "multiply"), (T, B, 1, 1), by="multiply"),
    Form("a value a sample, constant", (1, B), lambda s: Effect(s, "replace"), (1, B, 1, 1)),
]


@pytest.fixture
def double() -> Iterator[None]:
    """Learned numbers are kept in double precision from the start."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_a_modulated_quantity_is_that_quantity_in_the_equation(double, quantity):
    case, name = quantity
    for form in FORMS:
        assert_form_is_in_the_equation(case, name, form)


def assert_form_is_in_the_equation(case: Any, name: str, form: Form) -> None:
    base = case.quantities[name]
    layer = case.build()
    weights = torch.randn(T, B, C, W, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    results = []

    for modulated in (True, False):
        x = case.signal(T, B, C, W).requires_grad_()
        signal = form.signal(base).requires_grad_()

        if modulated:
            y, _ = layer(x, None, **{name: form.argument(signal)})
        else:
            plain = {n: torch.tensor(v, dtype=torch.float64) for n, v in case.quantities.items()}
            y = case.reference(x, {**plain, name: form.expected(base, signal)})

        (y * weights).sum().backward()
        results.append((y, x.grad, signal.grad))

    (y, x_grad, s_grad), (y_plain, x_plain, s_plain) = results
    close = partial(torch.testing.assert_close, atol=1e-9, msg=lambda text: f"{form.name}: {text}")
    close(y, y_plain, rtol=1e-9)
    close(x_grad, x_plain, rtol=1e-6)
    close(s_grad, s_plain, rtol=1e-6)

    if not (name == "v_reset" and "subtract" in case.name):
        assert s_grad.abs().sum() > 0, form.name


def test_a_number_modulates_as_well(double, quantity):
    case, name = quantity
    layer = case.build()
    x = case.signal(T, B, C, W)
    number = 1.2 * case.quantities[name]
    state = layer.initial_state(x[0])
    y, _ = layer(x, state, **{name: number})
    torch.testing.assert_close(y, case.build(**{name: number})(x, state)[0], rtol=1e-9, atol=1e-9)


def test_the_plain_layer_is_the_equation_too(double, neuron):
    x = neuron.signal(T, B, C, W)
    plain = {name: torch.tensor(value) for name, value in neuron.quantities.items()}
    torch.testing.assert_close(neuron.build()(x)[0], neuron.reference(x, plain), rtol=1e-9, atol=1e-9)


def test_a_modulated_stream_may_be_cut(quantity):
    case, name = quantity
    layer = case.build().double()
    x = case.signal(T, B, C, W)
    signal = FORMS[9].signal(1.0)
    whole, last = layer(x, None, **{name: Effect(signal)})
    first, state = layer(x[:7], None, **{name: Effect(signal[:7])})
    steps = [first]

    for t in range(7, T):
        y_t, state = layer.step(x[t], state, **{name: Effect(signal[t : t + 1])})
        steps.append(y_t.unsqueeze(0))

    assert torch.equal(torch.cat(steps), whole)
    assert torch.equal(state[0], last[0])


def test_a_plain_tensor_a_step_goes_into_a_step(quantity):
    case, name = quantity
    layer = case.build().double()
    x = case.signal(1, B, C, W)
    values = FORMS[3].signal(case.quantities[name])
    y, _ = layer(x, None, **{name: values})
    y_t, _ = layer.step(x[0], layer.initial_state(x[0]), **{name: values})

    assert torch.equal(y[0], y_t)


def test_a_modulation_is_never_written_into_the_module(quantity):
    case, name = quantity
    layer = case.build().double()
    x = case.signal(T, B, C, W)
    before, _ = layer(x)
    layer(x, None, **{name: FORMS[5].signal(case.quantities[name])})

    assert torch.equal(layer(x)[0], before)


def test_a_factor_of_one_changes_nothing(quantity):
    case, name = quantity
    layer = case.build().double()
    x = case.signal(T, B, C, W)
    ones = torch.ones(T, B, dtype=torch.float64)
    torch.testing.assert_close(layer(x, None, **{name: Effect(ones)})[0], layer(x)[0], rtol=1e-9, atol=1e-9)


def test_effects_act_one_after_the_other():
    x = torch.tensor([1.0, 1.0]).reshape(2, 1, 1)
    double = Effect(torch.full((1, 1), 2.0), "multiply")
    half = Effect(torch.full((2, 1), -0.5), "add")
    scale = Memoryless(v_threshold=1.0)

    # threshold (1 * 2) - 0.5 = 1.5, or (1 - 0.5) * 2 = 1
    assert scale(x, None, v_threshold=[double, half])[0].flatten().tolist() == [0.0, 0.0]
    assert scale(x, None, v_threshold=[half, double])[0].flatten().tolist() == [1.0, 1.0]


def test_each_sample_and_step_has_its_own_threshold():
    x = torch.ones(2, 2, 1)
    thresholds = torch.tensor([[[0.5], [1.5]], [[1.5], [0.5]]])
    assert Memoryless()(x, None, v_threshold=thresholds)[0].flatten().tolist() == [1.0, 0.0, 0.0, 1.0]


def test_a_learned_quantity_and_its_modulation_both_get_gradients():
    layer = PLIF(0.004, dt=0.001).double()
    factor = torch.full((1, 2), 1.5, dtype=torch.float64, requires_grad=True)
    x = torch.rand(10, 2, 3, dtype=torch.float64)
    layer(x, None, tau=Effect(factor))[0].sum().backward()

    # d/d log_tau and d/d log(factor) of tau * factor are the same
    torch.testing.assert_close(layer.log_tau.grad, (factor.grad * factor.detach()).sum())


def test_modulating_the_leak_leaves_the_first_membrane():
    y, _ = Integrator(0.01, dt=0.01, v_leak=1.0)(torch.zeros(1, 1, 1), None, v_leak=3.0)
    # from 1 on to 3: 3 + (1 - 3) / e
    assert y.item() == pytest.approx(3 - 2 / 2.718281828, abs=1e-6)


def test_an_empty_signal_takes_an_empty_modulation():
    y, _ = LIF(dt=0.001)(torch.zeros(0, 2, 3), None, tau=Effect(torch.ones(0, 2, 3)), v_threshold=torch.ones(0, 2, 3))
    assert y.shape == (0, 2, 3)


@pytest.mark.parametrize("num_steps", [0, 4])
def test_an_unknown_quantity_is_refused_with_those_that_are_there(num_steps):
    x = torch.zeros(num_steps, 2, 3)
    with pytest.raises(ConfigError, match=r"LIF has no quantity 'v_treshold'; did you mean 'v_threshold'.*tau.*v_leak"):
        LIF(dt=0.001)(x, None, v_treshold=1.0)


def test_a_neuron_without_leak_has_no_time_constant_to_modulate(cases):
    (layer,) = [case.build() for case in cases if case.name == "IF"]
    assert layer.modulable_paths() == ["v_threshold", "v_reset", "r"]
    with pytest.raises(ConfigError, match="IF has no quantity 'tau'"):
        layer(torch.zeros(2, 1, 1), None, tau=0.01)


@pytest.mark.parametrize(
    ("modulation", "message"),
    [
        ({"v_threshold": torch.ones(5, 2, 3)}, r"\(5, 2, 3\), which does not broadcast against \(4, 2, 3\)"),
        ({"v_threshold": Effect(torch.ones(5, 2, 3))}, r"v_threshold of shape \(5, 2, 3\).*against \(4, 2, 3\)"),
        ({"v_threshold": Effect(torch.ones(4, 5))}, r"\(4, 5, 1\), which does not broadcast against \(4, 2, 3\)"),
        ({"v_threshold": torch.ones(2)}, r"\(2,\), which does not.*an Effect lines its axes up from the left"),
        ({"v_threshold": torch.ones(1, 4, 2, 3)}, "does not broadcast"),
        ({"v_threshold": Effect(torch.ones(4, 2, 3, 1))}, "has more axes than what it modulates"),
        ({"v_threshold": torch.ones(2, 3, dtype=torch.float64)}, "in torch.float64.*input is torch.float32"),
        ({"tau": Effect(torch.ones(4, 2).double(), "add")}, "tau in torch.float64"),
    ],
)  # fmt: skip
def test_a_modulation_that_does_not_fit_is_refused(modulation, message):
    with pytest.raises(ShapeError, match=message):
        LIF(dt=0.001)(torch.zeros(4, 2, 3), None, **modulation)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.tensor(-0.01), "tau > 0 s under modulation, but got -0.01; did you mean 0.01"),
        (0.0, "tau > 0 s under modulation, but got 0"),
        (torch.tensor(float("nan")), "a number for tau under modulation, but got NaN"),
        (Effect(torch.full((4, 2), -0.5), "add"), "tau > 0 s under modulation"),
    ],
)
def test_a_modulated_time_constant_stays_above_zero(value, message):
    with pytest.raises(ConfigError, match=message):
        LIF(0.02, dt=0.001)(torch.zeros(4, 2, 3), None, tau=value)


def test_a_modulation_is_a_number_a_tensor_or_an_effect():
    with pytest.raises(ConfigError, match="a number, a tensor or an Effect for v_threshold, but got 'high'"):
        LIF(dt=0.001)(torch.zeros(4, 2, 3), None, v_threshold="high")


def test_an_effect_fits_what_the_layer_keeps():
    with pytest.raises(ShapeError, match=r"shape \(4, 2, 5\) \(T, B, \*M\) does not fit a quantity of shape \(3,\)"):
        LIF(dt=0.001, r=torch.ones(3))(torch.zeros(4, 2, 3), None, r=Effect(torch.ones(4, 2, 5)))


def test_an_effect_says_how_it_acts():
    with pytest.raises(ConfigError, match="one of add, multiply, replace, but got 'times'"):
        Effect(torch.ones(1, 1), "times")

    with pytest.raises(ShapeError, match=r"a tensor \(T, B, \*M\), but got \(3,\)"):
        Effect(torch.ones(3))

    with pytest.raises(ShapeError, match=r"but got 2\.0"):
        Effect(2.0)
