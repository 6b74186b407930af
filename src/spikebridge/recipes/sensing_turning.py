"""Pictures turned at random, a few at a time and as they are stored: bytes are turned in a quarter of the time."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor


class Ways(NamedTuple):
    """How each sample is turned: mirrored from left to right, then upside down, then rows and columns swapped."""

    across: Bool[Tensor, " B"]
    down: Bool[Tensor, " B"]
    swap: Bool[Tensor, " B"]


def drawn_ways(count: int) -> Ways:
    """A way for each of some samples; all eight are as likely.

    Args:
        count: of samples.
    """
    return Ways(*(torch.rand(count) < 0.5 for _ in Ways._fields))


def turned_pictures(pictures: Shaped[Tensor, "..."], ways: Ways, axis: int = 0) -> Shaped[Tensor, "..."]:
    """Square pictures, each turned its way.

    Args:
        pictures: rows and columns last.
        ways: of the samples.
        axis: of the samples.

    Example:
        >>> upside_down = Ways(torch.tensor([False]), torch.tensor([True]), torch.tensor([False]))
        >>> turned_pictures(torch.tensor([[[1, 2], [3, 4]]]), upside_down).tolist()
        [[[3, 4], [1, 2]]]
    """
    each = zip(pictures.unbind(axis), *(way.tolist() for way in ways), strict=True)
    return torch.stack([_turned(*one) for one in each], axis)


def turned_pairs(pairs: Float[Tensor, "*T B 2"], ways: Ways, signed: bool = True) -> Float[Tensor, "*T B 2"]:
    """Numbers along `x` and `y`, turned as the pictures are.

    Args:
        pairs: displacements from the middle; with `signed` False lengths, which no mirror changes.
        ways: of the samples.
        signed: see `pairs`.

    Example:
        >>> everything = Ways(*torch.ones(3, 1, dtype=torch.bool))
        >>> turned_pairs(torch.tensor([[1.0, 2.0]]), everything).tolist()
        [[-2.0, -1.0]]
    """
    if signed:
        pairs = torch.where(torch.stack([ways.across, ways.down], 1), -pairs, pairs)
    return torch.where(ways.swap[:, None], pairs.flip(-1), pairs)


def _turned(picture: Tensor, across: bool, down: bool, swap: bool) -> Tensor:
    axes = [axis for axis, way in ((-1, across), (-2, down)) if way]
    mirrored = picture.flip(axes) if axes else picture
    return mirrored.transpose(-1, -2) if swap else mirrored
