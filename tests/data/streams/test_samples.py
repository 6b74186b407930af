"""Streams of samples: files in blocks at their own speed, and WAV that is still being written."""

import io
import struct
import threading
from time import perf_counter

import numpy as np
import pytest

from spikebridge.data.signals.series import make_series
from spikebridge.data.streams.samples import SampleReplay, SampleRequest, WavStream, open_samples
from spikebridge.errors import ConfigError, DataError

TWO = SampleRequest(8000, 1, 2)


def wav(samples: bytes, rate: int = 8000, channels: int = 1, encoding: int = 1, bits: int = 16, size: int = 0) -> bytes:
    head = struct.pack("<HHIIHH", encoding, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits)
    data = b"data" + struct.pack("<I", size or len(samples)) + samples
    return b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", len(head)) + head + data


class Slow(io.RawIOBase):
    """A stream that gives a byte at a time, and stands still until it is told to go on."""

    def __init__(self, content: bytes, stop: int) -> None:
        super().__init__()
        self.content = content
        self.place = 0
        self.stop = stop
        self.gate = threading.Event()

    def read(self, size: int = -1, /) -> bytes:
        if self.place == self.stop:
            self.gate.wait(5)

        one = self.content[self.place : self.place + 1]
        self.place += len(one)
        return one


def test_series_are_played_one_after_the_other_and_each_begins_again() -> None:
    series = make_series([np.arange(1.0, 6.0), [6.0], [7.0, 8.0]], rate_hz=8000)
    played = SampleReplay(series, TWO, speed=1e6)

    assert played.wait(4) == 5

    blocks = [block.ravel().tolist() for block in played.inputs(0, 5)]
    assert blocks == [[1, 2], [3, 4], [5, 0], [6, 0], [7, 8]]
    assert [played.newest_restart(a, a + 1) for a in range(5)] == [None, None, None, 3, 4]
    assert played.newest_restart(0, 5) == 4
    assert played.wait(5) is None


def test_a_block_comes_when_its_time_has_passed() -> None:
    played = SampleReplay(make_series([np.zeros(800)], rate_hz=8000), SampleRequest(8000, 1, 80), speed=0.5)
    begun = perf_counter()

    assert played.dt == 0.02
    assert played.wait(0) is not None
    assert perf_counter() - begun >= 0.02


@pytest.mark.parametrize("speed", [0.0, -1.0, 1e9, float("nan")])
def test_speeds_out_of_range_are_refused(speed: float) -> None:
    with pytest.raises(ConfigError, match="times its speed"):
        SampleReplay(make_series([np.zeros(8)], rate_hz=8000), TWO, speed)


def test_a_stream_is_given_while_it_is_written() -> None:
    file = Slow(wav(bytes(range(16)), size=2**32 - 1), stop=44 + 8)
    stream = WavStream(file, TWO)
    complete = 0

    while complete < 2:
        complete = stream.wait(complete) or 0

    assert complete == 2  # the rest is not written yet
    assert len(stream.inputs(0, 2)) == 2
    assert stream.ready_at(1) <= perf_counter()
    assert stream.wait(2) == 2  # nothing new: the caller may look at the clock

    file.gate.set()
    stream.join()

    assert stream.wait(2) == 4
    assert len(stream.inputs(3, 4)) == 1  # block 2 is passed over
    assert stream.wait(4) is None


def test_mu_law_and_24_bits_are_read_from_a_stream() -> None:
    for encoding, bits, content, expected in [
        (7, 8, bytes([0xFF, 0x80, 0x00]), [0.0, 0.98, -0.98, 0.0]),
        (1, 24, bytes([0, 0, 64, 0, 0, 192]), [0.5, -0.5]),
    ]:
        stream = WavStream(io.BytesIO(wav(content, encoding=encoding, bits=bits)), TWO)
        stream.join()
        blocks = stream.inputs(0, stream.wait(0) or 0)
        assert np.concatenate(blocks).ravel().tolist() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "byte 0: expected 12 bytes of the header"),
        (b"1,2,3,4\n" * 3, "expected 'RIFF' and 'WAVE'"),
        (wav(bytes(8), rate=16000), "1 channel at 8000 Hz, but got 1 channel at 16000 Hz; nothing is resampled"),
        (wav(bytes(8), channels=2), "got 2 channels at 8000 Hz; nothing is resampled and no channel is dropped"),
    ],
)
def test_a_stream_that_the_network_cannot_read_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        WavStream(io.BytesIO(content), TWO)


def test_names_of_sources() -> None:
    with pytest.raises(ConfigError, match="--speed applies to files"):
        open_samples("-", TWO, io.BytesIO(), speed=2.0)

    with pytest.raises(ConfigError, match="no standard input"):
        open_samples("-", TWO)

    with pytest.raises(DataError, match="no such file"):
        open_samples("nothing.wav", TWO)
