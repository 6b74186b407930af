"""A network on several chips: which chip holds which part, and what latency and energy follow.

`measure_load` says what each part and link needs, counted on real inputs. `place` gives each part a chip of limited
memory: the list schedule HEFT (H. Topcuoglu et al., IEEE TPDS 13, 2002, section 4), then single moves while they
shorten the latency. `simulate` runs the placed parts tick by tick:

| what | takes |
|---|---|
| a part and the units of its outgoing links | their operations by the chip's speed, one part at a time |
| a value to another chip | its events by the bandwidth of the sender's port, in turn, then the latency of a message |
| a value to the same chip | no time |

A part waits for its tick in real time, and for every value that is due at it. An event is a number that is not 0.
"""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikebridge.analysis.cost import count_cost
from spikebridge.analysis.hooks import Call, trace_calls
from spikebridge.data.io.safe_open import read_text
from spikebridge.errors import ConfigError, DataError, did_you_mean, is_number
from spikebridge.hybrid import Clock, HybridNetwork
from spikebridge.hybrid.network.graph import owner_of

_MOST_TRIALS = 600  # moves that are simulated
_BYTES_OF_A_NUMBER = 4


@dataclass(frozen=True)
class Chip:
    """What a chip can do.

    Args:
        name: of the chip.
        memory: for parameters [bytes].
        operations: a second, of any kind.
        events: that its port sends to other chips a second.
        latency: of a message to another chip [s].
        energy_of_an_operation: [J].
        energy_of_an_event: sent to another chip [J].
        power: of a chip that is on, whatever it does [W].
        source: of the numbers.

    Raises:
        ConfigError: a number that cannot be.

    Example:
        >>> Chip("mine", memory=2**20, operations=1e9, events=1e6).latency
        0.0
    """

    name: str
    memory: float
    operations: float
    events: float
    latency: float = 0.0
    energy_of_an_operation: float = 0.0
    energy_of_an_event: float = 0.0
    power: float = 0.0
    source: str = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("name", "source"):
                if not isinstance(value, str):
                    raise ConfigError(f"a chip needs its {field.name} as text, but got {value!r}")
                continue

            least = "above" if field.name in ("memory", "operations", "events") else "at least"
            if not is_number(value) or not math.isfinite(value) or value < 0 or (least == "above" and value == 0):
                raise ConfigError(f"the chip {self.name!r} needs {field.name} {least} 0, but got {value!r}")


# published: memory, 40 bits a packet, 1 W with all cores busy; assumed: 16 of 18 cores for neurons with 10^7 operations
# a second each, one port of 250 Mbit/s, and 1 us a message
SPINNAKER = Chip(
    "spinnaker",
    memory=128 * 2**20,
    operations=16 * 1e7,
    events=250e6 / 40,
    latency=1e-6,
    power=1.0,
    source="published: memory, packets, power (E. Painkras et al., IEEE JSSC 48(8), 2013; S. Furber et al., Proc. IEEE "
    "102(5), 2014); assumed: operations, events, latency",
)


def read_chip(path: Path | str) -> Chip:
    """A chip from a TOML file with the arguments of `Chip` as keys.

    Raises:
        DataError: the file is missing, no TOML, or lacks a number.
        ConfigError: a number that cannot be.

    Example:
        >>> read_chip("no/such.toml")
        Traceback (most recent call last):
        spikebridge.errors.DataError: ...
    """
    try:
        given = tomllib.loads(read_text(Path(path), "the numbers of a chip", 1 << 16))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path} is no TOML file: {error}") from None

    names = [field.name for field in fields(Chip)]
    for name in given:
        if name not in names:
            raise DataError(f"{path}: a chip has no {name!r}; {did_you_mean(name, names)}")

    given.setdefault("name", Path(path).stem)
    for name in ("memory", "operations", "events"):
        if name not in given:
            raise DataError(f"{path} lacks {name}; a chip needs memory, operations and events")

    return Chip(**given)


class PartLoad(NamedTuple):
    """What a part needs: operations in a tick at which it fires, units of its links included, and bytes."""

    operations: float
    memory: float
    clock: Clock


