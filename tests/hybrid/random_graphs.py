"""Random hybrid networks as plain data, and their two builds: with exact numbers, and with real ones.

Exact means float64, weights and inputs multiples of 1/4, decays of 1/2, means over powers of two, and values that are
rounded to multiples of 1/4 before they can go round a loop: then no sum depends on its order, and tests ask for bits.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikebridge.hybrid import (
    Bernoulli,
    Burst,
    Count,
    Difference,
    Exponential,
    Gate,
    Hold,
    HybridNetwork,
    HybridUnit,
    Initialisation,
    Integrate,
    Last,
    Mean,
    Modulation,
    SignedDelta,
    Since,
    Sliding,
    Sum,
    Threshold,
    Transmission,
    Tumbling,
    Wake,
    every,
    ticks,
)
from spikebridge.neurons import LIF, Integrator, LIFState, Sequential, Stateful, lif_step

Vector = list[float]
Matrix = list[list[float]]


class Ticks(NamedTuple):
    """Period and phase of a signal in base ticks."""

    period: int
    phase: int

    def has(self, tick: int) -> bool:
        return tick >= self.phase and (tick - self.phase) % self.period == 0


@dataclass
class UnitSpec:
    """A unit in words."""

    window: str | None = None
    length: int = 1
    stride: int = 1
    trigger: str | None = None
    kernel: str | None = None
    keep: bool = False
    weight: Matrix | None = None
    context: str | None = None
    context_weight: Matrix | None = None
    is_set: bool = False
    q: str | None = None
    shape: tuple[int, ...] | None = None

    def clock(self, source: Ticks) -> Ticks:
        """The rule of section 4, written once more: when the values of the unit are stamped."""
        period, phase = source
        running = self.window in (None, "since") or (
            self.window == "tumbling" and (self.keep or self.kernel is None) and self.q not in REDUCING
        )
        if self.window == "hold":
            return Ticks(period // self.length, phase)
        if running:
            return source

        closed = Ticks(period * self.stride, phase + (self.length - 1) * period)
        return Ticks(period, closed.phase) if self.q == "burst" else closed


REDUCING = ("integrate", "last", "count")


@dataclass
class LinkSpec:
    """A link in words; a path makes it a modulation, or an initialisation where it sets a state."""

    source: str
    target: str
    unit: UnitSpec | None = None
    held: bool = False
    into: str | None = None
    delay: int = 0
    initial: float = 0.0
    path: str | None = None
    by: str = "multiply"
    name: str | None = None
    wake: "WakeSpec | None" = None
    sets: bool = False
    once: bool = False


@dataclass
class WakeSpec:
    """The settings of a wake; `num_flags` newest flags count."""

    asleep: str = "hold"
    state: str = "keep"
    replay: int = 0
    stay: int | None = None
    num_flags: int = 1


@dataclass
class PartSpec:
    """A part in words."""

    kind: str
    width: int
    clock: Ticks
    declared: bool = False
    weight: Matrix = field(default_factory=list)
    bias: Vector = field(default_factory=list)
    other: Matrix = field(default_factory=list)


@dataclass
class Graph:
    """A network in words, and inputs for it; in a quick one most loops run tick by tick."""

    seed: int
    quick: bool = False
    inputs: dict[str, Ticks] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)
    masks: list[str] = field(default_factory=list)
    parts: dict[str, PartSpec] = field(default_factory=dict)
    links: list[LinkSpec] = field(default_factory=list)

    def clock(self, name: str) -> Ticks:
        return self.inputs[name] if name in self.inputs else self.parts[name.partition(".")[0]].clock

    @property
    def woken(self) -> list[str]:
        """The parts that are not always awake."""
        return [link.target for link in self.links if link.wake is not None]


def quarters(rng: random.Random, *shape: int) -> Any:
    if not shape:
        return rng.randint(-3, 3) / 4
    return [quarters(rng, *shape[1:]) for _ in range(shape[0])]


class Round(nn.Module):
    """To multiples of 1/4 within -4 and 4; the gradient goes straight through. On real numbers a tanh."""

    def __init__(self, exact: bool) -> None:
        super().__init__()
        self.exact = exact

    def forward(self, x: Tensor) -> Tensor:
        if not self.exact:
            return x.tanh()
        return ((4 * x).round().clamp(-16, 16) / 4).detach() + (x - x.detach())


class Affine(nn.Module):
    """The nonlinearity of random units: a matrix, for the context too, then rounding, maybe to a matrix."""

    def __init__(self, spec: UnitSpec, exact: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(spec.weight))
        self.context_weight = None if spec.context_weight is None else nn.Parameter(torch.tensor(spec.context_weight))
        self.round = Round(exact)
        self.shape = spec.shape

    def forward(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        y = h @ self.weight.T
        if context is not None:
            y = y + context @ self.context_weight.T

        y = self.round(y)
        return y if self.shape is None else y.unflatten(-1, self.shape)


class Mix(nn.Module):
    """A part with two inputs by position."""

    def __init__(self, first: nn.Linear, second: nn.Linear, exact: bool) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.round = Round(exact)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.round(self.first(x) + self.second(y))


class Fused(Stateful):
    """A spiking part with a second input by name."""

    def __init__(self, second: nn.Linear, decay: float) -> None:
        super().__init__()
        self.second = second
        self.decay = decay

    def initial_state(self, x_t: Tensor) -> LIFState:
        return LIFState(torch.zeros_like(x_t))

    def step(self, x_t: Tensor, state: LIFState, *, extra: Tensor | None = None) -> tuple[Tensor, LIFState]:
        return lif_step(x_t + self.second(extra), state, decay=self.decay)


def tau_of_one_half(dt: float) -> float:
    """A time constant whose decay is 1/2 to the bit."""
    tau = dt / math.log(2)
    for _ in range(8):
        if math.exp(-dt / tau) == 0.5:
            return tau
        tau = math.nextafter(tau, math.inf if math.exp(-dt / tau) < 0.5 else 0.0)

    raise AssertionError("no such time constant")


def random_graph(
    seed: int,
    draws: bool = False,
    quick: bool = False,
    wakes: bool = False,
    states: bool = False,
    arrivals: bool = False,
) -> Graph:
    """Some inputs, parts after one another, then second inputs and modulations, which also lead back."""
    rng = random.Random(seed)
    graph = Graph(seed, quick)
    for i in range(rng.randint(1, 3)):
        periods, phases = ([1, 1, 1, 2], [0, 0, 1]) if quick else ([1, 1, 2, 3, 4, 6], [0, 0, 1, 2, 5, 8, 30])
        graph.inputs[f"in{i}"] = Ticks(rng.choice(periods), rng.choice(phases))
        graph.widths[f"in{i}"] = rng.randint(1, 3)

    if rng.random() < 0.4:
        graph.inputs["mask"] = Ticks(rng.choice([1, 2, 3]), rng.choice([0, 1, 4]))
        graph.masks.append("mask")

    for i in range(rng.randint(1, 4)):
        _add_part(rng, graph, f"part{i}", draws)

    for name, part in graph.parts.items():
        if part.kind in ("mix", "into"):
            _add_second(rng, graph, name, part, draws)

    for _ in range(rng.randint(0, 3)):
        _add_modulation(rng, graph, draws)

    for name in [name for name in graph.parts if wakes and rng.random() < 0.7]:
        _add_wake(rng, graph, name, draws)

    for name in [name for name, part in graph.parts.items() if states and part.kind in STATES]:
        _add_state_links(rng, graph, name, draws)

    for link in graph.links:
        if link.wake is not None and rng.random() < 0.4 and all(map(_can_skip, _readers(graph, link.target))):
            link.wake.asleep = "none"

    for link in graph.links if arrivals else ():
        _vary_arrival(rng, graph, link)

    for i, link in enumerate(graph.links):
        link.name = f"link{i}"

    forget_unread(graph)
    return graph


def _vary_arrival(rng: random.Random, graph: Graph, link: LinkSpec) -> None:
    """A held link becomes one that brings a value once, a context the mask of a set."""
    skipped = [other.target for other in graph.links if other.wake is not None and other.wake.asleep == "none"]
    if link.held and link.wake is None and not link.sets and link.source not in skipped and rng.random() < 0.6:
        link.held, link.once = False, True

    order = list(graph.widths)
    before = [name for name in order if order.index(name) < order.index(link.target)]
    fitting = [
        name
        for name in before
        if graph.clock(name) == graph.clock(link.source) and graph.widths[name] == graph.widths[link.source]
    ]
    if link.unit is not None and link.unit.weight is not None and fitting:
        link.unit.is_set = True
        link.unit.context = rng.choice(fitting)
        width = graph.widths[link.unit.context]
        link.unit.context_weight = quarters(rng, len(link.unit.weight), width)


def forget_unread(graph: Graph) -> None:
    """Leaves out the inputs that no link reads."""
    units = [link.unit for link in graph.links if link.unit is not None]
    read = {link.source for link in graph.links} | {name for unit in units for name in (unit.context, unit.trigger)}
    graph.inputs = {name: clock for name, clock in graph.inputs.items() if name in read}
    graph.masks = [name for name in graph.masks if name in read]


def _add_part(rng: random.Random, graph: Graph, name: str, draws: bool) -> None:
    source = rng.choice(list(graph.widths))
    unit = random_unit(rng, graph, source, list(graph.widths), draws=draws)
    out = graph.clock(source) if unit is None else unit.clock(graph.clock(source))
    width = graph.widths[source] if unit is None or unit.weight is None else len(unit.weight)
    link = LinkSpec(source, name, unit, delay=rng.choice([0, 0, 0, 1, 2, 7]), initial=rng.choice([0.0, 0.0, 0.5]))
    link.held = rng.random() < 0.3

    if link.held:
        clock = Ticks(rng.choice([1, 2, 3, 5]), rng.choice([0, 1, 4]))
    else:
        clock = Ticks(out.period, out.phase + link.delay % out.period)

    part = PartSpec(rng.choice(["linear", "lif", "seq", "integrator", "mix", "into"]), width, clock, declared=link.held)
    if part.kind in ("linear", "seq", "mix"):
        part.width = rng.randint(1, 3)
        part.weight = quarters(rng, part.width, width)
        part.bias = quarters(rng, part.width)

    graph.parts[name] = part
    graph.widths[name] = part.width
    graph.links.append(link)


def _add_second(rng: random.Random, graph: Graph, name: str, part: PartSpec, draws: bool) -> None:
    link, width = _some_link(rng, graph, name, draws)
    link.into = "extra" if part.kind == "into" else None
    part.other = quarters(rng, part.width, width)
    graph.links.append(link)


def _some_link(
    rng: random.Random, graph: Graph, name: str, draws: bool, shape: tuple[int, ...] | None = None
) -> tuple[LinkSpec, int]:
    """A link from anywhere, delayed where it leads back, sampled where clocks can meet."""
    order = list(graph.widths)
    source = rng.choice(order)
    back = order.index(source) >= order.index(name)
    before = order[: order.index(name)]
    unit = random_unit(rng, graph, source, order if back else before, shape=shape, draws=draws)
    out = graph.clock(source) if unit is None else unit.clock(graph.clock(source))
    delays = range(1 if back else 0, 2 if graph.quick else 8)
    meeting = [d for d in delays if Ticks(out.period, out.phase + d % out.period) == graph.parts[name].clock]
    sampled = bool(meeting) and rng.random() < 0.6
    delay = rng.choice(meeting) if sampled else rng.choice(list(delays))
    width = graph.widths[source] if unit is None or unit.weight is None else len(unit.weight)
    initial = rng.choice([0.0, 0.0, 0.5])

    return LinkSpec(source, name, unit, held=not sampled, delay=delay, initial=initial), width


QUANTITIES = {
    "linear": ("0.weight", "0.bias"),
    "lif": ("v_threshold", "r", "v_leak"),
    "seq": ("fc.weight", "fc.bias", "lif.v_threshold", "gate.gate"),
    "integrator": ("sum.r",),
    "mix": ("first.weight", "second.weight"),
    "into": (),
}


def _add_modulation(rng: random.Random, graph: Graph, draws: bool) -> None:
    name = rng.choice(list(graph.parts))
    part = graph.parts[name]
    if not QUANTITIES[part.kind]:
        return

    path = rng.choice(QUANTITIES[part.kind])
    if path.endswith("weight"):
        matrix = part.other if path.startswith("second") else part.weight
        shape: tuple[int, ...] = (len(matrix), len(matrix[0]))
    else:
        shape = (part.width,) if path.endswith("bias") else (rng.choice([1, part.width]),)

    link, _ = _some_link(rng, graph, name, draws, shape)
    link.path = path
    link.by = rng.choice(["add", "multiply", "replace"])
    graph.links.append(link)


STATES = {"lif": "v", "seq": "lif.v", "integrator": "sum.v", "into": "v"}


def _add_state_links(rng: random.Random, graph: Graph, name: str, draws: bool) -> None:
    """A link that sets the membranes of a part, and links that read them in place of its output."""
    part = graph.parts[name]
    if rng.random() < 0.8:
        link, _ = _some_link(rng, graph, name, draws, (part.width,))
        link.held, link.sets, link.path = True, True, STATES[part.kind]
        graph.links.append(link)

    # only a built-in layer has states that are no outputs
    for reader in _readers(graph, name) if part.kind != "into" else ():
        if rng.random() < 0.5:
            reader.source = f"{name}.{STATES[part.kind]}"
            graph.widths[reader.source] = part.width


def _readers(graph: Graph, name: str) -> list[LinkSpec]:
    return [link for link in graph.links if link.source.partition(".")[0] == name]


def _can_skip(link: LinkSpec) -> bool:
    """True if a link can do without a value in some ticks."""
    if link.path is not None or link.unit is None or link.unit.window in (None, "since"):
        return link.path is None

    gives_one = not link.unit.keep and link.unit.kernel is not None and link.unit.q != "burst"
    is_counted = link.unit.window in ("tumbling", "sliding") and (gives_one or link.unit.q in REDUCING)
    # the flags of a wake were counted at the ticks of its window
    return is_counted and link.held and link.wake is None


def _add_wake(rng: random.Random, graph: Graph, name: str, draws: bool) -> None:
    link, _ = _some_link(rng, graph, name, draws)
    if graph.masks and rng.random() < 0.3:
        link = LinkSpec(graph.masks[0], name, delay=rng.choice([0, 1, 3]))

    part = graph.parts[name]
    period = (graph.clock(link.source) if link.unit is None else link.unit.clock(graph.clock(link.source))).period
    link.held = True
    link.wake = wake = WakeSpec(rng.choice(["hold", "zero"]))
    if period > part.clock.period or rng.random() < 0.3:
        wake.num_flags = rng.choice([1, 2, 3])
        wake.stay = wake.num_flags * period
    else:
        wake.num_flags = -(-part.clock.period // period)

    if part.kind not in ("linear", "mix"):
        wake.state = rng.choice(["keep", "reset"] if part.kind == "into" else ["keep", "leak", "reset"])
        is_modulated = any(other.target == name and other.path is not None for other in graph.links)
        wake.replay = 0 if is_modulated else rng.choice([0, 0, 1, 3])

    graph.links.append(link)


def random_unit(
    rng: random.Random,
    graph: Graph,
    source: str,
    beside: list[str],
    shape: tuple[int, ...] | None = None,
    draws: bool = False,
) -> UnitSpec | None:
    """Any unit that its source's clock allows; with the output shape asked for, if any."""
    period = graph.clock(source).period
    unit = UnitSpec(rng.choice([None, "hold", "tumbling", "tumbling", "sliding", "since"]))
    if unit.window is None and shape is None and rng.random() < 0.7:
        return None

    reduced = rng.random() < 0.6
    if unit.window == "hold":
        lengths = [n for n in (2, 3, 4, 6) if period % n == 0]
        unit.window, unit.length = ("hold", rng.choice(lengths)) if lengths else (None, 1)
        if lengths:
            unit.q = rng.choice([None, None, "burst", "threshold"])
            unit.kernel, unit.keep = rng.choice([(None, False), ("sum", unit.q != "burst")])
    elif unit.window == "tumbling":
        unit.length = unit.stride = rng.choice([1, 2, 4])
    elif unit.window == "sliding":
        unit.length = rng.choice([2, 3, 4])
        unit.stride = rng.randint(1, unit.length - 1)
    elif unit.window == "since":
        unit.trigger = rng.choice([*(name for name in beside if name in graph.inputs), *graph.masks])

    kernels = ["sum", "difference", "exponential"]
    if unit.window in ("tumbling", "sliding"):
        if reduced:
            unit.kernel = rng.choice([*kernels, "mean"] if unit.length != 3 else kernels)
            unit.q = rng.choice([None, "threshold", "delta", "burst" if unit.window == "tumbling" else None])
        else:
            unit.kernel = rng.choice([None, *kernels])
            unit.keep = True
            unit.q = rng.choice(REDUCING if unit.window == "sliding" else [*REDUCING, None, "threshold"])
    elif unit.window != "hold":
        unit.kernel = rng.choice([None, *kernels])
        unit.q = rng.choice([None, "threshold", "delta"])

    if draws and unit.q == "threshold":
        unit.q = "bernoulli"

    if shape is not None or unit.kernel == "exponential" or rng.random() < 0.4:
        width = math.prod(shape) if shape is not None else rng.randint(1, 3)
        unit.weight = quarters(rng, width, graph.widths[source])
        unit.shape = shape
        if beside and rng.random() < 0.3:
            unit.context = rng.choice(beside)
            unit.context_weight = quarters(rng, width, graph.widths[unit.context])

    return unit


