"""Penalties that are a square in every weight, `strength / 2 (A theta^2 - 2 b theta + c)`, and the step for them.

The step is proximal: the optimizer moves on the task's loss alone, then `theta <- (theta + q b) / (1 + q A)`.
That is the exact minimum of the penalty plus the squared way from where the optimizer went, so no strength can make it
diverge. `q` is the strength times the step that the optimizer takes for a constant gradient, so that training rests
where the gradient of loss plus penalty is 0:

| optimizer | q |
|---|---|
| SGD | strength lr |
| SGD with momentum beta | strength lr / (1 - beta) |
| Adam, AdamW | strength lr / (sqrt(second moment) + eps), for each weight, with the second moment as Adam corrects it |
"""

from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from spikebridge.errors import ConfigError
from spikebridge.training.continual.regularizer import Consolidation, Masks, Parameters, masked_where


class QuadraticPenalty(Consolidation):
    """A penalty that is a square in every weight, with a strength of 0 or more. Subclasses say which."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        if not 0 <= strength < float("inf"):
            raise ConfigError(f"{type(self).__name__} needs a strength of 0 or more, but got {strength}")

        self.strength = strength

    def after_step(self, parameters: Parameters, optimizer: Optimizer, masks: Masks | None = None) -> None:
        steps = effective_step_sizes(optimizer)
        with torch.no_grad():
            for name, parameter in parameters.items():
                square = self.square(name)
                if square is None or parameter not in steps:
                    continue
                q = self.strength * steps[parameter]
                nearer = (parameter + q * square[1]) / (1 + q * square[0])
                parameter.copy_(masked_where(name, nearer, parameter, masks))

    def square(self, name: str) -> tuple[Tensor, Tensor] | None:
        """`A` and `b` of a parameter; None before the first task."""
        raise NotImplementedError


def effective_step_sizes(optimizer: Optimizer) -> dict[Tensor, Tensor | float]:
    """The way that an optimizer goes, in the end, for a constant gradient of 1: a factor for each parameter."""
    if not isinstance(optimizer, SGD | Adam | AdamW):
        raise ConfigError(
            f"the proximal step supports SGD, Adam and AdamW, but the optimizer is {type(optimizer).__name__}; take one "
            "of these"
        )

    steps: dict[Tensor, Tensor | float] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if isinstance(optimizer, SGD):
                damping = (1 - group["dampening"]) if group["momentum"] else 1.0
                steps[parameter] = float(group["lr"]) * damping / (1 - group["momentum"])
            elif parameter in optimizer.state:
                steps[parameter] = _adams_step(optimizer.state[parameter], group)

    return steps


def _adams_step(state: dict[str, Tensor], group: dict[str, Any]) -> Tensor:
    second = state["max_exp_avg_sq"] if group["amsgrad"] else state["exp_avg_sq"]
    corrected = second / (1 - group["betas"][1] ** float(state["step"]))
    return float(group["lr"]) / (corrected.sqrt() + group["eps"])
