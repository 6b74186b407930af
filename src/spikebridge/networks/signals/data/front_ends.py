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
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

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

    num_steps: int
    mean: NDArray[np.floating]


class _AudioState(NamedTuple):
    """State of an `AudioFrontEnd` between two pieces of a stream."""

    filters: NDArray[np.float64]
    smoothing: NDArray[np.float64]
    signal_level: _RunningMean
    history: NDArray[np.float32]
    frame_level: _RunningMean


class _ChannelState(NamedTuple):
    """State of a `ChannelFrontEnd` between two pieces of a stream."""

    history: NDArray[np.float32]
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
        return self.advance(samples, self.initial_state(len(samples)), warp)[0]

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
        no_level = _RunningMean(0, np.zeros((num_signals, 1)))
        return _AudioState(
            filters=np.zeros((_NUM_FILTERS, num_signals, 2)),
            smoothing=np.zeros((_NUM_FILTERS, num_signals, 1)),
            signal_level=no_level,
            history=np.zeros((num_signals, self._spectrum_length - self._hop), np.float32),
            frame_level=no_level,
        )

    def advance(
        self, samples: Float32[np.ndarray, "B L"], state: _AudioState, warp: float = 1.0
    ) -> tuple[Mapping[str, NDArray[np.float32]], _AudioState]:
        """Fast signal and frames of the next piece of a stream; pieces give what the whole gives, to rounding.

        Args:
            samples: the piece; an incomplete frame at its end is dropped.
            state: state after the piece before.
            warp: factor of all frequencies.

        Example:
            >>> front, chance = AudioFrontEnd(), np.random.default_rng(0)
            >>> sound, state = chance.normal(size=(1, 480)).astype(np.float32), front.initial_state(1)
            >>> first, state = front.advance(sound[:, :160], state)
            >>> rest, state = front.advance(sound[:, 160:], state)
            >>> bool(np.allclose(np.concatenate([first["frames"], rest["frames"]]), front.inputs(sound)["frames"]))
            True
        """
        whole = samples[:, : samples.shape[1] // self.period * self.period]
        signal, filters, smoothing, signal_level = self._envelopes(whole, state, warp)
        frames, history, frame_level = self._frames(whole, state, warp)

        return {"signal": signal, "frames": frames}, _AudioState(filters, smoothing, signal_level, history, frame_level)

    def _envelopes(
        self, samples: NDArray[np.float32], state: _AudioState, warp: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64], _RunningMean]:
        # slow to import, and other sensors do not need it
        from scipy.signal import lfilter

        envelopes = []
        filters = state.filters.copy()
        smoothing = state.smoothing.copy()
        decay = np.float32(np.exp(-self.dt / _ENVELOPE_TAU))

        for band, (b, a) in enumerate(_band_passes(self.rate_hz, warp)):
            passed, filters[band] = lfilter(b, a, samples, axis=-1, zi=filters[band])
            level = np.abs(passed).reshape(len(samples), -1, self.step).mean(-1)
            smooth, smoothing[band] = lfilter([1 - decay], [1, -decay], level, axis=-1, zi=smoothing[band])
            envelopes.append(smooth)

        # envelopes are amplitudes, so their floors are roots of those of a power
        levels = np.stack(envelopes, 0).swapaxes(0, 2)
        signal, level = _relative(levels, self.dt, np.sqrt(_QUIET), np.sqrt(_SILENCE), state.signal_level)

        return signal, filters, smoothing, level

    def _frames(
        self, samples: NDArray[np.float32], state: _AudioState, warp: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], _RunningMean]:
        length = self._spectrum_length
        hop = self._hop
        padded = np.concatenate([state.history, samples], 1)
        windows = np.lib.stride_tricks.sliding_window_view(padded, length, 1)[:, ::hop]
        spectra = np.fft.rfft(windows * np.hanning(length).astype(np.float32), axis=-1)
        power = (np.abs(spectra).astype(np.float32) ** 2) @ _mel_bank(self.rate_hz, length, warp)
        levels, level = _relative(power.swapaxes(0, 1), hop / self.rate_hz, _QUIET, _SILENCE, state.frame_level)

        number = self._num_spectra
        frames = levels[: len(levels) // number * number].reshape(-1, number, *levels.shape[1:]).mean(1)

        return frames, padded[:, padded.shape[1] - state.history.shape[1] :], level


def _relative(
    levels: NDArray[np.floating], seconds: float, quiet: float, silence: float, before: _RunningMean
) -> tuple[NDArray[np.float32], _RunningMean]:
    """Logarithms of `(T, B, N)` relative to the running mean over N and time, so that loudness does not matter."""
    memory = max(1, round(_LEVEL_MEMORY / seconds))
    mean = before.mean.copy()
    relative = np.empty(levels.shape, np.float32)

    for step, level in enumerate(levels, start=before.num_steps):
        # a plain mean until the memory is full, so that the first step has no start value to forget
        mean += (level.mean(1, keepdims=True) - mean) / min(step + 1, memory)
        relative[step - before.num_steps] = np.log(level / (mean + silence) + quiet)

    return relative, _RunningMean(before.num_steps + len(levels), mean)


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
        return self.advance(samples, self.initial_state(len(samples)))[0]

    @property
    def period(self) -> int:
        """Samples from one frame to the next."""
        return self.frame_period

    def initial_state(self, num_signals: int) -> _ChannelState:
        """The state before the first sample.

        Args:
            num_signals: number B of signals that run together.
        """
        history = np.zeros((num_signals, 0, self.num_channels), np.float32)
        return _ChannelState(history, _RunningMean(0, np.zeros((num_signals, 3), np.float32)))

    def advance(
        self, samples: Float32[np.ndarray, "B L C"], state: _ChannelState
    ) -> tuple[Mapping[str, NDArray[np.float32]], _ChannelState]:
        """Fast signal and frames of the next piece of a stream; pieces give what the whole gives, to rounding.

        Args:
            samples: the piece; an incomplete frame at its end is dropped.
            state: state after the piece before.
        """
        whole = samples[:, : samples.shape[1] // self.frame_period * self.frame_period]
        gravity = state.gravity
        if self.gravity:
            whole, gravity = _with_vertical(whole, round(_GRAVITY_MEMORY * self.rate_hz), gravity)

        # frames cover samples of earlier pieces, at most `context` of them
        history = np.concatenate([state.history, whole], 1)
        first = state.history.shape[1] + self.frame_period
        stops = range(first, history.shape[1] + 1, self.frame_period)
        frames = [_statistics(history[:, max(0, stop - self.context) : stop], self.lags) for stop in stops]
        inputs = {"signal": np.ascontiguousarray(whole.swapaxes(0, 1)), "frames": np.stack(frames)}

        return inputs, _ChannelState(history[:, max(0, history.shape[1] - self.context) :], gravity)


def _with_vertical(
    samples: Float32[np.ndarray, "B L 6"], memory: int, before: _RunningMean
) -> tuple[Float32[np.ndarray, "B L 10"], _RunningMean]:
    """Adds the vertical parts of acceleration and rotation, and the sizes of their horizontal parts.

    The running mean of the acceleration points away from the ground, so no turn of the sensor on the arm changes them.
    """
    acceleration = samples[..., :3]
    mean = before.mean
    up = np.empty_like(acceleration)

    for step in range(samples.shape[1]):
        mean = mean + (acceleration[:, step] - mean) / min(before.num_steps + step + 1, memory)
        up[:, step] = mean

    up /= np.linalg.norm(up, axis=-1, keepdims=True) + _MIN_GRAVITY
    parts = []
    for vectors in (acceleration, samples[..., 3:]):
        vertical = (vectors * up).sum(-1, keepdims=True)
        parts += [vertical, np.linalg.norm(vectors - vertical * up, axis=-1, keepdims=True)]

    after = _RunningMean(before.num_steps + samples.shape[1], mean)
    return np.concatenate([samples, *parts], -1).astype(np.float32), after


def _statistics(x: NDArray[np.float32], lags: tuple[int, ...]) -> NDArray[np.float32]:
    """Means, log variances of values and of changes, and correlations of the samples `(B, L, C)` of a frame."""
    mean = x.mean(1)
    centred = x - mean[:, None]
    products = np.einsum("bti,btj->bij", centred, centred) / x.shape[1]
    variance = np.einsum("bii->bi", products)
    changes = np.diff(x, axis=1).var(1) if x.shape[1] > 1 else np.zeros_like(variance)
    spread = np.sqrt(variance + _VARIANCE_FLOOR)
    rows, columns = np.triu_indices(x.shape[2], 1)
    scale = spread[:, rows] * spread[:, columns]
    correlations = [products[:, rows, columns] / scale]

    for lag in lags:
        # the part that changes its sign when the two channels are swapped: which of them leads
        later = np.einsum("bti,btj->bij", centred[:, :-lag], centred[:, lag:]) / max(x.shape[1] - lag, 1)
        correlations.append((later - later.swapaxes(1, 2))[:, rows, columns] / scale)

    levels = [mean, np.log(variance + _VARIANCE_FLOOR), np.log(changes + _VARIANCE_FLOOR)]
    return np.concatenate([*levels, *correlations], 1).astype(np.float32)


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
def _band_passes(rate_hz: float, warp: float) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]:
    """Two-pole band-passes with gain 1 at their centre, each as wide as the distance of its neighbours."""
    edges = _edges(rate_hz, _NUM_FILTERS + 2, warp)
    filters = []

    for low, centre, high in zip(edges, edges[1:], edges[2:], strict=False):
        radius = np.exp(-np.pi * max(high - low, 30.0) / 2 / rate_hz)
        angle = 2 * np.pi * centre / rate_hz
        a = np.array([1.0, -2 * radius * np.cos(angle), radius**2])
        # gain at the centre of the band, by which the filter is divided
        z = np.exp(-1j * angle)
        gain = abs((1 - z**2) / (a[0] + a[1] * z + a[2] * z**2))
        filters.append((np.array([1.0, 0.0, -1.0]) / gain, a))

    return tuple(filters)