def build(graph: Graph, exact: bool = True, seed: int = 0) -> HybridNetwork:
    """The network of a graph, in evaluation: exact in float64, or with real numbers in float32."""
    links: list[Transmission | Modulation | Wake] = []
    for link in graph.links:
        unit = None if link.unit is None else _unit(graph, link, exact)
        is_set = link.unit is not None and link.unit.is_set
        other = None if link.unit is None else link.unit.context
        shared: dict[str, Any] = {"unit": unit, "delay": ticks(link.delay), "name": link.name}
        shared["mask" if is_set else "context"] = other
        target = link.target if link.path is None else f"{link.target}.{link.path}"

        if link.wake is not None:
            wake = link.wake
            stay = None if wake.stay is None else ticks(wake.stay)
            settings = {"asleep": wake.asleep, "state": wake.state, "replay": wake.replay, "stay": stay}
            links.append(Wake(link.source, target, **shared, **settings))
        elif link.sets:
            links.append(Initialisation(link.source, target, **shared))
        elif link.path is not None:
            links.append(Modulation(link.source, target, by=link.by, held=link.held, once=link.once, **shared))
        else:
            settings = {"held": link.held, "once": link.once, "into": link.into, "initial": link.initial}
            links.append(Transmission(link.source, target, **shared, **settings))

    network = HybridNetwork(
        dt=1.0,
        inputs={name: every(*map(float, clock)) for name, clock in graph.inputs.items()},
        parts={name: _part(part, exact) for name, part in graph.parts.items()},
        links=links,
        outputs=[*graph.parts, *(f"{name}.awake" for name in graph.woken)],
        clocks={name: every(*map(float, part.clock)) for name, part in graph.parts.items() if part.declared},
    )

    network = network.double() if exact else network
    if not exact:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)

    return network.eval()


