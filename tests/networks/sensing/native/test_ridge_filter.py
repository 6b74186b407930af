"""A filter in the Fourier domain runs natively as by `torch.fft`."""

import pytest
import torch

from spikebridge.errors import ShapeError
from spikebridge.networks.sensing.native.ridge_filter import (
    RIDGE_FILTER,
    FilterSums,
    filter_response,
    filter_sums,
)
from spikebridge.ops.selection import select
from spikebridge.ops.sequence import native

pytestmark = pytest.mark.skipif(not native.available(), reason="built without a C compiler")


def sums_of(features: torch.Tensor, label: torch.Tensor) -> FilterSums:
    """The sums of one patch, by PyTorch."""
    spectrum = torch.fft.rfft2(features)
    return FilterSums(spectrum.conj() * torch.fft.rfft2(label), spectrum.abs().square().sum(0))


@pytest.mark.parametrize("size", [1, 2, 3, 6, 9, 24, 32])
@pytest.mark.parametrize(("number", "channels"), [(1, 1), (3, 10), (2, 5)])
def test_sums_and_responses_are_those_of_the_operations(size: int, number: int, channels: int) -> None:
    torch.manual_seed(0)
    label = torch.randn(size, size)
    maps = [torch.randn(channels, size, size) for _ in range(2)]
    sums, first = (filter_sums(one, torch.fft.rfft2(label)) for one in maps)

    for got, expected in zip(sums, sums_of(maps[0], label), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)

    patches = torch.randn(number, channels, size, size)
    assert select(RIDGE_FILTER, patches) == "native"

    response = filter_response(patches, sums, first, 0.3, 2.0)
    numerator, power = (torch.lerp(one, other, 0.3) for one, other in zip(sums, first, strict=True))
    spectrum = (torch.fft.rfft2(patches) * numerator).sum(1) / (power + 2.0)
    expected = torch.fft.irfft2(spectrum, s=(size, size))
    torch.testing.assert_close(response, expected, atol=1e-5, rtol=1e-5)


def test_a_filter_answers_to_its_own_patch_with_its_label() -> None:
    features = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    label = torch.zeros(8, 8)
    label[2, 5] = 1.0
    sums = filter_sums(features[0], torch.fft.rfft2(label))
    torch.testing.assert_close(filter_response(features, sums, sums, 0.0, 1e-6)[0], label, atol=1e-4, rtol=0.0)


def test_a_side_with_another_factor_runs_by_pytorch() -> None:
    assert select(RIDGE_FILTER, torch.zeros(1, 2, 10, 10)) == "torch"


def test_sums_of_other_patches_are_refused() -> None:
    features = torch.zeros(1, 2, 8, 8)
    sums = filter_sums(features[0], torch.zeros(8, 5, dtype=torch.complex64))
    with pytest.raises(ShapeError, match="sums"):
        filter_response(features[:, :1], sums, sums, 0.1, 1.0)

    with pytest.raises(ShapeError, match="label"):
        filter_sums(features[0], torch.zeros(4, 5, dtype=torch.complex64))

    with pytest.raises(ShapeError, match="square"):
        filter_sums(features[0, :, :6], torch.zeros(8, 5, dtype=torch.complex64))
