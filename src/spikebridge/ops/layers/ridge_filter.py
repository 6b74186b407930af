"""A filter that is learned by ridge regression in the Fourier domain: its response, and what it learns from, natively.

The correlation filter of the sensing network gives the formulas; results are those of `torch.fft` to rounding. A
transform takes two real maps at once.
"""

import ctypes
from typing import Any, NamedTuple

from jaxtyping import Complex, Float
from torch import Tensor

from spikebridge.errors import ShapeError
from spikebridge.ops.native.library import library


class _Response(ctypes.Structure):
    """`FilterResponse` of ridge_filter.h."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("num_patches", "channels", "size")],
        *[(name, ctypes.c_void_p) for name in ("features", "numerator", "first_numerator", "power", "first_power")],
        *[(name, ctypes.c_float) for name in ("first_share", "ridge")],
        ("response", ctypes.c_void_p),
    ]


class _Sums(ctypes.Structure):
    """`FilterSums` of ridge_filter.h."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("channels", "size")],
        *[(name, ctypes.c_void_p) for name in ("features", "label", "numerator", "power")],
    ]


class FilterSums(NamedTuple):
    """The sums of one patch or several, from which a filter is made; transforms are those of real maps (`rfft2`).

    Args:
        numerator: `conj(F_c) Y` of the features' transforms and that of the label.
        power: `sum_c |F_c|^2`.
    """

    numerator: Complex[Tensor, "C N M"]
    power: Float[Tensor, "N M"]


def filter_response(
    features: Float[Tensor, "K C N N"], sums: FilterSums, first: FilterSums, first_share: float, ridge: float
) -> Float[Tensor, "K N N"]:
    """The inverse transform of `sum_c F_c W_c` with `W_c = numerator_c / (power + ridge)`.

    Args:
        features: of patches, float32 on a CPU; their side has the factors 2 and 3 alone.
        sums: of the filter.
        first: of the first patch, which counts besides.
        first_share: how much.
        ridge: lambda.

    Raises:
        ShapeError: the sums are not those of such patches.
        MemoryError: no memory for the transforms.
    """
    frequencies = _frequencies(features)
    for one in (sums, first):
        if one.numerator.shape != frequencies or one.power.shape != frequencies[1:]:
            raise ShapeError(
                f"sums {frequencies} of patches as these were expected, but got {tuple(one.numerator.shape)} and "
                f"{tuple(one.power.shape)}"
            )

    given = [one.contiguous() for one in (features, sums.numerator, first.numerator, sums.power, first.power)]
    num_patches, channels, size, _ = features.shape
    response = features.new_empty(num_patches, size, size)
    job = _Response(num_patches, channels, size, *(one.data_ptr() for one in given), first_share, ridge)
    job.response = response.data_ptr()
    run: Any = library().steps

    if run.spikebridge_filter_response(ctypes.byref(job)) != 0:
        raise MemoryError("out of memory in the response of a filter, for its transforms")

    return response


def filter_sums(features: Float[Tensor, "C N N"], label: Complex[Tensor, "N M"]) -> FilterSums:
    """The sums of one patch.

    Args:
        features: as of `filter_response`.
        label: transform of the wanted response.

    Raises:
        ShapeError: the label is not of this size.
        MemoryError: no memory for the transforms.
    """
    frequencies = _frequencies(features)
    if label.shape != frequencies[1:]:
        raise ShapeError(f"a label {frequencies[1:]} was expected, but got {tuple(label.shape)}")

    features = features.contiguous()
    label = label.contiguous()
    channels, size, _ = features.shape
    sums = FilterSums(label.new_empty(channels, *label.shape), features.new_empty(label.shape))
    job = _Sums(channels, size, *(one.data_ptr() for one in (features, label, *sums)))
    run: Any = library().steps

    if run.spikebridge_filter_sums(ctypes.byref(job)) != 0:
        raise MemoryError("out of memory in the sums of a filter, for its transforms")

    return sums


def _frequencies(features: Float[Tensor, "... C N N"]) -> tuple[int, int, int]:
    """The size of the transforms of a patch."""
    channels, height, width = features.shape[-3:]
    if height != width:
        raise ShapeError(f"square patches were expected, but got {tuple(features.shape)}")
    return channels, height, width // 2 + 1
