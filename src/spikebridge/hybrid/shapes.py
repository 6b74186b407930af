"""Initial states: empty signals `(0, B, *N)` are sent through the graph once, so nobody writes a shape."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from spikebridge.errors import ShapeError
from spikebridge.hybrid.link import Transmission, describe
from spikebridge.hybrid.loop_shapes import MISFITS, Shapes, send, shapes_that_come_back, through
from spikebridge.hybrid.route import LinkState, Route
from spikebridge.hybrid.unit import UnitState
from spikebridge.neurons.state import State

if TYPE_CHECKING:
    from spikebridge.hybrid.network import HybridNetwork


class Carried(NamedTuple):
    """What a link carries: the shape `*N` of its values, whether they are flags, and the shape of its context."""

    shape: torch.Size
    flags: bool
    context: torch.Size | None
    masked: bool


def find_shapes(network: "HybridNetwork", inputs: Mapping[str, Tensor]) -> dict[str, Carried]:
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
    carried: dict[str, Carried] = {}
    device = next(iter(known.values())).device
    # whatever parts and units draw while shapes are looked for, draws afterwards do not depend on it
    with _without_traces(network), torch.random.fork_rng([device] if device.type == "cuda" else []):
        for group in network.plan.groups:
            shapes = shapes_that_come_back(network, group, known)
            for part in group.parts:
                known[part] = _send_told(network, part, known, shapes)
            for route in (route for part in group.parts for route in network.incoming[part]):
                carried[route.name] = _look(network, route, known, shapes)
    return carried


def begin(
    network: "HybridNetwork", like: Tensor, carried: Mapping[str, Carried]
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
        shape, flags, context, masked = carried[route.name]
        unit = network.unit_of(route)
        links[route.name] = LinkState(
            unit=UnitState() if unit is None else unit.start(batch, like.device),
            held=_initial_value(route, like, shape, flags) if route.begins else None,
            context=None if context is None else like.new_zeros((batch, *context)),
            triggered=like.new_zeros(batch, dtype=torch.bool) if masked else None,
        )
    return dict.fromkeys(network.incoming), links


def fill(
    network: "HybridNetwork",
    inputs: Mapping[str, Tensor],
    links: Mapping[str, LinkState],
    carried: Mapping[str, Carried],
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
            shapes = {route.name: carried[route.name].shape for route in group.late}
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


def _look(network: "HybridNetwork", route: Route, known: Mapping[str, Tensor], shapes: Shapes) -> Carried:
    y, _ = through(network, route, known)
    if shapes.get(route.name, y.shape[2:]) != y.shape[2:]:
        raise _unfit(route, shapes[route.name], y.shape[2:])
    context = None if route.link.context is None else known[route.link.context].shape[2:]
    trigger = route.sources[-1] if route.trigger is not None else None
    # only a mask has to be remembered: a clock tells by itself where windows open
    masked = trigger is not None and known[trigger].dtype == torch.bool
    return Carried(y.shape[2:], y.dtype == torch.bool, context, masked)


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
