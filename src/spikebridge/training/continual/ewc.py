"""Elastic weight consolidation: weights that old answers depend on are held near their old values.

After task k, with the information F_k and the weights theta_k, the penalty of J. Kirkpatrick et al., PNAS 114:3521
(2017) has one square a task: `lambda / 2 sum_k F_k (theta - theta_k)^2`. All of them together are one square again,

    lambda / 2 (A theta^2 - 2 b theta + c),   A = sum F_k,  b = sum F_k theta_k,  c = sum F_k theta_k^2,

so two tensors a parameter and one number hold any number of tasks exactly.

**Fisher information**, its diagonal: F = mean over samples of the squared gradient of log p(y | x), one sample at a
time. The square of a batch's mean gradient is another quantity: it shrinks with the batch (6.7 times at 64 samples,
measured), so that the strength of the penalty would depend on the batch size.

**Proximal step**: the optimizer moves on the task's loss alone, then `theta <- (theta + q b) / (1 + q A)`. That is the
exact minimum of the penalty plus the squared way from where the optimizer went, so no strength can make it diverge.
`q` is the strength times the step that the optimizer takes for a constant gradient, so that training rests
where the gradient of loss plus penalty is 0:

| optimizer | q |
|---|---|
| SGD | strength lr |
| SGD with momentum beta | strength lr / (1 - beta) |
| Adam, AdamW | strength lr / (sqrt(second moment) + eps), for each weight, with the second moment as Adam corrects it |
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.optim import SGD, Adam, AdamW, Optimizer

from spikebridge.errors import ConfigError, is_integer, is_number
from spikebridge.ops.modes import preserve_modes
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
from spikebridge.training.distributed import ModuleHost
from spikebridge.training.rng import derive_seed


@dataclass(frozen=True)
class Fisher:
    """Estimation of the Fisher information of every weight.

    Args:
        labels: `drawn` from the model's own answer, one a sample; `all` classes, each weighted with its probability (no
            noise of the draw, as many backward passes as classes); `predicted`, the likeliest class (released code).
        num_samples: number of the task's samples, drawn without repeats; None for all.
        chunk_size: samples at a time: the memory is this many times the parameters.
        seed: seed of the draws.

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

        sizes = [size for size in (self.chunk_size, self.num_samples) if size is not None]
        if not all(is_integer(size) and size > 0 for size in sizes) or self.chunk_size is None:
            raise ConfigError(
                f"Fisher needs at least one sample, but got num_samples={self.num_samples} and "
                f"chunk_size={self.chunk_size}"
            )

    def diagonal(
        self,
        model: nn.Module,
        data: LabelledData,
        compute_logits: LogitsFunction = default_logits,
        generator: Generator | None = None,
    ) -> dict[str, Tensor]:
        """The information of every trained parameter, in eval mode.

        Args:
            model: the network; it runs under `torch.func.vmap`, one sample at a time.
            data: samples; their labels are not read.
            compute_logits: gives the logits.
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
            return functional_call(
                host, {f"network.{name}": value for name, value in values.items()}, (compute_logits, x)
            )

        def loss(values: dict[str, Tensor], x: Tensor, label: Tensor) -> Tensor:
            return F.cross_entropy(logits(values, x.unsqueeze(axis)), label.unsqueeze(0))

        gradients = vmap(grad(loss), in_dims=(None, axis, 0))
        chosen = torch.randperm(len(data), generator=draws)[: self.num_samples]

        with preserve_modes(model):
            model.eval()
            for indices in chosen.split(self.chunk_size):
                x = data.select(indices)[0].to(device)
                with torch.no_grad():
                    probabilities = logits(parameters, x).softmax(1)
                for label, weight in self._labels(probabilities, draws):
                    _add_squares(sums, gradients(parameters, x, label), weight)

        return {name: total / len(chosen) for name, total in sums.items()}

    def _labels(self, probabilities: Tensor, draws: Generator) -> list[tuple[Tensor, Tensor]]:
        """Labels `(B,)` with their weights `(B,)`, one pair a backward pass."""
        ones = torch.ones_like(probabilities[:, 0])
        if self.labels == "predicted":
            return [(probabilities.argmax(1), ones)]

        if self.labels == "drawn":
            label = torch.multinomial(probabilities.cpu().float(), 1, generator=draws)[:, 0]
            return [(label.to(probabilities.device), ones)]

        classes = torch.arange(probabilities.shape[1], device=probabilities.device)
        return [(label.expand(len(probabilities)), probabilities[:, label]) for label in classes]


def _add_squares(sums: dict[str, Tensor], gradients: dict[str, Any], weight: Tensor) -> None:
    for name, gradient in gradients.items():
        sums[name] += torch.einsum("b,b...->...", weight, gradient.square_())


class QuadraticPenalty(Consolidation):
    """A penalty `strength / 2 (A theta^2 - 2 b theta + c)` of every weight; subclasses give A and b in `square`."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        if not is_number(strength) or not 0 <= strength < float("inf"):
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
            f"the proximal step supports SGD, Adam and AdamW, but the optimizer is {type(optimizer).__name__}; "
            "take one of these"
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


