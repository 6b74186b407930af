"""Tracking one target through a recording with a trained network: boxes, a file of them, an animation, a summary.

The same in a program of your own, at the rate of the events:

    tracker, state = sensing.tracker(run), None
    for inputs in camera:  # a frame and its box come with the first step
        box, state = tracker.step(inputs, state)

Progress is shown live: a bar with rate, confidence and "lost" on a terminal, a line now and then elsewhere.
"""

import csv
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import TextIOWrapper
from pathlib import Path
from time import perf_counter
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from spikebridge.data.io.atomic import atomic_write, check_target
from spikebridge.data.recordings.recording import Recording
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.sensing.evaluation.metrics import score
from spikebridge.networks.sensing.report.animation import (
    COLOUR_LOST,
    COLOUR_TRACKED,
    COLOUR_TRUE,
    DrawnBox,
    check_animation,
    encode_animation,
    tracking_picture,
)
from spikebridge.networks.sensing.report.track_page import TrackedBoxes, track_page
from spikebridge.networks.sensing.report.viewer import check_viewer, write_viewer_file
from spikebridge.networks.sensing.tracker.detectors import chosen_detector

_COLUMNS = ("t_us", "x", "y", "w", "h", "confidence", "lost")
# pictures are kept in memory while an animation is written
_MAX_PICTURES = 250
_SECONDS_EACH = 0.04
# sensors that are less wide are shown twice as large [px]
_MIN_WIDTH = 300
_SECONDS_BETWEEN_LINES = 5.0


class _TrackedBox(NamedTuple):
    """The box at the end of a bin, the tracker's confidence (0 to 1), and whether it lost the target."""

    bin: int
    box: Float[np.ndarray, "4"]
    confidence: float
    lost: bool
    # time of the tracker's step [s]
    seconds: float


def _tracked_boxes(
    recording: Recording, tracker: Any, frame: int, box: Float[np.ndarray, "4"]
) -> Iterator[_TrackedBox]:
    """The tracker's answer at the end of each bin, from a frame on in which the box is given."""
    first = int(recording.frame_bins[frame])
    if first >= recording.num_bins:
        raise DataError(f"{recording.name}: frame {frame} comes at the end, with no bin of events after it.")

    state = None
    for b in range(first, recording.num_bins):
        inputs = recording.inputs(b, b + 1)
        if b == first:
            inputs["box"] = box
        started = perf_counter()
        answer, state = tracker.step(inputs, state)
        yield _TrackedBox(b, answer, float(state.confidence), bool(state.lost), perf_counter() - started)


