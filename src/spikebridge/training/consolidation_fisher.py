"""How much a network's answers depend on each weight: the diagonal of the Fisher information.

`F = mean over samples of the squared gradient of log p(y | x)` for one sample at a time. The square of a batch's mean
gradient is something else: it shrinks with the batch (6.7 times at 64 samples, measured) and makes the strength of a
penalty depend on the batch size.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.func import functional_call, grad, vmap

from spikebridge.errors import ConfigError
from spikebridge.training.consolidation import Answer, LabelledData, plain_answer, trained_parameters
from spikebridge.training.evaluation import kept_modes
from spikebridge.training.host import Host


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
        self, model: nn.Module, data: LabelledData, answer: Answer = plain_answer, generator: Generator | None = None
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
        host = Host(model)

        def logits(values: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(host, {f"network.{name}": value for name, value in values.items()}, (answer, x))

        def loss(values: dict[str, Tensor], x: Tensor, label: Tensor) -> Tensor:
            return F.cross_entropy(logits(values, x.unsqueeze(axis)), label.unsqueeze(0))

        gradients = vmap(grad(loss), in_dims=(None, axis, 0))
        chosen = torch.randperm(len(data), generator=draws)[: self.num_samples]
        with kept_modes(model):
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
