"""A page that follows a stream: a replay of the newest bins, sent to a browser of this machine.

The page is served on the loopback address under a secret path; the replays are server-sent events. Without a reader
nothing is drawn. Only the newest bins are kept in memory.
"""

import json
import threading
from base64 import b64encode
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from io import BytesIO
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from spikebridge.analysis.local_page import LocalPage, PageRequest
from spikebridge.analysis.replay.lanes import Lane, Spikes, Traces, hold_last
from spikebridge.analysis.replay.replay import Film, Replay
from spikebridge.analysis.report import render_live_page

_NUM_BINS = 240
_MAX_PICTURES = 24
_MIN_INTERVAL = 0.2  # seconds between two replays
_HEARTBEAT = 5.0  # seconds of silence after which a message shows that the stream is there
_END_TIMEOUT = 2.0  # seconds in which browsers may take the end of the stream


class _Step(NamedTuple):
    """The values of one step of a stream."""

    bin: int
    values: Mapping[str, NDArray[Any]]
    picture: "_Picture | None"
    box: NDArray[Any] | None


class LiveView:
    """The page of a stream with bins of `dt` seconds, on a port of this machine; port 0 takes a free one.

    Use it as a context; the page stays in the browser after the end.
    """

    def __init__(self, title: str, dt: float, port: int = 0) -> None:
        self.title = title
        self.dt = dt
        self._steps: deque[_Step] = deque(maxlen=_NUM_BINS)
        self._picture: _Picture | None = None
        self._changed = threading.Condition()
        self._ended = False
        self._num_readers = 0
        self._page = LocalPage(lambda path: _requests(self, path), port)
        self.address = self._page.address

    def __enter__(self) -> "LiveView":
        self._page.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._num_readers == 0, _END_TIMEOUT)

        self._page.close()

    def add(
        self,
        bin_: int,
        output: Mapping[str, Any],
        picture: UInt8[np.ndarray, "H W"] | None = None,
        box: ArrayLike | None = None,
    ) -> None:
        """Adds the output at a bin, numbers or arrays by name, a grey picture, and a box `x, y, w, h` over it."""
        values = {name: np.asarray(value, dtype=float).ravel() for name, value in output.items() if _has_numbers(value)}
        with self._changed:
            if picture is not None:
                self._picture = _Picture(np.array(picture))
            self._steps.append(_Step(bin_, values, self._picture, None if box is None else np.asarray(box, float)))
            self._changed.notify_all()

    def replay(self) -> Replay:
        """A replay of the newest bins."""
        with self._changed:
            steps = list(self._steps)

        if not steps:
            return Replay(self.title, word="bin")

        bins = [step.bin for step in steps]
        # a stream that skips many bins would be drawn as a few far strokes, so each step gets one column
        if bins[-1] - bins[0] < 4 * _NUM_BINS:
            bins = list(range(bins[0], bins[-1] + 1))

        times = [bins.index(step.bin) for step in steps]
        num_bins = len(bins)

        names = dict.fromkeys(name for step in steps for name in step.values)
        lanes = [_lane(name, [step.values.get(name) for step in steps], times, num_bins) for name in names]

        return Replay(self.title, lanes, self.dt, _film(steps, times, num_bins), word="bin", numbers=bins)

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yields the replays for one reader, at most five a second, up to the end of the stream."""
        with self._changed:
            self._num_readers += 1

        try:
            newest = -1
            while True:
                with self._changed:
                    self._changed.wait_for(partial(self._has_more_than, newest), _HEARTBEAT)
                    ended = self._ended
                    newest = self._newest()

                state = "waiting for events" if newest < 0 else f"live, bin {newest}"
                if ended:
                    state = "the stream has ended"

                yield {"replay": str(self.replay().html()), "state": state, "ended": ended}
                if ended:
                    return

                # a browser draws a whole replay for each message
                with self._changed:
                    self._changed.wait_for(lambda: self._ended, _MIN_INTERVAL)
        finally:
            with self._changed:
                self._num_readers -= 1
                self._changed.notify_all()

    def _has_more_than(self, newest: int) -> bool:
        return self._ended or self._newest() != newest

    def _newest(self) -> int:
        return self._steps[-1].bin if self._steps else -1


@dataclass(eq=False)
class _Picture:
    """Grey levels, which become an address when they are first shown."""

    grey: NDArray[np.uint8]

    @cached_property
    def address(self) -> str:
        content = BytesIO()
        # the square root makes dark parts visible
        levels = np.sqrt(self.grey.astype(np.float32) * 255).astype(np.uint8)
        Image.fromarray(levels).save(content, "jpeg", quality=60)
        return f"data:image/jpeg;base64,{b64encode(content.getvalue()).decode('ascii')}"


def _has_numbers(value: Any) -> bool:
    try:
        array = np.asarray(value)
    except ValueError:
        # rows of different lengths
        return False

    return array.dtype.kind in "biuf" and array.size > 0


def _lane(name: str, rows: Sequence[NDArray[Any] | None], times: Sequence[int], num_bins: int) -> Lane:
    """A lane of spikes for several values that are all -1, 0 or 1, else of traces that hold until the next step."""
    width = max(len(row) for row in rows if row is not None)
    values = np.full((num_bins, width), np.nan)
    for time, row in zip(times, rows, strict=True):
        if row is not None and len(row) == width:
            values[time] = row

    if width > 1 and np.isin(values[np.isfinite(values)], (-1, 0, 1)).all():
        return Spikes(name, np.nan_to_num(values))

    values = hold_last(values, np.isfinite(values).any(axis=1))
    return Traces(name, {str(n) if width > 1 else name: values[:, n] for n in range(width)}, steps=True)


def _film(steps: Sequence[_Step], times: Sequence[int], num_bins: int) -> Film | None:
    pictures: list[tuple[int, _Picture]] = []
    boxes = np.full((num_bins, 4), np.nan)

    for time, step in zip(times, steps, strict=True):
        # a picture is that of all steps until the next one
        if step.picture is not None and (not pictures or pictures[-1][1] is not step.picture):
            pictures.append((time, step.picture))
        if step.box is not None:
            boxes[time] = step.box

    if not pictures:
        return None

    height, width = pictures[-1][1].grey.shape
    shown = pictures[-_MAX_PICTURES:]
    tracked = {"tracker": boxes} if np.isfinite(boxes).any() else {}

    return Film(width, height, [picture.address for _, picture in shown], [time for time, _ in shown], tracked)


def _requests(view: LiveView, path: str) -> type[PageRequest]:
    class Request(PageRequest):
        def get(self) -> None:
            if self.path == path:
                self.respond(200, render_live_page(view.title, "events").encode(), "text/html; charset=utf-8")
            elif self.path == f"{path}events":
                self.stream()
            else:
                self.respond(404)

        def stream(self) -> None:
            self.begin(200, "text/event-stream")
            # a browser that was closed breaks the connection
            with suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
                for message in view.messages():
                    self.wfile.write(f"data: {json.dumps(message)}\n\n".encode())
                    self.wfile.flush()

    return Request
