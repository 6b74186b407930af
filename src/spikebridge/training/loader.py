"""The batches of an epoch from any source: tensors by index, a map-style or iterable data set, a `DataLoader`.

Every source gives the same batches for the same (seed, phase, epoch), whatever the number of workers, and can begin in
the middle of an epoch; so a training resumes with the same bits. A `DataLoader` gives its data set, sampler,
`collate_fn` and worker settings:

| source | order of samples | random draws of a sample | start in the middle |
|---|---|---|---|
| with `select` (`Batches`) | by seed, phase, epoch | global generators, `augment`: in the checkpoint | jumps |
| map-style | of its sampler, seeded alike | seeded for each batch | jumps |
| iterable | its own | seeded for each epoch | reads and drops what is done |
"""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, Sampler, default_collate, get_worker_info
from torch.utils.data import Dataset as TorchDataset

from spikebridge.errors import ConfigError, DataError, ShapeError, SpikebridgeError
from spikebridge.training.batches import Batch, Batches, Dataset, check_dataset, epoch_order, shard
from spikebridge.training.rng import derive_seed, get_rng_state, preserve_rng_state, seed_rng, set_rng_state


class LoadedBatch(NamedTuple):
    """One process's part of a global batch.

    Attributes:
        data: the part.
        num_samples: of the global batch.
        weight: of the mean over this part, so that the average over the processes is the mean over the global batch.
    """

    data: Batch
    num_samples: int
    weight: float


@runtime_checkable
class BatchSource(Protocol):
    """The batches of every epoch of a phase."""

    @property
    def num_samples(self) -> int | None:
        """The number of samples; None where the data set does not know it."""

    @property
    def num_batches(self) -> int | None:
        """The number of batches of an epoch; None where the data set does not know it."""

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
    """The source of batches behind any kind of data.

    Args:
        data: a `DataLoader`, which brings its own batch size; or something with `select` (`Batches`, `Samples`), a
            map-style data set or an `IterableDataset`, from which batches of `batch_size` are made.
        batch_size: samples of a global batch.
        rank: number of this process.
        num_processes: how many share each batch.
        shuffle: in which order the samples come, where the data do not bring their own.
        draws: of the random changes of `Batches`, the same in every process; None for none.

    Raises:
        ConfigError: something else, no samples, or data that cannot be shared by several processes.

    Example:
        >>> source = open_source([1.0, 2.0, 3.0], batch_size=2, shuffle=False)
        >>> [batch.data.tolist() for batch in source.epoch(seed=0, phase=0, epoch=0)]
        [[1.0, 2.0], [3.0]]
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
        return _Selected(check_dataset(data), batch_size, rank, num_processes, shuffle, draws)

    if isinstance(data.dataset, IterableDataset):
        if num_processes > 1:
            raise ConfigError("an iterable data set cannot be shared by several processes; give a map-style one")
        return _Streamed(data)

    return _Loaded(data, rank, num_processes)


def _is_map_style(data: Any) -> bool:
    has = hasattr(type(data), "__getitem__") and hasattr(type(data), "__len__")
    return has and not isinstance(data, Tensor | Mapping | str | bytes)


@dataclass(frozen=True)
class _Selected:
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
            raise _Failure.of(error, mine.tolist()).error() from error

        return LoadedBatch(batch, len(indices), weight)


class _Failure(NamedTuple):
    """An error of a user's data set, carried from a worker as words: exceptions lose their arguments on the way."""

    text: str
    kind: str

    @classmethod
    def of(cls, error: Exception, indices: Sequence[Any]) -> "_Failure":
        """The words of an error; an error of this package keeps its own."""
        if isinstance(error, SpikebridgeError):
            return cls(str(error), type(error).__name__)

        some = ", ".join(map(str, indices[:3])) + (" ..." if len(indices) > 3 else "")
        which = f" at sample{'s' if len(indices) > 1 else ''} {some}" if indices else ""
        worker = get_worker_info()
        where = "" if worker is None else f" (worker {worker.id})"
        what = " ".join(str(error).split()) or "no message"

        return cls(f"the data set raised {type(error).__name__}{which}{where}: {what}", "DataError")

    def error(self) -> SpikebridgeError:
        """The error again."""
        kinds: dict[str, type[SpikebridgeError]] = {"ConfigError": ConfigError, "ShapeError": ShapeError}
        return kinds.get(self.kind, DataError)(self.text)


class _Task(NamedTuple):
    """What a worker makes one batch of."""

    seed: int
    indices: Any


