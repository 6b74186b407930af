"""The order in which parts run: along their links, loops as one group."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from spikebridge.errors import ConfigError
from spikebridge.hybrid.route import Route


@dataclass(frozen=True)
class Group:
    """Parts that run together: one part, or the parts of a loop in the order in which they fire inside a tick.

    Attributes:
        parts: their names.
        loop: whether they hear from each other.
        internal: links that carry what a part of the loop gave.
        late: those of them with a delay, which end the spans of the loop.
        beside: signals from elsewhere that the units of internal links hear, too.
    """

    parts: list[str]
    loop: bool = False
    internal: tuple[Route, ...] = ()
    late: tuple[Route, ...] = ()
    beside: tuple[str, ...] = ()

    def spans(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Cuts the ticks of a loop where a delayed link next delivers something made inside a span."""
        if not self.late:
            return [(start, stop)]
        spans = []
        while start < stop:
            end = min([stop, *(route.makes.next(start) + route.link.delay for route in self.late)])
            spans.append((start, end))
            start = end
        return spans


def groups_in_order(parts: list[str], routes: list[Route]) -> list[Group]:
    """Groups in an order in which every group comes after those it hears from.

    Args:
        parts: in the order given by the user, which decides where the links do not.
        routes: all links.

    Returns:
        One group for each part that is in no loop, and for each loop.

    Raises:
        ConfigError: a loop without a delay; the message names its parts and proposes the link to delay.
    """
    groups = []
    for members in _strong_components(_hears(parts, routes)):
        internal = tuple(
            route for route in routes if route.link.part in members and any(s in members for s in route.sources)
        )
        if internal:
            late = tuple(route for route in internal if route.link.delay > 0)
            beside = dict.fromkeys(name for route in internal for name in route.sources if name not in members)
            groups.append(Group(_inside_a_tick(members, internal), True, internal, late, tuple(beside)))
        else:
            groups.append(Group(members))
    return groups


def _hears(parts: list[str], routes: Iterable[Route]) -> dict[str, set[str]]:
    hears: dict[str, set[str]] = {part: set() for part in parts}
    for route in routes:
        if route.link.part in hears:
            hears[route.link.part] |= {source for source in route.sources if source in hears}
    return hears


def _inside_a_tick(members: list[str], internal: tuple[Route, ...]) -> list[str]:
    """The order of a loop's parts inside one tick, along its links without delay."""
    prompt = [route for route in internal if route.link.delay == 0]
    hears = _hears(members, prompt)
    order: list[str] = []
    for component in _strong_components(hears):
        if len(component) > 1 or component[0] in hears[component[0]]:
            ring = _ring(component, hears)
            edges = set(pairwise(ring))
            closing = [route for route in prompt if any((source, route.link.part) in edges for source in route.sources)]
            raise ConfigError(
                f"the parts {' -> '.join(map(repr, ring))} form a loop without a delay, so each would wait for the "
                f"other inside one tick; give one of its links a delay, for example {closing[-1].name!r} delay=1"
            )
        order += component
    return order


def _ring(component: list[str], hears: dict[str, set[str]]) -> list[str]:
    """A way round through some parts of a component, along the links, back to where it began."""
    way = [component[0]]
    while way[-1] not in way[:-1]:
        way.append(next(name for name in component if name in hears[way[-1]]))
    return way[way.index(way[-1]) :][::-1]


def _strong_components(hears: dict[str, set[str]]) -> list[list[str]]:
    """Tarjan's strongly connected components, every one after those it hears from, members in the order given."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    components: list[list[str]] = []
    rank = {name: i for i, name in enumerate(hears)}

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(hears[name], key=rank.__getitem__):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            cut = stack.index(name)
            components.append(sorted(stack[cut:], key=rank.__getitem__))
            del stack[cut:]

    for name in hears:
        if name not in index:
            visit(name)
    return components
