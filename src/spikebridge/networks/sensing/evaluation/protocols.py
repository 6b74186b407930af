"""Evaluation protocols, the same for every tracker and every recording.

| protocol | what is given | the question |
|---|---|---|
| A `interframe` | the true boxes of the last two frames | is the motion after the last frame right? |
| B `reset_every` | the true box every L frames | how fast does it drift? |
| C `one_pass_evaluation` | the first box only | is it a tracker? |
| D `subsampled_frames` | A or C with fewer frames | what do frames buy? |
| E `streaming` | C, and each answer is there only after the work for it | what does latency cost? |

Sources: M. Li, Y.-X. Wang, D. Ramanan, ECCV 2020 (streaming); R. Zhao et al., Nature Communications 13:3427 (2022).
"""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from jaxtyping import Float

from spikebridge.errors import ConfigError
from spikebridge.networks.sensing.evaluation.latency import newest_available
from spikebridge.networks.sensing.evaluation.runner import (
    Tracker,
    TrackingResult,
    TrackingSequence,
    as_result,
    bin_range,
    check_first_box,
    check_frames,
    join_results,
    run_tracker,
)


def interframe(
    recording: TrackingSequence,
    tracker: Tracker,
    frames: range | None = None,
    num_given: int = 2,
    noise_px: float = 0.0,
    seed: int = 0,
) -> TrackingResult:
    """A: the true boxes of the last frames are given; the tracker predicts until the next frame.

    Each frame is a new start: nothing is known from before its first given box. A tracker that `learns` is the
    exception: it follows all frames, with the box given at each, and keeps what it learned from them.

    Args:
        recording: what is tracked.
        tracker: the tracker.
        frames: after which boxes are evaluated; by default all with enough frames before them.
        num_given: number of frames with given boxes, the last one included.
        noise_px: standard deviation of the noise of given boxes along each axis [px].
        seed: of the noise, drawn once for each frame of the recording.

    Returns:
        Boxes from each frame up to the next one. A frame without known boxes before it has none.

    Raises:
        ConfigError: `frames` are not in the recording, or too near to its beginning.

    Example:
        >>> from spikebridge.data.simulation.render import render_recording
        >>> from spikebridge.data.simulation.rotating_disk import RotatingDisk
        >>> from spikebridge.networks.sensing.baselines.motion import StaticBox
        >>> recording = render_recording(RotatingDisk(height=48, width=48, speed=0.0), duration=0.1, dt=0.005)
        >>> interframe(recording, StaticBox(), num_given=1).score().mean_distance_px  # it stands still
        0.0
    """
    if num_given < 1:
        raise ConfigError(f"answers after a frame need num_given of 1 box or more, but got {num_given}.")

    num_frames = len(recording.frame_bins)
    frames = range(num_given - 1, num_frames) if frames is None else frames
    check_frames(frames, num_frames, num_before=num_given - 1)
    given = add_box_noise(recording.frame_boxes, noise_px, seed)

    if getattr(tracker, "learns", False):
        return _learning_interframe(recording, tracker, frames, num_given, given)

    parts = []
    for k in frames:
        known = {i: given[i] for i in range(k - num_given + 1, k + 1)}
        if np.isfinite(list(known.values())).all():
            boxes = run_tracker(recording, tracker, *bin_range(recording, range(k - num_given + 1, k + 1)), known)
            first, stop = bin_range(recording, range(k, k + 1))
            parts.append(as_result(recording, boxes[len(boxes) - (stop - first) :], first))

    if not parts:
        return as_result(recording, np.empty((0, 4)), 0)

    return join_results(parts)


def _learning_interframe(
    recording: TrackingSequence, tracker: Tracker, frames: range, num_given: int, given: Float[np.ndarray, "F 4"]
) -> TrackingResult:
    """The boxes of a single run, with the box given at each frame where it is known."""
    known = np.isfinite(given).all(1)
    usable = [k for k in frames if known[k - num_given + 1 : k + 1].all()]
    if not usable:
        return as_result(recording, np.empty((0, 4)), 0)

    start = usable[0] - num_given + 1
    first, stop = bin_range(recording, range(start, usable[-1] + 1))
    boxes = run_tracker(recording, tracker, first, stop, {k: given[k] for k in range(start, frames.stop) if known[k]})
    parts = [bin_range(recording, range(k, k + 1)) for k in usable]

    return join_results([as_result(recording, boxes[a - first : b - first], a) for a, b in parts])


