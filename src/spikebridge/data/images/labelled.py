"""Labelled images with fixed train, validation and test splits, and a reader for an npz file of your own.

The npz file holds `images` (28 x 28 pixels, uint8) and `labels`.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from spikebridge.data.io.atomic import atomic_write
from spikebridge.data.io.npz import read_npz
from spikebridge.data.io.safe_open import MAX_BYTES, fits
from spikebridge.errors import ConfigError, DataError

# RandomState is frozen by numpy: the order is the same in every version, so that published splits stay equal
_ORDER_SEED = 0
_NUM_CLASSES = 10
_SIZE = (28, 28)
_FLOAT_BYTES = 4


class LabelledImages(NamedTuple):
    """Images in [0, 1] and their classes, one row a sample."""

    images: Float[Tensor, "N H W"]
    labels: Int64[Tensor, " N"]

    def select(self, index: Tensor) -> "LabelledImages":
        """The samples at these places `(M,)`, in this order, or with these marks `(N,)`."""
        return LabelledImages(self.images[index], self.labels[index])


class ImageSplits(NamedTuple):
    """One data set in three parts that share no sample. Choices are made on `validation`, `test` is for the report."""

    train: LabelledImages
    validation: LabelledImages
    test: LabelledImages


def fixed_permutation(num_samples: int) -> Int64[Tensor, " N"]:
    """A permutation of the samples that is the same in every run, on every machine."""
    return torch.from_numpy(np.random.RandomState(_ORDER_SEED).permutation(num_samples).astype(np.int64))


def split_validation(samples: LabelledImages, num_validation: int) -> tuple[LabelledImages, LabelledImages]:
    """The samples to train on, and the last `num_validation` ones, for validation."""
    num_samples = len(samples.labels)
    if not 0 <= num_validation < num_samples:
        raise ConfigError(
            f"num_validation is from 0 to {num_samples - 1} in {num_samples} samples, but got {num_validation}."
        )

    num_train = num_samples - num_validation
    return samples.select(torch.arange(num_train)), samples.select(torch.arange(num_train, num_samples))


def read_digit_file(path: Path) -> LabelledImages:
    """Reads digits from an npz file, in its order.

    Args:
        path: an npz file with `images`, bytes `(N, 28, 28)`, and `labels`, `(N,)` integers from 0 to 9.

    Returns:
        Images `(N, 28, 28)` in [0, 1], and their labels.

    Raises:
        DataError: the file is missing, damaged, too large, lacks an array, or one is not as it should be.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "mine.npz"
        >>> np.savez(path, images=np.full((2, 28, 28), 255, np.uint8), labels=np.array([7, 1]))
        >>> digits = read_digit_file(path)
        >>> digits.images.mean().item(), digits.labels.tolist()
        (1.0, [7, 1])
    """
    places = (f"{path}, images", f"{path}, labels")
    arrays = read_npz(path, ("images", "labels"), check=lambda a: check_digit_arrays(a["images"], a["labels"], *places))
    return make_labelled_digits(arrays["images"], arrays["labels"], *places)


def write_digit_file(path: Path, digits: LabelledImages) -> None:
    """Writes digits as `read_digit_file` reads them: a complete file or none."""
    with atomic_write(path) as file:
        np.savez_compressed(file, images=(digits.images * 255).round().byte().numpy(), labels=digits.labels.numpy())


def check_digit_arrays(images: Any, labels: Any, images_from: str, labels_from: str) -> None:
    """Refuses arrays of digits, or the headers of arrays, of another type or shape."""
    if images.dtype != np.uint8 or images.shape[1:] != _SIZE or images.shape[0] == 0:
        raise DataError(f"{images_from}: expected bytes (N, 28, 28), but got {images.dtype} {images.shape}.")

    number = images.shape[0]
    if labels.dtype.kind not in "iu" or labels.shape != (number,):
        expected = f"{number} integers, one an image"
        raise DataError(f"{labels_from}: expected {expected}, but got {labels.dtype} {labels.shape}.")

    # they become floats, four times as large
    if not fits(images.shape, _FLOAT_BYTES):
        max_images = MAX_BYTES // (_FLOAT_BYTES * _SIZE[0] * _SIZE[1])
        raise DataError(f"{images_from}: expected at most {max_images} images, but got {number}; split the file.")


def make_labelled_digits(
    images: Shaped[np.ndarray, "..."], labels: Shaped[np.ndarray, "..."], images_from: str, labels_from: str
) -> LabelledImages:
    """Checks and scales arrays of digits: bytes `(N, 28, 28)` and labels `(N,)` from 0 to 9.

    `images_from` and `labels_from` are the places of the arrays, for messages.
    """
    check_digit_arrays(images, labels, images_from, labels_from)
    wrong = (labels < 0) | (labels >= _NUM_CLASSES)
    if wrong.any():
        index = int(wrong.argmax())
        count = f"{int(wrong.sum())} are not, first {labels[index]} at index {index}"
        raise DataError(f"{labels_from}: expected labels from 0 to {_NUM_CLASSES - 1}, but {count}.")

    scaled = torch.from_numpy(images.astype(np.float32) / 255)
    return LabelledImages(scaled, torch.from_numpy(labels.astype(np.int64)))
