"""MNIST: handwritten digits of 28 x 28 pixels, from the idx files or from one npz file.

Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Proceedings of the IEEE 86:2278 (1998); the idx format is described
at yann.lecun.com/exdb/mnist.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from spikebridge.data.files import find
from spikebridge.data.idx import read_idx
from spikebridge.data.images import ImageSplits, LabelledImages, fixed_order, hold_out
from spikebridge.data.npz import read_npz
from spikebridge.errors import DataError

NUM_CLASSES = 10
_SIZE = (28, 28)
_KEYS = ("train_images", "train_labels", "test_images", "test_labels")


def load_mnist(folder: Path | None = None, num_validation: int = 1000) -> ImageSplits:
    """MNIST from the data folder: the idx files where they are, else `digits.npz`.

    Args:
        folder: the data folder; without it, the one that `SPIKEBRIDGE_DATA` names.
        num_validation: samples of the training part that are kept back to choose settings on.

    Returns:
        Images `(N, 28, 28)` in [0, 1] with labels 0 to 9; the training part in one fixed, shuffled order.

    Raises:
        DataError: files are missing or damaged.
        ConfigError: `num_validation` leaves nothing to train on.

    Example:
        >>> load_mnist(Path(getfixture("tmp_path")))
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: mnist is not in ...: yann.lecun.com/exdb/mnist (licence: CC BY-SA 3.0); get it...
    """
    paths = find("mnist", folder)
    if len(paths) == 1:
        arrays = tuple(read_npz(paths[0], _KEYS)[key] for key in _KEYS)
        origins = tuple(f"{paths[0]}, {key}" for key in _KEYS)
    else:
        arrays = tuple(read_idx(path) for path in paths)
        origins = tuple(map(str, paths))
    train = _labelled(arrays[0], arrays[1], origins[0], origins[1])
    test = _labelled(arrays[2], arrays[3], origins[2], origins[3])
    train, validation = hold_out(train.select(fixed_order(len(train.labels))), num_validation)
    return ImageSplits(train, validation, test)


def _labelled(images: NDArray, labels: NDArray, images_from: str, labels_from: str) -> LabelledImages:
    if images.dtype != np.uint8 or images.shape[1:] != _SIZE or len(images) == 0:
        raise DataError(f"{images_from}: expected bytes (N, 28, 28), but got {images.dtype} {images.shape}.")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise DataError(
            f"{labels_from}: expected {len(images)} whole numbers, one for each image of {images_from}, "
            f"but got {labels.dtype} {labels.shape}."
        )
    wrong = (labels < 0) | (labels >= NUM_CLASSES)
    if wrong.any():
        index = int(wrong.argmax())
        raise DataError(
            f"{labels_from}: expected labels from 0 to {NUM_CLASSES - 1}, but {int(wrong.sum())} are not, "
            f"first {labels[index]} at index {index}."
        )
    scaled = torch.from_numpy(images.astype(np.float32) / 255)
    return LabelledImages(scaled, torch.from_numpy(labels.astype(np.int64)))
