"""Variants of the sensing network that gained nothing over it: other maps of the change, no memory, the kernel form.

F of the unit SNN -> ANN, by the summed change `h` and the frame's features `SF`; C, D are learned convolutions:

| change map | F |
|---|---|
| linear | `C h`, as in the package |
| tanh | `tanh(C h)` |
| joined | `tanh(C h + D SF) - tanh(D SF)` |

In the kernel form the unit goes from the ANN to the SNN. The ANN's features of the target are the weights that read the
SNN's features: `r_t(x) = sum_d K(d) . z_t(x + d)`, where `K` is cut out of the frame's features at the target and `z_t`
are the membranes of the last layer of the SNN. This is modulation of weights; the pathways are the same.

Source: the released code of R. Zhao et al., Nature Communications 13:3427 (2022), with membranes that remember.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridUnit, Modulation, Transmission, every
from spikebridge.networks.sensing.model.backbones import STRIDE, WhatPathway, WherePathway
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import SensingOptions, additive_unit, sensing_graph
from spikebridge.neurons import LIF, Integrator

ChangeMap = Literal["linear", "tanh", "joined"]
# frames have no clock: each starts a stream that has no second frame
_NO_CLOCK = 2**30
# a time constant with which nothing is left after a bin [s]
_NO_MEMORY = 1e-7
_MEMBRANE_TAU = 0.013
_KERNEL_CELLS = 11


@dataclass(frozen=True)
class VariantOptions(SensingOptions):
    """The form of a variant: kernel or additive, the map of the additive unit, and memory of the membranes."""

    mode: Literal["additive", "kernel"] = "additive"
    change_map: ChangeMap = "linear"
    memory: bool = True


class SensingVariant(Sensing):
    """A `Sensing` network of another form; trackers run it layer by layer."""

    event_parts = ("where", "membrane")

    @staticmethod
    def graph(options: Any, dt: float) -> dict[str, Any]:
        """See `Sensing.graph`."""
        what = WhatPathway(options.num_features)
        where = WherePathway(options.num_features)
        if not options.memory:
            where.spiking.lif = LIF(torch.full((options.num_features, 1, 1), _NO_MEMORY))

        if options.mode == "kernel":
            return _kernel_graph(options, what, where, dt)

        graph = sensing_graph(options, what, where, dt)
        if options.change_map != "linear":
            graph["links"] = [_mapped(options) if link.name == "unit" else link for link in graph["links"]]

        return graph


def _mapped(options: VariantOptions) -> Transmission:
    """The link of the additive unit with another map."""
    if options.unit != "learned":
        raise ConfigError(f"a change map is that of the learned unit, but got unit={options.unit!r}")

    unit = additive_unit("learned", options.num_features)
    linear: Any = unit.nonlinearity
    is_joined = options.change_map == "joined"
    unit.nonlinearity = JoinedMap(linear) if is_joined else nn.Sequential(linear, nn.Tanh())

    return Transmission("where", "head", unit, into="change", context="what" if is_joined else None, name="unit")


class JoinedMap(nn.Module):
    """The tanh of a map of change and features, minus that of the features alone: no change stays no change.

    Without the tanh the difference would be a map of the change alone. The weights of the features start at zero.
    """

    def __init__(self, change: Any) -> None:
        super().__init__()
        self.change = change
        self.features = deepcopy(change)
        nn.init.zeros_(self.features.weight)

    def forward(self, change: Float[Tensor, "B C H W"], features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The change of features, by the summed change and the features of the frame."""
        alone = self.features(features)
        return (self.change(change) + alone).tanh() - alone.tanh()


def _kernel_graph(options: VariantOptions, what: nn.Module, where: nn.Module, dt: float) -> dict[str, Any]:
    n = options.num_features
    parts: dict[str, nn.Module] = {"what": what}
    inputs = {"frames": every(_NO_CLOCK * dt), "boxes": every(_NO_CLOCK * dt)}
    links: list[Any] = [Transmission("frames", "what"), Transmission("boxes", "head", held=True, into="box")]

    if options.unit != "none":
        inputs["events"] = every(dt)
        parts["where"] = where
        parts["membrane"] = Integrator(torch.full((n, 1, 1), _MEMBRANE_TAU), learn=("tau",))
        unit = HybridUnit(nonlinearity=TargetKernel(n, is_mapped=options.unit == "learned"))
        links += [
            Modulation("what", "head.weight", unit, by="replace", context="boxes", name="unit"),
            Transmission("events", "where"),
            Transmission("where", "membrane"),
            Transmission("membrane", "head", into="change"),
        ]

    parts["head"] = CorrelationHead(n, options.reach)
    clocks = {"head": every(dt)}

    return {"dt": dt, "inputs": inputs, "parts": parts, "links": links, "outputs": ["head"], "clocks": clocks}


