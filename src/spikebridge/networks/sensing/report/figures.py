"""Figures of the report of the sensing recipe: measured once after a training, kept in figures.json.

| figure | measurement |
|---|---|
| error against frame rate | protocol A with fewer and fewer frames: the same weights, on at most 60 frames a rate |
| error against the target's speed | the paper's Fig. 2c: the ANN as if it took no time (C); the ANN and the hybrid with
the time that they take on the paper's chip (E) |
| cost | operations of one frame and the bins up to the next, and those of the ANN in every bin |
"""

import json
import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypedDict

import numpy as np
from PIL import Image
from torch import Tensor

from spikebridge.analysis.cost import Operations, count_cost
from spikebridge.analysis.energy import hardware_profile, joules
from spikebridge.data.events.binned import Crop
from spikebridge.data.io.atomic import write_text
from spikebridge.data.io.json_text import read_json
from spikebridge.data.recordings.recording import Recording
from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.sensing.data import RecordingPart, subsample_part
from spikebridge.networks.sensing.evaluation.baselines import baseline
from spikebridge.networks.sensing.evaluation.benchmark import streaming_declared, target_speeds
from spikebridge.networks.sensing.evaluation.metrics import error_by_speed
from spikebridge.networks.sensing.evaluation.protocols import interframe, one_pass_evaluation
from spikebridge.networks.sensing.evaluation.runner import Tracker, TrackingResult, join_results
from spikebridge.networks.sensing.report.animation import (
    COLOUR_TRACKED,
    COLOUR_TRUE,
    DrawnBox,
    tracking_picture,
)
from spikebridge.networks.sensing.tracker.tracker import SensingTracker
from spikebridge.training.run.config_io import read_results
from spikebridge.training.run.run import Run

_Rate = TypedDict("_Rate", {"frames a second": float})
_Figures = TypedDict("_Figures", {"by frame rate": list[_Rate], "by speed": list[dict[str, Any]]})
_log = logging.getLogger(__name__)

_KEEP_EVERY = (1, 2, 4, 8)
_MAX_STARTS = 60
_MIN_STARTS = 4
# a second or two of film says nothing about frame rates
_MIN_FRAMES = 60
_BASELINES = ("hold", "constant_velocity", "kalman", "events")
_THIRDS = (0.0, 1 / 3, 2 / 3, 1.0)
_COLOUR_ANN = (250, 200, 60)
# the animation: 0.4 s, a picture every second bin, pixels around the target
_MAX_BINS = 96
_STRIDE = 2
_MARGIN = 16
_PICTURE_SIDE = 480


def figures(run: Run, name: str, tracker: SensingTracker, parts: Sequence[RecordingPart]) -> dict[str, Any]:
    """The figures of a finished run, from its folder where they are there already; `parts` are its scored parts."""
    path = run.file("figures.json")
    results = run.file("results.json")
    if path.exists() and results.exists() and path.stat().st_mtime >= results.stat().st_mtime:
        kept: dict[str, Any] = read_results(_Figures, read_json(path, "figures of a run"), path)
        return kept

    enough = sum(len(part.frames) for part in parts) >= _MIN_FRAMES
    measured = {
        "by frame rate": by_frame_rate(name, tracker, parts) if enough else [],
        "by speed": by_speed(tracker, parts) if enough else [],
    }
    if run.writes:
        write_text(path, json.dumps(measured, indent=2) + "\n")

    return measured


def by_frame_rate(name: str, tracker: SensingTracker, parts: Sequence[RecordingPart]) -> list[dict[str, Any]]:
    """Mean distance between frames (protocol A) with the same weights at each frame rate, a row a rate."""
    names = _BASELINES if "where" in tracker.sensing.parts else _BASELINES[:-1]
    others = {other: baseline(other, tracker, parts, 0.0, 0, _no_network) for other in names}
    rows = []

    for keep in _KEEP_EVERY:
        kept = [subsample_part(part, keep, num_before=1) for part in parts]
        starts = [(part.recording, k) for part in kept for k in part.frames]
        if len(starts) < _MIN_STARTS:
            continue

        # evenly spread, so that every part of the recording counts
        indices = np.unique(np.linspace(0, len(starts) - 1, _MAX_STARTS).round().astype(int))
        chosen = [starts[i] for i in indices]
        rate = 1 / float(np.diff(kept[0].recording.frame_times).mean())
        row: dict[str, Any] = {"frames a second": round(rate, 2), "starts": len(chosen)}
        _log.info("tracking at %.3g frames a second", rate)

        for method, method_tracker in {name: tracker, **others}.items():
            results = [interframe(recording, method_tracker, range(k, k + 1)) for recording, k in chosen]
            row[method] = join_results(results).score().mean_distance_px

        rows.append(row)

    return rows


