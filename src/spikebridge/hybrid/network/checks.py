"""Checks of the parts and units of a hybrid network when it is built: names, arguments, quantities, and time steps.

A run checks that values are finite: here for the outputs of its parts, and for inputs whose part would not show it.
"""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, DataError, StateError, did_you_mean, in_words
from spikebridge.hybrid.modulation import check_path
from spikebridge.hybrid.network.graph import NetworkPlan, owner_of
from spikebridge.hybrid.network.link import Link, Modulation, Route, Transmission, Wake, describe
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.dt import match_dt
from spikebridge.neurons.neuron import Neuron
from spikebridge.neurons.sequential import Sequential
from spikebridge.neurons.state import State, tensors_of
from spikebridge.neurons.stateless import refuse_hidden_state
from spikebridge.ops.checks import is_finite


def check_kinds(**arguments: Any) -> None:
    """Raises if inputs, parts or clocks of a network are no mappings, or its links or outputs no lists."""
    examples = {"inputs": "{'x': every(0.001)}", "parts": "{'snn': LIF()}", "clocks": "{'snn': every(0.001)}"}
    for name, example in examples.items():
        value = arguments[name]
        if not isinstance(value, Mapping) and not (value is None and name == "clocks"):
            raise ConfigError(f"{name} needs a mapping, {name}={example}, but got {in_words(value)}")

    links = arguments["links"]
    outputs = arguments["outputs"]
    if isinstance(links, Link):
        raise ConfigError(
            f"links is a list, but got one {type(links).__name__}, {describe(links)}; put it in brackets: links=[...]"
        )

    if isinstance(links, str | Mapping) or not isinstance(links, Iterable):
        raise ConfigError(
            f"links is a list of Transmission, Modulation, Initialisation and Wake, but got {in_words(links)}"
        )
    if isinstance(outputs, str):
        raise ConfigError(f"outputs is a list of parts, but got {outputs!r}; did you mean [{outputs!r}]?")
    if not isinstance(outputs, Iterable):
        raise ConfigError(f"outputs is a list of parts, but got {in_words(outputs)}")


def check_names(parts: Mapping[str, nn.Module], outputs: Sequence[str]) -> None:
    """Raises if a part is no module, has an invalid name or hides a state, or an output is no part."""
    for name, part in parts.items():
        if not isinstance(part, nn.Module):
            hint = "; layers in a row are a Sequential(*layers)" if isinstance(part, list | tuple) else ""
            raise ConfigError(f"part {name!r} needs to be a module, but is {in_words(part)}{hint}")

        if not isinstance(name, str) or not name or "." in name or hasattr(nn.ModuleDict, name):
            raise ConfigError(f"a part cannot be called {name!r}; the name is taken or holds a dot, choose another")
        refuse_hidden_state(part, f"part {name!r}")

    for name in outputs:
        if not isinstance(name, str) or owner_of(name, parts) not in parts or name.endswith("."):
            raise ConfigError(f"the output {in_words(name)} is not a part: {did_you_mean(str(name), parts)}")


def check_part(name: str, part: nn.Module, incoming: Sequence[Route]) -> None:
    """Raises if a part cannot take the signals of its links."""
    into = [route.link.into for route in incoming if isinstance(route.link, Transmission)]
    named = [argument for argument in into if argument is not None]
    unnamed = len(into) - len(named)
    if isinstance(part, Stateful) and unnamed != 1:
        raise ConfigError(
            f"the stateful part {name!r} takes one signal by position, but {unnamed} links bring one; name the others "
            "with into="
        )

    _check_arguments(name, part, unnamed, named)
    for route in incoming:
        if isinstance(route.link, Modulation):
            check_path(part, name, route.link.path)
        elif isinstance(route.link, Wake):
            _check_wake(name, part, route.link, any(other.path and not other.sets for other in incoming))


def _check_wake(name: str, part: nn.Module, wake: Wake, is_modulated: bool) -> None:
    """Raises if a part cannot do at waking what its wake asks for."""
    wanted = [f"state={wake.state!r}"] * (wake.state != "keep") + [f"replay={wake.replay}"] * (wake.replay > 0)
    if wanted and not isinstance(part, Stateful):
        raise ConfigError(f"{describe(wake)} has {wanted[0]}, but {name!r} has no state; leave it out")
    if wake.replay and is_modulated:
        raise ConfigError(
            f"{describe(wake)} has replay={wake.replay}, but {name!r} is modulated, and modulation is not kept for a "
            "replay; leave one of them out"
        )

    if wake.state == "leak":
        for path, layer in part.named_modules():
            if isinstance(layer, Stateful) and type(layer).leak is Stateful.leak:
                where = f"{name}.{path}" if path else name
                raise ConfigError(
                    f"{describe(wake)} has state='leak', but the {type(layer).__name__} at {where!r} {layer.no_leak}, "
                    "or take 'keep' or 'reset'"
                )


