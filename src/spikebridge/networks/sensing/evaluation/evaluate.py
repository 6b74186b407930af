"""`spikebridge eval sensing`: a trained network and baselines on any recording, in any protocol.

    spikebridge eval sensing --data FOLDER --protocol A --json
    spikebridge eval RUN --protocol C --baselines hold,ann_hold --split all

| protocol | given boxes | further options | additional results |
|---|---|---|---|
| A | the true boxes of the last two frames | `--box-noise PX` | |
| B | the true box at every N-th frame | `--every N` | `by_every`: 1, 2, 4, 8, 16 frames, and the first only |
| C | the first box only | | |
| D | as A and C, with fewer and fewer frames | | `by_frame_rate` |
| E | as C; an answer counts once the work for it is done | `--latency` | |

B, C and E begin at the first frame with a box, as `track` does; `first_frame` says which. In a clip without events, B
and C compare the answer to each frame with the box in that frame.
"""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from spikebridge.data.catalog import VARIABLE, data_folder
from spikebridge.data.recordings.degradation import Degradation, degraded
from spikebridge.data.recordings.load import load_recording
from spikebridge.data.recordings.recording import Recording, temporal_splits
from spikebridge.errors import ConfigError, printable
from spikebridge.networks.sensing.data import (
    RecordingPart,
    check_labelled,
    generated_parts,
    labelled_part,
    subsample_part,
)
from spikebridge.networks.sensing.evaluation._baselines import baseline, baseline_names
from spikebridge.networks.sensing.evaluation.benchmark import streaming_declared, target_speeds
from spikebridge.networks.sensing.evaluation.metrics import error_by_speed
from spikebridge.networks.sensing.evaluation.protocols import at_frames, interframe, reset_every, streaming
from spikebridge.networks.sensing.evaluation.runner import Tracker, TrackingResult, bin_range, join_results
from spikebridge.networks.sensing.model.boxes import translate_box
from spikebridge.networks.sensing.tracker.detectors import DetectorName, chosen_detector
from spikebridge.networks.sensing.tracker.suitability import Beginning, first_box_warnings, stream_warnings
from spikebridge.networks.sensing.tracker.tracker import SensingTracker
from spikebridge.training.run.run import Run

_log = logging.getLogger(__name__)

# an answer after a frame needs its box and that of the frame before
_NEEDS_TWO_BOXES = ("A", "D")
_NUM_SCENES = 4
# B: given boxes from at every frame to at the first one only
_EVERY = (1, 2, 4, 8, 16, None)
# D: from all frames to every eighth
_KEEP_EVERY = (1, 2, 4, 8)
# bands of as many answers each, from the slowest to the fastest target
_SPEED_SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class TrackingEvaluation:
    """Options of `eval sensing`."""

    protocol: Literal["A", "B", "C", "D", "E"] = "A"
    """A: between frames; B: a box at every N-th frame; C: only the first box; D: fewer frames; E: with latency."""
    baselines: str = "hold,constant_velocity"
    """Comma-separated: hold, constant_velocity, kalman, ann_hold, ann_constant_velocity or other networks of the run;
    `none` for no baseline."""
    recording: str | None = None
    """The name of the recording's folder, if the data folder holds several recordings."""
    split: Literal["auto", "train", "validation", "test", "all"] = "auto"
    """The part of the recording; auto: the test part if the run was trained on this recording, else all of it."""
    box_noise: float = 0.0
    """Standard deviation of the noise of given boxes along both axes [px]."""
    keep_every: int = 1
    """Only every N-th frame is used."""
    every: int = 4
    """B: the number of frames N from one given box to the next."""
    latency: Literal["measured", "none", "tianjic"] = "measured"
    """E: latency of a step: measured on this machine, none, or computed from the rates of the Tianjic chip."""
    network: str | None = None
    """The network of the run; by default the first one."""
    weights_seed: int | None = None
    """Training seed of the networks to evaluate; by default the first one of the run."""
    seed: int = 0
    """Seed of the noise of given boxes."""
    event_offset: int | None = None
    """FE240hz only: offset of the event bins; those after frame k start at bin 6 k + INT; else estimated."""
    box_offset: int | None = None
    """FE240hz only: offset of the 240 Hz boxes; the box of frame k is number 6 k + INT; else estimated."""
    detector: DetectorName = "auto"
    """Detector of the target in a frame: the trained one, a correlation filter that learns the target while it runs,
    both weighted online, or csrt and kcf of OpenCV (extra opencv); auto: both after events, else the filter."""
    no_calibration: bool = False
    """Use the trained gains and weights; by default the tracker calibrates itself while it runs."""
    lose_events: float = 0.0
    """Share of the events that are removed, 0 to 1."""
    add_events: float = 0.0
    """Rate of added noise events on the whole sensor [events/s]."""
    contrast: float = 1.0
    """Factor of the grey levels around the mean of each frame."""
    blur: float = 0.0
    """Standard deviation of a Gaussian blur of the frames [px]."""
    repair: bool = False
    """Drop events outside the sensor and sort events by time, instead of refusing the recording."""
    allow_truncated: bool = False
    """Accept a file of events that ends inside a packet, and take the complete events before."""

    def __post_init__(self) -> None:
        for name in ("keep_every", "every"):
            if not getattr(self, name) >= 1:
                raise ConfigError(f"{name} needs to be 1 or more, but got {getattr(self, name)}")

        if not 0 <= self.box_noise < float("inf"):
            raise ConfigError(f"box_noise needs to be 0 px or more, but got {self.box_noise}")

        _ = self.degradation

    @property
    def degradation(self) -> Degradation:
        """The change of the recording."""
        return Degradation(self.lose_events, self.add_events, self.contrast, self.blur, self.seed)


