"""Links of the integer model in C: a unit, the delivery of its values, and the value that the target reads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from spikebridge.deploy.bundle.manifest import ClockRecord
from spikebridge.deploy.c.arithmetic import Element
from spikebridge.deploy.c.operations import CEffect
from spikebridge.deploy.c.source import CArray, CSource, copy_loop, for_loop, if_block, indent
from spikebridge.deploy.c.units import UnitOutput, UnitWriter
from spikebridge.deploy.integer.records import IntegerLinkRecord
from spikebridge.deploy.runtime.links import LinkRunner
from spikebridge.deploy.runtime.units import UnitRunner
from spikebridge.deploy.stages.kernels import Forms
from spikebridge.errors import ExportError

_MAX_QUEUE = 1 << 16


@dataclass(frozen=True)
class LinkContext:
    """The parts of the network that a link needs."""

    source: CSource
    state: str  # the C type of the state
    fires: Callable[[ClockRecord], str]  # the condition that a clock has a sample at this tick
    clock: Callable[[str], ClockRecord]  # of an input or a part
    masks: Mapping[str, str]  # C code of the flags of inputs and parts that are masks
    forms: Forms  # of user-defined stages


class LinkOutput(NamedTuple):
    """The shape of a value of a link, and the number of values that a call of its unit gives."""

    shape: tuple[int, ...]
    number: int


class _Queue(NamedTuple):
    """Values that wait for their tick: a ring of memory, the row of the oldest, how many wait, how many can."""

    values: CArray
    oldest: str
    number: str
    rows: int


@dataclass
class LinkWriter:
    """Writes one link.

    `expected` is its output in an earlier pass, since in a loop a link is read before it is written. `value` is the
    newest value, which the target reads; None before it is known.
    """

    context: LinkContext
    record: IntegerLinkRecord
    runner: LinkRunner
    numbers: Mapping[str, Any]
    expected: LinkOutput | None

    def __post_init__(self) -> None:
        self.name = self.context.source.function_name(f"link_{self.record.name}")
        self.initial = self.numbers.get("link", {}).get("initial")
        self.value: CArray | None = None
        self.output: LinkOutput | None = None
        self.flag = self._flag()
        self.skips = self.runner.skips
        self.awake: str | None = None  # condition that the part is awake, of a wake
        if self.record.wake is not None:
            self._flags_left = self.context.source.state_number(f"{self.name}_left")
            self.awake = f"{self._flags_left} > 0"
        self._queue: _Queue | None = None

    def begin(self) -> None:
        """Reserves the memory that the target reads, where the source is written later."""
        grid = self.record.gives
        initial_shape = (1,) if self.initial is None else np.shape(self.initial)
        expected = self.expected or LinkOutput(initial_shape, 1)
        value = self._newest(CArray("", expected.shape, grid.low, grid.high))
        self._queue = self._new_queue(value, expected.number)

    def write(self, x: CArray, context: CArray | None) -> list[str]:
        """Writes the unit and the delivery of its values as a function; gives lines of the step function."""
        source = self.context.source
        fires = self.context.fires(self.context.clock(self.record.source))
        trigger = self._trigger()
        starts = "" if trigger is None else source.state_number(f"{self.name}_triggered")
        lines: list[str] = []
        newest_context = None

        if context is not None:
            newest_context = source.state_array(f"{self.name}_context", context)
            has_context = self.context.fires(self.context.clock(str(self.record.context)))
            lines += if_block(has_context, copy_loop(context, newest_context.code))

        if trigger is not None:
            # it waits for the next step of the source
            lines += if_block(self._trigger_condition(*trigger), [f"{starts} = 1;"])

        unit = self._unit_output(x, newest_context)
        self.output = LinkOutput(unit.values.shape, unit.number)
        if self._passes_on():
            self.value = x
            return lines

        last = None if self.skips is None else self._value_memory(unit.values, "last")
        delivery = self._deliver(unit) if last is None else copy_loop(unit.values, last.code)
        body = [*unit.lines, *delivery, *unit.after]
        parameters = f"{self.context.state} *s"
        arguments = "s"
        clear: list[str] = []

        if trigger is not None:
            parameters = f"{parameters}, int starts"
            arguments = f"s, {starts}"
            clear = [f"{starts} = 0;"]
            # a unit without a kernel ignores where windows start
            is_read = any("(starts)" in line for line in body)
            body = body if is_read else ["(void)starts;", *body]

        source.functions += ["", f"static void {self.name}({parameters}) {{", *indent(body), "}"]
        call = [f"{self.name}({arguments});", *clear]
        if last is not None:
            # windows do not count ticks asleep, in which the last value stands, or that for none
            none = [] if self.record.held and self.record.wake is None else self._without_value(last)
            awake = self.context.masks[str(self.skips)]
            call = [*none, *if_block(f"{awake} != 0", call), *self._deliver(UnitOutput([], last, 1))]

        return [*lines, *if_block(fires, call)]

    def read(self) -> list[str]:
        """Lines of the step function: a value whose tick has come replaces the newest one."""
        if self._queue is None:
            return []

        queue = self._queue
        oldest = queue.values.row(queue.oldest)
        arrival = [
            *copy_loop(oldest, self._newest().code),
            f"{queue.oldest} = ({queue.oldest} + 1) % {queue.rows};",
            f"{queue.number}--;",
            *self._set_flag(),
        ]

        return if_block(f"{self.context.fires(self._delivers)} && {queue.number} > 0", arrival)

    @property
    def _delivers(self) -> ClockRecord:
        """The clock of the ticks at which values arrive."""
        emits = self.record.emits
        return ClockRecord(emits.period, emits.phase + self.record.delay)

    def effect(self) -> CEffect:
        present = None if self.flag is None else Element(CArray(f"(&{self.flag})", (), 0, 1))
        return CEffect(Element(self._newest()), self.record.by, present)

    def check(self, target: ClockRecord) -> None:
        """Raises an `ExportError` for a sampled link without a value at some tick of its target."""
        record = self.record
        if record.held or record.kind == "modulation":
            return

        period = record.emits.period
        first = record.emits.phase + record.delay
        in_step = target.period % period == 0 and (target.phase - first) % period == 0
        if not in_step or (first > target.phase and self.initial is None):
            raise ExportError(f"link {record.name!r} has no value at some ticks of {record.target!r}")

    def _unit_output(self, x: CArray, context: CArray | None) -> UnitOutput:
        record = self.record
        unit = self.runner.unit
        if record.unit is None:
            return UnitOutput([], x, 1)
        if not isinstance(unit, UnitRunner):
            raise ExportError(f"link {record.name!r} has a unit without a C form")
        if self.skips is None and unit.clock(self.context.clock(record.source)) != record.emits:
            raise ExportError(f"link {record.name!r} emits at other ticks than its unit gives values")

        writer = UnitWriter(self.context.source, self.name, record.unit, unit, self.numbers, self.context.forms)
        return writer.write(x, "starts", context)

    def _passes_on(self) -> bool:
        """True if the target reads the source itself, without memory between them."""
        record = self.record
        is_sampled = record.target is not None and not record.held and record.kind == "transmission"
        return record.unit is None and is_sampled and record.delay == 0 and self.skips is None

    def _deliver(self, unit: UnitOutput) -> list[str]:
        """Lines that pass the values of a unit on: at once, or by a queue."""
        values = unit.values
        if self.record.target is None:
            # of several values in a tick, an output is the last one
            last = values.row(str(unit.number - 1)) if unit.number > 1 else values
            return [*copy_loop(last, self._newest(values).code), *self._set_flag()]

        if self.value is None and self.record.delay == 0 and unit.number == 1:
            # the value arrives in the tick in which it is computed, so that no queue is needed
            return [*copy_loop(values, self._newest(values).code), *self._set_flag()]

        newest = self._newest(values)
        if self._queue is None:
            self._queue = self._new_queue(newest, unit.number)
        elif self.output == self.expected and (values.low < newest.low or values.high > newest.high):
            # the target was written for the range of the record
            raise ExportError(f"link {self.record.name!r} carries {values.low} to {values.high}, outside its range")

        queue = self._queue
        target = queue.values.row(f"(({queue.oldest} + {queue.number}) % {queue.rows})").code
        value = values.row() if unit.number > 1 else values

        return for_loop(unit.number, [*copy_loop(value, target), f"{queue.number}++;"], "k")

    def _new_queue(self, value: CArray, number: int) -> _Queue:
        # the values of a delay, those of one more window, and one that is written before the oldest is read
        rows = self.record.delay // self.record.emits.period + number + 2
        if rows > _MAX_QUEUE:
            raise ExportError(
                f"link {self.record.name!r} has {rows} values that wait for their tick; C keeps up to {_MAX_QUEUE}"
            )

        source = self.context.source
        values = source.state_array(f"{self.name}_queue", value, rows)
        oldest = source.state_number(f"{self.name}_oldest")

        return _Queue(values, oldest, source.state_number(f"{self.name}_waiting"), rows)

    def _flag(self) -> str | None:
        """The flag that a value has come: of an output, and of a modulation that is absent at first."""
        record = self.record
        is_output = record.target is None
        is_absent_at_first = False
        if record.kind == "modulation" and record.target is not None:
            first = record.emits.phase + record.delay
            is_absent_at_first = first > self.context.clock(record.target).phase

        if is_output or is_absent_at_first:
            return self.context.source.state_number(f"{self.name}_given")

        return None

    def _set_flag(self) -> list[str]:
        if self.record.wake is None:
            return [] if self.flag is None else [f"{self.flag} = 1;"]

        return self._count_flag(self._newest(), self._flags_left)

    def _count_flag(self, value: CArray, left: str) -> list[str]:
        """Lines that count the flags to come in which the part is awake, after the values of one more."""
        wake = self.record.wake
        if wake is None:
            raise ExportError(f"link {self.record.name!r} wakes no part")

        largest = [f"if ({value.code}[j] > largest) largest = {value.code}[j];"]
        again = f"{left} = largest >= {self.record.threshold} ? {wake.num_flags} : {left} - ({left} > 0);"
        return ["{", *indent([f"int64_t largest = {value.code}[0];", *for_loop(value.size, largest), again]), "}"]

    def awake_next(self) -> list[str]:
        """Lines that return 1 if the part is awake at the next tick, or may be: a flag may be made in the tick."""
        due = self.context.fires(self._delivers)
        if self._queue is None:
            return [f"if ({due} || {self.awake}) return 1;"]

        left = f"left_{self.name}"
        oldest = self._queue.values.row(self._queue.oldest)
        arrival = [f"if ({self._queue.number} == 0) return 1;", *self._count_flag(oldest, left)]
        return [f"int32_t {left} = {self._flags_left};", *if_block(due, arrival), f"if ({left} > 0) return 1;"]

    def _newest(self, like: CArray | None = None) -> CArray:
        """Memory of the newest value that arrived; it starts with the initial value."""
        if self.value is None:
            if like is None:
                raise ExportError(f"link {self.record.name!r} is read before it is written")
            self.value = self._value_memory(like, "value")

        return self.value

    def _value_memory(self, like: CArray, name: str) -> CArray:
        source = self.context.source
        if self.initial is None:
            return source.state_array(f"{self.name}_{name}", like)

        low = min(like.low, int(np.min(self.initial)))
        high = max(like.high, int(np.max(self.initial)))
        value = source.state_array(f"{self.name}_{name}", CArray("", like.shape, low, high))
        if np.any(self.initial):
            source.starts += self._without_value(value)

        return value

    def _without_value(self, value: CArray) -> list[str]:
        """Lines that put the value before the first one into memory."""
        initial = np.zeros(1, np.int64) if self.initial is None else np.asarray(self.initial)
        start = self.context.source.constant(initial, value.shape)
        return for_loop(value.size, [f"{value.code}[j] = {start};"])

    def _trigger(self) -> tuple[str, ClockRecord] | None:
        """The signal at whose samples a window of `Since` opens, and its clock."""
        unit = self.runner.unit
        return self.runner.trigger if isinstance(unit, UnitRunner) and unit.kind == "Since" else None

    def _trigger_condition(self, name: str, clock: ClockRecord) -> str:
        fires = self.context.fires(clock)
        return f"{fires} && {self.context.masks[name]} != 0" if self.runner.masked else fires
