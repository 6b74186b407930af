"""A part, or the nonlinearity of a unit, as a program of whole-number layers."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikebridge.deploy.quantization.config import Quantization, Region
from spikebridge.deploy.quantization.layers import (
    Narrow,
    Plain,
    Previous,
    Product,
    Record,
    Table,
    Value,
    plain_layer,
    refuse_odd,
)
from spikebridge.deploy.quantization.neurons import WholeFactor, WholeLayer, WholeNeuron, effects_at, in_time
from spikebridge.deploy.quantization.quantizer import Grid, Quantizer
from spikebridge.deploy.quantization.tracer import Function, Node, Wiring, acts_alone
from spikebridge.errors import ExportError
from spikebridge.hybrid import Gain, Gate
from spikebridge.neurons import Effect
from spikebridge.neurons.neuron import Neuron

SPIKES = Grid(1.0, 0, 1)


class Step(NamedTuple):
    """One operation of a program, and the signals that it takes."""

    name: str
    sources: tuple[str, ...]


class Program(nn.Module):
    """Layers in the order in which they run.

    Args:
        wiring: of the part.
        path: of the part, `where` or `units.LINK.nonlinearity`.
        config: regions.

    Raises:
        ExportError: a layer has no integer form, or no region; the message names it.
    """

    def __init__(self, wiring: Wiring, path: str, config: Quantization) -> None:
        super().__init__()
        self.path, self.config = path, config
        self.inputs = wiring.inputs
        self.observing = True
        self.steps: list[Step] = []
        self.operations = nn.ModuleDict()
        self.narrow: dict[str, Quantizer | None] = {}  # by signal; None is a sum of any width
        first = _first_region(wiring, self)
        self.entries = nn.ModuleDict({_key(name): Quantizer.of(first) for name in wiring.inputs})
        self.narrow |= {name: self._entry(name) for name in wiring.inputs}
        self._positive: set[str] = set()
        self._awaited = {node.sources[0]: node.name for node in wiring.nodes if node.kind == "previous"}
        users = [source for node in wiring.nodes for source in node.sources] + [wiring.output]
        folded: dict[str, str] = {}
        for node in wiring.nodes:
            sources = tuple(folded.get(source, source) for source in node.sources)
            if isinstance(node.module, nn.modules.batchnorm._BatchNorm):
                folded[node.name] = self._fold(node, sources[0], users)
            else:
                self._add(node, sources)
            if node.name in self._awaited:
                self._feed_back(node.name)
        self.output = self._narrowed(folded.get(wiring.output, wiring.output), first)

    @property
    def out(self) -> Quantizer:
        """The grid of what comes out."""
        out = self.narrow[self.output]
        if out is None:
            raise ValueError("a program gives a narrow signal")
        return out

    @property
    def layers(self) -> dict[str, WholeLayer]:
        """Its neurons, gains and gates by path in the part."""
        found = {step.name: self.operations[_key(step.name)] for step in self.steps}
        return {name: layer for name, layer in found.items() if isinstance(layer, WholeLayer)}

    @property
    def remembering(self) -> list[str]:
        """The names of all operations that have a state, in order."""
        kinds = WholeLayer | Previous
        return [step.name for step in self.steps if isinstance(self.operations[_key(step.name)], kinds)]

    def layer_at(self, node: str) -> str:
        """The name of the layer that a path of modulation leads to; of a layer alone it is "neuron"."""
        return next(name for name in (node, f"neuron.{node}", "neuron") if name in self.layers)

    def entry_of(self, signal: Quantizer) -> str | None:
        """The name of the input whose grid this is, None for one of the program's own."""
        return next((name for name in self.inputs if self._entry(name) is signal), None)

    def width_of(self, name: str) -> int:
        """Bits of what an operation remembers."""
        operation = self.operations[_key(name)]
        return operation.region.membranes if isinstance(operation, WholeLayer) else self._near(name).activations

    def settle(self) -> None:
        """Chooses every grid but those of the inputs, which come from elsewhere."""
        for quantizer in self.narrow.values():
            if quantizer is not None and self.entry_of(quantizer) is None:
                quantizer.settle()
        for layer in self.layers.values():
            layer.settle()

    def begin(self) -> None:
        """From watching to whole numbers; every grid is known."""
        self.observing = False
        for step in self.steps:
            operation, source = self.operations[_key(step.name)], self.narrow[step.sources[0]]
            if isinstance(operation, Table) and source is not None:
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
        after, rows = dict(states), []
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
        values: dict[str, Value] = {}
        like = next(iter(signals.values()))
        for name, x in signals.items():
            entry = self._entry(name)
            values[name] = Value(x) if self.observing else Value(entry.enter(x), entry.scale)
        after: dict[str, Any] = {}
        for step in self.steps:
            operation: Any = self.operations[_key(step.name)]
            if isinstance(operation, Previous):
                held = states.get(step.name)
                held = operation.start(like, batch, whole=not self.observing) if held is None else held
                values[step.name] = Value(held[: len(like)], None if self.observing else operation.quantizer.scale)
                after[step.name] = held
                continue
            given = [values[source] for source in step.sources]
            if isinstance(operation, WholeLayer):
                y, after[step.name] = operation(given, batch, states.get(step.name), effects.get(step.name, {}))
            else:
                y = operation(given)
            values[step.name] = y
        for step in self.steps:
            if isinstance(self.operations[_key(step.name)], Previous) and len(like):
                after[step.name] = values[step.sources[0]].x
        result = values[self.output]
        return (result.x if result.scale is None else (result.x * result.scale).to(like.dtype)), after

    def records(self) -> list[tuple[Step, Record]]:
        """Every operation with its whole numbers."""
        scales = {name: self._entry(name).scale for name in self.inputs}
        found, one = [], torch.ones((), dtype=torch.float64)  # of what comes back, which knows its scale itself
        for step in self.steps:
            operation: Any = self.operations[_key(step.name)]
            quantizers = [self.narrow[source] for source in step.sources]
            bounds = [(q.grid.low, q.grid.high) if q is not None else (0, 0) for q in quantizers]
            record: Record = operation.record([scales.get(source, one) for source in step.sources], bounds)
            scales[step.name] = record.scale
            found.append((step, record))
        return found

    def region(self, name: str) -> Region:
        """The region of a layer."""
        path = f"{self.path}.{name}" if name else self.path
        found = self.config.region(path)
        if found is None:
            raise ExportError(f"{path!r} is in no region, though other layers of {self.path!r} are; add one for it")
        return found

    def _entry(self, name: str) -> Quantizer:
        return self.entries[_key(name)]  # type: ignore[return-value]

    def _append(self, name: str, sources: tuple[str, ...], operation: nn.Module, out: Quantizer | None) -> str:
        self.operations[_key(name)] = operation
        self.steps.append(Step(name, sources))
        self.narrow[name] = out
        return name

    def _narrowed(self, source: str, region: Region) -> str:
        """A signal of few bits; a sum is brought to them first."""
        if self.narrow[source] is not None:
            return source
        name = f"{source}:narrow"
        if name not in self.narrow:
            quantizer = Quantizer.of(region, source in self._positive)
            self._append(name, (source,), Narrow(quantizer), quantizer)
        return name

    def _add(self, node: Node, sources: tuple[str, ...]) -> None:
        module, name = node.module, node.name
        path = f"{self.path}.{name}"
        if node.kind == "previous":
            quantizer = Quantizer.of(self._near(name))
            self._append(name, sources, Previous(node.shape, quantizer), quantizer)
            return
        if module is None:
            region = self.region(sources[0] if sources[0] not in self.inputs else "")
            quantizer = Quantizer.of(region, set(sources) <= self._positive)
            added = Narrow(quantizer, None, len(sources)) if node.kind == "sum" else Narrow(quantizer, node.axis)
            self._append(name, sources, added, quantizer)
            return
        if isinstance(module, Gain | Gate):
            region = self._near(name)
            self._append(name, (self._narrowed(sources[0], region),), WholeFactor(module, region, path), None)
            return
        if isinstance(module, Neuron):
            own = WholeNeuron(module, self.region(name), path)
            out = Quantizer(1)
            out.take(SPIKES)
            self._append(name, sources, own, out if own.spikes else None)
            return
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            refuse_odd(module, path)
            region = self.region(name)
            self._append(name, (self._narrowed(sources[0], region),), Product(module, region, None, path), None)
            return
        plain = plain_layer(module, path)
        if plain is not None:
            flattens = isinstance(plain, nn.Flatten)
            source = self._narrowed(sources[0], self._near(sources[0])) if flattens else sources[0]
            averages = isinstance(plain, nn.AvgPool2d | nn.AdaptiveAvgPool2d)
            if isinstance(plain, nn.ReLU) or source in self._positive:
                self._positive.add(name)
            self._append(name, (source,), Plain(plain), None if averages else self.narrow[source])
            return
        if not acts_alone(module):
            kind = module.function if isinstance(module, Function) else type(module).__name__
            raise ExportError(f"{path!r} is a {getattr(kind, '__name__', kind)}, which has no integer form")
        region = self._near(name)
        quantizer = Quantizer.of(region)
        self._append(name, (self._narrowed(sources[0], region),), Table(module, quantizer), quantizer)

    def _feed_back(self, name: str) -> None:
        """What a layer gives is few bits wide, and known to the operation that brings it back."""
        place = next(i for i, step in enumerate(self.steps) if step.name == self._awaited[name])
        source = self._narrowed(name, self._near(name))
        quantizer, previous = self.narrow[source], self.operations[_key(self._awaited[name])]
        if quantizer is not None and isinstance(previous, Previous):
            previous.quantizer = self.narrow[self._awaited[name]] = quantizer
        self.steps[place] = Step(self._awaited[name], (source,))

    def _near(self, name: str) -> Region:
        """The region of what has no weights of its own: that of the part, where no closer one is told."""
        return self.config.region(f"{self.path}.{name}") or self.region("")

    def _fold(self, node: Node, source: str, users: Sequence[str]) -> str:
        product = dict(self.operations.items()).get(_key(source))
        if not isinstance(product, Product) or users.count(source) != 1 or product.norm is not None:
            raise ExportError(
                f"{self.path}.{node.name} is a batch normalisation that does not follow a layer of its own, so it "
                "cannot be folded into one"
            )
        norm: Any = node.module
        if not norm.track_running_stats:
            raise ExportError(f"{self.path}.{node.name} keeps no statistics, so it cannot be folded into a layer")
        product.norm = norm
        return source


def modulable(layers: Mapping[str, WholeLayer]) -> list[str]:
    """Paths of the quantities that can be modulated in whole numbers."""
    return [f"{path}.{q}" for path, one in layers.items() for q in one.modulable if q in one.layer.modulable]


def _first_region(wiring: Wiring, program: Program) -> Region:
    """The region of the first layer that has one."""
    for node in wiring.nodes:
        found = program.config.region(f"{program.path}.{node.name}")
        if found is not None:
            return found
    return program.region("")


def _key(name: str) -> str:
    """A name as modules may have it."""
    return "/" + name.replace(".", "/")
