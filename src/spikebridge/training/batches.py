"""Batches: data sets by sample index, the order of an epoch, the shard of a process, slices in time.

Signals are time first, so the batch axis is not the same for every tensor. Order and shard are pure functions of seed
and position, so that a resumed training repeats no draw.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from spikebridge.errors import ConfigError, ShapeError, did_you_mean, in_words, is_integer
from spikebridge.training.rng import derive_seed

Batch: TypeAlias = Any
_Augment: TypeAlias = Callable[[dict[str, Tensor], torch.Generator], dict[str, Tensor]]


@runtime_checkable
class Dataset(Protocol):
    """The data of a training: a number of samples, and any of them as one batch."""

    def __len__(self) -> int:
        """The number of samples."""

    def select(self, indices: Int[Tensor, "n"]) -> Batch:
        """The samples of these indices as one batch: tensors, nested in dicts and (named) tuples."""


TrainingData: TypeAlias = Any
"""Data for `fit`: a `Dataset`, a `DataLoader`, a map-style data set (`data[i]`, `len`), or an `IterableDataset`."""


class Batches:
    """Named tensors that hold all samples at once; a batch is a dict of their slices.

    Args:
        tensors: by name.
        batch: the axis of the samples, for each name: 1 for a signal `(T, B, *N)`, 0 for labels `(B,)`.
        augment: random changes of a training batch, `batch = augment(batch, generator)`: noise, flips. They are drawn
            for a whole global batch, so one process and several draw the same. The axes stay.
        prefetch: changes the next batch in a thread while the network trains on this one; the results are the same.
            `augment` may then draw from its generator alone, not from torch's or numpy's own ones.

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

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        batch: Mapping[str, int],
        augment: _Augment | None = None,
        *,
        prefetch: bool = False,
    ) -> None:
        if not isinstance(tensors, Mapping) or not isinstance(batch, Mapping):
            raise ConfigError("Batches needs tensors and batch by name: Batches({'x': x}, batch={'x': 1})")
        for name in tensors.keys() ^ batch.keys():
            what, where = ("an axis", tensors) if name in batch else ("a tensor", batch)
            raise ConfigError(
                f"{name!r} is only {what}; tensors and batch need the same names. {did_you_mean(name, where)}"
            )

        for name, tensor in tensors.items():
            if not isinstance(tensor, Tensor) or not is_integer(batch[name]):
                raise ConfigError(f"{name!r} needs a tensor and its axis of samples, but got {in_words(tensor)}")
            if not 0 <= batch[name] < tensor.ndim:
                raise ShapeError(f"{name!r} has no axis {batch[name]}: its shape is {tuple(tensor.shape)}")

        sizes = {name: tensor.shape[batch[name]] for name, tensor in tensors.items()}
        if len(set(sizes.values())) != 1:
            raise ShapeError(f"every tensor needs the same number of samples, but got {sizes or 'no tensor'}")

        self.tensors = dict(tensors)
        self.batch = dict(batch)
        self.augment = augment
        self.prefetch = prefetch

    def __len__(self) -> int:
        return next(tensor.shape[self.batch[name]] for name, tensor in self.tensors.items())

    def select(self, indices: Int[Tensor, "n"]) -> dict[str, Tensor]:
        """The samples of these indices, in this order."""
        return {
            name: tensor.index_select(self.batch[name], indices.to(tensor.device))
            for name, tensor in self.tensors.items()
        }

    def select_augmented(
        self, indices: Int[Tensor, "n"], part: Int[Tensor, "m"], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """A part of a global batch with its random changes.

        Args:
            indices: samples of the global batch.
            part: positions in it.
            generator: the same in every process.

        Example:
            >>> def noisy(batch, generator):
            ...     return {"x": batch["x"] + torch.rand(batch["x"].shape, generator=generator)}
            >>> data = Batches({"x": torch.zeros(3)}, batch={"x": 0}, augment=noisy)
            >>> whole, part = (
            ...     data.select_augmented(torch.tensor([2, 0]), some, torch.Generator().manual_seed(0))["x"]
            ...     for some in (torch.tensor([0, 1]), torch.tensor([1]))
            ... )
            >>> bool(whole[1] == part[0])
            True
        """
        batch = self.select(indices)
        if self.augment is not None:
            batch = self.augment(batch, generator)

        if len(part) == len(indices):
            return batch

        return {name: x.index_select(self.batch[name], part.to(x.device)) for name, x in batch.items()}


def check_dataset(data: Any) -> Dataset:
    """The data, if it is a data set that is not empty."""
    # a tensor has a `select` of its own
    if not isinstance(data, Dataset) or isinstance(data, Tensor):
        raise ConfigError(
            "expected a DataLoader, a data set (with select, or [i] and len) or an IterableDataset, but got "
            f"{type(data).__name__}; wrap tensors in Batches"
        )

    if len(data) == 0:
        raise ConfigError("the data set has no samples")

    return data


def epoch_order(num_samples: int, seed: int, phase: int, epoch: int) -> Int[Tensor, "num_samples"]:
    """A permutation `(num_samples,)`, a function of the seed and the numbers of phase and epoch, from 0."""
    generator = torch.Generator().manual_seed(derive_seed(seed, phase, epoch))
    return torch.randperm(num_samples, generator=generator)


def shard(indices: Int[Tensor, "n"], rank: int, num_processes: int) -> tuple[Int[Tensor, "n_r"], float]:
    """One process's shard of a global batch, and the weight of its mean so that the processes average to the whole."""
    # The mean over n samples is the average over R processes of R n_r / n times the mean over the n_r of process r,
    # also for uneven shards: so no sample of an uneven last batch is dropped.
    mine = indices.tensor_split(num_processes)[rank]
    if len(mine):
        return mine, num_processes * len(mine) / len(indices)

    # a process without samples has to take part: the first sample with weight 0 adds nothing
    return indices[:1], 0.0


@dataclass(frozen=True)
class TimeSlices:
    """Cuts the named signals `(T, B, *N)` of a batch in time; the other tensors go into every slice as they are.

    Signals of several clocks are cut at the same moments: 5 frames at 40 Hz with 30 events at 240 Hz.

    Args:
        lengths: samples of a slice, by name; the last slice may be shorter.

    Raises:
        ConfigError: no signal, a length below 1, or a signal that the batch does not have.
        ShapeError: signals that fall into different numbers of slices.

    Example:
        >>> import torch
        >>> batch = {"x": torch.arange(5).reshape(5, 1), "label": torch.tensor([3])}
        >>> [piece["x"].flatten().tolist() for piece in TimeSlices({"x": 2})(batch)]
        [[0, 1], [2, 3], [4]]
        >>> [piece["label"].tolist() for piece in TimeSlices({"x": 5})(batch)]
        [[3]]
    """

    lengths: Mapping[str, int]

    def __post_init__(self) -> None:
        lengths = self.lengths.values() if isinstance(self.lengths, Mapping) else ()
        if not lengths or not all(is_integer(length) and length > 0 for length in lengths):
            raise ConfigError(f"slices need signals and at least 1 sample of each, but got {in_words(self.lengths)}")

    def __call__(self, batch: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        for name in self.lengths:
            if name not in batch:
                raise ConfigError(f"the batch has no signal {name!r} to slice: {did_you_mean(name, batch)}")

        counts = {name: math.ceil(len(batch[name]) / length) for name, length in self.lengths.items()}
        if len(set(counts.values())) != 1:
            raise ShapeError(f"the signals fall into different numbers of slices: {counts}; change their lengths")

        for k in range(next(iter(counts.values()))):
            cut = {name: batch[name][k * length : (k + 1) * length] for name, length in self.lengths.items()}
            yield {**batch, **cut}
