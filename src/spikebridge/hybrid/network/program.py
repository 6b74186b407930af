"""Execution tick by tick on rows `(B, *N)`: a fast form of `execution.py` for single steps and loops of one-tick spans.

    for each part, by the schedule of the tick:     send on its links, deliver the values that are due, run the part
    for each delayed link:                          send

Numbers and gradients are those of `execution.py` to the bit. A part whose signals, state or modulation have a new shape
runs through `apply_part`, which checks them, as a sequence of one step.
"""

from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn

from spikebridge.hybrid.network.delivery import (
    LinkBuffer,
    ZeroOrderHold,
    largest_of_newest,
    next_flags,
    resting_value,
    sort_values,
)
from spikebridge.hybrid.network.execution import PartCall, Segment, apply_part, name_outputs, part_call
from spikebridge.hybrid.network.graph import Group, NetworkGraph
from spikebridge.hybrid.network.link import AWAKE, LinkState, Route, Wake, wake_of
from spikebridge.hybrid.network.schedule import Tick
from spikebridge.hybrid.network.wake import computes_all, largest_flag, refused_missing, run_woken
from spikebridge.hybrid.unit.unit import HybridUnit, UnitState
from spikebridge.neurons.base import RowEffects, Stateful, advance_by_forward, first_step, over_one_step
from spikebridge.neurons.state import Form, State, form_of, has_form
from spikebridge.neurons.stateless import check_rows
from spikebridge.ops.selection import SINGLE, has_own_hooks, without_call

_Rows: TypeAlias = dict[str, Tensor | None]
_MAX_SHAPES = 64  # of a part's signals that are kept with the form of its state


class _RowLink(LinkBuffer):
    """A link on rows: the values that wait are rows `(B, *N)`."""

    __slots__ = ("arrived", "function", "is_bare", "is_outside")

    def __init__(self, route: Route, unit: HybridUnit | None, state: LinkState, checked: bool) -> None:
        super().__init__(route, unit, state, checked)
        self.arrived: Tensor | None = None  # the row that a sampled link brings in this tick
        self.is_outside = False  # the values of a source outside of the loop wait already
        # a unit that is a nonlinearity alone needs no state and no windows
        self.is_bare = route.skips is None and not route.masks and (unit is None or _is_bare(unit, state.unit))
        self.function = None if unit is None or not self.is_bare else without_call(unit.nonlinearity)
        if self.waiting:
            self.waiting = deque(self.waiting.pop().unbind(0))

    def send(self, rows: _Rows, tick: int) -> None:
        """Sends the row of the source through the unit."""
        if self.is_outside:
            return

        route = self.route
        x = rows[route.link.source]
        # windows, kernels, checks and half precision are the unit's work, on a signal of one step
        if not self.is_bare or self.checked or (x is not None and x.dtype not in SINGLE):
            signals = {n: None if (row := rows[n]) is None else row.unsqueeze(0) for n in route.sources}
            self.push(signals, tick, tick + 1)
            # the first signal of a stream is enough
            self.checked = self.checked and x is None
            return

        context = None if route.context is None else rows[str(route.link.context)]
        if context is not None:
            self.context = context
        if x is None:
            return

        if self.function is not None:
            y = self.function(x) if self.context is None else self.function(x, self.context)
            if not isinstance(y, Tensor) or y.shape[:1] != x.shape[:1]:
                check_rows(cast(Any, self.unit).nonlinearity, y, x.shape[0])
            x = y if y.dtype == x.dtype else y.to(x.dtype)

        if self.held is not None and x.shape != self.held.shape:
            self.refuse_values(x.shape)
        if route.delay:
            self.waiting.append(x)
            self.changed = True
        else:
            self.receive(x)

    def deliver(self) -> None:
        """Delivers the oldest value that waits; without a delay it has been delivered as it was sent."""
        if self.waiting:
            self.changed = True
            self.receive(self.waiting.popleft())

    def receive(self, row: Tensor) -> None:
        """Takes a value as it is delivered."""
        if self.route.sampled:
            self.arrived = row
        elif self.route.num_flags and self.held is not None:
            self.held = next_flags(self.held, row)
        else:
            self.held = row

    def read(self) -> Tensor | None:
        """The value at the present tick of the target: the row that has arrived, else the initial or held one."""
        row = self.arrived
        if row is None:
            return self.held

        self.arrived = None
        return row

    def _append(self, values: Tensor) -> None:
        super()._append(values)
        self.waiting.extend(self.waiting.pop().unbind(0))

    def _last_value(self) -> Tensor:
        return self.waiting[-1] if self.waiting else cast(Tensor, self.held)

    def queue(self) -> Tensor | None:
        return torch.stack(tuple(self.waiting)).transpose(0, 1) if self.waiting else None


