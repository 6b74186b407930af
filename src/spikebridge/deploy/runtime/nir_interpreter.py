"""A NIR graph in numpy, one tick at a time. No torch is needed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from spikebridge.deploy.nir.graph import NirGraph, NirNode
from spikebridge.deploy.nir.quantities import uniform
from spikebridge.errors import DataError

Values: TypeAlias = NDArray[np.float32]
Quantity: TypeAlias = Values | float
Effects: TypeAlias = Mapping[tuple[str, str], Sequence[tuple[Values, str]]]  # by node and quantity: signals and how


class _GraphState(NamedTuple):
    """The membranes of every node, and what comes back one tick later."""

    nodes: dict[str, tuple[Any, ...]]
    late: dict[str, Values]


class NirRunner:
    """A NIR graph that runs without torch: `y, state = runner.step(x, state)`.

    Args:
        graph: of `read_graph`.

    Example:
        >>> node = NirNode("if", "LIF", {"tau": np.array(np.inf), "v_leak": np.array(0.0), "r": np.array(1.0),
        ...     "v_threshold": np.array(2.0), "v_reset": np.array(0.0)}, {"reset": "zero", "refractory": 0}, ("in",))
        >>> runner, state = NirRunner(NirGraph((node,), 0.001, "in", ("if",), (1,))), None
        >>> for _ in range(3):
        ...     spikes, state = runner.step(np.ones((1, 1), np.float32), state)
        ...     print(spikes.item())
        0.0
        1.0
        0.0
    """

    def __init__(self, graph: NirGraph) -> None:
        self.graph = graph
        self.late = {name for node in graph.nodes for name in node.delayed}
        self.quantities = {node.name: _float32(node) for node in graph.nodes}

    def step(self, x: Values, state: _GraphState | None, effects: Effects | None = None) -> tuple[Values, _GraphState]:
        """One tick.

        Args:
            x: `(B, *N)`.
            state: after the tick before, None at the start.
            effects: what modulates the nodes.

        Returns:
            `(B, *M)` and the state.
        """
        before = state if state is not None else _GraphState({}, {})
        signals: dict[str, Values] = {self.graph.input: x}
        nodes: dict[str, tuple[Any, ...]] = {}

        for node in self.graph.nodes:
            coming = [signals[name] for name in node.sources]
            coming += [before.late[name] for name in node.delayed if name in before.late]
            if not coming:
                coming = [np.zeros((len(x), *(self.graph.shapes.get(node.delayed[0]) or ())), np.float32)]

            given: Values = sum(coming[1:], coming[0])
            quantities = self.quantities[node.name]
            if effects:
                quantities = {
                    name: _under(q, effects.get((node.name, name), ()), given) for name, q in quantities.items()
                }

            run = _RUN[node.kind]
            y, nodes[node.name] = run(node, quantities, given, before.nodes.get(node.name), self.graph.dt)
            signals[node.name] = y

        output = [signals[name] for name in self.graph.outputs]
        late = {name: signals[name] for name in self.late}

        return sum(output[1:], output[0]), _GraphState(nodes, late)


def _modulated(base: Quantity, signal: Values, by: str, ndim: int) -> Quantity:
    """A quantity under a signal `(B, *M)`, whose axes line up with `(B, *N)` from the left.

    Example:
        >>> _modulated(0.5, np.array([[2.0], [3.0]], np.float32), "multiply", ndim=2).ravel().tolist()
        [1.0, 1.5]
    """
    spread = signal.reshape(*signal.shape, *[1] * (ndim - signal.ndim))
    if by == "replace":
        return spread

    return base + spread if by == "add" else base * spread


def _under(base: Quantity, effects: Sequence[tuple[Values, str]], x: Values) -> Quantity:
    for signal, by in effects:
        base = _modulated(base, signal, by, max(x.ndim, signal.ndim))
    return base


def _float32(node: NirNode) -> dict[str, Quantity]:
    if node.kind in ("Affine", "Conv1d", "Conv2d"):
        return {name: value.astype(np.float32) for name, value in node.numbers.items()}
    single = {name: uniform(value) for name, value in node.numbers.items()}
    return {name: q if isinstance(q, float) else q.astype(np.float32) for name, q in single.items()}


def _decay(tau: Any, dt: float) -> Any:
    return math.exp(-dt / tau) if isinstance(tau, float) else np.exp(-dt / tau)


def _leak(v: Values, decay: Any, v_leak: Any) -> Values:
    if isinstance(v_leak, float) and v_leak == 0:
        return v if isinstance(decay, float) and decay == 1 else v * decay
    return v_leak + decay * (v - v_leak)


def _rest(x: Values, v_leak: Quantity) -> Values:
    return np.zeros_like(x) + v_leak


def _fired(node: NirNode, v: Values, spikes: Values, q: Mapping[str, Any]) -> Values:
    if node.settings["reset"] == "subtract":
        return v - spikes * q["v_threshold"]
    if node.settings["reset"] == "none":
        return v
    if isinstance(q["v_reset"], float) and q["v_reset"] == 0:
        return v - spikes * v

    return v * (1 - spikes) + spikes * q["v_reset"]


Run: TypeAlias = tuple[Values, tuple[Any, ...]]


def _lif(node: NirNode, q: Mapping[str, Any], x: Values, state: Any, dt: float) -> Run:
    v, wait = state if state is not None else (_rest(x, q["v_leak"]), np.zeros(x.shape, np.int64))
    charged = _leak(v, _decay(q["tau"], dt), q["v_leak"]) + (x if _is_one(q["r"]) else q["r"] * x)
    refractory = node.settings["refractory"]
    if not refractory:
        spikes = (charged - q["v_threshold"] >= 0).astype(np.float32)
        return spikes, (_fired(node, charged, spikes, q).astype(np.float32), wait)

    charged = np.where(wait == 0, charged, v)
    spikes = ((charged - q["v_threshold"] >= 0) & (wait == 0)).astype(np.float32)
    wait = np.where(spikes > 0, refractory, np.maximum(wait - 1, 0))

    return spikes, (_fired(node, charged, spikes, q).astype(np.float32), wait)


def _cuba_lif(node: NirNode, q: Mapping[str, Any], x: Values, state: Any, dt: float) -> Run:
    v, i = state if state is not None else (_rest(x, q["v_leak"]), np.zeros_like(x))
    i = (i * _decay(q["tau_syn"], dt) + x).astype(np.float32)
    v = _leak(v, _decay(q["tau"], dt), q["v_leak"]) + q["r"] * i
    spikes = (v - q["v_threshold"] >= 0).astype(np.float32)

    return spikes, (_fired(node, v, spikes, q).astype(np.float32), i)


def _cuba_li(node: NirNode, q: Mapping[str, Any], x: Values, state: Any, dt: float) -> Run:
    v, i = state if state is not None else (_rest(x, q["v_leak"]), np.zeros_like(x))
    i = (i * _decay(q["tau_syn"], dt) + x).astype(np.float32)
    v = (_leak(v, _decay(q["tau"], dt), q["v_leak"]) + q["r"] * i).astype(np.float32)
    return v, (v, i)


def _integrator(node: NirNode, q: Mapping[str, Any], x: Values, state: Any, dt: float) -> Run:
    v = state[0] if state is not None else _rest(x, q["v_leak"])
    v = (_leak(v, _decay(q["tau"], dt), q["v_leak"]) + q["r"] * x).astype(np.float32)
    return v, (v,)


def _threshold(node: NirNode, q: Mapping[str, Any], x: Values, state: Any, dt: float) -> Run:
    return (x - q["v_threshold"] >= 0).astype(np.float32), ()


def _scale(node: NirNode, q: Mapping[str, Any], x: Values, state: Any, dt: float) -> Run:
    (factor,) = q.values()
    return (x * factor).astype(np.float32), ()


def _delay(node: NirNode, q: Mapping[str, Any], x: Values, state: Any, dt: float) -> Run:
    ticks = np.broadcast_to(node.numbers["ticks"], x.shape[1:])
    waiting = (*(state if state is not None else (np.zeros_like(x),) * int(ticks.max(initial=0))), x)
    place = np.broadcast_to(len(waiting) - 1 - ticks, x.shape)[None]
    return np.take_along_axis(np.stack(waiting), place, axis=0)[0], waiting[1:]


def _affine(node: NirNode, q: Mapping[str, Any], x: Values, state: Any, dt: float) -> Run:
    y = x @ q["weight"].T
    return (y + q["bias"] if "bias" in q else y), ()


def _conv(node: NirNode, q: Mapping[str, Any], x: Values, state: Any, dt: float) -> Run:
    settings = node.settings
    weight = q["weight"]
    view = _windows(x, weight.shape[2:], settings["stride"], settings["padding"], settings["dilation"])
    axes = weight.ndim - 2
    groups = settings["groups"]
    parts = zip(np.split(view, groups, axis=1), np.split(weight, groups, axis=0), strict=True)
    summed = [1, *range(2 + axes, 2 + 2 * axes)], [1, *range(2, 2 + axes)]
    y = np.concatenate([np.moveaxis(np.tensordot(part, w, axes=summed), -1, 1) for part, w in parts], axis=1)

    return (y + q["bias"].reshape(-1, *[1] * axes) if "bias" in q else y), ()


def _pool(node: NirNode, q: Mapping[str, Any], x: Values, state: Any, dt: float) -> Run:
    settings = node.settings
    pads = tuple((n, n) for n in settings["padding"])
    view = _windows(x, settings["kernel_size"], settings["stride"], pads, (1, 1))
    return view.mean((-2, -1)) if node.kind == "AvgPool2d" else view.sum((-2, -1)), ()


def _windows(
    x: Values,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: Sequence[tuple[int, int]],
    dilation: tuple[int, ...],
) -> Values:
    """`(B, C, *positions, *kernel)`, a view."""
    axes = len(kernel)
    if x.ndim != axes + 2:
        raise DataError(f"a kernel over {axes} axes needs samples (C, ...) of {axes + 1}, but got {x.shape[1:]}")

    padded = np.pad(x, [(0, 0), (0, 0), *padding])
    extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    view = sliding_window_view(padded, extent, axis=tuple(range(2, 2 + axes)))

    return view[(slice(None), slice(None), *(slice(None, None, n) for n in (*stride, *dilation)))]


def _flatten(node: NirNode, q: Mapping[str, Any], x: Values, state: Any, dt: float) -> Run:
    start, end = (n % (x.ndim - 1) + 1 for n in node.settings.values())
    return x.reshape(*x.shape[:start], -1, *x.shape[end + 1 :]), ()


def _is_one(value: Quantity) -> bool:
    return isinstance(value, float) and value == 1


_RUN = {
    "LIF": _lif,
    "CubaLIF": _cuba_lif,
    "CubaLI": _cuba_li,
    "Integrator": _integrator,
    "Threshold": _threshold,
    "Scale": _scale,
    "Delay": _delay,
    "Affine": _affine,
    "Conv1d": _conv,
    "Conv2d": _conv,
    "AvgPool2d": _pool,
    "SumPool2d": _pool,
    "Flatten": _flatten,
}
