"""Reading a NIR graph as a part: files of this package, of other libraries, of chips' tools."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikebridge.axes import Signal, Step
from spikebridge.deploy.nir.graph import NirGraph, NirNode, read_graph
from spikebridge.deploy.nir.nodes import SumPool2d
from spikebridge.deploy.nir.quantities import Array, Reading, Reset, uniform
from spikebridge.errors import ConfigError, ShapeError, did_you_mean
from spikebridge.hybrid import Delay, Gain, Gate
from spikebridge.neurons import LIF, CubaLIF, Integrator, Memoryless, Sequential, Stateful, scan
from spikebridge.neurons.base import refuse_timeless
from spikebridge.neurons.state import State
from spikebridge.neurons.stateless import over_time


class _NirState(NamedTuple):
    """The states of the nodes, None for those without, and what comes back one step later."""

    nodes: tuple[State, ...]
    late: tuple[Tensor, ...] = ()


class NirPart(Stateful):
    """A NIR graph that runs: nodes in order, edges with one target added up, feedback one step late.

    What can be modulated is named by node and quantity, `"lif1.v_threshold"`.

    Args:
        graph: of `read_graph`.
    """

    def __init__(self, graph: NirGraph) -> None:
        super().__init__()
        self.graph = graph
        self.layers = nn.ModuleList(_layer(node, graph.dt) for node in graph.nodes)
        self.late = tuple(dict.fromkeys(name for node in graph.nodes for name in node.delayed))

    def modulable_paths(self) -> list[str]:
        named = zip(self.graph.nodes, self.layers, strict=True)
        return [f"{node.name}.{q}" for node, layer in named if isinstance(layer, Stateful) for q in layer.modulable]

    def initial_state(self, x_t: Step) -> _NirState:
        return self(x_t.new_empty((0, *x_t.shape)))[1]

    def step(self, x_t: Step, state: _NirState, **modulation: Any) -> tuple[Tensor, _NirState]:
        y, state = self._pass(x_t.unsqueeze(0), state, self._by_node(modulation))
        return y[0], state

    def forward(self, x: Signal, state: _NirState | None = None, **modulation: Any) -> tuple[Tensor, _NirState]:
        refuse_timeless(self, x)
        effects = self._by_node(modulation)
        if state is None:
            nothing = _NirState((None,) * len(self.layers))
            state = self._pass(x.new_empty((0, *x.shape[1:])), nothing, {})[1] if self.late else nothing

        if self.late and len(x) > 0:
            return scan(self, x, state, **modulation)

        return self._pass(x, state, effects)

    def _pass(self, x: Signal, state: _NirState, effects: dict[str, dict[str, Any]]) -> tuple[Tensor, _NirState]:
        signals = {self.graph.input: x}
        before = dict(zip(self.late, state.late, strict=False))
        states = []

        for node, layer, old in zip(self.graph.nodes, self.layers, state.nodes, strict=True):
            coming = [signals[name] for name in node.sources]
            coming += [before[name].unsqueeze(0).expand(len(x), *before[name].shape) for name in node.delayed if before]
            if not coming:
                # nothing has come back yet
                coming = [x.new_zeros((len(x), x.shape[1], *self._shape_of(node)))]

            given = sum(coming[1:], coming[0])
            if isinstance(layer, Stateful):
                signals[node.name], new = layer(given, old, **effects.get(node.name, {}))
            else:
                signals[node.name], new = over_time(layer, given), None

            states.append(new)

        output = [signals[name] for name in self.graph.outputs]
        late = tuple(signals[n][-1] if len(x) else signals[n].new_zeros(signals[n].shape[1:]) for n in self.late)
        if not len(x) and state.late:
            late = state.late

        return sum(output[1:], output[0]), _NirState(tuple(states), late)

    def _shape_of(self, node: NirNode) -> tuple[int, ...]:
        shape = self.graph.shapes[node.delayed[0]]
        if shape is None:
            raise ShapeError(f"the NIR file does not give the shape of the feedback to {node.name!r}")
        return shape

    def _by_node(self, modulation: dict[str, Any]) -> dict[str, dict[str, Any]]:
        known = self.modulable_paths() if modulation else []
        effects: dict[str, dict[str, Any]] = {}

        for path, value in modulation.items():
            if path not in known:
                raise ConfigError(f"the NIR graph has no quantity {path!r}; {did_you_mean(path, known)}")
            node, _, quantity = path.rpartition(".")
            effects.setdefault(node, {})[quantity] = value

        return effects


def from_nir(
    source: Any, *, dt: float | None = None, integration: Reading | None = None, reset: Reset | None = None
) -> NirPart:
    """A NIR graph as a part of a network.

    Args:
        source: a path, the bytes of a file, or a `nir.NIRGraph`.
        dt: step of the clock that it shall run on [s]; None takes the one that files of this package name.
        integration: "exact", or "euler" for graphs of libraries that step by Euler, so that membranes are as theirs;
            "unscaled" for Spyx, which adds its input as it is.
        reset: "zero", "subtract" or "none", where the file does not say how the library that wrote it resets.

    Raises:
        DataError: the file is damaged, a node is unknown, or shapes do not fit.
        ConfigError: the step is not known.

    Example:
        >>> from spikebridge.deploy.nir.writer import to_nir
        >>> from spikebridge.neurons import IF
        >>> part = from_nir(to_nir(IF(v_threshold=2.0), torch.ones(4, 1, 1), dt=0.001).graph)
        >>> part(torch.ones(4, 1, 1))[0].flatten().tolist()
        [0.0, 1.0, 0.0, 1.0]
    """
    return NirPart(read_graph(source, dt=dt, integration=integration, reset=reset)).eval()


def _layer(node: NirNode, dt: float) -> nn.Module:
    numbers: dict[str, Any] = {name: _number(value) for name, value in node.numbers.items()}
    if node.kind == "Affine":
        return _affine(node.numbers)
    if node.kind in ("Conv1d", "Conv2d"):
        return _conv(node)
    if node.kind == "AvgPool2d":
        return nn.AvgPool2d(**node.settings)
    if node.kind == "SumPool2d":
        return SumPool2d(**node.settings)

    if node.kind == "Flatten":
        start = node.settings["start_dim"]
        end = node.settings["end_dim"]
        return nn.Flatten(start + 1 if start >= 0 else start, end + 1 if end >= 0 else end)

    if node.kind == "Scale":
        return Gate(**numbers) if "gate" in numbers else Gain(**numbers)
    if node.kind == "Threshold":
        return Memoryless(**numbers)
    if node.kind == "Delay":
        return Delay(torch.from_numpy(node.numbers["ticks"] * dt).to(torch.get_default_dtype()), dt=dt)
    if node.kind == "Integrator":
        return Integrator(dt=dt, **numbers)

    if node.kind == "CubaLI":
        synapse = Integrator(numbers["tau_syn"], dt=dt)
        return Sequential(
            synapse=synapse, membrane=Integrator(numbers["tau"], dt=dt, v_leak=numbers["v_leak"], r=numbers["r"])
        )

    if node.kind == "CubaLIF":
        return CubaLIF(dt=dt, reset=node.settings["reset"], **numbers)

    return LIF(dt=dt, reset=node.settings["reset"], refractory=node.settings["refractory"] * dt, **numbers)


def _affine(numbers: dict[str, Array]) -> nn.Linear:
    weight = numbers["weight"]
    bias = numbers.get("bias")
    linear = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0], bias=bias is not None)
    return _filled(linear, weight, bias)


def _conv(node: NirNode) -> nn.Module:
    weight = node.numbers["weight"]
    settings = dict(node.settings)
    pads = settings.pop("padding")
    even = all(a == b for a, b in pads)
    kind = nn.Conv1d if node.kind == "Conv1d" else nn.Conv2d

    # an even kernel with padding "same" pads one side more
    padding = tuple(a for a, _ in pads) if even else "same"
    conv = nn.utils.skip_init(
        kind, weight.shape[1] * settings["groups"], weight.shape[0], weight.shape[2:], padding=padding, **settings
    )

    return _filled(conv, weight, node.numbers.get("bias"))


def _filled(layer: Any, weight: Array, bias: Array | None) -> Any:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        if layer.bias is not None:
            layer.bias.copy_(torch.zeros(len(weight)) if bias is None else torch.from_numpy(bias))

    return layer


def _number(values: Array) -> Tensor | float:
    """One number where all neurons have the same, so that it is to the bit what was written."""
    same = uniform(values)
    return same if isinstance(same, float) else torch.tensor(values, dtype=torch.get_default_dtype())
