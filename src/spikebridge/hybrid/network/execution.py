"""A stretch of a stream: groups of parts run in order over all its ticks, loops in spans.

How a part fires: it reads its links, runs over all its ticks of a span at once, and gives its outputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from spikebridge.hybrid.clock import Clock
from spikebridge.hybrid.network.delivery import LinkBuffer, ZeroOrderHold, split_by
from spikebridge.hybrid.network.graph import Group
from spikebridge.hybrid.network.link import LinkState, Modulation, Route
from spikebridge.hybrid.unit.apply import call
from spikebridge.neurons.quantity import Effect
from spikebridge.neurons.state import State

if TYPE_CHECKING:
    from spikebridge.hybrid.network.network import HybridNetwork


@dataclass(slots=True, eq=False)
class Segment:
    """One run over the ticks from `start` to before `stop`.

    Attributes:
        network: what runs.
        signals: what inputs and parts have given so far, `(K, B, *N)`, None where that is nothing.
        parts: the states of the parts.
        transits: the links by the part that they lead to, in order.
    """

    network: "HybridNetwork"
    start: int
    stop: int
    signals: dict[str, Tensor | None]
    parts: dict[str, State]
    buffers: dict[str, list[LinkBuffer]]

    @classmethod
    def begin(
        cls,
        network: "HybridNetwork",
        inputs: Mapping[str, Tensor],
        parts: Mapping[str, State],
        links: Mapping[str, LinkState],
        start: int,
        stop: int,
    ) -> "Segment":
        """A stretch from the states of parts and links."""
        signals = {name: x if (x := inputs.get(name)) is not None and x.shape[0] else None for name in network.inputs}
        buffers = {
            part: [LinkBuffer.begin(route, network.unit_of(route), links[route.name]) for route in routes]
            for part, routes in network.incoming.items()
        }
        return cls(network, start, stop, signals, dict(parts), buffers)

    def run(self) -> None:
        """Runs every group once."""
        for group in self.network.plan.groups:
            spans = group.spans(self.start, self.stop)
            if len(spans) == 1:
                self._run_span(group)
            else:
                self._run_spans(group, spans)

    def links(self) -> dict[str, LinkState]:
        """What the links remember."""
        return {buffer.route.name: buffer.end() for buffers in self.buffers.values() for buffer in buffers}

    def _fire(self, part: str, arrivals: list[Tensor | None], start: int, stop: int) -> Tensor | None:
        network = self.network
        y, self.parts[part] = fire(
            network.parts[part],
            network.plan.clocks[part],
            self.buffers[part],
            arrivals,
            self.parts[part],
            start,
            stop,
        )
        return y

    def _run_span(self, group: Group) -> None:
        """Runs a group over all ticks at once."""
        for part in group.parts:
            arrivals = []
            for buffer in self.buffers[part]:
                if buffer.route not in group.late:
                    buffer.push(self.signals, self.start, self.stop)
                arrivals.append(buffer.pop(self.start, self.stop))
            self.signals[part] = self._fire(part, arrivals, self.start, self.stop)
        for buffer in self._late(group):
            buffer.push(self.signals, self.start, self.stop)

    def _run_spans(self, group: Group, spans: list[tuple[int, int]]) -> None:
        """Runs a loop in spans that end where a delayed link next delivers something made inside the span."""
        clocks = self.network.plan.clocks
        # what comes from outside is taken in whole and cut once
        beside = {
            name: split_by(self.signals[name], [clocks[name].between(a, b) for a, b in spans]) for name in group.beside
        }
        outside: dict[str, list[Tensor | None]] = {}
        for buffer in (buffer for part in group.parts for buffer in self.buffers[part]):
            if buffer.route not in group.internal:
                buffer.push(self.signals, self.start, self.stop)
                outside[buffer.route.name] = buffer.pop_by_span(spans)
        late = self._late(group)
        pieces: dict[str, list[Tensor]] = {part: [] for part in group.parts}
        for index, (a, b) in enumerate(spans):
            now = {name: values[index] for name, values in beside.items()}
            for part in group.parts:
                arrivals = []
                for buffer in self.buffers[part]:
                    if buffer.route.name in outside:
                        arrivals.append(outside[buffer.route.name][index])
                        continue
                    if buffer.route not in group.late:
                        buffer.push(now, a, b)
                    arrivals.append(buffer.pop(a, b))
                now[part] = y = self._fire(part, arrivals, a, b)
                if y is not None:
                    pieces[part].append(y)
            for buffer in late:
                buffer.push(now, a, b)
        for part, values in pieces.items():
            self.signals[part] = torch.cat(values) if values else None

    def _late(self, group: Group) -> list[LinkBuffer]:
        if not group.late:
            return []
        return [buffer for part in group.parts for buffer in self.buffers[part] if buffer.route in group.late]


def fire(
    part: nn.Module,
    clock: Clock,
    buffers: Sequence[LinkBuffer],
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
    effects: list[tuple[Route, ZeroOrderHold]] = []
    for buffer, arrived in zip(buffers, arrivals, strict=True):
        route = buffer.route
        if route.sampled:
            x = _with_initial(buffer.held, arrived, len(ticks)) if ticks else None
        else:
            reading = _read(buffer, arrived, ticks, start)
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


def _read(buffer: LinkBuffer, arrived: Tensor | None, ticks: list[int], start: int) -> ZeroOrderHold:
    """A held link at the ticks of its target; the newest value stays held."""
    if arrived is None:
        return ZeroOrderHold(buffer.held, None, [0] * len(ticks))
    clock, delay = buffer.route.clock, buffer.route.link.delay
    before = clock.count(start - delay)
    reading = ZeroOrderHold(buffer.held, arrived, [count - before for count in clock.counts(ticks, delay)])
    buffer.held = reading.newest
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
    effects: list[tuple[Route, ZeroOrderHold]],
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


def _effects(readings: list[tuple[Route, ZeroOrderHold]], a: int, b: int) -> dict[str, list[Effect]]:
    effects: dict[str, list[Effect]] = {}
    for route, reading in readings:
        link = route.link
        if isinstance(link, Modulation) and reading.appears <= a:
            effects.setdefault(link.path, []).append(Effect(reading.signal(a, b), link.by))
    return effects
