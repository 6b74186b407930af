"""The step of a layer's clock, `dt` [s]: stated once, in the network, and bound to the layers that depend on it.

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
from spikebridge.neurons.quantity import Value

_TOLERANCE = 1e-6  # of a step: two clocks in decimals of six digits are one


def format_seconds(seconds: float) -> str:
    """A time as a program can state it without loss [s]: '0.001', '1 / 240'."""
    number = float(f"{seconds:.12g}")
    if abs(number - seconds) <= 1e-15 * seconds and len(repr(number)) <= 12:
        return repr(number)

    # the step of a camera is exact as a fraction alone
    rate = round(1 / seconds) if 0 < seconds < 1 else 0
    return f"1 / {rate}" if rate and abs(1 / rate - seconds) <= 1e-15 * seconds else repr(seconds)


def check_dt(who: str, dt: Any) -> None:
    """Raises if a step is no number of seconds above 0."""
    if dt is not None and not is_positive(dt):
        raise ConfigError(f"{who} needs dt > 0 s, the step of its clock, but got {in_words(dt)}")


def required_dt(layer: Stateful) -> float:
    """The step of a layer's clock [s], or a `ConfigError` if it has none yet."""
    if layer.dt is None:
        who = type(layer).__name__
        raise ConfigError(
            f"{who} depends on dt, the step of its clock [s], and has none; give it, {who}(..., dt=0.001), or put the "
            "layer into a Sequential(..., dt=0.001) or a HybridNetwork, which bind theirs"
        )

    return layer.dt


def decay_of(tau: Value, dt: float | None) -> Value:
    """The share of a membrane after one step, `exp(-dt / tau)` [s]; without a leak, `tau=inf`, it needs no `dt`."""
    if dt is None:
        if isinstance(tau, Tensor) or tau != math.inf:
            raise ConfigError("a time constant needs dt, the step of its clock [s]")
        return 1.0

    return torch.exp(-dt / tau) if isinstance(tau, Tensor) else math.exp(-dt / tau)


def decay_per_step(layer: Stateful, tau: Value) -> Value:
    """The share of a membrane after one step of a layer's clock, or a `ConfigError` if it has none yet."""
    leaks = isinstance(tau, Tensor) or tau != math.inf
    return decay_of(tau, required_dt(layer) if leaks else layer.dt)


def dt_of(module: nn.Module) -> float | None:
    """The step of the first layer of a module that has one [s]."""
    return next((m.dt for m in module.modules() if isinstance(m, Stateful) and m.dt is not None), None)


def unbound_layer(module: nn.Module) -> str | None:
    """The path of the first layer that depends on a step but has none."""
    layers = ((path, layer) for path, layer in module.named_modules() if isinstance(layer, Stateful))
    return next((path for path, layer in layers if layer.dt is None and layer.uses_dt), None)


def match_dt(name: str, module: nn.Module, dt: float, steps: dict[Stateful, float]) -> None:
    """Adds the layers of a module that will be bound to its step [s], or raises if one has another step."""
    for path, layer in module.named_modules():
        if not isinstance(layer, Stateful):
            continue

        step = steps.get(layer) if layer.dt is None else layer.dt
        if step is not None and abs(step - dt) > _TOLERANCE * dt:
            where = f" at {path!r}" if path else ""
            period = format_seconds(dt)
            raise ConfigError(
                f"{name!r} runs every {period} s, but its {type(layer).__name__}{where} has "
                f"dt={format_seconds(step)} s; set dt={period}, or leave dt out, since the clock gives it (a layer of "
                "two clocks needs two copies)"
            )

        if layer.dt is None and layer.uses_dt:
            steps[layer] = dt


def bind_dt(name: str, module: nn.Module, dt: float) -> list[Stateful]:
    """Gives the layers of a module that depend on a step and have none this one [s], and returns them."""
    steps: dict[Stateful, float] = {}
    # all are compared before the first is bound, so that a refused module stays as it was
    match_dt(name, module, dt, steps)
    for layer in steps:
        layer.dt = dt

    return list(steps)


@contextmanager
def temporary_dt(module: nn.Module, dt: float | None) -> Iterator[None]:
    """As `bind_dt`, until the end of a `with` block; None binds nothing."""
    layers = [] if dt is None else bind_dt(type(module).__name__, module, dt)
    try:
        yield
    finally:
        for layer in layers:
            layer.dt = None