def _is_bare(unit: HybridUnit, state: UnitState) -> bool:
    """True if a unit is its nonlinearity alone."""
    if any(state) or unit.window is not None or unit.kernel is not None or unit.discretizer is not None:
        return False
    return type(unit).forward is HybridUnit.forward and not has_own_hooks(unit)


@dataclass(slots=True, eq=False)
class ReadyPart:
    """A part that runs without checks on signals of the shapes in its key."""

    key: Hashable
    module: nn.Module
    has_hooks: bool
    step: Callable[..., Any]  # of a row, a state and effects; or the forward pass of a plain module
    form: Form  # of its state
    state: State = None  # the last one that it returned, whose form needs no comparison

    def fits(self, module: Any, state: State) -> bool:
        """True if a part in a state is the one that was prepared."""
        if self.module is not module or has_own_hooks(module) != self.has_hooks:
            return False

        return state is self.state or has_form(state, self.form)


class _RowRun:
    """The run of some ticks of a network, or of a loop in it, on rows."""

    __slots__ = ("is_checked", "links", "network", "parts", "ready", "row_links", "settled", "unchecked_parts")

    def __init__(
        self,
        network: NetworkGraph,
        parts: Mapping[str, State],
        links: Mapping[str, LinkState],
        checked: bool,
        ready: dict[str, ReadyPart],
    ) -> None:
        self.network = network
        self.parts = dict(parts)
        self.links = dict(links)
        self.row_links: dict[str, _RowLink] = {}  # made of the states in `links` as they are used
        self.is_checked = checked
        self.unchecked_parts = set(parts) if checked else set()
        self.ready = ready
        self.settled: set[str] = set()  # parts that were compared in this run

    def run(self, tick: int, schedule: Tick, rows: _Rows) -> None:
        """Runs one tick, which adds the rows of the parts to those of the inputs."""
        signals = self.network.plan.signals
        wakes = self.network.plan.wakes
        called = self.network.plan.called
        for name, fires, buffers, sends, due in schedule.parts:
            for route in buffers:
                self._buffer(route, rows, tick)
            for route in sends:
                link = self.row_links.get(route) or self.link(route)
                link.send(rows, tick)
            for route in due:
                link = self.row_links.get(route) or self.link(route)
                link.deliver()

            if not fires:
                rows.update(dict.fromkeys(signals[name]))
                continue

            if name in wakes:
                rows.update(self._fire_woken(name, wakes[name], rows, tick))
                continue

            if name in called:
                call = self._call_of(name, self.network.plan.incoming[name], rows, tick)
                outputs, self.parts[name] = call.run(0, 1, None, self.parts[name])
                rows.update({signal: y[0] for signal, y in outputs.items()})
                continue

            y = self._fire(name, rows)
            # most parts give one tensor, which needs no dict of outputs
            if signals[name][0] == name and isinstance(y, Tensor):
                rows[name] = y
            else:
                rows.update(name_outputs(name, y, signals[name]))

        for route in schedule.delayed:
            link = self.row_links.get(route) or self.link(route)
            link.send(rows, tick)

    def link(self, name: str) -> _RowLink:
        """A link that has not been used before."""
        route = self.network.plan.routes[name]
        link = self.row_links[name] = _RowLink(route, self.network.unit_of(route), self.links[name], self.is_checked)
        return link

    def link_states(self) -> dict[str, LinkState]:
        """The states of all links after the run."""
        for name, link in self.row_links.items():
            self.links[name] = link.state()

        return self.links

    def _buffer(self, name: str, rows: _Rows, tick: int) -> None:
        """Adds the row of a link's source to the window of its unit, which does not close."""
        link = self.row_links.get(name)
        if link is not None or self.is_checked:
            (link or self.link(name)).send(rows, tick)
            return

        unit: Any = self.network.units._modules[name]
        state = self.links[name]
        x = rows[self.network.plan.routes[name].link.source]
        if x is not None:
            self.links[name] = LinkState(unit.buffer_steps(x.unsqueeze(1), state.unit), *state[1:])

    def _read(self, route: Route) -> Tensor | None:
        """The value of a link at the present tick of its target."""
        link = self.row_links.get(route.name)
        return self.links[route.name].held if link is None else link.read()

    def _read_once(self, route: Route, tick: int) -> Tensor | None:
        """The value of a link that has arrived for this tick of its target, else what stands for none."""
        newest = self._read(route)
        return newest if newest is None or route.is_due(tick) else resting_value(route, newest)

    def _fire(self, name: str, rows: _Rows) -> Any:
        """Runs a part on the values of its links: a row `(B, *M)`, or several by name."""
        signals: list[Tensor] = []
        named: dict[str, Tensor] = {}
        effects: dict[str, list[Any]] = {}
        num_effects = 0
        for route in self.network.plan.incoming[name]:
            value = self._read(route) if route.direct_source is None else rows[route.direct_source]
            if value is None:
                continue

            if route.path:
                effects.setdefault(route.path, []).append((value, route.by))
                num_effects += 1
            elif route.into is None:
                signals.append(value)
            else:
                named[route.into] = value

        x = signals[0] if signals else next(iter(named.values()))
        # later values of a link have the shape of its first one, so that only further modulations make a difference
        key = (x.shape, x.dtype, num_effects)
        ready = self.ready.get(name)
        if ready is None or ready.key != key or not (name in self.settled or self._fits(name, ready)):
            ready = self._prepared(name, key, signals, named, effects)
            if ready is None:
                return self._fire_checked(name, signals, named, effects)

        self.settled.add(name)
        if not isinstance(ready.module, Stateful):
            y = ready.step(*signals, **named)
            check_rows(ready.module, y, x.shape[0])
            return y

        y, state = ready.step(x, self.parts[name], effects)
        self.parts[name] = state
        # a state with gradients would keep their graph
        ready.state = None if torch.is_grad_enabled() else state

        return y

    def _fits(self, name: str, ready: ReadyPart) -> bool:
        return name not in self.unchecked_parts and ready.fits(self.network.parts._modules[name], self.parts[name])

    def _call_of(self, name: str, routes: Sequence[Route], rows: _Rows, tick: int) -> PartCall:
        """The call of a part at a tick, on the values of its links."""
        values = [
            (self._read_once(r, tick) if r.once else self._read(r))
            if r.direct_source is None
            else rows[r.direct_source]
            for r in routes
        ]
        signals, named, modulations = sort_values(routes, values)
        holds = [(r, ZeroOrderHold(row, None, [0])) for r, row in modulations]
        signals = [x.unsqueeze(0) for x in signals]
        named = {argument: x.unsqueeze(0) for argument, x in named.items()}
        checked = name in self.unchecked_parts
        self.unchecked_parts.discard(name)
        part: Any = self.network.parts._modules[name]

        return part_call(self.network.plan, name, part, (signals, named, holds), [tick], checked)

    def _fire_woken(self, name: str, route: Route, rows: _Rows, tick: int) -> Mapping[str, Tensor]:
        """Runs a part on the samples that are awake: the rows of its outputs, and of their flags."""
        plan = self.network.plan
        module: Any = self.network.parts._modules[name]
        state = self.parts[name]
        wake = wake_of(route)
        newest: Any = self._newest_flags(route, rows)

        # most ticks of most parts: all asleep
        needs_inputs = bool(wake.replay) or computes_all(wake, module, newest)
        if not needs_inputs and largest_flag(wake, newest) < AWAKE:
            return self._asleep(name, wake, newest)

        routes = [r for r in plan.incoming[name] if r is not route]
        missing = [r.direct_source for r in routes if r.direct_source is not None and rows[r.direct_source] is None]
        flags = largest_of_newest(newest, route.num_flags)[:, 0]
        if missing and largest_flag(wake, newest) < AWAKE:
            return self._asleep(name, wake, newest)
        if missing:
            raise refused_missing(name, missing[0], flags)

        call = self._call_of(name, routes, rows, tick)
        outputs, self.parts[name] = run_woken(call, wake, flags.unsqueeze(0), state)
        return {signal: y[0] for signal, y in outputs.items()}

    def _asleep(self, name: str, wake: Wake, newest: Tensor) -> Mapping[str, Tensor]:
        """The rows of a part of which all samples sleep."""
        state = self.parts[name]
        if state.asleep is not None:
            self.parts[name] = state._replace(asleep=state.asleep + 1)

        return {**state.outputs, wake.awake: newest.new_zeros((len(newest), 1))}

    def _newest_flags(self, route: Route, rows: _Rows) -> Tensor:
        """The flags of a wake that count at the present tick, `(B, Q)`."""
        link = self.row_links.get(route.name)
        held: Any = self.links[route.name].held if link is None else link.held
        row = None if route.direct_source is None else rows[route.direct_source]
        return held if row is None else next_flags(held, row)

    def _prepared(
        self, name: str, key: Hashable, signals: list[Tensor], named: dict[str, Tensor], effects: RowEffects
    ) -> ReadyPart | None:
        """The part without checks; None if its signals or its state have to be checked first."""
        module: Any = self.network.parts._modules[name]
        has_hooks = has_own_hooks(module)
        if name in self.unchecked_parts:
            return None

        step: Any
        form: Form = None
        if isinstance(module, Stateful):
            state = self.parts[name]
            form = self.network.accepted[name].get(_shapes_of(signals[0], effects))
            if named or form is None or state is None or not has_form(state, form):
                return None
            step = partial(advance_by_forward, module) if has_hooks else module.advance
        # modulated weights differ from sample to sample, which `modulated` computes
        elif effects:
            return None
        else:
            step = without_call(module)

        ready = self.ready[name] = ReadyPart(key, module, has_hooks, step, form)
        return ready

    def _fire_checked(self, name: str, signals: list[Tensor], named: dict[str, Tensor], effects: RowEffects) -> Any:
        """Runs a part on a sequence of one step, with its checks."""
        module = self.network.parts[name]
        y, state = apply_part(
            module,
            [x.unsqueeze(0) for x in signals],
            {argument: x.unsqueeze(0) for argument, x in named.items()},
            self.parts[name],
            over_one_step(effects),
            checked=name in self.unchecked_parts and not effects,
        )

        self.unchecked_parts.discard(name)
        self.parts[name] = state
        accepted = self.network.accepted[name]
        if state is not None and len(accepted) < _MAX_SHAPES and _takes_rows(signals[0], effects):
            accepted[_shapes_of(signals[0], effects)] = form_of(state)

        return first_step(y)


