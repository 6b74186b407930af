"""The graphs of the sensing network: the same pathways, linked by a transmission, a modulation, or nothing.

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
"""

from copy import deepcopy
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.hybrid import Exponential, HybridUnit, Modulation, Since, Sum, Transmission, every
from spikebridge.hybrid.link import Link
from spikebridge.networks.sensing_head import ChangeHead, Template
from spikebridge.networks.sensing_kernel import CorrelationHead, kernel_unit
from spikebridge.networks.sensing_pathways import STRIDE
from spikebridge.neurons import Integrator

UnitKind = Literal["learned", "fixed", "none"]
Mode = Literal["additive", "kernel"]
Head = Literal["change", "correlation"]
ChangeMap = Literal["linear", "tanh", "joined"]

# frames come when they come: each begins a stream, in which no second one follows
_NEVER_AGAIN = 2**30


class JoinedMap(nn.Module):
    """A map of the change beside the frame's features, less what it makes of these alone: no change stays none.

    A linear map of both, less that, would be a map of the change alone; so the tanh is taken first. It starts with the
    features left out.

    Args:
        change: the map of the change.

    Example:
        >>> joined = JoinedMap(nn.Conv2d(4, 4, 3, 1, 1, bias=False))
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
            change: what the events said since the frame.
            features: of the frame.
        """
        alone = self.features(features)  # with the map of the change, one convolution of both side by side
        return (self.change(change) + alone).tanh() - alone.tanh()


def additive_unit(
    kind: UnitKind, num_features: int, dt: float, tau: float = 0.1, side: int = 3, change_map: ChangeMap = "linear"
) -> HybridUnit:
    """Events since the frame, leakily summed, mapped to a change of features: window, kernel, map; no spikes.

    Args:
        kind: `learned` trains the time constant and the map, `fixed` is a plain sum.
        num_features: channels.
        dt: length of a bin [s].
        tau: where the time constant starts [s].
        side: of the map, 3 or 1 [cells].
        change_map: of the learned unit, see above; `joined` takes the frame's features as the unit's context.

    Example:
        >>> unit = additive_unit("fixed", 8, dt=1 / 240)
        >>> change, _ = unit(torch.ones(3, 1, 8, 4, 4), opens=torch.tensor([True, False, False]))
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
        nonlinearity = JoinedMap(identity)
    return HybridUnit(Since("frames"), Exponential(taus, dt=dt, keep=True, learn=("tau",)), nonlinearity)


def check_options(
    change_map: ChangeMap, counts: bool, *, mode: Mode = "additive", unit: UnitKind = "learned", **others: Any
) -> None:
    """Refuses options of what events say where a network has no use for them.

    Args:
        change_map: of the unit.
        counts: whether events are counted.
        mode: of the network.
        unit: its hybrid unit.
        others: what else is chosen of the network; it goes with every option.

    Raises:
        ConfigError: there is no such map, or it is of another unit; or there are no events to count.

    Example:
        >>> check_options("tanh", counts=True, mode="additive", unit="learned", prior=False)
    """
    _check_name("change map", change_map, ChangeMap)
    if change_map != "linear" and (mode, unit) != ("additive", "learned"):
        raise ConfigError(
            f"{change_map=} is a map of the learned unit of the additive form, but got {mode=} and {unit=}; leave out "
            "change_map, or take mode='additive' and unit='learned'"
        )
    if counts and unit == "none":
        raise ConfigError("counts are of events, but a network with unit='none' sees none; leave out counts")


def sensing_graph(
    mode: Mode,
    unit: UnitKind,
    head: Head,
    what: nn.Module,
    where: nn.Module,
    *,
    num_features: int,
    dt: float,
    reach: int,
    stride: int = STRIDE,
    side: int = 3,
    change_map: ChangeMap = "linear",
) -> dict[str, Any]:
    """Frames, boxes and events to a map of displacements at each bin: the arguments of a `HybridNetwork`.

    Args:
        mode: see above.
        unit: `none` removes it: then the events change nothing.
        head: of the additive form; the kernel form has the correlation.
        what: frames to features.
        where: events to the same features.
        num_features: channels of both.
        dt: length of a bin [s].
        reach: of the head [cells].
        stride: of both pathways [px].
        side: of the additive unit's map [cells].
        change_map: of the additive unit, see above and `check_options`.

    Raises:
        ConfigError: a mode, unit or head that there is not, or the change head in the kernel form.

    Example:
        >>> what, where = nn.Conv2d(1, 8, 5, 2, 2), nn.Conv2d(2, 8, 5, 2, 2)
        >>> sizes = {"num_features": 8, "dt": 0.01, "reach": 4}
        >>> graph = sensing_graph("kernel", "learned", "correlation", what, where, **sizes)
        >>> list(graph["parts"])
        ['what', 'where', 'membrane', 'head']
    """
    for name, value, known in (("mode", mode, Mode), ("hybrid unit", unit, UnitKind), ("head", head, Head)):
        _check_name(name, value, known)
    if mode == "kernel" and head == "change":
        raise ConfigError("the kernel form has no change of features; take head='correlation'")
    parts: dict[str, nn.Module] = {"what": what}
    inputs = {"frames": every(_NEVER_AGAIN * dt), "boxes": every(_NEVER_AGAIN * dt)}
    links: list[Link] = [Transmission("frames", "what")]
    if head == "change":
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
            links.append(_cut(mode, unit, num_features, stride))
    if unit != "none":
        inputs["events"] = every(dt)
        parts["where"] = where
        links.append(Transmission("events", "where"))
        if mode == "additive":
            adds = additive_unit(unit, num_features, dt, side=side, change_map=change_map)
            beside = "what" if change_map == "joined" else None
            links.append(Transmission("where", "head", adds, into="change", context=beside, name="unit"))
        else:
            parts["membrane"] = Integrator(torch.full((num_features, 1, 1), 0.013), dt=dt, learn=("tau",))
            links += [Transmission("where", "membrane"), Transmission("membrane", "head", into="change")]
    parts["head"] = (
        ChangeHead(reach, stride) if head == "change" else CorrelationHead(num_features, reach, stride=stride)
    )
    clocks = {"head": every(dt)}
    return {"dt": dt, "inputs": inputs, "parts": parts, "links": links, "outputs": ["head"], "clocks": clocks}


def _check_name(what: str, value: str, known: Any) -> None:
    if value not in get_args(known):
        raise ConfigError(f"there is no {what} {value!r}; {did_you_mean(str(value), get_args(known))}")


def _cut(mode: Mode, unit: UnitKind, num_features: int, stride: int) -> Modulation:
    """The target's features as weights of the head: the unit of the kernel form, a bare template in the other."""
    kind: Literal["learned", "fixed"] = "learned" if mode == "kernel" and unit == "learned" else "fixed"
    name = "unit" if mode == "kernel" else "template"
    cut = kernel_unit(kind, num_features, stride=stride)
    return Modulation("what", "head.weight", cut, by="replace", context="boxes", name=name)
