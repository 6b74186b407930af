"""An integer model as a folder of C99 files.

    write_c(model, inputs, ticks=24, folder=Path("digits_c"))

| file | content |
|---|---|
| `NAME.h` | types of inputs, outputs and state, scales, `NAME_start`, `NAME_step` |
| `NAME.c` | weights as tables, one function a part and a unit, the step of one base tick |
| `check.c` | a sample with the outputs of the integer model; a program that compares them |

The files need `stdint.h` and `string.h` alone. There is no allocation; a state is a struct of the caller. There is no
float, but in the header's functions that make the integers of an input.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikebridge.data.io.atomic import atomic_folder, check_new, write_text
from spikebridge.deploy.bundle.bundle import Bundle
from spikebridge.deploy.c.arithmetic import C_FUNCTIONS
from spikebridge.deploy.c.boards import EMULATOR_FOLDER, SOURCE_FOLDER, Board, write_microcontroller_project
from spikebridge.deploy.c.links import LinkOutput
from spikebridge.deploy.c.network import NetworkWriter, Port
from spikebridge.deploy.c.source import CSource, array_definition, c_name, for_loop, indent
from spikebridge.deploy.integer.bundle import integer_inputs, integers_of, sample_signals
from spikebridge.deploy.integer.model import IntegerModel
from spikebridge.deploy.stages.kernels import Forms
from spikebridge.errors import ExportError

_CHECK = "check.c"


@dataclass(frozen=True)
class WrittenC:
    """The written folder, the prefix of all names in C, bytes of tables and of one stream's state, and the ports."""

    folder: Path
    name: str
    table_bytes: int
    state_bytes: int
    inputs: Sequence[Port] = ()
    outputs: Sequence[Port] = ()
    board: Board | None = None

    @property
    def command(self) -> str:
        if self.board is not None:
            return f"make -C {EMULATOR_FOLDER} check"
        return f"cc -std=c99 -O2 {self.name}.c check.c -o check && ./check"


def write_c(
    model: IntegerModel,
    inputs: Mapping[str, NDArray[Any]],
    ticks: int,
    folder: Path,
    name: str | None = None,
    board: Board | None = None,
) -> WrittenC:
    """Writes a model as C99 into a new folder, whole or not at all; `name` is the prefix of all names in C.

    Inputs are integers `(T, B, *N)` of some base ticks. Stream 0 becomes the sample of the check, and its shapes are
    those of the model. With a board the folder is a project for it. Raises an `ExportError` for an operation or a stage
    without a C form.
    """
    check_new(folder, ExportError)
    prefix = c_name(name or folder.resolve().stem, set())
    # the check has a single stream, as a state in C
    sample = {key: np.asarray(x)[:, :1] for key, x in inputs.items()}
    expected = {key: [value[0].ravel() for value in y] for key, y in model.run(sample, ticks).items()}
    network = write_network(model, {key: x.shape[2:] for key, x in sample.items()}, prefix)

    with atomic_folder(folder) as draft:
        sources = draft
        checks = draft
        if board is not None:
            sources = draft / SOURCE_FOLDER
            checks = draft / EMULATOR_FOLDER
            sources.mkdir()
            write_microcontroller_project(draft, board, prefix, network)

        write_text(sources / f"{prefix}.h", "\n".join(header_lines(prefix, network)) + "\n")
        write_text(sources / f"{prefix}.c", "\n".join(body_lines(prefix, network)) + "\n")
        write_text(checks / _CHECK, "\n".join(_check(prefix, network, sample, expected, ticks)) + "\n")

    return WrittenC(folder, prefix, *_memory(network), network.inputs, network.outputs, board)


def write_network(
    model: IntegerModel, shapes: Mapping[str, tuple[int, ...]], prefix: str, counts: bool = False
) -> NetworkWriter:
    """All functions of a model; with `counts` they also count the operations of a stream in its state."""
    expected: dict[str, LinkOutput] = {}
    # a link in a loop is read before it is written: in the second pass all shapes are known
    for _ in range(2):
        network = NetworkWriter(model, shapes, f"{prefix}_state", expected, CSource(counts))
        expected = network.write()

    return network