def _shapes_of(x: Tensor, effects: RowEffects) -> Hashable:
    """The shapes and dtypes of the signals of a part."""
    return (x.shape, x.dtype, *[(path, row.shape, row.dtype) for path, acts in effects.items() for row, _ in acts])


def _takes_rows(x: Tensor, effects: RowEffects) -> bool:
    """True if a layer may advance on rows: in single or double precision, under effects of the same dtype."""
    rows = [row for acts in effects.values() for row, _ in acts]
    return x.dtype in SINGLE and all(row.dtype == x.dtype and row.ndim > 1 for row in rows)


def run_tick(
    network: NetworkGraph,
    inputs: Mapping[str, Tensor],
    states: tuple[Mapping[str, State], Mapping[str, LinkState]],
    tick: int,
    checked: bool,
    ready: dict[str, ReadyPart],
) -> tuple[_Rows, dict[str, State], dict[str, LinkState]]:
    """One tick of a network on the rows of inputs: those of all signals, and the states of parts and links after it."""
    rows: _Rows = dict.fromkeys(network.inputs)
    rows.update(inputs)
    run = _RowRun(network, *states, checked, ready)
    for group in network.plan.groups:
        run.run(tick, group.schedule.at(tick), rows)

    return rows, run.parts, run.link_states()