class LinkLoad(NamedTuple):
    """What a link carries: events a value, the clock of its values, and their delay in ticks."""

    source: str
    target: str
    events: float
    clock: Clock
    delay: int


@dataclass(frozen=True)
class NetworkLoad:
    """What a network needs. Parts stand in the order in which they run inside a tick; inputs are no parts."""

    dt: float
    parts: dict[str, PartLoad]
    links: tuple[LinkLoad, ...]
    outputs: tuple[str, ...]


def measure_load(
    network: HybridNetwork, inputs: Mapping[str, Tensor], memory: Mapping[str, float] | None = None
) -> NetworkLoad:
    """Counts what the parts and links of a network need on some inputs.

    Args:
        network: for example of `rebuild(bundle)`.
        inputs: `(T, B, *N)` each.
        memory: bytes of parts; None counts four for each parameter.

    Raises:
        ConfigError: a part that never fires on these inputs.
    """
    sizes: dict[str, list[float]] = {}

    def leave(call: Call) -> None:
        if isinstance(call.output, Tensor | tuple | dict):
            y = call.output[0] if isinstance(call.output, tuple) else call.output
            tensors = list(y.values()) if isinstance(y, dict) else [y]
            active = sum(float(torch.count_nonzero(t)) for t in tensors if isinstance(t, Tensor))
            sizes.setdefault(call.path, [0.0])[0] += active

    with trace_calls(network, leave):
        cost = count_cost(network, dict(inputs))

    ticks = round((cost.seconds or 0.0) / network.dt)
    firings = {name: network.clock_of(name).count(ticks) for name in network.parts}
    for name, number in firings.items():
        if not number:
            raise ConfigError(f"part {name!r} never fires in {ticks} ticks; give longer inputs")

    sources = {route.name: owner_of(route.link.source, network.parts) for route in network.routes}
    operations = {name: cost.parts[name].num_operations / firings[name] for name in network.parts}
    links = []

    for route in network.routes:
        source = sources[route.name]
        if source in firings:
            operations[source] += cost.links.get(route.name, type(cost.total)()).num_operations / firings[source]
        path = source if route.link.unit is None else f"units.{route.name}"
        values = max(route.clock.count(ticks), 1) * cost.num_samples
        events = sizes.get(path, [0.0])[0] / values
        links.append(LinkLoad(source, route.link.part, events, route.clock, route.delay))

    bytes_of = memory or {}
    parts = {
        name: PartLoad(operations[name], bytes_of.get(name, _bytes_of(network, name)), network.clock_of(name))
        for group in network.plan.groups
        for name in group.parts
    }

    return NetworkLoad(network.dt, parts, tuple(links), tuple(owner_of(o, network.parts) for o in network.outputs))


def _bytes_of(network: HybridNetwork, part: str) -> float:
    return float(_BYTES_OF_A_NUMBER * sum(p.numel() for p in network.parts[part].parameters()))


class PathStep(NamedTuple):
    """Something that takes time on the way to an output [s]: a part, or a value to another chip ("a -> b")."""

    what: str
    chip: int
    start: float
    stop: float


@dataclass(frozen=True)
class Timing:
    """What a placed network takes.

    Attributes:
        latency: from a tick until the outputs of that tick, the longest [s].
        keeps_up: whether no chip has more work than time, and the latency does not grow from tick to tick.
        energy: a second of signal [J].
        path: the steps that the longest latency consists of, first to last.
        busy: share of the time that each chip computes.
    """

    latency: float
    keeps_up: bool
    energy: float
    path: tuple[PathStep, ...]
    busy: tuple[float, ...]


