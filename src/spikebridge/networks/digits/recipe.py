"""Digits with a what and a where pathway: an ANN on noisy frames and an SNN on events, linked by hybrid units.

    spikebridge train digits --preset default      # four networks, three seeds, one table, one report
    spikebridge train digits --preset quick        # the same in seconds
    spikebridge train digits --camera.noise 1.0 --camera.frame-step 4 --networks learned ann

A digit moves before a simulated hybrid camera (three micro-saccades). The what pathway is an ANN on noisy frames at a
low rate, the where pathway an SNN on events at a high rate. A transmission unit turns the SNN's spikes into features of
the read-out; a modulation unit turns the ANN's features into thresholds of the SNN (R. Zhao et al., 2022, Figs. 1 and
2). All networks have the same number of parameters to within 5 %:

| network | parts | unit SNN -> ANN | unit ANN -> SNN thresholds |
|---|---|---|---|
| learned | ANN, SNN | learned FIR kernel, learned map | learned map |
| transmission | ANN, SNN | learned FIR kernel, learned map | none |
| ann | ANN on frames | - | - |
| snn | SNN on events | mean, identity | - |
"""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from spikebridge._moved import left_networks, refuse_left_networks
from spikebridge.analysis.summary import num_parameters
from spikebridge.data.catalog import refuse_data_folder
from spikebridge.data.images.digits import load_digits
from spikebridge.data.images.mnist import load_mnist
from spikebridge.data.simulation.saccades import (
    HybridRecording,
    Saccades,
    add_noise,
    corrupt_events,
    hybrid_camera,
    subsample_frames,
)
from spikebridge.deploy.web.inputs import WebInputs
from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.digits import report as report_page
from spikebridge.networks.digits.camera import drawn_digits
from spikebridge.networks.digits.model import VARIANTS, parameter_matched, what_where
from spikebridge.ops.modes import evaluating
from spikebridge.training.batches import Batches
from spikebridge.training.loop import fit
from spikebridge.training.phase import WHOLE, Phase
from spikebridge.training.run.config_io import from_plain, reproduce_command
from spikebridge.training.run.run import Run, train_children
from spikebridge.training.settings import Settings, check_chosen, check_minimum, check_positive

_log = logging.getLogger(__name__)
_NUM_DRAWS = 4  # of the noise, for a score
_NUM_COUNTED = 32  # recordings whose operations are counted
_RETRAINING_RATE = 0.2  # of the rate of the training
_DURATION = 0.3  # of a recording [s]


