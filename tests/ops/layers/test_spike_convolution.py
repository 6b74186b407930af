"""Convolutions that leave out what is silent, beside PyTorch's own."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spikebridge.neurons import LIF, Sequential
from spikebridge.ops import reference, selection, without_native
from spikebridge.ops.layers import convolution
from spikebridge.ops.layers import convolution as spike_convolution
from spikebridge.ops.layers.convolution import convolve, sparse_outputs, sparse_weight_gradient
from spikebridge.ops.sequence import native

pytestmark = [
    pytest.mark.untyped,
    pytest.mark.skipif(not native.available(), reason=f"no native steps: {native.why_not()}"),
]

LAYERS: dict[str, dict[str, Any]] = {
    "a block": {"in_channels": 16, "out_channels": 64, "kernel_size": 3, "padding": 1},
    "part of a block": {"in_channels": 17, "out_channels": 48, "kernel_size": 3, "bias": False},
    "several blocks": {"in_channels": 20, "out_channels": 160, "kernel_size": (2, 4), "padding": (1, 0)},
    "strides": {"in_channels": 16, "out_channels": 32, "kernel_size": (5, 3), "stride": (3, 2), "padding": (2, 1)},
    "padding beyond the kernel": {"in_channels": 24, "out_channels": 80, "kernel_size": 2, "padding": 3},
}


def spikes(*shape: int, active: float = 0.1, seed: int = 0) -> Tensor:
    """Spikes of any size and sign, in a share of the places."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator) < active) * torch.randn(shape, generator=generator)


