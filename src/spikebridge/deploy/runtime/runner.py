"""A bundle that runs without torch: numpy, onnxruntime and nir are all it needs.

    runner = Runner(Bundle.open("bundle/"))
    outputs, state = runner.step({"events": x}, runner.start(batch=1))     # one tick
    outputs = runner.run(inputs)                                           # a recording

It is a second implementation of the rules of time of `HybridNetwork`, tick by tick in numpy, and checks the first. A
part fires at its ticks and reads sampled or held links; the values of a unit are delivered at the ticks of the link.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.bundle.bundle import Bundle, below
from spikebridge.deploy.bundle.manifest import InputRecord
from spikebridge.deploy.onnx.session import OpenSession
from spikebridge.deploy.runtime.links import LinkRunner, LinkRunnerState, Unit, fitting, open_link
from spikebridge.deploy.runtime.nir_interpreter import SET
from spikebridge.deploy.runtime.parts import PartRunner, open_part
from spikebridge.errors import ConfigError, DataError, ShapeError, check_named, did_you_mean, in_words, is_integer

Values: TypeAlias = NDArray[Any]
SignalHook: TypeAlias = Callable[[str, str, int, Values], Values]  # kind, name, tick, value: the value used instead


class RunnerState(NamedTuple):
    """All that a stream needs to resume: the next tick, the batch, states of parts and links."""

    tick: int
    batch: int
    parts: dict[str, Any]
    links: dict[str, LinkRunnerState]


class WokenState(NamedTuple):
    """The state of a part with a wake: of each sample the state and the ticks asleep, the outputs, the newest inputs.

    A sample before its first tick awake has None as its state.
    """

    parts: tuple[Any, ...]
    outputs: dict[str, Values]
    asleep: tuple[int, ...]
    missed: tuple[dict[str, Values], ...] = ()  # oldest first, of a part that replays


def check_arrays(inputs: Mapping[str, Any]) -> None:
    """Raises a `ShapeError` unless inputs are arrays by name."""
    check_named(inputs)
    for name, x in inputs.items():
        if not isinstance(x, np.ndarray):
            raise ShapeError(f"input {name!r} needs an array of numpy, but got {in_words(x)}; np.asarray makes one")


class TickRunner:
    """Parts and links, run tick by tick: the base of `Runner` and `IntegerModel`.

    `graph` is the record of the network, a `Manifest` or an `IntegerRecord`.
    """

    flag_type: type[np.generic] = np.float32  # of the signal "part.awake"

    def __init__(self, graph: Any, parts: Mapping[str, Any], links: Mapping[str, LinkRunner]) -> None:
        self.graph = graph
        self.parts = dict(parts)
        self.links = dict(links)
        self.schedule = tuple(_schedule(graph))
        # found once: a search through all links at every tick is a tenth of the time
        self.incoming = {part: tuple(graph.incoming(part)) for part in graph.parts}
        links_in = (link for links in self.incoming.values() for link in links)
        self.wakes = {link.target: link for link in links_in if link.kind == "wake"}
        self.on_demand = _inputs_on_demand(graph, self.wakes)
        for part, link in self.wakes.items():
            if link.wake.state == "leak" and not hasattr(parts[part], "leak"):
                raise ConfigError(
                    f"part {part!r} leaks while it is asleep, but its {type(parts[part]).__name__} has no method leak; "
                    "give it leak(state, steps), or export the network with state='keep'"
                )

    def wanted(self, state: RunnerState) -> dict[str, NDArray[np.bool_]]:
        """The samples `(B,)` that the next tick needs of each input, as `HybridNetwork.wanted`."""
        wanted = {}
        for name, record in self.graph.inputs.items():
            wanted[name] = np.full(state.batch, record.clock.fires(state.tick))
            wakes = [self.wakes[part].name for part in self.on_demand.get(name, ())]
            flags = [self.links[wake].known_flags(state.tick, state.links[wake]) for wake in wakes]
            known = [flag for flag in flags if flag is not None]
            if wakes and len(known) == len(flags):
                wanted[name] &= np.any(known, axis=0)

        return wanted

    def argument(self, link: Any) -> str:
        """The name by which a part reads the values of a transmission."""
        return str(link.name)

    def has_state(self, part: str) -> bool:
        """True if a part has a state, so that its samples run one by one once they sleep at ticks of their own."""
        return True

    def check_input(self, name: str, record: Any, x: Values) -> Values:
        """One step of an input as parts read it; raises where it does not fit."""
        return x

    def check_output(self, name: str, y: Values) -> Values:
        """One step of a part as links read it; raises where it does not fit."""
        return y

    @property
    def first_tick(self) -> int:
        """The tick at which a stream begins."""
        return 0

    def start(self, batch: int) -> RunnerState:
        links = {name: link.start(batch) for name, link in self.links.items()}
        return RunnerState(0, batch, dict.fromkeys(self.parts), links)

    def step(
        self, inputs: Mapping[str, Values], state: RunnerState, hook: SignalHook | None = None
    ) -> tuple[dict[str, Values], RunnerState]:
        """One tick: inputs with a sample at it, `(B, *N)` each, to the outputs that fired, and the state.

        An input that only parts with a wake read, without a unit, may be left out while they are asleep.
        An output `links.NAME` leaves the network by a unit; of several values in a tick it is the last one. A `hook` is
        called with every value of a part or link, and returns the value to use.
        """
        tick = state.tick
        signals = self._signals(inputs, tick, state.batch)
        missing = {name for name in self.on_demand if signals[name] is None}
        parts = dict(state.parts)
        links = dict(state.links)
        outputs: dict[str, Values] = {}

        for entry in self.schedule:
            if isinstance(entry, str):
                fired, parts[entry] = self._fire(entry, tick, parts[entry], links, missing)
                for signal, value in fired.items():
                    signals[signal] = value if hook is None else hook("parts", signal, tick, value)
                continue

            name = entry.name
            values, links[name] = self.links[name].run_unit(signals, tick, links[name])
            if hook is not None:
                values = [hook("links", name, tick, value) for value in values]

            if entry.target is not None:
                links[name] = self.links[name].send(values, links[name])
            elif values:
                outputs[f"links.{name}"] = values[-1]

        outputs |= {name: given for name in self.graph.outputs if (given := signals.get(name)) is not None}
        return outputs, RunnerState(tick + 1, state.batch, parts, links)

    def run(
        self, inputs: Mapping[str, Values], ticks: int | None = None, hook: SignalHook | None = None
    ) -> dict[str, Values]:
        """A whole recording `(T, B, *N)` to the outputs `(K, B, *M)`, without those that never fired.

        `ticks` of None takes the largest number for which every input has exactly the given samples.
        """
        check_arrays(inputs)
        number = self.count_ticks(inputs) if ticks is None else ticks
        if not is_integer(number) or number < 0:
            raise ConfigError(f"ticks must be an integer, 0 or more, but got {ticks!r}")
        if not inputs:
            raise ConfigError(f"a run needs inputs, to know the batch; there are {', '.join(self.graph.inputs)}")

        batch = next(iter(inputs.values())).shape[1]
        state = self.start(batch)
        recorded: dict[str, list[Values]] = {}

        for tick in range(self.first_tick, self.first_tick + number):
            outputs, state = self.step(self._samples_at(tick, inputs), state, hook)
            for name, y in outputs.items():
                recorded.setdefault(name, []).append(y)

        return {name: np.stack(values) for name, values in recorded.items()}

    def run_recorded(self, inputs: Mapping[str, Values], ticks: int) -> dict[str, dict[str, Values]]:
        """The signals of all parts and links over a recording, as "parts" and "links" by name, `(K, B, *M)` each."""
        recorded: dict[str, dict[str, list[Values]]] = {"parts": {}, "links": {}}

        def hook(kind: str, name: str, tick: int, value: Values) -> Values:
            recorded[kind].setdefault(name, []).append(value)
            return value

        self.run(inputs, ticks, hook)
        return {
            kind: {name: np.stack(values) for name, values in signals.items()} for kind, signals in recorded.items()
        }

    def count_ticks(self, inputs: Mapping[str, Values]) -> int:
        """The largest number of ticks for which every input has exactly the given samples."""
        records = self.graph.inputs
        for name in records:
            if name not in inputs:
                raise ShapeError(f"input {name!r} is missing; there are {', '.join(records)}")

        for name, x in inputs.items():
            self._check_known(name)
            if x.ndim < 2:
                raise ShapeError(f"input {name!r} needs a signal (T, B, *N), but got shape {x.shape}")

        first = self.first_tick
        clocks = {name: record.clock for name, record in records.items()}
        stops = [c.phase + (c.count(first) + len(inputs[name])) * c.period for name, c in clocks.items()]

        return min(stops) - first

    def _samples_at(self, tick: int, inputs: Mapping[str, Values]) -> dict[str, Values]:
        samples = {}
        for name, record in self.graph.inputs.items():
            if record.clock.fires(tick):
                x = inputs[name]
                index = record.clock.between(self.first_tick, tick)
                if index >= len(x):
                    raise ShapeError(f"input {name!r} has {len(x)} samples, but tick {tick} needs one more")
                samples[name] = x[index]

        return samples

    def _signals(self, inputs: Mapping[str, Values], tick: int, batch: int) -> dict[str, Values | None]:
        signals: dict[str, Values | None] = {}
        for name, record in self.graph.inputs.items():
            x = inputs.get(name)
            clock = record.clock
            if (x is None) == clock.fires(tick) and not (x is None and name in self.on_demand):
                expected = "a sample" if x is None else "none"
                raise ShapeError(
                    f"input {name!r} has {expected} at tick {tick} (every {clock.period} from tick {clock.phase})"
                )

            if x is not None and len(x) != batch:
                raise ShapeError(f"input {name!r} needs a step of {batch} streams, but got shape {x.shape}")

            signals[name] = None if x is None else self.check_input(name, record, x)

        for name in inputs:
            self._check_known(name)

        return signals

    def _check_known(self, name: str) -> None:
        if name not in self.graph.inputs:
            raise ShapeError(f"there is no input {name!r}; {did_you_mean(name, self.graph.inputs)}")

    def _fire(
        self, part: str, tick: int, state: Any, links: dict[str, LinkRunnerState], missing: set[str]
    ) -> tuple[dict[str, Values], Any]:
        """A part at a tick: its outputs and its flags by signal, none where it does not fire; and its state."""
        fires = self.graph.parts[part].clock.fires(tick)
        reads: dict[str, Values] = {}
        effects: dict[tuple[str, str], list[tuple[Values, str]]] = {}
        flags: Values | None = None

        # links are read at every tick, so that held values arrive in time
        for link in self.incoming[part]:
            if link.source in missing:
                continue

            value, links[link.name] = self.links[link.name].read(tick, fires, links[link.name])
            if value is None:
                continue
            if link.kind == "wake":
                flags = value
            elif link.kind == "transmission":
                reads[self.argument(link)] = value
            elif link.kind == "modulation":
                effects.setdefault((str(link.node), str(link.quantity)), []).append((value, link.by))
            elif fires:
                effects[str(link.node), str(link.quantity)] = [(value, SET)]
                if part not in self.wakes:
                    # a value sets a state once
                    links[link.name] = links[link.name]._replace(held=None)

        if not fires:
            return {}, state
        if flags is None:
            return self._step_part(part, reads, effects, state)

        absent = [link.source for link in self.incoming[part] if link.source in missing]
        if absent and flags.any():
            raise ShapeError(f"input {absent[0]!r} has no sample at tick {tick}, but part {part!r} is awake")

        outputs, state = self._fire_awake(part, flags, reads, effects, state)
        return {**outputs, f"{part}.awake": flags.astype(self.flag_type)[:, None]}, state

    def _step_part(
        self, part: str, reads: dict[str, Values], effects: Any, state: Any
    ) -> tuple[dict[str, Values], Any]:
        """A step of a part: its outputs by signal, and its state."""
        with fitting(f"part {part!r}"):
            y, state = self.parts[part].step(reads, effects, state)

        outputs = y if isinstance(y, dict) else {part: y}
        return {signal: self.check_output(signal, one) for signal, one in outputs.items()}, state

    def _fire_awake(
        self, part: str, flags: Values, reads: dict[str, Values], effects: Any, state: WokenState | None
    ) -> tuple[dict[str, Values], WokenState]:
        """A part with a wake at a tick, sample by sample where it has a state: its outputs, and its state."""
        wake = self.wakes[part].wake
        begins = state is None
        if state is None:
            zeros = {n: np.zeros((len(flags), *one.shape), one.dtype) for n, one in self.graph.given(part).items()}
            state = WokenState((None,) * len(flags), zeros, (0,) * len(flags))

        states = list(state.parts)
        outputs = {n: np.zeros_like(y) if wake.asleep == "zero" else y.copy() for n, y in state.outputs.items()}
        awake = np.flatnonzero(flags)
        # a part without a state runs once for all samples that are awake
        for rows in np.split(awake, len(awake)) if self.has_state(part) and len(awake) else [awake][: len(awake)]:
            first = int(rows[0])
            own, earlier = self._woken(part, first, state)
            steps: list[tuple[dict[str, Values], dict[tuple[str, str], Any]]] = [(missed, {}) for missed in earlier]
            steps.append((reads, _with_setters(effects, False)))
            if begins or state.asleep[first]:
                steps[0][1].update(_with_setters(effects, True))

            ran: dict[str, Values] = {}
            for one, acts in steps:
                ran, own = self._step_part(part, *_of_rows(rows, one, acts), own)
            states[first] = own
            for name, y in ran.items():
                outputs[name][rows] = y

        asleep = tuple(0 if flag else ticks + 1 for flag, ticks in zip(flags.tolist(), state.asleep, strict=True))
        missed = (*state.missed, reads)[-wake.replay :] if wake.replay else ()

        return outputs, WokenState(tuple(states), outputs, asleep, missed)

    def _woken(self, part: str, row: int, state: WokenState) -> tuple[Any, list[dict[str, Values]]]:
        """The state with which a sample runs on, kept, leaked or reset if it wakes up, and the inputs to replay."""
        wake = self.wakes[part].wake
        own = state.parts[row]
        asleep = state.asleep[row]
        if not asleep:
            return own, []

        number = min(wake.replay, len(state.missed))
        replayed = number if wake.state == "reset" else min(number, asleep)
        if wake.state == "leak" and own is not None:
            own = self.parts[part].leak(own, asleep - replayed)

        return None if wake.state == "reset" else own, list(state.missed[len(state.missed) - replayed :])


def _with_setters(effects: Any, sets: bool) -> dict[tuple[str, str], Any]:
    """The effects that set states, which they do at waking, or the others."""
    return {target: acts for target, acts in effects.items() if (acts[0][1] == SET) == sets}


def _of_rows(
    rows: NDArray[np.int64], reads: Mapping[str, Values], effects: Any
) -> tuple[dict[str, Values], dict[tuple[str, str], Any]]:
    """The values that some samples read, and the effects on them."""
    chosen = {name: x[rows] for name, x in reads.items()}
    return chosen, {target: [(x[rows], by) for x, by in acts] for target, acts in effects.items()}


def _inputs_on_demand(graph: Any, wakes: Mapping[str, Any]) -> dict[str, list[str]]:
    """The inputs that only parts with a wake read, at their ticks, without a unit or a replay; and these parts."""
    links = [link for part in (*graph.parts, None) for link in graph.incoming(part)]
    readers = {name: [link for link in links if name in link.sources] for name in graph.inputs}
    return {
        name: [link.target for link in reading]
        for name, reading in readers.items()
        if all(
            link.kind == "transmission" and link.target in wakes and not (link.unit or link.held or link.delay)
            for link in reading
        )
        and not any(wakes[link.target].wake.replay for link in reading)
    }


def _schedule(graph: Any) -> Iterator[Any]:
    """The records of links and the names of parts, in the order in which they run in a tick."""
    done = set(graph.inputs)
    delayed = []
    for part in graph.order:
        for link in graph.incoming(part):
            # a delayed link may read a part that fires later in this tick
            if link.delay and not done.issuperset(link.sources):
                delayed.append(link)
            else:
                yield link

        yield part
        done.add(part)

    yield from (*delayed, *graph.incoming(None))


class Runner(TickRunner):
    """A bundle, loaded.

    Args:
        bundle: an opened bundle.
        parts: other runners for some parts, by name.
        units: other units for some links, by name.
        stages: `KernelForm` and `DiscretizerForm` of user-defined stages by record name.
        open_session: loads an ONNX file; None takes onnxruntime.

    Raises:
        DataError: a file of the bundle is damaged or does not fit.
    """

    def __init__(
        self,
        bundle: Bundle,
        parts: Mapping[str, PartRunner] | None = None,
        units: Mapping[str, Unit] | None = None,
        stages: Mapping[str, Any] | None = None,
        open_session: OpenSession | None = None,
    ) -> None:
        self.manifest = bundle.manifest
        part_runners = dict(parts or {})
        for name, record in self.manifest.parts.items():
            if name not in part_runners:
                part_runners[name] = open_part(bundle, name, record, open_session)

        own_units = dict(units or {})
        # another runner of a part is given effects from their first values on
        by_onnx = [n for n, record in self.manifest.parts.items() if record.format == "onnx" and n not in (parts or ())]
        links = {
            link.name: open_link(
                bundle, link, own_units.get(link.name), stages, open_session, into_onnx=link.target in by_onnx
            )
            for link in self.manifest.links
        }
        super().__init__(self.manifest, part_runners, links)
        self.start_numbers = bundle.numbers(self.manifest.start.file) if self.manifest.start is not None else {}

    def checked(self, inputs: Mapping[str, Values]) -> dict[str, Values]:
        """Inputs `(T, B, *N)` as the bundle takes them; raises where they do not fit."""
        check_arrays(inputs)
        self.count_ticks(inputs)
        rows = {name: x.reshape(-1, *x.shape[2:]) for name, x in inputs.items()}
        records = self.manifest.inputs

        return {name: self.check_input(name, records[name], x).reshape(inputs[name].shape) for name, x in rows.items()}

    @property
    def first_tick(self) -> int:
        return self.manifest.first_tick

    def start(self, batch: int) -> RunnerState:
        state = super().start(batch)
        record = self.manifest.start
        if record is None:
            return state
        if record.batch not in (1, batch):
            raise ShapeError(f"the bundle begins at a state of {record.batch} streams, but {batch} were asked for")

        repeats = batch if record.batch == 1 else 1
        numbers = {n: np.repeat(x, repeats, 0) if np.ndim(x) else x for n, x in self.start_numbers.items()}
        parts = {name: self._begin(name, below(f"parts.{name}.", numbers), batch) for name in self.parts}
        links = {name: link.begin(below(f"links.{name}.", numbers), batch) for name, link in self.links.items()}

        return RunnerState(record.tick, batch, parts, links)

    def _begin(self, part: str, numbers: dict[str, Values], batch: int) -> Any:
        own = {key: value for key, value in numbers.items() if key.startswith("state.")}
        runner = self.parts[part]
        if own and not hasattr(runner, "begin"):
            raise ConfigError(
                f"part {part!r} begins at a state, but its {type(runner).__name__} has no method begin; give it "
                "begin(start), or export the network without state="
            )
        if part not in self.wakes:
            return runner.begin(own) if own else None

        if self.graph.parts[part].clock.count(self.first_tick) == 0:
            return None

        rows = [{key: value[row : row + 1] for key, value in own.items()} for row in range(batch)]
        asleep = tuple(int(n) for n in numbers.get("asleep", np.zeros(batch)))
        states = tuple(runner.begin(row) if row else None for row in rows)

        return WokenState(states, below("outputs.", numbers), asleep, self._missed(part, below("missed.", numbers)))

    def _missed(self, part: str, numbers: dict[str, Values]) -> tuple[dict[str, Values], ...]:
        """The inputs that a part missed, oldest first, from those of each argument: by position first, then by name."""
        links = [link for link in self.incoming[part] if link.kind == "transmission"]
        links.sort(key=lambda link: link.into is not None)
        missed = {link.name: numbers[str(i)] for i, link in enumerate(links)} if numbers else {}
        ticks = zip(*(np.moveaxis(x, 1, 0) for x in missed.values()), strict=True)

        return tuple(dict(zip(missed, rows, strict=True)) for rows in ticks)

    def has_state(self, part: str) -> bool:
        record = self.manifest.parts[part]
        return record.format == "nir" or record.initial is not None

    def check_output(self, name: str, y: Values) -> Values:
        shape = self.manifest.shape(name)
        if y.shape[1:] != shape:
            raise DataError(f"part {name!r} gave values of shape {y.shape[1:]}, but the manifest says {shape}")
        return y

    def check_input(self, name: str, record: InputRecord, x: Values) -> Values:
        if x.shape[1:] != record.shape:
            raise ShapeError(f"input {name!r} needs a step {(len(x), *record.shape)}, but got {x.shape}")

        if record.dtype == "bool":
            if x.dtype != np.bool_:
                raise ShapeError(f"input {name!r} is a mask of flags, but got {x.dtype}")
            return x

        if x.dtype.kind not in "fbiu":
            raise ShapeError(f"input {name!r} needs numbers, but got {x.dtype}")

        values: Values = x.astype(np.float32)
        if not np.isfinite(values).all():
            raise DataError(f"input {name!r} has values that are not finite")

        return values
