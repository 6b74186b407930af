"""Quantisation: a hybrid network of whole numbers, ANN, SNN and units, calibrated on a stream.

    quantized = quantize(network, inputs, Quantization((Region(weights=8, activations=8, membranes=16),)))
    fit(quantized, phases, data)                # training goes on with whole numbers inside (optional)
    model = integer_model(quantized)            # numpy, without floats; the same bits

A quantised network is the same `HybridNetwork`: its clocks, links and state are as they were. Between parts it carries
real values that lie on known grids; inside a part they are whole numbers, and gradients go straight through. What has
no integer form is refused with its path and the reason. B. Jacob et al., CVPR 2018, is the source of multipliers and
shifts; that a unit is quantised like the rest goes further.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from spikebridge.deploy.bundle_recording import record
from spikebridge.deploy.quantize_config import Quantization
from spikebridge.deploy.quantize_parts import QuantizedModule, QuantizedPart
from spikebridge.deploy.quantize_program import Program
from spikebridge.deploy.quantize_trace import wiring
from spikebridge.deploy.quantize_units import QuantizedUnit, quantized_unit
from spikebridge.deploy.quantize_wires import Wires
from spikebridge.errors import ExportError
from spikebridge.hybrid import HybridNetwork, HybridUnit, Modulation, Transmission, every
from spikebridge.hybrid.restarts import last_of_windows
from spikebridge.hybrid.route import Route
from spikebridge.neurons import Stateful

SIGNAL = "signal"
DEFAULT = Quantization()


def quantize(
    network: nn.Module,
    inputs: Mapping[str, Tensor],
    config: Quantization = DEFAULT,
    *,
    ticks: int | None = None,
    dt: float = 1.0,
) -> HybridNetwork:
    """A copy of a network that computes with whole numbers, calibrated on a stream.

    Args:
        network: the trained one; it is left as it is. A part or a unit alone becomes a network around it, with the
            input "signal" and the part "network".
        inputs: a stream like those it will see, `(T, B, *N)` each.
        config: regions and their widths.
        ticks: base ticks of the stream; None means the most for which every input has exactly the samples given.
        dt: step of a part alone [s].

    Raises:
        ConfigError: a region names no layer.
        ExportError: a layer in a region has no integer form; the message names it.

    Example:
        >>> from spikebridge.neurons import IF, Sequential
        >>> snn = Sequential(fc=nn.Linear(1, 1, bias=False), fire=IF())
        >>> _ = nn.init.constant_(snn[0].weight, 0.5)
        >>> quantized = quantize(snn, {"signal": torch.ones(4, 1, 1)})
        >>> quantized({"signal": torch.ones(4, 1, 1)})[0]["network"].flatten().tolist()
        [0.0, 1.0, 0.0, 1.0]
    """
    whole = copy.deepcopy(network if isinstance(network, HybridNetwork) else _around(network, dt)).eval()
    config.check(layer_paths(whole))
    _refuse_precision(whole)
    given = {name: x.detach() for name, x in inputs.items()}
    with torch.no_grad():
        recorded = record(whole, given, ticks)
        wires = Wires(whole, given, recorded, config)
        for name in list(whole.parts):
            if _is_held(config, name, whole.parts[name]):
                whole.parts[name] = _part(whole, name, config, wires)
        for route in whole.routes:
            unit = whole.unit_of(route)
            if unit is not None and _is_held(config, f"units.{route.name}", unit):
                whole.units[route.name] = _unit(route, unit, config, wires)
        whole._carried = {}
        whole._unguarded = list(whole.inputs)  # what is not finite has no whole number
        wires.check()
        whole(given, whole.initial_state(given), ticks)  # watched
        wires.settle()
    return whole


def layer_paths(network: HybridNetwork) -> list[str]:
    """The paths of parts, units, and layers in them.

    Example:
        >>> layer_paths(_around(nn.Sequential(nn.Linear(1, 1)), 1.0))
        ['network', 'network.0']
    """
    found = [f"{name}{'.' if path else ''}{path}" for name, m in network.parts.items() for path, _ in m.named_modules()]
    for name, unit in network.units.items():
        found += [f"units.{name}{'.' if path else ''}{path}" for path, _ in unit.named_modules()]
    return found


def _around(module: nn.Module, dt: float) -> HybridNetwork:
    unit = module if isinstance(module, HybridUnit) else None
    step = getattr(unit.kernel, "dt", None) or dt if unit is not None else _step(module) or dt
    part = nn.Identity() if unit is not None else module
    links = [Transmission(SIGNAL, "network", unit, name="unit" if unit is not None else None)]
    return HybridNetwork(
        dt=step, inputs={SIGNAL: every(step)}, parts={"network": part}, links=links, outputs=["network"]
    )


def _step(module: nn.Module) -> float | None:
    steps = (getattr(layer, "dt", None) for layer in module.modules() if isinstance(layer, Stateful))
    return next((dt for dt in steps if dt is not None), None)


def _refuse_precision(network: HybridNetwork) -> None:
    for name, value in (*network.named_parameters(), *network.named_buffers()):
        if value.is_floating_point() and value.dtype != torch.float32:
            raise ExportError(f"{name!r} is {value.dtype}; quantisation starts from float32: network.float()")


def _is_held(config: Quantization, path: str, module: nn.Module) -> bool:
    names = [path, *(f"{path}.{name}" for name, _ in module.named_modules() if name)]
    return any(config.region(name) is not None for name in names)


def _part(network: HybridNetwork, name: str, config: Quantization, wires: Wires) -> nn.Module:
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
    program = Program(wiring(part, signals, named, name), name, config)
    if not isinstance(part, Stateful):
        return QuantizedModule(program)
    quantized = QuantizedPart(program, part)
    paths = [route.link.path for route in network.incoming[name] if isinstance(route.link, Modulation)]
    for path in paths:
        if paths.count(path) > 1:
            # before its first value a modulation is absent, and the others would be taken for it
            raise ExportError(f"{paths.count(path)} links modulate {name}.{path}; an integer model takes one")
    for route in network.incoming[name]:
        if isinstance(route.link, Modulation) and route.link.path not in quantized.modulable_paths():
            raise ExportError(
                f"the link {route.name!r} modulates {route.link.target}, which has no integer form; "
                "thresholds, resets and rests of neurons, gains and gates have one"
            )
    return quantized


def _unit(route: Route, unit: HybridUnit, config: Quantization, wires: Wires) -> QuantizedUnit:
    path = f"units.{route.name}"
    source = wires.signal(route.link.source)
    x = source[:1] if source.is_floating_point() else source[:1].float()
    length = 1 if unit.window is None else unit.window.length or 1
    stages = {"kernel": x[0]}
    if unit.kernel is not None:
        stages["kernel"] = last_of_windows(unit.kernel, x.expand(length, *x.shape[1:]).unsqueeze(0))[0]
    context = None if route.link.context is None else wires.signal(route.link.context)[0]
    return quantized_unit(unit, path, config, stages, context)
