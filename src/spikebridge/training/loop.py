"""The training loop: phases, epochs, steps, through Lightning Fabric.

One step: the objective on this process's share of a global batch, gradients averaged over processes, one step of the
optimizer. With slices (truncated back-propagation through time) it is one optimizer step a slice.

**Several processes.** `Settings(devices=2)` starts the second process by itself; under `torchrun` they are there
already. Every process runs the same program on its share of each global batch, and the first one writes. A job that is
to survive lost processes is started with a run that may be resumed, on a folder that all machines see:

    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
    torchrun --nproc-per-node=2 --max-restarts=3 -m spikebridge train RECIPE --out RUN --resume --devices 2

`torchrun` ends all processes when one dies and starts them again, and `--resume` continues from the last checkpoint.
Without the first line torchrun keeps the addresses of dead processes, and the new ones may look for them.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from spikebridge.errors import ConfigError, in_words
from spikebridge.ops.modes import evaluating
from spikebridge.training._allocation import raise_mmap_threshold
from spikebridge.training.batches import TrainingData
from spikebridge.training.callbacks.callback import Callback, check_callbacks
from spikebridge.training.callbacks.loggers import TensorBoardLogger
from spikebridge.training.distributed import (
    ModuleHost,
    gather_optimizer_state,
    gather_rng_states,
    gather_weights,
    scatter_optimizer_state,
    scatter_rng_states,
    start_fabric,
)
from spikebridge.training.loader import BatchSource, open_source
from spikebridge.training.phase import Phase, check_number, check_phases, find, refuse_other_metrics, trainable_only
from spikebridge.training.progress import Progress, choose_progress
from spikebridge.training.resume import Interrupt, ResumableLoop
from spikebridge.training.rng import preserve_rng_state, seed_rng, shared_generator
from spikebridge.training.run.metrics import Row
from spikebridge.training.run.run import Run
from spikebridge.training.run.weights import load_exactly
from spikebridge.training.settings import Settings
from spikebridge.training.step import Stage, step_scheduler, take_step

if TYPE_CHECKING:
    from lightning_fabric import Fabric


T = TypeVar("T")
_Validate = Callable[[nn.Module], Mapping[str, Any]]
_DEFAULTS = Settings()


def fit(
    module: nn.Module,
    phases: Sequence[Phase],
    data: TrainingData | None = None,
    *,
    settings: Settings = _DEFAULTS,
    run: Run | None = None,
    validate: _Validate | None = None,
    progress: Progress | None = None,
    callbacks: Sequence[Callback] = (),
) -> list[Row]:
    """Trains a network, phase after phase.

    The result is a function of the arguments: the global random-number generators are seeded for the training and get
    their state back afterwards. The module is trained in place and stays on its device.

    Args:
        module: any module.
        phases: the parameters that are trained, on which objective, for how long.
        data: samples for the phases that bring none of their own: a `DataLoader` with its batch size, order and
            workers; a map-style data set or an `IterableDataset`, also one larger than memory; `Batches` or your own
            class with `select`. Its batches are the arguments of the objective.
        settings: seed, batch size, devices, precision.
        run: folder of metrics and checkpoints; a checkpoint that it holds is resumed. A run serves one training; for
            several take `run.child(NAME)`. None writes nothing.
        validate: measures the network after every epoch, in eval mode, without gradients or a change of the random
            generators, on every process; its numbers go into the row as `validation/NAME`. See `evaluate`.
        progress: shows the progress; None takes bars, lines or nothing, as the screen and `settings.quiet` say.
        callbacks: are called at four moments, in this order: early stopping, best weights, loggers, your own.

    Returns:
        The rows, as in metrics.jsonl: one an epoch with kind, phase, epoch, step, lr, loss and metrics; `lr` is that of
        the first group of parameters, `lr/1` that of the second.

    Raises:
        ConfigError: phases, names or settings that cannot be meant, a checkpoint of another network or training, or a
            run in which another process trains.
        DataError: a loss or gradient that is not finite, a data set that raises an error, or no whole checkpoint among
            those of the run.
        KeyboardInterrupt: after the first Ctrl-C, as soon as the running step is done and a checkpoint is written (of
            several processes none writes one then: the last one stands).

    Example:
        >>> from functools import partial
        >>> from spikebridge.training import Batches
        >>> line = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.zeros_(line.weight)
        >>> data = Batches({"x": torch.ones(2, 1), "y": torch.full((2, 1), 8.0)}, batch={"x": 0, "y": 0})
        >>> error = lambda module, batch: (module(batch["x"]) - batch["y"]).square().mean()
        >>> phases = [Phase("line", ("weight",), error, epochs=2, optimizer=partial(torch.optim.SGD, lr=0.25))]
        >>> [row["loss"] for row in fit(line, phases, data, settings=Settings(accelerator="cpu", quiet=True))]
        [64.0, 16.0]
        >>> line.weight.item()
        6.0
    """
    # refuse mistakes before anything is started
    phases = check_phases(phases)
    _check_kinds(module, settings, run, validate)
    for phase in phases:
        for name in phase.train:
            find(module, name)
    callbacks = check_callbacks(callbacks)

    # the lock comes before other processes, so that none is left behind where the run is in use
    with nullcontext() if run is None else run.lock():
        fabric = start_fabric(settings)
        plan = [(phase, data if phase.data is None else phase.data) for phase in phases]
        raise_mmap_threshold()
        progress = progress or choose_progress(settings.quiet or not fabric.is_global_zero)

        with preserve_rng_state(), progress, Interrupt(active=run is not None and fabric.world_size == 1) as interrupt:
            observers = _Observers(validate, progress, callbacks)
            rows = _PhaseLoop(fabric, module, plan, settings, run, observers, interrupt).fit()

        # those that are there are the program's own
        if run is not None and not run.file("weights.safetensors").exists():
            run.save_weights(module)
        return rows


@dataclass(frozen=True)
class _Observers:
    """The parts of a training that do not change it: validation, progress, callbacks."""

    validate: _Validate | None
    progress: Progress
    callbacks: Sequence[Callback]


@dataclass
class _PhasePosition:
    """Counters of a training; all are in its checkpoint."""

    phase: int = 0  # number of the running phase
    epoch: int = 0  # epochs of it that are done
    batch: int = 0  # steps of the running epoch that are done
    step: int = 0  # steps of the whole training that are done
    num_rows: int = 0  # that are written
    sums: dict[str, float] = field(default_factory=dict)  # of loss and metrics over the samples of the running epoch
    num_samples: int = 0  # of the running epoch so far

    def add_step(self, values: dict[str, float], num_samples: int) -> None:
        self.batch += 1
        self.step += 1
        self.num_samples += num_samples
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * num_samples

    def end_epoch(self, is_last: bool) -> None:
        """Counts one epoch, and the phase if that was its last."""
        self.phase, self.epoch = (self.phase + 1, 0) if is_last else (self.phase, self.epoch + 1)
        self.batch = 0
        self.num_samples = 0
        self.sums = {}


class _PhaseLoop(ResumableLoop):
    position: _PhasePosition

    def __init__(
        self,
        fabric: "Fabric",
        module: nn.Module,
        plan: Sequence[tuple[Phase, Any]],
        settings: Settings,
        run: Run | None,
        observers: _Observers,
        interrupt: Interrupt,
    ) -> None:
        rank = fabric.global_rank
        num_processes = fabric.world_size
        self.draws = shared_generator(settings.seed)
        self.plan = [
            (phase, open_source(data, settings.batch_size, rank, num_processes, draws=self.draws))
            for phase, data in plan
        ]

        accumulate = [phase.accumulate for phase, _ in plan]
        identity = {
            "seed": settings.seed,
            "batch_size": settings.batch_size,
            "precision": settings.precision,
            "phases": [[phase.name, list(phase.train), phase.epochs] for phase, _ in plan],
            "num_samples": [source.num_samples for _, source in self.plan],
            "accumulate": accumulate if max(accumulate) > 1 else None,
            "num_batches": _num_batches_of_loaders([source for _, source in self.plan], settings.batch_size),
        }

        board = [TensorBoardLogger()] if settings.tensorboard and run is not None else []
        super().__init__(module, run, _PhasePosition(), identity, interrupt, (*observers.callbacks, *board))
        self.fabric = fabric
        self.settings = settings
        self.validate = observers.validate
        self.progress = observers.progress
        self.saved_step = 0

    def fit(self) -> list[Row]:
        seed_rng(self.settings.seed, self.fabric.global_rank)
        saved = self._begin()
        with self.calling_back(saved):
            for phase, source in self.plan[self.position.phase :]:
                self._run_phase(phase, source, saved)
                # the state of the optimizer is that of the phase in which the checkpoint was written
                saved = None

        return self.rows

    def _begin(self) -> dict[str, Any] | None:
        """Resumes from the newest checkpoint, whose state is returned, and begins to write."""
        saved = self.resume()
        if saved is not None:
            self.fabric.strategy.precision.load_state_dict(saved["precision"])
            self.saved_step = self.position.step
            scatter_rng_states(self.fabric, saved["generators"], self.settings.seed, self.position.step)
            self.draws.set_state(saved["draws"].cpu())

        if self.run is None:
            return None

        # no process may write before all have read
        self.fabric.barrier()
        self.begin_writing(
            seed=self.settings.seed,
            device=str(self.fabric.device),
            num_processes=self.fabric.world_size,
            precision=self.settings.precision,
            num_threads=torch.get_num_threads(),
        )

        return saved

    def _run_phase(self, phase: Phase, source: BatchSource, saved: dict[str, Any] | None) -> None:
        is_sharded = self.settings.strategy == "fsdp"
        # a sharding strategy takes a module apart for good, so it gets a copy and the weights are brought back
        network = copy.deepcopy(self.module) if is_sharded else self.module
        with trainable_only(network, phase.train):
            # the parameters of the phase get an optimizer of their own
            host = self.fabric.setup_module(ModuleHost(network))
            optimizer = phase.make("optimizer", [p for p in host.parameters() if p.requires_grad], Optimizer)
            scheduler = None if phase.scheduler is None else phase.make("scheduler", optimizer, LRScheduler)
            driven = self.fabric.setup_optimizers(optimizer)
            stage = Stage(phase, source, network, host, optimizer, driven, scheduler)

            # a checkpoint in the middle of the phase has their states
            if saved is not None and saved["optimizer"] is not None:
                scatter_optimizer_state(host, optimizer, saved["optimizer"])
                if scheduler is not None:
                    scheduler.load_state_dict(saved["scheduler"])

            self.training.weights = lambda: gather_weights(host, network)
            number = self.position.phase
            while self.position.phase == number:
                self._run_epoch(stage)

            if is_sharded:
                load_exactly(gather_weights(host, network), self.module)

    def _run_epoch(self, stage: Stage) -> None:
        at = self.position
        phase = stage.phase
        num_batches = stage.source.num_batches
        num_steps = None if num_batches is None else -(-num_batches // phase.accumulate)
        title = f"{phase.name} {at.epoch + 1}/{phase.epochs}"
        self.training.phase = phase.name
        self.training.epoch = at.epoch + 1
        self.training.stop_reason = ""
        self.progress.begin_epoch(title, num_steps, at.batch)

        # a resumed epoch begins behind the batches that are done
        batches = stage.source.epoch(self.settings.seed, at.phase, at.epoch, start=at.batch * phase.accumulate)
        for group in _groups(batches, phase.accumulate):
            # forward, backward, one step of the optimizer
            where = f"phase {phase.name!r}, epoch {at.epoch + 1}, step {at.step + 1}"
            values = take_step(self.fabric, stage, group, where)
            refuse_other_metrics(values, at.sums, f"the objective of {where}")
            at.add_step(values, sum(batch.num_samples for batch in group))

            # report
            self.progress.step(values)
            if self.settings.log_every and at.step % self.settings.log_every == 0:
                self.log(self._row("step", stage, values))
            self.end_step(values)
            if self.training.stop_reason:
                break

            # save; the end of the epoch saves after its own row
            if at.batch != num_steps:
                self._save_if(self._is_due(), stage)

        self._end_epoch(stage, title)

    def _end_epoch(self, stage: Stage, title: str) -> None:
        at = self.position
        phase = stage.phase

        # means over the samples of the epoch, and the validation
        means = {name: total / at.num_samples for name, total in at.sums.items()}
        if self.validate is not None:
            with preserve_rng_state(), evaluating(stage.host):
                measured = stage.host(self.validate)
            _check_measures(measured)
            means |= {f"validation/{name}": float(value) for name, value in measured.items()}

        # report: callbacks may end the phase
        row = self._row("epoch", stage, means)
        self.log(row)
        self.progress.end_epoch(title, row)
        self.end_epoch(row)
        if phase.scheduler_interval == "epoch":
            step_scheduler(stage, row)
        if self.training.stop_reason:
            self.progress.end_phase(phase.name, self.training.stop_reason)

        # save, at the end of a phase in any case
        at.end_epoch(is_last=at.epoch + 1 == phase.epochs or bool(self.training.stop_reason))
        self._save_if(self._is_due() or not self.settings.checkpoint_every or at.epoch == 0, stage)

    def _row(self, kind: str, stage: Stage, values: Mapping[str, float]) -> Row:
        at = self.position
        # groups after the first have columns of their own
        rates = [float(group["lr"]) for group in stage.optimizer.param_groups]
        lr = {f"lr/{number}" if number else "lr": rate for number, rate in enumerate(rates)}
        return {"kind": kind, "phase": stage.phase.name, "epoch": at.epoch + 1, "step": at.step, **lr, **values}

    def _is_due(self) -> bool:
        every = self.settings.checkpoint_every
        return every > 0 and self.position.step - self.saved_step >= every

    def _save_if(self, due: bool, stage: Stage) -> None:
        if due:
            self.saved_step = self.position.step

        self.pause(due, lambda: self._state(stage))
        if due and self.run is not None:
            self.fabric.barrier()

    def _state(self, stage: Stage) -> dict[str, Any]:
        has_begun = self.position.epoch > 0 or self.position.batch > 0
        return {
            "weights": gather_weights(stage.host, stage.network),
            "optimizer": gather_optimizer_state(stage.host, stage.optimizer) if has_begun else None,
            "scheduler": stage.scheduler.state_dict() if has_begun and stage.scheduler is not None else None,
            "precision": dict(self.fabric.strategy.precision.state_dict()),
            "generators": gather_rng_states(self.fabric),
            "draws": self.draws.get_state(),
        }


def _check_kinds(module: Any, settings: Any, run: Any, validate: Any) -> None:
    """Raises a `ConfigError` where an argument of `fit` is of another kind."""
    kinds = {"module": (module, nn.Module), "settings": (settings, Settings), "run": (run, Run | None)}
    for name, (value, kind) in kinds.items():
        if not isinstance(value, kind):
            raise ConfigError(f"fit needs its {name} as {getattr(kind, '__name__', kind)}, but got {in_words(value)}")
    if validate is not None and not callable(validate):
        raise ConfigError(f"validate is a function that measures the module, but got {in_words(validate)}")


def _check_measures(measured: Any) -> None:
    """Raises a `ConfigError` where `validate` gave something else than numbers by name."""
    if not isinstance(measured, Mapping):
        raise ConfigError(f"validate must give numbers by name, {{'accuracy': 0.9}}, but gave {in_words(measured)}")

    for name, value in measured.items():
        check_number(value, f"the metric {name!r} of validate")


def _num_batches_of_loaders(sources: Sequence[BatchSource], batch_size: int) -> list[int | None] | None:
    """Batches of an epoch of each source; None where the batch size of the settings makes as many in all of them."""
    sizes = [source.num_samples for source in sources]
    usual = [None if size is None else -(-size // batch_size) for size in sizes]
    batches = [source.num_batches for source in sources]
    return None if batches == usual else batches


def _groups(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items; the last one may be shorter."""
    while group := list(islice(items, size)):
        yield group
