"""A network on several chips: a chip for each part, and the latency and energy that follow.

`measure_load` counts on real inputs how much each part and link needs. `place` gives each part a chip of limited
memory: the list schedule HEFT (H. Topcuoglu et al., IEEE TPDS 13, 2002, section 4), then single moves while they
shorten the latency. `simulate` runs the placed parts tick by tick:

| step | time |
|---|---|
| a part and the units of its outgoing links | their operations by the speed of the chip, one part at a time |
| a value to another chip | its events by the bandwidth of the sender's port, in turn, then the latency of a message |
| a value to the same chip | none |

A part waits for its tick in real time, and for every value that is due at it. An event is a number that is not 0.
"""

import math
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikebridge.analysis.cost import Operations, count_cost
from spikebridge.analysis.hooks import Call, trace_calls
from spikebridge.data.io.records import RecordReader
from spikebridge.data.io.safe_open import read_text
from spikebridge.errors import ConfigError, DataError, is_number
from spikebridge.hybrid import Clock, HybridNetwork
from spikebridge.hybrid.network.graph import owner_of

_MAX_TRIALS = 600  # each trial is a whole simulation: a large network would search for minutes
_BYTES_PER_NUMBER = 4
_LIMITS = {"memory": "bytes", "neurons": "neurons"}  # of a chip that parts share, with their units


@dataclass(frozen=True)
class Chip:
    """A chip: its memory, neurons, speed, bandwidth and power.

    Args:
        name: of the chip.
        memory: for parameters [bytes].
        operations: of any kind [1/s].
        events: that its port sends to other chips [1/s].
        latency: of a message to another chip [s].
        energy_of_an_operation: [J].
        energy_of_an_event: sent to another chip [J].
        power: of a chip that is on, busy or idle [W].
        source: of the numbers.
        neurons: that it holds; None without a limit.
        assumed: names of those that are not published.

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
    neurons: float | None = None
    assumed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("name", "source", "assumed") or (field.name == "neurons" and value is None):
                continue

            bound = "above" if field.name in ("memory", "operations", "events") else "at least"
            if not is_number(value) or not math.isfinite(value) or value < 0 or (bound == "above" and value == 0):
                raise ConfigError(f"the chip {self.name!r} needs {field.name} {bound} 0, but got {value!r}")


# published: memory, 40 bits a packet, 1 W with all cores busy; assumed: 16 of 18 cores for neurons with 10^7 operations
# a second each, one port of 250 Mbit/s, and 1 us a message
SPINNAKER = Chip(
    "spinnaker",
    memory=128 * 2**20,
    operations=16 * 1e7,
    events=250e6 / 40,
    latency=1e-6,
    power=1.0,
    source="E. Painkras et al., IEEE JSSC 48(8), 2013; S. Furber et al., Proc. IEEE 102(5), 2014",
    assumed=("operations", "events", "latency"),
)


def read_chip(path: Path | str) -> Chip:
    """Reads a chip from a TOML file with the arguments of `Chip` as keys."""
    try:
        values = tomllib.loads(read_text(Path(path), "the numbers of a chip", 1 << 16))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DataError(f"{path} is no TOML file: {error}") from None

    chip: Chip = RecordReader().read(Chip, {"name": Path(path).stem, **values}, str(path))
    return chip


class PartLoad(NamedTuple):
    """A part's operations in a tick at which it runs, those of its links' units included, and its bytes.

    `mean` is that of all its ticks, of a part that is not always awake; None of another one.
    """

    operations: float
    memory: float
    clock: Clock
    mean: float | None = None
    neurons: float = 0.0


class LinkLoad(NamedTuple):
    """A link's events per value, the clock of its values, and their delay in ticks."""

    source: str
    target: str
    events: float
    clock: Clock
    delay: int


