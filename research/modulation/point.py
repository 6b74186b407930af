"""A recipe: one method of the modulation network on tuning tasks, at a learning rate, a strength and a share of gates.

    spikebridge sweep research/modulation/point.py --set lr=0.03:0.3:log --set strength=3:30000:log \
        --search optuna --maximize acc

Tuning tasks are of a seed that is never reported, scored on validation images that the reported runs never score on;
sizes are those of the reported runs. tuning.py trains the points of its grid with it.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from research.modulation.variants import PRESETS as VARIANT_PRESETS
from research.modulation.variants import VARIANTS, settings_of, with_shares
from spikebridge.data.images.digits import load_digits
from spikebridge.data.images.mnist import load_mnist
from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.modulation import recipe as modulation
from spikebridge.networks.modulation.config import DatasetName
from spikebridge.networks.modulation.evaluation.accuracy_matrix import continual_metrics
from spikebridge.networks.modulation.training.tasks import LabelledInputs, flat
from spikebridge.training import Run

SEED = 1000
FIGURES = ("acc", "just_learnt", "forgetting", "transfer")


@dataclass(frozen=True)
class Config:
    """Settings of a point."""

    dataset: DatasetName = "digits"
    """The images."""
    method: str = "hmn"
    """The method to train."""
    num_tasks: int = 8
    """Tasks to learn."""
    lr: float = 0.1
    """Learning rate."""
    strength: float = 300.0
    """Strength of the regularizer."""
    share: float | None = None
    """Share of open neurons that a task copies from a similar one; None is that of the method."""

    def __post_init__(self) -> None:
        """Checks the settings."""
        if self.method not in VARIANTS:
            raise ConfigError(f"no method {self.method!r}; {did_you_mean(self.method, VARIANTS)}")


PRESETS = {"default": Config()}


def whole(config: Config) -> modulation.Config:
    """The sizes of the reported runs, at the rate and strength of the point."""
    base = modulation.PRESETS["mnist"] if config.dataset == "mnist" else VARIANT_PRESETS["table"]
    return replace(
        base,
        seed=SEED,
        tasks=replace(base.tasks, num_tasks=config.num_tasks),
        training=replace(base.training, lr=config.lr, strength=config.strength),
    )


@lru_cache(maxsize=1)
def validation_images(dataset: DatasetName) -> tuple[LabelledInputs, LabelledInputs]:
    """Training images, and others that are held out of them."""
    splits = load_mnist(None, num_validation=1000) if dataset == "mnist" else load_digits(num_validation=280)
    return flat(splits.train), flat(splits.validation)


def train(config: Config, run: Run, quiet: bool = False) -> dict[str, Any]:
    """ACC and further figures at the point."""
    sizes = whole(config)
    sequence = modulation.task_sequence(sizes, SEED, *validation_images(config.dataset))
    settings = settings_of(sizes, config.method)

    if config.share is None:
        trial = VARIANTS[config.method].learn(settings, sequence, run)
    else:
        trial = with_shares(settings, sequence, run, config.share)

    metrics = continual_metrics(trial.result.accuracies, sequence.group)
    results = {key: round(getattr(metrics, key), 5) for key in FIGURES}
    run.save_results(results)

    return results


def build(config: Config) -> dict[str, HybridNetwork]:
    """HMN as a hybrid network, untrained."""
    return modulation.build(whole(config))


def example(config: Config) -> dict[str, Tensor]:
    """A few images of noise."""
    return modulation.example(whole(config))


def evaluate(run: Run, data: Path | None = None) -> dict[str, Any]:
    """The results of the training."""
    return run.results()


def report(run: Run) -> None:
    """A point has no report of its own."""
