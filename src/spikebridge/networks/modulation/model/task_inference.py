"""Task inference: the task, and so the gate, of samples without a task label.

| mode | gate at test time | memory |
|---|---|---|
| given | that of the given task number | one gate for each task |
| inferred | that of the task with the most likely Gaussian of a few preactivations | gate and Gaussian for each task |
| nearest gate | the stored gate that is nearest to the preactivations | one gate for each task |
| direct | made from the preactivations of the samples | none |

All samples of one estimate belong to one task; their number is one by default. A gate is never made from a batch of
mixed tasks.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from spikebridge.errors import ConfigError, ShapeError


class GateTable:
    """Stored gates, one row for each task: one bit for each hidden neuron and task.

    Args:
        gates: `(K, C)` for each hidden layer.

    Raises:
        ShapeError: layers with different numbers of tasks.

    Example:
        >>> table = GateTable([torch.tensor([[True, False], [False, True]])])
        >>> table.infer_task([torch.tensor([[3.0, 0.1], [-1.0, 2.0]])]).tolist()
        [0, 1]
    """

    def __init__(self, gates: Sequence[Bool[Tensor, "K _"]]) -> None:
        if not gates or len({len(layer) for layer in gates}) != 1:
            raise ShapeError(
                f"a table needs one row for each task in each layer, but got {[len(layer) for layer in gates]}"
            )

        self.gates = [layer.bool() for layer in gates]
        rows = torch.cat(self.gates, 1).float()
        self._directions = rows / rows.norm(dim=1, keepdim=True).clamp(min=1)

    def __len__(self) -> int:
        return len(self._directions)

    def infer_task(self, preactivations: Sequence[Float[Tensor, "Q _"]]) -> Int64[Tensor, " Q"]:
        """The task whose gate has the highest cosine with the preactivations; ties go to the lower number.

        Args:
            preactivations: one row for each query, a sample or the mean of samples of one task, for each hidden layer.
        """
        return _best_task(self.cosines(preactivations))

    def cosines(self, preactivations: Sequence[Float[Tensor, "Q _"]]) -> Float[Tensor, "Q K"]:
        """The cosine of each query with each task's gate."""
        query = torch.cat(list(preactivations), 1)
        if query.shape[1] != self._directions.shape[1]:
            raise ShapeError(f"the table has gates of {self._directions.shape[1]} neurons, but got {query.shape[1]}")
        return (query / query.norm(dim=1, keepdim=True).clamp(min=1e-12)) @ self._directions.T


class GaussianPrototypes:
    """A Gaussian for each task on a few features of a sample, with its full covariance.

    Tasks of one group have nearly the same mean, so the nearest mean or gate confuses them. Their covariances differ,
    and one sample shows it.

    Args:
        means: `(K, r)`.
        covariances: `(K, r, r)`, positive definite.

    Raises:
        ShapeError: means and covariances that do not fit.

    Example:
        >>> equal, opposite = torch.tensor([[1.0, 0.9], [0.9, 1.0]]), torch.tensor([[1.0, -0.9], [-0.9, 1.0]])
        >>> table = GaussianPrototypes(torch.zeros(2, 2), torch.stack([equal, opposite]))  # one mean for both tasks
        >>> table.infer_task(torch.tensor([[2.0, 1.5], [-1.0, 1.0]])).tolist()
        [0, 1]
    """

    def __init__(self, means: Float[Tensor, "K r"], covariances: Float[Tensor, "K r r"]) -> None:
        if covariances.shape != (*means.shape, means.shape[-1]):
            raise ShapeError(f"means of {tuple(means.shape)} do not go with covariances of {tuple(covariances.shape)}")
        self.means = means
        self.covariances = covariances
        self._roots = torch.linalg.cholesky(covariances)

    @classmethod
    def fit(cls, samples: Sequence[Float[Tensor, "S r"]], ridge: float = 0.01) -> "GaussianPrototypes":
        """Mean and covariance of the training samples of each task.

        Args:
            samples: `(S, r)` for each task.
            ridge: added to every variance, as a share of their mean; without it constant features would dominate.
        """
        means = []
        covariances = []

        for values in samples:
            covariance = torch.cov(values.T).reshape(values.shape[1], values.shape[1])
            floor = (ridge * covariance.diagonal().mean()).clamp(min=1e-12)
            means.append(values.mean(0))
            covariances.append(covariance + floor * torch.eye(len(covariance)))

        return cls(torch.stack(means), torch.stack(covariances))

    def __len__(self) -> int:
        return len(self.means)

    @property
    def num_values(self) -> int:
        """Memory in numbers: for each task a mean and half of a symmetric matrix."""
        num_features = self.means.shape[1]
        return len(self) * num_features * (num_features + 3) // 2

    def log_likelihoods(self, x: Float[Tensor, "Q r"]) -> Float[Tensor, "Q K"]:
        """The log-likelihood of each query under each task, up to a constant."""
        if x.shape[-1] != self.means.shape[1]:
            raise ShapeError(f"the prototypes have {self.means.shape[1]} features, but got {x.shape[-1]}")

        columns = []
        for mean, root in zip(self.means, self._roots, strict=True):
            whitened = torch.linalg.solve_triangular(root, (x - mean).T, upper=False)
            columns.append(-0.5 * whitened.square().sum(0) - root.diagonal().log().sum())

        return torch.stack(columns, 1)

    def infer_task(self, x: Float[Tensor, "S r"], num_samples: int = 1) -> Int64[Tensor, " Q"]:
        """The most likely task of every `num_samples` samples, which belong to one task."""
        return _best_task(means_of(self.log_likelihoods(x), num_samples))


def prototype_features(preactivations: Sequence[Float[Tensor, "S _"]], number: int = 64) -> Float[Tensor, "S r"]:
    """The features of `GaussianPrototypes`: preactivations of the first neurons of each layer, `number` in all.

    Example:
        >>> prototype_features([torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[4.0, 5.0, 6.0]])], number=4).tolist()
        [[1.0, 2.0, 4.0, 5.0]]
    """
    per_layer = max(1, number // len(preactivations))
    return torch.cat([layer[:, :per_layer] for layer in preactivations], 1)


def means_of(values: Float[Tensor, "S C"], num_samples: int) -> Float[Tensor, "Q C"]:
    """Means of every `num_samples` samples, in their order; a rest at the end is left out."""
    if not 1 <= num_samples <= len(values):
        raise ConfigError(f"num_samples should be from 1 to {len(values)}, but is {num_samples}")

    whole = len(values) // num_samples * num_samples
    return values[:whole].unflatten(0, (-1, num_samples)).mean(1)


def _best_task(score: Float[Tensor, "Q K"]) -> Int64[Tensor, " Q"]:
    # max takes any of equal scores, but ties go to the lowest number
    return (score == score.amax(1, keepdim=True)).int().argmax(1)
