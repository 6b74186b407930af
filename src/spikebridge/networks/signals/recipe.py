"""Voice, muscle, motion, heart: an SNN on the fast signal of a sensor, an ANN on slow frames, linked by hybrid units.

    spikebridge train signals --dataset own --data my.npz --sensor.kind motion

Folds leave people out: a network is scored on people who are not in its training.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray
from torch import Tensor

from spikebridge._moved import refuse_left_networks
from spikebridge.data.signals.files import read_series
from spikebridge.deploy.web.inputs import WebInputs
from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.signals.config import Config, NetworkConfig
from spikebridge.networks.signals.data.sensor import SensorConfig
from spikebridge.networks.signals.data.sets import FORMS
from spikebridge.networks.signals.model.beats import RATE_HZ
from spikebridge.networks.signals.model.network import VARIANTS
from spikebridge.networks.signals.tasks import classify, detect
from spikebridge.networks.signals.training.train import LearningConfig
from spikebridge.training.run.run import Run

_log = logging.getLogger(__name__)

PRESETS = {
    "quick": Config(
        dataset="generated",
        networks=tuple(VARIANTS),
        num_folds=3,
        sensor=SensorConfig("motion", seconds=2.0, stride_seconds=2.0, frame_period=25, context=50),
        network=NetworkConfig(hidden=16, depth=1, taps=3, dropout=0.15),
        training=LearningConfig(copies=4, epochs=4, lr=0.01),
    ),
    "default": Config(),
    # the shipped weights are trained on everybody: --networks learned --folds
    "spoken_digits": Config(networks=tuple(VARIANTS), folds=None),
    "watch": Config(
        dataset="watch",
        networks=tuple(VARIANTS),
        num_folds=4,
        folds=None,
        sensor=SensorConfig(
            "motion",
            seconds=2.0,
            stride_seconds=1.0,
            frame_period=25,
            context=100,
            lag_seconds=(0.1, 0.3),
            gravity=True,
            recency=4.0,
            augmentation=0.5,
        ),
        network=NetworkConfig(hidden=64, depth=1, taps=4, dropout=0.3),
        training=LearningConfig(copies=6, epochs=4),
    ),
    "myo": Config(
        dataset="myo",
        networks=tuple(VARIANTS),
        sensor=SensorConfig("muscle", 0.26, 0.13, frame_period=13, context=52, past_seconds=120.0),
        network=NetworkConfig(hidden=72, taps=5, dropout=0.15),
        training=LearningConfig(copies=4, epochs=3, batch_size=128),
    ),
}


class _Task(Protocol):
    """A module of `tasks`, whose functions are those of a recipe."""

    REGIONS: tuple[str, ...]

    def build(self, config: Config) -> dict[str, HybridNetwork]: ...
    def example(self, config: Config) -> dict[str, Tensor]: ...
    def train(self, config: Config, run: Run, quiet: bool) -> dict[str, Any]: ...
    def evaluate(self, config: Config, run: Run, data: Path | None) -> dict[str, Any]: ...
    def report(self, config: Config, run: Run) -> Path: ...
    def web(self, config: Mapping[str, Any], results: Mapping[str, Any]) -> WebInputs: ...
    def calibration(self, config: Config, num_samples: int, data: Path | None) -> dict[str, Tensor]: ...
    def measure(self, network: HybridNetwork, config: Config, data: Path | None) -> dict[str, float]: ...


_TASKS: dict[str, _Task] = {"classify": classify, "detect": detect}
_SHIPPED = {"spoken_digits": "signals", "watch": "signals_watch"}


def build(config: Config) -> dict[str, HybridNetwork]:
    """Every network of the comparison, untrained; their numbers of parameters are equal to within 5 %."""
    return _TASKS[config.task].build(config)


def example(config: Config) -> dict[str, Tensor]:
    """A small batch of inputs: noise, or a generated heart."""
    return _TASKS[config.task].example(config)


def train(config: Config, run: Run, quiet: bool = False) -> dict[str, Any]:
    """Trains every network with every seed, scores them, and writes the table."""
    refuse_left_networks("signals", config.networks)
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


def retrain(network: HybridNetwork, config: Config, epochs: int, data: Path | None = None) -> None:
    """Trains a network further, for example one with a part on a chip."""
    if config.task != "classify":
        raise ConfigError(f"the task {config.task!r} has no further training; leave --epochs out")
    classify.retrain(network, config, epochs, data)


def web(config: Mapping[str, Any], results: Mapping[str, Any]) -> WebInputs:
    """The inputs of a page."""
    return _TASKS[config.get("task", "classify")].web(config, results)


def trained_web(inputs: WebInputs, numbers: Mapping[str, NDArray[Any]]) -> WebInputs:
    """The same with the parts of a detector that stay in floating point as its front end."""
    return inputs if inputs.front_end is not None else detect.trained_web(inputs, numbers)


def regions(config: Config) -> tuple[str, ...]:
    """The paths of a network that have an integer form; none stands for all."""
    return _TASKS[config.task].REGIONS


def weights_for(data: Path) -> str:
    """The name of the shipped weights that fit the series of a file."""
    series = read_series(data)
    form = (series.rate_hz, series.num_channels)
    if series.marks is not None and form == (RATE_HZ, 2):
        return "signals_ecg"

    for dataset, weights in _SHIPPED.items():
        if series.name in (dataset, "own") and form == FORMS[dataset][:2]:
            return weights

    # weights trained on myo would have its licence
    reason = "its licence is GPL" if series.name == "myo" else f"there are only {_shipped_forms()}"
    raise ConfigError(
        f"{data} ({series.name}, {series.num_channels} channels at {series.rate_hz:g} Hz) has no shipped weights: "
        f"{reason}; train a network, then `spikebridge eval RUN --data {data}`"
    )


def _shipped_forms() -> str:
    forms = [f"{name} (channels: {FORMS[name].num_channels}, {FORMS[name].rate_hz:g} Hz)" for name in _SHIPPED]
    return ", ".join([*forms, f"ecg_100 (marked beats, channels: 2, {RATE_HZ} Hz)"])