def track_recording(
    recording: Recording,
    tracker: Any,
    init: Float[np.ndarray, "4"] | None = None,
    out: Path | None = None,
    animation: Path | None = None,
    page: Path | None = None,
    viewer: Path | None = None,
    on_box: Callable[[_TrackedBox, int, float], None] | None = None,
) -> dict[str, Any]:
    """Tracks a target through a recording, writes the requested files in whole or not at all, and gives a summary.

    `init` is the box in the first frame [px], the recording's own one by default. Files: `out` for the boxes as csv,
    `animation` for pictures, `page` for an HTML page that replays the track, `viewer` for the Rerun viewer. `on_box` is
    called after each bin with the box, the number of bins so far, and bins a second.
    """
    frame, box = recording.first_box(init)
    _check_files(out, animation, page, viewer)
    pictures: list[Image.Image] = []
    first = int(recording.frame_bins[frame])
    totals = _Totals(recording, first, keeps_all=page is not None or viewer is not None)
    stride = max(2, -(-(recording.num_bins - first) // _MAX_PICTURES))

    with ExitStack() as stack:
        files = {path: stack.enter_context(atomic_write(path)) for path in (out, animation, page) if path is not None}
        write_row = None if out is None else _csv_writer(stack, files[out])
        started = perf_counter()

        for tracked in _tracked_boxes(recording, tracker, frame, box):
            # the time of writing and drawing is not the tracker's
            totals.add(tracked, perf_counter() - started)
            if write_row is not None:
                write_row(_row(recording, tracked))

            if animation is not None and totals.num_boxes % stride == 0:
                pictures.append(_picture(recording, tracked, stride))

            if on_box is not None:
                on_box(tracked, totals.num_boxes, totals.rate)

            started = perf_counter()

        if animation is not None:
            # a short track has one picture, of its last bin
            pictures = pictures or [_picture(recording, totals.last, stride)]
            encode_animation(files[animation], pictures, _SECONDS_EACH, animation.suffix)

        if page is not None:
            files[page].write(track_page(recording, totals.track(), totals.summary()).encode())

        if viewer is not None:
            write_viewer_file(viewer, recording, totals.track())

    detector = chosen_detector(tracker.options.detector, recording.events.num_events)

    return {
        "detector": detector,
        **totals.summary(),
        "boxes": out,
        "animation": animation,
        "page": page,
        "viewer": viewer,
    }


def _picture(recording: Recording, tracked: _TrackedBox, num_bins: int) -> Image.Image:
    stop = tracked.bin + 1
    newest = int(np.searchsorted(recording.frame_bins, tracked.bin, side="right")) - 1
    events = recording.events.slice_bins(max(0, stop - num_bins), stop)
    scale = 1.0 if recording.events.width >= _MIN_WIDTH else 2.0
    truth = recording.boxes[tracked.bin]

    boxes = [DrawnBox(truth, COLOUR_TRUE, thin=True)] if np.isfinite(truth).all() else []
    boxes.append(DrawnBox(tracked.box, COLOUR_LOST if tracked.lost else COLOUR_TRACKED))
    caption = f"{stop * recording.dt:6.2f} s   confidence {tracked.confidence:.2f}{'   LOST' if tracked.lost else ''}"

    return tracking_picture(recording.frames[max(0, newest)], events, boxes, caption, scale)


def _time_us(recording: Recording, bin_: int) -> int:
    """The end of a bin, in the time of the recording's files [us]."""
    return recording.start_us + round((bin_ + 1) * recording.dt * 1e6)


def _check_files(out: Path | None, animation: Path | None, page: Path | None, viewer: Path | None) -> None:
    for path in (out, animation, page, viewer):
        if path is None:
            continue
        if not path.parent.is_dir():
            raise ConfigError(f"{path}: there is no folder {path.parent} to write into")
        check_target(path)

    if animation is not None:
        check_animation(animation.suffix)

    if viewer is not None:
        check_viewer()


def _csv_writer(stack: ExitStack, file: BinaryIO) -> Callable[[Sequence[Any]], Any]:
    text = TextIOWrapper(file, encoding="utf-8", newline="")
    # detaching flushes; the file itself is closed once it has its name
    stack.callback(text.detach)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)

    return writer.writerow


def _row(recording: Recording, tracked: _TrackedBox) -> list[Any]:
    numbers = [f"{value:.3f}" for value in tracked.box.tolist()]
    return [_time_us(recording, tracked.bin), *numbers, f"{tracked.confidence:.4f}", int(tracked.lost)]


class _Totals:
    """Sums over all answers: many take no more memory than a few, unless all are kept."""

    def __init__(self, recording: Recording, first: int, keeps_all: bool = False) -> None:
        self.recording = recording
        self.first = first
        self.keeps_all = keeps_all
        self.is_labelled = bool(np.isfinite(recording.boxes).all(axis=1).any())

        # kept only where they are compared with true ones, or shown
        self.boxes = array("d")
        self.confidences = array("d")
        self.losses = array("b")

        self.num_boxes = 0
        self.num_lost = 0
        self.confidence = 0.0
        self.seconds = 0.0
        self.step_seconds = 0.0

    def add(self, tracked: _TrackedBox, seconds: float) -> None:
        """Adds an answer and the time it took [s]."""
        self.last = tracked
        self.num_boxes += 1
        self.num_lost += tracked.lost
        self.confidence += tracked.confidence
        self.seconds += seconds
        self.step_seconds += tracked.seconds

        if self.is_labelled or self.keeps_all:
            self.boxes.extend(tracked.box)

        if self.keeps_all:
            self.confidences.append(tracked.confidence)
            self.losses.append(tracked.lost)

    def track(self) -> TrackedBoxes:
        """All answers, where they were kept."""
        boxes = np.array(self.boxes).reshape(-1, 4)
        return TrackedBoxes(self.first, boxes, np.array(self.confidences), np.array(self.losses, dtype=bool))

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.num_boxes / self.seconds

    def summary(self) -> dict[str, Any]:
        """The summary by name."""
        bins = self.recording.frame_bins
        num_frames = max(1, int(((bins >= self.first) & (bins <= self.last.bin)).sum()))
        result: dict[str, Any] = {
            "recording": self.recording.name,
            "num_events": self.recording.events.num_events,
            "last_event_t_us": self.recording.last_event_us,
            "first_frame": int(np.searchsorted(self.recording.frame_bins, self.first)),
            "first_t_us": _time_us(self.recording, self.first),
            "last_t_us": _time_us(self.recording, self.last.bin),
            "num_boxes": self.num_boxes,
            "boxes_per_second": round(self.rate, 1),
            "of_real_time": round(self.rate * self.recording.dt, 3),
            "ms_per_frame": round(1e3 * self.step_seconds / num_frames, 2),
            "mean_confidence": round(self.confidence / self.num_boxes, 4),
            "reported_lost_share": round(self.num_lost / self.num_boxes, 4),
            "last_box": [round(value, 3) for value in self.last.box.tolist()],
        }
        truths = self.recording.boxes[self.first : self.last.bin + 1]
        if np.isfinite(truths).all(axis=1).any():
            # its `lost_share` are boxes that do not touch the true one, whatever the tracker reports
            boxes = np.array(self.boxes).reshape(-1, 4)
            result["against_truth"] = score(boxes, truths)._asdict()

        return result


@contextmanager
def progress_reporter(total: int, quiet: bool = False) -> Iterator[Callable[..., None] | None]:
    """An `on_box` of `track_recording` that shows the progress over `total` bins, on stderr."""
    console = Console(stderr=True)
    if quiet:
        yield None
    elif console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bars:
            task = bars.add_task("tracking", total=total)
            yield lambda tracked, done, rate: bars.update(task, completed=done, description=_status_line(tracked, rate))
    else:
        yield _line_printer(total)


def _line_printer(total: int) -> Callable[[_TrackedBox, int, float], None]:
    last = perf_counter()

    def print_line(tracked: _TrackedBox, done: int, rate: float) -> None:
        nonlocal last
        if perf_counter() - last >= _SECONDS_BETWEEN_LINES:
            last = perf_counter()
            print(f"{done} of {total}  {_status_line(tracked, rate)}", file=sys.stderr, flush=True)

    return print_line


def _status_line(tracked: _TrackedBox, rate: float) -> str:
    return f"{rate:.0f} boxes/s  confidence {tracked.confidence:.2f}{'  LOST' if tracked.lost else ''}"
