"""A tick-by-tick simulator of hybrid networks, the rules of time written once more in plain Python.

It knows nothing of the package. A signal is a dictionary from stamps to values; every value is asked for by its tick
and worked out from the whole past, for one sample at a time.
"""

import math
from functools import cache
from typing import Any

Vector = list[float]


def affine(weight: list[Vector], x: Vector) -> Vector:
    return [sum(w * v for w, v in zip(row, x, strict=True)) for row in weight]


def rounded(x: Vector) -> Vector:
    return [max(-16, min(16, round(4 * v))) / 4 for v in x]


def under(base: Any, effects: list[tuple[Any, str]]) -> Any:
    """A quantity under effects, in their order; shapes of one element spread."""
    for value, by in effects:
        if isinstance(base, list):
            values = value if len(value) == len(base) else value * len(base)
            base = [under(b, [(v, by)]) for b, v in zip(base, values, strict=True)]
        else:
            base = {"add": base + value, "multiply": base * value, "replace": value}[by]

    return base


class Simulator:
    """One sample of a graph.

    Args:
        graph: the network in words.
        inputs: by name and tick.
        ticks: how long it runs.
    """

    def __init__(self, graph: Any, inputs: dict[str, dict[int, Any]], ticks: int) -> None:
        self.graph = graph
        self.inputs = inputs
        self.output = cache(self._output)
        self.made = cache(self._made)

        for tick in range(ticks):
            for name in graph.parts:
                self.output(name, tick)

    def value(self, signal: str, tick: int) -> Any:
        """The value of a signal at a tick, None if it does not fire there."""
        if signal in self.inputs:
            return self.inputs[signal].get(tick)

        name, dot, _ = signal.partition(".")
        return self.states(name, tick) if dot else self.output(name, tick)[0]

    def states(self, name: str, tick: int) -> Vector:
        """The membranes of a part as a signal, which is 0 where an output asleep is."""
        wake = next((link.wake for link in self.graph.links if link.wake and link.target == name), None)
        v = self.output(name, tick)[1]
        return [0.0] * len(v) if wake and wake.asleep == "zero" and not self.awake(name, tick) else v

    def past(self, signal: str, tick: int) -> dict[int, Any]:
        """All that a signal has given up to a tick."""
        clock = self.graph.clock(signal)
        return {n: self.value(signal, n) for n in range(tick + 1) if clock.has(n)}

    def newest(self, signal: str, tick: int) -> Any:
        past = self.past(signal, tick)
        return past[max(past)] if past else [0.0] * self.graph.widths[signal]

    def read(self, index: int, tick: int) -> Any:
        """The value that the target of a link reads at a tick; None where a modulation is absent."""
        link = self.graph.links[index]
        stamped = self.stamped(index, tick - link.delay)

        if link.once:
            before = [n for n in range(tick) if self.graph.clock(link.target).has(n)]
            arrived = [s for s in stamped if (before[-1] if before else -1) < s + link.delay <= tick]
            if arrived:
                return stamped[max(arrived)]
        elif not link.held:
            if tick - link.delay in stamped:
                return stamped[tick - link.delay]
        elif any(stamp <= tick - link.delay for stamp in stamped):
            return stamped[max(stamp for stamp in stamped if stamp <= tick - link.delay)]

        if link.path is not None:
            return None

        unit = link.unit
        width = self.graph.widths[link.source] if unit is None or unit.weight is None else len(unit.weight)

        return [link.initial] * width

    def stamped(self, index: int, tick: int) -> dict[int, Any]:
        """All that a link's unit has made up to a tick, by stamps; some may lie in the future."""
        link = self.graph.links[index]
        source = self.graph.clock(link.source)
        stamped: dict[int, Any] = {}

        for n in range(max(tick + 1, 0)):
            if source.has(n) and self._gives(link.source, n):
                stamped |= self.made(index, n)
            elif source.has(n) and link.wake is not None:
                stamped[n] = False

        return stamped

    def _gives(self, signal: str, tick: int) -> bool:
        """True if a signal has a value for its links at one of its ticks."""
        name = signal.partition(".")[0]
        wakes = [link.wake for link in self.graph.links if link.wake is not None and link.target == name]
        return not wakes or wakes[0].asleep != "none" or self.awake(name, tick)

    def _made(self, index: int, tick: int) -> dict[int, Any]:
        """The values that a unit makes with the source sample at a tick, by stamps."""
        link = self.graph.links[index]
        unit = link.unit
        if unit is None:
            return {tick: self.value(link.source, tick)}

        past = {n: x for n, x in self.past(link.source, tick).items() if self._gives(link.source, n)}
        if unit.is_set:
            past = {n: self._members(unit.context, n, x) for n, x in past.items()}
        period = self.graph.clock(link.source).period
        windows = [self._window(unit, index, past, tick)]
        if windows[0] is None:
            return {}

        if unit.window == "hold":
            steps = [past[tick]] * unit.length
            kept = [self._kernel(unit, steps[: k + 1]) for k in range(unit.length)]
            values = [self._transform(unit, h, tick) for h in (kept if unit.keep or unit.kernel is None else kept[-1:])]
            if unit.q == "burst":
                values = self._burst(values[0], unit.length)
            gap = period // unit.length
        elif unit.q in ("integrate", "last", "count"):
            steps = windows[0]
            kept = [self._transform(unit, self._kernel(unit, steps[: k + 1]), tick) for k in range(len(steps))]
            columns = list(zip(*kept, strict=True))
            reduce = {"integrate": sum, "last": lambda c: c[-1], "count": lambda c: float(sum(v != 0 for v in c))}
            values = [[reduce[unit.q](column) for column in columns]]
            gap = 0
        else:
            values = [self._transform(unit, self._kernel(unit, windows[0]), tick)]
            gap = 0
            if unit.q == "burst":
                values = self._burst(values[0], unit.length)
                gap = period

        if unit.q == "threshold":
            values = [[float(v >= 0.5) for v in value] for value in values]

        if unit.q == "delta":
            values = [self._delta(index, tick, value) for value in values]

        return {tick + k * gap: self._shaped(unit, value) for k, value in enumerate(values)}

    def _members(self, mask: str, tick: int, x: Vector) -> Vector:
        """The members of a set, 0 for those that do not count."""
        return [v if m else 0.0 for v, m in zip(x, self.value(mask, tick), strict=True)]

    def _window(self, unit: Any, index: int, past: dict[int, Vector], tick: int) -> list[Vector] | None:
        """The steps of the window to which the sample at a tick belongs, None where none closes."""
        steps = [past[n] for n in sorted(past)]
        if unit.window == "hold":
            return steps[-1:]
        if unit.window is None:
            return steps
        if unit.window == "since":
            return self._since(unit, index, sorted(past), steps)
        if unit.window == "tumbling" and unit.keep and unit.q not in ("integrate", "last", "count"):
            return steps[(len(steps) - 1) // unit.length * unit.length :]

        closes = len(steps) >= unit.length and (len(steps) - unit.length) % unit.stride == 0
        return steps[-unit.length :] if closes else None

    def _since(self, unit: Any, index: int, stamps: list[int], steps: list[Vector]) -> list[Vector]:
        """Steps since the first one at or after the newest trigger."""
        first = 0
        for k, stamp in enumerate(stamps):
            previous = stamps[k - 1] if k else -1
            if unit.trigger in self.graph.masks:
                triggers = [n for n, flag in self.past(unit.trigger, stamp).items() if flag]
            else:
                clock = self.graph.clock(unit.trigger)
                triggers = [n for n in range(stamp + 1) if clock.has(n)]

            if any(previous < n <= stamp for n in triggers):
                first = k

        return steps[first:]

    def _kernel(self, unit: Any, steps: list[Vector]) -> Vector:
        columns = list(zip(*steps, strict=True))
        if unit.kernel == "sum":
            return [sum(column) for column in columns]
        if unit.kernel == "mean":
            return [sum(column) / len(column) for column in columns]
        if unit.kernel == "difference":
            return [column[-1] - column[0] for column in columns]
        if unit.kernel == "exponential":
            return [sum(v * 0.5**age for age, v in enumerate(reversed(column))) for column in columns]

        return steps[-1]

    def _transform(self, unit: Any, h: Vector, tick: int) -> Vector:
        if unit.weight is None:
            return h

        y = affine(unit.weight, h)
        if unit.context is not None:
            beside = affine(unit.context_weight, self.newest(unit.context, tick))
            y = [a + b for a, b in zip(y, beside, strict=True)]

        return rounded(y)

    def _burst(self, value: Vector, length: int) -> list[Vector]:
        numbers = [math.floor(max(0.0, min(1.0, v)) * length + 0.5) for v in value]
        return [[float(k < number) for number in numbers] for k in range(length)]

    def _delta(self, index: int, tick: int, value: Vector) -> Vector:
        """The spikes sent on change, after those sent before for earlier values."""
        link = self.graph.links[index]
        source = self.graph.clock(link.source)
        sent = [0.0] * len(value)

        for n in range(tick):
            if source.has(n) and self._gives(link.source, n):
                for before in self.made(index, n).values():
                    flat = self._flat(before)
                    sent = [a + b for a, b in zip(sent, flat, strict=True)]

        return [float(round(v / 0.25 - s)) for v, s in zip(value, sent, strict=True)]

    def _flat(self, value: Any) -> Vector:
        return [v for row in value for v in row] if value and isinstance(value[0], list) else value

    def _shaped(self, unit: Any, value: Vector) -> Any:
        if unit.shape is None or len(unit.shape) == 1:
            return value
        rows, columns = unit.shape
        return [value[i * columns : (i + 1) * columns] for i in range(rows)]

    def awake(self, name: str, tick: int) -> bool:
        """True if a part is awake at one of its ticks: of the newest flags that have arrived one is set."""
        for i, link in enumerate(self.graph.links):
            if link.wake is not None and link.target == name:
                stamped = self.stamped(i, tick - link.delay)
                arrived = sorted(stamp for stamp in stamped if stamp <= tick - link.delay)
                flags = [stamped[stamp] for stamp in arrived[-link.wake.num_flags :]]
                return any(flag if isinstance(flag, bool) else max(flag) >= 0.5 for flag in flags)

        return True

    def _output(self, name: str, tick: int) -> tuple[Vector | None, Vector]:
        """The output of a part at a tick, and its membranes."""
        part = self.graph.parts[name]
        earlier = [n for n in range(tick) if part.clock.has(n)]
        zeros = [0.0] * part.width
        v = self.output(name, earlier[-1])[1] if earlier else zeros
        if not part.clock.has(tick):
            return None, v

        wake = next((link.wake for link in self.graph.links if link.wake and link.target == name), None)
        if not self.awake(name, tick):
            held = wake.asleep != "zero" and earlier
            return self.output(name, earlier[-1])[0] if held else zeros, v

        if wake is not None:
            missed = []
            while earlier[len(missed) :] and not self.awake(name, earlier[-1 - len(missed)]):
                missed.append(earlier[-1 - len(missed)])

            replayed = missed[: wake.replay]
            if missed and wake.state == "leak":
                v = [a * 0.5 ** (len(missed) - len(replayed)) for a in v]
            elif missed and wake.state == "reset":
                v = zeros
                replayed = earlier[::-1][: wake.replay]

            if missed or not earlier:
                v = self._set(name, tick, -1, v)

            for n in reversed(replayed):
                _, v = self._run(name, n, v)

        else:
            v = self._set(name, tick, earlier[-1] if earlier else -1, v)

        return self._run(name, tick, v)

    def _set(self, name: str, tick: int, before: int, v: Vector) -> Vector:
        """The membranes of a part, or the newest value of its initialisation if one arrived after a tick."""
        for i, link in enumerate(self.graph.links):
            if link.sets and link.target == name:
                stamps = [stamp + link.delay for stamp in self.stamped(i, tick - link.delay)]
                if any(before < stamp <= tick for stamp in stamps):
                    return self.read(i, tick)

        return v

    def _run(self, name: str, tick: int, v: Vector) -> tuple[Vector, Vector]:
        """A part on what it reads at a tick: its output and its membranes."""
        part = self.graph.parts[name]
        reads = [
            (link, self.read(i, tick))
            for i, link in enumerate(self.graph.links)
            if link.target == name and link.wake is None and not link.sets
        ]
        x, *others = [value for link, value in reads if link.path is None]
        effects: dict[str, list[tuple[Any, str]]] = {}

        for link, value in reads:
            if link.path is not None and value is not None:
                effects.setdefault(link.path, []).append((value, link.by))

        def quantity(path: str, base: Any) -> Any:
            return under(base, effects.get(path, []))

        if part.kind in ("linear", "seq", "mix"):
            layer = {"linear": "0", "seq": "fc", "mix": "first"}[part.kind]
            bias = quantity(f"{layer}.bias", part.bias)
            x = [a + b for a, b in zip(affine(quantity(f"{layer}.weight", part.weight), x), bias, strict=True)]

        if part.kind in ("mix", "into"):
            beside = affine(quantity("second.weight", part.other), others[0])
            x = [a + b for a, b in zip(x, beside, strict=True)]

        if part.kind in ("linear", "mix"):
            return rounded(x), v

        ones = [1.0] * part.width
        zeros = [0.0] * part.width
        if part.kind == "integrator":
            r = quantity("sum.r", ones)
            v = [0.5 * a + g * b for a, b, g in zip(v, x, r, strict=True)]
            return rounded(v), v

        prefix = "lif." if part.kind == "seq" else ""
        threshold = quantity(prefix + "v_threshold", ones)
        r = quantity(prefix + "r", ones)
        rest = quantity(prefix + "v_leak", zeros)
        v = [e + 0.5 * (a - e) + g * b for a, b, g, e in zip(v, x, r, rest, strict=True)]
        spikes = [float(a >= b) for a, b in zip(v, threshold, strict=True)]
        v = [a * (1 - s) for a, s in zip(v, spikes, strict=True)]
        gate = quantity("gate.gate", ones)

        return [s * g for s, g in zip(spikes, gate, strict=True)], v
