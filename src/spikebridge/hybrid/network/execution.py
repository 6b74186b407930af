"""Execution of a hybrid network over some ticks: parts run in order, each over all its ticks at once; loops in spans.

    for each group of the graph:      one part, or the parts of a loop
        for each part:                push its links, pop the values that are due, run the part, keep its signal

`Segment` is one call; `apply_part` runs one part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, DataError, ShapeError, did_you_mean, in_words
from spikebridge.hybrid.network.delivery import LinkBuffer, ZeroOrderHold, sort_values, split_samples
from spikebridge.hybrid.network.graph import Group, NetworkGraph, NetworkPlan
from spikebridge.hybrid.network.link import LinkState, Route, wake_of
from spikebridge.hybrid.network.state_links import StatePorts, set_states, state_at
from spikebridge.hybrid.network.wake import run_woken
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.quantity import Effect
from spikebridge.neurons.state import State, join_tensors
from spikebridge.neurons.stateless import modulated, outputs_over_time, refuse_inplace, tensors_by_name, words_of_names
from spikebridge.ops.checks import is_finite, reads_values


def apply_part(
    part: nn.Module,
    signals: Sequence[Tensor],
    named: Mapping[str, Tensor] = MappingProxyType({}),
    state: State = None,
    effects: Mapping[str, list[Effect]] = MappingProxyType({}),
    *,
    checked: bool = False,
) -> tuple[Any, State]:
    """Runs a part on signals `(T, B, *N)`; if it is checked, it must not write into them."""
    if checked:
        with refuse_inplace(part, [*signals, *named.values()]):
            return apply_part(part, signals, named, state, effects)

    if isinstance(part, Stateful):
        return part(*signals, state, **named, **effects)
    if effects:
        return modulated(part, effects, *signals, **named), None

    return outputs_over_time(part, *signals, **named), None


def name_outputs(part: str, y: Any, signals: Sequence[str]) -> dict[str, Tensor]:
    """The output of a part, one tensor or several, by the signals that are read of it: its name, or "part.key"."""
    several = tensors_by_name(y)
    if several is None:
        if signals[0] == part and isinstance(y, Tensor):
            return {part: y}
        if isinstance(y, Tensor):
            raise ConfigError(f"part {part!r} gives one tensor, but is read as {signals[0]!r}; read it as {part!r}")
        raise ShapeError(
            f"part {part!r} gives one tensor, or several by name in a dict or a NamedTuple, but gave {in_words(y)}"
        )

    if signals[0] == part:
        raise ConfigError(
            f"part {part!r} gives several tensors by name ({words_of_names(y)}); read one of them, such as "
            f"'{part}.{next(iter(several), 'name')}'"
        )

    outputs = {}
    for signal in signals:
        key = signal.removeprefix(f"{part}.")
        if key not in several:
            names = [f"{part}.{name}" for name in several]
            raise ConfigError(
                f"part {part!r} gives several tensors by name, but is read as {signal!r}; {did_you_mean(signal, names)}"
            )

        outputs[signal] = value = several[key]
        if not isinstance(value, Tensor):
            raise ShapeError(f"part {part!r} gave {key!r} as {in_words(value)}; all that it gives by name are tensors")

    return outputs


@dataclass(slots=True)
class PartCall:
    """A part on the values of its links over some ticks, for a run on all of them or on some."""

    name: str
    part: nn.Module
    outputs: Sequence[str]  # the signals that are read of it
    signals: list[Tensor]
    named: dict[str, Tensor]
    holds: list[tuple[Route, ZeroOrderHold]]
    num_ticks: int
    checked: bool

    @property
    def is_modulated(self) -> bool:
        return bool(self.holds)

    @property
    def inputs(self) -> list[Tensor]:
        """All signals, by position and by name."""
        return [*self.signals, *self.named.values()]

    def run(self, a: int, b: int, samples: Tensor | None, state: State) -> tuple[dict[str, Tensor], State]:
        """Runs ticks `a` to before `b` for some samples, or for all; outputs by signal."""
        signals = [_piece(x, a, b, samples) for x in self.signals]
        named = {name: _piece(x, a, b, samples) for name, x in self.named.items()}
        self._check([*signals, *named.values()])
        if self.holds:
            holds = [(route, hold.part(a, b, samples)) for route, hold in self.holds]
            y, state = _run_modulated(self.part, signals, named, state, holds, b - a)
        else:
            y, state = apply_part(self.part, signals, named, state, checked=self.checked)

        return name_outputs(self.name, y, self.outputs), state

    def run_rows(self, rows: Tensor) -> dict[str, Tensor]:
        """Runs a plain part on some rows of its signals `(T * B, *N)`; outputs by signal, `(R, *M)`."""
        signals = [x.flatten(0, 1)[rows].unsqueeze(0) for x in self.signals]
        named = {name: x.flatten(0, 1)[rows].unsqueeze(0) for name, x in self.named.items()}
        self._check([*signals, *named.values()])
        y, _ = apply_part(self.part, signals, named, checked=self.checked)

        return {name: value[0] for name, value in name_outputs(self.name, y, self.outputs).items()}

    def _check(self, signals: list[Tensor]) -> None:
        """Raises at the first call of a stream if a sample that is awake holds NaN or infinity."""
        # the network checks no input that is read by sleeping parts alone
        for x in signals if self.checked else ():
            if x.is_floating_point() and reads_values(x, is_first=True) and not is_finite(x):
                raise DataError(f"part {self.name!r} got NaN or infinity while it was awake; correct the data first")

    def initial_state(self) -> State:
        """The state of the part before its first tick."""
        named = {name: x[:0] for name, x in self.named.items()}
        return apply_part(self.part, [x[:0] for x in self.signals], named)[1]

    @property
    def sets_states(self) -> bool:
        """True if links set states of the part."""
        return False

    def is_first(self, tick: int) -> bool:
        """True if one of the ticks is the first of the part, and links set states of it."""
        return False

    def set_at_waking(self, state: State, tick: int, waking: Tensor) -> State:
        """The state of the part in which that of samples that wake at a tick is the newest value of its links."""
        return state

    def after(self, signals: list[Tensor]) -> "PartCall":
        """The same call with earlier samples `(R, B, *N)` in front of each signal."""
        joined = [torch.cat(pair) for pair in zip(signals, self.inputs, strict=True)]
        number = len(self.signals)
        named = dict(zip(self.named, joined[number:], strict=True))
        return replace(self, signals=joined[:number], named=named, num_ticks=len(signals[0]) + self.num_ticks)


@dataclass(slots=True)
class _CallWithStates(PartCall):
    """The call of a part of which links read and set states."""

    ports: StatePorts
    ticks: list[int]
    values: list[tuple[Route, ZeroOrderHold]]
    is_woken: bool

    @property
    def sets_states(self) -> bool:
        return bool(self.values)

    def is_first(self, tick: int) -> bool:
        return self.sets_states and self.ticks[tick] == self.ports.clock.phase

    def run(self, a: int, b: int, samples: Tensor | None, state: State) -> tuple[dict[str, Tensor], State]:
        if state is None:
            state = self.initial_state()

        # a state that is read ends a piece of time, one that is set begins one
        due = {tick: self._due(tick) for tick in range(a, b)}
        edges = [a, *(tick for tick in range(a + 1, b) if self.ports.reads or due[tick]), b]
        pieces = []
        for tick, call in zip(edges, self._split(edges, samples), strict=False):
            rows = [(path, row if samples is None else row[samples]) for path, row in due[tick]]
            outputs, state = PartCall.run(call, 0, call.num_ticks, None, set_states(self.part, state, rows))
            states = {signal: state_at(self.part, state, path) for signal, path in self.ports.reads.items()}
            pieces.append({**outputs, **{signal: value.unsqueeze(0) for signal, value in states.items()}})

        return join_tensors(torch.cat, pieces), state

    def set_at_waking(self, state: State, tick: int, waking: Tensor) -> State:
        return set_states(self.part, state, self._values_at(tick), waking)

    def _due(self, tick: int) -> list[tuple[str, Tensor]]:
        """The values that are set before a tick, by path."""
        if self.is_woken or not self.values:
            return []

        return self._values_at(tick, [route for route, _ in self.values if route.is_due(self.ticks[tick])])

    def _values_at(self, tick: int, routes: Sequence[Route] | None = None) -> list[tuple[str, Tensor]]:
        return [
            (route.path, hold.values(tick, tick + 1)[0])
            for route, hold in self.values
            if hold.first_tick <= tick and (routes is None or route in routes)
        ]

    def _split(self, edges: list[int], samples: Tensor | None) -> list[PartCall]:
        """The call in pieces of its time, of some samples."""
        numbers = [b - a for a, b in pairwise(edges)]
        # split, not x[a:b], whose backward pass costs the whole length each time
        columns = [_piece(x, edges[0], edges[-1], samples).split(numbers) for x in self.signals]
        named = {name: _piece(x, edges[0], edges[-1], samples).split(numbers) for name, x in self.named.items()}
        return [
            replace(
                self,
                signals=[column[i] for column in columns],
                named={name: column[i] for name, column in named.items()},
                holds=[(route, hold.part(a, b, samples)) for route, hold in self.holds],
                num_ticks=b - a,
            )
            for i, (a, b) in enumerate(pairwise(edges))
        ]


def part_call(
    plan: NetworkPlan,
    name: str,
    part: nn.Module,
    values: tuple[list[Tensor], dict[str, Tensor], list[tuple[Route, ZeroOrderHold]]],
    ticks: list[int],
    checked: bool,
) -> PartCall:
    """The call of a part that has a wake, or of which links read or set states."""
    signals, named, acting = values
    holds = [(route, hold) for route, hold in acting if not route.sets]
    call = (name, part, plan.given(name), signals, named, holds, len(ticks), checked)
    ports = plan.ports.get(name)
    if ports is None:
        return PartCall(*call)

    sets = [(route, hold) for route, hold in acting if route.sets]
    return _CallWithStates(*call, ports, ticks, sets, name in plan.wakes)


def _piece(x: Tensor, a: int, b: int, samples: Tensor | None) -> Tensor:
    piece = x if b - a == x.shape[0] else x[a:b]
    return piece if samples is None else piece[:, samples]


@dataclass(slots=True, eq=False)
class Segment:
    """One call of a network, the ticks from `start` to before `stop`, from the states of its parts and links."""

    network: NetworkGraph
    inputs: InitVar[Mapping[str, Tensor]]
    parts: dict[str, State]
    links: Mapping[str, LinkState]
    start: int
    stop: int
    checked: bool  # as at the first call of a stream
    signals: dict[str, Tensor | None] = field(init=False)  # of inputs and parts, `(K, B, *N)`, None without a sample
    buffers: dict[str, LinkBuffer] = field(init=False, default_factory=dict)  # of the links in use

    def __post_init__(self, inputs: Mapping[str, Tensor]) -> None:
        self.parts = dict(self.parts)
        self.signals = {**dict.fromkeys(self.network.inputs), **{n: x for n, x in inputs.items() if x.shape[0]}}

    def run(self) -> None:
        """Runs every group once."""
        for group in self.network.plan.groups:
            self._run_group(group)

    def link_states(self) -> dict[str, LinkState]:
        """The states of all links after the run."""
        return {**self.links, **{name: buffer.state() for name, buffer in self.buffers.items()}}

    def _run_group(self, group: Group) -> None:
        if group.delayed and len(spans := group.spans(self.start, self.stop)) > 1:
            self._run_in_spans(group, spans)
        else:
            self._run_at_once(group)

    def _run_at_once(self, group: Group) -> None:
        """Runs a group over all ticks."""
        for part in group.parts:
            arrivals = {}
            for buffer in self._buffers_of(part):
                if buffer.route not in group.delayed:
                    buffer.push(self.signals, self.start, self.stop)
                arrivals[buffer.route.name] = buffer.pop(self.start, self.stop)

            self.signals |= self._run_part(part, arrivals, self.start, self.stop)

        # last: their sources have run now, and their values arrive after these ticks
        for route in group.delayed:
            self.buffers[route.name].push(self.signals, self.start, self.stop)

    def _run_in_spans(self, group: Group, spans: list[tuple[int, int]]) -> None:
        """Runs a loop span by span."""
        plan = self.network.plan
        # split once: slices in the loop would cost the whole length each time in the backward pass
        external = {
            name: split_samples(self.signals[name], [plan.clocks[name].between(a, b) for a, b in spans])
            for name in group.external
        }

        outside: dict[str, list[Tensor | None]] = {}
        for buffer in (buffer for part in group.parts for buffer in self._buffers_of(part)):
            if buffer.route not in group.internal:
                buffer.push(self.signals, self.start, self.stop)
                outside[buffer.route.name] = buffer.pop_spans(spans)

        pieces: dict[str, list[Tensor]] = {signal: [] for part in group.parts for signal in plan.signals[part]}
        for index, (a, b) in enumerate(spans):
            signals = {name: values[index] for name, values in external.items()}
            for part in group.parts:
                arrivals = {name: values[index] for name, values in outside.items()}
                for route in plan.incoming[part]:
                    if route.name in outside:
                        continue

                    buffer = self.buffers[route.name]
                    if route not in group.delayed:
                        buffer.push(signals, a, b)
                    arrivals[route.name] = buffer.pop(a, b)

                outputs = self._run_part(part, arrivals, a, b)
                signals |= outputs
                for signal, y in outputs.items():
                    pieces[signal] += [] if y is None else [y]

            # last, as above: a span ends where the first of their values arrives
            for route in group.delayed:
                self.buffers[route.name].push(signals, a, b)

        for signal, values in pieces.items():
            self.signals[signal] = torch.cat(values) if values else None

    def _buffers_of(self, part: str) -> list[LinkBuffer]:
        """The links of a part as buffers, from their states before the call."""
        network = self.network
        buffers = []
        for route in network.plan.incoming[part]:
            buffer = LinkBuffer(route, network.unit_of(route), self.links[route.name], self.checked)
            self.buffers[route.name] = buffer
            buffers.append(buffer)

        return buffers

    def _run_part(
        self, name: str, arrivals: Mapping[str, Tensor | None], start: int, stop: int
    ) -> Mapping[str, Tensor | None]:
        """Runs a part over its ticks on the values that have arrived on its links; None for a signal without a tick."""
        plan = self.network.plan
        ticks = plan.clocks[name].ticks(start, stop)

        routes = plan.incoming[name]
        wake = plan.wakes.get(name)
        flags: Tensor | None = None
        if wake is not None:
            flags = self.buffers[wake.name].flags_at(ticks, arrivals[wake.name], start)
            routes = [route for route in routes if route is not wake]

        values = [self.buffers[route.name].values_at(ticks, arrivals[route.name], start) for route in routes]
        signals, named, holds = sort_values(routes, values)
        if not ticks:
            return dict.fromkeys(plan.signals[name])

        part = self.network.parts[name]
        state = self.parts[name]
        if flags is not None or name in plan.ports:
            call = part_call(plan, name, part, (signals, named, holds), ticks, self.checked)
            if wake is not None and flags is not None:
                outputs, self.parts[name] = run_woken(call, wake_of(wake), flags, state)
            else:
                outputs, self.parts[name] = call.run(0, len(ticks), None, state)
            return outputs

        if holds:
            y, self.parts[name] = _run_modulated(part, signals, named, state, holds, len(ticks))
        else:
            y, self.parts[name] = apply_part(part, signals, named, state, checked=self.checked)

        return name_outputs(name, y, plan.signals[name])


def _run_modulated(
    part: nn.Module,
    signals: list[Tensor],
    named: dict[str, Tensor],
    state: State,
    holds: list[tuple[Route, ZeroOrderHold]],
    num_ticks: int,
) -> tuple[Any, State]:
    """Runs a part in pieces; in each a modulation is present or absent, and modulated weights are constant."""
    edges = {0, num_ticks}
    for route, hold in holds:
        edges |= {*hold.presence_edges, *(hold.changes if route.acts_on_a_parameter else ())}

    pieces = list(pairwise(sorted(edges)))
    if len(pieces) == 1:
        return apply_part(part, signals, named, state, _effects(holds, 0, num_ticks))

    numbers = [b - a for a, b in pieces]
    # split, not x[a:b], for the same reason as in a loop
    columns = [x.split(numbers) for x in signals]
    named_columns = {name: x.split(numbers) for name, x in named.items()}
    outputs = []

    for index, (a, b) in enumerate(pieces):
        inside = [column[index] for column in columns]
        named_inside = {name: column[index] for name, column in named_columns.items()}
        y, state = apply_part(part, inside, named_inside, state, _effects(holds, a, b))
        outputs.append(y)

    return join_tensors(torch.cat, outputs), state


def _effects(holds: list[tuple[Route, ZeroOrderHold]], a: int, b: int) -> dict[str, list[Effect]]:
    effects: dict[str, list[Effect]] = {}
    for route, hold in holds:
        if hold.is_present(a):
            effects.setdefault(route.path, []).append(Effect(hold.signal(a, b), route.by))

    return effects
