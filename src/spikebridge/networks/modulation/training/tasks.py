"""The task sequence: one set of images whose pixels are permuted in another way for each task."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jaxtyping import Float, Int64
from torch import Tensor

from spikebridge.data.catalog import refuse_data_folder
from spikebridge.data.images.digits import load_digits
from spikebridge.data.images.labelled import LabelledImages
from spikebridge.data.images.mnist import load_mnist
from spikebridge.data.tasks.permuted import GroupedPermutations
from spikebridge.data.tasks.tasks import TaskSplit
from spikebridge.networks.modulation.config import DatasetName
from spikebridge.training.continual.task import Task

NUM_FEATURES = {"digits": 64, "mnist": 784}
_BATCH_SIZE = 2000  # preactivations of a whole set need much memory


class LabelledInputs(NamedTuple):
    """Flat images `(N, d)` and their labels, not permuted."""

    inputs: Float[Tensor, "N d"]
    labels: Int64[Tensor, " N"]

    def first(self, number: int | None) -> "LabelledInputs":
        """The first samples; None is all."""
        return self if number is None else LabelledInputs(self.inputs[:number], self.labels[:number])

    def permuted(self, permutation: Int64[Tensor, " d"]) -> Float[Tensor, "1 N d"]:
        """All samples of a task, as recordings of one step."""
        return self.inputs.index_select(-1, permutation).float().unsqueeze(0)

    def permuted_batches(self, permutation: Int64[Tensor, " d"]) -> Iterator[Tensor]:
        """All samples of a task in batches."""
        for start in range(0, len(self.labels), _BATCH_SIZE):
            yield LabelledInputs(self.inputs[start : start + _BATCH_SIZE], self.labels).permuted(permutation)


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
        """The numbers, among all tasks, of the K tasks that are learned in turn."""
        return [int(task) for task in self.split.learnt]

    @property
    def permutations(self) -> Int64[Tensor, "K d"]:
        """The permutations of these tasks."""
        return self.all_tasks.permutations[self.split.learnt]

    @property
    def group(self) -> list[int]:
        """The group of each task."""
        return [int(self.all_tasks.group[task]) for task in self.numbers]

    @property
    def seen(self) -> list[bool]:
        """True for each task on which the backbone was trained."""
        return [task in self.split.seen.tolist() for task in self.numbers]

    def tasks(self) -> list[Task]:
        """The tasks for the training loop."""
        samples = self.all_tasks.samples
        return [Task(samples(task, *self.train), samples(task, *self.test)) for task in self.numbers]


def load_inputs(dataset: DatasetName, data: Path | None = None) -> tuple[LabelledInputs, LabelledInputs]:
    """All training samples, and those of the test."""
    if dataset == "mnist":
        splits = load_mnist(data, num_validation=0)
    else:
        refuse_data_folder(data, "the digits of scikit-learn")
        splits = load_digits(num_validation=0)

    return flat(splits.train), flat(splits.test)


def flat(samples: LabelledImages) -> LabelledInputs:
    """Labelled images as vectors."""
    return LabelledInputs(samples.images.flatten(1), samples.labels)
