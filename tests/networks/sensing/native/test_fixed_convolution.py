"""A convolution with fixed weights gives what its layer gives, natively and in PyTorch."""

import pytest
import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError
from spikebridge.networks.sensing.native.fixed_convolution import FIXED_CONVOLUTION, FixedConvolution, FixedConvolutions
from spikebridge.ops import without_native
from spikebridge.ops.selection import select
from spikebridge.ops.sequence import native

pytestmark = pytest.mark.untyped

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
    layer = LAYERS[name].requires_grad_(False)
    number, height, width = size
    x = torch.randn(number, height, width, 2 * layer.in_channels).permute(0, 3, 1, 2)

    for signal in (x[:, layer.in_channels :], x[:, : layer.in_channels].contiguous()):
        expected = layer(signal)
        assert select(FIXED_CONVOLUTION, signal, layer) == "native"

        torch.testing.assert_close(FixedConvolution(layer)(signal), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(FixedConvolution(layer, relu_from=0)(signal), expected.relu(), atol=1e-5, rtol=1e-5)
        some = torch.cat([expected[:, :2], expected[:, 2:].relu()], 1)
        torch.testing.assert_close(FixedConvolution(layer, relu_from=2)(signal), some, atol=1e-5, rtol=1e-5)

        with without_native():
            torch.testing.assert_close(FixedConvolution(layer)(signal), expected, atol=0.0, rtol=0.0)
            torch.testing.assert_close(FixedConvolution(layer, relu_from=2)(signal), some, atol=0.0, rtol=0.0)


@needs_library
@pytest.mark.parametrize("name", ["tiles", "few outputs", "a product a place"])
@pytest.mark.parametrize("is_last", [True, False], ids=["channels last", "channels first"])
def test_a_shortcut_is_added_before_outputs_are_rectified(name: str, is_last: bool) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name].requires_grad_(False)
    x = torch.randn(2, layer.out_channels + layer.in_channels, 5, 7)
    x = x.contiguous(memory_format=torch.channels_last) if is_last else x
    around = x[:, : layer.out_channels]
    convolved = layer(x[:, layer.out_channels :])
    fixed = FixedConvolution(layer, relu_from=0, shortcut=True)
    torch.testing.assert_close(fixed(x), (around + convolved).relu(), atol=1e-5, rtol=1e-5)

    with without_native():
        torch.testing.assert_close(fixed(x), (around + convolved).relu(), atol=0.0, rtol=0.0)


def test_a_shortcut_needs_outputs_of_the_size_of_the_inputs() -> None:
    with pytest.raises(ConfigError, match="pad half a kernel"):
        FixedConvolution(nn.Conv2d(8, 8, 3), shortcut=True)


@needs_library
def test_layers_one_behind_the_other_give_what_each_gives() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 24, 3, 2, 1), nn.Conv2d(16, 8, 3, padding=1), nn.Conv2d(8, 5, 1)]
    fixed = FixedConvolutions(*(FixedConvolution(one.requires_grad_(False), 0, k == 1) for k, one in enumerate(layers)))

    for size in ((2, 3, 9, 12), (1, 3, 7, 5)):
        x = torch.randn(size)
        between = layers[0](x).relu()
        expected = layers[2]((between[:, :8] + layers[1](between[:, 8:])).relu()).relu()
        torch.testing.assert_close(fixed(x), expected, atol=1e-5, rtol=1e-5)

        with without_native():
            torch.testing.assert_close(fixed(x), expected, atol=1e-6, rtol=1e-5)


def test_layers_that_do_not_fit_behind_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="as many channels behind it"):
        FixedConvolutions(FixedConvolution(nn.Conv2d(1, 2, 3)), FixedConvolution(nn.Conv2d(3, 1, 1)))


@needs_library
def test_pictures_smaller_than_a_kernel_are_refused() -> None:
    layers = FixedConvolutions(*(FixedConvolution(nn.Conv2d(1, 1, 3).requires_grad_(False)) for _ in range(2)))
    with pytest.raises(ShapeError, match="needs pictures that are no smaller"):
        layers(torch.zeros(1, 1, 4, 4))


@needs_library
@pytest.mark.parametrize("name", ["tiles", "stride 2"])
def test_two_threads_give_what_one_gives(name: str) -> None:
    layer = FixedConvolution(LAYERS[name].requires_grad_(False), relu_from=0)
    x = torch.randn(2, layer.layer.in_channels, 40, 40)
    threads = torch.get_num_threads()
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
    layer = FixedConvolution(nn.Conv2d(1, 1, 1).requires_grad_(False), relu_from=0)
    assert layer(torch.full((1, 1, 2, 2), torch.nan)).isnan().all()


def test_a_layer_whose_hooks_must_run_is_called_itself() -> None:
    layer = nn.Conv2d(1, 1, 3)
    seen = []
    layer.register_forward_hook(lambda *call: seen.append(call))
    FixedConvolution(layer)(torch.zeros(1, 1, 4, 4))

    assert len(seen) == 1


def test_weights_of_another_precision_are_refused() -> None:
    layer = FixedConvolution(nn.Conv2d(1, 1, 1, dtype=torch.float64).requires_grad_(False))
    with pytest.raises(RuntimeError, match="should be the same"):
        layer(torch.zeros(1, 1, 2, 2))


@needs_library
def test_a_layer_that_becomes_single_has_weights_of_single_precision() -> None:
    conv = nn.Conv2d(2, 3, 1, dtype=torch.float64).requires_grad_(False)
    layer = FixedConvolution(conv)
    x = torch.randn(1, 2, 4, 4)
    torch.testing.assert_close(layer.float()(x), conv(x), atol=1e-6, rtol=1e-6)
