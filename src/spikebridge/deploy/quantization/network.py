"""Quantisation of a hybrid network, ANN, SNN and units: `quantize` calibrates on a stream, scales follow every link.

    quantized = quantize(network, inputs, QConfigMapping((QConfig(weights=8, activations=8, membranes=16),)))
    fit(quantized, phases, data)                # quantisation-aware training (optional)
    model = integer_model(quantized)            # numpy, without floats; the same bits

A quantised network is a `HybridNetwork` with the same clocks, links and states. Signals between parts are real values
that are multiples of their scale; inside a part they are integers, and gradients are straight-through. A layer without
an integer form is refused with its path and the reason. Units are quantised like parts, beyond B. Jacob et al., CVPR
2018, whose scheme this is.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.deploy.bundle.trace import ReferenceTrace, check_float32, check_stream, record_trace
from spikebridge.deploy.quantization.config import QConfig, QConfigMapping
from spikebridge.deploy.quantization.program import FLAGS, QuantizedModule, QuantizedPart, QuantProgram
from spikebridge.deploy.quantization.quantizer import QParamsRecord, Quantizer
from spikebridge.deploy.quantization.tracer import trace_graph
from spikebridge.deploy.quantization.units import QuantizedUnit, quantized_unit
from spikebridge.deploy.stages.neurons import NeuronForm
from spikebridge.errors import ConfigError, ExportError
from spikebridge.hybrid import HybridNetwork, HybridUnit, Modulation, Transmission, every
from spikebridge.hybrid.network.link import Route, wake_of
from spikebridge.neurons import Stateful
from spikebridge.neurons.dt import dt_of, unbound_layer

_SIGNAL = "signal"
_DEFAULT = QConfigMapping()
_STAGES = ("", ".kernel", ".nonlinearity", ".discretizer")


def quantize(
    network: nn.Module,
    inputs: Mapping[str, Tensor],
    config: QConfigMapping = _DEFAULT,
    *,
    dt: float | None = None,
) -> HybridNetwork:
    """A copy of a network that computes with integers, calibrated on a stream.

    Args:
        network: the trained network, which is left as it is. A single part or unit becomes a network with the input
            "signal" and the part "network".
        inputs: a stream like those of its use, `(T, B, *N)` each.
        config: regions and their widths.
        dt: step of a single part [s], where its layers have none.

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
    draft = copy.deepcopy(network)
    quantized = (draft if isinstance(draft, HybridNetwork) else _single(draft, dt)).eval()
    _refuse_once_and_masks(quantized)
    config.check(layer_paths(quantized))
    check_float32(quantized, "quantisation starts from float32")
    stream = {name: x.detach() for name, x in inputs.items()}

    with torch.no_grad():
        trace = record_trace(quantized, stream)
        scales = _ScalePropagation(quantized, stream, trace, config)
        _replace_modules(quantized, config, scales)
        quantized.forget_shapes()
        # a value that is not finite has no integer
        quantized._needs_finite_check = list(quantized.inputs)
        scales.check_modulations()

        # one run observes all signals
        quantized(stream, quantized.initial_state(stream))
        scales.calibrate()

    return quantized


def _program_of(part: object) -> QuantProgram | None:
    """The program of a quantised part, None for another."""
    return part.program if isinstance(part, QuantizedModule | QuantizedPart) else None


def programs_of(network: HybridNetwork) -> dict[str, QuantProgram]:
    """The program of each quantised part."""
    programs = {name: _program_of(part) for name, part in network.parts.items()}
    return {name: program for name, program in programs.items() if program is not None}


def quantized_units_of(network: HybridNetwork) -> dict[str, QuantizedUnit]:
    """The unit of each link whose unit is quantised."""
    return {name: unit for name, unit in network.units.items() if isinstance(unit, QuantizedUnit)}


def program_input_of(network: HybridNetwork, route: Route) -> str:
    """The input of the target's program that a transmission leads to."""
    if route.into is not None:
        return route.into
    return f"#{[r for r in _transmissions(network, route.link.part) if r.into is None].index(route)}"


def _transmissions(network: HybridNetwork, part: str) -> list[Route]:
    return [route for route in network.incoming[part] if isinstance(route.link, Transmission)]


def _modulations(network: HybridNetwork, part: str) -> list[tuple[Route, Modulation]]:
    return [(route, route.link) for route in network.incoming[part] if isinstance(route.link, Modulation)]


