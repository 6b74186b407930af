"""Correlations of maps with a template, for every shift at once: Fourier transforms of real numbers, both ways.

PyTorch's own gradient of a real transform is a complex one of twice the size, and each product in between keeps its
factors. Here the gradient is a real transform, too, of the two spectra that the correlation needs anyhow.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

Size = tuple[int, int]


class Spectra(NamedTuple):
    """What `irfft2` makes correlations of, summed over channels.

    Args:
        cross: of maps and template, `sum_{c, x} T_c(x) f_c(x + d)`.
        own: of the template with itself.
    """

    cross: Complex[Tensor, "B N M"]
    own: Float[Tensor, "S N M"]


def spectra(maps: Float[Tensor, "B C H W"], template: Float[Tensor, "S C H2 W2"], size: Size) -> Spectra:
    """The spectra of the correlations of maps with a template, and of the template with itself.

    Args:
        maps: `f`.
        template: `T` of each sample, one for all, or of a batch that is in `maps` several times, one after the other.
        size: of the transforms; what is missing are zeros, and shifts come in again from the other side.

    Example:
        >>> maps, template = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
        >>> maps[0, 0, 2, 3] = template[0, 0, 1, 1] = 1.0
        >>> fits = torch.fft.irfft2(spectra(maps, template, (8, 8)).cross, s=(8, 8))
        >>> divmod(int(fits[0].argmax()), 8)  # one row down, two columns to the right
        (1, 2)
    """
    if _is_learned(maps, template):
        return Spectra(*_Spectra.apply(maps, template, size))
    place = torch.fft.rfft2(template, s=size)
    return Spectra(_cross(maps, place, size), _own(place))


def cross_spectrum(
    maps: Float[Tensor, "B C H W"], template: Float[Tensor, "S C H2 W2"], size: Size
) -> Complex[Tensor, "B N M"]:
    """The first of `spectra` alone.

    Args:
        maps: as there.
        template: as there.
        size: as there.
    """
    if _is_learned(maps, template):
        return spectra(maps, template, size).cross
    return _cross(maps, torch.fft.rfft2(template, s=size), size)


def _is_learned(maps: Tensor, template: Tensor) -> bool:
    return torch.is_grad_enabled() and (maps.requires_grad or template.requires_grad)


def _cross(maps: Tensor, place: Tensor, size: Size) -> Tensor:
    there = torch.fft.rfft2(maps, s=size)
    if place.shape[0] != 1:
        there = there.unflatten(0, (-1, place.shape[0]))
    return (there * place.conj()).sum(-3).reshape(-1, *there.shape[-2:])


def _own(place: Tensor) -> Tensor:
    return torch.view_as_real(place).square().sum(1).sum(-1)


class _Spectra(torch.autograd.Function):
    """Batch by batch, so that what is in between stays small: fresh memory takes longer than the transforms.

    For the same reason the spectra of the maps are made again on the way back.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(maps: Tensor, template: Tensor, size: Size) -> tuple[Tensor, Tensor]:
        place = torch.fft.rfft2(template, s=size)
        return torch.cat([_cross(some, place, size) for some in maps.split(len(template))]), _own(place)

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Tensor, Tensor, Size], output: tuple[Tensor, Tensor]) -> None:
        maps, template, context.size = inputs
        context.save_for_backward(maps, template)

    @staticmethod
    def backward(context: Any, cross: Tensor, own: Tensor) -> tuple[Tensor | None, ...]:
        maps, template = context.saved_tensors
        size, wanted = context.size, context.needs_input_grad
        # a column that stands for itself and its mirror image would count twice in the way back
        half = torch.full_like(own[0, 0], 0.5)
        half[:: size[1] // 2 if size[1] % 2 == 0 else len(half)] = 1.0
        place = torch.fft.rfft2(template, s=size)
        of_maps = torch.empty_like(maps) if wanted[0] else None
        of_place = (2 * own * half).unsqueeze(1) * place
        number = len(template)
        for i, seen in zip(range(0, len(maps), number), (cross * half).unsqueeze(1).split(number), strict=True):
            some = slice(i, i + number)
            if of_maps is not None:
                of_maps[some] = _maps(seen * place, size, maps)
            if wanted[1]:
                of_place = of_place + seen.conj() * torch.fft.rfft2(maps[some], s=size)
        return of_maps, _maps(of_place, size, template) if wanted[1] else None, None


def _maps(spectrum: Tensor, size: Size, like: Tensor) -> Tensor:
    height, width = like.shape[-2:]
    return torch.fft.irfft2(spectrum, s=size, norm="forward")[..., :height, :width]
