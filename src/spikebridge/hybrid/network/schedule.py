"""The schedule of a tick: which parts fire in it and what their links do. It follows from the clocks alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import lcm
from typing import NamedTuple

from spikebridge.hybrid.clock import Clock
from spikebridge.hybrid.network.link import Route

_MOST_TICKS = 4096  # that a schedule keeps


class _LinkTick(NamedTuple):
    """A link in one tick.

    Attributes:
        name: of the link.
        sends: whether a signal that its unit reads has a sample, unless it is sent after all parts have run.
        is_due: whether a value arrives.
    """

    name: str
    sends: bool
    is_due: bool


class _PartTick(NamedTuple):
    """A part in one tick: whether it fires, and its links in the order of its arguments."""

    name: str
    fires: bool
    links: tuple[_LinkTick, ...]


class Tick(NamedTuple):
    """A tick of a group: its parts in order; then the names of its delayed links that send."""

    parts: tuple[_PartTick, ...]
    delayed: tuple[str, ...]


@dataclass(eq=False)
class Schedule:
    """What happens in each tick of a group, worked out once for a period after which all its clocks repeat.

    Args:
        parts: in the order in which they run inside a tick.
        delayed: links of a loop whose values are delivered in later ticks.
        incoming: all links by the part that they lead to.
        clocks: of all signals.

    Example:
        >>> from spikebridge.hybrid.network.link import Transmission
        >>> fast, slow = Clock(1, 0), Clock(3, 2)
        >>> route = Route("link", Transmission("x", "part", held=True), slow, slow, slow, slow)
        >>> schedule = Schedule(["part"], (), {"part": [route]}, {"x": slow, "part": fast})
        >>> [schedule.at(tick).parts[0].links[0].is_due for tick in range(6)]
        [False, False, True, False, False, True]
    """

    parts: Sequence[str]
    delayed: Sequence[Route]
    incoming: Mapping[str, Sequence[Route]]
    clocks: Mapping[str, Clock]
    period: int = field(init=False)
    settled: int = field(init=False)  # the tick from which on the period holds
    _ticks: dict[int, Tick] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.incoming = {part: self.incoming[part] for part in self.parts}
        routes = [route for links in self.incoming.values() for route in links]
        involved = [self.clocks[name] for name in [*self.parts, *(name for route in routes for name in route.sources)]]
        involved += map(_arrivals, routes)
        self.period = lcm(*(clock.period for clock in involved))
        self.settled = max(clock.phase for clock in involved)

    def phase(self, tick: int) -> int:
        """The first tick in which the same happens."""
        return tick if tick < self.settled else self.settled + (tick - self.settled) % self.period

    def at(self, tick: int) -> Tick:
        """What happens in a tick."""
        key = self.phase(tick)
        found = self._ticks.get(key)
        if found is None:
            found = self._work_out(tick)
            if len(self._ticks) < _MOST_TICKS:
                self._ticks[key] = found

        return found

    def _work_out(self, tick: int) -> Tick:
        parts = tuple(
            _PartTick(part, self.clocks[part].has(tick), tuple(self._link(route, tick) for route in routes))
            for part, routes in self.incoming.items()
        )
        return Tick(parts, tuple(route.name for route in self.delayed if self._has_sources(route, tick)))

    def _link(self, route: Route, tick: int) -> _LinkTick:
        sends = route not in self.delayed and self._has_sources(route, tick)
        return _LinkTick(route.name, sends, _arrivals(route).has(tick))

    def _has_sources(self, route: Route, tick: int) -> bool:
        return any(self.clocks[name].has(tick) for name in route.sources)


def _arrivals(route: Route) -> Clock:
    """When the values of a link arrive."""
    return Clock(route.clock.period, route.clock.phase + route.delay)