class _Reader(TorchDataset[Any]):
    """The data set that workers read: `reader[task]` is a batch, or a failure."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.dataset: Any = loader.dataset
        self.collate = loader.collate_fn
        # without a batch size, each item of the data set is a batch
        self.batched = loader.batch_sampler is not None

    def __getitem__(self, task: _Task) -> Any:
        # a worker draws for nothing else
        with nullcontext() if get_worker_info() is not None else preserve_rng_state():
            seed_rng(task.seed)
            return self._read(task.indices)

    def _read(self, indices: Any) -> Any:
        index: Any = None
        try:
            if not self.batched:
                index = indices
                return self.collate(self.dataset[indices])

            if hasattr(self.dataset, "__getitems__"):
                samples = self.dataset.__getitems__(indices)
            else:
                samples = []
                for index in indices:
                    samples.append(self.dataset[index])

            index = None
            return self.collate(samples)
        except Exception as error:  # noqa: BLE001 - whatever a user's data set raises ends as one line
            return _Failure.of(error, [index] if index is not None else list(indices) if self.batched else [])


class _Order(Sampler[_Task]):
    """The tasks of the running epoch; a loader with persistent workers reads them anew in each."""

    def __init__(self) -> None:
        self.tasks: Sequence[_Task] = ()

    def __iter__(self) -> Iterator[_Task]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)


class _WorkerStart:
    """Starts a worker: Ctrl-C is for the training alone, and the user's function sees the user's data set."""

    def __init__(self, function: Callable[[int], None] | None) -> None:
        self.function = function

    def __call__(self, worker: int) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        info: Any = get_worker_info()
        # the record is frozen
        object.__setattr__(info, "dataset", info.dataset.dataset)
        if self.function is not None:
            self.function(worker)


def _copy(loader: DataLoader[Any], dataset: Any, **changes: Any) -> DataLoader[Any]:
    """A loader with the worker settings of another one, and a generator of its own."""
    names = ("num_workers", "timeout", "multiprocessing_context", "persistent_workers", "prefetch_factor")
    settings = {name: getattr(loader, name) for name in names}

    return DataLoader(
        dataset,
        worker_init_fn=_WorkerStart(loader.worker_init_fn),
        generator=torch.Generator(),
        pin_memory=loader.pin_memory and torch.cuda.is_available(),
        **settings,
        **changes,
    )


def _next(batches: Iterator[Any]) -> Any:
    """The next batch; None at the end.

    Raises:
        DataError: the data set raised an error, or a worker died.
    """
    try:
        batch = next(batches, None)
    except SpikebridgeError:
        raise
    except Exception as error:
        # torch's own words carry the traceback of the worker
        first = str(error).split("\n", 1)[0]
        raise DataError(f"the data loader failed: {type(error).__name__}: {first}") from error

    if isinstance(batch, _Failure):
        raise batch.error()

    return batch


def _as_it_is(batch: Any) -> Any:
    return batch


class _Loaded:
    """The batches of a `DataLoader` over a map-style data set."""

    def __init__(self, loader: DataLoader[Any], rank: int, num_processes: int) -> None:
        if isinstance(loader.sampler, DistributedSampler):
            raise ConfigError("fit divides each batch among the processes itself; give a loader without this sampler")
        if loader.batch_sampler is None and num_processes > 1:
            raise ConfigError("a loader with batch_size=None cannot be shared by several processes; give it a size")

        self.loader = loader
        self.rank = rank
        self.num_processes = num_processes
        self.order = _Order()
        self.reading = _copy(loader, _Reader(loader), sampler=self.order, batch_size=None, collate_fn=_as_it_is)

        if self.num_batches == 0:
            raise ConfigError("the data loader gives no batch: its data set has no samples, or fewer than one batch")

    @property
    def num_samples(self) -> int | None:
        return _length(self.loader.dataset)

    @property
    def num_batches(self) -> int | None:
        return _length(self.loader)

    def epoch(self, seed: int, phase: int, epoch: int, start: int = 0) -> Iterator[LoadedBatch]:
        parts = [self._part(indices) for indices in self._indices(seed, phase, epoch)[start:]]
        self.order.tasks = [
            _Task(derive_seed(seed, phase, epoch, number, self.rank), part[0])
            for number, part in enumerate(parts, start)
        ]

        batches = iter(self.reading)
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
        number = derive_seed(seed, phase, epoch)
        samplers: list[Any] = [outer, getattr(outer, "sampler", None)]

        for sampler in samplers:
            if isinstance(getattr(sampler, "generator", None), torch.Generator):
                sampler.generator.manual_seed(number)
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)

        with preserve_rng_state():
            seed_rng(number)
            return list(outer)


class _Stream(IterableDataset[Any]):
    """The iterable data set that workers read; an error is its last sample."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[Any]:
        number = 0
        try:
            for number, sample in enumerate(self.dataset, start=1):  # noqa: B007 - counts for the message
                yield sample
        except Exception as error:  # noqa: BLE001 - whatever a user's data set raises ends as one line
            yield _Failure.of(error, [number])


