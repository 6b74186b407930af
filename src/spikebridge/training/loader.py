"""The batches of an epoch from any source: tensors by index, a map-style or iterable data set, a `DataLoader`.

Every source gives the same batches for the same (seed, phase, epoch), whatever the number of workers, and can begin in
the middle of an epoch; so a training resumes with the same bits. A `DataLoader` gives its data set, sampler,
`collate_fn` and worker settings:

| source | order of samples | random draws of a sample | start in the middle |
|---|---|---|---|
| with `select` (`Batches`) | by seed, phase, epoch | global generators, `augment`: in the checkpoint | jumps |
| map-style | of its sampler, seeded alike | seeded for each batch | jumps |
| iterable | its own | seeded for each epoch | reads and drops the batches that are done |
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, default_collate

from spikebridge.errors import ConfigError, DataError, ShapeError, SpikebridgeError
from spikebridge.training.batches import Batch, Batches, Dataset, check_dataset, epoch_order, shard
from spikebridge.training.rng import derive_seed, get_rng_state, preserve_rng_state, seed_rng, set_rng_state
from spikebridge.training.worker import (
    BatchReader,
    BatchTask,
    CountingCollate,
    Failure,
    SampleStream,
    TaskOrder,
    WorkerStart,
    keep_batch,
)


class LoadedBatch(NamedTuple):
    """One process's part of a global batch."""

    data: Batch
    num_samples: int  # of the global batch
    weight: float  # of this part's mean, so that the average over the processes is the mean over the global batch


@runtime_checkable
class BatchSource(Protocol):
    """The batches of every epoch of a phase; numbers are None where the data set has no length."""

    @property
    def num_samples(self) -> int | None: ...

    @property
    def num_batches(self) -> int | None: ...

    def epoch(self, seed: int, phase: int, epoch: int, start: int = 0) -> Iterator[LoadedBatch]:
        """The batches of an epoch from number `start` on."""


def open_source(
    data: Any,
    batch_size: int,
    rank: int = 0,
    num_processes: int = 1,
    shuffle: bool = True,
    draws: torch.Generator | None = None,
) -> BatchSource:
    """The source of batches behind any kind of data, for one of several processes.

    A `DataLoader` brings its own batch size and order. `draws` are of the random changes of `Batches`, the same in
    every process; None for no change.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size should be at least 1, but is {batch_size}")

    if isinstance(data, IterableDataset):
        data = DataLoader(data, batch_size)
    elif not isinstance(data, Dataset | DataLoader) and _is_map_style(data):
        if len(data) == 0:
            raise ConfigError("the data set has no samples")
        data = DataLoader(data, batch_size, shuffle=shuffle)

    if not isinstance(data, DataLoader):
        return _SelectedBatches(check_dataset(data), batch_size, rank, num_processes, shuffle, draws)
    if not isinstance(data.dataset, IterableDataset):
        return _LoadedBatches(data, rank, num_processes)
    if num_processes > 1:
        raise ConfigError("an iterable data set cannot be shared by several processes; give a map-style one")

    return _StreamedBatches(data)


@contextmanager
def naming_collate(source: BatchSource) -> Iterator[None]:
    """Adds to errors of shapes that batches of torch's own `collate_fn` are not time first."""
    try:
        yield
    except ShapeError as error:
        if not isinstance(source, _Loader) or source.loader.collate_fn is not default_collate:
            raise
        raise ShapeError(
            f"{error}; the data loader puts the batch first, where signals are time first, (T, B, *N): give it "
            "collate_fn=StackSamples(...) of spikebridge.training"
        ) from error


def _is_map_style(data: Any) -> bool:
    has_items = hasattr(type(data), "__getitem__") and hasattr(type(data), "__len__")
    return has_items and not isinstance(data, Tensor | Mapping | str | bytes)


