"""All figures of one trial as plain values: accuracies over tasks, inference, density, confusions, memory."""

import logging
import math
from collections.abc import Sequence
from typing import Annotated, Any, NotRequired, TypedDict

from jaxtyping import Bool
from torch import Tensor

from spikebridge.networks.modulation.config import TrialSettings
from spikebridge.networks.modulation.evaluation.accuracy_matrix import (
    ContinualMetrics,
    accuracy_after,
    continual_metrics,
)
from spikebridge.networks.modulation.evaluation.inference import GivenTasks, InferredTasks
from spikebridge.networks.modulation.training.tasks import TaskSequence
from spikebridge.networks.modulation.training.trial import Trial
from spikebridge.networks.modulation.training.units import input_projection, task_prototypes


class _Accuracy(TypedDict):
    accuracy: float


_Picture = TypedDict("_Picture", {"1": _Accuracy})


_Named = TypedDict("_Named", {"task confusions": Annotated[list[list[float]], "tasks", "tasks"]}, total=False)
_Modes = TypedDict("_Modes", {"inferred": _Picture, "by input": _Picture, "nearest gate": _Picture}, total=False)


class MethodScore(_Named):
    """Results of one method and seed."""

    seed: int
    acc: float
    bwt: float | None
    fwt: float | None
    transfer: float | None
    forgetting: float | None
    just_learnt: float | None
    unseen: dict[str, float | None]
    after: Annotated[list[float], "tasks"]
    seconds: Annotated[list[float], "_"]
    memory: dict[str, Any]
    modes: _Modes
    opening: NotRequired[Annotated[list[dict[str, float]], "layers"]]
    confusions: NotRequired[Annotated[list[list[float]], "classes", "classes"]]


_MIN_OPEN = 50  # neurons of a task in a layer, below which it hardly learns
_NUM_EWC_BUFFERS = 2  # information and pull, of the size of the weights
_log = logging.getLogger(__name__)


def score(trial: Trial, settings: TrialSettings, sequence: TaskSequence) -> dict[str, Any]:
    """All figures of a trial."""
    R = trial.result.accuracies
    group = sequence.group

    figures: dict[str, Any] = {
        "seed": settings.seed,
        "lr": settings.lr,
        "strength": settings.strength,
        **_plain(continual_metrics(R, group)),
        # tasks on which the backbone was not trained
        "unseen": _plain(continual_metrics(R, group, [not is_seen for is_seen in sequence.seen])),
        "after": rounded(accuracy_after(R)),
        "seconds": rounded(trial.result.seconds),
        "memory": memory(trial, settings),
        "modes": {"given": float(R[-1].mean())},
        **trial.notes,
    }

    modes = inference_modes(trial, sequence)
    if modes is not None:
        figures["opening"] = density_report(modes.gates)
        figures["modes"] |= score_inference(modes, settings.seed)
        figures["confusions"] = modes.confusions().tolist()

    if isinstance(modes, InferredTasks):
        figures["task confusions"] = modes.task_confusions().tolist()

    return figures


def inference_modes(trial: Trial, sequence: TaskSequence) -> GivenTasks | None:
    """The branch of a trial with the gates of its tasks; None without gates."""
    if trial.gates is None:
        return None
    if trial.gating is None or trial.prototypes is None:
        return GivenTasks(trial.branch, trial.gates, sequence)

    return InferredTasks(trial.branch, trial.gates, sequence, trial.gating, trial.prototypes)


def _plain(metrics: ContinualMetrics) -> dict[str, Any]:
    """Metrics by name, None for NaN."""
    return {name: None if math.isnan(value) else value for name, value in metrics._asdict().items()}


def score_inference(modes: GivenTasks, seed: int) -> dict[str, Any]:
    """Accuracy without the task's number, in every mode that the method allows."""
    sequence = modes.sequence
    # random gates have no unit, so a projection of the input infers the task
    if not isinstance(modes, InferredTasks):
        projection = input_projection(sequence, seed)
        return {"by input": {"1": modes.by_features(projection, task_prototypes(projection, sequence)).row}}

    return {
        "inferred": {"1": modes.inferred().row},
        "nearest gate": {"1": modes.nearest_gate().row},
        "two nearest": modes.two_nearest(),
    }


def memory(trial: Trial, settings: TrialSettings) -> dict[str, Any]:
    """Stored numbers of a method, and bits of its gate table; only the table and the prototypes grow with the tasks."""
    branch = sum(parameter.numel() for parameter in trial.branch.parameters())
    gating = 0 if trial.gating is None else sum(parameter.numel() for parameter in trial.gating.parameters())

    return {
        "branch": branch,
        "backbone": gating,
        "buffers": _NUM_EWC_BUFFERS * branch if settings.method.has_ewc else 0,
        "table bits a task": sum(layer.shape[1] for layer in trial.gates or ()),
        "numbers a task": 0 if trial.prototypes is None else trial.prototypes.num_values // len(trial.prototypes),
    }


def rounded(values: Any) -> list[float | None]:
    """Numbers with five digits, None for NaN."""
    return [None if math.isnan(value) else round(float(value), 5) for value in values]


def density_report(gates: Sequence[Bool[Tensor, "K _"]]) -> list[dict[str, Any]]:
    """The share of open neurons of each layer over tasks, one row a layer; warns if a task has fewer than 50."""
    rows = []
    for number, layer in enumerate(gates, 1):
        share = layer.float().mean(1)
        fewest = int(layer.sum(1).min())
        rows.append(
            {
                "layer": number,
                "mean": float(share.mean()),
                "min": float(share.min()),
                "max": float(share.max()),
                "fewest open": fewest,
                "never open": float((~layer.any(0)).float().mean()),
                "always open": float(layer.all(0).float().mean()),
            }
        )
        if fewest < _MIN_OPEN:
            _log.warning("layer %d: a task opens %d neurons; below %d it hardly learns", number, fewest, _MIN_OPEN)

    return rows
