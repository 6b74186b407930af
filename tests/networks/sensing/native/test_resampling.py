"""Pictures read between their pixels natively are those of `grid_sample`."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from spikebridge.errors import ShapeError
from spikebridge.networks.sensing.native.resampling import MovedPicture, sample_moved, sample_patches
from spikebridge.ops.sequence import native

pytestmark = pytest.mark.skipif(not native.available(), reason="built without a C compiler")


def read(picture: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """A picture at places from -1 to 1, by PyTorch."""
    grid = torch.stack([x, y], -1)
    return F.grid_sample(picture[None], grid[None], padding_mode="border", align_corners=False)[0]


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 1, 7), (3, 9, 1), (4, 17, 20)], ids=str)
@pytest.mark.parametrize("sides", [(3, 5), (33, 16)], ids=str)
def test_patches_are_those_of_pytorch(size: tuple[int, int, int], sides: tuple[int, int]) -> None:
    random, (_, height, width) = np.random.default_rng(0), size
    picture = torch.from_numpy(random.normal(size=size).astype(np.float32))
    x, y = (random.uniform(-3, n + 3, (2, m)).astype(np.float32) for n, m in zip((width, height), sides, strict=True))
    got = sample_patches(picture.mT.contiguous().mT[None], x, y)

    assert got.shape == (2, len(picture), sides[1], sides[0])
    for k in range(2):
        columns = torch.from_numpy(x[k] * 2 + 1) / width - 1
        rows = torch.from_numpy(y[k] * 2 + 1) / height - 1
        rows, columns = torch.meshgrid(rows, columns, indexing="ij")
        torch.testing.assert_close(got[k], read(picture, columns, rows), atol=1e-5, rtol=1e-5)


def test_patches_are_read_between_pixels_by_hand() -> None:
    picture = torch.tensor([[[0.0, 10.0], [20.0, 30.0]]])
    x = np.array([[-5.0, 0.25, 1.0]], np.float32)
    y = np.array([[0.5, np.nan]], np.float32)
    assert sample_patches(picture[None], x, y).tolist() == [[[[10.0, 12.5, 20.0], [0.0, 2.5, 10.0]]]]


@pytest.mark.parametrize("size", [(2, 2), (7, 3), (20, 33)], ids=str)
@pytest.mark.parametrize("turn", [0.0, 0.3])
def test_a_moved_picture_is_that_of_pytorch(size: tuple[int, int], turn: float) -> None:
    random = np.random.default_rng(0)
    picture = torch.from_numpy(random.normal(size=(*size, 2)).astype(np.float32)).permute(2, 0, 1)
    motion = np.array([[1.1, turn, 0.2], [-turn, 0.9, -0.3]], np.float32)
    x, y = (np.linspace(-1.2, 1.1, n, dtype=np.float32) for n in (13, 6))
    got = sample_moved(MovedPicture(picture, motion, x, y))[0]
    columns, rows = torch.from_numpy(np.tensordot(motion, np.stack([*np.meshgrid(x, y), np.ones((6, 13))]), 1)).float()
    expected = read(picture, columns, rows)
    expected[1] *= (columns.abs() < 1) & (rows.abs() < 1)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("picture", [torch.zeros(2, 4, 3), torch.zeros(1, 5, 2).permute(2, 0, 1)], ids=["order", "row"])
def test_a_picture_that_would_be_read_beyond_its_memory_is_refused(picture: Tensor) -> None:
    with pytest.raises(ShapeError, match="channels last"):
        MovedPicture(picture, np.eye(2, 3, dtype=np.float32), *np.zeros((2, 1), np.float32)).job()
    with pytest.raises(ShapeError, match="but got 2 and 1"):
        sample_patches(picture[None], np.zeros((2, 4), np.float32), np.zeros((1, 4), np.float32))
