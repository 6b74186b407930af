"""Quantisation of a hybrid network, ANN, SNN and units: `quantize` calibrates on a stream, scales follow every link.

    quantized = quantize(network, inputs, QConfigMapping((QConfig(weights=8, activations=8, membranes=16),)))
    fit(quantized, phases, data)                # quantisation-aware training (optional)
    model = integer_model(quantized)            # numpy, without floats; the same bits

A quantised network is the same `HybridNetwork`: its clocks, links and state are as they were. Between parts it carries
real values that lie on known grids; inside a part they are integers, and gradients go straight through. What has
no integer form is refused with its path and the reason. B. Jacob et al., CVPR 2018, is the source of multipliers and
shifts; that a unit is quantised like the rest goes further.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.deploy.bundle.trace import ReferenceTrace, check_stream, record_trace
from spikebridge.deploy.quantization.config import QConfig, QConfigMapping
from spikebridge.deploy.quantization.parts import QuantizedModule, QuantizedPart
from spikebridge.deploy.quantization.program import QuantProgram
from spikebridge.deploy.quantization.quantizer import QParams, Quantizer
from spikebridge.deploy.quantization.tracer import trace_graph
from spikebridge.deploy.quantization.units import QuantizedUnit, quantized_unit
from spikebridge.errors import ConfigError, ExportError
from spikebridge.hybrid import HybridNetwork, HybridUnit, Modulation, Transmission, every
from spikebridge.hybrid.network.link import Route
from spikebridge.neurons import Stateful
from spikebridge.neurons.dt import dt_of, unbound_layer


def program_of(part: object) -> QuantProgram | None:
    """The program of a quantised part, None of another."""
    return part.program if isinstance(part, QuantizedModule | QuantizedPart) else None


def program_input_of(network: HybridNetwork, route: Route) -> str:
    """The input of the target's program that a transmission leads to."""
    if route.into is not None:
        return route.into
    unnamed = [r for r in network.incoming[route.link.part] if not isinstance(r.link, Modulation) and r.into is None]
    return f"#{unnamed.index(route)}"


