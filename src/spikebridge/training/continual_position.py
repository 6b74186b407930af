"""Where a learning of many tasks stands, and what it must have in common with the one that goes on from there."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from spikebridge.training.consolidation import Consolidation
from spikebridge.training.continual_task import ContinualSettings, Task


@dataclass
class LearningPosition:
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


def learning_identity(
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
