"""Links in numpy: what a unit made waits until its stamp, then is read sampled or held. No torch is needed."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.bundle import Bundle
from spikebridge.deploy.manifest import LinkRecord, trigger_of
from spikebridge.deploy.nir_graph import read_graph
from spikebridge.deploy.onnx_session import OnnxSession
from spikebridge.deploy.runner_discretizers import Function
from spikebridge.deploy.runner_nir import NirRunner
from spikebridge.deploy.runner_units import Nonlinearity, UnitRunner, UnitState
from spikebridge.errors import DataError

Values: TypeAlias = NDArray[Any]


class LinkState(NamedTuple):
    """What a link remembers.

    Attributes:
        unit: the state of its unit.
        waiting: values on the way, oldest first.
        held: the newest value that arrived; the initial one before, None where that means absence.
        context: the newest value of the context.
        triggered: whether a mask has a trigger waiting for the next step of the source, `(B,)`.
    """

    unit: UnitState
    waiting: tuple[Values, ...]
    held: Values | None
    context: Values | None
    triggered: NDArray[np.bool_] | None


class LinkRunner:
    """One link of a bundle.

    Args:
        bundle: an opened one.
        link: the link in words.

    Raises:
        DataError: a file of its unit is damaged or does not fit.
    """

    def __init__(self, bundle: Bundle, link: LinkRecord) -> None:
        manifest = bundle.manifest
        self.link = link
        self.source = manifest.clock(link.source)
        self.trigger = trigger_of(link)
        self.sources = [name for name in (link.source, link.context, self.trigger) if name is not None]
        self.trigger_clock = None if self.trigger is None else manifest.clock(self.trigger)
        self.masked = self.trigger in manifest.inputs and manifest.inputs[str(self.trigger)].dtype == "bool"
        self.context_shape = None if link.context is None else manifest.shape(link.context)
        numbers: Mapping[str, Any] = bundle.numbers(link.numbers)
        if link.initial is None and "initial" not in numbers:
            raise DataError(f"link {link.name!r} has no initial value")
        self.initial = np.full(link.shape, link.initial, np.float32) if link.initial is not None else numbers["initial"]
        if self.initial.shape != link.shape:
            raise DataError(f"link {link.name!r} carries {link.shape}, but begins with {self.initial.shape}")
        self.unit = None
        if link.unit is not None:
            fires = None if link.unit.fires is None else NirRunner(read_graph(bundle.read(link.unit.fires)))
            files = {"kernel": link.unit.kernel_function, "discretizer": link.unit.discretizer_function}
            functions = {stage: _of_window(bundle, file) for stage, file in files.items() if file is not None}
            self.unit = UnitRunner(link.unit, numbers, _nonlinearity(bundle, link), fires, functions)

    def start(self, batch: int) -> LinkState:
        """What the link remembers before the first tick."""
        begins = self.link.kind == "transmission" and (self.link.held or self.link.delay > 0)
        return LinkState(
            unit=UnitState(),
            waiting=(),
            held=np.repeat(self.initial[None], batch, axis=0) if begins else None,
            context=None if self.context_shape is None else np.zeros((batch, *self.context_shape), np.float32),
            triggered=np.zeros(batch, np.bool_) if self.masked else None,
        )

    def take_in(
        self, signals: Mapping[str, Values | None], tick: int, state: LinkState
    ) -> tuple[list[Values], LinkState]:
        """What the unit makes of what the sources gave at a tick."""
        x = signals[self.link.source]
        if self.unit is None:
            return ([] if x is None else [x]), state
        if self.link.context is not None and (fresh := signals[self.link.context]) is not None:
            state = state._replace(context=fresh)
        opens, state = self._opens(signals, tick, state)
        if x is None:
            return [], state
        values, unit = self.unit.push(x.astype(np.float32, copy=False), state.unit, opens, state.context)
        return values, state._replace(unit=unit)

    def send(self, values: list[Values], state: LinkState) -> LinkState:
        """Puts values on the way."""
        for value in values:
            if value.shape[1:] != self.link.shape:
                raise DataError(
                    f"link {self.link.name!r} carried {value.shape[1:]}, but the manifest says {self.link.shape}"
                )
        return state._replace(waiting=(*state.waiting, *values))

    def read(self, tick: int, fires: bool, state: LinkState) -> tuple[Values | None, LinkState]:
        """What the target reads at a tick, None for nothing; values whose time has come leave the way.

        Args:
            tick: the tick.
            fires: whether the target has a tick there.
            state: of the link.
        """
        number = self.link.emits.between(tick - self.link.delay, tick + 1 - self.link.delay)
        if number > len(state.waiting):
            raise DataError(
                f"link {self.link.name!r} has nothing to deliver at tick {tick}: the bundle's clocks do not fit"
            )
        arrived = state.waiting[number - 1] if number else None
        state = state._replace(waiting=state.waiting[number:])
        if self.link.held or self.link.kind == "modulation":
            state = state if arrived is None else state._replace(held=arrived)
            return state.held, state
        if arrived is None and fires and state.held is None:
            raise DataError(f"link {self.link.name!r} brings nothing at tick {tick}: the bundle's clocks do not fit")
        return (arrived if arrived is not None else state.held), state

    def _opens(
        self, signals: Mapping[str, Values | None], tick: int, state: LinkState
    ) -> tuple[bool | NDArray[np.bool_], LinkState]:
        """Whether windows of `Since` open at this step of the source."""
        if self.trigger is None or self.trigger_clock is None:
            return False, state
        steps = self.source.fires(tick)
        if state.triggered is not None:
            flags = signals[self.trigger]
            waiting = state.triggered if flags is None else state.triggered | flags.reshape(len(flags))
            return waiting, state._replace(triggered=np.zeros_like(waiting) if steps else waiting)
        before = self.trigger_clock.count(tick - self.source.period + 1) if tick > self.source.phase else 0
        return self.trigger_clock.count(tick + 1) > before, state


def _nonlinearity(bundle: Bundle, link: LinkRecord) -> Nonlinearity | None:
    file = link.unit.nonlinearity if link.unit is not None else None
    if file is None:
        return None
    session = OnnxSession(bundle.read(file), f"{bundle.path / file}")

    def apply(h: Values, context: Values | None) -> Values:
        feed = {"value": h} if context is None else {"value": h, "context": context}
        y: Values = session.run(feed)[0]
        return y

    return apply


def _of_window(bundle: Bundle, file: str) -> Function:
    session = OnnxSession(bundle.read(file), f"{bundle.path / file}")

    def apply(values: Values) -> Values:
        y: Values = session.run({"value": values})[0]
        return y

    return apply
