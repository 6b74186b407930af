"""Samples, by their numbers. Signals are time first, so the axis of the batch is not the same for every tensor."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from jaxtyping import Int
from torch import Tensor

from spikebridge.errors import ConfigError, ShapeError, did_you_mean

Batch: TypeAlias = Any


@runtime_checkable
class Dataset(Protocol):
    """What the loop needs: a count of samples, and any of them as one batch."""

    def __len__(self) -> int:
        """How many samples there are."""

    def select(self, indices: Int[Tensor, "n"]) -> Batch:
        """The samples of these numbers as one batch: tensors, nested in dicts and (named) tuples as you like."""


class Batches:
    """Named tensors that hold all samples at once; a batch is a dict of their slices.

    Args:
        tensors: by name.
        batch: the axis of the samples, for each name: 1 for a signal `(T, B, *N)`, 0 for labels `(B,)`.

    Raises:
        ConfigError: a tensor without an axis, or an axis without a tensor.
        ShapeError: an axis that a tensor does not have, or different numbers of samples.

    Example:
        >>> import torch
        >>> tensors = {"frames": torch.zeros(7, 3, 2), "labels": torch.tensor([5, 6, 7])}
        >>> data = Batches(tensors, batch={"frames": 1, "labels": 0})
        >>> len(data)
        3
        >>> batch = data.select(torch.tensor([2, 0]))
        >>> (batch["frames"].shape, batch["labels"])
        (torch.Size([7, 2, 2]), tensor([7, 5]))
    """

    def __init__(self, tensors: Mapping[str, Tensor], batch: Mapping[str, int]) -> None:
        for name in tensors.keys() ^ batch.keys():
            what, where = ("an axis", tensors) if name in batch else ("a tensor", batch)
            raise ConfigError(
                f"{name!r} is only {what}; tensors and batch need the same names. {did_you_mean(name, where)}"
            )
        for name, tensor in tensors.items():
            if not 0 <= batch[name] < tensor.ndim:
                raise ShapeError(f"{name!r} has no axis {batch[name]}: its shape is {tuple(tensor.shape)}")
        sizes = {name: tensor.shape[batch[name]] for name, tensor in tensors.items()}
        if len(set(sizes.values())) != 1:
            raise ShapeError(f"every tensor needs the same number of samples, but got {sizes or 'no tensor'}")
        self.tensors = dict(tensors)
        self.batch = dict(batch)

    def __len__(self) -> int:
        return next(tensor.shape[self.batch[name]] for name, tensor in self.tensors.items())

    def select(self, indices: Int[Tensor, "n"]) -> dict[str, Tensor]:
        """The samples of these numbers, in this order."""
        return {
            name: tensor.index_select(self.batch[name], indices.to(tensor.device))
            for name, tensor in self.tensors.items()
        }


class Samples:
    """A map-style data set and the function that makes a batch of a list of its samples.

    Args:
        dataset: `dataset[i]` is sample `i`; it has a length. What it gives for `i` must not depend on the calls before,
            or a resumed training is another one.
        collate: makes one batch of a list of samples.

    Example:
        >>> import torch
        >>> data = Samples([1.0, 2.0, 3.0], torch.tensor)
        >>> data.select(torch.tensor([2, 0]))
        tensor([3., 1.])
    """

    def __init__(self, dataset: Sequence[Any], collate: Callable[[list[Any]], Batch]) -> None:
        self.dataset = dataset
        self.collate = collate

    def __len__(self) -> int:
        return len(self.dataset)

    def select(self, indices: Int[Tensor, "n"]) -> Batch:
        """The samples of these numbers, in this order."""
        return self.collate([self.dataset[index] for index in indices.tolist()])


def as_dataset(data: Any) -> Dataset:
    """The data, if a training can draw batches from it and it is not empty.

    Raises:
        ConfigError: it has no `select` (the message says what to wrap it in), or it is empty.

    Example:
        >>> as_dataset([1, 2])
        Traceback (most recent call last):
        spikebridge.errors.ConfigError: data needs len() and select(indices), but got list; wrap ...
    """
    if not isinstance(data, Dataset):
        raise ConfigError(
            f"data needs len() and select(indices), but got {type(data).__name__}; "
            "wrap tensors in Batches and a map-style data set in Samples"
        )
    if len(data) == 0:
        raise ConfigError("the data hold no sample")
    return data
