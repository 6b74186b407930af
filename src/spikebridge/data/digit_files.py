"""Handwritten digits of 28 x 28 pixels from a file of one's own: an npz with `images` and `labels`."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Shaped

from spikebridge.data.images import LabelledImages
from spikebridge.data.npz import read_npz
from spikebridge.data.opening import MOST_BYTES, fits
from spikebridge.errors import DataError

NUM_CLASSES = 10
_SIZE = (28, 28)
_BYTES_OF_A_FLOAT = 4


def read_digit_file(path: Path) -> LabelledImages:
    """Digits of a file, in its order.

    Args:
        path: an npz file with `images`, bytes `(N, 28, 28)`, and `labels`, `(N,)` whole numbers from 0 to 9.

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
    arrays = read_npz(path, ("images", "labels"))
    return labelled_digits(arrays["images"], arrays["labels"], f"{path}, images", f"{path}, labels")


def labelled_digits(
    images: Shaped[np.ndarray, "..."], labels: Shaped[np.ndarray, "..."], images_from: str, labels_from: str
) -> LabelledImages:
    """Arrays as labelled images, if that is what they are.

    Args:
        images: bytes `(N, 28, 28)`.
        labels: `(N,)` whole numbers from 0 to 9.
        images_from: where they come from, for the message.
        labels_from: alike.

    Raises:
        DataError: they are something else, or too many.
    """
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
    if not fits(images.shape, _BYTES_OF_A_FLOAT):
        most = MOST_BYTES // (_BYTES_OF_A_FLOAT * _SIZE[0] * _SIZE[1])
        raise DataError(f"{images_from}: expected at most {most} images, but got {len(images)}; split the file.")
    scaled = torch.from_numpy(images.astype(np.float32) / 255)
    return LabelledImages(scaled, torch.from_numpy(labels.astype(np.int64)))