def _memory(network: NetworkWriter) -> tuple[int, int]:
    """Bytes of all tables, and of one stream's state without padding."""
    source = network.source
    tables = sum(_bytes(kind, len(content) // 8) for kind, content in source.tables)
    state = sum(_bytes(kind, max(size, 1)) for kind, _, size in source.state)
    work = [sum(_bytes(kind, max(size, 1)) for kind, _, size in fields) for fields in source.work.values()]

    # the functions share the memory of their intermediate signals
    return tables, state + max(work, default=0)


def _bytes(kind: str, number: int) -> int:
    return number * np.dtype(kind.removesuffix("_t")).itemsize


def bundle_sample(bundle: Bundle, stages: Forms = None) -> tuple[IntegerModel, dict[str, NDArray[Any]], int]:
    """The integer model of a bundle, its inputs on the sample of the bundle, and the ticks of the sample.

    `stages` are forms of user-defined stages and neurons by record name.
    """
    model = integers_of(bundle, stages)
    manifest = bundle.manifest
    quantized = bundle.numbers(None if manifest.integers is None else manifest.integers.sample)
    signals = sample_signals(manifest, quantized)

    return model, integer_inputs(model, bundle.sample_inputs(), signals, f"{bundle.path}"), manifest.sample.ticks


def _struct(name: str, lines: list[str]) -> list[str]:
    # C99 has no struct without members
    return ["typedef struct {", *indent(lines or ["char none;"]), f"}} {name};"]


def _field(kind: str, name: str, size: int) -> str:
    return f"{kind} {name}[{size}];" if size else f"{kind} {name};"


def header_lines(prefix: str, network: NetworkWriter) -> list[str]:
    """The lines of the header."""
    guard = f"{prefix.upper()}_H"
    scales = [
        f"#define {prefix.upper()}_{port.field.upper()}_SCALE {port.scale!r}"
        for port in (*network.inputs, *network.outputs)
        if port.scale is not None
    ]

    return [
        f"/* {prefix}: the integer model of a hybrid network, written by spikebridge. One step is one base tick of",
        f"   {network.model.record.dt:g} s. A real value is its integer times the SCALE. */",
        f"#ifndef {guard}",
        f"#define {guard}",
        "",
        "#include <stdint.h>",
        "",
        *("#ifdef __cplusplus", 'extern "C" {', "#endif", ""),
        *scales,
        "",
        *_integer_function(prefix, network),
        "",
        *_struct(f"{prefix}_input", [line for port in network.inputs for line in _port_fields(port)]),
        "",
        *_struct(f"{prefix}_output", [line for port in network.outputs for line in _output_fields(port)]),
        "",
        "/* The state of one stream. Its memory is the caller's; a copy is a snapshot. */",
        *_struct(f"{prefix}_state", _state_fields(network)),
        "",
        "/* Before the first tick. The stream is the number from which random discretizers draw. */",
        f"void {prefix}_start({prefix}_state *s, uint32_t stream);",
        "",
        "/* One base tick. An input is read at the ticks of its clock alone, and clipped to the range of the model. */",
        f"void {prefix}_step({prefix}_state *s, const {prefix}_input *in, {prefix}_output *out);",
        *[line for port in _on_demand(network) for line in ("", _DEMAND, f"{_demand(prefix, port)};")],
        "",
        *("#ifdef __cplusplus", "}", "#endif", ""),
        "#endif",
    ]


def _integer_function(prefix: str, network: NetworkWriter) -> list[str]:
    """The integers of real values, as the model's `quantize` makes them."""
    upper = prefix.upper()
    macros = []
    for port in network.inputs:
        if port.scale is not None:
            name = f"{upper}_{port.field.upper()}"
            limits = f"{port.signal.low}, {port.signal.high}"
            macros.append(f"#define {name}_INTEGER(x) {prefix}_integer((x), {name}_SCALE, {limits})")

    return [
        f"#ifndef {upper}_WITHOUT_FLOATS",
        "/* The integer of a real input: the nearest, halves upwards, inside the range of the model. */",
        f"static inline int32_t {prefix}_integer(double x, double scale, int32_t low, int32_t high) {{",
        *indent(
            [
                "const double q = x / scale + 0.5;",
                "if (!(q >= low)) return low;",
                "if (q >= high) return high;",
                "return (int32_t)q - ((int32_t)q > q);",
            ]
        ),
        "}",
        *macros,
        "#endif",
    ]


def _port_fields(port: Port) -> list[str]:
    signal = port.signal
    shape = " x ".join(str(size) for size in signal.shape) or "1"
    ticks = f"every {port.clock.period} ticks from {port.clock.phase}"
    comment = f"/* {shape}, {signal.low} to {signal.high}, {ticks} */"
    return [comment, _field(signal.kind, port.field, signal.size)]


def _output_fields(port: Port) -> list[str]:
    return [*_port_fields(port), f"uint8_t {port.field}_given; /* 1 at a tick with a new value */"]


def _state_fields(network: NetworkWriter) -> list[str]:
    source = network.source
    fields = ["uint32_t stream;", *(_field(*field) for field in source.state)]
    if not source.work:
        return fields

    work: list[str] = []
    for function, signals in source.work.items():
        work += ["struct {", *indent(_field(*signal) for signal in signals), f"}} {function};"]

    return [*fields, "union {", *indent(work), "} work;"]


def body_lines(prefix: str, network: NetworkWriter) -> list[str]:
    """The lines of the C file."""
    source = network.source
    functions = [line for name in C_FUNCTIONS if name in source.calls for line in ("", *C_FUNCTIONS[name])]
    tables = [line for table in source.tables.values() for line in table]

    return [
        f'#include "{prefix}.h"',
        "",
        "#include <string.h>",
        "",
        "/* a negative integer is shifted with its sign, as by every common compiler */",
        "typedef char shifts_keep_the_sign[(-1 >> 1) == -1 ? 1 : -1];",
        *functions,
        "",
        *tables,
        *source.functions,
        "",
        f"void {prefix}_start({prefix}_state *s, uint32_t stream) {{",
        *indent(["memset(s, 0, sizeof *s);", "s->stream = stream;", *source.starts]),
        "}",
        "",
        f"void {prefix}_step({prefix}_state *s, const {prefix}_input *in, {prefix}_output *out) {{",
        *indent(["(void)in;", *network.lines]),
        "}",
        *[
            line
            for port in _on_demand(network)
            for line in ("", f"{_demand(prefix, port)} {{", *indent(network.demands[port.name]), "}")
        ],
    ]


_DEMAND = "/* 1 if the next step reads this input, or may: it is read by parts alone that may be asleep. */"


def _on_demand(network: NetworkWriter) -> list[Port]:
    return [port for port in network.inputs if port.name in network.demands]


def _demand(prefix: str, port: Port) -> str:
    return f"int {prefix}_needs_{port.field}(const {prefix}_state *s)"


def _check(
    prefix: str,
    network: NetworkWriter,
    inputs: Mapping[str, NDArray[Any]],
    expected: Mapping[str, list[NDArray[Any]]],
    ticks: int,
) -> list[str]:
    """A program that runs the sample and counts the outputs that differ from those of the integer model."""
    tables: list[str] = []
    feeds: list[str] = []
    compares: list[str] = []
    ends: list[str] = []

    for number, port in enumerate(network.inputs):
        tables += _input_table(number, port, inputs[port.name])
        asked = f"{prefix}_needs_{port.field}(&s)" if port.name in network.demands else None
        feeds.append(_feed(number, port, asked))

    for number, port in enumerate(network.outputs):
        values = expected.get(port.name, [])
        flat = np.concatenate(values) if values else np.zeros(port.signal.size, np.int64)
        tables += array_definition(port.signal.kind, f"out_{number}", flat)
        compares += _compare(number, port, len(values))
        ends.append(f"differ += at_{number} != {len(values)};")

    counts = [f"at_{number} = 0;" for number in range(len(network.outputs))]
    total = " + ".join(f"at_{n} * {port.signal.size}" for n, port in enumerate(network.outputs)) or "0"
    tick_loop = [
        f"for (long tick = 0; tick < {ticks}; tick++) {{",
        *indent([*feeds, f"{prefix}_step(&s, &in, &out);", *compares]),
        "}",
    ]
    main = [
        f"static {prefix}_state s;",
        f"static {prefix}_input in;",
        f"static {prefix}_output out;",
        "long differ = 0;",
        *(f"long {count}" for count in counts),
        *for_loop("REPEATS", [*counts, f"{prefix}_start(&s, 0);", *tick_loop, *ends], "repeat"),
        f'printf("{ticks} ticks, %ld values, %ld differ\\n", {total}, differ);',
        "return differ != 0;",
    ]

    return [
        *(f'#include "{prefix}.h"', "", "#include <stdio.h>", "#include <string.h>", ""),
        *("#ifndef REPEATS", "#define REPEATS 1 /* more of them to measure the time */", "#endif", ""),
        *tables,
        "",
        "int main(void) {",
        *indent(main),
        "}",
    ]


def _input_table(number: int, port: Port, values: NDArray[Any]) -> list[str]:
    integers = np.asarray(values[:, 0], np.int64)
    if port.scale is not None:
        # the type of the table holds the range of the input alone
        integers = np.clip(integers, port.signal.low, port.signal.high)
    return array_definition(port.signal.kind, f"in_{number}", integers)


def _feed(number: int, port: Port, asked: str | None) -> str:
    clock = port.clock
    fires = asked or f"tick >= {clock.phase} && (tick - {clock.phase}) % {clock.period} == 0"
    offset = f"(tick - {clock.phase}) / {clock.period} * {port.signal.size}"
    return f"if ({fires}) memcpy(in.{port.field}, in_{number} + {offset}, sizeof in.{port.field});"


def _compare(number: int, port: Port, num_values: int) -> list[str]:
    size = port.signal.size
    difference = f"differ += out.{port.field}[j] != out_{number}[at_{number} * {size} + j];"
    body = [
        f"differ += at_{number} >= {num_values};",
        f"for (int j = 0; at_{number} < {num_values} && j < {size}; j++) {difference}",
        f"at_{number}++;",
    ]
    return [f"if (out.{port.field}_given) {{", *indent(body), "}"]
