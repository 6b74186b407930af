"""Voice, muscle, motion, heart: an SNN on the fast signal of a sensor, an ANN on slow frames, linked by hybrid units.

    spikebridge train signals --preset watch             # motion of the wrist: hybrid and twins, people not seen
    spikebridge train signals --preset ecg_100           # beats of a heart
    spikebridge train signals --preset mackey_glass      # forecasts of a chaotic signal
    spikebridge train signals --preset quick             # generated gestures, in seconds
    spikebridge train signals --dataset own --data my.npz --sensor.kind motion
    spikebridge eval signals --data watch.npz --json     # the pretrained weights that fit the file

Every network answers at the end of each frame while the signal runs. The folds leave people out: what is scored was
recorded from people that no network was trained on, and statistics come from the training people alone. All networks of
a comparison have the same number of parameters to within 5 %:

| network | parts | unit SNN -> ANN | unit ANN -> SNN thresholds |
|---|---|---|---|
| learned | ANN, SNN | learned FIR kernel, learned map | learned map |
| fixed | ANN, SNN | mean, identity | identity |
| none | ANN, SNN | none: logits are added | - |
| ann | ANN on frames | - | - |
| snn | SNN on the fast signal | mean, identity | - |
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from spikebridge.data.signals.files import read_series
from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.signals.config import Config, NetworkConfig
from spikebridge.networks.signals.data.sensor import SensorConfig
from spikebridge.networks.signals.model.beats import RATE_HZ
from spikebridge.networks.signals.model.network import VARIANTS
from spikebridge.networks.signals.tasks import classify, detect, forecast
from spikebridge.networks.signals.tasks.classify import FORMS
from spikebridge.networks.signals.training.beats import BeatConfig
from spikebridge.networks.signals.training.train import LearningConfig
from spikebridge.training.run.run import Run

_log = logging.getLogger(__name__)

_ALL = tuple(VARIANTS)
_VOICE = Config(networks=_ALL)
_WATCH = Config(
    dataset="watch",
    networks=_ALL,
    num_folds=4,
    sensor=SensorConfig(
        "motion",
        2.0,
        1.0,
        frame_period=25,
        context=100,
        lag_seconds=(0.1, 0.3),
        gravity=True,
        recency=4.0,
        augmentation=0.5,
    ),
    network=NetworkConfig(hidden=64, depth=1, taps=4, dropout=0.3),
    training=LearningConfig(copies=6, epochs=4),
)
_MYO = Config(
    dataset="myo",
    networks=_ALL,
    sensor=SensorConfig("muscle", 0.26, 0.13, frame_period=13, context=52, past_seconds=120.0),
    network=NetworkConfig(hidden=72, taps=5, dropout=0.15),
    training=LearningConfig(copies=4, epochs=3, batch_size=128),
)
PRESETS = {
    "quick": Config(
        dataset="generated",
        networks=_ALL,
        num_folds=3,
        sensor=SensorConfig("motion", seconds=2.0, stride_seconds=2.0, frame_period=25, context=50),
        network=NetworkConfig(hidden=16, depth=1, taps=3, dropout=0.15),
        training=LearningConfig(copies=4, epochs=4, lr=0.01),
    ),
    "default": Config(),
    "spoken_digits": replace(_VOICE, folds=None),
    "myo": _MYO,
    "watch": replace(_WATCH, folds=None),
    "ecg_100": Config(dataset="ecg_100", task="detect", networks=("learned",), num_seeds=3),
    # a seed for each start, of its number; the scored starts begin at 30
    "mackey_glass": Config(dataset="mackey_glass", task="forecast", networks=("fixed", "ann", "snn"), seed=30),
    # the weights of the package: the learned hybrid, trained on everybody
    "spoken_digits_shipped": replace(_VOICE, networks=("learned",), folds=()),
    "watch_shipped": replace(_WATCH, networks=("learned",), folds=()),
    # a few series of each set, for a look within seconds
    "spoken_digits_quick": replace(_VOICE, num_series=150, training=replace(_VOICE.training, copies=1, epochs=2)),
    "myo_quick": replace(_MYO, num_series=250, training=LearningConfig(copies=1, epochs=1, batch_size=128)),
    "ecg_100_quick": Config(
        dataset="ecg_100",
        task="detect",
        networks=("learned",),
        beats=BeatConfig(neurons=8, steps=30, batch_size=8, piece_seconds=2.0, lr=0.02, seconds=60.0),
    ),
    "mackey_glass_quick": Config(
        dataset="mackey_glass",
        task="forecast",
        networks=("fixed", "ann"),
        num_series=1,
        seed=30,
    ),
    "watch_quick": replace(_WATCH, training=LearningConfig(copies=1, epochs=1)),
}


@runtime_checkable
class _Task(Protocol):
    """What a module of `tasks` has."""

    REGIONS: tuple[str, ...]

    def build(self, config: Config) -> dict[str, HybridNetwork]:
        """Every network, untrained."""

    def example(self, config: Config) -> dict[str, Tensor]:
        """A small batch of inputs."""

    def train(self, config: Config, run: Run, quiet: bool) -> dict[str, Any]:
        """Trains, scores, writes into the run."""

    def evaluate(self, config: Config, run: Run, data: Path | None) -> dict[str, Any]:
        """Scores a run again, or on a file."""

    def report(self, config: Config, run: Run) -> Path:
        """Writes report.html."""

    def calibration(self, config: Config, num_samples: int, data: Path | None) -> dict[str, Tensor]:
        """Inputs on which quantisation is calibrated."""

    def measure(self, network: HybridNetwork, config: Config, data: Path | None) -> dict[str, float]:
        """The figures that quantisation may change."""


_TASKS: dict[str, _Task] = {"classify": classify, "detect": detect, "forecast": forecast}


def build(config: Config) -> dict[str, HybridNetwork]:
    """Every network of the comparison, untrained; those of a task have equal numbers of parameters to within 5 %."""
    return _TASKS[config.task].build(config)


def example(config: Config) -> dict[str, Tensor]:
    """A small batch of inputs: noise, a generated heart, or a chaotic series."""
    return _TASKS[config.task].example(config)


def train(config: Config, run: Run, quiet: bool = False) -> dict[str, Any]:
    """Trains every network with every seed, scores them, and writes the table."""
    return _TASKS[config.task].train(config, run, quiet)


def evaluate(run: Run, data: Path | None = None) -> dict[str, Any]:
    """Scores a run again, or with a file its first network on the series of the file."""
    config = run.config_as(Config)
    _log.info("scoring the networks of %s", run.path)
    return _TASKS[config.task].evaluate(config, run, data)


def report(run: Run) -> Path:
    """Writes report.html."""
    config = run.config_as(Config)
    return _TASKS[config.task].report(config, run)


def calibration(config: Config, num_samples: int, data: Path | None = None) -> dict[str, Tensor]:
    """Inputs of the training part, on which quantisation is calibrated."""
    return _TASKS[config.task].calibration(config, num_samples, data)


def measure(network: HybridNetwork, config: Config, data: Path | None = None) -> dict[str, float]:
    """The figures that quantisation may change."""
    return _TASKS[config.task].measure(network, config, data)


def regions(config: Config) -> tuple[str, ...]:
    """The paths of a network that have an integer form; none stands for all."""
    return _TASKS[config.task].REGIONS


_SHIPPED = {"spoken_digits": "signals", "watch": "signals_watch"}
_SHIPPED_DETECTOR = "signals_ecg"


def weights_for(data: Path) -> str:
    """The name of the shipped weights that fit the series of a file.

    Raises:
        ConfigError: none do.
        DataError: the file cannot be read.
    """
    series = read_series(data)
    form = (series.rate_hz, series.num_channels)
    if series.marks is not None and form == (RATE_HZ, 2):
        return _SHIPPED_DETECTOR

    name = next((name for name in _SHIPPED if series.name in (name, "own") and form == FORMS[name][:2]), None)
    if name is None:
        reason = (
            "its licence, GPL, is not that of the package"
            if series.name == "myo"
            else "there are only "
            + ", ".join(f"{name} (channels: {FORMS[name][1]}, {FORMS[name][0]:g} Hz)" for name in _SHIPPED)
            + f" and ecg_100 (marked beats, channels: 2, {RATE_HZ} Hz)"
        )

        raise ConfigError(
            f"{data} ({series.name}, {series.num_channels} channels at {series.rate_hz:g} Hz) has no shipped weights: "
            f"{reason}; train a network, then `spikebridge eval RUN --data {data}`"
        )

    return _SHIPPED[name]