def reset_every(
    recording: TrackingSequence,
    tracker: Tracker,
    every: int | None,
    frames: range | None = None,
    noise_px: float = 0.0,
    seed: int = 0,
) -> TrackingResult:
    """B: the true box is given at every N-th frame.

    Args:
        recording: what is tracked.
        tracker: the tracker.
        every: from one given box to the next [frames]; None gives the first one only.
        frames: which frames; the box of the first is given. All by default.
        noise_px: standard deviation of the noise of given boxes along each axis [px].
        seed: of the noise.

    Returns:
        A box for each bin from the first frame on.

    Raises:
        ConfigError: the first box is not known, or `frames` are not in the recording.
    """
    frames = range(len(recording.frame_bins)) if frames is None else frames
    check_frames(frames, len(recording.frame_bins))
    if every is not None and every < 1:
        raise ConfigError(f"a box at every N-th frame needs every of 1 or more, but got {every}.")

    given = add_box_noise(recording.frame_boxes, noise_px, seed)
    check_first_box(given, frames)
    chosen = frames[:: every or len(frames)]
    first, stop = bin_range(recording, frames)
    known = {k: given[k] for k in chosen if np.isfinite(given[k]).all()}

    return as_result(recording, run_tracker(recording, tracker, first, stop, known), first)


def at_frames(recording: TrackingSequence, result: TrackingResult) -> TrackingResult:
    """One answer a frame, in the bin in which the frame acts, and the true box in that frame.

    Boxes of a recording hold at the ends of bins: the last one before a frame is a prediction of its box. Benchmarks of
    clips compare the answer to a frame with the box in that frame (Y. Wu et al., IEEE TPAMI 37:1834, 2015).

    Args:
        recording: what was tracked.
        result: of all its bins, by a tracker that detects in the step of a frame.
    """
    frames = np.flatnonzero(np.isin(recording.frame_bins, result.bins))
    rows = recording.frame_bins[frames] - result.bins[0]

    return TrackingResult(
        result.boxes[rows], recording.frame_boxes[frames], result.bins[rows], result.bin_of_frame[rows]
    )


def one_pass_evaluation(
    recording: TrackingSequence,
    tracker: Tracker,
    frames: range | None = None,
    noise_px: float = 0.0,
    seed: int = 0,
) -> TrackingResult:
    """C: the first box only, in a closed loop (Y. Wu, J. Lim, M.-H. Yang, CVPR 2013). Arguments as for `reset_every`.

    Args:
        recording: what is tracked.
        tracker: the tracker.
        frames: which frames.
        noise_px: of the first box [px].
        seed: of the noise.

    Example:
        >>> from spikebridge.data.simulation.render import render_recording
        >>> from spikebridge.data.simulation.rotating_disk import RotatingDisk
        >>> from spikebridge.networks.sensing.baselines.motion import StaticBox
        >>> recording = render_recording(RotatingDisk(height=48, width=48), duration=0.1, dt=0.005)
        >>> often, once = reset_every(recording, StaticBox(), 1), one_pass_evaluation(recording, StaticBox())
        >>> often.score().mean_distance_px < once.score().mean_distance_px
        True
    """
    return reset_every(recording, tracker, None, frames, noise_px, seed)


