"""Do the shapes of a NIR graph fit, from its input to its output? No torch is needed."""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from spikebridge.errors import DataError

if TYPE_CHECKING:
    from spikebridge.deploy.nir_graph import Graph, Node

Shape = tuple[int, ...] | None  # None where the file does not say
MOST_NUMBERS = 1 << 28


def check_shapes(graph: "Graph") -> dict[str, Shape]:
    """The shape of what every node gives, one sample each.

    Raises:
        DataError: a node cannot take what comes; the message names it and both shapes.
    """
    shapes: dict[str, Shape] = {graph.input: graph.shape}
    for node in graph.nodes:
        shapes[node.name] = shape_after(node, _same(node.name, [shapes[source] for source in node.sources]))
    for node in graph.nodes:
        # now what comes back in loops is known, too
        shape_after(node, _same(node.name, [shapes[source] for source in (*node.sources, *node.delayed)]))
    _same("output", [shapes[name] for name in graph.outputs])
    return shapes


def shape_after(node: "Node", shape: Shape) -> Shape:
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


def _affine(node: "Node", shape: Shape) -> Shape:
    weight, bias = node.numbers["weight"], node.numbers.get("bias")
    if weight.ndim != 2:
        raise DataError(f"the NIR node {node.name!r} has a weight of shape {weight.shape}; a matrix is read")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise DataError(f"the NIR node {node.name!r} has a weight {weight.shape} and a bias {bias.shape}")
    if shape is not None and shape != weight.shape[1:]:
        raise _misfit(node, shape, f"{weight.shape[1:]}")
    return weight.shape[:1]


def _conv(node: "Node", shape: Shape) -> Shape:
    weight, axes, groups = node.numbers["weight"], int(node.kind[4]), node.settings["groups"]
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
    node: "Node",
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: Sequence[tuple[int, int]],
    dilation: tuple[int, ...],
) -> tuple[int, ...]:
    """How often a kernel fits along each axis."""
    sides = zip(shape, kernel, stride, padding, dilation, strict=True)
    result = tuple((n + a + b - d * (k - 1) - 1) // s + 1 for n, k, s, (a, b), d in sides)
    if any(n < 1 for n in result) or prod(result) > MOST_NUMBERS:
        raise _misfit(node, shape, f"room for a kernel {kernel}")
    return result


def _flat(node: "Node", shape: Shape) -> Shape:
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


def _misfit(node: "Node", shape: tuple[int, ...], wanted: str) -> DataError:
    return DataError(f"the NIR node {node.name!r} ({node.kind}) needs {wanted}, but gets a sample of shape {shape}")
