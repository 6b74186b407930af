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


class Template(nn.Module):
    """The target's features: those of the frame inside a soft ellipse, minus the mean of the features outside.

    Args:
        margin: added to the half axes, `0.55 w + margin` [px].
        hardness: how fast the mask falls from 1 to 0 at its edge.
        stride: side of a cell of the features [px].

    Example:
        >>> template = Template()(torch.ones(1, 8, 48, 48), torch.tensor([[0.0, 0.0, 20.0, 30.0]]))
        >>> template.abs().max().item() < 1e-6  # a uniform picture has no contrast
        True
    """

    def __init__(self, margin: float = 1.0, hardness: float = 4.0, stride: int = STRIDE) -> None:
        super().__init__()
        self.margin = margin
        self.hardness = hardness
        self.stride = stride

    def forward(self, features: Float[Tensor, "B C H W"], box: Float[Tensor, "B 4"]) -> Float[Tensor, "B C H W"]:
        """The cut.

        Args:
            features: of the frame's crop.
            box: centre of the target relative to the centre of the crop, and its size, `(x, y, w, h)` [px].
        """
        return cut_out(features, self.mask(features, box))

    def mask(self, features: Float[Tensor, "B C H W"], box: Float[Tensor, "B 4"]) -> Float[Tensor, "B 1 H W"]:
        """1 on the target, 0 away from it."""
        half = 0.55 * box[:, 2:] + self.margin
        y, x = (cell_places(n, features, self.stride) for n in features.shape[2:])
        x = (x - box[:, :1]) / half[:, :1]
        y = (y - box[:, 1:2]) / half[:, 1:]
        away = (x.square().unsqueeze(1) + y.square().unsqueeze(2)).sqrt()

        return torch.sigmoid(self.hardness * (1 - away)).unsqueeze(1)


