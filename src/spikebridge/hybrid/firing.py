"""How a part fires: it reads its links, runs over all its ticks of a span at once, and gives its outputs."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from spikebridge.hybrid.calling import call
from spikebridge.hybrid.clock import Clock
from spikebridge.hybrid.link import Modulation
from spikebridge.hybrid.reading import Reading
from spikebridge.hybrid.route import Route
from spikebridge.hybrid.transit import Transit
from spikebridge.neurons.quantity import Effect
from spikebridge.neurons.state import State


def fire(
    part: nn.Module,
    clock: Clock,
    transits: Sequence[Transit],
    arrivals: Sequence[Tensor | None],
    state: State,
    start: int,
    stop: int,
) -> tuple[Tensor | None, State]:
    """A part runs over all its ticks of a span.

    Args:
        part: the module.
        clock: its clock.
        transits: its links, in order.
        arrivals: what arrives on each link in this span, `(r, B, *N)` or None.
        state: of the part.
        start: first tick of the span.
        stop: the tick after the last.

    Returns:
        Its outputs `(T, B, *M)`, None where it has no tick, and its state.
    """
    ticks = clock.ticks(start, stop)
    signals: list[Tensor] = []
    named: dict[str, Tensor] = {}
    effects: list[tuple[Route, Reading]] = []
    for transit, arrived in zip(transits, arrivals, strict=True):
        route = transit.route
        if route.sampled:
            x = _with_initial(transit.held, arrived, len(ticks)) if ticks else None
        else:
            reading = _read(transit, arrived, ticks, start)
            if isinstance(route.link, Modulation):
                effects.append((route, reading))
                continue
            x = reading.values(0, len(ticks)) if ticks else None
        if x is None:
            continue
        if route.into is None:
            signals.append(x)
        else:
            named[route.into] = x
    if not ticks:
        return None, state
    return _run(part, signals, named, state, effects, len(ticks))


def _read(transit: Transit, arrived: Tensor | None, ticks: list[int], start: int) -> Reading:
    """A held link at the ticks of its target; the newest value stays held."""
    if arrived is None:
        return Reading(transit.held, None, [0] * len(ticks))
    clock, delay = transit.route.clock, transit.route.link.delay
    before = clock.count(start - delay)
    reading = Reading(transit.held, arrived, [count - before for count in clock.counts(ticks, delay)])
    transit.held = reading.newest
    return reading


def _with_initial(initial: Tensor | None, arrived: Tensor | None, number: int) -> Tensor | None:
    """What a sampled part reads: initial values where a delay left a gap, then what arrived."""
    missing = number - (0 if arrived is None else arrived.shape[0])
    if missing == 0 or initial is None:
        return arrived
    gap = initial.expand(missing, *initial.shape)
    return gap if arrived is None else torch.cat([gap, arrived])


def _run(
    part: nn.Module,
    signals: list[Tensor],
    named: dict[str, Tensor],
    state: State,
    effects: list[tuple[Route, Reading]],
    num_ticks: int,
) -> tuple[Tensor, State]:
    """Runs the part in segments, through each of which a modulation is there or absent, and modulated weights stay."""
    if not effects:
        return call(part, signals, named, state)
    edges = {0, num_ticks}
    for route, reading in effects:
        edges |= set(reading.changes if route.acts_on_a_parameter else (reading.appears,))
    segments = list(pairwise(sorted(edges)))
    if len(segments) == 1:
        return call(part, signals, named, state, _effects(effects, 0, num_ticks))
    numbers = [b - a for a, b in segments]
    # split, not x[a:b]: slices would cost the whole length each time in the backward pass
    columns = [x.split(numbers) for x in signals]
    named_columns = {name: x.split(numbers) for name, x in named.items()}
    outputs = []
    for index, (a, b) in enumerate(segments):
        y, state = call(
            part,
            [column[index] for column in columns],
            {name: column[index] for name, column in named_columns.items()},
            state,
            _effects(effects, a, b),
        )
        outputs.append(y)
    return torch.cat(outputs), state


def _effects(readings: list[tuple[Route, Reading]], a: int, b: int) -> dict[str, list[Effect]]:
    effects: dict[str, list[Effect]] = {}
    for route, reading in readings:
        link = route.link
        if isinstance(link, Modulation) and reading.appears <= a:
            effects.setdefault(link.path, []).append(Effect(reading.signal(a, b), link.by))
    return effects
