"""The graphs of the sensing network: the same pathways linked by a transmission, a modulation, or not at all.

| mode | hybrid unit | head |
|---|---|---|
| additive | SNN to ANN: what the events change is added to the frame's features | change, or correlation |
| kernel | ANN to SNN: the frame's features at the target are the weights of the read-out | correlation |

F of the learned additive unit, of the summed change `h` and the frame's features `SF`; C, D are learned convolutions:

| change map | F |
|---|---|
| linear | `C h` |
| tanh | `tanh(C h)` |
| joined | `tanh(C h + D SF) - tanh(D SF)` |

In the kernel form the ANN's features of the target are the weights that read the SNN's features:

    r_t(x) = sum_d K(d) . z_t(x + d)

`K` is cut out of the frame's features at the target, `z_t` are the membranes of the last layer of the SNN. This is
modulation of weights, ANN to SNN, where the additive form is a transmission, SNN to ANN; the pathways are the same.

Source: the released code of R. Zhao et al., Nature Communications 13:3427 (2022), with membranes that remember.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.hybrid import Exponential, HybridUnit, Modulation, Since, Sum, Transmission, every
from spikebridge.hybrid.network.link import Link
from spikebridge.networks.sensing.model.backbones import RESNET_STRIDE, STRIDE
from spikebridge.networks.sensing.model.heads import ChangeHead, Template
from spikebridge.neurons import Integrator

_UnitKind = Literal["learned", "fixed", "none"]
Mode = Literal["additive", "kernel"]
_Head = Literal["change", "correlation"]
ChangeMap = Literal["linear", "tanh", "joined"]
Size = Literal["small", "resnet"]

# frames have no clock: each starts a stream that has no second frame
_NEVER_AGAIN = 2**30


class _JoinedMap(nn.Module):
    """The tanh of a map of change and features, minus that of the features alone: no change stays no change.

    Without the tanh the difference would be a map of the change alone. The weights of the features start at zero.

    Args:
        change: the map of the change.

    Example:
        >>> joined = _JoinedMap(nn.Conv2d(4, 4, 3, 1, 1, bias=False))
        >>> joined(torch.zeros(1, 4, 8, 8), torch.rand(1, 4, 8, 8)).abs().max().item()
        0.0
    """

    def __init__(self, change: nn.Conv2d) -> None:
        super().__init__()
        self.change = change
        self.features = deepcopy(change)
        nn.init.zeros_(self.features.weight)

    def forward(self, change: Float[Tensor, "B C H W"], features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The change of features.

        Args:
            change: from the events since the frame.
            features: of the frame.
        """
        alone = self.features(features)  # with the map of the change, one convolution of both side by side
        return (self.change(change) + alone).tanh() - alone.tanh()


