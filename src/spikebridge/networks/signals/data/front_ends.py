"""Front ends: from samples of a sensor to the fast signal and the frames of a network.

| sensor | fast signal | frame |
|---|---|---|
| voice | log envelopes of recursive band-passes | log-mel spectrum |
| muscle, motion | the channels | mean, log variances of values and differences, correlations |

Both are causal: a frame summarises samples before its tick alone, and at the start of a window those that there are.
The bands of a voice are seen beside the mean level of all of them so far, so that a louder voice gives the same. `warp`
moves all frequencies of a voice, as another length of the vocal tract does (N. Jaitly, G. Hinton, ICML workshop 2013).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from spikebridge.errors import ConfigError

_QUIET = 1e-4  # power beside the mean so far, below which there is silence
_SILENCE = 1e-9  # a level below which nothing is amplified
_MEMORY = 0.5  # seconds over which the level of a voice is averaged
_LOWEST_HZ = 60.0
_PAUSE = 0.02  # seconds between the spectra that one frame averages, at most
_SMOOTHING = 0.005  # time constant of the envelopes [s]
_FLOOR = 1e-5  # of a variance, in units of the channel
_BESIDE_GRAVITY = 4  # channels seen from the vertical
_COST_OF_GRAVITY = 42  # multiply-accumulates a sample that they take
_GRAVITY_MEMORY = 1.0  # seconds over which the direction of gravity is averaged
_LEAST_GRAVITY = 1e-3  # of a mean acceleration, in units of the channel


@dataclass(frozen=True)
class AudioFrontEnd:
    """From samples of a voice to the inputs of a network.

    Args:
        rate_hz: samples a second.
        dt: step of the fast signal [s].
        frame_period: steps from one frame to the next.
        num_filters: channels of the fast signal.
        num_bands: mel bands of a frame.
        window: length of a spectrum's window [s].
    """

    rate_hz: float = 8000.0
    dt: float = 0.0025
    frame_period: int = 8
    num_filters: int = 12
    num_bands: int = 40
    window: float = 0.032

    def __post_init__(self) -> None:
        if abs(self.dt * self.rate_hz - self.step) > 1e-6 or self.step < 1:
            raise ConfigError(
                f"a step of {self.dt} s is {self.dt * self.rate_hz:g} samples at {self.rate_hz:g} Hz, no whole number"
            )

    @property
    def step(self) -> int:
        """Samples of a step of the fast signal."""
        return round(self.dt * self.rate_hz)

    @property
    def num_channels(self) -> int:
        """Channels of the fast signal."""
        return self.num_filters

    @property
    def num_features(self) -> int:
        """Values of a frame."""
        return self.num_bands

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
        fast = self.num_filters * (4 * self.rate_hz + (2 + 4) * steps)
        length = round(self.window * self.rate_hz)
        number = self._spectra
        spectrum = 1.5 * length * np.log2(length) + 3 * length + 4 * self.num_bands
        slow = spectrum * number * steps / self.frame_period

        return float(fast * signal + slow * frames)

    @property
    def _spectra(self) -> int:
        """Spectra that a frame averages."""
        return max(1, round(self.frame_period * self.dt / _PAUSE))

    def inputs(self, samples: Float32[np.ndarray, "B L"], warp: float = 1.0) -> Mapping[str, NDArray[np.float32]]:
        """Fast signal and frames.

        Args:
            samples: recordings of one length.
            warp: factor of all frequencies.

        Returns:
            `signal` `(T, B, num_filters)` and `frames` `(K, B, num_bands)`.

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
        return self.period // self._spectra

    def initial_state(self, num_signals: int) -> "_AudioState":
        """The state before the first sample.

        Args:
            num_signals: B, that run together.
        """
        bands = self.num_filters
        nothing = _MeanLevel(0, np.zeros((num_signals, 1)))
        history = np.zeros((num_signals, round(self.window * self.rate_hz) - self._hop), np.float32)
        filters = np.zeros((bands, num_signals, 2))
        smoothing = np.zeros((bands, num_signals, 1))

        return _AudioState(filters, smoothing, nothing, history, nothing)

    def advance(
        self, samples: Float32[np.ndarray, "B L"], state: "_AudioState", warp: float = 1.0
    ) -> tuple[Mapping[str, NDArray[np.float32]], "_AudioState"]:
        """Fast signal and frames of the next piece of a stream; pieces give what the whole gives, to rounding.

        Args:
            samples: the piece; what is left of a frame at its end is dropped.
            state: after the piece before.
            warp: factor of all frequencies.

        Example:
            >>> front, chance = AudioFrontEnd(), np.random.default_rng(0)
            >>> sound, state = chance.normal(size=(1, 480)).astype(np.float32), front.initial_state(1)
            >>> first, state = front.advance(sound[:, :160], state)
            >>> rest, state = front.advance(sound[:, 160:], state)
            >>> bool(np.allclose(np.concatenate([first["frames"], rest["frames"]]), front.inputs(sound)["frames"]))
            True
        """
        used = samples[:, : samples.shape[1] // self.period * self.period]
        signal, filters, smoothing, level = self._envelopes(used, state, warp)
        frames, history, frame_level = self._frames(used, state, warp)

        return {"signal": signal, "frames": frames}, _AudioState(filters, smoothing, level, history, frame_level)

    def _envelopes(
        self, samples: NDArray[np.float32], state: "_AudioState", warp: float
    ) -> "tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64], _MeanLevel]":
        from scipy.signal import lfilter

        levels = []
        filters = state.filters.copy()
        smoothing = state.smoothing.copy()
        decay = np.float32(np.exp(-self.dt / _SMOOTHING))

        for band, (b, a) in enumerate(_band_passes(self.rate_hz, self.num_filters, warp)):
            passed, filters[band] = lfilter(b, a, samples, axis=-1, zi=filters[band])
            level = np.abs(passed).reshape(len(samples), -1, self.step).mean(-1)
            smooth, smoothing[band] = lfilter([1 - decay], [1, -decay], level, axis=-1, zi=smoothing[band])
            levels.append(smooth)

        stacked = np.stack(levels, 0).swapaxes(0, 2)
        quiet = np.sqrt(_QUIET)
        silence = np.sqrt(_SILENCE)
        signal, level_so_far = self._relative(stacked, self.dt, (quiet, silence), state.level)

        return signal, filters, smoothing, level_so_far

    def _frames(
        self, samples: NDArray[np.float32], state: "_AudioState", warp: float
    ) -> "tuple[NDArray[np.float32], NDArray[np.float32], _MeanLevel]":
        length = round(self.window * self.rate_hz)
        number = self._spectra
        hop = self._hop
        padded = np.concatenate([state.history, samples], 1)
        windows = np.lib.stride_tricks.sliding_window_view(padded, length, 1)[:, ::hop]
        spectra = np.fft.rfft(windows * np.hanning(length).astype(np.float32), axis=-1)
        power = (np.abs(spectra).astype(np.float32) ** 2) @ _mel_bank(self.rate_hz, length, self.num_bands, warp)
        levels, level = self._relative(power.swapaxes(0, 1), hop / self.rate_hz, (_QUIET, _SILENCE), state.frame_level)
        frames = levels[: len(levels) // number * number].reshape(-1, number, *levels.shape[1:]).mean(1)

        return frames, padded[:, padded.shape[1] - state.history.shape[1] :], level

    @staticmethod
    def _relative(
        levels: NDArray[np.floating], seconds: float, floors: tuple[float, float], before: "_MeanLevel"
    ) -> "tuple[NDArray[np.float32], _MeanLevel]":
        """Logarithms of `(T, B, N)` beside the mean over N and the steps so far: a louder voice gives the same."""
        quiet, silence = floors
        memory = max(1, round(_MEMORY / seconds))
        mean = before.mean.copy()
        relative = np.empty(levels.shape, np.float32)

        for step, level in enumerate(levels, start=before.num_steps):
            mean += (level.mean(1, keepdims=True) - mean) / min(step + 1, memory)
            relative[step - before.num_steps] = np.log(level / (mean + silence) + quiet)

        return relative, _MeanLevel(before.num_steps + len(levels), mean)


class _MeanLevel(NamedTuple):
    """The mean level of all bands so far, `(B, 1)`, and the steps that it is of."""

    num_steps: int
    mean: NDArray[np.float64]


class _AudioState(NamedTuple):
    """What an `AudioFrontEnd` keeps from one piece of a stream to the next.

    Attributes:
        filters: of the band-passes, `(num_filters, B, 2)`.
        smoothing: of the envelopes, `(num_filters, B, 1)`.
        level: of the envelopes.
        history: samples that the next spectrum covers too.
        frame_level: of the spectra.
    """

    filters: NDArray[np.float64]
    smoothing: NDArray[np.float64]
    level: _MeanLevel
    history: NDArray[np.float32]
    frame_level: _MeanLevel


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
        gravity: whether four channels seen from the vertical are added to the six of acceleration and rotation.

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
        return self.num_inputs + _BESIDE_GRAVITY * self.gravity

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
        logarithms and roots, and 2 a correlation. The fast signal is the channels as they are. Those beside gravity
        take 42 a sample: 3 for the mean, 9 for its length, 6 for two products, 12 for two parts, 12 for their lengths.

        Example:
            >>> ChannelFrontEnd(50.0, 25, num_inputs=2, context=50).macs_per_second(signal=True, frames=True)
            286.0
        """
        pairs = self._num_pairs * (1 + 2 * len(self.lags))
        a_sample = 2 * self.num_channels + pairs
        a_frame = 8 * self.num_channels + 2 * pairs
        shared = self.gravity * self.rate_hz * _COST_OF_GRAVITY

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

    def initial_state(self, num_signals: int) -> "_ChannelState":
        """The state before the first sample.

        Args:
            num_signals: B, that run together.
        """
        nothing = np.zeros((num_signals, 0, self.num_channels), np.float32)
        return _ChannelState(nothing, _Gravity(0, np.zeros((num_signals, 3), np.float32)))

    def advance(
        self, samples: Float32[np.ndarray, "B L C"], state: "_ChannelState"
    ) -> "tuple[Mapping[str, NDArray[np.float32]], _ChannelState]":
        """Fast signal and frames of the next piece of a stream; pieces give what the whole gives, to rounding.

        Args:
            samples: the piece; what is left of a frame at its end is dropped.
            state: after the piece before.
        """
        used = samples[:, : samples.shape[1] // self.frame_period * self.frame_period]
        state_after = state.gravity
        if self.gravity:
            used, state_after = _beside_gravity(used, round(_GRAVITY_MEMORY * self.rate_hz), state.gravity)

        known = np.concatenate([state.history, used], 1)
        before = state.history.shape[1]
        stops = range(before + self.frame_period, known.shape[1] + 1, self.frame_period)
        frames = [_statistics(known[:, max(0, stop - self.context) : stop], self.lags) for stop in stops]
        inputs = {"signal": np.ascontiguousarray(used.swapaxes(0, 1)), "frames": np.stack(frames)}

        return inputs, _ChannelState(known[:, max(0, known.shape[1] - self.context) :], state_after)


class _Gravity(NamedTuple):
    """The mean acceleration so far, `(B, 3)`, and the samples that it is of."""

    num_steps: int
    mean: NDArray[np.floating]


class _ChannelState(NamedTuple):
    """What a `ChannelFrontEnd` keeps from one piece of a stream to the next.

    Attributes:
        history: samples that the next frame summarises too.
        gravity: where it is used.
    """

    history: NDArray[np.float32]
    gravity: _Gravity


def _beside_gravity(
    samples: Float32[np.ndarray, "B L 6"], memory: int, before: _Gravity
) -> tuple[Float32[np.ndarray, "B L 10"], _Gravity]:
    """Six channels of acceleration and rotation, and what they are as seen from the vertical.

    The mean acceleration so far points away from the ground, however a sensor is worn. Added are the vertical
    acceleration, the size of the horizontal one, the rotation about the vertical, and the size of that about
    horizontal axes: no turn of the sensor on the arm changes them.

    Args:
        samples: acceleration before rotation.
        memory: samples over which the mean forgets.
        before: the mean of the samples before.

    Example:
        >>> samples = np.array([[[0, 3, 4, 0, 0, 2]]], np.float32)  # the vertical lies between y and z
        >>> seen, _ = _beside_gravity(samples, 50, _Gravity(0, np.zeros((1, 3), np.float32)))
        >>> [round(float(value), 2) for value in seen[0, 0, 6:]]
        [5.0, 0.0, 1.6, 1.2]
    """
    acceleration = samples[..., :3]
    rotation = samples[..., 3:]
    mean = before.mean
    up = np.empty_like(acceleration)

    for step in range(samples.shape[1]):
        mean = mean + (acceleration[:, step] - mean) / min(before.num_steps + step + 1, memory)
        up[:, step] = mean

    up /= np.linalg.norm(up, axis=-1, keepdims=True) + _LEAST_GRAVITY
    seen = []
    for vectors in (acceleration, rotation):
        along = (vectors * up).sum(-1, keepdims=True)
        seen += [along, np.linalg.norm(vectors - along * up, axis=-1, keepdims=True)]

    after = _Gravity(before.num_steps + samples.shape[1], mean)
    return np.concatenate([samples, *seen], -1).astype(np.float32), after


def _statistics(x: NDArray[np.float32], lags: tuple[int, ...]) -> NDArray[np.float32]:
    mean = x.mean(1)
    centred = x - mean[:, None]
    products = np.einsum("bti,btj->bij", centred, centred) / x.shape[1]
    variance = np.einsum("bii->bi", products)
    changes = np.diff(x, axis=1).var(1) if x.shape[1] > 1 else np.zeros_like(variance)
    spread = np.sqrt(variance + _FLOOR)
    rows, columns = np.triu_indices(x.shape[2], 1)
    scale = spread[:, rows] * spread[:, columns]
    correlations = [products[:, rows, columns] / scale]

    for lag in lags:
        later = np.einsum("bti,btj->bij", centred[:, :-lag], centred[:, lag:]) / max(x.shape[1] - lag, 1)
        correlations.append((later - later.swapaxes(1, 2))[:, rows, columns] / scale)

    levels = [mean, np.log(variance + _FLOOR), np.log(changes + _FLOOR)]
    return np.concatenate([*levels, *correlations], 1).astype(np.float32)


def _mel(hz: float) -> float:
    return 2595 * np.log10(1 + hz / 700)


def _edges(rate_hz: float, number: int, warp: float) -> NDArray[np.float64]:
    """Frequencies [Hz], evenly spaced on the mel scale, then warped."""
    mels = np.linspace(_mel(_LOWEST_HZ), _mel(0.475 * rate_hz), number)
    return np.minimum(700 * (10 ** (mels / 2595) - 1) * warp, 0.49 * rate_hz)


@lru_cache(maxsize=64)
def _mel_bank(rate_hz: float, length: int, num_bands: int, warp: float) -> NDArray[np.float32]:
    """Triangles over the bins of a spectrum, each with the sum 1, `(length // 2 + 1, num_bands)`."""
    edges = _edges(rate_hz, num_bands + 2, warp)
    bins = np.arange(length // 2 + 1) * rate_hz / length
    least = rate_hz / length  # a band is two bins wide at least, or it may have none
    bank = np.zeros((len(bins), num_bands), np.float32)

    for band in range(num_bands):
        low, centre, high = edges[band : band + 3]
        rise = max(centre - low, least)
        fall = max(high - centre, least)
        bank[:, band] = np.clip(np.minimum((bins - centre + rise) / rise, (centre + fall - bins) / fall), 0, None)

    return bank / np.maximum(bank.sum(0), 1e-6)


@lru_cache(maxsize=64)
def _band_passes(
    rate_hz: float, number: int, warp: float
) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]:
    """Two-pole band-passes with gain 1 at their centre, each as wide as the distance of its neighbours."""
    edges = _edges(rate_hz, number + 2, warp)
    filters = []

    for low, centre, high in zip(edges, edges[1:], edges[2:], strict=False):
        radius = np.exp(-np.pi * max(high - low, 30.0) / 2 / rate_hz)
        angle = 2 * np.pi * centre / rate_hz
        a = np.array([1.0, -2 * radius * np.cos(angle), radius**2])
        z = np.exp(-1j * angle)
        gain = abs((1 - z**2) / (a[0] + a[1] * z + a[2] * z**2))
        filters.append((np.array([1.0, 0.0, -1.0]) / gain, a))

    return tuple(filters)
