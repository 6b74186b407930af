"""The recordings of the sensing recipe, and what trackers are worth on them: protocols A and C beside the baselines."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikebridge.data.catalog import find
from spikebridge.data.recordings.load import load_recording
from spikebridge.data.recordings.recording import Recording, temporal_splits
from spikebridge.data.simulation.moving_objects import MovingObjects
from spikebridge.data.simulation.render import Stimulus, render_recording, scene_seeds
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.sensing.baselines.ann_only import FrameTracker
from spikebridge.networks.sensing.baselines.motion import ConstantVelocity, StaticBox
from spikebridge.networks.sensing.baselines.opencv import OpenCVTracker
from spikebridge.networks.sensing.evaluation.follow import Tracker, TrackingResult, join_results
from spikebridge.networks.sensing.evaluation.metrics import target_speed
from spikebridge.networks.sensing.evaluation.protocols import DECLARED, interframe, one_pass_evaluation, streaming
from spikebridge.networks.sensing.tracker.tracker import SensingTracker

DT = 1 / 240
_RECORDINGS = ("auto", "real", "generated", "both")
_SECONDS = 0.5
_BASELINES: dict[str, Any] = {"hold": StaticBox(), "constant velocity": ConstantVelocity()}


class RecordingPart(NamedTuple):
    """Some frames of a recording."""

    recording: Recording
    frames: range


def parts(
    kind: str, split: str, num_scenes: int, thinning: int = 1, data: Path | None = None, needs_boxes: bool = True
) -> list[RecordingPart]:
    """The recordings of a split.

    Args:
        kind: `real`, `generated`, `auto`: the real one where it is there, `both`: made scenes too, to train on, or the
            folder of another recording.
        split: train, validation or test.
        num_scenes: how many generated scenes.
        thinning: only each so-many-th frame is kept.
        data: the folder with data sets; that of the environment without it.
        needs_boxes: whether a part begins where its boxes do; else it is taken as it is.

    Raises:
        DataError: the recording that was asked for is not there, or its part has no boxes and needs them.
        ConfigError: the kind is none and no folder, or the recording or thinning has too few frames.
    """
    if kind == "generated" or (kind == "auto" and not _is_there(data)):
        found = generated(split, num_scenes)
    else:
        recording = _loaded(find("fe240hz", data)[0].parent if kind in _RECORDINGS else _own(kind))
        part = RecordingPart(recording, temporal_splits(recording.num_frames)[split])
        if needs_boxes:
            part = labelled(part, pairs=True)
            remedy = " Without boxes there is --schedule label_free --clips." if split == "train" else ""
            check_labelled(part, f"its part {split!r}", pairs=True, remedy=remedy)
        found = [part]
        if kind == "both" and split == "train":
            found += generated(split, num_scenes)
    if thinning == 1:
        return found
    fewer = [
        RecordingPart(
            one.recording.thinned(thinning), range(-(-one.frames.start // thinning), one.frames.stop // thinning)
        )
        for one in found
    ]
    if any(len(part.frames) < 3 for part in fewer):
        raise ConfigError(f"a thinning of {thinning} leaves fewer than three frames; take a smaller one")
    return fewer


def labelled(part: RecordingPart, pairs: bool) -> RecordingPart:
    """A part without the frames at its beginning from which nobody can start; without any, if nobody can from one.

    Args:
        part: of a recording.
        pairs: the first frame needs a box beside that of the frame before it, as between frames (A).
    """
    recording, frames = part
    known = np.isfinite(recording.frame_boxes).all(axis=1)
    if pairs:
        known = known & np.concatenate([[False], known[:-1]])
    inside = np.flatnonzero(known[frames.start : frames.stop])
    return RecordingPart(recording, range(frames.start + int(inside[0]) if len(inside) else frames.stop, frames.stop))


def is_labelled(part: RecordingPart) -> bool:
    """Whether there is somewhere to start from in a part of `labelled`, and a box to compare with."""
    return len(part.frames) > 0 and bool(np.isfinite(part.recording.boxes).all(axis=1).any())


def check_labelled(part: RecordingPart, name: str, pairs: bool, remedy: str = "") -> None:
    """Refuses a part from which nobody can start, or of a recording without boxes to compare with.

    Args:
        part: of `labelled`.
        name: of it, for words.
        pairs: see there.
        remedy: what to do.

    Raises:
        DataError: it is one.
    """
    if not is_labelled(part):
        needs = "two neighbouring frames with boxes" if pairs else "a frame with a box"
        found = f"expected {needs}, and boxes to compare with, but {name} has none."
        raise DataError(f"{part.recording.name}: {found}{remedy}")


def with_boxes(config: Any, split: str, data: Path | None = None) -> list[RecordingPart]:
    """A split of a run's recordings; generated scenes, which say so, where label_free trains on one without boxes.

    Args:
        config: of the sensing recipe.
        split: see `parts`.
        data: see there.
    """
    asked = split, config.num_scenes if split == "train" else max(1, config.num_scenes // 3)
    if config.schedule == "label_free":
        (first, *_) = parts(config.recording, *asked, config.thinning, data, needs_boxes=False)
        if not is_labelled(labelled(first, pairs=True)):
            note = f"({first.recording.name} has no boxes)"
            return [
                RecordingPart(replace(scene, name=f"{scene.name} {note}"), frames)
                for scene, frames in generated(*asked)
            ]
    return parts(config.recording, *asked, config.thinning, data)


@lru_cache(maxsize=1)
def _loaded(folder: Path) -> Recording:
    """Read once: training and scoring look at two parts of the same recording."""
    return load_recording(folder, dt=DT)


def _own(path: str) -> Path:
    folder = Path(path).expanduser()
    if not folder.exists():
        raise ConfigError(
            f"recording {path!r} is neither the folder of a recording nor one of {', '.join(_RECORDINGS)}."
        )
    return folder


def generated(split: str, num_scenes: int) -> list[RecordingPart]:
    """Scenes of half a second with a textured target, each of another seed.

    Args:
        split: train, validation or test.
        num_scenes: how many.
    """
    return [_filmed(MovingObjects(seed=seed, size=26.0), f"scene {seed}") for seed in scene_seeds(split, num_scenes)]


def _filmed(scene: Stimulus, name: str) -> RecordingPart:
    recording = render_recording(scene, duration=_SECONDS, dt=DT, image_interval=1 / 480, name=name)
    return RecordingPart(recording, range(1, recording.num_frames))


def _is_there(data: Path | None) -> bool:
    try:
        find("fe240hz", data)
    except DataError:
        return False
    return True


def subsample_part(part: RecordingPart, keep_every: int, num_before: int = 0) -> RecordingPart:
    """A part with fewer frames.

    Args:
        part: of a recording.
        keep_every: 1 keeps all frames, 2 every second one of the recording.
        num_before: frames of the thinned recording that have to go before those of the part.
    """
    first, stop = (-(-frame // keep_every) for frame in (part.frames.start, part.frames.stop))
    return RecordingPart(part.recording.thinned(keep_every), range(max(num_before, first), stop))


def target_speeds(
    parts: Sequence[RecordingPart], outputs: Sequence[TrackingResult], shares: Sequence[float]
) -> tuple[NDArray[np.float64], list[float]]:
    """How fast the target was at each answer, and the edges of bands of speed.

    Args:
        parts: what was followed.
        outputs: on each of them.
        shares: of the answers that are slower than each edge, from 0 to 1.

    Returns:
        Speeds, NaN where nobody knows; and growing edges, none where no speed is known [px/s].
    """
    each = zip(parts, outputs, strict=True)
    speeds = np.concatenate([target_speed(part.recording.boxes, part.recording.dt)[one.bins] for part, one in each])
    known = speeds[np.isfinite(speeds)]
    if not len(known):
        return speeds, []
    edges = np.unique(np.quantile(known, shares))
    edges[-1] = np.nextafter(edges[-1], np.inf)  # the fastest is in the last band
    return speeds, edges.tolist()


def streaming_declared(part: RecordingPart, tracker: Tracker, latency: str) -> TrackingResult:
    """E with declared latencies.

    Args:
        part: what is followed.
        tracker: who follows; what is declared for a frame has all of the ANN's work in it, so it looks at once.
        latency: of `DECLARED`.
    """
    if isinstance(tracker, SensingTracker):
        tracker = copy(tracker)
        tracker.at_once = True
    sees_events = not isinstance(tracker, FrameTracker | OpenCVTracker)
    return streaming(part.recording, tracker, part.frames, DECLARED[latency].of(sees_events))


def score(tracker: Tracker, scored: Sequence[RecordingPart]) -> dict[str, Any]:
    """What a tracker is worth between frames (A), on boxes shaken by 1 and 2 px, and from the first box alone (C).

    Args:
        tracker: who follows.
        scored: on what.

    Returns:
        The figures of A with `per_bin`, and `shaken_1px`, `shaken_2px` (mean distances) and `closed_loop` (of C).
    """
    result = join_results([interframe(r, tracker, frames) for r, frames in scored]).report()
    for noise in (1, 2):
        shaken = join_results([interframe(r, tracker, frames, noise_px=noise) for r, frames in scored])
        result[f"shaken_{noise}px"] = shaken.score().mean_distance_px
    loop = join_results([one_pass_evaluation(r, tracker, frames) for r, frames in scored]).score()
    return {**result, "closed_loop": loop._asdict()}


def compare(scores: Mapping[str, Sequence[Mapping[str, Any]]], scored: Sequence[RecordingPart]) -> dict[str, Any]:
    """The table of networks and baselines, and the error by bin.

    Args:
        scores: what `score` gave, a list over seeds for each network.
        scored: the same recordings, for the baselines.
    """
    baselines = {name: [score(tracker, scored)] for name, tracker in _BASELINES.items()}
    everyone = {**scores, **baselines}
    reference = baselines["constant velocity"][0]
    # where boxes are rare there may be a bin after frames that never has one
    bins = [m for m, one in enumerate(reference["per_bin"]) if one["num_outputs"]]
    return {
        "recording": ", ".join(part.recording.name for part in scored),
        "trackers": [_row(name, seeds, reference) for name, seeds in everyone.items()],
        "distance by bin": [
            {"tracker": name} | {str(m + 1): _mean([s["per_bin"][m]["mean_distance_px"] for s in seeds]) for m in bins}
            for name, seeds in everyone.items()
        ],
    }


def _row(name: str, seeds: Sequence[Mapping[str, Any]], reference: Mapping[str, Any]) -> dict[str, Any]:
    distances = [one["mean_distance_px"] for one in seeds]
    return {
        "tracker": name,
        "distance px": _mean(distances),
        "sd": round(stdev(distances), 3) if len(seeds) > 1 else None,
        "seeds": len(seeds),
        "of constant velocity": round(fmean(distances) / reference["mean_distance_px"], 3),
        "auc": _mean([one["auc"] for one in seeds]),
        "within 3 px": _mean([one["precision_3px"] for one in seeds]),
        "within 5 px": _mean([one["precision_5px"] for one in seeds]),
        "shaken 1 px": _mean([one["shaken_1px"] for one in seeds]),
        "shaken 2 px": _mean([one["shaken_2px"] for one in seeds]),
        "closed loop auc": _mean([one["closed_loop"]["auc"] for one in seeds]),
        "closed loop px": _mean([one["closed_loop"]["mean_distance_px"] for one in seeds]),
    }


def _mean(values: Sequence[float]) -> float:
    return round(fmean(values), 3)
