"""Opens the source of a live stream by its name on the command line.

| name | source |
|---|---|
| a folder, a file `.aedat4` | a recording with its frames, replayed at its own speed |
| another file | events (`.npz`, `.csv`, `.bin`, ...), replayed; its frames are a folder: `frames.csv` and `frames/` |
| `-` | lines of standard input |
| `tcp:PORT` | lines of a sender on this machine |
| `camera` | the first event camera that answers |

Frames come with the events, or from a source of their own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from spikebridge.data.events.files import EVENT_FORMATS, frames_reader
from spikebridge.data.io.number_text import parse_port
from spikebridge.data.io.safe_open import Stream
from spikebridge.data.recordings.load import load_camera_file, load_events, load_recording
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.streams._camera import open_camera, sensor_size, start_camera_reader
from spikebridge.data.streams._text import start_line_reader, start_socket_reader
from spikebridge.data.streams.binner import EventBinner, FrameFeed, FrameOptions
from spikebridge.data.streams.replay import EventFrameSource, ReplaySource
from spikebridge.errors import ConfigError, DataError

Size = tuple[int, int]
Box = Float[np.ndarray, "4"]


@dataclass(frozen=True)
class StreamRequest:
    """The input that a network needs from a stream.

    Args:
        dt: length of a bin [s].
        tracks_target: it is a tracker: single events, frames of the sensor's size, and a box in the first one.
        sensor: rows and columns of its event frames; None for single events of any sensor.
        frame: rows and columns of its frames; None without frames, unless it is a tracker.
        counts: event frames hold the number of events per pixel; else a pixel is 1 after any event.
        max_together: event frames that it takes in one step; None for any number.
        frames_on_demand: frames are read for the bins alone that ask for one.
    """

    dt: float
    tracks_target: bool = False
    sensor: Size | None = None
    frame: Size | None = None
    counts: bool = False
    max_together: int | None = None
    frames_on_demand: bool = False

    @property
    def frames(self) -> bool:
        """True if the network needs frames."""
        return self.tracks_target or self.frame is not None


@dataclass(frozen=True)
class LiveSource:
    """The source of a stream, as named on the command line.

    Args:
        events: a name of the table above.
        frames: the name of a separate source of frames.
        box: the box of the target in the first frame.
        sensor: rows and columns, if neither network nor source gives them.
        loop: restart a recording after its end.
        speed: playback speed of a recording.
        lines: the standard input, for `-`.
        allow_truncated: accept a file of events that ends inside a packet.
        report: called with a message while the stream waits.
        reconnect: wait for the sender of `tcp:PORT` to come back after its end; without it the stream ends.
    """

    events: str
    frames: str | None = None
    box: Box | None = None
    sensor: Size | None = None
    loop: bool = False
    speed: float = 1.0
    lines: Stream | None = None
    allow_truncated: bool = False
    report: Callable[[str], None] = lambda line: None
    reconnect: bool = False

    def open(self, request: StreamRequest) -> ReplaySource | EventBinner | EventFrameSource:
        """Opens the stream for a network.

        Raises:
            ConfigError: names that do not fit together, or input that the network needs is missing.
            DataError: a file or folder is missing, damaged, or of another size.
        """
        if self.frames is not None and not request.frames:
            raise ConfigError("this network takes no frames; leave --frames out")
        if self.box is not None and not request.tracks_target:
            raise ConfigError("this network is not a tracker and takes no first box; leave --init out")
        if request.sensor is not None and self.sensor not in (None, request.sensor):
            raise ConfigError(f"this network takes events of {_pixels(request.sensor)}; leave --sensor out")

        source = self._open_live(request) if _is_live(self.events) else self._open_replay(request)
        if request.sensor is None:
            return source

        return EventFrameSource(source, *request.sensor, request.counts, request.max_together)

    def _open_replay(self, request: StreamRequest) -> ReplaySource:
        if self.frames is not None and _is_live(self.frames):
            raise ConfigError(f"{self.events} is played from a file, so its frames are a folder, not {self.frames!r}")

        recording = self._recording(request)
        sensor = recording.events.height, recording.events.width
        if request.sensor not in (None, sensor):
            raise DataError(f"{self.events}: {_pixels(sensor)}, but this network takes {_pixels(request.sensor)}")

        if request.frames and not recording.num_frames:
            raise ConfigError(f"{self.events} has no frames, which this network needs; --frames names their folder")

        last = "" if recording.last_event_us is None else f", the last at {recording.last_event_us} us"
        self.report(f"{self.events}: {recording.events.num_events} events{last}")
        size = request.frame or sensor
        if request.frames and recording.frames[0].shape != size:
            frame = _pixels(recording.frames[0].shape)
            raise DataError(f"{self.events}: frames of {frame}, but this network takes those of {_pixels(size)}")

        if request.tracks_target:
            return ReplaySource(recording, *recording.first_box(self.box), self.loop, self.speed)

        # event frames count every event once
        first = None if request.frame is None else 0
        on_demand = request.frames_on_demand
        return ReplaySource(recording, first, None, self.loop, self.speed, buffer_events=False, defers_frames=on_demand)

    def _recording(self, request: StreamRequest) -> Recording:
        path = Path(self.events).expanduser()
        if not path.is_file() and path.suffix not in EVENT_FORMATS:
            if self.frames is not None:
                raise ConfigError(f"{self.events}: a recording brings its own frames; leave --frames out")
            if self.sensor is not None and request.sensor is None:
                raise ConfigError("--sensor applies to lines and files of events; leave it out for a recording")

            return load_recording(path, dt=request.dt, allow_truncated=self.allow_truncated)

        frames = None if self.frames is None else Path(self.frames).expanduser()
        if request.frames and frames is None and frames_reader(path) is not None:
            return load_camera_file(path, request.dt, allow_truncated=self.allow_truncated)

        height, width = self.sensor or request.sensor or (None, None)
        return load_events(path, request.dt, height, width, frames, self.allow_truncated)

    def _open_live(self, request: StreamRequest) -> EventBinner:
        if self.allow_truncated:
            raise ConfigError("--allow-truncated applies to files; leave it out for a live stream")

        if self.loop or self.speed != 1.0:
            raise ConfigError("--loop and --speed apply to recordings; leave them out for a live stream")

        if request.tracks_target and self.box is None:
            raise ConfigError("a live stream needs the target's box in its first frame: --init x,y,w,h")

        separate = None if self.frames == self.events else self.frames
        if separate is not None and not _is_live(separate):
            raise ConfigError(f"frames of a live stream come from -, tcp:PORT or camera, but got --frames {separate}")

        device = open_camera() if self.events == "camera" else None
        size = request.sensor or self.sensor

        if device is not None:
            size = sensor_size(device)
            if request.sensor not in (None, size):
                raise DataError(f"a camera of {_pixels(size)}, but this network takes {_pixels(request.sensor)}")

        if size is None:
            raise ConfigError("text lines do not hold the size of the sensor; give it, such as --sensor 346x260")

        options = FrameOptions(
            required=request.frames,
            size=request.frame,
            separate_source=separate is not None,
            buffer_events=request.tracks_target,
            deferred=request.frames_on_demand,
        )
        binner = EventBinner(request.dt, *size, self.box, options)
        if device is not None:
            start_camera_reader(device, binner, frames=request.frames and separate is None)
        else:
            self._start_reader(self.events, binner)

        if separate == "camera":
            start_camera_reader(open_camera(), FrameFeed(binner), events=False)
        elif separate is not None:
            self._start_reader(separate, FrameFeed(binner))

        return binner

    def _start_reader(self, word: str, feed: EventBinner | FrameFeed) -> None:
        if word == "-":
            if self.lines is None:
                raise ConfigError("there is no standard input to read lines from")
            start_line_reader(self.lines, feed)
            return

        port = parse_port(word.removeprefix("tcp:"), "tcp:PORT")
        start_socket_reader(port, feed, self.reconnect, self.report)
        self.report(f"waiting for a sender of {'frames' if isinstance(feed, FrameFeed) else 'events'} on port {port}")


def _is_live(word: str) -> bool:
    """True if a name is that of a live stream."""
    return word in ("-", "camera") or word.startswith("tcp:")


def parse_sensor_size(words: str) -> Size:
    """Rows and columns from the words `WIDTHxHEIGHT`."""
    width, _, height = words.partition("x")
    if not (width.isdecimal() and height.isdecimal() and 0 < int(width) <= 2**16 and 0 < int(height) <= 2**16):
        raise ConfigError(f"a sensor is WIDTHxHEIGHT in pixels, such as 346x260, but got {words!r}")

    return int(height), int(width)


def _pixels(size: Any) -> str:
    return f"{size[1]} x {size[0]} pixels"
