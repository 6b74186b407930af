"""The step of a layer's clock, `dt` [s]: written once, in the network, and bound to the layers that depend on it.

A layer may be built without it. `HybridNetwork` gives each layer the period of its clock, `Sequential(dt=...)` its own;
where a layer has one already, the two must agree.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, in_words, is_positive
from spikebridge.neurons.base import Stateful


def written(seconds: float) -> str:
    """A time as it can be written in a program without loss [s].

    Example:
        >>> written(0.001), written(1 / 240), written(2 / 3)
        ('0.001', '1 / 240', '0.6666666666666666')
    """
    number = float(f"{seconds:.12g}")
    if abs(number - seconds) <= 1e-15 * seconds and len(repr(number)) <= 12:
        return repr(number)

    rate = round(1 / seconds) if 0 < seconds < 1 else 0
    return f"1 / {rate}" if rate and abs(1 / rate - seconds) <= 1e-15 * seconds else repr(seconds)


def check_dt(who: str, dt: Any) -> None:
    """Raises where a step is given that is no number of seconds above 0."""
    if dt is not None and not is_positive(dt):
        raise ConfigError(f"{who} needs dt > 0 s, the step of its clock, but got {in_words(dt)}")


def known_dt(layer: Stateful) -> float:
    """The step of a layer's clock [s], or a `ConfigError` where it is not known yet."""
    if layer.dt is None:
        who = type(layer).__name__
        raise ConfigError(
            f"{who} depends on dt, the step of its clock [s], and has none; give it, {who}(..., dt=0.001), or put the "
            "layer into a Sequential(..., dt=0.001) or a HybridNetwork, which bind theirs"
        )

    return layer.dt


def decay_of(tau: Tensor | float, dt: float | None) -> Tensor | float:
    """The share of a membrane that is left after one step, `exp(-dt / tau)`.

    Args:
        tau: time constant [s].
        dt: step of the clock [s]; it may be None where nothing leaks.

    Example:
        >>> decay_of(float("inf"), dt=0.001), round(decay_of(0.001, dt=0.001), 4)  # the second is 1 / e
        (1.0, 0.3679)
    """
    if dt is None:
        if isinstance(tau, Tensor) or tau != math.inf:
            raise ConfigError("a time constant needs dt, the step of its clock [s]")
        return 1.0

    return torch.exp(-dt / tau) if isinstance(tau, Tensor) else math.exp(-dt / tau)


def decay_per_step(layer: Stateful, tau: Tensor | float) -> Tensor | float:
    """The share that is left after one step of a layer's clock, or a `ConfigError` where its step is not known."""
    leaks = isinstance(tau, Tensor) or tau != math.inf
    return decay_of(tau, known_dt(layer) if leaks else layer.dt)


def dt_of(module: nn.Module) -> float | None:
    """The step that the layers of a module have [s], that of the first; None where none has one.

    Example:
        >>> from spikebridge.neurons import IF, LIF
        >>> dt_of(nn.Sequential(IF(), LIF(tau=0.02, dt=0.001)))
        0.001
    """
    return next((m.dt for m in module.modules() if isinstance(m, Stateful) and m.dt is not None), None)


def unbound_layer(module: nn.Module) -> str | None:
    """The path of the first layer that depends on a step that it does not know, None where there is none.

    Example:
        >>> from spikebridge.neurons import IF, LIF
        >>> unbound_layer(nn.Sequential(IF(), LIF(tau=0.02)))
        '1'
    """
    layers = ((path, layer) for path, layer in module.named_modules() if isinstance(layer, Stateful))
    return next((path for path, layer in layers if layer.dt is None and layer.uses_dt), None)


def match_dt(name: str, module: nn.Module, dt: float, steps: dict[Stateful, float]) -> None:
    """Collects the layers of a module that are to be bound to the step of its clock.

    Args:
        name: of the module, for messages.
        module: a layer or what holds layers.
        dt: step of the module's clock [s].
        steps: the step of each layer to be bound; those of this module are added.

    Raises:
        ConfigError: a layer has another step.

    Example:
        >>> from spikebridge.neurons import IF, LIF
        >>> layer, steps = LIF(tau=0.02), {}
        >>> match_dt("snn", nn.Sequential(IF(), layer), 0.001, steps)
        >>> steps == {layer: 0.001}
        True
    """
    for path, layer in module.named_modules():
        if not isinstance(layer, Stateful):
            continue

        known = steps.get(layer) if layer.dt is None else layer.dt
        if known is not None and abs(known - dt) > 1e-6 * dt:
            where = f" at {path!r}" if path else ""
            who = f"its {type(layer).__name__}{where}"
            raise ConfigError(
                f"{name!r} runs every {written(dt)} s, but {who} has dt={written(known)} s; set dt={written(dt)}, or "
                "leave dt out, since the clock gives it (a layer of two clocks needs two copies)"
            )

        if layer.dt is None and layer.uses_dt:
            steps[layer] = dt


def bind_dt(name: str, module: nn.Module, dt: float) -> None:
    """Gives every layer of a module the step of its clock, where it has none.

    Args:
        name: of the module, for messages.
        module: a layer or what holds layers.
        dt: step of the clock [s].

    Raises:
        ConfigError: a layer has another step.
    """
    steps: dict[Stateful, float] = {}
    match_dt(name, module, dt, steps)
    for layer in steps:
        layer.dt = dt


@contextmanager
def bound_for_now(module: nn.Module, dt: float | None) -> Iterator[None]:
    """As `bind_dt`, until the end of a `with` block; None binds nothing."""
    steps: dict[Stateful, float] = {}
    if dt is not None:
        match_dt(type(module).__name__, module, dt, steps)

    try:
        for layer in steps:
            layer.dt = dt
        yield
    finally:
        for layer in steps:
            layer.dt = None
