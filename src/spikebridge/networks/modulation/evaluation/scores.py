"""All figures of one trial as plain values: accuracies over tasks, inference, density, representation, cost."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.analysis.cost import count_cost
from spikebridge.analysis.energy import energy, hardware_profile
from spikebridge.networks.modulation.evaluation.accuracy_matrix import (
    ContinualMetrics,
    accuracy_after,
    continual_metrics,
)
from spikebridge.networks.modulation.evaluation.inference import InferenceMode, InferenceModes, hidden_activity
from spikebridge.networks.modulation.evaluation.representation import (
    RESHUFFLED_SHARES,
    activity_correlation,
    embed,
    group_silhouette,
    overlap_correlation,
    reshuffled_accuracy,
    task_similarity,
)
from spikebridge.networks.modulation.model.branch import Branch
from spikebridge.networks.modulation.model.gating import density_report
from spikebridge.networks.modulation.training.gates import input_projection, task_prototypes
from spikebridge.networks.modulation.training.methods import Method, TrialSettings
from spikebridge.networks.modulation.training.tasks import TaskSequence
from spikebridge.networks.modulation.training.trial import Trial

_NUM_SAMPLES = (1, 5, 20)
_NUM_BUFFERS = {"none": 0, "ewc": 2, "si": 3, "meta": 0}
_NUM_SIGNALS = 128
_NUM_DIRECT = 50


def score(trial: Trial, settings: TrialSettings, sequence: TaskSequence, in_full: bool) -> dict[str, Any]:
    """All figures of a trial.

    Args:
        trial: trained.
        settings, sequence: of the trial.
        in_full: also what one seed is enough for: representation, unlearned tasks, cost.
    """
    R = trial.result.accuracies
    group = sequence.group
    seen = sequence.seen
    method = settings.method
    seconds = trial.result.seconds

    found: dict[str, Any] = {
        "seed": settings.seed,
        "lr": settings.lr,
        "strength": settings.strength,
        **_plain(continual_metrics(R, group)),
        "seen": _plain(continual_metrics(R, group, seen)),
        "unseen": _plain(continual_metrics(R, group, [not one for one in seen])),
        "after": _rounded(accuracy_after(R)),
        "matrix": [_rounded(row) for row in R],
        "seconds": _rounded(seconds),
        "growth of seconds": relative_slope(seconds) if len(seconds) > 1 else None,
        "memory": _memory(trial, method, sequence),
        "modes": {"given": float(R[-1].mean())},
        **trial.notes,
    }
    if method.one_network_a_task:
        return found

    modes = None
    if trial.gates is not None:
        modes = InferenceModes(trial.branch, trial.gates, sequence, trial.gating, trial.prototypes)
        found["opening"] = density_report([layer.bool() for layer in trial.gates])
        found["modes"] |= score_inference(modes, method, settings.seed)

    if in_full:
        if modes is not None:
            found["confusions"] = modes.confusions().tolist()
            if method.has_unit and not method.per_sample:
                found["task confusions"] = modes.task_confusions().tolist()

        found["cost"] = _cost(trial, sequence, modes)
        if modes is not None and not method.per_sample:
            found["reshuffled"] = score_reshuffled(modes, method)
        found["representation"] = _representation(trial, sequence, modes)

    return found


def _plain(metrics: ContinualMetrics) -> dict[str, Any]:
    """Metrics by name, None for NaN."""
    return {
        name: None if isinstance(value, float) and value != value else value
        for name, value in metrics._asdict().items()
    }


def relative_slope(values: Sequence[float]) -> float:
    """The growth of a quantity with each task, as a share of its median: the median slope of all pairs (Theil-Sen).

    A busy machine slows down some tasks, which would move a least-squares line.

    Example:
        >>> round(relative_slope([1.0, 1.1, 9.0, 1.3, 1.4]), 3)  # 0.1 for each task, of 1.3
        0.077
    """
    slopes = [(values[j] - values[i]) / (j - i) for i in range(len(values)) for j in range(i + 1, len(values))]
    return median(slopes) / median(values)


def score_inference(modes: InferenceModes, method: Method, seed: int) -> dict[str, Any]:
    """Accuracy without the task's number, in every mode that the method allows."""
    sequence = modes.sequence
    if method.per_sample:
        return {"per_sample": modes.direct(1)}

    if not method.has_unit:
        projection = input_projection(sequence, seed)
        return {"by input": {"1": modes.by_features(projection, task_prototypes(projection, sequence)).row}}

    numbers = [number for number in _NUM_SAMPLES if number <= len(sequence.test.labels)]
    # single samples rarely share a gate, so each one runs the whole branch: the first ones of a task are enough
    first = sequence._replace(test=sequence.test.first(min(_NUM_DIRECT, len(sequence.test.labels))))
    single = InferenceModes(modes.branch, modes.gates, first, modes.gating).direct(1)

    return {
        "inferred": {str(n): modes.inferred(n).row for n in numbers},
        "nearest gate": {str(n): modes.nearest_gate(n).row for n in numbers},
        "two nearest": modes.two_nearest(),
        "direct": {"1": single, str(numbers[-1]): modes.direct(numbers[-1])},
    }


