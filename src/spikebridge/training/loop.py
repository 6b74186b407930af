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

from spikebridge.errors import ConfigError, in_words
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
from spikebridge.training.evaluation import evaluating
from spikebridge.training.loader import BatchSource, open_source
from spikebridge.training.phase import (
    Phase,
    check_number,
    check_phases,
    find,
    refuse_other_metrics,
    trainable_only,
)
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
        phases: what is trained when, on which objective.
        data: samples for the phases that bring none of their own: a `DataLoader` with its batch size, order and
            workers; a map-style data set or an `IterableDataset`, also one larger than memory; `Batches`, `Samples`
            or your own class with `select`. Its batches are what the objective gets.
        settings: seed, batch size, devices, precision.
        run: where metrics and checkpoints go; a checkpoint that it holds is resumed. A run serves one training; for
            several take `run.child(NAME)`. None writes nothing.
        validate: measures the network after every epoch, in eval mode, without gradients or a change of the random
            generators, on every process; its numbers go into the row as `validation/NAME`. See `evaluate`.
        progress: shows the progress; None takes bars, lines or nothing, as the screen and `settings.quiet` say.
        callbacks: are called at four moments, in this order: early stopping, best weights, loggers, your own.

    Returns:
        the rows, as in metrics.jsonl: one an epoch with kind, phase, epoch, step, lr, loss and metrics.

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
    phases = check_phases(phases)
    for phase in phases:
        for name in phase.train:
            find(module, name)

    callbacks = check_callbacks(callbacks)
    # before other processes are started, so that none is left behind where the run is in use
    with nullcontext() if run is None else run.lock():
        fabric = start_fabric(settings)
        plan = [(phase, data if phase.data is None else phase.data) for phase in phases]
        raise_mmap_threshold()
        show = progress or choose_progress(settings.quiet or not fabric.is_global_zero)

        with preserve_rng_state(), show, Interrupt(active=run is not None and fabric.world_size == 1) as interrupt:
            shown = _Shown(validate, show, callbacks)
            return _PhaseLoop(fabric, module, plan, settings, run, shown, interrupt).fit()


@dataclass(frozen=True)
class _Shown:
    """What happens beside the training: validation, progress, callbacks."""

    validate: _Validate | None
    progress: Progress
    callbacks: Sequence[Callback]


