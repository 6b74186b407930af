"""A tracked recording as a file for the Rerun viewer (`.rrd`), with every frame, event and box.

A page (`track_page.py`) is bounded in size and thins long recordings; this file is not, and the viewer reads it from
the disk. It needs the extra `viewer` (rerun-sdk, MIT or Apache 2.0).
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np

from spikebridge.data.io.atomic import atomic_write
from spikebridge.data.recordings.recording import Recording
from spikebridge.errors import ConfigError
from spikebridge.networks.sensing.evaluation.metrics import distances, overlaps
from spikebridge.networks.sensing.report.animation import (
    COLOUR_FOUND,
    COLOUR_LOST,
    COLOUR_OFF,
    COLOUR_ON,
    COLOUR_TRUE,
)
from spikebridge.networks.sensing.report.track_page import TrackedBoxes

_BINS_IN_MEMORY = 256


def check_viewer() -> ModuleType:
    """The module that writes such files.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module("rerun")
    except ImportError as error:
        raise ConfigError("a file for the Rerun viewer needs rerun-sdk: install spikebridge[viewer]") from error


def write_viewer_file(path: Path, recording: Recording, track: TrackedBoxes) -> None:
    """Writes a track as an `.rrd` file, in whole or not at all; no more than 256 bins are in memory.

    Args:
        path: the file.
        recording: that was followed.
        track: the answers.

    Raises:
        ConfigError: rerun-sdk is not installed.
    """
    rerun = check_viewer()
    stream = rerun.RecordingStream("spikebridge", recording_id=recording.name)
    pieces = stream.binary_stream()
    truths = np.asarray(recording.boxes, dtype=float)
    frame_of = {int(b): k for k, b in enumerate(recording.frame_bins)}
    newest = int(np.searchsorted(recording.frame_bins, track.first, side="right")) - 1

    with atomic_write(path) as file:
        for row, box in enumerate(track.boxes):
            b = track.first + row
            stream.set_time("bin", sequence=b)
            stream.set_time("time", duration=(b + 1) * recording.dt)
            frame = frame_of.get(b, max(newest, 0) if row == 0 and recording.num_frames else None)

            if frame is not None:
                stream.log("camera/frame", rerun.Image(np.asarray(recording.frames[frame]), color_model="L"))

            x, y, on = recording.events.slice_bins(b, b + 1)
            points = np.stack([x, y], axis=1).astype(np.float32) + 0.5
            colours = np.where(np.asarray(on)[:, None], COLOUR_ON, COLOUR_OFF).astype(np.uint8)
            stream.log("camera/events", rerun.Points2D(points, colors=colours, radii=0.5))
            _log_box(stream, rerun, "camera/tracker", box, COLOUR_LOST if track.lost[row] else COLOUR_FOUND)
            stream.log("confidence", rerun.Scalars(float(track.confidence[row])))

            if np.isfinite(truths[b]).all():
                _log_box(stream, rerun, "camera/truth", truths[b], COLOUR_TRUE)
                stream.log("distance [px]", rerun.Scalars(float(distances(box[None], truths[b][None])[0])))
                stream.log("overlap", rerun.Scalars(float(overlaps(box[None], truths[b][None])[0])))

            if row % _BINS_IN_MEMORY == _BINS_IN_MEMORY - 1:
                file.write(pieces.read() or b"")

        file.write(pieces.read() or b"")


def _log_box(stream: object, rerun: ModuleType, name: str, box: np.ndarray, colour: tuple[int, int, int]) -> None:
    shape = rerun.Boxes2D(mins=[box[:2]], sizes=[np.maximum(box[2:], 0)], colors=[colour])
    stream.log(name, shape)  # type: ignore[attr-defined]
