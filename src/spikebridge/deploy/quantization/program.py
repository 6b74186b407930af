"""A part, or the nonlinearity of a unit, as a program of whole-number layers."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikebridge.deploy.quantization.config import QConfig, QConfigMapping
from spikebridge.deploy.quantization.layers import (
    IntegerOp,
    LookupTable,
    PassThrough,
    QTensor,
    QuantLinear,
    Requantize,
    UnitDelay,
    plain_layer,
    refuse_odd,
)
from spikebridge.deploy.quantization.neurons import (
    QuantDelay,
    QuantFactor,
    QuantLayer,
    QuantNeuron,
    effects_at,
    in_time,
)
from spikebridge.deploy.quantization.quantizer import QParams, Quantizer
from spikebridge.deploy.quantization.tracer import TracedFunction, TracedGraph, TracedNode, acts_alone
from spikebridge.errors import ExportError
from spikebridge.hybrid import Delay, Gain, Gate
from spikebridge.neurons import Effect
from spikebridge.neurons.neuron import Neuron

_SPIKES = QParams(1.0, 0, 1)


class ProgramStep(NamedTuple):
    """One operation of a program, and the signals that it takes."""

    name: str
    sources: tuple[str, ...]


class QuantProgram(nn.Module):
    """Layers in the order in which they run.

    Args:
        graph: layers and signals of the part.
        path: of the part, `where` or `units.LINK.nonlinearity`.
        config: regions.

    Raises:
        ExportError: a layer has no integer form, or no region; the message names it.
    """

    def __init__(self, graph: TracedGraph, path: str, config: QConfigMapping) -> None:
        super().__init__()
        self.path = path
        self.config = config
        self.inputs = graph.inputs
        self.observing = True
        self.steps: list[ProgramStep] = []
        self.operations = nn.ModuleDict()
        self.quantizers: dict[str, Quantizer | None] = {}  # by signal; None is a sum of any width
        first = _first_region(graph, self)
        self.input_quantizers = nn.ModuleDict({_key(name): Quantizer.of(first) for name in graph.inputs})
        self.quantizers |= {name: self.input_quantizer(name) for name in graph.inputs}
        self._positive: set[str] = set()
        self._awaited = {node.sources[0]: node.name for node in graph.nodes if node.kind == "previous"}
        users = [source for node in graph.nodes for source in node.sources] + [graph.output]
        folded: dict[str, str] = {}

        for node in graph.nodes:
            sources = tuple(folded.get(source, source) for source in node.sources)
            if isinstance(node.module, nn.modules.batchnorm._BatchNorm):
                folded[node.name] = self._fold(node, sources[0], users)
            else:
                self._add(node, sources)

            if node.name in self._awaited:
                self._feed_back(node.name)

        self.output = self._requantized(folded.get(graph.output, graph.output), first)

    @property
    def out(self) -> Quantizer:
        """The grid of what comes out."""
        out = self.quantizers[self.output]
        if out is None:
            raise ValueError("a program gives a narrow signal")
        return out

    @property
    def layers(self) -> dict[str, QuantLayer]:
        """Its neurons, gains and gates by path in the part."""
        found = {step.name: self.operations[_key(step.name)] for step in self.steps}
        return {name: layer for name, layer in found.items() if isinstance(layer, QuantLayer)}

    @property
    def stateful_steps(self) -> list[str]:
        """The names of all operations that have a state, in order."""
        kinds = QuantLayer | UnitDelay
        return [step.name for step in self.steps if isinstance(self.operations[_key(step.name)], kinds)]

    def layer_at(self, node: str) -> str:
        """The name of the layer that a path of modulation leads to; of a layer alone it is "neuron"."""
        return next(name for name in (node, f"neuron.{node}", "neuron") if name in self.layers)

    def input_with(self, signal: Quantizer) -> str | None:
        """The name of the input whose grid this is, None for one of the program's own."""
        return next((name for name in self.inputs if self.input_quantizer(name) is signal), None)

    def bits_of(self, name: str) -> int:
        """Bits of what an operation remembers."""
        operation = self.operations[_key(name)]
        return (
            operation.qconfig.membranes
            if isinstance(operation, QuantLayer)
            else self._nearest_qconfig(name).activations
        )

    def calibrate(self) -> None:
        """Chooses every grid but those of the inputs, which come from elsewhere."""
        for quantizer in self.quantizers.values():
            if quantizer is not None and self.input_with(quantizer) is None:
                quantizer.calibrate()

        for layer in self.layers.values():
            layer.calibrate()

    def convert(self) -> None:
        """From observing to integers; every grid is known."""
        self.observing = False
        for step in self.steps:
            operation = self.operations[_key(step.name)]
            source = self.quantizers[step.sources[0]]
            if isinstance(operation, LookupTable) and source is not None:
                operation.bounds.copy_(source.bounds)

    def forward(
        self,
        signals: Mapping[str, Tensor],
        batch: int,
        states: Mapping[str, Any],
        effects: Mapping[str, Mapping[str, Sequence[Effect]]],
    ) -> tuple[Tensor, dict[str, Any]]:
        """Rows `(T * B, *N)` of real values in and out; states and effects by layer."""
        number = len(next(iter(signals.values()))) // max(batch, 1)
        if not self._awaited or number < 2:  # nothing comes back, or only once
            return self._run(signals, batch, states, effects)

        after = dict(states)
        rows = []
        timed = {name: in_time(x, batch) for name, x in signals.items()}

        for t in range(number):
            now = {name: effects_at(several, t) for name, several in effects.items()}
            y, after = self._run({name: x[t] for name, x in timed.items()}, batch, after, now)
            rows.append(y)

        return torch.cat(rows), after

    def _run(
        self,
        signals: Mapping[str, Tensor],
        batch: int,
        states: Mapping[str, Any],
        effects: Mapping[str, Mapping[str, Sequence[Effect]]],
    ) -> tuple[Tensor, dict[str, Any]]:
        values: dict[str, QTensor] = {}
        like = next(iter(signals.values()))
        for name, x in signals.items():
            input_quantizer = self.input_quantizer(name)
            values[name] = QTensor(x) if self.observing else QTensor(input_quantizer.quantize(x), input_quantizer.scale)

        after: dict[str, Any] = {}
        for step in self.steps:
            operation: Any = self.operations[_key(step.name)]
            if isinstance(operation, UnitDelay):
                held = states.get(step.name)
                held = operation.start(like, batch, whole=not self.observing) if held is None else held
                values[step.name] = QTensor(held[: len(like)], None if self.observing else operation.quantizer.scale)
                after[step.name] = held
                continue

            given = [values[source] for source in step.sources]
            if isinstance(operation, QuantLayer):
                y, after[step.name] = operation(given, batch, states.get(step.name), effects.get(step.name, {}))
            else:
                y = operation(given)

            values[step.name] = y

        for step in self.steps:
            if isinstance(self.operations[_key(step.name)], UnitDelay) and len(like):
                after[step.name] = values[step.sources[0]].x

        result = values[self.output]
        return (result.x if result.scale is None else (result.x * result.scale).to(like.dtype)), after

    def records(self) -> list[tuple[ProgramStep, IntegerOp]]:
        """Every operation with its integers."""
        scales = {name: self.input_quantizer(name).scale for name in self.inputs}
        found = []  # of what comes back, which knows its scale itself
        one = torch.ones((), dtype=torch.float64)

        for step in self.steps:
            operation: Any = self.operations[_key(step.name)]
            quantizers = [self.quantizers[source] for source in step.sources]
            bounds = [(q.qparams.low, q.qparams.high) if q is not None else (0, 0) for q in quantizers]
            record: IntegerOp = operation.record([scales.get(source, one) for source in step.sources], bounds)
            scales[step.name] = record.scale
            found.append((step, record))

        return found

    def qconfig(self, name: str) -> QConfig:
        """The region of a layer."""
        path = f"{self.path}.{name}" if name else self.path
        found = self.config.qconfig(path)
        if found is None:
            raise ExportError(f"{path!r} is in no region, though other layers of {self.path!r} are; add one for it")

        return found

    def input_quantizer(self, name: str) -> Quantizer:
        return self.input_quantizers[_key(name)]  # type: ignore[return-value]

    def _append(self, name: str, sources: tuple[str, ...], operation: nn.Module, out: Quantizer | None) -> str:
        self.operations[_key(name)] = operation
        self.steps.append(ProgramStep(name, sources))
        self.quantizers[name] = out
        return name

    def _requantized(self, source: str, qconfig: QConfig) -> str:
        """A signal of few bits; a sum is brought to them first."""
        if self.quantizers[source] is not None:
            return source

        name = f"{source}:narrow"
        if name not in self.quantizers:
            quantizer = Quantizer.of(qconfig, source in self._positive)
            self._append(name, (source,), Requantize(quantizer), quantizer)

        return name

    def _add(self, node: TracedNode, sources: tuple[str, ...]) -> None:
        module = node.module
        name = node.name
        path = f"{self.path}.{name}"
        if node.kind == "previous":
            quantizer = Quantizer.of(self._nearest_qconfig(name))
            self._append(name, sources, UnitDelay(node.shape, quantizer), quantizer)
            return

        if module is None:
            qconfig = self.qconfig(sources[0] if sources[0] not in self.inputs else "")
            quantizer = Quantizer.of(qconfig, set(sources) <= self._positive)
            added = (
                Requantize(quantizer, None, len(sources)) if node.kind == "sum" else Requantize(quantizer, node.axis)
            )
            self._append(name, sources, added, quantizer)

            return

        if isinstance(module, Gain | Gate):
            qconfig = self._nearest_qconfig(name)
            self._append(name, (self._requantized(sources[0], qconfig),), QuantFactor(module, qconfig, path), None)
            return

        if isinstance(module, Delay):
            qconfig = self._nearest_qconfig(name)
            source = self._requantized(sources[0], qconfig)
            self._append(name, (source,), QuantDelay(module, qconfig, path), self.quantizers[source])
            return

        if isinstance(module, Neuron):
            own = QuantNeuron(module, self.qconfig(name), path)
            out = Quantizer(1)
            out.set_qparams(_SPIKES)
            self._append(name, sources, own, out if own.spikes else None)

            return

        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            refuse_odd(module, path)
            qconfig = self.qconfig(name)
            self._append(
                name, (self._requantized(sources[0], qconfig),), QuantLinear(module, qconfig, None, path), None
            )
            return

        plain = plain_layer(module, path)
        if plain is not None:
            flattens = isinstance(plain, nn.Flatten)
            source = self._requantized(sources[0], self._nearest_qconfig(sources[0])) if flattens else sources[0]
            averages = isinstance(plain, nn.AvgPool2d | nn.AdaptiveAvgPool2d)
            if isinstance(plain, nn.ReLU) or source in self._positive:
                self._positive.add(name)
            self._append(name, (source,), PassThrough(plain), None if averages else self.quantizers[source])
            return

        if not acts_alone(module):
            kind = module.function if isinstance(module, TracedFunction) else type(module).__name__
            raise ExportError(f"{path!r} is a {getattr(kind, '__name__', kind)}, which has no integer form")

        qconfig = self._nearest_qconfig(name)
        quantizer = Quantizer.of(qconfig)
        self._append(name, (self._requantized(sources[0], qconfig),), LookupTable(module, quantizer), quantizer)

    def _feed_back(self, name: str) -> None:
        """What a layer gives is few bits wide, and known to the operation that brings it back."""
        place = next(i for i, step in enumerate(self.steps) if step.name == self._awaited[name])
        source = self._requantized(name, self._nearest_qconfig(name))
        quantizer = self.quantizers[source]
        previous = self.operations[_key(self._awaited[name])]

        if quantizer is not None and isinstance(previous, UnitDelay):
            previous.quantizer = self.quantizers[self._awaited[name]] = quantizer

        self.steps[place] = ProgramStep(self._awaited[name], (source,))

    def _nearest_qconfig(self, name: str) -> QConfig:
        """The config of an operation without weights: its own, or that of the part."""
        return self.config.qconfig(f"{self.path}.{name}") or self.qconfig("")

    def _fold(self, node: TracedNode, source: str, users: Sequence[str]) -> str:
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


def modulable(layers: Mapping[str, QuantLayer]) -> list[str]:
    """Paths of the quantities that can be modulated in integers."""
    return [f"{path}.{q}" for path, one in layers.items() for q in one.modulable if q in one.layer.modulable]


def _first_region(graph: TracedGraph, program: QuantProgram) -> QConfig:
    """The region of the first layer that has one."""
    for node in graph.nodes:
        found = program.config.qconfig(f"{program.path}.{node.name}")
        if found is not None:
            return found

    return program.qconfig("")


def _key(name: str) -> str:
    """A name as modules may have it."""
    return "/" + name.replace(".", "/")
