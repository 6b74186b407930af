"""The correlation with a template at every place is that of its sums."""

import pytest
import torch
import torch.nn.functional as F

from spikebridge.errors import ShapeError
from spikebridge.networks.sensing.native.correlation import TEMPLATE_FITS, template_fits
from spikebridge.ops.selection import select
from spikebridge.ops.sequence import native

pytestmark = pytest.mark.skipif(not native.available(), reason="built without a C compiler")


@pytest.mark.parametrize(
    "size", [(1, 1, 5, 5, 3), (2, 8, 32, 32, 32), (3, 5, 7, 18, 4), (1, 3, 19, 6, 11), (1, 2, 1, 3, 9)], ids=str
)
@pytest.mark.parametrize("is_last", [True, False], ids=["channels last", "channels first"])
def test_fits_are_those_of_a_convolution(size: tuple[int, ...], is_last: bool) -> None:
    torch.manual_seed(0)
    *shape, side = size
    pictures = torch.randn(shape)
    template = torch.randn(1, shape[1], side, side)
    pictures = pictures.contiguous(memory_format=torch.channels_last) if is_last else pictures

    assert select(TEMPLATE_FITS, pictures) == "native"

    before = side // 2
    after = side - side // 2 - 1
    expected = F.conv2d(F.pad(pictures, (before, after, before, after)), template)[:, 0] / template.square().sum()
    torch.testing.assert_close(template_fits(pictures, template), expected, atol=1e-5, rtol=1e-5)


def test_fits_are_sums_of_products() -> None:
    picture = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    template = torch.zeros(1, 1, 3, 3)
    template[0, 0, 1, 1:] = torch.tensor([1.0, 2.0])  # of a place, and of the one to the right: (f + 2 f') / 5
    expected = [[1.0, 1.6, 0.6], [2.8, 3.4, 1.2], [4.6, 5.2, 1.8]]
    torch.testing.assert_close(template_fits(picture, template), torch.tensor([expected]), atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("shape", [(1, 2, 3, 3), (1, 1, 3, 4), (2, 1, 3, 3)])
def test_other_templates_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="N, N"):
        template_fits(torch.zeros(2, 1, 5, 5), torch.zeros(shape))
