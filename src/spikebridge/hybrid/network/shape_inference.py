"""Shape inference: empty signals `(0, B, *N)` are sent through the graph once, so that users give no shapes.

In a loop, a part reads a delayed link before its source has run, so the shape on that link is unknown. Candidate shapes
are tried: one is right when the loop gives the same shape back; a shape that the loop gives instead is tried next.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid.network.delivery import unfit_initial
from spikebridge.hybrid.network.execution import apply_part
from spikebridge.hybrid.network.graph import Group, NetworkGraph
from spikebridge.hybrid.network.link import LinkState, Route, SignalSpec, Transmission, describe
from spikebridge.hybrid.unit.unit import UnitState
from spikebridge.neurons.state import State

Shapes = dict[str, torch.Size]

_STATISTICS = threading.RLock()

# what a module raises for a signal that does not fit
_MISFITS = (RuntimeError, ValueError, IndexError, TypeError, AssertionError)


def _through_unit(
    network: NetworkGraph, route: Route, known: Mapping[str, Tensor], state: UnitState | None = None
) -> tuple[Tensor, UnitState]:
    """Sends an empty signal through the unit of a link, from a state or as a new stream."""
    unit = network.unit_of(route)
    if unit is None:
        return known[route.link.source], UnitState()
    context = None if route.link.context is None else known[route.link.context]
    starts = None if route.trigger is None else ()
    y, state = unit(known[route.link.source], state, starts=starts, context=context)
    return y, state


def _through_part(
    network: NetworkGraph, part: str, known: Mapping[str, Tensor], shapes: Shapes
) -> tuple[Tensor, State]:
    """Sends empty signals through the links of a part and the part; `shapes` are those of links not run yet."""
    like = next(x for x in known.values() if x.is_floating_point())
    signals: list[Tensor] = []
    named: dict[str, Tensor] = {}
    for route in network.plan.incoming[part]:
        if not isinstance(route.link, Transmission):
            continue
        if route.name in shapes:
            x = like.new_empty((0, like.shape[1], *shapes[route.name]))
        else:
            x, _ = _through_unit(network, route, known)
        if route.into is None:
            signals.append(x)
        else:
            named[route.into] = x
    return apply_part(network.parts[part], signals, named, checked=True)


def _feedback_shapes(network: NetworkGraph, group: Group, known: Mapping[str, Tensor]) -> Shapes:
    """The shapes `*N` on the delayed links of a loop; a tensor given as initial value has the shape already."""
    given, unknown = {}, []
    for route in group.delayed:
        if isinstance(route.link, Transmission):
            if isinstance(route.link.initial, Tensor) and route.link.initial.ndim:
                given[route.name] = route.link.initial.shape
            else:
                unknown.append(route)
    return _FeedbackSearch(network, unknown).run(group.parts, known, given) if unknown else given


class _FeedbackSearch:
    """Tries candidate shapes part by part, in the order in which the parts run."""

    def __init__(self, network: NetworkGraph, unknown: list[Route]) -> None:
        self.network = network
        self.unknown = unknown
        self.returned: list[torch.Size] = []
        self.misfit: Exception | None = None

    def run(self, parts: list[str], known: Mapping[str, Tensor], given: Shapes) -> Shapes:
        """The first shapes that the loop gives back unchanged."""
        candidates = _candidates(self.network, known)
        while True:
            found = self._try(parts, known, given, candidates)
            if found is not None:
                return found
            new = [shape for shape in dict.fromkeys(self.returned) if shape not in candidates]
            if not new:
                break
            candidates = [*candidates, *new]
        raise ConfigError(
            f"the shape that comes back through {', '.join(describe(route.link) for route in self.unknown)} could not "
            f"be found (last tried: {self.misfit}); give it with Transmission(..., initial=torch.zeros(shape))"
        ) from self.misfit

    def _try(
        self, parts: list[str], known: Mapping[str, Tensor], shapes: Shapes, candidates: list[torch.Size]
    ) -> Shapes | None:
        if not parts:
            return shapes
        part, *rest = parts
        open_links = [
            route
            for route in self.network.plan.incoming[part]
            if route in self.unknown and any(source not in known for source in route.sources)
        ]
        for guess in product(candidates, repeat=len(open_links)):
            trial = shapes | {route.name: shape for route, shape in zip(open_links, guess, strict=True)}
            try:
                y, _ = _through_part(self.network, part, known, trial)
                after = {**known, part: y}
                right = all(self._is_consistent(route, known, after, trial) for route in self.unknown)
            except _MISFITS as misfit:
                self.misfit = misfit
                continue
            found = self._try(rest, after, trial, candidates) if right else None
            if found is not None:
                return found
        return None

    def _is_consistent(
        self, route: Route, before: Mapping[str, Tensor], after: Mapping[str, Tensor], trial: Shapes
    ) -> bool:
        """Whether a candidate shape is what its link gives; checked once, when the link's source has just run."""
        runs_now = all(s in after for s in route.sources) and any(s not in before for s in route.sources)
        if route.name not in trial or not runs_now:
            return True
        shape = _through_unit(self.network, route, after)[0].shape[2:]
        if shape != trial[route.name]:
            self.returned.append(shape)
            self.misfit = self.misfit or ConfigError(f"{tuple(trial[route.name])} came back as {tuple(shape)}")
        return shape == trial[route.name]