@dataclass(eq=False)
class RowSegment(Segment):
    """A segment whose loops of one-tick spans run on rows."""

    def _run_group(self, group: Group) -> None:
        if not group.runs_tick_by_tick(self.start):
            super()._run_group(group)
            return

        plan = self.network.plan
        run = _RowRun(self.network, self.parts, self.links, self.checked, {})
        sources = list(group.external)
        for route in (route for part in group.parts for route in plan.incoming[part] if route not in group.internal):
            if route.direct_source is not None:
                sources.append(route.direct_source)
                continue

            link = run.link(route.name)
            link.push(self.signals, self.start, self.stop)
            link.is_outside = True

        columns = {name: self._rows_of(name) for name in sources}
        rows: _Rows = {}
        collected: dict[str, list[Tensor]] = {signal: [] for part in group.parts for signal in plan.signals[part]}
        for index, tick in enumerate(range(self.start, self.stop)):
            for name, column in columns.items():
                rows[name] = column[index]
            run.run(tick, group.schedule.at(tick), rows)
            for signal, values in collected.items():
                if (y := rows[signal]) is not None:
                    values.append(y)

        self.parts = run.parts
        self.links = run.link_states()
        for signal, values in collected.items():
            self.signals[signal] = torch.stack(values) if values else None

    def _rows_of(self, name: str) -> list[Tensor | None]:
        """The row of a signal at each tick, None where it has none."""
        x = self.signals[name]
        rows: list[Tensor | None] = [None] * (self.stop - self.start)
        if x is not None:
            clock = self.network.plan.clocks[name]
            rows[clock.next(self.start) - self.start :: clock.period] = x.unbind(0)

        return rows