@dataclass(frozen=True)
class NetworkLoad:
    """The needs of a network's parts, in the order in which they run inside a tick, and of its links."""

    dt: float  # the base step [s]
    parts: dict[str, PartLoad]  # the inputs of the network are no parts
    links: tuple[LinkLoad, ...]
    outputs: tuple[str, ...]  # parts that give the outputs of the network


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
    events: Counter[str] = Counter()

    def count_events(call: Call) -> None:
        events[call.path] += sum(int(torch.count_nonzero(signal)) for signal in call.signals.values())

    with trace_calls(network, count_events):
        cost = count_cost(network, dict(inputs))

    num_ticks = round((cost.seconds or 0.0) / network.dt)
    num_firings = {name: network.clock_of(name).count(num_ticks) for name in network.parts}
    for name, number in num_firings.items():
        if not number:
            raise ConfigError(f"part {name!r} never fires in {num_ticks} ticks; give longer inputs")

    means = {name: cost.parts[name].num_operations / num_firings[name] for name in network.parts}
    shares = {name: waking.share for name, waking in cost.wakes.items() if waking.share}
    operations = {name: mean / shares.get(name, 1.0) for name, mean in means.items()}
    links = []

    for route in network.routes:
        source = owner_of(route.link.source, network.parts)
        if source in operations:
            # the chip of a part also computes the units of its outgoing links
            of_unit = cost.links.get(route.name, Operations()).num_operations / num_firings[source]
            operations[source] += of_unit
            means[source] += of_unit

        path = source if route.link.unit is None else f"units.{route.name}"
        num_values = max(route.clock.count(num_ticks), 1) * cost.num_samples
        links.append(LinkLoad(source, route.link.part, events[path] / num_values, route.clock, route.delay))

    memory = {**{name: _bytes_of(part) for name, part in network.parts.items()}, **(memory or {})}
    parts = {}
    for name in (name for group in network.plan.groups for name in group.parts):
        mean = means[name] if name in shares else None
        # each neuron is updated at every tick at which its part runs
        neurons = cost.parts[name].updates / num_firings[name] / shares.get(name, 1.0)
        parts[name] = PartLoad(operations[name], memory[name], network.clock_of(name), mean, round(neurons))

    return NetworkLoad(network.dt, parts, tuple(links), tuple(owner_of(o, network.parts) for o in network.outputs))


def _bytes_of(part: nn.Module) -> float:
    return float(_BYTES_PER_NUMBER * sum(parameter.numel() for parameter in part.parameters()))


class PathStep(NamedTuple):
    """A part or a value to another chip ("a -> b") on the way to an output, from start to stop [s]."""

    what: str
    chip: int
    start: float
    stop: float


@dataclass(frozen=True)
class Timing:
    """The simulated latency, energy and work of a placed network."""

    latency: float  # the longest from a tick until the outputs of that tick [s]
    keeps_up: bool  # no chip has more work than time, and the latency does not grow from tick to tick
    energy: float  # of a second of signal [J]
    path: tuple[PathStep, ...]  # the steps of the longest latency, first to last
    busy: tuple[float, ...]  # the share of the time in which each chip computes


