"""Links in numpy: a value waits until its tick, then it is read sampled or held. No torch is needed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.bundle.bundle import Bundle, below
from spikebridge.deploy.bundle.consistency import check_step
from spikebridge.deploy.bundle.manifest import ClockRecord, LinkRecord, skipped_flags, trigger_of
from spikebridge.deploy.nir.graph import read_graph
from spikebridge.deploy.onnx.session import OnnxSession, OpenSession
from spikebridge.deploy.runtime.nir_interpreter import NirRunner
from spikebridge.deploy.runtime.units import Function, Nonlinearity, UnitFiles, UnitRunnerState, float_unit
from spikebridge.deploy.stages.kernels import Forms
from spikebridge.errors import DataError, SpikebridgeError

Values: TypeAlias = NDArray[Any]
AWAKE = 0.5  # the least flag of a part that is awake
# what numpy raises where the numbers of a file do not fit each other
_FAULTS = (ValueError, IndexError, TypeError, AttributeError, ArithmeticError)


@contextmanager
def fitting(who: str, what: str = "a number or an input") -> Iterator[None]:
    """Raises one line in place of numpy's error where numbers of a file lack or do not fit each other."""
    try:
        yield
    except SpikebridgeError:
        raise
    except KeyError as missing:
        raise DataError(f"{who} is damaged: it lacks {missing}") from missing
    except _FAULTS as error:
        raise DataError(f"{who} cannot run, {what} does not fit: {error}") from error


class _SampleUnit(NamedTuple):
    """The unit of one sample, and true if a window waits for the first step awake."""

    unit: UnitRunnerState = UnitRunnerState()
    starts: bool = False


class LinkRunnerState(NamedTuple):
    """The state of a link."""

    unit: UnitRunnerState
    waiting: tuple[Values, ...]  # values before their tick, oldest first
    held: Values | None  # the newest value that arrived, the initial value before
    context: Values | None  # the newest value of the context
    triggered: NDArray[np.bool_] | None  # samples with a trigger since the last step of the source, if it is a mask
    samples: tuple[_SampleUnit, ...] = ()  # of a link that skips ticks, in place of the unit


@runtime_checkable
class Unit(Protocol):
    """A unit that runs step by step."""

    def push(
        self, x: Values, state: UnitRunnerState, starts: bool | NDArray[np.bool_] = False, context: Values | None = None
    ) -> tuple[list[Values], UnitRunnerState]:
        """One step of the source: the new values, oldest first, and the state."""


