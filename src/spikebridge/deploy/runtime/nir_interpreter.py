"""A NIR graph in numpy, one tick at a time. No torch is needed.

Neurons, gains and delays run by their array forms (`spikebridge.deploy.stages`); here are the graph, the names of NIR
and the layers with weights.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.deploy.nir.graph import NirGraph, NirNode
from spikebridge.deploy.nir.quantities import uniform
from spikebridge.deploy.stages.arithmetic import FloatArithmetic
from spikebridge.deploy.stages.convolutions import convolution, windows
from spikebridge.deploy.stages.kernels import delay_step, past_ticks
from spikebridge.deploy.stages.neurons import (
    MembraneState,
    effects_on,
    membrane_leak,
    membrane_start,
    membrane_step,
    under_effects,
)

Values: TypeAlias = NDArray[np.float32]
Effects: TypeAlias = Mapping[tuple[str, str], Sequence[tuple[Values, str]]]  # by node and quantity
_Result: TypeAlias = tuple[Values, Any]
SET = "set"  # how a value acts that stands for a state of a layer
_WEIGHTED = ("Affine", "Conv1d", "Conv2d")


class _GraphState(NamedTuple):
    """The states of the nodes, and the outputs that are fed back one tick later."""

    nodes: dict[str, Any]
    late: dict[str, Values]

    def at(self, path: str) -> Values:
        """A state by node and field."""
        node, _, name = path.rpartition(".")
        value: Values = getattr(self.nodes[node], name)
        return value


class NirRunner:
    """A NIR graph that runs without torch: `y, state = runner.step(x, state)`."""

    def __init__(self, graph: NirGraph) -> None:
        self.graph = graph
        self.late = {name for node in graph.nodes for name in node.delayed}
        self.arithmetics = {node.name: _arithmetic(node, graph.dt) for node in graph.nodes}

    def begin(self, fields: Mapping[str, NDArray[Any]]) -> _GraphState:
        """A state from the fields of its nodes, by "node.field"."""
        nodes: dict[str, dict[str, Any]] = {}
        for path, value in fields.items():
            node, _, name = path.rpartition(".")
            nodes.setdefault(node, {})[name] = value

        return _GraphState({name: MembraneState(**values) for name, values in nodes.items()}, {})

    def step(self, x: Values, state: _GraphState | None, effects: Effects | None = None) -> tuple[Values, _GraphState]:
        """One tick: `(B, *N)` to `(B, *M)`, under the modulation in `effects`."""
        before = state if state is not None else _GraphState({}, {})
        signals: dict[str, Values] = {self.graph.input: x.astype(np.float32, copy=False)}
        nodes: dict[str, Any] = {}

        for node in self.graph.nodes:
            on_node = self._effects_on(node, effects) if effects else {}
            total = self._input_of(node, signals, before.late, len(x))
            run = _NODES[node.kind]
            y, nodes[node.name] = run(node, self.arithmetics[node.name], total, before.nodes.get(node.name), on_node)
            signals[node.name] = y

        outputs = [signals[name] for name in self.graph.outputs]
        late = {name: signals[name] for name in self.late}

        return sum(outputs[1:], outputs[0]), _GraphState(nodes, late)

    def leak(self, state: _GraphState, steps: int) -> _GraphState:
        """The state after some ticks without input; feedback is dropped with it."""
        nodes = {
            name: membrane_leak(self.arithmetics[name], node, steps) if isinstance(node, MembraneState) else node
            for name, node in state.nodes.items()
        }
        return _GraphState(nodes, {name: 0 * y if steps else y for name, y in state.late.items()})

    def _input_of(self, node: NirNode, signals: Mapping[str, Values], late: Mapping[str, Values], batch: int) -> Values:
        if len(node.sources) == 1 and not node.delayed:
            # almost every node, at every tick
            return signals[node.sources[0]]

        incoming = [signals[name] for name in node.sources]
        incoming += [late[name] for name in node.delayed if name in late]
        if not incoming:
            # only feedback leads here, and there is none before the first tick
            shape = self.graph.shapes.get(node.delayed[0]) or ()
            return np.zeros((batch, *shape), np.float32)

        return sum(incoming[1:], incoming[0])

    def _effects_on(self, node: NirNode, effects: Effects) -> dict[str, list[tuple[Values, str]]]:
        # flags count as numbers
        return {
            quantity: [(signal.astype(np.float32, copy=False), by) for signal, by in signals]
            for quantity, signals in effects_on(node.name, effects).items()
            if quantity in node.numbers or signals[0][1] == SET
        }


def _arithmetic(node: NirNode, dt: float) -> FloatArithmetic:
    """The quantities of a node as float32, and its decays."""
    settings = {"refractory": 0, "spikes": node.kind in ("LIF", "CubaLIF"), "dt": dt, **node.settings}
    if node.kind == "CubaLIF":
        settings["refractory"] = 0  # the neuron has no refractory time

    if node.kind == "Delay":
        ticks = node.numbers["ticks"]
        return FloatArithmetic({"max_ticks": int(ticks.max(initial=0))}, {"ticks": ticks})

    constants: dict[str, Any] = {}
    for name, value in node.numbers.items():
        # one float for all neurons is faster than an array, and decides which shortcuts are taken
        single = value if node.kind in _WEIGHTED else uniform(value)
        constants[name] = single if isinstance(single, float) else single.astype(np.float32)

    return _with_decays(FloatArithmetic(settings, constants))


def _with_decays(a: FloatArithmetic) -> FloatArithmetic:
    names = {"tau": "decay", "tau_syn": "decay_syn"}
    dt = a.settings["dt"]
    return a.with_constants({decay: _decay(a.constants[tau], dt) for tau, decay in names.items() if tau in a.constants})


def _decay(tau: Any, dt: float) -> Any:
    return math.exp(-dt / tau) if isinstance(tau, float) else np.exp(-dt / tau)


_Own: TypeAlias = Mapping[str, Sequence[tuple[Values, str]]]  # effects by quantity of the node


def _neuron(node: NirNode, a: FloatArithmetic, x: Values, state: Any, effects: _Own) -> _Result:
    if state is None:
        # unmodulated, as in the trained network
        state = membrane_start(a, x)
    if effects:
        state = state._replace(**{name: acts[0][0] for name, acts in effects.items() if acts[0][1] == SET})
        acting = {name: acts for name, acts in effects.items() if acts[0][1] != SET}
        a = _with_decays(under_effects(a, acting, x.ndim))
    return membrane_step(a, x, state)


def _threshold(node: NirNode, a: FloatArithmetic, x: Values, state: Any, effects: _Own) -> _Result:
    return a.fire(x, under_effects(a, effects, x.ndim)["v_threshold"]), None


def _scale(node: NirNode, a: FloatArithmetic, x: Values, state: Any, effects: _Own) -> _Result:
    (name,) = node.numbers
    return x * under_effects(a, effects, x.ndim)[name], None


def _delay(node: NirNode, a: FloatArithmetic, x: Values, state: Any, effects: _Own) -> _Result:
    return delay_step(a, x, past_ticks(a, x) if state is None else state)


def _affine(node: NirNode, a: FloatArithmetic, x: Values, state: Any, effects: _Own) -> _Result:
    y = x @ a["weight"].T
    bias = a.constants.get("bias")
    return (y if bias is None else y + bias), None


def _conv(node: NirNode, a: FloatArithmetic, x: Values, state: Any, effects: _Own) -> _Result:
    s = node.settings
    bias = a.constants.get("bias")
    return convolution(x, a["weight"], bias, s["stride"], s["padding"], s["dilation"], s["groups"]), None


def _pool(node: NirNode, a: FloatArithmetic, x: Values, state: Any, effects: _Own) -> _Result:
    padding = [(n, n) for n in node.settings["padding"]]
    view = windows(x, node.settings["kernel_size"], node.settings["stride"], padding)
    return view.mean((-2, -1)) if node.kind == "AvgPool2d" else view.sum((-2, -1)), None


def _flatten(node: NirNode, a: FloatArithmetic, x: Values, state: Any, effects: _Own) -> _Result:
    # NIR counts axes without the batch
    start, end = (n % (x.ndim - 1) + 1 for n in node.settings.values())
    return x.reshape(*x.shape[:start], -1, *x.shape[end + 1 :]), None


_NODES: dict[str, Callable[[NirNode, FloatArithmetic, Values, Any, _Own], _Result]] = {
    "LIF": _neuron,
    "CubaLIF": _neuron,
    "CubaLI": _neuron,
    "Integrator": _neuron,
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
