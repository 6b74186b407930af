"""A convolution with fixed weights gives what its layer gives, natively and in PyTorch."""

import pytest
import torch
from torch import Tensor, nn

from spikebridge.ops import without_native
from spikebridge.ops.layers.fixed_convolution import FixedConvolution
from spikebridge.ops.selection import select
from spikebridge.ops.sequence import native

needs_library = pytest.mark.skipif(not native.available(), reason="built without a C compiler")

LAYERS = {
    "tiles": nn.Conv2d(17, 35, 3, padding=1),
    "tiles, no padding, no bias": nn.Conv2d(16, 16, 3, bias=False),
    "stride 2": nn.Conv2d(9, 20, 3, 2, 1),
    "one channel": nn.Conv2d(1, 16, 5, 2, 2),
    "few outputs": nn.Conv2d(8, 8, 3, padding=1),
    "few outputs, stride 2": nn.Conv2d(3, 5, (1, 3), (1, 2), (0, 1)),
    "a product a place": nn.Conv2d(6, 3, 1),
}


@needs_library
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("size", [(1, 5, 3), (2, 16, 16), (3, 7, 18)], ids=str)
def test_outputs_are_those_of_the_layer(name: str, size: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    layer, (number, height, width) = LAYERS[name].requires_grad_(False), size
    x = torch.randn(number, height, width, 2 * layer.in_channels).permute(0, 3, 1, 2)
    for signal in (x[:, layer.in_channels :], x[:, : layer.in_channels].contiguous()):
        expected = layer(signal)
        assert select("fixed convolution", signal, layer) == "native"
        torch.testing.assert_close(FixedConvolution(layer)(signal), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(FixedConvolution(layer, relu=True)(signal), expected.relu(), atol=1e-5, rtol=1e-5)
        with without_native():
            torch.testing.assert_close(FixedConvolution(layer)(signal), expected, atol=0.0, rtol=0.0)


@needs_library
@pytest.mark.parametrize("name", ["tiles", "stride 2"])
def test_two_threads_give_what_one_gives(name: str) -> None:
    layer = FixedConvolution(LAYERS[name].requires_grad_(False), relu=True)
    x, threads = torch.randn(2, layer.layer.in_channels, 40, 40), torch.get_num_threads()
    outputs: list[Tensor] = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            outputs.append(layer(x))
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(*outputs, atol=0.0, rtol=0.0)


@needs_library
def test_what_is_no_number_stays_none_behind_relu() -> None:
    layer = FixedConvolution(nn.Conv2d(1, 1, 1).requires_grad_(False), relu=True)
    assert layer(torch.full((1, 1, 2, 2), torch.nan)).isnan().all()


def test_a_layer_whose_hooks_must_run_is_called_itself() -> None:
    layer, seen = nn.Conv2d(1, 1, 3), []
    layer.register_forward_hook(lambda *call: seen.append(call))
    FixedConvolution(layer)(torch.zeros(1, 1, 4, 4))
    assert len(seen) == 1


def test_weights_of_another_precision_are_refused() -> None:
    layer = FixedConvolution(nn.Conv2d(1, 1, 1, dtype=torch.float64).requires_grad_(False))
    with pytest.raises(RuntimeError, match="should be the same"):
        layer(torch.zeros(1, 1, 2, 2))
