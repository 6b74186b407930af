"""Kernels and discretizers of hybrid units in C. Each follows its array form in `spikebridge.deploy.stages`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from spikebridge.deploy.bundle.manifest import StageRecord
from spikebridge.deploy.c.neurons import late_step, neuron
from spikebridge.deploy.c.operations import check_entries
from spikebridge.deploy.c.source import CArray, CSource, broadcast_index, copied, loop, row, when
from spikebridge.deploy.stages.arithmetic import MOST_STEPS, ratio
from spikebridge.errors import ExportError

_Numbers = Mapping[str, Any]
_Settings = Mapping[str, Any]
_Rows = tuple[list[str], CArray, int]  # lines, the first of several values, how many


@dataclass(frozen=True)
class Place:
    """Where a stage is written.

    Attributes:
        source: the file.
        name: of the function.
        steps: of a window, at most.
    """

    source: CSource
    name: str
    steps: int

    def kept(self, name: str, shape: tuple[int, ...], settings: _Settings) -> CArray:
        """A state of the width in the settings."""
        high = int(settings["high"])
        return self.source.remembered(f"{self.name}_{name}", shape, -high, high)

    def ring(self, x: CArray, rows: int) -> tuple[CArray, str]:
        """The last steps of a signal, and the place of the newest one."""
        ring = self.source.remembered(f"{self.name}_ring", x.shape, x.low, x.high, rows)
        return ring, self.source.number(f"{self.name}_place")

    def clip(self, code: str, settings: _Settings) -> str:
        """A state inside its width."""
        high = int(settings["high"])
        return self.source.call("clip", code, str(-high), str(high))

    def rows(self, name: str, like: CArray, number: int, low: int, high: int) -> CArray:
        """Memory for several values."""
        return self.source.scratch(self.name, name, like.shape, low, high, number)


@dataclass(frozen=True)
class _KernelLines:
    """A kernel.

    Attributes:
        shape: of what it gives.
        code: of one element, before its scale is changed.
        bounds: of that.
        each: lines for each element.
        restart: lines that open a window.
        then: lines behind a step.
    """

    shape: tuple[int, ...]
    code: str
    bounds: tuple[int, int]
    each: list[str]
    restart: list[str]
    then: list[str] = field(default_factory=list)


def written_kernel(
    place: Place, record: StageRecord, numbers: _Numbers, x: CArray
) -> tuple[list[str], list[str], CArray]:
    """A kernel.

    Args:
        place: where it is written.
        record: of the kernel.
        numbers: its integers.
        x: a step.

    Returns:
        Lines that open a window, lines of a step, and what a step gives.

    Raises:
        ExportError: it has no C form, or a sum leaves 64 bits.
    """
    if record.name not in _KERNELS:
        raise ExportError(f"{place.name}: the kernel {record.name!r} has no C form; known are {', '.join(_KERNELS)}")

    settings: _Settings = record.settings
    made = _KERNELS[record.name](place, settings, numbers, x)
    h = place.source.scratch(place.name, "h", made.shape, int(settings["low_out"]), int(settings["high_out"]))
    code = made.code

    if record.name != "Mean":  # which is in the scale of the output already
        code, _, _ = place.source.rescale(code, made.bounds, ratio(numbers, "out."), made.shape)

    clipped = place.source.call("clip", code, str(h.low), str(h.high))
    return made.restart, [*loop(h.size, [*made.each, f"{h.code}[j] = {clipped};"]), *made.then], h


def _cleared(*signals: CArray) -> list[str]:
    return [f"memset({x.code}, 0, sizeof {x.code});" for x in signals]


def _bounds(settings: _Settings) -> tuple[int, int]:
    return -int(settings["high"]), int(settings["high"])


def _sum(place: Place, settings: _Settings, numbers: _Numbers, x: CArray) -> _KernelLines:
    total = place.kept("total", x.shape, settings)
    code = f"{total.code}[j]"
    each = [f"{code} = {place.clip(f'{code} + (int64_t){x.code}[j]', settings)};"]
    return _KernelLines(x.shape, code, _bounds(settings), each, _cleared(total))


def _mean(place: Place, settings: _Settings, numbers: _Numbers, x: CArray) -> _KernelLines:
    total, (multiplier, shift) = _sum(place, settings, numbers, x), ratio(numbers, "out.")
    unit = (1 << int(shift.max())) * min(place.steps, MOST_STEPS)
    if max(2 * total.bounds[1] * int(np.abs(multiplier).max()) + unit, 2 * unit) >= 1 << 63:
        raise ExportError(f"{place.name}: the mean of {place.steps} steps does not fit into 64 bits")

    number = place.source.number(f"{place.name}_number")
    place.source.starts.append(f"{number} = 1;")
    by = [place.source.constant(one, x.shape) for one in (multiplier, shift)]

    return replace(
        total,
        code=place.source.call("divide", total.code, number, *by),
        restart=[*total.restart, f"{number} = 1;"],
        then=[f"if ({number} < {MOST_STEPS}) {number}++;"],
    )


def _exponential(place: Place, settings: _Settings, numbers: _Numbers, x: CArray) -> _KernelLines:
    shape = np.broadcast_shapes(x.shape, _several(numbers["decay"]))
    total = place.kept("total", shape, settings)
    code = f"{total.code}[j]"
    leaked = place.source.call("leak", code, "0", place.source.constant(numbers["decay"], shape))
    each = [f"{code} = {place.clip(f'{leaked} + {_entered(place, numbers, x, shape)}', settings)};"]

    return _KernelLines(shape, code, _bounds(settings), each, _cleared(total))


def _alpha(place: Place, settings: _Settings, numbers: _Numbers, x: CArray) -> _KernelLines:
    shape = np.broadcast_shapes(x.shape, _several(numbers["decay"]))
    states = [place.kept(name, shape, settings) for name in ("first", "second")]
    first, second = (f"{state.code}[j]" for state in states)
    decay = place.source.constant(numbers["decay"], shape)
    both = place.source.call("leak", f"(int64_t){second} + {first}", "0", decay)
    leaked = place.source.call("leak", first, "0", decay)
    each = [
        f"{second} = {place.clip(both, settings)};",
        f"{first} = {place.clip(f'{leaked} + {_entered(place, numbers, x, shape)}', settings)};",
    ]

    return _KernelLines(shape, second, _bounds(settings), each, _cleared(*states))


def _difference(place: Place, settings: _Settings, numbers: _Numbers, x: CArray) -> _KernelLines:
    lag = int(settings["lag"] or 1)
    ring, at = place.ring(x, lag)
    started = place.source.number(f"{place.name}_started")
    last = f"{ring.code}[{at} * {x.size} + j]"

    # before the window opened its first value stands in
    each = when(f"!{started}", loop(lag, [f"{ring.code}[k * {x.size} + j] = {x.code}[j];"], "k"))
    each.append(f"const int64_t changed = (int64_t){x.code}[j] - {last};")
    then = [f"{started} = 1;"]
    if settings["lag"] is not None:
        each.append(f"{last} = {x.code}[j];")
        then.append(f"{at} = ({at} + 1) % {lag};")

    span = ring.high - ring.low
    return _KernelLines(x.shape, "changed", (-span, span), each, [f"{started} = 0;", f"{at} = 0;"], then)


def _taps(place: Place, settings: _Settings, numbers: _Numbers, x: CArray) -> _KernelLines:
    taps = np.asarray(numbers["taps"], np.int64)
    length = len(taps)
    channels = taps.shape[1:]
    ring, at = place.ring(x, length)
    tap = place.source.table(taps) + f"[k * {int(np.prod(channels))} + {broadcast_index(channels, x.shape)}]"
    past = f"{ring.code}[({at} + {length} - k) % {length} * {x.size} + j]"

    each = [
        f"{ring.code}[{at} * {x.size} + j] = {x.code}[j];",
        "int64_t sum = 0;",
        *loop(length, [f"sum += (int64_t){tap} * {past};"], "k"),
    ]

    most = int(np.abs(taps).sum(0).max()) * max(abs(ring.low), abs(ring.high))
    restart = [*_cleared(ring), f"{at} = 0;"]
    then = [f"{at} = ({at} + 1) % {length};"]

    return _KernelLines(x.shape, "sum", (-most, most), each, restart, then)


def _delay(place: Place, settings: _Settings, numbers: _Numbers, x: CArray) -> _KernelLines:
    rows = int(settings["max_ticks"]) + 1
    ring, at = place.ring(x, rows)
    each, late = late_step(place.source, ring, at, rows, numbers, x)
    restart = [*_cleared(ring), f"{at} = 0;"]
    then = [f"{at} = ({at} + 1) % {rows};"]

    return _KernelLines(x.shape, late, (ring.low, ring.high), [each], restart, then)


def _several(values: Any) -> tuple[int, ...]:
    return np.shape(values) if np.size(values) > 1 else ()


def _entered(place: Place, numbers: _Numbers, x: CArray, shape: tuple[int, ...]) -> str:
    """A step in the scale of the state."""
    if "in.multiplier" not in numbers:
        return f"(int64_t){x.at(shape)}"
    return place.source.rescale(x.at(shape), (x.low, x.high), ratio(numbers, "in."), shape)[0]


_KERNELS: dict[str, Callable[[Place, _Settings, _Numbers, CArray], _KernelLines]] = {
    "Sum": _sum,
    "Mean": _mean,
    "Difference": _difference,
    "Exponential": _exponential,
    "Alpha": _alpha,
    "Taps": _taps,
    "Delay": _delay,
}


def written_discretizer(place: Place, record: StageRecord, numbers: _Numbers, x: CArray, number: int) -> _Rows:
    """A discretizer.

    Args:
        place: where it is written.
        record: of the discretizer.
        numbers: its integers.
        x: the first value of a window; the others follow.
        number: how many there are.

    Returns:
        Lines, the first value that comes out, and how many do.

    Raises:
        ExportError: it has no C form, or a sum leaves 64 bits.
    """
    if record.name not in _DISCRETIZERS:
        known = ", ".join(_DISCRETIZERS)
        raise ExportError(f"{place.name}: the discretizer {record.name!r} has no C form; known are {known}")

    # an integer record names its one ratio without a prefix
    numbers = {f"out.{key}" if key in ("multiplier", "shift") else key: value for key, value in numbers.items()}
    return _DISCRETIZERS[record.name](place, record.settings, numbers, x, number)


def _each(out: CArray, number: int, body: list[str], before: list[str], after: list[str]) -> list[str]:
    """Lines for each element of each value."""
    return loop(number, [*before, *loop(out.size, body), *after], "k")


def _threshold(place: Place, settings: _Settings, numbers: _Numbers, x: CArray, number: int) -> _Rows:
    out = place.rows("spikes", x, number, 0, 1)
    threshold = place.source.constant(numbers["v_threshold"], x.shape)
    body = [f"{row(out).code}[j] = {row(x).code}[j] >= {threshold};"]
    return _each(out, number, body, [], []), out, number


def _bernoulli(place: Place, settings: _Settings, numbers: _Numbers, x: CArray, number: int) -> _Rows:
    entries = np.asarray(numbers["entries"], np.int64)
    low = int(settings["low"])
    check_entries(place.name, x, low, len(entries))
    out = place.rows("spikes", x, number, 0, 1)
    source = place.source
    drawn = source.number(f"{place.name}_drawn", "uint32_t")
    seed = int(settings["seed"]) * 0x3C6EF372 & 0xFFFFFFFF
    own = source.call("mix", f"s->stream + UINT32_C({seed})")
    stream = "const uint32_t stream = " + source.call("mix", source.call("mix", drawn) + f" ^ {own}") + ";"
    word = source.call(
        "mix", source.call("mix", "stream ^ " + source.call("mix", "(uint32_t)j + UINT32_C(0x1B873593)"))
    )
    chance = f"{source.table(entries)}[{row(x).code}[j] - ({low})]"
    body = [f"{row(out).code}[j] = (int32_t)({word} >> 8) < {chance};"]

    return _each(out, number, body, [stream], [f"{drawn}++;"]), out, number


def _signed_delta(place: Place, settings: _Settings, numbers: _Numbers, x: CArray, number: int) -> _Rows:
    limit = int(settings["limit"])
    code, low, high = place.source.rescale(f"{row(x).code}[j]", (x.low, x.high), ratio(numbers, "out."), x.shape)
    out = place.rows("sent", x, number, -limit, limit)
    total = place.source.remembered(f"{place.name}_total", x.shape, low, high)
    sent = f"{row(out).code}[j]"
    change = place.source.call("clip", f"{code} - {total.code}[j]", str(-limit), str(limit))

    return _each(out, number, [f"{sent} = {change};", f"{total.code}[j] += {sent};"], [], []), out, number


def _integrate(place: Place, settings: _Settings, numbers: _Numbers, x: CArray, number: int) -> _Rows:
    low = int(settings["low_out"])
    high = int(settings["high_out"])
    out = place.rows("total", x, 1, low, high)
    bounds = (min(x.low, 0) * number, max(x.high, 0) * number)
    code, _, _ = place.source.rescale("total", bounds, ratio(numbers, "out."), x.shape)
    body = ["int64_t total = 0;", *loop(number, [f"total += {row(x).code}[j];"], "k")]

    return loop(x.size, [*body, f"{out.code}[j] = {place.source.call('clip', code, str(low), str(high))};"]), out, 1


def _last(place: Place, settings: _Settings, numbers: _Numbers, x: CArray, number: int) -> _Rows:
    out = place.rows("last", x, 1, x.low, x.high)
    return copied(row(x, str(number - 1)).code, out.code, x.size), out, 1


def _count(place: Place, settings: _Settings, numbers: _Numbers, x: CArray, number: int) -> _Rows:
    out = place.rows("count", x, 1, 0, number)
    body = ["int32_t count = 0;", *loop(number, [f"count += {row(x).code}[j] != 0;"], "k")]
    return loop(x.size, [*body, f"{out.code}[j] = count;"]), out, 1


def _first_time(place: Place, settings: _Settings, numbers: _Numbers, x: CArray, number: int) -> _Rows:
    out = place.rows("first", x, 1, 0, number)
    body = ["int32_t first = 0;", f"while (first < {number} && {row(x, 'first').code}[j] == 0) first++;"]
    return loop(x.size, [*body, f"{out.code}[j] = first;"]), out, 1


def _spikes(place: Place, settings: _Settings, numbers: _Numbers, x: CArray, number: int) -> _Rows:
    entries = np.asarray(numbers["entries"], np.int64)
    low = int(settings["low"])
    check_entries(place.name, x, low, len(entries))
    length = entries.shape[1]
    out = place.rows("spikes", x, length, int(entries.min()), int(entries.max()))
    body = [f"{row(out).code}[j] = {place.source.table(entries)}[({x.code}[j] - ({low})) * {length} + k];"]

    return _each(out, length, body, [], []), out, length


def _fire(place: Place, settings: _Settings, numbers: _Numbers, x: CArray, number: int) -> _Rows:
    lines, fired = neuron(place.source, f"{place.name}_fire", (place.name, "fire"), settings, numbers, [row(x)], {})
    low = int(settings["low_out"])
    high = int(settings["high_out"])
    out = place.rows("fired", fired, number, low, high)
    code, _, _ = place.source.rescale(
        fired.at(fired.shape), (fired.low, fired.high), ratio(numbers, "out."), fired.shape
    )
    given = f"{row(out).code}[j] = {place.source.call('clip', code, str(low), str(high))};"

    return loop(number, [*lines, *loop(out.size, [given])], "k"), out, number


_DISCRETIZERS: dict[str, Callable[[Place, _Settings, _Numbers, CArray, int], _Rows]] = {
    "Threshold": _threshold,
    "Bernoulli": _bernoulli,
    "SignedDelta": _signed_delta,
    "Integrate": _integrate,
    "Last": _last,
    "Count": _count,
    "FirstTime": _first_time,
    "Spikes": _spikes,
    "Fire": _fire,
}
