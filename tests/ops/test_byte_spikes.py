"""Spikes kept as bytes: the same gradients from less memory."""

import torch
from torch import Tensor, nn

from spikebridge.neurons import LIF, Integrator, Sequential
from spikebridge.ops import spikes_as_bytes
from spikebridge.ops.byte_spikes import _pack


def gradients(net: Sequential, x: Tensor) -> list[Tensor | None]:
    net.zero_grad()
    net(x)[0].square().sum().backward()
    return [p.grad for p in net.parameters()]


def test_gradients_are_the_same_to_the_bit() -> None:
    torch.manual_seed(0)
    net = Sequential(nn.Linear(9, 64), LIF(0.01, dt=0.004), nn.Linear(64, 5), Integrator(0.01, dt=0.004))
    x = 3 * torch.randn(60, 4, 9)
    plain = gradients(net, x)
    with spikes_as_bytes():
        packed = gradients(net, x)
    assert plain[2].abs().sum() > 0
    assert all(torch.equal(a, b) for a, b in zip(plain, packed, strict=True))


def test_spikes_take_a_byte_and_all_else_stays_what_it_is() -> None:
    spikes = (torch.rand(100, 100) > 0.8).float()
    packed = _pack(spikes)
    assert isinstance(packed, tuple) and packed[0].dtype == torch.uint8 and packed[1] == torch.float32
    almost = spikes.clone()
    almost[-1, -1] = 0.5
    for other in (almost, torch.full((100, 100), float("nan")), spikes.long(), spikes[:3], spikes.t()):
        assert _pack(other) is other


def test_double_precision_comes_back_as_such() -> None:
    weight = torch.ones(64, 1, dtype=torch.float64, requires_grad=True)
    with spikes_as_bytes():
        y = torch.ones(64, 64, dtype=torch.float64) @ weight
    y.sum().backward()
    assert weight.grad is not None and weight.grad.dtype == torch.float64 and weight.grad[0].item() == 64
