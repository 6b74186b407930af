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
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from spikebridge.data.events.binned import Crop
from spikebridge.networks.sensing.model.backbones import DARK
from spikebridge.networks.sensing.model.boxes import Box, box_center, crop_covering
from spikebridge.ops.layers.alignment import SeenPlaces, align
from spikebridge.ops.layers.resampling import MovedPicture, sample_moved
from spikebridge.ops.selection import select

Motion = Float[np.ndarray, "2 3"]
Numbers = NDArray[np.float32]

COVERS = 1.3
"""Factor of each side of a box that may be covered by the target: boxes are wrong, and a background has no target."""
STILL = np.eye(2, 3, dtype=np.float32)
"""The motion of a static camera."""
_ROWS = 88  # of cells, about
_PLACES = {4: 300, 1: 1500}  # number of cells that are compared, by the factor of their size
_STEPS = 3


def camera_motion(
    now: UInt8[np.ndarray, "H W"], before: UInt8[np.ndarray, "H W"], boxes: list[Box], start: Motion
) -> Motion:
    """The motion of the camera between two frames.

    Args:
        now: grey levels.
        before: of the frame before.
        boxes: their pixels are not used [px].
        start: the last motion; a static camera is tried as well, and the better of both is the first guess.

    Example:
        >>> y, x = np.mgrid[:80, :84]
        >>> wall = (128 + 60 * np.sin(x / 9 + y / 30) + 60 * np.cos(y / 7)).astype(np.uint8)
        >>> motion = camera_motion(wall[:, 4:], wall[:, :80], [], STILL)
        >>> (40 * motion[:, 2]).round(1).tolist()  # what is seen now was four pixels further to the right
        [4.0, 0.0]
    """
    starts = [STILL, start]
    fine = max(1, round(now.shape[0] / _ROWS))
    pictures = [_means(frame, fine) for frame in (now, before)]

    for side, number in _PLACES.items():
        new, last = (np.log(_means(picture, side) + DARK) for picture in pictures)
        if min(new.shape) > 1:  # else it has no slopes
            whole = np.array([[now.shape[1]], [now.shape[0]]], np.float32) / (side * fine)
            away = ~_covered(boxes, new.shape, side * fine)
            starts = [_aligned(_steepest(new, away, whole, number), last, whole, starts)]

    return starts[0]


def _steepest(
    picture: Float[np.ndarray, "h w"], away: NDArray[np.bool_], whole: Float[np.ndarray, "2 1"], number: int
) -> SeenPlaces:
    """The steepest cells away from targets.

    Args:
        picture: of cells.
        away: where no target is.
        whole: how many cells would fill the frame.
        number: of places.
    """
    down, across = (slope.ravel() for slope in np.gradient(picture))
    steep = torch.from_numpy((down**2 + across**2) * away.ravel())
    chosen = steep.topk(min(number, len(steep)), sorted=False).indices.numpy()
    middles = np.stack(np.divmod(chosen, picture.shape[1])[::-1]) + np.float32(0.5)
    places = np.concatenate([2 * middles / whole - 1, np.ones((1, len(chosen)), np.float32)], dtype=np.float32)
    slopes = np.concatenate([whole[0] / 2 * across[chosen] * places, whole[1] / 2 * down[chosen] * places])

    return SeenPlaces(places, picture.ravel()[chosen], away.ravel()[chosen].astype(np.float32), slopes)


