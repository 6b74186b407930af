"""Streams of samples of a sensor in blocks of one length: a file at its own speed, or WAV on standard input.

Nothing is resampled or mixed down. Each series of a file is a stream of its own: the network restarts with it. The
last block of a series is filled up with zeros.
"""

import threading
from collections import deque
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from spikebridge.data.io.safe_open import Readable, read_at_most
from spikebridge.data.signals.files import read_series
from spikebridge.data.signals.series import SensorSeries
from spikebridge.data.signals.wav import WavFormat, read_wav_format
from spikebridge.data.streams.replay import PlaybackClock, check_speed
from spikebridge.errors import ConfigError, DataError

_MAX_QUEUE = 4096  # blocks of a stream that are not consumed yet
_POLL_SECONDS = 0.2  # the longest wait, so that a caller can check its deadline

_Block = Float32[np.ndarray, "L C"]


class SampleRequest(NamedTuple):
    """The input that a network needs from a stream of samples.

    Args:
        rate_hz: samples a second.
        num_channels: number of channels of the sensor.
        block: number of samples from one answer to the next.
    """

    rate_hz: float
    num_channels: int
    block: int


def open_samples(
    source: str, request: SampleRequest, stdin: Readable | None = None, speed: float = 1.0
) -> "SampleReplay | WavStream":
    """Opens the stream of a source.

    Args:
        source: a file or folder of series, or `-` for WAV on standard input.
        request: the input that the network needs.
        stdin: the standard input.
        speed: playback speed of a file; 2 plays twice as fast.

    Raises:
        ConfigError: a speed of a live stream, or one out of range.
        DataError: the file is missing or damaged, or has another rate or number of channels.
    """
    if source != "-":
        return SampleReplay(read_series(Path(source).expanduser()), request, speed, source)
    if speed != 1.0:
        raise ConfigError("--speed applies to files; leave it out for a live stream, which runs in real time")
    if stdin is None:
        raise ConfigError("there is no standard input to read WAV from")

    return WavStream(stdin, request)


def _refuse_another_sensor(name: str, rate_hz: float, num_channels: int, request: SampleRequest) -> None:
    if (rate_hz, num_channels) != (request.rate_hz, request.num_channels):
        needed = _sensor(request.num_channels, request.rate_hz)
        sensor = f"{_sensor(num_channels, rate_hz)}; nothing is resampled and no channel is dropped"
        raise DataError(f"{name}: the network reads {needed}, but got {sensor}")


def _sensor(num_channels: int, rate_hz: float) -> str:
    return f"{num_channels} channel{'' if num_channels == 1 else 's'} at {rate_hz:g} Hz"


