"""A summary of a network: parts, shapes, clocks, parameters, and the stages of every link."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from spikebridge.analysis.hooks import Call, Inputs, is_layer, trace_calls
from spikebridge.hybrid import Clock, Gain, Gate, HybridNetwork, HybridUnit, Initialisation, Modulation, Wake
from spikebridge.hybrid.network.graph import owner_of
from spikebridge.hybrid.network.link import Link
from spikebridge.neurons import Integrator, Stateful
from spikebridge.ops.modes import evaluating

_ONCE_PERIOD = 2**20  # ticks; no stream is longer


@dataclass(frozen=True)
class Summary:
    """Tables about a network: a row for each input, part (or layer of a plain module) and link."""

    title: str
    inputs: list[dict[str, Any]]
    parts: list[dict[str, Any]]
    links: list[dict[str, Any]]

    def __str__(self) -> str:
        tables = [_table(rows) for rows in (self.inputs, self.parts, self.links) if rows]
        return "\n\n".join([self.title, *tables])


def summarize(network: nn.Module, inputs: Inputs | None = None) -> Summary:
    """Summarizes a network in tables.

    Args:
        network: a hybrid network or any module.
        inputs: a few samples, run once for the shape of each output; without them there are no shapes.

    Example:
        >>> from spikebridge.neurons import IF, Sequential
        >>> print(summarize(Sequential(fc=nn.Linear(4, 3), fire=IF()), torch.zeros(5, 1, 4)))
        Sequential, 15 parameters
        <BLANKLINE>
        layer  class   shape  parameters
        fc     Linear  3              15
        fire   IF      3               0
    """
    shapes = {} if inputs is None else _shapes(network, inputs)
    if isinstance(network, HybridNetwork):
        return _hybrid_summary(network, shapes)

    rows = [
        {"layer": path, "class": type(module).__name__, "shape": shapes.get(path), "parameters": num_parameters(module)}
        for path, module in network.named_modules()
        if path and is_layer(module)
    ]
    return Summary(f"{type(network).__name__}, {num_parameters(network):,} parameters", [], _filled(rows), [])


def kind_of(module: nn.Module) -> Literal["ANN", "SNN"]:
    """The kind of a module: an SNN has spiking neurons."""
    silent = (Integrator, Gain, Gate)
    layers = (child for child in module.modules() if isinstance(child, Stateful) and is_layer(child))

    return "SNN" if any(not isinstance(layer, silent) for layer in layers) else "ANN"


def _kind_of_link(link: Link) -> str:
    """The kind of a link, and how it acts."""
    if isinstance(link, Modulation):
        return f"modulation, {link.by}"
    if isinstance(link, Initialisation):
        return "initialisation"
    return f"wake, {link.asleep}" if isinstance(link, Wake) else "transmission"


def num_parameters(module: nn.Module) -> int:
    """All parameters, each counted once, frozen ones too."""
    return sum(parameter.numel() for parameter in module.parameters())


def stages_of(unit: HybridUnit | None) -> dict[str, str]:
    """The stages of a unit by letter, such as `{"W": "Tumbling(6)", "F": "Linear 64→32"}`."""
    if unit is None:
        return {}

    stages = {"W": unit.window, "H": unit.kernel, "F": unit.nonlinearity, "Q": unit.discretizer}
    return {letter: _in_words(stage) for letter, stage in stages.items() if stage is not None}


def frequency(clock: Clock, dt: float) -> str:
    """A clock in Hz; "once" if its period is longer than any stream."""
    if clock.period >= _ONCE_PERIOD:
        return "once"

    hertz = 1 / (clock.period * dt)
    return f"{hertz / 1000:.4g} kHz" if hertz >= 1000 else f"{hertz:.4g} Hz"


def _in_words(stage: nn.Module) -> str:
    name = type(stage).__name__
    if isinstance(stage, nn.Linear):
        return f"Linear {stage.in_features}→{stage.out_features}"
    if isinstance(stage, nn.modules.conv._ConvNd):
        return f"{name} {stage.in_channels}→{stage.out_channels}"

    if isinstance(stage, nn.Sequential):
        names = [_in_words(child) for child in stage]
        return ", ".join(names) if len(names) < 3 else f"{names[0]} + {len(names) - 1}"

    length = getattr(stage, "length", None)
    if isinstance(length, int):
        stride = getattr(stage, "stride", length)
        return f"{name}({length})" if stride == length else f"{name}({length}, {stride})"

    if hasattr(stage, "trigger"):
        return f"{name}({stage.trigger})"
    if hasattr(stage, "num_taps"):
        return f"{name}({stage.num_taps})"

    layer = getattr(stage, "layer", None)
    return f"{name}({type(layer).__name__})" if isinstance(layer, nn.Module) else name


def _hybrid_summary(network: HybridNetwork, shapes: Mapping[str, str]) -> Summary:
    inputs: list[dict[str, Any]] = [
        {"input": name, "shape": shapes.get(name), **_clock(network, name)} for name in network.inputs
    ]

    parts: list[dict[str, Any]] = [
        {
            "part": name,
            "kind": kind_of(part),
            "shape": shapes.get(name),
            **_clock(network, name),
            "parameters": num_parameters(part),
            "output": "yes" if any(owner_of(y, network.parts) == name for y in network.outputs) else "",
        }
        for name, part in network.parts.items()
    ]

    links = []
    for route in network.routes:
        link = route.link
        stages = stages_of(link.unit)
        held = link.held and not isinstance(link, Wake | Initialisation)
        links.append(
            {
                "link": route.name,
                "from": link.source,
                "to": f"{link.target} ({link.into})" if link.into else link.target,
                "acts as": _kind_of_link(link),
                **{letter: stages.get(letter, "-") for letter in "WHFQ"},
                "read": "once" if link.once else "held" if held else "sampled",
                "delay": route.delay,
                "parameters": 0 if link.unit is None else num_parameters(link.unit),
            }
        )

    title = (
        f"HybridNetwork, base step {network.dt * 1000:.4g} ms, {len(network.parts)} parts, {len(links)} links, "
        f"{num_parameters(network):,} parameters"
    )
    return Summary(title, _filled(inputs), _filled(parts), links)


def _clock(network: HybridNetwork, name: str) -> dict[str, Any]:
    clock = network.clock_of(name)
    return {"clock": frequency(clock, network.dt), "ticks": f"{clock.period} from {clock.phase}"}


def _shapes(network: nn.Module, inputs: Inputs) -> dict[str, str]:
    """The shapes of inputs by name and of outputs by path, without time and batch."""
    shapes = {name: _shape_text(x.shape[2:]) for name, x in inputs.items()} if isinstance(inputs, Mapping) else {}

    def record(call: Call) -> None:
        words = []
        for name, value in call.signals.items():
            # vmap hides the batch axis; a plain module has time folded into it
            num_axes = 2 if isinstance(call.module, Stateful) and not is_vmapped(value) else 1
            words.append(f"{name} {_shape_text(value.shape[num_axes:])}".strip())

        if words:
            shapes[call.path] = ", ".join(words)

    is_vmapped = torch._C._functorch.is_functorch_wrapped_tensor
    with evaluating(network), trace_calls(network, record):
        network(inputs)

    return shapes


def _shape_text(shape: torch.Size) -> str:
    return "x".join(str(n) for n in shape) or "1"


def _filled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without columns that are empty in all of them."""
    names = [name for name in (rows[0] if rows else {}) if any(row[name] is not None for row in rows)]
    return [{name: "-" if row[name] is None else row[name] for name in names} for row in rows]


def _table(rows: list[dict[str, Any]]) -> str:
    """The rows as columns of text, integers aligned to the right."""
    columns = []
    for name, first in rows[0].items():
        texts = [name, *(f"{row[name]:,}" if isinstance(row[name], int) else str(row[name]) for row in rows)]
        width = max(map(len, texts))
        columns.append([text.rjust(width) if isinstance(first, int) else text.ljust(width) for text in texts])

    lines = ["  ".join(texts) for texts in zip(*columns, strict=True)]
    return "\n".join(line.rstrip() for line in lines)
