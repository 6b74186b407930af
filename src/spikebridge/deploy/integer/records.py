"""What an integer model says of itself, as dataclasses. No torch is needed."""

import math
from dataclasses import dataclass
from typing import Literal

from spikebridge.deploy.bundle.manifest import ClockRecord, FileRecord
from spikebridge.deploy.integer.program import ProgramRecord
from spikebridge.deploy.integer.units import IntegerUnitRecord
from spikebridge.errors import DataError, did_you_mean

_MOST = 1 << 30


@dataclass(frozen=True)
class QParamsRecord:
    """Integers from `low` to `high`, times `scale`."""

    scale: float
    low: int
    high: int

    def __post_init__(self) -> None:
        """Refuses what no grid can be."""
        if not 0 < self.scale < math.inf or not -_MOST <= self.low <= self.high <= _MOST:
            raise DataError(f"a grid needs a scale above 0 and low <= high below 2^30, but got {self}")


@dataclass(frozen=True)
class IntegerInputRecord:
    """What comes in: an input of the network, or what a part or unit gives that stays real. A mask has no grid."""

    clock: ClockRecord
    grid: QParamsRecord | None


@dataclass(frozen=True)
class IntegerPartRecord:
    """A part, its clock, and the scale of what it gives."""

    clock: ClockRecord
    program: ProgramRecord
    scale: float

    def __post_init__(self) -> None:
        """Refuses what no scale can be."""
        if not 0 < self.scale < math.inf:
            raise DataError(f"a part needs a scale above 0, but got {self.scale}")


@dataclass(frozen=True)
class IntegerLinkRecord:
    """A link, as in a bundle.

    Attributes:
        target: a part, None where what comes out leaves the integer model.
        takes: the integers that come into it.
        gives: those that it brings.
        takes_beside: those of the context.
        argument: of the target's program, for a transmission.
        node, quantity: what a modulation acts on, a neuron of the target's program and its quantity.
        trigger: signal at whose samples windows of `Since` open.
    """

    name: str
    kind: Literal["transmission", "modulation"]
    source: str
    target: str | None
    emits: ClockRecord
    held: bool
    takes: QParamsRecord
    gives: QParamsRecord
    takes_beside: QParamsRecord | None = None
    delay: int = 0
    argument: str | None = None
    node: str | None = None
    quantity: str | None = None
    by: Literal["add", "multiply", "replace"] = "multiply"
    context: str | None = None
    trigger: str | None = None
    unit: IntegerUnitRecord | None = None


@dataclass(frozen=True)
class IntegerRecord:
    """An integer model in words.

    Attributes:
        order: parts in the order in which they fire.
        outputs: parts whose signals come out; what leaves by a unit comes out as `links.NAME`.
        left_out: parts of the network that stay real.
        numbers: the file of integers.
    """

    dt: float
    inputs: dict[str, IntegerInputRecord]
    parts: dict[str, IntegerPartRecord]
    links: tuple[IntegerLinkRecord, ...]
    order: tuple[str, ...]
    outputs: tuple[str, ...]
    left_out: tuple[str, ...]
    numbers: FileRecord | None = None

    def __post_init__(self) -> None:
        """Refuses names that lead nowhere."""
        signals = {**self.inputs, **self.parts}
        if sorted(self.order) != sorted(self.parts):
            raise DataError(f"the order names {list(self.order)}, but the parts are {list(self.parts)}")

        place = {name: i for i, name in enumerate(self.order)}
        for link in self.links:
            sources = [name for name in (link.source, link.context, link.trigger) if name is not None]
            for name in sources:
                if name not in signals:
                    raise DataError(f"link {link.name!r} reads {name!r}; {did_you_mean(name, signals)}")

            if link.target is None:
                continue
            if link.target not in self.parts:
                raise DataError(f"link {link.name!r} leads to {link.target!r}; {did_you_mean(link.target, self.parts)}")
            if not link.delay and any(place[name] >= place[link.target] for name in sources if name in place):
                raise DataError(f"{link.target!r} comes before what link {link.name!r} brings it in the same tick")

        for name, part in self.parts.items():
            self._check_program(name, part.program)

        if len({link.name for link in self.links}) < len(self.links):
            raise DataError("two links have one name")

        for name in self.outputs:
            if name not in self.parts:
                raise DataError(f"the output {name!r} is not a part; {did_you_mean(name, self.parts)}")

    def _check_program(self, name: str, program: ProgramRecord) -> None:
        """Refuses a part whose program is not fed by its links."""
        links = self.incoming(name)
        brought = [link.argument for link in links if link.kind == "transmission"]
        if sorted(map(str, brought)) != sorted(program.inputs):
            raise DataError(f"part {name!r} takes {list(program.inputs)}, but its links bring {brought}")

        for link in links:
            if link.kind == "modulation" and (link.node, link.quantity) not in program.modulable():
                raise DataError(f"link {link.name!r} modulates {link.node}.{link.quantity}, which is not in {name!r}")

        acts = [(link.node, link.quantity) for link in links if link.kind == "modulation"]
        for node, quantity in acts:
            if (number := acts.count((node, quantity))) > 1:
                # the scales of links go by their order, in which one without a value yet would be missing
                raise DataError(
                    f"{number} links modulate {node}.{quantity} of {name!r}; an integer model takes one for a quantity"
                )

    def scale(self, name: str) -> float:
        """Of one integer of a part, or of what a link gives (`links.NAME`)."""
        known = {f"links.{link.name}": link.gives.scale for link in self.links}
        return known[name] if name in known else self.parts[name].scale

    def clock(self, signal: str) -> ClockRecord:
        """Of an input or a part."""
        return self.inputs[signal].clock if signal in self.inputs else self.parts[signal].clock

    def incoming(self, part: str | None) -> list[IntegerLinkRecord]:
        """The links that lead to a part, or out."""
        return [link for link in self.links if link.target == part]
