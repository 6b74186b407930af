"""Figures of the report of the sensing recipe: the cost of a network, and pictures of a tracked target."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from spikebridge.analysis.cost import Operations, count_cost
from spikebridge.analysis.energy import hardware_profile, joules
from spikebridge.data.events.binned import Crop
from spikebridge.data.recordings.recording import Recording
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.sensing.baselines.ann_only import FrameTracker
from spikebridge.networks.sensing.data import RecordingPart
from spikebridge.networks.sensing.evaluation.protocols import one_pass_evaluation
from spikebridge.networks.sensing.evaluation.runner import TrackingResult
from spikebridge.networks.sensing.report.animation import (
    COLOUR_TRACKED,
    COLOUR_TRUE,
    DrawnBox,
    tracking_picture,
)
from spikebridge.networks.sensing.tracker.tracker import SensingTracker

_log = logging.getLogger(__name__)

_COLOUR_ANN = (250, 200, 60)
# the animation: 0.4 s, a picture every second bin, pixels around the target
_MAX_BINS = 96
_STRIDE = 2
_MARGIN = 16
_PICTURE_SIDE = 480


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

    # without events the detection alone counts
    at_frames = tracker.with_options(calibrate=False, detector="learned", detector_gain=1.0)
    hybrid = one_pass_evaluation(recording, tracker, shown)
    ann = one_pass_evaluation(recording, FrameTracker(at_frames), shown)
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
