"""Accuracy by the way in which gates are found: from the task's number, or from unlabelled samples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.networks.modulation.model.backbone import Gating
from spikebridge.networks.modulation.model.branch import Branch
from spikebridge.networks.modulation.model.subnetwork import extract_subnetwork, per_sample_logits
from spikebridge.networks.modulation.model.task_inference import (
    GateTable,
    GaussianPrototypes,
    TaskEstimate,
    means_of,
    prototype_features,
)
from spikebridge.networks.modulation.training.tasks import TaskSequence

InferenceMode: TypeAlias = Literal["given", "inferred", "nearest gate"]
_SHARPNESS = 100.0  # of the weights of the two nearest gates, chosen on tuning tasks
_DIRECT_BATCH = 500


@dataclass(frozen=True)
class _InferenceScore:
    """Accuracy with inferred tasks, and the shares of samples whose task and group are inferred correctly."""

    accuracy: float
    task: float
    group: float

    @property
    def row(self) -> dict[str, float]:
        """By name."""
        return {"accuracy": self.accuracy, "right task": self.task, "right group": self.group}


class InferenceModes:
    """A trained branch on the test samples of every task, in each mode of `task_inference`.

    Args:
        branch: trained.
        gates: of all tasks, `(K, C)` a layer.
        sequence: the tasks.
        gating: backbone and units; None for gates that no unit makes.
        prototypes: for `inferred`.
    """

    def __init__(
        self,
        branch: Branch,
        gates: Sequence[Tensor],
        sequence: TaskSequence,
        gating: Gating | None,
        prototypes: GaussianPrototypes | None = None,
    ) -> None:
        self.branch = branch.eval()
        self.gates = list(gates)
        self.sequence = sequence
        self._gating = gating
        self._prototypes = prototypes
        self.parts = [extract_subnetwork(branch, row) for row in zip(*gates, strict=True)]

    @property
    def gating(self) -> Gating:
        """Backbone and units.

        Raises:
            ConfigError: there are none.
        """
        if self._gating is None:
            raise ConfigError("gates can be inferred from samples only where hybrid units make them")

        return self._gating

    @property
    def prototypes(self) -> GaussianPrototypes:
        """The Gaussians of the tasks.

        Raises:
            ConfigError: there are none.
        """
        if self._prototypes is None:
            raise ConfigError("inferring the task needs prototypes; give prototypes=task_prototypes(gating, sequence)")

        return self._prototypes

    def given(self) -> float:
        """The gate of the task's number."""
        return sum(self.accuracy_of(part, k) for k, part in enumerate(self.parts)) / len(self.parts)

    def inferred(self, num_samples: int = 1) -> _InferenceScore:
        """The most likely task of each `num_samples` unlabelled samples of one task, by their preactivations."""
        return self.by_features(self.gating, self.prototypes, num_samples)

    def by_features(self, gating: Gating, prototypes: GaussianPrototypes, num_samples: int = 1) -> _InferenceScore:
        """As `inferred`, with other features, such as a random projection of the input where no unit makes gates."""
        return self._with_estimates(
            lambda x: prototypes.infer_task(prototype_features(gating.preactivations(x)), num_samples), num_samples
        )

    def nearest_gate(self, num_samples: int = 1) -> _InferenceScore:
        """The stored gate nearest to the mean preactivation of each `num_samples` unlabelled samples of one task."""
        gating = self.gating
        table = GateTable(self.gates)

        return self._with_estimates(
            lambda x: table.infer_task([means_of(layer, num_samples) for layer in gating.preactivations(x)]),
            num_samples,
        )

    def two_nearest(self, sharpness: float = _SHARPNESS) -> float:
        """One unlabelled sample; the answers of the two nearest gates, weighted by a softmax of their cosines.

        Args:
            sharpness: factor of the cosines.
        """
        gating = self.gating
        table = GateTable(self.gates)
        labels = self.sequence.test.labels
        if len(table) < 2:
            return self.nearest_gate().accuracy

        scores = []
        for k in range(len(self.parts)):
            x = self.test_inputs(k)
            with torch.no_grad():
                cosines, nearest = table.cosines(gating.preactivations(x)).topk(2, 1)
                weights = torch.softmax(sharpness * cosines, 1)
                answer = torch.zeros(len(labels), self.branch.sizes[3])

                for rank in (0, 1):
                    for task in nearest[:, rank].unique().tolist():
                        chosen = (nearest[:, rank] == task).nonzero()[:, 0]
                        probabilities = self.parts[task](x[:, chosen]).softmax(1)
                        answer[chosen] += weights[chosen, rank, None] * probabilities

            scores.append((answer.argmax(1) == labels).float().mean())

        return float(torch.stack(scores).mean())

    def direct(self, num_samples: int = 1) -> float:
        """Gates from the mean preactivation of each `num_samples` samples, without a table."""
        scores = []
        for k in range(len(self.parts)):
            x = self.test_inputs(k)
            with torch.no_grad():
                gates = self.gating.gates(self.gating.preactivations(x), num_samples)
            used = len(gates[0]) * num_samples
            repeated = [layer.repeat_interleave(num_samples, 0) for layer in gates]
            batches = torch.arange(used).split(max(num_samples, _DIRECT_BATCH // num_samples * num_samples))
            logits = [per_sample_logits(self.branch, x[:, i], [layer[i] for layer in repeated]) for i in batches]
            scores.append((torch.cat(logits).argmax(1) == self.sequence.test.labels[:used]).float().mean())

        return float(torch.stack(scores).mean())

    def reshuffled(self, task: int, share: float, mode: InferenceMode) -> float:
        """Accuracy on a task that was never trained: a window of a learned permutation, shuffled once more.

        Args:
            task: the learned task.
            share: of the features in the window.
            mode: how the gate of each sample is found.
        """
        draw = torch.Generator().manual_seed(1 + task)
        x = self.sequence.test.permuted(self.sequence.all_tasks.reshuffled(self.sequence.numbers[task], share, draw))
        if mode == "given":
            return float(self._hits(self.parts[task], x).mean())

        with torch.no_grad():
            preactivations = self.gating.preactivations(x)
            if mode == "nearest gate":
                estimate = GateTable(self.gates).infer_task(preactivations)
            else:
                estimate = self.prototypes.infer_task(prototype_features(preactivations))

        return float(self._hits_of_tasks(x, estimate.task).mean())

    def accuracy_of(self, part: Branch, task: int) -> float:
        """Accuracy of a sub-network on the test samples of a task."""
        return float(self._hits(part, self.test_inputs(task)).mean())

    def confusions(self) -> Int64[Tensor, "C C"]:
        """How often each class (row) is answered with each class (column), with the gates given, over all tasks."""
        counts = torch.zeros(self.branch.sizes[3], self.branch.sizes[3], dtype=torch.int64)
        for k, part in enumerate(self.parts):
            with torch.no_grad():
                answer = part(self.test_inputs(k)).argmax(1)
            counts.index_put_((self.sequence.test.labels, answer), torch.tensor(1), accumulate=True)

        return counts

    def task_confusions(self) -> Int64[Tensor, "K K"]:
        """How often single samples of each task (row) are taken for samples of each task (column)."""
        rows = []
        for k in range(len(self.parts)):
            with torch.no_grad():
                features = prototype_features(self.gating.preactivations(self.test_inputs(k)))
                rows.append(torch.bincount(self.prototypes.infer_task(features).task, minlength=len(self.parts)))

        return torch.stack(rows)

    def activity(self) -> Float[Tensor, "K C2"]:
        """Mean output of each hidden neuron of both layers in each task; closed neurons are silent."""
        rows = []
        for k, part in enumerate(self.parts):
            row = []
            for gate, rates in zip(self.gates, hidden_activity(part, self.test_inputs(k)[:, :200]), strict=True):
                all_neurons = torch.zeros(gate.shape[1])
                all_neurons[gate[k]] = rates
                row.append(all_neurons)

            rows.append(torch.cat(row))

        return torch.stack(rows)

    def test_inputs(self, task: int) -> Float[Tensor, "T N d"]:
        """The test samples of a task."""
        return self.sequence.test.permuted(self.sequence.permutations[task])

    def _hits(self, part: Branch, x: Tensor) -> Tensor:
        with torch.no_grad():
            return (part(x).argmax(1) == self.sequence.test.labels).float()

    def _hits_of_tasks(self, x: Tensor, task: Tensor) -> Tensor:
        hits = torch.zeros(len(task))
        with torch.no_grad():
            for k in task.unique().tolist():
                chosen = (task == k).nonzero()[:, 0]
                answer = self.parts[k](x[:, chosen]).argmax(1)
                hits[chosen] = (answer == self.sequence.test.labels[chosen]).float()

        return hits

    def _with_estimates(self, infer: Callable[[Tensor], TaskEstimate], num_samples: int) -> _InferenceScore:
        group = torch.tensor(self.sequence.group)
        rows: list[Any] = []

        for k in range(len(self.parts)):
            x = self.test_inputs(k)
            with torch.no_grad():
                task = infer(x).task
            each = task.repeat_interleave(num_samples)
            hits = self._hits_of_tasks(x[:, : len(each)], each)
            rows.append([hits.mean(), (task == k).float().mean(), (group[task] == group[k]).float().mean()])

        return _InferenceScore(*torch.tensor(rows).mean(0).tolist())


def hidden_activity(branch: Branch, x: Float[Tensor, "T N d"]) -> list[Tensor]:
    """The mean output of each neuron of both hidden layers."""
    found: list[Tensor] = []
    hooks = [
        branch.body.get_submodule(name).register_forward_hook(
            lambda module, inputs, result: found.append(result[0].mean((0, 1)))
        )
        for name in ("gate1", "gate2")
    ]

    try:
        with torch.no_grad():
            branch(x)
    finally:
        for hook in hooks:
            hook.remove()

    return found
