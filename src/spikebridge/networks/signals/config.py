"""Settings of the signals recipe: the set, the task, sensor, network and training."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from spikebridge._moved import left_networks
from spikebridge.errors import ConfigError
from spikebridge.networks.signals.data.sensor import SensorConfig
from spikebridge.networks.signals.model.network import VARIANTS
from spikebridge.networks.signals.training.train import LearningConfig
from spikebridge.training.settings import check_chosen, check_minimum

_VOICE_SECONDS = 0.7
_VOICE_TRAINING = LearningConfig(copies=16, modality_dropout=0.15, averaging=0.3, mixing=0.5)

# groups of the last release: sizes of a detector, which are fixed now, and of a forecaster, a task that left
_REMOVED: dict[str, Any] = {
    "beats": {
        "neurons": 16,
        "threshold": 3.5,
        "steps": 450,
        "batch_size": 24,
        "piece_seconds": 6.0,
        "lr": 0.005,
        "seconds": None,
    },
    "forecast": {"taps": 12, "features": 550, "spiking": 50, "scale": 0.5, "ridge": 1e-11},
}


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the learned hybrid; its twins have as many weights."""

    hidden: int = 77
    """Features of a layer."""
    depth: int = 2
    """Layers of kernels over the answers."""
    taps: int = 9
    """Answers that a kernel covers."""
    dropout: float = 0.25
    """Probability of dropout."""
    chip: Literal["", "loihi", "xylo"] = ""
    """A chip that the SNN has to fit."""

    ADDED_FIELDS: ClassVar[tuple[str, ...]] = ("chip",)

    def __post_init__(self) -> None:
        """Checks the settings."""
        if self.hidden < 4 or self.depth < 0 or self.taps < 1 or not 0 <= self.dropout < 1:
            raise ConfigError(f"sizes out of range: {self}")


@dataclass(frozen=True)
class Config:
    """Settings of the signals recipe."""

    dataset: Literal["spoken_digits", "myo", "watch", "ecg_100", "own", "generated"] = "spoken_digits"
    """Data set; own reads --data."""
    task: Literal["classify", "detect"] = "classify"
    """Classes of windows, or beats."""
    data: Path | None = None
    """Folder of data sets, or file of one."""
    networks: tuple[str, ...] = ("learned", "ann")
    """Networks; also fixed and snn."""
    seed: int = 0
    """The first seed."""
    num_seeds: int = 1
    """Number of consecutive seeds."""
    num_folds: int | None = None
    """Folds; None: one for each person."""
    folds: tuple[int, ...] | None = (0,)
    """Folds to train; none: on everybody."""
    num_series: int | None = None
    """Number of series; None is all."""
    sensor: SensorConfig = field(default_factory=lambda: SensorConfig(seconds=_VOICE_SECONDS))
    """The sensor."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """Sizes of the learned hybrid; its twins have as many weights."""
    training: LearningConfig = _VOICE_TRAINING
    """The training of each network."""

    ADDED_FIELDS: ClassVar[tuple[str, ...]] = ("task",)
    REMOVED_FIELDS: ClassVar[dict[str, Any]] = _REMOVED

    def __post_init__(self) -> None:
        """Checks the settings."""
        check_chosen("network", self.networks, [*VARIANTS, *left_networks("signals", self.networks)])
        check_minimum(self, seed=0, num_seeds=1, num_folds=1, num_series=1)

        task = "detect" if self.dataset == "ecg_100" else "classify"
        if self.dataset not in ("own", "generated") and self.task != task:
            raise ConfigError(
                f"{self.dataset} is a set for the task {task!r}, but the task is {self.task!r}; give --task {task}"
            )

    def networks_of(self, available: Mapping[str, str]) -> tuple[str, ...]:
        """The chosen networks among those of the task."""
        chosen = tuple(name for name in self.networks if name in available)
        if not chosen:
            raise ConfigError(
                f"the task {self.task!r} has the networks {', '.join(available)}, but got {', '.join(self.networks)}"
            )

        return chosen
