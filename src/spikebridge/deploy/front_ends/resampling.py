"""Another rate of samples: a filter of windowed sines (J. O. Smith, Digital Audio Resampling, 2002) in arrays.

    resampler = Resampler(48000, 8000, block_out=160)     # takes blocks of 960 samples

The filter passes up to 45 % of the lower rate; above half of it is suppressed by about 60 dB.
"""

from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.front_ends.arrays import EXACT, Values
from spikebridge.errors import ConfigError

_ZEROS = 10  # zero crossings of the sine on each side
_BETA = 7.0  # of the Kaiser window
_PASS = 0.92  # of half of the lower rate


@dataclass(frozen=True)
class Resampler:
    """A resampler of one channel in blocks.

    Args:
        rate_in: samples a second that come.
        rate_out: samples a second that leave; not above `rate_in`.
        block_out: samples of a block that leaves.

    Raises:
        ConfigError: the rate would rise, or the samples that come for a block that leaves are no integer.

    Example:
        >>> resampler = Resampler(48000, 8000, block_out=160)
        >>> resampler.block_in, resampler.advance(np.ones(960), resampler.start())[0].shape
        (960, (160,))
    """

    rate_in: int
    rate_out: int
    block_out: int

    def __post_init__(self) -> None:
        if self.rate_in < self.rate_out:
            raise ConfigError(f"samples at {self.rate_in} Hz hold less than the {self.rate_out} Hz that are needed")
        if self.block_out * self.rate_in % self.rate_out:
            raise ConfigError(
                f"{self.block_out} samples at {self.rate_out} Hz are no whole number of samples at {self.rate_in} Hz"
            )

    @property
    def block_in(self) -> int:
        """Samples of a block that comes."""
        return self.block_out * self.rate_in // self.rate_out

    @property
    def _half(self) -> int:
        """Samples that the filter reaches to each side."""
        return -(-_ZEROS * self.rate_in // self.rate_out)

    def start(self) -> NDArray[np.float64]:
        """The samples before the first: zeros."""
        return np.zeros(2 * self._half)

    def advance(self, samples: NDArray[Any], state: NDArray[np.float64]) -> tuple[NDArray[np.float32], Values]:
        """The next block, and the state after it."""
        outputs, state = self.arrays(EXACT, {"samples": EXACT.array(samples)}, state)
        return outputs["samples"].astype(np.float32), state

    def arrays(self, a: Any, inputs: dict[str, Values], state: Values) -> tuple[dict[str, Values], Values]:
        """The resampler in the arrays of an arithmetic."""
        samples = a.concatenate([state, inputs["samples"]])
        step = gcd(self.rate_in, self.rate_out)
        num_phases = self.rate_out // step
        taps = self._taps(np.arange(num_phases) * self.rate_in / self.rate_out % 1)

        places = np.arange(self.block_out) * self.rate_in // self.rate_out
        windows = a.windows(samples, places, taps.shape[1])
        weights = a.take(a.constant(np.ascontiguousarray(taps.T)), np.arange(self.block_out) % num_phases)

        return {"samples": a.sum(windows * weights, 0)}, samples[self.block_in :]

    def _taps(self, fractions: NDArray[np.float64]) -> NDArray[np.float32]:
        """The filter at parts of a sample, a row each; every row has the sum 1."""
        half = self._half
        distance = np.arange(2 * half) - half + 1 - fractions[:, None]
        cutoff = _PASS * self.rate_out / self.rate_in
        window = np.i0(_BETA * np.sqrt(np.clip(1 - (distance / half) ** 2, 0, None))) / np.i0(_BETA)
        taps = np.sinc(cutoff * distance) * window

        return (taps / taps.sum(1, keepdims=True)).astype(np.float32)
