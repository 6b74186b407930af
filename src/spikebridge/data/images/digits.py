"""The digits of scikit-learn: 1797 real handwritten digits of 8 x 8 pixels, present without a download.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository (1998).
"""

import numpy as np
import torch

from spikebridge.data.images.labelled import ImageSplits, LabelledImages, fixed_permutation, split_validation

_NUM_TEST = 400
_BRIGHTEST = 16.0


def load_digits(num_validation: int = 280) -> ImageSplits:
    """The 1797 digits in one fixed order: 1397 for training (the last ones for validation), 400 for the test.

    Args:
        num_validation: samples of the training part that are kept back for the choice of settings; 0 trains on all.

    Returns:
        Images `(N, 8, 8)` in [0, 1] with labels 0 to 9.

    Raises:
        ConfigError: `num_validation` leaves nothing to train on.

    Example:
        >>> digits = load_digits()
        >>> len(digits.train.labels), len(digits.validation.labels), len(digits.test.labels)
        (1117, 280, 400)
        >>> digits.train.images.shape[1:], digits.train.images.max().item()
        (torch.Size([8, 8]), 1.0)
    """
    # here, since it takes as long to load as PyTorch
    from sklearn import datasets

    bunch = datasets.load_digits()
    images = torch.from_numpy(bunch.images.astype(np.float32) / _BRIGHTEST)
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    shuffled = LabelledImages(images, labels).select(fixed_permutation(len(labels)))
    num_train = len(labels) - _NUM_TEST
    train, validation = split_validation(shuffled.select(torch.arange(num_train)), num_validation)

    return ImageSplits(train, validation, shuffled.select(torch.arange(num_train, len(labels))))
