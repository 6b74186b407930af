"""Thresholds and gates under a signal V: two ways to silence neurons, both users of the one mechanism."""

import pytest
import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid import Gate, GateModulation, ThresholdModulation
from spikebridge.neurons import LIF, Rectangle, Sequential

STEPS = 6
BATCH = 3
SIZE = 8


def layer(seed: int = 0) -> Sequential:
    torch.manual_seed(seed)
    lif = LIF(2e-3, dt=1e-3, v_threshold=0.2, surrogate=Rectangle(1.0))
    return Sequential(fc=nn.Linear(5, SIZE), lif=lif, gate=Gate(), out=nn.Linear(SIZE, 2))


def signal(shape: tuple[int, ...], share: float = 0.5) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(1)) < share).float()


def inputs() -> Tensor:
    return torch.rand(STEPS, BATCH, 5, generator=torch.Generator().manual_seed(2))


SHAPES = pytest.mark.parametrize(
    "shape", [(SIZE,), (BATCH, SIZE), (STEPS, BATCH, SIZE)], ids=["task", "sample", "step"]
)


@SHAPES
@pytest.mark.parametrize("by", [ThresholdModulation(3.0), GateModulation()], ids=["threshold", "gate"])
def test_all_open_equals_the_plain_layer_bit_by_bit(
    shape: tuple[int, ...], by: ThresholdModulation | GateModulation
) -> None:
    network = layer()
    x = inputs()
    path = "gate.gate" if by.quantity == "gate" else "lif.v_threshold"
    assert torch.equal(network(x, **{path: by.effect(torch.ones(shape))})[0], network(x)[0])


def test_thresholds_follow_equation_19() -> None:
    # v_threshold + (1 - V) v_t = 0.25 + (1 - V) * 2
    effect = ThresholdModulation(2.0).effect(torch.tensor([1.0, 0.0, 0.5]))
    assert effect.on(0.25, ndim=3).flatten().tolist() == [0.25, 2.25, 1.25]


@pytest.mark.parametrize("shape", [(SIZE,), (BATCH, SIZE)], ids=["task", "sample"])
def test_a_large_v_t_equals_the_gate_in_outputs_and_gradients(shape: tuple[int, ...]) -> None:
    v = signal(shape)
    x = inputs()
    found = []

    for path, by in (("lif.v_threshold", ThresholdModulation(1e6)), ("gate.gate", GateModulation())):
        network = layer()
        y, _ = network(x, **{path: by.effect(v)})
        y.square().sum().backward()
        found.append((y.detach(), [p.grad for p in network.parameters()]))

    (first, gradients), (second, others) = found
    assert torch.equal(first, second)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(gradients, others, strict=True))


def test_a_neuron_that_opens_again_has_kept_its_charge_under_a_threshold_and_lost_it_under_a_gate() -> None:
    # 0.5 a step against a threshold of 1, closed in the first two steps
    lif = LIF(float("inf"), dt=1e-3, v_threshold=1.0)
    v = torch.tensor([0.0, 0.0, 1.0]).reshape(3, 1, 1)
    x = torch.full((3, 1, 1), 0.5)
    raised = lif(x, v_threshold=ThresholdModulation(10.0).effect(v))[0]
    gated = Gate()(lif(x)[0], gate=GateModulation().effect(v))[0]

    assert raised.flatten().tolist() == [0.0, 0.0, 1.0]  # 1.5 waits behind the raised threshold
    assert gated.flatten().tolist() == [0.0, 0.0, 0.0]  # fired unseen in the second step


def test_a_closed_neuron_is_read_by_nobody_and_learns_nothing() -> None:
    v = signal((SIZE,))
    network = layer()
    y, _ = network(inputs(), **{"gate.gate": GateModulation().effect(v)})
    y.sum().backward()
    closed = v == 0

    assert closed.any()
    for gradient in (network.fc.weight.grad[closed], network.fc.bias.grad[closed], network.out.weight.grad[:, closed]):
        assert torch.equal(gradient, torch.zeros_like(gradient))


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ConfigError, match="v_t > 0"):
        ThresholdModulation(0.0)
    with pytest.raises(ShapeError, match=r"\(C,\), \(B, C\) or \(T, B, C\)"):
        GateModulation().effect(torch.ones(1, 1, 2, 2))
