"""The graph of the sensing network: the hybrid unit from the SNN to the ANN, and the links around it.

| unit | what the events since the frame change |
|---|---|
| learned | a leaky sum with a learned time constant for each channel, mapped by a learned 3 x 3 convolution |
| fixed | a plain sum |
| none | nothing: frames only |
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.hybrid import Exponential, HybridUnit, Since, Sum, Transmission, every
from spikebridge.hybrid.network.link import Link
from spikebridge.networks.sensing.model.heads import ChangeHead, Template

_UnitKind = Literal["learned", "fixed", "none"]

# frames have no clock: each starts a stream that has no second frame
_NO_CLOCK = 2**30


def additive_unit(
    kind: _UnitKind, num_features: int, dt: float | None = None, tau: float = 0.1, side: int = 3
) -> HybridUnit:
    """The unit SNN -> ANN: a leaky sum of the events since the frame, mapped to a change of features; no spikes.

    A bin lasts `dt` seconds; None where a network binds it. `tau` is the initial time constant [s], `side` that of the
    map [cells].
    """
    if kind == "fixed":
        return HybridUnit(Since("frames"), Sum(keep=True))

    taus = torch.full((num_features, 1, 1), tau)
    kernel = Exponential(taus, dt=dt, keep=True, learn=("tau",))
    # it starts as the identity: an untrained unit is a leaky sum
    change_map = nn.Conv2d(num_features, num_features, side, 1, side // 2, bias=False)
    nn.init.dirac_(change_map.weight)

    return HybridUnit(Since("frames"), kernel, change_map)


@dataclass(frozen=True)
class SensingOptions:
    """The form of a `Sensing` network.

    Args:
        unit: the hybrid unit: `learned`, `fixed` (a plain sum), or `none`: then events change nothing.
        prior: the velocity between the last two frames is used.
        num_features: channels of both pathways.
        reach: displacements are scored up to this number of cells of 2 px.
        search: largest distance of a scored displacement from the predicted one, 1.6 times as large without a
            prediction [px].
        detector: the network has a target detector for frames without a given box.

    Raises:
        ConfigError: an unknown unit, or a search of less than 1 px.

    Example:
        >>> SensingOptions(unit="fixed").prior
        True
    """

    unit: _UnitKind = "learned"
    prior: bool = True
    num_features: int = 8
    reach: int = 16
    search: float = 10.0
    detector: bool = True

    def __post_init__(self) -> None:
        if not self.search >= 1:
            raise ConfigError(f"a search needs 1 px or more, but got {self.search}")

        kinds = get_args(_UnitKind)
        if self.unit not in kinds:
            raise ConfigError(f"there is no hybrid unit {self.unit!r}; {did_you_mean(str(self.unit), kinds)}")


def sensing_graph(options: SensingOptions, what: nn.Module, where: nn.Module, dt: float) -> dict[str, Any]:
    """Frames, boxes and events to a map of displacements at each bin: the arguments of a `HybridNetwork`.

    `what` makes features of frames, `where` the same features of events in bins of `dt` seconds.
    """
    parts: dict[str, nn.Module] = {"what": what, "template": Template()}
    inputs = {"frames": every(_NO_CLOCK * dt), "boxes": every(_NO_CLOCK * dt)}
    links: list[Link] = [
        Transmission("frames", "what"),
        Transmission("what", "template", into="features"),
        Transmission("boxes", "template", into="box"),
        Transmission("template", "head", held=True, into="template"),
    ]

    if options.unit != "none":
        inputs["events"] = every(dt)
        parts["where"] = where
        unit = additive_unit(options.unit, options.num_features)
        links += [Transmission("events", "where"), Transmission("where", "head", unit, into="change", name="unit")]

    parts["head"] = ChangeHead(options.reach)
    clocks = {"head": every(dt)}

    return {"dt": dt, "inputs": inputs, "parts": parts, "links": links, "outputs": ["head"], "clocks": clocks}
