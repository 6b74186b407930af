"""Checks of the graph: inputs, parts, layers and links without effect, constant modulation and constant wakes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.analysis.activity import wakes_of, with_flags
from spikebridge.analysis.doctor.finding import Finding, run
from spikebridge.analysis.hooks import Call, Inputs, display_path, trace_calls
from spikebridge.hybrid import Every, HybridNetwork, HybridUnit, Initialisation, Modulation, Transmission, Wake
from spikebridge.hybrid.network.graph import owner_of
from spikebridge.hybrid.network.link import Link, Route, sources_of
from spikebridge.neurons import Stateful

# kinds that are always called, unlike layers whose weights another module may read
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
# rounding errors of the largest output that two runs of one network may differ by
_ROUNDINGS = 16


def uncalled_layers(network: nn.Module, inputs: Inputs) -> list[Finding]:
    """Finds layers with weights that a run never calls."""
    called = set()

    def record(call: Call) -> None:
        called.add(call.path)

    with torch.no_grad(), trace_calls(network, record):
        run(network, inputs)

    layers = {display_path(network, name): m for name, m in network.named_modules() if type(m) in _LAYERS}
    return [
        Finding("unused", path, f"this {type(layer).__name__} was never called", "call it in forward, or leave it out")
        for path, layer in layers.items()
        if path not in called
    ]


def idle_wiring(network: HybridNetwork, inputs: Inputs, faulty: set[str]) -> list[Finding]:
    """Finds signals that reach no output, links without effect, and constant modulation.

    That the links of `faulty` parts have no effect is no fault of the links.
    """
    useful = _reaching_an_output(network)
    findings = [
        Finding(
            "unused",
            name,
            f"no link leads from {name!r} to an output",
            f"link it to a part that reaches one of the outputs ({', '.join(network.outputs)}), or leave it out",
        )
        for name in [*network.inputs, *network.parts]
        if name not in useful
    ]

    with torch.no_grad():
        signals = _link_signals(network, inputs)
        constant = [r for r in network.routes if isinstance(r.link, Modulation) and _is_constant(signals.get(r.name))]
        findings += [_constant(route, signals[route.name]) for route in constant]

        # a source whose only link is constant has no effect either, for the same reason
        faulty = faulty | {owner_of(route.link.source, network.parts) for route in constant}
        watched = with_flags(network)
        outputs = run(watched, inputs)
        findings += _constant_wakes(network, outputs)
        outputs = {name: outputs[name] for name in network.outputs}

        for route in network.routes:
            if isinstance(route.link, Wake):
                continue

            ends = {route.link.part, owner_of(route.link.source, network.parts)}
            if route.link.part not in useful or route in constant or faulty & ends:
                continue

            other = _without(network, route)
            others = run(other, {name: dict(inputs)[name] for name in other.inputs})
            if all(_is_same(outputs[name], others[name]) for name in outputs):
                findings.append(_without_effect(route.name, route.link))

    return findings


def _is_same(output: Tensor, other: Tensor) -> bool:
    """True if two runs of a network differ by rounding at most."""
    # the order of a sum depends on the processor, and even on where its operands lie
    if not output.is_floating_point() or not output.numel():
        return torch.equal(output, other)

    rounding = _ROUNDINGS * torch.finfo(output.dtype).eps * float(output.abs().max())
    return float((output - other).abs().max()) <= rounding


def _reaching_an_output(network: HybridNetwork) -> set[str]:
    parts = network.parts
    useful = {owner_of(name, parts) for name in network.outputs}

    while True:
        sources = [source for route in network.routes if route.link.part in useful for source in route.sources]
        more = {owner_of(source, parts) for source in sources}
        if more <= useful:
            return useful
        useful |= more


class _Zeros(nn.Module):
    """Zeros in the shape of a nonlinearity's output."""

    def __init__(self, inner: nn.Module | None) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *signals: Tensor) -> Tensor:
        return torch.zeros_like(signals[0] if self.inner is None else self.inner(*signals))


