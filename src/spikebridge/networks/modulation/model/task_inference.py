"""Which task is this? Gates for pictures of unknown task, from a few unlabelled ones.

| mode | gate at test | kept |
|---|---|---|
| given | looked up by the task's number: the only one that is told | one gate a task |
| inferred | of the task whose Gaussian on a few neurons' drives is the likeliest | one gate and one Gaussian a task |
| nearest gate | of the task whose stored gate is nearest to the drive of a few samples | one gate a task |
| direct | of the samples' own drive | nothing |
| per sample | direct with one sample, and trained so | nothing |

A gate is never made of a batch whose tasks may be mixed: samples of one guess come from one task by what the caller
says, one by one if he says nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from spikebridge.errors import ConfigError, ShapeError


class TaskEstimate(NamedTuple):
    """For each query: the nearest task, its cosine, how far the next one is behind, and whether none is near."""

    task: Int64[Tensor, " Q"]
    similarity: Float[Tensor, " Q"]
    margin: Float[Tensor, " Q"]
    is_new: Bool[Tensor, " Q"]


class GateTable:
    """Stored gates, one row a task: two bits a pair of hidden neurons and task.

    Args:
        gates: of each hidden layer, `(K, C)`.
        new_below: a cosine under which a query is called a new task; None never says so.

    Raises:
        ShapeError: layers with other numbers of tasks.

    Example:
        >>> table = GateTable([torch.tensor([[True, False], [False, True]])], new_below=0.5)
        >>> estimate = table.infer_task([torch.tensor([[3.0, 0.1], [-1.0, -1.0]])])
        >>> estimate.task.tolist(), estimate.is_new.tolist()
        ([0, 0], [False, True])
    """

    def __init__(self, gates: Sequence[Bool[Tensor, "K _"]], new_below: float | None = None) -> None:
        if not gates or len({len(layer) for layer in gates}) != 1:
            raise ShapeError(f"a table needs one row a task in each layer, but got {[len(layer) for layer in gates]}")
        self.gates = [layer.bool() for layer in gates]
        self.new_below = new_below
        rows = torch.cat(self.gates, 1).float()
        self._directions = rows / rows.norm(dim=1, keepdim=True).clamp(min=1)

    def __len__(self) -> int:
        return len(self._directions)

    @property
    def num_bits(self) -> int:
        """Memory of the table."""
        return sum(layer.numel() for layer in self.gates)

    def of_task(self, task: int) -> list[Bool[Tensor, "_"]]:
        """The gates of a task, one a layer."""
        return [layer[task] for layer in self.gates]

    def infer_task(self, preactivations: Sequence[Float[Tensor, "Q _"]]) -> TaskEstimate:
        """The task whose gate points most as the drives do; ties go to the lower number.

        Args:
            drives: of each hidden layer, one row a query: of one sample, or a mean over samples of one task.

        Returns:
            a guess a query.
        """
        return _estimate(self.cosines(preactivations), self.new_below)

    def cosines(self, preactivations: Sequence[Float[Tensor, "Q _"]]) -> Float[Tensor, "Q K"]:
        """How near each query is to each task's gate."""
        query = torch.cat(list(preactivations), 1)
        if query.shape[1] != self._directions.shape[1]:
            raise ShapeError(f"the table has codes of {self._directions.shape[1]} neurons, but got {query.shape[1]}")
        return (query / query.norm(dim=1, keepdim=True).clamp(min=1e-12)) @ self._directions.T


