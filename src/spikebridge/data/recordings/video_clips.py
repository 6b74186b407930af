"""Video clips with one box a frame, from the OTB and VOT benchmarks: training data for the frame pathway.

The object moves too far between their frames for a simulation of events.

Sources: Y. Wu, J. Lim, M.-H. Yang, IEEE TPAMI 37:1834 (2015); M. Kristan et al., VOT2015, ICCV workshops (2015).
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from spikebridge.data.catalog import data_folder
from spikebridge.data.events.binned import EventBins
from spikebridge.data.io.images import ImageFiles, list_images
from spikebridge.data.recordings.recording import Recording, read_boxes, valid_boxes
from spikebridge.errors import ConfigError, DataError

_BOX_FILES = ("groundtruth_rect.txt", "groundtruth.txt")
_IMAGE_FOLDERS = ("img", "imgs", "color")
# the benchmarks count pixels from 1
_FIRST_PIXEL = 1.0


class VideoClip(NamedTuple):
    """Frames of a clip, and the box of the object in each; NaN if it is unknown."""

    name: str
    frames: ImageFiles
    boxes: Float[np.ndarray, "F 4"]

    @property
    def num_unlabelled(self) -> int:
        """Number of frames without a box."""
        return int(np.isnan(self.boxes).any(axis=1).sum())


def load_clip(folder: Path, allow_unlabelled: bool = False) -> VideoClip:
    """One clip: a folder `img`, `imgs` or `color` of images, and `groundtruth_rect.txt` or `groundtruth.txt`.

    Args:
        folder: of the clip.
        allow_unlabelled: keep frames after the last box, without one; boxes are not interpolated.

    Returns:
        Grey frames, and boxes from the upper left corner, counted from 0; of a polygon the box around it.

    Raises:
        DataError: a file is missing or damaged, the numbers of frames and boxes differ, or the first box is unusable.

    Example:
        >>> load_clip(Path(getfixture("tmp_path")))
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: ...: expected groundtruth_rect.txt or groundtruth.txt, but neither is there.
    """
    path = _first_existing(folder, _BOX_FILES)
    if path is None:
        raise DataError(f"{folder}: expected {' or '.join(_BOX_FILES)}, but neither is there.")

    frames = ImageFiles(list_images(_first_existing(folder, _IMAGE_FOLDERS) or folder / _IMAGE_FOLDERS[0]))
    boxes = read_boxes(path, origin=_FIRST_PIXEL)
    missing = len(frames) - len(boxes)
    if missing < 0 or (missing and not allow_unlabelled):
        remedy = "allow_unlabelled=True keeps frames without a box." if missing > 0 else "Images are missing."
        counts = f"{len(frames)} images and {len(boxes)} boxes"
        raise DataError(f"{folder}: expected one box a frame, but got {counts}. {remedy}")

    boxes = valid_boxes(np.concatenate([boxes, np.full((missing, 4), np.nan)]), frames.height, frames.width)
    # a tracker starts at the first box
    if np.isnan(boxes[0]).any():
        raise DataError(f"{path}, line 1: expected a box inside the image, but the first one is empty or outside.")

    return VideoClip(folder.name, frames, boxes)


def clip_recording(folder: Path, dt: float = 1 / 240, frame_rate: float = 30.0) -> Recording:
    """A clip as a recording of a camera without events: frames and boxes on a clock with bins of `dt` seconds.

    Clips do not hold their frame rate; those of OTB and VOT have 25 to 30 frames a second.
    """
    if not (dt > 0 and 0 < frame_rate <= 1 / dt):
        raise ConfigError(f"a clip needs bins above 0 s and at most one frame a bin, but got {dt=}, {frame_rate=}.")

    clip = load_clip(folder, allow_unlabelled=True)
    times = np.arange(len(clip.frames)) / frame_rate
    num_bins = round(len(clip.frames) / frame_rate / dt)
    no_pixels = np.empty(0, np.uint16)
    edges = np.zeros(num_bins + 1, np.int64)
    events = EventBins(no_pixels, no_pixels, np.empty(0, bool), edges, clip.frames.height, clip.frames.width)

    # a box holds at the end of the bin that is nearest to its frame
    boxes = np.full((num_bins, 4), np.nan)
    ends = np.round(times / dt).astype(np.int64) - 1
    boxes[ends[1:]] = clip.boxes[1:]

    return Recording(clip.name, dt, events, clip.frames, times, np.zeros(len(times), np.int64), clip.boxes, boxes)


def find_clips(folder: Path | None = None) -> list[Path]:
    """The folders of all clips below a folder, in the order of their names; recordings with events are no clips."""
    folder = data_folder() / "tracking" if folder is None else folder
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of clips, but there is none.")

    return [clip for clip in sorted(folder.iterdir()) if is_clip(clip)]


def is_clip(folder: Path) -> bool:
    """True if a folder holds images and a file of boxes, but no events."""
    has_boxes = _first_existing(folder, _BOX_FILES) is not None
    has_images = _first_existing(folder, _IMAGE_FOLDERS) is not None
    return has_boxes and has_images and not any(folder.glob("events*"))


def _first_existing(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).exists()), None)
