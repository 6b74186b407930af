"""The task loop: many tasks, one after the other, learnt by one network; after each, all of them are scored.

It takes any module. Gates, thresholds and sub-networks of a task come as an `Subnetwork`; what keeps old tasks is a
`Consolidation`. The optimizer is made anew for each task unless said otherwise.

**Exact resume.** A checkpoint is written after each task (and every so many steps, if asked). On a CPU a learning that
was killed at any moment ends with the bits of one that was never stopped.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from spikebridge.errors import ConfigError, DataError
from spikebridge.training.batches import epoch_order
from spikebridge.training.continual.regularizer import trained_parameters
from spikebridge.training.continual.subnetwork import Subnetwork
from spikebridge.training.continual.task import (
    ContinualPosition,
    ContinualResult,
    ContinualSettings,
    Task,
    accuracy,
    check_tasks,
    continual_identity,
)
from spikebridge.training.continual.trainer import ContinualMethod, TaskTrainer
from spikebridge.training.evaluation import evaluating, preserve_modes
from spikebridge.training.position import check_identity
from spikebridge.training.progress import Progress, choose_progress
from spikebridge.training.rng import get_rng_state, preserve_rng_state, seed_rng, set_rng_state
from spikebridge.training.run.checkpoint import load_checkpoint, save_checkpoint
from spikebridge.training.run.metrics import Row
from spikebridge.training.run.run import Run
from spikebridge.training.run.weights import check_compatible, load_exactly, state_tensors
from spikebridge.training.settings import Interrupt


def fit_tasks(
    module: nn.Module,
    tasks: Sequence[Task],
    method: ContinualMethod,
    *,
    settings: ContinualSettings | None = None,
    run: Run | None = None,
    progress: Progress | None = None,
) -> ContinualResult:
    """Trains one task after the other and tests all of them after each.

    The result is a function of the arguments. The module is trained in place, on its device.

    Args:
        module: any module.
        tasks: in their order.
        method: optimizer, consolidation, sub-networks, loss.
        settings: epochs, batch size, seed.
        run: where metrics and checkpoints go; a checkpoint that it holds is resumed.
        progress: shows the progress; None takes bars, lines or nothing, as the screen and `settings.quiet` say.

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
        >>> fit_tasks(line, tasks, ContinualMethod(optimizer=sgd), settings=settings).accuracies[1].tolist()
        [1.0, 0.0]
    """
    check_tasks(tasks)
    if not trained_parameters(module):
        raise ConfigError(f"this {type(module).__name__} has no parameter to train")
    settings = settings or ContinualSettings()
    show = progress or choose_progress(settings.quiet)
    with preserve_rng_state(), preserve_modes(module), show, Interrupt(active=run is not None) as interrupt:
        return _Learning(module, tasks, method, settings, run, show, interrupt).run_all()


class _Learning:
    def __init__(
        self,
        module: nn.Module,
        tasks: Sequence[Task],
        method: ContinualMethod,
        settings: ContinualSettings,
        run: Run | None,
        progress: Progress,
        interrupt: Interrupt,
    ) -> None:
        self.module, self.tasks, self.method, self.settings = module, tasks, method, settings
        self.run, self.progress, self.interrupt = run, progress, interrupt
        self.device = next(module.parameters()).device
        self.identity = continual_identity(tasks, method.consolidation, settings)
        self.position = ContinualPosition()
        self.accuracies = torch.full((len(tasks) + 1, len(tasks)), math.nan, dtype=torch.float64)
        self.rows: list[Row] = []
        self.subnetworks: dict[int, Subnetwork] = {}
        self.momentum: Any = None

    def run_all(self) -> ContinualResult:
        seed_rng(self.settings.seed)
        saved = self._resume()
        if saved is None:
            self._score(0)
        for _ in range(self.position.task, len(self.tasks)):
            self._task(saved)
            saved = None
        return ContinualResult(self.accuracies, self.position.seconds, self.rows)

    def subnetwork(self, task: int) -> Subnetwork:
        if task not in self.subnetworks:
            self.subnetworks[task] = Subnetwork() if self.method.subnetworks is None else self.method.subnetworks(task)
        return self.subnetworks[task]

    def _task(self, saved: dict[str, Any] | None) -> None:
        at, task = self.position, self.tasks[self.position.task]
        subnetwork = self.subnetwork(at.task)
        if subnetwork.extract is not None and not self.settings.fresh_optimizer:
            raise ConfigError(
                "momentum cannot be kept where sub-networks are extracted; take fresh_optimizer=True, or no extract"
            )
        part = TaskTrainer(self.module, subnetwork, self.method, self.momentum)
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
        part.write_back()
        self._score(at.task + 1)
        row = self._row()
        self._log(row)
        self.progress.end_epoch(title, row)
        at.task, at.epoch, at.loss_sum, at.num_samples = at.task + 1, 0, 0.0, 0
        self._pause(None, due=True)

    def _epoch(self, part: TaskTrainer, task: Task) -> None:
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
            self.accuracies[num_learnt, number] = accuracy(
                self.module, task.test, self.subnetwork(number), self.method.forward, self.settings.test_batch_size
            )

    def _row(self) -> Row:
        at = self.position
        scores = self.accuracies[at.task + 1]
        measured: Mapping[str, float] = {}
        if self.method.measure is not None:
            with preserve_rng_state(), evaluating(self.module):
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

    def _pause(self, part: TaskTrainer | None, due: bool) -> None:
        """Between two steps: a checkpoint if one is due, the end if that was asked for."""
        if due or self.interrupt.asked:
            self._save(part)
        if self.interrupt.asked:
            raise KeyboardInterrupt(
                f"stopped at step {self.position.step}; its checkpoint is written (--resume goes on)"
            )

    def _save(self, part: TaskTrainer | None) -> None:
        if self.run is None or not self.run.writes:
            return
        if part is not None:
            part.write_back()
        tree = {
            "identity": self.identity,
            "position": asdict(self.position),
            "weights": state_tensors(self.module),
            "consolidation": self.method.consolidation.state_dict(),
            "optimizer": None if part is None else part.optimizer.state_dict(),
            "scheduler": None if part is None or part.scheduler is None else part.scheduler.state_dict(),
            "momentum": self.momentum,
            "accuracies": self.accuracies,
            "generators": get_rng_state(),
        }
        save_checkpoint(self.run.checkpoint, self.position.step, tree)

    def _resume(self) -> dict[str, Any] | None:
        if self.run is None:
            return None
        saved = load_checkpoint(self.run.checkpoint)
        if saved is not None:
            check_identity(saved["identity"], self.identity, self.run.checkpoint)
            check_compatible(saved["weights"], self.module, str(self.run.checkpoint))
            load_exactly(saved["weights"], self.module)
            self.method.consolidation.load_state_dict(saved["consolidation"], self.device)
            self.position = ContinualPosition(**saved["position"])
            self.accuracies, self.momentum = saved["accuracies"], saved["momentum"]
            self.rows = self.run.metrics.rows()[: self.position.num_rows]
            set_rng_state(saved["generators"])
        if self.run.writes:
            self.run.metrics.truncate(self.position.num_rows)
            self.run.save_environment(
                seed=self.settings.seed, device=str(self.device), num_threads=torch.get_num_threads()
            )
        return saved
