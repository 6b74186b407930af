"""Penalties that are a square in every weight, `strength / 2 (A theta^2 - 2 b theta + c)`, and the step for them.

**Proximal step** (default): the optimizer moves on the task's loss alone, then `theta <- (theta + q b) / (1 + q A)`.
That is the exact minimum of the penalty plus the squared way from where the optimizer went, so no strength can make it
diverge. `q` is the strength times the step that the optimizer takes for a constant gradient, so that training rests
where the gradient of loss plus penalty is 0:

| optimizer | q |
|---|---|
| SGD | strength lr |
| SGD with momentum beta | strength lr / (1 - beta) |
| Adam, AdamW | strength lr / (sqrt(second moment) + eps), for each weight, with the second moment as Adam corrects it |

**Explicit step**: the penalty's gradient is added to that of the loss. It diverges where lr strength A exceeds 2, with
momentum 2 (1 + beta).

How much a network's answers depend on each weight: the diagonal of the Fisher information.

`F = mean over samples of the squared gradient of log p(y | x)` for one sample at a time. The square of a batch's mean
gradient is something else: it shrinks with the batch (6.7 times at 64 samples, measured) and makes the strength of a
penalty depend on the batch size.
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.optim import SGD, Adam, AdamW, Optimizer

from spikebridge.errors import ConfigError
from spikebridge.training.continual.regularizer import (
    Answer,
    Consolidation,
    LabelledData,
    Masks,
    Parameters,
    default_logits,
    masked_where,
    trained_parameters,
)
from spikebridge.training.distributed import ModuleHost
from spikebridge.training.evaluation import preserve_modes

StepKind: TypeAlias = Literal["proximal", "explicit"]


class QuadraticPenalty(Consolidation):
    """A penalty that is a square in every weight. Subclasses say which.

    Args:
        strength: lambda, at least 0.
        step: how the penalty acts.

    Raises:
        ConfigError: a strength below 0.
    """

    def __init__(self, strength: float, step: StepKind = "proximal") -> None:
        super().__init__()
        if not 0 <= strength < float("inf"):
            raise ConfigError(f"{type(self).__name__} needs a strength of 0 or more, but got {strength}")
        if step not in ("proximal", "explicit"):
            raise ConfigError(f"step should be 'proximal' or 'explicit', but is {step!r}")
        self.strength = strength
        self.step = step

    def before_step(self, parameters: Parameters, masks: Masks | None = None) -> None:
        if self.step != "explicit":
            return
        with torch.no_grad():
            for name, parameter in parameters.items():
                square = self.square(name)
                if square is None:
                    continue
                pull = self.strength * (square[0] * parameter - square[1])
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = masked_where(name, gradient + pull, gradient, masks)

    def after_step(self, parameters: Parameters, optimizer: Optimizer, masks: Masks | None = None) -> None:
        if self.step != "proximal":
            return
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
    """How far an optimizer goes, in the end, for a constant gradient of 1: a factor for each parameter.

    Args:
        optimizer: SGD (with momentum, dampening, Nesterov's too), Adam or AdamW.

    Raises:
        ConfigError: another kind of optimizer.

    Example:
        >>> w = torch.zeros(1, requires_grad=True)
        >>> round(effective_step_sizes(SGD([w], lr=0.1, momentum=0.9))[w], 6)
        1.0
    """
    if not isinstance(optimizer, SGD | Adam | AdamW):
        raise ConfigError(
            f"the proximal step knows SGD, Adam and AdamW, but the optimizer is {type(optimizer).__name__}; "
            "take one of these, or step='explicit'"
        )
    steps: dict[Tensor, Tensor | float] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if isinstance(optimizer, SGD):
                damped = (1 - group["dampening"]) if group["momentum"] else 1.0
                steps[parameter] = float(group["lr"]) * damped / (1 - group["momentum"])
            elif parameter in optimizer.state:
                steps[parameter] = _adams_step(optimizer.state[parameter], group)
    return steps


def _adams_step(state: dict[str, Tensor], group: dict[str, Any]) -> Tensor:
    second = state["max_exp_avg_sq"] if group["amsgrad"] else state["exp_avg_sq"]
    corrected = second / (1 - group["betas"][1] ** float(state["step"]))
    return float(group["lr"]) / (corrected.sqrt() + group["eps"])


@dataclass(frozen=True)
class Fisher:
    """How the information is estimated.

    Args:
        labels: `drawn` from the model's own answer, one a sample; `all` classes, each weighted with its probability (no
            noise of the draw, as many backward passes as classes); `predicted`, the likeliest class (released code).
        num_samples: of the task, drawn without repeats; None for all.
        chunk_size: samples at a time: the memory is this many times the parameters.
        seed: of the draws.

    Raises:
        ConfigError: an unknown kind of label, or no sample.
    """

    labels: Literal["drawn", "all", "predicted"] = "drawn"
    num_samples: int | None = None
    chunk_size: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if self.labels not in ("drawn", "all", "predicted"):
            raise ConfigError(f"labels should be 'drawn', 'all' or 'predicted', but is {self.labels!r}")
        if self.chunk_size < 1 or (self.num_samples is not None and self.num_samples < 1):
            raise ConfigError(f"Fisher needs at least one sample, but got {self.num_samples=} and {self.chunk_size=}")

    def diagonal(
        self, model: nn.Module, data: LabelledData, answer: Answer = default_logits, generator: Generator | None = None
    ) -> dict[str, Tensor]:
        """The information of every trained parameter, in eval mode.

        Args:
            model: the network; it runs under `torch.func.vmap`, one sample at a time.
            data: samples; their labels are not read.
            answer: gives the logits.
            generator: draws samples and labels; without it one from the seed.

        Returns:
            By name, of the parameter's shape, 0 or more.

        Example:
            >>> from spikebridge.data import TaskSamples
            >>> line = nn.Linear(1, 2, bias=False)
            >>> _ = nn.init.zeros_(line.weight)
            >>> data = TaskSamples(torch.tensor([[2.0]]), torch.tensor([0]))
            >>> Fisher("all").diagonal(line, data)["weight"].tolist()  # p = 1/2: (2 * 1/2)^2
            [[1.0], [1.0]]
        """
        draws = generator or Generator().manual_seed(self.seed)
        parameters = {name: parameter.detach() for name, parameter in trained_parameters(model).items()}
        sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
        device = next(iter(parameters.values())).device
        axis = data.batch_axis
        host = ModuleHost(model)

        def logits(values: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(host, {f"network.{name}": value for name, value in values.items()}, (answer, x))

        def loss(values: dict[str, Tensor], x: Tensor, label: Tensor) -> Tensor:
            return F.cross_entropy(logits(values, x.unsqueeze(axis)), label.unsqueeze(0))

        gradients = vmap(grad(loss), in_dims=(None, axis, 0))
        chosen = torch.randperm(len(data), generator=draws)[: self.num_samples]
        with preserve_modes(model):
            model.eval()
            for indices in chosen.split(self.chunk_size):
                x = data.select(indices)[0].to(device)
                with torch.no_grad():
                    chances = logits(parameters, x).softmax(1)
                for label, weight in self._labels(chances, draws):
                    _add_squares(sums, gradients(parameters, x, label), weight)
        return {name: total / len(chosen) for name, total in sums.items()}

    def _labels(self, chances: Tensor, draws: Generator) -> list[tuple[Tensor, Tensor]]:
        """Labels `(B,)` with their weights `(B,)`, one pair a backward pass."""
        ones = torch.ones_like(chances[:, 0])
        if self.labels == "predicted":
            return [(chances.argmax(1), ones)]
        if self.labels == "drawn":
            label = torch.multinomial(chances.cpu().float(), 1, generator=draws)[:, 0]
            return [(label.to(chances.device), ones)]
        classes = torch.arange(chances.shape[1], device=chances.device)
        return [(label.expand(len(chances)), chances[:, label]) for label in classes]


def _add_squares(sums: dict[str, Tensor], gradients: dict[str, Any], weight: Tensor) -> None:
    for name, gradient in gradients.items():
        sums[name] += torch.einsum("b,b...->...", weight, gradient.square_())
