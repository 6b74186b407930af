"""Consolidation beside EWC: synaptic intelligence and metaplasticity, which are level with EWC or worse.

Synaptic intelligence: weights whose moves lowered the loss of old tasks are held near their old values.

Along a task, `omega += -g * move` with the gradient g of the task's loss alone. At its end
`Omega += max(omega, 0) / (way^2 + xi)`, with the way from the task's beginning, and the penalty is
`c sum Omega (theta - theta*)^2` (F. Zenke, B. Poole, S. Ganguli, ICML 2017). `c` = .035 and `xi` = .01 are what
N. Masse, G. Grant, D. Freedman, PNAS 115:E10467 (2018) took for 100 tasks with gates.

Metaplasticity: the larger a weight has grown, the less a step may shrink it. Nothing is kept between tasks.

Source: A. Laborieux et al., Nature Communications 12:2549 (2021), in the form of CH-HNN's released code (Shi et al.,
Nature Communications 2025), where a step that would shrink `|w|` is multiplied by `exp(-|m w|)`.
"""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from spikebridge.errors import ConfigError
from spikebridge.training.continual.ewc import QuadraticPenalty
from spikebridge.training.continual.regularizer import (
    Consolidation,
    LabelledData,
    LogitsFunction,
    Masks,
    Parameters,
    default_logits,
    masked_where,
    trained_parameters,
)


class SynapticIntelligence(QuadraticPenalty):
    """Synaptic intelligence in three buffers.

    Args:
        strength: c; the penalty is `c Omega (theta - theta*)^2`.
        damping: xi, above 0.

    Raises:
        ConfigError: a damping that is not above 0.
    """

    buffer_names = ("omega", "importance", "anchor")

    def __init__(self, strength: float = 0.035, damping: float = 0.01) -> None:
        super().__init__(strength)
        if not damping > 0:
            raise ConfigError(f"damping should be above 0, but is {damping}")

        self.damping = damping
        self._gradients: dict[str, Tensor] = {}
        self._before: dict[str, Tensor] = {}

    def before_step(self, parameters: Parameters, masks: Masks | None = None) -> None:
        self._gradients = {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}
        # clones: a view of a parameter would move with it, and every move would read as 0
        self._before = {name: parameters[name].detach().clone() for name in self._gradients}
        for name, start in self._before.items():
            self.buffers["anchor"].setdefault(name, start.clone())
            for kind in ("omega", "importance"):
                self.buffers[kind].setdefault(name, torch.zeros_like(start))

    def after_step(self, parameters: Parameters, optimizer: Optimizer, masks: Masks | None = None) -> None:
        super().after_step(parameters, optimizer, masks)
        for name, gradient in self._gradients.items():
            move = parameters[name].detach() - self._before[name]
            self.buffers["omega"][name].add_(masked_where(name, -gradient * move, torch.zeros_like(move), masks))

        self._gradients = {}
        self._before = {}

    def end_of_task(
        self,
        model: nn.Module,
        data: LabelledData,
        compute_logits: LogitsFunction = default_logits,
        masks: Masks | None = None,
    ) -> None:
        for name, parameter in trained_parameters(model).items():
            if name not in self.buffers["omega"]:
                continue
            omega = self.buffers["omega"][name]
            anchor = self.buffers["anchor"][name]
            way = parameter.detach() - anchor
            self.buffers["importance"][name].add_(omega.clamp(min=0) / (way.square() + self.damping))
            omega.zero_()
            anchor.copy_(masked_where(name, parameter.detach(), anchor, masks))

    def square(self, name: str) -> tuple[Tensor, Tensor] | None:
        if name not in self.buffers["importance"]:
            return None
        # strength / 2 of the square is c, so that A is twice the importance
        curvature = 2 * self.buffers["importance"][name]
        return curvature, curvature * self.buffers["anchor"][name]

    def penalty(self, parameters: Parameters) -> Tensor:
        total = super().penalty(parameters)
        for name, parameter in parameters.items():
            if name in self.buffers["importance"]:
                away = parameter - self.buffers["anchor"][name]
                total = total + (self.buffers["importance"][name] * away.square()).sum()

        return self.strength * total

    def initial_buffer(self, kind: str, parameter: Tensor) -> Tensor:
        return parameter.detach() if kind == "anchor" else super().initial_buffer(kind, parameter)


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
