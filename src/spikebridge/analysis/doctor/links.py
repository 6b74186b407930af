"""Checks of the graph: inputs, parts, layers and links without effect, and constant modulation."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.analysis.doctor.finding import Finding, Inputs, run
from spikebridge.analysis.hooks import Call, display_path, trace_calls
from spikebridge.hybrid import Every, HybridNetwork, HybridUnit, Modulation, Transmission
from spikebridge.hybrid.network.graph import owner_of
from spikebridge.hybrid.network.link import Link, Route, sources_of
from spikebridge.neurons import Stateful
from spikebridge.neurons.stateless import tensors_by_name

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def layers_that_never_run(network: nn.Module, inputs: Inputs) -> list[Finding]:
    """Layers with weights that were not called."""
    ran = set()

    def leave(call: Call) -> None:
        ran.add(call.path)

    with torch.no_grad(), trace_calls(network, leave):
        run(network, inputs)

    # kinds that are always called, and not read by others as some layers' inner parts are
    layers = {display_path(network, name): m for name, m in network.named_modules() if type(m) in _LAYERS}
    return [
        Finding("unused", path, f"this {type(layer).__name__} was never called", "call it in forward, or leave it out")
        for path, layer in layers.items()
        if path not in ran
    ]


def wiring(network: HybridNetwork, inputs: Inputs, ill: set[str]) -> list[Finding]:
    """Signals that reach no output, links without effect, and constant modulation.

    Args:
        network: the network.
        inputs: of a run.
        ill: parts with a dead or saturated layer; that their links make no difference is no fault of the links.
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
        values = _values_of_links(network, inputs)
        constant = [r for r in network.routes if isinstance(r.link, Modulation) and _is_constant(values.get(r.name))]
        findings += [_constant(route, values[route.name]) for route in constant]

        # a source whose only link is constant has no effect either, for the same reason
        ill = ill | {owner_of(route.link.source, network.parts) for route in constant}
        whole = run(network, inputs)

        for route in network.routes:
            ends = {route.link.part, owner_of(route.link.source, network.parts)}
            if route.link.part not in useful or route in constant or ill & ends:
                continue
            other = _without(network, route)
            without = run(other, {name: dict(inputs)[name] for name in other.inputs})
            if all(torch.equal(whole[name], without[name]) for name in whole):
                findings.append(_makes_no_difference(route))

    return findings


def _reaching_an_output(network: HybridNetwork) -> set[str]:
    parts = network.parts
    useful = {owner_of(name, parts) for name in network.outputs}

    while True:
        sources = [source for route in network.routes if route.link.part in useful for source in route.sources]
        more = {owner_of(source, parts) for source in sources}
        if more <= useful:
            return useful
        useful |= more


class _Silence(nn.Module):
    """Zeros, shaped like what a nonlinearity gives."""

    def __init__(self, inner: nn.Module | None) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *signals: Tensor) -> Tensor:
        return torch.zeros_like(signals[0] if self.inner is None else self.inner(*signals))


def _without(network: HybridNetwork, route: Route) -> HybridNetwork:
    """The same network with a modulation left out, or zeros in the place of a transmission."""
    links: list[Link] = []
    for other in network.routes:
        link: Any = replace(other.link, name=other.name)
        if other is route and isinstance(link, Modulation):
            continue
        if other is route:
            unit = link.unit
            stages = (None,) * 4 if unit is None else (unit.window, unit.kernel, unit.nonlinearity, unit.discretizer)
            link = replace(link, unit=HybridUnit(stages[0], stages[1], _Silence(stages[2]), stages[3]))

        links.append(link)

    clocks = {
        name: Every(clock.period * network.dt, clock.phase * network.dt) for name, clock in network.plan.clocks.items()
    }
    read = {name for link in links for name in sources_of(link)}

    return HybridNetwork(
        dt=network.dt,
        inputs={name: clocks[name] for name in network.inputs if name in read},
        parts=dict(network.parts.items()),
        links=links,
        outputs=network.outputs,
        clocks={name: clocks[name] for name in network.parts},
    )


def _values_of_links(network: HybridNetwork, inputs: Inputs) -> dict[str, Tensor]:
    """The values of each link over a run, `(K, B, *M)`."""
    pieces: dict[str, list[Tensor]] = {}

    def leave(call: Call) -> None:
        is_unit = call.path.startswith("units.") and call.path.count(".") == 1
        if is_unit or (call.path in network.parts and isinstance(call.module, Stateful)):
            y = call.output[0]
            for key, value in {"": y}.items() if isinstance(y, Tensor) else (tensors_by_name(y) or {}).items():
                pieces.setdefault(f"{call.path}.{key}" if key else call.path, []).append(value)

    with trace_calls(network, leave):
        outputs = run(network, inputs)

    signals = {**dict(inputs), **outputs}
    signals |= {path: torch.cat(values) for path, values in pieces.items()}
    names = {r.name: f"units.{r.name}" if r.link.unit is not None else r.link.source for r in network.routes}

    return {name: signals[signal] for name, signal in names.items() if signal in signals}


def _is_constant(values: Tensor | None) -> bool:
    """Whether a signal is the same for all samples at all times; one value alone is not called constant."""
    if values is None or values.shape[0] * values.shape[1] < 2:
        return False
    spread = float((values - values[:1, :1]).abs().max())
    return spread <= 1e-6 * float(values.abs().max())


def _constant(route: Route, values: Tensor) -> Finding:
    what = f"brings {route.link.target} the same values for all samples at all times (mean {float(values.mean()):.3g})"
    remedy = (
        "initialise the weights of its nonlinearity anew so that it uses its source (train it, where it starts at "
        "zero on purpose), check that the source changes, or leave the link out and set the quantity by hand"
    )

    return Finding("constant modulation", route.name, what, remedy)


def _makes_no_difference(route: Route) -> Finding:
    link = route.link
    if isinstance(link, Transmission):
        what = f"with zeros in its place every output from {link.source!r} to {link.target!r} stays the same"
    else:
        what = f"without it every output stays the same: it leaves {link.target} as it is"

    remedy = (
        "initialise the weights of its nonlinearity anew (all zero?), check that its source is not silent and that the "
        "target uses what it gets, or leave the link out"
    )
    return Finding("unused", route.name, what, remedy)