def simulate(load: NetworkLoad, chips: Mapping[str, int], chip: Chip, num_ticks: int | None = None) -> Timing:
    """Runs a placed network tick by tick in simulated time.

    Args:
        load: of the network.
        chips: the chip of each part, numbered from 0.
        chip: the kind of all chips.
        num_ticks: length of the simulation; None takes two periods of all clocks.

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

    return _Simulation(load, chips, chip).run(2 * _period_of(load) if num_ticks is None else num_ticks)


def _period_of(load: NetworkLoad) -> int:
    """Ticks after which all clocks repeat."""
    return math.lcm(*(part.clock.period for part in load.parts.values()))


class _Moment(NamedTuple):
    """A time [s], and the index of the step that ends at it; -1 if it waits for no step."""

    time: float
    step: int


class _Simulation:
    """Simulated time: the moments at which chips and ports are free and values arrive."""

    def __init__(self, load: NetworkLoad, chips: Mapping[str, int], chip: Chip) -> None:
        num_chips = max(chips.values()) + 1
        self.load = load
        self.chips = chips
        self.chip = chip

        self.chip_free = [_Moment(0.0, -1)] * num_chips
        self.port_free = [_Moment(0.0, -1)] * num_chips
        self.busy = [0.0] * num_chips
        self.num_events = 0.0
        self.num_operations = 0.0

        self.steps: list[tuple[PathStep, int]] = []  # each with the index of the step that it waited for
        self.arrivals: list[dict[int, _Moment]] = [{} for _ in load.links]  # by the tick of the value

    def run(self, num_ticks: int) -> Timing:
        late: list[tuple[int, _Moment]] = []
        for tick in range(num_ticks):
            for name, part in self.load.parts.items():
                if part.clock.has(tick):
                    stop = self._fire(name, tick)
                    if name in self.load.outputs:
                        late.append((tick, _Moment(stop.time - tick * self.load.dt, stop.step)))

        longest = max((moment for _, moment in late), key=lambda moment: moment.time, default=_Moment(0.0, -1))
        seconds = num_ticks * self.load.dt
        energy = self.num_operations * self.chip.energy_of_an_operation + self.num_events * self.chip.energy_of_an_event

        # work that piles up makes the second half later than the first
        first = max((moment.time for tick, moment in late if tick < num_ticks // 2), default=0.0)
        second = max((moment.time for tick, moment in late if tick >= num_ticks // 2), default=0.0)
        keeps_up = second <= first + 0.5 * self.load.dt and max(self.busy) <= seconds * (1 + 1e-9)

        return Timing(
            latency=longest.time,
            keeps_up=keeps_up,
            energy=energy / seconds + self.chip.power * len(self.busy),
            path=tuple(self._path(longest.step)),
            busy=tuple(busy / seconds for busy in self.busy),
        )

    def _fire(self, name: str, tick: int) -> _Moment:
        """Runs a part, sends its values, and returns the moment at which it is done."""
        chip = self.chips[name]
        part = self.load.parts[name]
        # a part that is not always awake takes its full time when it is, and its mean in work and energy
        share = 1.0 if part.mean is None or not part.operations else part.mean / part.operations
        begin = max(_Moment(tick * self.load.dt, -1), self.chip_free[chip], *self._due(name, tick))
        stop = self._add_step(name, chip, begin, begin.time + part.operations / self.chip.operations)

        self.chip_free[chip] = stop
        self.busy[chip] += share * (stop.time - begin.time)
        self.num_operations += share * part.operations
        self._send(name, tick, stop)

        return stop

    def _add_step(self, name: str, chip: int, begin: _Moment, stop: float) -> _Moment:
        self.steps.append((PathStep(name, chip, begin.time, stop), begin.step))
        return _Moment(stop, len(self.steps) - 1)

    def _due(self, name: str, tick: int) -> list[_Moment]:
        """The arrivals of the newest values that are due at a part's tick; older values are forgotten."""
        due = []
        for link, arrivals in zip(self.load.links, self.arrivals, strict=True):
            ready = [sent for sent in arrivals if sent + link.delay <= tick] if link.target == name else []
            if ready:
                due.append(arrivals[max(ready)])
                for sent in ready[:-1]:
                    del arrivals[sent]

        return due

    def _send(self, name: str, tick: int, stop: _Moment) -> None:
        chip = self.chips[name]
        messages: dict[tuple[int, float], _Moment] = {}  # one for all parts of a chip that read the same value

        for link, arrivals in zip(self.load.links, self.arrivals, strict=True):
            if link.source != name or not link.clock.has(tick):
                continue

            target = self.chips[link.target]
            if target == chip:
                arrivals[tick] = stop
                continue

            if (target, link.events) not in messages:
                begin = max(stop, self.port_free[chip])
                sent = begin.time + link.events / self.chip.events
                arrival = self._add_step(f"{name} -> {link.target}", chip, begin, sent + self.chip.latency)
                # the port is free while the message travels
                self.port_free[chip] = _Moment(sent, arrival.step)
                self.num_events += link.events
                messages[target, link.events] = arrival

            arrivals[tick] = messages[target, link.events]

    def _path(self, step: int) -> list[PathStep]:
        path = []
        while step >= 0:
            path_step, step = self.steps[step]
            path.append(path_step)

        return path[::-1]


@dataclass(frozen=True)
class Placement:
    """A chip for each part of a network, and the timing that follows."""

    chips: dict[str, int]  # of each part, numbered from 0
    chip: Chip  # the kind of all chips
    timing: Timing
    memory: tuple[float, ...]  # bytes on each chip


def place(load: NetworkLoad, chip: Chip, num_chips: int) -> Placement:
    """Gives each part of a network a chip so that its outputs come early.

    Args:
        load: of the network.
        chip: the kind of all chips.
        num_chips: the largest number of chips; some may stay empty, and are switched off.

    Raises:
        ConfigError: no chip, a part larger than a chip, or a network larger than all chips.

    Example:
        >>> load = NetworkLoad(0.1, {name: PartLoad(10.0, 4.0, Clock(1, 0)) for name in "abc"},
        ...     (LinkLoad("a", "c", 1.0, Clock(1, 0), 0), LinkLoad("b", "c", 1.0, Clock(1, 0), 0)), ("c",))
        >>> slow = Chip("slow", memory=8.0, operations=1000.0, events=1000.0)
        >>> placement = place(load, slow, 2)  # a and b at once, then c: 10 ms, 1 ms for a value, 10 ms
        >>> round(placement.timing.latency, 4), placement.memory
        (0.021, (8.0, 4.0))
    """
    _check_limits(load, chip, num_chips)
    placer = _Placer(load, chip, num_chips)
    chips = placer.improve(placer.best_start())

    # without the numbers of empty chips
    used = sorted(set(chips.values()))
    chips = {name: used.index(number) for name, number in chips.items()}
    memory = [0.0] * len(used)

    for name, number in chips.items():
        memory[number] += load.parts[name].memory

    return Placement(chips, chip, simulate(load, chips, chip), tuple(memory))


