"""A part, or the nonlinearity of a unit, as a program of integer layers.

Real values that are multiples of a scale go in and out; inside they are integers.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from spikebridge.deploy.quantization.config import QConfig, QConfigMapping
from spikebridge.deploy.quantization.layers import (
    IntegerOp,
    LookupTable,
    PassThrough,
    QTensor,
    QuantLinear,
    QuantProduct,
    Requantize,
    Slice,
    UnitDelay,
    plain_layer,
    refuse_padding_mode,
)
from spikebridge.deploy.quantization.neurons import (
    QuantDelay,
    QuantFactor,
    QuantLayer,
    QuantNeuron,
    QuantTappedDelay,
    effects_at,
    quant_neuron,
    unflatten_time,
)
from spikebridge.deploy.quantization.operations import QuantComparison, QuantReduction, operation_of
from spikebridge.deploy.quantization.quantizer import QParamsRecord, Quantizer
from spikebridge.deploy.quantization.tracer import TracedFunction, TracedGraph, TracedNode, is_elementwise
from spikebridge.errors import ExportError, ShapeError
from spikebridge.hybrid import Delay, Gain, Gate, TappedDelay
from spikebridge.neurons import Effect, Recurrent, Stateful
from spikebridge.neurons.neuron import Neuron
from spikebridge.neurons.state import where

FLAGS = QParamsRecord(1.0, 0, 1)  # of spikes, and of the flags of a wake
_Quantified: TypeAlias = Gain | Gate | Delay | TappedDelay | Neuron
_LayerEffects: TypeAlias = Mapping[str, Mapping[str, Sequence[Effect]]]  # by layer and quantity


class ProgramStep(NamedTuple):
    """One operation of a program, and the signals that it takes."""

    name: str
    sources: tuple[str, ...]


class QuantProgram(nn.Module):
    """Layers in the order in which they run, of a part (`where`) or a nonlinearity (`units.LINK.nonlinearity`).

    Raises an `ExportError` that names a layer without an integer form or region.
    """

    def __init__(self, graph: TracedGraph, path: str, config: QConfigMapping) -> None:
        super().__init__()
        self.path = path
        self.config = config
        self.inputs = graph.inputs
        self.observing = True
        self.gives_flags = False
        self.steps: list[ProgramStep] = []
        self.operations = nn.ModuleDict()
        first = self._first_qconfig(graph)
        self.input_quantizers = nn.ModuleDict({_key(name): Quantizer.of(first) for name in graph.inputs})

        # by signal; None is a sum, whose integers have 32 bits and a scale for each channel
        self.quantizers: dict[str, Quantizer | None] = {name: self.input_quantizer(name) for name in graph.inputs}
        self._positive: set[str] = set()
        self._with_one_scale: set[str] = set()  # sums with one scale for all channels
        self._feedback = {node.sources[0]: node.name for node in graph.nodes if node.kind == "previous"}
        self.output = self._add_all(graph, first)

    @property
    def out(self) -> Quantizer:
        out = self.quantizers[self.output]
        if out is None:
            raise ValueError("the output of a program is requantized")
        return out

    @property
    def layers(self) -> dict[str, QuantLayer]:
        """Its neurons, gains, gates and delays by path in the part."""
        operations = {step.name: self.operation(step.name) for step in self.steps}
        return {name: layer for name, layer in operations.items() if isinstance(layer, QuantLayer)}

    @property
    def stateful_steps(self) -> list[str]:
        kinds = QuantLayer | UnitDelay
        return [step.name for step in self.steps if isinstance(self.operation(step.name), kinds)]

    def operation(self, name: str) -> Any:
        return self.operations[_key(name)]

    def input_quantizer(self, name: str) -> Quantizer:
        return self.input_quantizers[_key(name)]  # type: ignore[return-value]

    def layer_at(self, node: str) -> str:
        """The name of the layer that a path of modulation leads to; a single layer is "neuron"."""
        return next(name for name in (node, f"neuron.{node}", "neuron") if name in self.layers)

    def input_with(self, signal: Quantizer) -> str | None:
        return next((name for name in self.inputs if self.input_quantizer(name) is signal), None)

    def bits_of(self, name: str) -> int:
        operation = self.operation(name)
        if isinstance(operation, QuantLayer):
            return operation.qconfig.membranes
        return self._nearest_qconfig(name).activations

    def calibrate(self) -> None:
        """Chooses every scale but those of the inputs, which other stages choose."""
        for quantizer in self.quantizers.values():
            if quantizer is not None and self.input_with(quantizer) is None:
                quantizer.calibrate()

        for layer in self.layers.values():
            layer.calibrate()

    def convert(self) -> None:
        """Switches from observing to integers, once every scale is chosen."""
        self.observing = False
        for step in self.steps:
            operation = self.operation(step.name)
            source = self.quantizers[step.sources[0]]
            if isinstance(operation, LookupTable) and source is not None:
                operation.bounds.copy_(source.bounds)

    def forward(
        self, signals: Mapping[str, Tensor], batch: int, states: Mapping[str, Any], effects: _LayerEffects
    ) -> tuple[Tensor, dict[str, Any]]:
        """Rows `(T * B, *N)` of real values in and out; states and effects by layer."""
        num_steps = len(next(iter(signals.values()))) // max(batch, 1)
        if not self._feedback or num_steps < 2:
            return self._run(signals, batch, states, effects)

        # feedback needs the output of the step before
        after = dict(states)
        rows = []
        timed = {name: unflatten_time(x, batch) for name, x in signals.items()}

        for t in range(num_steps):
            effects_t = {name: effects_at(quantities, t) for name, quantities in effects.items()}
            y, after = self._run({name: x[t] for name, x in timed.items()}, batch, after, effects_t)
            rows.append(y)

        return torch.cat(rows), after

    def leak(self, states: Mapping[str, Any], num_steps: Tensor) -> dict[str, Any]:
        """The states of layers after steps without input, `(B,)`; feedback is dropped with it."""
        after = dict(states)
        for name, state in states.items():
            operation = self.operation(name)
            if isinstance(operation, UnitDelay):
                after[name] = where(num_steps > 0, torch.zeros_like(state), state)
            elif isinstance(operation, QuantNeuron):
                after[name] = operation.leak(state, num_steps, self.observing)

        return after

    def records(self) -> list[tuple[ProgramStep, IntegerOp]]:
        scales = {name: self.input_quantizer(name).scale for name in self.inputs}
        one = torch.ones((), dtype=torch.float64)
        records = []

        for step in self.steps:
            quantizers = [self.quantizers[source] for source in step.sources]
            bounds = [(0, 0) if q is None else (q.qparams.low, q.qparams.high) for q in quantizers]
            # feedback comes from an operation further down, and knows its scale itself
            source_scales = [scales.get(source, one) for source in step.sources]
            record: IntegerOp = self.operation(step.name).record(source_scales, bounds)
            scales[step.name] = record.scale
            records.append((step, record))

        return records

    def qconfig(self, name: str) -> QConfig:
        path = f"{self.path}.{name}" if name else self.path
        qconfig = self.config.qconfig(path)
        if qconfig is None:
            raise ExportError(f"{path!r} is in no region, though other layers of {self.path!r} are; add one for it")

        return qconfig

    def _run(
        self, signals: Mapping[str, Tensor], batch: int, states: Mapping[str, Any], effects: _LayerEffects
    ) -> tuple[Tensor, dict[str, Any]]:
        like = next(iter(signals.values()))
        values = {name: self._entered(name, x) for name, x in signals.items()}
        after: dict[str, Any] = {}

        for step in self.steps:
            name = step.name
            operation = self.operation(name)
            if isinstance(operation, UnitDelay):
                held = states.get(name)
                after[name] = operation.start(like, batch, not self.observing) if held is None else held
                scale = None if self.observing else operation.quantizer.scale
                values[name] = QTensor(after[name][: len(like)], scale)
                continue

            sources = [values[source] for source in step.sources]
            if isinstance(operation, QuantLayer):
                values[name], after[name] = operation(sources, batch, states.get(name), effects.get(name, {}))
            else:
                values[name] = operation(sources)

        for step in self.steps:
            # without a step, feedback keeps its state
            if isinstance(self.operation(step.name), UnitDelay) and len(like):
                after[step.name] = values[step.sources[0]].x

        return self._left(values[self.output], like), after

    def _left(self, result: QTensor, like: Tensor) -> Tensor:
        if result.scale is None:
            self.gives_flags = result.x.dtype == torch.bool
            return result.x
        if self.gives_flags:
            return result.x != 0

        y = result.x * result.scale
        return y.to(like.dtype) if like.is_floating_point() else y.float()

    def _entered(self, name: str, x: Tensor) -> QTensor:
        if self.observing:
            return QTensor(x)
        quantizer = self.input_quantizer(name)
        return QTensor(quantizer.quantize(x), quantizer.scale)

    def _add_all(self, graph: TracedGraph, qconfig: QConfig) -> str:
        """Adds the operations of all nodes, and gives the name of the output."""
        users = [source for node in graph.nodes for source in node.sources] + [graph.output]
        folded: dict[str, str] = {}  # normalisations, and the layers that they are part of

        for node in graph.nodes:
            sources = tuple(folded.get(source, source) for source in node.sources)
            if isinstance(node.module, nn.modules.batchnorm._BatchNorm):
                folded[node.name] = self._fold(node, sources[0], users)
            else:
                self._add(node, sources)

            if node.name in self._feedback:
                self._feed_back(node.name)

        return self._requantized(folded.get(graph.output, graph.output), qconfig)

    def _add(self, node: TracedNode, sources: tuple[str, ...]) -> None:
        module = node.module
        if node.kind == "previous":
            quantizer = Quantizer.of(self._nearest_qconfig(node.name))
            self._append(node.name, sources, UnitDelay(node.shape, quantizer), quantizer)
        elif node.kind == "product":
            qconfig = self._nearest_qconfig(node.name)
            if set(sources) <= self._positive:
                self._positive.add(node.name)
            self._append(node.name, tuple(self._requantized(one, qconfig) for one in sources), QuantProduct(), None)
        elif module is None:
            self._add_join(node, sources)
        elif isinstance(module, _Quantified):
            self._add_quantity_layer(node.name, module, sources)
        elif isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            path = f"{self.path}.{node.name}"
            refuse_padding_mode(module, path)
            qconfig = self.qconfig(node.name)
            source = self._requantized(sources[0], qconfig)
            self._append(node.name, (source,), QuantLinear(module, qconfig, None, path), None)
        else:
            self._add_function(node.name, module, sources[0])

    def _add_join(self, node: TracedNode, sources: tuple[str, ...]) -> None:
        qconfig = self.qconfig(sources[0] if sources[0] not in self.inputs else "")
        quantizer = Quantizer.of(qconfig, set(sources) <= self._positive)
        # a concatenation requantizes each value once, a sum each of its terms
        num_signals = len(sources) if node.kind == "sum" else 1
        self._append(node.name, sources, Requantize(quantizer, node.axis, num_signals), quantizer)

    def _add_quantity_layer(self, name: str, module: _Quantified, sources: tuple[str, ...]) -> None:
        path = f"{self.path}.{name}"
        if isinstance(module, Gain | Gate):
            qconfig = self._nearest_qconfig(name)
            source = self._requantized(sources[0], qconfig)
            self._append(name, (source,), QuantFactor(module, qconfig, path), None)
        elif isinstance(module, Delay | TappedDelay):
            qconfig = self._nearest_qconfig(name)
            source = self._requantized(sources[0], qconfig)
            kind = QuantDelay if isinstance(module, Delay) else QuantTappedDelay
            self._append(name, (source,), kind(module, qconfig, path), self.quantizers[source])
        else:
            # neurons add currents of any scale up themselves
            neuron = quant_neuron(module, self.qconfig(name), path)
            spikes = Quantizer(1)
            spikes.set_qparams(FLAGS)
            self._append(name, sources, neuron, spikes if neuron.spikes else None)

    def _add_function(self, name: str, module: nn.Module, source: str) -> None:
        """A layer without weights: one that keeps the scale, or a table."""
        path = f"{self.path}.{name}"
        plain = plain_layer(module, path)
        if plain is not None:
            self._add_plain(name, plain, source)
            return

        operation = operation_of(module)
        if operation is not None:
            self._add_operation(name, operation, source)
            return

        if not is_elementwise(module):
            kind = module.function if isinstance(module, TracedFunction) else type(module).__name__
            raise ExportError(f"{path!r} is a {getattr(kind, '__name__', kind)}, which has no integer form")

        # a table has an entry for each integer of its input, so that a sum becomes a signal of few bits first
        qconfig = self._nearest_qconfig(name)
        quantizer = Quantizer.of(qconfig)
        self._append(name, (self._requantized(source, qconfig),), LookupTable(module, quantizer), quantizer)

    def _add_plain(self, name: str, plain: nn.Module, source: str) -> None:
        if isinstance(plain, nn.Flatten | nn.Unflatten | Slice):
            source = self._of_one_scale(source)
        if isinstance(plain, nn.ReLU) or source in self._positive:
            self._positive.add(name)

        # a mean stays a sum, which may need more bits than its source
        is_mean = isinstance(plain, nn.AvgPool2d | nn.AdaptiveAvgPool2d)
        if source in self._with_one_scale:
            self._with_one_scale.add(name)
        self._append(name, (source,), PassThrough(plain), None if is_mean else self.quantizers[source])

    def _add_operation(self, name: str, operation: QuantReduction | QuantComparison, source: str) -> None:
        if isinstance(operation, QuantComparison):
            flags = Quantizer(1)
            flags.set_qparams(FLAGS)
            self._positive.add(name)
            self._append(name, (source,), operation, flags)
            return

        source = self._of_one_scale(source)
        keeps_range = operation.kind in ("largest", "smallest")
        if operation.kind in ("norm", "place") or source in self._positive:
            self._positive.add(name)

        out = self.quantizers[source] if keeps_range else None
        if out is None:
            self._with_one_scale.add(name)
        self._append(name, (source,), operation, out)

    def _of_one_scale(self, source: str) -> str:
        """The name of a signal with one scale: those of channels would not line up with another shape."""
        return source if source in self._with_one_scale else self._requantized(source, self._nearest_qconfig(source))

    def _append(self, name: str, sources: tuple[str, ...], operation: nn.Module, out: Quantizer | None) -> None:
        self.operations[_key(name)] = operation
        self.steps.append(ProgramStep(name, sources))
        self.quantizers[name] = out

    def _requantized(self, source: str, qconfig: QConfig) -> str:
        """The name of a signal of few bits; a sum gets an operation that requantizes it."""
        if self.quantizers[source] is not None:
            return source

        name = f"{source}:narrow"
        if name not in self.quantizers:
            quantizer = Quantizer.of(qconfig, source in self._positive)
            self._append(name, (source,), Requantize(quantizer), quantizer)

        return name

    def _feed_back(self, name: str) -> None:
        """Requantizes the output of a layer, and gives it to the operation that feeds it back."""
        delay = self._feedback[name]
        source = self._requantized(name, self._nearest_qconfig(name))
        quantizer = self.quantizers[source]
        previous = self.operation(delay)

        if quantizer is not None and isinstance(previous, UnitDelay):
            previous.quantizer = quantizer
            self.quantizers[delay] = quantizer

        index = next(i for i, step in enumerate(self.steps) if step.name == delay)
        self.steps[index] = ProgramStep(delay, (source,))

    def _fold(self, node: TracedNode, source: str, users: Sequence[str]) -> str:
        """Adds a normalisation to the layer before it, and gives the name of the layer."""
        product = dict(self.operations.items()).get(_key(source))
        if not isinstance(product, QuantLinear) or users.count(source) != 1 or product.norm is not None:
            raise ExportError(
                f"{self.path}.{node.name} is a batch normalisation that does not follow a layer of its own, so it "
                "cannot be folded into one"
            )

        norm: Any = node.module
        if not norm.track_running_stats:
            raise ExportError(f"{self.path}.{node.name} keeps no statistics, so it cannot be folded into a layer")

        product.norm = norm
        return source

    def _nearest_qconfig(self, name: str) -> QConfig:
        """The region of an operation without weights: its own, or that of the part."""
        return self.config.qconfig(f"{self.path}.{name}") or self.qconfig("")

    def _first_qconfig(self, graph: TracedGraph) -> QConfig:
        for node in graph.nodes:
            qconfig = self.config.qconfig(f"{self.path}.{node.name}")
            if qconfig is not None:
                return qconfig

        return self.qconfig("")


def _key(name: str) -> str:
    """A name as `nn.ModuleDict` takes it, without dots."""
    return "/" + name.replace(".", "/")


class _PartState(NamedTuple):
    layers: tuple[Any, ...]


class QuantizedModule(nn.Module):
    """A plain part, or the nonlinearity of a unit."""

    def __init__(self, program: QuantProgram) -> None:
        super().__init__()
        self.program = program

    def forward(self, *signals: Shaped[Tensor, "R ..."], **named: Shaped[Tensor, "R ..."]) -> Shaped[Tensor, "R ..."]:
        inputs = {**{f"#{i}": x for i, x in enumerate(signals)}, **named}
        y, _ = self.program({name: inputs[name] for name in self.program.inputs}, 1, {}, {})
        return y


class QuantizedPart(Stateful):
    """A stateful part, with the paths of modulation of the float part."""

    def __init__(self, program: QuantProgram, part: Stateful) -> None:
        super().__init__()
        self.program = program
        self.is_single = isinstance(part, Neuron | Recurrent)

    def modulable_paths(self) -> list[str]:
        paths = []
        for name, layer in self.program.layers.items():
            quantities = [quantity for quantity in layer.modulable if quantity in layer.layer.modulable]
            paths += [f"{name}.{quantity}" for quantity in quantities]

        return [path.removeprefix("neuron.") for path in paths] if self.is_single else paths

    def initial_state(self, x_t: Tensor) -> _PartState:
        return self(x_t.new_empty((0, *x_t.shape)))[1]

    def leak(self, state: _PartState, num_steps: Tensor) -> _PartState:
        names = self.program.stateful_steps
        after = self.program.leak(dict(zip(names, state.layers, strict=True)), num_steps)
        return _PartState(tuple(after[name] for name in names))

    def step(self, x_t: Tensor, state: Any, **modulation: Any) -> tuple[Tensor, _PartState]:
        y, state = self(x_t.unsqueeze(0), state, **modulation)
        return y[0], state

    def forward(
        self, x: Shaped[Tensor, "T B ..."], state: Any = None, **modulation: Any
    ) -> tuple[Shaped[Tensor, "T B ..."], _PartState]:
        names = self.program.stateful_steps
        states = dict(zip(names, state.layers, strict=True)) if state is not None else {}
        rows, after = self.program({"#0": x.flatten(0, 1)}, x.shape[1], states, self._effects(modulation, len(x)))
        y = rows.reshape(len(x), x.shape[1], *rows.shape[1:])

        return y, _PartState(tuple(after[name] for name in names))

    def _effects(self, modulation: Mapping[str, Any], num_steps: int) -> dict[str, dict[str, Sequence[Effect]]]:
        """Modulation by path as effects by layer and quantity."""
        by_layer: dict[str, dict[str, Sequence[Effect]]] = {}
        for path, value in modulation.items():
            if value is None:
                continue

            effects = [value] if isinstance(value, Effect) else value
            if not isinstance(effects, list | tuple):
                raise ShapeError(f"{path!r} of a quantised part is modulated by a link, but got {type(value).__name__}")
            if any(len(effect.signal) not in (1, num_steps) for effect in effects):
                raise ShapeError(f"modulation of {path} needs 1 or {num_steps} steps in time")

            name, _, quantity = path.rpartition(".")
            by_layer.setdefault(self.program.layer_at(name), {})[quantity] = effects

        return by_layer
