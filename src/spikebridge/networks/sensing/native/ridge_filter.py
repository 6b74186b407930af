"""Ridge regression in the Fourier domain: the response of a filter to patches, and the sums of a patch it learns from.

The filter of features `f_c` has `W_c = sum conj(F_c) Y / (sum sum_c |F_c|^2 + lambda)`, with Fourier transforms `F_c`
and that of the label, `Y`; its response is the inverse transform of `sum_c F_c W_c`. Natively a transform takes two
real maps at once.
"""

from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from spikebridge.errors import ShapeError
from spikebridge.networks.sensing.native.job import Job, floats
from spikebridge.ops.native.library import int64_fields, pointer_fields
from spikebridge.ops.selection import PICTURES, Operation, Path, always, native_on_pictures, select


def _has_native_side(features: Tensor) -> bool:
    # a large power of 6 is a multiple of what has the factors 2 and 3 alone
    return native_on_pictures("spikebridge_filter_response")(features) and 6**16 % features.shape[-1] == 0


RIDGE_FILTER = Operation(
    "a filter of features in the Fourier domain: its response, and what it learns from",
    (
        Path("native", f"{PICTURES}, a side of the factors 2 and 3", _has_native_side),
        Path("torch", "always: torch.fft", always),
    ),
    lambda _: (torch.zeros(1, 2, 8, 8),),
)


class _Response(Job):
    """`FilterResponse` of ridge_filter.h."""

    _fields_ = [
        *int64_fields("num_patches", "channels", "size"),
        *pointer_fields("features", "numerator", "first_numerator", "power", "first_power"),
        *floats("first_share", "ridge"),
        *pointer_fields("response"),
    ]


class _Sums(Job):
    """`FilterSums` of ridge_filter.h."""

    _fields_ = [*int64_fields("channels", "size"), *pointer_fields("features", "label", "numerator", "power")]


class FilterSums(NamedTuple):
    """`conj(F_c) Y` and `sum_c |F_c|^2`, summed over patches; transforms are those of real maps (`rfft2`)."""

    numerator: Complex[Tensor, "C N M"]
    power: Float[Tensor, "N M"]


def filter_response(
    features: Float[Tensor, "K C N N"], sums: FilterSums, first: FilterSums, first_share: float, ridge: float
) -> Float[Tensor, "K N N"]:
    """The response to patches of a filter whose sums have a share of those of the first patch."""
    _check_sums(features, sums, first)
    if select(RIDGE_FILTER, features) == "native":
        return _filter_response_native(features, sums, first, first_share, ridge)

    numerator = torch.lerp(sums.numerator, first.numerator, first_share)
    power = torch.lerp(sums.power, first.power, first_share)
    spectrum = (torch.fft.rfft2(features) * numerator).sum(1) / (power + ridge)

    return torch.fft.irfft2(spectrum, s=features.shape[2:])


def _filter_response_native(
    features: Float[Tensor, "K C N N"], sums: FilterSums, first: FilterSums, first_share: float, ridge: float
) -> Float[Tensor, "K N N"]:
    num_patches, channels, size, _ = features.shape
    response = features.new_empty(num_patches, size, size)

    job = _Response(num_patches, channels, size, first_share=first_share, ridge=ridge)
    job.point(features=features.contiguous(), response=response)
    job.point(numerator=sums.numerator.contiguous(), first_numerator=first.numerator.contiguous())
    job.point(power=sums.power.contiguous(), first_power=first.power.contiguous())
    job.run("spikebridge_filter_response")

    return response


def filter_sums(features: Float[Tensor, "C N N"], label: Complex[Tensor, "N M"]) -> FilterSums:
    """The sums of one patch, by the transform of the wanted response."""
    frequencies = _frequencies(features)
    if label.shape != frequencies[1:]:
        raise ShapeError(f"a label {frequencies[1:]} was expected, but got {tuple(label.shape)}")

    if select(RIDGE_FILTER, features) != "native":
        spectrum = torch.fft.rfft2(features)
        return FilterSums(spectrum.conj() * label, (spectrum.real.square() + spectrum.imag.square()).sum(0))

    channels, size, _ = features.shape
    sums = FilterSums(label.new_empty(channels, *label.shape), features.new_empty(label.shape))

    job = _Sums(channels, size)
    job.point(features=features.contiguous(), label=label.contiguous(), numerator=sums.numerator, power=sums.power)
    job.run("spikebridge_filter_sums")

    return sums


def _check_sums(features: Tensor, *sums: FilterSums) -> None:
    frequencies = _frequencies(features)
    for one in sums:
        if one.numerator.shape != frequencies or one.power.shape != frequencies[1:]:
            raise ShapeError(
                f"sums {frequencies} of patches as these were expected, but got {tuple(one.numerator.shape)} and "
                f"{tuple(one.power.shape)}"
            )


def _frequencies(features: Float[Tensor, "... C N N"]) -> tuple[int, int, int]:
    """The size of the transforms of a patch."""
    channels, height, width = features.shape[-3:]
    if height != width:
        raise ShapeError(f"square patches were expected, but got {tuple(features.shape)}")
    return channels, height, width // 2 + 1
