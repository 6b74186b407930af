"""Delivery on links: values that wait for their tick, and the newest value that a held link gives.

A `LinkBuffer` is a link during one call: its unit turns the source's signal into values, which wait until they are
delivered. A `ZeroOrderHold` is a held signal: at each tick the newest value delivered so far.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d

from spikebridge.errors import ShapeError, StateError
from spikebridge.hybrid.clock import Clock
from spikebridge.hybrid.network.link import AWAKE, LinkState, Route, SignalSpec, Transmission, describe
from spikebridge.hybrid.unit.awake_steps import run_awake
from spikebridge.hybrid.unit.unit import HybridUnit, UnitState
from spikebridge.hybrid.unit.window import Starts, window_starts_from_clock, window_starts_from_mask
from spikebridge.neurons.state import state_remedy


def split_samples(x: Tensor | None, numbers: Sequence[int]) -> list[Tensor | None]:
    """A signal in pieces of these numbers of samples, None for an empty one."""
    if x is None:
        return [None] * len(numbers)
    if len(numbers) == 1:
        return [x]

    # all at once: slicing piece by piece would cost the whole length each time in the backward pass
    return [piece if piece.shape[0] else None for piece in x.split(list(numbers))]


def split_inputs(
    clocks: Mapping[str, Clock], inputs: Mapping[str, Tensor], edges: Sequence[int]
) -> list[dict[str, Tensor]]:
    """The samples of inputs from each tick in `edges` to before the next; an input without one is left out."""
    columns = {
        name: split_samples(x, [clocks[name].between(a, b) for a, b in pairwise(edges)]) for name, x in inputs.items()
    }
    return [
        {name: piece for name, column in columns.items() if (piece := column[index]) is not None}
        for index in range(len(edges) - 1)
    ]


def sort_values(
    routes: Iterable[Route], values: Iterable[Any]
) -> tuple[list[Any], dict[str, Any], list[tuple[Route, Any]]]:
    """The values of the links of a part, None for none: by position, by name, and those that modulate."""
    signals: list[Any] = []
    named: dict[str, Any] = {}
    modulations: list[tuple[Route, Any]] = []

    for route, value in zip(routes, values, strict=True):
        if value is None:
            continue

        if route.path:
            modulations.append((route, value))
        elif route.into is None:
            signals.append(value)
        else:
            named[route.into] = value

    return signals, named, modulations


def initial_link_state(route: Route, unit: HybridUnit | None, spec: SignalSpec, like: Tensor) -> LinkState:
    """The state of a link before the first tick of a stream like a tensor with its batch first."""
    batch = like.shape[0]
    held = _initial_value(route, like, spec) if route.has_initial else None
    return LinkState(
        unit=UnitState() if unit is None else unit.initial_state(batch, like.device),
        held=like.new_zeros((batch, route.num_flags)) if route.num_flags else held,
        context=None if spec.context is None else like.new_zeros((batch, *spec.context), dtype=spec.context_dtype),
        triggered=like.new_zeros(batch, dtype=torch.bool) if spec.masked else None,
    )


def _initial_value(route: Route, like: Tensor, spec: SignalSpec) -> Tensor:
    initial = route.link.initial if isinstance(route.link, Transmission) else 0.0
    shape = (like.shape[0], *spec.shape)
    if not isinstance(initial, Tensor):
        return like.new_full(shape, initial, dtype=spec.dtype)

    value = initial.to(device=like.device, dtype=spec.dtype)
    try:
        return value.expand(shape).clone()
    except RuntimeError:
        raise unfit_initial(route, value.shape, spec.shape) from None


def unfit_initial(route: Route, initial: torch.Size, shape: torch.Size) -> ShapeError:
    """The error of an initial value whose shape is not that of the link's values."""
    return ShapeError(
        f"{describe(route.link)} has an initial value of shape {tuple(initial)}, but carries values of shape "
        f"{tuple(shape)}; give it that shape"
    )


_REMEDY = state_remedy("network")


