"""Correlations of maps with a template, for every shift at once: Fourier transforms of real numbers, both ways.

PyTorch's own gradient of a real transform is a complex one of twice the size, and each product in between keeps its
factors. Here the gradient is a real transform, too, of the two spectra that the correlation needs anyhow.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

Size = tuple[int, int]
_AT_ONCE = 8


class Spectra(NamedTuple):
    """What `irfft2` makes correlations of, summed over channels.

    Args:
        cross: of maps and template, `sum_{c, x} T_c(x) f_c(x + d)`.
        own: of the template with itself.
    """

    cross: Complex[Tensor, "B N M"]
    own: Float[Tensor, "B N M"]


def spectra(maps: Float[Tensor, "B C H W"], template: Float[Tensor, "#B C H2 W2"], size: Size) -> Spectra:
    """The spectra of the correlations of maps with a template, and of the template with itself.

    Args:
        maps: `f`.
        template: `T` of each sample, or one for all.
        size: of the transforms; what is missing are zeros, and shifts come in again from the other side.

    Example:
        >>> maps, template = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
        >>> maps[0, 0, 2, 3] = template[0, 0, 1, 1] = 1.0
        >>> fits = torch.fft.irfft2(spectra(maps, template, (8, 8)).cross, s=(8, 8))
        >>> divmod(int(fits[0].argmax()), 8)  # one row down, two columns to the right
        (1, 2)
    """
    if _is_learned(maps, template):
        return Spectra(*_Spectra.apply(maps, template.expand(len(maps), -1, -1, -1), size))
    return _multiplied(*_both((maps, template), size))


def cross_spectrum(
    maps: Float[Tensor, "B C H W"], template: Float[Tensor, "#B C H2 W2"], size: Size
) -> Complex[Tensor, "B N M"]:
    """The first of `spectra` alone.

    Args:
        maps: as there.
        template: as there.
        size: as there.
    """
    if _is_learned(maps, template):
        return spectra(maps, template, size).cross
    return _cross(*_both((maps, template), size))


def _is_learned(maps: Tensor, template: Tensor) -> bool:
    return torch.is_grad_enabled() and (maps.requires_grad or template.requires_grad)


def _cross(there: Tensor, own: Tensor) -> Tensor:
    return (there * own.conj()).sum(1)


def _multiplied(there: Tensor, own: Tensor) -> Spectra:
    return Spectra(_cross(there, own), torch.view_as_real(own).square().sum(1).sum(-1))


class _Spectra(torch.autograd.Function):
    """A few samples at a time, so that what is in between stays small: fresh memory takes longer than the transforms.

    For the same reason the spectra are made again on the way back.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(maps: Tensor, template: Tensor, size: Size) -> tuple[Tensor, Tensor]:
        parts = [_multiplied(*_both(pair, size)) for pair in _pairs(maps, template)]
        cross, own = (torch.cat(column) for column in zip(*parts, strict=True))
        return cross, own

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
        of_maps = torch.empty_like(maps) if wanted[0] else None
        of_template = torch.empty_like(template) if wanted[1] else None
        starts = range(0, len(maps), _AT_ONCE)
        pieces = zip(starts, _pairs(maps, template), (cross * half).split(_AT_ONCE), own.split(_AT_ONCE), strict=True)
        for i, pair, seen, alike in pieces:
            there, place = _both(pair, size)
            some, seen = slice(i, i + _AT_ONCE), seen.unsqueeze(1)
            if of_maps is not None:
                of_maps[some] = _maps(seen * place, size, maps)
            if of_template is not None:
                both = seen.conj() * there + (2 * alike * half).unsqueeze(1) * place
                of_template[some] = _maps(both, size, template)
        return of_maps, of_template, None


def _maps(spectrum: Tensor, size: Size, like: Tensor) -> Tensor:
    height, width = like.shape[-2:]
    return torch.fft.irfft2(spectrum, s=size, norm="forward")[..., :height, :width]


def _pairs(maps: Tensor, template: Tensor) -> Any:
    return zip(maps.split(_AT_ONCE), template.split(_AT_ONCE), strict=True)


def _both(pair: tuple[Tensor, Tensor], size: Size) -> tuple[Tensor, Tensor]:
    return torch.fft.rfft2(pair[0], s=size), torch.fft.rfft2(pair[1], s=size)
