"""A summary of a network: parts, shapes, clocks, parameters, and the stages of every link."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from spikebridge.analysis.hooks import Call, Inputs, evaluating, is_layer, trace_calls
from spikebridge.hybrid import Clock, Gain, Gate, HybridNetwork, HybridUnit, Modulation
from spikebridge.hybrid.network.graph import owner_of
from spikebridge.neurons import Integrator, Stateful

_ONCE_PERIOD = 2**20  # ticks; no stream is longer


@dataclass(frozen=True)
class Summary:
    """Tables about a network.

    Attributes:
        title: one line.
        inputs: a row for each input.
        parts: a row for each part, or for each layer of a module that is no hybrid network.
        links: a row for each link.
    """

    title: str
    inputs: list[dict[str, Any]]
    parts: list[dict[str, Any]]
    links: list[dict[str, Any]]

    def __str__(self) -> str:
        tables = [_table(rows) for rows in (self.inputs, self.parts, self.links) if rows]
        return "\n\n".join([self.title, *tables])


def summarize(network: nn.Module, inputs: Inputs | None = None) -> Summary:
    """A summary.

    Args:
        network: a hybrid network or any module.
        inputs: for the shapes of what comes out of each part; a few samples, run once.

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
        return _of_hybrid(network, inputs, shapes)

    rows = [
        {"layer": path, "class": type(module).__name__, "shape": shapes.get(path), "parameters": num_parameters(module)}
        for path, module in network.named_modules()
        if path and is_layer(module)
    ]
    return Summary(f"{type(network).__name__}, {num_parameters(network):,} parameters", [], _filled(rows), [])


def kind_of(module: nn.Module) -> Literal["ANN", "SNN"]:
    """Whether a module has neurons with a membrane that spike.

    Example:
        >>> from spikebridge.neurons import IF, Sequential
        >>> kind_of(Sequential(nn.Linear(2, 2), IF())), kind_of(nn.Linear(2, 2))
        ('SNN', 'ANN')
    """
    silent = (Integrator, Gain, Gate)
    layers = (child for child in module.modules() if isinstance(child, Stateful) and is_layer(child))

    return "SNN" if any(not isinstance(layer, silent) for layer in layers) else "ANN"


def num_parameters(module: nn.Module) -> int:
    """All parameters, each counted once, frozen ones too."""
    return sum(parameter.numel() for parameter in module.parameters())


def stages_of(unit: HybridUnit | None) -> dict[str, str]:
    """The stages that a unit has, by letter, in words.

    Example:
        >>> from spikebridge.hybrid import Mean, Tumbling
        >>> stages_of(HybridUnit(Tumbling(6), Mean(), nn.Linear(64, 32)))
        {'W': 'Tumbling(6)', 'H': 'Mean', 'F': 'Linear 64→32'}
    """
    if unit is None:
        return {}

    stages = {"W": unit.window, "H": unit.kernel, "F": unit.nonlinearity, "Q": unit.discretizer}
    return {letter: _in_words(stage) for letter, stage in stages.items() if stage is not None}


def frequency(clock: Clock, dt: float) -> str:
    """A clock in Hz; "once" where its period is longer than any stream.

    Example:
        >>> frequency(Clock(6, 0), 1 / 240), frequency(Clock(1, 0), 1 / 1500), frequency(Clock(2**30, 0), 0.001)
        ('40 Hz', '1.5 kHz', 'once')
    """
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


def _of_hybrid(network: HybridNetwork, inputs: Inputs | None, shapes: Mapping[str, str]) -> Summary:
    given = inputs if isinstance(inputs, Mapping) else {}
    rows_in: list[dict[str, Any]] = [
        dict(input=name, shape=_shape_text(given[name].shape[2:]) if name in given else None, **_clock(network, name))
        for name in network.inputs
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
        acts = f"modulation, {link.by}" if isinstance(link, Modulation) else "transmission"
        into = None if isinstance(link, Modulation) else link.into

        links.append(
            {
                "link": route.name,
                "from": link.source,
                "to": f"{link.target} ({into})" if into else link.target,
                "acts as": acts,
                **{letter: stages.get(letter, "-") for letter in "WHFQ"},
                "read": "held" if link.held else "sampled",
                "delay": route.delay,
                "parameters": 0 if link.unit is None else num_parameters(link.unit),
            }
        )

    title = (
        f"HybridNetwork, base step {network.dt * 1000:.4g} ms, {len(network.parts)} parts, {len(links)} links, "
        f"{num_parameters(network):,} parameters"
    )
    return Summary(title, _filled(rows_in), _filled(parts), links)


def _clock(network: HybridNetwork, name: str) -> dict[str, Any]:
    clock = network.clock_of(name)
    ticks = f"{clock.period} from {clock.phase}"
    return {"clock": frequency(clock, network.dt), "ticks": ticks}


def _shapes(network: nn.Module, inputs: Inputs) -> dict[str, str]:
    """The output shape of each module, without time and batch."""
    shapes: dict[str, str] = {}

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
    """Columns of text, numbers to the right."""
    names = list(rows[0])
    cells = [[f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    to_right = [isinstance(value, int) for value in rows[0].values()]

    lines = [
        "  ".join(
            text.rjust(w) if right else text.ljust(w) for text, w, right in zip(line, widths, to_right, strict=True)
        )
        for line in [names, *cells]
    ]
    return "\n".join(line.rstrip() for line in lines)