@dataclass
class _ScalePropagation:
    """The scales of a network's signals, passed from each source to its readers.

    The trace has the signals of parts and units on the stream, before they were replaced.
    """

    network: HybridNetwork
    inputs: Mapping[str, Tensor]
    trace: ReferenceTrace
    config: QConfigMapping
    real: dict[str, QParamsRecord] = field(default_factory=dict)  # of inputs, and of parts and units that stay real

    def signal(self, name: str) -> Tensor:
        """An input or a part's output, `(K, B, *N)`."""
        x = self.inputs.get(name, self.trace.parts.get(name))
        if x is None or not len(x):
            raise ExportError(f"{name!r} has no value in the stream of the calibration; give a longer one")
        return x

    def carried(self, route: Route) -> Tensor:
        if route.link.unit is None:
            return self.signal(route.link.source)

        x = self.trace.links.get(route.name)
        if x is None or not len(x):
            raise ExportError(
                f"the link {route.name!r} has no value in the stream of the calibration; give a longer one"
            )

        return x

    def arguments(self, part: str) -> tuple[list[Tensor], dict[str, Tensor]]:
        routes = _transmissions(self.network, part)
        return (
            [self.carried(route)[0] for route in routes if route.into is None],
            {route.into: self.carried(route)[0] for route in routes if route.into is not None},
        )

    def check_modulations(self) -> None:
        """Raises an `ExportError` for a modulation without values, since its scale would be unknown."""
        for name in programs_of(self.network):
            for route, _ in _modulations(self.network, name):
                self.carried(route)

    def calibrate(self) -> None:
        """Chooses every scale and passes it to the readers of the signal."""
        programs = programs_of(self.network)
        units = quantized_units_of(self.network)

        for program in programs.values():
            program.calibrate()
        for unit in units.values():
            unit.calibrate()

        # units first: a part reads the scale that a unit has chosen
        for route in self.network.routes:
            if route.name in units:
                self._convert_unit(route, units[route.name])
            if route.link.part in programs and not route.num_flags:
                self._pass_to_part(route, programs[route.link.part])

        for program in programs.values():
            program.convert()

    def link_qparams(self, route: Route, qconfig: QConfig) -> QParamsRecord:
        unit: Any = self.network.unit_of(route)
        if unit is not None and not isinstance(unit, QuantizedUnit):
            return self._real_qparams(route.name, self.carried(route), qconfig)

        if unit is not None and unit.out is not None:
            out: Quantizer = unit.out
            return out.qparams

        return self._source_qparams(route.link.source, qconfig)

    def _convert_unit(self, route: Route, unit: QuantizedUnit) -> None:
        qconfigs = [self.config.qconfig(f"units.{route.name}{stage}") for stage in _STAGES]
        qconfig = next(qconfig for qconfig in qconfigs if qconfig is not None)
        context = route.link.context
        second = None if context is None else self._source_qparams(context, qconfig)
        unit.convert(self._source_qparams(route.link.source, qconfig), second)

    def _pass_to_part(self, route: Route, program: QuantProgram) -> None:
        if isinstance(route.link, Modulation):
            node, _, quantity = route.link.path.rpartition(".")
            layer = program.layers[program.layer_at(node)]
            quantizer = Quantizer.of(layer.qconfig)
            quantizer.set_qparams(self.link_qparams(route, layer.qconfig))
            layer.effects.setdefault(quantity, []).append(quantizer)
        else:
            quantizer = program.input_quantizer(program_input_of(self.network, route))
            qconfig = QConfig(activations=quantizer.bits, power_of_two=quantizer.power_of_two)
            quantizer.set_qparams(self.link_qparams(route, qconfig))

    def _source_qparams(self, name: str, qconfig: QConfig) -> QParamsRecord:
        if name in (f"{part}.awake" for part in self.network.plan.wakes):
            return FLAGS
        program = _program_of(self.network.parts[name]) if name in self.network.parts else None
        if program is None:
            return self._real_qparams(name, self.signal(name), qconfig)

        own_input = program.input_with(program.out)
        if own_input is None:
            return program.out.qparams

        # a part that passes an input on has the scale of the link to it
        routes = _transmissions(self.network, name)
        route = next(r for r in routes if program_input_of(self.network, r) == own_input)
        return self.link_qparams(route, qconfig)

    def _real_qparams(self, name: str, x: Tensor, qconfig: QConfig) -> QParamsRecord:
        if name not in self.real:
            quantizer = Quantizer.of(qconfig)
            quantizer.observe(x.to(torch.float32))
            quantizer.calibrate()
            self.real[name] = quantizer.qparams

        return self.real[name]


def _refuse_once_and_masks(network: HybridNetwork) -> None:
    """Raises for links that integers do not have."""
    for route in network.routes:
        if route.once or route.link.mask is not None:
            word = "once=True" if route.once else f"mask={route.link.mask!r}"
            raise ExportError(
                f"the link {route.name!r} has {word}, which has no integer form; leave it out, or export it in floats"
            )


