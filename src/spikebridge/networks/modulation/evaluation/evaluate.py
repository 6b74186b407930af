"""Evaluating a trained HMN again, on its own test pictures or on digits from a file that nobody has trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikebridge.data.images.labelled import read_digit_file
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.modulation.evaluation.accuracy_matrix import continual_metrics
from spikebridge.networks.modulation.evaluation.scores import InferenceModes
from spikebridge.networks.modulation.model.backbone import Gating
from spikebridge.networks.modulation.model.branch import Branch
from spikebridge.networks.modulation.model.gating import density_report
from spikebridge.networks.modulation.model.subnetwork import extract_subnetwork
from spikebridge.networks.modulation.model.task_inference import GaussianPrototypes
from spikebridge.networks.modulation.training.methods import METHODS
from spikebridge.networks.modulation.training.tasks import LabelledInputs, TaskSequence
from spikebridge.networks.modulation.training.trial import (
    Trial,
    TrialSettings,
    dequantize_snapshots,
    quantize_snapshots,
    start,
)
from spikebridge.training.run.run import Run
from spikebridge.training.run.weights import read_weights, save_weights

WEIGHTS, SNAPSHOTS = "weights.safetensors", "weights_snapshots.safetensors"
WHEN = ("before", "after")


@dataclass(frozen=True)
class Evaluation:
    """How a trained network is evaluated."""

    method: str = "hmn"
    """Which of the run's methods; one whose gates units make."""
    num_samples: int = 1
    """Unlabelled pictures of one task from which it is inferred."""
    direct_samples: int = 20
    """Unlabelled pictures of one task of which its gate is made directly, without a table."""
    per_sample_pictures: int = 500
    """Pictures a task on which every picture makes its own gate: the slow mode."""


def read_inputs(path: Path, num_features: int) -> LabelledInputs:
    """Digits of an npz file, as one row a picture.

    Raises:
        DataError: it does not hold digits.
        ConfigError: the network sees pictures of another size.
    """
    images, labels = read_digit_file(path)
    if images[0].numel() != num_features:
        raise ConfigError(
            f"this network was trained on pictures of {num_features} pixels, but {path} has pictures of "
            f"{images[0].numel()}; evaluate one that was trained with --dataset mnist"
        )
    return LabelledInputs(images.flatten(1), labels, 0)


def save_trial(trial: Trial, sequence: TaskSequence, run: Run) -> None:
    """Writes what an evaluation needs: weights in half precision, gates, Gaussians, orders, snapshots as bytes."""
    weights = {f"branch.{name}": value.half() for name, value in trial.branch.state_dict().items()}
    if trial.gating is not None:
        weights |= {f"gating.{name}": value.half() for name, value in trial.gating.state_dict().items()}
    if trial.gates is not None:
        weights |= {f"gates.{n}": layer.to(torch.uint8) for n, layer in enumerate(trial.gates)}
    if trial.prototypes is not None:
        weights |= {"codes.means": trial.prototypes.means, "codes.covariances": trial.prototypes.covariances}
    weights["orders"] = sequence.orders.permutations[sequence.learnt].to(torch.int16)
    run.save_weights(weights)
    if trial.snapshots is not None and trial.gates is not None and run.writes:
        save_weights(run.path / SNAPSHOTS, quantize_snapshots(trial.snapshots.taken, trial.branch, trial.gates))
        trial.snapshots.forget()


def find_trial(run: Run, method: str) -> tuple[str, Run]:
    """The trained cell of a method whose weights were kept: that of the first seed.

    Raises:
        ConfigError: the run has none.
    """
    kept = {
        path.partition("/")[0]: child
        for path, child in run.children().items()
        if (child.path / WEIGHTS).is_file() and METHODS[path.partition("/")[0]].has_unit
    }
    if method not in kept:
        raise ConfigError(f"the run has no weights of {method!r} to evaluate; it has {', '.join(kept) or 'none'}")
    return method, kept[method]


def _part(branch: Branch, gates: list[Tensor], task: int) -> Branch:
    return extract_subnetwork(branch, [layer[task] for layer in gates])


def load_networks(run: Run, branch: Branch, gating: Gating | None) -> dict[str, Tensor]:
    """Puts trained weights into branch and gating, and gives everything that was written beside them.

    Raises:
        DataError: weights of another network.
    """
    weights = read_weights(run.path / WEIGHTS)
    try:
        branch.load_state_dict(_named(weights, "branch"))
        if gating is not None:
            gating.load_state_dict(_named(weights, "gating"))
    except RuntimeError as error:
        raise DataError(f"{run.path / WEIGHTS} is of another network: {error}") from error
    return weights


