"""Writes a recording as the folder that `load_recording` reads."""

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from spikebridge.data.events.events import Events, make_events
from spikebridge.data.events.files import write_events
from spikebridge.data.io.atomic import atomic_folder, atomic_write, write_text
from spikebridge.data.recordings.recording import Recording


def write_recording(recording: Recording, folder: Path) -> None:
    """Writes a recording as a folder with `meta.json`, `frames/`, `frames.csv`, `events.npz` and `boxes.csv`.

    A recording holds the bin of each event; the file gets the middle of the bin as its time. A recording without boxes
    gets no `boxes.csv`.

    Args:
        recording: frames, events and boxes on one clock.
        folder: the folder to make; it is complete or absent.

    Raises:
        ConfigError: there is something of that name already.

    Example:
        >>> from spikebridge.data.recordings.folder import load_recording_folder
        >>> from spikebridge.data.simulation.moving_objects import MovingObjects
        >>> from spikebridge.data.simulation.render import render_recording
        >>> scene = render_recording(MovingObjects(height=64, width=64, size=16), duration=0.05, dt=1 / 240)
        >>> folder = Path(getfixture("tmp_path")) / "scene"
        >>> write_recording(scene, folder)
        >>> load_recording_folder(folder).num_bins
        12
    """
    with atomic_folder(folder) as draft:
        (draft / "frames").mkdir()
        names = [f"{k}.png" for k in range(recording.num_frames)]
        for name, frame in zip(names, recording.frames, strict=True):
            with atomic_write(draft / "frames" / name) as file:
                Image.fromarray(np.asarray(frame)).save(file, "PNG")

        frame_times = np.round(recording.frame_times * 1e6).astype(int).tolist()
        _write_csv(draft / "frames.csv", ("file", "t_us"), zip(names, frame_times, strict=True))
        height = recording.events.height
        width = recording.events.width
        write_events(draft / "events.npz", _events(recording), height, width)
        meta = {"width": width, "height": height, "name": recording.name}
        write_text(draft / "meta.json", json.dumps(meta))
        boxes = _boxes(recording)

        # an empty table would be refused
        if boxes:
            rows = ([time, *(f"{value:.4f}" for value in box)] for time, box in sorted(boxes.items()))
            _write_csv(draft / "boxes.csv", ("t_us", "x", "y", "w", "h"), rows)


def _events(recording: Recording) -> Events:
    """All events, each at the middle of its bin."""
    bins = np.repeat(np.arange(recording.num_bins), np.diff(recording.events.edges))
    x, y, on = recording.events.slice_bins(0, recording.num_bins)
    return make_events(t=((bins + 0.5) * recording.dt * 1e6).astype(int), x=x, y=y, p=on)


def _boxes(recording: Recording) -> dict[int, list[float]]:
    """The known boxes by their time [us]: those of frames, and of the ends of bins, 1 us before the next bin."""
    ends = np.round((np.arange(recording.num_bins) + 1) * recording.dt * 1e6) - 1
    times = np.concatenate([np.round(recording.frame_times * 1e6), ends]).astype(int)
    pairs = zip(times.tolist(), np.concatenate([recording.frame_boxes, recording.boxes]).tolist(), strict=True)
    return {time: box for time, box in pairs if np.isfinite(box).all()}


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[Iterable[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_text(path, text.getvalue())