def _without(network: HybridNetwork, route: Route) -> HybridNetwork:
    """The same network without a modulation or initialisation, or with zeros in the place of a transmission."""
    links: list[Link] = []
    for other in network.routes:
        link: Any = replace(other.link, name=other.name)
        if other is route and isinstance(link, Modulation | Initialisation):
            continue

        if other is route:
            # behind the nonlinearity, so that the other stages keep their shapes and clocks
            unit = link.unit or HybridUnit()
            link = replace(link, unit=HybridUnit(unit.window, unit.kernel, _Zeros(unit.nonlinearity), unit.discretizer))

        links.append(link)

    clocks = {
        name: Every(clock.period * network.dt, clock.phase * network.dt) for name, clock in network.plan.clocks.items()
    }
    sources = {name for link in links for name in sources_of(link)}

    return HybridNetwork(
        dt=network.dt,
        inputs={name: clocks[name] for name in network.inputs if name in sources},
        parts=dict(network.parts.items()),
        links=links,
        outputs=network.outputs,
        clocks={name: clocks[name] for name in network.parts},
    )


def _link_signals(network: HybridNetwork, inputs: Inputs) -> dict[str, Tensor]:
    """The values of each link over a run, `(K, B, *M)`, by its name."""
    pieces: dict[str, list[Tensor]] = {}

    def record(call: Call) -> None:
        is_unit = call.path.startswith("units.") and call.path.count(".") == 1
        # a part that is no output of the network shows its values only in its calls
        if is_unit or (call.path in network.parts and isinstance(call.module, Stateful)):
            for key, signal in call.signals.items():
                pieces.setdefault(f"{call.path}.{key}" if key else call.path, []).append(signal)

    with trace_calls(network, record):
        outputs = run(network, inputs)

    signals = {**dict(inputs), **outputs, **{path: torch.cat(piece) for path, piece in pieces.items()}}
    names = {r.name: f"units.{r.name}" if r.link.unit is not None else r.link.source for r in network.routes}

    return {name: signals[signal] for name, signal in names.items() if signal in signals}


def _is_constant(signal: Tensor | None) -> bool:
    """True if a signal is the same for all samples at all times; a single value is not called constant."""
    if signal is None or signal.shape[0] * signal.shape[1] < 2:
        return False

    spread = float((signal - signal[:1, :1]).abs().max())
    return spread <= 1e-6 * float(signal.abs().max())


def _constant_wakes(network: HybridNetwork, outputs: Mapping[str, Tensor]) -> list[Finding]:
    """Wakes that never open, or always."""
    findings = []
    for part, waking in wakes_of(network, outputs, seconds=1.0).items():
        if 0 < waking.share < 1:
            continue

        route = network.plan.wakes[part]
        never = waking.share == 0
        what = (
            f"{part!r} is {'never' if never else 'always'} awake: its flags are {'below' if never else 'at least'} 1/2"
        )
        remedy = f"{'raise' if never else 'lower'} the values of {route.link.source!r} or of the unit, or leave it out"
        findings.append(Finding("constant wake", route.name, what, remedy))

    return findings


def _constant(route: Route, signal: Tensor) -> Finding:
    what = f"brings {route.link.target} the same values for all samples at all times (mean {float(signal.mean()):.3g})"
    remedy = (
        "initialise the weights of its nonlinearity again so that it uses its source (train it, if it starts at zero "
        "on purpose), check that the source changes, or leave the link out and set the quantity by hand"
    )

    return Finding("constant modulation", route.name, what, remedy)


def _without_effect(name: str, link: Link) -> Finding:
    what = f"without it every output stays the same: it leaves {link.target} as it is"
    if isinstance(link, Transmission):
        what = f"with zeros in its place every output from {link.source!r} to {link.target!r} stays the same"

    remedy = (
        "initialise the weights of its nonlinearity again (all zero?), check that its source is not silent and that "
        "the target uses its values, or leave the link out"
    )
    return Finding("unused", name, what, remedy)