def _check_limits(load: NetworkLoad, chip: Chip, num_chips: int) -> None:
    if not isinstance(num_chips, int) or isinstance(num_chips, bool) or num_chips < 1:
        raise ConfigError(f"a placement needs at least one chip, but got {num_chips!r}")

    for kind, unit in _LIMITS.items():
        limit = _limit_of(chip, kind)
        for name, part in load.parts.items():
            if getattr(part, kind) > limit:
                raise ConfigError(
                    f"part {name!r} needs {getattr(part, kind):.0f} {unit}, but a chip {chip.name!r} has {limit:.0f}; "
                    "divide the part, or take a larger chip"
                )

        total = sum(getattr(part, kind) for part in load.parts.values())
        if total > num_chips * limit:
            raise ConfigError(
                f"the network needs {total:.0f} {unit}, but {num_chips} chips {chip.name!r} have "
                f"{num_chips * limit:.0f}; take at least {math.ceil(total / limit)}"
            )


def _limit_of(chip: Chip, kind: str) -> float:
    limit = getattr(chip, kind)
    return math.inf if limit is None else limit


class _Placer:
    """A list schedule by earliest finish, and moves that shorten the simulated latency."""

    def __init__(self, load: NetworkLoad, chip: Chip, num_chips: int) -> None:
        self.load = load
        self.chip = chip
        self.num_chips = num_chips

    def best_start(self) -> dict[str, int]:
        """The best of the schedules on 1, 2, 4, ... chips: where messages are slow, fewer chips are faster."""
        schedules = []
        for number in {min(2**k, self.num_chips) for k in range(self.num_chips.bit_length() + 1)}:
            try:
                schedules.append(self._schedule(number))
            except ConfigError:
                # parts that fill few chips badly may fit on more
                if number == self.num_chips and not schedules:
                    raise

        return min(schedules, key=self._score)

    def _schedule(self, num_chips: int) -> dict[str, int]:
        """HEFT on one tick at which every part fires; links with a delay bind nothing in that tick."""
        chips = dict[str, int]()
        finish = dict[str, float]()
        chip_free = [0.0] * num_chips
        left = [{kind: _limit_of(self.chip, kind) for kind in _LIMITS} for _ in range(num_chips)]

        # in the order in which they run, so that the sources of a part have their chips
        for name, part in self.load.parts.items():
            links = [x for x in self.load.links if x.target == name and not x.delay and x.source in finish]
            choices = []
            for number in range(num_chips):
                if all(getattr(part, kind) <= left[number][kind] for kind in _LIMITS):
                    ready = [finish[x.source] + self._transfer(x, chips[x.source], number) for x in links]
                    begin = max([chip_free[number], *ready])
                    choices.append((begin + part.operations / self.chip.operations, number))

            if not choices:
                raise ConfigError(
                    f"part {name!r} finds no chip with enough memory and neurons left; give one chip more"
                )

            stop, number = min(choices)
            chips[name] = number
            finish[name] = stop
            chip_free[number] = stop
            for kind in _LIMITS:
                left[number][kind] -= getattr(part, kind)

        return chips

    def improve(self, chips: dict[str, int]) -> dict[str, int]:
        """Moves one part at a time while the latency falls."""
        best = self._score(chips)
        num_trials = 0
        moved = True

        # a move may make room or sense for another one, so that all parts are tried again
        while moved:
            moved = False
            for name in chips:
                for number in self._candidates(chips):
                    if number == chips[name] or not self._fits(chips, name, number):
                        continue
                    if num_trials == _MAX_TRIALS:
                        return chips

                    num_trials += 1
                    trial = {**chips, name: number}
                    score = self._score(trial)
                    if score < best:
                        chips = trial
                        best = score
                        moved = True

        return chips

    def _candidates(self, chips: Mapping[str, int]) -> list[int]:
        """The chips in use and one that is empty: empty chips are alike."""
        used = set(chips.values())
        return sorted(used) + [number for number in range(self.num_chips) if number not in used][:1]

    def _transfer(self, link: LinkLoad, source: int, target: int) -> float:
        return link.events / self.chip.events + self.chip.latency if source != target else 0.0

    def _fits(self, chips: Mapping[str, int], name: str, number: int) -> bool:
        beside = [self.load.parts[other] for other, chip in chips.items() if chip == number]
        parts = [*beside, self.load.parts[name]]
        return all(sum(getattr(part, kind) for part in parts) <= _limit_of(self.chip, kind) for kind in _LIMITS)

    def _score(self, chips: Mapping[str, int]) -> tuple[float, int]:
        """The latency, and the number of chips, which decides between equal latencies."""
        timing = simulate(self.load, chips, self.chip, _period_of(self.load))
        return round(timing.latency, 12), len(set(chips.values()))


def path_in_words(path: Sequence[PathStep]) -> list[dict[str, Any]]:
    """The critical path as rows of a table, times in milliseconds."""
    return [
        {"step": step.what, "chip": step.chip, "start [ms]": 1e3 * step.start, "stop [ms]": 1e3 * step.stop}
        for step in path
    ]
