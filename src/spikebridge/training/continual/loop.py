"""Continual learning: one network learns many tasks in turn; after each, all of them are tested.

It takes any module. Gates, thresholds and sub-networks of a task come as a `Subnetwork`; a `Consolidation` protects
what earlier tasks need. Each task gets a new optimizer. A checkpoint is written after each task, and at every N-th step
where `checkpoint_every` says so; a killed training resumes exactly.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from spikebridge.errors import ConfigError, DataError
from spikebridge.ops.modes import evaluating, preserve_modes
from spikebridge.training.batches import epoch_order
from spikebridge.training.continual.regularizer import (
    Consolidation,
    LabelledData,
    default_logits,
    trained_parameters,
)
from spikebridge.training.continual.subnetwork import Subnetwork, masked_step
from spikebridge.training.continual.task import (
    ContinualResult,
    ContinualSettings,
    Forward,
    Subnetworks,
    Task,
    accuracy,
    check_tasks,
)
from spikebridge.training.progress import Progress, choose_progress
from spikebridge.training.resume import Interrupt, ResumableLoop
from spikebridge.training.rng import get_rng_state, preserve_rng_state, seed_rng, set_rng_state
from spikebridge.training.run.metrics import Row
from spikebridge.training.run.run import Run
from spikebridge.training.run.weights import state_tensors


@dataclass(frozen=True, kw_only=True)
class ContinualMethod:
    """The method by which a network learns tasks one after the other.

    Args:
        optimizer: makes the optimizer from the parameters, for each task; SGD, Adam or AdamW where a consolidation
            takes proximal steps.
        scheduler: makes the learning-rate schedule, for each task; it steps once an epoch.
        consolidation: protects what earlier tasks need.
        subnetworks: the part of the network that each task may use, by the task's number, for training and testing;
            called once a task. None opens the whole network.
        forward: `(module, x, quantities) -> logits (B, C)`.
        loss: `(logits, labels) -> mean over the samples`.
        measure: measures the network after each task, given the number of learned tasks; its numbers go into the row.
    """

    optimizer: Callable[[Iterable[Parameter]], Optimizer]
    scheduler: Callable[[Optimizer], LRScheduler] | None = None
    consolidation: Consolidation = field(default_factory=Consolidation)
    subnetworks: Subnetworks | None = None
    forward: Forward = default_logits
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy
    measure: Callable[[nn.Module, int], Mapping[str, float]] | None = None


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
        run: folder of metrics and checkpoints; a checkpoint that it holds is resumed.
        progress: shows the progress; None takes bars, lines or nothing, as the screen and `settings.quiet` say.

    Raises:
        ConfigError: no task, one without samples, nothing to train, or a checkpoint of another learning.
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
    progress = progress or choose_progress(settings.quiet)
    lock = nullcontext() if run is None else run.lock()

    with lock, preserve_rng_state(), preserve_modes(module), progress, Interrupt(active=run is not None) as interrupt:
        return _TaskLoop(module, tasks, method, settings, run, progress, interrupt).fit()


class _TaskTrainer:
    """The training of one task: of the whole network with masks, or of the sub-network of its open neurons."""

    def __init__(self, module: nn.Module, subnetwork: Subnetwork, method: ContinualMethod) -> None:
        self.module = module
        self.subnetwork = subnetwork
        self.method = method
        self.network = subnetwork.module_for(module)
        self.parameters = trained_parameters(self.network)
        self.is_extracted = self.network is not module
        if self.is_extracted:
            # a network without the closed weights needs neither gates nor masks
            self.quantities: Mapping[str, Any] = {}
            self.masks: dict[str, Tensor] = {}
            self.consolidation = method.consolidation.extract(subnetwork.gather)
        else:
            self.quantities = subnetwork.quantities
            self.masks = subnetwork.masks(self.parameters)
            self.consolidation = method.consolidation

        self.optimizer = method.optimizer(self.parameters.values())
        self.scheduler = None if method.scheduler is None else method.scheduler(self.optimizer)
        self.network.train()

    def step(self, x: Tensor, labels: Tensor) -> float:
        logits = self._logits(self.network, x)
        loss = self.method.loss(logits, labels)
        self.optimizer.zero_grad()
        loss.backward()
        masked_step(self.parameters, self.optimizer, self.consolidation, self.masks)

        return loss.item()

    def end_of_task(self, data: LabelledData) -> None:
        self.optimizer.zero_grad()
        self.consolidation.end_of_task(self.network, data, self._logits, self.masks)

    def write_back(self) -> None:
        """Writes the weights of a sub-network, and the buffers of its method, back into the whole."""
        if self.is_extracted:
            self.subnetwork.write_back(self.network, self.module)
            whole = trained_parameters(self.module)
            self.method.consolidation.write_back(self.consolidation, self.subnetwork.scatter, whole)

    def restore(self, saved: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(saved["scheduler"])

    def _logits(self, network: nn.Module, x: Tensor) -> Tensor:
        return self.method.forward(network, x, self.quantities)


@dataclass
class _ContinualPosition:
    """Counters of the training; all are in its checkpoint."""

    task: int = 0  # number of the running task, from 0
    epoch: int = 0  # epochs of it that are done
    batch: int = 0  # batches of the running epoch that are done
    step: int = 0  # batches of the whole training that are done
    num_rows: int = 0  # that are written
    loss_sum: float = 0.0  # over the samples of the running task
    num_samples: int = 0  # of the running task so far
    seconds: list[float] = field(default_factory=list)  # of each task so far


class _TaskLoop(ResumableLoop):
    position: _ContinualPosition

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
        identity = {
            "seed": settings.seed,
            "batch_size": settings.batch_size,
            "epochs": settings.epochs,
            "test_all_after": settings.test_all_after,
            "consolidation": type(method.consolidation).__name__,
            "num_samples": [[len(task.train), len(task.test)] for task in tasks],
        }

        super().__init__(module, run, _ContinualPosition(), identity, interrupt)
        self.tasks = tasks
        self.method = method
        self.settings = settings
        self.progress = progress
        self.device = next(module.parameters()).device
        self.accuracies = torch.full((len(tasks) + 1, len(tasks)), math.nan, dtype=torch.float64)
        self.subnetworks: dict[int, Subnetwork] = {}

    def fit(self) -> ContinualResult:
        seed_rng(self.settings.seed)
        saved = self.resume()
        if saved is not None:
            self.method.consolidation.load_state_dict(saved["consolidation"], self.device)
            self.accuracies = saved["accuracies"]
            set_rng_state(saved["generators"])

        self.begin_writing(seed=self.settings.seed, device=str(self.device), num_threads=torch.get_num_threads())
        with self.calling_back(saved):
            if saved is None:
                self._test(0)
            for _ in range(self.position.task, len(self.tasks)):
                self._run_task(saved)
                # the state of the optimizer is that of the task in which the checkpoint was written
                saved = None

        return ContinualResult(self.accuracies, self.position.seconds, self.rows)

    def _run_task(self, saved: dict[str, Any] | None) -> None:
        at = self.position
        task = self.tasks[at.task]
        title = f"task {at.task + 1}/{len(self.tasks)}"
        trainer = _TaskTrainer(self.module, self._subnetwork(at.task), self.method)
        if saved is not None and saved["optimizer"] is not None:
            trainer.restore(saved)
        if len(at.seconds) == at.task:
            at.seconds.append(0.0)

        # train
        steps = math.ceil(len(task.train) / self.settings.batch_size)
        self.progress.begin_epoch(title, steps * self.settings.epochs, at.epoch * steps + at.batch)
        for _ in range(at.epoch, self.settings.epochs):
            self._run_epoch(trainer, task)

        # protect this task
        began = time.perf_counter()
        trainer.end_of_task(task.train)
        at.seconds[-1] += time.perf_counter() - began
        trainer.write_back()

        # test and report
        self._test(at.task + 1)
        row = self._row()
        self.log(row)
        self.progress.end_epoch(title, row)
        self.end_epoch(row)

        # save
        at.task += 1
        at.epoch = 0
        at.loss_sum = 0.0
        at.num_samples = 0
        self.pause(True, lambda: self._state(None))

    def _subnetwork(self, task: int) -> Subnetwork:
        if task not in self.subnetworks:
            self.subnetworks[task] = Subnetwork() if self.method.subnetworks is None else self.method.subnetworks(task)
        return self.subnetworks[task]

    def _run_epoch(self, trainer: _TaskTrainer, task: Task) -> None:
        at = self.position
        order = epoch_order(len(task.train), self.settings.seed, at.task, at.epoch)
        batches = order.split(self.settings.batch_size)

        for indices in batches[at.batch :]:
            # forward, backward, one masked step of the optimizer
            began = time.perf_counter()
            x, labels = task.train.select(indices)
            loss = trainer.step(x.to(self.device), labels.to(self.device))
            at.seconds[-1] += time.perf_counter() - began

            # count and report
            at.step += 1
            at.batch += 1
            if not math.isfinite(loss):
                raise DataError(
                    f"the loss is {loss} in task {at.task + 1}, epoch {at.epoch + 1}, step {at.step}: the training "
                    "has diverged; take a lower learning rate, a proximal step, or look for NaN in the data"
                )

            at.loss_sum += loss * len(indices)
            at.num_samples += len(indices)
            self.progress.step({"loss": loss})

            # save; the end of an epoch saves below
            if at.batch < len(batches):
                self._save_if_due(trainer)

        at.epoch += 1
        at.batch = 0
        if trainer.scheduler is not None:
            trainer.scheduler.step()
        if at.epoch < self.settings.epochs:
            self._save_if_due(trainer)

    def _save_if_due(self, trainer: _TaskTrainer) -> None:
        every = self.settings.checkpoint_every
        self.pause(every > 0 and self.position.step % every == 0, lambda: self._state(trainer))

    def _test(self, num_learned: int) -> None:
        """Fills the row of accuracies after a number of tasks."""
        rows = self.settings.test_all_after
        tested = range(len(self.tasks)) if rows is None or num_learned in rows else (num_learned - 1, num_learned)
        for number in tested:
            if 0 <= number < len(self.tasks):
                self.accuracies[num_learned, number] = accuracy(
                    self.module,
                    self.tasks[number].test,
                    self._subnetwork(number),
                    self.method.forward,
                    self.settings.test_batch_size,
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

    def _state(self, trainer: _TaskTrainer | None) -> dict[str, Any]:
        if trainer is not None:
            trainer.write_back()

        return {
            "weights": state_tensors(self.module),
            "consolidation": self.method.consolidation.state_dict(),
            "optimizer": None if trainer is None else trainer.optimizer.state_dict(),
            "scheduler": None if trainer is None or trainer.scheduler is None else trainer.scheduler.state_dict(),
            "accuracies": self.accuracies,
            "generators": get_rng_state(),
        }
