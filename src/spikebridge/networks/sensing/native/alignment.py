"""The affine motion between two pictures: Gauss-Newton steps with small weights for outliers.

Positions are `(x, y)` from -1 at one edge of a frame to 1 at the other. A motion maps positions of the first picture to
those of the second one: `motion @ (x, y, 1)`.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from numpy.typing import NDArray

from spikebridge.networks.sensing.native.job import Job, doubles, floats
from spikebridge.ops.native.library import int64_fields, pointer_fields
from spikebridge.ops.selection import Operation, Path, always, has_native, is_reference, select

Motion = Float[np.ndarray, "2 3"]

_NUM_STEPS = 3
# a difference this many times the median counts half
_TYPICAL_FACTOR = 2.0
# and with this many units more, for pictures that hardly differ
_MIN_TYPICAL = 0.01
# added to the curvature: without contrast the motion stays as it is
_DAMPING = 1e-3

ALIGNMENT = Operation(
    "steps of the motion between two pictures",
    (
        Path("native", "outside `reference()`", lambda: not is_reference() and has_native("spikebridge_align")),
        Path("torch", "always: grid_sample and products of matrices", always),
    ),
    lambda _: (),
)


class _Job(Job):
    """`Alignment` of alignment.h."""

    _fields_ = [
        *int64_fields("height", "width", "number"),
        *pointer_fields("picture", "positions", "values", "weights", "slopes"),
        *floats("extent_x", "extent_y"),
        *int64_fields("num_steps"),
        *pointer_fields("motion"),
        *doubles("misfit"),
    ]


class ComparedCells(NamedTuple):
    """Cells of the first picture: positions `(x, y, 1)`, values, weights of 0 or 1, derivatives by the motion."""

    positions: Float32[np.ndarray, "3 N"]
    values: Float32[np.ndarray, " N"]
    weights: Float32[np.ndarray, " N"]
    slopes: Float32[np.ndarray, "6 N"]


def align(
    cells: ComparedCells, picture: Float32[np.ndarray, "H W"], extent: tuple[float, float], starts: list[Motion]
) -> Motion:
    """The motion after some steps from the best start. `extent` are the sides of a frame, in those of the picture."""
    if select(ALIGNMENT) == "native":
        return _align_native(cells, picture, extent, starts)
    return _align_torch(cells, picture, extent, starts)


def _align_native(
    cells: ComparedCells, picture: NDArray[np.float32], extent: tuple[float, float], starts: list[Motion]
) -> Motion:
    best = starts[0]
    if len(starts) > 1:
        best = min(starts, key=lambda start: _run_steps(cells, picture, extent, start, 0)[1])

    return _run_steps(cells, picture, extent, best, _NUM_STEPS)[0]


def _run_steps(
    cells: ComparedCells, picture: NDArray[np.float32], extent: tuple[float, float], motion: Motion, num_steps: int
) -> tuple[Motion, float]:
    """The motion after the steps, and the mean difference before them, at most 1 a cell."""
    motion = np.array(motion, np.float32)
    columns = {name: np.ascontiguousarray(column, np.float32) for name, column in cells._asdict().items()}
    job = _Job(*picture.shape, len(cells.values), extent_x=extent[0], extent_y=extent[1], num_steps=num_steps)
    job.point(picture=np.ascontiguousarray(picture, np.float32), motion=motion, **columns)
    job.run("spikebridge_align")

    return motion, job.misfit


def _align_torch(
    cells: ComparedCells, picture: NDArray[np.float32], extent: tuple[float, float], starts: list[Motion]
) -> Motion:
    whole = torch.from_numpy(picture)[None, None]
    sides = np.array(extent, np.float32)[:, None]

    def compare(motion: Motion) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The difference at each cell, and its weight: nothing counts from beyond the frame."""
        target = motion @ cells.positions
        grid = torch.from_numpy((target + 1) * sides - 1).T[None, None]
        sampled = F.grid_sample(whole, grid, padding_mode="border", align_corners=False)
        return sampled.numpy().ravel() - cells.values, cells.weights * (np.abs(target).max(0) < 1)

    motion = starts[0] if len(starts) == 1 else min(starts, key=lambda start: _misfit(*compare(start)))
    for _ in range(_NUM_STEPS):
        difference, weights = compare(motion)
        median = np.partition(np.abs(difference), len(difference) // 2)[len(difference) // 2]
        typical = _TYPICAL_FACTOR * median + _MIN_TYPICAL
        weighted = cells.slopes * (weights / (1 + (difference / typical) ** 2))

        curvature = weighted @ cells.slopes.T + _DAMPING * np.eye(6, dtype=np.float32)
        step = np.linalg.solve(curvature, weighted @ difference)
        motion = motion - motion[:, :2] @ step.reshape(2, 3)

    return motion


def _misfit(difference: Float[np.ndarray, " N"], weights: Float[np.ndarray, " N"]) -> float:
    """The mean difference; a cell outside the frame counts as the largest one."""
    return float((weights * np.abs(difference).clip(max=1) + (1 - weights)).mean())
