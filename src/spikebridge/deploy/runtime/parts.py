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
from spikebridge.deploy.onnx.session import OnnxSession, OpenSession, Session
from spikebridge.deploy.runtime.nir_interpreter import Effects, NirRunner
from spikebridge.errors import DataError

Values: TypeAlias = NDArray[np.float32]


@runtime_checkable
class PartRunner(Protocol):
    """A part on a target: one tick a call. User-defined targets implement it."""

    def step(self, reads: Mapping[str, Values], effects: Effects, state: Any) -> tuple[Values, Any]:
        """A tick.

        Args:
            reads: values of the transmissions by link, `(B, *N)` each.
            effects: values of the modulations by node and quantity.
            state: state after the tick before, None at the start.

        Returns:
            `(B, *M)` and the state.
        """


@dataclass
class _OnnxFunction:
    session: Session

    def step(self, reads: Mapping[str, Values], effects: Effects, state: Any = None) -> tuple[Values, None]:
        return self.session.run(reads)[0], None


@dataclass
class _OnnxStep:
    """A stateful part that NIR cannot hold; `initial` is the state of one sample before the first tick."""

    session: Session
    initial: Sequence[NDArray[Any]]

    def step(self, reads: Mapping[str, Values], effects: Effects, state: Any) -> tuple[Values, Any]:
        # the file holds the state of one sample
        batch = len(next(iter(reads.values())))
        before = [np.repeat(t, batch, axis=0) for t in self.initial] if state is None else state
        y, *after = self.session.run({**reads, **{f"state.{i}": t for i, t in enumerate(before)}})
        return y, after


@dataclass
class _NirGraphRunner:
    runner: NirRunner

    def step(self, reads: Mapping[str, Values], effects: Effects, state: Any) -> tuple[Values, Any]:
        (x,) = reads.values()
        return self.runner.step(x, state, effects)

    def leak(self, state: Any, steps: int) -> Any:
        return self.runner.leak(state, steps)


def open_part(bundle: Bundle, name: str, record: PartRecord, open_session: OpenSession | None = None) -> PartRunner:
    """The runner of a part of a bundle; raises a `DataError` if its file does not fit its links."""
    links = [link for link in bundle.manifest.incoming(name) if link.kind == "transmission"]
    file = f"{bundle.path / record.file}"

    if record.format == "nir":
        if len(links) != 1:
            raise DataError(f"part {name!r} is a NIR graph with one input, but {len(links)} links lead to it")

        graph = read_graph(bundle.read(record.file))
        check_step(file, graph.dt, record.clock, bundle.manifest.dt)
        _check_effects(graph, bundle.manifest.incoming(name))

        return _NirGraphRunner(NirRunner(graph))

    session = (open_session or OnnxSession)(bundle.read(record.file), file)
    _check_inputs(session, links)
    if record.initial is None:
        return _OnnxFunction(session)

    numbers = bundle.numbers(record.initial)
    return _OnnxStep(session, [numbers[f"state.{i}"] for i in range(len(numbers))])


def _check_inputs(session: Session, links: Sequence[LinkRecord]) -> None:
    """Raises unless inputs of the file are named after the links: those by position, in order, then those by name."""
    expected = [link.name for link in sorted(links, key=lambda link: link.into is not None)]
    if session.inputs[: len(expected)] != expected:
        raise DataError(
            f"{session.name} takes {session.inputs}, but by the manifest's order of links and their into it should "
            f"take {expected}"
        )


def _check_effects(graph: NirGraph, links: Sequence[LinkRecord]) -> None:
    quantities = {node.name: node.numbers for node in graph.nodes}
    for link in links:
        if link.kind == "modulation" and link.quantity not in quantities.get(str(link.node), {}):
            raise DataError(
                f"link {link.name!r} modulates {link.node}.{link.quantity}, which the NIR graph does not have"
            )
