"""The kernel form: what the ANN has seen of the target becomes the weights with which the SNN's features are read.

    r_t(x) = sum_d K(d) . z_t(x + d)

`K` is cut out of the frame's features at the target, `z_t` are the membranes of the last layer of the SNN. This is
modulation of weights, ANN to SNN, where the additive form is a transmission, SNN to ANN; the pathways are the same.

Source: the released code of R. Zhao et al., Nature Communications 13:3427 (2022), with membranes that remember.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridUnit
from spikebridge.networks.sensing_pathways import STRIDE


class TargetKernel(nn.Module):
    """Features cut at the target, between cells where it lies between them, of length one.

    Args:
        num_features: channels.
        size: side of the cut, odd [cells].
        mapped: whether a learned map of the channels comes after the cut; it starts as the identity.
        stride: side of a cell [px].

    Example:
        >>> kernel = TargetKernel(4, size=3)(torch.rand(2, 4, 24, 24), torch.tensor([[0.0, 0, 9, 9], [2.0, 0, 9, 9]]))
        >>> kernel.shape, kernel.square().sum((1, 2, 3, 4)).round(decimals=3).tolist()
        (torch.Size([2, 1, 4, 3, 3]), [1.0, 1.0])
    """

    def __init__(self, num_features: int, size: int = 11, mapped: bool = False, stride: int = STRIDE) -> None:
        super().__init__()
        if size < 1 or size % 2 == 0:
            raise ConfigError(f"a kernel's side is an odd number of cells, but got {size}")
        self.size = size
        self.stride = stride
        self.map = nn.Conv2d(num_features, num_features, 1, bias=False) if mapped else None
        if self.map is not None:
            nn.init.dirac_(self.map.weight)

    def forward(self, features: Float[Tensor, "B C H W"], box: Float[Tensor, "B 4"]) -> Float[Tensor, "B 1 C K K"]:
        """The cut.

        Args:
            features: of the frame's crop.
            box: middle of the target beside the middle of the crop, and its size, `(x, y, w, h)` [px].
        """
        steps = self.stride * (torch.arange(self.size, dtype=box.dtype, device=box.device) - self.size // 2)
        cut = read_at(features, box[:, :1] + steps, box[:, 1:2] + steps, self.stride)
        if self.map is not None:
            cut = self.map(cut)
        return F.normalize(cut.flatten(1), dim=1).reshape(cut.shape).unsqueeze(1)


def read_at(
    maps: Float[Tensor, "B C H W"], x: Float[Tensor, "B N"], y: Float[Tensor, "B M"], stride: int
) -> Float[Tensor, "B C M N"]:
    """Maps at places between cells, bilinear; outside, the nearest cell.

    Args:
        maps: their cells lie `stride` px apart, the first one on the first pixel.
        x: beside the middle of the crop [px].
        y: the same.
        stride: side of a cell [px].

    Example:
        >>> row = torch.tensor([0.0, 1.0, 2.0]).reshape(1, 1, 1, 3)  # at -2.5, -0.5 and 1.5 px of six
        >>> read_at(row, torch.tensor([[-0.5, 0.5]]), torch.tensor([[-0.5]]), stride=2).flatten().tolist()
        [1.0, 1.5]
    """
    down, across = (_between(place, n, stride) for place, n in zip((y, x), maps.shape[2:], strict=True))
    # two products of matrices: they take any modulated batch, which grid_sample does not
    return torch.einsum("bmh,bchw,bnw->bcmn", down, maps, across)


def _between(places: Float[Tensor, "B N"], num_cells: int, stride: int) -> Float[Tensor, "B N H"]:
    """How much each cell counts at each place: 1 on it, 0 at its neighbours and beyond."""
    cell = ((places + (num_cells * stride - 1) / 2) / stride).clamp(0, num_cells - 1)
    return (1 - (cell.unsqueeze(2) - torch.arange(num_cells, dtype=cell.dtype, device=cell.device)).abs()).clamp(min=0)


def kernel_unit(
    kind: Literal["learned", "fixed"], num_features: int, size: int = 11, stride: int = STRIDE
) -> HybridUnit:
    """The unit ANN to SNN: the value is held until the next frame, in time nothing else happens to it.

    Args:
        kind: `fixed` is the bare cut, `learned` maps its channels.
        num_features: channels.
        size: side of the cut [cells].
        stride: side of a cell [px].

    Example:
        >>> unit = kernel_unit("fixed", 4, size=3)
        >>> kernel, _ = unit(torch.rand(1, 2, 4, 24, 24), context=torch.zeros(1, 2, 4))
        >>> kernel.shape
        torch.Size([1, 2, 1, 4, 3, 3])
    """
    return HybridUnit(nonlinearity=TargetKernel(num_features, size, kind == "learned", stride))


class CorrelationHead(nn.Module):
    """How well each displacement fits a kernel: the correlation of the features seen now with `weight`.

    The weight is zero until something modulates it, so that the head says nothing of a target that it was not shown.

    Args:
        num_features: channels.
        reach: displacements are looked at up to so many cells.
        size: side of the kernel, odd [cells].
        stride: side of a cell [px].

    Example:
        >>> head = CorrelationHead(2, reach=2, size=3)
        >>> head(torch.zeros(1, 4), torch.rand(1, 2, 16, 16)).abs().max().item()
        0.0
    """

    def __init__(self, num_features: int, reach: int = 16, size: int = 11, stride: int = STRIDE) -> None:
        super().__init__()
        self.reach = reach
        self.stride = stride
        self.weight = nn.Parameter(torch.zeros(1, num_features, size, size), requires_grad=False)
        self.log_scale = nn.Parameter(torch.tensor(0.0))

    def forward(
        self,
        box: Float[Tensor, "B 4"],
        change: Float[Tensor, "B C H W"] | None = None,
        features: Float[Tensor, "B C H W"] | None = None,
    ) -> Float[Tensor, "B D D"]:
        """Log-odds of displacements from `-reach` to `reach` cells, one a pixel.

        Args:
            box: middle of the target beside the middle of the crop, and its size [px].
            change: what the SNN says, or its change since the frame.
            features: of the frame, to which a change is added.
        """
        seen = change if features is None else features if change is None else features + change
        side = 2 * self.stride * self.reach + 1
        if seen is None:
            return box.new_zeros((len(box), side, side))
        response = F.conv2d(seen, self.weight, padding=self.weight.shape[-1] // 2)
        steps = torch.arange(side, dtype=box.dtype, device=box.device) - side // 2
        return read_at(response, box[:, :1] + steps, box[:, 1:2] + steps, self.stride)[:, 0] * self.log_scale.exp()
