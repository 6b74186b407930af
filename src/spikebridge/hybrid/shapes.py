"""Initial shapes: empty signals `(0, B, *N)` are sent through the graph once, so nobody writes a shape.

In a loop a part may read what comes back to it before its shape is known. Then shapes are tried: one is right when sending
it round the loop gives it back.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.hybrid.link import Transmission
from spikebridge.hybrid.plan import Group, Route
from spikebridge.hybrid.route import LinkState, call
from spikebridge.hybrid.window import Since
from spikebridge.neurons.state import State

if TYPE_CHECKING:
    from spikebridge.hybrid.network import HybridNetwork

Found = tuple[dict[str, Tensor], dict[str, State], dict[str, LinkState]]


def find_initial_state(
    network: "HybridNetwork", inputs: Mapping[str, Tensor]
) -> tuple[dict[str, State], dict[str, LinkState]]:
    """The states of all parts and links before the first tick."""
    signals = {name: x.new_empty((0, *x.shape[1:])) for name, x in inputs.items()}
    parts: dict[str, State] = {}
    links: dict[str, LinkState] = {}
    with _without_batch_statistics(network):
        for group in network.plan.groups:
            new_signals, new_parts, new_links = _probe_group(network, group, signals)
            signals |= new_signals
            parts |= new_parts
            links |= new_links
    return parts, {route.name: links[route.name] for route in network.routes}


def _probe_group(network: "HybridNetwork", group: Group, signals: dict[str, Tensor]) -> Found:
    late = [
        route
        for route in group.internal
        if route.link.delay > 0 and isinstance(route.link, Transmission) and route.link.source not in signals
    ]
    unknown = [route for route in late if not isinstance(route.link.initial, Tensor)]  # type: ignore[union-attr]
    given = {r.name: r.link.initial.shape for r in late if r not in unknown}  # type: ignore[union-attr]
    if not unknown:
        return _probe(network, group, signals, given)
    key = tuple(x.shape[2:] for x in signals.values())
    if key in network._loop_shapes and all(route.name in network._loop_shapes[key] for route in unknown):
        return _probe(network, group, signals, given | network._loop_shapes[key])
    for shapes in product(_candidates(network, signals), repeat=len(unknown)):
        guess = {route.name: shape for route, shape in zip(unknown, shapes, strict=True)}
        try:
            found = _probe(network, group, signals, given | guess)
        except (RuntimeError, ValueError, IndexError):
            continue
        actual = {route.name: _through(route, found[0][route.link.source])[0].shape[2:] for route in unknown}
        if actual == guess:
            network._loop_shapes.setdefault(key, {}).update(guess)
            return found
    names = ", ".join(f"{route.link.source!r} -> {route.link.target!r}" for route in unknown)
    raise ConfigError(
        f"the shape that comes back through the delayed link {names} could not be found; tell it once with "
        "Transmission(..., initial=torch.zeros(shape))"
    )


def _probe(
    network: "HybridNetwork", group: Group, signals: dict[str, Tensor], guess: Mapping[str, torch.Size]
) -> Found:
    """Sends empty signals through a group, with shapes taken as given for links from parts that come later."""
    known = dict(signals)
    parts: dict[str, State] = {}
    links: dict[str, LinkState] = {}
    like = next(x for x in signals.values() if x.dtype != torch.bool)
    for part in group.parts:
        arguments: list[Tensor] = []
        named: dict[str, Tensor] = {}
        for route in network.incoming[part]:
            link = route.link
            if not isinstance(link, Transmission):
                continue
            if route.name in guess:
                x = like.new_empty((0, like.shape[1], *guess[route.name]))
            else:
                x = _through(route, known[link.source], _context(route, known))[0]
            if link.into is None:
                arguments.append(x)
            else:
                named[link.into] = x
        known[part], parts[part] = call(network.parts[part], arguments, named, None, {})
    for part in group.parts:
        for route in network.incoming[part]:
            links[route.name] = _initial_link(route, known)
    return {part: known[part] for part in group.parts}, parts, links


def _initial_link(route: Route, known: dict[str, Tensor]) -> LinkState:
    context = _context(route, known)
    y, unit_state = _through(route, known[route.link.source], context)
    held = None
    if isinstance(route.link, Transmission):
        initial = route.link.initial
        value = initial.to(y) if isinstance(initial, Tensor) else torch.tensor(initial, dtype=y.dtype, device=y.device)
        if y.dtype != torch.bool:
            held = value.expand(y.shape[1:]).clone()
    triggered = None
    unit = route.link.unit
    if unit is not None and isinstance(unit.window, Since):
        trigger = known[unit.window.trigger]
        if trigger.dtype == torch.bool:
            triggered = torch.zeros(y.shape[1], dtype=torch.bool, device=y.device)
    start = None if context is None else context.new_zeros(context.shape[1:])
    return LinkState(unit_state, None, held, start, triggered)


def _context(route: Route, known: dict[str, Tensor]) -> Tensor | None:
    return None if route.link.context is None else known[route.link.context]


def _through(route: Route, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, State]:
    unit = route.link.unit
    if unit is None:
        return x, None
    opens = torch.empty(0, dtype=torch.bool) if isinstance(unit.window, Since) else None
    y, state = unit(x, None, opens=opens, context=context)
    return y, state


def _candidates(network: "HybridNetwork", signals: Mapping[str, Tensor]) -> list[torch.Size]:
    """Shapes that a loop may carry: those of known signals, and the widths of linear layers."""
    shapes = [x.shape[2:] for x in signals.values()]
    for module in network.modules():
        if isinstance(module, nn.Linear):
            shapes += [torch.Size([module.in_features]), torch.Size([module.out_features])]
    return list(dict.fromkeys(shapes))


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