def load_trial(
    run: Run, branch: Branch, gating: Gating | None, sequence: TaskSequence
) -> tuple[list[Tensor], GaussianPrototypes, dict[str, Tensor]]:
    """Puts what `save_trial` wrote into place.

    Returns:
        the gates `(K, C)` a layer, the Gaussian of each task, and the snapshots, if there are any.

    Raises:
        DataError: weights of another network.
    """
    weights = load_networks(run, branch, gating)
    try:
        gates = [weights[f"gates.{n}"].bool() for n in (0, 1)]
        prototypes = GaussianPrototypes(weights["codes.means"], weights["codes.covariances"])
        sequence.orders.permutations[sequence.learnt] = weights["orders"].long()
    except (KeyError, RuntimeError) as error:
        raise DataError(f"{run.path / WEIGHTS} is of another network: {error}") from error
    if not (run.path / SNAPSHOTS).is_file():
        return gates, prototypes, {}
    return gates, prototypes, dequantize_snapshots(read_weights(run.path / SNAPSHOTS), branch, gates)


def _named(weights: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    start_ = f"{what}."
    return {name.removeprefix(start_): value.float() for name, value in weights.items() if name.startswith(start_)}


def evaluate_trial(
    run: Run,
    branch: Branch,
    gating: Gating | None,
    settings: TrialSettings,
    sequence: TaskSequence,
    seed: int,
    options: Evaluation,
) -> dict[str, Any]:
    """All figures on the sequence's test pictures.

    `bwt` and `fwd` need accuracies from before the end. With snapshots they are of these pictures; without, they are
    those of the training run, and `bwt_and_fwd_of` says so.

    Args:
        run: of the cell, with its weights.
        branch, gating: in the run's sizes; their weights are replaced.
        settings: of the cell.
        sequence: its tasks, with the pictures to score.
        seed: of the cell.
        options: of the evaluation.
    """
    if gating is None:
        raise ConfigError("only methods whose gates units make can be evaluated without being told the task")
    gates, prototypes, snapshots = load_trial(run, branch, gating.eval(), sequence)
    modes = InferenceModes(branch, gates, sequence, gating, prototypes)
    number = len(sequence.test.labels)
    samples, direct = min(options.num_samples, number), min(options.direct_samples, number)
    few = sequence._replace(test=sequence.test.first(min(options.per_sample_pictures, number)))
    inferred = modes.inferred(samples)
    given = modes.given()
    opening = density_report(gates)
    return {
        "acc": given,
        **_before_the_end(run, branch, gates, snapshots, settings, sequence, seed, modes),
        "opening": sum(row["mean"] for row in opening) / len(opening),
        "modes": {
            "given": given,
            "inferred": inferred.accuracy,
            "direct": modes.direct(direct),
            "per_sample": InferenceModes(branch, gates, few, gating).direct(1),
            "nearest_gate": modes.nearest_gate(samples).accuracy,
            "two_nearest": modes.two_nearest(),
        },
        "right_task": inferred.task,
        "right_group": inferred.group,
        "inferred_from": samples,
        "direct_from": direct,
        "opening_by_layer": opening,
        "num_pictures": number,
        "num_tasks": len(gates[0]),
        "seed": seed,
    }


def _before_the_end(
    run: Run,
    branch: Branch,
    gates: list[Tensor],
    snapshots: Mapping[str, Tensor],
    settings: TrialSettings,
    sequence: TaskSequence,
    seed: int,
    modes: InferenceModes,
) -> dict[str, Any]:
    """BWT, FWT and transfer; `fwd` is transfer, the raw accuracy on tasks alike to learnt ones, before their turn."""
    if not snapshots:
        results = run.results()
        kept = {"bwt": results["bwt"], "fwd": results["transfer"], "fwt": results["fwt"]}
        return {**kept, "bwt_and_fwd_of": "the test pictures of the training run"}
    num_tasks = len(gates[0])
    R = torch.zeros(num_tasks + 1, num_tasks)
    untrained = start(
        Branch(branch.sizes[0], branch.num_hidden, branch.sizes[3], branch.settings), settings, seed, gates
    )
    for k in range(num_tasks):
        part = _part(branch, gates, k)
        R[-1, k] = modes.accuracy_of(part, k)
        R[0, k] = modes.accuracy_of(_part(untrained, gates, k), k)
        for when, row in zip(WHEN, (k, k + 1), strict=True):
            if row in (0, num_tasks):  # the untrained network and the end are there already
                continue
            names = [name for name, _ in part.named_parameters()]
            part.load_state_dict({name: snapshots[f"{when}.{k}.{name}"] for name in names})
            # what is between, no measure reads
            rows = range(row, num_tasks) if when == "after" else range(1, row + 1)
            R[list(rows), k] = modes.accuracy_of(part, k)
    found = continual_metrics(R.numpy(), sequence.group)
    return {"bwt": found.bwt, "fwd": found.transfer, "fwt": found.fwt, "bwt_and_fwd_of": "these pictures"}
