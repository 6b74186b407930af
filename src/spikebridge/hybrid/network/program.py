"""Execution tick by tick on rows `(B, *N)`: a fast form of `execution.py` for single steps and loops of one-tick spans.

    for each part, by the schedule of the tick:     send on its links, deliver what is due, fire the part
    for each delayed link:                          send

Numbers and gradients are those of `execution.py` to the bit. Signals, states and modulation with a shape that has not
been seen go through `apply_part`, which checks them.
"""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from spikebridge.hybrid.network.delivery import LinkBuffer
from spikebridge.hybrid.network.execution import Segment, apply_part, name_outputs
from spikebridge.hybrid.network.graph import Group
from spikebridge.hybrid.network.link import Modulation
from spikebridge.hybrid.network.one_step import KeptStep, Step, first_step, timed
from spikebridge.hybrid.network.schedule import Tick
from spikebridge.hybrid.unit.unit import HybridUnit
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.quantity import By
from spikebridge.neurons.state import State
from spikebridge.neurons.stateless import check_rows
from spikebridge.ops.selection import SINGLE, has_hooks

Rows = dict[str, Tensor | None]
_MOST_SIGNATURES = 64  # that are remembered of a part
# of each part of a network, between calls; beside the network, so that a copy of it makes its own
_STEPS: WeakKeyDictionary[Any, dict[str, KeptStep]] = WeakKeyDictionary()


@dataclass(eq=False)
class RowSegment(Segment):
    """A segment that runs on rows where it is one tick, and loops that run tick by tick."""

    def run(self) -> None:
        """Runs every group once."""
        if self.stop - self.start > 1:
            super().run()
            return

        now: Rows = {name: None if x is None else x[0] for name, x in self.signals.items()}
        for group in self.network.plan.groups:
            links = {buffer.route.name: _LinkRows(buffer) for part in group.parts for buffer in self.buffers[part]}
            parts = {part: _PartRows(self, part, links) for part in group.parts}
            _run_tick(self.start, group.schedule.at(self.start), now, links, parts)
            self._close(links, parts)

            for name in (signal for part in parts.values() for signal in part.signals):
                y = now[name]
                # stacked: a copy, so that the caller may write into it
                self.signals[name] = None if y is None else torch.stack([y])

    def _run_group(self, group: Group) -> None:
        if not group.runs_tick_by_tick(self.start):
            super()._run_group(group)
            return

        start = self.start
        stop = self.stop
        clocks = self.network.plan.clocks
        columns = {name: iter(() if (x := self.signals[name]) is None else x.unbind(0)) for name in group.external}
        links = {}

        for buffer in (buffer for part in group.parts for buffer in self.buffers[part]):
            if outside := buffer.route not in group.internal:
                buffer.push(self.signals, start, stop)
            links[buffer.route.name] = _LinkRows(buffer, outside)

        parts = {part: _PartRows(self, part, links) for part in group.parts}
        rows: dict[str, list[Tensor]] = {signal: [] for part in parts.values() for signal in part.signals}

        for tick in range(start, stop):
            now: Rows = {name: next(xs) if clocks[name].has(tick) else None for name, xs in columns.items()}
            _run_tick(tick, group.schedule.at(tick), now, links, parts)
            for signal, values in rows.items():
                if (y := now[signal]) is not None:
                    values.append(y)

        self._close(links, parts)
        for signal, values in rows.items():
            self.signals[signal] = torch.stack(values) if values else None

    def _close(self, links: dict[str, "_LinkRows"], parts: dict[str, "_PartRows"]) -> None:
        for link in links.values():
            link.close()
        for name, part in parts.items():
            self.parts[name] = part.state


def _run_tick(
    tick: int, schedule: Tick, now: Rows, links: dict[str, "_LinkRows"], parts: dict[str, "_PartRows"]
) -> None:
    """One tick of a group: adds the rows of its parts to those of the tick so far."""
    for name, fires, routes in schedule.parts:
        for route, sends, is_due in routes:
            link = links[route]
            if sends and not link.outside:
                link.send(now, tick)
            if is_due:
                link.deliver()

        part = parts[name]
        y = part.fire() if fires else None
        if part.is_single and (y is None or isinstance(y, Tensor)):
            now[name] = y
        else:
            now |= name_outputs(name, y, part.signals) if fires else dict.fromkeys(part.signals)

    for route in schedule.delayed:
        links[route].send(now, tick)


