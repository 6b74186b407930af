"""Voice, muscle, motion: an SNN on the fast signal of a sensor, an ANN on slow frames, linked by hybrid units.

    spikebridge train signals --preset watch             # motion of the wrist: hybrid and twins, people not seen
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

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from spikebridge.data.signals.arrays import KNOWN_SETS
from spikebridge.data.signals.files import read_series
from spikebridge.data.signals.series import SensorSeries
from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.signals import report as report_page
from spikebridge.networks.signals.data.sensor import Sensor, SensorConfig
from spikebridge.networks.signals.data.sets import folds_of_set, load_series, scored_series, with_classes
from spikebridge.networks.signals.data.windows import Windows
from spikebridge.networks.signals.evaluation.evaluate import accuracies, logits_of, score
from spikebridge.networks.signals.model.network import VARIANTS, Shape, parameter_matched, scale_inputs
from spikebridge.networks.signals.training.train import LearningConfig, phase, tensors_of, training_batches
from spikebridge.training.loop import fit
from spikebridge.training.run.config_io import reproduce_command
from spikebridge.training.run.run import Run
from spikebridge.training.settings import Settings


@dataclass(frozen=True)
class NetworkConfig:
    """The sizes of the learned hybrid; the other networks have as many parameters."""

    hidden: int = 64
    """Features of the ANN, and neurons of each layer of the SNN."""
    depth: int = 2
    """Layers of causal kernels over the answers."""
    taps: int = 5
    """Answers that each of them covers."""
    dropout: float = 0.15
    """Probability of dropout in training."""

    def __post_init__(self) -> None:
        """Checks the settings."""
        if self.hidden < 4 or self.depth < 0 or self.taps < 1 or not 0 <= self.dropout < 1:
            raise ConfigError(f"sizes out of range: {self}")


@dataclass(frozen=True)
class Config:
    """Settings of the signals recipe."""

    dataset: Literal["spoken_digits", "myo", "watch", "own", "generated"] = "spoken_digits"
    """The set; own reads --data."""
    data: Path | None = None
    """The folder of data sets ($SPIKEBRIDGE_DATA), or the file of one."""
    networks: tuple[str, ...] = tuple(VARIANTS)
    """The networks to train and compare."""
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
    sensor: SensorConfig = field(default_factory=SensorConfig)
    """How the sensor is read."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """The sizes of the learned hybrid."""
    training: LearningConfig = field(default_factory=LearningConfig)
    """The training of each network."""

    def __post_init__(self) -> None:
        """Checks the settings."""
        for name in self.networks:
            if name not in VARIANTS:
                raise ConfigError(f"no network {name!r}; {did_you_mean(name, VARIANTS)}")
        if not self.networks or self.num_seeds < 1:
            raise ConfigError("train at least one network with at least one seed")


_VOICE = Config(
    network=NetworkConfig(hidden=72, depth=2, taps=9, dropout=0.25),
    training=LearningConfig(copies=8, epochs=4),
)
_WATCH = Config(
    dataset="watch",
    num_folds=4,
    sensor=SensorConfig(
        "motion", 2.0, 1.0, frame_period=25, context=100, lag_seconds=(0.1, 0.3), recency=4.0, augmentation=0.5
    ),
    network=NetworkConfig(hidden=64, depth=1, taps=4, dropout=0.3),
    training=LearningConfig(copies=6, epochs=4),
)
_MYO = Config(
    dataset="myo",
    sensor=SensorConfig("muscle", 0.26, 0.13, frame_period=13, context=52, past_seconds=120.0),
    network=NetworkConfig(hidden=72),
    training=LearningConfig(copies=4, epochs=3, batch_size=128),
)
PRESETS = {
    "quick": Config(
        dataset="generated",
        num_folds=3,
        sensor=SensorConfig("motion", seconds=2.0, stride_seconds=2.0, frame_period=25, context=50),
        network=NetworkConfig(hidden=16, depth=1, taps=3),
        training=LearningConfig(copies=4, epochs=4, lr=0.01),
    ),
    "default": replace(_VOICE, networks=("learned", "ann")),
    "spoken_digits": replace(_VOICE, folds=None),
    "myo": _MYO,
    "watch": replace(_WATCH, folds=None),
    # the weights of the package: the learned hybrid, trained on everybody
    "spoken_digits_shipped": replace(_VOICE, networks=("learned",), folds=()),
    "watch_shipped": replace(_WATCH, networks=("learned",), folds=()),
    # a few series of each set, for a look within seconds
    "spoken_digits_quick": replace(_VOICE, num_series=150, training=LearningConfig(copies=1, epochs=2)),
    "myo_quick": replace(_MYO, num_series=250, training=LearningConfig(copies=1, epochs=1, batch_size=128)),
    "watch_quick": replace(_WATCH, training=LearningConfig(copies=1, epochs=1)),
}


def build(config: Config) -> dict[str, HybridNetwork]:
    """Every network of the comparison, untrained, with equal numbers of parameters to within 5 %."""
    shape = _shape(config, *_form_of(config))
    return {name: parameter_matched(name, shape) for name in config.networks}


_SHIPPED = {"spoken_digits": "signals", "watch": "signals_watch"}
_NUM_CLASSES = {"spoken_digits": 10, "myo": 7, "watch": 7}
# rate, channels and classes of the sets, so that a network is built without its data
_FORMS = {"generated": (50.0, 3, 3)} | {
    known.name: (float(known.rate_hz), known.num_channels, _NUM_CLASSES[known.name])
    for known in KNOWN_SETS
    if known.name in _NUM_CLASSES
}


def _form_of(config: Config) -> tuple[Sensor, int]:
    """The sensor and the number of classes of a set."""
    if config.dataset in _FORMS:
        rate_hz, num_channels, num_classes = _FORMS[config.dataset]
    else:
        series = load_series(config.dataset, config.data)
        rate_hz, num_channels, num_classes = series.rate_hz, series.num_channels, series.num_classes
    return Sensor(config.sensor, rate_hz, num_channels), num_classes


def _shape(config: Config, sensor: Sensor, num_classes: int) -> Shape:
    front, sizes = sensor.front_end, config.network
    return Shape(
        front.dt,
        front.frame_period,
        front.num_channels,
        sensor.num_features,
        num_classes,
        hidden=sizes.hidden,
        depth=sizes.depth,
        taps=sizes.taps,
        dropout=sizes.dropout,
    )


def example(config: Config) -> dict[str, Tensor]:
    """A small batch of inputs made of noise."""
    sensor, _ = _form_of(config)
    generator = np.random.default_rng(0)
    length = round(sensor.config.seconds * sensor.rate_hz)
    samples = 0.1 * generator.standard_normal((4, length, sensor.num_channels), dtype=np.float32)
    none = np.zeros(4, np.int64)
    windows = Windows(samples, np.full(4, length), none, none, none, np.zeros((4, sensor.num_past), np.float32))
    return {name: torch.from_numpy(x) for name, x in sensor.inputs(windows).items() if name != "weight"}


@dataclass(frozen=True)
class _Fold:
    """What is trained on and scored."""

    name: str
    train: Windows
    test: Windows

    @property
    def scored(self) -> Windows:
        """The windows that a score is of: those of the training where everybody is trained on."""
        return self.test if len(self.test.label) else self.train


def _folds(config: Config, series: SensorSeries, sensor: Sensor) -> list[_Fold]:
    """The chosen folds; one without a test where everybody is trained on."""
    if config.num_series is not None:
        series = series.select(np.linspace(0, len(series) - 1, min(config.num_series, len(series))).astype(np.int64))
    windows = sensor.windows(series)
    if config.folds == ():
        return [_Fold("", windows, windows.select(np.zeros(0, np.int64)))]
    splits = folds_of_set(series, config.num_folds)
    chosen = range(len(splits)) if config.folds is None else config.folds
    if any(not 0 <= number < len(splits) for number in chosen):
        raise ConfigError(f"there are the folds 0 to {len(splits) - 1}, but {config.folds} are asked for")
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
    sensor = Sensor(config.sensor, series.rate_hz, series.num_channels)
    shape = _shape(config, sensor, series.num_classes)
    scores: dict[str, list[dict[str, Any]]] = {name: [] for name in config.networks}
    for fold in _folds(config, series, sensor):
        for seed in range(config.seed, config.seed + config.num_seeds):
            children = {name: run.child("/".join(filter(None, (name, fold.name, f"seed-{seed}")))) for name in scores}
            missing = [name for name, child in children.items() if not child.finished]
            if missing:
                data = training_batches(sensor, fold.train, config.training, seed)
            for name in missing:
                network = _seeded(name, shape, seed)
                scale_inputs(network, data.tensors)
                phases = [phase(config.training, len(fold.train.label))]
                settings = Settings(seed=seed, quiet=quiet, batch_size=config.training.batch_size, accelerator="cpu")
                fit(network, phases, data, settings=settings, run=children[name])
                children[name].save_weights(network)
                results = score(network, sensor, fold.scored, series.group_names)
                children[name].save_results({**results, "classes": series.label_names})
            for name, child in children.items():
                scores[name].append(child.results())
    results = report_page.compare(scores)
    run.save_results(results)
    return results


def _seeded(name: str, shape: Shape, seed: int) -> HybridNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return parameter_matched(name, shape)


def evaluate(run: Run, data: Path | None = None) -> dict[str, Any]:
    """Scores a run: its networks on the people left out, or with a file its first network on the series of the file."""
    config = run.config_as(Config)
    if data is not None and not data.is_dir():
        return _evaluate_file(run, config, load_series(config.dataset, data))
    series = load_series(config.dataset, config.data if data is None else data)
    sensor = Sensor(config.sensor, series.rate_hz, series.num_channels)
    shape = _shape(config, sensor, series.num_classes)
    folds = {fold.name: fold for fold in _folds(config, series, sensor)}
    scores: dict[str, list[dict[str, Any]]] = {}
    for path, child in run.children().items():
        name, *middle, _ = path.split("/")
        fold = folds["/".join(middle)]
        network = parameter_matched(name, shape)
        child.load_weights(network)
        scores.setdefault(name, []).append(score(network, sensor, fold.scored, series.group_names))
    return report_page.compare({name: scores[name] for name in config.networks})


def _evaluate_file(run: Run, config: Config, series: SensorSeries) -> dict[str, Any]:
    """Accuracies on the series of a file, of people whom the network need not have seen."""
    sensor, num_classes = _form_of(config)
    name = config.networks[0]
    network = parameter_matched(name, _shape(config, sensor, num_classes))
    child = run.first_child(name)
    child.load_weights(network)
    windows = sensor.windows(with_classes(series, child.results()["classes"]))
    windows = windows.select(np.isin(windows.series, scored_series(series)))
    found = logits_of(network, sensor, windows)[-1].argmax(-1).numpy()
    return {"dataset": config.dataset, "network": name, **accuracies(found, windows, series.group_names)}


def weights_for(data: Path) -> str:
    """The name of the shipped weights that fit the series of a file.

    Raises:
        ConfigError: none do.
        DataError: the file cannot be read.
    """
    series = read_series(data)
    form = (series.rate_hz, series.num_channels)
    fitting = {name for name, (*known, _) in _FORMS.items() if series.name in (name, "own") and form == tuple(known)}
    name = next((name for name in _SHIPPED if name in fitting), None)
    if name is None:
        reason = (
            "its licence, GPL, is not that of the package"
            if series.name == "myo"
            else "there are only "
            + " and ".join(f"{name} ({_FORMS[name][1]} channels at {_FORMS[name][0]:g} Hz)" for name in _SHIPPED)
        )
        raise ConfigError(
            f"{data} ({series.name}, {series.num_channels} channels at {series.rate_hz:g} Hz) has no shipped weights: "
            f"{reason}; train a network, then `spikebridge eval RUN --data {data}`"
        )
    return _SHIPPED[name]


def calibration(config: Config, num_samples: int, data: Path | None = None) -> dict[str, Tensor]:
    """Inputs from training windows, on which quantisation is calibrated."""
    windows, sensor = _first_fold(config, data)
    order = np.random.default_rng(0).permutation(len(windows.train.label))[:num_samples]
    some = windows.train.select(np.sort(order))
    return tensors_of(sensor.inputs(some), some.label)


def measure(network: HybridNetwork, config: Config, data: Path | None = None) -> dict[str, float]:
    """The accuracy that quantisation may reduce."""
    fold, sensor = _first_fold(config, data)
    found = logits_of(network, sensor, fold.scored)[-1].argmax(-1).numpy()
    return {"accuracy": float((found == fold.scored.label).mean())}


def _first_fold(config: Config, data: Path | None) -> tuple[_Fold, Sensor]:
    series = load_series(config.dataset, config.data if data is None else data)
    sensor = Sensor(config.sensor, series.rate_hz, series.num_channels)
    return _folds(config, series, sensor)[0], sensor


def report(run: Run) -> Path:
    """Writes report.html: the table, people, confusion, accuracy over time, spikes, drawings of the networks."""
    config = run.config_as(Config)
    facts = {
        "dataset": config.dataset,
        "folds": "none: trained on everybody"
        if config.folds == ()
        else "all"
        if config.folds is None
        else config.folds,
        "seeds": f"{config.seed} to {config.seed + config.num_seeds - 1}",
        "window": f"{config.sensor.seconds} s",
        "epochs": config.training.epochs,
        "augmented copies": config.training.copies,
    }
    return report_page.write(run, facts, build(config), example(config), reproduce_command("signals", config))
