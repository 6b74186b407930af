"""Parts of a bundle that run without torch: an ONNX function, an ONNX step, a NIR graph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.bundle.bundle import Bundle
from spikebridge.deploy.bundle.consistency import check_step
from spikebridge.deploy.bundle.manifest import LinkRecord, PartRecord
from spikebridge.deploy.nir.graph import NirGraph, read_graph
from spikebridge.deploy.onnx.session import LEAK_STEPS, OnnxSession, OpenSession, Session
from spikebridge.deploy.runtime.nir_interpreter import SET, Effects, NirRunner
from spikebridge.errors import DataError, did_you_mean

Values: TypeAlias = NDArray[np.float32]
Outputs: TypeAlias = Values | dict[str, Values]


@runtime_checkable
class PartRunner(Protocol):
    """A part on a target: one tick a call. User-defined targets implement it.

    One whose wake has `state="leak"` has a second method, `leak(state, steps)`: the state after steps without input.
    """

    def step(self, reads: Mapping[str, Values], effects: Effects, state: Any) -> tuple[Outputs, Any]:
        """A tick.

        Args:
            reads: values of the transmissions by link, `(B, *N)` each.
            effects: values by node and quantity, each with how it acts: of modulations "add", "multiply" or "replace",
                of initialisations "set", by node and field of the state.
            state: state after the tick before, None at the start.

        Returns:
            `(B, *M)` and the state. A part whose record has `signals` gives them by name.
        """


@dataclass
class _OnnxFunction:
    """An ONNX file whose inputs are links; of modulations by node and quantity, in order."""

    name: str
    session: Session
    modulations: Mapping[tuple[str, str], Sequence[str]]
    outputs: Sequence[str]  # signals; none for one output

    def step(self, reads: Mapping[str, Values], effects: Effects, state: Any = None) -> tuple[Outputs, Any]:
        return self._named(self.session.run(self._feed(reads, effects))), None

    def _feed(self, reads: Mapping[str, Values], effects: Effects) -> dict[str, Values]:
        acting = {
            link: x for key, links in self.modulations.items() for link, (x, _) in zip(links, effects[key], strict=True)
        }
        return {**reads, **acting}

    def _named(self, values: Sequence[Values]) -> Outputs:
        return dict(zip(self.outputs, values, strict=True)) if self.outputs else values[0]


@dataclass
class _OnnxStep(_OnnxFunction):
    """A stateful part that NIR cannot hold; `initial` is the state of one sample before the first tick, by input."""

    initial: Mapping[str, NDArray[Any]]
    states: Mapping[str, str]  # inputs of the states that are read, by signal
    leaking: Session | None  # from the steps without input and the state to the state after them

    def leak(self, state: Any, steps: int) -> Any:
        if self.leaking is None:
            raise DataError(f"part {self.name!r} leaks while it is asleep, but the bundle has no file of its leak")

        batch = len(next(iter(state.values())))
        after = self.leaking.run({LEAK_STEPS: np.full(batch, steps, np.int64), **state})
        return dict(zip(state, after, strict=True))

    def begin(self, start: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {key: start[f"state.{i}"] for i, key in enumerate(self.initial)}

    def step(self, reads: Mapping[str, Values], effects: Effects, state: Any = None) -> tuple[Outputs, Any]:
        # the file holds the state of one sample
        batch = len(next(iter(reads.values())))
        before = {k: np.repeat(t, batch, axis=0) for k, t in self.initial.items()} if state is None else dict(state)
        for (node, field), acts in effects.items():
            if acts[0][1] == SET:
                name = f"state.{node}.{field}"
                before[name] = acts[0][0].astype(before[name].dtype)

        values = self.session.run({**self._feed(reads, effects), **before})
        number = len(self.outputs) or 1
        after = dict(zip(self.initial, values[number:], strict=True))
        outputs = self._named(values[:number])

        return with_states(self.name, outputs, {signal: after[key] for signal, key in self.states.items()}), after


@dataclass
class _NirGraphRunner:
    name: str
    runner: NirRunner
    states: Mapping[str, str]  # that are read, by signal

    def begin(self, start: Mapping[str, NDArray[Any]]) -> Any:
        return self.runner.begin({key.removeprefix("state."): value for key, value in start.items()})

    def step(self, reads: Mapping[str, Values], effects: Effects, state: Any) -> tuple[Outputs, Any]:
        (x,) = reads.values()
        y, after = self.runner.step(x, state, effects)
        return with_states(self.name, y, {signal: after.at(path) for signal, path in self.states.items()}), after

    def leak(self, state: Any, steps: int) -> Any:
        return self.runner.leak(state, steps)


def with_states(part: str, outputs: Outputs, states: Mapping[str, Values]) -> Outputs:
    """The outputs of a part, and the states of it that are read."""
    if not states:
        return outputs
    return {**(outputs if isinstance(outputs, dict) else {part: outputs}), **states}


def open_part(bundle: Bundle, name: str, record: PartRecord, open_session: OpenSession | None = None) -> PartRunner:
    """The runner of a part of a bundle; raises a `DataError` if its file does not fit its links."""
    incoming = bundle.manifest.incoming(name)
    links = [link for link in incoming if link.kind == "transmission"]
    acting = [link for link in incoming if link.acts]
    file = f"{bundle.path / record.file}"
    states = {signal: state_of(name, signal) for signal in record.states}

    if record.format == "nir":
        if len(links) != 1 or record.outputs:
            raise DataError(
                f"part {name!r} is a NIR graph with one input and one output, but {len(links)} links lead to it, and "
                f"it gives {list(record.outputs) or name!r}"
            )

        graph = read_graph(bundle.read(record.file))
        check_step(file, graph.dt, record.clock, bundle.manifest.dt)
        _check_states(name, (*states.values(), *_set_states(acting)), graph.states)
        _check_effects(graph, acting)

        return _NirGraphRunner(name, NirRunner(graph), states)

    session = (open_session or OnnxSession)(bundle.read(record.file), file)
    modulations = [link for link in acting if link.kind == "modulation"]
    _check_inputs(session, [*sorted(links, key=lambda link: link.into is not None), *modulations])
    by_target: dict[tuple[str, str], list[str]] = {}
    for link in modulations:
        by_target.setdefault((str(link.node), str(link.quantity)), []).append(link.name)

    function = (name, session, by_target, tuple(record.outputs))
    if record.initial is None:
        _check_states(name, (*states.values(), *_set_states(acting)), ())
        return _OnnxFunction(*function)

    numbers = bundle.numbers(record.initial)
    # in the order of the file: that of names in safetensors is another
    initial = {key: numbers[key] for key in session.inputs if key.startswith("state.")}
    _check_states(name, (*states.values(), *_set_states(acting)), [key.removeprefix("state.") for key in initial])

    leak_file = f"{bundle.path / record.leak}" if record.leak else ""
    leaking = (open_session or OnnxSession)(bundle.read(record.leak), leak_file) if record.leak else None

    return _OnnxStep(*function, initial, {signal: f"state.{path}" for signal, path in states.items()}, leaking)


def state_of(part: str, signal: str) -> str:
    """The layer and field of a state that is read as a signal: "part.layer.field", or "part.field" of one layer."""
    path = signal.removeprefix(f"{part}.")
    return path if "." in path else f"neuron.{path}"


def _set_states(acting: Sequence[LinkRecord]) -> list[str]:
    return [f"{link.node}.{link.quantity}" for link in acting if link.kind == "initialisation"]


def _check_states(part: str, states: Sequence[str], known: Sequence[str]) -> None:
    for state in states:
        if state not in known:
            raise DataError(f"links set or read the state {state!r} of part {part!r}; {did_you_mean(state, known)}")


def _check_inputs(session: Session, links: Sequence[LinkRecord]) -> None:
    """Raises unless inputs of the file are named after the links: by position in order, by name, then modulations."""
    expected = [link.name for link in links]
    if [name for name in session.inputs if not name.startswith("state.")] != expected:
        raise DataError(
            f"{session.name} takes {session.inputs}, but by the manifest's order of links and their into it should "
            f"take {expected}"
        )


def _check_effects(graph: NirGraph, links: Sequence[LinkRecord]) -> None:
    for link in links:
        if link.kind == "modulation" and f"{link.node}.{link.quantity}" not in graph.quantities:
            raise DataError(
                f"link {link.name!r} modulates {link.node}.{link.quantity}, which the NIR graph does not have"
            )
