"""The schedule of a tick: the parts that fire in it and the links that send. It follows from the clocks alone.

Direct links, whose target reads the source itself, send nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import lcm
from typing import NamedTuple

from spikebridge.hybrid.clock import Clock
from spikebridge.hybrid.network.link import Route

_MAX_TICKS = 4096  # that a schedule keeps


class _PartTick(NamedTuple):
    """A part in one tick."""

    name: str
    fires: bool
    buffers: tuple[str, ...]  # its links whose unit keeps the sample of their only source until a window closes
    sends: tuple[str, ...]  # its other links whose unit reads a sample, but for those sent after all parts have run
    due: tuple[str, ...]  # its links on which a value arrives


class Tick(NamedTuple):
    """A tick of a group: its parts in order, then the names of its delayed links that send."""

    parts: tuple[_PartTick, ...]
    delayed: tuple[str, ...]


@dataclass(eq=False)
class Schedule:
    """The ticks of a group, each worked out once for a period after which all its clocks repeat."""

    parts: Sequence[str]  # in the order in which they run inside a tick
    delayed: Sequence[Route]  # the links of a loop whose values are delivered in later ticks
    incoming: Mapping[str, Sequence[Route]]  # all links by the part that they lead to
    clocks: Mapping[str, Clock]  # of all signals
    period: int = field(init=False)
    periodic_from: int = field(init=False)  # the tick at which all signals have begun
    _ticks: dict[int, Tick] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.incoming = {part: self.incoming[part] for part in self.parts}
        routes = [route for links in self.incoming.values() for route in links]
        involved = [self.clocks[name] for name in [*self.parts, *(name for route in routes for name in route.sources)]]
        # a burst arrives more often than its windows close
        involved += [clock for route in routes for clock in (route.makes, _arrivals(route))]
        self.period = lcm(*(clock.period for clock in involved))
        self.periodic_from = max(clock.phase for clock in involved)

    def phase(self, tick: int) -> int:
        """The first tick in which the same happens."""
        return tick if tick < self.periodic_from else self.periodic_from + (tick - self.periodic_from) % self.period

    def at(self, tick: int) -> Tick:
        """The parts that fire in a tick, and the links that send."""
        key = self.phase(tick)
        entry = self._ticks.get(key)
        if entry is None:
            entry = self._work_out(tick)
            if len(self._ticks) < _MAX_TICKS:
                self._ticks[key] = entry

        return entry

    def _work_out(self, tick: int) -> Tick:
        parts = []
        for part, incoming in self.incoming.items():
            routes = [route for route in incoming if route.direct_source is None]
            read = [route for route in routes if route not in self.delayed and self._has_sample(route, tick)]
            buffers = [route.name for route in read if len(route.sources) == 1 and not route.makes.has(tick)]
            sends = [route.name for route in read if route.name not in buffers]
            due = [route.name for route in routes if _arrivals(route).has(tick)]
            parts.append(_PartTick(part, self.clocks[part].has(tick), tuple(buffers), tuple(sends), tuple(due)))

        return Tick(tuple(parts), tuple(route.name for route in self.delayed if self._has_sample(route, tick)))

    def _has_sample(self, route: Route, tick: int) -> bool:
        return any(self.clocks[name].has(tick) for name in route.sources)


def _arrivals(route: Route) -> Clock:
    """The clock of the values of a link when they arrive."""
    return Clock(route.clock.period, route.clock.phase + route.delay)
