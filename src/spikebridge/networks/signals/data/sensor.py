"""A sensor: makes windows of series, inputs of a network, and augmented inputs.

| kind | sets | fast signal | frames | augmentation |
|---|---|---|---|---|
| `voice` | spoken digits | envelopes of filters | log-mel spectra | speed, vocal tract, microphone, noise |
| `motion` | watch | channels | statistics | the other arm, angle of the sensor, speed, gains, noise |
| `muscle` | myo | channels | statistics | rotation of the armband, gains, noise |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from spikebridge.data.signals.series import SensorSeries
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.signals.data._augmentation import (
    add_noise,
    change_gains,
    change_speed,
    mirror_arm,
    rotate_axes,
    shift_electrodes,
    tilt_spectrum,
)
from spikebridge.networks.signals.data.front_ends import AudioFrontEnd, ChannelFrontEnd
from spikebridge.networks.signals.data.windows import Windows, windows_of, with_past
from spikebridge.training.settings import check_positive

_DT = 0.005  # step of the fast signal of a voice [s]
_CHUNK = 64  # windows that share a draw of the vocal tract
_MAX_SHIFT = 2  # electrodes by which an armband is rotated


@dataclass(frozen=True)
class SensorConfig:
    """Settings of a sensor."""

    kind: Literal["voice", "motion", "muscle"] = "voice"
    """Chooses front end and augmentation."""
    seconds: float = 1.0
    """Length of a window [s]."""
    stride_seconds: float | None = None
    """Step [s]; None: one a series."""
    frame_period: int = 4
    """Steps from one answer to the next."""
    context: int = 100
    """Samples that a frame covers."""
    lag_seconds: tuple[float, ...] = ()
    """Lags of further correlations [s]."""
    gravity: bool = False
    """Add channels along gravity."""
    past_seconds: float = 0.0
    """Past for levels of channels [s]."""
    recency: float = 1.0
    """Weight relative to the last answer."""
    augmentation: float = 1.0
    """Strength of random changes, 0 to 3."""

    ADDED_FIELDS: ClassVar[tuple[str, ...]] = ("gravity",)
    REMOVED_FIELDS: ClassVar[dict[str, Any]] = {"dt": _DT, "num_filters": 12, "num_bands": 40, "rotation": 2}

    def __post_init__(self) -> None:
        """Checks the settings."""
        check_positive(self, ("seconds", "frame_period", "context"))
        if self.gravity and self.kind != "motion":
            raise ConfigError(
                f"gravity is for a sensor of motion, but the kind is {self.kind}; leave sensor.gravity out"
            )

        if not 0 <= self.augmentation <= 3:
            raise ConfigError(f"augmentation is a strength from 0 to 3, but is {self.augmentation}")


@dataclass(frozen=True)
class Sensor:
    """A sensor of one rate and one number of channels.

    Args:
        config: its settings.
        rate_hz: samples a second.
        num_channels: channels of the sensor.

    Raises:
        ConfigError: a voice of several channels, or a motion whose channels do not come in threes.
    """

    config: SensorConfig
    rate_hz: float
    num_channels: int

    def __post_init__(self) -> None:
        if self.config.kind == "voice" and self.num_channels != 1:
            raise ConfigError(
                f"a voice has one channel, but the series have {self.num_channels}; choose one of them (stereo is not "
                "mixed down), or another --sensor.kind"
            )

        if self.config.kind == "motion" and self.config.augmentation and self.num_channels % 3:
            raise ConfigError(
                "in training a motion sensor is turned, so its channels come in threes (x, y, z), but there are "
                f"{self.num_channels}; give all axes, or --sensor.augmentation 0, or another --sensor.kind"
            )

    @property
    def front_end(self) -> AudioFrontEnd | ChannelFrontEnd:
        """The front end of this kind of sensor, at its rate."""
        config = self.config
        if config.kind == "voice":
            # a step holds an integer number of samples, also at rates that 5 ms do not divide
            return AudioFrontEnd(self.rate_hz, round(_DT * self.rate_hz) / self.rate_hz, config.frame_period)

        lags = tuple(round(seconds * self.rate_hz) for seconds in config.lag_seconds)
        return ChannelFrontEnd(
            self.rate_hz, config.frame_period, self.num_channels, config.context, lags, config.gravity
        )

    def windows(self, series: SensorSeries) -> Windows:
        """Cuts series of this sensor into windows.

        Raises:
            DataError: another rate or number of channels.
        """
        if (series.rate_hz, series.num_channels) != (self.rate_hz, self.num_channels):
            raise DataError(
                f"the network reads {self.num_channels} channels at {self.rate_hz:g} Hz, but the series have "
                f"{series.num_channels} at {series.rate_hz:g} Hz; nothing is resampled"
            )

        config = self.config
        windows = windows_of(series, config.seconds, config.stride_seconds)
        if not self.num_past:
            return windows

        return with_past(windows, max(1, round(config.past_seconds / (config.stride_seconds or config.seconds))))

    @property
    def num_past(self) -> int:
        """Statistics of the signal before a window."""
        return 2 * self.num_channels if self.config.past_seconds else 0

    @property
    def num_features(self) -> int:
        """Values of a frame."""
        return self.front_end.num_features + self.num_past

    def inputs(self, windows: Windows, warp: float = 1.0) -> Mapping[str, NDArray[np.float32]]:
        """The inputs of the network.

        Args:
            windows: B windows.
            warp: factor of the frequencies of a voice.

        Returns:
            `signal` `(T, B, C)`, `frames` `(K, B, F)`, and `weight` `(K, B)` of the answers, 0 after a recording's end.
        """
        front = self.front_end
        if isinstance(front, AudioFrontEnd):
            inputs = front.inputs(windows.samples[:, :, 0], warp)
        else:
            inputs = front.inputs(windows.samples)

        frames = inputs["frames"]
        if self.num_past:
            past = np.broadcast_to(windows.past, (len(frames), *windows.past.shape))
            frames = np.concatenate([frames, past], 2)

        # a recording shorter than its window has answers up to its end alone, and one or more
        num_answers = np.maximum(np.ceil(windows.lengths / front.period), 1)
        answer = np.arange(len(frames))[:, None]
        weight = np.where(answer < num_answers, float(self.config.recency) ** (answer - len(answer) + 1), 0)

        return {"signal": inputs["signal"], "frames": frames, "weight": weight.astype(np.float32)}

    @property
    def block(self) -> int:
        """Samples from one frame, and one answer, to the next."""
        return self.front_end.period

    def initial_state(self) -> Any:
        """The state of a stream before its first sample.

        Raises:
            ConfigError: frames hold statistics of the signal before a window, which a stream does not have.
        """
        if self.num_past:
            raise ConfigError(
                "the frames of this network hold levels of windows before (sensor.past_seconds), so it has no live form"
            )

        return self.front_end.initial_state(1)

    def advance(self, samples: Float32[np.ndarray, "L C"], state: Any) -> tuple[Mapping[str, NDArray[np.float32]], Any]:
        """The inputs of the network from the next samples of a stream: `signal` `(T, 1, C)` and `frames` `(K, 1, F)`.

        Args:
            samples: one block or several.
            state: state after the samples before.
        """
        front: Any = self.front_end
        return front.advance(samples[None, :, 0] if self.config.kind == "voice" else samples[None], state)

    def augmented_inputs(self, windows: Windows, generator: np.random.Generator) -> Mapping[str, NDArray[np.float32]]:
        """The inputs of randomly changed windows."""
        strength = self.config.augmentation
        order = generator.permutation(len(windows.label))
        chunks = []

        for places in np.array_split(order, max(1, len(order) // _CHUNK)):
            # rounded, so that the filters of a warp are in the cache of the front end
            warp = float(np.round(np.exp(np.clip(generator.normal(0, 0.1 * strength), -0.25, 0.25)), 2))
            chunks.append(self.inputs(_augmented(windows.select(places), self.config, generator), warp))

        original_order = np.argsort(order)
        return {name: np.concatenate([chunk[name] for chunk in chunks], 1)[:, original_order] for name in chunks[0]}


def _augmented(windows: Windows, config: SensorConfig, generator: np.random.Generator) -> Windows:
    strength = config.augmentation
    if not strength:
        return windows

    if config.kind == "muscle":
        windows = shift_electrodes(windows, _MAX_SHIFT, generator)
        return change_gains(windows, 0.2 * strength, generator)

    windows = change_speed(windows, 0.15 * strength, generator)
    if config.kind == "motion":
        # a mirror image needs acceleration and rotation
        if windows.samples.shape[2] == 6:
            windows = mirror_arm(windows, generator)

        windows = rotate_axes(windows, 0.3 * strength, generator)
        windows = change_gains(windows, 0.1 * strength, generator)
        return add_noise(windows, (20, 50), generator)

    windows = tilt_spectrum(windows, min(0.6 * strength, 0.95), generator)
    return add_noise(windows, (8, 50), generator)
