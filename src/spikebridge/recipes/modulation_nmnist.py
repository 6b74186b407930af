"""N-MNIST for the modulation recipe: folders of `.bin` files as recordings of ten steps, kept as bytes."""

from pathlib import Path

import numpy as np
import torch

from spikebridge.data.files import find
from spikebridge.data.images import fixed_order
from spikebridge.data.nmnist import SENSOR, read_nmnist
from spikebridge.errors import DataError
from spikebridge.recipes.modulation_tasks import Pictures

NUM_STEPS = 10
DURATION = 300_000  # three saccades [us]


def recordings(data: Path | None, split: str, num_validation: int) -> tuple[Pictures, Pictures]:
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


def _some(recordings: Pictures, index: torch.Tensor) -> Pictures:
    return Pictures(recordings.inputs[:, index], recordings.labels[index], 1)


def _read(folder: Path) -> Pictures:
    files = [(file, label) for label in range(10) for file in sorted((folder / str(label)).glob("*.bin"))]
    if not files:
        raise DataError(f"{folder}: expected N-MNIST recordings in folders 0 to 9, but there are none.")
    steps = np.zeros((NUM_STEPS, len(files), 2, SENSOR, SENSOR), np.uint8)
    for number, (file, _) in enumerate(files):
        events = read_nmnist(file, repair=True).events
        at = np.minimum(events["t"] * NUM_STEPS // DURATION, NUM_STEPS - 1)
        steps[at, number, np.where(events["p"], 0, 1), events["y"], events["x"]] = 1
    labels = torch.tensor([label for _, label in files])
    return Pictures(torch.from_numpy(steps).flatten(2), labels, 1)
