"""The network of an integer model in C: clocks, parts and links, and the lines of one base tick.

The rules of time are those of `TickRunner`; what is known before the first tick is decided here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spikebridge.deploy.bundle.manifest import ClockRecord
from spikebridge.deploy.c.links import Around, Brings, LinkWriter
from spikebridge.deploy.c.neurons import Acting
from spikebridge.deploy.c.operations import ProgramWriter
from spikebridge.deploy.c.source import CArray, CSource, c_name, copied, indented, loop, when
from spikebridge.deploy.integer.model import IntegerModel, numbers_below
from spikebridge.deploy.integer.records import IntegerLinkRecord
from spikebridge.errors import ExportError, ShapeError


@dataclass(frozen=True)
class Border:
    """What enters or leaves the model.

    Attributes:
        name: in the model.
        field: in the C struct.
        signal: its integers.
        clock: when it comes, in base ticks.
        scale: of one integer; None for a mask.
    """

    name: str
    field: str
    signal: CArray
    clock: ClockRecord
    scale: float | None


class NetworkWriter:
    """Writes all functions of a model.

    Args:
        model: the integer model.
        shapes: of one step of each input, of one stream.
        state: the C type of the state.
        known: what links bring, from an earlier writing: a loop reads what is written later.

    Attributes:
        source: the file.
        inputs: what enters.
        outputs: what leaves.
        lines: of the step function.
    """

    def __init__(
        self,
        model: IntegerModel,
        shapes: Mapping[str, tuple[int, ...]],
        state: str,
        known: Mapping[str, Brings],
    ) -> None:
        self.model = model
        self.shapes = shapes
        self.state = state
        self.known = known
        self.source = CSource()
        self.inputs: list[Border] = []
        self.outputs: list[Border] = []
        self.lines: list[str] = []
        self._signals: dict[str, CArray] = {}
        self._clocks: dict[ClockRecord, str] = {}
        self._masks: dict[str, str] = {}
        self._links: dict[str, LinkWriter] = {}

    def write(self) -> dict[str, Brings]:
        """Writes everything.

        Returns:
            What the links bring.

        Raises:
            ExportError: what has no C form.
            ShapeError: an input without a shape.
        """
        record = self.model.record
        delayed = []
        self._enter()
        done = set(record.inputs)

        for part in record.order:
            for link in record.incoming(part):
                if link.delay and not done.issuperset(self.model.links[link.name].sources):
                    delayed.append(link)
                    self._link(link).begin()
                else:
                    self._make(link)

            self._fire(part)
            done.add(part)

        for link in (*delayed, *record.incoming(None)):
            self._make(link)

        self._leave()
        self.lines += ["", "/* each clock counts down to its next sample */"]
        for clock, name in self._clocks.items():
            self.lines.append(f"{name} = {name} == 0 ? {clock.period - 1} : {name} - 1;")

        return {name: link.brings for name, link in self._links.items() if link.brings is not None}

    def fires(self, clock: ClockRecord) -> str:
        """The condition that a clock has a sample at this tick."""
        if clock not in self._clocks:
            self._clocks[clock] = self.source.number(f"until_{clock.period}_{clock.phase}", "uint32_t")
            if clock.phase:
                self.source.starts.append(f"{self._clocks[clock]} = {clock.phase};")

        return f"{self._clocks[clock]} == 0"

    def _enter(self) -> None:
        """Inputs are clipped to what the model takes."""
        taken: set[str] = set()
        for name, record in self.model.record.inputs.items():
            if name not in self.shapes:
                raise ShapeError(f"input {name!r} is missing; the shape of its samples is needed")

            own = c_name(name, taken)
            grid = record.grid
            if grid is None:
                self.inputs.append(Border(name, own, CArray(f"in->{own}", (1,), 0, 1), record.clock, None))
                self._masks[name] = f"in->{own}[0]"
                continue

            given = CArray(f"in->{own}", self.shapes[name], grid.low, grid.high)
            kept = self.source.remembered(f"in_{name}", given.shape, grid.low, grid.high)
            clipped = self.source.call("clip", f"{given.code}[j]", str(grid.low), str(grid.high))
            self.lines += when(self.fires(record.clock), loop(kept.size, [f"{kept.code}[j] = {clipped};"]))
            self.inputs.append(Border(name, own, given, record.clock, grid.scale))
            self._signals[name] = kept

    def _signal(self, name: str) -> CArray:
        if name not in self._signals:
            raise ExportError(f"the mask {name!r} is read as a signal, which has no C form")
        return self._signals[name]

    def _link(self, record: IntegerLinkRecord) -> LinkWriter:
        if record.name not in self._links:
            around = Around(self.source, self.state, self.fires, self.model.record.clock, self._masks)
            numbers: Any = numbers_below(self.model.numbers, f"links/{record.name}/")
            runner = self.model.links[record.name]
            self._links[record.name] = LinkWriter(around, record, runner, numbers, self.known.get(record.name))

        return self._links[record.name]

    def _make(self, record: IntegerLinkRecord) -> None:
        context = None if record.context is None else self._signal(record.context)
        made = self._link(record).make(self._signal(record.source), context)
        self.lines += ["", f"/* link {_comment(record.name)} */", *made] if made else []

    def _fire(self, part: str) -> None:
        """A part at its ticks, with what its links bring."""
        record, known = self.model.record, self.model.record.parts[part]
        inputs: dict[str, CArray] = {}
        effects: dict[tuple[str, str], list[Acting]] = {}
        self.lines += ["", f"/* part {_comment(part)} */"]

        for one in record.incoming(part):
            link = self._link(one)
            link.check(known.clock)
            if one.kind == "modulation":
                effects.setdefault((str(one.node), str(one.quantity)), []).append(link.acting())
            elif link.value is not None:
                inputs[str(one.argument)] = link.value

            self.lines += link.read()

        name = self.source.function(f"part_{part}")
        program = ProgramWriter(self.source, name, known.program, numbers_below(self.model.numbers, f"parts/{part}/"))
        out = program.write(inputs, effects)
        kept = self.source.remembered(f"out_{part}", out.shape, out.low, out.high)
        body = [*program.lines, *copied(out.code, kept.code, kept.size), *program.after]
        self.source.functions += ["", f"static void {name}({self.state} *s) {{", *indented(body), "}"]
        self.lines += when(self.fires(known.clock), [f"{name}(s);"])
        self._signals[part] = kept

    def _leave(self) -> None:
        record = self.model.record
        taken: set[str] = set()
        self.lines += ["", "/* outputs */"]

        for name in record.outputs:
            clock = record.parts[name].clock
            signal = self._signals[name]
            field = c_name(name, taken)
            self.outputs.append(Border(name, field, signal, clock, record.scale(name)))
            self.lines.append(f"out->{field}_given = {self.fires(clock)};")
            self.lines += when(f"out->{field}_given", copied(signal.code, f"out->{field}", signal.size))

        for one in record.incoming(None):
            link = self._links[one.name]
            field = c_name(one.name, taken)
            if link.value is None:
                raise ExportError(f"link {one.name!r} is read before it is written")
            self.outputs.append(Border(f"links.{one.name}", field, link.value, one.emits, one.gives.scale))
            self.lines += [f"out->{field}_given = {link.flag};", f"{link.flag} = 0;"]
            self.lines += when(f"out->{field}_given", copied(link.value.code, f"out->{field}", link.value.size))


def _comment(name: str) -> str:
    """A name inside a C comment."""
    return name.replace("*/", "* /").encode("ascii", "replace").decode().replace("\n", " ")