class _ScalePropagation:
    """The signals of a network, recorded before it was quantised.

    Args:
        network: whose parts and units are being replaced.
        inputs: the stream.
        recorded: what parts and units gave on it.
        config: regions.
    """

    def __init__(
        self, network: HybridNetwork, inputs: Mapping[str, Tensor], recorded: ReferenceTrace, config: QConfigMapping
    ) -> None:
        self.network = network
        self.inputs = inputs
        self.recorded = recorded
        self.config = config
        self.outside: dict[str, QParams] = {}  # of inputs, and of what stays real

    def signal(self, name: str) -> Tensor:
        """An input or a part's output, `(K, B, *N)`."""
        x = self.inputs.get(name, self.recorded.parts.get(name))
        if x is None or not len(x):
            raise ExportError(f"{name!r} never comes in the stream to calibrate on; give a longer one")
        return x

    def carried(self, route: Route) -> Tensor:
        """What a link brings, `(K, B, *N)`."""
        if route.link.unit is None:
            return self.signal(route.link.source)

        x = self.recorded.links.get(route.name)
        if x is None or not len(x):
            raise ExportError(
                f"the link {route.name!r} brings nothing in the stream to calibrate on; give a longer one"
            )

        return x

    def arguments(self, part: str) -> tuple[list[Tensor], dict[str, Tensor]]:
        """One step of what a part takes, by position and by name."""
        routes = [route for route in self.network.incoming[part] if not isinstance(route.link, Modulation)]
        return (
            [self.carried(route)[0] for route in routes if route.into is None],
            {route.into: self.carried(route)[0] for route in routes if route.into is not None},
        )

    def check(self) -> None:
        """Refuses modulation that would reach a quantised layer as anything but a grid."""
        for route in self.network.routes:
            if isinstance(route.link, Modulation) and program_of(self.network.parts[route.link.part]) is not None:
                self.carried(route)

    def calibrate(self) -> None:
        """Chooses every scale and passes it to the readers of the signal."""
        network = self.network
        programs = {name: found for name, part in network.parts.items() if (found := program_of(part)) is not None}
        units = {name: unit for name, unit in network.units.items() if isinstance(unit, QuantizedUnit)}
        stages: list[QuantProgram | QuantizedUnit] = [*programs.values(), *units.values()]

        for stage in stages:
            stage.calibrate()

        for route in network.routes:
            program = programs.get(route.link.part)
            if route.name in units:
                context = route.link.context
                qconfig = self._region(f"units.{route.name}")
                second = None if context is None else self._source(context, qconfig)
                units[route.name].convert(self._source(route.link.source, qconfig), second)

            if program is None:
                continue

            if isinstance(route.link, Modulation):
                node, _, quantity = route.link.path.rpartition(".")
                layer = program.layers[program.layer_at(node)]
                quantizer = Quantizer.of(layer.qconfig)
                quantizer.set_qparams(self.link_grid(route, layer.qconfig))
                layer.effects.setdefault(quantity, []).append(quantizer)
            else:
                input_quantizer = program.input_quantizer(program_input_of(network, route))
                input_quantizer.set_qparams(self.link_grid(route, _region_of(input_quantizer)))

        for program in programs.values():
            program.convert()

    def link_grid(self, route: Route, qconfig: QConfig) -> QParams:
        """The grid of what a link brings."""
        unit: Any = self.network.unit_of(route)
        if unit is not None and not isinstance(unit, QuantizedUnit):
            return self._outside(route.name, self.carried(route), qconfig)

        if unit is not None and unit.out is not None:
            out: Quantizer = unit.out
            return out.qparams

        return self._source(route.link.source, qconfig)

    def _source(self, name: str, qconfig: QConfig) -> QParams:
        program = program_of(self.network.parts[name]) if name in self.network.parts else None
        if program is None:
            return self._outside(name, self.signal(name), qconfig)

        input_quantizer = program.input_with(program.out)
        if input_quantizer is None:
            return program.out.qparams

        routes = [r for r in self.network.incoming[name] if not isinstance(r.link, Modulation)]
        return self.link_grid(next(r for r in routes if program_input_of(self.network, r) == input_quantizer), qconfig)

    def _outside(self, name: str, x: Tensor, qconfig: QConfig) -> QParams:
        if name not in self.outside:
            quantizer = Quantizer.of(qconfig)
            quantizer.observe(x.to(torch.float32))
            quantizer.calibrate()
            self.outside[name] = quantizer.qparams

        return self.outside[name]

    def _region(self, path: str) -> QConfig:
        stages = ("", ".kernel", ".nonlinearity", ".discretizer")
        return next(found for stage in stages if (found := self.config.qconfig(f"{path}{stage}")) is not None)


def _region_of(quantizer: Quantizer) -> QConfig:
    return QConfig(activations=quantizer.bits, power_of_two=quantizer.power_of_two)


_SIGNAL = "signal"
DEFAULT = QConfigMapping()


def quantize(
    network: nn.Module,
    inputs: Mapping[str, Tensor],
    config: QConfigMapping = DEFAULT,
    *,
    ticks: int | None = None,
    dt: float | None = None,
) -> HybridNetwork:
    """A copy of a network that computes with integers, calibrated on a stream.

    Args:
        network: the trained one; it is left as it is. A part or a unit alone becomes a network around it, with the
            input "signal" and the part "network".
        inputs: a stream like those it will see, `(T, B, *N)` each.
        config: regions and their widths.
        ticks: base ticks of the stream; None means the most for which every input has exactly the samples given.
        dt: step of a part alone [s], where its layers have none.

    Raises:
        ConfigError: a region names no layer, or inputs are not given by name, or hold no sample.
        ExportError: a layer in a region has no integer form; the message names it.

    Example:
        >>> from spikebridge.neurons import IF, Sequential
        >>> snn = Sequential(fc=nn.Linear(1, 1, bias=False), fire=IF())
        >>> _ = nn.init.constant_(snn[0].weight, 0.5)
        >>> quantized = quantize(snn, {"signal": torch.ones(4, 1, 1)})
        >>> quantized({"signal": torch.ones(4, 1, 1)})[0]["network"].flatten().tolist()
        [0.0, 1.0, 0.0, 1.0]
    """
    check_stream(inputs)
    own = copy.deepcopy(network)
    whole = (own if isinstance(own, HybridNetwork) else _around(own, dt)).eval()
    config.check(_layer_paths(whole))
    _refuse_precision(whole)
    given = {name: x.detach() for name, x in inputs.items()}

    with torch.no_grad():
        recorded = record_trace(whole, given, ticks)
        wires = _ScalePropagation(whole, given, recorded, config)
        for name in list(whole.parts):
            if _is_held(config, name, whole.parts[name]):
                whole.parts[name] = _part(whole, name, config, wires)

        for route in whole.routes:
            unit = whole.unit_of(route)
            if unit is not None and _is_held(config, f"units.{route.name}", unit):
                whole.units[route.name] = _unit(route, unit, config, wires)

        whole.forget_shapes()
        whole._needs_finite_check = list(whole.inputs)  # what is not finite has no integer
        wires.check()
        whole(given, whole.initial_state(given), ticks)  # watched
        wires.calibrate()

    return whole