class SampleReplay:
    """Blocks of series, one series after the other, in real time.

    Args:
        series: the series to play.
        request: the input that the network needs.
        speed: playback speed; 2 plays twice as fast.
        name: for messages.

    Example:
        >>> from spikebridge.data.signals.series import make_series
        >>> series = make_series([[1.0, 2.0, 3.0], [4.0]], rate_hz=100)
        >>> played = SampleReplay(series, SampleRequest(100, 1, 2), speed=1000)
        >>> played.wait(2), [block.ravel().tolist() for block in played.inputs(0, 2)], played.newest_restart(0, 3)
        (3, [[1.0, 2.0], [3.0, 0.0]], 2)
    """

    def __init__(self, series: SensorSeries, request: SampleRequest, speed: float = 1.0, name: str = "") -> None:
        check_speed("file", speed)
        _refuse_another_sensor(name, series.rate_hz, series.num_channels, request)
        self.series = series
        self.block = request.block
        numbers = -(-(series.stops - series.starts) // request.block)
        self.firsts = np.cumsum(numbers) - numbers
        self.num_blocks = int(numbers.sum())
        self.dt = request.block / request.rate_hz / speed
        self._clock = PlaybackClock(self.dt)
        self.ready_at = self._clock.ready_at

    def wait(self, done: int) -> int | None:
        """Sleeps until block `done` is complete; the number of complete blocks, None after the end."""
        return None if done >= self.num_blocks else min(self.num_blocks, self._clock.wait(done))

    def newest_restart(self, first: int, stop: int) -> int | None:
        """The newest block from `first` up to `stop` with which a series begins; None without one."""
        inside = self.firsts[(self.firsts >= max(first, 1)) & (self.firsts < stop)]
        return int(inside[-1]) if len(inside) else None

    def inputs(self, first: int, stop: int) -> list[_Block]:
        """The samples of these blocks."""
        return [self._block(number) for number in range(first, stop)]

    def _block(self, number: int) -> _Block:
        index = int(np.searchsorted(self.firsts, number, side="right")) - 1
        start = (number - int(self.firsts[index])) * self.block
        return _filled(self.series[index][start : start + self.block], self.block)


class WavStream:
    """Blocks of a WAV stream that is still being written, such as of a microphone's program.

    Args:
        file: at the start of its header, which is read at once.
        request: the input that the network needs.

    Raises:
        DataError: it is no WAV stream, or has another rate or number of channels.

    Example:
        >>> import io, wave
        >>> content = io.BytesIO()
        >>> with wave.open(content, "wb") as file:
        ...     file.setparams((1, 2, 8000, 0, "NONE", ""))
        ...     file.writeframes(bytes([0, 64, 0, 192, 0, 64]))
        >>> stream = WavStream(io.BytesIO(content.getvalue()), SampleRequest(8000, 1, 2))
        >>> stream.join()
        >>> stream.wait(0), [block.ravel().tolist() for block in stream.inputs(0, 2)], stream.wait(2)
        (2, [[0.5, -0.5], [0.5, 0.0]], None)
    """

    def __init__(self, file: Readable, request: SampleRequest) -> None:
        self.format: WavFormat = read_wav_format(file, "standard input")
        _refuse_another_sensor("standard input", self.format.rate_hz, self.format.num_channels, request)
        self.dt = request.block / request.rate_hz
        self.block = request.block
        self.first_error = ""
        self.num_bad = 0
        self._changed = threading.Condition()
        self._blocks: deque[tuple[_Block, float]] = deque()
        self._num_read = 0
        self._ended = False
        self._last_ready = 0.0
        self._thread = threading.Thread(target=self._read, args=(file,), name="WAV stream", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Waits until the stream has been read to its end."""
        self._thread.join()

    def _read(self, file: Readable) -> None:
        size = self.block * self.format.bytes_per_sample
        remaining = self.format.num_bytes

        try:
            # a live stream does not say its length
            while remaining is None or remaining > 0:
                content = read_at_most(file, size if remaining is None else min(size, remaining))
                remaining = None if remaining is None else remaining - len(content)
                samples = self.format.decode(content)
                if len(samples):
                    self._add(_filled(samples, self.block))
                if len(content) < size:
                    break
        except OSError as error:
            self.first_error = f"the stream broke off ({error})"
            self.num_bad = 1

        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _add(self, block: _Block) -> None:
        with self._changed:
            # a pipe is read no faster than it is used, so memory stays bounded
            self._changed.wait_for(lambda: len(self._blocks) < _MAX_QUEUE)
            self._blocks.append((block, perf_counter()))
            self._changed.notify_all()

    def wait(self, done: int) -> int | None:
        """Waits for a block after the first `done`; the number of complete blocks, or None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._num_complete > done or self._ended, _POLL_SECONDS)
            return None if self._ended and self._num_complete <= done else self._num_complete

    @property
    def _num_complete(self) -> int:
        return self._num_read + len(self._blocks)

    def ready_at(self, bin_: int) -> float:
        """Time at which a block was complete [s]: the newest one that was read, or a queued one."""
        with self._changed:
            place = bin_ - self._num_read
            return self._blocks[place][1] if 0 <= place < len(self._blocks) else self._last_ready

    def newest_restart(self, first: int, stop: int) -> int | None:
        """None: a stream has one start."""
        return None

    def inputs(self, first: int, stop: int) -> list[_Block]:
        """The samples of these blocks, which are then dropped."""
        with self._changed:
            blocks = [self._blocks.popleft() for _ in range(stop - self._num_read)]
            self._num_read = stop
            self._last_ready = blocks[-1][1]
            self._changed.notify_all()

        return [block for block, _ in blocks[first - stop :]]


def _filled(samples: NDArray[np.float32], length: int) -> _Block:
    """Samples, followed by zeros up to a length."""
    if len(samples) == length:
        return samples
    return np.concatenate([samples, np.zeros((length - len(samples), samples.shape[1]), np.float32)])
