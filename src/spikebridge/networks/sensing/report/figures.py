"""Figures of the report of the sensing recipe: measured once after a training, kept in figures.json.

| figure | what is measured |
|---|---|
| error against frame rate | protocol D, question A: the same weights at each rate, on at most 60 frames a rate |
| error against the target's speed | the paper's Fig. 2c: the ANN as if it took no time (C); the ANN and the hybrid with
the time that they take on the paper's chip (E) |
| cost | operations of one frame and the bins up to the next, counted; the ANN in every bin beside it |

Figures of tracking: the error of several trackers over frame rate, or over the bins since a frame.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator
from PIL import Image
from torch import Tensor

from spikebridge.analysis.cost import Operations, count_cost
from spikebridge.analysis.energy import hardware_profile, joules
from spikebridge.analysis.plots.style import INK, PAGE_WIDTH, SERIES, show_values
from spikebridge.data.events.binned import Crop
from spikebridge.data.io.atomic import write_text
from spikebridge.data.io.json_text import read_json
from spikebridge.data.recordings.recording import Recording
from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.sensing.data import RecordingPart, subsample_part
from spikebridge.networks.sensing.evaluation.baselines import baseline
from spikebridge.networks.sensing.evaluation.benchmark import streaming_declared, target_speeds
from spikebridge.networks.sensing.evaluation.metrics import error_by_speed
from spikebridge.networks.sensing.evaluation.protocols import interframe, one_pass_evaluation
from spikebridge.networks.sensing.evaluation.runner import Tracker, TrackingResult, join_results
from spikebridge.networks.sensing.report.animation import DrawnBox, SeenEvents, tracking_picture
from spikebridge.networks.sensing.tracker.tracker import SensingTracker
from spikebridge.training.run.run import Run

_log = logging.getLogger(__name__)

_KEEP = (1, 2, 4, 8)
_MOST_STARTS = 60
_LEAST_STARTS = 4
# a second or two of film tells nothing about frame rates
_LEAST_FRAMES = 60
_METHODS = ("hold", "constant_velocity", "kalman", "events")
_THIRDS = (0.0, 1 / 3, 2 / 3, 1.0)
_TRUE = (255, 255, 255)
_HYBRID = (80, 220, 120)
_FRAMES = (250, 200, 60)
_MOST_BINS = 96
_STRIDE = 2
_MARGIN = 16


def figures(run: Run, name: str, tracker: SensingTracker, parts: Sequence[RecordingPart]) -> dict[str, Any]:
    """What was measured of a run, from its folder where it is there already.

    Args:
        run: a finished one.
        name: of the network.
        tracker: with its weights.
        parts: what it is scored on.
    """
    path = run.path / "figures.json"
    results = run.path / "results.json"
    if path.exists() and results.exists() and path.stat().st_mtime >= results.stat().st_mtime:
        known: dict[str, Any] = read_json(path, "figures of a run")
        return known

    enough = sum(len(part.frames) for part in parts) >= _LEAST_FRAMES
    measured = {
        "by frame rate": by_frame_rate(name, tracker, parts) if enough else [],
        "by speed": by_speed(tracker, parts) if enough else [],
    }
    if run.writes:
        write_text(path, json.dumps(measured, indent=2) + "\n")

    return measured


def by_frame_rate(name: str, tracker: SensingTracker, parts: Sequence[RecordingPart]) -> list[dict[str, Any]]:
    """Mean distance between frames (protocol A) at each frame rate, a row a rate.

    Args:
        name: of the network.
        tracker: with its weights; the same at each rate.
        parts: what it is scored on.
    """
    methods = _METHODS if "where" in tracker.sensing.parts else _METHODS[:-1]
    others = {other: baseline(other, tracker, parts, 0.0, 0, _none_of_the_run) for other in methods}
    rows = []

    for keep in _KEEP:
        kept = [subsample_part(part, keep, num_before=1) for part in parts]
        starts = [(part.recording, k) for part in kept for k in part.frames]
        if len(starts) < _LEAST_STARTS:
            continue

        # evenly spread, so that every part of the recording counts
        chosen = [starts[i] for i in np.unique(np.linspace(0, len(starts) - 1, _MOST_STARTS).round().astype(int))]
        rate = 1 / float(np.diff(kept[0].recording.frame_times).mean())
        row: dict[str, Any] = {"frames a second": round(rate, 2), "starts": len(chosen)}
        _log.info("tracking at %.3g frames a second", rate)

        for method, one in {name: tracker, **others}.items():
            row[method] = join_results([_after(one, r, k) for r, k in chosen]).score().mean_distance_px

        rows.append(row)

    return rows


def by_speed(tracker: SensingTracker, parts: Sequence[RecordingPart]) -> list[dict[str, Any]]:
    """Mean overlap in three bands of the target's speed, a row a band: from the first box alone, streaming.

    Args:
        tracker: with its weights.
        parts: what it is scored on.
    """
    ann = baseline("ann_hold", tracker, parts, 0.0, 0, _none_of_the_run)
    _log.info("tracking slow and fast targets")
    asked = {
        "ANN, offline": [one_pass_evaluation(r, ann, frames) for r, frames in parts],
        "ANN, streaming": [streaming_declared(part, ann, "tianjic") for part in parts],
        "hybrid, streaming": [streaming_declared(part, tracker, "tianjic") for part in parts],
    }

    speeds, edges = target_speeds(parts, next(iter(asked.values())), _THIRDS)
    if len(edges) < 2:
        return []

    rows: list[dict[str, Any]] = [{"from px/s": round(low), "to px/s": round(high)} for low, high in pairwise(edges)]
    for method, outputs in asked.items():
        joined = join_results(outputs)
        bands = error_by_speed(joined.boxes, joined.truths, speeds, edges)
        for row, band in zip(rows, bands, strict=True):
            row |= {f"{method}, IoU": round(band.miou, 3), f"{method}, px": round(band.mean_distance_px, 2)}

    return rows


def cost_rows(network: HybridNetwork, inputs: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """Operations and energy of one frame and the bins up to the next, and those of the ANN in every bin.

    Args:
        network: with its weights.
        inputs: one frame and some bins of events.

    Returns:
        Rows; none for a network that sees no events.
    """
    if "events" not in network.inputs:
        return []

    cost = count_cost(network, {name: x for name, x in inputs.items() if name in network.inputs})
    everywhere = cost.parts["what"].scaled(len(inputs["events"]))
    owners = [(name, done) for group in (cost.parts, cost.links) for name, done in group.items() if done.num_operations]
    rows = [_cost(name, done) for name, done in [*owners, ("all", cost.total), ("the ANN in every bin", everywhere)]]

    return [{**row, "of all": round(row["uJ"] / rows[-2]["uJ"], 2)} for row in rows]


def moving_pictures(tracker: SensingTracker, part: RecordingPart) -> list[Image.Image]:
    """The first 0.4 s: frames, events, and the boxes of the truth, the hybrid and its ANN alone, from the first box on.

    Args:
        tracker: with its weights.
        part: its beginning is shown.
    """
    _log.info("drawing an animation")
    recording, frames = part
    stop = min(int(np.searchsorted(recording.frame_bins, recording.frame_bins[frames.start] + _MOST_BINS)), frames.stop)
    shown = range(frames.start, max(stop, frames.start + 1))
    followed = one_pass_evaluation(recording, tracker, shown)
    alone = one_pass_evaluation(recording, baseline("ann_hold", tracker, [part], 0.0, 0, _none_of_the_run), shown)
    window = _window(recording, followed)

    return [
        _drawn(recording, int(followed.bins[i]), window, followed.boxes[i], alone.boxes[i], followed.truths[i])
        for i in range(0, len(followed.bins), _STRIDE)
    ]


def _drawn(recording: Recording, bin_: int, window: Crop, hybrid: Any, alone: Any, truth: Any) -> Image.Image:
    newest = max(0, int(np.searchsorted(recording.frame_bins, bin_, side="right")) - 1)
    boxes = [DrawnBox(truth, _TRUE, thin=True)] if np.isfinite(truth).all() else []
    boxes += [DrawnBox(alone, _FRAMES, thin=True), DrawnBox(hybrid, _HYBRID)]
    events = SeenEvents(*recording.events.slice_bins(max(0, bin_ - 1), bin_ + 1))
    scale = max(1.0, min(4.0, 480 / window[2]))
    caption = f"{(bin_ + 1) * recording.dt:.3f} s"

    return tracking_picture(recording.frames[newest], events, boxes, caption, scale, window)


def _window(recording: Recording, followed: TrackingResult) -> Crop:
    """The part of the sensor in which the target and the boxes are, with a margin."""
    seen = followed.truths[np.isfinite(followed.truths).all(axis=1)]
    boxes = seen if len(seen) else followed.boxes
    size = np.array([recording.events.width, recording.events.height])
    low = (boxes[:, :2].min(axis=0) - _MARGIN).clip(0, size - 1).astype(int)
    high = np.ceil(boxes[:, :2] + boxes[:, 2:]).max(axis=0) + _MARGIN
    wide, tall = (high.clip(low + 1, size) - low).astype(int).tolist()

    return int(low[0]), int(low[1]), wide, tall


def _cost(name: str, done: Operations) -> dict[str, Any]:
    return {
        "part": name,
        "MAC": round(done.macs),
        "spike additions": round(done.synops),
        "updates": round(done.updates),
        "uJ": round(1e6 * joules(done, hardware_profile("45nm")), 3),
    }


def _after(tracker: Tracker, recording: Recording, frame: int) -> TrackingResult:
    return interframe(recording, tracker, range(frame, frame + 1))


def _none_of_the_run(name: str) -> Tracker:
    raise ConfigError(f"no baseline {name!r}")


_MARKERS = "osD^vP"
_STYLES = ("-", "--", "-.", ":")


def error_lines(
    x: Sequence[float],
    errors: Mapping[str, Sequence[float]],
    x_title: str,
    value_title: str = "mean distance [px]",
    logarithmic: bool = False,
) -> Figure:
    """A line a tracker; the first one stands out.

    Args:
        x: places on the axis.
        errors: by tracker, one for each place.
        x_title, value_title: of the axes.
        logarithmic: both axes, for frame rates.

    Raises:
        ShapeError: a tracker has not one error for each place.

    Example:
        >>> figure = error_lines([5, 10], {"hold": [2.0, 1.0]}, "frames a second", logarithmic=True)
        >>> [line.get_label() for line in figure.axes[0].lines]
        ['hold']
    """
    figure = Figure(figsize=(PAGE_WIDTH, 3.4), layout="constrained")
    figure.patch.set_facecolor("none")
    axes = figure.subplots()
    axes.set_facecolor("none")

    for i, (name, values) in enumerate(errors.items()):
        if len(values) != len(x):
            raise ShapeError(f"{name!r} has {len(values)} errors for {len(x)} places on the axis")

        (line,) = axes.plot(
            x,
            values,
            color=SERIES[i % len(SERIES)],
            marker=_MARKERS[i % len(_MARKERS)],
            linestyle=_STYLES[i // len(SERIES) % len(_STYLES)],
            linewidth=2.4 if i == 0 else 1.4,
            markersize=5 if i == 0 else 4,
            label=name,
        )

        show_values(line, [f"{name}: {value:.4g} at {place:g}" for place, value in zip(x, values, strict=True)])

    if logarithmic:
        axes.set(xscale="log", yscale="log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())

    axes.set_xticks(list(x), [f"{place:g}" for place in x])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(x_title, color=INK)
    axes.set_ylabel(value_title, color=INK)
    axes.tick_params(which="both", colors=INK, labelsize=9)
    axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.legend(frameon=False, labelcolor=INK, fontsize=9, loc="upper left", bbox_to_anchor=(1.01, 1.0))

    return figure
