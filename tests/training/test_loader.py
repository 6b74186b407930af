"""Batches from data loaders: the same for any number of workers, from any place in an epoch, and errors in one line."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
)
from torch.utils.data.distributed import DistributedSampler

from spikebridge.errors import ConfigError, DataError, ShapeError
from spikebridge.training import Batches, Run, StackSamples, evaluate, fit
from spikebridge.training.loader import open_source

Make = Callable[..., Any]


class Noisy(Dataset[Any]):
    """Sample `i` is `i` plus a random draw, as augmentation is."""

    def __init__(self, num_samples: int = 7, broken: int = -1) -> None:
        self.num_samples = num_samples
        self.broken = broken

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> Tensor:
        if index == self.broken:
            raise KeyError("no such\nfile")
        return torch.tensor([float(index)]) + torch.rand(1) / 2


class Stream(IterableDataset[Any]):
    """The same as a stream that nobody can jump in; each worker gives its share."""

    def __init__(self, num_samples: int = 7, broken: int = -1) -> None:
        self.num_samples = num_samples
        self.broken = broken

    def __iter__(self) -> Iterator[Tensor]:
        worker = get_worker_info()
        start, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for index in range(start, self.num_samples, step):
            if index == self.broken:
                raise ValueError("the recording ends here")
            yield torch.tensor([float(index)]) + torch.rand(1) / 2


def epoch(data: Any, *, epoch: int = 0, start: int = 0, seed: int = 0, **options: Any) -> list[list[float]]:
    source = open_source(data, 3, **options)
    return [batch.data.flatten().tolist() for batch in source.epoch(seed, 0, epoch, start)]


def test_workers_give_the_batches_of_one_process() -> None:
    alone = epoch(DataLoader(Noisy(), 3, shuffle=True))
    torch.rand(5)  # draws elsewhere do not matter

    assert epoch(DataLoader(Noisy(), 3, shuffle=True, num_workers=2)) == alone
    assert sorted(int(value) for batch in alone for value in batch) == list(range(7))
    assert [len(batch) for batch in alone] == [3, 3, 1]


@pytest.mark.parametrize(
    "make",
    [
        lambda: DataLoader(Noisy(), 3, shuffle=True),
        lambda: DataLoader(Noisy(), 3, shuffle=True, num_workers=1),
        lambda: DataLoader(Noisy(), 3, sampler=WeightedRandomSampler([1.0] * 7, 7)),
        lambda: DataLoader(Noisy(), 3, sampler=RandomSampler(Noisy(), generator=torch.Generator())),
        lambda: DataLoader(Noisy(), batch_sampler=BatchSampler(RandomSampler(Noisy()), 2, drop_last=True)),
        lambda: DataLoader(Stream(), 2),
        lambda: DataLoader(Stream(), 2, num_workers=1),
        lambda: Noisy(),
        lambda: Stream(),
    ],
)
def test_an_epoch_is_a_function_of_seed_and_number_and_begins_anywhere(make: Callable[[], Any]) -> None:
    data = make()
    whole = epoch(data, epoch=1)
    before = torch.get_rng_state()

    assert epoch(data, epoch=0) != whole
    assert epoch(data, epoch=1, seed=1) != whole
    for start in range(len(whole) + 1):
        torch.rand(start)
        assert epoch(data, epoch=1, start=start) == whole[start:]

    torch.set_rng_state(before)
    assert epoch(make(), epoch=1) == whole
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loader_keeps_its_order_size_and_last_batch() -> None:
    numbers = TensorDataset(torch.arange(7.0))
    flat = DataLoader(numbers, 2, drop_last=True, collate_fn=lambda rows: torch.stack([x for (x,) in rows]))

    assert epoch(flat) == [[0, 1], [2, 3], [4, 5]]
    assert open_source(flat, 99).num_batches == 3
    assert open_source(DataLoader(Stream(), 2), 99).num_batches is None


def test_processes_share_each_batch_and_load_their_own_part() -> None:
    loader = DataLoader(Noisy(5), 3)
    parts = [list(open_source(loader, 3, rank, 2).epoch(0, 0, 0)) for rank in (0, 1)]
    indices = [[[int(value) for value in batch.data] for batch in mine] for mine in parts]

    assert indices == [[[0, 1], [3]], [[2], [4]]]
    assert [[round(batch.weight, 3) for batch in mine] for mine in parts] == [[1.333, 1.0], [0.667, 1.0]]

    for data, message in [
        (Stream(), "an iterable data set cannot be shared"),
        (DataLoader(Noisy(), 3, sampler=DistributedSampler(Noisy(), 2, 0)), "fit divides each batch"),
        (DataLoader(Noisy(), batch_size=None), "batch_size=None cannot be shared"),
    ]:
        with pytest.raises(ConfigError, match=message):
            open_source(data, 3, 0, 2)


def test_batches_made_by_the_data_set_itself_are_taken_as_they_are() -> None:
    whole = [torch.ones(2), torch.ones(3)]
    assert epoch(DataLoader(whole, batch_size=None)) == [[1, 1], [1, 1, 1]]  # type: ignore[arg-type]


def test_persistent_workers_serve_every_epoch_and_start_functions_see_the_data_set() -> None:
    def start(worker: int) -> None:
        info: Any = get_worker_info()
        info.dataset.num_samples += 100  # as PyTorch's manual divides a stream

    loader = DataLoader(Stream(1), 1, num_workers=1, persistent_workers=True, worker_init_fn=start)
    source = open_source(loader, 1)

    assert [len(list(source.epoch(0, 0, number))) for number in (0, 1)] == [101, 101]


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Noisy(broken=4), r"^the data set raised KeyError at sample 4( \(worker 0\))?: 'no such\\nfile'$"),
        (Stream(broken=4), r"^the data set raised ValueError at sample 4( \(worker 0\))?: the recording ends here$"),
        ([torch.zeros(1), torch.zeros(2)], r"^the data set raised RuntimeError at samples 0, 1.*equal size"),
    ],
)
def test_an_error_of_the_data_set_is_one_line(data: Any, message: str, num_workers: int) -> None:
    with pytest.raises(DataError, match=message) as error:
        epoch(DataLoader(data, 3, num_workers=num_workers))
    assert "\n" not in str(error.value)


def test_an_error_of_select_is_one_line() -> None:
    class Broken(Batches):
        def select(self, indices: Tensor) -> Any:
            raise OSError("the disk is gone")

    with pytest.raises(DataError, match=r"^the data set raised OSError at sample 0: the disk is gone$"):
        epoch(Broken({"x": torch.zeros(1)}, {"x": 0}))


def noisy_batches(prefetch: bool) -> Batches:
    def noisy(batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        return {"x": batch["x"] + torch.rand(batch["x"].shape, generator=generator)}

    return Batches({"x": torch.arange(7.0)}, {"x": 0}, augment=noisy, prefetch=prefetch)


def test_prefetched_batches_are_the_same_and_their_generator_is_not_ahead() -> None:
    given = {}
    for prefetch in (False, True):
        draws = torch.Generator().manual_seed(0)
        source = open_source(noisy_batches(prefetch), 3, draws=draws)
        given[prefetch] = [(batch.data["x"], draws.get_state()) for batch in source.epoch(0, 0, 0)]

    for plain, prefetched in zip(given[False], given[True], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(plain, prefetched, strict=True))

    draws.set_state(given[True][0][1])
    rest = [batch.data["x"] for batch in source.epoch(0, 0, 0, start=1)]

    assert all(torch.equal(x, whole) for x, (whole, _) in zip(rest, given[True][1:], strict=True))


def test_an_epoch_that_is_left_ends_its_thread() -> None:
    def num_threads() -> int:
        return sum(thread.name.startswith("prefetch") for thread in threading.enumerate())

    batches = open_source(noisy_batches(True), 3, draws=torch.Generator()).epoch(0, 0, 0)
    next(batches)

    assert num_threads() == 1

    del batches
    assert num_threads() == 0


@pytest.mark.parametrize("prefetch", [False, True])
def test_an_error_of_a_random_change_is_one_line(prefetch: bool) -> None:
    def broken(batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        raise ValueError("no such noise")

    data = Batches({"x": torch.zeros(1)}, {"x": 0}, augment=broken, prefetch=prefetch)
    with pytest.raises(DataError, match=r"^the data set raised ValueError at sample 0: no such noise$"):
        next(open_source(data, 1, draws=torch.Generator()).epoch(0, 0, 0))


class Dies(Noisy):
    def __getitem__(self, index: int) -> Tensor:
        if get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def test_a_worker_that_dies_is_one_line() -> None:
    with pytest.raises(DataError, match=r"the data loader failed: RuntimeError: DataLoader worker .* exited") as error:
        epoch(DataLoader(Dies(), 3, num_workers=1))
    assert "\n" not in str(error.value)


def test_data_without_a_sample_is_refused() -> None:
    with pytest.raises(ConfigError, match="no samples"):
        epoch([])

    with pytest.raises(ConfigError, match="fewer than one batch"):
        epoch(DataLoader(Noisy(2), 3, drop_last=True))

    with pytest.raises(DataError, match="gave no sample in an epoch"):
        epoch(Stream(0))

    with pytest.raises(ConfigError, match="got dict"):
        epoch({"x": 1})

    with pytest.raises(ConfigError, match="got Tensor; wrap tensors in Batches"):
        epoch(torch.zeros(3))


def mean_error(module: nn.Module, x: Tensor) -> Any:
    error = (module(x) - 1).square().mean()
    return error, {"root": error.sqrt()}


@pytest.mark.untyped
@pytest.mark.parametrize(
    "make",
    [
        *(partial(DataLoader, Noisy(), 2, shuffle=True, num_workers=n) for n in (0, 1)),
        *(partial(DataLoader, Stream(), 2, num_workers=n) for n in (0, 1)),
        partial(noisy_batches, prefetch=True),
    ],
    ids=["map-style", "map-style, a worker", "iterable", "iterable, a worker", "prefetched"],
)
def test_a_training_stopped_in_an_epoch_resumes_with_the_same_bits(
    phase: Make, settings: Make, tmp_path: Path, make: Callable[[], Any]
) -> None:
    def train(run: Run, kill_at: int = 0) -> tuple[Any, float]:
        torch.manual_seed(0)
        module = nn.Sequential(nn.Dropout(0.5), nn.Linear(1, 1))
        calls = []

        def objective(module: nn.Module, x: Any) -> Any:
            calls.append(1)
            if len(calls) == kill_at:
                # as Ctrl-C on a terminal, which reaches the workers, too
                for worker in torch.multiprocessing.active_children():
                    os.kill(worker.pid or 0, signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)

            return mean_error(module, x["x"][:, None] if isinstance(x, dict) else x)

        steps = phase(epochs=2, objective=objective, optimizer=partial(torch.optim.Adam, lr=0.1))
        return fit(module, [steps], make(), settings=settings(batch_size=2), run=run), module[1].weight.item()

    whole = train(Run.create(tmp_path / "whole", "noisy", settings()))
    run = Run.create(tmp_path / "stopped", "noisy", settings())
    with pytest.raises(KeyboardInterrupt, match="stopped at step 6"):
        train(run, kill_at=6)

    assert train(run) == whole


def test_a_training_resumes_only_with_batches_of_the_same_size(
    line: nn.Linear, phase: Make, settings: Make, tmp_path: Path
) -> None:
    run = Run.create(tmp_path, "noisy", settings())
    steps = phase(objective=mean_error, optimizer=partial(torch.optim.SGD, lr=0.01))
    fit(line, [steps], DataLoader(Noisy(), 2), settings=settings(), run=run)
    fit(line, [steps], DataLoader(Noisy(), 2, num_workers=1), settings=settings(), run=run)

    with pytest.raises(ConfigError, match=r"num_batches was \[4\] and is \[3\] now"):
        fit(line, [steps], DataLoader(Noisy(), 3), settings=settings(), run=run)


def test_a_phase_may_bring_a_loader_of_its_own(line: nn.Linear, phase: Make, settings: Make) -> None:
    ones = DataLoader([torch.ones(1)] * 4, 2)  # type: ignore[arg-type]
    rows = fit(line, [phase(objective=mean_error, data=ones)], settings=settings())
    assert [row["step"] for row in rows] == [2]


def test_evaluation_averages_over_samples_and_leaves_the_network_alone(line: nn.Linear) -> None:
    # errors of zero weight: 1 for every sample; of weight 1 on x = 0, 1, 2: 1, 0, 1
    nn.init.ones_(line.weight)
    rows = [torch.tensor([x]) for x in (0.0, 1.0, 2.0)]
    state = torch.get_rng_state()

    for data in (rows, DataLoader(rows, 2), Batches({"x": torch.stack(rows)}, {"x": 0})):  # type: ignore[arg-type]
        objective = (lambda module, batch: mean_error(module, batch["x"])) if isinstance(data, Batches) else mean_error
        measured = evaluate(line, objective, data, batch_size=2)
        assert measured["loss"] == pytest.approx(2 / 3)
        assert measured["root"] == pytest.approx((2 * 0.5**0.5 + 1) / 3)

    assert line.training
    assert line.weight.grad is None
    assert torch.equal(torch.get_rng_state(), state)


def test_samples_are_stacked_along_the_axis_of_the_batch() -> None:
    samples = [{"events": torch.full((4, 2), k), "label": k} for k in (1.0, 2.0, 3.0)]
    batch = StackSamples({"events": 1, "label": 0})(samples)

    assert batch["events"].shape == (4, 3, 2)
    assert batch["events"][0, :, 0].tolist() == batch["label"].tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(ConfigError, match=r"expected samples with \['events'\], but got \['events', 'label'\]"):
        StackSamples({"events": 1})(samples)

    with pytest.raises(ConfigError, match="expected samples of 2 parts, but got 3 parts"):
        StackSamples((1, 0))([(1, 2, 3)])

    with pytest.raises(ShapeError, match=r"part 0 has samples of different shapes: \[\(4, 2\), \(5, 2\)\]"):
        StackSamples((1, 0))([(torch.zeros(4, 2), 0), (torch.zeros(5, 2), 1)])


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda x: (x.sum(), {}, 0, 0), "the objective must give one number, .* or that and a dict of metrics"),
        (lambda x: x, r"but gave \(1, 1\)"),
        (lambda x: (x.sum(), {"loss": 0.0}), "has a metric called 'loss'"),
    ],
)
def test_an_objective_of_an_evaluation_gives_a_number_and_metrics(result: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate(nn.Identity(), lambda module, x: result(x), [torch.ones(1)])