@dataclass(frozen=True)
class Camera:
    """The simulated hybrid camera. With the default noise, each one-sided twin reaches about 90 % on validation."""

    noise: float = 0.6
    """Standard deviation of the noise of frames (white is 1)."""
    frame_step: int = 1
    """Only every N-th frame is used."""
    event_loss: float = 0.4
    """Probability that an event is lost."""
    spurious: float = 0.02
    """Probability of a noise event, in each pixel and step."""
    num_steps: int = 12
    """Time steps of events in a recording of 0.3 s."""
    num_frames: int = 4
    """Frames of a recording, with frame-step 1."""

    def __post_init__(self) -> None:
        """Checks the settings."""
        check_minimum(self, frame_step=1, num_frames=1, num_steps=1)
        if not 0 <= self.noise < math.inf:
            raise ConfigError(f"noise should be 0 or more, but is {self.noise}")

        for name in ("event_loss", "spurious"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is a probability from 0 to 1, but is {getattr(self, name)}")

        if self.num_steps % self.num_frames:
            raise ConfigError(f"num_frames should divide num_steps, but got {self.num_frames} and {self.num_steps}")

    @property
    def dt(self) -> float:
        """The base step [s]."""
        return _DURATION / self.num_steps

    @property
    def frame_period(self) -> int:
        """Base steps from one frame to the next, with frame_step 1."""
        return self.num_steps // self.num_frames


@dataclass(frozen=True)
class Config:
    """Settings of the digits recipe."""

    networks: tuple[str, ...] = tuple(VARIANTS)
    """The networks to train and compare."""
    seed: int = 0
    """The first seed of initial weights, order of samples and noise in training."""
    num_seeds: int = 3
    """Trainings of each network, with consecutive seeds."""
    dataset: Literal["digits", "mnist"] = "digits"
    """digits is embedded (scikit-learn, 8 x 8); mnist is read from SPIKEBRIDGE_DATA."""
    split: Literal["test", "validation"] = "test"
    """The split that is scored; settings are chosen on validation."""
    camera: Camera = Camera()
    """The simulated hybrid camera."""
    hidden: int = 32
    """Features of each pathway of the hybrid network; the other networks have as many parameters."""
    epochs: int = 30
    """Passes over the training samples."""
    batch_size: int = 128
    """Samples of a training step, summed over all processes."""
    lr: float = 0.01
    """Highest learning rate of a one-cycle schedule."""
    num_train: int | None = None
    """Use only this number of training samples."""
    devices: int = 1
    """Processes on each machine."""
    nodes: int = 1
    """Machines."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """Distribution over several processes."""
    precision: Literal["32-true", "64-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Number format of the training."""
    accelerator: Literal["auto", "cpu", "gpu"] = "cpu"
    """Kind of device; the networks are so small that a CPU is fastest."""

    RENAMED_FIELDS: ClassVar[dict[str, str]] = {"thinning": "camera.frame_step"}
    """Fields of run folders of release 0.1; those without an entry kept their names."""

    def __post_init__(self) -> None:
        """Checks the settings."""
        self.check_networks()
        check_minimum(self, seed=0, num_train=1, devices=1, nodes=1)
        check_positive(self, ("num_seeds", "hidden", "epochs", "batch_size", "lr"))

    def check_networks(self) -> None:
        """Raises if a chosen network does not exist; a subclass may have others."""
        check_chosen("network", self.networks, [*VARIANTS, *left_networks("digits", self.networks)])

    @property
    def available(self) -> tuple[str, ...]:
        """The chosen networks without those that left the recipe; a subclass may have others."""
        names = tuple(name for name in self.networks if name in VARIANTS)
        if not names:
            refuse_left_networks("digits", self.networks)

        return names

    def network(self, name: str) -> HybridNetwork:
        """A network of the comparison, untrained, with as many parameters as the learned hybrid to within 5 %."""
        return parameter_matched(self.builder(name), self.hidden, self.builder("learned"))

    def builder(self, name: str) -> Callable[[int], HybridNetwork]:
        """A function that builds a network from the features of a pathway; a subclass may have others."""
        return partial(what_where, name, **self.sizes)

    @property
    def sensor(self) -> int:
        """Height and width of the camera [px]."""
        return 16 if self.dataset == "digits" else 34

    @property
    def sizes(self) -> dict[str, Any]:
        """Times and sizes that all networks share."""
        period = self.camera.frame_period
        frame_every = period * self.camera.frame_step
        return {"dt": self.camera.dt, "frame_period": period, "frame_every": frame_every, "sensor": self.sensor}


PRESETS = {
    "quick": Config(num_seeds=1, epochs=6, batch_size=32, num_train=384, hidden=16),
    "default": Config(),
    "five": Config(num_seeds=5),
    "mnist": Config(dataset="mnist", num_seeds=1, epochs=10),
}


def build(config: Config) -> dict[str, HybridNetwork]:
    """Every network of the comparison, untrained, with equal numbers of parameters to within 5 %."""
    return {name: config.network(name) for name in config.available}


def _seeded(config: Config, name: str, seed: int) -> HybridNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return config.network(name)


def recordings(config: Config, data: Path | None = None) -> tuple[HybridRecording, HybridRecording]:
    """Clean recordings of the training samples and of the scored split, the same for every seed."""
    if config.dataset == "digits":
        refuse_data_folder(data, "the digits of scikit-learn")

    splits = load_digits() if config.dataset == "digits" else load_mnist(data)
    train = splits.train.select(torch.arange(len(splits.train.labels))[: config.num_train])
    scored = splits.test if config.split == "test" else splits.validation
    saccades = _saccades(config)

    # fixed seeds, so that only weights and noise differ between the seeds of a comparison
    return (
        hybrid_camera(train.images, train.labels, torch.Generator().manual_seed(1), saccades),
        hybrid_camera(scored.images, scored.labels, torch.Generator().manual_seed(2), saccades),
    )


def with_noise(camera: Camera, frames: Tensor, events: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Inputs of the networks: clean frames and events with noise, drawn at each call."""
    return {
        "frames": add_noise(subsample_frames(frames, camera.frame_step), camera.noise, generator),
        "events": corrupt_events(events, camera.event_loss, camera.spurious, generator),
    }


def _logits(network: HybridNetwork, config: Config, inputs: dict[str, Tensor]) -> Tensor:
    """Logits `(K, B, 10)` of recordings, one for each window, in the precision of the network."""
    return network(_inputs_of(network, inputs), ticks=config.camera.num_steps)[0]["answer"]


def _inputs_of(network: HybridNetwork, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inputs of a network, in its precision."""
    dtype = next(network.parameters()).dtype
    return {name: inputs[name].to(dtype) for name in network.inputs}


def example(config: Config) -> dict[str, Tensor]:
    """A small batch of both inputs, from the embedded digits."""
    digits = load_digits().validation.select(torch.arange(8))
    # images of the size of MNIST, so that an example needs no data folder
    images = F.interpolate(digits.images[:, None], 8 if config.dataset == "digits" else 28, mode="bilinear")[:, 0]
    generator = torch.Generator().manual_seed(0)
    recording = hybrid_camera(images, digits.labels, generator, _saccades(config))

    return with_noise(config.camera, recording.frames, recording.events, generator)


def _saccades(config: Config) -> Saccades:
    side = 1.5 if config.dataset == "digits" else 3.0
    camera = config.camera
    return Saccades(config.sensor, side, camera.num_steps, camera.frame_period, dt=camera.dt)


def noisy_batches(config: Config, training: HybridRecording) -> Batches:
    """Training samples, with new noise in every batch."""
    tensors = {"frames": training.frames, "events": training.events, "labels": training.labels}

    def augment(batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        return {**batch, **with_noise(config.camera, batch["frames"], batch["events"], generator)}

    return Batches(tensors, batch={"frames": 1, "events": 1, "labels": 0}, augment=augment, prefetch=True)


def objective(network: HybridNetwork, batch: dict[str, Tensor], *, config: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of the mean logits of a recording."""
    logits = _logits(network, config, batch).mean(0)
    hits = (logits.argmax(-1) == batch["labels"]).float().mean()
    return F.cross_entropy(logits, batch["labels"]), {"accuracy": hits}


def train(config: Config, run: Run, quiet: bool = False) -> dict[str, Any]:
    """Trains every network with every seed, scores them, and writes the table."""
    refuse_left_networks("digits", [name for name in config.networks if name not in config.available])
    training, scored = recordings(config)
    data = noisy_batches(config, training)

    def train_network(name: str, seed: int, child: Run) -> None:
        network = _seeded(config, name, seed)
        fit(network, [_phase(config, name, seed)], data, settings=_settings(config, seed, quiet), run=child)
        child.save_weights(network)
        child.save_results(score(network, config, scored))

    seeds = range(config.seed, config.seed + config.num_seeds)
    results = report_page.compare(train_children(run, config.networks, seeds, train_network, report_page.NetworkScore))
    run.save_results(results)

    return results


def _phase(config: Config, name: str, seed: int) -> Phase:
    return Phase(
        f"{name}, seed {seed}",
        train=WHOLE,
        objective=partial(objective, config=config),
        epochs=config.epochs,
        optimizer=partial(torch.optim.AdamW, lr=config.lr, weight_decay=0.01),
        scheduler=partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=config.lr, total_steps=config.epochs + 1),
        clip=1.0,
    )


def _settings(config: Config, seed: int, quiet: bool) -> Settings:
    names = ("batch_size", "devices", "nodes", "strategy", "precision", "accelerator")
    return Settings(seed=seed, quiet=quiet, **{name: getattr(config, name) for name in names})


def score(network: HybridNetwork, config: Config, scored: HybridRecording) -> dict[str, Any]:
    """Accuracy after each window over four draws of the noise, and the cost of one recording."""
    by_window, confusions = _answers(network, config, scored)
    frames = scored.frames[:, :_NUM_COUNTED]
    events = scored.events[:, :_NUM_COUNTED]
    inputs = with_noise(config.camera, frames, events, torch.Generator().manual_seed(1000))

    return {
        "accuracy": by_window[-1],
        "accuracy_by_window": by_window,
        "confusions": confusions,
        "parameters": num_parameters(network),
        **report_page.measure_cost(network, _inputs_of(network, inputs)),
    }


def _answers(network: HybridNetwork, config: Config, scored: HybridRecording) -> tuple[list[float], list[list[int]]]:
    """Accuracy of the mean logits so far, and the confusion matrix of the last ones, over four draws of the noise."""
    generator = torch.Generator().manual_seed(1000)
    hits = []
    confusions = torch.zeros(10, 10, dtype=torch.long)

    with evaluating(network):
        for _ in range(_NUM_DRAWS):
            logits = _logits(network, config, with_noise(config.camera, scored.frames, scored.events, generator))
            # a sum has its largest logit where the mean has it
            answers = logits.cumsum(0).argmax(-1)
            hits.append((answers == scored.labels).float().mean(1))
            confusions += torch.bincount(10 * scored.labels + answers[-1], minlength=100).reshape(10, 10)

    return torch.stack(hits).mean(0).tolist(), confusions.tolist()


def calibration(config: Config, num_samples: int, data: Path | None = None) -> dict[str, Tensor]:
    """Inputs from training samples, on which quantisation is calibrated."""
    training, _ = recordings(config, data)
    frames = training.frames[:, :num_samples]
    events = training.events[:, :num_samples]

    # another seed than that of the scores
    return with_noise(config.camera, frames, events, torch.Generator().manual_seed(2000))


def web(config: Mapping[str, Any], results: Mapping[str, Any]) -> WebInputs:
    """A drawing before the simulated camera, for a page; settings of noise become sliders."""
    settings = from_plain(Config, dict(config))
    camera = settings.camera
    noise = {"noise": camera.noise, "event_loss": camera.event_loss, "spurious": camera.spurious}
    return drawn_digits(_saccades(settings), 8 if settings.dataset == "digits" else 28, noise)


def measure(network: HybridNetwork, config: Config, data: Path | None = None) -> dict[str, float]:
    """The accuracy that quantisation may reduce."""
    return {"accuracy": _answers(network, config, recordings(config, data)[1])[0][-1]}


def retrain(network: HybridNetwork, config: Config, epochs: int, data: Path | None = None) -> None:
    """Trains a network further, for example one with a part on a chip."""
    training, _ = recordings(config, data)
    further = replace(config, epochs=epochs, lr=_RETRAINING_RATE * config.lr)
    phase = _phase(further, "retraining", config.seed)
    fit(network, [phase], noisy_batches(config, training), settings=_settings(config, config.seed, quiet=True))


def evaluate(run: Run, data: Path | None = None) -> dict[str, Any]:
    """Scores the trained networks of a run again."""
    return evaluate_networks(run, run.config_as(Config), data)


def evaluate_networks(run: Run, config: Config, data: Path | None) -> dict[str, Any]:
    """Scores the networks of a run that the recipe has."""
    _, scored = recordings(config, data)
    scores: dict[str, list[dict[str, Any]]] = {}
    # networks that left the recipe keep their folder
    children = {path: run for path, run in run.children().items() if path.partition("/")[0] in config.available}

    for number, (path, child) in enumerate(children.items(), start=1):
        _log.info("evaluating %s (%d of %d)", path, number, len(children))
        name = path.partition("/")[0]
        network = config.network(name)
        # other precisions keep their weights in single precision
        if config.precision == "64-true":
            network.double()

        child.load_weights(network)
        scores.setdefault(name, []).append(score(network, config, scored))

    return report_page.compare({name: scores[name] for name in config.available})


def report(run: Run) -> Path:
    """Writes report.html: the table, comparisons, accuracy over time, drawings of the networks."""
    config = run.config_as(Config)
    return write_report(run, config, reproduce_command("digits", config))


def write_report(run: Run, config: Config, command: str) -> Path:
    """Writes the report of the networks of a run that the recipe has."""
    camera = config.camera
    facts = {
        "seeds": f"{config.seed} to {config.seed + config.num_seeds - 1}",
        "dataset": config.dataset,
        "split": config.split,
        "noise": camera.noise,
        "frame step": camera.frame_step,
        "event loss": camera.event_loss,
        "epochs": config.epochs,
    }

    return report_page.write(run, facts, build(config), example(config), command)
