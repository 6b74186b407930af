"""Links of the integer model: what a unit made waits until its stamp, then is read. No floats, and no torch."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.integer_arithmetic import Whole
from spikebridge.deploy.integer_records import IntegerLinkRecord, IntegerRecord
from spikebridge.deploy.integer_units import IntegerUnit, IntegerUnitState
from spikebridge.errors import DataError

Signals: TypeAlias = Mapping[str, Any]


class IntegerLinkState(NamedTuple):
    """What a link remembers: its unit's state, values on the way, the newest one, the context, a waiting trigger."""

    unit: IntegerUnitState
    waiting: tuple[Whole, ...]
    held: Whole | None
    context: Whole | None
    triggered: NDArray[np.bool_] | None


class IntegerLink:
    """One link.

    Args:
        record: the model in words.
        link: the link.
        numbers: of its unit by stage, and `link`: `initial`, `context`.
    """

    def __init__(self, record: IntegerRecord, link: IntegerLinkRecord, numbers: Mapping[str, dict[str, Any]]) -> None:
        self.link = link
        self.source = record.clock(link.source)
        self.sources = [name for name in (link.source, link.context, link.trigger) if name is not None]
        self.trigger = None if link.trigger is None else record.clock(link.trigger)
        self.masked = link.trigger in record.inputs and record.inputs[str(link.trigger)].grid is None
        own = numbers.get("link", {})
        self.initial = own.get("initial")
        self.context = own.get("context")
        if link.context is not None and self.context is None:
            raise DataError(f"link {link.name!r} has a context without a first value")
        self.unit = None if link.unit is None else IntegerUnit(link.unit, numbers)

    def start(self, batch: int) -> IntegerLinkState:
        """What the link remembers before the first tick."""
        begun = [
            None if value is None else np.repeat(value.astype(np.int64)[None], batch, axis=0)
            for value in (self.initial, self.context)
        ]
        return IntegerLinkState(
            IntegerUnitState(), (), begun[0], begun[1], np.zeros(batch, np.bool_) if self.masked else None
        )

    def take_in(self, signals: Signals, tick: int, state: IntegerLinkState) -> tuple[list[Whole], IntegerLinkState]:
        """What the unit makes of what the sources gave at a tick; it is put on the way."""
        x = signals.get(self.link.source)
        made: list[Whole] = [] if x is None else [x]
        if self.unit is not None:
            if self.link.context is not None and (fresh := signals.get(self.link.context)) is not None:
                state = state._replace(context=fresh)
            opens, state = self._opens(signals, tick, state)
            if x is not None:
                made, unit = self.unit.push(x, state.unit, opens, state.context)
                state = state._replace(unit=unit)
        if self.link.target is None:
            return made, state
        return made, state._replace(waiting=(*state.waiting, *made))

    def read(self, tick: int, fires: bool, state: IntegerLinkState) -> tuple[Whole | None, IntegerLinkState]:
        """What the target reads at a tick, None for nothing; values whose time has come leave the way."""
        delay = self.link.delay
        number = self.link.emits.between(tick - delay, tick + 1 - delay)
        if number > len(state.waiting):
            raise DataError(f"link {self.link.name!r} has nothing to deliver at tick {tick}: the clocks do not fit")
        arrived = state.waiting[number - 1] if number else None
        state = state._replace(waiting=state.waiting[number:])
        if self.link.held or self.link.kind == "modulation":
            state = state if arrived is None else state._replace(held=arrived)
            return state.held, state
        if arrived is None and fires and state.held is None:
            raise DataError(f"link {self.link.name!r} brings nothing at tick {tick}: the clocks do not fit")
        return (arrived if arrived is not None else state.held), state

    def _opens(
        self, signals: Signals, tick: int, state: IntegerLinkState
    ) -> tuple[bool | NDArray[np.bool_], IntegerLinkState]:
        if self.trigger is None:
            return False, state
        steps = self.source.fires(tick)
        if state.triggered is not None:
            flags = signals.get(str(self.link.trigger))
            waiting = state.triggered if flags is None else state.triggered | flags.reshape(len(flags))
            return waiting, state._replace(triggered=np.zeros_like(waiting) if steps else waiting)
        before = self.trigger.count(tick - self.source.period + 1) if tick > self.source.phase else 0
        return self.trigger.count(tick + 1) > before, state
