"""Execution of a hybrid network over some ticks: parts run in order, each over all its ticks at once; loops in spans.

    for each group of the graph:      one part, or the parts of a loop
        for each part:                push its links, pop what is due, run the part, keep its signal

`Segment` holds what one call needs; `apply_part` runs one part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError, did_you_mean, in_words
from spikebridge.hybrid.network.delivery import LinkBuffer, ZeroOrderHold, split_samples
from spikebridge.hybrid.network.graph import Group, NetworkGraph
from spikebridge.hybrid.network.link import LinkState, Modulation, Route
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.quantity import Effect
from spikebridge.neurons.state import State, join_tensors
from spikebridge.neurons.stateless import (
    modulated,
    outputs_over_time,
    refuse_inplace,
    tensors_by_name,
    words_of_names,
)


def apply_part(
    part: nn.Module,
    signals: Sequence[Tensor],
    named: Mapping[str, Tensor] = MappingProxyType({}),
    state: State = None,
    effects: Mapping[str, list[Effect]] = MappingProxyType({}),
    *,
    checked: bool = False,
) -> tuple[Any, State]:
    """Runs a part on its signals `(T, B, *N)`: a stateful one, a plain one, or one with modulated parameters.

    It gives one tensor, or several by name in a dict or a NamedTuple; `name_outputs` names them.

    Args:
        part: the module.
        signals: by position.
        named: by name.
        state: of a stateful part.
        effects: modulation by path.
        checked: refuse a part that writes into its signals.

    Raises:
        ConfigError: the part writes into a signal.

    Example:
        >>> y, state = apply_part(nn.Identity(), [torch.ones(2, 1, 3)])
        >>> y.shape
        torch.Size([2, 1, 3])
    """
    if checked:
        with refuse_inplace(part, [*signals, *named.values()]):
            return apply_part(part, signals, named, state, effects)

    if isinstance(part, Stateful):
        return part(*signals, state, **named, **effects)
    if effects:
        return modulated(part, effects, *signals, **named), None

    return outputs_over_time(part, *signals, **named), None


def name_outputs(part: str, y: Any, signals: Sequence[str]) -> dict[str, Tensor]:
    """What a part gave, by the names of its signals.

    Args:
        part: its name.
        y: one tensor, or several by name.
        signals: those that are read: the part's name alone, or "part.key".

    Raises:
        ConfigError: one tensor is read by a key, several without one, or a key is not there.

    Example:
        >>> {name: y.item() for name, y in name_outputs("gaze", {"x": torch.tensor(1.0)}, ["gaze.x"]).items()}
        {'gaze.x': 1.0}
    """
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

    found = {}
    for signal in signals:
        key = signal[len(part) + 1 :]
        if key not in several:
            names = [f"{part}.{name}" for name in several]
            raise ConfigError(
                f"part {part!r} gives several tensors by name, but is read as {signal!r}; {did_you_mean(signal, names)}"
            )

        found[signal] = value = several[key]
        if not isinstance(value, Tensor):
            raise ShapeError(f"part {part!r} gave {key!r} as {in_words(value)}; all that it gives by name are tensors")

    return found


@dataclass(slots=True, eq=False)
class Segment:
    """One call of a network: the ticks from `start` to before `stop`.

    Attributes:
        network: the network.
        signals: of inputs and parts so far, `(K, B, *N)`, None where there is no sample.
        parts: states of the parts.
        buffers: the links by the part that they lead to, in order.
        checked: whether parts are checked, as at the first call of a stream.
    """

    network: NetworkGraph
    start: int
    stop: int
    signals: dict[str, Tensor | None]
    parts: dict[str, State]
    buffers: dict[str, list[LinkBuffer]]
    checked: bool

    @classmethod
    def begin(
        cls,
        network: NetworkGraph,
        inputs: Mapping[str, Tensor],
        states: tuple[Mapping[str, State], Mapping[str, LinkState]],
        ticks: tuple[int, int],
        checked: bool,
    ) -> "Segment":
        """A segment from the states of parts and links, over the ticks from the first to before the second."""
        signals = {name: x if (x := inputs.get(name)) is not None and x.shape[0] else None for name in network.inputs}
        parts, links = states
        buffers = {
            part: [LinkBuffer.begin(route, network.unit_of(route), links[route.name], checked) for route in routes]
            for part, routes in network.plan.incoming.items()
        }

        return cls(network, *ticks, signals, dict(parts), buffers, checked)

    def run(self) -> None:
        """Runs every group once."""
        for group in self.network.plan.groups:
            self._run_group(group)

    def link_states(self) -> dict[str, LinkState]:
        """The states of the links."""
        return {buffer.route.name: buffer.state() for buffers in self.buffers.values() for buffer in buffers}

    def _run_group(self, group: Group) -> None:
        if group.delayed and len(spans := group.spans(self.start, self.stop)) > 1:
            self._run_in_spans(group, spans)
        else:
            self._run_at_once(group)

    def _run_at_once(self, group: Group) -> None:
        """Runs a group over all ticks."""
        for part in group.parts:
            arrivals = []
            for buffer in self.buffers[part]:
                if buffer.route not in group.delayed:
                    buffer.push(self.signals, self.start, self.stop)
                arrivals.append(buffer.pop(self.start, self.stop))

            self.signals |= self._run_part(part, arrivals, self.start, self.stop)

        for buffer in self._delayed(group):
            buffer.push(self.signals, self.start, self.stop)

    def _run_in_spans(self, group: Group, spans: list[tuple[int, int]]) -> None:
        """Runs a loop span by span."""
        clocks = self.network.plan.clocks
        # signals from outside are pushed whole and split once
        external = {
            name: split_samples(self.signals[name], [clocks[name].between(a, b) for a, b in spans])
            for name in group.external
        }

        outside: dict[str, list[Tensor | None]] = {}
        for buffer in (buffer for part in group.parts for buffer in self.buffers[part]):
            if buffer.route not in group.internal:
                buffer.push(self.signals, self.start, self.stop)
                outside[buffer.route.name] = buffer.pop_spans(spans)

        delayed = self._delayed(group)
        pieces: dict[str, list[Tensor]] = {s: [] for part in group.parts for s in self.network.plan.signals[part]}

        for index, (a, b) in enumerate(spans):
            now = {name: values[index] for name, values in external.items()}
            for part in group.parts:
                arrivals = []
                for buffer in self.buffers[part]:
                    if buffer.route.name in outside:
                        arrivals.append(outside[buffer.route.name][index])
                        continue

                    if buffer.route not in group.delayed:
                        buffer.push(now, a, b)
                    arrivals.append(buffer.pop(a, b))

                now |= (given := self._run_part(part, arrivals, a, b))
                for signal, y in given.items():
                    pieces[signal] += [] if y is None else [y]

            for buffer in delayed:
                buffer.push(now, a, b)

        for signal, values in pieces.items():
            self.signals[signal] = torch.cat(values) if values else None

    def _delayed(self, group: Group) -> list[LinkBuffer]:
        if not group.delayed:
            return []
        return [buffer for part in group.parts for buffer in self.buffers[part] if buffer.route in group.delayed]

    def _run_part(self, name: str, arrivals: list[Tensor | None], start: int, stop: int) -> Mapping[str, Tensor | None]:
        """Runs a part over all its ticks of a span, on what has arrived on its links.

        Returns:
            Its signals by name, `(T, B, *M)`, None where it has no tick.
        """
        ticks = self.network.plan.clocks[name].ticks(start, stop)
        signals: list[Tensor] = []
        named: dict[str, Tensor] = {}
        effects: list[tuple[Route, ZeroOrderHold]] = []

        for buffer, arrived in zip(self.buffers[name], arrivals, strict=True):
            route = buffer.route
            if route.sampled:
                x = _with_initial(buffer.held, arrived, len(ticks)) if ticks else None
            else:
                hold = _hold(buffer, arrived, ticks, start)
                if isinstance(route.link, Modulation):
                    effects.append((route, hold))
                    continue

                x = hold.values(0, len(ticks)) if ticks else None

            if x is None:
                continue

            if route.into is None:
                signals.append(x)
            else:
                named[route.into] = x

        if not ticks:
            return dict.fromkeys(self.network.plan.signals[name])

        part = self.network.parts[name]
        state = self.parts[name]
        if effects:
            y, self.parts[name] = _run_modulated(part, signals, named, state, effects, len(ticks))
        else:
            y, self.parts[name] = apply_part(part, signals, named, state, checked=self.checked)

        return name_outputs(name, y, self.network.plan.signals[name])


def _hold(buffer: LinkBuffer, arrived: Tensor | None, ticks: list[int], start: int) -> ZeroOrderHold:
    """A held link at the ticks of its target; the newest value stays held."""
    if arrived is None:
        return ZeroOrderHold(buffer.held, None, [0] * len(ticks))

    clock = buffer.route.clock
    delay = buffer.route.delay
    before = clock.count(start - delay)
    hold = ZeroOrderHold(buffer.held, arrived, [count - before for count in clock.counts(ticks, delay)])
    buffer.held = hold.newest

    return hold


def _with_initial(initial: Tensor | None, arrived: Tensor | None, number: int) -> Tensor | None:
    """The signal of a sampled link: initial values where a delay leaves a gap, then what arrived."""
    missing = number - (0 if arrived is None else arrived.shape[0])
    if missing == 0 or initial is None:
        return arrived

    gap = initial.expand(missing, *initial.shape)
    return gap if arrived is None else torch.cat([gap, arrived])


def _run_modulated(
    part: nn.Module,
    signals: list[Tensor],
    named: dict[str, Tensor],
    state: State,
    effects: list[tuple[Route, ZeroOrderHold]],
    num_ticks: int,
) -> tuple[Any, State]:
    """Runs a part in pieces, in each of which a modulation is present or absent and modulated weights are constant."""
    edges = {0, num_ticks}
    for route, hold in effects:
        edges |= set(hold.changes if route.acts_on_a_parameter else (hold.first_tick,))

    pieces = list(pairwise(sorted(edges)))
    if len(pieces) == 1:
        return apply_part(part, signals, named, state, _effects(effects, 0, num_ticks))

    numbers = [b - a for a, b in pieces]
    # split, not x[a:b]: slices would cost the whole length each time in the backward pass
    columns = [x.split(numbers) for x in signals]
    named_columns = {name: x.split(numbers) for name, x in named.items()}
    outputs = []

    for index, (a, b) in enumerate(pieces):
        now = [column[index] for column in columns]
        named_now = {name: column[index] for name, column in named_columns.items()}
        y, state = apply_part(part, now, named_now, state, _effects(effects, a, b))
        outputs.append(y)

    return join_tensors(torch.cat, outputs), state


def _effects(holds: list[tuple[Route, ZeroOrderHold]], a: int, b: int) -> dict[str, list[Effect]]:
    effects: dict[str, list[Effect]] = {}
    for route, hold in holds:
        link = route.link
        if isinstance(link, Modulation) and hold.first_tick <= a:
            effects.setdefault(link.path, []).append(Effect(hold.signal(a, b), link.by))

    return effects
