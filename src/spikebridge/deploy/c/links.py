"""Links of the integer model in C: a unit, the way of its values, and what the target reads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from spikebridge.deploy.bundle.manifest import ClockRecord
from spikebridge.deploy.c.neurons import Acting
from spikebridge.deploy.c.source import CArray, CSource, copied, indented, loop, row, when
from spikebridge.deploy.c.units import UnitOutput, UnitWriter
from spikebridge.deploy.integer.records import IntegerLinkRecord
from spikebridge.deploy.runtime.links import LinkRunner
from spikebridge.deploy.runtime.units import UnitRunner
from spikebridge.errors import ExportError

_MOST_WAITING = 1 << 16
_Fires = Callable[[ClockRecord], str]


@dataclass(frozen=True)
class Around:
    """What a link sees of its network.

    Attributes:
        source: the file.
        state: the C type of the state.
        fires: the condition that a clock has a sample at this tick.
        clock: of an input or a part.
        masks: C names of the flags of inputs that are masks.
    """

    source: CSource
    state: str
    fires: _Fires
    clock: Callable[[str], ClockRecord]
    masks: Mapping[str, str]


class Brings(NamedTuple):
    """The shape of a value of a link, and how many values a call of its unit gives."""

    shape: tuple[int, ...]
    number: int


class LinkWriter:
    """Writes one link.

    Args:
        around: the network.
        record: the link in words.
        runner: the link in numpy.
        numbers: its integers, by stage.
        known: what it brings, from an earlier writing: a loop reads what is written later.

    Attributes:
        value: what the target reads.
        brings: shape and number of what a call gives, once the link is written.
    """

    def __init__(
        self,
        around: Around,
        record: IntegerLinkRecord,
        runner: LinkRunner,
        numbers: Mapping[str, Any],
        known: Brings | None,
    ) -> None:
        self.around = around
        self.record = record
        self.runner = runner
        self.numbers = numbers
        self.name = around.source.function(f"link_{record.name}")
        self.initial = numbers.get("link", {}).get("initial")
        self.known = known or Brings((1,) if self.initial is None else tuple(np.shape(self.initial)), 1)
        self.value: CArray | None = None
        self.brings: Brings | None = None
        self.flag = self._flag()
        self._queue: tuple[CArray, str, str, int] | None = None

    def begin(self) -> None:
        """What the target reads, for a link whose source is written later."""
        grid = self.record.gives
        value = self._value(CArray("", self.known.shape, grid.low, grid.high))
        self._queue = self._queued(value, self.known.number)

    def make(self, x: CArray, context: CArray | None) -> list[str]:
        """The unit and the way of its values: lines of the step function.

        Args:
            x: the source.
            context: the signal beside it.

        Raises:
            ExportError: a stage without a C form.
        """
        record = self.record
        around = self.around
        fires = around.fires(around.clock(record.source))
        lines = []
        kept = None

        if context is not None:
            kept = around.source.remembered(f"{self.name}_context", context.shape, context.low, context.high)
            lines += when(around.fires(around.clock(str(record.context))), copied(context.code, kept.code, kept.size))

        starts, more, reset = self._starts()
        lines += more
        unit = self.runner.unit
        if record.unit is None:
            made = UnitOutput([], x, 1, [])
        elif isinstance(unit, UnitRunner):
            if unit.clock(around.clock(record.source)) != record.emits:
                raise ExportError(f"link {record.name!r} emits at other ticks than its unit gives values")
            made = UnitWriter(around.source, self.name, record.unit, unit, self.numbers).write(x, "starts", kept)
        else:
            raise ExportError(f"link {record.name!r} has a unit without a C form")

        self.brings = Brings(made.values.shape, made.number)
        if self._passes():
            self.value = x
            return lines

        body = [*made.lines, *self._deliver(made), *made.after]
        arguments = f"{around.state} *s"
        given = "s"
        if starts is not None:
            arguments = f"{arguments}, int starts"
            given = f"s, {starts}"
            body = [*([] if any("(starts)" in line for line in body) else ["(void)starts;"]), *body]

        around.source.functions += ["", f"static void {self.name}({arguments}) {{", *indented(body), "}"]
        return [*lines, *when(fires, [f"{self.name}({given});", *reset])]

    def read(self) -> list[str]:
        """What arrives for the target at a tick: lines of the step function."""
        if self._queue is None:
            return []

        queue, first, number, most = self._queue
        value = self._value()
        arrived = [
            *copied(row(queue, first).code, value.code, value.size),
            f"{first} = ({first} + 1) % {most};",
            f"{number}--;",
            *self._flagged(),
        ]

        emits = self.record.emits
        clock = ClockRecord(emits.period, emits.phase + self.record.delay)

        return when(f"{self.around.fires(clock)} && {number} > 0", arrived)

    def acting(self) -> Acting:
        """What it does to the quantity that it modulates."""
        return Acting(self._value(), self.record.by, None if self.flag is None else f"{self.flag} != 0")

    def check(self, target: ClockRecord) -> None:
        """Refuses a sampled link that brings nothing at some tick of its target."""
        record, first = self.record, self.record.emits.phase + self.record.delay
        if record.held or record.kind == "modulation":
            return

        together = target.period % record.emits.period == 0 and (target.phase - first) % record.emits.period == 0
        if not together or (first > target.phase and self.initial is None):
            raise ExportError(f"link {record.name!r} brings nothing at some ticks of {record.target!r}")

    def _passes(self) -> bool:
        """Whether the target reads the source itself: nothing is kept between."""
        record = self.record
        sampled = record.target is not None and not record.held and record.kind == "transmission"
        return record.unit is None and sampled and record.delay == 0

    def _deliver(self, made: UnitOutput) -> list[str]:
        record = self.record
        values = made.values
        if record.target is None:
            value = self._value(values)
            last = row(values, str(made.number - 1)).code if made.number > 1 else values.code
            return [*copied(last, value.code, value.size), *self._flagged()]

        if self.value is None and record.delay == 0 and made.number == 1:
            value = self._value(values)
            return [*copied(values.code, value.code, value.size), *self._flagged()]

        value = self._value(values)
        if self._queue is None:
            self._queue = self._queued(value, made.number)
        elif self.brings == self.known and (values.low < value.low or values.high > value.high):
            raise ExportError(f"link {record.name!r} carries {values.low} to {values.high}, outside its range")

        queue, first, number, most = self._queue
        target = row(queue, f"(({first} + {number}) % {most})").code
        given = row(values).code if made.number > 1 else values.code

        return loop(made.number, [*copied(given, target, values.size), f"{number}++;"], "k")

    def _queued(self, value: CArray, number: int) -> tuple[CArray, str, str, int]:
        """Values on the way: a ring, the place of the oldest, how many there are, and how many there can be."""
        most = self.record.delay // self.record.emits.period + number + 2
        if most > _MOST_WAITING:
            raise ExportError(f"link {self.record.name!r} keeps {most} values on the way; C keeps {_MOST_WAITING}")

        source = self.around.source
        queue = source.remembered(f"{self.name}_queue", value.shape, value.low, value.high, most)

        return queue, source.number(f"{self.name}_oldest"), source.number(f"{self.name}_waiting"), most

    def _flag(self) -> str | None:
        """Whether a value has come: of what leaves the model, and of what acts only once it is there."""
        record, target = self.record, self.record.target
        leaves = target is None
        acts = record.kind == "modulation" and target is not None
        if leaves or (acts and record.emits.phase + record.delay > self.around.clock(str(target)).phase):
            return self.around.source.number(f"{self.name}_given")

        return None

    def _flagged(self) -> list[str]:
        return [] if self.flag is None else [f"{self.flag} = 1;"]

    def _value(self, like: CArray | None = None) -> CArray:
        """The newest value that arrived, which begins with the initial one."""
        if self.value is None:
            if like is None:
                raise ExportError(f"link {self.record.name!r} is read before it is written")
            self.value = self._remembered("value", like.shape, like.low, like.high)

        return self.value

    def _remembered(self, name: str, shape: tuple[int, ...], low: int, high: int) -> CArray:
        source = self.around.source
        initial = self.initial
        if initial is not None:
            low = min(low, int(np.min(initial)))
            high = max(high, int(np.max(initial)))

        value = source.remembered(f"{self.name}_{name}", shape, low, high)
        if initial is not None and np.any(initial):
            start = source.constant(np.asarray(initial), shape)
            source.starts += loop(value.size, [f"{value.code}[j] = {start};"])

        return value

    def _starts(self) -> tuple[str | None, list[str], list[str]]:
        """Whether a window of `Since` opens at a step: a flag, lines that set it, lines that clear it."""
        unit = self.runner.unit
        trigger = self.runner.trigger
        if not isinstance(unit, UnitRunner) or unit.kind != "Since" or trigger is None:
            return None, [], []

        flag = self.around.source.number(f"{self.name}_triggered")
        name, clock = trigger
        fires = self.around.fires(clock)
        if self.runner.masked:
            fires = f"{fires} && {self.around.masks[name]} != 0"

        return flag, when(fires, [f"{flag} = 1;"]), [f"{flag} = 0;"]