def evaluate_recording(
    run: Run,
    data: Path | None,
    options: TrackingEvaluation,
    load: Callable[[str | None, int | None], SensingTracker],
    others: Mapping[str, Callable[[SensingTracker], Tracker]] = MappingProxyType({}),
) -> dict[str, Any]:
    """All figures of a network and of baselines on a recording, or on generated scenes.

    `load` gives a tracker of the run by the network's name and its training seed, the first ones without them; `others`
    make further baselines from that of the network.
    """

    def load_tracker(name: str | None) -> SensingTracker:
        return load(name, options.weights_seed).with_options(
            calibrate=not options.no_calibration, detector=options.detector, warns=False
        )

    tracker = load_tracker(options.network)
    networks = sorted({path.partition("/")[0] for path in run.children()})
    names = baseline_names(options.baselines, [*networks, *others])
    _log.info("reading the recording")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        split, parts = _evaluated_parts(run, data, options, tracker.sensing.dt)
        rates = _frame_rates(parts, options) if options.protocol == "D" else {}

    messages = [str(warning.message) for warning in caught]
    messages += [text for part in parts for text in _suitability_warnings(part)]

    # all trackers first: a missing package is reported before minutes of work
    trackers = {
        name: others[name](tracker)
        if name in others
        else baseline(name, tracker, parts, options.box_noise, options.seed, load_tracker)
        for name in names
    }
    for text in messages:
        print(f"warning: {printable(text)}", file=sys.stderr)

    results = _evaluate_tracker(parts, rates, tracker, options, "network")
    baselines = {name: _evaluate_tracker(parts, rates, other, options, name) for name, other in trackers.items()}
    recording, frames = parts[0]

    return {
        "protocol": options.protocol,
        "recording": ", ".join(part.recording.name for part in parts),
        "split": split,
        "frames": [frames.start, frames.stop],
        "first_frame": frames.start * options.keep_every,
        "frame_rate_hz": _frame_rate(recording),
        "num_events": sum(part.recording.events.num_events for part in parts),
        "last_event_us": recording.last_event_us,
        "num_labels": results["num_outputs"],
        "seed": options.seed,
        "shake_px": options.box_noise,
        "calibrated": getattr(tracker, "learns", False),
        "detector": chosen_detector(options.detector, sum(part.recording.events.num_events for part in parts)),
        "degradation": asdict(options.degradation),
        "latency": options.latency if options.protocol == "E" else None,
        "offsets": recording.offsets._asdict() if recording.offsets is not None else None,
        "num_unlabelled": sum(part.recording.num_unlabelled for part in parts),
        "warnings": messages,
        **results,
        "baselines": baselines,
    }


def _evaluated_parts(
    run: Run, data: Path | None, options: TrackingEvaluation, dt: float
) -> tuple[str, list[RecordingPart]]:
    """The split and its parts: of one recording, or generated scenes where no recording is named or configured."""
    if data is None and options.recording is None and not os.environ.get(VARIABLE):
        scenes = generated_parts("test", _NUM_SCENES)
        changed = [part._replace(recording=degraded(part.recording, options.degradation)) for part in scenes]
        return "generated", [_subsampled(part, options) for part in changed]

    folder = data.expanduser() if data is not None else data_folder()
    offsets = options.event_offset, options.box_offset
    recording = load_recording(folder, options.recording, dt, *offsets, options.repair, options.allow_truncated)
    recording = degraded(recording, options.degradation)

    split = options.split
    if split == "auto":
        # frames of its training would favour the network
        split = "test" if recording.name in _trained_on(run) else "all"

    if split == "all":
        # as `track`, but frame 0 may have no box in the bins, and A needs a frame before its first one
        frames = range(2 if options.protocol in _NEEDS_TWO_BOXES else 0, recording.num_frames)
    else:
        frames = temporal_splits(recording.num_frames)[split]

    needs_two = options.protocol in _NEEDS_TWO_BOXES
    part = labelled_part(_subsampled(RecordingPart(recording, frames), options), needs_two)
    check_labelled(part, split, needs_two)

    return split, [part]


