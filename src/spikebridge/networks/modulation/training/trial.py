"""One method and one seed of the modulation recipe: made, trained task after task, and kept.

Each task's sub-network as it was before and after its turn, so that transfer can be measured on other pictures.
"""

import copy
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.networks.modulation.model.backbone import Gating
from spikebridge.networks.modulation.model.branch import Branch, BranchSettings
from spikebridge.networks.modulation.model.subnetwork import extract_subnetwork, open_indices
from spikebridge.networks.modulation.model.task_inference import GaussianPrototypes
from spikebridge.networks.modulation.training.gates import (
    UnitSettings,
    build_gating,
    task_gates,
    task_prototypes,
    train_gating,
)
from spikebridge.networks.modulation.training.methods import Method, consolidation
from spikebridge.networks.modulation.training.tasks import TaskSequence
from spikebridge.training.continual.loop import fit_tasks
from spikebridge.training.continual.subnetwork import Subnetwork
from spikebridge.training.continual.task import ContinualResult, ContinualSettings
from spikebridge.training.continual.trainer import ContinualMethod
from spikebridge.training.rng import derive_seed
from spikebridge.training.run.run import Run
from spikebridge.training.run.weights import read_weights, save_weights


class Snapshots:
    """Takes sub-networks while tasks are learnt; a file each, so that a stopped learning still has them.

    Args:
        branch: untrained.
        gates: `(K, C)` a layer.
        folder: where files go; None keeps them in memory.
    """

    def __init__(self, branch: Branch, gates: list[Tensor], folder: Path | None) -> None:
        self.gates, self.folder = gates, folder
        self._kept: dict[str, dict[str, Tensor]] = {}
        self._take(branch, 0, "before")

    def __call__(self, module: nn.Module, num_learnt: int) -> dict[str, float]:
        """Takes the task just learnt and the next one; measures nothing."""
        if isinstance(module, Branch):
            self._take(module, num_learnt - 1, "after")
            if num_learnt < len(self.gates[0]):
                self._take(module, num_learnt, "before")
        return {}

    @property
    def taken(self) -> dict[str, Tensor]:
        """All of them, as `before.TASK.NAME` and `after.TASK.NAME`."""
        found = dict(self._kept)
        if self.folder is not None:
            found |= {file.stem: read_weights(file) for file in sorted(self.folder.glob("*.safetensors"))}
        return {f"{part}.{name}": value for part, values in found.items() for name, value in values.items()}

    def forget(self) -> None:
        """Removes the files."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _take(self, branch: Branch, task: int, when: str) -> None:
        part = extract_subnetwork(branch, [layer[task] for layer in self.gates])
        values = {name: parameter.detach().cpu().clone() for name, parameter in part.named_parameters()}
        if self.folder is None:
            self._kept[f"{when}.{task}"] = values
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        save_weights(self.folder / f"{when}.{task}.safetensors", values)


def quantize_snapshots(snapshots: Mapping[str, Tensor], branch: Branch, gates: list[Tensor]) -> dict[str, Tensor]:
    """Snapshots as bytes: how far each weight is from where it ended, in 127ths of the tensor's largest way.

    Args:
        snapshots: `before.TASK.NAME` and `after.TASK.NAME`.
        branch: as it ended.
        gates: `(K, C)` a layer.
    """
    found = {}
    for key, (now, value) in _with_end(snapshots, branch, gates).items():
        way = value - now
        step = way.abs().max().clamp(min=1e-12) / 127
        found[key] = (way / step).round().to(torch.int8)
        found[f"{key}.step"] = step.reshape(1)
    return found


def dequantize_snapshots(bytes_: Mapping[str, Tensor], branch: Branch, gates: list[Tensor]) -> dict[str, Tensor]:
    """Snapshots from their bytes."""
    ways = {key: value * bytes_[f"{key}.step"] for key, value in bytes_.items() if not key.endswith(".step")}
    return {key: now + way for key, (now, way) in _with_end(ways, branch, gates).items()}


def _with_end(values: Mapping[str, Tensor], branch: Branch, gates: list[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    parts = [
        dict(extract_subnetwork(branch, [layer[k] for layer in gates]).named_parameters()) for k in range(len(gates[0]))
    ]
    ends = {key: parts[int(key.split(".")[1])][key.split(".", 2)[2]].detach() for key in values}
    return {key: (ends[key], values[key]) for key in values}


NUM_CLASSES = 10


@dataclass(frozen=True)
class TrialSettings:
    """Sizes and rates of one cell.

    Args:
        units: of the backbone and its units, with the branch's sizes and opening.
        num_plain: neurons a layer of an ungated branch.
        branch: neurons and read-out.
        by_open_fan_in: initial weights scaled by open neurons, not by all.
        epochs, batch_size, lr, momentum: of each task; the rate falls to a tenth after `lr_milestone` epochs.
        strength: of what keeps old tasks.
        num_fisher: samples of a task for the Fisher information.
        cut: train sub-networks instead of masks.
        device: where tasks are learnt.
    """

    units: UnitSettings
    num_plain: int
    branch: BranchSettings
    by_open_fan_in: bool
    epochs: int
    batch_size: int
    lr: float
    lr_milestone: int
    momentum: float
    strength: float
    num_fisher: int
    cut: bool
    device: str = "cpu"


@dataclass
class Trial:
    """What a method has after all its tasks.

    Attributes:
        branch: trained.
        gates: `(K, C)` a layer; None where nothing is closed.
        gating: backbone and units; None without.
        codes: a Gaussian of each task on a few drives, by which a task is found again; None without units.
        learnt: matrix R, seconds, rows.
        notes: of the units' training.
        snapshots: sub-networks before and after their task, where they were asked for.
    """

    branch: Branch
    gates: list[Tensor] | None
    gating: Gating | None
    prototypes: GaussianPrototypes | None
    learnt: ContinualResult
    notes: dict[str, Any]
    snapshots: Snapshots | None


def logits(module: nn.Module, x: Tensor, quantities: Mapping[str, Any]) -> Tensor:
    """The branch on pictures `(B, d)` or recordings `(T, B, d)`."""
    y: Tensor = module(x if x.ndim == 3 else x.unsqueeze(0), **quantities)
    return y


def logits_with_own_gates(module: nn.Module, x: Tensor, quantities: Mapping[str, Any], *, gating: Gating) -> Tensor:
    """The same where each sample opens neurons by itself."""
    shown = x if x.ndim == 3 else x.unsqueeze(0)
    with torch.no_grad():
        gates = gating.gates(gating.preactivations(shown), num_samples=1)
    if not isinstance(module, Branch):
        raise ConfigError(f"own gates are for a Branch, but got {type(module).__name__}")
    y: Tensor = module(shown, **module.modulation([gate.to(shown.dtype) for gate in gates]))
    return y


def subnetwork_of(branch: Branch, gates: list[Tensor], cut: bool) -> Subnetwork:
    """What of the branch a task may use: as masks, or as a sub-network."""
    quantities = branch.modulation([gate.float() for gate in gates])
    return Subnetwork(quantities, open_indices(branch, gates), partial(_cut, gates=gates) if cut else None)


def _cut(module: nn.Module, gates: list[Tensor]) -> nn.Module:
    if not isinstance(module, Branch):
        raise ConfigError(f"only a Branch can be cut, but got {type(module).__name__}")
    return extract_subnetwork(module, gates)


def run_trial(
    method: Method,
    settings: TrialSettings,
    sequence: TaskSequence,
    seed: int,
    run: Run | None,
    quiet: bool = False,
    snapshots: bool = False,
    gating: Gating | None = None,
) -> Trial:
    """Trains the units, makes the gates, learns all tasks; goes on where the run was stopped.

    Args:
        method: what is trained.
        settings: sizes and rates.
        sequence: tasks of this seed.
        seed: of weights, batches and draws.
        run: keeps checkpoints; None keeps nothing.
        quiet: no progress.
        snapshots: keep each task's sub-network as it was before and after the task.
        gating: backbone and units that are trained already; None makes them.
    """
    notes: dict[str, Any] = {}
    if method.has_unit and gating is None:
        gating = build_gating(method, sequence, settings.units, seed)
        child = None if run is None else run.child("units")
        notes = train_gating(gating, method, sequence, settings.units, seed, child, quiet)
        gating.eval()
    gates = task_gates(method, sequence, settings.units, seed, gating)
    prototypes = None if gating is None else task_prototypes(gating, sequence)
    branch = build_branch(method, settings, sequence, gating)
    start(branch, settings, seed, gates).to(settings.device)
    if gating is not None:
        gating.to(settings.device)
    if method.alone:
        learnt = _alone(branch, settings, sequence, seed, quiet)
        return Trial(branch.cpu(), gates, gating, prototypes, learnt, notes, None)
    kept = consolidation(method, settings.strength, settings.num_fisher, seed, _chunk(branch, settings, method))
    subnetworks = None
    if gates is not None and not method.per_sample:
        rows = [[layer[k].to(settings.device) for layer in gates] for k in range(len(gates[0]))]
        every = [subnetwork_of(branch, row, settings.cut) for row in rows]
        subnetworks = every.__getitem__
    tasks = None if run is None else run.child("tasks")
    taken = None
    if snapshots and gates is not None:
        taken = Snapshots(branch, gates, None if tasks is None else tasks.path / "snapshots")
    method_of_loop = ContinualMethod(
        optimizer=partial(torch.optim.SGD, lr=settings.lr, momentum=settings.momentum),
        scheduler=partial(torch.optim.lr_scheduler.MultiStepLR, milestones=[settings.lr_milestone], gamma=0.1),
        consolidation=kept,
        subnetworks=subnetworks,
        forward=partial(logits_with_own_gates, gating=gating) if method.per_sample and gating is not None else logits,
        measure=taken,
    )
    loop_settings = _loop_settings(settings, seed, quiet)
    learnt = fit_tasks(branch, sequence.tasks(), method_of_loop, settings=loop_settings, run=tasks)
    if gating is not None:
        gating.cpu()
    return Trial(branch.cpu(), gates, gating, prototypes, learnt, notes, taken)


def build_branch(method: Method, settings: TrialSettings, sequence: TaskSequence, gating: Gating | None) -> Branch:
    """The branch of a method, in the size that the method asks for."""
    num_inputs, hidden = sequence.train.inputs.shape[-1], settings.units.num_hidden
    if method.alone:
        first, second = (max(1, round(settings.units.rho * size)) for size in hidden)
        hidden = first, second
    elif method.size == "plain":
        hidden = settings.num_plain, settings.num_plain
    elif method.size == "wide":
        hidden = matched_width(num_inputs, hidden, len(sequence.learnt))
    # an ANN's logits are not summed over steps, so they need no factor
    own = {"neuron": "ann", "logit_scale": 1.0} if method.neuron == "ann" else {}
    held = BranchSettings(**{**vars(settings.branch), **own})
    return Branch(num_inputs, hidden, NUM_CLASSES, held)


def matched_width(num_inputs: int, hidden: tuple[int, int], num_tasks: int) -> tuple[int, int]:
    """The hidden layers of an ungated branch with as many numbers as HMN's branch, heads and gate table together.

    Example:
        >>> matched_width(64, (2000, 2000), 40)
        (2064, 2064)
    """
    branch = num_inputs * hidden[0] + hidden[0] * hidden[1] + hidden[1] * NUM_CLASSES
    heads = (num_inputs + 1) * sum(hidden)
    table = num_tasks * sum(hidden) / 32  # bits, in numbers of 32
    linear = num_inputs + NUM_CLASSES
    size = round((-linear + math.sqrt(linear**2 + 4 * (branch + heads + table))) / 2)
    return size, size


def start(branch: Branch, settings: TrialSettings, seed: int, gates: list[Tensor] | None) -> Branch:
    """Draws the initial weights; the same seed gives the same ones to every method, up to scale."""
    fan_in = None
    if gates is not None and settings.by_open_fan_in:
        fan_in = float(gates[0].sum(1).float().mean()), float(gates[1].sum(1).float().mean())
    return branch.initialise(torch.Generator().manual_seed(derive_seed(seed, 0)), fan_in)


def _alone(branch: Branch, settings: TrialSettings, sequence: TaskSequence, seed: int, quiet: bool) -> ContinualResult:
    """A fresh network for each task; before its task a network has learnt nothing, so R has two values a column."""
    num_tasks = len(sequence.learnt)
    accuracies = torch.zeros(num_tasks + 1, num_tasks, dtype=torch.float64)
    seconds = []
    for k, task in enumerate(sequence.tasks()):
        fresh = copy.deepcopy(branch)
        found = fit_tasks(
            fresh,
            [task],
            ContinualMethod(
                optimizer=partial(torch.optim.SGD, lr=settings.lr, momentum=settings.momentum),
                scheduler=partial(torch.optim.lr_scheduler.MultiStepLR, milestones=[settings.lr_milestone], gamma=0.1),
                forward=logits,
            ),
            settings=_loop_settings(settings, seed, quiet),
        )
        accuracies[: k + 1, k] = found.accuracies[0, 0]
        accuracies[k + 1 :, k] = found.accuracies[1, 0]
        seconds += found.seconds
    return ContinualResult(accuracies, seconds, [])


def _loop_settings(settings: TrialSettings, seed: int, quiet: bool) -> ContinualSettings:
    return ContinualSettings(settings.epochs, settings.batch_size, seed, test_batch_size=2000, quiet=quiet)


def _chunk(branch: Branch, settings: TrialSettings, method: Method) -> int:
    """Samples at a time for the Fisher information, so that their gradients stay below about 200 MB."""
    shares = [settings.units.rho if method.is_gated and settings.cut and not method.per_sample else 1.0] * 2
    first, second = (size * share for size, share in zip(branch.num_hidden, shares, strict=True))
    numbers = branch.sizes[0] * first + first * second + second * NUM_CLASSES
    return max(1, min(64, int(5e7 / numbers)))
