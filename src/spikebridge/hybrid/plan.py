"""The plan of a hybrid network: clocks, order and loops, worked out once when the network is built."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from torch import nn

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.hybrid.clock import Clock
from spikebridge.hybrid.link import Modulation, Transmission
from spikebridge.hybrid.window import Since

Link: TypeAlias = Transmission | Modulation


@dataclass(frozen=True, eq=False)
class Route:
    """A link with its name and clocks worked out.

    Attributes:
        clock: of the unit's output, before the delay.
        reads: clock of the values that a sampled target gets, after the delay.
    """

    name: str
    link: Link
    clock: Clock
    reads: Clock

    @property
    def sources(self) -> list[str]:
        """Every signal that must be there before the unit can run."""
        unit = self.link.unit
        trigger = unit.window.trigger if unit is not None and isinstance(unit.window, Since) else None
        return [name for name in (self.link.source, self.link.context, trigger) if name is not None]


@dataclass
class Group:
    """Parts that run together: one part, or the parts of a loop in the order in which they fire inside a tick."""

    parts: list[str]
    loop: bool
    internal: list[Route] = field(default_factory=list)


@dataclass
class Plan:
    """Clocks of all signals, routes of all links, and groups of parts in order."""

    clocks: dict[str, Clock]
    routes: dict[str, Route]
    groups: list[Group]


def make_plan(
    inputs: Mapping[str, Clock],
    parts: Mapping[str, nn.Module],
    declared: Mapping[str, Clock],
    links: Sequence[Link],
    dt: float,
) -> Plan:
    """Works out the plan, or raises a `ConfigError` that names the parts."""
    _check_names(inputs, parts, links)
    names = _name_links(links)
    clocks = _find_clocks(inputs, parts, declared, names, dt)
    routes = {}
    for name, link in names.items():
        out = _unit_clock(link, clocks[link.source])
        routes[name] = Route(name, link, out, out.delayed(link.delay))
        if not link.held and routes[name].reads != clocks[link.part]:
            raise ConfigError(_mismatch(link, routes[name].reads, clocks[link.part], dt))
    return Plan(clocks, routes, _order(list(parts), list(routes.values())))


def _check_names(inputs: Mapping[str, Clock], parts: Mapping[str, nn.Module], links: Sequence[Link]) -> None:
    both = set(inputs) & set(parts)
    if both:
        raise ConfigError(f"inputs and parts need different names, but both have {sorted(both)}")
    signals = [*inputs, *parts]
    for link in links:
        unit = link.unit
        trigger = unit.window.trigger if unit is not None and isinstance(unit.window, Since) else None
        for role, name in (("source", link.source), ("context", link.context), ("trigger", trigger)):
            if name is not None and name not in signals:
                raise ConfigError(
                    f"the {role} of the link {link.source!r} -> {link.target!r} is no signal: {did_you_mean(name, signals)}"
                )
        if link.part not in parts:
            raise ConfigError(
                f"the link {link.source!r} -> {link.target!r} leads to no part: {did_you_mean(link.part, parts)}"
            )
    for name in parts:
        if not any(isinstance(link, Transmission) and link.part == name for link in links):
            raise ConfigError(f"part {name!r} has no input; add a Transmission to it")


def _name_links(links: Sequence[Link]) -> dict[str, Link]:
    names: dict[str, Link] = {}
    for link in links:
        name = link.name or f"{link.source}_to_{link.part}"
        if link.name is None:
            count = 2
            while name in names:
                name = f"{link.source}_to_{link.part}_{count}"
                count += 1
        if name in names or "." in name:
            raise ConfigError(f"a link needs a name of its own, without dots, but got {name!r}")
        names[name] = link
    return names


def _unit_clock(link: Link, source: Clock) -> Clock:
    return source if link.unit is None else link.unit.clock(source, f"the unit from {link.source!r} to {link.target!r}")


def _find_clocks(
    inputs: Mapping[str, Clock],
    parts: Mapping[str, nn.Module],
    declared: Mapping[str, Clock],
    names: dict[str, Link],
    dt: float,
) -> dict[str, Clock]:
    """Declared clocks, and for the others that of their sampled inputs, followed along the links."""
    for name in declared:
        if name not in parts:
            raise ConfigError(f"a clock is declared for {name!r}, which is no part: {did_you_mean(name, parts)}")
    clocks = {**inputs, **declared}
    waiting = [name for name in parts if name not in clocks]
    while waiting:
        found = {}
        for part in waiting:
            for link in names.values():
                if link.part == part and not link.held and link.source in clocks:
                    found[part] = _unit_clock(link, clocks[link.source]).delayed(link.delay)
                    break
        if not found:
            raise ConfigError(
                f"the clock of {', '.join(map(repr, waiting))} is not known, since no sampled link tells it; declare it: "
                f"clocks={{{waiting[0]!r}: every(...)}}"
            )
        clocks |= found
        waiting = [name for name in waiting if name not in found]
    return clocks


def _mismatch(link: Link, comes: Clock, wanted: Clock, dt: float) -> str:
    text = (
        f"the sampled link {link.source!r} -> {link.target!r} brings a value {comes.describe(dt)}, but {link.part!r} fires "
        f"{wanted.describe(dt)}; "
    )
    if comes.period < wanted.period and wanted.period % comes.period == 0:
        return text + f"a window joins them, Tumbling({wanted.period // comes.period}), or read it held=True"
    if comes.period > wanted.period and comes.period % wanted.period == 0:
        return text + f"a hold joins them, Hold({comes.period // wanted.period}), or read it held=True"
    return text + "read it held=True, or give both one clock"


def _order(parts: list[str], routes: list[Route]) -> list[Group]:
    """Groups in an order in which every group comes after those it hears from; loops become one group."""
    hears: dict[str, set[str]] = {part: set() for part in parts}
    for route in routes:
        hears[route.link.part] |= {source for source in route.sources if source in hears}
    groups = []
    for members in _strong_components(hears):
        loop = len(members) > 1 or members[0] in hears[members[0]]
        group = Group(members, loop)
        if loop:
            group.internal = [r for r in routes if r.link.part in members and any(s in members for s in r.sources)]
            group.parts = _inside_a_tick(members, group.internal)
        groups.append(group)
    return groups


def _inside_a_tick(members: list[str], internal: list[Route]) -> list[str]:
    """The order of a loop's parts inside one tick, along its links without delay."""
    hears: dict[str, set[str]] = {part: set() for part in members}
    for route in internal:
        if route.link.delay == 0:
            hears[route.link.part] |= {source for source in route.sources if source in hears}
    order: list[str] = []
    for component in _strong_components(hears):
        if len(component) > 1 or component[0] in hears[component[0]]:
            back = next(
                r
                for r in reversed(internal)
                if r.link.delay == 0 and r.link.part in component and r.link.source in component
            )
            raise ConfigError(
                f"the parts {' -> '.join(map(repr, [*component, component[0]]))} form a loop without a delay, so each would wait "
                f"for the other inside one tick; give one of its links a delay, for example {back.name!r} delay=1"
            )
        order += component
    return order


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