def by_tick(graph: Graph, inputs: Mapping[str, Tensor], sample: int, ticks: int) -> dict[str, dict[int, Any]]:
    """The inputs of one sample by name and tick, as the simulator takes them."""
    return {
        name: dict(zip(filter(graph.inputs[name].has, range(ticks)), x[:, sample].tolist(), strict=True))
        for name, x in inputs.items()
    }


def signals(graph: Graph, ticks: int, batch: int = 2, exact: bool = True, seed: int = 0) -> dict[str, Tensor]:
    """Inputs for so many ticks."""
    generator = torch.Generator().manual_seed(1000 * graph.seed + seed)
    inputs = {}
    for name, clock in graph.inputs.items():
        length = sum(clock.has(tick) for tick in range(ticks))
        if name in graph.masks:
            inputs[name] = torch.rand(length, batch, generator=generator) < 0.4
        elif exact:
            drawn = torch.randint(-4, 5, (length, batch, graph.widths[name]), generator=generator)
            inputs[name] = drawn.double() / 4
        else:
            inputs[name] = torch.randn(length, batch, graph.widths[name], generator=generator)

    return inputs


def _linear(weight: Matrix, bias: Vector | None = None) -> nn.Linear:
    linear = nn.Linear(len(weight[0]), len(weight), bias=bias is not None)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(weight))
        if bias is not None:
            linear.bias.copy_(torch.tensor(bias))

    return linear


