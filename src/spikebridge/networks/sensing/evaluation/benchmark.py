"""The figures of the sensing recipe: trackers and baselines under protocols A and C, one table over seeds."""

import logging
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Annotated, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from spikebridge.networks.sensing.baselines.motion import ConstantVelocity, StaticBox
from spikebridge.networks.sensing.data import RecordingPart
from spikebridge.networks.sensing.evaluation.metrics import target_speed
from spikebridge.networks.sensing.evaluation.protocols import DECLARED, interframe, one_pass_evaluation, streaming
from spikebridge.networks.sensing.evaluation.runner import Tracker, TrackingResult, join_results
from spikebridge.networks.sensing.tracker.tracker import SensingTracker


class _Bin(TypedDict):
    num_outputs: int
    mean_distance_px: float


class _ClosedLoop(TypedDict):
    auc: float
    mean_distance_px: float


class TrackerScore(_ClosedLoop):
    """Figures of one network and seed."""

    shaken_1px: float
    shaken_2px: float
    precision_3px: float
    precision_5px: float
    per_bin: Annotated[list[_Bin], "bins"]
    closed_loop: _ClosedLoop


_log = logging.getLogger(__name__)

_BASELINES: dict[str, Any] = {"hold": StaticBox(), "constant velocity": ConstantVelocity()}


def target_speeds(
    parts: Sequence[RecordingPart], results: Sequence[TrackingResult], shares: Sequence[float]
) -> tuple[NDArray[np.float64], list[float]]:
    """The target's speed at each box, NaN where unknown, and growing edges of bands of speed [px/s].

    `shares` of the answers are slower than each edge, from 0 to 1. There are no edges where no speed is known.
    """
    pairs = zip(parts, results, strict=True)
    speeds = np.concatenate([target_speed(part.recording.boxes, part.recording.dt)[one.bins] for part, one in pairs])
    known_speeds = speeds[np.isfinite(speeds)]
    if not len(known_speeds):
        return speeds, []

    edges = np.unique(np.quantile(known_speeds, shares))
    # the fastest is in the last band
    edges[-1] = np.nextafter(edges[-1], np.inf)

    return speeds, edges.tolist()


def streaming_declared(part: RecordingPart, tracker: Tracker, latency: str) -> TrackingResult:
    """E with the declared latencies of a name."""
    # a frame's declared latency includes the detector
    if isinstance(tracker, SensingTracker):
        tracker = tracker.with_options(synchronous=True)

    reads_events = getattr(tracker, "reads_events", True)
    return streaming(part.recording, tracker, part.frames, DECLARED[latency].of(reads_events))


def score(tracker: Tracker, scored: Sequence[RecordingPart]) -> dict[str, Any]:
    """The figures of a tracker: of A with `per_bin`, `shaken_1px` and `shaken_2px` (mean distances with noise of 1 and
    2 px), and `closed_loop` (of C)."""
    figures = join_results([interframe(r, tracker, frames) for r, frames in scored]).report()
    for noise in (1, 2):
        noisy = join_results([interframe(r, tracker, frames, noise_px=noise) for r, frames in scored])
        figures[f"shaken_{noise}px"] = noisy.score().mean_distance_px

    closed_loop = join_results([one_pass_evaluation(r, tracker, frames) for r, frames in scored]).score()
    return {**figures, "closed_loop": closed_loop._asdict()}


def compare(scores: Mapping[str, Sequence[Mapping[str, Any]]], scored: Sequence[RecordingPart]) -> dict[str, Any]:
    """The table of networks and baselines, and the error by bin.

    `scores` are the figures of `score`, a list over seeds for each network; baselines get the same recordings.
    """
    _log.info("tracking with %s", " and ".join(_BASELINES))
    baselines = {name: [score(tracker, scored)] for name, tracker in _BASELINES.items()}
    figures = {**scores, **baselines}
    reference = baselines["constant velocity"][0]

    # with few boxes, a bin after frames may never have one
    num_bins = min(len(one["per_bin"]) for seeds in figures.values() for one in seeds)
    bins = [m for m, one in enumerate(reference["per_bin"][:num_bins]) if one["num_outputs"]]
    return {
        "recording": ", ".join(part.recording.name for part in scored),
        "trackers": [_row(name, seeds, reference) for name, seeds in figures.items()],
        "distance by bin": [
            {"tracker": name} | {str(m + 1): _mean([s["per_bin"][m]["mean_distance_px"] for s in seeds]) for m in bins}
            for name, seeds in figures.items()
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
