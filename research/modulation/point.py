"""A recipe: one method of the modulation network on tuning tasks, at a learning rate, a strength and a share of gates.

    spikebridge sweep research/modulation/point.py --set lr=0.03:0.3:log --set strength=3:30000:log \
        --search optuna --maximize acc

Tuning tasks are of a seed that is never reported, scored on validation pictures that the reported runs never score on;
sizes are those of the reported runs. modulation_tuning.py trains the points of its grid with it.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.modulation import Gating
from spikebridge.networks.modulation import recipe as modulation
from spikebridge.networks.modulation.evaluation.accuracy_matrix import continual_metrics
from spikebridge.networks.modulation.training.gates import build_gating, train_gating
from spikebridge.networks.modulation.training.methods import METHODS
from spikebridge.networks.modulation.training.tasks import DatasetName
from spikebridge.networks.modulation.training.trial import run_trial
from spikebridge.training import Run

SEED = 1000
FIGURES = ("acc", "just_learnt", "forgetting", "transfer")


@dataclass(frozen=True)
class Config:
    """Settings of a point."""

    dataset: DatasetName = "digits"
    """The images."""
    method: str = "hmn"
    """Which method to train."""
    num_tasks: int = 8
    """Tasks to learn."""
    lr: float = 0.1
    """Learning rate."""
    strength: float = 300.0
    """Strength of the regularizer."""
    share: float | None = None
    """Share of open neurons that a task copies from an alike one; None takes that of the method."""

    def __post_init__(self) -> None:
        """Checks the settings."""
        if self.method not in METHODS:
            raise ConfigError(f"no method {self.method!r}; {did_you_mean(self.method, METHODS)}")


PRESETS = {"default": Config()}


def whole(config: Config) -> modulation.Config:
    """The sizes of the reported runs, on validation pictures."""
    base = modulation.PRESETS["mnist" if config.dataset == "mnist" else "table"]
    data = replace(base.data, split="validation")
    return replace(base, seed=SEED, data=data, tasks=replace(base.tasks, num_tasks=config.num_tasks))


@lru_cache
def units_of(config: modulation.Config, name: str) -> Gating | None:
    """The trained units of a method, once for all points of a process."""
    if not METHODS[name].has_unit:
        return None

    settings = config.trial(name)
    tasks = modulation.task_sequence(config, SEED, *modulation.recordings(config))
    gating = build_gating(settings, tasks)
    train_gating(gating, settings, tasks, None, quiet=True)

    return gating


def train(config: Config, run: Run, quiet: bool = False) -> dict[str, Any]:
    """ACC and the rest at the point."""
    sizes = whole(config)
    name = config.method
    tasks = modulation.task_sequence(sizes, SEED, *modulation.recordings(sizes))
    method = METHODS[name] if config.share is None else replace(METHODS[name], shared_fraction=config.share)
    settings = replace(sizes.trial(name), method=method, lr=config.lr, strength=config.strength)
    trial = run_trial(settings, tasks, run, quiet=quiet, gating=units_of(sizes, name))
    found = continual_metrics(trial.result.accuracies, tasks.group)
    results = {key: round(getattr(found, key), 5) for key in FIGURES}
    run.save_results(results)

    return results


def build(config: Config) -> dict[str, HybridNetwork]:
    """HMN as a hybrid network, untrained."""
    return modulation.build(whole(config))


def example(config: Config) -> dict[str, Tensor]:
    """A few images of noise."""
    return modulation.example(whole(config))


def evaluate(run: Run, data: Path | None = None) -> dict[str, Any]:
    """What training wrote down is all."""
    return run.results()


def report(run: Run) -> None:
    """A point has no report of its own."""
