"""Tasks of continual learning: data, settings, results and the accuracy of a task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError, DataError
from spikebridge.ops.modes import evaluating
from spikebridge.training.continual.regularizer import LabelledData, default_logits
from spikebridge.training.continual.subnetwork import Subnetwork
from spikebridge.training.rng import preserve_rng_state
from spikebridge.training.run.metrics import Row
from spikebridge.training.settings import check_minimum

Forward: TypeAlias = Callable[[nn.Module, Tensor, Mapping[str, Any]], Float[Tensor, "B C"]]
Subnetworks: TypeAlias = Callable[[int], Subnetwork]


class Task(NamedTuple):
    """One task: training samples and test samples."""

    train: LabelledData
    test: LabelledData


@dataclass(frozen=True)
class ContinualSettings:
    """The settings of each task's training.

    Args:
        epochs: passes over a task's samples.
        batch_size: samples of a step.
        seed: seed of the order of samples and of all global generators.
        checkpoint_every: steps between checkpoints inside a task; 0: at the end of a task alone.
        test_batch_size: samples of a test batch.
        test_all_after: numbers of learned tasks after which all tasks are tested; after other tasks only the task that
            was learned and the next one are, and the rest of that row is NaN. None: all tasks after each task, whose
            time grows with the square of their number.
        quiet: no progress on the screen.

    Raises:
        ConfigError: a number that cannot be meant.
    """

    epochs: int = 1
    batch_size: int = 200
    seed: int = 0
    checkpoint_every: int = 0
    test_batch_size: int = 1000
    test_all_after: tuple[int, ...] | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        check_minimum(self, epochs=1, batch_size=1, seed=0, checkpoint_every=0, test_batch_size=1)


@dataclass(frozen=True)
class ContinualResult:
    """The result of continual learning of K tasks."""

    accuracies: Float[Tensor, "K1 K"]  # row k after k tasks, R of the literature; NaN where a test was left out
    seconds: list[float]  # of each task's steps, without tests; measured, so different in every run
    rows: list[Row]  # as in metrics.jsonl, one a task


def accuracy(
    module: nn.Module,
    data: LabelledData,
    subnetwork: Subnetwork | None = None,
    forward: Forward = default_logits,
    batch_size: int = 1000,
) -> float:
    """The share of samples whose largest logit is that of their label; in eval mode, generators restored."""
    if not len(data):
        raise DataError("an accuracy needs at least one sample, but there is none")

    subnetwork = subnetwork or Subnetwork()
    network = subnetwork.module_for(module)
    quantities = subnetwork.quantities if network is module else {}
    device = next(module.parameters(), torch.empty(0)).device
    num_correct = 0

    with preserve_rng_state(), evaluating(network):
        for indices in torch.arange(len(data)).split(batch_size):
            x, labels = data.select(indices)
            logits = forward(network, x.to(device), quantities)
            num_correct += int((logits.argmax(1) == labels.to(device)).sum())

    return num_correct / len(data)


def check_tasks(tasks: Sequence[Task]) -> None:
    """Refuses an empty list of tasks and tasks without samples."""
    if not tasks:
        raise ConfigError("continual learning needs at least one task")

    for number, task in enumerate(tasks, start=1):
        for what, data in (("learn from", task.train), ("be scored on", task.test)):
            if len(data) == 0:
                raise ConfigError(f"task {number} of {len(tasks)} has no sample to {what}")