def additive_unit(
    kind: _UnitKind,
    num_features: int,
    dt: float | None = None,
    tau: float = 0.1,
    side: int = 3,
    change_map: ChangeMap = "linear",
) -> HybridUnit:
    """The unit SNN -> ANN: a leaky sum of the events since the frame, mapped to a change of features; no spikes.

    Args:
        kind: `learned`, with trained time constant and map, or `fixed`, a plain sum.
        num_features: channels.
        dt: length of a bin [s]; None where a network binds it.
        tau: where the time constant starts [s].
        side: of the map, 3 or 1 [cells].
        change_map: of the learned unit, see above; `joined` takes the frame's features as the unit's context.

    Example:
        >>> unit = additive_unit("fixed", 8, dt=1 / 240)
        >>> change, _ = unit(torch.ones(3, 1, 8, 4, 4), starts=torch.tensor([True, False, False]))
        >>> change[:, 0, 0, 0, 0].tolist()
        [1.0, 2.0, 3.0]
    """
    if kind == "fixed":
        return HybridUnit(Since("frames"), Sum(keep=True))

    taus = torch.full((num_features, 1, 1), tau)
    identity = nn.Conv2d(num_features, num_features, side, 1, side // 2, bias=False)
    nn.init.dirac_(identity.weight)
    nonlinearity: nn.Module = identity

    if change_map == "tanh":
        nonlinearity = nn.Sequential(identity, nn.Tanh())
    elif change_map == "joined":
        nonlinearity = _JoinedMap(identity)

    return HybridUnit(Since("frames"), Exponential(taus, dt=dt, keep=True, learn=("tau",)), nonlinearity)


@dataclass(frozen=True)
class SensingOptions:
    """The form of a `Sensing` network.

    Args:
        mode: `additive`, the unit SNN to ANN adds to the features; `kernel`, the unit ANN to SNN sets weights.
        unit: the hybrid unit: `learned`, `fixed` (a plain sum, a bare cut), or `none`: then events change nothing.
        head: of the additive form, `change` or `correlation`; the kernel form has the correlation.
        size: of the pathways: `small`, stride 2, or `resnet`, that of the paper, stride 8.
        prior: whether the velocity between the last two frames is used.
        num_features: channels of both pathways; for the resnet a multiple of 16.
        reach: displacements are evaluated up to this number of cells.
        search: and no farther than this from the predicted place, or 1.6 times as far without a prediction [px].
        memory: whether the membranes of the SNN keep their value between bins.
        detector: whether the network has a target detector for frames without a given box.
        change_map: F of the learned unit of the additive form: `linear`, `tanh` or `joined`, see the table above.
        counts: events are counted; else a pixel is 1 where it had any.

    Raises:
        ConfigError: an unknown value, or options that exclude each other.

    Example:
        >>> SensingOptions().stride, SensingOptions(size="resnet", num_features=16).stride
        (2, 8)
    """

    mode: Mode = "additive"
    unit: _UnitKind = "learned"
    head: _Head | None = None
    size: Size = "small"
    prior: bool = True
    num_features: int = 8
    reach: int = 16
    search: float = 10.0
    memory: bool = True
    detector: bool = True
    change_map: ChangeMap = "linear"
    counts: bool = False

    def __post_init__(self) -> None:
        """Refuses what does not fit together."""
        if not self.search >= 1:
            raise ConfigError(f"a search needs 1 px or more, but got {self.search}")

        values = {
            "mode": (self.mode, Mode),
            "hybrid unit": (self.unit, _UnitKind),
            "head": (self.head_kind, _Head),
            "change map": (self.change_map, ChangeMap),
        }
        for name, (value, known) in values.items():
            if value not in get_args(known):
                raise ConfigError(f"there is no {name} {value!r}; {did_you_mean(str(value), get_args(known))}")

        if self.size not in get_args(Size):
            raise ConfigError(
                f"there are no pathways of size {self.size!r}; {did_you_mean(str(self.size), get_args(Size))}"
            )

        mode = self.mode
        unit = self.unit
        change_map = self.change_map
        if change_map != "linear" and (mode, unit) != ("additive", "learned"):
            raise ConfigError(
                f"{change_map=} is a map of the learned unit of the additive form, but got {mode=} and {unit=}; leave "
                "out change_map, or take mode='additive' and unit='learned'"
            )

        if self.counts and unit == "none":
            raise ConfigError("counts are of events, but a network with unit='none' sees none; leave out counts")
        if mode == "kernel" and self.head == "change":
            raise ConfigError("the kernel form has no change of features; take head='correlation'")

    @property
    def head_kind(self) -> _Head:
        """The head, by default that of the mode."""
        return self.head or ("change" if self.mode == "additive" else "correlation")

    @property
    def stride(self) -> int:
        """Side of a cell of the pathways [px]."""
        return STRIDE if self.size == "small" else RESNET_STRIDE

    @property
    def map_side(self) -> int:
        """Side of the additive unit's map [cells]; the many channels of a resnet mix enough in one cell."""
        return 3 if self.size == "small" else 1


def sensing_graph(options: SensingOptions, what: nn.Module, where: nn.Module, dt: float) -> dict[str, Any]:
    """Frames, boxes and events to a map of displacements at each bin: the arguments of a `HybridNetwork`.

    Args:
        options: of the network; `unit="none"` removes the unit and the SNN.
        what: frames to features.
        where: events to the same features.
        dt: length of a bin [s].

    Example:
        >>> what, where = nn.Conv2d(1, 8, 5, 2, 2), nn.Conv2d(2, 8, 5, 2, 2)
        >>> list(sensing_graph(SensingOptions(mode="kernel", reach=4), what, where, dt=0.01)["parts"])
        ['what', 'where', 'membrane', 'head']
    """
    mode = options.mode
    unit = options.unit
    n = options.num_features
    stride = options.stride
    parts: dict[str, nn.Module] = {"what": what}
    inputs = {"frames": every(_NEVER_AGAIN * dt), "boxes": every(_NEVER_AGAIN * dt)}
    links: list[Link] = [Transmission("frames", "what")]

    if options.head_kind == "change":
        parts["template"] = Template(stride=stride)
        links += [
            Transmission("what", "template", into="features"),
            Transmission("boxes", "template", into="box"),
            Transmission("template", "head", held=True, into="template"),
        ]
    else:
        links.append(Transmission("boxes", "head", held=True, into="box"))
        if mode == "additive":
            links.append(Transmission("what", "head", held=True, into="features"))
        if mode == "additive" or unit != "none":
            links.append(_cut(options))

    if unit != "none":
        inputs["events"] = every(dt)
        parts["where"] = where
        links.append(Transmission("events", "where"))

        if mode == "additive":
            adds = additive_unit(unit, n, side=options.map_side, change_map=options.change_map)
            beside = "what" if options.change_map == "joined" else None
            links.append(Transmission("where", "head", adds, into="change", context=beside, name="unit"))
        else:
            parts["membrane"] = Integrator(torch.full((n, 1, 1), 0.013), learn=("tau",))
            links += [Transmission("where", "membrane"), Transmission("membrane", "head", into="change")]

    has_change_head = options.head_kind == "change"
    parts["head"] = (
        ChangeHead(options.reach, stride) if has_change_head else CorrelationHead(n, options.reach, stride=stride)
    )
    clocks = {"head": every(dt)}

    return {"dt": dt, "inputs": inputs, "parts": parts, "links": links, "outputs": ["head"], "clocks": clocks}


def _cut(options: SensingOptions) -> Modulation:
    """The target's features as weights of the head: the unit of the kernel form, a bare template in the other."""
    is_learned = options.mode == "kernel" and options.unit == "learned"
    name = "unit" if options.mode == "kernel" else "template"
    cut = _kernel_unit("learned" if is_learned else "fixed", options.num_features, stride=options.stride)
    return Modulation("what", "head.weight", cut, by="replace", context="boxes", name=name)


class TargetKernel(nn.Module):
    """Features cut at the target with bilinear interpolation, normalised to length one.

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
            box: centre of the target relative to the centre of the crop, and its size, `(x, y, w, h)` [px].
        """
        steps = self.stride * (torch.arange(self.size, dtype=box.dtype, device=box.device) - self.size // 2)
        cut = read_at(features, box[:, :1] + steps, box[:, 1:2] + steps, self.stride)
        if self.map is not None:
            cut = self.map(cut)

        return F.normalize(cut.flatten(1), dim=1).reshape(cut.shape).unsqueeze(1)


def read_at(
    maps: Float[Tensor, "B C H W"], x: Float[Tensor, "B N"], y: Float[Tensor, "B M"], stride: int
) -> Float[Tensor, "B C M N"]:
    """Maps at positions between cells, bilinear; outside, the nearest cell.

    Args:
        maps: their cells lie `stride` px apart, the first one on the first pixel.
        x: relative to the centre of the crop [px].
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
    """The weight of each cell at each position: 1 on it, 0 at its neighbours and beyond."""
    cell = ((places + (num_cells * stride - 1) / 2) / stride).clamp(0, num_cells - 1)
    return (1 - (cell.unsqueeze(2) - torch.arange(num_cells, dtype=cell.dtype, device=cell.device)).abs()).clamp(min=0)


def _kernel_unit(
    kind: Literal["learned", "fixed"], num_features: int, size: int = 11, stride: int = STRIDE
) -> HybridUnit:
    """The unit ANN -> SNN: a template, held until the next frame.

    Args:
        kind: `fixed` is the bare cut, `learned` maps its channels.
        num_features: channels.
        size: side of the cut [cells].
        stride: side of a cell [px].

    Example:
        >>> unit = _kernel_unit("fixed", 4, size=3)
        >>> kernel, _ = unit(torch.rand(1, 2, 4, 24, 24), context=torch.zeros(1, 2, 4))
        >>> kernel.shape
        torch.Size([1, 2, 1, 4, 3, 3])
    """
    return HybridUnit(nonlinearity=TargetKernel(num_features, size, kind == "learned", stride))


class CorrelationHead(nn.Module):
    """The correlation of the present features with a kernel, `weight`, at each displacement.

    The weight is zero until something modulates it, so that the response is zero without a target.

    Args:
        num_features: channels.
        reach: displacements are evaluated up to this number of cells.
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
            box: centre of the target relative to the centre of the crop, and its size [px].
            change: the output of the SNN, or the change since the frame.
            features: of the frame, to which a change is added.
        """
        seen = change if features is None else features if change is None else features + change
        side = 2 * self.stride * self.reach + 1
        if seen is None:
            return box.new_zeros((len(box), side, side))

        response = F.conv2d(seen, self.weight, padding=self.weight.shape[-1] // 2)
        steps = torch.arange(side, dtype=box.dtype, device=box.device) - side // 2

        return read_at(response, box[:, :1] + steps, box[:, 1:2] + steps, self.stride)[:, 0] * self.log_scale.exp()
