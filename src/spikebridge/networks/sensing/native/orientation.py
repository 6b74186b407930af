"""Features of patches of a frame, by cells: orientation of gradients, and grey.

Features of a cell are means over its pixels of orientation harmonics and of grey: with the gradient `m e^(i a)` they
are
`m` and `m e^(2 i n a)` for n = 1 to 4. They span the same space as a histogram of nine orientations, to which ridge
regression gives the same response, without sorting pixels into bins.
"""

from functools import cache
from math import sqrt
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from spikebridge.errors import ShapeError
from spikebridge.networks.sensing.native.job import Job, floats
from spikebridge.networks.sensing.native.resampling import check_part
from spikebridge.ops.native.library import int64_fields, pointer_fields
from spikebridge.ops.selection import PICTURES, Operation, Path, always, native_on_pictures, select

# side of a cell [px]
CELL = 4
_NUM_HARMONICS = 4
NUM_FEATURES = 2 + 2 * _NUM_HARMONICS
# bins of the histogram that the harmonics approximate
_NUM_ORIENTATIONS = 9
# added to the strength of a gradient, so that there is an angle
_GRADIENT_FLOOR = 1e-9
# root mean square of a patch without contrast: noise below it is not amplified
_FEATURE_FLOOR = 0.01

ORIENTATION = Operation(
    "features of patches of a picture: orientation of gradients, and grey",
    (
        Path("native", PICTURES, native_on_pictures("spikebridge_orientation")),
        Path("torch", "always: grid_sample, then operation after operation", always),
    ),
    lambda _: (torch.zeros(1, 1, 8, 8),),
)


class _Job(Job):
    """`Orientation` of orientation.h."""

    _fields_ = [
        *pointer_fields("frame"),
        *int64_fields("frame_width", "left", "top", "width", "height", "num_patches", "side"),
        *pointer_fields("levels", "x", "y", "weights", "window"),
        *floats("gradient_floor", "feature_floor"),
        *pointer_fields("features"),
    ]


class Scaling(NamedTuple):
    """The value of each grey level, and a factor of each cell."""

    levels: Float[Tensor, "256"]
    window: Float[Tensor, "N N"]


def sample_features(
    frame: UInt8[np.ndarray, "H W"],
    crop: tuple[int, int, int, int],
    columns: Float[np.ndarray, "K S"],
    rows: Float[np.ndarray, "K S"],
    scaling: Scaling,
) -> Float[Tensor, "K C N N"]:
    """Features of patches of a part of a frame, `crop` [px], by the columns and rows of it that each reads.

    0 is the centre of the first pixel. Beyond the edges of the part, the nearest pixels are read.
    """
    if columns.shape != rows.shape:
        raise ShapeError(f"as many columns as rows were expected, but got {columns.shape} and {rows.shape}")
    if select(ORIENTATION, scaling.levels) == "native":
        return _sample_features_native(frame, crop, columns, rows, scaling)

    left, top, width, height = crop
    num_patches, side = columns.shape
    grid = np.empty((num_patches, side, side, 2), np.float32)
    # -1 and 1 are the outer edges of the picture
    grid[..., 0] = ((2 * columns + 1) / width - 1)[:, None, :]
    grid[..., 1] = ((2 * rows + 1) / height - 1)[:, :, None]

    part = torch.from_numpy(frame[top : top + height, left : left + width].astype(np.int64))
    repeated = scaling.levels[part].expand(num_patches, 1, -1, -1)
    patches = F.grid_sample(repeated, torch.from_numpy(grid), padding_mode="border", align_corners=False)

    return patch_features(patches[:, 0]).mul_(scaling.window)