@dataclass
class _PhasePosition:
    """Counters of a training; all are in its checkpoint.

    Attributes:
        phase: number of the running phase.
        epoch: epochs of it that are done.
        batch: steps of the running epoch that are done.
        step: steps of the whole training that are done.
        num_rows: rows that are written.
        sums: of the loss and metrics over the samples of the running epoch.
        num_samples: how many those are.
    """

    phase: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    num_rows: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    num_samples: int = 0

    def add(self, values: dict[str, float], num_samples: int) -> None:
        """Counts one step.

        Example:
            >>> position = _PhasePosition()
            >>> position.add({"loss": 0.5}, num_samples=4)
            >>> (position.batch, position.step, position.sums)
            (1, 1, {'loss': 2.0})
        """
        self.batch += 1
        self.step += 1
        self.num_samples += num_samples

        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * num_samples

    def end_epoch(self, last: bool) -> None:
        """Counts one epoch, and the phase if that was its last.

        Example:
            >>> position = _PhasePosition(epoch=1, batch=9)
            >>> position.end_epoch(last=True)
            >>> (position.phase, position.epoch, position.batch)
            (1, 0, 0)
        """
        self.phase, self.epoch = (self.phase + 1, 0) if last else (self.phase, self.epoch + 1)
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
        shown: _Shown,
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
            "num_batches": _batches_of_loaders([source for _, source in self.plan], settings.batch_size),
        }

        board = [TensorBoardLogger()] if settings.tensorboard and run is not None else []
        super().__init__(module, run, _PhasePosition(), identity, interrupt, (*shown.callbacks, *board))
        self.fabric = fabric
        self.settings = settings
        self.validate = shown.validate
        self.progress = shown.progress
        self.saved_step = 0

    def fit(self) -> list[Row]:
        seed_rng(self.settings.seed, self.fabric.global_rank)
        saved = self._begin()
        with self.calling_back(saved):
            for phase, source in self.plan[self.position.phase :]:
                self._phase(phase, source, saved)
                saved = None

        return self.rows

    def _begin(self) -> dict[str, Any] | None:
        saved = self.resume()
        if saved is not None:
            at = self.position
            # checkpoints of release 0.1 do not count samples; only whole batches stand before the last one of an epoch
            at.num_samples = saved["position"].get("num_samples", at.batch * self.settings.batch_size)
            self.fabric.strategy.precision.load_state_dict(saved["precision"])
            self.saved_step = at.step
            scatter_rng_states(self.fabric, saved["generators"], self.settings.seed, at.step)

            # until release 0.1 the first process drew with torch's own generator
            self.draws.set_state(saved.get("draws", saved["generators"][0]["torch"]).cpu())

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

    def _phase(self, phase: Phase, source: BatchSource, saved: dict[str, Any] | None) -> None:
        sharded = self.settings.strategy == "fsdp"
        # a sharding strategy takes a module apart for good, so it gets a copy and the weights are brought back
        network = copy.deepcopy(self.module) if sharded else self.module
        with trainable_only(network, phase.train):
            host = self.fabric.setup_module(ModuleHost(network))
            optimizer = phase.optimizer([parameter for parameter in host.parameters() if parameter.requires_grad])
            scheduler = None if phase.scheduler is None else phase.scheduler(optimizer)
            driven = self.fabric.setup_optimizers(optimizer)
            stage = Stage(phase, source, network, host, optimizer, driven, scheduler)

            if saved is not None and saved["optimizer"] is not None:
                scatter_optimizer_state(host, optimizer, saved["optimizer"])
                if scheduler is not None:
                    scheduler.load_state_dict(saved["scheduler"])

            self.training.weights = lambda: gather_weights(host, network)
            number = self.position.phase
            while self.position.phase == number:
                self._epoch(stage)

            if sharded:
                load_exactly(gather_weights(host, network), self.module)

    def _epoch(self, stage: Stage) -> None:
        at = self.position
        phase = stage.phase
        num_batches = stage.source.num_batches
        num_steps = None if num_batches is None else -(-num_batches // phase.accumulate)
        self.training.phase = phase.name
        self.training.epoch = at.epoch + 1
        self.training.stop_reason = ""
        title = f"{phase.name} {at.epoch + 1}/{phase.epochs}"
        self.progress.begin_epoch(title, num_steps, at.batch)
        batches = stage.source.epoch(self.settings.seed, at.phase, at.epoch, start=at.batch * phase.accumulate)

        for group in _groups(batches, phase.accumulate):
            where = f"phase {phase.name!r}, epoch {at.epoch + 1}, step {at.step + 1}"
            values = take_step(self.fabric, stage, group, where)
            refuse_other_metrics(values, at.sums, f"the objective of {where}")
            at.add(values, sum(batch.num_samples for batch in group))
            self.progress.step(values)

            if self.settings.log_every and at.step % self.settings.log_every == 0:
                self.log(self._row("step", stage, values))

            self.end_step(values)
            if self.training.stop_reason:
                break

            if at.batch != num_steps:
                self._save_if(self._due(), stage)

        self._end_epoch(stage, title)

    def _end_epoch(self, stage: Stage, title: str) -> None:
        at = self.position
        phase = stage.phase
        means = {name: total / at.num_samples for name, total in at.sums.items()}

        if self.validate is not None:
            with preserve_rng_state(), evaluating(stage.host):
                measured = stage.host(self.validate)
            _check_measures(measured)
            means |= {f"validation/{name}": float(value) for name, value in measured.items()}

        row = self._row("epoch", stage, means)
        self.log(row)
        self.progress.end_epoch(title, row)
        self.end_epoch(row)

        if phase.scheduler_interval == "epoch":
            step_scheduler(stage, row)

        if self.training.stop_reason:
            self.progress.end_phase(phase.name, self.training.stop_reason)

        at.end_epoch(last=at.epoch + 1 == phase.epochs or bool(self.training.stop_reason))
        self._save_if(self._due() or not self.settings.checkpoint_every or at.epoch == 0, stage)

    def _row(self, kind: str, stage: Stage, values: Mapping[str, float]) -> Row:
        at = self.position
        lr = float(stage.optimizer.param_groups[0]["lr"])
        return {"kind": kind, "phase": stage.phase.name, "epoch": at.epoch + 1, "step": at.step, "lr": lr, **values}

    def _due(self) -> bool:
        every = self.settings.checkpoint_every
        return every > 0 and self.position.step - self.saved_step >= every

    def _save_if(self, due: bool, stage: Stage) -> None:
        if due:
            self.saved_step = self.position.step

        self.pause(due, lambda: self._state(stage))
        if due and self.run is not None:
            self.fabric.barrier()

    def _state(self, stage: Stage) -> dict[str, Any]:
        begun = self.position.epoch > 0 or self.position.batch > 0
        return {
            "weights": gather_weights(stage.host, stage.network),
            "optimizer": gather_optimizer_state(stage.host, stage.optimizer) if begun else None,
            "scheduler": stage.scheduler.state_dict() if begun and stage.scheduler is not None else None,
            "precision": dict(self.fabric.strategy.precision.state_dict()),
            "generators": gather_rng_states(self.fabric),
            "draws": self.draws.get_state(),
        }


def _check_measures(measured: Any) -> None:
    """Raises a `ConfigError` where `validate` gave something else than numbers by name.

    Example:
        >>> _check_measures(None)
        Traceback (most recent call last):
        spikebridge.errors.ConfigError: validate must give numbers by name, {'accuracy': 0.9}, but gave None
    """
    if not isinstance(measured, Mapping):
        raise ConfigError(f"validate must give numbers by name, {{'accuracy': 0.9}}, but gave {in_words(measured)}")

    for name, value in measured.items():
        check_number(value, f"the metric {name!r} of validate")


def _batches_of_loaders(sources: Sequence[BatchSource], batch_size: int) -> list[int | None] | None:
    """Batches of an epoch of each source; None where the batch size of the settings makes as many in all of them."""
    sizes = [source.num_samples for source in sources]
    usual = [None if size is None else -(-size // batch_size) for size in sizes]
    batches = [source.num_batches for source in sources]
    return None if batches == usual else batches


def _groups(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items; the last one may be shorter.

    Example:
        >>> list(_groups(iter("abc"), 2))
        [['a', 'b'], ['c']]
    """
    while group := list(islice(items, size)):
        yield group


# glibc's DEFAULT_MMAP_THRESHOLD_MAX, less what stands around a block
_MAX_BYTES = 32 * 2**20 - 2**14


def raise_mmap_threshold() -> None:
    """Lets the C library keep up to 64 MB that a step has freed, instead of giving it back to the system.

    Memory that comes anew comes page by page, each of which is filled with zeros first: a tenth of the time of a step
    with tensors of some megabytes. From which size on glibc gives blocks back, it learns from the largest one that was
    ever freed; elsewhere this does nothing.

    Example:
        >>> raise_mmap_threshold()
    """
    torch.empty(_MAX_BYTES, dtype=torch.uint8)
