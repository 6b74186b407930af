"""Convolutions with quick gradients beside PyTorch's own."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikebridge.neurons import IF, Sequential
from spikebridge.ops import reference, without_native
from spikebridge.ops.layers import convolution
from spikebridge.ops.layers.convolution import convolve
from spikebridge.ops.sequence import native

pytestmark = pytest.mark.untyped

needs_library = pytest.mark.skipif(not native.available(), reason=f"no native steps: {native.why_not()}")

LAYERS: dict[str, dict[str, Any]] = {
    "one channel": {"in_channels": 1, "out_channels": 32, "kernel_size": 3, "padding": 1},
    "two channels": {"in_channels": 2, "out_channels": 48, "kernel_size": 3, "bias": False},
    "three channels": {"in_channels": 3, "out_channels": 16, "kernel_size": (2, 5), "padding": (0, 3)},
    "stride": {"in_channels": 1, "out_channels": 16, "kernel_size": 5, "stride": (2, 3), "padding": 2},
    "dilation": {"in_channels": 1, "out_channels": 16, "kernel_size": 3, "dilation": 2},
    "odd channels": {"in_channels": 1, "out_channels": 5, "kernel_size": 3},
    "many channels": {"in_channels": 8, "out_channels": 16, "kernel_size": 3},
    "groups": {"in_channels": 4, "out_channels": 16, "kernel_size": 3, "groups": 2},
    "named padding": {"in_channels": 1, "out_channels": 16, "kernel_size": 3, "padding": "same"},
    "circular": {"in_channels": 1, "out_channels": 16, "kernel_size": 3, "padding": 1, "padding_mode": "circular"},
}


def layer(**settings: Any) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(**settings).to(memory_format=torch.channels_last)


def gradients(y: Tensor, *inputs: Tensor) -> list[Tensor]:
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    return list(torch.autograd.grad((y * weights).sum(), inputs))


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(("pictures", "threads"), [((3, 9, 11), 1), ((3, 9, 11), 2), ((70, 28, 28), 2)])
@pytest.mark.parametrize("through", [True, False])
def test_outputs_are_those_of_pytorch_and_gradients_to_rounding(
    kind: str, pictures: tuple[int, int, int], through: bool, threads: int
) -> None:
    conv = layer(**LAYERS[kind])
    batch, height, width = pictures
    before = torch.get_num_threads()
    x = torch.rand(batch, conv.in_channels, height, width, requires_grad=through)
    inputs = [*conv.parameters(), *[x] * through]
    torch.set_num_threads(threads)

    try:
        y = convolve(conv, x)
        found = gradients(y, *inputs)
    finally:
        torch.set_num_threads(before)

    assert torch.equal(y, conv(x))
    for one, other in zip(found, gradients(conv(x), *inputs), strict=True):
        assert one.shape == other.shape
        # sums of tens of thousands of numbers of any sign
        torch.testing.assert_close(one, other, rtol=1e-4, atol=3e-5 * float(other.abs().max()))


@needs_library
def test_few_inputs_take_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    gradients_of = convolution._few_tap_gradients
    monkeypatch.setattr(convolution, "_few_tap_gradients", lambda *given: calls.append(1) or gradients_of(*given))
    x = torch.rand(3, 1, 6, 6)

    for kind in ("dilation", "odd channels", "named padding", "circular"):
        convolve(layer(**LAYERS[kind]), x).sum().backward()

    one = layer(**LAYERS["one channel"])
    convolve(one, x.requires_grad_()).sum().backward()
    convolve(one.double(), x.detach().double()).sum().backward()
    one.float()

    for path in (reference, without_native):
        with path():
            convolve(one, x.detach()).sum().backward()

    assert calls == []

    convolve(one, x.detach()).sum().backward()
    assert calls == [1]


def test_a_second_derivative_is_that_of_pytorch() -> None:
    conv = layer(**LAYERS["one channel"])
    x = torch.rand(3, 1, 6, 6)
    found = []

    for run in (lambda: convolve(conv, x), lambda: conv(x)):
        (slope,) = torch.autograd.grad(run().square().sum(), conv.weight, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), conv.weight)[0])

    torch.testing.assert_close(*found)


def test_a_row_of_layers_convolves_so() -> None:
    net = Sequential(layer(**LAYERS["one channel"]), IF(v_threshold=0.3))
    x = torch.rand(4, 3, 1, 8, 8)
    found = []

    for path in (nullcontext, reference):
        net.zero_grad()
        with path():
            net(x)[0].square().sum().backward()
        found.append([p.grad for p in net.parameters()])

    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)

    assert net(x[:0])[0].shape == (0, 3, 32, 8, 8)
