"""Neurons, gains, gates and delays of the integer model in C: the steps of `spikebridge.deploy.stages.neurons`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikebridge.deploy.c.source import CArray, CSource, broadcast_index, c_type, loop, when
from spikebridge.deploy.stages.arithmetic import FRACTION, ratio
from spikebridge.deploy.stages.neurons import QUANTITIES
from spikebridge.errors import ExportError

_Settings = Mapping[str, Any]
_Numbers = Mapping[str, Any]


@dataclass(frozen=True)
class Acting:
    """A signal that acts on a quantity.

    Attributes:
        signal: the newest value.
        by: "add", "multiply" or "replace".
        given: a C condition: whether there is a value yet; None where there always is one.
    """

    signal: CArray
    by: str
    given: str | None


def neuron(
    source: CSource,
    name: str,
    place: tuple[str, str],
    settings: _Settings,
    numbers: _Numbers,
    currents: Sequence[CArray],
    acting: Mapping[str, Sequence[Acting]],
) -> tuple[list[str], CArray]:
    """A layer of neurons.

    Args:
        source: the file.
        name: of its state.
        place: the function and the name of what it gives there.
        settings: of its record.
        numbers: its integers.
        currents: that add up.
        acting: by quantity.

    Returns:
        Lines, and spikes or membranes.

    Raises:
        ExportError: a quantity that cannot be broadcast to the layer, or a product beyond 64 bits.
    """
    _check_decays(numbers)
    high = int(settings["high"])
    constants = (*QUANTITIES, "decay", "decay_syn", "decay_adaptation", "jump")
    sizes = [np.shape(numbers[key]) for key in constants if key in numbers]
    shape = np.broadcast_shapes(*(x.shape for x in currents), *(one for one in sizes if np.prod(one) > 1))
    terms: list[str] = []
    widest = 0

    for i, x in enumerate(currents):
        code, low, top = source.rescale(x.at(shape), (x.low, x.high), ratio(numbers, after=f"_{i}"), shape)
        terms = [*terms, code]
        widest = widest + max(abs(low), abs(top))

    # every product with a decay, and what is added to a membrane, stays inside 64 bits
    c_type(-(((2 * high + 2) << FRACTION) + widest), ((2 * high + 2) << FRACTION) + widest)
    out = source.scratch(*place, shape, *((0, 1) if settings["spikes"] else (-high, high)))
    v = source.remembered(f"{name}_v", shape, -high - 1, high + 1)
    if (np.asarray(numbers["v_leak"]) != 0).any():
        source.starts += loop(v.size, [f"{v.code}[j] = {source.constant(numbers['v_leak'], shape)};"])

    lines: list[str] = []
    for quantity in _read_quantities(settings):
        lines += _modulated(source, quantity, quantity, settings, numbers, acting.get(quantity, ()), shape)

    lines.append(f"int64_t current = {' + '.join(terms)};")
    body = [*lines, *_membranes(source, name, settings, numbers, v, out)]

    return loop(v.size, body), out


def _read_quantities(settings: _Settings) -> tuple[str, ...]:
    """The quantities that the step of a layer reads."""
    if not settings["spikes"]:
        return ("v_leak",)
    return ("v_threshold", "v_leak") if settings["reset"] in ("subtract", "soft", "none") else QUANTITIES


def _membranes(source: CSource, name: str, settings: _Settings, numbers: _Numbers, v: CArray, out: CArray) -> list[str]:
    """One neuron, from its current to its spike; the lines follow `membrane_step`."""
    shape = v.shape
    high = int(settings["high"])

    def bound(code: str) -> str:
        return source.call("clip", code, str(-high), str(high))

    def leak(value: str, rest: str, decay: str) -> str:
        return source.call("leak", value, rest, source.constant(numbers[decay], shape))

    def kept(quantity: str) -> str:
        return f"{source.remembered(f'{name}_{quantity}', shape, -high, high).code}[j]"

    lines = []
    if "decay_syn" in numbers:
        i = kept("i")
        current = bound(leak(i, "0", "decay_syn") + " + current")
        lines += [f"current = {current};", f"{i} = current;"]

    membrane = bound(leak(f"{v.code}[j]", "v_leak", "decay") + " + current")
    lines.append(f"int64_t v = {membrane};")
    if not settings["spikes"]:
        return [*lines, f"{v.code}[j] = v;", f"{out.code}[j] = v;"]

    adaptation = kept("a") if "decay_adaptation" in numbers else None
    if adaptation is not None:
        lines += [f"int64_t a = {leak(adaptation, '0', 'decay_adaptation')};", "v_threshold += a;"]

    refractory = int(settings["refractory"] or 0)
    wait = f"{source.remembered(f'{name}_wait', shape, 0, refractory).code}[j]" if refractory else None
    fires = "v >= v_threshold"
    if wait is not None:
        lines.append(f"if ({wait} != 0) v = {v.code}[j];")
        fires = f"{wait} == 0 && {fires}"

    lines.append(f"const int spike = {fires};")
    if wait is not None:
        lines.append(f"{wait} = spike ? {refractory} : {wait} > 0 ? {wait} - 1 : 0;")

    if adaptation is not None:
        risen = bound(f"a + spike * {source.constant(numbers['jump'], shape)}")
        lines.append(f"{adaptation} = {risen};")

    if settings["reset"] in ("subtract", "soft"):
        lines.append(f"v = {bound('v - spike * v_threshold')};")
    elif settings["reset"] != "none":
        lines.append("if (spike) v = v_reset;")

    return [*lines, f"{v.code}[j] = v;", f"{out.code}[j] = spike;"]


def _modulated(
    source: CSource,
    quantity: str,
    variable: str,
    settings: _Settings,
    numbers: _Numbers,
    acting: Sequence[Acting],
    shape: tuple[int, ...],
) -> list[str]:
    """A quantity under what acts on it, as a local variable."""
    base = np.asarray(numbers[quantity])
    high = int(settings["high"])
    lines = [f"int64_t {variable} = {source.constant(base, shape)};"]
    low = min(int(base.min()), -high)
    top = max(int(base.max()), high + 1)

    for number, one in enumerate(acting):
        x = one.signal
        padded = x.shaped((*x.shape, *[1] * (len(shape) - len(x.shape))))
        value = f"{x.code}[{broadcast_index(padded.shape, shape)}]"

        if one.by == "multiply":
            most = max(abs(low), abs(top)) * max(abs(x.low), abs(x.high))
            by = ratio(numbers, f"{quantity}.multiply_{number}.")
            code, _, _ = source.rescale(f"{variable} * {value}", (-most, most), by, shape)
        else:
            by = ratio(numbers, f"{quantity}.add_{number}.")
            code, _, _ = source.rescale(value, (x.low, x.high), by, shape)
            code = code if one.by == "replace" else f"{variable} + {code}"

        body = [f"{variable} = {source.call('clip', code, str(-high), str(high + 1))};"]
        lines += body if one.given is None else when(one.given, body)

    return lines


def _check_decays(numbers: _Numbers) -> None:
    for name, value in numbers.items():
        if name.startswith("decay") and not ((np.asarray(value) >= 0) & (np.asarray(value) <= 1 << FRACTION)).all():
            raise ExportError(f"a decay counts parts of 2^{FRACTION}, but {name!r} has {np.max(value)}")


def factor(
    source: CSource,
    place: tuple[str, str],
    settings: _Settings,
    numbers: _Numbers,
    x: CArray,
    acting: Mapping[str, Sequence[Acting]],
) -> tuple[list[str], CArray]:
    """A gain or a gate.

    Args:
        source: the file.
        place: the function and the name of what it gives there.
        settings: of its record.
        numbers: its integers.
        x: what comes in.
        acting: on its quantity.
    """
    quantity = str(settings["quantity"])
    several = acting.get(str(settings["quantity"]), ())
    base = np.asarray(numbers[quantity])
    shape = np.broadcast_shapes(x.shape, base.shape if base.size > 1 else ())
    high = max(int(settings["high"]) + 1, int(np.abs(base).max())) if several else int(np.abs(base).max())
    most = max(abs(x.low), abs(x.high)) * high
    out = source.scratch(*place, shape, -most, most)
    lines = _modulated(source, quantity, "by", settings, numbers, several, shape)

    return loop(out.size, [*lines, f"{out.code}[j] = {x.at(shape)} * by;"]), out


def delayed(
    source: CSource, name: str, place: tuple[str, str], settings: _Settings, numbers: _Numbers, x: CArray
) -> tuple[list[str], CArray]:
    """A delay of whole steps, one for each channel: a ring of the last steps.

    Args:
        source: the file.
        name: of its state.
        place: the function and the name of what it gives there.
        settings: with the longest delay.
        numbers: the delays.
        x: what comes in.
    """
    rows = int(settings["max_ticks"]) + 1
    ring = source.remembered(f"{name}_ring", x.shape, x.low, x.high, rows)
    at = source.number(f"{name}_place")
    out = source.scratch(*place, x.shape, ring.low, ring.high)
    kept, late = late_step(source, ring, at, rows, numbers, x)

    return [*loop(x.size, [kept, f"{out.code}[j] = {late};"]), f"{at} = ({at} + 1) % {rows};"], out


def late_step(source: CSource, ring: CArray, at: str, rows: int, numbers: _Numbers, x: CArray) -> tuple[str, str]:
    """An element of a step kept in a ring, and the one that its delay lets through.

    Args:
        source: the file.
        ring: the last steps.
        at: the place of the newest.
        rows: how many steps there are.
        numbers: the delays.
        x: the step.
    """
    ticks = source.constant(np.asarray(numbers["ticks"]), x.shape)
    late = f"{ring.code}[({at} + {rows} - {ticks}) % {rows} * {x.size} + j]"

    return f"{ring.code}[{at} * {x.size} + j] = {x.code}[j];", late
