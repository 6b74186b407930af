"""The arithmetic of a front end: a front end is written once, as a function of an arithmetic `a` and of arrays.

| | `EXACT` | `FAST` | C |
|---|---|---|---|
| file | here | here | `c.py` |
| arrays | numpy float64 | numpy, of any type | expressions of C |
| order of sums | one after the other | that of the library | one after the other |
| use | streams, bundles | training | pages, microcontrollers |

Exact arrays and C do the same operations of IEEE 754 in the same order, so their results are equal to the bit. Fast
arrays give them to rounding: they use the filters, transforms and products of libraries.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = Any  # an array of one of the arithmetics
_Step: TypeAlias = Callable[[Any, Values], tuple[Values, Any]]
_LOG_TERMS = 11  # of the series, below 2^-53 on its range
_EXP_TERMS = 14
_SHUFFLE = 16807.0  # multiplier of the generator of Park and Miller
_MODULUS = 2147483647.0
_NUM_UNIFORM = 4  # whose sum has the variance 1 / 3


class Recursion(NamedTuple):
    """Recursive filters of one order, a row each: `y = z[0] + b[0] x`, `z[i] = z[i + 1] + b[i + 1] x - a[i + 1] y`."""

    b: NDArray[np.float64]  # (number of filters, order + 1)
    a: NDArray[np.float64]


class _Arrays:
    """Functions of any arithmetic, made of its operators."""

    def mean(self, x: Values, axis: int) -> Values:
        return self.sum(x, axis) / float(x.shape[axis])

    def sum(self, x: Values, axis: int) -> Values:
        """The sum along an axis, one value after the other."""
        raise NotImplementedError

    def scan(self, step: _Step, state: Any, xs: Values) -> tuple[Values, Any]:
        """All outputs, and the last state, of `y, state = step(state, x)` along the first axis."""
        raise NotImplementedError

    def concatenate(self, pieces: Sequence[Values], axis: int = 0) -> Values:
        raise NotImplementedError

    def where(self, condition: Values, first: Values, second: Values) -> Values:
        raise NotImplementedError

    def mantissa(self, x: Values) -> Values:
        """The factor from 0.5 to 1 of `mantissa * 2^exponent`."""
        raise NotImplementedError

    def exponent(self, x: Values) -> Values:
        raise NotImplementedError

    def recursive(self, x: Values, filters: Recursion, state: Values) -> tuple[Values, Values]:
        """Signals `(L, B)` through recursive filters: `(L, B, N)`; the state is `(order, B, N)`."""
        order = filters.b.shape[1] - 1

        def step(z: Values, x_t: Values) -> tuple[Values, Values]:
            y = z[0] + x_t[:, None] * filters.b[:, 0]
            rows = []
            for i in range(1, order + 1):
                row = x_t[:, None] * filters.b[:, i] - y * filters.a[:, i]
                rows.append((row + z[i] if i < order else row)[None])

            return y, self.concatenate(rows)

        return self.scan(step, state, x)

    def log(self, x: Values) -> Values:
        """The natural logarithm of positive values."""
        is_low = self.mantissa(x) < math.sqrt(0.5)
        factor = self.where(is_low, self.mantissa(x) * 2.0, self.mantissa(x))
        exponent = self.where(is_low, self.exponent(x) - 1.0, self.exponent(x))
        # log f = 2 artanh((f - 1) / (f + 1)), by its series
        ratio = (factor - 1.0) / (factor + 1.0)
        square = ratio * ratio
        series = square * 0.0 + 1.0 / (2 * _LOG_TERMS + 1)
        for term in reversed(range(_LOG_TERMS)):
            series = series * square + 1.0 / (2 * term + 1)

        return exponent * math.log(2.0) + ratio * 2.0 * series

    def power_of_two(self, exponent: Values) -> Values:
        raise NotImplementedError

    def exp(self, x: Values) -> Values:
        """The exponential function."""
        exponent = (x / math.log(2.0) + 0.5) // 1.0
        rest = x - exponent * math.log(2.0)
        series = rest * 0.0 + 1.0
        for term in range(_EXP_TERMS, 0, -1):
            series = series * rest / float(term) + 1.0

        return series * self.power_of_two(exponent)

    def tanh(self, x: Values) -> Values:
        """The hyperbolic tangent."""
        return 1.0 - 2.0 / (self.exp(x * 2.0) + 1.0)

    def power_spectra(self, x: Values) -> Values:
        """The power of the Fourier transform of real values `(..., N)`: `(..., N // 2 + 1)`."""
        length = x.shape[-1]
        bins = np.arange(length // 2 + 1)
        if length & (length - 1):
            angles = 2 * np.pi * np.outer(np.arange(length), bins) / length
            real = self.dot(x, np.cos(angles))
            imaginary = self.dot(x, np.sin(angles))
        else:
            real, imaginary = self._transform(x)

        real = real[..., : len(bins)]
        imaginary = imaginary[..., : len(bins)]
        return real * real + imaginary * imaginary

    def _transform(self, x: Values) -> tuple[Values, Values]:
        """The Fourier transform of N real values, N a power of two: transforms of sequences, joined two by two."""
        length = x.shape[-1]
        # (..., frequency, sequence): at first every value is a sequence of its own
        real = x[..., None, :]
        imaginary = real * 0.0
        size = 1

        while size < length:
            half = length // size // 2
            angles = -np.pi * np.arange(size)[:, None] / size
            cosines = np.cos(angles)
            sines = np.sin(angles)
            odd_real = real[..., half:] * cosines - imaginary[..., half:] * sines
            odd_imaginary = real[..., half:] * sines + imaginary[..., half:] * cosines
            real = self._butterfly(real[..., :half], odd_real)
            imaginary = self._butterfly(imaginary[..., :half], odd_imaginary)
            size *= 2

        return real[..., 0], imaginary[..., 0]

    def _butterfly(self, even: Values, odd: Values) -> Values:
        return self.concatenate([even + odd, even - odd], -2)

    def dot(self, x: Values, weights: NDArray[Any]) -> Values:
        """Values `(..., N)` times constants `(N, M)`."""
        raise NotImplementedError

    def correlate(self, x: Values, y: Values) -> Values:
        """The sum over time of products of all pairs: `(T, B, N)` and `(T, B, M)` to `(B, N, M)`."""
        return self.sum(x[:, :, :, None] * y[:, :, None], 0)

    def uniform(self, seeds: Values) -> tuple[Values, Values]:
        """Random numbers from 0 to 1, one for each seed, and the next seeds.

        The generator of S. Park and K. Miller, Comm. ACM 31:1192 (1988), exact in doubles.
        """
        product = seeds * _SHUFFLE
        following = product - product / _MODULUS // 1.0 * _MODULUS

        return following / _MODULUS, following

    def normal(self, seeds: Values) -> tuple[Values, Values]:
        """Random numbers of mean 0 and variance 1, close to a normal distribution: a sum of 4 uniform ones."""
        total = seeds * 0.0 - _NUM_UNIFORM / 2
        for _ in range(_NUM_UNIFORM):
            draw, seeds = self.uniform(seeds)
            total = total + draw

        return total * math.sqrt(12 / _NUM_UNIFORM), seeds


class ExactArrays(_Arrays):
    """Arrays of numpy in float64, with operations in a stated order."""

    def array(self, x: Values) -> Values:
        return np.asarray(x, np.float64)

    def sum(self, x: Values, axis: int) -> Values:
        values = np.moveaxis(x, axis, 0)
        total = values[0]
        for value in values[1:]:
            total = total + value

        return total

    def dot(self, x: Values, weights: Values) -> Values:
        total: Values = x[..., :1] * weights[0]
        for n in range(1, len(weights)):
            total = total + x[..., n : n + 1] * weights[n]

        return total

    def scan(self, step: _Step, state: Any, xs: Values) -> tuple[Values, Any]:
        outputs = []
        for x in xs:
            y, state = step(state, x)
            outputs.append(y)

        return np.stack(outputs), state

    def concatenate(self, pieces: Sequence[Values], axis: int = 0) -> Values:
        return np.concatenate(pieces, axis)

    def where(self, condition: Values, first: Any, second: Any) -> Values:
        return np.where(condition, first, second)

    minimum = staticmethod(np.minimum)
    maximum = staticmethod(np.maximum)
    sqrt = staticmethod(np.sqrt)

    def constant(self, values: Values) -> Values:
        return values

    def take(self, x: Values, index: NDArray[np.int64]) -> Values:
        """Values at constant places of the last axis."""
        return x[..., index]

    def windows(self, x: Values, starts: NDArray[np.int64], length: int) -> Values:
        """Pieces of a sequence: `(length, number of pieces)`."""
        return x[np.arange(length)[:, None] + starts]

    def mantissa(self, x: Values) -> Values:
        return np.frexp(x)[0]

    def exponent(self, x: Values) -> Values:
        return np.frexp(x)[1].astype(np.float64)

    def power_of_two(self, exponent: Values) -> Values:
        return np.ldexp(1.0, exponent.astype(np.int64))


class _FastArrays(ExactArrays):
    """Arrays of numpy of any type, with the functions of libraries."""

    def array(self, x: Values) -> Values:
        return x

    def sum(self, x: Values, axis: int) -> Values:
        return np.asarray(x.sum(axis))

    def dot(self, x: Values, weights: Values) -> Values:
        return np.asarray(x @ weights)

    def log(self, x: Values) -> Values:
        return np.asarray(np.log(x))

    def power_spectra(self, x: Values) -> Values:
        return np.abs(np.fft.rfft(x, axis=-1)).astype(x.dtype) ** 2

    def correlate(self, x: Values, y: Values) -> Values:
        return np.asarray(np.ascontiguousarray(x.transpose(1, 2, 0)) @ np.ascontiguousarray(y.transpose(1, 0, 2)))

    def recursive(self, x: Values, filters: Recursion, state: Values) -> tuple[Values, Values]:
        # slow to import, and other sensors do not need it
        from scipy.signal import lfilter

        signals = np.ascontiguousarray(x.T)
        passed = []
        after = state.copy()
        for n, (b, a) in enumerate(zip(filters.b, filters.a, strict=True)):
            y, final = lfilter(b, a, signals, zi=state[:, :, n].T)
            passed.append(y)
            after[:, :, n] = final.T

        # in memory time stays the last axis
        return np.stack(passed).transpose(2, 1, 0), after

    def where(self, condition: Values, first: Any, second: Any) -> Values:
        return np.where(condition, np.float32(first), np.float32(second))


EXACT = ExactArrays()
FAST = _FastArrays()
