"""Accuracy with and without being told the task: gates given, inferred, or made of the samples at hand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.networks.modulation import Branch
from spikebridge.networks.modulation_backbone import Gating
from spikebridge.networks.modulation_cut import cut_branch, per_sample_logits
from spikebridge.networks.modulation_inference import GateTable, GaussianTable, Guess, few_drives, means_of
from spikebridge.recipes.modulation_tasks import TaskSequence

Way: TypeAlias = Literal["given", "inferred", "nearest gate"]
SHARPNESS = 100.0  # of the weights of the two nearest gates, chosen on tuning tasks


@dataclass(frozen=True)
class Found:
    """How good guesses of the task were, and the accuracy with them."""

    accuracy: float
    task: float
    group: float

    @property
    def row(self) -> dict[str, float]:
        """By name."""
        return {"accuracy": self.accuracy, "right task": self.task, "right group": self.group}


class Modes:
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
        codes: GaussianTable | None = None,
    ) -> None:
        self.branch, self.gates, self.sequence, self.gating = branch.eval(), list(gates), sequence, gating
        self.codes = codes
        self.parts = [cut_branch(branch, [layer[k] for layer in gates]) for k in range(len(gates[0]))]

    def given(self) -> float:
        """The task is told."""
        return sum(self.accuracy_of(part, k) for k, part in enumerate(self.parts)) / len(self.parts)

    def accuracy_of(self, part: Branch, task: int) -> float:
        """Accuracy of a sub-network on the test pictures of a task."""
        return float(self._hits(part, self.shown(task)).mean())

    def inferred(self, num_samples: int = 1) -> Found:
        """The task that the drives of so many unlabelled samples of one task are likeliest of."""
        gating, codes = self._need_gating(), self._need_codes()
        return self._by_guess(lambda x: codes.infer_task(few_drives(gating.drives(x)), num_samples), num_samples)

    def nearest_gate(self, num_samples: int = 1, table: GateTable | None = None) -> Found:
        """The stored gate nearest to the mean drive of so many unlabelled samples of one task."""
        gating = self._need_gating()
        known = table or GateTable(self.gates)
        return self._by_guess(
            lambda x: known.infer_task([means_of(drive, num_samples) for drive in gating.drives(x)]), num_samples
        )

    def by_input(self, reads: Gating, table: GaussianTable, num_samples: int = 1) -> Found:
        """As `inferred`, by a fixed random projection of the input: for gates that no unit makes."""
        return self._by_guess(lambda x: table.infer_task(few_drives(reads.drives(x)), num_samples), num_samples)

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
                cosines, nearest = table.cosines(gating.drives(x)).topk(2, 1)
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
                gates = gating.gates(gating.drives(x), num_samples)
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

    def reshuffled(self, task: int, share: float, way: Way) -> float:
        """Accuracy on a task that nobody has learnt: a window of a learnt order, shuffled once more.

        Args:
            task: the learnt one.
            share: of its order.
            way: how the gate is found for each picture.
        """
        draw = torch.Generator().manual_seed(1 + task)
        order = self.sequence.orders.reshuffled(self.sequence.learnt[task], share, draw)
        x = self.sequence.test.in_order(order)
        if way == "given":
            return float(self._hits(self.parts[task], x).mean())
        with torch.no_grad():
            drives = self._need_gating().drives(x)
            near = way == "nearest gate"
            guess = (
                GateTable(self.gates).infer_task(drives) if near else self._need_codes().infer_task(few_drives(drives))
            )
        return float(self._hits_by_guess(x, guess.task).mean())

    def shown(self, task: int) -> Tensor:
        """The test pictures of a task, `(T, N, d)`."""
        return self.sequence.test.in_order(self.sequence.orders.permutations[self.sequence.learnt[task]])

    def activity(self) -> Tensor:
        """Mean spikes of each hidden neuron of both layers in each task, `(K, 2 C)`; closed neurons are silent."""
        rows = []
        for k, part in enumerate(self.parts):
            row = []
            for layer, rates in enumerate(hidden_rates(part, self.shown(k)[:, :200])):
                full = torch.zeros(self.gates[layer].shape[1])
                full[self.gates[layer][k]] = rates
                row.append(full)
            rows.append(torch.cat(row))
        return torch.stack(rows)

    def _need_gating(self) -> Gating:
        if self.gating is None:
            raise ConfigError("only gates that units make can be found from pictures")
        return self.gating

    def _need_codes(self) -> GaussianTable:
        if self.codes is None:
            raise ConfigError("inferring the task needs a table of Gaussians; give codes=code_table(gating, sequence)")
        return self.codes

    def _hits(self, part: Branch, x: Tensor) -> Tensor:
        with torch.no_grad():
            return (part(x).argmax(1) == self.sequence.test.labels).float()

    def _hits_by_guess(self, x: Tensor, task: Tensor) -> Tensor:
        hits = torch.zeros(len(task))
        with torch.no_grad():
            for k in task.unique().tolist():
                chosen = (task == k).nonzero()[:, 0]
                answer = self.parts[k](x[:, chosen]).argmax(1)
                hits[chosen] = (answer == self.sequence.test.labels[chosen]).float()
        return hits

    def _by_guess(self, look: Callable[[Tensor], Guess], num_samples: int) -> Found:
        group = torch.tensor(self.sequence.group)
        rows: list[Any] = []
        for k in range(len(self.parts)):
            x = self.shown(k)
            with torch.no_grad():
                guess = look(x).task
            each = guess.repeat_interleave(num_samples)
            hits = self._hits_by_guess(x[:, : len(each)], each)
            rows.append([hits.mean(), (guess == k).float().mean(), (group[guess] == group[k]).float().mean()])
        return Found(*torch.tensor(rows).mean(0).tolist())


def hidden_rates(branch: Branch, x: Tensor) -> list[Tensor]:
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
