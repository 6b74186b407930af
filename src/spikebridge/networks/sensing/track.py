"""Following one target through a recording with a trained network: boxes, a file of them, an animation, a summary.

The same in a program of your own, at the rate of the events:

    tracker, state = sensing.tracker(run), None
    for inputs in camera:  # a frame and its box come with the first step
        box, state = tracker.step(inputs, state)

How far a tracker is, live: a bar with rate, confidence and "lost" on a terminal, a line now and then elsewhere.
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
    COLOUR_FOUND,
    COLOUR_LOST,
    COLOUR_TRUE,
    DrawnBox,
    SeenEvents,
    check_animation,
    encode_animation,
    tracking_picture,
)
from spikebridge.networks.sensing.report.track_page import TrackedBoxes, track_page
from spikebridge.networks.sensing.report.viewer import check_viewer, write_viewer_file

_COLUMNS = ("t_us", "x", "y", "w", "h", "confidence", "lost")
# pictures are kept in memory while an animation is written
_MOST_PICTURES = 250
_SECONDS_EACH = 0.04
_WIDE = 300


class _TrackedBox(NamedTuple):
    """Where the target is at the end of a bin, how sure the tracker is (0 to 1), and whether it lost the target."""

    bin: int
    box: Float[np.ndarray, "4"]
    confidence: float
    lost: bool


def _tracked_boxes(
    recording: Recording, tracker: Any, frame: int, box: Float[np.ndarray, "4"]
) -> Iterator[_TrackedBox]:
    """The tracker's answer at the end of each bin from a frame on.

    Args:
        recording: to follow.
        tracker: whose state has `confidence` and `lost`.
        frame: the first one.
        box: of the target in it.

    Raises:
        DataError: the frame comes after the last bin.
    """
    first = int(recording.frame_bins[frame])
    if first >= recording.num_bins:
        raise DataError(f"{recording.name}: frame {frame} comes at the end, with no bin of events after it.")

    state = None
    for b in range(first, recording.num_bins):
        inputs = recording.inputs(b, b + 1)
        if b == first:
            inputs["box"] = box
        answer, state = tracker.step(inputs, state)
        yield _TrackedBox(b, answer, float(state.confidence), bool(state.lost))


def track_recording(
    recording: Recording,
    tracker: Any,
    init: Float[np.ndarray, "4"] | None = None,
    out: Path | None = None,
    animation: Path | None = None,
    page: Path | None = None,
    viewer: Path | None = None,
    tell: Callable[[_TrackedBox, int, float], None] | None = None,
) -> dict[str, Any]:
    """Follows a target through a recording and writes what is asked for, whole or not at all.

    Args:
        recording: to follow.
        tracker: whose state has `confidence` and `lost`.
        init: the box in the first frame; the recording's own first one by default.
        out: a csv file for the boxes, in the files' own time.
        animation: a file for a picture every few bins.
        page: an HTML file to replay the track with.
        viewer: a file of the Rerun viewer with every frame, event and box.
        tell: called after each bin with the moment, the bins done and the bins a second.

    Returns:
        A summary: how many boxes, how fast, how sure, and how far off where the truth is known.

    Raises:
        DataError: no first box is known, or it is outside the image.
        ConfigError: a file cannot be written there.
    """
    frame, box = recording.first_box(init)
    _check_files(out, animation, page, viewer)
    pictures: list[Image.Image] = []
    first = int(recording.frame_bins[frame])
    account = _Account(recording, first, keeps_all=page is not None or viewer is not None)
    stride = max(2, -(-(recording.num_bins - first) // _MOST_PICTURES))

    with ExitStack() as stack:
        files = {path: stack.enter_context(atomic_write(path)) for path in (out, animation, page) if path is not None}
        write = None if out is None else _csv_writer(stack, files[out])
        started = perf_counter()

        for moment in _tracked_boxes(recording, tracker, frame, box):
            # what is written and drawn is not the tracker's work
            account.add(moment, perf_counter() - started)
            if write is not None:
                write(_row(recording, moment))

            if animation is not None and account.num_boxes % stride == 0:
                pictures.append(_picture_of(recording, moment, stride))

            if tell is not None:
                tell(moment, account.num_boxes, account.rate)

            started = perf_counter()

        if animation is not None:
            last = [] if pictures else [_picture_of(recording, moment, stride)]
            encode_animation(files[animation], pictures + last, _SECONDS_EACH, animation.suffix)

        if page is not None:
            files[page].write(track_page(recording, account.track(), account.summary()).encode())

        if viewer is not None:
            write_viewer_file(viewer, recording, account.track())

    return account.summary() | {"boxes": out, "animation": animation, "page": page, "viewer": viewer}


def _picture_of(
    recording: Recording, moment: _TrackedBox, num_bins: int = 2, scale: float | None = None
) -> Image.Image:
    """A moment as a picture: the newest frame, the events of the last bins, the box, and the true one where known.

    Args:
        recording: that is followed.
        moment: of it.
        num_bins: how many bins of events are shown.
        scale: of the picture; small sensors are shown twice as large by default.
    """
    stop = moment.bin + 1
    newest = int(np.searchsorted(recording.frame_bins, moment.bin, side="right")) - 1
    events = SeenEvents(*recording.events.slice_bins(max(0, stop - num_bins), stop))
    factor = scale or (1.0 if recording.events.width >= _WIDE else 2.0)
    truth = recording.boxes[moment.bin]
    boxes = [DrawnBox(truth, COLOUR_TRUE, thin=True)] if np.isfinite(truth).all() else []
    boxes.append(DrawnBox(moment.box, COLOUR_LOST if moment.lost else COLOUR_FOUND))
    caption = f"{stop * recording.dt:6.2f} s   confidence {moment.confidence:.2f}{'   LOST' if moment.lost else ''}"

    return tracking_picture(recording.frames[max(0, newest)], events, boxes, caption, factor)


def _time_us(recording: Recording, bin_: int) -> int:
    """When a bin ends, in the time of the recording's files [us]."""
    return recording.start_us + round((bin_ + 1) * recording.dt * 1e6)


