"""A NIR graph as nodes in the order in which they run, with this package's quantities. No torch is needed.

Edges that come together add up. Graphs inside graphs are laid open. In a loop, what a neuron gave one tick before comes
back, as in `Recurrent`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import numpy as np

from spikebridge.deploy.nir_file import open_graph
from spikebridge.deploy.nir_quantities import Array, Made, Reading, Reset, Step, quantities_of
from spikebridge.deploy.nir_shapes import check_shapes
from spikebridge.errors import ConfigError, DataError

STATEFUL = ("LIF", "Integrator", "CubaLIF", "CubaLI", "Delay")
SPIKING = ("LIF", "CubaLIF", "Threshold")


@dataclass(frozen=True)
class Node:
    """One node.

    Attributes:
        name: its path in the file.
        kind: NIR's name of it; IF is a LIF without leak here, I and LI are an Integrator.
        numbers: weights, or quantities in this package's sense.
        settings: strides, paddings, the kind of reset.
        sources: the nodes whose outputs of this tick are added up at its input.
        delayed: those whose outputs of the tick before are added, too: feedback.
    """

    name: str
    kind: str
    numbers: dict[str, Array]
    settings: dict[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    delayed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graph:
    """Nodes in the order in which they run inside a tick.

    Attributes:
        dt: step of the clock [s].
        input: name of the input node.
        outputs: the nodes whose outputs are added up as the output.
        shape: of one sample of the input, None where the file does not say.
        shapes: of what every node gives.
    """

    nodes: tuple[Node, ...]
    dt: float
    input: str
    outputs: tuple[str, ...]
    shape: tuple[int, ...] | None
    shapes: dict[str, tuple[int, ...] | None] = field(default_factory=dict)


def read_graph(
    source: Any, *, dt: float | None = None, integration: Reading | None = None, reset: Reset | None = None
) -> Graph:
    """A NIR graph, from a file or from memory.

    Args:
        source: a path, the bytes of a file, or a `nir.NIRGraph`.
        dt: step [s]; None takes the one that this package's files name.
        integration: how the time of the file's writer went on in a step; None takes what the file names, else "exact".
        reset: what NIR has no field for; None takes what the file names, else "hard".

    Raises:
        DataError: the file is damaged, a node is unknown, or shapes do not fit.
        ConfigError: the step is not known, or too long.
    """
    graph = open_graph(source)
    told = graph.metadata if isinstance(graph.metadata, Mapping) else {}
    step = float(told["dt"]) if dt is None and "dt" in told else dt
    if step is None:
        raise ConfigError("the NIR file does not name its step; give dt= [s] of the simulator that wrote it")
    if not 0 < step < np.inf:
        raise ConfigError(f"a step is a time above 0 s, but got dt={step}")
    way = integration or told.get("integration", "exact")
    if way not in get_args(Reading):
        raise ConfigError(f"a step is integrated 'exact', by 'euler' or 'unscaled', but got {way!r}")
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    _flatten(graph, "", nodes, edges)
    entry, outputs = _ends(nodes, edges)
    inside = {name: node for name, node in nodes.items() if name not in (entry, *outputs)}
    made = {name: quantities_of(name, node, Step(step, way), reset) for name, node in inside.items()}
    order = _in_order(entry, made, {name: [a for a, b in edges if b == name] for name in made})
    given = tuple(a for a, b in edges if b in outputs)
    if not given or entry in given:
        raise DataError("the NIR graph has no node between its input and its output")
    shape = nodes[entry].input_type.get("input")
    result = Graph(tuple(order), step, entry, given, None if shape is None else tuple(int(n) for n in np.ravel(shape)))
    return replace(result, shapes=check_shapes(result))


def _flatten(graph: Any, prefix: str, nodes: dict[str, Any], edges: list[tuple[str, str]]) -> None:
    """Graphs inside graphs, as some libraries write feedback, laid open: `outer.inner`."""
    inner = {name for name, node in graph.nodes.items() if type(node).__name__ == "NIRGraph"}
    ends: dict[str, tuple[list[str], list[str]]] = {}
    for name, node in graph.nodes.items():
        if name not in inner:
            nodes[prefix + name] = node
            continue
        deeper: dict[str, Any] = {}
        wires: list[tuple[str, str]] = []
        _flatten(node, f"{prefix}{name}.", deeper, wires)
        entry, outputs = _ends(deeper, wires)
        ends[name] = ([b for a, b in wires if a == entry], [a for a, b in wires if b in outputs])
        nodes |= {key: value for key, value in deeper.items() if key not in (entry, *outputs)}
        edges += [(a, b) for a, b in wires if a != entry and b not in outputs]
    for a, b in dict.fromkeys((str(a), str(b)) for a, b in graph.edges):
        starts = ends[a][1] if a in inner else [prefix + a]
        stops = ends[b][0] if b in inner else [prefix + b]
        edges += [(start, stop) for start in starts for stop in stops]


def _ends(nodes: Mapping[str, Any], edges: list[tuple[str, str]]) -> tuple[str, list[str]]:
    for a, b in edges:
        for name in (a, b):
            if name not in nodes:
                raise DataError(f"the NIR graph has an edge {a!r} -> {b!r}, but no node {name!r}")
    inputs = [name for name, node in nodes.items() if type(node).__name__ == "Input"]
    outputs = [name for name, node in nodes.items() if type(node).__name__ == "Output"]
    if len(inputs) != 1 or len(outputs) != 1:
        raise DataError(f"a part has one input and one output, but the NIR graph has {inputs} and {outputs}")
    return inputs[0], outputs


def _in_order(entry: str, made: Mapping[str, Made], sources: Mapping[str, list[str]]) -> list[Node]:
    """Along the edges; where a loop leaves no next node, what comes back in it is read one tick late."""
    order: list[Node] = []
    done = {entry}

    def place(name: str, waiting: frozenset[str]) -> None:
        late = []
        for source in sources[name]:
            if source in done:
                continue
            # the spikes are what comes late, so what stands between them and here runs first
            if made[source][0] in STATEFUL or source in waiting:
                late.append(source)
            else:
                place(source, waiting | {source})
        now = tuple(source for source in sources[name] if source not in late)
        order.append(Node(name, *made[name], sources=now, delayed=tuple(late)))
        done.add(name)

    while left := [name for name in made if name not in done]:
        ready = [name for name in left if sources[name] and done.issuperset(sources[name])]
        begun = ready or [name for name in left if not done.isdisjoint(sources[name])]
        if not begun:
            raise DataError(f"nothing in the NIR graph leads to {', '.join(map(repr, left))}")
        place(begun[0], frozenset(begun[:1]))
    return order
