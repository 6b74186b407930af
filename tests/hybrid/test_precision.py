"""Half precision: states in float32, outputs in the dtype of the signal, with and without autocast."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikebridge.coding import EvenlySpaced, InPhase
from spikebridge.errors import ShapeError
from spikebridge.hybrid import (
    FIR,
    Bernoulli,
    Burst,
    Count,
    Difference,
    Discretizer,
    Exponential,
    FirstSpike,
    FirstTime,
    Gaussian,
    Hold,
    HybridNetwork,
    HybridUnit,
    Integrate,
    Kernel,
    Last,
    Mean,
    Modulation,
    PhaseCode,
    SignedDelta,
    SpikingLayer,
    Sum,
    Threshold,
    Transmission,
    Tumbling,
    every,
)
from spikebridge.hybrid.unit.unit import UnitState
from spikebridge.neurons import IF, LIF, Effect, Integrator, Sequential
from spikebridge.ops.precision import HALF

pytestmark = pytest.mark.untyped

half = pytest.mark.parametrize("dtype", HALF)
mixed = pytest.mark.parametrize("mixed", [False, True], ids=["plain", "autocast"])


def column(*values: float) -> Tensor:
    return torch.tensor(values).reshape(-1, 1, 1)


def in_steps(unit: nn.Module, x: Tensor) -> tuple[Tensor, Any]:
    pieces = []
    state = None
    for x_t in x.split(1):
        y, state = unit(x_t, state)
        pieces.append(y)

    return torch.cat(pieces), state


# 300 ones, then 700 zeros: the mean is 0.3, the sum 300; a bfloat16 sum would end at 256
BURST = torch.cat([torch.ones(300), torch.zeros(700)]).reshape(-1, 1, 1)


@half
@mixed
@pytest.mark.parametrize(
    ("kernel", "last"),
    [
        (lambda: Mean(keep=True), 0.3),
        (lambda: Sum(keep=True), 300.0),
        (lambda: Exponential(math.inf, dt=1.0, keep=True), 300.0),
        (lambda: Difference(keep=True), -1.0),
        (lambda: FIR(3, keep=True), 0.0),
        (lambda: Gaussian(2.0, 1.0, dt=1.0, keep=True), 0.0),
    ],
)
def test_a_long_sum_is_right_as_a_whole_and_in_steps(
    kernel: Callable[[], Kernel], last: float, dtype: torch.dtype, mixed: bool
) -> None:
    x = BURST.to(dtype)
    for layer in (HybridUnit(None, kernel()), kernel()):
        with torch.autocast("cpu", dtype=dtype, enabled=mixed):
            whole = layer(x)
            steps = in_steps(layer, x)

        for y, state in (whole, steps):
            assert y.dtype == dtype
            assert y[-1].item() == torch.tensor(last).to(dtype).item()
            tensors = [t for t in (state.kernel if isinstance(state, UnitState) else state) if t.is_floating_point()]
            assert all(t.dtype == torch.float32 for t in tensors)

        assert torch.equal(whole[0], steps[0])


@half
@pytest.mark.parametrize("num_steps", [300, 1000])
def test_windows_that_count_beyond_256_are_right(num_steps: int, dtype: torch.dtype) -> None:
    ones = torch.ones(1, num_steps, 1, 1, dtype=dtype)
    late = torch.zeros(1, num_steps, 1, 1, dtype=dtype)
    late[:, num_steps - 2] = 1

    for stage in (Integrate(), Count()):
        assert stage(ones, length=num_steps)[0].item() == num_steps

    for stage, expected in ((FirstTime(), num_steps - 2), (Last(), 0)):
        assert stage(late, length=num_steps)[0].item() == torch.tensor(float(expected)).to(dtype).item()

    assert Sum().last_of_windows(ones.float()).item() == num_steps


@half
@pytest.mark.parametrize("stage", [FirstSpike(), Burst(), PhaseCode(), EvenlySpaced(), InPhase(1)], ids=repr)
def test_spikes_of_one_value_over_many_steps_are_those_of_float32(stage: Discretizer, dtype: torch.dtype) -> None:
    values = torch.linspace(0, 1, 41).to(dtype).reshape(1, 1, 1, -1)
    spikes, _ = stage(values, length=600)

    assert spikes.dtype == dtype
    assert torch.equal(spikes, stage(values.float(), length=600)[0].to(dtype))
    if isinstance(stage, FirstSpike):
        assert spikes.sum(1).eq(1).all()


@half
def test_changes_add_up_beyond_256_quanta(dtype: torch.dtype) -> None:
    ramp = (torch.arange(400) / 2).to(dtype).reshape(-1, 1, 1)
    unit = HybridUnit(discretizer=SignedDelta(0.25))
    whole, state = unit(ramp)
    steps, last = in_steps(unit, ramp)

    assert torch.equal(whole, steps) and torch.equal(state.discretizer.total, last.discretizer.total)
    assert state.discretizer.total.item() == 4 * ramp[-1].item()


@half
def test_a_unit_is_its_float32_form_rounded_at_the_end(dtype: torch.dtype) -> None:
    # 257 would be 256 in bfloat16, below the threshold
    unit = HybridUnit(Tumbling(300), Sum(keep=True), None, Threshold(256.5))
    x = torch.ones(300, 1, 1, dtype=dtype)
    y, _ = unit(x)

    assert torch.equal(y, unit(x.float())[0].to(dtype))
    assert y.sum().float().item() == 44 and y.argmax().item() == 256


@half
def test_the_nonlinearity_gets_the_dtype_of_its_parameters(dtype: torch.dtype) -> None:
    class Seen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, h: Tensor, context: Tensor) -> Tensor:
            assert h.dtype == context.dtype == self.weight.dtype
            return h * self.weight + context

    x = torch.ones(4, 2, 1, dtype=dtype)
    context = torch.zeros(2, 2, 1, dtype=dtype)

    for kept in (torch.float32, dtype):
        unit = HybridUnit(Tumbling(2), Sum(), Seen().to(kept))
        y, _ = unit(x, context=context)

        assert y.dtype == dtype and y.eq(2).all()

        kept_steps = unit(x[:1], context=context[:0])[1].window.buffer
        assert kept_steps.dtype == torch.float32

    stages, _ = HybridUnit(Tumbling(2), Sum(keep=True), None, Bernoulli()).stages(x)
    assert {value.dtype for value in stages} == {dtype}


@half
def test_a_spiking_layer_computes_in_float32_and_its_weights_in_their_own_dtype(dtype: torch.dtype) -> None:
    fires = HybridUnit(discretizer=SpikingLayer(IF(v_threshold=15.0)))
    x = torch.full((2000, 1, 1), 0.01, dtype=dtype)
    whole, state = fires(x)
    steps, _ = in_steps(fires, x)

    # 0.01 in bfloat16 is 0.010009765625: the 1499th sum is the first above 15
    assert whole.sum().item() == steps.sum().item() == 1 and torch.equal(whole, steps)
    assert state.discretizer.v.dtype == torch.float32

    learned = HybridUnit(discretizer=SpikingLayer(Sequential(nn.Linear(1, 2), LIF(0.02, dt=0.001)))).to(dtype)
    assert learned(x[:5])[0].shape == (5, 1, 2)


@half
def test_learned_quantities_in_half_precision_act_in_float32(dtype: torch.dtype) -> None:
    kernel = Exponential(torch.tensor([0.02, 0.1]), dt=0.001, keep=True, learn="tau").to(dtype)
    x = torch.ones(500, 1, 2, dtype=dtype, requires_grad=True)
    y, _ = HybridUnit(None, kernel)(x)
    decay = torch.exp(-0.001 / kernel._parameters["log_tau"].float().exp()).double()
    expected = (1 - decay**500) / (1 - decay)
    torch.testing.assert_close(y[-1, 0].double(), expected, rtol=2**-8, atol=0)

    assert torch.equal(y, in_steps(HybridUnit(None, kernel), x)[0])

    y.sum().backward()
    assert x.grad is not None and x.grad.dtype == dtype
    assert kernel._parameters["log_tau"].grad.abs().sum() > 0


@half
def test_a_half_precision_effect_multiplies_in_float32(dtype: torch.dtype) -> None:
    layer = IF(v_threshold=100.3)
    x = torch.full((1, 1, 1), 100.4)
    effect = Effect(torch.ones(1, 1, 1, dtype=dtype), "multiply")

    assert layer(x, v_threshold=effect)[0].item() == 1
    assert layer(x - 0.2, v_threshold=effect)[0].item() == 0


def test_single_and_half_mix_but_double_does_not() -> None:
    x = torch.ones(4, 1, 2, dtype=torch.bfloat16)
    assert HybridUnit(None, FIR(2))(x)[0].dtype == torch.bfloat16
    assert LIF(torch.tensor([0.02, 0.02]), dt=0.001)(x)[0].dtype == torch.bfloat16

    with pytest.raises(ShapeError, match=r"FIR keeps torch.float64 on cpu, but its signal is torch.bfloat16"):
        HybridUnit(None, FIR(2).double())(x)

    with pytest.raises(ShapeError, match=r"LIF has tau in torch.float64"):
        LIF(torch.tensor([0.02, 0.02]).double(), dt=0.001)(x)


@half
def test_a_held_value_keeps_its_dtype(dtype: torch.dtype) -> None:
    y, _ = HybridUnit(Hold(3))(torch.tensor([[[1.5]], [[2.5]]], dtype=dtype))
    assert y.dtype == dtype and y.flatten().tolist() == [1.5] * 3 + [2.5] * 3


def mixed_network() -> HybridNetwork:
    """A part in half precision under autocast that modulates, and one that is delayed and held."""
    return HybridNetwork(
        dt=0.001,
        inputs={"frames": every(0.002), "events": every(0.001)},
        parts={
            "what": nn.Linear(3, 2),
            "where": Sequential(fc=nn.Linear(4, 2), lif=LIF(0.01, v_threshold=0.3)),
            "both": nn.Bilinear(2, 2, 3),
            "out": Sequential(fc=nn.Linear(3, 3), sums=Integrator(0.01)),
        },
        links=[
            Transmission("frames", "what"),
            Transmission("events", "where"),
            Modulation(
                "what", "where.lif.v_threshold", HybridUnit(nonlinearity=nn.Softplus()), by="multiply", name="threshold"
            ),
            Modulation("what", "where.fc.bias", by="add", name="bias"),
            Transmission("where", "both"),
            Transmission("what", "both", held=True),
            Transmission("both", "out", HybridUnit(None, Mean(keep=True)), delay=0.001),
        ],
        outputs=["where", "out"],
        clocks={"both": every(0.001)},
    ).eval()


def run_cut(network: HybridNetwork, inputs: dict[str, Tensor], cuts: list[int]) -> dict[str, Tensor]:
    state = None
    pieces = []
    for start, stop in pairwise([0, *cuts, 12]):
        now = {n: x[network.clock_of(n).count(start) : network.clock_of(n).count(stop)] for n, x in inputs.items()}
        outputs, state = network(now, state, ticks=stop - start)
        pieces.append(outputs)

    return {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}


@half
def test_a_network_under_autocast_is_the_same_whole_in_steps_and_cut(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network = mixed_network()
    inputs = {"frames": torch.randn(6, 2, 3), "events": torch.rand(12, 2, 4)}
    expected = run_cut(network, inputs, [])

    for given in (inputs, {**inputs, "frames": inputs["frames"].to(dtype)}):
        with torch.autocast("cpu", dtype=dtype):
            whole = run_cut(network, given, [])
            others = [run_cut(network, given, cuts) for cuts in ([5], list(range(1, 12)))]

        for other in others:
            for name, y in whole.items():
                assert other[name].dtype == y.dtype
                torch.testing.assert_close(other[name], y, rtol=4 * torch.finfo(dtype).eps, atol=1e-3)

        torch.testing.assert_close(whole["out"].float(), expected["out"], rtol=0.05, atol=0.05)

    with pytest.raises(ShapeError, match=r"input 'events' is torch.float32 on cpu, but the stream is"):
        network({**inputs, "frames": inputs["frames"].to(dtype)})

    with (
        pytest.raises(ShapeError, match=r"is torch.float32 on cpu, but the stream is torch.float64"),
        torch.autocast("cpu"),
    ):
        network({**inputs, "frames": inputs["frames"].double()})


@half
def test_a_network_in_half_precision_is_the_same_whole_in_steps_and_cut(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network = mixed_network().to(dtype)
    inputs = {"frames": torch.randn(6, 2, 3).to(dtype), "events": torch.rand(12, 2, 4).to(dtype)}
    whole = run_cut(network, inputs, [])

    for cuts in ([5], list(range(1, 12))):
        for name, y in run_cut(network, inputs, cuts).items():
            assert y.dtype == dtype
            torch.testing.assert_close(y, whole[name], rtol=4 * torch.finfo(dtype).eps, atol=1e-3)


def test_bilinear_layers_run_under_autocast_wherever_they_stand() -> None:
    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)
            self.join = nn.Bilinear(2, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.join(self.fc(x), x)

    x = torch.rand(3, 1, 2)
    with torch.autocast("cpu"):
        assert Sequential(inside=Inside())(x)[0].shape == (3, 1, 1)
        assert HybridUnit(nonlinearity=Inside())(x.bfloat16())[0].dtype == torch.bfloat16
        assert HybridUnit(Tumbling(3), Mean(), nn.Bilinear(2, 2, 1))(x, context=x[:1].bfloat16())[0].shape == (1, 1, 1)