def _candidates(network: NetworkGraph, known: Mapping[str, Tensor]) -> list[torch.Size]:
    """Shapes that a loop may have: of signals, of inputs and outputs of layers, of inputs joined with a signal."""
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
    # a shape of ones broadcasts, and comes back as the shape that it was added to
    found += [torch.Size([1] * rank) for rank in range(1, 5)]
    return list(dict.fromkeys(found))


def infer_shapes(network: NetworkGraph, inputs: Mapping[str, Tensor]) -> dict[str, SignalSpec]:
    """The values of every link, by its name.

    Args:
        network: the network.
        inputs: empty signals, `(0, B, *N)`.

    Returns:
        Shape and kind of the values of each link.

    Raises:
        ConfigError: the shape on a link of a loop cannot be found.
        ShapeError: the initial value of a link has another shape than its values.
    """
    known = dict(inputs)
    specs: dict[str, SignalSpec] = {}
    device = next(iter(known.values())).device
    # random numbers that parts draw here do not change those drawn later
    with _without_statistics(network), torch.random.fork_rng([device] if device.type == "cuda" else []):
        for group in network.plan.groups:
            shapes = _feedback_shapes(network, group, known)
            for part in group.parts:
                known[part] = _through_part_or_explain(network, part, known, shapes)
            for route in (route for part in group.parts for route in network.plan.incoming[part]):
                specs[route.name] = _spec(network, route, known, shapes)
    return specs


def fill_states(
    network: NetworkGraph,
    inputs: Mapping[str, Tensor],
    links: Mapping[str, LinkState],
    specs: Mapping[str, SignalSpec],
) -> tuple[dict[str, State], dict[str, LinkState]]:
    """Complete initial states of parts and links, without a None for what the first sample would make.

    Args:
        network: the network.
        inputs: empty signals, `(0, B, *N)`.
        links: the initial states of the links.
        carried: what `find_shapes` found.

    Returns:
        The states of the parts and of the links.
    """
    known = dict(inputs)
    parts: dict[str, State] = {}
    full = dict(links)
    with _without_statistics(network):
        for group in network.plan.groups:
            shapes = {route.name: specs[route.name].shape for route in group.delayed}
            for part in group.parts:
                known[part], parts[part] = _through_part(network, part, known, shapes)
            for route in (route for part in group.parts for route in network.plan.incoming[part]):
                _, unit = _through_unit(network, route, known, links[route.name].unit)
                full[route.name] = links[route.name]._replace(unit=unit)
    return {part: parts[part] for part in network.plan.incoming}, full


def _through_part_or_explain(network: NetworkGraph, part: str, known: Mapping[str, Tensor], shapes: Shapes) -> Tensor:
    given = {route.name: tuple(shapes[route.name]) for route in network.plan.incoming[part] if route.name in shapes}
    try:
        return _through_part(network, part, known, shapes)[0]
    except _MISFITS as misfit:
        if not given:
            raise
        raise ShapeError(
            f"part {part!r} does not accept the signals of its links, with initial values of shapes {given}: {misfit}; "
            "give initial values of the right shape *N"
        ) from misfit


def _spec(network: NetworkGraph, route: Route, known: Mapping[str, Tensor], shapes: Shapes) -> SignalSpec:
    y, _ = _through_unit(network, route, known)
    if shapes.get(route.name, y.shape[2:]) != y.shape[2:]:
        raise unfit_initial(route, shapes[route.name], y.shape[2:])
    context = None if route.link.context is None else known[route.link.context].shape[2:]
    trigger = route.sources[-1] if route.trigger is not None else None
    # a mask has state; with a clock the starts of windows follow from the ticks
    masked = trigger is not None and known[trigger].dtype == torch.bool
    return SignalSpec(y.shape[2:], y.dtype == torch.bool, context, masked)


@contextmanager
def _without_statistics(network: NetworkGraph) -> Iterator[None]:
    """Batch normalisation has no statistics of empty signals, so it is in evaluation mode meanwhile."""
    trained = [child for children in (network.parts, network.units) for child in children.values() if child.training]
    norms = [m for child in trained for m in child.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
    if not norms:
        yield
        return
    with _STATISTICS:  # of one thread at a time, which would else find the mode of another
        norms = [norm for norm in norms if norm.training]
        for norm in norms:
            norm.training = False
        try:
            yield
        finally:
            for norm in norms:
                norm.training = True
