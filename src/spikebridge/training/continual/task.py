"""What is learnt and scored, task by task.

Where a learning of many tasks stands, and what it must have in common with the one that goes on from there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.training.continual.regularizer import Consolidation, LabelledData
from spikebridge.training.continual.subnetwork import Subnetwork
from spikebridge.training.evaluation import evaluating
from spikebridge.training.rng import preserve_rng_state
from spikebridge.training.run.metrics import Row

Forward: TypeAlias = Callable[[nn.Module, Tensor, Mapping[str, Any]], Float[Tensor, "B C"]]
Subnetworks: TypeAlias = Callable[[int], Subnetwork]


class Task(NamedTuple):
    """One task: samples to learn from, and samples to be scored on."""

    train: LabelledData
    test: LabelledData


@dataclass(frozen=True)
class ContinualSettings:
    """How each task is learnt.

    Args:
        epochs: passes over a task's samples.
        batch_size: samples of a step.
        seed: of the order of samples and of all global generators.
        fresh_optimizer: each task begins with an optimizer that remembers nothing; if not, its momentum is kept, and
            its learning rate begins anew all the same.
        checkpoint_every: steps between checkpoints inside a task; 0: at the end of a task alone.
        test_batch_size: samples that are scored at once.
        quiet: no progress on the screen.

    Raises:
        ConfigError: a number that cannot be meant.
    """

    epochs: int = 1
    batch_size: int = 200
    seed: int = 0
    fresh_optimizer: bool = True
    checkpoint_every: int = 0
    test_batch_size: int = 1000
    quiet: bool = False

    def __post_init__(self) -> None:
        least = {"epochs": 1, "batch_size": 1, "seed": 0, "checkpoint_every": 0, "test_batch_size": 1}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise ConfigError(f"{name} should be at least {minimum}, but is {getattr(self, name)}")


@dataclass(frozen=True)
class ContinualResult:
    """What a learning gave.

    Attributes:
        accuracies: `(K + 1, K)`, R of the literature: row k after k tasks, row 0 of the untrained network.
        seconds: of each task's steps, scoring left out; measured, so different in every run.
        rows: as in metrics.jsonl, one a task.
    """

    accuracies: Float[Tensor, "K1 K"]
    seconds: list[float]
    rows: list[Row]


def default_forward(module: nn.Module, x: Tensor, quantities: Mapping[str, Any]) -> Tensor:
    """The logits `(B, C)` of a module, its quantities given as arguments; of one that returns a state too, without it.

    Example:
        >>> default_forward(nn.Linear(3, 2), torch.zeros(5, 3), {}).shape
        torch.Size([5, 2])
    """
    y = module(x, **quantities)
    return y[0] if isinstance(y, tuple) else y


def accuracy(
    module: nn.Module,
    data: LabelledData,
    subnetwork: Subnetwork | None = None,
    forward: Forward = default_forward,
    batch_size: int = 1000,
) -> float:
    """The share of samples whose largest logit is that of their label; in eval mode, no trace in the generators.

    Args:
        module: the network.
        data: samples.
        opening: what of the network is used.
        forward: gives logits.
        batch_size: samples at once.

    Example:
        >>> from spikebridge.data import TaskSamples
        >>> accuracy(nn.Identity(), TaskSamples(torch.eye(2), torch.tensor([0, 0])))
        0.5
    """
    subnetwork = subnetwork or Subnetwork()
    network = subnetwork.module_for(module)
    quantities = subnetwork.quantities if network is module else {}
    place = next(module.parameters(), torch.empty(0)).device
    hits = 0
    with preserve_rng_state(), evaluating(network):
        for indices in torch.arange(len(data)).split(batch_size):
            x, labels = data.select(indices)
            logits = forward(network, x.to(place), quantities)
            hits += int((logits.argmax(1) == labels.to(place)).sum())
    return hits / len(data)


def check_tasks(tasks: Sequence[Task]) -> None:
    """Whether there are tasks, and samples in each.

    Raises:
        ConfigError: no task, or one without samples to learn from or to be scored on.

    Example:
        >>> check_tasks([])
        Traceback (most recent call last):
        spikebridge.errors.ConfigError: a learning needs at least one task
    """
    if not tasks:
        raise ConfigError("a learning needs at least one task")
    for number, task in enumerate(tasks, start=1):
        for what, data in (("learn from", task.train), ("be scored on", task.test)):
            if len(data) == 0:
                raise ConfigError(f"task {number} of {len(tasks)} has no sample to {what}")


@dataclass
class ContinualPosition:
    """Counters of a learning; all are in its checkpoint.

    Attributes:
        task: number of the running task, from 0.
        epoch: epochs of it that are done.
        batch: batches of the running epoch that are done.
        step: batches of the whole learning that are done.
        num_rows: rows that are written.
        loss_sum: of the loss over the samples of the running task.
        num_samples: how many those are.
        seconds: of each task so far.
    """

    task: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    num_rows: int = 0
    loss_sum: float = 0.0
    num_samples: int = 0
    seconds: list[float] = field(default_factory=list)


def continual_identity(
    tasks: Sequence[Task], consolidation: Consolidation, settings: ContinualSettings
) -> dict[str, Any]:
    """What two learnings must have in common for one to go on with the other's checkpoint.

    Args:
        tasks: of the learning.
        consolidation: what keeps old tasks.
        settings: of the learning.
    """
    return {
        "seed": settings.seed,
        "batch_size": settings.batch_size,
        "epochs": settings.epochs,
        "fresh_optimizer": settings.fresh_optimizer,
        "consolidation": type(consolidation).__name__,
        "num_samples": [[len(task.train), len(task.test)] for task in tasks],
    }
