"""MNIST: handwritten digits of 28 x 28 pixels, from the idx files or from one npz file.

Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Proceedings of the IEEE 86:2278 (1998); the idx format is described
at yann.lecun.com/exdb/mnist.
"""

from pathlib import Path

from spikebridge.data.digit_files import labelled_digits
from spikebridge.data.files import find
from spikebridge.data.idx import read_idx
from spikebridge.data.images import ImageSplits, fixed_order, hold_out
from spikebridge.data.npz import read_npz

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
    train = labelled_digits(arrays[0], arrays[1], origins[0], origins[1])
    test = labelled_digits(arrays[2], arrays[3], origins[2], origins[3])
    train, validation = hold_out(train.select(fixed_order(len(train.labels))), num_validation)
    return ImageSplits(train, validation, test)
