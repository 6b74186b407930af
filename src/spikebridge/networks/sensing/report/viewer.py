"""A tracked recording as a file for the Rerun viewer (`.rrd`), with every frame, event and box.

A page (`track_page.py`) is bounded in size and thins long recordings; this file is not, and the viewer reads it from
the disk. It needs the extra `viewer` (rerun-sdk, MIT or Apache 2.0).
"""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from spikebridge.data.io.atomic import atomic_write
from spikebridge.data.recordings.recording import Recording
from spikebridge.errors import import_extra
from spikebridge.networks.sensing.evaluation.metrics import distances, overlaps
from spikebridge.networks.sensing.report.animation import (
    COLOUR_LOST,
    COLOUR_OFF,
    COLOUR_ON,
    COLOUR_TRACKED,
    COLOUR_TRUE,
)
from spikebridge.networks.sensing.report.track_page import TrackedBoxes

_BINS_IN_MEMORY = 256


def check_viewer() -> Any:
    """The module that writes such files, or a ConfigError that says how to install it."""
    return import_extra("rerun", "viewer", "a file for the Rerun viewer needs")


def write_viewer_file(path: Path, recording: Recording, track: TrackedBoxes) -> None:
    """Writes a track as an `.rrd` file, in whole or not at all; no more than 256 bins are in memory."""
    rerun = check_viewer()
    stream = rerun.RecordingStream("spikebridge", recording_id=recording.name)
    pieces = stream.binary_stream()
    frame_of_bin = {int(b): k for k, b in enumerate(recording.frame_bins)}

    # the track may begin after its frame: its first bin shows the newest one
    if recording.num_frames:
        newest = int(np.searchsorted(recording.frame_bins, track.first, side="right")) - 1
        frame_of_bin.setdefault(track.first, max(newest, 0))

    with atomic_write(path) as file:
        for row in range(len(track.boxes)):
            b = track.first + row
            stream.set_time("bin", sequence=b)
            stream.set_time("time", duration=(b + 1) * recording.dt)
            _log_camera(stream, rerun, recording, b, frame_of_bin.get(b))
            _log_track(stream, rerun, recording, track, row)

            if row % _BINS_IN_MEMORY == _BINS_IN_MEMORY - 1:
                file.write(pieces.read() or b"")

        file.write(pieces.read() or b"")


def _log_camera(stream: Any, rerun: ModuleType, recording: Recording, b: int, frame: int | None) -> None:
    """Logs the events of a bin, and its frame if there is one."""
    if frame is not None:
        stream.log("camera/frame", rerun.Image(np.asarray(recording.frames[frame]), color_model="L"))

    x, y, on = recording.events.slice_bins(b, b + 1)
    # the centres of pixels
    points = np.stack([x, y], axis=1).astype(np.float32) + 0.5
    colours = np.where(np.asarray(on)[:, None], COLOUR_ON, COLOUR_OFF).astype(np.uint8)
    stream.log("camera/events", rerun.Points2D(points, colors=colours, radii=0.5))


def _log_track(stream: Any, rerun: ModuleType, recording: Recording, track: TrackedBoxes, row: int) -> None:
    """Logs the box and the confidence of a bin, and the truth where it is known."""
    box = track.boxes[row]
    _log_box(stream, rerun, "camera/tracker", box, COLOUR_LOST if track.lost[row] else COLOUR_TRACKED)
    stream.log("confidence", rerun.Scalars(float(track.confidence[row])))

    truth = np.asarray(recording.boxes[track.first + row], dtype=float)
    if np.isfinite(truth).all():
        _log_box(stream, rerun, "camera/truth", truth, COLOUR_TRUE)
        stream.log("distance [px]", rerun.Scalars(float(distances(box[None], truth[None])[0])))
        stream.log("overlap", rerun.Scalars(float(overlaps(box[None], truth[None])[0])))


def _log_box(stream: Any, rerun: ModuleType, name: str, box: np.ndarray, colour: tuple[int, int, int]) -> None:
    stream.log(name, rerun.Boxes2D(mins=[box[:2]], sizes=[np.maximum(box[2:], 0)], colors=[colour]))