def score_reshuffled(modes: InferenceModes, method: Method) -> dict[str, Any]:
    """Accuracy on tasks that were never trained, over the share of a permutation that is shuffled again (Fig. 3f)."""
    kinds: tuple[InferenceMode, ...] = ("given", "inferred", "nearest gate") if method.has_unit else ("given",)
    curves: dict[str, Any] = {"shares": list(RESHUFFLED_SHARES)}

    for mode in kinds:
        by_task = reshuffled_accuracy(
            lambda task, share, mode=mode: modes.reshuffled(task, share, mode),  # type: ignore[misc]
            len(modes.parts),
        )
        curves[mode] = _rounded(by_task.mean(1))

    return curves


def _representation(trial: Trial, sequence: TaskSequence, modes: InferenceModes | None) -> dict[str, Any]:
    """How a network separates tasks: similarity of permutations, gates and hidden activity; gates in a plane."""
    overlaps = sequence.overlaps
    found: dict[str, Any] = {
        "group": sequence.group,
        "unseen": [not one for one in sequence.seen],
        "overlap": [_rounded(row) for row in overlaps],
    }

    if modes is None:
        branch = trial.branch.eval()
        inputs = [sequence.test.permuted(permutation)[:, :200] for permutation in sequence.permutations]
        activity = torch.stack([torch.cat(hidden_activity(branch, x)) for x in inputs])
    else:
        activity = modes.activity()
        gates = torch.cat([layer.float() for layer in modes.gates], 1)
        similarity = task_similarity(gates)
        found["gate similarity"] = [_rounded(row) for row in similarity]

        if len(gates) > 2:
            correlation = overlap_correlation(similarity, overlaps)
            # NaN where all tasks have one gate
            found["correlation of gates with overlap"] = correlation if correlation == correlation else None
            found["embedding"] = [_rounded(row) for row in embed(gates)]

        if 1 < len(set(sequence.group)) < len(gates):
            found["silhouette"] = group_silhouette(gates, sequence.group)

        found["signals"] = modes.gates[0][:, :_NUM_SIGNALS].int().tolist()

    found["activity correlation"] = [_rounded(row) for row in activity_correlation(activity).clip(-1, 1)]
    return found


def _memory(trial: Trial, method: Method, sequence: TaskSequence) -> dict[str, Any]:
    """Stored numbers of a method, and bits of its gate table; only the table grows with the tasks."""
    branch = sum(parameter.numel() for parameter in trial.branch.parameters())
    gating = 0 if trial.gating is None else sum(parameter.numel() for parameter in trial.gating.parameters())
    bits = [layer.shape[1] for layer in trial.gates or ()]

    return {
        "branch": branch * (len(sequence.numbers) if method.one_network_a_task else 1),
        "backbone": gating,
        "buffers": _NUM_BUFFERS[method.regularizer] * branch,
        # with shared gates, a task's own gate is stored too: later tasks are compared with it
        "table bits a task": (2 if method.shared_fraction else 1) * sum(bits),
        "numbers a task": 0 if trial.prototypes is None else trial.prototypes.num_values // len(trial.prototypes),
    }


def _cost(trial: Trial, sequence: TaskSequence, modes: InferenceModes | None) -> dict[str, float]:
    """Operations and energy of one sample, in the sub-network of its task where there is one."""
    branch = trial.branch if modes is None else modes.parts[0]
    x = sequence.test.permuted(sequence.permutations[0])[:, :32]
    counted = count_cost(_BatchFirst(branch.eval()), x.transpose(0, 1))

    found = {
        "macs": counted.total.macs,
        "synops": counted.total.synops,
        "updates": counted.total.updates,
        "energy nJ": energy(counted, hardware_profile("45nm")).total * 1e9,
    }
    if trial.gating is not None:
        layers = [module for module in trial.gating.modules() if isinstance(module, nn.Linear)]
        found["backbone macs"] = float(sum(layer.weight.numel() for layer in layers))

    return found


class _BatchFirst(nn.Module):
    """A branch that takes samples on the first axis, as plain modules do."""

    def __init__(self, branch: Branch) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.branch(x.transpose(0, 1))
        return y


def _rounded(values: Any) -> list[float | None]:
    return [round(float(value), 5) if value == value else None for value in values]
