"""Runs a tracker on a recording, one bin at a time; every protocol uses it.

A tracker is stepped at the end of each bin, `box, state = tracker.step(inputs, state)`, with a state of None at first.
No event after the end of the bin is ever given.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int64
from numpy.typing import NDArray

from spikebridge.data.recordings.recording import Recording
from spikebridge.errors import ConfigError
from spikebridge.networks.sensing.evaluation.metrics import TrackingScore, score, score_by_bin


@runtime_checkable
class Tracker(Protocol):
    """A tracker of one object."""

    def step(self, inputs: Any, state: Any) -> tuple[Any, Any]:
        """The box at the end of this step, and the new state."""


class TrackingResult(NamedTuple):
    """The boxes of a tracker and the true ones."""

    # the tracker's
    boxes: Float[np.ndarray, "N 4"]
    # true boxes at the same times, NaN where unknown
    truths: Float[np.ndarray, "N 4"]
    # bins of the recording, at whose ends they hold
    bins: Int64[np.ndarray, " N"]
    # number of each bin after the last frame, from 1
    bin_of_frame: Int64[np.ndarray, " N"]

    def score(self) -> TrackingScore:
        """All metrics over all labelled times."""
        return score(self.boxes, self.truths)

    def report(self) -> dict[str, Any]:
        """All metrics by name, and `per_bin`: the same for each bin after a frame, the first one first."""
        per_bin = score_by_bin(self.boxes, self.truths, self.bin_of_frame)
        return {**self.score()._asdict(), "per_bin": [{"bin": m, **one._asdict()} for m, one in per_bin.items()]}


def run_tracker(
    recording: Recording, tracker: Tracker, first: int, stop: int, given: Mapping[int, NDArray[np.float64]]
) -> Float[np.ndarray, "N 4"]:
    """The boxes of a tracker at the end of each bin, from a new start; boxes are given by frame."""
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


def as_result(recording: Recording, boxes: Float[np.ndarray, "N 4"], first: int) -> TrackingResult:
    """Boxes of consecutive bins, from `first` on, with the true ones."""
    bins = np.arange(first, first + len(boxes))
    newest = np.searchsorted(recording.frame_bins, bins, side="right") - 1

    return TrackingResult(boxes, recording.boxes[bins], bins, bins - recording.frame_bins[newest] + 1)


def join_results(results: Sequence[TrackingResult]) -> TrackingResult:
    """The results on several recordings, or on parts of one, one after the other."""
    return TrackingResult(*(np.concatenate(column) for column in zip(*results, strict=True)))


def bin_range(recording: Recording, frames: range) -> tuple[int, int]:
    """The bins from the first of consecutive frames up to the frame after them."""
    # a last frame may come after the last complete bin
    bins = np.minimum(recording.frame_bins, recording.num_bins)
    stop = int(bins[frames.stop]) if frames.stop < len(bins) else recording.num_bins
    return int(bins[frames.start]), stop


def check_frames(frames: range, num_frames: int, num_before: int = 0) -> None:
    """Refuses frames that are not in the recording, or with too few frames before them."""
    if not num_before <= frames.start < frames.stop <= num_frames or frames.step != 1:
        raise ConfigError(
            f"frames must be a range inside the {num_frames} of the recording, with {num_before} before it, but got "
            f"{frames}."
        )


def check_first_box(boxes: Float[np.ndarray, "F 4"], frames: range) -> None:
    """Refuses a start without a known box."""
    if not np.isfinite(boxes[frames.start]).all():
        raise ConfigError(f"the first frame needs a known box, but that of frame {frames.start} is not known.")
