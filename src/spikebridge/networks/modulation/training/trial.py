"""A trial: one method with one seed, from the training of its units to the last of its tasks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.networks.modulation.config import LOGIT_SCALE, TrialSettings
from spikebridge.networks.modulation.model.branch import Branch, BranchSettings, extract_subnetwork, open_indices
from spikebridge.networks.modulation.model.gating import Gating
from spikebridge.networks.modulation.model.task_inference import GaussianPrototypes
from spikebridge.networks.modulation.training import units
from spikebridge.networks.modulation.training.snapshots import Snapshots
from spikebridge.networks.modulation.training.tasks import NUM_FEATURES, TaskSequence
from spikebridge.training.continual.ewc import EWC, Fisher
from spikebridge.training.continual.loop import ContinualMethod, fit_tasks
from spikebridge.training.continual.regularizer import Consolidation
from spikebridge.training.continual.subnetwork import Subnetwork
from spikebridge.training.continual.task import ContinualResult, ContinualSettings
from spikebridge.training.rng import derive_seed
from spikebridge.training.run.run import Run

_NUM_CLASSES = 10
_MOMENTUM = 0.9


@dataclass
class Trial:
    """A method after all its tasks; gates are `(K, C)` a layer."""

    branch: Branch
    gates: list[Tensor] | None
    gating: Gating | None
    prototypes: GaussianPrototypes | None
    result: ContinualResult
    notes: dict[str, Any]  # on the training of the units
    snapshots: Snapshots | None


def run_trial(settings: TrialSettings, sequence: TaskSequence, run: Run | None = None, *, quiet: bool = False) -> Trial:
    """Trains the units, makes the gates, and learns all tasks; resumes a stopped run."""
    gating = None
    notes: dict[str, Any] = {}
    if settings.method.has_unit:
        gating, notes = units.make_gating(settings, sequence, None if run is None else run.child("units"), quiet)

    gates = units.task_gates(settings, sequence, gating)
    prototypes = None if gating is None else units.task_prototypes(gating, sequence)
    branch = initialise_branch(build_branch(settings), settings, gates).to(settings.config.training.device)
    method = continual_method(settings, branch, gates)
    child = None if run is None else run.child("tasks")
    snapshots = None

    if settings.config.snapshots and settings.method.has_unit and gates is not None and child is not None:
        snapshots = Snapshots(branch, gates, child.file("snapshots"))
        method = replace(method, measure=snapshots)

    training = settings.config.training
    loop = ContinualSettings(training.epochs, training.batch_size, settings.seed, test_batch_size=2000, quiet=quiet)
    result = fit_tasks(branch, sequence.tasks(), method, settings=loop, run=child)

    return Trial(branch.cpu(), gates, gating, prototypes, result, notes, snapshots)


def build_branch(settings: TrialSettings) -> Branch:
    """The branch of a method in its size, not yet initialised."""
    network = settings.config.network
    is_ann = settings.method.neuron == "ann"
    size = network.num_hidden if settings.method.is_gated else network.num_plain

    # the logits of an ANN are not summed over steps, so they need no factor
    neurons = BranchSettings(settings.method.neuron, network.num_steps, logit_scale=1.0 if is_ann else LOGIT_SCALE)
    return Branch(NUM_FEATURES[settings.config.data.dataset], (size, size), _NUM_CLASSES, neurons)


def continual_method(settings: TrialSettings, branch: Branch, gates: list[Tensor] | None) -> ContinualMethod:
    """Optimizer, regularizer and sub-networks of a method."""
    training = settings.config.training
    half = max(1, training.epochs // 2)

    return ContinualMethod(
        optimizer=partial(torch.optim.SGD, lr=settings.lr, momentum=_MOMENTUM),
        scheduler=partial(torch.optim.lr_scheduler.MultiStepLR, milestones=[half], gamma=0.1),
        consolidation=_consolidation(settings, branch),
        subnetworks=None if gates is None else _subnetworks(branch, gates, training.device).__getitem__,
        forward=_logits,
    )


def initialise_branch(branch: Branch, settings: TrialSettings, gates: list[Tensor] | None) -> Branch:
    """Draws the initial weights; one seed gives the same weights to every method, up to their scale."""
    fan_in = None
    if gates is not None:
        fan_in = float(gates[0].sum(1).float().mean()), float(gates[1].sum(1).float().mean())

    return branch.initialise(torch.Generator().manual_seed(derive_seed(settings.seed, 0)), fan_in)


def _consolidation(settings: TrialSettings, branch: Branch) -> Consolidation:
    if not settings.method.has_ewc:
        return Consolidation()

    # gradients of a chunk of samples stay below about 200 MB
    share = settings.config.network.rho if settings.method.is_gated else 1.0
    first, second = (size * share for size in branch.num_hidden)
    num_weights = branch.sizes[0] * first + first * second + second * _NUM_CLASSES
    chunk_size = max(1, min(64, int(5e7 / num_weights)))

    fisher = Fisher(num_samples=settings.config.training.num_fisher, chunk_size=chunk_size, seed=settings.seed)
    return EWC(settings.strength, fisher=fisher)


def _subnetworks(branch: Branch, gates: list[Tensor], device: str) -> list[Subnetwork]:
    """The part of the branch that each task may use, extracted as a smaller network."""
    extract: Any = extract_subnetwork
    rows = [[layer.to(device) for layer in row] for row in zip(*gates, strict=True)]
    return [
        Subnetwork(
            branch.modulation([layer.float() for layer in row]), open_indices(branch, row), partial(extract, gates=row)
        )
        for row in rows
    ]


def _logits(module: nn.Module, x: Tensor, quantities: Mapping[str, Any]) -> Tensor:
    """The branch on images `(B, d)`."""
    y: Tensor = module(x.unsqueeze(0), **quantities)
    return y
