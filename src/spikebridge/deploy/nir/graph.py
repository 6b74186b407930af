"""A NIR graph as nodes in the order in which they run, with this package's quantities. No torch is needed.

Edges that come together add up. Graphs inside graphs are flattened. In a loop a neuron's output comes back one tick
later, as in `Recurrent`. Shapes are checked from the input to the output.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from spikebridge.deploy.nir.file import open_graph
from spikebridge.deploy.nir.quantities import KINDS, Array, Made, Reading, Reset, Step, quantities_of
from spikebridge.errors import ConfigError, DataError

if TYPE_CHECKING:
    pass


_STATEFUL = ("LIF", "Integrator", "CubaLIF", "CubaLI", "Delay")


@dataclass(frozen=True)
class NirNode:
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
class NirGraph:
    """Nodes in the order in which they run inside a tick.

    Attributes:
        dt: step of the clock [s].
        input: name of the input node.
        outputs: the nodes whose outputs are added up as the output.
        shape: of one sample of the input, None where the file does not say.
        shapes: of what every node gives.
    """

    nodes: tuple[NirNode, ...]
    dt: float
    input: str
    outputs: tuple[str, ...]
    shape: tuple[int, ...] | None
    shapes: dict[str, tuple[int, ...] | None] = field(default_factory=dict)


def read_graph(
    source: Any, *, dt: float | None = None, integration: Reading | None = None, reset: Reset | None = None
) -> NirGraph:
    """A NIR graph, from a file or from memory.

    Args:
        source: a path, the bytes of a file, or a `nir.NIRGraph`.
        dt: step [s]; None takes the one that this package's files name.
        integration: how the time of the file's writer went on in a step; None takes what the file names, else "exact".
        reset: what NIR has no field for; None takes what the file names, else "zero".

    Raises:
        DataError: the file is damaged, a node is unknown, or shapes do not fit.
        ConfigError: the step is not known, or too long.
    """
    graph = open_graph(source, KINDS)
    metadata = graph.metadata if isinstance(graph.metadata, Mapping) else {}
    step = float(metadata["dt"]) if dt is None and "dt" in metadata else dt
    if step is None:
        raise ConfigError("the NIR file does not name its step; give dt= [s] of the simulator that wrote it")
    if not 0 < step < np.inf:
        raise ConfigError(f"a step is a time above 0 s, but got dt={step}")

    way = integration or metadata.get("integration", "exact")
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
    result = NirGraph(
        tuple(order), step, entry, given, None if shape is None else tuple(int(n) for n in np.ravel(shape))
    )

    return replace(result, shapes=_check_shapes(result))


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


def _in_order(entry: str, made: Mapping[str, Made], sources: Mapping[str, list[str]]) -> list[NirNode]:
    """Along the edges; where a loop leaves no next node, what comes back in it is read one tick late."""
    order: list[NirNode] = []
    done = {entry}

    def place(name: str, waiting: frozenset[str]) -> None:
        late = []
        for source in sources[name]:
            if source in done:
                continue
            # the spikes are what comes late, so what stands between them and here runs first
            if made[source][0] in _STATEFUL or source in waiting:
                late.append(source)
            else:
                place(source, waiting | {source})

        now = tuple(source for source in sources[name] if source not in late)
        order.append(NirNode(name, *made[name], sources=now, delayed=tuple(late)))
        done.add(name)

    while left := [name for name in made if name not in done]:
        ready = [name for name in left if sources[name] and done.issuperset(sources[name])]
        begun = ready or [name for name in left if not done.isdisjoint(sources[name])]
        if not begun:
            raise DataError(f"nothing in the NIR graph leads to {', '.join(map(repr, left))}")
        place(begun[0], frozenset(begun[:1]))

    return order


Shape = tuple[int, ...] | None  # None where the file does not say
_MOST_NUMBERS = 1 << 28


def _check_shapes(graph: "NirGraph") -> dict[str, Shape]:
    """The shape of what every node gives, one sample each.

    Raises:
        DataError: a node cannot take what comes; the message names it and both shapes.
    """
    shapes: dict[str, Shape] = {graph.input: graph.shape}
    for node in graph.nodes:
        shapes[node.name] = _shape_after(node, _same(node.name, [shapes[source] for source in node.sources]))

    for node in graph.nodes:
        # now what comes back in loops is known, too
        _shape_after(node, _same(node.name, [shapes[source] for source in (*node.sources, *node.delayed)]))

    _same("output", [shapes[name] for name in graph.outputs])
    return shapes


def _shape_after(node: "NirNode", shape: Shape) -> Shape:
    """The shape of what a node makes of one sample.

    Raises:
        DataError: it cannot take the sample.
    """
    if node.kind == "Affine":
        return _affine(node, shape)
    if node.kind in ("Conv1d", "Conv2d"):
        return _conv(node, shape)

    if node.kind in ("AvgPool2d", "SumPool2d"):
        if shape is None:
            return None
        if len(shape) != 3:
            raise _misfit(node, shape, "(C, H, W)")
        pads = [(n, n) for n in node.settings["padding"]]
        ones = (1,) * 2
        return (shape[0], *_slid(node, shape[1:], node.settings["kernel_size"], node.settings["stride"], pads, ones))

    if node.kind == "Flatten":
        return _flat(node, shape)

    own = np.broadcast_shapes(*(value.shape for value in node.numbers.values())) if node.numbers else ()
    if shape is None:
        return own if prod(own) > 1 else None

    try:
        fits = np.broadcast_shapes(own, shape) == shape
    except ValueError:
        fits = False

    if not fits:
        raise _misfit(node, shape, f"{own}")

    return shape


def _affine(node: "NirNode", shape: Shape) -> Shape:
    weight = node.numbers["weight"]
    bias = node.numbers.get("bias")
    if weight.ndim != 2:
        raise DataError(f"the NIR node {node.name!r} has a weight of shape {weight.shape}; a matrix is read")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise DataError(f"the NIR node {node.name!r} has a weight {weight.shape} and a bias {bias.shape}")
    if shape is not None and shape != weight.shape[1:]:
        raise _misfit(node, shape, f"{weight.shape[1:]}")

    return weight.shape[:1]


def _conv(node: "NirNode", shape: Shape) -> Shape:
    weight = node.numbers["weight"]
    axes = int(node.kind[4])
    groups = node.settings["groups"]
    if "bias" in node.numbers and node.numbers["bias"].shape != weight.shape[:1]:
        raise DataError(
            f"the NIR node {node.name!r} has a kernel {weight.shape} and a bias {node.numbers['bias'].shape}"
        )

    if shape is None:
        return None
    if len(shape) != axes + 1 or shape[0] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise _misfit(node, shape, f"({weight.shape[1] * groups}, {'H, W' if axes == 2 else 'L'})")

    settings = node.settings
    slid = _slid(node, shape[1:], weight.shape[2:], settings["stride"], settings["padding"], settings["dilation"])

    return (weight.shape[0], *slid)


def _slid(
    node: "NirNode",
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: Sequence[tuple[int, int]],
    dilation: tuple[int, ...],
) -> tuple[int, ...]:
    """How often a kernel fits along each axis."""
    sides = zip(shape, kernel, stride, padding, dilation, strict=True)
    result = tuple((n + a + b - d * (k - 1) - 1) // s + 1 for n, k, s, (a, b), d in sides)
    if any(n < 1 for n in result) or prod(result) > _MOST_NUMBERS:
        raise _misfit(node, shape, f"space for a kernel {kernel}")

    return result


def _flat(node: "NirNode", shape: Shape) -> Shape:
    if shape is None:
        return None

    start, end = (n % len(shape) if -len(shape) <= n < len(shape) else -1 for n in node.settings.values())
    if not 0 <= start <= end:
        raise _misfit(node, shape, f"axes {tuple(node.settings.values())} to flatten")

    return (*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :])


def _same(name: str, shapes: list[Shape]) -> Shape:
    known = {shape for shape in shapes if shape is not None}
    if len(known) > 1:
        raise DataError(
            f"what comes together at the NIR node {name!r} has the shapes {sorted(known)}; they must be one"
        )

    return known.pop() if known else None


def _misfit(node: "NirNode", shape: tuple[int, ...], wanted: str) -> DataError:
    return DataError(f"the NIR node {node.name!r} ({node.kind}) needs {wanted}, but gets a sample of shape {shape}")
