"""Reading a NIR graph as a part: files of this package, of other libraries, of chips' tools."""

from collections.abc import Mapping
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
from spikebridge.neurons.state import State, where
from spikebridge.neurons.stateless import over_time


class _NirState(NamedTuple):
    """The states of the nodes, None for those without, and the outputs that come back one step later."""

    nodes: tuple[State, ...]
    late: tuple[Tensor, ...] = ()


class NirPart(Stateful):
    """A NIR graph as a part: nodes in order, edges with one target added up, feedback one step late.

    Quantities to modulate are named by node and quantity, `"lif1.v_threshold"`.
    """

    def __init__(self, graph: NirGraph) -> None:
        super().__init__()
        self.graph = graph
        self.layers = nn.ModuleList(_layer(node, graph.dt) for node in graph.nodes)
        self.late = tuple(dict.fromkeys(name for node in graph.nodes for name in node.delayed))

    def modulable_paths(self) -> list[str]:
        named = zip(self.graph.nodes, self.layers, strict=True)
        return [f"{node.name}.{q}" for node, layer in named if isinstance(layer, Stateful) for q in layer.modulable]

    def state_paths(self) -> list[str]:
        return [*self.graph.states, *(path.removeprefix("neuron.") for path in self.graph.states)]

    def state_at(self, state: _NirState, path: str) -> Tensor:
        value: Tensor = getattr(state.nodes[self._place(path)], path.rpartition(".")[2])
        return value

    def with_state_at(self, state: _NirState, path: str, value: Tensor) -> _NirState:
        nodes: list[Any] = list(state.nodes)
        place = self._place(path)
        nodes[place] = nodes[place]._replace(**{path.rpartition(".")[2]: value})
        return state._replace(nodes=tuple(nodes))

    def _place(self, path: str) -> int:
        return [node.name for node in self.graph.nodes].index(path.rpartition(".")[0] or "neuron")

    def initial_state(self, x_t: Step) -> _NirState:
        return self(x_t.new_empty((0, *x_t.shape)))[1]

    def leak(self, state: _NirState, num_steps: Tensor) -> _NirState:
        pairs = zip(self.layers, state.nodes, strict=True)
        nodes = tuple(x.leak(s, num_steps) if isinstance(x, Stateful) else s for x, s in pairs)
        return _NirState(nodes, tuple(where(num_steps > 0, torch.zeros_like(y), y) for y in state.late))

    def step(self, x_t: Step, state: _NirState, **modulation: Any) -> tuple[Tensor, _NirState]:
        y, state = self._pass(x_t.unsqueeze(0), state, self._by_node(modulation))
        return y[0], state

    def forward(self, x: Signal, state: _NirState | None = None, **modulation: Any) -> tuple[Tensor, _NirState]:
        refuse_timeless(self, x)
        effects = self._by_node(modulation)
        if state is None:
            state = _NirState((None,) * len(self.layers))
            if self.late:
                # shapes of feedback come from a pass without steps
                state = self._pass(x.new_empty((0, *x.shape[1:])), state, {})[1]

        if self.late and len(x) > 0:
            return scan(self, x, state, **modulation)

        return self._pass(x, state, effects)

    def _pass(self, x: Signal, state: _NirState, effects: Mapping[str, Mapping[str, Any]]) -> tuple[Tensor, _NirState]:
        signals = {self.graph.input: x}
        late = dict(zip(self.late, state.late, strict=False))
        states: list[State] = []

        for node, layer, before in zip(self.graph.nodes, self.layers, state.nodes, strict=True):
            total = self._input_of(node, signals, late, x)
            if isinstance(layer, Stateful):
                signals[node.name], after = layer(total, before, **effects.get(node.name, {}))
            else:
                signals[node.name] = over_time(layer, total)
                after = None

            states.append(after)

        outputs = [signals[name] for name in self.graph.outputs]
        return sum(outputs[1:], outputs[0]), _NirState(tuple(states), self._late_after(signals, state, len(x)))

    def _input_of(self, node: NirNode, signals: Mapping[str, Tensor], late: Mapping[str, Tensor], x: Tensor) -> Tensor:
        incoming = [signals[name] for name in node.sources]
        incoming += [late[name].unsqueeze(0).expand(len(x), *late[name].shape) for name in node.delayed if late]
        if incoming:
            return sum(incoming[1:], incoming[0])

        # only feedback leads here, and there is none yet
        shape = self.graph.shapes[node.delayed[0]]
        if shape is None:
            raise ShapeError(f"the NIR file does not give the shape of the feedback to {node.name!r}")
        return x.new_zeros((len(x), x.shape[1], *shape))

    def _late_after(self, signals: Mapping[str, Tensor], state: _NirState, num_steps: int) -> tuple[Tensor, ...]:
        if num_steps:
            return tuple(signals[name][-1] for name in self.late)
        return state.late or tuple(signals[name].new_zeros(signals[name].shape[1:]) for name in self.late)

    def _by_node(self, modulation: dict[str, Any]) -> dict[str, dict[str, Any]]:
        paths = self.modulable_paths() if modulation else []
        effects: dict[str, dict[str, Any]] = {}

        for path, value in modulation.items():
            if path not in paths:
                raise ConfigError(f"the NIR graph has no quantity {path!r}; {did_you_mean(path, paths)}")
            node, _, quantity = path.rpartition(".")
            effects.setdefault(node, {})[quantity] = value

        return effects


