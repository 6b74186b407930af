"""Pictures read between their pixels, bilinear: patches of several sizes, or through the camera's motion.

Beyond the edges the nearest pixels are repeated. Natively the numbers are those of `grid_sample`, to rounding.
"""

import ctypes
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from numpy import ndarray
from torch import Tensor

from spikebridge.errors import ShapeError
from spikebridge.networks.sensing.native.job import Job
from spikebridge.ops.native.library import int64_fields, pointer_fields
from spikebridge.ops.selection import PICTURES, Operation, Path, always, native_on_pictures, select

RESAMPLING = Operation(
    "pictures read between their pixels: patches, or positions that a motion takes elsewhere",
    (
        Path("native", PICTURES, native_on_pictures("spikebridge_search_region")),
        Path("torch", "always: grid_sample", always),
    ),
    lambda _: (torch.zeros(1, 2, 8, 8),),
)


class _Sampling(Job):
    """`Sampling` of resampling.h."""

    _fields_ = [
        *int64_fields("channels", "height", "width", "num_patches", "rows", "columns"),
        *pointer_fields("picture", "x", "y", "patches"),
    ]


class MovedSampling(Job):
    """`MovedSampling` of resampling.h."""

    _fields_ = [
        *int64_fields("height", "width", "rows", "columns"),
        *pointer_fields("picture", "x", "y"),
        ("motion", ctypes.c_float * 6),
        *pointer_fields("sampled"),
        *int64_fields("step"),
    ]


class MovedPicture(NamedTuple):
    """A picture, grey levels and 1 where they are known, read where `motion @ (x, y, 1)` takes columns and rows.

    Positions are from -1 at one edge to 1 at the other.
    """

    picture: Float[Tensor, "2 H W"]
    motion: Float32[ndarray, "2 3"]
    x: Float32[ndarray, " S"]
    y: Float32[ndarray, " R"]

    @property
    def is_native(self) -> bool:
        """True if plain C reads the picture; it takes two pixels of a row and of a column at a time."""
        return min(self.picture.shape[1:]) > 1 and select(RESAMPLING, self.picture) == "native"

    def job(self) -> MovedSampling:
        """The arguments of plain C; refuses a picture that would be read beyond its memory."""
        _, height, width = self.picture.shape
        if min(height, width) < 2 or self.picture.stride() != (1, 2 * width, 2):
            raise ShapeError(
                f"a picture of two rows and columns at least, channels last, was expected, but got {height} x {width} "
                f"with strides {self.picture.stride()}"
            )

        job = MovedSampling(height, width, len(self.y), len(self.x))
        job.point(picture=self.picture, x=self.x, y=self.y)
        job.motion[:] = self.motion.ravel().tolist()

        return job


def sample_patches(
    pictures: Float[Tensor, "1 C H W"], columns: Float32[ndarray, "K S"], rows: Float32[ndarray, "K R"]
) -> Float[Tensor, "K C R S"]:
    """Patches of a picture, by the columns and rows that each reads; 0 is the centre of the first pixel."""
    if len(columns) != len(rows):
        raise ShapeError(f"columns and rows of as many patches were expected, but got {len(columns)} and {len(rows)}")
    if select(RESAMPLING, pictures) == "native":
        return _sample_patches_native(pictures[0], columns, rows)

    height, width = pictures.shape[2:]
    grid = np.empty((len(columns), rows.shape[1], columns.shape[1], 2), np.float32)
    # -1 and 1 are the outer edges of the picture
    grid[..., 0] = ((2 * columns + 1) / width - 1)[:, None, :]
    grid[..., 1] = ((2 * rows + 1) / height - 1)[:, :, None]
    repeated = pictures.expand(len(columns), -1, -1, -1)

    return F.grid_sample(repeated, torch.from_numpy(grid), padding_mode="border", align_corners=False)


def _sample_patches_native(
    picture: Float[Tensor, "C H W"], columns: Float32[ndarray, "K S"], rows: Float32[ndarray, "K R"]
) -> Float[Tensor, "K C R S"]:
    num_patches, num_columns = columns.shape
    patches = picture.new_empty(num_patches, len(picture), rows.shape[1], num_columns)

    job = _Sampling(*picture.shape, num_patches, rows.shape[1], num_columns)
    job.point(
        picture=picture.contiguous(),
        x=np.ascontiguousarray(columns, np.float32),
        y=np.ascontiguousarray(rows, np.float32),
        patches=patches,
    )
    job.run("spikebridge_sample_patches")

    return patches


def sample_moved(moved: MovedPicture) -> Float[Tensor, "1 2 R S"]:
    """A moved picture; beyond its edges nothing is known."""
    if moved.is_native:
        return _sample_moved_native(moved)[None]

    picture, motion, x, y = moved
    grid = np.empty((len(y), len(x), 2), np.float32)
    for axis, (a, b, c) in enumerate(motion):
        np.add((b * y + c)[:, None], a * x, out=grid[..., axis])

    sampled = F.grid_sample(picture[None], torch.from_numpy(grid)[None], padding_mode="border", align_corners=False)

    # the corners are furthest out: where they are inside, everything is
    if grid.size and np.abs(grid[[0, -1]][:, [0, -1]]).max() >= 1:
        sampled[:, 1] *= torch.from_numpy((np.abs(grid[..., 0]) < 1) & (np.abs(grid[..., 1]) < 1))

    return sampled


def _sample_moved_native(moved: MovedPicture) -> Float[Tensor, "2 R S"]:
    sampled = moved.picture.new_empty(len(moved.y), len(moved.x), 2)
    job = moved.job()
    job.point(sampled=sampled)
    job.step = 2
    job.run("spikebridge_sample_moved")

    return sampled.permute(2, 0, 1)


def check_part(crop: tuple[int, int, int, int], shape: tuple[int, ...]) -> None:
    """Refuses a part of a frame that sticks out of it: plain C would read beyond its memory."""
    left, top, width, height = crop
    if not (0 <= left < left + width <= shape[1] and 0 <= top < top + height <= shape[0]):
        raise ShapeError(f"a part inside of a frame of {shape[0]} x {shape[1]} was expected, but got {crop}")