def refuse_other_link(
    route: Route, unit: HybridUnit | None, state: LinkState, spec: SignalSpec, like: Tensor, tick: int
) -> None:
    """Raises if the state of a link is not its own before a tick, or of another stream. It reads no values."""
    if type(state) is not LinkState:
        kind = type(state).__name__
        raise StateError(f"{describe(route.link)} has a {kind} as its state, not a LinkState; {_REMEDY}")

    batch = like.shape[0]
    num_made = route.makes.count(tick) * (1 if unit is None else unit.outputs_per_window)
    num_waiting = num_made - route.clock.count(tick - route.delay)

    values = (batch, *spec.shape) if state.held is not None or route.has_initial else None
    expected = {
        "queue": (batch, num_waiting, *spec.shape) if num_waiting else None,
        "held": (batch, route.num_flags) if route.num_flags else values,
        "context": None if spec.context is None else (batch, *spec.context),
        "triggered": (batch,) if spec.masked else None,
    }
    for name, shape in expected.items():
        value = getattr(state, name)
        actual = value if value is None else tuple(value.shape)
        if actual != shape:
            raise StateError(f"{describe(route.link)} has a state whose {name} is {actual}, not {shape}; {_REMEDY}")
        if value is not None and value.device != like.device:
            raise StateError(
                f"{describe(route.link)} has a state on {value.device}, but the stream is on {like.device}"
            )


