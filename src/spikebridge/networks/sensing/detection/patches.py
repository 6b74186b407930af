"""Patches around a target, cell by cell: orientation of gradients, grey, colours, and the share of the target."""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

from spikebridge.networks.sensing.detection.colour_model import colour_classes, nearest_pixels, unit_steps
from spikebridge.networks.sensing.model.backbones import LOG_OFFSET
from spikebridge.networks.sensing.model.boxes import Box, box_center, crop_covering
from spikebridge.networks.sensing.native.orientation import CELL, Scaling, sample_features

# pixels that are read beyond a patch [px]
_BORDER = 2.0


class ColourFrame(NamedTuple):
    """A frame: grey levels, and red, green and blue where the camera has colours."""

    grey: UInt8[np.ndarray, "H W"]
    colours: UInt8[np.ndarray, "H W 3"] | None = None

    @property
    def richest(self) -> NDArray[np.uint8]:
        """The colours, or the grey levels where there are none."""
        return self.grey if self.colours is None else self.colours


class Cells(NamedTuple):
    """Features of the cells of patches, and the share of the target in the colours of each cell."""

    features: Float[np.ndarray, "K C N N"]
    shares: Float[np.ndarray, "K N N"]


def grey_features(
    frame: UInt8[np.ndarray, "H W"],
    box: Box,
    sides: Float[np.ndarray, "K 2"],
    offsets: Float[np.ndarray, "K 2"],
    num_pixels: int,
) -> Float[np.ndarray, "K C N N"]:
    """Features of patches of these sides and offsets from the centre of a box [px], each of `num_pixels` a side."""
    center = box_center(box)
    half = (sides / 2 + np.abs(offsets)).max(0) + _BORDER
    crop = crop_covering(center.tolist(), half.tolist(), frame.shape, min_size=1)
    steps = unit_steps(num_pixels)
    columns, rows = (
        (center[axis] - crop[axis] - 0.5 + offsets[:, axis : axis + 1] + sides[:, axis : axis + 1] * steps)
        for axis in (0, 1)
    )

    return sample_features(frame, crop, columns, rows, _scaling(num_pixels // CELL)).numpy()


def read_cells(
    picture: ColourFrame,
    box: Box,
    sides: Float[np.ndarray, "2"],
    offsets: Float[np.ndarray, "K 2"],
    num_cells: int,
    shares: Float[np.ndarray, " K"],
) -> Cells:
    """The cells of patches at offsets from the centre of a box [px], by the target's share in classes of colours."""
    grey = grey_features(picture.grey, box, np.repeat(sides[None], len(offsets), 0), offsets, num_cells * CELL)
    center = box_center(box)
    width, height = sides.tolist()
    parts = [
        _coloured(nearest_pixels(picture.richest, center + offset, (width, height), 2 * num_cells), shares)
        for offset in offsets
    ]

    return Cells(np.concatenate([grey, np.stack([part for part, _ in parts])], 1), np.stack([one for _, one in parts]))


def _coloured(
    pixels: UInt8[np.ndarray, "S S *C"], shares: Float[np.ndarray, " K"]
) -> tuple[Float[np.ndarray, "C N N"], Float[np.ndarray, "N N"]]:
    """Opponent colours, where there are any, and the share of the target, both without their mean; and the share."""
    share = _cell_means(shares[colour_classes(pixels)])
    features = [share - share.mean()]
    if pixels.ndim == 3:
        red, green, blue = np.moveaxis(np.log(_cell_means(pixels) + np.float32(LOG_OFFSET)), 2, 0)
        opponents = (red - green, (red + green) / 2 - blue)
        features = [*(opponent - opponent.mean() for opponent in opponents), *features]

    return np.stack(features, dtype=np.float32), share


def _cell_means(pixels: NDArray[np.float32] | NDArray[np.uint8]) -> NDArray[np.float32]:
    # sums of every second row, then column: faster than a mean over two new axes
    levels = pixels.astype(np.float32)
    rows = levels[::2] + levels[1::2]
    return ((rows[:, ::2] + rows[:, 1::2]) / 4).astype(np.float32)


@cache
def _scaling(num_cells: int) -> Scaling:
    levels = (torch.arange(256, dtype=torch.float32) + LOG_OFFSET).log()
    return Scaling(levels, torch.ones(num_cells, num_cells, dtype=torch.float32))