class _Counted:
    """A batch and the number of its samples, which a batch alone does not tell."""

    def __init__(self, collate: Callable[[Any], Any], batched: bool) -> None:
        self.collate = collate
        self.batched = batched

    def __call__(self, samples: Any) -> Any:
        failure = next((s for s in (samples if self.batched else [samples]) if isinstance(s, _Failure)), None)
        if failure is not None:
            return failure

        try:
            return len(samples) if self.batched else 1, self.collate(samples)
        except Exception as error:  # noqa: BLE001 - whatever a user's function raises ends as one line
            return _Failure.of(error, [])


class _Streamed:
    """The batches of a `DataLoader` over an iterable data set, one pass an epoch."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader = loader
        collate = _Counted(loader.collate_fn, loader.batch_size is not None)
        size = {"batch_size": loader.batch_size} | ({"drop_last": True} if loader.drop_last else {})
        self.reading = _copy(loader, _Stream(loader.dataset), collate_fn=collate, **size)

    @property
    def num_samples(self) -> int | None:
        return _length(self.loader.dataset)

    @property
    def num_batches(self) -> int | None:
        return _length(self.loader)

    def epoch(self, seed: int, phase: int, epoch: int, start: int = 0) -> Iterator[LoadedBatch]:
        generator = self.reading.generator
        number = derive_seed(seed, phase, epoch)
        if generator is not None:
            generator.manual_seed(number)

        with preserve_rng_state():
            seed_rng(number)
            batches = iter(self.reading)
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
            raise DataError("the data set gave no sample in an epoch; an iterable one must begin anew at every iter()")


def _length(data: Any) -> int | None:
    try:
        return len(data)
    except (TypeError, NotImplementedError):
        return None


@dataclass(frozen=True)
class StackSamples:
    """Makes one batch of samples: the `collate_fn` for signals whose first axis is time.

    Torch's own function puts the batch first. Signals here are `(T, B, *N)`, so a sample `(T, *N)` needs axis 1.

    Args:
        batch: the axis of the batch for each part of a sample: by name for dicts, in order for tuples.

    Raises:
        ConfigError: samples with other parts.
        ShapeError: samples of different shapes, named by their part.

    Example:
        >>> samples = [(torch.zeros(5, 3), 0), (torch.ones(5, 3), 1)]
        >>> events, labels = StackSamples((1, 0))(samples)
        >>> (events.shape, labels)
        (torch.Size([5, 2, 3]), tensor([0, 1]))
    """

    batch: Mapping[str, int] | tuple[int, ...]

    def __call__(self, samples: Sequence[Any]) -> Any:
        """The batch: a dict or a tuple, as the samples are."""
        axes = self.batch
        if isinstance(axes, Mapping):
            if not isinstance(samples[0], Mapping) or samples[0].keys() != axes.keys():
                got = sorted(samples[0]) if isinstance(samples[0], Mapping) else type(samples[0]).__name__
                raise ConfigError(f"expected samples with {sorted(axes)}, but got {got}")
            return {name: _stack([one[name] for one in samples], axis, name) for name, axis in axes.items()}

        if not isinstance(samples[0], tuple | list) or len(samples[0]) != len(axes):
            got = f"{len(samples[0])} parts" if isinstance(samples[0], tuple | list) else type(samples[0]).__name__
            raise ConfigError(f"expected samples of {len(axes)} parts, but got {got}")

        return tuple(_stack([one[k] for one in samples], axis, f"part {k}") for k, axis in enumerate(axes))


def _stack(parts: list[Any], axis: int, name: str) -> Any:
    shapes = {tuple(part.shape) for part in parts if hasattr(part, "shape")}
    if len(shapes) > 1:
        raise ShapeError(
            f"{name} has samples of different shapes: {sorted(shapes)}; pad or crop them, or load one at a time"
        )

    return default_collate(parts).movedim(0, axis)