class GaussianPrototypes:
    """A Gaussian of each task on a few numbers of a recording, with its whole covariance; of fixed size a task.

    Mates of a group have nearly the same mean, so the nearest mean or gate confuses them. What tells them apart is how
    numbers vary together, and that shows in a single recording.

    Args:
        means: `(K, r)`.
        covariances: `(K, r, r)`, positive definite.

    Raises:
        ShapeError: shapes that do not fit.

    Example:
        >>> alike, opposite = torch.tensor([[1.0, 0.9], [0.9, 1.0]]), torch.tensor([[1.0, -0.9], [-0.9, 1.0]])
        >>> table = GaussianPrototypes(torch.zeros(2, 2), torch.stack([alike, opposite]))  # one mean for both tasks
        >>> table.infer_task(torch.tensor([[2.0, 1.5], [-1.0, 1.0]])).task.tolist()
        [0, 1]
    """

    def __init__(self, means: Float[Tensor, "K r"], covariances: Float[Tensor, "K r r"]) -> None:
        if covariances.shape != (*means.shape, means.shape[-1]):
            raise ShapeError(f"means of {tuple(means.shape)} do not go with covariances of {tuple(covariances.shape)}")
        self.means, self.covariances = means, covariances
        self._roots = torch.linalg.cholesky(covariances)

    @classmethod
    def fit(cls, samples: Sequence[Float[Tensor, "S r"]], ridge: float = 0.01) -> "GaussianPrototypes":
        """Mean and covariance of each task's training recordings.

        Args:
            samples: of each task.
            ridge: added to every variance, as a share of their mean: numbers that hang together would decide alone.
        """
        means, covariances = [], []
        for values in samples:
            spread = torch.cov(values.T).reshape(values.shape[1], values.shape[1])
            floor = (ridge * spread.diagonal().mean()).clamp(min=1e-12)
            means.append(values.mean(0))
            covariances.append(spread + floor * torch.eye(len(spread)))
        return cls(torch.stack(means), torch.stack(covariances))

    def __len__(self) -> int:
        return len(self.means)

    @property
    def num_values(self) -> int:
        """Memory of the table: of each task a mean and half of a symmetric matrix."""
        kept = self.means.shape[1]
        return len(self) * kept * (kept + 3) // 2

    def log_likelihoods(self, x: Float[Tensor, "Q r"]) -> Float[Tensor, "Q K"]:
        """The log-likelihood of each query under each task, up to a constant."""
        if x.shape[-1] != self.means.shape[1]:
            raise ShapeError(f"the table has Gaussians of {self.means.shape[1]} numbers, but got {x.shape[-1]}")
        columns = []
        for mean, root in zip(self.means, self._roots, strict=True):
            away = torch.linalg.solve_triangular(root, (x - mean).T, upper=False)
            columns.append(-0.5 * away.square().sum(0) - root.diagonal().log().sum())
        return torch.stack(columns, 1)

    def infer_task(self, x: Float[Tensor, "S r"], num_samples: int = 1) -> TaskEstimate:
        """The likeliest task of each `num_samples` recordings of one task, in their order.

        Similarity and margin are log-likelihoods a recording.
        """
        return _estimate(means_of(self.log_likelihoods(x), num_samples), None)


def prototype_features(preactivations: Sequence[Float[Tensor, "S _"]], number: int = 64) -> Float[Tensor, "S r"]:
    """The drives of the first neurons of each layer, as many of each: what a Gaussian of a task is kept of.

    Args:
        drives: of each hidden layer.
        number: of neurons in all; of a smaller layer all are taken.

    Example:
        >>> prototype_features([torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[4.0, 5.0, 6.0]])], number=4).tolist()
        [[1.0, 2.0, 4.0, 5.0]]
    """
    return torch.cat([layer[:, : max(1, number // len(preactivations))] for layer in preactivations], 1)


def means_of(values: Float[Tensor, "S C"], num_samples: int) -> Float[Tensor, "Q C"]:
    """Means of so many samples each, in their order; what is left over at the end is left out.

    Raises:
        ConfigError: no sample, or more than there are.

    Example:
        >>> means_of(torch.tensor([[0.0], [2.0], [7.0]]), 2).tolist()
        [[1.0]]
    """
    if not 1 <= num_samples <= len(values):
        raise ConfigError(f"num_samples should be from 1 to {len(values)}, but is {num_samples}")
    whole = len(values) // num_samples * num_samples
    return values[:whole].unflatten(0, (-1, num_samples)).mean(1)


def _estimate(score: Tensor, new_below: float | None) -> TaskEstimate:
    best, task = score.max(1)
    # max takes any of equal ones; the lowest is wanted
    task = (score == best[:, None]).int().argmax(1)
    if score.shape[1] == 1:
        margin = torch.full_like(best, torch.inf)
    else:
        margin = best - score.scatter(1, task[:, None], -torch.inf).amax(1)
    is_new = torch.zeros_like(best, dtype=torch.bool) if new_below is None else best < new_below
    return TaskEstimate(task, best, margin, is_new)
