"""Whether parts and units fit the plan of a network: names, arguments, quantities, and their own time steps."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.hybrid.clock import Clock, Every
from spikebridge.hybrid.link import Modulation
from spikebridge.hybrid.modulation import check_path
from spikebridge.hybrid.route import Route
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.stateless import refuse_hidden_state


def ticks_of(rhythms: Mapping[str, Every], dt: float) -> dict[str, Clock]:
    """Clocks in base ticks of rhythms in seconds.

    Args:
        rhythms: by name.
        dt: base step [s].

    Returns:
        Their clocks.

    Raises:
        ConfigError: something that is no rhythm, or that the base step does not divide.

    Example:
        >>> from spikebridge.hybrid import every
        >>> ticks_of({"frames": every(1 / 40)}, dt=1 / 240)
        {'frames': Clock(period=6, phase=0)}
    """
    for name, rhythm in rhythms.items():
        if not isinstance(rhythm, Every):
            raise ConfigError(f"the clock of {name!r} is given as every(seconds), but got {rhythm!r}")
    return {name: rhythm.clock(dt, name) for name, rhythm in rhythms.items()}


def check_names(parts: Mapping[str, nn.Module], outputs: Sequence[str]) -> None:
    """Raises where a part is no module, cannot be called so, or hides a state, or where an output is no part."""
    for name, part in parts.items():
        if not isinstance(part, nn.Module):
            raise ConfigError(f"part {name!r} needs to be a module, but is a {type(part).__name__}")
        if not name or "." in name or hasattr(nn.ModuleDict, name):
            raise ConfigError(f"a part cannot be called {name!r}; the name is taken or holds a dot, choose another")
        refuse_hidden_state(part, name)
    for name in [outputs] if isinstance(outputs, str) else outputs:
        if name not in parts:
            raise ConfigError(f"the output {name!r} is no part: {did_you_mean(name, parts)}")
    if isinstance(outputs, str):
        raise ConfigError(f"outputs is a list of parts, but got {outputs!r}; did you mean [{outputs!r}]?")


def check_part(name: str, part: nn.Module, incoming: Sequence[Route], period: float) -> None:
    """Raises where a part cannot take what its links bring, or has another time step than its clock.

    Args:
        name: of the part.
        part: the module.
        incoming: its links.
        period: of its clock [s].
    """
    _check_steps(name, part, period)
    into = [route.link.into for route in incoming if not isinstance(route.link, Modulation)]
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


def check_unit(route: Route, dt: float) -> None:
    """Raises where a layer in a link's unit has another time step than the clock it runs on; `dt` is the base step."""
    unit = route.link.unit
    if unit is None:
        return
    if unit.kernel is not None:
        _check_steps(f"the unit {route.name}", unit.kernel, unit.kernel_period(route.source) * dt)
    if unit.discretizer is not None:
        _check_steps(f"the unit {route.name}", unit.discretizer, route.clock.period * dt)


def _check_steps(name: str, module: nn.Module, period: float) -> None:
    for path, layer in module.named_modules():
        dt = getattr(layer, "dt", None) if isinstance(layer, Stateful) else None
        if dt is not None and abs(dt - period) > 1e-6 * period:
            where = f" at {path!r}" if path else ""
            raise ConfigError(
                f"{name!r} runs every {period:g} s, but its {type(layer).__name__}{where} has dt={dt:g} s; set "
                f"dt={period:g}"
            )


def _check_arguments(name: str, part: nn.Module, unnamed: int, named: Sequence[str]) -> None:
    """Raises where the arguments of a part are not those that its links bring."""
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
    """Raises where a stateful part would take a named signal for a modulation, or not at all."""
    known = {argument for method in (part.forward, part.step) for argument in _explicit(method)} - {"x", "x_t", "state"}
    for argument in named:
        if argument in part.modulable_paths():
            raise ConfigError(
                f"{argument!r} is a quantity of part {name!r}, which a Modulation acts on: Modulation(..., "
                f"'{name}.{argument}', by='replace')"
            )
        if argument not in known:
            raise ConfigError(f"part {name!r} has no input {argument!r}; {did_you_mean(argument, sorted(known))}")


def _explicit(method: Any) -> list[str]:
    """The arguments of a method that have a name of their own."""
    signature = _signature(method)
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [n for n, p in signature.parameters.items() if p.kind not in kinds] if signature is not None else []


def _signature(method: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(method)
    except (TypeError, ValueError):
        return None  # compiled code tells nothing about itself
