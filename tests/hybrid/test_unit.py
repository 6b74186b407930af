"""The hybrid unit by itself: its two forms, what cannot stand together, each discretizer's numbers, its own forward."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError, StateError
from spikebridge.hybrid import (
    FIR,
    Alpha,
    Bernoulli,
    Burst,
    Clock,
    Count,
    Difference,
    Exponential,
    FirstSpike,
    FirstTime,
    Gaussian,
    Hold,
    HybridUnit,
    Integrate,
    Last,
    Mean,
    PhaseCode,
    SignedDelta,
    Since,
    Sliding,
    SpikingLayer,
    Sum,
    Threshold,
    Tumbling,
)
from spikebridge.neurons import IF, Sequential


def column(*values: float) -> Tensor:
    """A signal of one sample and one neuron."""
    return torch.tensor(values, dtype=torch.float32).reshape(-1, 1, 1)


def given(unit: HybridUnit, *values: float, **settings: Any) -> list[float]:
    return unit(column(*values), **settings)[0].flatten().tolist()


FORMS = [
    ((None, None, None), "streaming", Clock(2, 3)),
    ((None, Sum(), None), "streaming", Clock(2, 3)),
    ((Since("x"), Sum(), Threshold()), "streaming", Clock(2, 3)),
    ((Tumbling(4), Mean(), None), "framed", Clock(8, 9)),
    ((Tumbling(4), None, None), "streaming", Clock(2, 3)),
    ((Tumbling(4), Mean(keep=True), Bernoulli()), "streaming", Clock(2, 3)),
    ((Tumbling(4), None, Integrate()), "framed", Clock(8, 9)),
    ((Tumbling(4), Sum(keep=True), Last()), "framed", Clock(8, 9)),
    ((Tumbling(4), Sum(), FirstSpike()), "framed", Clock(2, 9)),
    ((Sliding(4, 2), Mean(), None), "framed", Clock(4, 9)),
    ((Sliding(4, 2), None, Count()), "framed", Clock(4, 9)),
    ((Sliding(4, 4), None, None), "streaming", Clock(2, 3)),
    ((Hold(2), None, None), "framed", Clock(1, 3)),
    ((Hold(2), None, PhaseCode()), "framed", Clock(1, 3)),
    ((Hold(2), Exponential(1.0, dt=1.0, keep=True), None), "framed", Clock(1, 3)),
    ((Hold(2), Sum(), Burst()), "framed", Clock(1, 3)),
]


@pytest.mark.parametrize(("stages", "form", "clock"), FORMS)
def test_a_unit_takes_the_form_that_its_stages_ask_for(stages: tuple[Any, Any, Any], form: str, clock: Clock) -> None:
    window, kernel, discretizer = stages
    unit = HybridUnit(window, kernel, None, discretizer)
    assert unit.form == form
    assert unit.clock(Clock(2, 3)) == clock


UNFIT = [
    ((Sliding(4, 2), None, None), "overlapping windows have no kept steps"),
    ((Sliding(4, 2), Mean(keep=True), None), "overlapping windows have no kept steps"),
    ((Hold(3), Mean(), None), "reduces them to one again"),
    ((Hold(3), Mean(), Threshold()), "reduces them to one again"),
    ((Hold(3), None, Integrate()), "reduces them to one again"),
    ((Hold(3), Sum(keep=True), FirstSpike()), "the kernel keeps 3"),
    ((Tumbling(3), Sum(keep=True), Burst()), "the kernel keeps 3"),
    ((Tumbling(3), None, PhaseCode()), "without a kernel there are 3"),
    ((Since("x"), Sum(), Integrate()), "Integrate reduces the steps of a window, but in Since"),
    ((Since("x"), Sum(), FirstSpike()), "FirstSpike expands the steps of a window, but in Since"),
    ((None, None, Last()), "Last reduces the steps of a window, but without a window"),
    ((None, Mean(), PhaseCode()), "PhaseCode expands the steps of a window, but without a window"),
]


@pytest.mark.parametrize(("stages", "message"), UNFIT)
def test_stages_that_cannot_stand_together_are_refused(stages: tuple[Any, Any, Any], message: str) -> None:
    window, kernel, discretizer = stages
    with pytest.raises(ConfigError, match=message):
        HybridUnit(window, kernel, None, discretizer)


def test_stages_of_another_kind_are_refused() -> None:
    with pytest.raises(ConfigError, match="a hybrid unit's window is a Window, but got 6; did you mean Tumbling"):
        HybridUnit(6)

    with pytest.raises(ConfigError, match="kernel is a Kernel, but got a Tumbling; did you mean window="):
        HybridUnit(Tumbling(2), Tumbling(2))

    with pytest.raises(ConfigError, match="discretizer is a Discretizer, but got an IF; a spiking layer is"):
        HybridUnit(None, None, None, IF())

    with pytest.raises(
        ConfigError, match=r"has no state, but got IF; a spiking layer is the discretizer SpikingLayer\(layer\)"
    ):
        HybridUnit(None, None, IF())

    with pytest.raises(ConfigError, match="'nonlinearity' is a plain Sequential, but holds the stateful IF at '1'"):
        HybridUnit(None, None, nn.Sequential(nn.Linear(1, 1), IF()))


@pytest.mark.parametrize("value", [0, -2, 2.0, True, "3"])
def test_lengths_are_integers_above_zero(value: Any) -> None:
    for make in (Hold, Tumbling, Sliding, FIR, lambda n: Difference(lag=n), lambda n: SignedDelta(1.0, limit=n)):
        with pytest.raises(ConfigError, match="as an integer of at least 1, but got"):
            make(value)


def test_settings_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(ConfigError, match="stride <= length, or steps are lost, but got 3 > 2"):
        Sliding(2, stride=3)

    with pytest.raises(ConfigError, match=r"Exponential needs tau > 0 s, but got -1; did you mean 1\?"):
        Exponential(-1.0, dt=0.001)

    with pytest.raises(ConfigError, match="Exponential needs dt > 0 s, the step of its clock, but got 0"):
        Exponential(1.0, dt=0.0)

    with pytest.raises(ConfigError, match="needs delay >= 0 s, since a kernel is causal, but got -1"):
        Gaussian(-1.0, 1.0, dt=1.0)

    with pytest.raises(ConfigError, match="SignedDelta needs quantum > 0, but got 0"):
        SignedDelta(0.0)

    with pytest.raises(ConfigError, match=r"Bernoulli needs an integer as its seed, but got 0\.5"):
        Bernoulli(seed=0.5)

    with pytest.raises(ConfigError, match="SpikingLayer needs a Stateful layer, but got a Linear"):
        SpikingLayer(nn.Linear(1, 1))


def test_a_length_that_does_not_divide_the_clock_is_refused() -> None:
    with pytest.raises(ConfigError, match="gives 4 values every 6 base ticks, which does not divide"):
        HybridUnit(Hold(4)).clock(Clock(6, 0))
    with pytest.raises(ConfigError, match="gives 4 values every 2 base ticks"):
        HybridUnit(Sliding(4, 2), Sum(), None, FirstSpike()).clock(Clock(1, 0))


def test_the_four_stages_read_as_the_equation() -> None:
    double = nn.Linear(1, 1, bias=False)
    nn.init.constant_(double.weight, 2.0)
    unit = HybridUnit(Tumbling(2), Sum(), double, Threshold(6.0))
    stages, state = unit.stages(column(1.0, 2.0, 0.0, 1.0, 5.0))

    assert stages.window.flatten().tolist() == [1, 2, 0, 1]
    assert stages.kernel.flatten().tolist() == [3, 1]
    assert stages.nonlinearity.flatten().tolist() == [6, 2]
    assert stages.discretizer.flatten().tolist() == [1, 0]
    assert [tuple(stage.shape) for stage in stages] == [(2, 2, 1, 1), (2, 1, 1, 1), (2, 1, 1, 1), (2, 1, 1, 1)]
    assert state.window.buffer.tolist() == [[[5.0]]]


def test_one_class_works_in_both_directions() -> None:
    to_ann = HybridUnit(Tumbling(4), Mean())
    to_snn = HybridUnit(Hold(4), None, None, SpikingLayer(IF(reset="subtract")))
    assert given(to_snn, 0.5, 0.25) == [0, 1, 0, 1, 0, 0, 0, 1]
    assert given(to_ann, *given(to_snn, 0.5, 0.25)) == [0.5, 0.25]


def test_discretizers_that_reduce_take_any_sign() -> None:
    steps = (0.0, -1.0, 1.0, 0.0, 0.0, 0.0)
    assert given(HybridUnit(Tumbling(3), None, None, Count()), *steps) == [2, 0]
    assert given(HybridUnit(Tumbling(3), None, None, FirstTime()), *steps) == [1, 3]
    assert given(HybridUnit(Tumbling(3), None, None, Integrate()), *steps) == [0, 0]
    assert given(HybridUnit(Tumbling(3), None, None, Last()), *steps) == [1, 0]


@pytest.mark.parametrize("reduce", [Count(), FirstTime()])
def test_a_silent_step_can_learn_to_fire(reduce: nn.Module) -> None:
    x = column(0.0, 0.0, 0.0).requires_grad_()
    HybridUnit(Tumbling(3), None, None, reduce)(x)[0].sum().backward()
    # a spike more counts one more; the earlier it comes, the shorter the time
    expected = [1, 1, 1] if isinstance(reduce, Count) else [-3, -2, -1]

    assert x.grad.flatten().tolist() == expected


def test_a_window_since_needs_its_flags_and_others_none() -> None:
    unit = HybridUnit(Since("frames"), Sum())
    with pytest.raises(ConfigError, match=r"needs starts=, the flags \(T, B\)"):
        unit(column(1.0))

    with pytest.raises(ShapeError, match="starts has 2 steps, but the signal has 1"):
        unit(column(1.0), starts=torch.tensor([True, False]))

    with pytest.raises(ShapeError, match=r"starts needs flags \(T, B\) or \(T,\).* but got torch.int64 \(1,\)"):
        unit(column(1.0), starts=torch.tensor([1]))

    with pytest.raises(ShapeError, match=r"starts needs flags .* but got torch.bool \(1, 5\)"):
        unit(column(1.0), starts=torch.zeros(1, 5, dtype=torch.bool))

    with pytest.raises(ConfigError, match="says where windows of Since start, but this unit has another window"):
        HybridUnit(Tumbling(1), Sum())(column(1.0), starts=torch.tensor([True]))


def test_a_window_since_is_open_from_the_start() -> None:
    unit = HybridUnit(Since("frames"), Sum())
    assert given(unit, 1, 2, 4, 8, starts=torch.tensor([False, False, True, False])) == [1, 3, 4, 12]
    assert given(unit, 1, 2, 4, 8, starts=torch.zeros(4, dtype=torch.bool)) == [1, 3, 7, 15]


class Beside(nn.Module):
    """A nonlinearity with a second signal."""

    def forward(self, h: Tensor, context: Tensor) -> Tensor:
        return h + context


def test_a_context_stands_beside_every_window() -> None:
    unit = HybridUnit(Tumbling(2), Sum(), Beside())
    assert given(unit, 1, 2, 3, 4, context=column(10, 20)) == [13, 27]

    kept = HybridUnit(Tumbling(2), None, Beside(), Last())
    assert given(kept, 1, 2, 3, 4, context=column(10, 20)) == [12, 24]

    held = HybridUnit(Hold(2), None, Beside())
    assert given(held, 1, 2, context=column(10, 20)) == [11, 11, 22, 22]
    with pytest.raises(ShapeError, match="the context has 1 values, but the unit has 2 windows"):
        unit(column(1, 2, 3, 4), context=column(10))

    with pytest.raises(ConfigError, match="a context is for the nonlinearity, but this unit has none"):
        HybridUnit(Tumbling(2), Sum())(column(1, 2), context=column(10))


def test_a_held_value_goes_through_the_nonlinearity_once() -> None:
    seen: list[int] = []
    linear = nn.Linear(1, 1)
    linear.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    y, _ = HybridUnit(Hold(5), None, linear)(column(1.0, 2.0))

    assert y.shape == (10, 1, 1)
    assert seen == [2]


def test_signals_that_are_none_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"needs a signal of floats \(T, B, \*N\), but got torch.float32 \(3,\)"):
        HybridUnit()(torch.zeros(3))

    with pytest.raises(ShapeError, match=r"needs a signal of floats .* but got torch.int64 \(1, 1\)"):
        HybridUnit()(torch.zeros(1, 1, dtype=torch.int64))

    _, state = HybridUnit(Tumbling(3), Sum())(torch.zeros(1, 2, 4))
    with pytest.raises(
        ShapeError, match=r"'window': \w+ got a state whose buffer is a tensor \(2, \d, 4\), not a tensor \(2, 0, 5\)"
    ):
        HybridUnit(Tumbling(3), Sum())(torch.zeros(1, 2, 5), state)


def test_a_unit_works_in_the_dtype_of_its_signal_and_names_a_mismatch() -> None:
    x = torch.rand(6, 2, 3, dtype=torch.float64)
    for kernel in (Mean(), Difference(), Exponential(0.02, dt=0.01), FIR(2).double()):
        assert HybridUnit(Tumbling(3), kernel, None, Bernoulli())(x)[0].dtype == torch.float64

    with pytest.raises(ShapeError, match=r"FIR keeps torch.float32 on cpu, but its signal is torch.float64 on"):
        HybridUnit(Tumbling(3), FIR(2))(x)

    with pytest.raises(ShapeError, match=r"Threshold keeps torch.float32 .* move one of them with \.to\(\)"):
        HybridUnit(None, None, None, Threshold(learn="v_threshold"))(x)

    mixed = HybridUnit(Tumbling(3), FIR(2), nn.Linear(3, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert mixed(x.float())[0].shape == (2, 2, 4)


def test_a_state_is_a_copy_that_its_owner_cannot_change() -> None:
    unit = HybridUnit(Tumbling(3), Sum())
    buffer = column(1.0, 2.0)
    _, state = unit(buffer)
    buffer.fill_(100.0)

    assert unit(column(4.0), state)[0].item() == 7

    long = torch.rand(1000, 1, 1)
    _, state = unit(long)

    assert state.window.buffer.untyped_storage().nbytes() == 4


class Ear(nn.Module):
    """A module of one's own with two units in it."""

    def __init__(self) -> None:
        super().__init__()
        self.fast = Sequential(fire=IF())
        self.rate = HybridUnit(Tumbling(2), Mean())
        self.back = HybridUnit(Hold(2), None, None, Threshold(0.5))

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        fast, rate, back = state if state is not None else (None, None, None)
        spikes, fast = self.fast(x, fast)
        rates, rate = self.rate(spikes, rate)
        y, back = self.back(rates, back)

        return y, (fast, rate, back)