@dataclass(frozen=True)
class _SelectedBatches:
    """Batches that a data set selects by index in this process."""

    data: Dataset
    batch_size: int
    rank: int
    num_processes: int
    shuffle: bool
    draws: torch.Generator | None

    @property
    def num_samples(self) -> int:
        return len(self.data)

    @property
    def num_batches(self) -> int:
        return -(-len(self.data) // self.batch_size)

    def epoch(self, seed: int, phase: int, epoch: int, start: int = 0) -> Iterator[LoadedBatch]:
        num = len(self.data)
        order = epoch_order(num, seed, phase, epoch) if self.shuffle else torch.arange(num)
        batches = order.split(self.batch_size)[start:]
        if self.draws is not None and isinstance(self.data, Batches) and self.data.prefetch:
            return self._prefetched(batches, self.draws)

        return (self._load(indices, self.draws) for indices in batches)

    def _prefetched(self, batches: Sequence[Tensor], draws: torch.Generator) -> Iterator[LoadedBatch]:
        """Makes each batch in a thread while the one before is trained on."""
        # a checkpoint holds `draws`, which must not run ahead of the batches that are handed over
        ahead = draws.clone_state()

        def load(indices: Tensor) -> tuple[LoadedBatch, Tensor]:
            return self._load(indices, ahead), ahead.get_state()

        with ThreadPoolExecutor(1, "prefetch") as pool:
            loading = (pool.submit(load, indices) for indices in batches)
            # the second of a pair has begun before the first is handed over; after the last one comes an empty one
            for first, _ in pairwise(chain(loading, [Future()])):
                batch, state = first.result()
                draws.set_state(state)
                yield batch

    def _load(self, indices: Tensor, draws: torch.Generator | None) -> LoadedBatch:
        mine, weight = shard(indices, self.rank, self.num_processes)
        try:
            if draws is not None and isinstance(self.data, Batches) and self.data.augment is not None:
                part, _ = shard(torch.arange(len(indices)), self.rank, self.num_processes)
                batch = self.data.select_augmented(indices, part, draws)
            else:
                batch = self.data.select(mine)
        except SpikebridgeError:
            raise
        except Exception as error:
            raise Failure.of(error, mine.tolist()).error() from error

        return LoadedBatch(batch, len(indices), weight)


class _Loader:
    """A `DataLoader` with its sizes."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader = loader

    @property
    def num_samples(self) -> int | None:
        return _length(self.loader.dataset)

    @property
    def num_batches(self) -> int | None:
        return _length(self.loader)


class _LoadedBatches(_Loader):
    """The batches of a `DataLoader` over a map-style data set."""

    def __init__(self, loader: DataLoader[Any], rank: int, num_processes: int) -> None:
        if isinstance(loader.sampler, DistributedSampler):
            raise ConfigError("fit divides each batch among the processes itself; give a loader without this sampler")
        if loader.batch_sampler is None and num_processes > 1:
            raise ConfigError("a loader with batch_size=None cannot be shared by several processes; give it a size")

        super().__init__(loader)
        self.rank = rank
        self.num_processes = num_processes
        self.order = TaskOrder()
        self.reader = _copy(loader, BatchReader(loader), sampler=self.order, batch_size=None, collate_fn=keep_batch)

        if self.num_batches == 0:
            raise ConfigError("the data loader gives no batch: its data set has no samples, or fewer than one batch")

    def epoch(self, seed: int, phase: int, epoch: int, start: int = 0) -> Iterator[LoadedBatch]:
        parts = [self._part(indices) for indices in self._indices(seed, phase, epoch)[start:]]
        # a seed of its own for each batch: the number of workers and the start change no draw
        self.order.tasks = [
            BatchTask(derive_seed(seed, phase, epoch, number, self.rank), indices)
            for number, (indices, _, _) in enumerate(parts, start)
        ]

        batches = iter(self.reader)
        for _, num_samples, weight in parts:
            yield LoadedBatch(_next(batches), num_samples, weight)

    def _part(self, indices: Any) -> tuple[Any, int, float]:
        """This process's indices of a batch, the samples of the whole batch, and the weight of this part's mean."""
        if self.loader.batch_sampler is None:
            return indices, 1, 1.0
        positions, weight = shard(torch.arange(len(indices)), self.rank, self.num_processes)
        return [indices[k] for k in positions.tolist()], len(indices), weight

    def _indices(self, seed: int, phase: int, epoch: int) -> list[Any]:
        """The indices of every batch, drawn by the loader's own samplers from generators seeded for this epoch."""
        outer: Any = self.loader.sampler if self.loader.batch_sampler is None else self.loader.batch_sampler
        epoch_seed = derive_seed(seed, phase, epoch)
        samplers: list[Any] = [outer, getattr(outer, "sampler", None)]

        for sampler in samplers:
            if isinstance(getattr(sampler, "generator", None), torch.Generator):
                sampler.generator.manual_seed(epoch_seed)
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)

        with preserve_rng_state():
            seed_rng(epoch_seed)
            return list(outer)


class _StreamedBatches(_Loader):
    """The batches of a `DataLoader` over an iterable data set, one pass an epoch."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        super().__init__(loader)
        collate = CountingCollate(loader.collate_fn, loader.batch_size is not None)
        size = {"batch_size": loader.batch_size} | ({"drop_last": True} if loader.drop_last else {})
        self.reader = _copy(loader, SampleStream(loader.dataset), collate_fn=collate, **size)

    def epoch(self, seed: int, phase: int, epoch: int, start: int = 0) -> Iterator[LoadedBatch]:
        epoch_seed = derive_seed(seed, phase, epoch)
        if self.reader.generator is not None:
            self.reader.generator.manual_seed(epoch_seed)

        with preserve_rng_state():
            seed_rng(epoch_seed)
            batches = iter(self.reader)
            draws = get_rng_state()

        count = 0
        while True:
            # in this process the data set draws from generators of its own, so that the network's draws do not matter
            with preserve_rng_state():
                set_rng_state(draws)
                batch = _next(batches)
                draws = get_rng_state()

            if batch is None:
                break

            count += 1
            if count > start:
                yield LoadedBatch(batch[1], batch[0], 1.0)

        if count == 0:
            raise DataError("the data set gave no sample in an epoch; an iterable one must begin again at every iter()")


def _copy(loader: DataLoader[Any], dataset: Any, **changes: Any) -> DataLoader[Any]:
    """A loader with the worker settings of another one, and a generator of its own."""
    names = ("num_workers", "timeout", "multiprocessing_context", "persistent_workers", "prefetch_factor")
    settings = {name: getattr(loader, name) for name in names}

    return DataLoader(
        dataset,
        worker_init_fn=WorkerStart(loader.worker_init_fn),
        generator=torch.Generator(),
        pin_memory=loader.pin_memory and torch.cuda.is_available(),
        **settings,
        **changes,
    )


def _next(batches: Iterator[Any]) -> Any:
    """The next batch, None at the end; a `DataError` where the data set raised an error, or a worker died."""
    try:
        batch = next(batches, None)
    except SpikebridgeError:
        raise
    except Exception as error:
        # torch's own words carry the traceback of the worker
        first = str(error).split("\n", 1)[0]
        raise DataError(f"the data loader failed: {type(error).__name__}: {first}") from error

    if isinstance(batch, Failure):
        raise batch.error()

    return batch


def _length(data: Any) -> int | None:
    try:
        return len(data)
    except (TypeError, NotImplementedError):
        return None
