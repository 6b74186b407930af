"""WAV: one file or stream of sound as samples in [-1, 1].

The reader is our own: the standard library's `wave` refuses float, mu-law and the extensible format, and knows no
streams whose length is open; packages that read more bring codecs that are not needed here.

Formats: PCM of 8 (unsigned), 16, 24 and 32 bits, float of 32 and 64 bits, mu-law and A-law (ITU-T G.711), plain or in
the extensible format. Source: "Multimedia Programming Interface and Data Specifications 1.0", IBM and Microsoft, 1991.
"""

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from spikebridge.data.io.safe_open import MAX_BYTES, Readable, open_binary, read_at_most
from spikebridge.errors import DataError

_PCM = 1
_FLOAT = 3
_A_LAW = 6
_MU_LAW = 7
_EXTENSIBLE = 0xFFFE
_BITS = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64), _A_LAW: (8,), _MU_LAW: (8,)}
_OPEN_SIZES = (0, 2**32 - 1, 2**31 - 1)  # of programs that do not know the length of a stream
_MAX_CHANNELS = 64
_MAX_RATE = 2**24
_MAX_HEADER_BYTES = 2**20


class WavFormat(NamedTuple):
    """Storage of the samples in a WAV file or stream."""

    rate_hz: int
    num_channels: int
    encoding: int  # 1 PCM, 3 float, 6 A-law, 7 mu-law
    bits: int  # of one value
    num_bytes: int | None  # of the samples; None for a stream without an end

    @property
    def bytes_per_sample(self) -> int:
        """Bytes of one value of every channel."""
        return self.num_channels * self.bits // 8

    def decode(self, content: bytes | bytearray) -> Float32[np.ndarray, "L C"]:
        """Samples from their bytes; an unfinished one at the end is left out."""
        num_bytes = len(content) // self.bytes_per_sample * self.bytes_per_sample
        return _decoded(self.encoding, self.bits, content[:num_bytes]).reshape(-1, self.num_channels)


def read_wav(path: Path) -> tuple[Float32[np.ndarray, "L C"], int]:
    """The samples of a WAV file, and its rate.

    Args:
        path: the file.

    Returns:
        Samples `(L, C)` in [-1, 1], float files as they are, and the samples a second.

    Raises:
        DataError: the file is missing, damaged, cut short, without samples, too large, or in a format not listed above.

    Example:
        >>> import wave
        >>> path = Path(getfixture("tmp_path")) / "a.wav"
        >>> with wave.open(str(path), "wb") as file:
        ...     file.setparams((1, 2, 8000, 0, "NONE", ""))
        ...     file.writeframes(bytes([0, 64, 0, 192]))
        >>> samples, rate_hz = read_wav(path)
        >>> samples.ravel().tolist(), rate_hz
        ([0.5, -0.5], 8000)
    """
    with open_binary(path, "a WAV file", MAX_BYTES) as file:
        header = read_wav_format(file, f"{path}")
        content = read_at_most(file, MAX_BYTES if header.num_bytes is None else header.num_bytes)

    if header.num_bytes is not None and len(content) < header.num_bytes:
        raise DataError(f"{path}: expected {header.num_bytes} bytes of samples, but it is cut after {len(content)}.")

    samples = header.decode(content)
    if len(samples) == 0:
        raise DataError(f"{path}: expected samples, but there are none.")

    return samples, header.rate_hz


def read_wav_format(file: Readable, name: str) -> WavFormat:
    """Reads the header of a file or stream, up to the first sample."""
    head = _exactly(file, 12, name, 0)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        raise DataError(f"{name}, byte 0: expected 'RIFF' and 'WAVE', as a WAV file begins, but found {bytes(head)!r}.")

    place = 12
    wav_format = None

    while place < _MAX_HEADER_BYTES:
        chunk = _exactly(file, 8, name, place)
        kind = bytes(chunk[:4])
        size = int.from_bytes(chunk[4:], "little")
        place += 8

        if kind == b"data":
            if wav_format is None:
                raise DataError(f"{name}, byte {place - 8}: expected the format before the samples.")
            return wav_format._replace(num_bytes=None if size in _OPEN_SIZES else size)

        if size > _MAX_HEADER_BYTES:
            raise DataError(f"{name}, byte {place - 8}: expected a part of the header, but {kind!r} has {size} bytes.")

        # parts are padded to an even number of bytes
        content = _exactly(file, size + size % 2, name, place)
        if kind == b"fmt ":
            wav_format = _format(content, name, place)

        place += len(content)

    raise DataError(f"{name}: expected samples within the first {_MAX_HEADER_BYTES} bytes, but there are none.")


