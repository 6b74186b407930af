"""Settings of the signals recipe: the set, the task, and how sensor, network and training are made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from spikebridge.errors import ConfigError
from spikebridge.networks.signals.data.sensor import SensorConfig
from spikebridge.networks.signals.model.network import VARIANTS
from spikebridge.networks.signals.training.beats import BeatConfig
from spikebridge.networks.signals.training.train import LearningConfig
from spikebridge.training.settings import check_chosen, check_least

# of the preset `default`, which reads voices
_VOICE_SECONDS = 0.7
_VOICE_TRAINING = LearningConfig(copies=16, modality_dropout=0.15, averaging=0.3, mixing=0.5)
_TASK_OF_SET = {"ecg_100": "detect", "mackey_glass": "forecast"}


@dataclass(frozen=True)
class NetworkConfig:
    """The sizes of the learned hybrid; the other networks have as many parameters."""

    hidden: int = 77
    """Features of the ANN, and neurons of each layer of the SNN."""
    depth: int = 2
    """Layers of causal kernels over the answers."""
    taps: int = 9
    """Answers that each of them covers."""
    dropout: float = 0.25
    """Probability of dropout in training."""

    def __post_init__(self) -> None:
        """Checks the settings."""
        if self.hidden < 4 or self.depth < 0 or self.taps < 1 or not 0 <= self.dropout < 1:
            raise ConfigError(f"sizes out of range: {self}")


@dataclass(frozen=True)
class ForecastConfig:
    """A forecaster and its training (task `forecast`)."""

    taps: int = 12
    """Last samples that it reads."""
    features: int = 550
    """Random features of every network: of the ANN, of spiking neurons, or of both."""
    spiking: int = 50
    """How many of them spike in the hybrid."""
    scale: float = 0.5
    """Standard deviation of the random weights."""
    ridge: float = 1e-11
    """Penalty of the readout's weights, for each sample."""

    def __post_init__(self) -> None:
        """Checks the settings."""
        if self.taps < 1 or not 0 < self.spiking < self.features or not self.scale > 0 or not self.ridge >= 0:
            raise ConfigError(f"sizes out of range: {self}")


@dataclass(frozen=True)
class Config:
    """Settings of the signals recipe."""

    dataset: Literal["spoken_digits", "myo", "watch", "ecg_100", "mackey_glass", "own", "generated"] = "spoken_digits"
    """The set; own reads --data."""
    task: Literal["classify", "detect", "forecast"] = "classify"
    """Name the class of windows, detect marked beats, or forecast the second half of each series."""
    data: Path | None = None
    """The folder of data sets ($SPIKEBRIDGE_DATA), or the file of one."""
    networks: tuple[str, ...] = ("learned", "ann")
    """The networks to train and compare; a detector is `learned`, a forecaster `fixed`, `ann` or `snn`."""
    seed: int = 0
    """The first seed: of initial weights, order of windows and augmentation."""
    num_seeds: int = 1
    """Trainings of each network, with consecutive seeds."""
    num_folds: int | None = None
    """Folds of people; None leaves one person out at a time."""
    folds: tuple[int, ...] | None = (0,)
    """The folds to train and score; none at all trains on everybody, None takes all folds."""
    num_series: int | None = None
    """Use only this number of series, spread over all."""
    sensor: SensorConfig = field(default_factory=lambda: SensorConfig(seconds=_VOICE_SECONDS))
    """How the sensor is read."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """The sizes of the learned hybrid."""
    training: LearningConfig = _VOICE_TRAINING
    """The training of each network."""
    beats: BeatConfig = field(default_factory=BeatConfig)
    """The task detect: sizes and training; the settings of sensor, network, training and folds are not used."""
    forecast: ForecastConfig = field(default_factory=ForecastConfig)
    """The task forecast: the same."""

    ADDED_FIELDS: ClassVar[tuple[str, ...]] = ("task", "beats", "forecast")

    def __post_init__(self) -> None:
        """Checks the settings."""
        check_chosen("network", self.networks, VARIANTS)
        check_least(self, seed=0, num_folds=1, num_series=1)
        if self.num_seeds < 1:
            raise ConfigError("train each network with at least one seed")

        if self.dataset not in ("own", "generated") and self.task != _TASK_OF_SET.get(self.dataset, "classify"):
            task = _TASK_OF_SET.get(self.dataset, "classify")
            raise ConfigError(
                f"{self.dataset} is a set for the task {task!r}, but got {self.task!r}; give --task {task}"
            )

    def networks_of(self, known: Mapping[str, str]) -> tuple[str, ...]:
        """The chosen networks that a task has.

        Args:
            known: those of the task, with a description.

        Raises:
            ConfigError: it has none of them.
        """
        chosen = tuple(name for name in self.networks if name in known)
        if not chosen:
            raise ConfigError(
                f"the task {self.task!r} has the networks {', '.join(known)}, but got {', '.join(self.networks)}"
            )

        return chosen
