"""The network of an integer model in C: clocks, parts and links, and the lines of one base tick.

The rules of time are those of `TickRunner`; the values before the first tick are decided at export.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spikebridge.deploy.bundle.manifest import ClockRecord, WakeRecord
from spikebridge.deploy.c.links import LinkContext, LinkOutput, LinkWriter
from spikebridge.deploy.c.operations import STEPS_ASLEEP, CEffect, ProgramWriter
from spikebridge.deploy.c.source import CArray, CSource, c_name, copy_loop, for_loop, if_block, indent
from spikebridge.deploy.integer.model import IntegerModel, numbers_below
from spikebridge.deploy.integer.records import IntegerLinkRecord
from spikebridge.errors import ExportError, ShapeError


@dataclass(frozen=True)
class Port:
    """An input or an output of the model."""

    name: str  # in the model
    field: str  # in the C struct
    signal: CArray
    clock: ClockRecord
    scale: float | None  # of one integer; None for a mask


@dataclass
class NetworkWriter:
    """Writes all functions of a model, and the lines of its step function.

    `shapes` are those of one step of each input; `expected` has the outputs of links in an earlier pass.
    """

    model: IntegerModel
    shapes: Mapping[str, tuple[int, ...]]
    state: str  # the C type of the state
    expected: Mapping[str, LinkOutput]
    source: CSource = field(default_factory=CSource)
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    demands: dict[str, list[str]] = field(default_factory=dict)  # by input of parts that may sleep: if a step reads it
    _signals: dict[str, CArray] = field(default_factory=dict)
    _countdowns: dict[ClockRecord, str] = field(default_factory=dict)
    _masks: dict[str, str] = field(default_factory=dict)
    _links: dict[str, LinkWriter] = field(default_factory=dict)
    _copies: dict[str, list[str]] = field(default_factory=dict)  # by such input

    def write(self) -> dict[str, LinkOutput]:
        """Writes everything, and gives the outputs of the links."""
        self._write_inputs()
        for entry in self.model.schedule:
            if isinstance(entry, str):
                self._write_part(entry)
            else:
                self._write_link(entry)

        for name, parts in self.model.on_demand.items():
            wakes = [self._links[self.model.wakes[part].name] for part in parts]
            is_due = f"if (!({self.fires(self.model.record.inputs[name].clock)})) return 0;"
            self.demands[name] = [is_due, *(line for wake in wakes for line in wake.awake_next()), "return 0;"]

        self._write_outputs()
        self.lines += ["", "/* each clock counts down to its next sample */"]
        for clock, name in self._countdowns.items():
            self.lines.append(f"{name} = {name} == 0 ? {clock.period - 1} : {name} - 1;")

        return {name: link.output for name, link in self._links.items() if link.output is not None}

    def fires(self, clock: ClockRecord) -> str:
        """The condition that a clock has a sample at this tick."""
        if clock not in self._countdowns:
            name = self.source.state_number(f"until_{clock.period}_{clock.phase}", "uint32_t")
            self._countdowns[clock] = name
            if clock.phase:
                self.source.starts.append(f"{name} = {clock.phase};")

        return f"{self._countdowns[clock]} == 0"

    def _write_inputs(self) -> None:
        # inputs are clipped to the range that the model takes
        taken: set[str] = set()
        for name, record in self.model.record.inputs.items():
            if name not in self.shapes:
                raise ShapeError(f"input {name!r} is missing; the shape of its samples is needed")

            member = c_name(name, taken)
            grid = record.grid
            if grid is None:
                # of a mask only the flag of the stream is read
                self.inputs.append(Port(name, member, CArray(f"in->{member}", (1,), 0, 1), record.clock, None))
                self._masks[name] = f"in->{member}[0]"
                continue

            x = CArray(f"in->{member}", self.shapes[name], grid.low, grid.high)
            signal = self.source.state_array(f"in_{name}", x)
            clipped = self.source.call("clip", f"{x.code}[j]", str(grid.low), str(grid.high))
            copies = for_loop(signal.size, [f"{signal.code}[j] = {clipped};"])
            if name in self.model.on_demand:
                self._copies[name] = copies
            else:
                self.lines += if_block(self.fires(record.clock), copies)
            self.inputs.append(Port(name, member, x, record.clock, grid.scale))
            self._signals[name] = signal

    def _signal(self, name: str) -> CArray:
        if name not in self._signals:
            raise ExportError(f"the mask {name!r} is read as a signal, which has no C form")
        return self._signals[name]

    def _link(self, record: IntegerLinkRecord) -> LinkWriter:
        if record.name not in self._links:
            model = self.model
            context = LinkContext(self.source, self.state, self.fires, model.record.clock, self._masks, model.forms)
            numbers: Any = numbers_below(self.model.numbers, f"links/{record.name}/")
            runner = self.model.links[record.name]
            self._links[record.name] = LinkWriter(context, record, runner, numbers, self.expected.get(record.name))

        return self._links[record.name]

    def _write_link(self, record: IntegerLinkRecord) -> None:
        context = None if record.context is None else self._signal(record.context)
        lines = self._link(record).write(self._signal(record.source), context)
        if lines:
            self.lines += ["", f"/* link {_in_comment(record.name)} */", *lines]

    def _write_part(self, part: str) -> None:
        record = self.model.record
        clock = record.parts[part].clock
        inputs: dict[str, CArray] = {}
        effects: dict[tuple[str, str], list[CEffect]] = {}
        self.lines += ["", f"/* part {_in_comment(part)} */"]

        wake: LinkWriter | None = None
        for incoming in record.incoming(part):
            link = self._link(incoming)
            if link.value is None:
                # its unit runs later in the tick
                link.begin()

            link.check(clock)
            if incoming.kind == "wake":
                wake = link
            elif incoming.kind == "modulation":
                effects.setdefault((str(incoming.node), str(incoming.quantity)), []).append(link.effect())
            elif link.value is not None:
                inputs[str(incoming.argument)] = link.value

            self.lines += link.read()

        if wake is None:
            program, signal = self._write_program(part, inputs, effects, leaks=False)
            self.lines += if_block(self.fires(clock), [f"{program.function}(s);"])
        else:
            signal = self._write_woken(part, wake, inputs, effects)

        self._signals[part] = signal
        if record.parts[part].flags:
            self._masks[part] = f"{signal.code}[0]"

    def _write_program(
        self, part: str, inputs: dict[str, CArray], effects: dict[tuple[str, str], list[CEffect]], leaks: bool
    ) -> tuple[ProgramWriter, CArray]:
        """Writes the function of a part; gives its output, too."""
        name = self.source.function_name(f"part_{part}")
        numbers = numbers_below(self.model.numbers, f"parts/{part}/")
        program = ProgramWriter(
            self.source, name, self.model.record.parts[part].program, numbers, self.model.forms, leaks
        )
        out = program.write(inputs, effects)
        # the output lies in memory that the parts share, and readers may run at later ticks
        signal = self.source.state_array(f"out_{part}", out)
        body = [*program.lines, *copy_loop(out, signal.code), *program.after]
        self.source.functions += ["", f"static void {name}({self.state} *s) {{", *indent(body), "}"]

        return program, signal

    def _write_woken(
        self, part: str, link: LinkWriter, inputs: dict[str, CArray], effects: dict[tuple[str, str], list[CEffect]]
    ) -> CArray:
        """Writes a part that runs where it is awake; gives its output."""
        wake = link.record.wake
        if wake is None or link.awake is None:
            raise ExportError(f"link {link.record.name!r} wakes {part!r}, but lacks the settings of a wake")

        missed = _Missed(self.source, part, inputs, wake.replay)
        program, signal = self._write_program(part, missed.present or inputs, effects, leaks=wake.state == "leak")
        flag = self.source.state_array(f"awake_{part}", CArray("", (1,), 0, 1))
        self._signals[f"{part}.awake"] = flag
        self._masks[f"{part}.awake"] = f"{flag.code}[0]"

        run = f"{program.function}(s);"
        lines = [f"{flag.code}[0] = {link.awake};", *missed.copies]
        if wake.state != "keep" or wake.replay:
            asleep = self.source.state_number(f"asleep_{part}")
            waking = _waking_lines(wake, program, missed, asleep, run)
            lines += if_block(f"{flag.code}[0] && {asleep} > 0", waking)
            count = f"{asleep} = {flag.code}[0] ? 0 : {asleep} + ({asleep} < INT32_MAX);"
            after = [*missed.push, count]
        else:
            after = []

        # an input that sleeping parts alone read is read where they run
        sources = [incoming.source for incoming in self.model.record.incoming(part)]
        copies = [line for name in sources for line in self._copies.get(name, [])]
        lines += if_block(f"{flag.code}[0]", [*copies, run])
        if wake.asleep == "zero":
            lines += if_block(f"!{flag.code}[0]", [f"memset({signal.code}, 0, sizeof {signal.code});"])

        self.lines += if_block(self.fires(self.model.record.parts[part].clock), [*lines, *after])
        return signal

    def _write_outputs(self) -> None:
        record = self.model.record
        taken: set[str] = set()
        self.lines += ["", "/* outputs */"]

        for name in record.outputs:
            clock = record.clock(name)
            port = Port(name, c_name(name, taken), self._signals[name], clock, record.scale(name))
            self._write_output(port, self.fires(clock), [])

        for outgoing in record.incoming(None):
            link = self._links[outgoing.name]
            if link.value is None or link.flag is None:
                raise ExportError(f"link {outgoing.name!r} is read before it is written")

            member = c_name(outgoing.name, taken)
            port = Port(f"links.{outgoing.name}", member, link.value, outgoing.emits, outgoing.gives.scale)
            self._write_output(port, link.flag, [f"{link.flag} = 0;"])

    def _write_output(self, port: Port, condition: str, after: list[str]) -> None:
        self.outputs.append(port)
        self.lines += [f"out->{port.field}_given = {condition};", *after]
        self.lines += if_block(f"out->{port.field}_given", copy_loop(port.signal, f"out->{port.field}"))


class _Missed:
    """The newest inputs of a part that replays them, in rings, and its inputs of the step that runs."""

    def __init__(self, source: CSource, part: str, inputs: Mapping[str, CArray], rows: int) -> None:
        self.rows = rows
        self.present: dict[str, CArray] = {}
        self.copies: list[str] = []
        self.push: list[str] = []
        self.pull: list[str] = []
        if not rows:
            return

        self.place = source.state_number(f"missed_{part}_place")
        self.number = source.state_number(f"missed_{part}_number")
        for name, x in inputs.items():
            present = self.present[name] = source.state_array(f"present_{part}_{name}", x)
            ring = source.state_array(f"missed_{part}_{name}", x, rows)
            self.copies += copy_loop(x, present.code)
            self.push += copy_loop(present, ring.row(self.place).code)
            self.pull += copy_loop(ring.row("row"), present.code)

        self.push += [
            f"{self.place} = ({self.place} + 1) % {rows};",
            f"{self.number} += {self.number} < {rows};",
        ]


def _waking_lines(wake: WakeRecord, program: ProgramWriter, missed: _Missed, asleep: str, run: str) -> list[str]:
    """The lines of a part that wakes up: its state as it rested, then a replay of the inputs that it missed."""
    rested = program.restart if wake.state == "reset" else program.leak
    replayed = "0"
    lines = []
    if wake.replay:
        bounded = f"{asleep} < {missed.number} ? {asleep} : {missed.number}"
        lines.append(f"const int32_t replayed = {missed.number if wake.state == 'reset' else bounded};")
        replayed = "replayed"
    if rested and wake.state == "leak":
        lines.append(f"const int32_t {STEPS_ASLEEP} = {asleep} - {replayed};")

    lines += rested
    if wake.replay:
        row = f"const int32_t row = ({missed.place} + {wake.replay} - k) % {wake.replay};"
        loop = ["for (int32_t k = replayed; k > 0; k--) {", *indent([row, *missed.pull, run]), "}", *missed.copies]
        lines += loop

    return lines


def _in_comment(name: str) -> str:
    return name.replace("*/", "* /").encode("ascii", "replace").decode().replace("\n", " ")
