"""The figures of the sensing recipe: trackers and baselines under protocols A and C, one table over seeds."""

import logging
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikebridge.networks.sensing.baselines.ann_only import FrameTracker
from spikebridge.networks.sensing.baselines.motion import ConstantVelocity, StaticBox
from spikebridge.networks.sensing.baselines.opencv import OpenCVTracker
from spikebridge.networks.sensing.data import RecordingPart
from spikebridge.networks.sensing.evaluation.latency import DECLARED
from spikebridge.networks.sensing.evaluation.metrics import target_speed
from spikebridge.networks.sensing.evaluation.protocols import interframe, one_pass_evaluation, streaming
from spikebridge.networks.sensing.evaluation.runner import Tracker, TrackingResult, join_results
from spikebridge.networks.sensing.tracker.tracker import SensingTracker

_log = logging.getLogger(__name__)

_BASELINES: dict[str, Any] = {"hold": StaticBox(), "constant velocity": ConstantVelocity()}


def target_speeds(
    parts: Sequence[RecordingPart], outputs: Sequence[TrackingResult], shares: Sequence[float]
) -> tuple[NDArray[np.float64], list[float]]:
    """The target's speed at each box, and the edges of bands of speed.

    Args:
        parts: what was tracked.
        outputs: on each of them.
        shares: of the answers that are slower than each edge, from 0 to 1.

    Returns:
        Speeds, NaN where unknown; and growing edges, none where no speed is known [px/s].
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
        part: what is tracked.
        tracker: a `SensingTracker` runs synchronously, since a frame's declared latency includes the detector.
        latency: of `DECLARED`.
    """
    if isinstance(tracker, SensingTracker):
        tracker = tracker.with_options(synchronous=True)

    sees_events = not isinstance(tracker, FrameTracker | OpenCVTracker)
    return streaming(part.recording, tracker, part.frames, DECLARED[latency].of(sees_events))


def score(tracker: Tracker, scored: Sequence[RecordingPart]) -> dict[str, Any]:
    """Figures of a tracker: protocol A, A with noise of 1 and 2 px, and C.

    Args:
        tracker: the tracker.
        scored: the evaluated parts.

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
    _log.info("tracking with %s", " and ".join(_BASELINES))
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
