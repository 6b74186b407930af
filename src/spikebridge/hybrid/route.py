"""How signals travel in a stretch of ticks: links take in what their source gave, and parts read what has arrived."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from spikebridge.hybrid.clock import Clock
from spikebridge.hybrid.link import Modulation, Transmission
from spikebridge.hybrid.modulation import acts_on_a_parameter
from spikebridge.hybrid.plan import Route
from spikebridge.hybrid.unit import UnitState
from spikebridge.hybrid.window import Since
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.quantity import Effect
from spikebridge.neurons.state import State
from spikebridge.neurons.stateless import modulated, over_time

if TYPE_CHECKING:
    from spikebridge.hybrid.network import HybridNetwork


class LinkState(NamedTuple):
    """What a link remembers.

    Attributes:
        unit: the state of its unit.
        queue: values on the way, oldest first, `(B, Q, *N)`; their stamps follow from the clock.
        held: the newest value that has arrived, `(B, *N)`; the initial one before, None where that means absence.
        context: the newest value of the context, `(B, *C)`.
        triggered: whether a trigger waits for the next step of the source, `(B,)`.
    """

    unit: UnitState | None = None
    queue: Tensor | None = None
    held: Tensor | None = None
    context: Tensor | None = None
    triggered: Tensor | None = None


@dataclass
class Stretch:
    """One run over a stretch of ticks: signals so far, states, and inside a loop the signals of the present span."""

    network: "HybridNetwork"
    signals: dict[str, Tensor | None]
    parts: dict[str, State]
    links: dict[str, LinkState]
    like: Tensor
    start: int
    span: dict[str, Tensor | None] = field(default_factory=dict)

    def values(self, name: str, start: int, stop: int) -> Tensor | None:
        """What a signal gave from `start` to before `stop`, None where that is nothing."""
        if name in self.span:
            return self.span[name]
        x = self.signals.get(name)
        if x is None:
            return None
        clock = self.network.clock_of(name)
        before = clock.count(self.start)
        piece = x[clock.count(start) - before : clock.count(stop) - before]
        return piece if len(piece) else None


def absorb(stretch: Stretch, route: Route, start: int, stop: int) -> None:
    """A link takes in what its source gave in a span; its unit's values queue up."""
    state = stretch.links[route.name]
    link, unit = route.link, route.link.unit
    x = stretch.values(link.source, start, stop)
    if unit is None:
        if x is not None:
            stretch.links[route.name] = state._replace(queue=_enqueue(state.queue, x))
        return
    clock = stretch.network.clock_of(link.source)
    context = opens = None
    if link.context is not None:
        fresh = stretch.values(link.context, start, stop)
        ticks = unit.window_clock(clock).ticks(start, stop)
        context, held = _newest(stretch.network.clock_of(link.context), fresh, state.context, ticks, start, 0)
        state = state._replace(context=held)
    if isinstance(unit.window, Since):
        opens, triggered = _openings(stretch, unit.window.trigger, clock, state.triggered, start, stop)
        state = state._replace(triggered=triggered)
    if x is not None:
        y, unit_state = unit(x, state.unit, opens=opens, context=context)
        state = state._replace(unit=unit_state, queue=_enqueue(state.queue, y) if len(y) else state.queue)
    stretch.links[route.name] = state


def fire(stretch: Stretch, part: str, start: int, stop: int) -> Tensor | None:
    """A part runs over all its ticks of a span, and reads its links; None where it has no tick."""
    network = stretch.network
    clock = network.clock_of(part)
    ticks = clock.ticks(start, stop)
    signals: list[Tensor] = []
    named: dict[str, Tensor] = {}
    effects: list[Reading] = []
    for route in network.incoming[part]:
        arrived, state = _release(route, stretch.links[route.name], start, stop)
        link = route.link
        if isinstance(link, Transmission) and not link.held:
            x = _with_initial(route, arrived, state.held, start, stop)
            stretch.links[route.name] = state
        else:
            reading = Reading(link, arrived, state.held, _counts(route.clock, ticks, start, link.delay))
            stretch.links[route.name] = state._replace(held=state.held if arrived is None else arrived[-1])
            if isinstance(link, Modulation):
                effects.append(reading)
                continue
            x = reading.values(0, len(ticks)) if ticks else None
        if x is None:
            continue
        if link.into is None:
            signals.append(x)
        else:
            named[link.into] = x
    if not ticks:
        return None
    module = network.parts[part]
    outputs = []
    for a, b in _segments(module, effects, len(ticks)):
        whole = b - a == len(ticks)
        y, stretch.parts[part] = call(
            module,
            signals if whole else [x[a:b] for x in signals],
            named if whole else {name: x[a:b] for name, x in named.items()},
            stretch.parts[part],
            _effects(effects, a, b),
        )
        outputs.append(y)
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def call(
    module: nn.Module, signals: list[Tensor], named: dict[str, Tensor], state: State, effects: dict[str, list[Effect]]
) -> tuple[Tensor, State]:
    """A part on its signals `(T, B, *N)`, with what modulates it."""
    if isinstance(module, Stateful):
        y, state = module(signals[0], state, **named, **effects)
        return y, state
    if effects:
        return modulated(module, effects, *signals, **named), None
    return over_time(module, *signals, **named), None