def simulate(load: NetworkLoad, chips: Mapping[str, int], chip: Chip, num_ticks: int | None = None) -> Timing:
    """Runs a placed network tick by tick in simulated time.

    Args:
        load: of the network.
        chips: the chip of each part, numbered from 0.
        chip: what each of them can do.
        num_ticks: how many; None takes two periods of all clocks.

    Raises:
        ConfigError: a part without a chip.

    Example:
        >>> load = NetworkLoad(0.1, {"a": PartLoad(10.0, 4.0, Clock(1, 0)), "b": PartLoad(20.0, 4.0, Clock(1, 0))},
        ...     (LinkLoad("x", "a", 1.0, Clock(1, 0), 0), LinkLoad("a", "b", 5.0, Clock(1, 0), 0)), ("b",))
        >>> chip = Chip("slow", memory=8.0, operations=1000.0, events=1000.0, latency=0.002)
        >>> round(simulate(load, {"a": 0, "b": 0}, chip).latency, 4)  # 10 ms + 20 ms
        0.03
        >>> round(simulate(load, {"a": 0, "b": 1}, chip).latency, 4)  # and 5 ms + 2 ms between the chips
        0.037
    """
    for name in load.parts:
        if name not in chips:
            raise ConfigError(f"part {name!r} has no chip")

    return _Simulation(load, chips, chip).run(num_ticks if num_ticks is not None else 2 * _period_of(load))


def _period_of(load: NetworkLoad) -> int:
    """Ticks after which all clocks repeat.

    Example:
        >>> parts = {"a": PartLoad(1.0, 1.0, Clock(4, 0)), "b": PartLoad(1.0, 1.0, Clock(6, 5))}
        >>> _period_of(NetworkLoad(0.1, parts, (), ()))
        12
    """
    return math.lcm(*(part.clock.period for part in load.parts.values()))


