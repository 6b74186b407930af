"""The graph of a hybrid network: names, clocks and execution order, worked out once when the network is built.

Parts run along their links; the parts of a loop form one group. A part without a declared clock has that of its
sampled inputs. `NetworkGraph` names the attributes of a network that execution and shape inference use.
"""

from collections.abc import Container, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

from torch import nn

from spikebridge.errors import ConfigError, did_you_mean, in_words
from spikebridge.hybrid.clock import Clock, delay_in_ticks
from spikebridge.hybrid.modulation import acts_on_a_parameter
from spikebridge.hybrid.network.link import (
    Initialisation,
    Link,
    Modulation,
    Route,
    Transmission,
    Wake,
    beside,
    describe,
    is_sampled,
    sources_of,
    trigger_of,
)
from spikebridge.hybrid.network.schedule import Schedule
from spikebridge.hybrid.network.state_links import StatePorts, check_setters, states_read
from spikebridge.hybrid.unit.awake_steps import awake_reason
from spikebridge.hybrid.unit.unit import HybridUnit
from spikebridge.neurons.state import Form


@dataclass(frozen=True)
class Group:
    """Parts that run together: one part, or the parts of a loop in the order in which they run inside a tick."""

    parts: list[str]
    schedule: Schedule
    internal: tuple[Route, ...] = ()  # links from a part of the loop
    delayed: tuple[Route, ...] = ()  # those of them with a delay, which end the spans of the loop
    external: tuple[str, ...] = ()  # signals from outside that the units of internal links read, too

    @property
    def loop(self) -> bool:
        """True if its parts feed back into each other."""
        return bool(self.internal)

    def runs_tick_by_tick(self, start: int) -> bool:
        """True if from a tick on each part fires at most once a span, so that whole spans have nothing to share."""
        shortest = min(self.schedule.clocks[part].period for part in self.parts)
        # of a delayed link the span that begins here, and the longest of the later ones
        return any(
            max(r.makes.next(start) + r.delay - start, -(-r.delay // r.makes.period) * r.makes.period) <= shortest
            for r in self.delayed
        )

    def spans(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Divides the ticks of a loop: a span ends where a delayed link delivers a value made inside it."""
        if not self.delayed:
            return [(start, stop)]

        spans = []
        while start < stop:
            end = min([stop, *(route.makes.next(start) + route.delay for route in self.delayed)])
            spans.append((start, end))
            start = end

        return spans


@dataclass(frozen=True)
class NetworkPlan:
    """The clocks, links and groups that follow from the parts and links of a network."""

    clocks: dict[str, Clock]  # of all signals and parts
    routes: dict[str, Route]
    incoming: dict[str, list[Route]]  # by part
    groups: list[Group]  # in the order in which they run
    signals: dict[str, tuple[str, ...]]  # by part those that are read of it: its own name, or "part.key" for each key
    wakes: dict[str, Route]  # by part that is not always awake
    on_demand: dict[str, list[str]]  # by input that is read by such parts alone, at their ticks: these parts
    ports: dict[str, StatePorts]  # by part of which links read or set states
    called: frozenset[str]  # these parts, and those on which a link acts once

    def given(self, part: str) -> tuple[str, ...]:
        """The signals of a part that are neither flags nor states."""
        ports = self.ports.get(part)
        if ports is not None:
            return ports.outputs
        return self.signals[part][:-1] if part in self.wakes else self.signals[part]


@runtime_checkable
class NetworkGraph(Protocol):
    """The attributes of a hybrid network that execution and shape inference use."""

    parts: nn.ModuleDict
    units: nn.ModuleDict
    inputs: dict[str, Clock]
    plan: NetworkPlan
    accepted: dict[str, dict[Hashable, Form]]  # by part: shapes of signals that it took, and the form of its state then

    def unit_of(self, route: Route) -> HybridUnit | None:
        """The unit of a link."""

    def modules(self) -> Iterator[nn.Module]:
        """All modules, as of `nn.Module`."""


def make_plan(
    inputs: Mapping[str, Clock],
    parts: Mapping[str, nn.Module],
    declared: Mapping[str, Clock],
    links: Sequence[Link],
    outputs: Sequence[str],
    dt: float,
) -> NetworkPlan:
    """Works out clocks, routes and groups, or raises a `ConfigError` for names, clocks or a loop that cannot be run."""
    _check_names(inputs, parts, links)
    wakes = _wakes_by_part(links)
    check_setters(links, parts)
    flags = {wake.awake for wake in wakes.values()}
    states = states_read(
        parts, [s for s in (*(n for link in links for n in sources_of(link)), *outputs) if s not in flags]
    )
    read = {signal for paths in states.values() for signal in paths}
    signals = _signals_of_parts(parts, links, outputs, flags | read)
    names = _name_links(links)
    delays = {name: delay_in_ticks(link.delay, dt, describe(link)) for name, link in names.items()}
    clocks = _find_clocks(inputs, parts, declared, names, delays)
    clocks |= {signal: clocks[part] for named in (signals, states) for part, own in named.items() for signal in own}
    clocks |= {wake.awake: clocks[part] for part, wake in wakes.items()}
    routes = {name: _route(name, link, delays[name], clocks, parts, wakes, dt) for name, link in names.items()}

    # a sampled target takes one value at each of its ticks, neither more nor less
    for route in routes.values():
        if is_sampled(route.link) and route.reads != clocks[route.link.part]:
            raise ConfigError(_mismatch(route, clocks[route.link.part], dt))

    incoming = {part: [route for route in routes.values() if route.link.part == part] for part in parts}
    groups = _groups_in_order(incoming, list(routes.values()), clocks)
    ports = {
        part: StatePorts(clocks[part], signals[part], states.get(part, {}), tuple(r for r in incoming[part] if r.sets))
        for part in parts
    }
    ports = {part: own for part, own in ports.items() if own.reads or own.sets}
    called = frozenset([*ports, *(route.link.part for route in routes.values() if route.once)])
    signals |= {part: (*signals[part], *own.reads) for part, own in ports.items()}
    signals |= {part: (*signals[part], wake.awake) for part, wake in wakes.items()}
    by_part = {route.link.part: route for route in routes.values() if route.num_flags}
    on_demand = _inputs_on_demand(inputs, list(routes.values()), wakes)
    return NetworkPlan(clocks, routes, incoming, groups, signals, by_part, on_demand, ports, called)


def owner_of(signal: str, parts: Container[str] | nn.ModuleDict) -> str:
    """The part or input that gives a signal: "part" of "part.key"."""
    head = signal.partition(".")[0]
    return head if head in parts else signal


def _wakes_by_part(links: Sequence[Link]) -> dict[str, Wake]:
    wakes: dict[str, Wake] = {}
    for link in links:
        if not isinstance(link, Wake):
            continue

        if link.target in wakes:
            raise ConfigError(
                f"part {link.target!r} has two wakes, from {wakes[link.target].source!r} and {link.source!r}; join "
                "their flags in one part, or wake it from one of them with the other as context="
            )
        wakes[link.target] = link

    return wakes


def _inputs_on_demand(
    inputs: Iterable[str], routes: Sequence[Route], wakes: Mapping[str, Wake]
) -> dict[str, list[str]]:
    """The inputs whose samples nothing reads while some parts are asleep, each with these parts."""
    readers = {name: [route for route in routes if name in route.sources] for name in inputs}
    return {
        name: [route.link.part for route in reading]
        for name, reading in readers.items()
        if all(r.sampled and r.direct_source == name and r.link.part in wakes for r in reading)
        and not any(wakes[r.link.part].replay for r in reading)
    }


def _signals_of_parts(
    parts: Mapping[str, nn.Module], links: Sequence[Link], outputs: Sequence[str], flags: Container[str]
) -> dict[str, tuple[str, ...]]:
    """The signals that are read of each part: its own name, or "part.key", without those of `flags`."""
    signals_by_part: dict[str, dict[str, None]] = {part: {} for part in parts}
    for signal in (*(name for link in links for name in sources_of(link)), *outputs):
        if signal in flags:
            continue
        if (part := owner_of(signal, parts)) in signals_by_part:
            signals_by_part[part][signal] = None

    for part, signals in signals_by_part.items():
        if part in signals and len(signals) > 1:
            other = next(name for name in signals if name != part)
            raise ConfigError(
                f"part {part!r} is read as {part!r} and as {other!r}; it gives either one tensor, {part!r}, or several "
                f"by name, such as {other!r}"
            )

    return {part: tuple(signals) or (part,) for part, signals in signals_by_part.items()}


def _route(
    name: str,
    link: Link,
    delay: int,
    clocks: Mapping[str, Clock],
    parts: Mapping[str, nn.Module],
    wakes: Mapping[str, Wake],
    dt: float,
) -> Route:
    source = clocks[link.source]
    trigger = trigger_of(link)
    if link.mask is not None and clocks[link.mask] != source:
        raise ConfigError(
            f"the mask of {describe(link)} comes {clocks[link.mask].describe(dt)}, but the set {source.describe(dt)}; "
            "give them one clock"
        )

    skips = _skipped(link, wakes, parts)
    # windows that do not count ticks asleep close at any tick
    out = _unit_clock(link, source) if skips is None else source

    return Route(
        name=name,
        link=link,
        clock=out,
        reads=out.delayed(delay),
        delay=delay,
        source=source,
        target=clocks[link.part],
        makes=source if link.unit is None or skips is not None else link.unit.window_clock(source),
        context=None if (other := beside(link)) is None else clocks[other],
        trigger=None if trigger is None else clocks[trigger],
        acts_on_a_parameter=isinstance(link, Modulation) and acts_on_a_parameter(parts[link.part], link.path),
        skips=skips,
        num_flags=_num_flags(link, out, clocks[link.part], dt) if isinstance(link, Wake) else 0,
        in_step=out == clocks[link.part],
    )


def _skipped(link: Link, wakes: Mapping[str, Wake], parts: Mapping[str, nn.Module]) -> str | None:
    """The flags of a link's source, if that gives no value while it is asleep, and the link can do without."""
    wake = wakes.get(owner_of(link.source, parts))
    if wake is None or wake.asleep != "none" or link.source == wake.awake:
        return None

    reason: str | None = "it needs a value"
    if link.once:
        reason = "once=True needs to know when a value comes: leave it out"
    elif isinstance(link, Transmission | Wake):
        reason = None if link.unit is None else awake_reason(link.unit, link.held)

    if reason is not None:
        raise ConfigError(
            f"{describe(link)} reads {link.source!r}, which gives no value while it is asleep, but {reason}, or wake "
            f"{wake.target!r} with asleep='hold'"
        )

    return wake.awake


def _num_flags(link: Wake, arrival: Clock, target: Clock, dt: float) -> int:
    """The number of newest flags of which one that is set keeps a part awake."""
    period = arrival.period
    if link.stay is None:
        if period > target.period:
            raise ConfigError(
                f"{describe(link)} brings a flag {arrival.describe(dt)}, but {link.part!r} runs {target.describe(dt)}; "
                f"say how long a flag holds, stay=ticks({period})"
            )
        return -(-target.period // period)

    stay = delay_in_ticks(link.stay, dt, f"the stay of {describe(link)}")
    if stay == 0 or stay % period:
        raise ConfigError(
            f"{describe(link)} has a stay of {stay} ticks, but brings a flag every {period}; give a multiple of that, "
            f"stay=ticks({max(1, -(-stay // period)) * period})"
        )

    return stay // period


def _check_names(inputs: Mapping[str, Clock], parts: Mapping[str, nn.Module], links: Sequence[Link]) -> None:
    both = set(inputs) & set(parts)
    if both:
        raise ConfigError(f"inputs and parts need different names, but both have {sorted(both)}")

    for one in inputs:
        if one not in parts and owner_of(one, parts) in parts:
            raise ConfigError(f"input {one!r} has the name of an output of part {owner_of(one, parts)!r}; rename it")

    signals = [*inputs, *parts]
    for link in links:
        if not isinstance(link, Link):
            raise ConfigError(
                f"a link is a Transmission, a Modulation, an Initialisation or a Wake, but got {in_words(link)}"
            )
        roles = {"source": link.source, "context": link.context, "mask": link.mask, "trigger": trigger_of(link)}
        for role, read in roles.items():
            if read is not None and (owner_of(read, parts) not in signals or read.endswith(".")):
                raise ConfigError(f"the {role} of {describe(link)} is no signal: {did_you_mean(read, signals)}")

        if link.part not in parts:
            raise ConfigError(f"{describe(link)} leads to no part: {did_you_mean(link.part, parts)}")

    sources = {name for link in links for name in sources_of(link)}
    for name in inputs:
        if name not in sources:
            raise ConfigError(f"input {name!r} is read by no link; add a Transmission from it, or remove the input")

    for part in parts:
        transmissions = [link for link in links if isinstance(link, Transmission) and link.part == part]
        if not transmissions:
            raise ConfigError(f"part {part!r} has no input; add a Transmission to it")
        named = [link.into for link in transmissions if link.into is not None]
        if len(set(named)) < len(named):
            raise ConfigError(f"two links lead into the same argument of {part!r}, but got into= {sorted(named)}")


def _name_links(links: Sequence[Link]) -> dict[str, Link]:
    names: dict[str, Link] = {}
    unnamed = [
        (link.source, link.part) for link in links if link.name is None and isinstance(link, Transmission | Modulation)
    ]
    for source, part in unnamed:
        if (count := unnamed.count((source, part))) > 1:
            # names by their order would swap the weights of their units when the links are listed in another order
            old = [f"{source}_to_{part}", *(f"{source}_to_{part}_{i}" for i in range(2, count + 1))]
            raise ConfigError(
                f"{'two' if count == 2 else count} links lead from {source!r} to {part!r}, and none of them has a "
                f"name; give each its name= (in version 0.1 they were, in this order, {', '.join(old)})"
            )

    for link in links:
        verb = "wakes" if isinstance(link, Wake) else "sets" if isinstance(link, Initialisation) else "to"
        end = link.target if isinstance(link, Initialisation) else link.part
        name = link.name or f"{link.source}_{verb}_{end}".replace(".", "_")
        if name in names or "." in name or hasattr(nn.ModuleDict, name):
            raise ConfigError(
                f"a link needs a name of its own, without dots and no method's, but got {name!r}; choose another name="
            )

        names[name] = link

    return names


def _unit_clock(link: Link, source: Clock) -> Clock:
    return source if link.unit is None else link.unit.clock(source, f"the unit of {describe(link)}")


def _find_clocks(
    inputs: Mapping[str, Clock],
    parts: Mapping[str, nn.Module],
    declared: Mapping[str, Clock],
    names: dict[str, Link],
    delays: Mapping[str, int],
) -> dict[str, Clock]:
    """Declared clocks, and for other parts the clock of their sampled inputs, along the links."""
    for name in declared:
        if name not in parts:
            raise ConfigError(f"a clock is declared for {name!r}, which is not a part: {did_you_mean(name, parts)}")

    clocks = {**inputs, **declared}
    waiting = [name for name in parts if name not in clocks]
    while waiting:
        derived = {}
        for part in waiting:
            for name, link in names.items():
                source = owner_of(link.source, parts)
                if link.part == part and is_sampled(link) and source in clocks:
                    derived[part] = _unit_clock(link, clocks[source]).delayed(delays[name])
                    break

        if not derived:
            raise ConfigError(
                f"the clock of {', '.join(map(repr, waiting))} is not known, since it has no sampled input; declare "
                f"it: clocks={{{waiting[0]!r}: every(...)}}"
            )

        clocks |= derived
        waiting = [name for name in waiting if name not in derived]

    return clocks


def _mismatch(route: Route, target: Clock, dt: float) -> str:
    link = route.link
    arrival = route.reads
    text = (
        f"the sampled link {link.source!r} -> {link.target!r} brings a value {arrival.describe(dt)}, but {link.part!r} "
        f"runs {target.describe(dt)}; "
    )

    phase = route.clock.phase
    if target.period > arrival.period and target.period % arrival.period == 0:
        length = target.period // arrival.period
        joined = Clock(target.period, phase + (length - 1) * arrival.period).delayed(route.delay)
        window = f"Tumbling({length})"
    elif arrival.period > target.period and arrival.period % target.period == 0:
        joined = Clock(target.period, phase).delayed(route.delay)
        window = f"Hold({arrival.period // target.period})"
    else:
        return text + "read it held=True, or give both one clock"

    if joined == target:
        return text + f"{window} joins them; or read it held=True"

    return text + f"after {window} it would come {joined.describe(dt)}: use that and read it held=True"


def _groups_in_order(
    incoming: Mapping[str, list[Route]], routes: list[Route], clocks: Mapping[str, Clock]
) -> list[Group]:
    """One group for each part outside of loops and one for each loop, each after those that it depends on."""
    # between parts that do not depend on each other the order is that in which the user gave them
    groups = []
    for members in _strong_components(_dependencies(list(incoming), routes)):
        internal = tuple(
            route
            for route in routes
            if route.link.part in members and any(owner_of(s, incoming) in members for s in route.sources)
        )

        order = _inside_a_tick(members, internal)
        delayed = tuple(route for route in internal if route.delay > 0)
        read = [name for route in internal for name in route.sources]
        external = dict.fromkeys(name for name in read if owner_of(name, incoming) not in members)
        schedule = Schedule(order, delayed, incoming, clocks)
        groups.append(Group(order, schedule, internal, delayed, tuple(external)))

    return groups


def _dependencies(parts: list[str], routes: Iterable[Route]) -> dict[str, set[str]]:
    depends: dict[str, set[str]] = {part: set() for part in parts}
    for route in routes:
        if route.link.part in depends:
            depends[route.link.part] |= {owner_of(source, depends) for source in route.sources} & depends.keys()

    return depends


def _inside_a_tick(members: list[str], internal: tuple[Route, ...]) -> list[str]:
    """The order of a loop's parts inside one tick, along its links without delay."""
    direct = [route for route in internal if route.delay == 0]
    depends = _dependencies(members, direct)
    order: list[str] = []

    for component in _strong_components(depends):
        if len(component) > 1 or component[0] in depends[component[0]]:
            ring = _ring(component, depends)
            edges = set(pairwise(ring))
            closing = [r for r in direct if any((owner_of(s, depends), r.link.part) in edges for s in r.sources)]
            raise ConfigError(
                f"the parts {' -> '.join(map(repr, ring))} form a loop without a delay, so each would wait for the "
                f"other inside one tick; give one of its links a delay, for example {closing[-1].name!r} delay=ticks(1)"
            )

        order += component

    return order


def _ring(component: list[str], depends: dict[str, set[str]]) -> list[str]:
    """A cycle through some parts of a component, along the links."""
    way = [component[0]]
    while way[-1] not in way[:-1]:
        way.append(next(name for name in component if name in depends[way[-1]]))

    return way[way.index(way[-1]) :][::-1]


def _strong_components(depends: dict[str, set[str]]) -> list[list[str]]:
    """Tarjan's strongly connected components, each after those it depends on, members in the given order."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    components: list[list[str]] = []
    rank = {name: i for i, name in enumerate(depends)}

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)

        for other in sorted(depends[name], key=rank.__getitem__):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])

        if low[name] == index[name]:
            cut = stack.index(name)
            components.append(sorted(stack[cut:], key=rank.__getitem__))
            del stack[cut:]

    for name in depends:
        if name not in index:
            visit(name)

    return components