class Reading(NamedTuple):
    """A held link over a part's ticks: the value held before, those that arrived, and at each tick how many had."""

    link: Transmission | Modulation
    arrived: Tensor | None
    held: Tensor | None
    counts: list[int]

    def values(self, a: int, b: int) -> Tensor:
        """The value at each of the ticks a..b, `(b - a, B, *N)`, or `(1, B, *N)` under modulation that stays the same."""
        counts = self.counts[a:b]
        if counts[0] == counts[-1]:
            one = self.held if counts[0] == 0 else self.arrived[counts[0] - 1]  # type: ignore[index]
            if one is None:
                raise RuntimeError("a value was read before there was one")
            return one.expand(1 if isinstance(self.link, Modulation) else b - a, *one.shape)
        arrived = self.arrived
        if arrived is None:
            raise RuntimeError("a value was read that has not arrived")
        if self.held is not None:
            arrived = torch.cat([self.held.unsqueeze(0), arrived])
        else:
            counts = [count - 1 for count in counts]
        return arrived.index_select(0, torch.tensor(counts, device=arrived.device))


def _segments(module: nn.Module, effects: list[Reading], num_ticks: int) -> list[tuple[int, int]]:
    """Where a part's run is cut: where a modulation appears, and, for weights, wherever it changes."""
    cuts = {0, num_ticks}
    for reading in effects:
        counts = reading.counts
        if not isinstance(reading.link, Modulation):
            continue
        if acts_on_a_parameter(module, reading.link.path):
            cuts |= {j for j in range(1, num_ticks) if counts[j] != counts[j - 1]}
        elif reading.held is None:
            cuts.add(next((j for j in range(num_ticks) if counts[j] > 0), 0))
    edges = sorted(cuts)
    return list(zip(edges[:-1], edges[1:], strict=True))


def _effects(readings: list[Reading], a: int, b: int) -> dict[str, list[Effect]]:
    effects: dict[str, list[Effect]] = {}
    for reading in readings:
        if isinstance(reading.link, Modulation) and (reading.held is not None or reading.counts[a] > 0):
            effects.setdefault(reading.link.path, []).append(Effect(reading.values(a, b), reading.link.by))
    return effects


def _enqueue(queue: Tensor | None, x: Tensor) -> Tensor:
    values = x.transpose(0, 1)
    return values if queue is None or not queue.shape[1] else torch.cat([queue, values], dim=1)


def _release(route: Route, state: LinkState, start: int, stop: int) -> tuple[Tensor | None, LinkState]:
    """The values that arrive in a span, `(r, B, *N)`, and the state without them."""
    delay = route.link.delay
    number = route.clock.count(stop - delay) - route.clock.count(start - delay)
    if number == 0 or state.queue is None:
        return None, state
    arrived = state.queue[:, :number].transpose(0, 1)
    rest = state.queue[:, number:] if state.queue.shape[1] > number else None
    return arrived, state._replace(queue=rest)


def _with_initial(route: Route, arrived: Tensor | None, initial: Tensor | None, start: int, stop: int) -> Tensor | None:
    """What a sampled part reads: initial values where a delay left a gap, then what arrived."""
    missing = route.reads.count(stop) - route.reads.count(start) - (0 if arrived is None else len(arrived))
    if missing <= 0 or initial is None:
        return arrived
    gap = initial.expand(missing, *initial.shape)
    return gap if arrived is None else torch.cat([gap, arrived])


def _counts(clock: Clock, ticks: list[int], start: int, delay: int) -> list[int]:
    before = clock.count(start - delay)
    return [clock.count(tick + 1 - delay) - before for tick in ticks]


def _newest(
    clock: Clock, fresh: Tensor | None, held: Tensor | None, ticks: list[int], start: int, delay: int
) -> tuple[Tensor | None, Tensor | None]:
    """A held signal at some ticks, `(len(ticks), B, *C)`, and what is held afterwards."""
    after = held if fresh is None else fresh[-1]
    if not ticks:
        return None, after
    reading = Reading(Transmission("", ""), fresh, held, _counts(clock, ticks, start, delay))
    return reading.values(0, len(ticks)), after


def _openings(
    stretch: Stretch, trigger: str, source: Clock, waiting: Tensor | None, start: int, stop: int
) -> tuple[Tensor, Tensor | None]:
    """Where windows open among the source's steps, `(T,)` for a clocked trigger or `(T, B)` for flags."""
    ticks = source.ticks(start, stop)
    clock = stretch.network.clock_of(trigger)
    flags = stretch.values(trigger, start, stop)
    if waiting is None and (flags is None or flags.dtype != torch.bool):
        previous = [tick - source.period for tick in ticks]
        opens = [
            clock.count(tick + 1) > (clock.count(before + 1) if before >= source.phase else 0)
            for tick, before in zip(ticks, previous, strict=True)
        ]
        return torch.tensor(opens, dtype=torch.bool, device=stretch.like.device), None
    now = (
        waiting if waiting is not None else torch.zeros(len(stretch.like), dtype=torch.bool, device=stretch.like.device)
    )
    rows = [] if flags is None else list(flags.reshape(len(flags), -1).expand(len(flags), len(now)).unbind(0))
    stamps = clock.ticks(start, stop)[: len(rows)]
    opens_now = []
    seen = 0
    for tick in ticks:
        while seen < len(rows) and stamps[seen] <= tick:
            now = now | rows[seen]
            seen += 1
        opens_now.append(now)
        now = torch.zeros_like(now)
    for row in rows[seen:]:
        now = now | row
    return torch.stack(opens_now) if opens_now else now.new_empty((0, len(now))), now
