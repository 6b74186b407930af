"""Front ends: from samples of a sensor to the fast signal and the frames of a network.

| sensor | fast signal | frame |
|---|---|---|
| voice | log envelopes of recursive band-passes | log-mel spectrum |
| muscle, motion | the channels | mean, log variances of values and differences, correlations |

Both are causal: a frame summarises samples before its tick alone, and at the start of a window those that there are.
The bands of a voice are divided by the running mean over all bands, so that a louder voice gives the same inputs.
`warp` moves all frequencies of a voice, as another length of the vocal tract does (N. Jaitly, G. Hinton, ICML workshop
2013).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from spikebridge.deploy.front_ends.arrays import EXACT, FAST, Recursion, Values
from spikebridge.errors import ConfigError

_NUM_FILTERS = 12  # channels of the fast signal of a voice
_NUM_BANDS = 40  # mel bands of a frame
_SPECTRUM_WINDOW = 0.032  # [s]
_SPECTRUM_PERIOD = 0.02  # largest time between the spectra that one frame averages [s]
_ENVELOPE_TAU = 0.005  # time constant of the envelopes [s]
_LOWEST_HZ = 60.0
_LEVEL_MEMORY = 0.5  # time over which the level of a voice is averaged [s]
_QUIET = 1e-4  # power relative to the running mean, below which there is silence
_SILENCE = 1e-9  # level below which nothing is amplified
_VARIANCE_FLOOR = 1e-5  # in squared units of the channel
_NUM_VERTICAL = 4  # channels relative to the vertical
_VERTICAL_MACS = 42  # multiply-accumulates that they take for each sample
_GRAVITY_MEMORY = 1.0  # time over which the direction of gravity is averaged [s]
_MIN_GRAVITY = 1e-3  # length of a mean acceleration that can still be divided by, in units of the channel


class _RunningMean(NamedTuple):
    """A mean over the last steps of a stream, and the number of steps so far."""

    num_steps: Values
    mean: Values


class _AudioState(NamedTuple):
    """State of an `AudioFrontEnd` between two pieces of a stream."""

    filters: Values
    smoothing: Values
    signal_level: _RunningMean
    history: Values
    frame_level: _RunningMean


class _ChannelState(NamedTuple):
    """State of a `ChannelFrontEnd` between two pieces of a stream."""

    num_samples: Values
    history: Values
    gravity: _RunningMean


@dataclass(frozen=True)
class AudioFrontEnd:
    """From samples of a voice to the inputs of a network.

    Args:
        rate_hz: samples a second.
        dt: step of the fast signal [s].
        frame_period: steps from one frame to the next.
    """

    rate_hz: float = 8000.0
    dt: float = 0.0025
    frame_period: int = 8

    def __post_init__(self) -> None:
        if abs(self.dt * self.rate_hz - self.step) > 1e-6 or self.step < 1:
            raise ConfigError(
                f"a step of {self.dt} s is {self.dt * self.rate_hz:g} samples at {self.rate_hz:g} Hz, not an integer"
            )

    @property
    def step(self) -> int:
        """Samples of a step of the fast signal."""
        return round(self.dt * self.rate_hz)

    @property
    def num_channels(self) -> int:
        """Channels of the fast signal."""
        return _NUM_FILTERS

    @property
    def num_features(self) -> int:
        """Values of a frame."""
        return _NUM_BANDS

    def macs_per_second(self, *, signal: bool, frames: bool) -> float:
        """Multiply-accumulates of the front end a second of sound, for the inputs that a network has.

        A band-pass takes 4 a sample, an envelope 2 a step; a spectrum of n samples `1.5 n log2 n` for its transform, n
        for its window and n for its power, and every mel band the bins under its triangle, two for each bin in all. A
        logarithm counts as 4.

        Example:
            >>> AudioFrontEnd().macs_per_second(signal=True, frames=False)
            412800.0
        """
        steps = 1 / self.dt
        fast = _NUM_FILTERS * (4 * self.rate_hz + (2 + 4) * steps)
        length = self._spectrum_length
        spectrum = 1.5 * length * np.log2(length) + 3 * length + 4 * _NUM_BANDS
        slow = spectrum * self._num_spectra * steps / self.frame_period

        return float(fast * signal + slow * frames)

    @property
    def _spectrum_length(self) -> int:
        """Samples of a spectrum's window."""
        return round(_SPECTRUM_WINDOW * self.rate_hz)

    @property
    def _num_spectra(self) -> int:
        """Spectra that a frame averages."""
        return max(1, round(self.frame_period * self.dt / _SPECTRUM_PERIOD))

    def inputs(self, samples: Float32[np.ndarray, "B L"], warp: float = 1.0) -> Mapping[str, NDArray[np.float32]]:
        """Fast signal and frames.

        Args:
            samples: recordings of one length.
            warp: factor of all frequencies.

        Returns:
            `signal` `(T, B, 12)` and `frames` `(K, B, 40)`.

        Example:
            >>> inputs = AudioFrontEnd().inputs(np.zeros((1, 800), np.float32))
            >>> inputs["signal"].shape, inputs["frames"].shape
            ((40, 1, 12), (5, 1, 40))
        """
        whole = samples[:, : samples.shape[1] // self.period * self.period]
        return self.arrays(FAST, whole, self.initial_state(len(samples)), warp)[0]

    @property
    def period(self) -> int:
        """Samples from one frame to the next."""
        return self.step * self.frame_period

    @property
    def _hop(self) -> int:
        """Samples from one spectrum to the next."""
        return self.period // self._num_spectra

    def initial_state(self, num_signals: int) -> _AudioState:
        """The state before the first sample.

        Args:
            num_signals: number B of signals that run together.
        """
        no_level = _RunningMean(np.zeros((), np.float32), np.zeros((num_signals, 1)))
        return _AudioState(
            filters=np.zeros((2, num_signals, _NUM_FILTERS)),
            smoothing=np.zeros((1, num_signals * _NUM_FILTERS, 1)),
            signal_level=no_level,
            history=np.zeros((num_signals, self._spectrum_length - self._hop), np.float32),
            frame_level=no_level,
        )

    def advance(
        self, samples: Float32[np.ndarray, "B L"], state: _AudioState
    ) -> tuple[Mapping[str, NDArray[np.float32]], _AudioState]:
        """Fast signal and frames of the next piece of a stream; pieces give what the whole gives, to the bit.

        Args:
            samples: the piece; an incomplete frame at its end is dropped.
            state: state after the piece before.

        Example:
            >>> front, chance = AudioFrontEnd(), np.random.default_rng(0)
            >>> sound, state = chance.normal(size=(1, 480)).astype(np.float32), front.initial_state(1)
            >>> first, state = front.advance(sound[:, :160], state)
            >>> rest, state = front.advance(sound[:, 160:], state)
            >>> bool(np.allclose(np.concatenate([first["frames"], rest["frames"]]), front.inputs(sound)["frames"]))
            True
        """
        whole = samples[:, : samples.shape[1] // self.period * self.period]
        return self.arrays(EXACT, EXACT.array(whole), state)

    def arrays(
        self, a: Any, samples: Values, state: _AudioState, warp: float = 1.0
    ) -> tuple[dict[str, Values], _AudioState]:
        """The front end in the arrays of an arithmetic: samples `(B, L)` of whole frames."""
        signal, filters, smoothing, signal_level = self._envelopes(a, samples.swapaxes(0, 1), state, warp)
        frames, history, frame_level = self._frames(a, samples, state, warp)
        after = _AudioState(filters, smoothing, signal_level, history, frame_level)

        return {"signal": _float32(signal), "frames": _float32(frames)}, after

    def _envelopes(
        self, a: Any, samples: Values, state: _AudioState, warp: float
    ) -> tuple[Values, Values, Values, _RunningMean]:
        num_signals = samples.shape[1]
        decay = float(np.float32(np.exp(-self.dt / _ENVELOPE_TAU)))
        smoothed = Recursion(np.array([[1 - decay, 0.0]]), np.array([[1.0, -decay]]))

        passed, filters = a.recursive(samples, _band_passes(self.rate_hz, warp), state.filters)
        sizes = a.mean(abs(passed).reshape(-1, self.step, num_signals, _NUM_FILTERS), 1)
        flat = sizes.reshape(-1, num_signals * _NUM_FILTERS)
        envelopes, smoothing = a.recursive(flat, smoothed, state.smoothing)

        # envelopes are amplitudes, so their floors are roots of those of a power
        levels = envelopes.reshape(-1, num_signals, _NUM_FILTERS)
        signal, level = _relative(a, levels, self.dt, np.sqrt(_QUIET), np.sqrt(_SILENCE), state.signal_level)

        return signal, filters, smoothing, level

    def _frames(self, a: Any, samples: Values, state: _AudioState, warp: float) -> tuple[Values, Values, _RunningMean]:
        length = self._spectrum_length
        padded = a.concatenate([state.history, samples], 1)
        starts = range(0, padded.shape[1] - length + 1, self._hop)
        windows = a.concatenate([padded[None, :, start : start + length] for start in starts])
        power = a.power_spectra(windows * np.hanning(length).astype(np.float32))
        bands = a.dot(power, _mel_bank(self.rate_hz, length, warp))
        levels, level = _relative(a, bands, self._hop / self.rate_hz, _QUIET, _SILENCE, state.frame_level)

        frames = a.mean(levels.reshape(-1, self._num_spectra, *levels.shape[1:]), 1)
        return frames, padded[:, padded.shape[1] - state.history.shape[1] :], level


def _relative(
    a: Any, levels: Values, seconds: float, quiet: float, silence: float, before: _RunningMean
) -> tuple[Values, _RunningMean]:
    """Logarithms of `(T, B, N)` relative to the running mean over N and time, so that loudness does not matter."""
    memory = max(1, round(_LEVEL_MEMORY / seconds))

    def step(state: _RunningMean, level: Values) -> tuple[Values, _RunningMean]:
        # a plain mean until the memory is full, so that the first step has no start value to forget
        number = a.minimum(state.num_steps + 1.0, float(memory))
        mean = state.mean + (a.mean(level, 1)[:, None] - state.mean) / number
        return level / (mean + silence) + quiet, _RunningMean(number, mean)

    relative, after = a.scan(step, before, levels)
    return a.log(relative), after


def _float32(x: Values) -> Values:
    # C keeps the numbers of an output as floats anyway
    return x.astype(np.float32) if isinstance(x, np.ndarray) else x


@dataclass(frozen=True)
class ChannelFrontEnd:
    """From samples of several channels to the inputs of a network.

    Args:
        rate_hz: samples a second; a sample is a step of the fast signal.
        frame_period: samples from one frame to the next.
        num_inputs: channels of the sensor.
        context: samples that a frame summarises.
        lags: samples between two channels in further correlations; positive where one channel leads, negative where it
            follows, so that they tell the direction of a movement.
        gravity: adds four channels relative to the vertical to the six of acceleration and rotation.

    Raises:
        ConfigError: numbers out of range, or gravity without six channels.
    """

    rate_hz: float
    frame_period: int
    num_inputs: int
    context: int
    lags: tuple[int, ...] = ()
    gravity: bool = False

    def __post_init__(self) -> None:
        if self.gravity and self.num_inputs != 6:
            raise ConfigError(
                f"gravity needs 6 channels, acceleration before rotation, but there are {self.num_inputs}; "
                "leave sensor.gravity out"
            )

        if self.context < 2 or self.frame_period < 1:
            raise ConfigError(
                f"a frame summarises 2 samples or more, one every sample or less often, but got {self.context} and "
                f"{self.frame_period}"
            )

    @property
    def dt(self) -> float:
        """Step of the fast signal [s]."""
        return 1 / self.rate_hz

    @property
    def num_channels(self) -> int:
        """Channels of the fast signal."""
        return self.num_inputs + _NUM_VERTICAL * self.gravity

    @property
    def num_features(self) -> int:
        """Values of a frame."""
        return 3 * self.num_channels + self._num_pairs * (1 + len(self.lags))

    @property
    def _num_pairs(self) -> int:
        return self.num_channels * (self.num_channels - 1) // 2

    def macs_per_second(self, *, signal: bool, frames: bool) -> float:
        """Multiply-accumulates of the front end a second of signal, for the inputs that a network has.

        Sums, squares, differences and products run with the samples, one each; a frame takes about 8 a channel, for
        logarithms and roots, and 2 a correlation. The fast signal is the channels as they are. Those relative to the
        vertical take 42 a sample: 3 for the mean, 9 for its length, 6 for two products, 12 for two parts, 12 for their
        lengths.

        Example:
            >>> ChannelFrontEnd(50.0, 25, num_inputs=2, context=50).macs_per_second(signal=True, frames=True)
            286.0
        """
        pairs = self._num_pairs * (1 + 2 * len(self.lags))
        a_sample = 2 * self.num_channels + pairs
        a_frame = 8 * self.num_channels + 2 * pairs
        shared = self.gravity * self.rate_hz * _VERTICAL_MACS

        return float(shared + frames * self.rate_hz * (a_sample + a_frame / self.frame_period))

    def inputs(self, samples: Float32[np.ndarray, "B L C"]) -> Mapping[str, NDArray[np.float32]]:
        """Fast signal and frames.

        Args:
            samples: windows of one length.

        Returns:
            `signal` `(T, B, C)` and `frames` `(K, B, F)`.

        Example:
            >>> inputs = ChannelFrontEnd(50.0, 25, num_inputs=2, context=50).inputs(np.ones((1, 100, 2), np.float32))
            >>> inputs["signal"].shape, inputs["frames"].shape, inputs["frames"][3, 0, :2].tolist()
            ((100, 1, 2), (4, 1, 7), [1.0, 1.0])
        """
        whole = samples[:, : samples.shape[1] // self.frame_period * self.frame_period]
        return self.arrays(FAST, whole, self.initial_state(len(samples)))[0]

    @property
    def period(self) -> int:
        """Samples from one frame to the next."""
        return self.frame_period

    def initial_state(self, num_signals: int) -> _ChannelState:
        """The state before the first sample.

        Args:
            num_signals: number B of signals that run together.
        """
        history = np.zeros((self.context, num_signals, self.num_channels), np.float32)
        return _ChannelState(
            np.zeros((), np.float32),
            history,
            _RunningMean(np.zeros((), np.float32), np.zeros((num_signals, 3), np.float32)),
        )

    def advance(
        self, samples: Float32[np.ndarray, "B L C"], state: _ChannelState
    ) -> tuple[Mapping[str, NDArray[np.float32]], _ChannelState]:
        """Fast signal and frames of the next piece of a stream; pieces give what the whole gives, to the bit.

        Args:
            samples: the piece; an incomplete frame at its end is dropped.
            state: state after the piece before.
        """
        whole = samples[:, : samples.shape[1] // self.frame_period * self.frame_period]
        return self.arrays(EXACT, EXACT.array(whole), state)

    def arrays(self, a: Any, samples: Values, state: _ChannelState) -> tuple[dict[str, Values], _ChannelState]:
        """The front end in the arrays of an arithmetic: samples `(B, L, C)` of whole frames."""
        signal = samples.swapaxes(0, 1)
        gravity = state.gravity
        if self.gravity:
            signal, gravity = _with_vertical(a, signal, round(_GRAVITY_MEMORY * self.rate_hz), gravity)

        # frames cover samples of earlier pieces, at most `context` of them; zeros stand for those before the stream
        past = a.concatenate([state.history, signal])
        number = state.num_samples
        frames = []
        for stop in range(self.context + self.frame_period, len(past) + 1, self.frame_period):
            number = a.minimum(number + float(self.frame_period), float(self.context))
            frames.append(_statistics(a, past[stop - self.context : stop], number, self.lags)[None])

        inputs = {"signal": _float32(signal), "frames": _float32(a.concatenate(frames))}
        return inputs, _ChannelState(number, past[len(past) - self.context :], gravity)


def _with_vertical(a: Any, samples: Values, memory: int, before: _RunningMean) -> tuple[Values, _RunningMean]:
    """Adds the vertical parts of acceleration and rotation `(L, B, 6)`, and the sizes of their horizontal parts.

    The running mean of the acceleration points away from the ground, so no turn of the sensor on the arm changes them.
    """

    def step(state: _RunningMean, acceleration: Values) -> tuple[Values, _RunningMean]:
        number = a.minimum(state.num_steps + 1.0, float(memory))
        mean = state.mean + (acceleration - state.mean) / number
        return mean, _RunningMean(number, mean)

    acceleration = samples[..., :3]
    rotation = samples[..., 3:]
    mean, after = a.scan(step, before, acceleration)
    up = mean / (_length(a, mean) + _MIN_GRAVITY)
    parts = [samples]

    for vectors in (acceleration, rotation):
        vertical = a.sum(vectors * up, 2)[..., None]
        parts += [vertical, _length(a, vectors - vertical * up)]

    return a.concatenate(parts, 2), after


def _length(a: Any, vectors: Values) -> Values:
    return a.sqrt(a.sum(vectors * vectors, 2))[..., None]


def _statistics(a: Any, x: Values, number: Values, lags: tuple[int, ...]) -> Values:
    """Means, log variances of values and of changes, and correlations of the last samples `(L, B, C)`, for a frame.

    `number` of the samples belong to the stream; the others, before them, are zeros.
    """
    length = len(x)
    is_known = a.where(np.arange(length)[:, None, None] + number > length - 0.5, 1.0, 0.0)
    mean = a.sum(x, 0) / number
    centred = (x - mean) * is_known
    variance_and_products = a.correlate(centred, centred) / number
    num_channels = x.shape[2]
    products = variance_and_products.reshape(-1, num_channels * num_channels)
    variance = a.take(products, np.arange(num_channels) * (num_channels + 1))

    # of one sample there is no change
    num_changes = a.maximum(number - 1.0, 1.0)
    changes = (x[1:] - x[:-1]) * is_known[:-1]
    deviations = (changes - a.sum(changes, 0) / num_changes) * is_known[:-1]
    change_variance = a.sum(deviations * deviations, 0) / num_changes

    spread = a.sqrt(variance + _VARIANCE_FLOOR)
    rows, columns = np.triu_indices(num_channels, 1)
    above = rows * num_channels + columns
    below = columns * num_channels + rows
    scale = a.take(spread, rows) * a.take(spread, columns)
    correlations = [a.take(products, above) / scale]

    for lag in lags:
        # the part that changes its sign when the two channels are swapped: which of them leads
        later = a.correlate(centred[:-lag], centred[lag:]) / a.maximum(number - float(lag), 1.0)
        flat = later.reshape(-1, num_channels * num_channels)
        correlations.append((a.take(flat, above) - a.take(flat, below)) / scale)

    levels = [mean, a.log(variance + _VARIANCE_FLOOR), a.log(change_variance + _VARIANCE_FLOOR)]
    return a.concatenate([*levels, *correlations], 1)


def _mel(hz: float) -> float:
    return 2595 * np.log10(1 + hz / 700)


def _edges(rate_hz: float, number: int, warp: float) -> NDArray[np.float64]:
    """Frequencies [Hz], evenly spaced on the mel scale, then warped."""
    mels = np.linspace(_mel(_LOWEST_HZ), _mel(0.475 * rate_hz), number)
    return np.minimum(700 * (10 ** (mels / 2595) - 1) * warp, 0.49 * rate_hz)


@lru_cache(maxsize=64)
def _mel_bank(rate_hz: float, length: int, warp: float) -> NDArray[np.float32]:
    """Triangles over the bins of a spectrum, each with the sum 1, `(length // 2 + 1, 40)`."""
    edges = _edges(rate_hz, _NUM_BANDS + 2, warp)
    bins = np.arange(length // 2 + 1) * rate_hz / length
    min_width = rate_hz / length  # a narrower band may hold no bin
    bank = np.zeros((len(bins), _NUM_BANDS), np.float32)

    for band in range(_NUM_BANDS):
        low, centre, high = edges[band : band + 3]
        rise = max(centre - low, min_width)
        fall = max(high - centre, min_width)
        bank[:, band] = np.clip(np.minimum((bins - centre + rise) / rise, (centre + fall - bins) / fall), 0, None)

    return bank / np.maximum(bank.sum(0), 1e-6)


@lru_cache(maxsize=64)
def _band_passes(rate_hz: float, warp: float) -> Recursion:
    """Two-pole band-passes with gain 1 at their centre, each as wide as the distance of its neighbours."""
    edges = _edges(rate_hz, _NUM_FILTERS + 2, warp)
    forward = []
    backward = []

    for low, centre, high in zip(edges, edges[1:], edges[2:], strict=False):
        radius = np.exp(-np.pi * max(high - low, 30.0) / 2 / rate_hz)
        angle = 2 * np.pi * centre / rate_hz
        a = np.array([1.0, -2 * radius * np.cos(angle), radius**2])
        # gain at the centre of the band, by which the filter is divided
        z = np.exp(-1j * angle)
        gain = abs((1 - z**2) / (a[0] + a[1] * z + a[2] * z**2))
        forward.append(np.array([1.0, 0.0, -1.0]) / gain)
        backward.append(a)

    return Recursion(np.stack(forward), np.stack(backward))
