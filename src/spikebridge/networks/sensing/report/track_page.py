"""The page of a tracked recording: frames, events and boxes with a slider, error, confidence and events over time."""

from base64 import b64encode
from collections.abc import Mapping
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from spikebridge.analysis.replay.lanes import Lane, Traces
from spikebridge.analysis.replay.replay import MAX_PICTURES, Film, Replay
from spikebridge.analysis.report import Section, Table, render_report
from spikebridge.data.recordings.recording import Recording
from spikebridge.networks.sensing.evaluation.metrics import distances, overlaps

# bounds of the size of a page: pixels along a side of a frame, quality of WebP, and sets of events
_MAX_SIDE = 346
_QUALITY = 55
_MAX_EVENT_SETS = 240


class TrackedBoxes(NamedTuple):
    """The boxes `x, y, w, h` [px] and the confidence (0 to 1) of a tracker at the end of each bin, from `first` on."""

    first: int
    boxes: Float[np.ndarray, "T 4"]
    confidence: Float[np.ndarray, " T"]
    lost: Bool[np.ndarray, " T"]


def track_page(recording: Recording, track: TrackedBoxes, summary: Mapping[str, Any]) -> str:
    """A self-contained page of a track, with the summary of `track_recording`."""
    facts = {
        name.replace("_", " "): value
        for name, value in summary.items()
        if not isinstance(value, Mapping) and value is not None
    }

    sections = [Section("Replay", _REPLAY, replays=[_track_replay(recording, track)])]
    truth = summary.get("against_truth")
    if truth is not None:
        score = {name.replace("_", " "): value for name, value in truth.items()}
        sections.append(Section("Score", "", [Table([score], "Against the true boxes; distances in pixels.")]))

    return render_report(f"Track of {recording.name}", sections, facts, lead=_lead(summary))


_REPLAY = "The newest frame, the events since then, and the boxes at the end of each bin."


def _lead(summary: Mapping[str, Any]) -> str:
    words = f"{summary['num_boxes']:,} boxes, mean confidence {summary['mean_confidence']:.2f}"
    words += f", reported lost in {100 * summary['reported_lost_share']:.1f} % of the bins"
    truth = summary.get("against_truth")
    return f"{words}." if truth is None else f"{words}; {truth['mean_distance_px']:.2f} px off on average."


def _track_replay(recording: Recording, track: TrackedBoxes) -> Replay:
    stop = track.first + len(track.boxes)
    truths = np.asarray(recording.boxes[track.first : stop], dtype=float)
    is_known = np.isfinite(truths).all(axis=1)
    boxes = {"tracker": track.boxes}
    lanes: list[Lane] = []

    if is_known.any():
        boxes["true box"] = truths
        lanes += _error_lanes(track.boxes, truths, is_known)

    lanes.append(Traces("confidence", {"confidence": track.confidence}))
    if track.lost.any():
        lanes.append(Traces("target lost", {"lost": track.lost}, steps=True))

    edges = np.asarray(recording.events.edges[track.first : stop + 1])
    lanes.append(Traces("events in a bin", {"events": np.diff(edges)}))

    return Replay(
        f"track of {recording.name}", lanes, recording.dt, _film(recording, track.first, stop, boxes), word="bin"
    )


def _error_lanes(
    boxes: Float[np.ndarray, "T 4"], truths: Float[np.ndarray, "T 4"], is_known: Bool[np.ndarray, " T"]
) -> list[Lane]:
    """Distance and overlap over time, NaN where the truth is unknown."""
    distance = np.full(len(is_known), np.nan)
    overlap = np.full(len(is_known), np.nan)
    distance[is_known] = distances(boxes[is_known], truths[is_known])
    overlap[is_known] = overlaps(boxes[is_known], truths[is_known])

    return [
        Traces("distance to the true centre", {"distance": distance}, "px"),
        Traces("overlap with the true box", {"overlap": overlap}),
    ]


def _film(recording: Recording, first: int, stop: int, boxes: Mapping[str, Any]) -> Film:
    """Frames and events from bin `first` on, no more than a replay shows."""
    starts = np.maximum(np.asarray(recording.frame_bins), first)
    # also the last frame before the first bin
    frames = [k for k in range(len(starts)) if starts[k] < stop and (k + 1 == len(starts) or starts[k + 1] > first)]
    spread = np.linspace(0, len(frames) - 1, min(len(frames), MAX_PICTURES))
    chosen = [frames[k] for k in sorted({round(position) for position in spread})]

    events = []
    event_starts = []
    stride = max(1, -(-(stop - first) // _MAX_EVENT_SETS))

    for b in range(first, stop, stride):
        # the events since the newest frame, of two bins at least
        newest = int(np.searchsorted(starts, b, side="right")) - 1
        since = min(int(starts[newest]) if newest >= 0 else first, b - 1)
        shown = recording.events.slice_bins(max(0, since, b - 2 * stride), b + 1)
        events.append(np.stack([shown.x, shown.y, shown.on], axis=1).astype(int))
        event_starts.append(b - first)

    return Film(
        recording.events.width,
        recording.events.height,
        [_picture(recording.frames[k]) for k in chosen],
        [int(starts[k]) - first for k in chosen],
        boxes,
        events,
        event_starts,
    )


def _picture(frame: UInt8[np.ndarray, "H W"]) -> str:
    # the square root lifts the dark levels
    grey = np.sqrt(np.asarray(frame, dtype=np.float32) * 255).astype(np.uint8)
    image = Image.fromarray(grey)
    image.thumbnail((_MAX_SIDE, _MAX_SIDE))
    content = BytesIO()
    image.save(content, "webp", quality=_QUALITY, method=4)

    return f"data:image/webp;base64,{b64encode(content.getvalue()).decode('ascii')}"
