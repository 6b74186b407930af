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

from spikebridge.data.events.files import EVENT_SUFFIXES
from spikebridge.data.io.safe_open import Stream
from spikebridge.data.recordings.load import load_camera_file, load_events, load_recording
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.streams.binner import EventBinner, FrameFeed, FrameOptions
from spikebridge.data.streams.camera import follow_device, open_camera, sensor_of
from spikebridge.data.streams.replay import EventGrids, ReplaySource
from spikebridge.data.streams.text import follow_lines, follow_port
from spikebridge.errors import ConfigError, DataError

Size = tuple[int, int]
Box = Float[np.ndarray, "4"]


@dataclass(frozen=True)
class StreamRequest:
    """What a network takes of a stream.

    Args:
        dt: length of a bin [s].
        follows: it follows a target: single events, frames of the sensor's size, and a box in the first one.
        sensor: rows and columns of its events, as an image a bin; None takes single events of any sensor.
        frame: rows and columns of its frames; None takes none, unless it follows.
        counts: it takes how many events a pixel had in a bin; else whether there was any.
    """

    dt: float
    follows: bool = False
    sensor: Size | None = None
    frame: Size | None = None
    counts: bool = False

    @property
    def frames(self) -> bool:
        """Whether it takes frames."""
        return self.follows or self.frame is not None


@dataclass(frozen=True)
class LiveSource:
    """Words that name a stream.

    Args:
        events: a word of the table above.
        frames: another one, where frames come from elsewhere.
        box: of the target in the first frame.
        sensor: rows and columns, where neither network nor source tells.
        loop: play a recording over and over.
        speed: of a recording.
        lines: what `-` reads.
        tell: called with a line that says what the stream waits for.
    """

    events: str
    frames: str | None = None
    box: Box | None = None
    sensor: Size | None = None
    loop: bool = False
    speed: float = 1.0
    lines: Stream | None = None
    tell: Callable[[str], None] = lambda line: None

    def open(self, wanted: StreamRequest) -> ReplaySource | EventBinner | EventGrids:
        """The stream as a network takes it.

        Raises:
            ConfigError: words that do not go together, or something that the network needs is missing.
            DataError: a file or folder is missing, damaged, or of another size.
        """
        if self.frames is not None and not wanted.frames:
            raise ConfigError("this network takes no frames; leave --frames out")
        if self.box is not None and not wanted.follows:
            raise ConfigError("this network follows nothing, so it needs no first box; leave --init out")
        if wanted.sensor is not None and self.sensor not in (None, wanted.sensor):
            raise ConfigError(f"this network takes events of {_words(wanted.sensor)}; leave --sensor out")
        source = self._arriving(wanted) if is_live(self.events) else self._played(wanted)
        return source if wanted.sensor is None else EventGrids(source, *wanted.sensor, wanted.counts)

    def _played(self, wanted: StreamRequest) -> ReplaySource:
        if self.frames is not None and is_live(self.frames):
            raise ConfigError(f"{self.events} is played from a file, so its frames are a folder, not {self.frames!r}")
        recording = self._recording(wanted)
        found = recording.events.height, recording.events.width
        if wanted.sensor not in (None, found):
            raise DataError(f"{self.events}: {_words(found)}, but this network takes events of {_words(wanted.sensor)}")
        if wanted.frames and not recording.num_frames:
            raise ConfigError(f"{self.events} has no frames, which this network needs; --frames names their folder")
        size = wanted.frame or found
        if wanted.frames and recording.frames[0].shape != size:
            told = _words(recording.frames[0].shape)
            raise DataError(f"{self.events}: frames of {told}, but this network takes those of {_words(size)}")
        if wanted.follows:
            return ReplaySource(recording, *recording.first_box(self.box), self.loop, self.speed)
        first = None if wanted.frame is None else 0
        return ReplaySource(recording, first, None, self.loop, self.speed, buffer_events=False)

    def _recording(self, wanted: StreamRequest) -> Recording:
        path = Path(self.events).expanduser()
        if not path.is_file() and path.suffix not in EVENT_SUFFIXES:
            if self.frames is not None:
                raise ConfigError(f"{self.events}: a recording brings its own frames; leave --frames out")
            if self.sensor is not None and wanted.sensor is None:
                raise ConfigError("--sensor is for lines and files of events; a recording knows its own sensor")
            return load_recording(path, dt=wanted.dt)
        frames = None if self.frames is None else Path(self.frames).expanduser()
        if wanted.frames and frames is None and path.suffix == ".aedat4":
            return load_camera_file(path, wanted.dt)
        height, width = self.sensor or wanted.sensor or (None, None)
        return load_events(path, wanted.dt, height, width, frames)

    def _arriving(self, wanted: StreamRequest) -> EventBinner:
        if self.loop or self.speed != 1.0:
            raise ConfigError("--loop and --speed are for recordings; a live stream has its own time")
        if wanted.follows and self.box is None:
            raise ConfigError("a live stream needs the target's box in its first frame: --init x,y,w,h")
        apart = None if self.frames == self.events else self.frames
        if apart is not None and not is_live(apart):
            raise ConfigError(f"frames of a live stream come from -, tcp:PORT or camera, but got --frames {apart}")
        device = open_camera() if self.events == "camera" else None
        size = wanted.sensor or self.sensor
        if device is not None:
            size = sensor_of(device)
            if wanted.sensor not in (None, size):
                raise DataError(f"a camera of {_words(size)}, but this network takes events of {_words(wanted.sensor)}")
        if size is None:
            raise ConfigError("lines do not tell the size of the sensor; give it, such as --sensor 346x260")
        use = FrameOptions(wanted.frames, wanted.frame, apart is not None, buffer_events=wanted.follows)
        arriving = EventBinner(wanted.dt, *size, self.box, use)
        if device is not None:
            follow_device(device, arriving, frames=wanted.frames and apart is None)
        else:
            self._follow(self.events, arriving)
        if apart == "camera":
            follow_device(open_camera(), FrameFeed(arriving), events=False)
        elif apart is not None:
            self._follow(apart, FrameFeed(arriving))
        return arriving

    def _follow(self, word: str, feed: EventBinner | FrameFeed) -> None:
        if word == "-":
            if self.lines is None:
                raise ConfigError("there is no standard input to read lines from")
            follow_lines(self.lines, feed)
            return
        port = word.removeprefix("tcp:")
        if not port.isdecimal():
            raise ConfigError(f"a socket is tcp:PORT, such as tcp:5000, but got {word!r}")
        follow_port(int(port), feed)
        self.tell(f"waiting for a sender of {'frames' if isinstance(feed, FrameFeed) else 'events'} on port {port}")


def is_live(word: str) -> bool:
    """Whether a word names a stream that has its own time.

    Example:
        >>> is_live("tcp:5000"), is_live("recordings/one")
        (True, False)
    """
    return word in ("-", "camera") or word.startswith("tcp:")


def parse_sensor_size(words: str) -> Size:
    """Rows and columns from `WIDTHxHEIGHT`.

    Raises:
        ConfigError: not two whole numbers above 0.

    Example:
        >>> parse_sensor_size("346x260")
        (260, 346)
    """
    width, _, height = words.partition("x")
    if not (width.isdecimal() and height.isdecimal() and 0 < int(width) <= 2**16 and 0 < int(height) <= 2**16):
        raise ConfigError(f"a sensor is WIDTHxHEIGHT in pixels, such as 346x260, but got {words!r}")
    return int(height), int(width)


def _words(size: Any) -> str:
    return f"{size[1]} x {size[0]} pixels"