def _exactly(file: Readable, size: int, name: str, place: int) -> bytearray:
    content = read_at_most(file, size)
    if len(content) < size:
        raise DataError(f"{name}, byte {place}: expected {size} bytes of the header, but it ends after {len(content)}.")

    return content


def _format(content: bytearray, name: str, place: int) -> WavFormat:
    if len(content) < 16:
        raise DataError(f"{name}, byte {place}: expected a format of 16 bytes, but it has {len(content)}.")

    encoding, num_channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", content)
    # the extensible format keeps the encoding further back
    if encoding == _EXTENSIBLE and len(content) >= 26:
        encoding = int.from_bytes(content[24:26], "little")

    if bits not in _BITS.get(encoding, ()):
        expected = "PCM of 8, 16, 24 or 32 bits, float of 32 or 64, mu-law or A-law"
        raise DataError(
            f"{name}: expected {expected}, but got format {encoding} of {bits} bits; save it as 16-bit PCM."
        )

    if not 1 <= num_channels <= _MAX_CHANNELS or not 1 <= rate_hz <= _MAX_RATE:
        raise DataError(f"{name}: {num_channels} channels at {rate_hz} Hz cannot be.")

    return WavFormat(rate_hz, num_channels, encoding, bits, None)


def _decoded(encoding: int, bits: int, content: bytes | bytearray) -> NDArray[np.float32]:
    # float64 beyond float32 becomes infinite, which checks of series report
    if encoding == _FLOAT:
        with np.errstate(over="ignore", invalid="ignore"):
            values: NDArray[np.float32] = np.frombuffer(content, f"<f{bits // 8}").astype(np.float32)
            return values

    if encoding in (_MU_LAW, _A_LAW):
        table = _MU_LAW_VALUES if encoding == _MU_LAW else _A_LAW_VALUES
        return table[np.frombuffer(content, np.uint8)]

    if bits == 8:
        return ((np.frombuffer(content, np.uint8) - 128.0) / 128).astype(np.float32)

    # numpy has no integers of 3 bytes: they become the upper ones of 4
    if bits == 24:
        padded = np.zeros((len(content) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)
        return (padded.view("<i4").ravel() / 2**31).astype(np.float32)

    return (np.frombuffer(content, f"<i{bits // 8}") / 2.0 ** (bits - 1)).astype(np.float32)


def _mu_law() -> NDArray[np.float32]:
    """The value of each byte of mu-law: inverted sign, 3 bits of exponent, 4 of mantissa; G.711, table 2."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent = (code >> 4 & 7).astype(np.int64)
    mantissa = (code & 15).astype(np.int64)
    magnitude = ((mantissa << 3) + 132 << exponent) - 132

    return (np.where(code & 128, -magnitude, magnitude) / 2**15).astype(np.float32)


def _a_law() -> NDArray[np.float32]:
    """The value of each byte of A-law: inverted sign, every other bit inverted; G.711, table 1."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent = (code >> 4 & 7).astype(np.int64)
    mantissa = (code & 15).astype(np.int64)
    magnitude = np.where(exponent == 0, (mantissa << 4) + 8, (mantissa << 4) + 264 << np.maximum(exponent - 1, 0))

    return (np.where(code & 128, magnitude, -magnitude) / 2**15).astype(np.float32)


_MU_LAW_VALUES = _mu_law()
_A_LAW_VALUES = _a_law()
