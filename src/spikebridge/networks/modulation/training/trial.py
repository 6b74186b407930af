"""A trial: one method with one seed, from building its units and branch to the last of its tasks."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.networks.modulation.model.backbone import Gating
from spikebridge.networks.modulation.model.branch import Branch
from spikebridge.networks.modulation.model.subnetwork import extract_subnetwork, open_indices
from spikebridge.networks.modulation.model.task_inference import GaussianPrototypes
from spikebridge.networks.modulation.training.gates import build_gating, task_gates, task_prototypes, train_gating
from spikebridge.networks.modulation.training.methods import TrialSettings, make_consolidation
from spikebridge.networks.modulation.training.snapshots import Snapshots
from spikebridge.networks.modulation.training.tasks import TaskSequence
from spikebridge.training.continual.loop import ContinualMethod, fit_tasks
from spikebridge.training.continual.subnetwork import Subnetwork
from spikebridge.training.continual.task import ContinualResult, ContinualSettings
from spikebridge.training.rng import derive_seed
from spikebridge.training.run.run import Run

_NUM_CLASSES = 10


@dataclass
class Trial:
    """A method after all its tasks.

    Attributes:
        branch: trained.
        gates: `(K, C)` a layer; None for a method without gates.
        gating: backbone and units; None for a method without units.
        prototypes: a Gaussian of each task, from which a task is inferred; None without units.
        result: accuracy matrix R, seconds, rows.
        notes: of the units' training.
        snapshots: sub-networks before and after their task; None where they were not asked for.
    """

    branch: Branch
    gates: list[Tensor] | None
    gating: Gating | None
    prototypes: GaussianPrototypes | None
    result: ContinualResult
    notes: dict[str, Any]
    snapshots: Snapshots | None


def run_trial(
    settings: TrialSettings,
    sequence: TaskSequence,
    run: Run | None = None,
    *,
    quiet: bool = False,
    snapshots: bool = False,
    gating: Gating | None = None,
    measure: Callable[[nn.Module, int], Mapping[str, float]] | None = None,
) -> Trial:
    """Trains the units, makes the gates, and learns all tasks; resumes where the run was stopped.

    Args:
        settings: method, seed, sizes and rates.
        sequence: the tasks of this seed.
        run: keeps checkpoints; None keeps nothing.
        quiet: show no progress.
        snapshots: save each task's sub-network before and after its training.
        gating: backbone and units that are trained already; None trains them.
        measure: measures the branch after each task, given the number of learned tasks; takes the place of snapshots.
    """
    method = settings.method
    notes = {}
    if method.has_unit and gating is None:
        gating = build_gating(settings, sequence)
        notes = train_gating(gating, settings, sequence, None if run is None else run.child("units"), quiet)
        gating.eval()

    gates = task_gates(settings, sequence, gating)
    prototypes = None if gating is None else task_prototypes(gating, sequence)
    branch = initialise_branch(build_branch(settings, sequence), settings, gates).to(settings.device)
    if gating is not None:
        gating.to(settings.device)

    if method.one_network_a_task:
        result = _learn_separately(branch, settings, sequence, quiet)
        return Trial(branch.cpu(), gates, gating, prototypes, result, notes, None)

    child = None if run is None else run.child("tasks")
    saved = None
    if snapshots and gates is not None:
        saved = Snapshots(branch, gates, None if child is None else child.path / "snapshots")

    loop = replace(
        _loop(settings),
        consolidation=make_consolidation(settings, _fisher_chunk(branch, settings)),
        subnetworks=None if gates is None or method.per_sample else _subnetworks(branch, gates, settings).__getitem__,
        forward=partial(_logits_with_own_gates, gating=gating) if gating is not None and method.per_sample else _logits,
        measure=measure or saved,
    )

    result = fit_tasks(branch, sequence.tasks(), loop, settings=_loop_settings(settings, quiet), run=child)
    if gating is not None:
        gating.cpu()

    return Trial(branch.cpu(), gates, gating, prototypes, result, notes, saved)


def build_branch(settings: TrialSettings, sequence: TaskSequence) -> Branch:
    """The branch of a method, not yet initialised, in the size of the method."""
    method = settings.method
    units = settings.units
    num_inputs = sequence.train.inputs.shape[-1]
    hidden = units.num_hidden

    if method.one_network_a_task:
        hidden = max(1, round(units.rho * hidden[0])), max(1, round(units.rho * hidden[1]))
    elif method.size == "plain":
        hidden = settings.num_plain, settings.num_plain
    elif method.size == "wide":
        hidden = _matched_width(num_inputs, hidden, len(sequence.numbers))

    # the logits of an ANN are not summed over steps, so they need no factor
    ann = replace(settings.branch, neuron="ann", logit_scale=1.0)
    return Branch(num_inputs, hidden, _NUM_CLASSES, ann if method.neuron == "ann" else settings.branch)


def _matched_width(num_inputs: int, hidden: tuple[int, int], num_tasks: int) -> tuple[int, int]:
    """The hidden layers of an ungated branch with as many parameters as HMN's branch, heads and gate table together.

    Example:
        >>> _matched_width(64, (2000, 2000), 40)
        (2064, 2064)
    """
    branch = num_inputs * hidden[0] + hidden[0] * hidden[1] + hidden[1] * _NUM_CLASSES
    heads = (num_inputs + 1) * sum(hidden)
    table = num_tasks * sum(hidden) / 32  # bits, as words of 32
    linear = num_inputs + _NUM_CLASSES
    size = round((-linear + math.sqrt(linear**2 + 4 * (branch + heads + table))) / 2)

    return size, size


def initialise_branch(branch: Branch, settings: TrialSettings, gates: list[Tensor] | None) -> Branch:
    """Draws the initial weights; one seed gives the same weights to every method, up to their scale."""
    fan_in = None
    if gates is not None and settings.scale_by_open_fan_in:
        fan_in = float(gates[0].sum(1).float().mean()), float(gates[1].sum(1).float().mean())

    return branch.initialise(torch.Generator().manual_seed(derive_seed(settings.seed, 0)), fan_in)


def _loop(settings: TrialSettings) -> ContinualMethod:
    return ContinualMethod(
        optimizer=partial(torch.optim.SGD, lr=settings.lr, momentum=settings.momentum),
        scheduler=partial(torch.optim.lr_scheduler.MultiStepLR, milestones=[settings.lr_milestone], gamma=0.1),
        forward=_logits,
    )


def _loop_settings(settings: TrialSettings, quiet: bool) -> ContinualSettings:
    return ContinualSettings(
        settings.epochs,
        settings.batch_size,
        settings.seed,
        test_batch_size=2000,
        test_all_after=settings.test_all_after,
        quiet=quiet,
    )


def _learn_separately(branch: Branch, settings: TrialSettings, sequence: TaskSequence, quiet: bool) -> ContinualResult:
    """A new network for each task. Its accuracy is that of an untrained network before its task, and constant after."""
    num_tasks = len(sequence.numbers)
    accuracies = torch.zeros(num_tasks + 1, num_tasks, dtype=torch.float64)
    seconds = []

    for k, task in enumerate(sequence.tasks()):
        found = fit_tasks(copy.deepcopy(branch), [task], _loop(settings), settings=_loop_settings(settings, quiet))
        accuracies[: k + 1, k] = found.accuracies[0, 0]
        accuracies[k + 1 :, k] = found.accuracies[1, 0]
        seconds += found.seconds

    return ContinualResult(accuracies, seconds, [])


def _subnetworks(branch: Branch, gates: list[Tensor], settings: TrialSettings) -> list[Subnetwork]:
    """The part of the branch that each task may use, as masks or as an extracted network."""

    def extract(module: nn.Module, row: list[Tensor]) -> nn.Module:
        return extract_subnetwork(_as_branch(module), row)

    rows = [[layer.to(settings.device) for layer in row] for row in zip(*gates, strict=True)]
    return [
        Subnetwork(
            branch.modulation([layer.float() for layer in row]),
            open_indices(branch, row),
            partial(extract, row=row) if settings.extract else None,
        )
        for row in rows
    ]


def _logits(module: nn.Module, x: Tensor, quantities: Mapping[str, Any]) -> Tensor:
    """The branch on images `(B, d)` or recordings `(T, B, d)`."""
    y: Tensor = module(x if x.ndim == 3 else x.unsqueeze(0), **quantities)
    return y


def _logits_with_own_gates(module: nn.Module, x: Tensor, quantities: Mapping[str, Any], *, gating: Gating) -> Tensor:
    """The same, each sample with its own gate."""
    x = x if x.ndim == 3 else x.unsqueeze(0)
    with torch.no_grad():
        gates = gating.gates(gating.preactivations(x), num_samples=1)

    return _logits(module, x, _as_branch(module).modulation([gate.to(x.dtype) for gate in gates]))


def _as_branch(module: nn.Module) -> Branch:
    if not isinstance(module, Branch):
        raise ConfigError(f"gates are for a Branch, but got {type(module).__name__}")
    return module


def _fisher_chunk(branch: Branch, settings: TrialSettings) -> int:
    """Samples at a time for the Fisher information: their gradients stay below about 200 MB."""
    method = settings.method
    share = settings.units.rho if method.is_gated and settings.extract and not method.per_sample else 1.0
    first, second = (size * share for size in branch.num_hidden)
    num_weights = branch.sizes[0] * first + first * second + second * _NUM_CLASSES

    return max(1, min(64, int(5e7 / num_weights)))