def _aligned(
    seen: SeenPlaces, last: Float[np.ndarray, "h w"], whole: Float[np.ndarray, "2 1"], starts: list[Motion]
) -> Motion:
    """Gauss-Newton steps from the best start."""
    beyond = whole / np.array([last.shape[1:], last.shape[:1]], np.float32)  # a frame, in sides of the picture
    if select("alignment") == "native":
        sides = float(beyond[0, 0]), float(beyond[1, 0])
        start = starts[0] if len(starts) == 1 else min(starts, key=lambda one: align(seen, last, sides, one, 0)[1])
        return align(seen, last, sides, start, _STEPS)[0]

    picture = torch.from_numpy(last)[None, None]

    def compared(motion: Numbers) -> tuple[Numbers, Numbers]:
        """The difference at each place, and its weight."""
        there = motion @ seen.places
        grid = torch.from_numpy((there + 1) * beyond - 1).T[None, None]
        found = F.grid_sample(picture, grid, padding_mode="border", align_corners=False)
        return found.numpy().ravel() - seen.shows, seen.counts * (np.abs(there).max(0) < 1)

    motion = starts[0] if len(starts) == 1 else min(starts, key=lambda one: _misfit(*compared(one)))
    for _ in range(_STEPS):
        off, counted = compared(motion)
        typical = 2 * np.partition(np.abs(off), len(off) // 2)[len(off) // 2] + 0.01
        weighed = seen.slopes * (counted / (1 + (off / typical) ** 2))

        # the small term leaves the motion unchanged where there is no contrast
        step = np.linalg.solve(weighed @ seen.slopes.T + 1e-3 * np.eye(6, dtype=np.float32), weighed @ off)
        motion = motion - motion[:, :2] @ step.reshape(2, 3)

    return motion


def _misfit(off: Float[np.ndarray, " N"], counted: Float[np.ndarray, " N"]) -> float:
    """The mean difference; a place outside the frame counts as the largest one."""
    return float((counted * np.abs(off).clip(max=1) + (1 - counted)).mean())


def _covered(boxes: list[Box], cells: tuple[int, ...], side: int) -> NDArray[np.bool_]:
    """Which cells of a frame a target may cover."""
    y, x = (side * (np.arange(n) + 0.5) for n in cells)
    covered = np.zeros(cells, bool)
    for left, top, width, height in boxes:
        beside = np.abs(x - left - width / 2) <= COVERS * width / 2
        above = np.abs(y - top - height / 2) <= COVERS * height / 2
        covered |= above[:, None] & beside

    return covered


def _means(picture: Numbers | NDArray[np.uint8], side: int) -> Numbers:
    """Means of square cells; incomplete cells at the lower and the right edge are left out."""
    if side == 1:
        return picture.astype(np.float32)

    rows, columns = (n // side for n in picture.shape)
    high = np.zeros((rows, side * columns), np.float32)
    means = np.zeros((rows, columns), np.float32)

    for i in range(side):
        high += picture[i : side * rows : side, : side * columns]

    for i in range(side):
        means += high[:, i::side]

    means /= side * side
    return means


class Background(NamedTuple):
    """The last frame without its target, and the motion of the camera since.

    Args:
        picture: grey levels, and 1 where they are known, else 0.
        motion: from positions of the new frame to those of the last.

    Example:
        >>> frame = np.full((40, 60), 50, np.uint8)
        >>> frame[10:20, 10:20] = 200  # the target
        >>> box = np.array([10.0, 10.0, 10.0, 10.0])
        >>> background = initial_background(frame).updated(frame, box, frame, np.zeros(4))
        >>> grey, known = background.behind((0, 0, 60, 40))[0]
        >>> known[15, 15].item(), known[15, 40].item()
        (0.0, 1.0)
        >>> frame = np.roll(frame, 20, 1)  # the target moves, and uncovers the background
        >>> background = background.updated(frame, np.array([30.0, 10.0, 10.0, 10.0]), frame, np.zeros(4))
        >>> grey, known = background.behind((0, 0, 60, 40))[0]
        >>> known[15, 15].item(), known[15, 35].item(), round(grey[15, 35].item())
        (1.0, 1.0, 50)
    """

    picture: Float[Tensor, "1 2 H W"]
    motion: Motion

    @property
    def is_native(self) -> bool:
        """Whether plain C reads the background."""
        return min(self.picture.shape[2:]) > 1 and select("resampling", self.picture) == "native"

    def through(self, crop: Crop) -> MovedPicture:
        """The background, and the places of a part of the new frame.

        Args:
            crop: left, top, width and height [px].
        """
        height, width = self.picture.shape[2:]
        left, top, across, down = crop
        picture = self.picture.contiguous(memory_format=torch.channels_last)[0]

        return MovedPicture(picture, self.motion, _line(left, across, width), _line(top, down, height))

    def behind(self, crop: Crop) -> Float[Tensor, "1 2 h w"]:
        """The background in a part of the new frame; unknown outside the last frame.

        Args:
            crop: left, top, width and height [px].
        """
        if self.is_native:
            return sample_moved(self.through(crop))[None]

        _, motion, x, y = self.through(crop)
        (a, b, c), (d, e, f) = motion
        there = np.empty((len(y), len(x), 2), np.float32)
        np.add((b * y + c)[:, None], a * x, out=there[..., 0])
        np.add((e * y + f)[:, None], d * x, out=there[..., 1])
        seen = F.grid_sample(self.picture, torch.from_numpy(there)[None], padding_mode="border", align_corners=False)

        if there.size and np.abs(there[[0, -1]][:, [0, -1]]).max() >= 1:  # of the corners, which lie furthest out
            seen[:, 1] *= torch.from_numpy((np.abs(there[..., 0]) < 1) & (np.abs(there[..., 1]) < 1))

        return seen

    def since(self, earlier: "Background") -> "Background":
        """The background of an earlier frame than the last one, registered to the new frame.

        Args:
            earlier: the background at the last frame.
        """
        return Background(earlier.picture, _after(earlier.motion, self.motion))

    def updated(
        self,
        frame: UInt8[np.ndarray, "H W"],
        box: Float[np.ndarray, "4"],
        new: UInt8[np.ndarray, "H W"],
        predicted: Float[np.ndarray, "4"],
    ) -> "Background":
        """The background after a new frame.

        Args:
            frame: the last one.
            box: of the target in it [px].
            new: the new one.
            predicted: box of the target in the new one [px].
        """
        picture = _picture(frame, known=True)
        covered = (COVERS * box[2:] / 2).tolist()
        left, top, width, height = crop = crop_covering(box_center(box).tolist(), covered, frame.shape)
        picture[:, :, top : top + height, left : left + width] = self.behind(crop)

        return Background(picture, camera_motion(new, frame, [predicted, box], self.motion))


def initial_background(frame: UInt8[np.ndarray, "H W"]) -> Background:
    """At the first frame nothing is known of the background behind the target.

    Args:
        frame: grey levels.
    """
    return Background(_picture(frame, known=False), STILL)


def log_contrast(pictures: Float[Tensor, "B 1 H W"], behind: Float[Tensor, "B 2 H W"]) -> Float[Tensor, "B 1 H W"]:
    """Logarithm of the brightness of pictures relative to the background; 0 where that is unknown.

    Args:
        pictures: grey levels.
        behind: grey levels, and 1 where they are known.

    Example:
        >>> behind = torch.tensor([[[[42.0, 42.0]], [[1.0, 0.0]]]])
        >>> log_contrast(torch.full((1, 1, 1, 2), 92.0), behind)  # of 42 + 8 and 92 + 8
        tensor([[[[0.6931, 0.0000]]]])
    """
    return behind[:, 1:] * ((pictures + DARK).log() - (behind[:, :1] + DARK).log())


def _after(motion: Motion, first: Motion) -> Motion:
    """The product of two motions."""
    moved: Motion = motion[:, :2] @ first
    moved[:, 2] += motion[:, 2]
    return moved


def _picture(frame: UInt8[np.ndarray, "H W"], known: bool) -> Float[Tensor, "1 2 H W"]:
    picture = np.empty((*frame.shape, 2), np.float32)
    picture[..., 0], picture[..., 1] = frame, known
    return torch.from_numpy(picture).permute(2, 0, 1)[None]


def _line(first: int, number: int, whole: int) -> Float[np.ndarray, " N"]:
    """Positions of columns or rows of a frame."""
    line: Float[np.ndarray, " N"] = (2 * np.arange(first, first + number, dtype=np.float32) + 1) / whole - 1
    return line
