"""Initial states: empty signals `(0, B, *N)` are sent through the graph once, so nobody writes a shape.

In a loop a part may read what comes back to it before its shape is known; `loop_shapes.py` finds such shapes first.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from spikebridge.errors import ShapeError
from spikebridge.hybrid.link import describe, trigger_of
from spikebridge.hybrid.loop_shapes import Shapes, send, shapes_that_come_back, through
from spikebridge.hybrid.route import LinkState, Route
from spikebridge.neurons.state import State

if TYPE_CHECKING:
    from spikebridge.hybrid.network import HybridNetwork


def find_initial_state(
    network: "HybridNetwork", inputs: Mapping[str, Tensor]
) -> tuple[dict[str, State], dict[str, LinkState]]:
    """The states of all parts and links before the first tick.

    Args:
        network: what will run.
        inputs: empty signals, `(0, B, *N)`.

    Returns:
        The states of the parts, and those of the links in the order of the network.

    Raises:
        ConfigError: a shape that comes back through a loop cannot be found.
        ShapeError: the initial value of a link does not fit what it carries.
    """
    known = dict(inputs)
    parts: dict[str, State] = {}
    links: dict[str, LinkState] = {}
    with _without_batch_statistics(network):
        for group in network.plan.groups:
            shapes = shapes_that_come_back(network, group, known)
            made: dict[str, tuple[Tensor, State]] = {}
            for part in group.parts:
                known[part], parts[part], made_on_the_way = send(network, part, known, shapes)
                made |= made_on_the_way
            for route in (route for part in group.parts for route in network.incoming[part]):
                y, unit_state = made[route.name] if route.name in made else through(network, route, known)
                links[route.name] = _begin(route, y, unit_state, known, shapes)
    return {name: parts[name] for name in network.incoming}, {route.name: links[route.name] for route in network.routes}


def _begin(route: Route, y: Tensor, unit_state: State, known: Mapping[str, Tensor], shapes: Shapes) -> LinkState:
    """What a link remembers before the first tick, from the empty signal that it carries."""
    context = None if route.link.context is None else known[route.link.context]
    trigger = trigger_of(route.link)
    # only a mask has to be remembered: a clock tells by itself where windows open
    masked = trigger is not None and known[trigger].dtype == torch.bool
    return LinkState(
        unit=unit_state,
        held=_initial_value(route, y, shapes),
        context=None if context is None else context.new_zeros(context.shape[1:]),
        triggered=torch.zeros(y.shape[1], dtype=torch.bool, device=y.device) if masked else None,
    )


def _initial_value(route: Route, y: Tensor, shapes: Shapes) -> Tensor | None:
    initial = getattr(route.link, "initial", None)
    if initial is None:
        return None  # a modulation is absent before its first value
    value = initial.to(y) if isinstance(initial, Tensor) else torch.tensor(initial, dtype=y.dtype, device=y.device)
    try:
        fits = shapes.get(route.name, y.shape[2:]) == y.shape[2:]
        return value.expand(y.shape[1:]).clone() if fits else _refuse(route, value, y)
    except RuntimeError:
        return _refuse(route, value, y)


def _refuse(route: Route, value: Tensor, y: Tensor) -> Tensor:
    raise ShapeError(
        f"{describe(route.link)} has an initial value of shape {tuple(value.shape)}, but carries values of shape "
        f"{tuple(y.shape[2:])}; give it that shape"
    )


@contextmanager
def _without_batch_statistics(network: nn.Module) -> Iterator[None]:
    """Batch normalisation cannot take statistics of nothing, so it is in evaluation mode while shapes are found."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._NormBase) and m.training]
    for norm in norms:
        norm.training = False
    try:
        yield
    finally:
        for norm in norms:
            norm.training = True
