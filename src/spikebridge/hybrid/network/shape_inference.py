"""Initial states: empty signals `(0, B, *N)` are sent through the graph once, so nobody writes a shape.

Shapes that come back through a loop: a part reads them before what gives them has run.

Shapes are tried. One is right when sending it round the loop gives it back; one that comes back as another is a hint at
that other.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid.network.graph import Group
from spikebridge.hybrid.network.link import LinkState, Route, Transmission, describe
from spikebridge.hybrid.unit.apply import call
from spikebridge.hybrid.unit.unit import UnitState
from spikebridge.neurons.state import State

if TYPE_CHECKING:
    from spikebridge.hybrid.network.network import HybridNetwork


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
    starts = None if route.trigger is None else torch.empty(0, dtype=torch.bool)
    y, state = unit(known[route.link.source], state, starts=starts, context=context)
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


class DeliveredSignal(NamedTuple):
    """What a link carries: the shape `*N` of its values, whether they are flags, and the shape of its context."""

    shape: torch.Size
    flags: bool
    context: torch.Size | None
    masked: bool


def find_shapes(network: "HybridNetwork", inputs: Mapping[str, Tensor]) -> dict[str, DeliveredSignal]:
    """What every link carries, by its name.

    Args:
        network: what will run.
        inputs: empty signals, `(0, B, *N)`.

    Returns:
        Shapes and kinds.

    Raises:
        ConfigError: a shape that comes back through a loop cannot be found.
        ShapeError: the initial value of a link has another shape than what it carries.
    """
    known = dict(inputs)
    delivered: dict[str, DeliveredSignal] = {}
    device = next(iter(known.values())).device
    # whatever parts and units draw while shapes are looked for, draws afterwards do not depend on it
    with _without_traces(network), torch.random.fork_rng([device] if device.type == "cuda" else []):
        for group in network.plan.groups:
            shapes = shapes_that_come_back(network, group, known)
            for part in group.parts:
                known[part] = _send_told(network, part, known, shapes)
            for route in (route for part in group.parts for route in network.incoming[part]):
                delivered[route.name] = _look(network, route, known, shapes)
    return delivered


def begin(
    network: "HybridNetwork", like: Tensor, delivered: Mapping[str, DeliveredSignal]
) -> tuple[dict[str, State], dict[str, LinkState]]:
    """States before the first tick, with None for what parts and units make themselves of their first sample.

    Args:
        network: what will run.
        like: a tensor of the stream, batch first.
        carried: what `find_shapes` found.

    Returns:
        The states of the parts and of the links.
    """
    links = {}
    batch = like.shape[0]
    for route in network.routes:
        shape, flags, context, masked = delivered[route.name]
        unit = network.unit_of(route)
        links[route.name] = LinkState(
            unit=UnitState() if unit is None else unit.initial_state(batch, like.device),
            held=_initial_value(route, like, shape, flags) if route.begins else None,
            context=None if context is None else like.new_zeros((batch, *context)),
            triggered=like.new_zeros(batch, dtype=torch.bool) if masked else None,
        )
    return dict.fromkeys(network.incoming), links


def fill(
    network: "HybridNetwork",
    inputs: Mapping[str, Tensor],
    links: Mapping[str, LinkState],
    delivered: Mapping[str, DeliveredSignal],
) -> tuple[dict[str, State], dict[str, LinkState]]:
    """The same states with nothing left to the first sample, for those who want to see or export them.

    Args:
        network: what will run.
        inputs: empty signals, `(0, B, *N)`.
        links: what `begin` gave.
        carried: what `find_shapes` found.

    Returns:
        The states of the parts and of the links.
    """
    known = dict(inputs)
    parts: dict[str, State] = {}
    full = dict(links)
    with _without_traces(network):
        for group in network.plan.groups:
            shapes = {route.name: delivered[route.name].shape for route in group.late}
            for part in group.parts:
                known[part], parts[part] = send(network, part, known, shapes)
            for route in (route for part in group.parts for route in network.incoming[part]):
                _, unit = through(network, route, known, links[route.name].unit)
                full[route.name] = links[route.name]._replace(unit=unit)
    return {part: parts[part] for part in network.incoming}, full


def _send_told(network: "HybridNetwork", part: str, known: Mapping[str, Tensor], shapes: Shapes) -> Tensor:
    told = {route.name: tuple(shapes[route.name]) for route in network.incoming[part] if route.name in shapes}
    try:
        return send(network, part, known, shapes)[0]
    except MISFITS as misfit:
        if not told:
            raise
        raise ShapeError(
            f"part {part!r} cannot take what its links bring, initial values of the shapes {told}: {misfit}; give the "
            "shapes *N of what comes back"
        ) from misfit


def _look(network: "HybridNetwork", route: Route, known: Mapping[str, Tensor], shapes: Shapes) -> DeliveredSignal:
    y, _ = through(network, route, known)
    if shapes.get(route.name, y.shape[2:]) != y.shape[2:]:
        raise _unfit(route, shapes[route.name], y.shape[2:])
    context = None if route.link.context is None else known[route.link.context].shape[2:]
    trigger = route.sources[-1] if route.trigger is not None else None
    # only a mask has to be remembered: a clock tells by itself where windows open
    masked = trigger is not None and known[trigger].dtype == torch.bool
    return DeliveredSignal(y.shape[2:], y.dtype == torch.bool, context, masked)


def _initial_value(route: Route, like: Tensor, shape: torch.Size, flags: bool) -> Tensor:
    initial = route.link.initial if isinstance(route.link, Transmission) else 0.0
    if not isinstance(initial, Tensor):
        return like.new_full((like.shape[0], *shape), initial, dtype=torch.bool if flags else like.dtype)
    value = initial.to(device=like.device, dtype=torch.bool if flags else like.dtype)
    try:
        return value.expand(like.shape[0], *shape).clone()
    except RuntimeError:
        raise _unfit(route, value.shape, shape) from None


def _unfit(route: Route, initial: torch.Size, shape: torch.Size) -> ShapeError:
    return ShapeError(
        f"{describe(route.link)} has an initial value of shape {tuple(initial)}, but carries values of shape "
        f"{tuple(shape)}; give it that shape"
    )


@contextmanager
def _without_traces(network: "HybridNetwork") -> Iterator[None]:
    """Batch normalisation cannot take statistics of nothing, so it is in evaluation mode while shapes are found."""
    trained = [child for children in (network.parts, network.units) for child in children.values() if child.training]
    norms = [m for child in trained for m in child.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
    norms = [norm for norm in norms if norm.training]
    for norm in norms:
        norm.training = False
    try:
        yield
    finally:
        for norm in norms:
            norm.training = True
