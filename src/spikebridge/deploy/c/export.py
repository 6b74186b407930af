"""An integer model as a folder of C99 files.

    write_c(model, inputs, ticks=24, folder=Path("digits_c"))

| file | content |
|---|---|
| `NAME.h` | types of inputs, outputs and state, scales, `NAME_start`, `NAME_step` |
| `NAME.c` | weights as tables, one function a part and a unit, the step of one base tick |
| `check.c` | a sample with the outputs of the integer model; a program that compares them |

The files need `stdint.h` and `string.h` alone. There is no allocation and no float; a state is a struct of the caller.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikebridge.data.io.atomic import atomic_folder, write_text
from spikebridge.deploy.bundle.bundle import Bundle
from spikebridge.deploy.c.links import Brings
from spikebridge.deploy.c.network import Border, NetworkWriter
from spikebridge.deploy.c.source import HELPERS, as_array, c_name, indented, loop
from spikebridge.deploy.integer.bundle import integer_inputs, integers_of, sample_signals
from spikebridge.deploy.integer.model import IntegerModel
from spikebridge.errors import ExportError

_CHECK = "check.c"


@dataclass(frozen=True)
class WrittenC:
    """What was written.

    Attributes:
        folder: of the files.
        name: the prefix of all names in C.
        table_bytes: of all tables.
        state_bytes: of one stream, without padding.
    """

    folder: Path
    name: str
    table_bytes: int
    state_bytes: int

    @property
    def command(self) -> str:
        """How the sample is checked."""
        return f"cc -std=c99 -O2 {self.name}.c check.c -o check && ./check"


def write_c(
    model: IntegerModel, inputs: Mapping[str, NDArray[Any]], ticks: int, folder: Path, name: str | None = None
) -> WrittenC:
    """Writes a model as C99, whole or not at all.

    Args:
        model: the integer model.
        inputs: integers `(T, B, *N)` each; stream 0 becomes the sample of the check, its shapes are those of the model.
        ticks: base ticks of the sample.
        folder: a new one.
        name: prefix of all names in C; the name of the folder without one.

    Raises:
        ExportError: the folder is there already, or an operation or a stage has no C form.
        ShapeError: inputs that do not fit the model.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from spikebridge.deploy import integer_model, quantize
        >>> from spikebridge.neurons import IF
        >>> signal = {"signal": torch.ones(3, 1, 1)}
        >>> model = integer_model(quantize(IF(v_threshold=2.0), signal), signal)
        >>> folder = Path(tempfile.mkdtemp()) / "counter"
        >>> written = write_c(model, {"signal": np.ones((3, 1, 1), int)}, 3, folder)
        >>> sorted(file.name for file in written.folder.iterdir())
        ['check.c', 'counter.c', 'counter.h']
    """
    if folder.exists():
        raise ExportError(f"{folder} is there already; name another folder or remove it first")

    own = c_name(name or folder.resolve().stem, set())
    one = {key: np.asarray(x)[:, :1] for key, x in inputs.items()}
    recorded = _recorded(model, one, ticks)
    shapes = {key: x.shape[2:] for key, x in one.items()}
    known: dict[str, Brings] = {}

    for _ in range(2):  # a loop reads what is written later: the second time all shapes are known
        network = NetworkWriter(model, shapes, f"{own}_state", known)
        known = network.write()

    with atomic_folder(folder) as draft:
        write_text(draft / f"{own}.h", "\n".join(_header(own, network)) + "\n")
        write_text(draft / f"{own}.c", "\n".join(_body(own, network)) + "\n")
        write_text(draft / _CHECK, "\n".join(_check(own, network, one, recorded, ticks)) + "\n")

    tables = sum(_bytes(kind, len(content) // 8) for kind, content in network.source.tables)
    fields = [network.source.state, *network.source.work.values()]
    state, *work = [sum(_bytes(kind, max(size, 1)) for kind, _, size in several) for several in fields]

    return WrittenC(folder, own, tables, state + max(work, default=0))


def _bytes(kind: str, number: int) -> int:
    """Of several integers of a C type."""
    return number * np.dtype(kind.removesuffix("_t")).itemsize


def bundle_sample(bundle: Bundle) -> tuple[IntegerModel, dict[str, NDArray[Any]], int]:
    """The integer model of a bundle, its inputs on the sample of the bundle, and the ticks of the sample.

    Args:
        bundle: with an integer model.

    Raises:
        DataError: there is none, it is damaged, or the sample lacks something that it takes.
    """
    model = integers_of(bundle)
    manifest = bundle.manifest
    sample = bundle.numbers(manifest.sample.file)
    inputs = {name: sample[f"inputs.{name}"] for name in manifest.inputs}
    known = sample_signals(
        manifest, bundle.numbers(manifest.integers.sample if manifest.integers is not None else None)
    )

    return model, integer_inputs(model, inputs, known, f"{bundle.path}"), manifest.sample.ticks


def _recorded(model: IntegerModel, inputs: Mapping[str, NDArray[Any]], ticks: int) -> dict[str, list[NDArray[Any]]]:
    """What the integer model gives on the sample, by output."""
    given: dict[str, list[NDArray[Any]]] = {}
    for name, values in model.run(inputs, ticks).items():
        given[name] = [value[0].ravel() for value in values]

    return given


def _struct(name: str, lines: list[str]) -> list[str]:
    # a struct without members is none of C99
    return ["typedef struct {", *indented(lines or ["char none;"]), f"}} {name};"]


def _field(kind: str, name: str, size: int) -> str:
    return f"{kind} {name}[{size}];" if size else f"{kind} {name};"


def _header(own: str, network: NetworkWriter) -> list[str]:
    """Types and functions."""
    guard = f"{own.upper()}_H"
    lines = [
        f"/* {own}: the integer model of a hybrid network, written by spikebridge. One step is one base tick of",
        f"   {network.model.record.dt:g} s. A real value is its integer times the SCALE. */",
        f"#ifndef {guard}",
        f"#define {guard}",
        "",
        "#include <stdint.h>",
        "",
    ]

    for kind, several in (("input", network.inputs), ("output", network.outputs)):
        fields = []
        for one in several:
            if one.scale is not None:
                lines.append(f"#define {own.upper()}_{one.field.upper()}_SCALE {one.scale!r}")
            fields += [_about(one), _field(one.signal.kind, one.field, one.signal.size)]
            fields += [f"uint8_t {one.field}_given; /* 1 at a tick with a new value */"] if kind == "output" else []

        lines += ["", *_struct(f"{own}_{kind}", fields), ""]

    source = network.source
    work = [
        line
        for name, fields in source.work.items()
        for line in ("struct {", *indented(_field(*one) for one in fields), f"}} {name};")
    ]

    state = ["uint32_t stream;", *(_field(*one) for one in source.state)]
    state += ["union {", *indented(work), "} work;"] if work else []

    return [
        *lines,
        "/* All that a stream remembers. Its memory is the caller's; a copy is a snapshot. */",
        *_struct(f"{own}_state", state),
        "",
        "/* Before the first tick. The stream is the number from which random discretizers draw. */",
        f"void {own}_start({own}_state *s, uint32_t stream);",
        "",
        "/* One base tick. An input is read at the ticks of its clock alone, and clipped to what the model takes. */",
        f"void {own}_step({own}_state *s, const {own}_input *in, {own}_output *out);",
        "",
        "#endif",
    ]


def _about(one: Border) -> str:
    shape = " x ".join(str(size) for size in one.signal.shape) or "1"
    when = f"every {one.clock.period} ticks from {one.clock.phase}"
    return f"/* {shape}, {one.signal.low} to {one.signal.high}, {when} */"


def _body(own: str, network: NetworkWriter) -> list[str]:
    """Tables, functions, start and step."""
    source = network.source
    helpers = [line for name in HELPERS if name in source.used for line in ("", *HELPERS[name])]
    tables = [line for table in source.tables.values() for line in table]

    return [
        f'#include "{own}.h"',
        "",
        "#include <string.h>",
        "",
        "/* a negative integer is shifted with its sign, as by every common compiler */",
        "typedef char shifts_keep_the_sign[(-1 >> 1) == -1 ? 1 : -1];",
        *helpers,
        "",
        *tables,
        *source.functions,
        "",
        f"void {own}_start({own}_state *s, uint32_t stream) {{",
        *indented(["memset(s, 0, sizeof *s);", "s->stream = stream;", *source.starts]),
        "}",
        "",
        f"void {own}_step({own}_state *s, const {own}_input *in, {own}_output *out) {{",
        *indented(["(void)in;", *network.lines]),
        "}",
    ]


def _check(
    own: str,
    network: NetworkWriter,
    inputs: Mapping[str, NDArray[Any]],
    recorded: Mapping[str, list[NDArray[Any]]],
    ticks: int,
) -> list[str]:
    """A program that runs the sample and counts the outputs that differ from those of the integer model."""
    tables: list[str] = []
    before = []
    after = []

    for number, one in enumerate(network.inputs):
        values = np.asarray(inputs[one.name][:, 0], np.int64)
        if one.scale is not None:
            values = np.clip(values, one.signal.low, one.signal.high)
        tables += as_array(one.signal.kind, f"in_{number}", values)
        size = one.signal.size
        tick = f"tick >= {one.clock.phase} && (tick - {one.clock.phase}) % {one.clock.period} == 0"
        place = f"(tick - {one.clock.phase}) / {one.clock.period} * {size}"
        before.append(f"if ({tick}) memcpy(in.{one.field}, in_{number} + {place}, sizeof in.{one.field});")

    for number, one in enumerate(network.outputs):
        rows = recorded.get(one.name, [])
        whole = np.concatenate(rows) if rows else np.zeros(one.signal.size, np.int64)
        tables += as_array(one.signal.kind, f"out_{number}", whole)
        body = [f"differ += at_{number} >= {len(rows)};"]
        compare = f"differ += out.{one.field}[j] != out_{number}[at_{number} * {one.signal.size} + j];"
        body += [f"for (int j = 0; at_{number} < {len(rows)} && j < {one.signal.size}; j++) {compare}"]
        after += [f"if (out.{one.field}_given) {{", *indented([*body, f"at_{number}++;"]), "}"]

    counts = [f"at_{number} = 0;" for number in range(len(network.outputs))]
    ends = [f"differ += at_{n} != {len(recorded.get(one.name, []))};" for n, one in enumerate(network.outputs)]
    total = " + ".join(f"at_{n} * {one.signal.size}" for n, one in enumerate(network.outputs)) or "0"

    run = [
        *counts,
        f"{own}_start(&s, 0);",
        f"for (long tick = 0; tick < {ticks}; tick++) {{",
        *indented([*before, f"{own}_step(&s, &in, &out);", *after]),
        "}",
        *ends,
    ]

    main = [
        f"static {own}_state s;",
        f"static {own}_input in;",
        f"static {own}_output out;",
        "long differ = 0;",
        *(f"long {count}" for count in counts),
        *loop("REPEATS", run, "repeat"),
        f'printf("{ticks} ticks, %ld values, %ld differ\\n", {total}, differ);',
        "return differ != 0;",
    ]

    head = [f'#include "{own}.h"', "", "#include <stdio.h>", "#include <string.h>", ""]
    head += ["#ifndef REPEATS", "#define REPEATS 1 /* more of them to measure the time */", "#endif", ""]

    return [*head, *tables, "", "int main(void) {", *indented(main), "}"]