def layer_paths(network: HybridNetwork) -> list[str]:
    """The paths of parts, units, and layers in them."""
    modules = [*network.parts.items(), *((f"units.{name}", unit) for name, unit in network.units.items())]
    return [f"{name}.{path}" if path else name for name, module in modules for path, _ in module.named_modules()]


def _single(module: nn.Module, dt: float | None) -> HybridNetwork:
    unit = module if isinstance(module, HybridUnit) else None
    step = dt_of(module) or dt
    if step is None:
        path = unbound_layer(module)
        if path is not None:
            raise ConfigError(f"{path!r} depends on dt, the step of its clock, and has none; give dt= [s]")
        step = 1.0  # no layer depends on it

    part = nn.Identity() if unit is not None else module
    links = [Transmission(_SIGNAL, "network", unit, name="unit" if unit is not None else None)]

    return HybridNetwork(
        dt=step, inputs={_SIGNAL: every(step)}, parts={"network": part}, links=links, outputs=["network"]
    )


def _replace_modules(network: HybridNetwork, config: QConfigMapping, scales: _ScalePropagation) -> None:
    """Puts observed programs in place of parts and units that have a region."""
    for name, part in list(network.parts.items()):
        if _has_region(config, name, part):
            network.parts[name] = _observed_part(network, name, config, scales)

    for route in network.routes:
        unit = network.unit_of(route)
        if unit is not None and _has_region(config, f"units.{route.name}", unit):
            network.units[route.name] = _observed_unit(route, unit, config, scales)


def _has_region(config: QConfigMapping, path: str, module: nn.Module) -> bool:
    names = [path, *(f"{path}.{name}" for name, _ in module.named_modules() if name)]
    return any(config.qconfig(name) is not None for name in names)


def _observed_part(network: HybridNetwork, name: str, config: QConfigMapping, scales: _ScalePropagation) -> nn.Module:
    part = network.parts[name]
    if isinstance(part, HybridNetwork):
        raise ExportError(f"{name!r} is a network of its own; quantise it alone")

    ports = network.plan.ports.get(name)
    if ports is not None:
        acts = next((f"the link {route.name!r} sets" for route in ports.sets), "a link or an output reads")
        raise ExportError(
            f"{acts} a state of part {name!r}, which has no integer form yet; name the other parts as regions, or "
            "export in floats"
        )

    if network.plan.given(name) != (name,):
        raise ExportError(
            f"part {name!r} gives several tensors by name, which has no integer form yet; name the other parts as "
            "regions, or make a part of each"
        )

    for route in network.incoming[name]:
        if route.num_flags and wake_of(route).state == "leak":
            _check_leak(name, part)
        if route.acts_on_a_parameter:
            raise ExportError(
                f"the link {route.name!r} modulates {route.link.target}, weights that change while the network runs, "
                "which have no integer form"
            )

    signals, named = scales.arguments(name)
    program = QuantProgram(trace_graph(part, signals, named, name), name, config)
    if not isinstance(part, Stateful):
        return QuantizedModule(program)

    quantized = QuantizedPart(program, part)
    _check_part_modulations(network, name, quantized)

    return quantized


def _check_leak(name: str, part: nn.Module) -> None:
    for path, layer in part.named_modules():
        form = vars(type(layer)).get("array_form")
        if isinstance(form, NeuronForm) and form.leak is None:
            raise ExportError(
                f"part {name!r} leaks while it is asleep, but the array form of {type(layer).__name__} at "
                f"{f'{name}.{path}'!r} has no leak; give it one, NeuronForm(..., leak=...)"
            )


def _check_part_modulations(network: HybridNetwork, name: str, quantized: QuantizedPart) -> None:
    modulations = _modulations(network, name)
    paths = [link.path for _, link in modulations]
    for path in paths:
        if paths.count(path) > 1:
            # before its first value a modulation is absent, and the ratios of the others would be taken for its own
            raise ExportError(
                f"{paths.count(path)} links modulate {name}.{path}; an integer model takes one for a quantity: let "
                "one unit combine both signals"
            )

    for route, link in modulations:
        if link.path not in quantized.modulable_paths():
            raise ExportError(
                f"the link {route.name!r} modulates {link.target}, which has no integer form; "
                "thresholds, resets and rests of neurons, gains and gates have one"
            )


def _observed_unit(route: Route, unit: HybridUnit, config: QConfigMapping, scales: _ScalePropagation) -> QuantizedUnit:
    source = scales.signal(route.link.source)
    x = source[:1] if source.is_floating_point() else source[:1].float()
    h = x[0]
    if unit.kernel is not None:
        h = unit.kernel.last_of_windows(x.expand(unit.window_length, *x.shape[1:]).unsqueeze(0))[0]

    context = None if route.link.context is None else scales.signal(route.link.context)[0]
    return quantized_unit(unit, f"units.{route.name}", config, h, context)
