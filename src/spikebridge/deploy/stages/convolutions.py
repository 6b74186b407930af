"""Convolutions and windows of images in numpy, for floats and integers. No torch is needed."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from spikebridge.errors import DataError

Values: TypeAlias = NDArray[Any]


def windows(
    x: Values,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[Sequence[int]],
    dilation: Sequence[int] = (1, 1),
    outside: int = 0,
) -> Values:
    """Every window of the last axes, `(B, C, *positions, *kernel)`, a view; `outside` is the value of the padding."""
    num_axes = len(kernel)
    if x.ndim != num_axes + 2:
        raise DataError(
            f"a kernel over {num_axes} axes needs samples (C, ...) of {num_axes + 1}, but got {x.shape[1:]}"
        )

    padded = np.pad(x, [(0, 0), (0, 0), *padding], constant_values=outside)
    extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    view = sliding_window_view(padded, extent, axis=tuple(range(2, 2 + num_axes)))

    return view[(slice(None), slice(None), *(slice(None, None, n) for n in (*stride, *dilation)))]


def convolution(
    x: Values,
    weight: Values,
    bias: Values | None,
    stride: Sequence[int],
    padding: Sequence[Sequence[int]],
    dilation: Sequence[int],
    groups: int,
) -> Values:
    """A convolution over one or two axes; weights `(C_out, C_in / groups, *kernel)`."""
    num_axes = weight.ndim - 2
    view = windows(x, weight.shape[2:], stride, padding, dilation)
    # almost all layers have one group, and a split takes longer than a small product
    pairs: Iterable[tuple[Values, Values]] = [(view, weight)]
    if groups > 1:
        pairs = zip(np.split(view, groups, axis=1), np.split(weight, groups, axis=0), strict=True)

    # channels of a group and places of the kernel are summed
    summed = [1, *range(2 + num_axes, 2 + 2 * num_axes)], [1, *range(2, 2 + num_axes)]
    sums = [np.moveaxis(np.tensordot(part, kernel, axes=summed), -1, 1) for part, kernel in pairs]
    y = np.concatenate(sums, axis=1)

    return y if bias is None else y + bias.reshape(-1, *[1] * num_axes)
