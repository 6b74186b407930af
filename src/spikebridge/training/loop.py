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
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from spikebridge.errors import ConfigError, DataError
from spikebridge.neurons.state import detach
from spikebridge.training.batches import Dataset, check_dataset, epoch_order, shard
from spikebridge.training.distributed import (
    ModuleHost,
    gather_optimizer_state,
    gather_rng_states,
    gather_weights,
    scatter_optimizer_state,
    scatter_rng_states,
)
from spikebridge.training.evaluation import evaluating
from spikebridge.training.phase import Phase, Result, check_phases, find, trainable_only
from spikebridge.training.progress import Progress, choose_progress
from spikebridge.training.resume import ResumableLoop
from spikebridge.training.rng import preserve_rng_state, seed_rng
from spikebridge.training.run.metrics import Row, TensorBoard
from spikebridge.training.run.run import Run
from spikebridge.training.run.weights import load_exactly
from spikebridge.training.settings import Interrupt, Settings, start

if TYPE_CHECKING:
    from lightning_fabric import Fabric


_Validate = Callable[[nn.Module], Mapping[str, Any]]
_DEFAULTS = Settings()


def fit(
    module: nn.Module,
    phases: Sequence[Phase],
    data: Dataset | None = None,
    *,
    settings: Settings = _DEFAULTS,
    run: Run | None = None,
    validate: _Validate | None = None,
    progress: Progress | None = None,
) -> list[Row]:
    """Trains a network, phase after phase.

    The result is a function of the arguments: the global random-number generators are seeded for the training and get
    their state back afterwards. The module is trained in place and stays on its device.

    Args:
        module: any module.
        phases: what is trained when, on which objective.
        data: samples for the phases that bring none of their own (`Batches`, `Samples`, or your own).
        settings: seed, batch size, devices, precision.
        run: where metrics and checkpoints go; a checkpoint that it holds is resumed. A run serves one training; for
            several take `run.child(NAME)`. None writes nothing.
        validate: measures the network after every epoch, in eval mode, without gradients or a change of the random
            generators, on every process; its numbers go into the row as `validation/NAME`.
        progress: shows the progress; None takes bars, lines or nothing, as the screen and `settings.quiet` say.

    Returns:
        the rows, as in metrics.jsonl: one an epoch with kind, phase, epoch, step, lr, loss and metrics.

    Raises:
        ConfigError: phases, names or settings that cannot be meant, or a checkpoint of another network or training.
        DataError: a loss or gradient that is not finite, or no whole checkpoint among those of the run.
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
    plan = [(phase, check_dataset(data if phase.data is None else phase.data)) for phase in phases]
    fabric = start(settings)
    raise_mmap_threshold()
    show = progress or choose_progress(settings.quiet or not fabric.is_global_zero)
    with preserve_rng_state(), show, Interrupt(active=run is not None and fabric.world_size == 1) as interrupt:
        return _PhaseLoop(fabric, module, plan, settings, run, validate, show, interrupt).fit()


@dataclass(frozen=True)
class _Stage:
    """A phase that is set up: network and host, data, the optimizer and its Fabric wrapper."""

    phase: Phase
    data: Dataset
    network: nn.Module
    host: Any
    optimizer: Optimizer
    driven: Any
    scheduler: LRScheduler | None


@dataclass
class _PhasePosition:
    """Counters of a training; all are in its checkpoint.

    Attributes:
        phase: number of the running phase.
        epoch: epochs of it that are done.
        batch: batches of the running epoch that are done.
        step: batches of the whole training that are done.
        num_rows: rows that are written.
        sums: of the loss and metrics over the samples of the running epoch.
    """

    phase: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    num_rows: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, values: dict[str, float], num_samples: int) -> None:
        """Counts one batch.

        Example:
            >>> position = _PhasePosition()
            >>> position.add({"loss": 0.5}, num_samples=4)
            >>> (position.batch, position.step, position.sums)
            (1, 1, {'loss': 2.0})
        """
        self.batch += 1
        self.step += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * num_samples

    def end_epoch(self, num_epochs: int) -> None:
        """Counts one epoch, and the phase if that was its last.

        Example:
            >>> position = _PhasePosition(epoch=1, batch=9)
            >>> position.end_epoch(num_epochs=2)
            >>> (position.phase, position.epoch, position.batch)
            (1, 0, 0)
        """
        last = self.epoch + 1 == num_epochs
        self.phase, self.epoch = (self.phase + 1, 0) if last else (self.phase, self.epoch + 1)
        self.batch, self.sums = 0, {}


class _PhaseLoop(ResumableLoop):
    position: _PhasePosition

    def __init__(
        self,
        fabric: "Fabric",
        module: nn.Module,
        plan: Sequence[tuple[Phase, Dataset]],
        settings: Settings,
        run: Run | None,
        validate: _Validate | None,
        progress: Progress,
        interrupt: Interrupt,
    ) -> None:
        identity = {
            "seed": settings.seed,
            "batch_size": settings.batch_size,
            "precision": settings.precision,
            "phases": [[phase.name, list(phase.train), phase.epochs] for phase, _ in plan],
            "num_samples": [len(data) for _, data in plan],
        }
        super().__init__(module, run, _PhasePosition(), identity, interrupt)
        self.fabric, self.plan, self.settings = fabric, plan, settings
        self.validate, self.progress = validate, progress
        self.saved_step = 0
        self.board: TensorBoard | None = None

    def fit(self) -> list[Row]:
        seed_rng(self.settings.seed, self.fabric.global_rank)
        saved = self._begin()
        try:
            for phase, data in self.plan[self.position.phase :]:
                self._phase(phase, data, saved)
                saved = None
        finally:
            if self.board is not None:
                self.board.close()
        return self.rows

    def _begin(self) -> dict[str, Any] | None:
        saved = self.resume()
        if saved is not None:
            self.fabric.strategy.precision.load_state_dict(saved["precision"])
            self.saved_step = self.position.step
            scatter_rng_states(self.fabric, saved["generators"], self.settings.seed, self.position.step)
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
        if self.settings.tensorboard and self.run.writes:
            self.board = TensorBoard(self.run.path / "tensorboard", self.rows)
        return saved

    def _phase(self, phase: Phase, data: Dataset, saved: dict[str, Any] | None) -> None:
        sharded = self.settings.strategy == "fsdp"
        # a sharding strategy takes a module apart for good, so it gets a copy and the weights are brought back
        network = copy.deepcopy(self.module) if sharded else self.module
        with trainable_only(network, phase.train):
            host = self.fabric.setup_module(ModuleHost(network))
            optimizer = phase.optimizer([parameter for parameter in host.parameters() if parameter.requires_grad])
            scheduler = None if phase.scheduler is None else phase.scheduler(optimizer)
            stage = _Stage(phase, data, network, host, optimizer, self.fabric.setup_optimizers(optimizer), scheduler)
            if saved is not None and saved["optimizer"] is not None:
                scatter_optimizer_state(host, optimizer, saved["optimizer"])
                if scheduler is not None:
                    scheduler.load_state_dict(saved["scheduler"])
            for _ in range(self.position.epoch, phase.epochs):
                self._epoch(stage)
            if sharded:
                load_exactly(gather_weights(host, network), self.module)

    def _epoch(self, stage: _Stage) -> None:
        at, phase = self.position, stage.phase
        batches = epoch_order(len(stage.data), self.settings.seed, at.phase, at.epoch).split(self.settings.batch_size)
        title = f"{phase.name} {at.epoch + 1}/{phase.epochs}"
        self.progress.begin_epoch(title, len(batches), at.batch)
        for indices in batches[at.batch :]:
            where = f"phase {phase.name!r}, epoch {at.epoch + 1}, step {at.step + 1}"
            values = _take_step(self.fabric, stage, indices, where)
            at.add(values, len(indices))
            self.progress.step(values)
            if self.settings.log_every and at.step % self.settings.log_every == 0:
                self.log(self._row("step", stage, values))
            if at.batch < len(batches):
                self._save_if(self._due(), stage)
        means = {name: total / len(stage.data) for name, total in at.sums.items()}
        if self.validate is not None:
            with preserve_rng_state(), evaluating(stage.host):
                measured = stage.host(self.validate)
            means |= {f"validation/{name}": float(value) for name, value in measured.items()}
        row = self._row("epoch", stage, means)
        self.log(row)
        self.progress.end_epoch(title, row)
        if stage.scheduler is not None:
            stage.scheduler.step()
        at.end_epoch(phase.epochs)
        self._save_if(self._due() or not self.settings.checkpoint_every or at.epoch == 0, stage)

    def _row(self, kind: str, stage: _Stage, values: Mapping[str, float]) -> Row:
        at, lr = self.position, float(stage.optimizer.param_groups[0]["lr"])
        return {"kind": kind, "phase": stage.phase.name, "epoch": at.epoch + 1, "step": at.step, "lr": lr, **values}

    def log(self, row: Row) -> None:
        super().log(row)
        if self.board is not None:
            self.board.add(row)

    def _due(self) -> bool:
        every = self.settings.checkpoint_every
        return every > 0 and self.position.step - self.saved_step >= every

    def _save_if(self, due: bool, stage: _Stage) -> None:
        if due:
            self.saved_step = self.position.step
        self.pause(due, lambda: self._state(stage))
        if due and self.run is not None:
            self.fabric.barrier()

    def _state(self, stage: _Stage) -> dict[str, Any]:
        begun = self.position.epoch > 0 or self.position.batch > 0
        return {
            "weights": gather_weights(stage.host, stage.network),
            "optimizer": gather_optimizer_state(stage.host, stage.optimizer) if begun else None,
            "scheduler": stage.scheduler.state_dict() if begun and stage.scheduler is not None else None,
            "precision": dict(self.fabric.strategy.precision.state_dict()),
            "generators": gather_rng_states(self.fabric),
        }


def _take_step(fabric: "Fabric", stage: _Stage, indices: Tensor, where: str) -> dict[str, float]:
    """One step on one global batch.

    Args:
        fabric: knows the processes.
        stage: the running phase.
        indices: `(n,)` samples of the global batch.
        where: the step's name in messages.

    Returns:
        loss and metrics: means over the global batch (and over its slices), before the step.

    Raises:
        DataError: a loss or gradient that is not finite; the network is left as it was before the step.
        ConfigError: an objective that gives something else than a loss.
    """
    phase = stage.phase
    mine, weight = shard(indices, fabric.global_rank, fabric.world_size)
    batch = fabric.to_device(stage.data.select(mine))
    if phase.slices is None:
        return _move(fabric, stage, stage.host(phase.objective, batch), weight, where)
    state: Any = None
    moves = []
    for piece in phase.slices(batch):
        answer = stage.host(phase.objective, piece, state)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise ConfigError(f"the objective of {where} works on slices, so it must give (loss, state)")
        result, state = answer
        moves.append(_move(fabric, stage, result, weight, where))
        state = detach(state)
    if not moves:
        raise ConfigError(f"the slices of {where} are none: the batch has no time step")
    return {name: sum(move[name] for move in moves) / len(moves) for name in moves[0]}


def _move(fabric: "Fabric", stage: _Stage, result: Result, weight: float, where: str) -> dict[str, float]:
    loss, metrics = _parts(result, where)
    values = _global_means(fabric, {"loss": loss, **metrics}, weight)
    if not math.isfinite(values["loss"]):
        raise DataError(_not_finite(f"the loss is {values['loss']}", where))
    stage.driven.zero_grad()
    fabric.backward(loss * weight)
    norm: Any = fabric.clip_gradients(
        stage.host, stage.driven, max_norm=stage.phase.clip or math.inf, error_if_nonfinite=False
    )
    # a gradient scaler meets infinite gradients on purpose and leaves such a move out by itself
    if getattr(fabric.strategy.precision, "scaler", None) is None and not math.isfinite(norm):
        raise DataError(_not_finite("the loss is finite but its gradient is not,", where))
    stage.driven.step()
    return values


def _parts(result: Result, where: str) -> tuple[Tensor, dict[str, Any]]:
    loss, metrics = result if isinstance(result, tuple) and len(result) == 2 else (result, {})
    if not isinstance(loss, Tensor) or loss.ndim != 0 or not isinstance(metrics, dict):
        form = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise ConfigError(
            f"the objective of {where} must give one number, or that and a dict of metrics, but gave {form}"
        )
    if not loss.requires_grad:
        raise ConfigError(
            f"the loss of {where} depends on nothing that the phase trains; name what it depends on in train"
        )
    if "loss" in metrics:
        raise ConfigError(f"the objective of {where} has a metric called 'loss'; that name is the loss's own")
    return loss, metrics


def _global_means(fabric: "Fabric", values: dict[str, Any], weight: float) -> dict[str, float]:
    """The means over the global batch; every process learns of a loss that is not finite in the same moment."""
    kind = torch.promote_types(values["loss"].dtype, torch.float32)
    numbers = [torch.as_tensor(value, device=fabric.device).detach().to(kind) for value in values.values()]
    means: Any = fabric.all_reduce(torch.stack(numbers) * weight, reduce_op="mean")
    return dict(zip(values, means.tolist(), strict=True))


def _not_finite(what: str, where: str) -> str:
    return (
        f"{what} in {where}: the training has diverged; take a lower learning rate, clip the gradient (Phase.clip), "
        "or look for NaN in the data"
    )


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
