"""Plain modules among layers with time: time is folded into the batch, and their weights may be modulated."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from spikebridge.errors import ConfigError, ShapeError, did_you_mean
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.quantity import Effect, Modulated


def over_time(module: nn.Module, *signals: Tensor, **named: Tensor) -> Tensor:
    """A module that knows no time, on signals `(T, B, *N)`: it sees `(T * B, *N)`.

    Example:
        >>> over_time(nn.Flatten(), torch.zeros(5, 2, 3, 4)).shape
        torch.Size([5, 2, 12])
    """
    num_steps, batch = signals[0].shape[:2]
    y = module(*[x.flatten(0, 1) for x in signals], **{name: x.flatten(0, 1) for name, x in named.items()})
    if not isinstance(y, Tensor):
        raise ShapeError(
            f"a part gives one tensor, but {type(module).__name__} gave {type(y).__name__}; wrap it in a module that picks one"
        )
    if y.ndim == 0 or len(y) != num_steps * batch:
        raise ShapeError(
            f"{type(module).__name__} was given {num_steps * batch} rows (T * B) and gave shape {tuple(y.shape)}; "
            "it must keep the first axis"
        )
    return y.reshape(num_steps, batch, *y.shape[1:])


def modulated(module: nn.Module, modulation: Mapping[str, Modulated], *signals: Tensor, **named: Tensor) -> Tensor:
    """The same with some of the module's parameters under modulation: one mechanism for bias, weights and connectivity.

    A tensor shaped like the parameter serves all; one axis more is per sample, two more per step and sample. An `Effect` on
    a parameter `(*W)` has the signal `(1 or T, B, *W)`. The module itself is never written to.

    Example:
        >>> linear = nn.Linear(1, 1, bias=False)
        >>> weights = torch.tensor([2.0, 3.0]).reshape(2, 1, 1)  # one matrix a sample
        >>> modulated(linear, {"weight": weights}, torch.ones(1, 2, 1)).flatten().tolist()
        [2.0, 3.0]
    """
    parameters = dict(module.named_parameters())
    num_steps, batch = signals[0].shape[:2]
    values: dict[str, Tensor] = {}
    for path, value in modulation.items():
        if path not in parameters:
            raise ConfigError(f"{type(module).__name__} has no parameter {path!r}; {did_you_mean(path, parameters)}")
        values[path] = per_sample(parameters[path], value, num_steps, batch)
    if any(len(value) != 1 for value in values.values()) and num_steps > 0:
        columns = {path: value.expand(num_steps, *value.shape[1:]).unbind(0) for path, value in values.items()}
        steps = [
            _each_sample(
                module,
                {path: column[t] for path, column in columns.items()},
                [x[t : t + 1] for x in signals],
                {name: x[t : t + 1] for name, x in named.items()},
            )
            for t in range(num_steps)
        ]
        return torch.cat(steps)
    return _each_sample(module, {path: value[0] for path, value in values.items()}, list(signals), named)


def per_sample(base: Tensor, value: Modulated, num_steps: int, batch: int) -> Tensor:
    """A modulated parameter as `(1 or T, B, *W)`."""
    if isinstance(value, Effect):
        value = [value]
    if isinstance(value, list | tuple):
        result: Tensor = base
        for effect in value:
            if effect.signal.shape[0] not in (1, num_steps):
                raise ShapeError(f"a modulation has {len(effect.signal)} steps in time, but the signal has {num_steps}")
            result = effect.on(result, base.ndim + 2)
    else:
        result = torch.as_tensor(value, dtype=base.dtype, device=base.device)
    extra = result.ndim - base.ndim
    if extra not in (0, 1, 2):
        raise ShapeError(
            f"a modulated parameter of shape {tuple(base.shape)} cannot take a value of shape {tuple(result.shape)}"
        )
    result = result.reshape(*[1] * (2 - extra), *result.shape)
    return result.expand(result.shape[0], batch, *base.shape)


def _each_sample(
    module: nn.Module, values: dict[str, Tensor], signals: list[Tensor], named: Mapping[str, Tensor]
) -> Tensor:
    def one(values: dict[str, Tensor], signals: list[Tensor], named: dict[str, Tensor]) -> Any:
        return functional_call(module, values, tuple(signals), named)

    if signals[0].shape[1] == 0:
        return over_time(module, *signals, **named)
    return torch.vmap(one, in_dims=(0, 1, 1), out_dims=1, randomness="different")(values, signals, dict(named))


def refuse_hidden_state(module: nn.Module, name: str) -> None:
    """Raises where a plain module holds a stateful one: its state could not be threaded."""
    if isinstance(module, Stateful):
        return
    for path, child in module.named_modules():
        if isinstance(child, Stateful):
            raise ConfigError(
                f"{name!r} is a plain {type(module).__name__}, but holds the stateful {type(child).__name__} at {path!r}, whose "
                "state it cannot carry; use spikebridge.neurons.Sequential, or make it a Stateful"
            )