class _Simulation:
    """Simulated time: when chips and ports are free, when values arrive, and what each moment waited for."""

    def __init__(self, load: NetworkLoad, chips: Mapping[str, int], chip: Chip) -> None:
        self.load = load
        self.chips = chips
        self.chip = chip
        number = max(chips.values()) + 1
        self.free = [0.0] * number
        self.port = [0.0] * number
        self.busy = [0.0] * number
        self.steps: list[tuple[PathStep, int]] = []  # with the index of the step that it waited for, -1 for none
        self.last = [-1] * number  # step of each chip
        self.sent = [-1] * number  # and of its port
        self.events = self.operations = 0.0
        self.incoming = {name: [i for i, link in enumerate(load.links) if link.target == name] for name in load.parts}
        self.outgoing = {name: [i for i, link in enumerate(load.links) if link.source == name] for name in load.parts}
        self.arrivals: list[dict[int, tuple[float, int]]] = [{} for _ in load.links]

    def run(self, num_ticks: int) -> Timing:
        lateness: list[tuple[int, float, int]] = []
        for tick in range(num_ticks):
            for name, part in self.load.parts.items():
                if part.clock.count(tick + 1) > part.clock.count(tick):
                    done, step = self._fire(name, tick)
                    if name in self.load.outputs:
                        lateness.append((tick, done - tick * self.load.dt, step))

        _, latency, step = max(lateness, key=lambda one: one[1], default=(0, 0.0, -1))
        half = [max((late for t, late, _ in lateness if a <= t < b), default=0.0) for a, b in self._halves(num_ticks)]
        seconds = num_ticks * self.load.dt
        energy = self.operations * self.chip.energy_of_an_operation + self.events * self.chip.energy_of_an_event

        return Timing(
            latency,
            half[1] <= half[0] + 0.5 * self.load.dt and max(self.busy) <= seconds * (1 + 1e-9),
            energy / seconds + self.chip.power * len(self.free),
            tuple(self._path(step)),
            tuple(busy / seconds for busy in self.busy),
        )

    def _halves(self, num_ticks: int) -> list[tuple[int, int]]:
        return [(0, num_ticks // 2), (num_ticks // 2, num_ticks)]

    def _fire(self, name: str, tick: int) -> tuple[float, int]:
        here = self.chips[name]
        operations = self.load.parts[name].operations
        start, cause = max((tick * self.load.dt, -1), (self.free[here], self.last[here]), *self._due(name, tick))
        stop = start + operations / self.chip.operations
        self.steps.append((PathStep(name, here, start, stop), cause))
        step = len(self.steps) - 1
        self.free[here], self.last[here] = stop, step
        self.busy[here] += stop - start
        self.operations += operations
        self._send(name, tick, stop, step)

        return stop, step

    def _due(self, name: str, tick: int) -> list[tuple[float, int]]:
        """When the newest values that are due at a tick arrive."""
        found = []
        for index in self.incoming[name]:
            link = self.load.links[index]
            arrivals = self.arrivals[index]
            ready = [made for made in arrivals if made + link.delay <= tick]
            if ready:
                found.append(arrivals[max(ready)])
                for made in ready[:-1]:
                    del arrivals[made]

        return found

    def _send(self, name: str, tick: int, stop: float, step: int) -> None:
        here = self.chips[name]
        reached: dict[tuple[int, float], tuple[float, int]] = {}

        for index in self.outgoing[name]:
            link = self.load.links[index]
            if link.clock.count(tick + 1) == link.clock.count(tick):
                continue

            there = self.chips[link.target]
            key = (there, link.events)
            if there != here and key not in reached:  # one message for all parts of a chip that read the same
                begin, cause = max((stop, step), (self.port[here], self.sent[here]))
                self.port[here] = begin + link.events / self.chip.events
                arrives = self.port[here] + self.chip.latency
                self.steps.append((PathStep(f"{name} -> {link.target}", here, begin, arrives), cause))
                self.sent[here] = len(self.steps) - 1
                self.events += link.events
                reached[key] = arrives, self.sent[here]

            self.arrivals[index][tick] = reached[key] if there != here else (stop, step)

    def _path(self, step: int) -> list[PathStep]:
        path = []
        while step >= 0:
            found, step = self.steps[step]
            path.append(found)

        return path[::-1]


@dataclass(frozen=True)
class Placement:
    """Parts on chips.

    Attributes:
        chips: the chip of each part, numbered from 0.
        chip: what each of them can do.
        timing: of the simulation.
        memory: bytes on each chip.
    """

    chips: dict[str, int]
    chip: Chip
    timing: Timing
    memory: tuple[float, ...]


def place(load: NetworkLoad, chip: Chip, num_chips: int) -> Placement:
    """Gives each part of a network a chip so that its outputs come early.

    Args:
        load: of the network.
        chip: what each chip can do.
        num_chips: how many there are; some may stay empty, and are switched off.

    Raises:
        ConfigError: no chip, a part larger than a chip, or a network larger than all chips.

    Example:
        >>> load = NetworkLoad(0.1, {name: PartLoad(10.0, 4.0, Clock(1, 0)) for name in "abc"},
        ...     (LinkLoad("a", "c", 1.0, Clock(1, 0), 0), LinkLoad("b", "c", 1.0, Clock(1, 0), 0)), ("c",))
        >>> slow = Chip("slow", memory=8.0, operations=1000.0, events=1000.0)
        >>> placement = place(load, slow, 2)  # a beside b, then c: 10 ms, 1 ms for a value, 10 ms
        >>> round(placement.timing.latency, 4), placement.memory
        (0.021, (8.0, 4.0))
    """
    _check_memory(load, chip, num_chips)
    placer = _Placer(load, chip, num_chips)
    chips = placer.improve(placer.best_start())
    used = sorted(set(chips.values()))
    chips = {name: used.index(number) for name, number in chips.items()}
    memory = [0.0] * len(used)

    for name, number in chips.items():
        memory[number] += load.parts[name].memory

    return Placement(chips, chip, simulate(load, chips, chip), tuple(memory))


def _check_memory(load: NetworkLoad, chip: Chip, num_chips: int) -> None:
    if not isinstance(num_chips, int) or isinstance(num_chips, bool) or num_chips < 1:
        raise ConfigError(f"a placement needs at least one chip, but got {num_chips!r}")

    for name, part in load.parts.items():
        if part.memory > chip.memory:
            raise ConfigError(
                f"part {name!r} needs {part.memory:.0f} bytes, but a chip {chip.name!r} has {chip.memory:.0f}; divide "
                "the part, or take a larger chip"
            )

    total = sum(part.memory for part in load.parts.values())
    if total > num_chips * chip.memory:
        raise ConfigError(
            f"the network needs {total:.0f} bytes, but {num_chips} chips {chip.name!r} have "
            f"{num_chips * chip.memory:.0f}; take at least {math.ceil(total / chip.memory)}"
        )


class _Placer:
    """A list schedule by earliest finish, and moves that shorten the simulated latency."""

    def __init__(self, load: NetworkLoad, chip: Chip, num_chips: int) -> None:
        self.load = load
        self.chip = chip
        self.num_chips = num_chips

    def best_start(self) -> dict[str, int]:
        """The best of the schedules on 1, 2, 4, ... chips: where messages are slow, fewer chips are faster."""
        found = []
        for number in {min(2**k, self.num_chips) for k in range(self.num_chips.bit_length() + 1)}:
            try:
                found.append(_Placer(self.load, self.chip, number).start())
            except ConfigError:
                if number == self.num_chips and not found:
                    raise

        return min(found, key=self._score)

    def start(self) -> dict[str, int]:
        """HEFT on one tick at which every part fires; links with a delay bind nothing in that tick."""
        load = self.load
        finish = dict[str, float]()
        free = [0.0] * self.num_chips
        left = [self.chip.memory] * self.num_chips
        chips = dict[str, int]()

        for name, part in load.parts.items():
            before = [link for link in load.links if link.target == name and not link.delay and link.source in finish]
            best: tuple[float, int] | None = None

            for number in range(self.num_chips):
                if part.memory > left[number]:
                    continue
                ready = [finish[link.source] + self._transfer(link, chips[link.source] != number) for link in before]
                begin = max([free[number], *ready])
                best = min(best or (math.inf, 0), (begin + part.operations / self.chip.operations, number))

            if best is None:
                raise ConfigError(f"part {name!r} finds no chip with {part.memory:.0f} bytes left; give one chip more")

            finish[name], chips[name] = best
            free[best[1]], left[best[1]] = best[0], left[best[1]] - part.memory

        return chips

    def improve(self, chips: dict[str, int]) -> dict[str, int]:
        """Moves one part at a time while the latency falls."""
        best = self._score(chips)
        trials = 0
        moved = True

        while moved and trials < _MOST_TRIALS:
            moved = False
            for name in chips:
                for number in self._candidates(chips):
                    if number == chips[name] or not self._fits(chips, name, number) or trials >= _MOST_TRIALS:
                        continue
                    trials += 1
                    other = {**chips, name: number}
                    if (score := self._score(other)) < best:
                        chips = other
                        best = score
                        moved = True

        return chips

    def _candidates(self, chips: Mapping[str, int]) -> list[int]:
        """The chips in use and one that is empty: empty chips are alike."""
        used = set(chips.values())
        return sorted(used) + [number for number in range(self.num_chips) if number not in used][:1]

    def _transfer(self, link: LinkLoad, leaves: bool) -> float:
        return link.events / self.chip.events + self.chip.latency if leaves else 0.0

    def _fits(self, chips: Mapping[str, int], name: str, number: int) -> bool:
        used = sum(self.load.parts[other].memory for other, there in chips.items() if there == number)
        return used + self.load.parts[name].memory <= self.chip.memory

    def _score(self, chips: Mapping[str, int]) -> tuple[float, int]:
        """The latency, and the number of chips where it is equal."""
        return round(simulate(self.load, chips, self.chip, _period_of(self.load)).latency, 12), len(set(chips.values()))


def path_in_words(path: Sequence[PathStep]) -> list[dict[str, Any]]:
    """The critical path as rows of a table, times in milliseconds.

    Example:
        >>> path_in_words([PathStep("a", 0, 0.0, 0.01)])
        [{'step': 'a', 'chip': 0, 'start [ms]': 0.0, 'stop [ms]': 10.0}]
    """
    return [
        {"step": step.what, "chip": step.chip, "start [ms]": 1e3 * step.start, "stop [ms]": 1e3 * step.stop}
        for step in path
    ]