@dataclass
class LinkRunner:
    """A link, one tick a call; initial values are those of one sample."""

    link: Any  # the record, of a bundle or of an integer model
    source: ClockRecord  # of the source
    unit: Unit | None
    initial: Values | None = None
    context: Values | None = None  # before the first value of the context
    trigger: tuple[str, ClockRecord] | None = None  # signal at whose samples windows open, and its clock
    masked: bool = False  # the trigger is a mask, one flag a sample
    once: bool = False  # the target reads a value in one tick alone
    has_members: bool = False  # the context says which members of the source, a set, count
    shape: tuple[int, ...] | None = None  # of a value, where it is known
    skips: str | None = None  # flags of a source that gives no value while it is asleep
    threshold: float = AWAKE  # the least flag of a wake that is set

    def start(self, batch: int) -> LinkRunnerState:
        held, context = (
            None if value is None else np.repeat(value[None], batch, axis=0) for value in (self.initial, self.context)
        )
        triggered = np.zeros(batch, np.bool_) if self.masked else None

        return LinkRunnerState(UnitRunnerState(), (), held, context, triggered)

    def begin(self, numbers: Mapping[str, Values], batch: int) -> LinkRunnerState:
        """The state at which a bundle begins, from the tensors of the trained network's."""
        state = self.start(batch)
        none = np.zeros((batch, 0))
        window = numbers.get("unit.window.0", none)
        carry = below("unit.kernel.", numbers)
        unit = UnitRunnerState(
            waiting=tuple(np.moveaxis(window, 1, 0)) if window.ndim else (),
            position=0 if window.ndim else int(window),
            carry=tuple(carry[str(i)] for i in range(len(carry))) or None,
            discretizer=numbers.get("unit.discretizer.0"),
        )

        return state._replace(
            unit=unit,
            waiting=tuple(np.moveaxis(numbers.get("queue", none), 1, 0)),
            held=numbers.get("held", state.held),
            context=numbers.get("context", state.context),
            triggered=numbers.get("triggered", state.triggered),
        )

    def run_unit(
        self, signals: Mapping[str, Values | None], tick: int, state: LinkRunnerState
    ) -> tuple[list[Values], LinkRunnerState]:
        """The values that the unit computes from the signals of a tick."""
        x = signals.get(self.link.source)
        if self.unit is None and self.skips is None:
            return ([] if x is None else [x]), state

        if self.link.context is not None:
            context = signals.get(self.link.context)
            state = state if context is None else state._replace(context=context)

        starts, state = self._starts(signals, tick, state)
        if x is None:
            return [], state

        if self.has_members and state.context is not None:
            counts = (state.context != 0).reshape(*state.context.shape, *[1] * (x.ndim - state.context.ndim))
            x = np.where(counts, x, np.zeros_like(x))

        # flags count as numbers in a unit
        x = x.astype(np.float32) if x.dtype == np.bool_ and self.unit is not None else x
        if self.skips is not None:
            flags = signals[self.skips]
            return self._run_awake(x, np.zeros(len(x)) if flags is None else flags.reshape(len(x)), starts, state)

        with fitting(f"link {self.link.name!r}"):
            values, unit = self._push(x, state.unit, starts, state.context)

        return values, state._replace(unit=unit)

    def _run_awake(
        self, x: Values, flags: Values, starts: bool | NDArray[np.bool_], state: LinkRunnerState
    ) -> tuple[list[Values], LinkRunnerState]:
        """The values of the samples awake, each with a unit of its own; of others the last one, or that for none."""
        samples = list(state.samples or [_SampleUnit()] * len(x))
        given: dict[int, Values] = {}
        for row, starts_now in enumerate(np.broadcast_to(starts, len(x))):
            own = samples[row]
            begins = bool(starts_now) or own.starts
            samples[row] = own._replace(starts=begins)
            if flags[row] >= AWAKE:
                context = None if state.context is None else state.context[[row]]
                with fitting(f"link {self.link.name!r}"):
                    values, unit = self._push(x[[row]], own.unit, begins, context)
                given |= {row: values[-1][0]} if values else {}
                samples[row] = _SampleUnit(unit)

        newest = self._without_value(len(x), state).copy()
        for row, value in given.items():
            newest[row] = value

        return [newest], state._replace(samples=tuple(samples))

    def _push(
        self, x: Values, state: UnitRunnerState, starts: bool | NDArray[np.bool_], context: Values | None
    ) -> tuple[list[Values], UnitRunnerState]:
        return ([x], state) if self.unit is None else self.unit.push(x, state, starts, context)

    def _without_value(self, batch: int, state: LinkRunnerState) -> Values:
        """The values of samples that get none."""
        if self.link.kind == "wake":
            return np.zeros((batch, *(self.shape or ())), cast(Values, state.held).dtype)

        is_sent = self.link.held and state.waiting
        return state.waiting[-1] if is_sent else cast(Values, state.held)

    def send(self, values: list[Values], state: LinkRunnerState) -> LinkRunnerState:
        """Values of a unit, added to those that wait."""
        for value in values:
            if self.shape is not None and value.shape[1:] != self.shape:
                raise DataError(
                    f"link {self.link.name!r} carried {value.shape[1:]}, but the manifest says {self.shape}"
                )

        return state._replace(waiting=(*state.waiting, *values))

    def read(self, tick: int, fires: bool, state: LinkRunnerState) -> tuple[Values | None, LinkRunnerState]:
        """The value that the target reads at a tick, None if there is none; `fires` is True if the target runs then."""
        number = self._num_arriving(tick)
        if number > len(state.waiting):
            raise DataError(f"link {self.link.name!r} has nothing to deliver at tick {tick}: the clocks do not fit")

        arrived = state.waiting[number - 1] if number else None
        state = state._replace(waiting=state.waiting[number:])

        if self.link.kind == "wake":
            return self._read_flags(arrived, state)

        if self.once:
            return self._read_once(arrived, fires, state)

        if self.link.held or self.link.kind != "transmission":
            state = state if arrived is None else state._replace(held=arrived)
            return state.held, state

        if arrived is None and fires and state.held is None:
            raise DataError(f"link {self.link.name!r} has no value at tick {tick}: the clocks do not fit")

        return (state.held if arrived is None else arrived), state

    def _read_once(
        self, arrived: Values | None, fires: bool, state: LinkRunnerState
    ) -> tuple[Values | None, LinkRunnerState]:
        """The value that waits for a tick of the target, which leaves what stands for none."""
        newest = state.held if arrived is None else arrived
        if not fires:
            return newest, state._replace(held=newest)

        rest = None
        if self.initial is not None and newest is not None:
            rest = np.repeat(self.initial[None], len(newest), axis=0)
        return newest, state._replace(held=rest)

    def known_flags(self, tick: int, state: LinkRunnerState) -> Values | None:
        """The flags `(B,)` of a wake at a tick that has not begun; None if one of them is made in it."""
        return self.read(tick, True, state)[0] if self._num_arriving(tick) <= len(state.waiting) else None

    def _num_arriving(self, tick: int) -> int:
        sent = tick - self.link.delay
        return self.link.emits.between(sent, sent + 1)

    def _read_flags(self, arrived: Values | None, state: LinkRunnerState) -> tuple[Values, LinkRunnerState]:
        """The flags `(B,)` of a wake: true where one of the newest values is 1/2 or more."""
        newest = cast(Values, state.held)
        if arrived is not None:
            values = arrived.reshape(len(arrived), -1).astype(newest.dtype)
            if np.isnan(values).any():
                raise DataError(f"the wake {self.link.name!r} got NaN as a flag; check {self.link.source!r}")
            newest = np.concatenate([newest[:, 1:], values.max(1, keepdims=True)], 1)

        return newest.max(1) >= self.threshold, state._replace(held=newest)

    def _starts(
        self, signals: Mapping[str, Values | None], tick: int, state: LinkRunnerState
    ) -> tuple[bool | NDArray[np.bool_], LinkRunnerState]:
        """The start of windows of `Since` at this step of the source: of all samples, or a mask of them."""
        if self.trigger is None:
            return False, state

        name, clock = self.trigger
        if state.triggered is not None:
            flags = signals.get(name)
            triggered = state.triggered if flags is None else state.triggered | (flags.reshape(len(flags)) != 0)
            # a trigger waits for the next step of the source
            waiting = np.zeros_like(triggered) if self.source.fires(tick) else triggered
            return triggered, state._replace(triggered=waiting)

        # any sample of the trigger since the step of the source before opens a window
        before = clock.count(tick - self.source.period + 1) if tick > self.source.phase else 0
        return clock.count(tick + 1) > before, state


