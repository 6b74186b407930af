"""Many tasks without forgetting: an ANN that measures the similarity of tasks opens and closes the neurons of an SNN.

    spikebridge train modulation                      # digits, 20 tasks, HMN and its baselines
    spikebridge train modulation --preset quick       # 4 tasks, in seconds
    spikebridge train modulation --methods hmn xdg_ewc --tasks.num-tasks 40 --num-seeds 4

Tasks are learned one after the other: the same images, their pixels permuted anew for each task, four similar
permutations in a group. A plain network forgets earlier tasks. Here hybrid units turn the training images of a task
into a signal V for each hidden neuron, 1 open and 0 closed. Similar tasks share neurons, unrelated tasks do not, and at
test time one unlabelled image is enough to infer the gate. Every baseline is a setting of the same training loop
(`training/methods.py`).

Source: R. Zhao et al., Nature Communications 13:3427 (2022), Fig. 3 and eqs. 14-19.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from spikebridge.data.tasks.permuted import GroupedPermutations
from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.modulation import report as report_page
from spikebridge.networks.modulation.evaluation.evaluate import (
    EvaluationOptions,
    evaluate_trial,
    find_trial,
    load_networks,
    read_inputs,
    save_trial,
)
from spikebridge.networks.modulation.evaluation.scores import score
from spikebridge.networks.modulation.model.backbone import Backbone, Gating
from spikebridge.networks.modulation.model.branch import DEFAULT, ORIGINAL, Branch
from spikebridge.networks.modulation.model.gating import KWinners
from spikebridge.networks.modulation.model.network import hybrid_modulation_network
from spikebridge.networks.modulation.training.methods import METHODS, TrialSettings, UnitSettings, tuned
from spikebridge.networks.modulation.training.tasks import (
    NUM_FEATURES,
    DatasetName,
    LabelledInputs,
    TaskSequence,
    load_inputs,
)
from spikebridge.networks.modulation.training.trial import run_trial
from spikebridge.training.run.config_io import reproduce_command
from spikebridge.training.run.run import Run
from spikebridge.training.settings import check_chosen, check_least, check_positive

Evaluation = EvaluationOptions
__all__ = ["METHODS", "PRESETS", "Config", "Evaluation", "build", "evaluate", "example", "report", "train"]


@dataclass(frozen=True)
class DataConfig:
    """The images."""

    dataset: DatasetName = "digits"
    """digits is embedded (8 x 8); mnist and nmnist are read; events are the digits before a moving event camera."""
    split: Literal["test", "validation"] = "test"
    """The split that is scored; settings are chosen on validation."""
    num_train: int | None = None
    """Use only this number of training images."""
    num_test: int | None = None
    """Score only this number of images."""


@dataclass(frozen=True)
class TaskConfig:
    """The task sequence."""

    num_tasks: int = 20
    """Tasks to learn, in groups of `group_size`."""
    num_prior: int = 400
    """Prior tasks, on which the backbone is trained; the paper uses the first 165 of 175 groups."""
    group_size: int = 4
    """Tasks in a group of similar tasks."""
    seen: tuple[int, ...] = (1, 2)
    """Positions in a learned group whose tasks the backbone is trained on too (released code); empty for none."""


@dataclass(frozen=True)
class BranchConfig:
    """The branch: the SNN whose neurons are gated."""

    num_hidden: int = 2000
    """Neurons C of each hidden layer of a gated branch."""
    num_plain: int = 400
    """Neurons of each hidden layer of an ungated branch."""
    rho: float = 0.1
    """Share of open neurons in each hidden layer."""
    branch: Literal["default", "original"] = "default"
    """Neurons and read-out; `original` is the released code."""
    num_steps: int = 5
    """Time steps for which an image is presented (`original`: 10)."""
    logit_scale: float = 0.2
    """Scale of the logits (`original`: 1)."""


@dataclass(frozen=True)
class UnitConfig:
    """The backbone and its hybrid units."""

    hidden: tuple[int, ...] = ()
    """Sizes of the backbone's ReLU layers; empty is the released code, (512, 512) the paper."""
    num_pairs: int = 800
    """Pairs of tasks on which the backbone is trained, six times each."""
    lr: float = 3e-3
    """Learning rate of the backbone and its units."""
    scale: float = 5.0
    """Slope of the units' sigmoid."""


@dataclass(frozen=True)
class TrainingConfig:
    """The training of each task."""

    epochs: int = 6
    """Passes over a task's training images."""
    batch_size: int = 32
    """Images of a training step."""
    lr: float | None = None
    """Learning rate, a tenth of it after half of the epochs; None takes the rate tuned for each method."""
    momentum: float = 0.9
    """Momentum of SGD; each task starts with a new optimizer."""
    strength: float | None = None
    """Strength of the regularizer (lambda, c or m); None takes the value tuned for each method."""
    num_fisher: int = 400
    """Images of a task for the Fisher information."""
    execution: Literal["cut", "full"] = "cut"
    """Train sub-networks of the open neurons, or the whole branch with masks; the results are equal."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Device of the training; scores are computed on the CPU."""


