"""Metaplasticity: the larger a weight has grown, the less a step may shrink it. Nothing is kept between tasks.

Source: A. Laborieux et al., Nature Communications 12:2549 (2021), in the form of CH-HNN's released code (Shi et al.,
Nature Communications 2025), where a step that would shrink `|w|` is multiplied by `exp(-|m w|)`.
"""

import torch
from torch import Tensor
from torch.optim import Optimizer

from spikebridge.errors import ConfigError
from spikebridge.training.continual.regularizer import Consolidation, Masks, Parameters, masked_where


class Metaplasticity(Consolidation):
    """Damps steps by the size of the weight. No step is reversed, and a weight may change its sign."""

    def __init__(self, strength: float, damp: str = "shrinking") -> None:
        super().__init__()
        # the published code takes .5 where classes come one after the other, and 50 where the task is given
        if not 0 <= strength < float("inf"):
            raise ConfigError(f"Metaplasticity needs a strength of 0 or more, but got {strength}")
        if damp not in ("shrinking", "all"):
            raise ConfigError(f"damp should be 'shrinking' or 'all', but is {damp!r}")

        self.strength = strength
        self.damp = damp  # "shrinking" damps steps towards 0 alone (code), "all" every step (article)
        self._before: dict[str, Tensor] = {}

    def before_step(self, parameters: Parameters, masks: Masks | None = None) -> None:
        self._before = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    def after_step(self, parameters: Parameters, optimizer: Optimizer, masks: Masks | None = None) -> None:
        with torch.no_grad():
            for name, before in self._before.items():
                parameter = parameters[name]
                move = damp_step(before, parameter - before, self.strength, only_shrinking=self.damp == "shrinking")
                parameter.copy_(masked_where(name, before + move, before, masks))

        self._before = {}


def damp_step(weight: Tensor, move: Tensor, strength: float, *, only_shrinking: bool) -> Tensor:
    """A step of weights, made smaller by their size."""
    factor = torch.exp(-(strength * weight).abs())
    if only_shrinking:
        factor = torch.where(weight * move < 0, factor, torch.ones_like(factor))

    return move * factor
