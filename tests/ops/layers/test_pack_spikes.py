"""Spikes kept as bytes: the same gradients from less memory."""

import pytest
import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.neurons import LIF, Integrator, Sequential
from spikebridge.ops import pack_spikes, reference
from spikebridge.ops.layers import _spike_packing, linear
from spikebridge.ops.layers._spike_packing import _pack

pytestmark = pytest.mark.untyped


def gradients(net: Sequential, x: Tensor) -> list[Tensor | None]:
    net.zero_grad()
    net(x)[0].square().sum().backward()
    return [p.grad for p in net.parameters()]


def test_gradients_are_the_same_to_the_bit() -> None:
    torch.manual_seed(0)
    net = Sequential(nn.Linear(9, 64), LIF(0.01, dt=0.004), nn.Linear(64, 5), Integrator(0.01, dt=0.004))
    x = 3 * torch.randn(60, 4, 9)
    plain = gradients(net, x)

    with pack_spikes():
        packed = gradients(net, x)

    assert plain[2].abs().sum() > 0
    assert all(torch.equal(a, b) for a, b in zip(plain, packed, strict=True))


def test_spikes_take_a_byte_and_all_else_stays_what_it_is() -> None:
    spikes = (torch.rand(100, 100) > 0.8).float()
    packed = _pack(spikes)

    assert isinstance(packed, tuple) and packed[0].dtype == torch.uint8 and packed[1] == torch.float32

    almost = spikes.clone()
    # one number, the last, is no spike
    almost[-1, -1] = 0.5
    for other in (almost, torch.full((100, 100), float("nan")), spikes.long(), spikes[:3], spikes.t()):
        assert _pack(other) is other


def test_pictures_are_packed_as_they_lie() -> None:
    spikes = (torch.rand(2, 8, 20, 20) > 0.8).float().contiguous(memory_format=torch.channels_last)
    packed = _pack(spikes)
    assert isinstance(packed, tuple) and packed[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(packed[0].float(), spikes)


@pytest.mark.parametrize("last", [0.0, 1.0, 0.5])
def test_all_blocks_are_looked_at(monkeypatch: pytest.MonkeyPatch, last: float) -> None:
    monkeypatch.setattr(_spike_packing, "BLOCK_SIZE", 1000)
    # the last number lies in the fifth block, which is not full
    numbers = torch.zeros(4097)
    numbers[-1] = last
    packed = _pack(numbers)

    assert isinstance(packed, tuple) == (last != 0.5)
    assert not isinstance(packed, tuple) or torch.equal(packed[0].float(), numbers)


@pytest.mark.parametrize("num_outputs", [5, 70])
@pytest.mark.parametrize("active", [0.1, 0.7])
def test_a_product_reads_bytes_in_parts(monkeypatch: pytest.MonkeyPatch, num_outputs: int, active: float) -> None:
    monkeypatch.setattr(linear, "PART_SIZE", 7000)
    torch.manual_seed(0)
    layer = nn.Linear(90, num_outputs)
    x = (torch.rand(1000, 90) < active).float()
    weights = torch.randn(1000, num_outputs)
    found = []

    for signal in (x.clone().requires_grad_(), x.clone().requires_grad_()):
        layer.zero_grad()
        if found:
            y = layer(signal)
        else:
            with pack_spikes():
                y = linear.linear(layer, signal)
            assert y.grad_fn is not None
            assert sorted(str(t.dtype) for t in y.grad_fn.saved_tensors) == ["torch.float32", "torch.uint8"]  # type: ignore[attr-defined]

        (y * weights).sum().backward()
        found.append([signal.grad, *(p.grad for p in layer.parameters())])

    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


def test_bytes_have_no_second_derivative() -> None:
    layer = nn.Linear(90, 70)
    x = torch.ones(200, 90, requires_grad=True)

    for path, refused in ((pack_spikes, True), (reference, False)):
        with path():
            y = linear.linear(layer, x)
        if refused:
            with pytest.raises(ConfigError, match="bytes"):
                torch.autograd.grad(y.square().sum(), layer.weight, create_graph=True)
        else:
            torch.autograd.grad(y.square().sum(), layer.weight, create_graph=True)


def test_double_precision_comes_back_as_such() -> None:
    weight = torch.ones(64, 1, dtype=torch.float64, requires_grad=True)
    with pack_spikes():
        y = torch.ones(64, 64, dtype=torch.float64) @ weight

    y.sum().backward()
    assert weight.grad is not None and weight.grad.dtype == torch.float64 and weight.grad[0].item() == 64