def _part(part: PartSpec, exact: bool) -> nn.Module:
    dt = float(part.clock.period)
    tau = tau_of_one_half(dt)
    if part.kind == "linear":
        return nn.Sequential(_linear(part.weight, part.bias), Round(exact))
    if part.kind == "lif":
        return LIF(tau, dt=dt)
    if part.kind == "seq":
        return Sequential(fc=_linear(part.weight, part.bias), lif=LIF(tau, dt=dt), gate=Gate())
    if part.kind == "integrator":
        return Sequential(sum=Integrator(tau, dt=dt), round=Round(exact))
    if part.kind == "mix":
        return Mix(_linear(part.weight, part.bias), _linear(part.other), exact)

    return Fused(_linear(part.other), 0.5)


def _unit(graph: Graph, link: LinkSpec, exact: bool) -> HybridUnit:
    spec = link.unit
    windows = {
        None: lambda: None,
        "hold": lambda: Hold(spec.length),
        "tumbling": lambda: Tumbling(spec.length),
        "sliding": lambda: Sliding(spec.length, spec.stride),
        "since": lambda: Since(spec.trigger),
    }

    dt = graph.clock(link.source).period / (spec.length if spec.window == "hold" else 1)
    kernels = {
        None: lambda: None,
        "mean": lambda: Mean(keep=spec.keep),
        "sum": lambda: Sum(keep=spec.keep),
        "difference": lambda: Difference(keep=spec.keep),
        "exponential": lambda: Exponential(tau_of_one_half(dt), dt=dt, keep=spec.keep),
    }

    discretizers = {
        None: lambda: None,
        "threshold": lambda: Threshold(0.5),
        "bernoulli": lambda: Bernoulli(),
        "delta": lambda: SignedDelta(0.25),
        "burst": Burst,
        "integrate": Integrate,
        "last": Last,
        "count": Count,
    }

    nonlinearity = None if spec.weight is None else Affine(spec, exact)
    return HybridUnit(windows[spec.window](), kernels[spec.kernel](), nonlinearity, discretizers[spec.q]())


