"""The tasks of the modulation recipe: one data set, its features in another order for each task.

N-MNIST for the modulation recipe: folders of `.bin` files as recordings of ten steps, kept as bytes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from spikebridge.data.catalog import find
from spikebridge.data.events.nmnist import SENSOR, read_nmnist
from spikebridge.data.images.digits import load_digits
from spikebridge.data.images.labelled import ImageSplits, LabelledImages, fixed_order
from spikebridge.data.images.mnist import load_mnist
from spikebridge.data.simulation.saccades import MNIST_SACCADES, Saccades, hybrid_camera
from spikebridge.data.tasks.permuted import GroupedPermutations
from spikebridge.data.tasks.tasks import TaskSplit
from spikebridge.errors import DataError
from spikebridge.training.continual.task import Task

DatasetName: TypeAlias = Literal["digits", "mnist", "events", "nmnist"]
NUM_VALIDATION = {"digits": 280, "mnist": 1000, "events": 280, "nmnist": 5000}


class LabelledInputs(NamedTuple):
    """Recordings in no task's order: `(N, d)` with batch axis 0, or `(T, N, d)` with batch axis 1, and labels."""

    inputs: Tensor
    labels: Tensor
    batch_axis: int

    @property
    def num_steps(self) -> int:
        """Steps T of a recording; 1 for a picture."""
        return len(self.inputs) if self.batch_axis else 1

    @property
    def means(self) -> Tensor:
        """Means over time `(N, d)`."""
        return self.inputs.sum(0, dtype=torch.float32) / self.num_steps if self.batch_axis else self.inputs

    def first(self, number: int | None) -> "LabelledInputs":
        """Only so many of them."""
        if number is None:
            return self
        return LabelledInputs(self.inputs.narrow(self.batch_axis, 0, number), self.labels[:number], self.batch_axis)

    def permuted(self, order: Tensor) -> Tensor:
        """All recordings as a task sees them, `(T, N, d)` with T = 1 for pictures."""
        shown = self.inputs.index_select(-1, order).float()
        return shown if self.batch_axis else shown.unsqueeze(0)

    def permuted_batches(self, order: Tensor, size: int) -> Iterator[Tensor]:
        """The same in parts of so many recordings: events as floats would not fit in memory at once."""
        for start in range(0, len(self.labels), size):
            some = self.inputs.narrow(self.batch_axis, start, min(size, len(self.labels) - start))
            yield LabelledInputs(some, self.labels, self.batch_axis).permuted(order)


class TaskSequence(NamedTuple):
    """Tasks to learn one after the other, those that came before, and the recordings that all of them show.

    Gates, backbone and opening are made of `train` alone.
    """

    orders: GroupedPermutations
    split: TaskSplit
    train: LabelledInputs
    test: LabelledInputs

    @property
    def learnt(self) -> list[int]:
        """The numbers of the tasks to learn, in their order."""
        return [int(task) for task in self.split.learnt]

    @property
    def group(self) -> list[int]:
        """The group of each task to learn."""
        return [int(self.orders.group[task]) for task in self.learnt]

    @property
    def seen(self) -> list[bool]:
        """Which of the tasks to learn the backbone has seen."""
        return [task in self.split.seen.tolist() for task in self.learnt]

    def tasks(self) -> list[Task]:
        """What the loop learns and scores."""
        return [
            Task(
                self.orders.samples(task, self.train.inputs, self.train.labels, self.train.batch_axis),
                self.orders.samples(task, self.test.inputs, self.test.labels, self.test.batch_axis),
            )
            for task in self.learnt
        ]


def load_inputs(dataset: DatasetName, split: str, data: Path | None = None) -> tuple[LabelledInputs, LabelledInputs]:
    """Recordings to train on, and those of the split that is scored.

    Args:
        dataset: `digits` is embedded; `mnist` and `nmnist` are read; `events` are the digits seen by a moving camera.
        split: "test" trains on all training recordings, "validation" keeps some of them back to score on.
        data: the data folder.
    """
    num_validation = NUM_VALIDATION[dataset] if split == "validation" else 0
    if dataset == "nmnist":
        return recordings(data, split, num_validation)
    splits = load_mnist(data, num_validation) if dataset == "mnist" else load_digits(num_validation)
    scored = splits.validation if split == "validation" else splits.test
    if dataset == "events":
        return _events(splits, scored)
    return _flat(splits.train), _flat(scored)


def _flat(samples: LabelledImages) -> LabelledInputs:
    return LabelledInputs(samples.images.flatten(1), samples.labels, 0)


def _events(splits: ImageSplits, scored: LabelledImages) -> tuple[LabelledInputs, LabelledInputs]:
    saccades = Saccades(MNIST_SACCADES.sensor, MNIST_SACCADES.side, num_steps=10, frame_period=10)
    seen = []
    for number, (images, labels) in enumerate((splits.train, scored)):
        draw = torch.Generator().manual_seed(number)
        events = hybrid_camera(images, labels, draw, saccades).events
        seen.append(LabelledInputs(events.flatten(2), labels, 1))
    return seen[0], seen[1]


def sequence(
    train: LabelledInputs,
    test: LabelledInputs,
    seed: int,
    num_tasks: int,
    num_prior: int,
    group_size: int = 4,
    seen_positions: tuple[int, ...] = (1, 2),
) -> TaskSequence:
    """Groups of tasks for one seed, the same for every method.

    Args:
        train, test: recordings.
        seed: of the orders.
        num_tasks: to learn; whole groups.
        num_prior: tasks before them, which the backbone learns from.
        group_size: tasks of a group.
        seen_positions: places in a group whose tasks the backbone sees too.
    """
    generator = torch.Generator().manual_seed(seed)
    orders = GroupedPermutations(train.inputs.shape[-1], num_prior + num_tasks, group_size, generator=generator)
    return TaskSequence(orders, orders.split(num_tasks // group_size, seen_positions), train, test)


NUM_STEPS = 10
DURATION = 300_000  # three saccades [us]


def recordings(data: Path | None, split: str, num_validation: int) -> tuple[LabelledInputs, LabelledInputs]:
    """Recordings to train on, and those of the split that is scored.

    Args:
        data: the data folder.
        split: "test" reads the test folder, "validation" keeps some training recordings back.
        num_validation: how many.

    Raises:
        DataError: a folder is missing or holds no recording.
    """
    train_folder, test_folder = find("nmnist", data)
    train = _read(train_folder)
    if split == "test":
        return train, _read(test_folder)
    order = fixed_order(len(train.labels))
    cut = len(order) - num_validation
    return _some(train, order[:cut]), _some(train, order[cut:])


def _some(recordings: LabelledInputs, index: torch.Tensor) -> LabelledInputs:
    return LabelledInputs(recordings.inputs[:, index], recordings.labels[index], 1)


def _read(folder: Path) -> LabelledInputs:
    files = [(file, label) for label in range(10) for file in sorted((folder / str(label)).glob("*.bin"))]
    if not files:
        raise DataError(f"{folder}: expected N-MNIST recordings in folders 0 to 9, but there are none.")
    steps = np.zeros((NUM_STEPS, len(files), 2, SENSOR, SENSOR), np.uint8)
    for number, (file, _) in enumerate(files):
        events = read_nmnist(file, repair=True).events
        at = np.minimum(events["t"] * NUM_STEPS // DURATION, NUM_STEPS - 1)
        steps[at, number, np.where(events["p"], 0, 1), events["y"], events["x"]] = 1
    labels = torch.tensor([label for _, label in files])
    return LabelledInputs(torch.from_numpy(steps).flatten(2), labels, 1)