@dataclass(slots=True, eq=False)
class LinkBuffer:
    """A link during one call: a signal is pushed through its unit, the values are popped when they are due."""

    route: Route
    unit: HybridUnit | None
    initial: LinkState
    checked: bool  # as at the first call of a stream
    unit_state: UnitState = field(init=False)
    held: Tensor | None = field(init=False)
    context: Tensor | None = field(init=False)
    triggered: Tensor | None = field(init=False)
    waiting: deque[Tensor] = field(init=False)  # values not yet delivered, oldest first, `(r, B, *N)` each
    changed: bool = field(init=False, default=False)  # values have come or gone since the call began

    def __post_init__(self) -> None:
        self.unit_state, queue, self.held, self.context, self.triggered = self.initial
        self.waiting = deque() if queue is None else deque((queue.transpose(0, 1),))

    def push(self, signals: Mapping[str, Tensor | None], start: int, stop: int) -> None:
        """Runs the unit on the samples of the link's sources in these ticks, None for none."""
        route = self.route
        unit = self.unit
        x = signals[route.link.source]
        if unit is None and route.skips is None:
            if x is not None:
                self._append(x)
            return

        context = None
        starts = None
        if route.context is not None:
            context = self._read_context(route.context, signals[str(route.link.context)], start, stop)
        if route.trigger is not None:
            starts = self._window_starts(route.trigger, signals[route.sources[-1]], start, stop)
        if route.skips is not None:
            if x is not None and (flags := signals[route.skips]) is not None:
                self._append(self._awake_values(x, flags.flatten(1) >= AWAKE, starts, context))
            return

        if x is None or unit is None:
            return

        if self.checked:
            unit.check_inputs(x)

        # without a window that closes there is nothing to compute
        if route.makes.between(start, stop):
            y, self.unit_state = unit(x, self.unit_state, starts=starts, context=context)
            self._append(y)
        else:
            self.unit_state = unit.buffer_steps(x.transpose(0, 1), self.unit_state)

    def _awake_values(self, x: Tensor, awake: Tensor, starts: Starts | None, context: Tensor | None) -> Tensor:
        """The values of a signal at its ticks awake, `(T, B)`; elsewhere the one before, or that for none."""
        values, given = x, awake
        if self.unit is not None:
            values, given, self.unit_state = run_awake(self.unit, x, awake, self.unit_state, starts, context)

        masks = given.reshape(*given.shape, *[1] * (values.ndim - 2))
        if self.route.num_flags or self.route.sampled:
            none = torch.zeros_like(values) if self.route.num_flags else cast(Tensor, self.held)
            return torch.where(masks, values, none)

        last = self._last_value()
        kept = []
        for value, mask in zip(values.unbind(0), masks.unbind(0), strict=True):
            last = torch.where(mask, value, last)
            kept.append(last)

        return torch.stack(kept)

    def _last_value(self) -> Tensor:
        """The newest value, delivered or not."""
        return self.waiting[-1][-1] if self.waiting else cast(Tensor, self.held)

    def pop(self, start: int, stop: int) -> Tensor | None:
        """The values delivered from tick `start` to before `stop`, `(r, B, *N)`, or None."""
        delay = self.route.delay
        number = self.route.clock.between(start - delay, stop - delay)
        if number == 0:
            return None

        self.changed = True
        popped = []
        while number:
            piece = self.waiting.popleft()
            # the later part of a piece waits on, in front of the others
            if piece.shape[0] > number:
                self.waiting.extendleft(reversed(piece.split(number)))
                piece = self.waiting.popleft()

            popped.append(piece)
            number -= piece.shape[0]

        return popped[0] if len(popped) == 1 else torch.cat(popped)

    def pop_spans(self, spans: Sequence[tuple[int, int]]) -> list[Tensor | None]:
        """The same for each of some adjacent spans, after the signal of all of them has been pushed."""
        delay = self.route.delay
        numbers = [self.route.clock.between(a - delay, b - delay) for a, b in spans]
        return split_samples(self.pop(spans[0][0], spans[-1][1]), numbers)

    def values_at(self, ticks: list[int], arrived: Tensor | None, start: int) -> "Tensor | ZeroOrderHold | None":
        """The values at ticks of the target, `(T, B, *N)`, None without a tick; those of a modulation as they hold."""
        if self.route.sampled:
            return self._with_initial(arrived, len(ticks)) if ticks else None

        hold = self._hold(ticks, arrived, start)
        if self.route.path:
            return hold

        return hold.values(0, len(ticks)) if ticks else None

    def flags_at(self, ticks: list[int], arrived: Tensor | None, start: int) -> Tensor | None:
        """The flags of a wake at ticks of its target, `(T, B)`, None without a tick: the largest of the newest ones."""
        held = self.held
        if held is None or (arrived is None and not ticks):
            return None

        number = held.shape[1]
        if arrived is None:
            return largest_of_newest(held, number).T.expand(len(ticks), -1)

        flags = torch.cat([held, _largest_flags(arrived, held.dtype).T], 1)
        self.held = flags[:, -number:]
        if not ticks:
            return None

        # one value for each number of flags that have arrived, from none on
        largest = largest_of_newest(flags, number).T
        before = self.route.clock.count(start - self.route.delay)
        counts = [count - before for count in self.route.clock.counts(ticks, self.route.delay)]
        first, last = counts[0], counts[-1] + 1
        return largest[first:last] if counts == list(range(first, last)) else largest[counts]

    def _hold(self, ticks: list[int], arrived: Tensor | None, start: int) -> "ZeroOrderHold":
        """The values of a held link, of which the newest stays held."""
        if arrived is None:
            return ZeroOrderHold(self.held, None, [0] * len(ticks))

        clock = self.route.clock
        before = clock.count(start - self.route.delay)
        counts = [count - before for count in clock.counts(ticks, self.route.delay)]
        hold = ZeroOrderHold(self.held, arrived, counts)
        self.held = arrived[-1]

        return hold

    def _with_initial(self, arrived: Tensor | None, number: int) -> Tensor | None:
        """The values of a sampled link: initial ones in the gap that a delay leaves, then those that have arrived."""
        missing = number - (0 if arrived is None else arrived.shape[0])
        if missing == 0 or self.held is None:
            return arrived

        gap = self.held.expand(missing, *self.held.shape)
        return gap if arrived is None else torch.cat([gap, arrived])

    def state(self) -> LinkState:
        """The state of the link after the call."""
        before = self.initial
        held = self.held
        context = self.context
        # copies, so that the state keeps no long signal in memory
        if held is not None and held is not before.held:
            held = held.clone()
        if context is not None and context is not before.context:
            context = context.clone()

        queue = self.queue() if self.changed else before.queue
        return LinkState(self.unit_state, queue, held, context, self.triggered)

    def queue(self) -> Tensor | None:
        """The values that wait, batch first, `(B, Q, *N)`."""
        return torch.cat(tuple(self.waiting)).transpose(0, 1) if self.waiting else None

    def refuse_values(self, shape: torch.Size) -> None:
        """Raises if values of another shape `*N` than before come."""
        if self.held is not None and shape != self.held.shape and not self.route.num_flags:
            raise ShapeError(
                f"{describe(self.route.link)} carried {tuple(self.held.shape)}, but now {tuple(shape)}; begin again "
                "with network.initial_state(inputs), which finds the shapes of a network that has changed"
            )

    def _append(self, values: Tensor) -> None:
        self.refuse_values(values.shape[1:])
        self.changed = True
        self.waiting.append(values)

    def _read_context(self, clock: Clock, arrived: Tensor | None, start: int, stop: int) -> Tensor | None:
        """The context at the ticks at which the unit gives values, `(K, B, *C)`, None if there are none."""
        ticks = self.route.makes.ticks(start, stop)
        before = clock.count(start)
        hold = ZeroOrderHold(self.context, arrived, [count - before for count in clock.counts(ticks)])
        self.context = hold.newest

        return hold.values(0, len(ticks)) if ticks else None

    def _window_starts(self, clock: Clock, mask: Tensor | None, start: int, stop: int) -> Starts:
        if self.triggered is None:
            return window_starts_from_clock(self.route.source, clock, start, stop)
        # flags of a wake are floats, so that they have gradients
        if mask is not None and mask.is_floating_point():
            mask = mask >= AWAKE
        starts, self.triggered = window_starts_from_mask(self.route.source, clock, mask, self.triggered, start, stop)
        return starts