def test_units_serve_in_a_forward_of_ones_own() -> None:
    ear = Ear()
    x = column(1, 0, 1, 1, 0, 0, 0, 1)
    whole, _ = ear(x)

    assert whole.flatten().tolist() == [1, 1, 1, 1, 0, 0, 1, 1]

    first, state = ear(x[:3])
    second, _ = ear(x[3:], state)

    assert torch.equal(torch.cat([first, second]), whole)
    assert not [*ear.parameters(), *ear.buffers()]


@pytest.mark.parametrize("kind", [Exponential, Alpha])
def test_a_kernel_follows_its_time_constant_and_its_step(kind: type[Any]) -> None:
    x = torch.rand(6, 2, 3, generator=torch.Generator().manual_seed(0))
    unit = HybridUnit(Tumbling(3), kind(0.02, dt=0.001))
    unit(x)

    for name, value in (("tau", 0.005), ("dt", 0.002), ("tau", torch.tensor(0.01))):
        setattr(unit.kernel, name, value)
        new = HybridUnit(Tumbling(3), kind(unit.kernel.tau, dt=unit.kernel.dt))
        assert torch.equal(unit(x)[0], new(x)[0])


@pytest.mark.parametrize("total", [torch.zeros(2, 4), torch.zeros(2, 3, dtype=torch.float64), 0.0])
def test_quanta_of_another_stream_are_refused(total: Any) -> None:
    unit = HybridUnit(None, None, None, SignedDelta(0.5))
    x = torch.ones(2, 2, 3)
    _, state = unit(x)

    with pytest.raises(StateError, match="SignedDelta got a state whose total is"):
        unit(x, state._replace(discretizer=state.discretizer._replace(total=total)))


def test_a_stage_that_is_replaced_is_the_registered_one() -> None:
    unit = HybridUnit(Tumbling(2), Mean())
    unit.kernel = Sum()
    assert dict(unit.named_children())["kernel"] is unit.kernel
    assert unit(torch.tensor([1.0, 3.0]).reshape(2, 1, 1))[0].item() == 4.0

    unit._modules["kernel"] = Mean()
    assert unit(torch.tensor([1.0, 3.0]).reshape(2, 1, 1))[0].item() == 2.0

    unit.kernel = None
    assert unit.kernel is None
    assert "window" not in repr(HybridUnit())
    with pytest.raises(ConfigError, match="HybridUnit needs window as a module or None, but got 3"):
        HybridUnit().window = 3  # type: ignore[assignment]
