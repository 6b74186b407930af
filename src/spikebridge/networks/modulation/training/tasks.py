"""The task sequence: one data set whose features are permuted anew for each task.

Data sets are the embedded digits, MNIST, simulated event recordings of the digits, and N-MNIST (folders of `.bin`
files). Recordings in time have ten steps and stay bytes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from spikebridge.data.catalog import find_files, refuse_data_folder
from spikebridge.data.events.formats.nmnist import SENSOR, read_nmnist
from spikebridge.data.images.digits import load_digits
from spikebridge.data.images.labelled import LabelledImages, fixed_permutation
from spikebridge.data.images.mnist import load_mnist
from spikebridge.data.simulation.saccades import MNIST_SACCADES, Saccades, hybrid_camera
from spikebridge.data.tasks.permuted import GroupedPermutations
from spikebridge.data.tasks.tasks import TaskSplit
from spikebridge.errors import DataError
from spikebridge.training.continual.task import Task

DatasetName: TypeAlias = Literal["digits", "mnist", "events", "nmnist"]
NUM_FEATURES = {"digits": 64, "mnist": 784, "events": 2312, "nmnist": 2312}
_NUM_VALIDATION = {"digits": 280, "mnist": 1000, "events": 280, "nmnist": 5000}
_NUM_STEPS = 10
_DURATION = 300_000  # three saccades of N-MNIST [us]


class LabelledInputs(NamedTuple):
    """Images `(N, d)` with batch axis 0, or recordings `(T, N, d)` with batch axis 1, and labels; not permuted."""

    inputs: Tensor
    labels: Tensor
    batch_axis: int

    @property
    def num_steps(self) -> int:
        """Steps T of a recording; 1 for an image."""
        return len(self.inputs) if self.batch_axis else 1

    @property
    def time_means(self) -> Float[Tensor, "N d"]:
        """Means over time."""
        return self.inputs.sum(0, dtype=torch.float32) / self.num_steps if self.batch_axis else self.inputs

    def first(self, number: int | None) -> "LabelledInputs":
        """The first samples; None is all."""
        if number is None:
            return self
        return LabelledInputs(self.inputs.narrow(self.batch_axis, 0, number), self.labels[:number], self.batch_axis)

    def permuted(self, permutation: Int64[Tensor, " d"]) -> Float[Tensor, "T N d"]:
        """All samples of a task; T = 1 for images."""
        inputs = self.inputs.index_select(-1, permutation).float()
        return inputs if self.batch_axis else inputs.unsqueeze(0)

    def permuted_batches(self, permutation: Int64[Tensor, " d"], batch_size: int = 2000) -> Iterator[Tensor]:
        """The same in batches: all events as floats would not fit in memory."""
        for start in range(0, len(self.labels), batch_size):
            batch = self.inputs.narrow(self.batch_axis, start, min(batch_size, len(self.labels) - start))
            yield LabelledInputs(batch, self.labels, self.batch_axis).permuted(permutation)


class TaskSequence(NamedTuple):
    """The tasks of one seed, and the samples that all of them share.

    Gates and backbone are made from `train` only.
    """

    all_tasks: GroupedPermutations
    split: TaskSplit
    train: LabelledInputs
    test: LabelledInputs

    @property
    def numbers(self) -> list[int]:
        """The numbers, among all tasks, of the K tasks that are learned one after the other."""
        return [int(task) for task in self.split.learnt]

    @property
    def permutations(self) -> Int64[Tensor, "K d"]:
        """The permutations of these tasks."""
        return self.all_tasks.permutations[self.split.learnt]

    @property
    def overlaps(self) -> Float[Tensor, "K K"]:
        """The share of features that two tasks have in the same place."""
        return self.all_tasks.similarity[self.numbers][:, self.numbers]

    @property
    def group(self) -> list[int]:
        """The group of each task."""
        return [int(self.all_tasks.group[task]) for task in self.numbers]

    @property
    def seen(self) -> list[bool]:
        """Which tasks the backbone was trained on."""
        return [task in self.split.seen.tolist() for task in self.numbers]

    def tasks(self) -> list[Task]:
        """The tasks for the training loop."""
        samples = self.all_tasks.samples
        return [Task(samples(task, *self.train), samples(task, *self.test)) for task in self.numbers]


def load_inputs(dataset: DatasetName, split: str, data: Path | None = None) -> tuple[LabelledInputs, LabelledInputs]:
    """Training samples, and those of the split that is scored.

    Args:
        dataset: `digits` is embedded; `mnist` and `nmnist` are read; `events` are the digits before a moving camera.
        split: "test" trains on all training samples, "validation" holds some of them out and scores those.
        data: the data folder.

    Raises:
        DataError: the data set is not there.
    """
    num_validation = _NUM_VALIDATION[dataset] if split == "validation" else 0
    if dataset == "nmnist":
        return load_nmnist(data, split, num_validation)

    if dataset != "mnist":
        refuse_data_folder(data, "the digits of scikit-learn")

    splits = load_mnist(data, num_validation) if dataset == "mnist" else load_digits(num_validation)
    pair = splits.train, splits.validation if split == "validation" else splits.test
    if dataset == "events":
        return _as_events(pair[0], seed=0), _as_events(pair[1], seed=1)

    train, scored = (LabelledInputs(samples.images.flatten(1), samples.labels, 0) for samples in pair)
    return train, scored


def _as_events(samples: LabelledImages, seed: int) -> LabelledInputs:
    saccades = Saccades(MNIST_SACCADES.sensor, MNIST_SACCADES.side, num_steps=_NUM_STEPS, frame_period=_NUM_STEPS)
    draw = torch.Generator().manual_seed(seed)
    events = hybrid_camera(samples.images, samples.labels, draw, saccades).events
    return LabelledInputs(events.flatten(2), samples.labels, 1)


def load_nmnist(data: Path | None, split: str, num_validation: int) -> tuple[LabelledInputs, LabelledInputs]:
    """N-MNIST: training samples, and those of the split that is scored.

    Args:
        data: the data folder.
        split: "test" reads the test folder, "validation" holds training recordings out.
        num_validation: their number.

    Raises:
        DataError: a folder is missing or holds no recording.
    """
    train_folder, test_folder = find_files("nmnist", data)
    train = _read_recordings(train_folder)
    if split == "test":
        return train, _read_recordings(test_folder)

    order = fixed_permutation(len(train.labels))
    parts = order[: len(order) - num_validation], order[len(order) - num_validation :]
    kept, held_out = (LabelledInputs(train.inputs[:, part], train.labels[part], 1) for part in parts)

    return kept, held_out


def _read_recordings(folder: Path) -> LabelledInputs:
    files = [(file, label) for label in range(10) for file in sorted((folder / str(label)).glob("*.bin"))]
    if not files:
        raise DataError(f"{folder}: expected N-MNIST recordings in folders 0 to 9, but there are none.")

    steps = np.zeros((_NUM_STEPS, len(files), 2, SENSOR, SENSOR), np.uint8)
    for number, (file, _) in enumerate(files):
        events = read_nmnist(file, repair=True).events
        at = np.minimum(events["t"] * _NUM_STEPS // _DURATION, _NUM_STEPS - 1)
        steps[at, number, np.where(events["p"], 0, 1), events["y"], events["x"]] = 1

    labels = torch.tensor([label for _, label in files])
    return LabelledInputs(torch.from_numpy(steps).flatten(2), labels, 1)
