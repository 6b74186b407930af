"""The template and the change head: the displacement of the target that explains a change of features.

The target's features `T` are cut out of the frame by a soft mask. If it moves by d, the features change by `T_d - T_0`:
`T` appears at the new place and disappears at the old one. The unit's integrated change `h` is compared with that by
least squares, for every d. All positions are displacements `(x, y)` from the target's centre in the frame, in pixels.

Correlations with a template are computed for all displacements at once by real Fourier transforms. PyTorch's gradient
of a real transform is a complex one of twice the size, and each product in between keeps its factors; here the gradient
is a real transform, too, of the two spectra that the correlation needs anyway.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor, nn

from spikebridge.networks.sensing.model.backbones import STRIDE
from spikebridge.ops.precision import upcast

# half axes of the mask of a template, in sides of the target
MASK_SIZE = 0.55
# added to them [px]
MARGIN = 1.0
# steepness of the edge of a mask
HARDNESS = 4.0

Size = tuple[int, int]


class Template(nn.Module):
    """The target's features: those of the frame inside a soft ellipse, minus the mean of the features outside.

    The half axes are `0.55 w + MARGIN` [px]; at the edge the mask falls from 1 to 0.
    """

    def __init__(self, stride: int = STRIDE) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, features: Float[Tensor, "B C H W"], box: Float[Tensor, "B 4"]) -> Float[Tensor, "B C H W"]:
        """The template, by features of a crop and the box `(x, y, w, h)`, relative to the centre of the crop [px]."""
        return cut_out(features, self.mask(features, box))

    def mask(self, features: Float[Tensor, "B C H W"], box: Float[Tensor, "B 4"]) -> Float[Tensor, "B 1 H W"]:
        """1 on the target, 0 away from it."""
        half = MASK_SIZE * box[:, 2:] + MARGIN
        y, x = (cell_places(n, features, self.stride) for n in features.shape[2:])
        x = (x - box[:, :1]) / half[:, :1]
        y = (y - box[:, 1:2]) / half[:, 1:]
        distance = (x.square().unsqueeze(1) + y.square().unsqueeze(2)).sqrt()

        return torch.sigmoid(HARDNESS * (1 - distance)).unsqueeze(1)


def cut_out(features: Float[Tensor, "B C H W"], mask: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B C H W"]:
    """Features inside a mask, minus the mean of those outside."""
    outside = 1 - mask
    mean = (features * outside).sum((2, 3), keepdim=True) / outside.sum((2, 3), keepdim=True)

    return mask * (features - mean)


def cell_places(num_cells: int, like: Tensor, stride: int = STRIDE) -> Float[Tensor, " N"]:
    """Positions of cells relative to the centre of the crop [px]; those of stride 2 are on every second pixel."""
    return torch.arange(num_cells, dtype=like.dtype, device=like.device) * stride - (num_cells * stride - 1) / 2


class ChangeHead(nn.Module):
    """The least squares of each displacement for a change of features: `<h, T_d - T_0> - g/2 |T_d - T_0|^2`.

    Displacements are scored up to `reach` cells of `stride` px.
    """

    takes_held = ("template",)

    def __init__(self, reach: int = 16, stride: int = STRIDE) -> None:
        super().__init__()
        self.reach = reach
        self.stride = stride
        self.g = nn.Parameter(torch.tensor(1.0))
        self.log_scale = nn.Parameter(torch.tensor(-3.0))

    def forward(
        self, template: Float[Tensor, "S C H W"], change: Float[Tensor, "B C H W"] | None = None
    ) -> Float[Tensor, "B D D"]:
        """Log-odds of displacements from `-reach` to `reach` cells, one a pixel.

        `template` is `T` of the frame; of a batch, if several changes of the whole batch follow each other. Without
        `change`, `h` since the frame, nothing has changed.
        """
        if change is None:
            change = torch.zeros_like(template)

        side = 2 * self.stride * self.reach + 1
        # the transform of an empty batch is refused; len() would fix the batch of an exported head
        if template.shape[0] == 0:
            return template.new_empty((0, side, side))

        height, width = change.shape[-2:]
        # room for all displacements, so that nothing wraps around
        size = (height + self.reach, width + self.reach)
        cross, own = spectra(change, template, size)
        fits = self._near(torch.fft.irfft2(cross, s=size))
        autocorrelation = self._near(torch.fft.irfft2(own, s=size))

        # |T_d - T_0|^2 = 2 (|T|^2 - <T, T_d>), also for features that leave the crop
        middle = self.reach
        moved = self.g * (autocorrelation[:, middle, middle, None, None] - autocorrelation)
        score = (fits.unflatten(0, (-1, template.shape[0])) - moved).flatten(0, 1)
        score = score - fits[:, middle, middle, None, None]
        by_pixel: Tensor = _Upsampled.apply(score, side)

        return self.log_scale.exp() * by_pixel

    def _near(self, correlation: Float[Tensor, "B H W"]) -> Float[Tensor, "B D D"]:
        """The correlation of shifts from `-reach` to `reach`."""
        shift = torch.arange(-self.reach, self.reach + 1, device=correlation.device)
        rows = correlation.index_select(1, shift % correlation.shape[1])
        return rows.index_select(2, shift % correlation.shape[2])


def between_cells(num_cells: int, num_pixels: int) -> Float[Tensor, "P N"]:
    """Interpolation weights of cells at pixels along one axis; the first and the last ones of both coincide."""
    return _upsample(torch.eye(num_cells)[None], num_pixels, num_cells)[0]


class _Upsampled(torch.autograd.Function):
    """Bicubic interpolation; PyTorch's own gradient of it takes ten times as long as two products of matrices."""

    generate_vmap_rule = True

    @staticmethod
    def forward(score: Tensor, side: int) -> Tensor:
        return _upsample(score, side, side)

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        context.num_cells = inputs[0].shape[-1]

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        between = between_cells(context.num_cells, gradient.shape[-1]).to(gradient)
        return between.T @ gradient @ between, None


