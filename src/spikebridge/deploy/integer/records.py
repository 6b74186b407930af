"""The records of an integer model as dataclasses: scales, programs, links. No torch is needed.

Field names are those of `integer.json`.
"""

import math
from dataclasses import dataclass
from typing import Literal

from spikebridge.deploy.bundle.manifest import ClockRecord, FileRecord, SignalRecord, WakeRecord, check_shape
from spikebridge.deploy.integer.program import ProgramRecord
from spikebridge.deploy.integer.units import IntegerUnitRecord
from spikebridge.errors import DataError, did_you_mean

_MAX_INTEGER = 1 << 30


@dataclass(frozen=True)
class QParamsRecord:
    """Integers from `low` to `high`, times `scale`."""

    scale: float
    low: int
    high: int

    def __post_init__(self) -> None:
        in_range = -_MAX_INTEGER <= self.low <= self.high <= _MAX_INTEGER
        if not 0 < self.scale < math.inf or not in_range:
            raise DataError(f"a grid needs a scale above 0 and low <= high within 2^30, but got {self}")


@dataclass(frozen=True)
class IntegerInputRecord:
    """An input of the model: of the network, or from a part or unit that stays real. A mask has no grid."""

    clock: ClockRecord
    grid: QParamsRecord | None
    signal: str | None = None  # of the network, where it is not the name of the input


@dataclass(frozen=True)
class IntegerPartRecord:
    """A part, its clock, and the scale of its output."""

    clock: ClockRecord
    program: ProgramRecord
    scale: float
    flags: bool = False  # its output is flags, 1 for true
    shape: tuple[int, ...] = ()  # of the output of a part with a wake

    def __post_init__(self) -> None:
        if not 0 < self.scale < math.inf:
            raise DataError(f"a part needs a scale above 0, but got {self.scale}")


@dataclass(frozen=True)
class IntegerLinkRecord:
    """A link, as in a bundle."""

    name: str
    kind: Literal["transmission", "modulation", "wake"]
    source: str
    target: str | None  # None where the values leave the integer model
    emits: ClockRecord
    held: bool
    takes: QParamsRecord  # integers of the source
    gives: QParamsRecord  # integers of the values of the link
    takes_beside: QParamsRecord | None = None  # integers of the context
    delay: int = 0
    argument: str | None = None  # of the target's program, for a transmission
    node: str | None = None  # a neuron of the target's program, for a modulation
    quantity: str | None = None
    by: Literal["add", "multiply", "replace"] = "multiply"
    context: str | None = None
    trigger: str | None = None  # signal at whose samples windows of `Since` open
    unit: IntegerUnitRecord | None = None
    wake: WakeRecord | None = None
    threshold: int = 1  # the least flag of a wake that is set
    shape: tuple[int, ...] = ()  # of a value of a wake

    @property
    def sources(self) -> list[str]:
        return [name for name in (self.source, self.context, self.trigger) if name is not None]

    def __post_init__(self) -> None:
        check_shape(self.shape)
        if (self.kind == "wake") != (self.wake is not None):
            which = "with" if self.wake else "without"
            raise DataError(f"link {self.name!r} is a {self.kind} {which} the settings of a wake")


@dataclass(frozen=True)
class IntegerRecord:
    """An integer model."""

    dt: float
    inputs: dict[str, IntegerInputRecord]
    parts: dict[str, IntegerPartRecord]
    links: tuple[IntegerLinkRecord, ...]
    order: tuple[str, ...]  # parts in the order in which they fire
    outputs: tuple[str, ...]  # parts; values that leave by a unit are the output `links.NAME`
    left_out: tuple[str, ...]  # parts of the network that stay real
    numbers: FileRecord | None = None

    def __post_init__(self) -> None:
        if sorted(self.order) != sorted(self.parts):
            raise DataError(f"the order names {list(self.order)}, but the parts are {list(self.parts)}")

        for link in self.links:
            self._check_link(link)

        if len({link.name for link in self.links}) < len(self.links):
            raise DataError("two links have one name")

        for name, part in self.parts.items():
            self._check_program(name, part.program)

        for name in self.outputs:
            if name not in {**self.parts, **self.flags}:
                raise DataError(f"the output {name!r} is not a part; {did_you_mean(name, self.parts)}")

        if len(self.flags) < sum(link.kind == "wake" for link in self.links):
            raise DataError("two wakes lead to one part")

    @property
    def flags(self) -> dict[str, str]:
        """The parts with a wake by the signal of their flags."""
        return {f"{link.target}.awake": str(link.target) for link in self.links if link.kind == "wake"}

    def given(self, part: str) -> dict[str, SignalRecord]:
        """The output of a part by signal."""
        return {part: SignalRecord(self.parts[part].shape, "int64")}

    def _check_link(self, link: IntegerLinkRecord) -> None:
        signals = {**self.inputs, **self.parts, **self.flags}
        for name in link.sources:
            if name not in signals:
                raise DataError(f"link {link.name!r} reads {name!r}; {did_you_mean(name, signals)}")

        if link.target is None:
            return
        if link.target not in self.parts:
            raise DataError(f"link {link.name!r} leads to {link.target!r}; {did_you_mean(link.target, self.parts)}")

        index = {name: i for i, name in enumerate(self.order)}
        owners = {name: self.flags.get(name, name) for name in link.sources}
        late = [name for name, part in owners.items() if part in index and index[part] >= index[link.target]]
        if late and not link.delay:
            raise DataError(
                f"{link.target!r} fires before {late[0]!r}, whose values link {link.name!r} needs in the same tick"
            )

    def _check_program(self, name: str, program: ProgramRecord) -> None:
        links = self.incoming(name)
        arguments = [link.argument for link in links if link.kind == "transmission"]
        if sorted(map(str, arguments)) != sorted(program.inputs):
            raise DataError(f"part {name!r} takes {list(program.inputs)}, but its links lead to {arguments}")

        quantities = [(link.node, link.quantity) for link in links if link.kind == "modulation"]
        for link in links:
            if link.kind == "modulation" and (link.node, link.quantity) not in program.modulable():
                raise DataError(f"link {link.name!r} modulates {link.node}.{link.quantity}, which is not in {name!r}")

        for node, quantity in quantities:
            number = quantities.count((node, quantity))
            if number > 1:
                # ratios are numbered by the order of links; a link without a value yet would shift the others
                raise DataError(
                    f"{number} links modulate {node}.{quantity} of {name!r}; an integer model takes one for a quantity"
                )

    def scale(self, name: str) -> float:
        """The scale of a part, or of the values of a link (`links.NAME`)."""
        scales = {f"links.{link.name}": link.gives.scale for link in self.links} | dict.fromkeys(self.flags, 1.0)
        return scales[name] if name in scales else self.parts[name].scale

    def clock(self, signal: str) -> ClockRecord:
        return self.inputs[signal].clock if signal in self.inputs else self.parts[self.flags.get(signal, signal)].clock

    def is_mask(self, signal: str | None) -> bool:
        """True for a signal of flags, an input or a part."""
        if signal in self.inputs:
            return self.inputs[signal].grid is None
        return signal in self.flags or (signal in self.parts and self.parts[signal].flags)

    def incoming(self, part: str | None) -> list[IntegerLinkRecord]:
        """The links to a part; None: out of the model."""
        return [link for link in self.links if link.target == part]
