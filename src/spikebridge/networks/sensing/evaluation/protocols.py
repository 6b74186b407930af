"""Evaluation protocols, the same for every tracker and every recording.

| protocol | what is given | the question |
|---|---|---|
| A `interframe` | the true boxes of the last two frames | is the motion after the last frame right? |
| B `reset_every` | the true box every L frames | how fast does it drift? |
| C `one_pass_evaluation` | the first box only | is it a tracker? |
| D | A and C with fewer frames (`Recording.subsample_frames`) | what do frames buy? |
| E `streaming` | C, and each answer is available only after the work for it | what does latency cost? |

Sources: M. Li, Y.-X. Wang, D. Ramanan, ECCV 2020 (streaming); R. Zhao et al., Nature Communications 13:3427 (2022).
"""

from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from spikebridge.data.recordings.recording import Recording
from spikebridge.errors import ConfigError
from spikebridge.networks.sensing.evaluation.runner import (
    Tracker,
    TrackingResult,
    as_result,
    bin_range,
    check_first_box,
    check_frames,
    join_results,
    run_tracker,
)


def interframe(
    recording: Recording,
    tracker: Tracker,
    frames: range | None = None,
    num_given: int = 2,
    noise_px: float = 0.0,
    seed: int = 0,
) -> TrackingResult:
    """A: the true boxes of the last `num_given` frames are given; the tracker predicts until the next frame.

    Each frame is a new start: nothing is known from before its first given box. A tracker that `learns` is the
    exception: it tracks through all frames, with the box given at each, and keeps what it learned from them. Boxes are
    given after `frames`, by default all with enough frames before them, with noise of a standard deviation along each
    axis, drawn once for each frame of the recording. A frame without known boxes before it has no answers.
    """
    if num_given < 1:
        raise ConfigError(f"answers after a frame need num_given of 1 box or more, but got {num_given}.")

    num_frames = len(recording.frame_bins)
    frames = range(num_given - 1, num_frames) if frames is None else frames
    check_frames(frames, num_frames, num_before=num_given - 1)
    given = add_box_noise(recording.frame_boxes, noise_px, seed)

    if getattr(tracker, "learns", False):
        return _learning_interframe(recording, tracker, frames, num_given, given)

    results = []
    for k in frames:
        past = range(k - num_given + 1, k + 1)
        if np.isfinite(given[past]).all():
            boxes = run_tracker(recording, tracker, *bin_range(recording, past), {i: given[i] for i in past})
            first, stop = bin_range(recording, range(k, k + 1))
            results.append(as_result(recording, boxes[len(boxes) - (stop - first) :], first))

    if not results:
        return as_result(recording, np.empty((0, 4)), 0)

    return join_results(results)


def _learning_interframe(
    recording: Recording, tracker: Tracker, frames: range, num_given: int, given: Float[np.ndarray, "F 4"]
) -> TrackingResult:
    """The boxes of a single run, with the box given at each frame where it is known."""
    has_box = np.isfinite(given).all(1)
    usable = [k for k in frames if has_box[k - num_given + 1 : k + 1].all()]
    if not usable:
        return as_result(recording, np.empty((0, 4)), 0)

    start = usable[0] - num_given + 1
    first, stop = bin_range(recording, range(start, usable[-1] + 1))
    boxes_by_frame = {k: given[k] for k in range(start, frames.stop) if has_box[k]}
    boxes = run_tracker(recording, tracker, first, stop, boxes_by_frame)
    intervals = [bin_range(recording, range(k, k + 1)) for k in usable]

    return join_results([as_result(recording, boxes[a - first : b - first], a) for a, b in intervals])


def reset_every(
    recording: Recording,
    tracker: Tracker,
    every: int | None,
    frames: range | None = None,
    noise_px: float = 0.0,
    seed: int = 0,
) -> TrackingResult:
    """B: the true box is given at every N-th of the frames; None gives the first one only.

    The box of the first frame is given in any case. There is a box for each bin from the first frame on.
    """
    frames = range(len(recording.frame_bins)) if frames is None else frames
    check_frames(frames, len(recording.frame_bins))
    if every is not None and every < 1:
        raise ConfigError(f"a box at every N-th frame needs every of 1 or more, but got {every}.")

    given = add_box_noise(recording.frame_boxes, noise_px, seed)
    check_first_box(given, frames)
    chosen = frames[:: every or len(frames)]
    first, stop = bin_range(recording, frames)
    boxes_by_frame = {k: given[k] for k in chosen if np.isfinite(given[k]).all()}

    return as_result(recording, run_tracker(recording, tracker, first, stop, boxes_by_frame), first)