def cut_out(features: Float[Tensor, "B C H W"], mask: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B C H W"]:
    """Features inside a mask, minus the mean of those outside.

    Args:
        features: of a crop.
        mask: 1 inside, 0 outside.
    """
    rest = 1 - mask
    around = (features * rest).sum((2, 3), keepdim=True) / rest.sum((2, 3), keepdim=True)

    return mask * (features - around)


def cell_places(num_cells: int, like: Tensor, stride: int = STRIDE) -> Float[Tensor, " N"]:
    """Positions of cells relative to the centre of the crop [px]. A cell of stride 2 is centred on every second pixel.

    Example:
        >>> cell_places(3, like=torch.zeros(1)).tolist()  # of pixels 0, 2, 4 of six, whose middle is 2.5
        [-2.5, -0.5, 1.5]
    """
    return torch.arange(num_cells, dtype=like.dtype, device=like.device) * stride - (num_cells * stride - 1) / 2


class ChangeHead(nn.Module):
    """The least squares of each displacement for a change of features: `<h, T_d - T_0> - g/2 |T_d - T_0|^2`.

    Args:
        reach: displacements are evaluated up to this number of cells.
        stride: side of a cell [px].

    Example:
        >>> head = ChangeHead(reach=2)
        >>> template = torch.zeros(1, 1, 8, 8)
        >>> template[0, 0, 4, 3] = 1.0
        >>> change = template.roll(1, dims=3) - template  # one cell to the right
        >>> (head(template, change)[0] == head(template, change).max()).nonzero().tolist()  # y = 0, x = + 1 cell
        [[4, 6]]
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

        Args:
            template: `T`, of the frame; of a batch, if several changes of the whole batch follow each other.
            change: `h`, since the frame; nothing has changed without it.
        """
        if change is None:
            change = torch.zeros_like(template)

        side = 2 * self.stride * self.reach + 1
        if template.shape[0] == 0:  # the transform of nothing is refused; len() would fix the batch of an exported head
            return template.new_empty((0, side, side))

        height, width = change.shape[-2:]
        size = (height + self.reach, width + self.reach)  # so that nothing wraps around
        # |T_d - T_0|^2 = 2 (|T|^2 - <T, T_d>), also for features that leave the crop
        explained, alike = (self._near(torch.fft.irfft2(x, s=size)) for x in spectra(change, template, size))
        middle = self.reach
        moved = self.g * (alike[:, middle, middle, None, None] - alike)
        score = (explained.unflatten(0, (-1, template.shape[0])) - moved).flatten(0, 1)
        score = score - explained[:, middle, middle, None, None]
        finer: Tensor = _Finer.apply(score, side)

        return self.log_scale.exp() * finer

    def _near(self, correlation: Float[Tensor, "B H W"]) -> Float[Tensor, "B D D"]:
        """The correlation of shifts from `-reach` to `reach`."""
        shift = torch.arange(-self.reach, self.reach + 1, device=correlation.device)
        rows = correlation.index_select(1, shift % correlation.shape[1])
        return rows.index_select(2, shift % correlation.shape[2])


def between_cells(num_cells: int, num_pixels: int) -> Float[Tensor, "P N"]:
    """Interpolation weights of cells at pixels, along one axis of the head's response.

    Args:
        num_cells: the first and the last one are on the first and the last pixel.
        num_pixels: of the response.

    Example:
        >>> between_cells(5, 9)[4].tolist()  # a pixel on a cell reads that cell alone
        [0.0, 0.0, 1.0, 0.0, 0.0]
    """
    return _finer(torch.eye(num_cells)[None], num_pixels, num_cells)[0]


class _Finer(torch.autograd.Function):
    """Bicubic interpolation; PyTorch's own gradient of it takes ten times as long as two products of matrices."""

    generate_vmap_rule = True

    @staticmethod
    def forward(score: Tensor, side: int) -> Tensor:
        return _finer(score, side, side)

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        context.num_cells = inputs[0].shape[-1]

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        between = between_cells(context.num_cells, gradient.shape[-1]).to(gradient)
        return between.T @ gradient @ between, None


def _finer(maps: Float[Tensor, "B H W"], height: int, width: int) -> Float[Tensor, "B H2 W2"]:
    return F.interpolate(maps.unsqueeze(1), (height, width), mode="bicubic", align_corners=True).squeeze(1)


Size = tuple[int, int]


class _SpectraPair(NamedTuple):
    """What `irfft2` makes correlations of, summed over channels.

    Args:
        cross: of maps and template, `sum_{c, x} T_c(x) f_c(x + d)`.
        own: of the template with itself.
    """

    cross: Complex[Tensor, "B N M"]
    own: Float[Tensor, "S N M"]


def spectra(maps: Float[Tensor, "B C H W"], template: Float[Tensor, "S C H2 W2"], size: Size) -> _SpectraPair:
    """The spectra of the correlations of maps with a template, and of the template with itself.

    Args:
        maps: `f`.
        template: `T` of each sample, one for all, or of a batch that is in `maps` several times, one after the other.
        size: of the transforms; padded with zeros; shifts wrap around.

    Example:
        >>> maps, template = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
        >>> maps[0, 0, 2, 3] = template[0, 0, 1, 1] = 1.0
        >>> fits = torch.fft.irfft2(spectra(maps, template, (8, 8)).cross, s=(8, 8))
        >>> divmod(int(fits[0].argmax()), 8)  # one row down, two columns to the right
        (1, 2)
    """
    maps = upcast(maps)  # there are no transforms in bfloat16
    template = upcast(template)
    if _is_learned(maps, template):
        return _SpectraPair(*_Spectra.apply(maps, template, size))

    place = torch.fft.rfft2(template, s=size)
    return _SpectraPair(_cross(maps, place, size), _own(place))


def cross_spectrum(
    maps: Float[Tensor, "B C H W"], template: Float[Tensor, "S C H2 W2"], size: Size
) -> Complex[Tensor, "B N M"]:
    """The first of `spectra` alone.

    Args:
        maps: as there.
        template: as there.
        size: as there.
    """
    maps = upcast(maps)
    template = upcast(template)
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
    """Batch by batch, so that intermediate results stay small: new memory takes longer than the transforms.

    For the same reason the spectra of the maps are computed again in the backward pass.
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
        size = context.size
        wanted = context.needs_input_grad

        # a column that stands for itself and its mirror image would count twice in the backward pass
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
