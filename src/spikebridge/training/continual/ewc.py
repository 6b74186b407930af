"""Elastic weight consolidation: weights that old answers depend on are held near their old values.

After task k, with the information F_k and the weights theta_k, the penalty of J. Kirkpatrick et al., PNAS 114:3521
(2017) has one square a task: `lambda / 2 sum_k F_k (theta - theta_k)^2`. All of them together are one square again,

    lambda / 2 (A theta^2 - 2 b theta + c),   A = sum F_k,  b = sum F_k theta_k,  c = sum F_k theta_k^2,

so two tensors a parameter and one number hold any number of tasks exactly.
"""

import torch
from torch import Generator, Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.training.continual.quadratic import Fisher, QuadraticPenalty, StepKind
from spikebridge.training.continual.regularizer import (
    Answer,
    LabelledData,
    Masks,
    Parameters,
    default_logits,
    masked_where,
    trained_parameters,
)
from spikebridge.training.rng import derive_seed

DEFAULT_FISHER = Fisher()


class _InformationPenalty(QuadraticPenalty):
    """Measures the Fisher information at the end of a task; closed weights get none."""

    def __init__(self, strength: float, step: StepKind, fisher: Fisher) -> None:
        super().__init__(strength, step)
        self.fisher = fisher
        self.scalars = {"num_tasks": 0}

    def end_of_task(
        self, model: nn.Module, data: LabelledData, answer: Answer = default_logits, masks: Masks | None = None
    ) -> None:
        num_tasks = int(self.scalars["num_tasks"])
        draws = Generator().manual_seed(derive_seed(self.fisher.seed, num_tasks))
        information = self.fisher.diagonal(model, data, answer, draws)
        self.scalars["num_tasks"] = num_tasks + 1
        with torch.no_grad():
            for name, parameter in trained_parameters(model).items():
                self.take_in(name, information[name], parameter.detach(), masks)

    def take_in(self, name: str, information: Tensor, parameter: Tensor, masks: Masks | None = None) -> None:
        """Adds what a task has shown about one parameter.

        Args:
            name: of the parameter.
            information: of its shape, 0 or more.
            parameter: its value at the end of the task.
            masks: open weights.
        """
        raise NotImplementedError

    def _buffer(self, kind: str, name: str, like: Tensor) -> Tensor:
        return self.buffers[kind].setdefault(name, torch.zeros_like(like))


class EWC(_InformationPenalty):
    """Elastic weight consolidation over any number of tasks in two buffers.

    Args:
        strength: lambda.
        step: `proximal` cannot diverge; `explicit` adds the penalty's gradient to the loss's.
        fisher: how the information is estimated.

    Example:
        >>> ewc = EWC(strength=2.0)
        >>> ewc.take_in("w", torch.tensor([3.0]), torch.tensor([1.0]))
        >>> ewc.take_in("w", torch.tensor([1.0]), torch.tensor([2.0]))
        >>> ewc.penalty({"w": torch.tensor([0.0])}).item()  # 3 * 1^2 + 1 * 2^2
        7.0
    """

    buffer_names = ("information", "pull")

    def __init__(self, strength: float, step: StepKind = "proximal", fisher: Fisher = DEFAULT_FISHER) -> None:
        super().__init__(strength, step, fisher)
        self.scalars["rest"] = 0.0

    def square(self, name: str) -> tuple[Tensor, Tensor] | None:
        if name not in self.buffers["information"]:
            return None
        return self.buffers["information"][name], self.buffers["pull"][name]

    def take_in(self, name: str, information: Tensor, parameter: Tensor, masks: Masks | None = None) -> None:
        known = masked_where(name, information, torch.zeros_like(information), masks)
        self._buffer("information", name, parameter).add_(known)
        self._buffer("pull", name, parameter).addcmul_(known, parameter)
        self.scalars["rest"] += float((known.double() * parameter.double().square()).sum())

    def penalty(self, parameters: Parameters) -> Tensor:
        total = super().penalty(parameters).double() + self.scalars["rest"]
        for name, parameter in parameters.items():
            square = self.square(name)
            if square is not None:
                # three large numbers that nearly cancel: single precision would leave little of their sum
                theta = parameter.double()
                total = total + (square[0].double() * theta.square() - 2 * square[1].double() * theta).sum()
        return (self.strength / 2 * total).to(next(iter(parameters.values())).dtype)


class OnlineEWC(_InformationPenalty):
    """Elastic weight consolidation that holds to the last task's weights alone and lets old information fade.

    `A <- gamma A + F` and `anchor <- theta` after each task, for weights that were open in it; the others keep both
    (J. Schwarz et al., "Progress and Compress", ICML 2018).

    Args:
        strength: lambda.
        decay: gamma, 0 to 1.
        step: `proximal` cannot diverge; `explicit` adds the penalty's gradient to the loss's.
        fisher: how the information is estimated.

    Raises:
        ConfigError: a decay outside 0 to 1.

    Example:
        >>> online = OnlineEWC(strength=2.0, decay=0.5)
        >>> online.take_in("w", torch.tensor([4.0]), torch.tensor([1.0]))
        >>> online.take_in("w", torch.tensor([1.0]), torch.tensor([2.0]))
        >>> online.penalty({"w": torch.tensor([0.0])}).item()  # (4 / 2 + 1) * 2^2
        12.0
    """

    buffer_names = ("information", "anchor")

    def __init__(
        self, strength: float, decay: float = 0.9, step: StepKind = "proximal", fisher: Fisher = DEFAULT_FISHER
    ) -> None:
        super().__init__(strength, step, fisher)
        if not 0 <= decay <= 1:
            raise ConfigError(f"decay should be from 0 to 1, but is {decay}")
        self.decay = decay

    def square(self, name: str) -> tuple[Tensor, Tensor] | None:
        if name not in self.buffers["information"]:
            return None
        information = self.buffers["information"][name]
        return information, information * self.buffers["anchor"][name]

    def take_in(self, name: str, information: Tensor, parameter: Tensor, masks: Masks | None = None) -> None:
        old, anchor = self._buffer("information", name, parameter), self._buffer("anchor", name, parameter)
        old.copy_(masked_where(name, self.decay * old + information, old, masks))
        anchor.copy_(masked_where(name, parameter, anchor, masks))

    def penalty(self, parameters: Parameters) -> Tensor:
        total = super().penalty(parameters)
        for name, parameter in parameters.items():
            if name in self.buffers["information"]:
                away = parameter - self.buffers["anchor"][name]
                total = total + (self.buffers["information"][name] * away.square()).sum()
        return self.strength / 2 * total
