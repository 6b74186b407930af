"""Many tasks without forgetting: an ANN's view of how alike tasks are opens and closes the neurons of an SNN.

    spikebridge train modulation                      # digits, 20 tasks, HMN beside its rivals
    spikebridge train modulation --preset quick       # 4 tasks, in seconds
    spikebridge train modulation --methods hmn xdg_ewc --num-tasks 40 --num-seeds 4

Tasks come one after the other: the same pictures, their pixels in another order each time, four alike orders a group.
A plain network overwrites old tasks. Here hybrid units turn a task's training pictures into a signal V for each hidden
neuron, 1 open and 0 closed: alike tasks share neurons, unlike ones do not, and at test one unlabelled picture is enough
to find the gate. Every rival is a setting of the same loop (`modulation_methods.py`).

Source: R. Zhao et al., Nature Communications 13:3427 (2022), Fig. 3 and eqs. 14-19.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.modulation import report as modulation_report
from spikebridge.networks.modulation import report as modulation_table
from spikebridge.networks.modulation.evaluation import evaluate as modulation_evaluation
from spikebridge.networks.modulation.evaluation import scores as modulation_scores
from spikebridge.networks.modulation.evaluation.evaluate import Evaluation
from spikebridge.networks.modulation.model.backbone import Gating
from spikebridge.networks.modulation.model.branch import DEFAULT, ORIGINAL, Branch, BranchSettings
from spikebridge.networks.modulation.model.network import as_hybrid_network, branch_and_gating
from spikebridge.networks.modulation.training.gates import UnitSettings, build_gating
from spikebridge.networks.modulation.training.methods import METHODS, tuned
from spikebridge.networks.modulation.training.tasks import (
    DatasetName,
    LabelledInputs,
    TaskSequence,
    load_inputs,
    sequence,
)
from spikebridge.networks.modulation.training.trial import TrialSettings, build_branch, run_trial
from spikebridge.training.run.command import train_command
from spikebridge.training.run.run import Run

__all__ = ["METHODS", "PRESETS", "Config", "Evaluation", "build", "evaluate", "example", "report", "train"]

FEATURES = {"digits": 64, "mnist": 784, "events": 2312, "nmnist": 2312}


@dataclass(frozen=True)
class Config:
    """Settings of the modulation recipe."""

    methods: tuple[str, ...] = ("hmn", "projection", "group_ewc", "xdg_ewc", "snn_ewc", "ann_ewc", "snn", "single")
    """Which methods to train and compare."""
    seed: int = 0
    """The first seed: of orders, gates, weights and batches, the same for every method."""
    num_seeds: int = 1
    """Trainings of each method, with seeds one after the other."""
    dataset: DatasetName = "digits"
    """digits is embedded (8 x 8); mnist and nmnist are read; events are the digits seen by a moving event camera."""
    split: Literal["test", "validation"] = "test"
    """What is scored; settings are chosen on validation."""
    num_train: int | None = None
    """Use only so many training pictures."""
    num_test: int | None = None
    """Use only so many pictures to score."""
    num_tasks: int = 20
    """Tasks to learn, in groups of `group_size`."""
    num_prior: int = 400
    """Tasks before them, which the backbone learns from; the first 165 of 175 groups in the paper."""
    group_size: int = 4
    """Tasks of a group."""
    seen: tuple[int, ...] = (1, 2)
    """Places in a learnt group whose tasks the backbone sees too (released code); empty for none."""
    num_hidden: int = 2000
    """Neurons C of each hidden layer of a gated branch."""
    num_plain: int = 400
    """Neurons of each hidden layer of an ungated one."""
    rho: float = 0.1
    """Share of open neurons."""
    branch: Literal["default", "original"] = "default"
    """Neurons and read-out: `original` is the released code."""
    num_steps: int = 5
    """Steps that a picture is held for (`original`: 10)."""
    logit_scale: float = 0.2
    """Factor of the logits (`original`: 1)."""
    epochs: int = 6
    """Passes over a task's training pictures."""
    batch_size: int = 32
    """Pictures of a step."""
    lr: float | None = None
    """Learning rate, a tenth of it after half of the epochs; None takes the one tuned for each method."""
    momentum: float = 0.9
    """Of SGD; the optimizer is new for each task."""
    strength: float | None = None
    """Of what keeps old tasks: lambda, c or m; None takes the one tuned for each method."""
    num_fisher: int = 400
    """Pictures of a task for the Fisher information."""
    hidden: tuple[int, ...] = ()
    """Sizes of the backbone's ReLU layers; empty is the released code, (512, 512) the paper."""
    num_pairs: int = 800
    """Pairs of tasks that the backbone learns from, each shown six times."""
    unit_lr: float = 3e-3
    """Learning rate of the backbone and its units."""
    unit_scale: float = 5.0
    """Slope of the units' sigmoid."""
    execution: Literal["cut", "full"] = "cut"
    """Train sub-networks of open neurons, or the whole branch with masks; the numbers are the same."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the tasks are learnt; scores are worked out on the CPU."""
    snapshots: bool = False
    """Keep HMN's sub-networks before and after each task, so that transfer can be measured on other pictures later."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot be meant."""
        for name in self.methods:
            if name not in METHODS:
                raise ConfigError(f"no method {name!r}; {did_you_mean(name, METHODS)}")
        if not self.methods:
            raise ConfigError(f"name at least one method of {', '.join(METHODS)}")
        for name in ("num_seeds", "num_tasks", "num_prior", "group_size", "num_hidden", "num_plain", "epochs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} should be at least 1, but is {getattr(self, name)}")
        if self.num_tasks % self.group_size or self.num_prior % self.group_size:
            raise ConfigError(
                f"num_tasks and num_prior should be whole groups of {self.group_size} tasks, but are {self.num_tasks} "
                f"and {self.num_prior}"
            )
        if not 0 < self.rho <= 1:
            raise ConfigError(f"rho, the share of open neurons, should be above 0 and at most 1, but is {self.rho}")

    @property
    def branch_settings(self) -> BranchSettings:
        """Neurons and read-out of the branch."""
        if self.branch == "original":
            return ORIGINAL
        return BranchSettings(**{**vars(DEFAULT), "num_steps": self.num_steps, "logit_scale": self.logit_scale})

    @property
    def units(self) -> UnitSettings:
        """The backbone and its units."""
        return UnitSettings(
            (self.num_hidden, self.num_hidden),
            self.rho,
            self.hidden,
            self.num_pairs,
            lr=self.unit_lr,
            scale=self.unit_scale,
        )

    def trial(self, name: str) -> TrialSettings:
        """Sizes and rates of a method."""
        lr, strength = tuned(self.dataset, name)
        return TrialSettings(
            units=self.units,
            num_plain=self.num_plain,
            branch=self.branch_settings,
            by_open_fan_in=self.branch == "default",
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=lr if self.lr is None else self.lr,
            lr_milestone=max(1, self.epochs // 2),
            momentum=self.momentum,
            strength=strength if self.strength is None else self.strength,
            num_fisher=self.num_fisher,
            cut=self.execution == "cut",
            device=self.device,
        )


FOUR = ("hmn", "projection", "xdg_ewc", "snn_ewc")
# 60,000 recordings, 700 tasks of which 40 are learnt; rates, epochs, batch and lambda are the released code's
PAPER = Config(
    methods=FOUR,
    dataset="nmnist",
    num_seeds=4,
    num_tasks=40,
    num_prior=660,
    num_hidden=512,
    num_plain=512,
    branch="original",
    hidden=(512, 512),
    epochs=10,
    batch_size=200,
    lr=0.05,
    strength=5000.0,
    device="cuda",
)
PRESETS = {
    "quick": Config(
        methods=("hmn", "xdg_ewc", "snn"),
        num_tasks=4,
        num_prior=40,
        num_hidden=500,
        num_plain=200,
        rho=0.2,
        num_train=400,
        num_test=200,
        epochs=4,
        num_pairs=96,
        num_fisher=50,
    ),
    "default": Config(),
    "table": Config(methods=tuple(METHODS), num_tasks=40, num_seeds=4),
    "mnist": Config(methods=FOUR, dataset="mnist", num_hidden=1000, num_plain=400, epochs=3, batch_size=64),
    # what comes with the package: HMN alone, 40 tasks, with what its evaluation on other pictures needs
    "shipped": Config(
        methods=("hmn",),
        dataset="mnist",
        num_tasks=40,
        num_hidden=1000,
        epochs=3,
        batch_size=64,
        snapshots=True,
    ),
    "events": Config(methods=FOUR, dataset="events", num_tasks=12, num_hidden=1000, num_plain=400, epochs=3),
    "paper": PAPER,
    "paper_wide": replace(PAPER, num_hidden=16384, hidden=()),
}


def build(config: Config) -> dict[str, HybridNetwork]:
    """HMN as a hybrid network, untrained: each picture opens its own neurons."""
    return {"hmn": as_hybrid_network(*_parts(config))}


def trained(run: Run) -> dict[str, HybridNetwork]:
    """The same with the weights of a run."""
    branch, gating = _parts(run.config_as(Config))
    modulation_evaluation.load_networks(modulation_evaluation.find_trial(run, "hmn")[1], branch, gating)
    return {"hmn": as_hybrid_network(branch, gating)}


def _parts(config: Config) -> tuple[Branch, Gating]:
    features, hidden = FEATURES[config.dataset], config.units.num_hidden
    return branch_and_gating(features, hidden, config.rho, config.hidden, config.branch_settings)


def example(config: Config) -> dict[str, Tensor]:
    """A few pictures of noise."""
    return {"pictures": torch.rand(1, 4, FEATURES[config.dataset], generator=torch.Generator().manual_seed(0))}


def recordings(config: Config, data: Path | None = None) -> tuple[LabelledInputs, LabelledInputs]:
    """Recordings to train on and to score, in no task's order."""
    train, scored = load_inputs(config.dataset, config.split, data)
    return train.first(config.num_train), scored.first(config.num_test)


def task_sequence(config: Config, seed: int, train: LabelledInputs, scored: LabelledInputs) -> TaskSequence:
    """The tasks of one seed."""
    return sequence(train, scored, seed, config.num_tasks, config.num_prior, config.group_size, config.seen)


def train(config: Config, run: Run, quiet: bool = False) -> dict[str, Any]:
    """Trains every method with every seed, scores it, and writes the table."""
    shown = recordings(config)
    scores: dict[str, list[dict[str, Any]]] = {name: [] for name in config.methods}
    # seeds outside, so that a stopped run has whole comparisons
    for seed in range(config.seed, config.seed + config.num_seeds):
        for name in config.methods:
            scores[name].append(train_trial(config, name, seed, run.child(f"{name}/seed-{seed}"), shown, quiet))
    results = modulation_table.compare(scores)
    run.save_results(results)
    return results


def train_trial(
    config: Config, name: str, seed: int, run: Run, shown: tuple[LabelledInputs, LabelledInputs], quiet: bool = False
) -> dict[str, Any]:
    """One method and one seed, unless its results are there already."""
    if run.finished:
        return run.results()
    method, settings = METHODS[name], config.trial(name)
    tasks = task_sequence(config, seed, *shown)
    trial = run_trial(method, settings, tasks, seed, run, quiet, config.snapshots and name == "hmn")
    modulation_evaluation.save_trial(trial, tasks, run)
    run.save_results(modulation_scores.score(trial, method, settings, tasks, seed, in_full=seed == config.seed))
    return run.results()


def evaluate(run: Run, data: Path | None = None, options: Evaluation | None = None) -> dict[str, Any]:
    """Scores the trained HMN of a run on its own test pictures, or on those of a file."""
    config = run.config_as(Config)
    options = options or Evaluation()
    name, child = modulation_evaluation.find_trial(run, options.method)
    method, settings = METHODS[name], config.trial(name)
    trained, scored = recordings_for(config, data)
    tasks = task_sequence(config, config.seed, trained, scored)
    gating = build_gating(method, tasks, settings.units, config.seed) if method.has_unit else None
    branch = build_branch(method, settings, tasks, gating)
    return modulation_evaluation.evaluate_trial(child, branch, gating, settings, tasks, config.seed, options)


def recordings_for(config: Config, data: Path | None) -> tuple[LabelledInputs, LabelledInputs]:
    """Training pictures are needed for their shape alone where a file brings those to score."""
    if data is None or data.is_dir():
        return recordings(config, data)
    scored = modulation_evaluation.read_inputs(data, FEATURES[config.dataset])
    return scored, scored


def report(run: Run) -> Path:
    """Writes report.html: accuracy over tasks, transfer, representation, cost, table of methods."""
    config = run.config_as(Config)
    return modulation_report.write(run, build(config), train_command("modulation", config))
