"""Runs a tracker on a recording, one bin at a time; every protocol uses it.

A tracker is stepped at the end of each bin, `box, state = tracker.step(inputs, state)`, with a state of None at first.
No event after the end of the bin is ever given.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int64
from numpy.typing import NDArray

from spikebridge.errors import ConfigError
from spikebridge.networks.sensing.evaluation.metrics import TrackingScore, score, score_by_bin


@runtime_checkable
class Tracker(Protocol):
    """Anything that tracks one object."""

    def step(self, inputs: Any, state: Any) -> tuple[Any, Any]:
        """The box at the end of this step, and the new state."""


@runtime_checkable
class TrackingSequence(Protocol):
    """A recording with bins of `dt` seconds: frames act from a bin on, and each bin has a box at its end."""

    @property
    def dt(self) -> float:
        """Length of a bin [s]."""

    @property
    def num_bins(self) -> int:
        """How many bins there are."""

    @property
    def frame_bins(self) -> NDArray[np.int64]:
        """The first bin in which each frame acts."""

    @property
    def frame_boxes(self) -> NDArray[np.float64]:
        """Where the target is in each frame, NaN where unknown."""

    @property
    def boxes(self) -> NDArray[np.float64]:
        """Where the target is at the end of each bin, NaN where unknown."""

    def inputs(self, first: int, stop: int) -> Any:
        """What is new in some bins, by name; a `frame` where one has come."""

    def subsample_frames(self, keep_every: int) -> Any:
        """The same recording with fewer frames."""


class TrackingResult(NamedTuple):
    """The boxes of a tracker and the true ones.

    Args:
        boxes: the tracker's.
        truths: at the same times, NaN where unknown.
        bins: of the recording, at whose ends they hold.
        bin_of_frame: which bin after the last frame each one was, from 1.
    """

    boxes: Float[np.ndarray, "N 4"]
    truths: Float[np.ndarray, "N 4"]
    bins: Int64[np.ndarray, " N"]
    bin_of_frame: Int64[np.ndarray, " N"]

    def score(self) -> TrackingScore:
        """All figures over all labelled times."""
        return score(self.boxes, self.truths)

    def report(self) -> dict[str, Any]:
        """All figures by name, and `per_bin`: the same for each bin after a frame, the first one first."""
        per_bin = score_by_bin(self.boxes, self.truths, self.bin_of_frame)
        return {**self.score()._asdict(), "per_bin": [{"bin": m, **one._asdict()} for m, one in per_bin.items()]}


def run_tracker(
    recording: TrackingSequence, tracker: Tracker, first: int, stop: int, given: Mapping[int, NDArray[np.float64]]
) -> Float[np.ndarray, "N 4"]:
    """The boxes of a tracker at the end of each bin, from a new start.

    Args:
        recording: what is tracked.
        tracker: the tracker.
        first: the first bin.
        stop: the bin after the last one.
        given: boxes by frame; each is an input together with its frame.
    """
    state = None
    boxes = []
    newest = np.searchsorted(recording.frame_bins, np.arange(first, stop), side="right") - 1

    for b, k in zip(range(first, stop), newest.tolist(), strict=True):
        inputs = recording.inputs(b, b + 1)
        if "frame" in inputs and k in given:
            inputs = {**inputs, "box": given[k]}
        box, state = tracker.step(inputs, state)
        boxes.append(box)

    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def as_result(recording: TrackingSequence, boxes: Float[np.ndarray, "N 4"], first: int) -> TrackingResult:
    """Boxes of consecutive bins with the true ones.

    Args:
        recording: what was followed.
        boxes: one a bin.
        first: the bin of the first one.
    """
    bins = np.arange(first, first + len(boxes))
    newest = np.searchsorted(recording.frame_bins, bins, side="right") - 1

    return TrackingResult(boxes, recording.boxes[bins], bins, bins - recording.frame_bins[newest] + 1)


def join_results(outputs: Sequence[TrackingResult]) -> TrackingResult:
    """The answers on several recordings, or on parts of one, one after the other.

    Args:
        outputs: at least one.

    Example:
        >>> one = TrackingResult(np.ones((1, 4)), np.ones((1, 4)), np.array([3]), np.array([1]))
        >>> join_results([one, one]).bins.tolist()
        [3, 3]
    """
    return TrackingResult(*(np.concatenate(column) for column in zip(*outputs, strict=True)))


def bin_range(recording: TrackingSequence, frames: range) -> tuple[int, int]:
    """The bins from the first of these frames up to the frame after them.

    Args:
        recording: what is tracked.
        frames: consecutive frames.
    """
    # a last frame may come after the last whole bin
    bins = np.minimum(recording.frame_bins, recording.num_bins)
    return int(bins[frames.start]), int(bins[frames.stop]) if frames.stop < len(bins) else recording.num_bins


def check_frames(frames: range, num_frames: int, num_before: int = 0) -> None:
    """Refuse frames that are not in the recording.

    Args:
        frames: those that are evaluated.
        num_frames: of the recording.
        num_before: number of frames needed before the first one.

    Raises:
        ConfigError: they are not there.
    """
    if not num_before <= frames.start < frames.stop <= num_frames or frames.step != 1:
        raise ConfigError(
            f"frames must be a range inside the {num_frames} of the recording, with {num_before} before it, but got "
            f"{frames}."
        )


def check_first_box(boxes: Float[np.ndarray, "F 4"], frames: range) -> None:
    """Refuse a start without a known box.

    Args:
        boxes: of all frames.
        frames: those that are evaluated.

    Raises:
        ConfigError: the box of the first one is not known.
    """
    if not np.isfinite(boxes[frames.start]).all():
        raise ConfigError(f"the first frame needs a known box, but that of frame {frames.start} is not known.")