class _LinkRows:
    """A link on rows; what waits on it goes back to its buffer at the end.

    Args:
        buffer: the link.
        outside: whether its source is outside of the loop, so that its values wait already.
    """

    __slots__ = ("arrived", "buffer", "function", "is_bare", "outside", "route", "sampled", "source", "waiting")

    def __init__(self, buffer: LinkBuffer, outside: bool = False) -> None:
        self.buffer = buffer
        self.route = route = buffer.route
        self.outside = outside
        self.source = route.link.source
        self.sampled = route.sampled
        self.arrived: Tensor | None = None
        self.waiting = deque(row for piece in buffer.waiting for row in piece.unbind(0))
        buffer.waiting.clear()
        unit = buffer.unit
        self.is_bare = unit is None or (_is_bare(unit) and not any(buffer.unit_state))
        self.function = None if unit is None else unit.nonlinearity

    def send(self, now: Rows, tick: int) -> None:
        """Sends what the source gave through the unit."""
        x = now[self.source]
        buffer = self.buffer
        function = self.function
        if not self.is_bare or buffer.checked or not (x is None or x.dtype in SINGLE):
            self._send_sequence(now, tick)
            return

        if self.route.context is not None and (context := now[str(self.route.link.context)]) is not None:
            buffer.context = context

        if x is None:
            return

        if function is not None:
            y = function(x) if buffer.context is None else function(x, buffer.context)
            check_rows(function, y, x.shape[0])
            x = y if y.dtype == x.dtype else y.to(x.dtype)

        if buffer.held is not None and x.shape != buffer.held.shape:
            buffer.refuse_values(x.shape)

        self.waiting.append(x)

    def _send_sequence(self, now: Rows, tick: int) -> None:
        """The same as a sequence of one step."""
        signals = {name: None if (x := now[name]) is None else x.unsqueeze(0) for name in self.route.sources}
        self.buffer.push(signals, tick, tick + 1)
        self.waiting.extend(row for piece in self.buffer.waiting for row in piece.unbind(0))
        self.buffer.waiting.clear()

        if signals[self.source] is not None:
            self.buffer.checked = False  # once a stream is enough

    def deliver(self) -> None:
        """Hands the oldest value over."""
        row = self.waiting.popleft()
        self.buffer.changed = True
        if self.sampled:
            self.arrived = row
        else:
            self.buffer.held = row

    def read(self) -> Tensor | None:
        """The value at the present tick of the target: the one that has arrived, or the initial or held one."""
        row, self.arrived = self.arrived, None
        return self.buffer.held if row is None else row

    def close(self) -> None:
        """Gives the waiting values back to the buffer."""
        if self.waiting:
            self.buffer.waiting.append(torch.stack(tuple(self.waiting)))
            self.buffer.changed = True


def _is_bare(unit: HybridUnit) -> bool:
    """Whether a unit is its nonlinearity alone."""
    stages = (unit.window, unit.kernel, unit.discretizer)
    return stages == (None, None, None) and type(unit).forward is HybridUnit.forward and not has_hooks(unit)


