"""The background: the last frame without its target, updated from frame to frame.

The pixels around the target come from the last frame, those behind it from an earlier frame in which the target was
elsewhere. The camera may have moved since, so the last frame is registered to the new one by an affine motion
(`camera_motion`): Gauss-Newton steps on the logarithm of both frames (B. Lucas and T. Kanade, IJCAI 1981; steps of
S. Baker and I. Matthews, IJCV 56, 2004), coarse to fine, with small weights for outliers.

Positions are `(x, y)` from -1 at one edge of a frame to 1 at the other. A motion maps positions of the new frame to
those of the frame before: `motion @ (x, y, 1)`.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from spikebridge.data.events.binned import Crop
from spikebridge.networks.sensing.model.backbones import LOG_OFFSET
from spikebridge.networks.sensing.model.boxes import Box, box_center, crop_covering
from spikebridge.networks.sensing.native.alignment import ComparedCells, Motion, align
from spikebridge.networks.sensing.native.resampling import MovedPicture, sample_moved

# factor of each side of a box that may be covered by the target: boxes are wrong, and a background has no target
COVER_FACTOR = 1.3
# the motion of a static camera
NO_MOTION = np.eye(2, 3, dtype=np.float32)
# rows of cells, about: larger frames are averaged first
_NUM_ROWS = 88
# number of cells that are compared, by the factor of their size, coarse to fine
_NUM_CELLS = {4: 300, 1: 1500}


def camera_motion(
    frame: UInt8[np.ndarray, "H W"], before: UInt8[np.ndarray, "H W"], boxes: list[Box], start: Motion
) -> Motion:
    """The motion of the camera from the frame before; pixels of the boxes are not used [px].

    `start` is the last motion. A static camera is tried as well, and the better of both is the first guess.
    """
    starts = [NO_MOTION, start]
    fine = max(1, round(frame.shape[0] / _NUM_ROWS))
    pictures = [_cell_means(picture, fine) for picture in (frame, before)]

    for side, number in _NUM_CELLS.items():
        new, last = (np.log(_cell_means(picture, side) + LOG_OFFSET) for picture in pictures)
        # a single row or column has no slopes
        if min(new.shape) > 1:
            size = np.array([[frame.shape[1]], [frame.shape[0]]], np.float32) / (side * fine)
            is_background = ~_covered(boxes, new.shape, side * fine)
            cells = _steepest_cells(new, is_background, size, number)

            # a frame, in sides of the picture, which lacks incomplete cells
            extent = size / np.array([last.shape[1:], last.shape[:1]], np.float32)
            starts = [align(cells, last, (float(extent[0, 0]), float(extent[1, 0])), starts)]

    return starts[0]


def _steepest_cells(
    picture: Float[np.ndarray, "h w"], is_background: NDArray[np.bool_], size: Float[np.ndarray, "2 1"], number: int
) -> ComparedCells:
    """The steepest cells away from targets; `size` is how many cells would fill the frame."""
    down, across = (slope.ravel() for slope in np.gradient(picture))
    steepness = torch.from_numpy((down**2 + across**2) * is_background.ravel())
    chosen = steepness.topk(min(number, len(steepness)), sorted=False).indices.numpy()

    centers = np.stack(np.divmod(chosen, picture.shape[1])[::-1]) + np.float32(0.5)
    positions = np.concatenate([2 * centers / size - 1, np.ones((1, len(chosen)), np.float32)], dtype=np.float32)
    slopes = np.concatenate([size[0] / 2 * across[chosen] * positions, size[1] / 2 * down[chosen] * positions])

    return ComparedCells(positions, picture.ravel()[chosen], is_background.ravel()[chosen].astype(np.float32), slopes)


def _covered(boxes: list[Box], cells: tuple[int, ...], side: int) -> NDArray[np.bool_]:
    """True for cells of a frame that a target may cover."""
    y, x = (side * (np.arange(n) + 0.5) for n in cells)
    covered = np.zeros(cells, bool)

    for left, top, width, height in boxes:
        columns = np.abs(x - left - width / 2) <= COVER_FACTOR * width / 2
        rows = np.abs(y - top - height / 2) <= COVER_FACTOR * height / 2
        covered |= rows[:, None] & columns

    return covered


def _cell_means(picture: NDArray[np.float32] | NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    if side == 1:
        return picture.astype(np.float32)

    rows, columns = (n // side for n in picture.shape)
    row_sums = np.zeros((rows, side * columns), np.float32)
    means = np.zeros((rows, columns), np.float32)

    # sums of strided rows, then of strided columns: faster than a mean over two new axes
    for i in range(side):
        row_sums += picture[i : side * rows : side, : side * columns]

    for i in range(side):
        means += row_sums[:, i::side]

    means /= side * side
    return means


class Background(NamedTuple):
    """The last frame without its target, grey levels and 1 where they are known, and the motion of the camera since."""

    picture: Float[Tensor, "1 2 H W"]
    motion: Motion

    def part(self, crop: Crop) -> MovedPicture:
        """The background at the positions of a part of the new frame."""
        height, width = self.picture.shape[2:]
        left, top, num_columns, num_rows = crop
        picture = self.picture.contiguous(memory_format=torch.channels_last)[0]

        return MovedPicture(
            picture, self.motion, _positions(left, num_columns, width), _positions(top, num_rows, height)
        )

    def behind(self, crop: Crop) -> Float[Tensor, "1 2 h w"]:
        """The background in a part of the new frame; unknown outside the last frame."""
        return sample_moved(self.part(crop))

    def since(self, earlier: "Background") -> "Background":
        """The background of an earlier frame than the last one, registered to the new frame."""
        motion: Motion = earlier.motion[:, :2] @ self.motion
        motion[:, 2] += earlier.motion[:, 2]
        return Background(earlier.picture, motion)

    def updated(
        self,
        frame: UInt8[np.ndarray, "H W"],
        box: Float[np.ndarray, "4"],
        new_frame: UInt8[np.ndarray, "H W"],
        predicted: Float[np.ndarray, "4"],
    ) -> "Background":
        """The background after a new frame, by the last frame and the boxes of the target in both [px]."""
        picture = _picture(frame, known=True)
        covered = (COVER_FACTOR * box[2:] / 2).tolist()
        left, top, width, height = crop = crop_covering(box_center(box).tolist(), covered, frame.shape)
        picture[:, :, top : top + height, left : left + width] = self.behind(crop)

        return Background(picture, camera_motion(new_frame, frame, [predicted, box], self.motion))


def initial_background(frame: UInt8[np.ndarray, "H W"]) -> Background:
    """The background at the first frame, where nothing is known behind the target."""
    return Background(_picture(frame, known=False), NO_MOTION)


def log_contrast(pictures: Float[Tensor, "B 1 H W"], behind: Float[Tensor, "B 2 H W"]) -> Float[Tensor, "B 1 H W"]:
    """Logarithm of the brightness of pictures relative to the background; 0 where that is unknown."""
    return behind[:, 1:] * ((pictures + LOG_OFFSET).log() - (behind[:, :1] + LOG_OFFSET).log())


def _picture(frame: UInt8[np.ndarray, "H W"], known: bool) -> Float[Tensor, "1 2 H W"]:
    picture = np.empty((*frame.shape, 2), np.float32)
    picture[..., 0] = frame
    picture[..., 1] = known
    return torch.from_numpy(picture).permute(2, 0, 1)[None]


def _positions(first: int, number: int, size: int) -> Float[np.ndarray, " N"]:
    """Positions of columns or rows of a frame."""
    positions: Float[np.ndarray, " N"] = (2 * np.arange(first, first + number, dtype=np.float32) + 1) / size - 1
    return positions