def piece(graph: Graph, inputs: dict[str, Tensor], start: int, stop: int) -> dict[str, Tensor]:
    """The samples that fall in some ticks; inputs without one are left out."""
    pieces = {}
    for name, x in inputs.items():
        before = sum(graph.inputs[name].has(tick) for tick in range(start))
        number = sum(graph.inputs[name].has(tick) for tick in range(start, stop))
        if number:
            pieces[name] = x[before : before + number]

    return pieces


def run_cut(
    graph: Graph, network: HybridNetwork, inputs: dict[str, Tensor], cuts: list[int], **settings: Any
) -> dict[str, Tensor]:
    """The outputs of a stream that is cut at some ticks, the last of which is its end."""
    state = network.initial_state({name: x[:0] for name, x in inputs.items()})
    given: dict[str, list[Tensor]] = {}
    for start, stop in zip([0, *cuts], cuts, strict=False):
        outputs, state = network(piece(graph, inputs, start, stop), state, stop - start, **settings)
        for name, y in outputs.items():
            given.setdefault(name, []).append(y)

    return {name: torch.cat(values) for name, values in given.items()}


def run_steps(graph: Graph, network: HybridNetwork, inputs: dict[str, Tensor], ticks: int) -> dict[str, Tensor]:
    """The outputs of the step form."""
    state = network.initial_state({name: x[:0] for name, x in inputs.items()})
    given: dict[str, list[Tensor]] = {}

    for tick in range(ticks):
        now = {name: x[0] for name, x in piece(graph, inputs, tick, tick + 1).items()}
        outputs, state = network.step(now, state)
        for name, y in outputs.items():
            # an output without a tick is (0, B, *M)
            given.setdefault(name, []).append(y.unsqueeze(0) if len(y) else y)

    return {name: torch.cat(values) for name, values in given.items()}