def layer(**settings: Any) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(**settings).to(memory_format=torch.channels_last)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who left out what was silent, in order."""
    found: list[str] = []
    for name in ("sparse_outputs", "sparse_weight_gradient"):
        way = getattr(spike_convolution, name)
        monkeypatch.setattr(convolution, name, lambda *given, name=name, way=way: found.append(name) or way(*given))

    monkeypatch.setattr(selection, "CONV_WORK", 0)
    return found


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(("pictures", "threads"), [((1, 4, 7), 1), ((5, 9, 11), 1), ((5, 9, 11), 2), ((40, 14, 14), 2)])
@pytest.mark.parametrize("through", [True, False])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_outputs_and_gradients_are_those_of_pytorch_to_rounding(
    calls: list[str],
    kind: str,
    pictures: tuple[int, int, int],
    through: bool,
    threads: int,
    order: torch.memory_format,
) -> None:
    conv = layer(**LAYERS[kind])
    batch, height, width = pictures
    before = torch.get_num_threads()
    x = spikes(batch, conv.in_channels, height, width).contiguous(memory_format=order).requires_grad_(through)
    inputs = [*conv.parameters(), *[x] * through]
    expected = conv(x)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    torch.set_num_threads(threads)

    try:
        y = convolve(conv, x)
        found = torch.autograd.grad((y * weights).sum(), inputs)
    finally:
        torch.set_num_threads(before)

    assert calls == ["sparse_outputs", "sparse_weight_gradient"]

    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    assert y.is_contiguous(memory_format=torch.channels_last)
    for one, other in zip(found, torch.autograd.grad((expected * weights).sum(), inputs), strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
    num_outputs=st.sampled_from([16, 32, 64, 96]),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    active=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    seed=st.integers(0, 9),
)
def test_whole_numbers_are_summed_exactly(
    sizes: tuple[int, int, int, int],
    num_outputs: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    active: float,
    seed: int,
) -> None:
    if any(side + 2 * pad < length for side, pad, length in zip(sizes[2:], padding, kernel, strict=True)):
        return

    generator = torch.Generator().manual_seed(seed)

    def whole(*shape: int) -> Tensor:
        return torch.randint(-9, 9, shape, generator=generator).float()

    x = spikes(*sizes, active=active, seed=seed).sign()
    weight = whole(num_outputs, sizes[1], *kernel)
    bias = whole(1)
    bias = bias.expand(num_outputs).contiguous()
    expected = torch.conv2d(x, weight.requires_grad_(), bias, stride, padding)
    gradient = whole(*expected.shape)
    (of_weight,) = torch.autograd.grad(expected, weight, gradient)

    assert torch.equal(sparse_outputs(x, weight.detach(), bias, stride, padding), expected)
    assert torch.equal(sparse_weight_gradient(x, gradient, weight.detach(), stride, padding), of_weight)


def test_who_takes_the_quick_way(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    conv = layer(**LAYERS["a block"])
    x = spikes(9, 16, 8, 8)
    others: list[tuple[nn.Conv2d, Tensor]] = [
        (layer(in_channels=16, out_channels=72, kernel_size=3), x),  # not a multiple of 16
        (layer(in_channels=16, out_channels=16, kernel_size=3), x),  # few outputs
        (layer(in_channels=15, out_channels=64, kernel_size=3), x[:, :15]),  # few taps
        (layer(in_channels=64, out_channels=64, kernel_size=1), spikes(9, 64, 8, 8)),
        (layer(in_channels=16, out_channels=64, kernel_size=3, dilation=2), x),
        (layer(in_channels=16, out_channels=64, kernel_size=3, groups=2), x),
        (nn.Conv2d(16, 64, 3), x),  # channels first
        (conv, x + 1),  # everything is active
        (layer(**LAYERS["a block"]).double(), x.double()),
    ]

    for other, signal in others:
        convolve(other, signal).sum().backward()

    for path in (reference, without_native):
        with path():
            convolve(conv, x).sum().backward()

    with torch.no_grad():
        convolve(conv, x)

    assert calls == []

    convolve(conv, spikes(9, 16, 8, 8, active=0.36)).sum().backward()
    assert calls == ["sparse_outputs"]

    monkeypatch.setattr(selection, "CONV_WORK", 2**30)
    convolve(conv, x).sum().backward()

    assert calls == ["sparse_outputs"]


def test_what_cannot_be_convolved_is_refused_as_by_pytorch(calls: list[str]) -> None:
    conv = layer(in_channels=16, out_channels=64, kernel_size=3)
    for x in (spikes(2, 16, 2, 5), spikes(2, 17, 5, 5)):
        with pytest.raises(RuntimeError):
            convolve(conv, x)


def test_a_second_derivative_is_that_of_pytorch(calls: list[str]) -> None:
    conv = layer(**LAYERS["a block"])
    x = spikes(3, 16, 6, 6)
    found = []

    for run in (lambda: convolve(conv, x), lambda: conv(x)):
        (slope,) = torch.autograd.grad(run().square().sum(), conv.weight, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), conv.weight)[0])

    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-3)
    assert calls == ["sparse_outputs", "sparse_weight_gradient"]  # the last derivative is not differentiated again


def test_what_is_no_number_shows(calls: list[str]) -> None:
    conv = layer(**LAYERS["a block"])
    x = spikes(2, 16, 6, 6)
    x[1, 3, 2, 2] = torch.nan
    y = convolve(conv, x)

    assert y[1, :, 1:4, 1:4].isnan().all() and not y[0].isnan().any() and not y[1, :, 5].isnan().any()

    y.sum().backward()
    assert conv.weight.grad is not None
    assert conv.weight.grad[:, 3].isnan().any() and not conv.weight.grad[:, 2].isnan().any()


def test_spiking_layers_in_a_row_learn_as_by_the_plain_steps(calls: list[str]) -> None:
    torch.manual_seed(0)
    parts = nn.Conv2d(2, 16, 3, padding=1), nn.Conv2d(16, 64, 3, padding=1)
    net = Sequential(parts[0], LIF(2.0, dt=1.0), parts[1], LIF(2.0, dt=1.0)).to(memory_format=torch.channels_last)
    x = 3.0 * (torch.rand(6, 4, 2, 8, 8) < 0.2)
    found = []

    for way in (without_native, reference):
        net.zero_grad()
        with way():
            net(x)[0].square().sum().backward()
        found.append([p.grad.clone() for p in net.parameters() if p.grad is not None])

    assert calls == []

    net.zero_grad()
    net(x)[0].square().sum().backward()

    assert calls == ["sparse_outputs", "sparse_weight_gradient"]

    found.append([p.grad for p in net.parameters() if p.grad is not None])
    for one, two, three in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(three, two, rtol=1e-3, atol=1e-3)