class TargetKernel(nn.Module):
    """Features cut at the target, bilinear, normalised to length one; a learned map of the channels may follow."""

    def __init__(self, num_features: int, size: int = _KERNEL_CELLS, is_mapped: bool = False) -> None:
        super().__init__()
        self.size = size
        self.map = nn.Conv2d(num_features, num_features, 1, bias=False) if is_mapped else None
        # it starts as the identity
        if self.map is not None:
            nn.init.dirac_(self.map.weight)

    def forward(self, features: Float[Tensor, "B C H W"], box: Float[Tensor, "B 4"]) -> Float[Tensor, "B 1 C K K"]:
        """The kernel, by features of the crop and the box relative to its centre [px]."""
        steps = STRIDE * (torch.arange(self.size, dtype=box.dtype, device=box.device) - self.size // 2)
        cut = read_at(features, box[:, :1] + steps, box[:, 1:2] + steps, STRIDE)
        if self.map is not None:
            cut = self.map(cut)

        return F.normalize(cut.flatten(1), dim=1).reshape(cut.shape).unsqueeze(1)


class CorrelationHead(nn.Module):
    """The correlation of features with a kernel, `weight`, at each displacement; zero until something modulates it."""

    def __init__(self, num_features: int, reach: int = 16, size: int = _KERNEL_CELLS) -> None:
        super().__init__()
        self.reach = reach
        self.weight = nn.Parameter(torch.zeros(1, num_features, size, size), requires_grad=False)
        self.log_scale = nn.Parameter(torch.tensor(0.0))

    def forward(
        self, box: Float[Tensor, "B 4"], change: Float[Tensor, "B C H W"] | None = None
    ) -> Float[Tensor, "B D D"]:
        """Log-odds of displacements from `-reach` to `reach` cells, one a pixel, by the output of the SNN."""
        side = 2 * STRIDE * self.reach + 1
        if change is None:
            return box.new_zeros((len(box), side, side))

        response = F.conv2d(change, self.weight, padding=self.weight.shape[-1] // 2)
        steps = torch.arange(side, dtype=box.dtype, device=box.device) - side // 2

        return read_at(response, box[:, :1] + steps, box[:, 1:2] + steps, STRIDE)[:, 0] * self.log_scale.exp()


def read_at(
    maps: Float[Tensor, "B C H W"], x: Float[Tensor, "B N"], y: Float[Tensor, "B M"], stride: int
) -> Float[Tensor, "B C M N"]:
    """Maps at positions between cells, bilinear; outside, the nearest cell.

    Cells are `stride` px apart, the first one on the first pixel; positions are relative to the centre of the crop
    [px].

    Example:
        >>> row = torch.tensor([0.0, 1.0, 2.0]).reshape(1, 1, 1, 3)  # at -2.5, -0.5 and 1.5 px of six
        >>> read_at(row, torch.tensor([[-0.5, 0.5]]), torch.tensor([[-0.5]]), stride=2).flatten().tolist()
        [1.0, 1.5]
    """
    down, across = (_between(place, n, stride) for place, n in zip((y, x), maps.shape[2:], strict=True))
    # two products of matrices: they take any modulated batch, which grid_sample does not
    return torch.einsum("bmh,bchw,bnw->bcmn", down, maps, across)


def _between(places: Float[Tensor, "B N"], num_cells: int, stride: int) -> Float[Tensor, "B N H"]:
    """The weight of each cell at each position: 1 on it, 0 at its neighbours and beyond."""
    cell = ((places + (num_cells * stride - 1) / 2) / stride).clamp(0, num_cells - 1)
    return (1 - (cell.unsqueeze(2) - torch.arange(num_cells, dtype=cell.dtype, device=cell.device)).abs()).clamp(min=0)