def steps_of_layers(parts: Mapping[str, nn.Module], plan: NetworkPlan, dt: float) -> dict[Stateful, float]:
    """The step [s] of each layer that has none yet: the period of the clock that its part or its unit runs on."""
    steps: dict[Stateful, float] = {}
    for name, part in parts.items():
        match_dt(name, part, plan.clocks[name].period * dt, steps)

    for route in plan.routes.values():
        unit = route.link.unit
        who = f"the unit {route.name}"
        if unit is not None and unit.kernel is not None:
            match_dt(who, unit.kernel, unit.kernel_period(route.source) * dt, steps)
        if unit is not None and unit.discretizer is not None:
            match_dt(who, unit.discretizer, route.clock.period * dt, steps)

    return steps


def _check_arguments(name: str, part: nn.Module, unnamed: int, named: Sequence[str]) -> None:
    """Raises if the arguments of a part do not match its links."""
    signature = _signature(part.forward)
    if signature is None:
        return

    count = unnamed + isinstance(part, Stateful)  # the state comes second
    try:
        signature.bind(*[None] * count, **dict.fromkeys(named))
    except TypeError as error:
        raise ConfigError(
            f"the links of part {name!r} bring {unnamed} signals by position and {sorted(named)} by name, but its "
            f"forward takes {signature}: {error}"
        ) from None

    if isinstance(part, Stateful):
        _check_named_inputs(name, part, named)


def _check_named_inputs(name: str, part: Stateful, named: Sequence[str]) -> None:
    """Raises if a stateful part has no such input, or would take a named signal for a modulation."""
    inputs = {argument for method in (part.forward, part.step) for argument in _explicit(method)}
    names = inputs - {"x", "x_t", "state"}
    for argument in named:
        if argument in part.modulable_paths():
            raise ConfigError(
                f"{argument!r} is a quantity of part {name!r}, which a Modulation acts on: Modulation(..., "
                f"'{name}.{argument}', by='replace')"
            )

        if argument not in names:
            raise ConfigError(f"part {name!r} has no input {argument!r}; {did_you_mean(argument, sorted(names))}")


def _explicit(method: Any) -> list[str]:
    """The arguments of a method that have a name of their own."""
    signature = _signature(method)
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [n for n, p in signature.parameters.items() if p.kind not in kinds] if signature is not None else []


def _signature(method: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(method)
    except (TypeError, ValueError):
        return None  # compiled code has no signature


# layers behind which NaN and infinity still show in a membrane
_LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Flatten, nn.Identity)


def refuse_part_not_finite(
    plan: NetworkPlan, signals: Mapping[str, Tensor | None], start: int, stop: int, cause: Exception | None = None
) -> None:
    """Raises if the output of a part in these ticks holds NaN or infinity; it waits for the signals' device."""
    origins: list[tuple[int, str]] = []
    for group in plan.groups:
        for name in (signal for part in group.parts for signal in plan.signals[part]):
            y = signals.get(name)
            if y is None or not y.is_floating_point() or y.numel() == 0 or is_finite(y):
                continue
            row = int((~y.detach().isfinite()).flatten(1).any(1).nonzero()[0])
            origins.append((plan.clocks[name].ticks(start, stop)[row], name))

    if origins:
        # of one tick the first in the order of the parts: the others have got it from there
        tick, name = min(origins, key=lambda one: one[0])
        detail = "" if cause is None else f" ({cause})"
        raise DataError(
            f"part {name!r} is the first that gave NaN or infinity, at tick {tick}{detail}; check its parameters and, "
            "in training, the learning rate"
        ) from cause


def refuse_inference(network: nn.Module, values: State, cause: Exception) -> None:
    """Raises if inputs or a state were made in inference mode, which caused an error where gradients are wanted."""
    if torch.is_grad_enabled() and any(x.is_inference() for x in tensors_of(values)):
        raise StateError(
            "the inputs or the state were made in torch.inference_mode(), whose tensors no gradient can pass; make "
            "them under torch.no_grad(), or give a new stream",
            network,
        ) from cause


def needs_finite_check(inputs: Iterable[str], plan: NetworkPlan, parts: Mapping[str, nn.Module]) -> list[str]:
    """The inputs in which NaN or infinity could pass unnoticed, so that the network checks every value itself."""
    # the others lead straight to neurons, which check their membranes after the first call: one value a neuron, not one
    # a neuron and step; a part in a loop or under modulation runs in pieces, so that its first call is not the whole
    routes = plan.routes.values()
    in_pieces = {part for group in plan.groups if group.loop for part in group.parts}
    in_pieces |= {route.link.part for route in routes if not isinstance(route.link, Transmission)}
    guarded = {
        route.name: route.direct_source is not None
        and route.link.part not in in_pieces
        and _guards(parts[route.link.part])
        for route in routes
    }

    safe = {route.link.source for route in routes if guarded[route.name]}
    unsafe = {name for route in routes for name in route.sources if not guarded[route.name]}

    # a sleeping part does not read its inputs, and an awake one checks them
    return [name for name in inputs if name not in plan.on_demand and (name not in safe or name in unsafe)]


def _guards(part: nn.Module) -> bool:
    """True if NaN or infinity in the input of a part always shows in the membranes of its first neurons."""
    for layer in part if isinstance(part, Sequential) else [part]:
        if isinstance(layer, Neuron):
            # a neuron in its refractory time ignores its input
            own = type(layer).forward is Neuron.forward and type(layer)._loop is Neuron._loop
            return own and not getattr(layer, "refractory", 0)

        if type(layer) not in _LINEAR:
            return False

    return False