def _sample_features_native(
    frame: UInt8[np.ndarray, "H W"],
    crop: tuple[int, int, int, int],
    x: Float[np.ndarray, "K S"],
    y: Float[np.ndarray, "K S"],
    scaling: Scaling,
) -> Float[Tensor, "K C N N"]:
    num_patches, side = x.shape
    num_cells, rest = divmod(side, CELL)
    if rest or scaling.window.shape != (num_cells, num_cells):
        raise ShapeError(
            f"patches of whole cells of {CELL} pixels, as many as of the window {tuple(scaling.window.shape)}, were "
            f"expected, but got a side of {side}"
        )

    check_part(crop, frame.shape)
    features = torch.empty(num_patches, NUM_FEATURES, num_cells, num_cells, dtype=torch.float32)

    job = _Job(None, frame.shape[1], *crop, num_patches, side)
    job.gradient_floor = _GRADIENT_FLOOR
    job.feature_floor = _FEATURE_FLOOR
    job.point(frame=np.ascontiguousarray(frame, np.uint8), x=x.astype(np.float32), y=y.astype(np.float32))
    job.point(levels=scaling.levels, weights=_weights(), window=scaling.window, features=features)
    job.run("spikebridge_orientation")

    return features


def patch_features(patches: Float[Tensor, "K S S"]) -> Float[Tensor, "K C N N"]:
    """Features of patches of grey levels, scaled to one root mean square for each patch."""
    side = patches.shape[1]
    parts = _harmonics(patches)
    cells = parts.unflatten(2, (-1, CELL)).sum(3) @ _cell_means(side)
    cells *= _weights().to(patches)[:, None, None]
    cells[:, -1:] -= cells[:, -1:].mean((2, 3), keepdim=True)

    power = cells.square().mean((2, 3))
    oriented = power[:, :-1].sum(1, keepdim=True).sqrt() + _FEATURE_FLOOR
    grey = 3 * power[:, -1:].sqrt() + _FEATURE_FLOOR

    return cells.div_(torch.cat([oriented.expand(-1, cells.shape[1] - 1), grey], 1)[:, :, None, None])


def _harmonics(patches: Float[Tensor, "K S S"]) -> Float[Tensor, "K C S S"]:
    """Strength of the gradient, cosine and sine of the multiples of twice its angle, and grey, of each pixel."""
    num_patches, side = patches.shape[:2]
    padded = F.pad(patches[:, None], (1, 1, 1, 1), "replicate")[:, 0]
    along = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    product = along * down

    # written in place: new memory takes longer than the arithmetic
    parts = patches.new_empty(num_patches, NUM_FEATURES, side, side)
    strength = parts[:, 0]
    cosine = parts[:, 1]
    sine = parts[:, 2]
    torch.add(along.square_(), down.square_(), out=strength).sqrt_().add_(_GRADIENT_FLOOR)
    torch.div(along.sub_(down), strength, out=cosine)
    torch.div(product.mul_(2), strength, out=sine)

    # cosine and sine of the angle n a follow from those of (n - 1) a and (n - 2) a
    doubled = (2 * cosine).div_(strength)[:, None]
    torch.mul(doubled, parts[:, 1:3], out=parts[:, 3:5])[:, 0].sub_(strength)
    for n in range(5, 2 * _NUM_HARMONICS + 1, 2):
        torch.mul(doubled, parts[:, n - 2 : n], out=parts[:, n : n + 2]).sub_(parts[:, n - 4 : n - 2])

    parts[:, -1] = patches
    return parts


@cache
def _cell_means(side: int) -> Float[Tensor, "S N"]:
    return torch.eye(side // CELL, dtype=torch.float32).repeat_interleave(CELL, 0) / CELL**2


@cache
def _weights() -> Float[Tensor, " C"]:
    """Factors of strength, harmonics and grey: higher harmonics count less, as in interpolation between bins."""
    factors = (sqrt(2) * float(np.sinc(n / _NUM_ORIENTATIONS)) ** 2 for n in range(1, _NUM_HARMONICS + 1))
    pairs = [factor for factor in factors for _ in range(2)]
    return torch.tensor([1.0, *pairs, 1.0], dtype=torch.float32)