def _layer_paths(network: HybridNetwork) -> list[str]:
    """The paths of parts, units, and layers in them.

    Example:
        >>> _layer_paths(_around(nn.Sequential(nn.Linear(1, 1)), None))
        ['network', 'network.0']
    """
    found = [f"{name}{'.' if path else ''}{path}" for name, m in network.parts.items() for path, _ in m.named_modules()]
    for name, unit in network.units.items():
        found += [f"units.{name}{'.' if path else ''}{path}" for path, _ in unit.named_modules()]

    return found


def _around(module: nn.Module, dt: float | None) -> HybridNetwork:
    unit = module if isinstance(module, HybridUnit) else None
    step = dt_of(module) or dt
    if step is None:
        if (path := unbound_layer(module)) is not None:
            raise ConfigError(f"{path!r} depends on dt, the step of its clock, and has none; give dt= [s]")
        step = 1.0  # nothing depends on it

    part = nn.Identity() if unit is not None else module
    links = [Transmission(_SIGNAL, "network", unit, name="unit" if unit is not None else None)]

    return HybridNetwork(
        dt=step, inputs={_SIGNAL: every(step)}, parts={"network": part}, links=links, outputs=["network"]
    )


def _refuse_precision(network: HybridNetwork) -> None:
    for name, value in (*network.named_parameters(), *network.named_buffers()):
        if value.is_floating_point() and value.dtype != torch.float32:
            raise ExportError(f"{name!r} is {value.dtype}; quantisation starts from float32: network.float()")


def _is_held(config: QConfigMapping, path: str, module: nn.Module) -> bool:
    names = [path, *(f"{path}.{name}" for name, _ in module.named_modules() if name)]
    return any(config.qconfig(name) is not None for name in names)


def _part(network: HybridNetwork, name: str, config: QConfigMapping, wires: _ScalePropagation) -> nn.Module:
    part = network.parts[name]
    if isinstance(part, HybridNetwork):
        raise ExportError(f"{name!r} is a network of its own; quantise it alone")

    for route in network.incoming[name]:
        if route.acts_on_a_parameter:
            raise ExportError(
                f"the link {route.name!r} modulates {route.link.target}, weights that change while the network runs, "
                "which have no integer form"
            )

    signals, named = wires.arguments(name)
    program = QuantProgram(trace_graph(part, signals, named, name), name, config)
    if not isinstance(part, Stateful):
        return QuantizedModule(program)

    quantized = QuantizedPart(program, part)
    paths = [route.link.path for route in network.incoming[name] if isinstance(route.link, Modulation)]
    for path in paths:
        if paths.count(path) > 1:
            # before its first value a modulation is absent, and the others would be taken for it
            raise ExportError(
                f"{paths.count(path)} links modulate {name}.{path}; an integer model takes one for a quantity: let "
                "one unit combine both signals"
            )

    for route in network.incoming[name]:
        if isinstance(route.link, Modulation) and route.link.path not in quantized.modulable_paths():
            raise ExportError(
                f"the link {route.name!r} modulates {route.link.target}, which has no integer form; "
                "thresholds, resets and rests of neurons, gains and gates have one"
            )

    return quantized


def _unit(route: Route, unit: HybridUnit, config: QConfigMapping, wires: _ScalePropagation) -> QuantizedUnit:
    path = f"units.{route.name}"
    source = wires.signal(route.link.source)
    x = source[:1] if source.is_floating_point() else source[:1].float()
    length = 1 if unit.window is None else unit.window.length or 1
    stages = {"kernel": x[0]}

    if unit.kernel is not None:
        stages["kernel"] = unit.kernel.last_of_windows(x.expand(length, *x.shape[1:]).unsqueeze(0))[0]

    context = None if route.link.context is None else wires.signal(route.link.context)[0]
    return quantized_unit(unit, path, config, stages, context)
