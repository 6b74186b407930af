"""Gates from inputs: two hybrid units in a row, from the samples of a task to open neurons of each hidden layer.

The window of the first is one recording, its kernel the mean over time, its nonlinearity an ANN, the backbone. The time
axis of the second is the samples of a task, its kernel their mean, its discretizer opens the strongest neurons. Neurons
are ranked by preactivations, the values before the sigmoid, since saturated sigmoids tie.

Source: R. Zhao et al., Nature Communications 13:3427 (2022), eqs. 14-17, and its released code.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid import Discretizer, HybridUnit, Mean, Tumbling


class Backbone(nn.Module):
    """The first hybrid unit: mean over a recording, ReLU layers, one linear head for each hidden layer of the branch.

    Args:
        num_inputs: d.
        num_gated: neurons of each hidden layer of the branch.
        num_steps: steps T of a recording; 1 for images.
        hidden: sizes of the ReLU layers; none is the released code.
        scale: slope of the sigmoid.

    Raises:
        ConfigError: a size below 1.

    Example:
        >>> backbone = Backbone(4, (6, 6))
        >>> [preactivation.shape for preactivation in backbone(torch.rand(1, 3, 4))]
        [torch.Size([3, 6]), torch.Size([3, 6])]
    """

    def __init__(
        self,
        num_inputs: int,
        num_gated: Sequence[int],
        num_steps: int = 1,
        hidden: Sequence[int] = (),
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if min(num_inputs, num_steps, *num_gated, *hidden) < 1 or not scale > 0:
            raise ConfigError("a backbone needs sizes of 1 or more and scale > 0")

        self.num_inputs = num_inputs
        self.scale = scale
        self.num_gated = tuple(num_gated)
        self.num_steps = num_steps
        self.over_time = HybridUnit(Tumbling(num_steps), Mean())

        sizes = [num_inputs, *hidden]
        layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.body = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Linear(sizes[-1], number) for number in num_gated)

        # the mean input: without it the preactivations of all tasks point the same way
        self.register_buffer("centre", torch.zeros(()))

    def initialise(self, generator: torch.Generator) -> "Backbone":
        """Draws weights from a normal distribution of variance 1 / fan-in, and no bias: a random projection."""
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.Linear):
                    draw = torch.randn(module.weight.shape, generator=generator)
                    module.weight.copy_(draw / math.sqrt(module.in_features))
                    module.bias.zero_()

        return self

    def fit_mean(self, x: Float[Tensor, "T B N"]) -> "Backbone":
        """Sets the centre to the mean of training inputs."""
        self.centre = x.mean()
        return self

    def forward(self, x: Float[Tensor, "T B N"]) -> list[Float[Tensor, "B _"]]:
        """The preactivations `(B, C)` of each hidden layer, from recordings."""
        if x.ndim != 3 or x.shape[-1] != self.num_inputs:
            raise ShapeError(f"the backbone needs (T, B, {self.num_inputs}), but got {tuple(x.shape)}")

        mean, _ = self.over_time(x)
        if len(mean) != 1:
            raise ShapeError(f"the backbone needs recordings of {self.num_steps} steps, but got {len(x)}")

        return self.preactivations(mean[0])

    def preactivations(self, mean: Float[Tensor, "*B N"]) -> list[Float[Tensor, "*B _"]]:
        """The preactivations of each hidden layer, from means over time."""
        features = self.body(mean - self.centre)
        return [head(features) for head in self.heads]

    def signals(self, preactivations: Sequence[Float[Tensor, "*B _"]]) -> list[Float[Tensor, "*B _"]]:
        """V from 0 to 1: the sigmoid of the preactivations times `scale`."""
        return [torch.sigmoid(self.scale * preactivation) for preactivation in preactivations]


def sample_mean_unit(num_samples: int, discretizer: Discretizer | None = None) -> HybridUnit:
    """The second unit, `(S, tasks, C)` to `(1, tasks, C)`: its time axis is the samples of a task."""
    return HybridUnit(Tumbling(num_samples), Mean(), None, discretizer)


class Gating(nn.Module):
    """Both units: inputs to preactivations, preactivations of samples to gates.

    Args:
        backbone: the first unit.
        discretizers: discretizer of the second unit, for each layer.

    Raises:
        ConfigError: another number of discretizers than layers.

    Example:
        >>> from spikebridge.hybrid import KWinners
        >>> gating = Gating(Backbone(4, (6, 6)), [KWinners(0.5), KWinners(0.5)])
        >>> [gate.sum(1).tolist() for gate in gating.gates(gating.preactivations(torch.rand(1, 8, 4)), num_samples=4)]
        [[3, 3], [3, 3]]
    """

    def __init__(self, backbone: Backbone, discretizers: Sequence[Discretizer]) -> None:
        super().__init__()
        if len(discretizers) != len(backbone.num_gated):
            raise ConfigError(
                f"gating needs a discretizer for each of {len(backbone.num_gated)} layers, but got {len(discretizers)}"
            )

        self.backbone = backbone
        self.discretizers = nn.ModuleList(discretizers)

    def preactivations(self, x: Float[Tensor, "T B N"]) -> list[Float[Tensor, "B _"]]:
        """The preactivation of each hidden neuron, for each input."""
        preactivations: list[Tensor] = self.backbone(x)
        return preactivations

    def gates(
        self, preactivations: Sequence[Float[Tensor, "S _"]], num_samples: int | None = None
    ) -> list[Bool[Tensor, "Q _"]]:
        """Open neurons of each layer, one row for each `num_samples` samples of one task; None is all samples."""
        gates = []
        for preactivation, discretizer in zip(preactivations, self.discretizers, strict=True):
            unit = sample_mean_unit(num_samples or len(preactivation), discretizer)  # type: ignore[arg-type]
            gates.append(unit(preactivation.detach().unsqueeze(1))[0][:, 0] > 0)

        return gates
