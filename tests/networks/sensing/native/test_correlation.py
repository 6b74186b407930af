"""The correlation at some displacements is a sum of products."""

import numpy as np
import pytest
import torch

from spikebridge.errors import ShapeError
from spikebridge.networks.sensing.native.correlation import correlate
from spikebridge.ops.sequence import native

pytestmark = pytest.mark.skipif(not native.available(), reason="built without a C compiler")


@pytest.mark.parametrize("sizes", [(6, 5, 8), (3, 7, 3), (1, 1, 1), (4, 3, 16)], ids=str)
@pytest.mark.parametrize("share", [1.0, 0.3, 0.0])
def test_sums_are_those_of_the_definition(sizes: tuple[int, int, int], share: float) -> None:
    height, width, num_channels = sizes
    torch.manual_seed(0)
    picture = torch.randn(sizes) * (torch.rand(height, width, 1) < share)
    template = torch.randn(height + 12, width + 13, num_channels)
    rows = range(2, 13)
    columns = range(3, 14)
    expected = [
        [float((picture.double() * template[i : i + height, j : j + width].double()).sum()) for j in columns]
        for i in rows
    ]

    picture = picture.permute(2, 0, 1)[None]
    np.testing.assert_allclose(correlate(picture, template, rows, columns), expected, atol=1e-4)
    np.testing.assert_allclose(correlate(picture, template, range(2, 3), range(3, 6)), [expected[0][:3]], atol=1e-4)


def test_a_template_that_is_too_small_is_refused() -> None:
    with pytest.raises(ShapeError, match="expected displacements up to 2 and 1, but got 3 and 0"):
        correlate(torch.ones(1, 2, 3, 3), torch.ones(5, 4, 2), range(4), range(1))