@dataclass(frozen=True)
class Config:
    """Settings of the modulation recipe."""

    methods: tuple[str, ...] = ("hmn", "projection", "group_ewc", "xdg_ewc", "snn_ewc", "ann_ewc", "snn", "single")
    """Which methods to train and compare."""
    seed: int = 0
    """The first seed: of permutations, gates, weights and batches, the same for every method."""
    num_seeds: int = 1
    """Trainings of each method, with consecutive seeds."""
    snapshots: bool = False
    """Keep HMN's sub-networks before and after each task, to measure transfer on other images later."""
    data: DataConfig = DataConfig()
    """The images."""
    tasks: TaskConfig = TaskConfig()
    """The task sequence."""
    network: BranchConfig = BranchConfig()
    """The branch: the SNN whose neurons are gated."""
    units: UnitConfig = UnitConfig()
    """The backbone and its hybrid units."""
    training: TrainingConfig = TrainingConfig()
    """The training of each task."""

    RENAMED_FIELDS: ClassVar[dict[str, str]] = {"unit_lr": "units.lr", "unit_scale": "units.scale", "lr": "training.lr"}
    """Fields of run folders of release 0.1; those without an entry kept their names."""

    def __post_init__(self) -> None:
        """Checks the settings."""
        check_chosen("method", self.methods, METHODS)
        check_least(self, seed=0, num_seeds=1)
        check_least(self.data, "data", num_train=1, num_test=1)
        check_least(self.tasks, "tasks", num_tasks=1, num_prior=1, group_size=1)
        check_least(self.network, "network", num_hidden=1, num_plain=1, num_steps=1)
        check_positive(self.network, ["logit_scale"], "network")
        check_least(self.units, "units", num_pairs=1)
        check_positive(self.units, ("lr", "scale"), "units")
        check_least(self.training, "training", epochs=1, batch_size=1, num_fisher=1, strength=0.0)
        check_positive(self.training, ["lr"], "training")

        if not 0 <= self.training.momentum < 1:
            raise ConfigError(f"training.momentum should be from 0 to below 1, but is {self.training.momentum}")

        size = self.tasks.group_size
        if self.tasks.num_tasks % size or self.tasks.num_prior % size:
            raise ConfigError(
                f"num_tasks and num_prior should be whole groups of {size} tasks, but are {self.tasks.num_tasks} "
                f"and {self.tasks.num_prior}"
            )

        if not 0 < self.network.rho <= 1:
            raise ConfigError(f"rho, the share of open neurons, should be above 0 to 1, but is {self.network.rho}")

    def trial(self, name: str, seed: int | None = None) -> TrialSettings:
        """One method with one seed, by default the first."""
        network = self.network
        units = self.units
        training = self.training
        lr, strength = tuned(self.data.dataset, name)
        shape = (network.num_hidden, network.num_hidden)
        default = replace(DEFAULT, num_steps=network.num_steps, logit_scale=network.logit_scale)

        return TrialSettings(
            method=METHODS[name],
            seed=self.seed if seed is None else seed,
            units=UnitSettings(shape, network.rho, units.hidden, units.num_pairs, lr=units.lr, scale=units.scale),
            branch=ORIGINAL if network.branch == "original" else default,
            num_plain=network.num_plain,
            scale_by_open_fan_in=network.branch == "default",
            epochs=training.epochs,
            batch_size=training.batch_size,
            lr=lr if training.lr is None else training.lr,
            lr_milestone=max(1, training.epochs // 2),
            momentum=training.momentum,
            strength=strength if training.strength is None else training.strength,
            num_fisher=training.num_fisher,
            extract=training.execution == "cut",
            device=training.device,
        )


_FOUR = ("hmn", "projection", "xdg_ewc", "snn_ewc")
# 60,000 recordings, 700 tasks of which 40 are learned; rates, epochs, batch and lambda are the released code's
_PAPER = Config(
    methods=_FOUR,
    num_seeds=4,
    data=DataConfig("nmnist"),
    tasks=TaskConfig(num_tasks=40, num_prior=660),
    network=BranchConfig(num_hidden=512, num_plain=512, branch="original"),
    units=UnitConfig(hidden=(512, 512)),
    training=TrainingConfig(epochs=10, batch_size=200, lr=0.05, strength=5000.0, device="cuda"),
)
PRESETS = {
    "quick": Config(
        methods=("hmn", "xdg_ewc", "snn"),
        data=DataConfig(num_train=400, num_test=200),
        tasks=TaskConfig(num_tasks=4, num_prior=40),
        network=BranchConfig(num_hidden=500, num_plain=200, rho=0.2),
        units=UnitConfig(num_pairs=96),
        training=TrainingConfig(epochs=4, num_fisher=50),
    ),
    "default": Config(),
    "table": Config(methods=tuple(METHODS), num_seeds=4, tasks=TaskConfig(num_tasks=40)),
    "mnist": Config(
        methods=_FOUR,
        data=DataConfig("mnist"),
        network=BranchConfig(num_hidden=1000),
        training=TrainingConfig(epochs=3, batch_size=64),
    ),
    # the weights of the package: HMN alone, 40 tasks, with what its evaluation on other images needs
    "shipped": Config(
        methods=("hmn",),
        snapshots=True,
        data=DataConfig("mnist"),
        tasks=TaskConfig(num_tasks=40),
        network=BranchConfig(num_hidden=1000),
        training=TrainingConfig(epochs=3, batch_size=64),
    ),
    "events": Config(
        methods=_FOUR,
        data=DataConfig("events"),
        tasks=TaskConfig(num_tasks=12),
        network=BranchConfig(num_hidden=1000),
        training=TrainingConfig(epochs=3),
    ),
    "paper": _PAPER,
    "paper_wide": replace(_PAPER, network=replace(_PAPER.network, num_hidden=16384), units=UnitConfig()),
}


def build(config: Config) -> dict[str, HybridNetwork]:
    """HMN as a hybrid network, untrained: each image sets its own gates."""
    return {"hmn": hybrid_modulation_network(*_parts(config))}


def trained(run: Run) -> dict[str, HybridNetwork]:
    """The same with the weights of a run."""
    branch, gating = _parts(run.config_as(Config))
    load_networks(find_trial(run, "hmn"), branch, gating)
    return {"hmn": hybrid_modulation_network(branch, gating)}


def _parts(config: Config) -> tuple[Branch, Gating]:
    features = NUM_FEATURES[config.data.dataset]
    units = config.trial("hmn").units
    backbone = Backbone(features, units.num_hidden, hidden=units.hidden)
    branch = Branch(features, units.num_hidden, settings=config.trial("hmn").branch)

    return branch, Gating(backbone, [KWinners(units.rho), KWinners(units.rho)])


def example(config: Config) -> dict[str, Tensor]:
    """A few images of noise."""
    generator = torch.Generator().manual_seed(0)
    return {"pictures": torch.rand(1, 4, NUM_FEATURES[config.data.dataset], generator=generator)}


def recordings(config: Config, data: Path | None = None) -> tuple[LabelledInputs, LabelledInputs]:
    """The images to train on and to score, not permuted."""
    train, scored = load_inputs(config.data.dataset, config.data.split, data)
    return train.first(config.data.num_train), scored.first(config.data.num_test)


def task_sequence(config: Config, seed: int, train: LabelledInputs, scored: LabelledInputs) -> TaskSequence:
    """The tasks of one seed, the same for every method."""
    tasks = config.tasks
    generator = torch.Generator().manual_seed(seed)
    number = tasks.num_prior + tasks.num_tasks
    permutations = GroupedPermutations(train.inputs.shape[-1], number, tasks.group_size, generator=generator)
    split = permutations.split(tasks.num_tasks // tasks.group_size, tasks.seen)

    return TaskSequence(permutations, split, train, scored)


def train(config: Config, run: Run, quiet: bool = False) -> dict[str, Any]:
    """Trains every method with every seed, scores it, and writes the table."""
    inputs = recordings(config)
    scores: dict[str, list[dict[str, Any]]] = {name: [] for name in config.methods}

    # seeds outside, so that a stopped run has whole comparisons
    for seed in range(config.seed, config.seed + config.num_seeds):
        for name in config.methods:
            child = run.child(f"{name}/seed-{seed}")
            scores[name].append(train_trial(config, config.trial(name, seed), child, inputs, quiet))

    results = report_page.compare(scores)
    run.save_results(results)

    return results


def train_trial(
    config: Config,
    settings: TrialSettings,
    run: Run,
    inputs: tuple[LabelledInputs, LabelledInputs],
    quiet: bool = False,
) -> dict[str, Any]:
    """One method and one seed, unless its results exist already."""
    if not run.finished:
        tasks = task_sequence(config, settings.seed, *inputs)
        snapshots = config.snapshots and settings.method == METHODS["hmn"]
        trial = run_trial(settings, tasks, run, quiet=quiet, snapshots=snapshots)
        save_trial(trial, tasks, run)
        run.save_results(score(trial, settings, tasks, in_full=settings.seed == config.seed))

    return run.results()


def evaluate(run: Run, data: Path | None = None, options: Evaluation | None = None) -> dict[str, Any]:
    """Scores the trained HMN of a run on its own test images, or on those of a file."""
    config = run.config_as(Config)
    options = options or Evaluation()
    child = find_trial(run, options.method)
    settings = config.trial(options.method)

    if data is None or data.is_dir():
        train, scored = recordings(config, data)
    else:
        # of the training images only the shape is needed
        train = scored = read_inputs(data, NUM_FEATURES[config.data.dataset])

    return evaluate_trial(child, settings, task_sequence(config, config.seed, train, scored), options)


def report(run: Run) -> Path:
    """Writes report.html: accuracy over tasks, transfer, representation, cost, table of methods."""
    config = run.config_as(Config)
    fields = {"seed": config.seed, "num_seeds": config.num_seeds}
    for group in (config.data, config.tasks, config.network, config.training):
        fields |= asdict(group)

    names = ("dataset", "split", "num_tasks", "num_seeds", "seed", "num_hidden", "rho", "epochs", "batch_size")
    facts = {name: fields[name] for name in names}

    return report_page.write(run, facts, build(config), reproduce_command("modulation", config))