def _suitability_warnings(part: RecordingPart) -> list[str]:
    recording, frames = part
    first, stop = bin_range(recording, frames)
    num_events = np.diff(recording.events.edges[[first, stop]])
    box = recording.frame_boxes[frames.start]
    beginning = Beginning(box, (stop - first) * recording.dt, int(num_events[0]))
    # the true boxes are known, so no warning that the box does not move
    moved = translate_box(box, box[2:])

    messages = stream_warnings(beginning, 0.0, moved)
    if np.isfinite(box).all():
        messages = [*first_box_warnings(recording.frames[frames.start], box), *messages]

    return messages


def _subsampled(part: RecordingPart, options: TrackingEvaluation) -> RecordingPart:
    num_before = 1 if options.protocol in _NEEDS_TWO_BOXES else 0
    return subsample_part(part, options.keep_every, num_before)


def _trained_on(run: Run) -> list[str]:
    return [word.strip() for word in str(run.results().get("recording", "")).split(",")]


def _frame_rate(recording: Recording) -> float | None:
    if recording.num_frames < 2:
        return None
    return round(1 / float(np.median(np.diff(recording.frame_times))), 3)


def _evaluate_tracker(
    parts: Sequence[RecordingPart],
    rates: dict[int, list[RecordingPart]],
    tracker: Tracker,
    options: TrackingEvaluation,
    name: str,
) -> dict[str, Any]:
    started = perf_counter()
    _log.info("tracking with %s", name)
    results = _figures(parts, [_track(part, tracker, options) for part in parts])

    if options.protocol == "B":
        results["by_every"] = [_at_given_boxes(parts, tracker, options, every) for every in _EVERY]

    if options.protocol == "D":
        results["by_frame_rate"] = [_at_frame_rate(fewer, tracker, options, keep) for keep, fewer in rates.items()]

    seconds = perf_counter() - started
    print(f"{printable(name)}: {results['mean_distance_px']:.3f} px ({seconds:.1f} s)", file=sys.stderr)

    return results


def _figures(parts: Sequence[RecordingPart], outputs: Sequence[TrackingResult]) -> dict[str, Any]:
    joined = join_results(outputs)
    speeds, edges = target_speeds(parts, outputs, _SPEED_SHARES)
    bands = error_by_speed(joined.boxes, joined.truths, speeds, edges) if len(edges) > 2 else []

    return {**joined.report(), "by_speed": [band._asdict() for band in bands]}


def _track(part: RecordingPart, tracker: Tracker, options: TrackingEvaluation) -> TrackingResult:
    if options.protocol in _NEEDS_TWO_BOXES:
        return interframe(part.recording, tracker, part.frames, noise_px=options.box_noise, seed=options.seed)

    if options.protocol == "E":
        if options.latency == "measured":
            return streaming(part.recording, tracker, part.frames)
        return streaming_declared(part, tracker, options.latency)

    return _closed_loop(part, tracker, options, options.every if options.protocol == "B" else None)


def _closed_loop(
    part: RecordingPart, tracker: Tracker, options: TrackingEvaluation, every: int | None
) -> TrackingResult:
    recording = part.recording
    if recording.has_frames_only and isinstance(tracker, SensingTracker):
        tracker = tracker.with_options(synchronous=True)

    result = reset_every(recording, tracker, every, part.frames, noise_px=options.box_noise, seed=options.seed)
    return at_frames(recording, result) if recording.has_frames_only else result


def _at_given_boxes(
    parts: Sequence[RecordingPart], tracker: Tracker, options: TrackingEvaluation, every: int | None
) -> dict[str, Any]:
    joined = join_results([_closed_loop(part, tracker, options, every) for part in parts])
    return {"every": every, **joined.score()._asdict()}


def _frame_rates(parts: Sequence[RecordingPart], options: TrackingEvaluation) -> dict[int, list[RecordingPart]]:
    """The parts at lower and lower frame rates; a rate without a start is left out."""
    rates = {}
    for keep in _KEEP_EVERY:
        at_rate = replace(options, keep_every=keep)
        fewer = [labelled_part(_subsampled(part, at_rate), pairs=True) for part in parts]
        startable = [part for part in fewer if part.frames]
        if startable:
            rates[keep] = startable
        else:
            warnings.warn(
                f"{keep} times fewer frames are left out of by_frame_rate: no two that follow one another have boxes.",
                stacklevel=2,
            )

    return rates


def _at_frame_rate(
    parts: Sequence[RecordingPart], tracker: Tracker, options: TrackingEvaluation, keep: int
) -> dict[str, Any]:
    between = join_results([_track(part, tracker, options) for part in parts])
    loop = join_results([_closed_loop(part, tracker, options, None) for part in parts])
    rate = _frame_rate(parts[0].recording)
    return {"keep_every": keep, "frame_rate_hz": rate, **between.report(), "closed_loop": loop.score()._asdict()}
