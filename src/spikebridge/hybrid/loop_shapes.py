"""Shapes that come back through a loop: a part reads them before what gives them has run.

Shapes are tried. One is right when sending it round the loop gives it back; one that comes back as another is a hint at
that other.
"""

from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.hybrid.calling import call
from spikebridge.hybrid.link import Transmission, describe
from spikebridge.hybrid.order import Group
from spikebridge.hybrid.route import Route
from spikebridge.hybrid.unit import UnitState
from spikebridge.neurons.state import State

if TYPE_CHECKING:
    from spikebridge.hybrid.network import HybridNetwork

Shapes = dict[str, torch.Size]

# what a module says when a signal does not fit it
MISFITS = (RuntimeError, ValueError, IndexError, TypeError, AssertionError)


def through(
    network: "HybridNetwork", route: Route, known: Mapping[str, Tensor], state: UnitState | None = None
) -> tuple[Tensor, UnitState]:
    """An empty signal through the unit of a link.

    Args:
        network: where the link stands.
        route: the link.
        known: empty signals so far, `(0, B, *N)`.
        state: of the unit; None for a new stream.

    Returns:
        The empty signal that the link carries, and the state of the unit with all its stages.
    """
    unit = network.unit_of(route)
    if unit is None:
        return known[route.link.source], UnitState()
    context = None if route.link.context is None else known[route.link.context]
    opens = None if route.trigger is None else torch.empty(0, dtype=torch.bool)
    y, state = unit(known[route.link.source], state, opens=opens, context=context)
    return y, state


def send(network: "HybridNetwork", part: str, known: Mapping[str, Tensor], shapes: Shapes) -> tuple[Tensor, State]:
    """Empty signals through the links of a part and the part itself.

    Args:
        network: where the part stands.
        part: its name.
        known: empty signals so far, `(0, B, *N)`.
        shapes: of what comes back on links whose source has not run.

    Returns:
        The empty output and the initial state.
    """
    like = next(x for x in known.values() if x.is_floating_point())
    signals: list[Tensor] = []
    named: dict[str, Tensor] = {}
    for route in network.incoming[part]:
        if not isinstance(route.link, Transmission):
            continue
        if route.name in shapes:
            x = like.new_empty((0, like.shape[1], *shapes[route.name]))
        else:
            x, _ = through(network, route, known)
        if route.into is None:
            signals.append(x)
        else:
            named[route.into] = x
    return call(network.parts[part], signals, named)


def shapes_that_come_back(network: "HybridNetwork", group: Group, known: Mapping[str, Tensor]) -> Shapes:
    """The shapes on the delayed links of a loop that are read before their source has run.

    Args:
        network: where the loop stands.
        group: the loop.
        known: empty signals from before the loop.

    Returns:
        Shapes `*N` by the names of the links; where the user gave an initial tensor, its shape.

    Raises:
        ConfigError: no shape comes back as it went.
    """
    given, unknown = {}, []
    for route in group.late:
        if isinstance(route.link, Transmission):
            if isinstance(route.link.initial, Tensor) and route.link.initial.ndim:
                given[route.name] = route.link.initial.shape
            else:
                unknown.append(route)
    return _Search(network, unknown).run(group.parts, known, given) if unknown else given


class _Search:
    """Tries shapes part by part, in the order in which the parts fire."""

    def __init__(self, network: "HybridNetwork", unknown: list[Route]) -> None:
        self.network = network
        self.unknown = unknown
        self.came_back: list[torch.Size] = []
        self.misfit: Exception | None = None

    def run(self, parts: list[str], known: Mapping[str, Tensor], given: Shapes) -> Shapes:
        """The first shapes that come back as they went."""
        candidates = _candidates(self.network, known)
        while True:
            found = self._try(parts, known, given, candidates)
            if found is not None:
                return found
            new = [shape for shape in dict.fromkeys(self.came_back) if shape not in candidates]
            if not new:
                break
            candidates = [*candidates, *new]
        raise ConfigError(
            f"the shape that comes back through {', '.join(describe(route.link) for route in self.unknown)} could not "
            f"be found (last tried: {self.misfit}); tell it once with Transmission(..., initial=torch.zeros(shape))"
        ) from self.misfit

    def _try(
        self, parts: list[str], known: Mapping[str, Tensor], shapes: Shapes, candidates: list[torch.Size]
    ) -> Shapes | None:
        if not parts:
            return shapes
        part, *rest = parts
        open_links = [
            route
            for route in self.network.incoming[part]
            if route in self.unknown and any(source not in known for source in route.sources)
        ]
        for guess in product(candidates, repeat=len(open_links)):
            trial = shapes | {route.name: shape for route, shape in zip(open_links, guess, strict=True)}
            try:
                y, _ = send(self.network, part, known, trial)
                after = {**known, part: y}
                right = all(self._comes_back(route, known, after, trial) for route in self.unknown)
            except MISFITS as misfit:
                self.misfit = misfit
                continue
            found = self._try(rest, after, trial, candidates) if right else None
            if found is not None:
                return found
        return None

    def _comes_back(
        self, route: Route, before: Mapping[str, Tensor], after: Mapping[str, Tensor], trial: Shapes
    ) -> bool:
        """Whether a guessed shape is what its link gives, looked at once, when its source has just run."""
        runs_now = all(s in after for s in route.sources) and any(s not in before for s in route.sources)
        if route.name not in trial or not runs_now:
            return True
        shape = through(self.network, route, after)[0].shape[2:]
        if shape != trial[route.name]:
            self.came_back.append(shape)
            self.misfit = self.misfit or ConfigError(f"{tuple(trial[route.name])} came back as {tuple(shape)}")
        return shape == trial[route.name]


def _candidates(network: "HybridNetwork", known: Mapping[str, Tensor]) -> list[torch.Size]:
    """Shapes that a loop may carry: those of signals, what layers take and give, what is missing beside a signal."""
    shapes = [x.shape[2:] for x in known.values()]
    found = list(shapes)
    for module in network.modules():
        if isinstance(module, nn.Linear):
            widths = [shape[0] for shape in shapes if len(shape) == 1]
            sizes = [module.out_features, module.in_features, *(module.in_features - width for width in widths)]
            found += [torch.Size([size]) for size in sizes if size > 0]
        elif isinstance(module, nn.modules.conv._ConvNd):
            for shape in (shape for shape in shapes if len(shape) == len(module.kernel_size) + 1):
                sizes = [module.out_channels, module.in_channels, module.in_channels - shape[0]]
                found += [torch.Size([size, *shape[1:]]) for size in sizes if size > 0]
    # ones fit whatever they are added to, and come back as its shape
    found += [torch.Size([1] * rank) for rank in range(1, 5)]
    return list(dict.fromkeys(found))
