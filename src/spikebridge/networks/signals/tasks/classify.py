"""The task `classify`: the class of a window while its signal runs, for people who are not in the training."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikebridge.data.signals.checks import check_series
from spikebridge.data.signals.series import SensorSeries
from spikebridge.deploy.web.inputs import WebInputs
from spikebridge.errors import ConfigError, DataError
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.signals import report as report_page
from spikebridge.networks.signals.config import Config
from spikebridge.networks.signals.data.activity import activity_times
from spikebridge.networks.signals.data.sensor import Sensor
from spikebridge.networks.signals.data.sets import FORMS, folds_of_set, load_series, scored_series, with_classes
from spikebridge.networks.signals.data.windows import Windows
from spikebridge.networks.signals.evaluation.evaluate import accuracies, logits_of, score
from spikebridge.networks.signals.model.network import VARIANTS, Shape, parameter_matched
from spikebridge.networks.signals.stream import sensor_inputs
from spikebridge.networks.signals.training.train import (
    LearningConfig,
    retrain_windows,
    tensors_of,
    train_windows,
    training_batches,
)
from spikebridge.training.run.config_io import reproduce_command
from spikebridge.training.run.run import Run

REGIONS: tuple[str, ...] = ()
_RETRAINING_RATE = 0.1  # of the rate of the training
_RETRAINING_COPIES = 2


def build(config: Config) -> dict[str, HybridNetwork]:
    """Every network of the comparison, untrained, with equal numbers of parameters to within 5 %."""
    shape = _shape(config, *_form_of(config))
    return {name: parameter_matched(name, shape) for name in config.networks_of(VARIANTS)}


def _form_of(config: Config) -> tuple[Sensor, int]:
    """The sensor and the number of classes of a set."""
    if config.dataset in FORMS:
        form = FORMS[config.dataset]
        return Sensor(config.sensor, form.rate_hz, form.num_channels), form.num_classes

    series = load_series(config.dataset, config.data)
    return _sensor(config, series), series.num_classes


def _sensor(config: Config, series: SensorSeries) -> Sensor:
    return Sensor(config.sensor, series.rate_hz, series.num_channels)


def _shape(config: Config, sensor: Sensor, num_classes: int) -> Shape:
    front = sensor.front_end
    sizes = config.network

    return Shape(
        dt=front.dt,
        frame_period=front.frame_period,
        num_channels=front.num_channels,
        num_features=sensor.num_features,
        num_classes=num_classes,
        hidden=sizes.hidden,
        depth=sizes.depth,
        taps=sizes.taps,
        dropout=sizes.dropout,
        chip=sizes.chip,
    )


def example(config: Config) -> dict[str, Tensor]:
    """A small batch of inputs made of noise."""
    sensor, _ = _form_of(config)
    generator = np.random.default_rng(0)
    length = round(sensor.config.seconds * sensor.rate_hz)
    samples = 0.1 * generator.standard_normal((4, length, sensor.num_channels), dtype=np.float32)
    zeros = np.zeros(4, np.int64)
    past = np.zeros((4, sensor.num_past), np.float32)
    windows = Windows(samples, np.full(4, length), label=zeros, group=zeros, series=zeros, past=past)

    return {name: torch.from_numpy(x) for name, x in sensor.inputs(windows).items() if name != "weight"}


@dataclass(frozen=True)
class _Fold:
    """Windows of the training and windows of the test."""

    name: str
    train: Windows
    test: Windows

    @property
    def scored(self) -> Windows:
        """The windows of the test, or those of the training where everybody is trained on."""
        return self.test if len(self.test.label) else self.train


def _folds(config: Config, series: SensorSeries, sensor: Sensor) -> list[_Fold]:
    """The chosen folds, or one without a test where everybody is trained on."""
    if config.num_series is not None:
        # evenly spaced, so that few series are still of all people
        number = min(config.num_series, len(series))
        series = series.select(np.linspace(0, len(series) - 1, number).astype(np.int64))

    windows = sensor.windows(series)
    if config.folds == ():
        return [_Fold("", windows, windows.select(np.zeros(0, np.int64)))]

    splits = folds_of_set(series, config.num_folds)
    chosen = range(len(splits)) if config.folds is None else config.folds
    if any(not 0 <= number < len(splits) for number in chosen):
        raise ConfigError(f"expected folds from 0 to {len(splits) - 1}, but got {config.folds}")

    return [
        _Fold(
            f"fold-{number}",
            windows.select(np.isin(windows.series, splits[number].train)),
            windows.select(np.isin(windows.series, splits[number].test)),
        )
        for number in chosen
    ]


def train(config: Config, run: Run, quiet: bool = False) -> dict[str, Any]:
    """Trains every network on every fold with every seed, scores them, and writes the table."""
    series = load_series(config.dataset, config.data)
    if config.dataset == "own":
        for finding in check_series(series):
            warnings.warn(str(finding), stacklevel=2)

    sensor = _sensor(config, series)
    shape = _shape(config, sensor, series.num_classes)
    scores: dict[str, list[dict[str, Any]]] = {name: [] for name in config.networks}
    sizes: dict[str, int] = {}

    for fold in _folds(config, series, sensor):
        for seed in range(config.seed, config.seed + config.num_seeds):
            children = {name: run.child("/".join(filter(None, (name, fold.name, f"seed-{seed}")))) for name in scores}
            missing = [name for name, child in children.items() if not child.finished]
            # a resumed run makes the augmented copies only where a network is left to train
            if missing:
                data = training_batches(sensor, fold.train, config.training, seed)

            for name in missing:
                network = _seeded(name, shape, seed)
                train_windows(network, data, config.training, seed, quiet, children[name])
                children[name].save_weights(network)
                results = score(network, sensor, fold.scored, series.group_names)
                children[name].save_results({**results, **_stream_facts(series, sensor, fold.train)})

            for name, child in children.items():
                scores[name].append(child.results(report_page.WindowScore, sizes))

    results = report_page.compare(scores, _scored_on(config))
    run.save_results(results)

    return results


def _stream_facts(series: SensorSeries, sensor: Sensor, train: Windows) -> dict[str, Any]:
    """Facts that the reader of a stream needs later, without the set."""
    facts = {"classes": series.label_names, "rate_hz": series.rate_hz, "num_channels": series.num_channels}
    if sensor.config.kind != "voice":
        return facts

    return {**facts, **activity_times(train, sensor.block / sensor.rate_hz, sensor.block)}


def _seeded(name: str, shape: Shape, seed: int) -> HybridNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return parameter_matched(name, shape)


def evaluate(config: Config, run: Run, data: Path | None = None) -> dict[str, Any]:
    """Scores a run on the people left out, or with a file its first network on the series of the file."""
    if data is not None and not data.is_dir():
        return evaluate_file(run, config, load_series(config.dataset, data))

    series = load_series(config.dataset, config.data if data is None else data)
    sensor = _sensor(config, series)
    shape = _shape(config, sensor, series.num_classes)
    folds = {fold.name: fold for fold in _folds(config, series, sensor)}
    scores: dict[str, list[dict[str, Any]]] = {}

    for path, child in run.children().items():
        name, *middle, _ = path.split("/")
        # a run of the last release may hold a network that has left
        if name not in VARIANTS:
            continue

        fold = folds["/".join(middle)]
        network = parameter_matched(name, shape)
        child.load_weights(network)
        scores.setdefault(name, []).append(score(network, sensor, fold.scored, series.group_names))

    return report_page.compare({name: scores[name] for name in config.networks_of(VARIANTS)}, _scored_on(config))


def _scored_on(config: Config) -> str:
    return report_page.TRAINED_ON if config.folds == () else report_page.LEFT_OUT


def evaluate_file(run: Run, config: Config, series: SensorSeries) -> dict[str, Any]:
    """Accuracies of the first network of a run on the series of a file."""
    sensor, num_classes = _form_of(config)
    name = config.networks_of(VARIANTS)[0]
    network = parameter_matched(name, _shape(config, sensor, num_classes))
    child = run.first_child(name)
    child.load_weights(network)
    classes = child.results(report_page.WindowScore).get("classes")
    if classes is None:
        raise DataError(f"{child.path} does not name its classes; train the network again with this version")

    windows = sensor.windows(with_classes(series, classes))
    windows = windows.select(np.isin(windows.series, scored_series(series)))
    answers = logits_of(network, sensor, windows)[-1].argmax(-1).numpy()
    facts: dict[str, Any] = {"dataset": config.dataset, "network": name}
    # where everybody was trained on, the record of the training names them
    if config.folds == ():
        shared = [person for person in child.results()["per_group"] if person in series.group_names]
        facts["trained on"] = shared or "none of these people, by their names"

    return {**facts, **accuracies(answers, windows, series.group_names)}


def calibration(config: Config, num_samples: int, data: Path | None = None) -> dict[str, Tensor]:
    """Inputs from training windows, on which quantisation is calibrated."""
    fold, sensor = _first_fold(config, data)
    order = np.random.default_rng(0).permutation(len(fold.train.label))[:num_samples]
    windows = fold.train.select(np.sort(order))
    return tensors_of(sensor.inputs(windows), windows.label)


def measure(network: HybridNetwork, config: Config, data: Path | None = None) -> dict[str, float]:
    """The accuracy that quantisation may reduce."""
    fold, sensor = _first_fold(config, data)
    answers = logits_of(network, sensor, fold.scored)[-1].argmax(-1).numpy()
    return {"accuracy": float((answers == fold.scored.label).mean())}


def retrain(network: HybridNetwork, config: Config, epochs: int, data: Path | None = None) -> None:
    """Trains a network further on the training windows."""
    fold, sensor = _first_fold(config, data)
    learning = retraining(config, epochs)
    retrain_windows(network, training_batches(sensor, fold.train, learning, config.seed), learning, config.seed)


def retraining(config: Config, epochs: int) -> LearningConfig:
    """The settings of a further training: a lower rate, few copies of a window."""
    copies = min(config.training.copies, _RETRAINING_COPIES)
    return replace(config.training, epochs=epochs, copies=copies, lr=_RETRAINING_RATE * config.training.lr)


def _first_fold(config: Config, data: Path | None) -> tuple[_Fold, Sensor]:
    series = load_series(config.dataset, config.data if data is None else data)
    sensor = _sensor(config, series)
    return _folds(config, series, sensor)[0], sensor


def web(config: Mapping[str, Any], results: Mapping[str, Any]) -> WebInputs:
    """The inputs of a page: samples of the sensor."""
    return sensor_inputs(config, results, VARIANTS)


def report(config: Config, run: Run) -> Path:
    """Writes report.html: the table, people, confusion, accuracy over time, drawings of the networks."""
    folds = "none: trained on everybody" if config.folds == () else config.folds
    facts = {
        "dataset": config.dataset,
        "folds": "all" if folds is None else folds,
        "seeds": f"{config.seed} to {config.seed + config.num_seeds - 1}",
        "window": f"{config.sensor.seconds} s",
        "epochs": config.training.epochs,
        "augmented copies": config.training.copies,
    }
    return report_page.write(run, facts, build(config), reproduce_command("signals", config))
