"""A NIR graph as nodes in the order in which they run, with this package's quantities. No torch is needed.

Edges that come together add up. Graphs inside graphs are flattened. In a loop a neuron's output comes back one tick
later, as in `Recurrent`. Shapes are checked from the input to the output.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, TypeAlias, get_args

import numpy as np

from spikebridge.deploy.nir.file import one_line_errors, open_graph
from spikebridge.deploy.nir.quantities import KINDS, Array, Quantities, Reading, Reset, Step, quantities_of
from spikebridge.errors import ConfigError, DataError, ExportError

Shape: TypeAlias = tuple[int, ...] | None  # None where the file does not say
# of the state of each stateful kind, a membrane first; None where it cannot be set
_FIELDS = {"LIF": ("v",), "Integrator": ("v",), "CubaLIF": ("v", "i"), "CubaLI": None, "Delay": None}
_MAX_NUMBERS = 1 << 28
_MAX_EDGES = 1 << 18
_MAX_LOOP = 400  # nodes without a state


@dataclass(frozen=True)
class NirNode:
    """One node: weights, or quantities of this package. IF is a LIF without leak here, I and LI are an Integrator."""

    name: str
    kind: str
    numbers: dict[str, Array]
    settings: dict[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()  # nodes whose outputs of this tick are added up at its input
    delayed: tuple[str, ...] = ()  # nodes whose outputs of the tick before are added, too: feedback


@dataclass(frozen=True)
class NirGraph:
    """Nodes in the order in which they run inside a tick; shapes are those of one sample."""

    nodes: tuple[NirNode, ...]
    dt: float
    input: str
    outputs: tuple[str, ...]  # nodes whose outputs are added up
    shape: Shape  # of the input
    shapes: dict[str, Shape] = field(default_factory=dict)  # of the output of every node

    @property
    def quantities(self) -> list[str]:
        """All that can be modulated, "node.quantity"."""
        return [f"{node.name}.{quantity}" for node in self.nodes for quantity in node.numbers]

    @property
    def states(self) -> list[str]:
        """All that can be set and read, "node.v"."""
        return [f"{node.name}.v" for node in self.nodes if _FIELDS.get(node.kind)]

    @property
    def memories(self) -> list[str]:
        """All fields of the state, "node.field"; raises where there are others than membranes, currents and waits."""
        paths = []
        for node in self.nodes:
            fields = _FIELDS.get(node.kind, ())
            if fields is None or node.delayed:
                raise ExportError(f"the node {node.name!r} has feedback or a past, which NIR does not begin with")

            fields = (*fields, "wait") if node.settings.get("refractory") else fields
            paths += [f"{node.name}.{field}" for field in fields]

        return paths


def read_graph(
    source: Any, *, dt: float | None = None, integration: Reading | None = None, reset: Reset | None = None
) -> NirGraph:
    """A NIR graph from a path, the bytes of a file, or a `nir.NIRGraph`.

    `dt` [s], `integration` and `reset` replace those that the file names; without either, a step is integrated
    "exact", and a reset is to "zero".
    """
    graph = open_graph(source, KINDS)
    metadata = graph.metadata if isinstance(graph.metadata, Mapping) else {}
    step = _step(metadata, dt, integration)

    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    _flatten(graph, "", nodes, edges)
    entry, outputs = _ends(nodes, edges)
    inside = {name: node for name, node in nodes.items() if name not in (entry, *outputs)}
    quantities = {name: quantities_of(name, node, step, reset) for name, node in inside.items()}
    order = _in_order(entry, quantities, edges)

    last = tuple(a for a, b in edges if b in outputs)
    if not last or entry in last:
        raise DataError("the NIR graph has no node between its input and its output")

    shape = nodes[entry].input_type.get("input")
    sizes = None if shape is None else tuple(int(n) for n in np.ravel(shape))
    ordered = NirGraph(tuple(order), step.dt, entry, last, sizes)

    return replace(ordered, shapes=_check_shapes(ordered))


def _step(metadata: Mapping[str, Any], dt: float | None, integration: Reading | None) -> Step:
    if dt is None and "dt" in metadata:
        with one_line_errors("the step of the NIR file"):
            dt = float(metadata["dt"])

    if dt is None:
        raise ConfigError("the NIR file does not name its step; give dt= [s] of the simulator that wrote it")
    if not 0 < dt < np.inf:
        raise ConfigError(f"a step is a time above 0 s, but got dt={dt}")

    method = integration or metadata.get("integration", "exact")
    if method not in get_args(Reading):
        raise ConfigError(f"a step is integrated 'exact', by 'euler' or 'unscaled', but got {method!r}")

    return Step(dt, method)


def _flatten(graph: Any, prefix: str, nodes: dict[str, Any], edges: list[tuple[str, str]]) -> None:
    """Adds nodes and edges of a graph; those of inner graphs, as some libraries write feedback, as `outer.inner`."""
    starts: dict[str, list[str]] = {}
    stops: dict[str, list[str]] = {}

    for name, node in graph.nodes.items():
        if type(node).__name__ != "NIRGraph":
            nodes[prefix + name] = node
            continue

        inner_nodes: dict[str, Any] = {}
        inner_edges: list[tuple[str, str]] = []
        _flatten(node, f"{prefix}{name}.", inner_nodes, inner_edges)
        entry, outputs = _ends(inner_nodes, inner_edges)
        stops[name] = [b for a, b in inner_edges if a == entry]
        starts[name] = [a for a, b in inner_edges if b in outputs]
        nodes |= {key: value for key, value in inner_nodes.items() if key not in (entry, *outputs)}
        edges += [(a, b) for a, b in inner_edges if a != entry and b not in outputs]

    for a, b in dict.fromkeys((str(a), str(b)) for a, b in graph.edges):
        before = starts.get(a, [prefix + a])
        after = stops.get(b, [prefix + b])
        # every end of one inner graph leads to every start of the next
        if len(edges) + len(before) * len(after) > _MAX_EDGES:
            raise DataError(f"the NIR graph has more than {_MAX_EDGES} edges")
        edges += [(start, stop) for start in before for stop in after]


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


def _in_order(entry: str, quantities: Mapping[str, Quantities], edges: Sequence[tuple[str, str]]) -> list[NirNode]:
    """Nodes along the edges; in a loop, the signal that comes back is read one tick late."""
    sources: dict[str, list[str]] = {name: [] for name in quantities}
    for a, b in edges:
        if (a != entry and a not in quantities) or b == entry:
            raise DataError(f"the NIR graph has an edge {a!r} -> {b!r}, from its output or to its input")
        if b in sources:
            sources[b].append(a)

    order: list[NirNode] = []
    done = {entry}

    def place(name: str, waiting: frozenset[str]) -> None:
        if len(waiting) > _MAX_LOOP or not sources[name]:
            why = f"leads to {name!r}" if not sources[name] else f"breaks a loop of {_MAX_LOOP} nodes with a neuron"
            raise DataError(f"nothing in the NIR graph {why}")

        late = []
        for source in sources[name]:
            if source in done:
                continue
            # spikes are what comes back late, so that the nodes between them and here run first
            if quantities[source][0] in _FIELDS or source in waiting:
                late.append(source)
            else:
                place(source, waiting | {source})

        prompt = tuple(source for source in sources[name] if source not in late)
        order.append(NirNode(name, *quantities[name], sources=prompt, delayed=tuple(late)))
        done.add(name)

    while remaining := [name for name in quantities if name not in done]:
        ready = [name for name in remaining if sources[name] and done.issuperset(sources[name])]
        # in a loop no node is ready; one that some input reaches comes first
        candidates = ready or [name for name in remaining if not done.isdisjoint(sources[name])]
        if not candidates:
            raise DataError(f"nothing in the NIR graph leads to {', '.join(map(repr, remaining)):.200}")
        place(candidates[0], frozenset(candidates[:1]))

    return order


def _check_shapes(graph: NirGraph) -> dict[str, Shape]:
    """The shape of the output of every node; raises a `DataError` if a node cannot take its inputs."""
    shapes: dict[str, Shape] = {graph.input: graph.shape}
    for node in graph.nodes:
        shapes[node.name] = _shape_after(node, _joint_shape(node.name, [shapes[source] for source in node.sources]))

    # a second time with the signals that come back in loops
    for node in graph.nodes:
        incoming = [shapes[source] for source in (*node.sources, *node.delayed)]
        _shape_after(node, _joint_shape(node.name, incoming))

    _joint_shape("output", [shapes[name] for name in graph.outputs])
    return shapes


def _shape_after(node: NirNode, shape: Shape) -> Shape:
    if node.kind == "Affine":
        return _after_affine(node, shape)
    if node.kind in ("Conv1d", "Conv2d"):
        return _after_conv(node, shape)
    if node.kind in ("AvgPool2d", "SumPool2d"):
        return _after_pool(node, shape)
    if node.kind == "Flatten":
        return _after_flatten(node, shape)

    # neurons, factors and delays keep the shape, and may have one quantity for all places
    quantities = np.broadcast_shapes(*(value.shape for value in node.numbers.values())) if node.numbers else ()
    if shape is None:
        return quantities if prod(quantities) > 1 else None

    try:
        fits = np.broadcast_shapes(quantities, shape) == shape
    except ValueError:
        fits = False

    if not fits:
        raise _misfit(node, shape, f"{quantities}")

    return shape


def _after_affine(node: NirNode, shape: Shape) -> Shape:
    weight = node.numbers["weight"]
    bias = node.numbers.get("bias")
    if weight.ndim != 2:
        raise DataError(f"the NIR node {node.name!r} has a weight of shape {weight.shape}; a matrix is read")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise DataError(f"the NIR node {node.name!r} has a weight {weight.shape} and a bias {bias.shape}")
    if shape is not None and shape != weight.shape[1:]:
        raise _misfit(node, shape, f"{weight.shape[1:]}")

    return weight.shape[:1]


def _after_conv(node: NirNode, shape: Shape) -> Shape:
    weight = node.numbers["weight"]
    bias = node.numbers.get("bias")
    num_axes = int(node.kind[4])
    groups = node.settings["groups"]
    if bias is not None and bias.shape != weight.shape[:1]:
        raise DataError(f"the NIR node {node.name!r} has a kernel {weight.shape} and a bias {bias.shape}")

    if shape is None:
        return None
    if len(shape) != num_axes + 1 or shape[0] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise _misfit(node, shape, f"({weight.shape[1] * groups}, {'H, W' if num_axes == 2 else 'L'})")

    padding = node.settings["padding"]
    return (weight.shape[0], *_positions(node, shape[1:], weight.shape[2:], padding, node.settings["dilation"]))


def _after_pool(node: NirNode, shape: Shape) -> Shape:
    if shape is None:
        return None
    if len(shape) != 3:
        raise _misfit(node, shape, "(C, H, W)")

    padding = [(n, n) for n in node.settings["padding"]]
    return (shape[0], *_positions(node, shape[1:], node.settings["kernel_size"], padding, (1, 1)))


def _positions(
    node: NirNode,
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    padding: Sequence[tuple[int, int]],
    dilation: tuple[int, ...],
) -> tuple[int, ...]:
    sides = zip(shape, kernel, node.settings["stride"], padding, dilation, strict=True)
    positions = tuple((n + a + b - d * (k - 1) - 1) // s + 1 for n, k, s, (a, b), d in sides)
    if any(n < 1 for n in positions) or prod(positions) > _MAX_NUMBERS:
        raise _misfit(node, shape, f"space for a kernel {kernel}")

    return positions


def _after_flatten(node: NirNode, shape: Shape) -> Shape:
    if shape is None:
        return None

    start, end = (n % len(shape) if -len(shape) <= n < len(shape) else -1 for n in node.settings.values())
    if not 0 <= start <= end:
        raise _misfit(node, shape, f"axes {tuple(node.settings.values())} to flatten")

    return (*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :])


def _joint_shape(name: str, shapes: list[Shape]) -> Shape:
    distinct = {shape for shape in shapes if shape is not None}
    if len(distinct) > 1:
        raise DataError(f"the inputs of the NIR node {name!r} have the shapes {sorted(distinct)}; they must be one")

    return distinct.pop() if distinct else None


def _misfit(node: NirNode, shape: tuple[int, ...], expected: str) -> DataError:
    return DataError(f"the NIR node {node.name!r} ({node.kind}) needs {expected}, but gets a sample of shape {shape}")