def subsampled_frames(
    recording: TrackingSequence,
    protocol: Callable[..., TrackingResult],
    tracker: Tracker,
    frames: range,
    keep_every: tuple[int, ...] = (1, 2, 4, 8),
    **settings: Any,
) -> dict[int, TrackingResult]:
    """D: a protocol with fewer frames.

    Args:
        recording: what is tracked.
        protocol: another protocol of this file.
        tracker: the tracker.
        frames: which frames of the whole recording.
        keep_every: 1 keeps all frames, 2 every second one.
        **settings: of the protocol.

    Returns:
        What the protocol gives, by `keep_every`.

    Example:
        >>> from spikebridge.data.simulation.render import render_recording
        >>> from spikebridge.data.simulation.rotating_disk import RotatingDisk
        >>> from spikebridge.networks.sensing.baselines.motion import StaticBox
        >>> recording = render_recording(RotatingDisk(height=48, width=48), duration=0.2, dt=0.005)
        >>> found = subsampled_frames(recording, interframe, StaticBox(), range(1, 8), keep_every=(1, 2), num_given=1)
        >>> {keep: int(outputs.bin_of_frame.max()) for keep, outputs in found.items()}
        {1: 5, 2: 10}
    """
    return {
        keep: protocol(
            recording.subsample_frames(keep),
            tracker,
            frames=range(-(-frames.start // keep), -(-frames.stop // keep)),
            **settings,
        )
        for keep in keep_every
    }


def streaming(
    recording: TrackingSequence,
    tracker: Tracker,
    frames: range | None = None,
    latency: Callable[[Any], float] | None = None,
) -> TrackingResult:
    """E: C, but each truth is compared with the newest box that is available at its time.

    A busy tracker skips bins, and then processes all new events in one step, with the newest frame.

    Args:
        recording: what is tracked.
        tracker: the tracker.
        frames: which frames; all by default.
        latency: seconds of work for given inputs (`declared_latency`); measured by default.

    Returns:
        For each bin from the first frame on the newest box that was available at its end; before, the first box.

    Raises:
        ConfigError: the first box is not known, or `frames` are not in the recording.

    Example:
        >>> from spikebridge.data.simulation.render import render_recording
        >>> from spikebridge.data.simulation.rotating_disk import RotatingDisk
        >>> from spikebridge.networks.sensing.baselines.motion import StaticBox
        >>> recording = render_recording(RotatingDisk(height=48, width=48), duration=0.1, dt=0.005)
        >>> from spikebridge.networks.sensing.evaluation.latency import declared_latency
        >>> at_once = streaming(recording, StaticBox(), latency=declared_latency(0.0, 0.0))
        >>> at_once.score() == one_pass_evaluation(recording, StaticBox()).score()
        True
    """
    frames = range(len(recording.frame_bins)) if frames is None else frames
    check_frames(frames, len(recording.frame_bins))
    check_first_box(recording.frame_boxes, frames)
    first, stop = bin_range(recording, frames)
    dt = recording.dt
    done = first
    free = 0.0
    state = None
    boxes = []
    stamps = []
    waits = []

    while done < stop:
        begin = max(free, (done + 1) * dt)
        # rounded, so that a bin that ends at this moment is included
        newest = min(stop, int(round(begin / dt, 6)))
        inputs = recording.inputs(done, newest)
        if done == first:
            inputs = {**inputs, "box": recording.frame_boxes[frames.start]}

        started = perf_counter()
        box, state = tracker.step(inputs, state)
        free = begin + (perf_counter() - started if latency is None else latency(inputs))
        boxes.append(box)
        stamps.append(newest * dt)
        waits.append(free - newest * dt)
        done = newest

    # a nanosecond of tolerance against rounding errors
    served = newest_available((np.arange(first, stop) + 1) * dt + 1e-9, stamps, np.array(waits).clip(min=0))
    # index -1 is the last of this list: the box before any result
    shown = np.array([*boxes, recording.frame_boxes[frames.start]])

    return as_result(recording, shown[served], first)


def add_box_noise(boxes: Float[np.ndarray, "F 4"], noise_px: float, seed: int) -> Float[np.ndarray, "F 4"]:
    """Given boxes with noise along both axes.

    Args:
        boxes: of all frames of a recording.
        noise_px: standard deviation [px].
        seed: draws it.

    Raises:
        ConfigError: the noise cannot be meant.

    Example:
        >>> bool((add_box_noise(np.ones((2, 4)), 0.0, seed=0) == 1).all())
        True
    """
    if not 0 <= noise_px < float("inf"):
        raise ConfigError(f"noise of given boxes needs noise_px of 0 or more, but got {noise_px!r}.")

    moved = np.random.default_rng(seed).normal(0, noise_px, (len(boxes), 2)) if noise_px else 0.0
    given = boxes.copy()
    given[:, :2] += moved

    return given
