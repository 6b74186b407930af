"""A page that follows a stream: the newest bins as a replay, sent to a browser of this machine as they come.

The page is served on the loopback address under a secret path; the replays come as server-sent events. Without a reader
nothing is drawn, and the memory is that of the newest bins.
"""

import json
import secrets
import threading
from base64 import b64encode
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from spikebridge.analysis.replay.lanes import Lane, Spikes, Traces
from spikebridge.analysis.replay.replay import Film, Replay
from spikebridge.analysis.report import render_live_page
from spikebridge.errors import ConfigError

_NUM_BINS = 240
_MAX_PICTURES = 24
_BETWEEN = 0.2  # seconds between two replays
_HEARTBEAT = 5.0  # seconds of silence after which a message shows that the stream is there
_LAST_MESSAGE = 2.0  # seconds in which browsers may take the end of the stream


class _Moment(NamedTuple):
    """What one step of a stream gave."""

    bin: int
    values: Mapping[str, NDArray[Any]]
    picture: "_Picture | None"
    box: NDArray[Any] | None


class LiveView:
    """The page of a stream. Use it as a context; the page stays in the browser after the end.

    Args:
        title: of the page.
        dt: length of a bin [s].
        port: of the loopback address; 0 takes a free one.

    Raises:
        ConfigError: the port is in use, or is none.

    Example:
        >>> with LiveView("a network", dt=0.01) as view:
        ...     view.add(0, {"answer": [0.5, 0.5]})
        ...     view.replay().summary
        '1 bin, 0.01 s'
    """

    def __init__(self, title: str, dt: float, port: int = 0) -> None:
        if not 0 <= port <= 65535:
            raise ConfigError(f"a port is a number from 1 to 65535, but got {port}")

        self.title = title
        self.dt = dt
        self._moments: deque[_Moment] = deque(maxlen=_NUM_BINS)
        self._picture: _Picture | None = None
        self._changed = threading.Condition()
        self._ended = False
        self._num_readers = 0
        path = f"/{secrets.token_urlsafe(16)}/"

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self, path))
        except OSError as error:
            raise ConfigError(
                f"port {port} of this machine is not available ({error.strerror}); take another one"
            ) from None

        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}{path}"

    def __enter__(self) -> "LiveView":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="live page", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._num_readers == 0, _LAST_MESSAGE)

        self._server.shutdown()
        self._server.server_close()

    def add(
        self,
        bin_: int,
        output: Mapping[str, Any],
        picture: UInt8[np.ndarray, "H W"] | None = None,
        box: ArrayLike | None = None,
    ) -> None:
        """Adds what a step gave.

        Args:
            bin_: the newest bin that it knows.
            output: numbers or arrays by name.
            picture: grey levels that came with it, if any.
            box: `x, y, w, h` over the picture.
        """
        values = {name: np.asarray(value, dtype=float).ravel() for name, value in output.items() if _has_numbers(value)}
        with self._changed:
            if picture is not None:
                self._picture = _Picture(np.array(picture))
            self._moments.append(_Moment(bin_, values, self._picture, None if box is None else np.asarray(box, float)))
            self._changed.notify_all()

    def replay(self) -> Replay:
        """The newest bins."""
        with self._changed:
            moments = list(self._moments)

        if not moments:
            return Replay(self.title, word="bin")

        first = moments[0].bin
        times = [moment.bin - first for moment in moments]
        num_bins = times[-1] + 1
        if num_bins > 4 * _NUM_BINS:  # many bins were skipped, so each answer gets one
            times = list(range(len(moments)))
            num_bins = len(moments)

        names = dict.fromkeys(name for moment in moments for name in moment.values)
        lanes = [_lane(name, [moment.values.get(name) for moment in moments], times, num_bins) for name in names]

        return Replay(self.title, lanes, self.dt, _film(moments, times, num_bins), word="bin")

    def messages(self) -> Iterator[dict[str, Any]]:
        """The replays for one reader, no more than five a second, up to the end of the stream."""
        with self._changed:
            self._num_readers += 1

        try:
            seen = -1
            while True:
                with self._changed:
                    self._changed.wait_for(partial(self._has_more_than, seen), _HEARTBEAT)
                    ended = self._ended
                    seen = self._newest()

                state = "the stream has ended" if ended else "waiting for events" if seen < 0 else f"live, bin {seen}"
                yield {"replay": str(self.replay().html()), "state": state, "ended": ended}
                if ended:
                    return

                with self._changed:
                    self._changed.wait_for(lambda: self._ended, _BETWEEN)
        finally:
            with self._changed:
                self._num_readers -= 1
                self._changed.notify_all()

    def _has_more_than(self, seen: int) -> bool:
        return self._ended or self._newest() != seen

    def _newest(self) -> int:
        return self._moments[-1].bin if self._moments else -1


