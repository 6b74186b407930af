"""Correlations by real transforms: the numbers and gradients of PyTorch's own transforms, at even and odd sizes."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from spikebridge.networks.sensing.model.detector import correlation
from spikebridge.networks.sensing.model.heads import ChangeHead, between_cells, cell_places, cross_spectrum, spectra
from spikebridge.neurons.stateless import over_time

SIZES = [((16, 14), (9, 8), (9, 8)), ((15, 13), (9, 8), (6, 5)), ((16, 13), (8, 7), (3, 7)), ((4, 2), (2, 1), (2, 1))]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def plain(maps: Tensor, template: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    there = torch.fft.rfft2(maps, s=size)
    own = torch.fft.rfft2(template, s=size)
    return (there * own.conj()).sum(1), torch.view_as_real(own).square().sum((1, -1))


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("given_templates", ["each", "one", "each of a batch, twice"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_spectra_and_their_gradients_are_those_of_complex_transforms(
    sizes: tuple[tuple[int, int], ...], given_templates: str, number: int
) -> None:
    size, there, here = sizes
    times = 2 if given_templates.endswith("twice") else 1
    numbers = times * number, 1 if given_templates == "one" else number
    given = [
        torch.randn(n, 2, *shape, dtype=torch.float64, requires_grad=True)
        for n, shape in zip(numbers, (there, here), strict=True)
    ]

    ours, (cross, own) = spectra(*given, size), plain(given[0], given[1].repeat(times, 1, 1, 1), size)
    theirs = cross, own[: len(ours.own)]
    ways = [torch.randn_like(part) for part in ours]
    torch.testing.assert_close(tuple(ours), theirs)
    found, expected = (torch.autograd.grad(tuple(parts), given, ways) for parts in (ours, theirs))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(cross_spectrum(*given, size), cross)

    with torch.no_grad():
        torch.testing.assert_close(tuple(spectra(*given, size)), theirs)


def test_a_held_template_gives_the_response_of_a_repeated_one() -> None:
    head = ChangeHead(reach=2).double()
    template, change = (torch.randn(n, 3, 2, 7, 6, dtype=torch.float64, requires_grad=True) for n in (1, 4))
    held = template.expand(4, -1, -1, -1, -1)
    repeated = template.repeat(4, 1, 1, 1, 1)
    ours, theirs = (over_time(head, template=one, change=change) for one in (held, repeated))
    torch.testing.assert_close(ours, theirs)
    way = torch.randn_like(ours)
    found, expected = (torch.autograd.grad(one, [template, change], way) for one in (ours, theirs))
    torch.testing.assert_close(found, expected)


def test_a_head_whose_numbers_are_modulated_sample_by_sample_learns_the_same() -> None:
    head = ChangeHead(reach=2).double()
    scales = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    kind: dict[str, Any] = {"dtype": torch.float64, "requires_grad": True}
    template, change = (torch.randn(3, 2, 7, 6, **kind) for _ in range(2))

    def one(scale: Tensor, template: Tensor, change: Tensor) -> Tensor:
        return torch.func.functional_call(head, {"log_scale": scale}, (template[None], change[None]))[0]  # type: ignore[no-any-return]

    each = torch.vmap(one)(scales, template, change)
    alone = torch.stack([one(scales[i], template[i], change[i]) for i in range(3)])
    torch.testing.assert_close(each, alone)
    way = torch.randn_like(each)
    found, expected = (torch.autograd.grad(x, [template, change], way) for x in (each, alone))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("num_cells", "num_pixels"), [(5, 9), (7, 19), (3, 5)])
def test_the_matrix_between_cells_is_the_bicubic_interpolation(num_cells: int, num_pixels: int) -> None:
    cells = torch.randn(2, 1, num_cells, num_cells)
    way = between_cells(num_cells, num_pixels)
    expected = F.interpolate(cells, (num_pixels, num_pixels), mode="bicubic", align_corners=True)
    torch.testing.assert_close(way @ cells @ way.T, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("side", [4, 5, 8])
def test_the_detectors_correlation_is_the_sum_over_the_template(side: int) -> None:
    features = torch.randn(2, 3, side, side)
    template = torch.randn(2, 3, side, side)
    half = side // 2
    room = F.pad(features, (half, side - half - 1) * 2)
    sums = torch.cat([F.conv2d(room[i : i + 1], template[i : i + 1])[0] for i in range(2)])
    energy = template.square().sum((1, 2, 3)) + 1e-6
    torch.testing.assert_close(correlation(features, template), sums / energy[:, None, None], atol=1e-5, rtol=1e-5)


def test_a_cell_of_stride_two_is_on_every_second_pixel() -> None:
    # pixels 0, 2 and 4 of six, whose middle is 2.5
    assert cell_places(3, like=torch.zeros(1)).tolist() == [-2.5, -0.5, 1.5]


def test_a_pixel_on_a_cell_reads_that_cell_alone() -> None:
    assert between_cells(5, 9)[4].tolist() == [0.0, 0.0, 1.0, 0.0, 0.0]


def test_a_spectrum_gives_the_shift_from_the_template_to_the_map() -> None:
    maps = torch.zeros(1, 1, 4, 4)
    template = torch.zeros(1, 1, 4, 4)
    maps[0, 0, 2, 3] = template[0, 0, 1, 1] = 1.0
    fits = torch.fft.irfft2(spectra(maps, template, (8, 8)).cross, s=(8, 8))
    # one row down, two columns to the right
    assert divmod(int(fits[0].argmax()), 8) == (1, 2)