def _upsample(maps: Float[Tensor, "B H W"], height: int, width: int) -> Float[Tensor, "B H2 W2"]:
    return F.interpolate(maps.unsqueeze(1), (height, width), mode="bicubic", align_corners=True).squeeze(1)


class _SpectraPair(NamedTuple):
    """Spectra of the correlations `sum_{c, x} T_c(x) f_c(x + d)` of maps and template, and of the template with itself.

    `irfft2` makes correlations of them.
    """

    cross: Complex[Tensor, "B N M"]
    own: Float[Tensor, "S N M"]


def spectra(maps: Float[Tensor, "B C H W"], template: Float[Tensor, "S C H2 W2"], size: Size) -> _SpectraPair:
    """The spectra of the correlations of maps `f` with a template `T`, and of the template with itself.

    The template is of each sample, one for all, or of a batch that is in `maps` several times, one after the other.
    `size` is that of the transforms, padded with zeros; shifts wrap around.
    """
    # there are no transforms in bfloat16
    maps = upcast(maps)
    template = upcast(template)
    if _is_learned(maps, template):
        return _SpectraPair(*_Spectra.apply(maps, template, size))

    spectrum = torch.fft.rfft2(template, s=size)
    return _SpectraPair(_cross(maps, spectrum, size), _power(spectrum))


def cross_spectrum(
    maps: Float[Tensor, "B C H W"], template: Float[Tensor, "S C H2 W2"], size: Size
) -> Complex[Tensor, "B N M"]:
    """The first of `spectra` alone."""
    maps = upcast(maps)
    template = upcast(template)
    if _is_learned(maps, template):
        return spectra(maps, template, size).cross

    return _cross(maps, torch.fft.rfft2(template, s=size), size)


def _is_learned(maps: Tensor, template: Tensor) -> bool:
    return torch.is_grad_enabled() and (maps.requires_grad or template.requires_grad)


def _cross(maps: Tensor, spectrum: Tensor, size: Size) -> Tensor:
    """The product of the spectra of maps with the conjugate of a template's, summed over channels."""
    products = torch.fft.rfft2(maps, s=size)
    if spectrum.shape[0] != 1:
        products = products.unflatten(0, (-1, spectrum.shape[0]))
    return (products * spectrum.conj()).sum(-3).reshape(-1, *products.shape[-2:])


def _power(spectrum: Tensor) -> Tensor:
    return torch.view_as_real(spectrum).square().sum(1).sum(-1)


class _Spectra(torch.autograd.Function):
    """Spectra batch by batch, so that intermediate results stay small: new memory takes longer than the transforms.

    For the same reason the spectra of the maps are computed again in the backward pass.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(maps: Tensor, template: Tensor, size: Size) -> tuple[Tensor, Tensor]:
        spectrum = torch.fft.rfft2(template, s=size)
        cross = [_cross(batch, spectrum, size) for batch in maps.split(len(template))]
        return torch.cat(cross), _power(spectrum)

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Tensor, Tensor, Size], output: tuple[Tensor, Tensor]) -> None:
        maps, template, context.size = inputs
        context.save_for_backward(maps, template)

    @staticmethod
    def backward(context: Any, cross: Tensor, own: Tensor) -> tuple[Tensor | None, ...]:
        maps, template = context.saved_tensors
        size = context.size
        needs_maps, needs_template = context.needs_input_grad[:2]

        # a column that stands for itself and its mirror image would count twice in the backward pass
        half = torch.full_like(own[0, 0], 0.5)
        half[:: size[1] // 2 if size[1] % 2 == 0 else len(half)] = 1.0
        spectrum = torch.fft.rfft2(template, s=size)
        grad_maps = torch.empty_like(maps) if needs_maps else None
        grad_spectrum = (2 * own * half).unsqueeze(1) * spectrum
        number = len(template)

        for i, part in zip(range(0, len(maps), number), (cross * half).unsqueeze(1).split(number), strict=True):
            batch = slice(i, i + number)
            if grad_maps is not None:
                grad_maps[batch] = _inverse(part * spectrum, size, maps)
            if needs_template:
                grad_spectrum = grad_spectrum + part.conj() * torch.fft.rfft2(maps[batch], s=size)

        return grad_maps, _inverse(grad_spectrum, size, template) if needs_template else None, None


def _inverse(spectrum: Tensor, size: Size, like: Tensor) -> Tensor:
    height, width = like.shape[-2:]
    return torch.fft.irfft2(spectrum, s=size, norm="forward")[..., :height, :width]