def _largest_flags(values: Tensor, dtype: torch.dtype) -> Tensor:
    """The largest of the values of a sample, `(T, B)`, of flags `(T, B, *N)`."""
    flags = values.reshape(*values.shape[:2], -1)
    flags = flags.squeeze(2) if flags.shape[2] == 1 else flags.amax(2)
    return flags if flags.dtype == dtype else flags.to(dtype)


def next_flags(newest: Tensor, row: Tensor) -> Tensor:
    """The newest flags `(B, Q)` after one more, the largest of a row `(B, *N)`."""
    number = newest.shape[1]
    if number == 1 and row.shape == newest.shape and row.dtype == newest.dtype:
        return row

    flag = _largest_flags(row.unsqueeze(0), newest.dtype).T
    return flag if number == 1 else torch.cat([newest[:, 1:], flag], 1)


def largest_of_newest(flags: Tensor, number: int) -> Tensor:
    """The largest of each flag `(B, K)` and those before it, `number` together; `(B, K - number + 1)`."""
    # not amax, which would divide the gradient of equal flags, so that a cut stream had others
    return flags if number == 1 else max_pool1d(flags.unsqueeze(1), number, 1).squeeze(1)


@dataclass(slots=True)
class ZeroOrderHold:
    """A held signal over some ticks: at each tick the newest value delivered so far."""

    held: Tensor | None  # the value before these ticks, `(B, *N)`
    arrived: Tensor | None  # values delivered in these ticks, oldest first, `(r, B, *N)`
    counts: list[int]  # for each tick the number of them that have been delivered
    rows: Sequence[Tensor] = ()

    @property
    def newest(self) -> Tensor | None:
        """The value after these ticks."""
        return self.held if self.arrived is None else self.arrived[-1]

    @property
    def first_tick(self) -> int:
        """The first tick at which there is a value."""
        if self.held is not None:
            return 0
        return next((i for i, count in enumerate(self.counts) if count > 0), len(self.counts))

    @property
    def changes(self) -> list[int]:
        """The ticks at which the value differs from that of the tick before."""
        return [i for i, (before, after) in enumerate(pairwise(self.counts), start=1) if before != after]

    def values(self, a: int, b: int) -> Tensor:
        """The value at each of the ticks from `a` to before `b`, `(b - a, B, *N)`."""
        counts = self.counts[a:b]
        first = counts[0]
        last = counts[-1]
        if first == last:
            row = self._row(first)
            return row.expand(b - a, *row.shape)

        if self.arrived is not None and counts == list(range(first, last + 1)):
            # one after another: a part of the signal itself
            new = self.arrived[max(first - 1, 0) : last]
            return new if first else torch.cat([self._row(0).unsqueeze(0), new])

        runs = [(self._row(count), len(list(run))) for count, run in groupby(counts)]
        return torch.cat([row.expand(number, *row.shape) for row, number in runs])

    def signal(self, a: int, b: int) -> Tensor:
        """The same, but `(1, B, *N)` where it does not change."""
        is_constant = self.counts[a] == self.counts[b - 1]
        return self._row(self.counts[a]).unsqueeze(0) if is_constant else self.values(a, b)

    def part(self, a: int, b: int, samples: Tensor | None) -> "ZeroOrderHold":
        """The same from tick `a` to before `b`, of some samples of the batch or of all."""
        counts = self.counts[a:b]
        if samples is None:
            return ZeroOrderHold(self.held, self.arrived, counts)

        held = None if self.held is None else self.held[samples]
        return ZeroOrderHold(held, None if self.arrived is None else self.arrived[:, samples], counts)

    def _row(self, count: int) -> Tensor:
        if count == 0 or self.arrived is None:
            row = self.held
        else:
            # unbind, not arrived[i]: indexing would cost the whole length each time in the backward pass
            self.rows = self.rows or self.arrived.unbind(0)
            row = self.rows[count - 1]

        if row is None:
            raise IndexError("nothing has arrived yet")

        return row
