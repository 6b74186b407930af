"""Modules of a page: the C of a network or of a front end with exports for a script, and what the script must know.

A module has no imports. The script reads and writes its memory at the addresses that `address(k)` gives:

| export | network | front end |
|---|---|---|
| `start(stream)` | before the first tick | before the first sample; 0 restarts the detector of utterances, too |
| `take(k)` | real values of input k become its integers | samples of resampler k become those of the front end |
| `step()` | one base tick | one block |
| `address(k)` | memory k of the description | the same |
| `energy()` | joules since the start | - |
| `average(on)` | whether the next outputs belong to the answer | - |
| `best()` | index of the largest mean output, -1 before the first | - |
| `detect()` | - | detects utterances in a block |
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spikebridge.deploy.c.export import body_lines, header_lines, write_network
from spikebridge.deploy.c.network import NetworkWriter, Port
from spikebridge.deploy.c.source import for_loop, indent
from spikebridge.deploy.front_ends.c import HEADER, write_front_end
from spikebridge.deploy.front_ends.resampling import Resampler
from spikebridge.deploy.integer.model import IntegerModel
from spikebridge.deploy.streaming.activity import ActivityState, VoiceActivity
from spikebridge.deploy.streaming.samples import answer_mean, no_answer
from spikebridge.deploy.web.inputs import FrontEnd

_MAX_ROWS = 48  # of a signal that is drawn
_EXPORT = (
    "#ifdef __wasm__",
    "#define EXPORT(name) __attribute__((export_name(name)))",
    "#else",
    "#define EXPORT(name)",
    "#endif",
)


@dataclass(frozen=True)
class Prices:
    """Energy of the operations that a module counts [J], and their source."""

    mac: float
    ac: float
    source: str


@dataclass(frozen=True)
class ModuleText:
    """The C of a module, and its description for the script."""

    c: str
    description: dict[str, Any]


@dataclass
class _Addresses:
    """Memory that the script reads and writes: C expressions of addresses by their number."""

    codes: list[str] = field(default_factory=list)

    def number(self, code: str) -> int:
        self.codes.append(code)
        return len(self.codes) - 1

    def function(self) -> list[str]:
        cases = [f"case {number}: return {code};" for number, code in enumerate(self.codes)]
        return _function("address", "const void *", "int k", ["switch (k) {", *cases, "default: return 0;", "}"])


def network_module(
    model: IntegerModel, shapes: Mapping[str, tuple[int, ...]], prices: Prices, answer: str | None, recency: float = 1.0
) -> ModuleText:
    """The module of an integer model, for shapes of one step of each input; `answer` is the output that is averaged."""
    network = write_network(model, shapes, "network", counts=True)
    places = _Addresses()
    inputs = [_input(port, number, places) for number, port in enumerate(network.inputs)]
    outputs = [_output(port, places) for port in network.outputs]
    # an input of more rows is a picture, which the page shows as one
    series = [port for port in network.inputs if port.signal.size <= _MAX_ROWS]
    signals = [_signal(port, places) for port in (*series, *network.watched)]
    header = [line for line in header_lines("network", network) if not line.startswith("#include")]
    body = [line for line in body_lines("network", network) if not line.startswith("#include")]
    averaged = next((port for port in network.outputs if port.name == answer), None)
    lines = [
        *HEADER,
        "#include <string.h>",
        *header,
        *body,
        "",
        *_EXPORT,
        "static network_state state; static network_input input; static network_output output;",
        "static network_state *const s = &state;",
        "static network_input *const in = &input;",
        "static network_output *const out = &output;",
    ]

    description: dict[str, Any] = {"inputs": inputs, "outputs": outputs, "signals": signals, "answer": None}
    after: list[str] = []
    starts = ["memset(out, 0, sizeof *out);", "network_start(s, stream);"]
    if averaged is not None:
        lines += [*_answer_lines(averaged, recency), *_best(averaged.signal.size)]
        starts.append("answer_start();")
        after = [f"if (out->{averaged.field}_given && averages) {{", *indent(_averaged(averaged)), "}"]
        lines += ["static int averages = 1;", *_function("average", "void", "int on", ["averages = on;"])]
        place = places.number("answer_out_mean")
        description["answer"] = {"size": averaged.signal.size, "at": place}

    for port in network.outputs:
        if _is_spikes(port):
            lines.append(f"static float spikes_{port.field}[{port.signal.size}];")
            starts.append(f"memset(spikes_{port.field}, 0, sizeof spikes_{port.field});")
            counts = for_loop(port.signal.size, [f"spikes_{port.field}[j] += out->{port.field}[j];"])
            after += [f"if (out->{port.field}_given) {{", *indent(counts), "}"]

    lines += [f"static float real_{number}[{port.signal.size}];" for number, port in enumerate(network.inputs)]
    lines += _function("start", "void", "uint32_t stream", starts)
    lines += _function("take", "void", "int k", ["switch (k) {", *_takes(network), "}"])
    lines += _function("step", "void", "void", ["network_step(s, in, out);", *after])
    lines += _function("energy", "double", "void", [f"return {_energy(network, prices)};"])
    lines += places.function()

    return ModuleText("\n".join(lines) + "\n", description)


def front_end_module(front: FrontEnd, resamplers: Sequence[Resampler] = (), phone: Sequence[float] = ()) -> ModuleText:
    """The module of a front end, of resamplers from other rates to that of its samples, and of a phone's motion."""
    written = write_front_end("front", front.arrays, front.inputs, front.start())
    places = _Addresses()
    inputs = [
        {"name": name, "size": math.prod(shape), "at": places.number(f"front_in_{name}")}
        for name, shape in front.inputs.items()
    ]
    outputs = [
        {"name": name, "rows": shape[0], "size": math.prod(shape[1:]), "at": places.number(f"front_out_{name}")}
        for name, shape in written.outputs.items()
    ]
    lines = [*HEADER, *_EXPORT, *written.lines]
    starts = ["(void)stream;", "front_start();"]
    cases = []
    rates = []

    for number, resampler in enumerate(resamplers):
        name = f"resampler_{number}"
        lines += write_front_end(name, resampler.arrays, {"samples": (resampler.block_in,)}, resampler.start()).lines
        starts.append(f"{name}_start();")
        copies = for_loop(resampler.block_out, [f"front_in_samples[j] = {name}_out_samples[j];"])
        cases += [f"case {number}: {name}_step();", *indent(copies), "break;"]
        place = places.number(f"{name}_in_samples")
        rates.append({"rate": resampler.rate_in, "block": resampler.block_in, "at": place})

    if phone:
        # a rate of 0 stands for samples in the units of a phone
        size = math.prod(front.inputs["samples"])
        factors = ", ".join(repr(float(factor)) for factor in phone)
        lines += [f"static float phone_samples[{size}];", f"static const double phone_factors[] = {{{factors}}};"]
        scaled = f"front_in_samples[j] = phone_samples[j] * phone_factors[j % {len(phone)}];"
        cases += [f"case {len(rates)}:", *indent([*for_loop(size, [scaled]), "break;"])]
        rates.append({"rate": 0, "block": size, "at": places.number("phone_samples")})

    activity = None
    if front.activity is not None:
        lines += _activity_lines(front.activity, front.inputs["samples"])
        # an utterance restarts all but the detector
        starts.append("if (stream == 0) activity_start();")
        heard = {"samples": places.number("activity_in_samples"), "flags": places.number("activity_out_flags")}
        activity = {**heard, "size": math.prod(front.inputs["samples"])}
        lines += _function("detect", "void", "void", ["activity_step();"])

    lines += _function("start", "void", "uint32_t stream", starts)
    lines += _function("take", "void", "int k", ["switch (k) {", *cases, "default: break;", "}"])
    lines += _function("step", "void", "void", ["front_step();"])
    lines += places.function()

    description = {"inputs": inputs, "outputs": outputs, "rates": rates, "activity": activity}
    return ModuleText("\n".join(lines) + "\n", description)


