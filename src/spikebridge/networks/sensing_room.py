"""What is behind the target: the last frame as it would be without it, carried on from frame to frame.

What is around the target is seen in the last frame; what is behind it, in an earlier one, where the target was
elsewhere. The camera may have moved since. So the last frame is laid under the new one: an affine map, found by
Gauss-Newton steps on logarithms of both (B. Lucas and T. Kanade, IJCAI 1981; steps as of S. Baker and I. Matthews,
IJCV 56, 2004), where places that do not follow the others count little.

Places are `(x, y)` from -1 at one edge of a frame to 1 at the other.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from spikebridge.data.event_bins import Crop
from spikebridge.networks.sensing_crops import crop_touching

COVERS = 1.3
"""A target may cover so much more than its box, as a factor of each side: boxes are wrong, and rooms must be bare."""
_ROWS = 88  # about so many of a frame are looked at, and a quarter of them first
_PLACES = (300, 1500)  # of each of both
_STEPS = 3


class Room(NamedTuple):
    """The last frame without its target, and how the camera has moved since.

    Args:
        picture: grey levels, and 1 where they are known, else 0.
        motion: where the last frame shows what the new one does: `motion @ (x, y, 1)`.

    Example:
        >>> frame = np.full((40, 60), 50, np.uint8)
        >>> frame[10:20, 10:20] = 200  # the target
        >>> room = new_room(frame).followed(frame, np.array([10.0, 10.0, 10.0, 10.0]), frame, np.zeros(4))
        >>> grey, known = room.behind((0, 0, 60, 40))[0]
        >>> known[15, 15].item(), known[15, 40].item()
        (0.0, 1.0)
        >>> frame = np.roll(frame, 20, 1)  # it goes on, and what was behind it is seen
        >>> room = room.followed(frame, np.array([30.0, 10.0, 10.0, 10.0]), frame, np.zeros(4))
        >>> grey, known = room.behind((0, 0, 60, 40))[0]
        >>> known[15, 15].item(), known[15, 35].item(), round(grey[15, 35].item())
        (1.0, 1.0, 50)
    """

    picture: Float[Tensor, "1 2 H W"]
    motion: Float[Tensor, "2 3"]

    def behind(self, crop: Crop) -> Float[Tensor, "1 2 h w"]:
        """What is behind the target in a part of the new frame; what was not in sight of the last one is not known.

        Args:
            crop: left, top, width and height [px].
        """
        height, width = self.picture.shape[2:]
        x, y = _lines(height, width, crop)
        (a, b, c), (d, e, f) = self.motion.tolist()
        there = torch.empty(len(y), len(x), 2)
        torch.add((b * y + c)[:, None], a * x, out=there[..., 0])
        torch.add((e * y + f)[:, None], d * x, out=there[..., 1])
        seen = F.grid_sample(self.picture, there[None], padding_mode="border", align_corners=False)
        seen[:, 1] *= (there[..., 0].abs() < 1) & (there[..., 1].abs() < 1)
        return seen

    def since(self, earlier: "Room") -> "Room":
        """The room of a frame earlier than the last one, as the new frame sees it.

        Args:
            earlier: of the last frame.
        """
        return Room(earlier.picture, _after(earlier.motion, self.motion))

    def followed(
        self,
        frame: UInt8[np.ndarray, "H W"],
        box: Float[np.ndarray, "4"],
        new: UInt8[np.ndarray, "H W"],
        believed: Float[np.ndarray, "4"],
    ) -> "Room":
        """The room once a new frame has come.

        Args:
            frame: the last one.
            box: where the target was in it [px].
            new: the new one.
            believed: where the target may be in that [px].
        """
        picture = _picture(frame, known=True)
        covered = (COVERS * box[2:] / 2).tolist()
        left, top, width, height = crop = crop_touching((box[:2] + box[2:] / 2).tolist(), covered, frame.shape)
        picture[:, :, top : top + height, left : left + width] = self.behind(crop)
        return Room(picture, camera_motion(new, frame, [believed, box], self.motion))


def new_room(frame: UInt8[np.ndarray, "H W"]) -> Room:
    """Nothing is known of what is behind a target that is seen for the first time.

    Args:
        frame: grey levels.
    """
    return Room(_picture(frame, known=False), torch.eye(2, 3))


def change(pictures: Float[Tensor, "B 1 H W"], behind: Float[Tensor, "B 2 H W"]) -> Float[Tensor, "B 1 H W"]:
    """How much brighter pictures are than what is behind the target, as a logarithm; 0 where that is not known.

    Args:
        pictures: grey levels.
        behind: grey levels, and 1 where they are known.

    Example:
        >>> behind = torch.tensor([[[[42.0, 42.0]], [[1.0, 0.0]]]])
        >>> change(torch.full((1, 1, 1, 2), 92.0), behind)  # of 42 + 8 and 92 + 8
        tensor([[[[0.6931, 0.0000]]]])
    """
    return behind[:, 1:] * ((pictures + 8).log() - (behind[:, :1] + 8).log())


def camera_motion(
    now: UInt8[np.ndarray, "H W"],
    before: UInt8[np.ndarray, "H W"],
    boxes: list[Float[np.ndarray, "4"]],
    start: Float[Tensor, "2 3"],
) -> Float[Tensor, "2 3"]:
    """Where the frame before shows what a frame does.

    Args:
        now: grey levels.
        before: of the frame before.
        boxes: what they cover is not looked at [px].
        start: what is expected: the motion before this one; no motion at all where that fits better.
    """
    size = torch.tensor([now.shape[1], now.shape[0]], dtype=torch.float32)
    covered = torch.tensor(np.stack(boxes), dtype=torch.float32)
    half = COVERS * covered[:, 2:] / size
    middle = (2 * covered[:, :2] + covered[:, 2:]) / size - 1
    pictures = torch.from_numpy(np.stack([now, before]).astype(np.float32))[:, None]
    fine = F.avg_pool2d(pictures, max(1, round(now.shape[0] / _ROWS)), ceil_mode=True)
    starts = [torch.eye(2, 3), start]
    for both, number in zip((F.avg_pool2d(fine, 4, ceil_mode=True), fine), _PLACES, strict=True):
        rows, columns = both.shape[2:]
        if min(rows, columns) < 2:
            continue  # too few to have slopes
        lines = _lines(rows, columns, (0, 0, columns, rows))
        beside, above = ((line - middle[:, i : i + 1]).abs() > half[:, i : i + 1] for i, line in enumerate(lines))
        away = (beside[:, None, :] | above[:, :, None]).all(0).flatten()
        places = torch.stack([*torch.meshgrid(*lines, indexing="xy"), torch.ones(rows, columns)], -1).reshape(-1, 3)
        starts = [_aligned((both + 8).log(), places, away, starts, number)]
    return starts[0]


def _aligned(both: Tensor, places: Tensor, away: Tensor, starts: list[Tensor], number: int) -> Float[Tensor, "2 3"]:
    """Gauss-Newton steps from the best start, on the steepest places of the first of two pictures away from targets."""
    rows, columns = both.shape[2:]
    down, across = (slope.flatten() for slope in torch.gradient(both[0, 0]))
    chosen = ((down.square() + across.square()) * away).topk(min(number, rows * columns)).indices
    target, places, counts = both[0].flatten()[chosen], places[chosen], away[chosen].float()
    slopes = torch.cat([columns / 2 * across[chosen, None] * places, rows / 2 * down[chosen, None] * places], 1)

    def compared(motion: Tensor) -> tuple[Tensor, Tensor]:
        """By how much each place is off, and whether it counts."""
        there = places @ motion.T
        found = F.grid_sample(both[1:], there[None, None], padding_mode="border", align_corners=False)
        return found.flatten() - target, counts * (there.abs().amax(1) < 1)

    motion = starts[0] if len(starts) == 1 else min(starts, key=lambda one: _misfit(*compared(one)))
    for _ in range(_STEPS):
        off, counted = compared(motion)
        typical = 2 * off.abs().median() + 0.01
        weight = counted / (1 + (off / typical).square())
        weighed = slopes * weight[:, None]
        # the little that is added leaves the motion as it is where nothing is to be seen
        step = torch.linalg.solve(weighed.T @ slopes + 1e-3 * torch.eye(6), weighed.T @ off)
        motion = motion - motion[:, :2] @ step.view(2, 3)
    return motion


def _misfit(off: Tensor, counted: Tensor) -> float:
    """The mean difference; one that is not in sight is as large as any."""
    return float((counted * off.abs().clamp(max=1) + (1 - counted)).mean())


def _after(motion: Tensor, first: Tensor) -> Float[Tensor, "2 3"]:
    """A motion of what another one has moved."""
    return motion[:, :2] @ first + F.pad(motion[:, 2:], (2, 0))


def _picture(frame: UInt8[np.ndarray, "H W"], known: bool) -> Float[Tensor, "1 2 H W"]:
    grey = torch.from_numpy(frame.astype(np.float32))
    return torch.stack([grey, torch.full_like(grey, float(known))])[None]


def _lines(height: int, width: int, crop: Crop) -> tuple[Float[Tensor, " w"], Float[Tensor, " h"]]:
    """Where the columns and the rows of a part of a frame are."""
    left, top, across, down = crop
    x = (torch.arange(left, left + across) + 0.5) / width * 2 - 1
    y = (torch.arange(top, top + down) + 0.5) / height * 2 - 1
    return x, y