class _Picture:
    """Grey levels, encoded when they are first shown."""

    def __init__(self, grey: NDArray[np.uint8]) -> None:
        self.grey = grey
        self._address = ""

    @property
    def address(self) -> str:
        """The picture as a `data:` address."""
        if not self._address:
            content = BytesIO()
            lifted = np.sqrt(self.grey.astype(np.float32) * 255).astype(np.uint8)
            Image.fromarray(lifted).save(content, "jpeg", quality=60)
            self._address = f"data:image/jpeg;base64,{b64encode(content.getvalue()).decode('ascii')}"

        return self._address


def _has_numbers(value: Any) -> bool:
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        return False

    return array.dtype.kind in "biuf" and array.size > 0


def _lane(name: str, rows: Sequence[NDArray[Any] | None], times: Sequence[int], num_bins: int) -> Lane:
    """Spikes where all values are -1, 0 or 1 and there are several, else traces that hold until the next answer."""
    width = max(len(row) for row in rows if row is not None)
    values = np.full((num_bins, width), np.nan)
    for time, row in zip(times, rows, strict=True):
        if row is not None and len(row) == width:
            values[time] = row

    known = values[np.isfinite(values)]
    if width > 1 and np.isin(known, (-1, 0, 1)).all():
        return Spikes(name, np.nan_to_num(values))

    is_there = np.isfinite(values).any(axis=1)
    last = np.maximum.accumulate(np.where(is_there, np.arange(num_bins), -1))
    values[last >= 0] = values[last[last >= 0]]

    return Traces(name, {str(n) if width > 1 else name: values[:, n] for n in range(width)}, steps=True)


def _film(moments: Sequence[_Moment], times: Sequence[int], num_bins: int) -> Film | None:
    pictures: list[tuple[int, _Picture]] = []
    boxes = np.full((num_bins, 4), np.nan)

    for time, moment in zip(times, moments, strict=True):
        if moment.picture is not None and (not pictures or pictures[-1][1] is not moment.picture):
            pictures.append((time, moment.picture))
        if moment.box is not None:
            boxes[time] = moment.box

    if not pictures:
        return None

    height, width = pictures[-1][1].grey.shape
    shown = pictures[-_MAX_PICTURES:]
    tracked = {"tracker": boxes} if np.isfinite(boxes).any() else {}

    return Film(width, height, [picture.address for _, picture in shown], [time for time, _ in shown], tracked)


def _handler(view: LiveView, path: str) -> type[BaseHTTPRequestHandler]:
    """Serves the page under its secret path, and the events."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == path:
                content = render_live_page(view.title, "events").encode()
                self._begin(200, "text/html; charset=utf-8", len(content))
                self.wfile.write(content)
            elif self.path == f"{path}events":
                self._begin(200, "text/event-stream")
                try:
                    for message in view.messages():
                        self.wfile.write(f"data: {json.dumps(message)}\n\n".encode())
                        self.wfile.flush()
                except (BrokenPipeError, ConnectionResetError):
                    return
            else:
                self._begin(404, "text/plain; charset=utf-8", 0)

        def _begin(self, code: int, kind: str, length: int | None = None) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Cache-Control", "no-store")
            if length is not None:
                self.send_header("Content-Length", str(length))

            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    return Handler
