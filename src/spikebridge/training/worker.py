"""The parts of a data loader that run in its workers: data sets that report errors as words, and their start."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, IterableDataset, Sampler, get_worker_info
from torch.utils.data import Dataset as TorchDataset

from spikebridge.errors import ConfigError, DataError, ShapeError, SpikebridgeError
from spikebridge.training.rng import preserve_rng_state, seed_rng


class Failure(NamedTuple):
    """An error of a user's data set, carried from a worker as words: exceptions lose their arguments on the way."""

    text: str
    kind: str

    @classmethod
    def of(cls, error: Exception, indices: Sequence[Any]) -> "Failure":
        """The words of an error at some samples; an error of this package keeps its own."""
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


class BatchTask(NamedTuple):
    """The seed and the indices from which a worker makes one batch."""

    seed: int
    indices: Any


class TaskOrder(Sampler[BatchTask]):
    """The tasks of the running epoch; a loader with persistent workers reads them again in each epoch."""

    def __init__(self) -> None:
        self.tasks: Sequence[BatchTask] = ()

    def __iter__(self) -> Iterator[BatchTask]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)


class BatchReader(TorchDataset[Any]):
    """The map-style data set that workers read: `reader[task]` is a batch, or a failure."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.dataset: Any = loader.dataset
        self.collate = loader.collate_fn
        # without a batch size, each item of the data set is a batch
        self.is_batched = loader.batch_sampler is not None

    def __getitem__(self, task: BatchTask) -> Any:
        # a worker draws for nothing else
        with nullcontext() if get_worker_info() is not None else preserve_rng_state():
            seed_rng(task.seed)
            return self._read(task.indices)

    def _read(self, indices: Any) -> Any:
        index: Any = None
        try:
            if not self.is_batched:
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
        except Exception as error:  # noqa: BLE001 - any error of a user's data set ends as one line
            return Failure.of(error, [index] if index is not None else list(indices) if self.is_batched else [])


class SampleStream(IterableDataset[Any]):
    """The iterable data set that workers read; an error is its last sample."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[Any]:
        number = 0
        try:
            for number, sample in enumerate(self.dataset, start=1):  # noqa: B007 - counts for the message
                yield sample
        except Exception as error:  # noqa: BLE001 - any error of a user's data set ends as one line
            yield Failure.of(error, [number])


class CountingCollate:
    """The user's `collate_fn`, with the number of samples, which a batch alone does not tell: `(number, batch)`."""

    def __init__(self, collate: Callable[[Any], Any], is_batched: bool) -> None:
        self.collate = collate
        self.is_batched = is_batched

    def __call__(self, samples: Any) -> Any:
        failure = next((s for s in (samples if self.is_batched else [samples]) if isinstance(s, Failure)), None)
        if failure is not None:
            return failure

        try:
            return len(samples) if self.is_batched else 1, self.collate(samples)
        except Exception as error:  # noqa: BLE001 - any error of a user's function ends as one line
            return Failure.of(error, [])


class WorkerStart:
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


def keep_batch(batch: Any) -> Any:
    """The `collate_fn` of a loader whose data set gives batches; a lambda could not be sent to a worker."""
    return batch