def from_nir(
    source: Any, *, dt: float | None = None, integration: Reading | None = None, reset: Reset | None = None
) -> NirPart:
    """A NIR graph as a part of a network.

    Args:
        source: a path, the bytes of a file, or a `nir.NIRGraph`.
        dt: step of the part's clock [s]; None takes the one that files of this package name.
        integration: "exact", or "euler" for graphs of libraries that step by Euler, so that membranes are as theirs;
            "unscaled" for Spyx, which adds its input as it is.
        reset: "zero", "subtract" or "none", for files that do not name the reset of the library that wrote them.

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
    settings = node.settings
    match node.kind:
        case "Affine":
            return _affine(node.numbers)
        case "Conv1d" | "Conv2d":
            return _conv(node)
        case "AvgPool2d":
            return nn.AvgPool2d(**settings)
        case "SumPool2d":
            return SumPool2d(**settings)
        case "Flatten":
            # NIR counts axes without the batch
            start, end = (n + 1 if n >= 0 else n for n in (settings["start_dim"], settings["end_dim"]))
            return nn.Flatten(start, end)
        case "Scale":
            return Gate(**numbers) if "gate" in numbers else Gain(**numbers)
        case "Threshold":
            return Memoryless(**numbers)
        case "Delay":
            return Delay(torch.from_numpy(node.numbers["ticks"] * dt).to(torch.get_default_dtype()), dt=dt)
        case "Integrator":
            return Integrator(dt=dt, **numbers)
        case "CubaLI":
            membrane = Integrator(numbers["tau"], dt=dt, v_leak=numbers["v_leak"], r=numbers["r"])
            return Sequential(synapse=Integrator(numbers["tau_syn"], dt=dt), membrane=membrane)
        case "CubaLIF":
            return CubaLIF(dt=dt, reset=settings["reset"], **numbers)

    return LIF(dt=dt, reset=settings["reset"], refractory=settings["refractory"] * dt, **numbers)


def _affine(numbers: dict[str, Array]) -> nn.Linear:
    weight = numbers["weight"]
    bias = numbers.get("bias")
    linear = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0], bias=bias is not None)
    return _filled(linear, weight, bias)


def _conv(node: NirNode) -> nn.Module:
    weight = node.numbers["weight"]
    settings = dict(node.settings)
    padding = settings.pop("padding")
    kind = nn.Conv1d if node.kind == "Conv1d" else nn.Conv2d

    # an even kernel with padding "same" pads one side more
    is_even = all(before == after for before, after in padding)
    sizes = tuple(before for before, _ in padding) if is_even else "same"
    channels = weight.shape[1] * settings["groups"]
    conv = nn.utils.skip_init(kind, channels, weight.shape[0], weight.shape[2:], padding=sizes, **settings)

    return _filled(conv, weight, node.numbers.get("bias"))


def _filled(layer: Any, weight: Array, bias: Array | None) -> Any:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        if layer.bias is not None:
            layer.bias.copy_(torch.zeros(len(weight)) if bias is None else torch.from_numpy(bias))

    return layer


def _number(values: Array) -> Tensor | float:
    """One float where all neurons have the same, so that it has the bits of the written one."""
    same = uniform(values)
    return same if isinstance(same, float) else torch.tensor(values, dtype=torch.get_default_dtype())
