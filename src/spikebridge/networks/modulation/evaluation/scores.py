"""What is measured of one method and seed: accuracies over tasks, inference, opening, representation, cost.

Accuracy with and without being told the task: gates given, inferred, or made of the samples at hand.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from spikebridge.analysis.cost import count_cost
from spikebridge.analysis.energy import energy, hardware_profile
from spikebridge.errors import ConfigError
from spikebridge.networks.modulation.evaluation.accuracy_matrix import (
    ContinualMetrics,
    accuracy_after,
    continual_metrics,
)
from spikebridge.networks.modulation.evaluation.representation import (
    RESHUFFLED_SHARES,
    activity_correlation,
    embed,
    group_silhouette,
    overlap_correlation,
    reshuffled_accuracy,
    task_similarity,
)
from spikebridge.networks.modulation.model.backbone import Gating
from spikebridge.networks.modulation.model.branch import Branch
from spikebridge.networks.modulation.model.gating import density_report
from spikebridge.networks.modulation.model.subnetwork import extract_subnetwork, per_sample_logits
from spikebridge.networks.modulation.model.task_inference import (
    GateTable,
    GaussianPrototypes,
    TaskEstimate,
    means_of,
    prototype_features,
)
from spikebridge.networks.modulation.training.gates import input_projection, task_prototypes
from spikebridge.networks.modulation.training.methods import Method
from spikebridge.networks.modulation.training.tasks import TaskSequence
from spikebridge.networks.modulation.training.trial import Trial, TrialSettings

InferenceMode: TypeAlias = Literal["given", "inferred", "nearest gate"]
SHARPNESS = 100.0  # of the weights of the two nearest gates, chosen on tuning tasks


@dataclass(frozen=True)
class InferenceScore:
    """How good guesses of the task were, and the accuracy with them."""

    accuracy: float
    task: float
    group: float

    @property
    def row(self) -> dict[str, float]:
        """By name."""
        return {"accuracy": self.accuracy, "right task": self.task, "right group": self.group}


class InferenceModes:
    """The ways to find gates for the test pictures of every task.

    Args:
        branch: trained.
        gates: of all tasks, `(K, C)` a layer.
        sequence: tasks.
        gating: backbone and units; None for gates that no unit makes.
        codes: a Gaussian of each task on a few drives, for `inferred`.
    """

    def __init__(
        self,
        branch: Branch,
        gates: Sequence[Tensor],
        sequence: TaskSequence,
        gating: Gating | None,
        prototypes: GaussianPrototypes | None = None,
    ) -> None:
        self.branch, self.gates, self.sequence, self.gating = branch.eval(), list(gates), sequence, gating
        self.prototypes = prototypes
        self.parts = [extract_subnetwork(branch, [layer[k] for layer in gates]) for k in range(len(gates[0]))]

    def given(self) -> float:
        """The task is told."""
        return sum(self.accuracy_of(part, k) for k, part in enumerate(self.parts)) / len(self.parts)

    def accuracy_of(self, part: Branch, task: int) -> float:
        """Accuracy of a sub-network on the test pictures of a task."""
        return float(self._hits(part, self.shown(task)).mean())

    def inferred(self, num_samples: int = 1) -> InferenceScore:
        """The task that the drives of so many unlabelled samples of one task are likeliest of."""
        gating, prototypes = self._need_gating(), self._need_prototypes()
        return self._by_estimate(
            lambda x: prototypes.infer_task(prototype_features(gating.preactivations(x)), num_samples), num_samples
        )

    def nearest_gate(self, num_samples: int = 1, table: GateTable | None = None) -> InferenceScore:
        """The stored gate nearest to the mean drive of so many unlabelled samples of one task."""
        gating = self._need_gating()
        known = table or GateTable(self.gates)
        return self._by_estimate(
            lambda x: known.infer_task(
                [means_of(preactivation, num_samples) for preactivation in gating.preactivations(x)]
            ),
            num_samples,
        )

    def by_input(self, reads: Gating, table: GaussianPrototypes, num_samples: int = 1) -> InferenceScore:
        """As `inferred`, by a fixed random projection of the input: for gates that no unit makes."""
        return self._by_estimate(
            lambda x: table.infer_task(prototype_features(reads.preactivations(x)), num_samples), num_samples
        )

    def two_nearest(self, sharpness: float = SHARPNESS) -> float:
        """One unlabelled picture, but the answers of the two nearest gates, weighted by how near they are.

        Args:
            sharpness: of the weights, a softmax of the cosines times this.
        """
        gating, table, labels = self._need_gating(), GateTable(self.gates), self.sequence.test.labels
        if len(table) < 2:
            return self.nearest_gate().accuracy
        scores = []
        for k in range(len(self.parts)):
            x = self.shown(k)
            with torch.no_grad():
                cosines, nearest = table.cosines(gating.preactivations(x)).topk(2, 1)
                weights = torch.softmax(sharpness * cosines, 1)
                answer = torch.zeros(len(labels), self.branch.sizes[3])
                for place in (0, 1):
                    for task in nearest[:, place].unique().tolist():
                        chosen = (nearest[:, place] == task).nonzero()[:, 0]
                        chances = self.parts[task](x[:, chosen]).softmax(1)
                        answer[chosen] += weights[chosen, place, None] * chances
            scores.append((answer.argmax(1) == labels).float().mean())
        return float(torch.stack(scores).mean())

    def direct(self, num_samples: int = 1) -> float:
        """Gates of so many samples' own drive; no table."""
        gating = self._need_gating()
        scores = []
        for k in range(len(self.parts)):
            x = self.shown(k)
            with torch.no_grad():
                gates = gating.gates(gating.preactivations(x), num_samples)
            used = len(gates[0]) * num_samples
            spread = [layer.repeat_interleave(num_samples, 0) for layer in gates]
            logits = torch.cat(
                [
                    per_sample_logits(self.branch, x[:, part], [layer[part] for layer in spread])
                    for part in torch.arange(used).split(max(num_samples, 500 // num_samples * num_samples))
                ]
            )
            scores.append((logits.argmax(1) == self.sequence.test.labels[:used]).float().mean())
        return float(torch.stack(scores).mean())

    def reshuffled(self, task: int, share: float, way: InferenceMode) -> float:
        """Accuracy on a task that nobody has learnt: a window of a learnt order, shuffled once more.

        Args:
            task: the learnt one.
            share: of its order.
            way: how the gate is found for each picture.
        """
        draw = torch.Generator().manual_seed(1 + task)
        order = self.sequence.orders.reshuffled(self.sequence.learnt[task], share, draw)
        x = self.sequence.test.permuted(order)
        if way == "given":
            return float(self._hits(self.parts[task], x).mean())
        with torch.no_grad():
            preactivations = self._need_gating().preactivations(x)
            near = way == "nearest gate"
            estimate = (
                GateTable(self.gates).infer_task(preactivations)
                if near
                else self._need_prototypes().infer_task(prototype_features(preactivations))
            )
        return float(self._hits_by_estimate(x, estimate.task).mean())

    def shown(self, task: int) -> Tensor:
        """The test pictures of a task, `(T, N, d)`."""
        return self.sequence.test.permuted(self.sequence.orders.permutations[self.sequence.learnt[task]])

    def activity(self) -> Tensor:
        """Mean spikes of each hidden neuron of both layers in each task, `(K, 2 C)`; closed neurons are silent."""
        rows = []
        for k, part in enumerate(self.parts):
            row = []
            for layer, rates in enumerate(hidden_activity(part, self.shown(k)[:, :200])):
                full = torch.zeros(self.gates[layer].shape[1])
                full[self.gates[layer][k]] = rates
                row.append(full)
            rows.append(torch.cat(row))
        return torch.stack(rows)

    def _need_gating(self) -> Gating:
        if self.gating is None:
            raise ConfigError("only gates that units make can be found from pictures")
        return self.gating

    def _need_prototypes(self) -> GaussianPrototypes:
        if self.prototypes is None:
            raise ConfigError("inferring the task needs a table of Gaussians; give codes=code_table(gating, sequence)")
        return self.prototypes

    def _hits(self, part: Branch, x: Tensor) -> Tensor:
        with torch.no_grad():
            return (part(x).argmax(1) == self.sequence.test.labels).float()

    def _hits_by_estimate(self, x: Tensor, task: Tensor) -> Tensor:
        hits = torch.zeros(len(task))
        with torch.no_grad():
            for k in task.unique().tolist():
                chosen = (task == k).nonzero()[:, 0]
                answer = self.parts[k](x[:, chosen]).argmax(1)
                hits[chosen] = (answer == self.sequence.test.labels[chosen]).float()
        return hits

    def _by_estimate(self, look: Callable[[Tensor], TaskEstimate], num_samples: int) -> InferenceScore:
        group = torch.tensor(self.sequence.group)
        rows: list[Any] = []
        for k in range(len(self.parts)):
            x = self.shown(k)
            with torch.no_grad():
                estimate = look(x).task
            each = estimate.repeat_interleave(num_samples)
            hits = self._hits_by_estimate(x[:, : len(each)], each)
            rows.append([hits.mean(), (estimate == k).float().mean(), (group[estimate] == group[k]).float().mean()])
        return InferenceScore(*torch.tensor(rows).mean(0).tolist())


def hidden_activity(branch: Branch, x: Tensor) -> list[Tensor]:
    """The mean output of each neuron of both hidden layers."""
    found: list[Tensor] = []
    watches = [
        branch.body.get_submodule(f"gate{n}").register_forward_hook(
            lambda part, given, result: found.append(result[0].mean((0, 1)))
        )
        for n in (1, 2)
    ]
    try:
        with torch.no_grad():
            branch(x)
    finally:
        for watch in watches:
            watch.remove()
    return found


FEW = (1, 5, 20)
BUFFERS = {"none": 0, "ewc": 2, "si": 3, "meta": 0}
NUM_SIGNALS = 128
NUM_SINGLE = 50


def score(
    trial: Trial,
    method: Method,
    settings: TrialSettings,
    sequence: TaskSequence,
    seed: int,
    in_full: bool,
) -> dict[str, Any]:
    """Everything about one trained cell, as plain values.

    Args:
        cell: trained.
        method, settings, sequence, seed: what it was made of.
        in_full: also what one seed is enough for: representation, unlearnt tasks, cost.
    """
    R, group = trial.learnt.accuracies, sequence.group
    seen = sequence.seen
    found: dict[str, Any] = {
        "seed": seed,
        "lr": settings.lr,
        "strength": settings.strength,
        **measured(continual_metrics(R, group)),
        "seen": measured(continual_metrics(R, group, seen)),
        "unseen": measured(continual_metrics(R, group, [not one for one in seen])),
        "after": _rounded(accuracy_after(R)),
        "matrix": [_rounded(row) for row in R],
        "seconds": _rounded(trial.learnt.seconds),
        "growth of seconds": relative_slope(trial.learnt.seconds) if len(trial.learnt.seconds) > 1 else None,
        "memory": memory(trial, method, sequence),
        "modes": {"given": float(R[-1].mean())},
        **trial.notes,
    }
    if method.alone:
        return found
    modes = (
        None
        if trial.gates is None
        else InferenceModes(trial.branch, trial.gates, sequence, trial.gating, trial.prototypes)
    )
    if modes is not None and trial.gates is not None:
        found["opening"] = density_report([layer.bool() for layer in trial.gates])
        found["modes"] |= score_inference(modes, method, seed)
    if in_full:
        found["cost"] = cost(trial, sequence, modes)
        if modes is not None and not method.per_sample:
            found["reshuffled"] = reshuffled(modes, method)
        found["representation"] = representation(trial, sequence, modes)
    return found


def measured(measures: ContinualMetrics) -> dict[str, Any]:
    """Measures as plain numbers, None where no task counts."""
    return {
        name: None if isinstance(value, float) and value != value else value
        for name, value in measures._asdict().items()
    }


def relative_slope(values: Sequence[float]) -> float:
    """By which share of its median a quantity grows with each task: the median slope of all pairs (Theil and Sen).

    A busy machine makes some tasks slow; a line through the means would follow those.

    Example:
        >>> round(relative_slope([1.0, 1.1, 9.0, 1.3, 1.4]), 3)  # 0.1 a task, of 1.3
        0.077
    """
    slopes = [(values[j] - values[i]) / (j - i) for i in range(len(values)) for j in range(i + 1, len(values))]
    return median(slopes) / median(values)


def score_inference(modes: InferenceModes, method: Method, seed: int) -> dict[str, Any]:
    """Accuracy without being told the task, in every way that the method allows."""
    sequence = modes.sequence
    if method.per_sample:
        return {"per_sample": modes.direct(1)}
    few = [number for number in FEW if number <= len(sequence.test.labels)]
    if not method.has_unit:
        reads = input_projection(sequence, seed)
        return {"by input": {"1": modes.by_input(reads, task_prototypes(reads, sequence)).row}}
    # single pictures hardly share a gate, so the whole branch runs for each: the first ones of a task are enough
    some = sequence._replace(test=sequence.test.first(min(NUM_SINGLE, len(sequence.test.labels))))
    single = InferenceModes(modes.branch, modes.gates, some, modes.gating).direct(1)
    return {
        "inferred": {str(n): modes.inferred(n).row for n in few},
        "nearest gate": {str(n): modes.nearest_gate(n).row for n in few},
        "two nearest": modes.two_nearest(),
        "direct": {"1": single, str(few[-1]): modes.direct(few[-1])},
    }


def reshuffled(modes: InferenceModes, method: Method) -> dict[str, Any]:
    """Accuracy on tasks that nobody has learnt, over the share of an order that is shuffled once more (Fig. 3f)."""
    number = len(modes.parts)
    kinds: tuple[InferenceMode, ...] = ("given", "inferred", "nearest gate") if method.has_unit else ("given",)
    curves: dict[str, Any] = {"shares": list(RESHUFFLED_SHARES)}
    for way in kinds:
        by_task = reshuffled_accuracy(
            lambda task, share, way=way: modes.reshuffled(task, share, way),  # type: ignore[misc]
            number,
        )
        curves[way] = _rounded(by_task.mean(1))
    return curves


def representation(trial: Trial, sequence: TaskSequence, modes: InferenceModes | None) -> dict[str, Any]:
    """How tasks are told apart: likeness of orders, of gates, of hidden activity; signals in a plane."""
    overlaps = sequence.orders.similarity[sequence.learnt][:, sequence.learnt]
    found: dict[str, Any] = {
        "group": sequence.group,
        "unseen": [not one for one in sequence.seen],
        "overlap": [_rounded(row) for row in overlaps],
    }
    if modes is None:
        rows = []
        for task in sequence.learnt:
            x = sequence.test.permuted(sequence.orders.permutations[task])[:, :200]
            rows.append(torch.cat(hidden_activity(trial.branch.eval(), x)))
        activity = torch.stack(rows)
    else:
        activity = modes.activity()
        prototypes = torch.cat([layer.float() for layer in modes.gates], 1)
        alike = task_similarity(prototypes)
        found["gate similarity"] = [_rounded(row) for row in alike]
        if len(prototypes) > 2:
            found["correlation of gates with overlap"] = overlap_correlation(alike, overlaps)
            found["embedding"] = [_rounded(row) for row in embed(prototypes)]
        if 1 < len(set(sequence.group)) < len(prototypes):
            found["silhouette"] = group_silhouette(prototypes, sequence.group)
        found["signals"] = modes.gates[0][:, :NUM_SIGNALS].int().tolist()
    found["activity correlation"] = [_rounded(row) for row in activity_correlation(activity).clip(-1, 1)]
    return found


def memory(trial: Trial, method: Method, sequence: TaskSequence) -> dict[str, Any]:
    """Numbers that a method keeps, and bits of its gate table; only the table grows with the tasks."""
    branch = sum(parameter.numel() for parameter in trial.branch.parameters())
    gating = 0 if trial.gating is None else sum(parameter.numel() for parameter in trial.gating.parameters())
    bits = [layer.shape[1] for layer in trial.gates or ()]
    copies = len(sequence.learnt) if method.alone else 1
    return {
        "branch": branch * copies,
        "backbone": gating,
        "buffers": BUFFERS[method.keep] * branch,
        # where gates are shared, a task's own one is kept too: by it the next task is known
        "table bits a task": (2 if method.shares else 1) * sum(bits),
        "numbers a task": 0 if trial.prototypes is None else trial.prototypes.num_values // len(trial.prototypes),
    }


def cost(trial: Trial, sequence: TaskSequence, modes: InferenceModes | None) -> dict[str, float]:
    """Operations and energy of one picture, in the sub-network of its task where there is one."""
    branch: Branch = trial.branch if modes is None else modes.parts[0]
    x = sequence.test.permuted(sequence.orders.permutations[sequence.learnt[0]])[:, :32]
    counted = count_cost(_Batch(branch.eval()), x.transpose(0, 1))
    total = counted.total
    found = {
        "macs": total.macs,
        "synops": total.synops,
        "updates": total.updates,
        "energy nJ": energy(counted, hardware_profile("45nm")).total * 1e9,
    }
    if trial.gating is not None:
        heads: Mapping[str, nn.Module] = dict(trial.gating.named_modules())
        found["backbone macs"] = float(sum(m.weight.numel() for m in heads.values() if isinstance(m, nn.Linear)))
    return found


class _Batch(nn.Module):
    """A branch that takes its samples first, as plain modules do."""

    def __init__(self, branch: Branch) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.branch(x.transpose(0, 1))
        return y


def _rounded(values: Any) -> list[float | None]:
    return [round(float(value), 5) if value == value else None for value in values]
