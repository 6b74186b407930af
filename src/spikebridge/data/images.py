"""Labelled images: what every image data set of this folder gives."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from spikebridge.errors import ConfigError

# RandomState is frozen by numpy: this order is the same in every version, so published splits stay what they are
_ORDER_SEED = 0


class LabelledImages(NamedTuple):
    """Images in [0, 1] and their classes, one row a sample."""

    images: Float[Tensor, "N H W"]
    labels: Int64[Tensor, " N"]

    def select(self, index: Tensor) -> "LabelledImages":
        """The samples at these places, in this order.

        Args:
            index: int64 `(M,)` places, or bool `(N,)` marks.

        Returns:
            The M chosen samples.

        Example:
            >>> three = LabelledImages(torch.zeros(3, 2, 2), torch.tensor([7, 8, 9]))
            >>> three.select(torch.tensor([2, 0])).labels
            tensor([9, 7])
        """
        return LabelledImages(self.images[index], self.labels[index])


class ImageSplits(NamedTuple):
    """One data set in three parts that share no sample. Choices are made on `validation`, `test` is for the report."""

    train: LabelledImages
    validation: LabelledImages
    test: LabelledImages


def fixed_order(num_samples: int) -> Int64[Tensor, " N"]:
    """A permutation of the samples that is the same in every run, on every machine.

    Args:
        num_samples: how many samples there are.

    Returns:
        Every index from 0 to `num_samples - 1` once.

    Example:
        >>> sorted(fixed_order(4).tolist())
        [0, 1, 2, 3]
        >>> fixed_order(4).equal(fixed_order(4))
        True
    """
    return torch.from_numpy(np.random.RandomState(_ORDER_SEED).permutation(num_samples).astype(np.int64))


def hold_out(samples: LabelledImages, num_held: int) -> tuple[LabelledImages, LabelledImages]:
    """Keep the last samples of a training part back for validation.

    Args:
        samples: the training part, in an order that means nothing.
        num_held: how many samples to keep back, 0 or more.

    Returns:
        The samples to train on, and those kept back.

    Raises:
        ConfigError: nothing would be left to train on.

    Example:
        >>> five = LabelledImages(torch.zeros(5, 2, 2), torch.arange(5))
        >>> kept, held = hold_out(five, 2)
        >>> kept.labels.tolist(), held.labels.tolist()
        ([0, 1, 2], [3, 4])
    """
    num_samples = len(samples.labels)
    if not 0 <= num_held < num_samples:
        raise ConfigError(
            f"num_validation must be from 0 to {num_samples - 1} (the training part has {num_samples} samples), "
            f"but got {num_held}."
        )
    cut = num_samples - num_held
    return samples.select(torch.arange(cut)), samples.select(torch.arange(cut, num_samples))
