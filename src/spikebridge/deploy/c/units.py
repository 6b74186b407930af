"""Hybrid units of the integer model in C: window, kernel, nonlinearity, discretizer, one step of the source a call."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from spikebridge.deploy.bundle.manifest import StageRecord
from spikebridge.deploy.c.operations import ProgramWriter
from spikebridge.deploy.c.source import CArray, CSource, copied, loop, row, when
from spikebridge.deploy.c.stages import Place, written_discretizer, written_kernel
from spikebridge.deploy.integer.units import IntegerUnitRecord
from spikebridge.deploy.runtime.units import UnitRunner
from spikebridge.deploy.stages.arithmetic import MOST_STEPS
from spikebridge.errors import ExportError

_STATEFUL = ("neuron", "delay", "previous")


class UnitOutput(NamedTuple):
    """What a unit gives when a window closes.

    Attributes:
        lines: of the function; they return while a window is open.
        values: the first of them; the others follow.
        number: how many.
        after: lines behind the last use of the values.
    """

    lines: list[str]
    values: CArray
    number: int
    after: list[str]


class UnitWriter:
    """Writes one unit into a function.

    Args:
        source: the file.
        function: its name.
        record: the stages.
        runner: the same unit in numpy: when it runs and what it keeps.
        numbers: integers of the stages.
    """

    def __init__(
        self, source: CSource, function: str, record: IntegerUnitRecord, runner: UnitRunner, numbers: Mapping[str, Any]
    ) -> None:
        self.source = source
        self.name = function
        self.record = record
        self.runner = runner
        self.numbers = numbers

    def write(self, x: CArray, starts: str, context: CArray | None) -> UnitOutput:
        """Writes what happens at one step of the source.

        Args:
            x: the step.
            starts: a condition: whether a window of `Since` opens here.
            context: the newest value of the context.

        Raises:
            ExportError: a stage without a C form.
        """
        runner, length = self.runner, self.runner.length
        after: list[str] = []

        if runner.running:
            lines, rows, number = self._run(x, starts)
        elif runner.kind == "Hold":
            lines, rows, number = self._hold(x)
        elif self.record.kernel is not None and runner.stride == length:
            lines, rows, number = self._tumble(x)
        else:
            lines, rows, number, after = self._slide(x)

        alike = runner.kind == "Hold" and self.record.kernel is None
        if self.record.nonlinearity is not None:
            more, rows = self._nonlinear(rows, 1 if alike else number, context)
            lines += more

        if alike:
            held = self._scratch("held", rows, length)
            lines += loop(length, copied(rows.code, row(held).code, rows.size), "k")
            rows = held
            number = length

        if self.record.discretizer is not None:
            more, rows, number = self._discretize(self.record.discretizer, rows, number)
            lines += more

        return UnitOutput(lines, rows, number, after)

    def _run(self, x: CArray, starts: str) -> tuple[list[str], CArray, int]:
        """A running kernel gives a value at each step."""
        if self.record.kernel is None:
            return [], x, 1

        restart, lines, h = self._kernel(self.record.kernel, x)
        if self.runner.kind in ("Tumbling", "Sliding"):
            position = self.source.number(f"{self.name}_position")
            step = [f"{position} = ({position} + 1) % {self.runner.length};"]
            return [*when(f"{position} == 0", restart), *step, *lines], h, 1

        return [*(when(starts, restart) if self.runner.kind == "Since" else []), *lines], h, 1

    def _hold(self, x: CArray) -> tuple[list[str], CArray, int]:
        """A held value is a window of its own."""
        if self.record.kernel is None:
            return [], x, 1

        restart, step, h = self._kernel(self.record.kernel, x)
        kept = self._scratch("kept", h, self.runner.length)

        return (
            [*restart, *loop(self.runner.length, [*step, *copied(h.code, row(kept).code, h.size)], "k")],
            *((kept, self.runner.length) if self.runner.stages.kept else (h, 1)),
        )

    def _tumble(self, x: CArray) -> tuple[list[str], CArray, int]:
        """Windows side by side: the kernel takes each step when it comes, so none needs to wait."""
        length = self.runner.length
        kept = self.runner.stages.kept
        kernel = self.record.kernel
        if kernel is None:
            raise ExportError("a window without a kernel keeps its steps")

        restart, step, h = self._kernel(kernel, x)
        position = self.source.number(f"{self.name}_position")
        lines = [*when(f"{position} == 0", restart), *step]
        rows = h

        if kept:
            rows = self.source.remembered(f"{self.name}_kept", h.shape, h.low, h.high, length)
            lines += copied(h.code, f"({rows.code} + {position} * {h.size})", h.size)

        lines += [f"{position} = ({position} + 1) % {length};", f"if ({position} != 0) return;"]
        return lines, rows, length if kept else 1

    def _slide(self, x: CArray) -> tuple[list[str], CArray, int, list[str]]:
        """Windows that share steps, or whose steps are the values."""
        length = self.runner.length
        stride = self.runner.stride
        waiting = self.source.remembered(f"{self.name}_waiting", x.shape, x.low, x.high, length)
        number = self.source.number(f"{self.name}_filled")

        lines = [
            *copied(x.code, f"({waiting.code} + {number} * {x.size})", x.size),
            f"{number}++;",
            f"if ({number} < {length}) return;",
        ]

        rest = (length - stride) * x.size
        whole = f"{waiting.code} + {stride * x.size}"
        after = [f"{number} = {length - stride};"]
        after += [f"memmove({waiting.code}, {whole}, {rest} * sizeof *{waiting.code});"] if rest else []

        if self.record.kernel is None:
            return lines, waiting, length, after

        restart, step, h = self._kernel(self.record.kernel, row(waiting))
        if not self.runner.stages.kept:
            return [*lines, *restart, *loop(length, step, "k")], h, 1, after

        kept = self._scratch("kept", h, length)
        step = [*step, *copied(h.code, row(kept).code, h.size)]

        return [*lines, *restart, *loop(length, step, "k")], kept, length, after

    def _kernel(self, record: StageRecord, x: CArray) -> tuple[list[str], list[str], CArray]:
        """Lines that open a window, lines of a step, and what it gives."""
        steps = self.runner.length if self.runner.kind in ("Tumbling", "Sliding", "Hold") else MOST_STEPS
        return written_kernel(Place(self.source, self.name, steps), record, self.numbers.get("kernel", {}), x)

    def _nonlinear(self, rows: CArray, number: int, context: CArray | None) -> tuple[list[str], CArray]:
        record = self.record.nonlinearity
        if record is None or any(one.operation in _STATEFUL for one in record.operations):
            raise ExportError(f"{self.name}: a nonlinearity that remembers has no C form")

        own = {key.partition(":")[2]: q for key, q in self.numbers.items() if key.startswith("nonlinearity:")}
        program = ProgramWriter(self.source, self.name, record, own)
        single = number == 1
        inputs = zip(record.inputs, (rows if single else row(rows), context), strict=False)
        out = program.write({name: x for name, x in inputs if x is not None}, {})

        if single:
            return program.lines, out

        values = self._scratch("values", out, number)
        return loop(number, [*program.lines, *copied(out.code, row(values).code, out.size)], "k"), values

    def _discretize(self, record: StageRecord, rows: CArray, number: int) -> tuple[list[str], CArray, int]:
        place = Place(self.source, self.name, self.runner.length)
        return written_discretizer(place, record, self.numbers.get("discretizer", {}), rows, number)

    def _scratch(self, name: str, like: CArray, number: int) -> CArray:
        """Memory for several values."""
        return self.source.scratch(self.name, name, like.shape, like.low, like.high, number)