class _PartRows:
    """A part on rows."""

    __slots__ = ("checked", "is_single", "kept", "links", "name", "part", "seen", "shapes", "signals", "state", "step")

    def __init__(self, segment: Segment, name: str, links: dict[str, _LinkRows]) -> None:
        self.name = name
        self.part: nn.Module = segment.network.parts[name]
        self.state = segment.parts[name]
        self.links = [links[buffer.route.name] for buffer in segment.buffers[name]]
        self.signals = segment.network.plan.signals[name]
        self.is_single = self.signals[0] == name
        self.checked = segment.checked
        self.kept = _STEPS.setdefault(segment.network, {})
        self.seen: set[Hashable] = segment.network.seen[name]
        self.step: Step | None = None
        self.shapes: Hashable = None

    def fire(self) -> Any:
        """Runs the part on the values of its links: a row `(B, *M)`, or several by name."""
        signals: list[Tensor] = []
        named: dict[str, Tensor] = {}
        effects: dict[str, list[tuple[Tensor, By]]] = {}

        for link in self.links:
            row = link.read()
            if row is None:
                continue

            if isinstance(link.route.link, Modulation):
                effects.setdefault(link.route.link.path, []).append((row, link.route.link.by))
            elif link.route.into is None:
                signals.append(row)
            else:
                named[link.route.into] = row

        if not isinstance(self.part, Stateful):
            return self._fire_plain(self.part, signals, named, effects)
        if named or self.state is None:
            return self._fire_checked(signals, named, effects)

        (x,) = signals
        shapes = (x.shape, x.dtype, *[(path, r.shape, r.dtype) for path, acts in effects.items() for r, _ in acts])
        if shapes != self.shapes:
            self.shapes = shapes
            self.step = None
            if self.checked or (shapes, _signature(self.part, self.state)) not in self.seen:
                y = self._fire_checked(signals, named, effects)
                if len(self.seen) < _MOST_SIGNATURES:
                    self.seen.add((shapes, _signature(self.part, self.state)))
                return y

        if self.step is None:
            rows = [row for acts in effects.values() for row, _ in acts]
            fits = x.dtype in SINGLE and all(row.dtype == x.dtype and row.ndim > 1 for row in rows)
            self.step = self._kept_step() if fits else _checked_step(self.part)

        y, self.state = self.step(x, self.state, effects)
        return y

    def _kept_step(self) -> Step:
        """The step of the part from an earlier call, or a new one."""
        kept = self.kept.get(self.name)
        if kept is None or not kept.is_current:
            kept = self.kept[self.name] = KeptStep.of(self.part)

        return kept.step

    def _fire_plain(
        self,
        part: nn.Module,
        signals: list[Tensor],
        named: dict[str, Tensor],
        effects: dict[str, list[tuple[Tensor, By]]],
    ) -> Any:
        if effects or self.checked:
            return self._fire_checked(signals, named, effects)
        y = part(*signals, **named)
        check_rows(part, y, (signals[0] if signals else next(iter(named.values()))).shape[0])
        return y

    def _fire_checked(
        self, signals: list[Tensor], named: dict[str, Tensor], effects: dict[str, list[tuple[Tensor, By]]]
    ) -> Any:
        """The part on a sequence of one step."""
        y, self.state = apply_part(
            self.part,
            [x.unsqueeze(0) for x in signals],
            {name: x.unsqueeze(0) for name, x in named.items()},
            self.state,
            timed(effects),
            checked=self.checked and not effects,
        )

        self.checked = False
        return first_step(y)


def _checked_step(part: nn.Module) -> Step:
    def step(x_t: Tensor, state: State, effects: Any) -> tuple[Any, State]:
        y, state = apply_part(part, [x_t.unsqueeze(0)], state=state, effects=timed(effects))
        return first_step(y), state

    return step


def _signature(layer: Stateful, state: State) -> Hashable:
    """What the checks of a layer depend on beside its signals: its tensors, and the form of its state."""
    own: list[Hashable] = []
    _add_own_tensors(layer, own)
    return tuple(own), _form(state)


def _add_own_tensors(layer: Stateful, found: list[Hashable]) -> None:
    found += [(t.shape, t.dtype, t.device) for t in layer._parameters.values() if t is not None]
    found += [(t.shape, t.dtype, t.device) for t in layer._buffers.values() if t is not None]
    for child in layer._modules.values():
        if isinstance(child, Stateful):
            _add_own_tensors(child, found)


def _form(state: State) -> Any:
    """Types, shapes, dtypes and devices of a state."""
    if isinstance(state, Tensor):
        return state.shape, state.dtype, state.device
    if isinstance(state, tuple | list):
        return (type(state), *[None if item is None else _form(item) for item in state])
    if isinstance(state, dict):
        return tuple((name, _form(value)) for name, value in state.items())

    return type(state)
