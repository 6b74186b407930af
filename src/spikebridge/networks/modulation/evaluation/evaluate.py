"""Evaluation of a trained HMN on its own test samples, or on the digits of a file."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikebridge.data.images.labelled import read_digit_file
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.modulation.config import TrialSettings
from spikebridge.networks.modulation.evaluation.accuracy_matrix import continual_metrics
from spikebridge.networks.modulation.evaluation.inference import InferredTasks
from spikebridge.networks.modulation.evaluation.scores import MethodScore, density_report
from spikebridge.networks.modulation.model.branch import Branch, extract_subnetwork
from spikebridge.networks.modulation.model.gating import Gating
from spikebridge.networks.modulation.model.task_inference import GaussianPrototypes
from spikebridge.networks.modulation.training.snapshots import dequantize_snapshots, quantize_snapshots
from spikebridge.networks.modulation.training.tasks import LabelledInputs, TaskSequence
from spikebridge.networks.modulation.training.trial import Trial, build_branch, initialise_branch
from spikebridge.networks.modulation.training.units import build_gating
from spikebridge.training.run.run import Run
from spikebridge.training.run.weights import check_compatible, read_weights, save_weights

_log = logging.getLogger(__name__)

_WEIGHTS = "weights.safetensors"
_SNAPSHOTS = "weights_snapshots.safetensors"


@dataclass(frozen=True)
class Evaluation:
    """Options of an evaluation."""

    num_samples: int = 1
    """Unlabelled images of a task from which the task is inferred."""
    direct_samples: int = 20
    """Unlabelled images of a task from which its gate is computed directly, without the table of gates."""
    per_sample_pictures: int = 500
    """Images of a task to score with a gate computed for each image (slow)."""


def read_inputs(path: Path, num_features: int) -> LabelledInputs:
    """The digits of an npz file, flattened."""
    images, labels = read_digit_file(path)
    if images[0].numel() != num_features:
        raise ConfigError(
            f"this network was trained on images of {num_features} pixels, but {path} has images of "
            f"{images[0].numel()}; evaluate one that was trained with --dataset mnist"
        )

    return LabelledInputs(images.flatten(1), labels)


def save_trial(trial: Trial, sequence: TaskSequence, run: Run) -> None:
    """Writes the tensors of an evaluation: weights, gates, prototypes, permutations, snapshots."""
    weights = {f"branch.{name}": _halved(value) for name, value in trial.branch.state_dict().items()}
    if trial.gating is not None:
        weights |= {f"gating.{name}": _halved(value) for name, value in trial.gating.state_dict().items()}

    if trial.gates is not None:
        weights |= {f"gates.{n}": layer.to(torch.uint8) for n, layer in enumerate(trial.gates)}

    if trial.prototypes is not None:
        weights |= {"codes.means": trial.prototypes.means, "codes.covariances": trial.prototypes.covariances}

    # images of a file are permuted as those of the training
    weights["orders"] = sequence.permutations.to(torch.int16)
    run.save_weights(weights)
    if trial.snapshots is not None and trial.gates is not None and run.writes:
        save_weights(run.file(_SNAPSHOTS), quantize_snapshots(trial.snapshots.tensors(), trial.branch, trial.gates))
        trial.snapshots.remove_files()


def _halved(value: Tensor) -> Tensor:
    """A weight in half precision; the numbers of neurons, in float64, stay as they are."""
    return value if value.dtype == torch.float64 else value.half()


def find_trial(run: Run) -> Run:
    """The run of the first seed of HMN, the method with hybrid units."""
    for path, child in run.children().items():
        if path.startswith("hmn/") and child.file(_WEIGHTS).is_file():
            return child

    raise ConfigError(f"{run.path} has no weights of 'hmn', the method to evaluate; train it with --methods hmn")


def load_networks(run: Run, branch: Branch, gating: Gating | None) -> dict[str, Tensor]:
    """Loads trained weights into branch and gating, and returns all tensors of the file."""
    weights = read_weights(run.file(_WEIGHTS))

    def state(part: str) -> dict[str, Tensor]:
        start = f"{part}."
        own = {name.removeprefix(start): value for name, value in weights.items() if name.startswith(start)}
        return {name: value.float() if value.dtype == torch.float16 else value for name, value in own.items()}

    for part, module in (("branch", branch), ("gating", gating)):
        if module is not None:
            check_compatible(state(part), module, f"{run.file(_WEIGHTS)}, {part}")
            module.load_state_dict(state(part))

    return weights


def evaluate_trial(run: Run, settings: TrialSettings, sequence: TaskSequence, options: Evaluation) -> dict[str, Any]:
    """All figures of a trial on the test samples of a sequence."""
    modes = load_modes(run, settings, sequence)
    number = len(sequence.test.labels)
    samples = min(options.num_samples, number)
    direct = min(options.direct_samples, number)

    _log.info("inferring %d tasks", len(modes.parts))
    inferred = modes.inferred(samples)
    _log.info("scoring with the gates of known tasks")
    given = modes.given()
    _log.info("scoring with other gates")
    density = density_report(modes.gates)

    return {
        "acc": given,
        **_transfer(run, settings, modes),
        "opening": sum(row["mean"] for row in density) / len(density),
        "modes": {
            "given": given,
            "inferred": inferred.accuracy,
            "direct": modes.direct(direct),
            "per_sample": modes.first(options.per_sample_pictures).direct(1),
            "nearest_gate": modes.nearest_gate(samples).accuracy,
            "two_nearest": modes.two_nearest(),
        },
        "right_task": inferred.task,
        "right_group": inferred.group,
        "inferred_from": samples,
        "direct_from": direct,
        "opening_by_layer": density,
        "num_pictures": number,
        "num_tasks": len(modes.parts),
        "seed": settings.seed,
    }


def load_modes(run: Run, settings: TrialSettings, sequence: TaskSequence) -> InferredTasks:
    """The trained networks of a trial with its gates, on the permutations that it was trained on."""
    branch = build_branch(settings)
    gating = build_gating(settings.config.network, sequence.train.inputs.shape[-1]).eval()
    weights = load_networks(run, branch, gating)

    try:
        gates = [weights[f"gates.{n}"].bool() for n in (0, 1)]
        prototypes = GaussianPrototypes(weights["codes.means"], weights["codes.covariances"])
        sequence.all_tasks.permutations[sequence.numbers] = weights["orders"].long()
    except (KeyError, RuntimeError) as error:
        raise DataError(f"{run.file(_WEIGHTS)} is of another network: {error}") from error

    return InferredTasks(branch, gates, sequence, gating, prototypes)


def _transfer(run: Run, settings: TrialSettings, modes: InferredTasks) -> dict[str, Any]:
    """BWT, FWT and transfer (`fwd`), the accuracy on tasks similar to learned ones before their own training."""
    # they need accuracies from before the end: without snapshots those of the training run
    if not run.file(_SNAPSHOTS).is_file():
        results = run.results(MethodScore)
        of_training = {"bwt": results["bwt"], "fwd": results["transfer"], "fwt": results["fwt"]}
        return {**of_training, "bwt_and_fwd_of": "the test pictures of the training run"}

    metrics = continual_metrics(_snapshot_accuracies(run, settings, modes).numpy(), modes.sequence.group)
    return {"bwt": metrics.bwt, "fwd": metrics.transfer, "fwt": metrics.fwt, "bwt_and_fwd_of": "these pictures"}


def _snapshot_accuracies(run: Run, settings: TrialSettings, modes: InferredTasks) -> Tensor:
    """R from the snapshots: the untrained network, each task before and after its training, and the end.

    The rows between take the nearest snapshot, since no measure reads them.
    """
    branch = modes.branch
    gates = modes.gates
    num_tasks = len(modes.parts)
    snapshots = dequantize_snapshots(read_weights(run.file(_SNAPSHOTS)), branch, gates)
    untrained = initialise_branch(build_branch(settings), settings, gates)
    R = torch.zeros(num_tasks + 1, num_tasks)

    for k, row in enumerate(zip(*gates, strict=True)):
        _log.info("measuring the transfer to task %d of %d", k + 1, num_tasks)
        part = extract_subnetwork(branch, row)
        R[-1, k] = modes.accuracy_of(part, k)
        R[0, k] = modes.accuracy_of(extract_subnetwork(untrained, row), k)

        for when, num_learned, rows in (("before", k, range(1, k + 1)), ("after", k + 1, range(k + 1, num_tasks))):
            # the untrained network and the end are measured above
            if 0 < num_learned < num_tasks:
                names = [name for name, _ in part.named_parameters()]
                part.load_state_dict({name: snapshots[f"{when}.{k}.{name}"] for name in names})
                R[list(rows), k] = modes.accuracy_of(part, k)

    return R