def by_speed(tracker: SensingTracker, parts: Sequence[RecordingPart]) -> list[dict[str, Any]]:
    """Mean overlap in three bands of the target's speed, a row a band: from the first box alone, streaming."""
    ann = baseline("ann_hold", tracker, parts, 0.0, 0, _no_network)
    _log.info("tracking slow and fast targets")
    outputs = {
        "ANN, offline": [one_pass_evaluation(recording, ann, frames) for recording, frames in parts],
        "ANN, streaming": [streaming_declared(part, ann, "tianjic") for part in parts],
        "hybrid, streaming": [streaming_declared(part, tracker, "tianjic") for part in parts],
    }

    speeds, edges = target_speeds(parts, outputs["ANN, offline"], _THIRDS)
    if len(edges) < 2:
        return []

    rows: list[dict[str, Any]] = [{"from px/s": round(low), "to px/s": round(high)} for low, high in pairwise(edges)]
    for method, results in outputs.items():
        joined = join_results(results)
        bands = error_by_speed(joined.boxes, joined.truths, speeds, edges)
        for row, band in zip(rows, bands, strict=True):
            row[f"{method}, IoU"] = round(band.miou, 3)
            row[f"{method}, px"] = round(band.mean_distance_px, 2)

    return rows


def cost_rows(network: HybridNetwork, inputs: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """Operations and energy of one frame and the bins up to the next, and those of the ANN in every bin.

    There are no rows for a network without events.
    """
    if "events" not in network.inputs:
        return []

    cost = count_cost(network, {name: x for name, x in inputs.items() if name in network.inputs})
    ann_in_every_bin = cost.parts["what"].scaled(len(inputs["events"]))
    counted = [*cost.parts.items(), *cost.links.items()]
    rows = [_cost_row(name, operations) for name, operations in counted if operations.num_operations]
    total = _cost_row("all", cost.total)
    rows += [total, _cost_row("the ANN in every bin", ann_in_every_bin)]

    return [{**row, "of all": round(row["uJ"] / total["uJ"], 2)} for row in rows]


def _cost_row(name: str, operations: Operations) -> dict[str, Any]:
    return {
        "part": name,
        "MAC": round(operations.macs),
        "spike additions": round(operations.synops),
        "updates": round(operations.updates),
        "uJ": round(1e6 * joules(operations, hardware_profile("45nm")), 3),
    }


def moving_pictures(tracker: SensingTracker, part: RecordingPart) -> list[Image.Image]:
    """The first 0.4 s after the first box: frames, events, and the boxes of the truth, the hybrid and its ANN alone."""
    _log.info("drawing an animation")
    recording, frames = part
    last_bin = recording.frame_bins[frames.start] + _MAX_BINS
    stop = min(int(np.searchsorted(recording.frame_bins, last_bin)), frames.stop)
    shown = range(frames.start, max(stop, frames.start + 1))

    hybrid = one_pass_evaluation(recording, tracker, shown)
    ann = one_pass_evaluation(recording, baseline("ann_hold", tracker, [part], 0.0, 0, _no_network), shown)
    window = _window(recording, hybrid)

    return [
        _picture(recording, int(hybrid.bins[i]), window, hybrid.boxes[i], ann.boxes[i], hybrid.truths[i])
        for i in range(0, len(hybrid.bins), _STRIDE)
    ]


def _picture(recording: Recording, bin_: int, window: Crop, hybrid: Any, ann: Any, truth: Any) -> Image.Image:
    newest = max(0, int(np.searchsorted(recording.frame_bins, bin_, side="right")) - 1)
    boxes = [DrawnBox(truth, COLOUR_TRUE, thin=True)] if np.isfinite(truth).all() else []
    boxes += [DrawnBox(ann, _COLOUR_ANN, thin=True), DrawnBox(hybrid, COLOUR_TRACKED)]
    events = recording.events.slice_bins(max(0, bin_ - 1), bin_ + 1)
    scale = max(1.0, min(4.0, _PICTURE_SIDE / window[2]))
    caption = f"{(bin_ + 1) * recording.dt:.3f} s"

    return tracking_picture(recording.frames[newest], events, boxes, caption, scale, window)


def _window(recording: Recording, result: TrackingResult) -> Crop:
    """The part of the sensor in which the target is, with a margin; that of the answers where no truth is known."""
    truths = result.truths[np.isfinite(result.truths).all(axis=1)]
    boxes = truths if len(truths) else result.boxes
    size = np.array([recording.events.width, recording.events.height])
    low = (boxes[:, :2].min(axis=0) - _MARGIN).clip(0, size - 1).astype(int)
    high = np.ceil(boxes[:, :2] + boxes[:, 2:]).max(axis=0) + _MARGIN
    width, height = (high.clip(low + 1, size) - low).astype(int).tolist()

    return int(low[0]), int(low[1]), width, height


def _no_network(name: str) -> Tracker:
    raise ConfigError(f"no baseline {name!r}")
