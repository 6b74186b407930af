"""The task loop: many tasks, one after the other, learnt by one network; after each, all of them are scored.

It takes any module. Gates, thresholds and sub-networks of a task come as an `Opening`; what keeps old tasks is a
`Consolidation`. The optimizer is made anew for each task unless said otherwise.

**Exact resume.** A checkpoint is written after each task (and every so many steps, if asked). On a CPU a learning that
was killed at any moment ends with the bits of one that was never stopped.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from spikebridge.errors import ConfigError, DataError
from spikebridge.training.batches import epoch_order
from spikebridge.training.continual.opening import Opening
from spikebridge.training.continual.regularizer import Consolidation, trained_parameters
from spikebridge.training.continual.subnetwork import Method, Part
from spikebridge.training.continual.task import (
    ContinualSettings,
    Forward,
    LearningPosition,
    Learnt,
    Openings,
    Task,
    accuracy,
    check_tasks,
    learning_identity,
    plain_forward,
)
from spikebridge.training.evaluation import evaluating, kept_modes
from spikebridge.training.position import check_identity
from spikebridge.training.progress import Progress, progress_for
from spikebridge.training.rng import capture, kept_generators, restore, seed_generators
from spikebridge.training.run.checkpoint import load_checkpoint, save_checkpoint
from spikebridge.training.run.metrics import Row
from spikebridge.training.run.run import Run
from spikebridge.training.run.weights import check_fit, restore_exactly, tensors_of
from spikebridge.training.settings import Interrupt


def learn(
    module: nn.Module,
    tasks: Sequence[Task],
    *,
    optimizer: Callable[[Iterable[Parameter]], Optimizer],
    scheduler: Callable[[Optimizer], LRScheduler] | None = None,
    consolidation: Consolidation | None = None,
    openings: Openings | None = None,
    forward: Forward = plain_forward,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    measure: Callable[[nn.Module, int], Mapping[str, float]] | None = None,
    settings: ContinualSettings | None = None,
    run: Run | None = None,
    progress: Progress | None = None,
) -> Learnt:
    """Learns one task after the other and scores all of them after each.

    The result is a function of the arguments. The module is trained in place, on its device.

    Args:
        module: any module.
        tasks: in their order.
        optimizer: makes the optimizer from the parameters, for each task; SGD, Adam or AdamW where a consolidation
            takes proximal steps.
        scheduler: makes the schedule of the learning rate, for each task; it steps once an epoch.
        consolidation: what keeps old tasks; None for nothing.
        openings: what of the network each task may use, by the task's number, for learning and scoring; called once a
            task. None opens all.
        forward: `(module, x, quantities) -> logits (B, C)`.
        loss: `(logits, labels) -> mean over the samples`.
        measure: measures the network after each task, given how many are learnt; its numbers go into the row.
        settings: epochs, batch size, seed.
        run: where metrics and checkpoints go; if it holds a checkpoint, the learning goes on from there.
        progress: shows how far the learning is; None takes bars, lines or nothing, as the screen and `settings.quiet`
            say.

    Raises:
        ConfigError: no task, one without samples, nothing to train, a checkpoint of another learning, or an optimizer
            that is to be kept although sub-networks are cut: its momentum would be of other neurons.
        DataError: a loss that is not finite, or no whole checkpoint among those of the run.
        KeyboardInterrupt: after the first Ctrl-C, as soon as the running step is done and a checkpoint is written.

    Example:
        >>> from functools import partial
        >>> from spikebridge.data import TaskSamples
        >>> line = nn.Linear(2, 2, bias=False)
        >>> _ = nn.init.zeros_(line.weight)
        >>> x, labels = torch.eye(2), torch.tensor([0, 1])
        >>> one, swapped = (TaskSamples(x, labels, order=torch.tensor(order)) for order in ([0, 1], [1, 0]))
        >>> tasks = [Task(one, one), Task(swapped, swapped)]
        >>> sgd = partial(torch.optim.SGD, lr=1.0)
        >>> settings = ContinualSettings(epochs=5, batch_size=2, quiet=True)
        >>> learn(line, tasks, optimizer=sgd, settings=settings).accuracies[1].tolist()  # the other is its opposite
        [1.0, 0.0]
    """
    check_tasks(tasks)
    if not trained_parameters(module):
        raise ConfigError(f"this {type(module).__name__} has no parameter to train")
    settings = settings or ContinualSettings()
    show = progress or progress_for(settings.quiet)
    with kept_generators(), kept_modes(module), show, Interrupt(active=run is not None) as interrupt:
        method = Method(optimizer, scheduler, consolidation or Consolidation(), openings, forward, loss, measure)
        return _Learning(module, tasks, method, settings, run, show, interrupt).run_all()


class _Learning:
    def __init__(
        self,
        module: nn.Module,
        tasks: Sequence[Task],
        method: Method,
        settings: ContinualSettings,
        run: Run | None,
        progress: Progress,
        interrupt: Interrupt,
    ) -> None:
        self.module, self.tasks, self.method, self.settings = module, tasks, method, settings
        self.run, self.progress, self.interrupt = run, progress, interrupt
        self.device = next(module.parameters()).device
        self.identity = learning_identity(tasks, method.consolidation, settings)
        self.position = LearningPosition()
        self.accuracies = torch.full((len(tasks) + 1, len(tasks)), math.nan, dtype=torch.float64)
        self.rows: list[Row] = []
        self.openings: dict[int, Opening] = {}
        self.momentum: Any = None

    def run_all(self) -> Learnt:
        seed_generators(self.settings.seed)
        saved = self._resume()
        if saved is None:
            self._score(0)
        for _ in range(self.position.task, len(self.tasks)):
            self._task(saved)
            saved = None
        return Learnt(self.accuracies, self.position.seconds, self.rows)

    def opening(self, task: int) -> Opening:
        if task not in self.openings:
            self.openings[task] = Opening() if self.method.openings is None else self.method.openings(task)
        return self.openings[task]

    def _task(self, saved: dict[str, Any] | None) -> None:
        at, task = self.position, self.tasks[self.position.task]
        opening = self.opening(at.task)
        if opening.cut is not None and not self.settings.fresh_optimizer:
            raise ConfigError(
                "momentum cannot be kept where sub-networks are cut; take fresh_optimizer=True, or no cut"
            )
        part = Part(self.module, opening, self.method, self.momentum)
        if saved is not None and saved["optimizer"] is not None:
            part.restore(saved)
        if len(at.seconds) == at.task:
            at.seconds.append(0.0)
        steps = math.ceil(len(task.train) / self.settings.batch_size)
        title = f"task {at.task + 1}/{len(self.tasks)}"
        self.progress.begin_epoch(title, steps * self.settings.epochs, at.epoch * steps + at.batch)
        for _ in range(at.epoch, self.settings.epochs):
            self._epoch(part, task)
        began = time.perf_counter()
        part.end_of_task(task.train)
        self.momentum = None if self.settings.fresh_optimizer else part.optimizer.state_dict()["state"]
        at.seconds[-1] += time.perf_counter() - began
        part.paste()
        self._score(at.task + 1)
        row = self._row()
        self._log(row)
        self.progress.end_epoch(title, row)
        at.task, at.epoch, at.loss_sum, at.num_samples = at.task + 1, 0, 0.0, 0
        self._pause(None, due=True)

    def _epoch(self, part: Part, task: Task) -> None:
        at = self.position
        order = epoch_order(len(task.train), self.settings.seed, at.task, at.epoch)
        batches = order.split(self.settings.batch_size)
        for indices in batches[at.batch :]:
            began = time.perf_counter()
            x, labels = task.train.select(indices)
            value = part.step(x.to(self.device), labels.to(self.device))
            at.seconds[-1] += time.perf_counter() - began
            at.step, at.batch = at.step + 1, at.batch + 1
            if not math.isfinite(value):
                raise DataError(
                    f"the loss is {value} in task {at.task + 1}, epoch {at.epoch + 1}, step {at.step}: the learning "
                    "has diverged; take a lower learning rate, a proximal step, or look for NaN in the data"
                )
            at.loss_sum, at.num_samples = at.loss_sum + value * len(indices), at.num_samples + len(indices)
            self.progress.step({"loss": value})
            if at.batch < len(batches):
                self._pause(part, self._due())
        at.epoch, at.batch = at.epoch + 1, 0
        part.end_epoch()
        if at.epoch < self.settings.epochs:
            self._pause(part, self._due())

    def _score(self, num_learnt: int) -> None:
        for number, task in enumerate(self.tasks):
            share = accuracy(
                self.module, task.test, self.opening(number), self.method.forward, self.settings.test_batch_size
            )
            self.accuracies[num_learnt, number] = share

    def _row(self) -> Row:
        at = self.position
        scores = self.accuracies[at.task + 1]
        measured: Mapping[str, float] = {}
        if self.method.measure is not None:
            with kept_generators(), evaluating(self.module):
                measured = self.method.measure(self.module, at.task + 1)
        return {
            "kind": "task",
            "task": at.task + 1,
            "step": at.step,
            "loss": at.loss_sum / at.num_samples,
            "just learnt": scores[at.task].item(),
            "learnt so far": scores[: at.task + 1].mean().item(),
            "accuracies": scores.tolist(),
            "seconds": at.seconds[-1],
            **{f"measured/{name}": float(value) for name, value in measured.items()},
        }

    def _log(self, row: Row) -> None:
        self.rows.append(row)
        self.position.num_rows += 1
        if self.run is not None:
            self.run.log(row)

    def _due(self) -> bool:
        every = self.settings.checkpoint_every
        return every > 0 and self.position.step % every == 0

    def _pause(self, part: Part | None, due: bool) -> None:
        """Between two steps: a checkpoint if one is due, the end if that was asked for."""
        if due or self.interrupt.asked:
            self._save(part)
        if self.interrupt.asked:
            raise KeyboardInterrupt(
                f"stopped at step {self.position.step}; its checkpoint is written (--resume goes on)"
            )

    def _save(self, part: Part | None) -> None:
        if self.run is None or not self.run.writes:
            return
        if part is not None:
            part.paste()
        tree = {
            "identity": self.identity,
            "position": asdict(self.position),
            "weights": tensors_of(self.module),
            "consolidation": self.method.consolidation.state_dict(),
            "optimizer": None if part is None else part.optimizer.state_dict(),
            "scheduler": None if part is None or part.scheduler is None else part.scheduler.state_dict(),
            "momentum": self.momentum,
            "accuracies": self.accuracies,
            "generators": capture(),
        }
        save_checkpoint(self.run.checkpoint, self.position.step, tree)

    def _resume(self) -> dict[str, Any] | None:
        if self.run is None:
            return None
        saved = load_checkpoint(self.run.checkpoint)
        if saved is not None:
            check_identity(saved["identity"], self.identity, self.run.checkpoint)
            check_fit(saved["weights"], self.module, str(self.run.checkpoint))
            restore_exactly(saved["weights"], self.module)
            self.method.consolidation.load_state_dict(saved["consolidation"], self.device)
            self.position = LearningPosition(**saved["position"])
            self.accuracies, self.momentum = saved["accuracies"], saved["momentum"]
            self.rows = self.run.metrics.rows()[: self.position.num_rows]
            restore(saved["generators"])
        if self.run.writes:
            self.run.metrics.truncate(self.position.num_rows)
            self.run.save_environment(
                seed=self.settings.seed, device=str(self.device), num_threads=torch.get_num_threads()
            )
        return saved
