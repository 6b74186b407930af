"""Hybrid units of the integer model in C: window, kernel, nonlinearity, discretizer, one step of the source a call."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from spikebridge.deploy.bundle.manifest import StageRecord
from spikebridge.deploy.c.arithmetic import CArithmetic, Element, Expression, Stack
from spikebridge.deploy.c.operations import ProgramWriter
from spikebridge.deploy.c.source import CArray, CSource, copy_loop, for_loop, if_block
from spikebridge.deploy.c.steps import Place, WrittenStep, write_function, write_step
from spikebridge.deploy.integer.units import IntegerUnitRecord, nonlinearity_numbers
from spikebridge.deploy.runtime.units import UnitRunner
from spikebridge.deploy.stages.arithmetic import MAX_STEPS
from spikebridge.deploy.stages.discretizers import INTEGER_DISCRETIZERS, DiscretizerForm
from spikebridge.deploy.stages.kernels import KERNELS, Forms, with_user_forms
from spikebridge.errors import ExportError

_STATEFUL = ("neuron", "delay", "previous")
# a discretizer whose integers are a table has the record name of the table
_DISCRETIZERS = {name: form for name, form in INTEGER_DISCRETIZERS.items() if form.integer != "table"}


class UnitOutput(NamedTuple):
    """The values of a unit when a window closes: the first of them; the others follow it in memory."""

    lines: list[str]  # they return while a window is open
    values: CArray
    number: int
    after: tuple[str, ...] = ()  # lines after the last use of the values


@dataclass
class UnitWriter:
    """Writes one unit into a C function; the runner in numpy knows when it gives values and what it keeps."""

    source: CSource
    function: str
    record: IntegerUnitRecord
    runner: UnitRunner
    numbers: Mapping[str, Any]
    forms: Forms = None

    def write(self, x: CArray, starts: str, context: CArray | None) -> UnitOutput:
        """Writes one step of the source; `starts` is the condition that a window of `Since` opens."""
        runner = self.runner
        kernel = self.record.kernel
        if runner.kind == "Hold" and kernel is None:
            # the steps of a held value are one value, computed once
            output = self._repeated(self._nonlinear(UnitOutput([], x, 1), context))
        elif runner.running:
            output = self._nonlinear(self._run(x, starts), context)
        elif kernel is not None and runner.kind == "Hold":
            output = self._nonlinear(self._window_of(kernel, x), context)
        elif kernel is not None and runner.stride == runner.length:
            output = self._nonlinear(self._tumble(kernel, x), context)
        else:
            output = self._nonlinear(self._slide(x), context)

        return output if self.record.discretizer is None else self._discretize(self.record.discretizer, output)

    def _repeated(self, output: UnitOutput) -> UnitOutput:
        length = self.runner.length
        held = self._work_array("held", output.values, length)
        copies = for_loop(length, copy_loop(output.values, held.row().code), "k")
        return UnitOutput([*output.lines, *copies], held, length)

    def _run(self, x: CArray, starts: str) -> UnitOutput:
        """A running kernel gives a value at each step."""
        if self.record.kernel is None:
            return UnitOutput([], x, 1)

        step = self._kernel(self.record.kernel, x)
        if self.runner.kind in ("Tumbling", "Sliding"):
            position = self.source.state_number(f"{self.function}_position")
            opens = if_block(f"{position} == 0", step.restart)
            count = f"{position} = ({position} + 1) % {self.runner.length};"
            return UnitOutput([*opens, count, *step.lines], step.out, 1)

        opens = if_block(starts, step.restart) if self.runner.kind == "Since" else []
        return UnitOutput([*opens, *step.lines], step.out, 1)

    def _tumble(self, kernel: StageRecord, x: CArray) -> UnitOutput:
        # windows side by side: the kernel takes each step when it comes, so that no step has to wait
        length = self.runner.length
        step = self._kernel(kernel, x)
        position = self.source.state_number(f"{self.function}_position")
        lines = [*if_block(f"{position} == 0", step.restart), *step.lines]
        values = step.out

        if self.runner.stages.kept:
            # the values wait until the window closes, over several calls
            values = self.source.state_array(f"{self.function}_kept", step.out, length)
            lines += copy_loop(step.out, values.row(position).code)

        lines += [f"{position} = ({position} + 1) % {length};", f"if ({position} != 0) return;"]
        return UnitOutput(lines, values, length if self.runner.stages.kept else 1)

    def _slide(self, x: CArray) -> UnitOutput:
        # windows share steps, or the steps are the values: the steps wait until the window closes
        length = self.runner.length
        shared = length - self.runner.stride
        waiting = self.source.state_array(f"{self.function}_waiting", x, length)
        number = self.source.state_number(f"{self.function}_filled")
        lines = [
            *copy_loop(x, waiting.row(number).code),
            f"{number}++;",
            f"if ({number} < {length}) return;",
        ]

        after = [f"{number} = {shared};"]
        if shared * x.size:
            rest = waiting.row(str(self.runner.stride)).code
            after.append(f"memmove({waiting.code}, {rest}, {shared * x.size} * sizeof *{waiting.code});")

        output = UnitOutput([], waiting, length)
        if self.record.kernel is not None:
            output = self._window_of(self.record.kernel, waiting.row())

        return output._replace(lines=[*lines, *output.lines], after=tuple(after))

    def _window_of(self, kernel: StageRecord, x: CArray) -> UnitOutput:
        """A kernel over all steps of a window at once; `x` is step `k`."""
        length = self.runner.length
        step = self._kernel(kernel, x)
        if not self.runner.stages.kept:
            return UnitOutput([*step.restart, *for_loop(length, step.lines, "k")], step.out, 1)

        values = self._work_array("kept", step.out, length)
        body = [*step.lines, *copy_loop(step.out, values.row().code)]

        return UnitOutput([*step.restart, *for_loop(length, body, "k")], values, length)

    def _kernel(self, record: StageRecord, x: CArray) -> WrittenStep:
        forms = with_user_forms(KERNELS, self.forms)
        form = forms.get(record.name)
        if form is None:
            known = ", ".join(forms)
            raise ExportError(f"{self.function}: the kernel {record.name!r} has no C form; known are {known}")

        # a window of `Since` has no length
        is_counted = self.runner.kind in ("Tumbling", "Sliding", "Hold")
        steps = min(self.runner.length, MAX_STEPS) if is_counted else MAX_STEPS
        a = CArithmetic(record.settings, self.numbers.get("kernel", {}), steps)
        signal = Element(x)

        def step(carry: Any) -> tuple[Expression, Any]:
            h, carry = form.step(a, signal, carry)
            return a.clip_output(h), carry

        place = Place(self.source, self.function, f"{self.function}_kernel")
        written = write_step(place, form.start(a, signal), step, lambda h: self._work_array("h", h.like))
        return written._replace(lines=[*self.source.count("macs", str(x.size)), *written.lines])

    def _nonlinear(self, output: UnitOutput, context: CArray | None) -> UnitOutput:
        record = self.record.nonlinearity
        if record is None:
            return output
        if any(operation.operation in _STATEFUL for operation in record.operations):
            raise ExportError(f"{self.function}: a nonlinearity with a state has no C form")

        program = ProgramWriter(self.source, self.function, record, nonlinearity_numbers(self.numbers))
        # a single value needs no loop, and its output is the value of the unit
        is_single = output.number == 1
        signals = zip(record.inputs, (output.values if is_single else output.values.row(), context), strict=False)
        out = program.write({name: x for name, x in signals if x is not None}, {})
        if is_single:
            return output._replace(lines=[*output.lines, *program.lines], values=out)

        values = self._work_array("values", out, output.number)
        body = [*program.lines, *copy_loop(out, values.row().code)]

        return output._replace(lines=[*output.lines, *for_loop(output.number, body, "k")], values=values)

    def _discretize(self, record: StageRecord, output: UnitOutput) -> UnitOutput:
        forms = with_user_forms(_DISCRETIZERS, self.forms)
        form = forms.get(record.name)
        if form is None:
            known = ", ".join(forms)
            raise ExportError(f"{self.function}: the discretizer {record.name!r} has no C form; known are {known}")

        a = CArithmetic(record.settings, self.numbers.get("discretizer", {}))
        place = Place(self.source, self.function, f"{self.function}_{record.name.lower()}")
        if form.kind == "steps":
            return self._discretize_each(form, a, place, output)

        outputs, _ = form.run(a, Stack.of(output.values, output.number), self.runner.length, None)
        if isinstance(outputs, Stack):
            # one value gives several, the entries of a row of the table
            number = len(outputs)
            values = self._work_array("outputs", outputs.element.like, number)
            lines = for_loop(number, write_function(place, outputs.element, values.row()), "k")
        else:
            number = 1
            values = self._work_array("outputs", outputs[0].like)
            lines = write_function(place, outputs[0], values)

        return UnitOutput([*output.lines, *lines], values, number, output.after)

    def _discretize_each(self, form: DiscretizerForm, a: CArithmetic, place: Place, output: UnitOutput) -> UnitOutput:
        value = Element(output.values.row())
        outputs: list[CArray] = []

        def step(state: Any) -> tuple[Expression, Any]:
            (y,), state = form.run(a, [value], 1, state)
            return y, state

        def target(y: Expression) -> CArray:
            # the range of the output is known when the ranges of the state are
            outputs.append(self._work_array("outputs", y.like, output.number))
            return outputs[0].row()

        start = None if form.start is None else form.start(a, value)
        written = write_step(place, start, step, target)
        lines = for_loop(output.number, written.lines, "k")

        return output._replace(lines=[*output.lines, *lines], values=outputs[0])

    def _work_array(self, name: str, like: CArray, rows: int = 1) -> CArray:
        return self.source.work_array(self.function, name, like, rows)
