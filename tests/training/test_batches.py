"""Samples by number, their order, and how processes share them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spikebridge.errors import ConfigError, ShapeError
from spikebridge.training.batches import Batches, TimeSlices, check_dataset, epoch_order, shard
from spikebridge.training.loader import open_source


def test_signals_and_labels_are_taken_along_their_own_axes() -> None:
    frames = torch.arange(6).reshape(2, 3)
    batch = Batches({"frames": frames, "label": torch.tensor([7, 8, 9])}, batch={"frames": 1, "label": 0}).select(
        torch.tensor([2, 0])
    )

    assert batch["frames"].tolist() == [[2, 0], [5, 3]]
    assert batch["label"].tolist() == [9, 7]


def test_tensors_and_axes_must_have_the_same_names() -> None:
    with pytest.raises(ConfigError, match="'label' is only a tensor"):
        Batches({"label": torch.zeros(2)}, batch={})
    with pytest.raises(ConfigError, match=r"'lable' is only an axis.*did you mean 'label'"):
        Batches({"label": torch.zeros(2)}, batch={"label": 0, "lable": 0})


@pytest.mark.parametrize(
    ("batch", "message"),
    [({"x": 2, "y": 0}, "'x' has no axis 2: its shape is .2, 3."), ({"x": 1, "y": 0}, "same number of samples")],
)
def test_axes_that_do_not_fit_are_named(batch: dict[str, int], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        Batches({"x": torch.zeros(2, 3), "y": torch.zeros(2)}, batch=batch)


def test_no_tensor_and_no_sample_are_refused() -> None:
    with pytest.raises(ShapeError, match="no tensor"):
        Batches({}, batch={})

    with pytest.raises(ConfigError, match="no sample"):
        check_dataset(Batches({"x": torch.zeros(0)}, batch={"x": 0}))

    with pytest.raises(ConfigError, match="got NoneType"):
        check_dataset(None)


def test_the_order_depends_on_seed_phase_and_epoch_and_on_nothing_else() -> None:
    orders = [epoch_order(50, *key) for key in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]]
    torch.manual_seed(12)

    assert torch.equal(orders[0], epoch_order(50, 0, 0, 0))
    assert len({tuple(order.tolist()) for order in orders}) == 4
    assert all(sorted(order.tolist()) == list(range(50)) for order in orders)


@settings(deadline=None)
@given(num_samples=st.integers(1, 20), num_processes=st.integers(1, 6))
def test_shares_make_the_batch_and_their_weighted_means_average_to_its_mean(
    num_samples: int, num_processes: int
) -> None:
    values = torch.arange(num_samples, dtype=torch.float64) ** 2
    shares = [shard(torch.arange(num_samples), rank, num_processes) for rank in range(num_processes)]
    taken = torch.cat([mine for mine, weight in shares if weight > 0])

    assert taken.tolist() == list(range(num_samples))

    average = sum(weight * values[mine].mean() for mine, weight in shares) / num_processes
    torch.testing.assert_close(average, values.mean())


def test_slices_of_several_clocks_are_cut_at_the_same_moments() -> None:
    batch = {"events": torch.arange(7).reshape(7, 1), "frames": torch.arange(3).reshape(3, 1), "label": torch.zeros(1)}
    slices = list(TimeSlices({"events": 4, "frames": 2})(batch))

    assert [piece["events"].flatten().tolist() for piece in slices] == [[0, 1, 2, 3], [4, 5, 6]]
    assert [piece["frames"].flatten().tolist() for piece in slices] == [[0, 1], [2]]
    assert all(piece["label"] is batch["label"] for piece in slices)


def test_slices_that_do_not_fit_are_named() -> None:
    batch = {"events": torch.zeros(8, 1), "frames": torch.zeros(2, 1)}
    with pytest.raises(ShapeError, match=r"\{'events': 4, 'frames': 2\}"):
        list(TimeSlices({"events": 2, "frames": 1})(batch))

    with pytest.raises(ConfigError, match="no signal 'event' to slice: did you mean 'events'"):
        list(TimeSlices({"event": 2})(batch))

    with pytest.raises(ConfigError, match="at least 1 sample"):
        TimeSlices({"events": 0})


def test_random_changes_are_drawn_for_the_whole_batch_whatever_the_number_of_processes() -> None:
    def noisy(batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        return {**batch, "x": batch["x"] + torch.rand(batch["x"].shape, generator=generator)}

    data = Batches({"x": torch.arange(14.0).reshape(2, 7), "y": torch.arange(7)}, batch={"x": 1, "y": 0}, augment=noisy)
    parts: dict[int, list[dict[str, Tensor]]] = {}

    for num_processes in (1, 2, 3):
        sources = [
            open_source(data, 3, rank, num_processes, draws=torch.Generator().manual_seed(0))
            for rank in range(num_processes)
        ]

        steps = zip(*(source.epoch(0, 0, 0) for source in sources), strict=True)
        parts[num_processes] = [
            {name: torch.cat([b.data[name] for b in step if b.weight], data.batch[name]) for name in ("x", "y")}
            for step in steps
        ]

    for step, *others in zip(parts[1], parts[2], parts[3], strict=True):
        assert (step["x"] != step["x"].round()).all()
        assert all(torch.equal(step[name], other[name]) for other in others for name in ("x", "y"))


def test_batches_that_are_only_measured_are_not_changed() -> None:
    data = Batches({"x": torch.zeros(2)}, batch={"x": 0}, augment=lambda batch, generator: {"x": batch["x"] + 1})
    assert next(open_source(data, 2, shuffle=False).epoch(0, 0, 0)).data["x"].tolist() == [0, 0]