def _activity_lines(detector: VoiceActivity, shape: tuple[int, ...]) -> list[str]:
    """The detector of utterances: flags that one begins, that it is open, that its block counts, that it ends."""

    def step(a: Any, inputs: dict[str, Any], state: Any) -> tuple[dict[str, Any], Any]:
        after = detector.arrays(a, inputs["samples"], state)
        is_utterance = detector.utterance(a, after)
        starts = after.is_open * a.where(after.length < 1.5, 1.0, 0.0)
        ends = state.is_open * (1.0 - after.is_open) * is_utterance
        flags = [starts, after.is_open, detector.counts(a, after), ends, is_utterance]
        return {"flags": a.concatenate([flag.reshape(1) for flag in flags])}, after

    return write_front_end("activity", step, {"samples": shape}, ActivityState(0.0)).lines


def _function(name: str, kind: str, parameters: str, body: Sequence[str]) -> list[str]:
    separator = "" if kind.endswith("*") else " "
    return ["", f'EXPORT("{name}") {kind}{separator}web_{name}({parameters}) {{', *indent(body), "}"]


def _input(port: Port, number: int, places: _Addresses) -> dict[str, Any]:
    integers = places.number(f"in->{port.field}")
    return {**_facts(port), "at": integers, "real": places.number(f"real_{number}")}


