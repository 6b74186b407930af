"""Parts of a bundle that run without torch: an ONNX function, an ONNX step, a NIR graph."""

from collections.abc import Mapping, Sequence
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
    """What runs a part: one tick."""

    def step(self, reads: Mapping[str, Values], effects: Effects, state: Any) -> tuple[Values, Any]:
        """A tick.

        Args:
            reads: what the transmissions bring, by link, `(B, *N)` each.
            effects: what the modulations bring, by node and quantity.
            state: after the tick before, None at the start.

        Returns:
            `(B, *M)` and the state.
        """


class _OnnxFunction:
    """A plain part, or the nonlinearity of a unit.

    Args:
        session: the loaded file.
        shape: of what it gives.
    """

    def __init__(self, session: Session, shape: Sequence[int]) -> None:
        self.session = session
        self.shape = tuple(shape)

    def step(self, reads: Mapping[str, Values], effects: Effects, state: Any = None) -> tuple[Values, None]:
        return _fits(self.session.run(reads)[0], self.shape, self.session.name), None


class _OnnxStep:
    """A stateful part that NIR cannot hold.

    Args:
        session: the loaded file.
        initial: the state before the first tick, for one sample.
        shape: of what it gives.
    """

    def __init__(self, session: Session, initial: Mapping[str, NDArray[Any]], shape: Sequence[int]) -> None:
        self.session = session
        self.initial = [initial[f"state.{i}"] for i in range(len(initial))]
        self.shape = tuple(shape)

    def step(self, reads: Mapping[str, Values], effects: Effects, state: Any) -> tuple[Values, Any]:
        batch = len(next(iter(reads.values())))
        before = [np.repeat(t, batch, axis=0) for t in self.initial] if state is None else state
        y, *after = self.session.run({**reads, **{f"state.{i}": t for i, t in enumerate(before)}})
        return _fits(y, self.shape, self.session.name), after


class _NirGraphRunner:
    """An SNN part: a NIR graph in numpy.

    Args:
        graph: of `read_graph`.
        shape: of what it gives.
        name: of the file, for messages.
    """

    def __init__(self, graph: NirGraph, shape: Sequence[int], name: str) -> None:
        self.runner = NirRunner(graph)
        self.shape = tuple(shape)
        self.name = name

    def step(self, reads: Mapping[str, Values], effects: Effects, state: Any) -> tuple[Values, Any]:
        (x,) = reads.values()
        y, after = self.runner.step(x, state, effects)
        return _fits(y, self.shape, self.name), after


def open_part(bundle: Bundle, name: str, record: PartRecord, open_session: OpenSession | None = None) -> PartRunner:
    """The runner of a part.

    Args:
        bundle: an opened one.
        name: of the part.
        record: of the part.
        open_session: loads an ONNX file; None takes onnxruntime.

    Raises:
        DataError: its file is damaged, or does not take what the links bring.
    """
    links = [link for link in bundle.manifest.incoming(name) if link.kind == "transmission"]
    if record.format == "nir":
        if len(links) != 1:
            raise DataError(f"part {name!r} is a NIR graph with one input, but {len(links)} links lead to it")
        graph = read_graph(bundle.read(record.file))
        check_step(f"{bundle.path / record.file}", graph.dt, record.clock, bundle.manifest.dt)
        _check_effects(graph, bundle.manifest.incoming(name))

        return _NirGraphRunner(graph, record.shape, f"{bundle.path / record.file}")

    session = (open_session or OnnxSession)(bundle.read(record.file), f"{bundle.path / record.file}")
    _check_inputs(session, links)
    if record.initial is None:
        return _OnnxFunction(session, record.shape)

    return _OnnxStep(session, bundle.numbers(record.initial), record.shape)


def _check_inputs(session: Session, links: Sequence[LinkRecord]) -> None:
    """Inputs of the file are named after the links: those by position, in their order, then those with a name."""
    wanted = [link.name for link in sorted(links, key=lambda link: link.into is not None)]
    if session.inputs[: len(wanted)] != wanted:
        raise DataError(
            f"{session.name} takes {session.inputs}, but by the manifest's order of links and their into it should "
            f"take {wanted}"
        )


def _check_effects(graph: NirGraph, links: Sequence[LinkRecord]) -> None:
    known = {node.name: node.numbers for node in graph.nodes}
    for link in links:
        if link.kind == "modulation" and link.quantity not in known.get(str(link.node), {}):
            raise DataError(
                f"link {link.name!r} modulates {link.node}.{link.quantity}, which the NIR graph does not have"
            )


def _fits(y: Values, shape: tuple[int, ...], name: str) -> Values:
    if y.shape[1:] != shape:
        raise DataError(f"{name} gave values of shape {y.shape[1:]}, but the manifest says {shape}")
    return y
