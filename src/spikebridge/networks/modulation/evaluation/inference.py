"""Accuracy by the way in which gates are chosen: from the task's number, or from unlabelled samples."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from spikebridge.networks.modulation.model.branch import Branch, extract_subnetwork, per_sample_logits
from spikebridge.networks.modulation.model.gating import Gating
from spikebridge.networks.modulation.model.task_inference import (
    GateTable,
    GaussianPrototypes,
    means_of,
    prototype_features,
)
from spikebridge.networks.modulation.training.tasks import TaskSequence

_SHARPNESS = 100.0  # of the weights of the two nearest gates, chosen on tuning tasks
_DIRECT_BATCH = 500


class InferenceScore(NamedTuple):
    """Accuracy with inferred tasks, and the shares of samples whose task and group are inferred correctly."""

    accuracy: float
    task: float
    group: float

    @property
    def row(self) -> dict[str, float]:
        """The values by their names in the results."""
        return {"accuracy": self.accuracy, "right task": self.task, "right group": self.group}


@dataclass(eq=False)
class GivenTasks:
    """A trained branch on the test samples of every task, with the gates of known tasks, `(K, C)` a layer."""

    branch: Branch
    gates: list[Tensor]
    sequence: TaskSequence

    def __post_init__(self) -> None:
        self.branch.eval()
        self.parts = [extract_subnetwork(self.branch, row) for row in zip(*self.gates, strict=True)]

    def given(self) -> float:
        """Accuracy with the gate of the task's number."""
        return sum(self.accuracy_of(part, k) for k, part in enumerate(self.parts)) / len(self.parts)

    def by_features(self, gating: Gating, prototypes: GaussianPrototypes, num_samples: int = 1) -> InferenceScore:
        """As `inferred`, with other features, such as a random projection of the input if no unit makes gates."""
        return self._with_estimates(
            lambda x: prototypes.infer_task(prototype_features(gating.preactivations(x)), num_samples), num_samples
        )

    @torch.no_grad()
    def accuracy_of(self, part: Branch, task: int) -> float:
        """Accuracy of a sub-network on the test samples of a task."""
        hits = part(self.test_inputs(task)).argmax(1) == self.sequence.test.labels
        return float(hits.float().mean())

    @torch.no_grad()
    def accuracy_with_tasks(self, x: Float[Tensor, "T N d"], task: Int64[Tensor, " N"]) -> Float[Tensor, ""]:
        """Accuracy on the first test samples if each has the sub-network of its own task."""
        hits = torch.zeros(len(task))
        # one run for each inferred task, not for each sample
        for k in task.unique().tolist():
            chosen = (task == k).nonzero()[:, 0]
            answer = self.parts[k](x[:, chosen]).argmax(1)
            hits[chosen] = (answer == self.sequence.test.labels[chosen]).float()

        return hits.mean()

    @torch.no_grad()
    def confusions(self) -> Int64[Tensor, "C C"]:
        """Counts of answers (columns) to each class (rows) over all tasks, with the gates of known tasks."""
        counts = torch.zeros(self.branch.sizes[3], self.branch.sizes[3], dtype=torch.int64)
        for k, part in enumerate(self.parts):
            answer = part(self.test_inputs(k)).argmax(1)
            counts.index_put_((self.sequence.test.labels, answer), torch.tensor(1), accumulate=True)

        return counts

    def test_inputs(self, task: int) -> Float[Tensor, "T N d"]:
        """The test samples of a task."""
        return self.sequence.test.permuted(self.sequence.permutations[task])

    @torch.no_grad()
    def _with_estimates(self, infer: Callable[[Tensor], Tensor], num_samples: int) -> InferenceScore:
        group = torch.tensor(self.sequence.group)
        rows = []

        for k in range(len(self.parts)):
            x = self.test_inputs(k)
            task = infer(x)
            # samples left over at the end have no estimate
            each = task.repeat_interleave(num_samples)
            accuracy = self.accuracy_with_tasks(x[:, : len(each)], each)
            rows.append(torch.stack([accuracy, (task == k).float().mean(), (group[task] == group[k]).float().mean()]))

        return InferenceScore(*torch.stack(rows).mean(0).tolist())


@dataclass(eq=False)
class InferredTasks(GivenTasks):
    """The scores if hybrid units make the gates, in each mode of `task_inference`."""

    gating: Gating
    prototypes: GaussianPrototypes

    def first(self, number: int) -> "InferredTasks":
        """The scores on the first test samples of each task."""
        few = self.sequence.test.first(min(number, len(self.sequence.test.labels)))
        return replace(self, sequence=self.sequence._replace(test=few))

    def inferred(self, num_samples: int = 1) -> InferenceScore:
        """The scores if every `num_samples` samples get the task that is most likely by their preactivations."""
        return self.by_features(self.gating, self.prototypes, num_samples)

    def nearest_gate(self, num_samples: int = 1) -> InferenceScore:
        """The scores with the stored gate nearest to the mean preactivation of every `num_samples` samples."""
        table = GateTable(self.gates)
        return self._with_estimates(
            lambda x: table.infer_task([means_of(layer, num_samples) for layer in self.gating.preactivations(x)]),
            num_samples,
        )

    @torch.no_grad()
    def two_nearest(self, sharpness: float = _SHARPNESS) -> float:
        """Accuracy of the answers of the two nearest gates, weighted by a softmax of their cosines; one sample each."""
        if len(self.parts) < 2:
            return self.nearest_gate().accuracy

        table = GateTable(self.gates)
        labels = self.sequence.test.labels
        scores = []

        for k in range(len(self.parts)):
            x = self.test_inputs(k)
            cosines, nearest = table.cosines(self.gating.preactivations(x)).topk(2, 1)
            weights = torch.softmax(sharpness * cosines, 1)
            answer = torch.zeros(len(labels), self.branch.sizes[3])

            # one run for each task among the nearest ones, not for each sample
            for rank in (0, 1):
                for task in nearest[:, rank].unique().tolist():
                    chosen = (nearest[:, rank] == task).nonzero()[:, 0]
                    probabilities = self.parts[task](x[:, chosen]).softmax(1)
                    answer[chosen] += weights[chosen, rank, None] * probabilities

            scores.append((answer.argmax(1) == labels).float().mean())

        return float(torch.stack(scores).mean())

    @torch.no_grad()
    def direct(self, num_samples: int = 1) -> float:
        """Accuracy with gates from the mean preactivation of every `num_samples` samples, without a table."""
        scores = []
        for k in range(len(self.parts)):
            x = self.test_inputs(k)
            gates = self.gating.gates(self.gating.preactivations(x), num_samples)
            used = len(gates[0]) * num_samples
            repeated = [layer.repeat_interleave(num_samples, 0) for layer in gates]

            # whole groups of samples in a batch: a batch of a whole task with own gates needs much memory
            batches = torch.arange(used).split(max(num_samples, _DIRECT_BATCH // num_samples * num_samples))
            logits = [per_sample_logits(self.branch, x[:, i], [layer[i] for layer in repeated]) for i in batches]
            scores.append((torch.cat(logits).argmax(1) == self.sequence.test.labels[:used]).float().mean())

        return float(torch.stack(scores).mean())

    @torch.no_grad()
    def task_confusions(self) -> Int64[Tensor, "K K"]:
        """Counts of inferred tasks (columns) for single samples of each task (rows)."""
        rows = []
        for k in range(len(self.parts)):
            features = prototype_features(self.gating.preactivations(self.test_inputs(k)))
            rows.append(torch.bincount(self.prototypes.infer_task(features), minlength=len(self.parts)))

        return torch.stack(rows)
