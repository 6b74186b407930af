"""What is seen around a box: a picture scaled so that every target fills the same share of it.

Boxes are `(x, y, w, h)` with the upper left corner, in pixels of the picture.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

SIDE = 64
"""Side of a sight [its own px]."""
CONTEXT = 2.6
"""Side of a sight, in sides of a square target."""
SMALLEST = 12.0
"""Smaller targets are looked at as if they had this side [px]."""


def sight_side(boxes: Float[Tensor, "B 4"]) -> Float[Tensor, " B"]:
    """How much of a picture is seen around a box: the side of the square [px].

    Example:
        >>> sight_side(torch.tensor([[0.0, 0.0, 40.0, 10.0]])).item()  # 2.6 times the root of 400
        52.0
    """
    return CONTEXT * boxes[:, 2:].prod(1).clamp(min=0).sqrt().clamp(min=SMALLEST)


def sights(pictures: Float[Tensor, "B C H W"], boxes: Float[Tensor, "B 4"]) -> Float[Tensor, "B C S S"]:
    """Pictures around boxes, all at one scale; where they stick out the nearest pixels are repeated.

    Args:
        pictures: frames, or events laid out.
        boxes: what is in the middle of each sight.

    Example:
        >>> box = torch.tensor([[20.0, 20.0, 64 / 2.6, 64 / 2.6]])  # a sight of 64 px: nothing is scaled
        >>> picture = torch.arange(100.0).expand(1, 1, 100, 100)
        >>> seen = sights(picture, box)
        >>> round(seen[0, 0, 0, 1].item() - seen[0, 0, 0, 0].item(), 3)
        1.0
    """
    return resampled(pictures, boxes[:, :2] + boxes[:, 2:] / 2, sight_side(boxes)[:, None].expand(-1, 2), SIDE)


def resampled(
    pictures: Float[Tensor, "B C H W"], middles: Float[Tensor, "B 2"], sides: Float[Tensor, "B 2"], size: int
) -> Float[Tensor, "B C S S"]:
    """Rectangles of pictures as squares of `size` pixels, bilinear.

    Args:
        pictures: pixel i covers `[i, i + 1)`.
        middles: of the rectangles, `(x, y)` [px].
        sides: width and height of them [px].
        size: of what comes out.

    Example:
        >>> resampled(torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[1.0, 0.5]]), torch.ones(1, 2), 1).item()
        2.0
    """
    grid = grid_around(pictures, middles, sides, size)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def grid_around(
    pictures: Float[Tensor, "B C H W"], middles: Float[Tensor, "B 2"], sides: Float[Tensor, "B 2"], size: int
) -> Float[Tensor, "B S S 2"]:
    """The places of `resampled`, from -1 at one edge of the picture to 1 at the other.

    Args:
        pictures: as for `resampled`, and so on.
        middles: of the rectangles.
        sides: width and height of them.
        size: of what comes out.
    """
    steps = (torch.arange(size, dtype=middles.dtype, device=middles.device) + 0.5) / size - 0.5
    # -1 and 1 are the outer edges of the picture
    x = 2 * (middles[:, :1] + sides[:, :1] * steps) / pictures.shape[3] - 1
    y = 2 * (middles[:, 1:] + sides[:, 1:] * steps) / pictures.shape[2] - 1
    return torch.stack([x[:, None, :].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], -1)


def target_mask(boxes: Float[Tensor, "B 4"], num_cells: int) -> Float[Tensor, "B 1 N N"]:
    """A soft ellipse in the middle of a sight: 1 on the target, 0 away from it.

    Args:
        boxes: of the sight; only their shape counts.
        num_cells: along each side.
    """
    half = 0.55 * boxes[:, 2:] / sight_side(boxes)[:, None]
    steps = cell_steps(num_cells, like=boxes)
    x, y = steps / half[:, :1], steps / half[:, 1:]
    away = (x.square()[:, None, :] + y.square()[:, :, None]).sqrt()
    return torch.sigmoid(4 * (1 - away)).unsqueeze(1)


def cell_steps(num_cells: int, like: Tensor) -> Float[Tensor, " N"]:
    """Where cells look, from the middle of a sight, in parts of its side; a stride starts at the first pixel.

    Args:
        num_cells: along a side.
        like: has the type and the device.
    """
    stride = SIDE // num_cells
    return (torch.arange(num_cells, dtype=like.dtype, device=like.device) * stride + 0.5) / SIDE - 0.5