def _output(port: Port, places: _Addresses) -> dict[str, Any]:
    values = places.number(f"out->{port.field}")
    spikes = places.number(f"spikes_{port.field}") if _is_spikes(port) else None
    return {**_facts(port), "at": values, "given": places.number(f"&out->{port.field}_given"), "spikes": spikes}


def _signal(port: Port, places: _Addresses) -> dict[str, Any]:
    rows = min(port.signal.size, _MAX_ROWS)
    return {**_facts(port), "at": places.number(port.signal.code), "spikes": _is_spikes(port), "rows": rows}


def _is_spikes(port: Port) -> bool:
    # the values of a unit hold until the next ones, spikes do not
    return not port.name.startswith("links.") and 0 <= port.signal.low <= port.signal.high <= 1


def _facts(port: Port) -> dict[str, Any]:
    signal = port.signal
    return {
        "name": port.name,
        "type": signal.kind,
        "size": signal.size,
        "period": port.clock.period,
        "phase": port.clock.phase,
        "scale": port.scale,
    }


def _takes(network: NetworkWriter) -> list[str]:
    lines = []
    for number, port in enumerate(network.inputs):
        value = f"real_{number}[j]"
        integer = f"{value} != 0" if port.scale is None else f"NETWORK_{port.field.upper()}_INTEGER({value})"
        loop = for_loop(port.signal.size, [f"in->{port.field}[j] = {integer};"])
        lines += [f"case {number}:", *indent([*loop, "break;"])]

    return [*lines, "default: break;"]


def _answer_lines(port: Port, recency: float) -> list[str]:
    def step(a: Any, inputs: dict[str, Any], state: Any) -> tuple[dict[str, Any], Any]:
        state = answer_mean(inputs["logits"], state, recency)
        return {"mean": state.mean}, state

    size = port.signal.size
    return write_front_end("answer", step, {"logits": (size,)}, no_answer(size)).lines


def _averaged(port: Port) -> list[str]:
    # the same single precision as the outputs of a runner
    value = f"answer_in_logits[j] = (float)(out->{port.field}[j] * {port.scale!r});"
    return [*for_loop(port.signal.size, [value]), "answer_step();"]


def _best(size: int) -> list[str]:
    body = [
        "if (answer_state_1[0] == 0) return -1;",
        "int largest = 0;",
        *for_loop(size, ["if (answer_state_0[j] > answer_state_0[largest]) largest = j;"]),
        "return largest;",
    ]
    return _function("best", "int", "void", body)


def _energy(network: NetworkWriter, prices: Prices) -> str:
    per_kind = {"macs": prices.mac, "synops": prices.ac, "updates": prices.mac + prices.ac}
    counters = {name for _, name, _ in network.source.state}
    terms = [f"(double)s->{kind} * {price!r}" for kind, price in per_kind.items() if kind in counters]

    return " + ".join(terms) or "0.0"