def at_frames(recording: Recording, result: TrackingResult) -> TrackingResult:
    """One answer a frame, in the bin in which the frame acts, and the true box in that frame.

    Boxes of a recording hold at the ends of bins: the last one before a frame is a prediction of its box. Benchmarks of
    clips compare the answer to a frame with the box in that frame (Y. Wu et al., IEEE TPAMI 37:1834, 2015). The result
    has all bins of the recording, by a tracker that detects in the step of a frame.
    """
    frames = np.flatnonzero(np.isin(recording.frame_bins, result.bins))
    rows = recording.frame_bins[frames] - result.bins[0]

    return TrackingResult(
        result.boxes[rows], recording.frame_boxes[frames], result.bins[rows], result.bin_of_frame[rows]
    )


def one_pass_evaluation(
    recording: Recording,
    tracker: Tracker,
    frames: range | None = None,
    noise_px: float = 0.0,
    seed: int = 0,
) -> TrackingResult:
    """C: the first box only, in a closed loop (Y. Wu, J. Lim, M.-H. Yang, CVPR 2013)."""
    return reset_every(recording, tracker, None, frames, noise_px, seed)


def streaming(
    recording: Recording,
    tracker: Tracker,
    frames: range | None = None,
    latency: Callable[[Any], float] | None = None,
) -> TrackingResult:
    """E: C, but each truth is compared with the newest box that is available at its time; before any, the first box.

    A busy tracker skips bins, and then processes all new events in one step, with the newest frame. `latency` gives the
    seconds of work for inputs; they are measured by default.
    """
    frames = range(len(recording.frame_bins)) if frames is None else frames
    check_frames(frames, len(recording.frame_bins))
    check_first_box(recording.frame_boxes, frames)
    first, stop = bin_range(recording, frames)
    dt = recording.dt
    next_bin = first
    free_at = 0.0
    state = None
    boxes = []
    available_at = []

    while next_bin < stop:
        begin = max(free_at, (next_bin + 1) * dt)
        # rounded, so that a bin that ends at this moment is included
        end_bin = min(stop, int(round(begin / dt, 6)))
        inputs = recording.inputs(next_bin, end_bin)
        if next_bin == first:
            inputs = {**inputs, "box": recording.frame_boxes[frames.start]}

        started = perf_counter()
        box, state = tracker.step(inputs, state)
        free_at = begin + (perf_counter() - started if latency is None else latency(inputs))
        boxes.append(box)
        available_at.append(max(free_at, end_bin * dt))
        next_bin = end_bin

    # a nanosecond of tolerance against rounding errors
    truth_times = (np.arange(first, stop) + 1) * dt + 1e-9
    newest = np.searchsorted(available_at, truth_times, side="right") - 1
    # index -1 is the last of this list: the box before any result
    shown = np.array([*boxes, recording.frame_boxes[frames.start]])

    return as_result(recording, shown[newest], first)


class DeclaredLatency(NamedTuple):
    """Seconds of work for a bin of events, and for a bin with a frame."""

    step: float
    frame: float

    def of(self, reads_events: bool = True) -> Callable[[Any], float]:
        """The latency of inputs, for `streaming`; a tracker of frames has no work in a bin of events."""
        step = self.step if reads_events else 0.0
        return lambda inputs: self.frame if "frame" in inputs else step


# the paper's hybrid network on the Tianjic chip gives 5952.4 outputs a second; a frame takes about 11 times as long
DECLARED = {
    "none": DeclaredLatency(step=0.0, frame=0.0),
    "tianjic": DeclaredLatency(step=1 / 5952.4, frame=1 / 541),
}


def add_box_noise(boxes: Float[np.ndarray, "F 4"], noise_px: float, seed: int) -> Float[np.ndarray, "F 4"]:
    """The boxes of all frames with noise along both axes."""
    if not 0 <= noise_px < float("inf"):
        raise ConfigError(f"noise of given boxes needs noise_px of 0 or more, but got {noise_px!r}.")

    noise = np.random.default_rng(seed).normal(0, noise_px, (len(boxes), 2)) if noise_px else 0.0
    given = boxes.copy()
    given[:, :2] += noise

    return given