_DEFAULT_FISHER = Fisher()


class EWC(QuadraticPenalty):
    """Elastic weight consolidation over any number of tasks in two buffers; closed weights get no information.

    Args:
        strength: lambda.
        fisher: the estimation of the information at the end of a task.

    Example:
        >>> ewc = EWC(strength=2.0)
        >>> ewc.accumulate("w", torch.tensor([3.0]), torch.tensor([1.0]))
        >>> ewc.accumulate("w", torch.tensor([1.0]), torch.tensor([2.0]))
        >>> ewc.penalty({"w": torch.tensor([0.0])}).item()  # 3 * 1^2 + 1 * 2^2
        7.0
    """

    buffer_names = ("information", "pull")

    def __init__(self, strength: float, fisher: Fisher = _DEFAULT_FISHER) -> None:
        super().__init__(strength)
        self.fisher = fisher
        self.scalars = {"num_tasks": 0, "rest": 0.0}

    def end_of_task(
        self,
        model: nn.Module,
        data: LabelledData,
        compute_logits: LogitsFunction = default_logits,
        masks: Masks | None = None,
    ) -> None:
        num_tasks = int(self.scalars["num_tasks"])
        draws = Generator().manual_seed(derive_seed(self.fisher.seed, num_tasks))
        information = self.fisher.diagonal(model, data, compute_logits, draws)
        self.scalars["num_tasks"] = num_tasks + 1

        with torch.no_grad():
            for name, parameter in trained_parameters(model).items():
                self.accumulate(name, information[name], parameter.detach(), masks)

    def accumulate(self, name: str, information: Tensor, parameter: Tensor, masks: Masks | None = None) -> None:
        """Adds the information of a task about one parameter, and its value at the end of the task."""
        information = masked_where(name, information, torch.zeros_like(information), masks)
        self._buffer("information", name, parameter).add_(information)
        self._buffer("pull", name, parameter).addcmul_(information, parameter)
        self.scalars["rest"] += float((information.double() * parameter.double().square()).sum())

    def _buffer(self, kind: str, name: str, like: Tensor) -> Tensor:
        return self.buffers[kind].setdefault(name, torch.zeros_like(like))

    def square(self, name: str) -> tuple[Tensor, Tensor] | None:
        if name not in self.buffers["information"]:
            return None
        return self.buffers["information"][name], self.buffers["pull"][name]

    def penalty(self, parameters: Parameters) -> Tensor:
        total = super().penalty(parameters).double() + self.scalars["rest"]
        for name, parameter in parameters.items():
            square = self.square(name)
            if square is not None:
                # three large numbers that nearly cancel: single precision would leave little of their sum
                theta = parameter.double()
                total = total + (square[0].double() * theta.square() - 2 * square[1].double() * theta).sum()

        return (self.strength / 2 * total).to(next(iter(parameters.values())).dtype)