def open_link(
    bundle: Bundle,
    link: LinkRecord,
    unit: Unit | None = None,
    forms: Forms = None,
    open_session: OpenSession | None = None,
    into_onnx: bool = False,
) -> LinkRunner:
    """A link of a bundle, with its own unit unless another one is given; a modulation of an ONNX file has a value
    without effect before its first one.
    """
    manifest = bundle.manifest
    numbers = bundle.numbers(link.numbers)
    trigger = trigger_of(link)
    # a sampled link without a delay has a value whenever its target runs
    skips = skipped_flags(link, manifest.links)
    starts_with_value = link.kind == "transmission" and (link.held or link.once or link.delay > 0 or skips is not None)
    starts_with_value = starts_with_value or (link.kind == "modulation" and into_onnx)
    initial = _initial_value(link, numbers)
    if link.wake is not None:
        initial = np.zeros(link.wake.num_flags, np.float32)
        starts_with_value = True
    if unit is None:
        with fitting(f"link {link.name!r}"):
            unit = _unit(bundle, link, numbers, forms, open_session or OnnxSession)

    context = None
    if link.context is not None:
        context = np.zeros(manifest.shape(link.context), manifest.dtype(link.context))

    return LinkRunner(
        link,
        manifest.clock(link.source),
        unit,
        initial=initial if starts_with_value else None,
        context=context,
        trigger=None if trigger is None else (trigger, manifest.clock(trigger)),
        masked=trigger is not None and (trigger in manifest.flags or manifest.dtype(trigger) == "bool"),
        shape=link.shape,
        skips=skips,
        once=link.once,
        has_members=link.mask,
    )


def _initial_value(link: LinkRecord, numbers: Mapping[str, Values]) -> Values:
    if link.initial is None and "initial" not in numbers:
        raise DataError(f"link {link.name!r} has no initial value")

    initial = numbers["initial"] if link.initial is None else np.full(link.shape, link.initial, np.float32)
    if initial.shape != link.shape:
        raise DataError(f"link {link.name!r} carries {link.shape}, but its initial value has {initial.shape}")

    return initial.astype(link.dtype)


def _unit(
    bundle: Bundle, link: LinkRecord, numbers: Mapping[str, Any], forms: Forms, open_session: OpenSession
) -> Unit | None:
    if link.unit is None:
        return None

    spiking_layer = None
    if link.unit.fires is not None:
        graph = read_graph(bundle.read(link.unit.fires))
        check_step(f"{bundle.path / link.unit.fires}", graph.dt, link.emits, bundle.manifest.dt)
        spiking_layer = NirRunner(graph)

    stages = {"kernel": link.unit.kernel_function, "discretizer": link.unit.discretizer_function}
    functions = {stage: _window_function(bundle, file, open_session) for stage, file in stages.items() if file}
    files = UnitFiles(_nonlinearity(bundle, link, open_session), spiking_layer, functions)
    unit = float_unit(link.unit, numbers, files, forms)

    source = bundle.manifest.clock(link.source)
    # a window that does not count ticks asleep closes at any of them
    emits = unit.clock(source) if skipped_flags(link, bundle.manifest.links) is None else source
    if emits != link.emits:
        raise DataError(f"manifest: link {link.name!r} emits {link.emits}, but its unit has {emits}")

    return unit


def _nonlinearity(bundle: Bundle, link: LinkRecord, open_session: OpenSession) -> Nonlinearity | None:
    file = link.unit.nonlinearity if link.unit is not None else None
    if file is None:
        return None

    session = open_session(bundle.read(file), f"{bundle.path / file}")
    return lambda h, context: session.run({"value": h} | ({} if context is None else {"context": context}))[0]


def _window_function(bundle: Bundle, file: str, open_session: OpenSession) -> Function:
    session = open_session(bundle.read(file), f"{bundle.path / file}")
    return lambda values: session.run({"value": values})[0]
