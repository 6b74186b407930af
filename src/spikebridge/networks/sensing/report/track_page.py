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

_MAX_SIDE = 346
_QUALITY = 55
_EVENT_SETS = 240


class TrackedBoxes(NamedTuple):
    """The answers of a tracker at the end of each bin, from the first bin on.

    Args:
        first: number of the first bin.
        boxes: `x, y, w, h` in pixels.
        confidence: 0 to 1.
        lost: whether the tracker lost the target.
    """

    first: int
    boxes: Float[np.ndarray, "T 4"]
    confidence: Float[np.ndarray, " T"]
    lost: Bool[np.ndarray, " T"]


def track_page(recording: Recording, track: TrackedBoxes, summary: Mapping[str, Any]) -> str:
    """One self-contained page.

    Args:
        recording: that was followed.
        track: the answers.
        summary: of `track_recording`.
    """
    plain = {
        name.replace("_", " "): value
        for name, value in summary.items()
        if not isinstance(value, Mapping) and value is not None
    }

    sections = [Section("Replay", _REPLAY, replays=[_track_replay(recording, track)])]
    truth = summary.get("against_truth")
    if truth is not None:
        score = {name.replace("_", " "): value for name, value in truth.items()}
        sections.append(Section("Score", "", [Table([score], "Against the true boxes; distances in pixels.")]))

    return render_report(f"Track of {recording.name}", sections, plain, lead=_lead(summary))


_REPLAY = "The newest frame, the events since then, and the boxes at the end of each bin."


def _lead(summary: Mapping[str, Any]) -> str:
    words = f"{summary['num_boxes']:,} boxes, mean confidence {summary['mean_confidence']:.2f}"
    words += f", reported lost in {100 * summary['reported_lost_share']:.1f} % of the bins"
    truth = summary.get("against_truth")
    return f"{words}." if truth is None else f"{words}; {truth['mean_distance_px']:.2f} px off on average."


def _track_replay(recording: Recording, track: TrackedBoxes) -> Replay:
    """The replay of a track.

    Args:
        recording: that was followed.
        track: the answers.
    """
    stop = track.first + len(track.boxes)
    truths = np.asarray(recording.boxes[track.first : stop], dtype=float)
    known = np.isfinite(truths).all(axis=1)
    lanes: list[Lane] = []

    if known.any():
        away = np.full(len(known), np.nan)
        shared = np.full(len(known), np.nan)
        away[known] = distances(track.boxes[known], truths[known])
        shared[known] = overlaps(track.boxes[known], truths[known])
        lanes += [Traces("distance to the true centre", {"distance": away}, "px")]
        lanes += [Traces("overlap with the true box", {"overlap": shared})]

    lanes.append(Traces("confidence", {"confidence": track.confidence}))
    if track.lost.any():
        lanes.append(Traces("target lost", {"lost": track.lost}, steps=True))

    edges = np.asarray(recording.events.edges[track.first : stop + 1])
    lanes.append(Traces("events in a bin", {"events": np.diff(edges)}))
    boxes = {"tracker": track.boxes} | ({"true box": truths} if known.any() else {})
    film = _film(recording, track.first, stop, boxes)

    return Replay(f"track of {recording.name}", lanes, recording.dt, film, word="bin")


def _film(recording: Recording, first: int, stop: int, boxes: Mapping[str, Any]) -> Film:
    """Frames and events from bin `first` on, no more than a replay shows."""
    starts = np.maximum(np.asarray(recording.frame_bins), first)
    frames = [k for k in range(len(starts)) if starts[k] < stop and (k + 1 == len(starts) or starts[k + 1] > first)]
    chosen = [
        frames[k] for k in sorted({round(p) for p in np.linspace(0, len(frames) - 1, min(len(frames), MAX_PICTURES))})
    ]
    pictures = [_picture(recording.frames[k]) for k in chosen]
    events = []
    begins = []
    stride = max(1, -(-(stop - first) // _EVENT_SETS))

    for b in range(first, stop, stride):
        # the events since the newest frame, of two bins at least
        newest = int(np.searchsorted(starts, b, side="right")) - 1
        since = min(int(starts[newest]) if newest >= 0 else first, b - 1)
        seen = recording.events.slice_bins(max(0, since, b - 2 * stride), b + 1)
        events.append(np.stack([seen.x, seen.y, seen.on], axis=1).astype(int))
        begins.append(b - first)

    return Film(
        recording.events.width,
        recording.events.height,
        pictures,
        [int(starts[k]) - first for k in chosen],
        boxes,
        events,
        begins,
    )


def _picture(frame: UInt8[np.ndarray, "H W"]) -> str:
    """A frame, brightened, as a `data:` address."""
    # the square root lifts what the camera saw in the dark
    grey = np.sqrt(np.asarray(frame, dtype=np.float32) * 255).astype(np.uint8)
    image = Image.fromarray(grey)
    image.thumbnail((_MAX_SIDE, _MAX_SIDE))
    content = BytesIO()
    image.save(content, "webp", quality=_QUALITY, method=4)

    return f"data:image/webp;base64,{b64encode(content.getvalue()).decode('ascii')}"
