"""What is behind the target: the last frame as it would be without it, carried on from frame to frame.

What is around the target is seen in the last frame; what is behind it, in an earlier one, where the target was
elsewhere. The camera may have moved since, so the last frame is laid under the new one (`camera_motion`, whose places
and motions are those here).
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from spikebridge.data.event_bins import Crop
from spikebridge.networks.camera_motion import COVERS, STILL, Motion, camera_motion
from spikebridge.networks.sensing_boxes import middle_of
from spikebridge.networks.sensing_crops import crop_touching


class Room(NamedTuple):
    """The last frame without its target, and how the camera has moved since.

    Args:
        picture: grey levels, and 1 where they are known, else 0.
        motion: where the last frame shows what the new one does.

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
    motion: Motion

    def behind(self, crop: Crop) -> Float[Tensor, "1 2 h w"]:
        """What is behind the target in a part of the new frame; what was not in sight of the last one is not known.

        Args:
            crop: left, top, width and height [px].
        """
        height, width = self.picture.shape[2:]
        left, top, across, down = crop
        x, y = _line(left, across, width), _line(top, down, height)
        (a, b, c), (d, e, f) = self.motion
        there = np.empty((down, across, 2), np.float32)
        np.add((b * y + c)[:, None], a * x, out=there[..., 0])
        np.add((e * y + f)[:, None], d * x, out=there[..., 1])
        seen = F.grid_sample(self.picture, torch.from_numpy(there)[None], padding_mode="border", align_corners=False)
        seen[:, 1] *= torch.from_numpy((np.abs(there[..., 0]) < 1) & (np.abs(there[..., 1]) < 1))
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
        left, top, width, height = crop = crop_touching(middle_of(box).tolist(), covered, frame.shape)
        picture[:, :, top : top + height, left : left + width] = self.behind(crop)
        return Room(picture, camera_motion(new, frame, [believed, box], self.motion))


def new_room(frame: UInt8[np.ndarray, "H W"]) -> Room:
    """Nothing is known of what is behind a target that is seen for the first time.

    Args:
        frame: grey levels.
    """
    return Room(_picture(frame, known=False), STILL)


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


def _after(motion: Motion, first: Motion) -> Motion:
    """A motion of what another one has moved."""
    moved: Motion = motion[:, :2] @ first
    moved[:, 2] += motion[:, 2]
    return moved


def _picture(frame: UInt8[np.ndarray, "H W"], known: bool) -> Float[Tensor, "1 2 H W"]:
    grey = torch.from_numpy(frame.astype(np.float32))
    return torch.stack([grey, torch.full_like(grey, float(known))])[None]


def _line(first: int, number: int, whole: int) -> Float[np.ndarray, " N"]:
    """Where some columns or rows of a frame are."""
    line: Float[np.ndarray, " N"] = (2 * np.arange(first, first + number, dtype=np.float32) + 1) / whole - 1
    return line