def _check_files(out: Path | None, animation: Path | None, page: Path | None, viewer: Path | None) -> None:
    for path in (path for path in (out, animation, page, viewer) if path is not None):
        if not path.parent.is_dir():
            raise ConfigError(f"{path}: there is no folder {path.parent} to write into")
        check_target(path)

    if animation is not None:
        check_animation(animation.suffix)

    if viewer is not None:
        check_viewer()


def _csv_writer(stack: ExitStack, file: BinaryIO) -> Callable[[Sequence[Any]], Any]:
    text = TextIOWrapper(file, encoding="utf-8", newline="")
    stack.callback(text.detach)  # flushes; the file itself is closed once it has its name
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)

    return writer.writerow


def _row(recording: Recording, moment: _TrackedBox) -> list[Any]:
    numbers = [f"{value:.3f}" for value in moment.box.tolist()]
    return [_time_us(recording, moment.bin), *numbers, f"{moment.confidence:.4f}", int(moment.lost)]


class _Account:
    """A summary of all answers, summed as they come: many take no more memory than a few, unless all are kept."""

    def __init__(self, recording: Recording, first: int, keeps_all: bool = False) -> None:
        self.recording = recording
        self.first = first
        self.keeps_all = keeps_all
        self.is_labelled = bool(np.isfinite(recording.boxes).all(axis=1).any())
        self.boxes = array("d")  # only where they are compared with true ones, or shown
        self.confidences = array("d")
        self.losses = array("b")
        self.num_boxes = self.num_lost = 0
        self.confidence = self.seconds = 0.0

    def add(self, moment: _TrackedBox, seconds: float) -> None:
        """One more answer, and how long it took [s]."""
        self.last = moment
        self.num_boxes += 1
        self.num_lost += moment.lost
        self.confidence += moment.confidence
        self.seconds += seconds

        if self.is_labelled or self.keeps_all:
            self.boxes.extend(moment.box)

        if self.keeps_all:
            self.confidences.append(moment.confidence)
            self.losses.append(moment.lost)

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
        result: dict[str, Any] = {
            "recording": self.recording.name,
            "num_events": self.recording.events.num_events,
            "last_event_t_us": self.recording.last_event_us,
            "first_t_us": _time_us(self.recording, self.first),
            "last_t_us": _time_us(self.recording, self.last.bin),
            "num_boxes": self.num_boxes,
            "boxes_per_second": round(self.rate, 1),
            "of_real_time": round(self.rate * self.recording.dt, 3),
            "mean_confidence": round(self.confidence / self.num_boxes, 4),
            "reported_lost_share": round(self.num_lost / self.num_boxes, 4),
            "last_box": [round(value, 3) for value in self.last.box.tolist()],
        }
        if self.is_labelled:
            boxes = np.array(self.boxes).reshape(-1, 4)
            truths = self.recording.boxes[self.first : self.last.bin + 1]
            if np.isfinite(truths).all(axis=1).any():
                # its `lost_share` are boxes that do not touch the true one, whatever the tracker reports
                result["against_truth"] = score(boxes, truths)._asdict()

        return result


_SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def progress_reporter(
    total: int, quiet: bool = False, console: Console | None = None
) -> Iterator[Callable[..., None] | None]:
    """What `track_recording` tells each bin to, on stderr.

    Args:
        total: bins of the recording.
        quiet: tell nothing.
        console: where to; stderr by default.
    """
    console = console or Console(stderr=True)
    if quiet:
        yield None
    elif console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bars:
            task = bars.add_task("tracking", total=total)
            yield lambda moment, done, rate: bars.update(task, completed=done, description=_status_line(moment, rate))
    else:
        last = perf_counter()

        def line(moment: _TrackedBox, done: int, rate: float) -> None:
            nonlocal last
            if perf_counter() - last >= _SECONDS_BETWEEN_LINES:
                last = perf_counter()
                print(f"{done} of {total}  {_status_line(moment, rate)}", file=sys.stderr, flush=True)

        yield line


def _status_line(moment: _TrackedBox, rate: float) -> str:
    """Rate and confidence of a moment.

    Example:
        >>> _status_line(_TrackedBox(0, None, 0.5, True), 240.0)
        '240 boxes/s  confidence 0.50  LOST'
    """
    return f"{rate:.0f} boxes/s  confidence {moment.confidence:.2f}{'  LOST' if moment.lost else ''}"
