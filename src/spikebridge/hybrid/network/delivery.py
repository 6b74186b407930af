"""Transit: what is on its way from a link's source to its target during a run.

Held readings: at each of a part's ticks the newest value that has arrived.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import torch
from torch import Tensor

from spikebridge.errors import ShapeError
from spikebridge.hybrid.clock import Clock
from spikebridge.hybrid.network.link import LinkState, Route, describe, trigger_of
from spikebridge.hybrid.unit.unit import HybridUnit, UnitState
from spikebridge.hybrid.unit.window import window_starts_from_clock, window_starts_from_mask


def split_by(x: Tensor | None, numbers: Sequence[int]) -> list[Tensor | None]:
    """A signal in pieces of so many samples each, None for none.

    All at once: cutting piece by piece would cost the whole length each time in the backward pass.

    Example:
        >>> [None if piece is None else piece.tolist() for piece in split_by(torch.tensor([1, 2, 3]), [2, 0, 1])]
        [[1, 2], None, [3]]
    """
    if x is None:
        return [None] * len(numbers)
    if len(numbers) == 1:
        return [x]
    return [piece if piece.shape[0] else None for piece in x.split(list(numbers))]


@dataclass(slots=True, eq=False)
class LinkBuffer:
    """A link during a run. Its unit takes in what the source gave; what it makes waits until it is delivered.

    Attributes:
        route: the link with its clocks.
        unit: what it goes through, None for nothing.
        waiting: values on the way in pieces, oldest first, `(r, B, *N)` each.
        begun: what the link remembered when the run began; the others are the present values.
    """

    route: Route
    unit: HybridUnit | None
    waiting: deque[Tensor]
    unit_state: UnitState
    held: Tensor | None
    context: Tensor | None
    triggered: Tensor | None
    begun: LinkState
    moved: bool = False

    @classmethod
    def begin(cls, route: Route, unit: HybridUnit | None, state: LinkState) -> "LinkBuffer":
        """The transit on a link from what it remembers."""
        waiting = deque([state.queue.transpose(0, 1)] if state.queue is not None else ())
        return cls(route, unit, waiting, state.unit, state.held, state.context, state.triggered, state)

    def push(self, signals: Mapping[str, Tensor | None], start: int, stop: int) -> None:
        """The unit runs over what the source gave.

        Args:
            signals: what every source of the link gave in these ticks, None where that is nothing.
            start: first tick.
            stop: the tick after the last.
        """
        route = self.route
        x = signals[route.link.source]
        if self.unit is None:
            if x is not None:
                self._send(x)
            return
        context = starts = None
        if route.context is not None:
            context = self._read_context(route.context, signals[str(route.link.context)], start, stop)
        if route.trigger is not None:
            starts = self._openings(route.trigger, signals[str(trigger_of(route.link))], start, stop)
        if x is None:
            return
        if route.makes.between(start, stop):
            y, self.unit_state = self.unit(x, self.unit_state, starts=starts, context=context)
            self._send(y)
        else:
            self.unit_state = self.unit.buffer_steps(x, self.unit_state)

    def pop(self, start: int, stop: int) -> Tensor | None:
        """The values that arrive from tick `start` to before `stop`, `(r, B, *N)`, or None."""
        delay = self.route.link.delay
        number = self.route.clock.between(start - delay, stop - delay)
        if number == 0:
            return None
        self.moved = True
        taken = []
        while number:
            piece = self.waiting.popleft()
            if piece.shape[0] > number:
                self.waiting.extendleft(reversed(piece.split(number)))
                piece = self.waiting.popleft()
            taken.append(piece)
            number -= piece.shape[0]
        return taken[0] if len(taken) == 1 else torch.cat(taken)

    def pop_by_span(self, spans: Sequence[tuple[int, int]]) -> list[Tensor | None]:
        """The same for each of some spans side by side, when all that the source gives in them has been taken in."""
        delay = self.route.link.delay
        numbers = [self.route.clock.between(a - delay, b - delay) for a, b in spans]
        return split_by(self.pop(spans[0][0], spans[-1][1]), numbers)

    def end(self) -> LinkState:
        """What the link remembers. It is copied, so that no long signal is kept alive, nor changed by its owner."""
        queue = self.begun.queue
        if self.moved:
            queue = torch.cat(list(self.waiting)).transpose(0, 1) if self.waiting else None
        held, context = self.held, self.context
        if held is not None and held is not self.begun.held:
            held = held.clone()
        if context is not None and context is not self.begun.context:
            context = context.clone()
        return LinkState(self.unit_state, queue, held, context, self.triggered)

    def _send(self, values: Tensor) -> None:
        if self.held is not None and values.shape[1:] != self.held.shape:
            raise ShapeError(
                f"{describe(self.route.link)} carried {tuple(self.held.shape)}, but now {tuple(values.shape[1:])}; "
                "begin anew with network.initial_state(inputs), which finds the shapes of a network that has changed"
            )
        self.moved = True
        self.waiting.append(values)

    def _read_context(self, clock: Clock, fresh: Tensor | None, start: int, stop: int) -> Tensor | None:
        """The context when the unit makes something, `(K, B, *C)`, None if it makes nothing."""
        ticks = self.route.makes.ticks(start, stop)
        before = clock.count(start)
        reading = ZeroOrderHold(self.context, fresh, [count - before for count in clock.counts(ticks)])
        self.context = reading.newest
        return reading.values(0, len(ticks)) if ticks else None

    def _openings(self, clock: Clock, flags: Tensor | None, start: int, stop: int) -> Tensor:
        if self.triggered is None:
            return window_starts_from_clock(self.route.source, clock, start, stop)
        starts, self.triggered = window_starts_from_mask(self.route.source, clock, flags, self.triggered, start, stop)
        return starts


@dataclass(slots=True)
class ZeroOrderHold:
    """A held signal over some ticks.

    Args:
        held: the value from before, `(B, *N)`; None where there is none.
        arrived: those that arrived, oldest first, `(r, B, *N)`, or None.
        counts: for each tick how many had arrived by then.

    Example:
        >>> reading = ZeroOrderHold(torch.zeros(1), torch.tensor([[1.0], [2.0]]), counts=[0, 1, 1, 2])
        >>> reading.values(0, 4).flatten().tolist()
        [0.0, 1.0, 1.0, 2.0]
    """

    held: Tensor | None
    arrived: Tensor | None
    counts: list[int]
    rows: Sequence[Tensor] = ()

    @property
    def newest(self) -> Tensor | None:
        """What is held afterwards."""
        return self.held if self.arrived is None else self.arrived[-1]

    @property
    def appears(self) -> int:
        """The first tick at which there is a value."""
        if self.held is not None:
            return 0
        return next((i for i, count in enumerate(self.counts) if count > 0), len(self.counts))

    @property
    def changes(self) -> list[int]:
        """The ticks at which the value is another than at the tick before."""
        return [i for i, (before, now) in enumerate(pairwise(self.counts), start=1) if before != now]

    def values(self, a: int, b: int) -> Tensor:
        """The value at each of the ticks from `a` to before `b`, `(b - a, B, *N)`."""
        counts = self.counts[a:b]
        first, last = counts[0], counts[-1]
        if first == last:
            row = self._row(first)
            return row.expand(b - a, *row.shape)
        if self.arrived is not None and counts == list(range(first, last + 1)):
            # one after another: a piece of the signal as it is
            new = self.arrived[max(first - 1, 0) : last]
            return new if first else torch.cat([self._row(0).unsqueeze(0), new])
        runs = [(self._row(count), len(list(run))) for count, run in groupby(counts)]
        return torch.cat([row.expand(number, *row.shape) for row, number in runs])

    def signal(self, a: int, b: int) -> Tensor:
        """The same, but `(1, B, *N)` where it does not change."""
        same = self.counts[a] == self.counts[b - 1]
        return self._row(self.counts[a]).unsqueeze(0) if same else self.values(a, b)

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
