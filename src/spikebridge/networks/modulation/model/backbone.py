"""The backbone and its hybrid units: samples of a task in, a gate for each hidden layer of the branch out.

Two hybrid units `Q . F . H . W` in a row. The window of the first is one recording, its kernel the mean over time, its
nonlinearity an ANN with one linear head for each hidden layer of the branch. The time axis of the second is the samples
of a task, its kernel their mean, its discretizer opens neurons. Neurons are ranked by preactivations, the values before
the sigmoid, since saturated sigmoids tie.

Source: R. Zhao et al., Nature Communications 13:3427 (2022), eqs. 14-17, and its released code; bins: CH-HNN (Q. Shi et
al., Nature Communications, 2025).
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
    """One preactivation for each hidden neuron of the branch: time-mean, body, heads.

    Args:
        num_inputs: d.
        num_gated: neurons of each hidden layer of the branch.
        num_steps: steps T of a recording; 1 for images.
        hidden: sizes of the body's ReLU layers; none is the released code.
        num_bins: values of a neuron; 1, or the bins of `BinUnit`.
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
        num_bins: int = 1,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if min(num_inputs, num_steps, num_bins, *num_gated, *hidden) < 1 or not scale > 0:
            raise ConfigError("a backbone needs sizes of 1 or more and scale > 0")

        self.num_inputs = num_inputs
        self.num_bins = num_bins
        self.scale = scale
        self.num_gated = tuple(num_gated)
        self.num_steps = num_steps
        self.over_time = HybridUnit(Tumbling(num_steps), Mean())
        sizes = [num_inputs, *hidden]
        layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.body = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Linear(sizes[-1], number * num_bins) for number in num_gated)

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
        """The preactivations of each hidden layer.

        Args:
            x: recordings.

        Returns:
            `(B, C)` for each layer, `(B, C * num_bins)` with bins.
        """
        if x.ndim != 3 or x.shape[-1] != self.num_inputs:
            raise ShapeError(f"the backbone needs (T, B, {self.num_inputs}), but got {tuple(x.shape)}")

        mean, _ = self.over_time(x)
        if len(mean) != 1:
            raise ShapeError(f"the backbone needs recordings of {self.num_steps} steps, but got {len(x)}")

        return self.preactivations(mean[0])

    def preactivations(self, mean: Float[Tensor, "*B N"]) -> list[Float[Tensor, "*B _"]]:
        """The same from time-means."""
        features = self.body(mean - self.centre)
        return [head(features) for head in self.heads]

    def signals(self, preactivations: Sequence[Float[Tensor, "*B _"]]) -> list[Float[Tensor, "*B _"]]:
        """V from 0 to 1: the sigmoid of the preactivations times `scale`."""
        return [torch.sigmoid(self.scale * preactivation) for preactivation in preactivations]


def sample_mean_unit(num_samples: int, discretizer: Discretizer | None = None) -> HybridUnit:
    """The second unit: its time axis is the samples of a task, its batch axis the tasks.

    Args:
        num_samples: samples of a window.
        discretizer: opens neurons: `Threshold(0.5)` on signals, `KWinners` or `DensityController` on preactivations.

    Returns:
        A unit from `(S, tasks, C)` to `(1, tasks, C)`.

    Example:
        >>> from spikebridge.networks.modulation.model.gating import KWinners
        >>> unit = sample_mean_unit(2, KWinners(0.5))
        >>> unit(torch.tensor([[[0.0, 1.0]], [[3.0, 1.0]]]))[0].flatten().tolist()
        [1.0, 0.0]
    """
    return HybridUnit(Tumbling(num_samples), Mean(), None, discretizer)


class Gating(nn.Module):
    """Backbone and units together: inputs to preactivations, preactivations of samples to gates.

    Args:
        backbone: gives preactivations.
        discretizers: one for each layer; opens neurons.
        bins: combines the bins of a neuron, where the backbone has bins.

    Example:
        >>> from spikebridge.networks.modulation.model.gating import KWinners
        >>> gating = Gating(Backbone(4, (6, 6)), [KWinners(0.5), KWinners(0.5)])
        >>> [gate.sum(1).tolist() for gate in gating.gates(gating.preactivations(torch.rand(1, 8, 4)), num_samples=4)]
        [[3, 3], [3, 3]]
    """

    def __init__(self, backbone: Backbone, discretizers: Sequence[Discretizer], bins: "BinUnit | None" = None) -> None:
        super().__init__()
        if len(discretizers) != len(backbone.num_gated) or (bins is None) != (backbone.num_bins == 1):
            raise ConfigError("gating needs a discretizer for each layer, and a bin unit where the backbone has bins")

        self.backbone = backbone
        self.bins = bins
        self.discretizers = nn.ModuleList(discretizers)

    def preactivations(self, x: Float[Tensor, "T B N"]) -> list[Float[Tensor, "B _"]]:
        """The preactivation of each hidden neuron, for each input."""
        preactivations = self.backbone(x)
        return (
            preactivations
            if self.bins is None
            else [self.bins.score(preactivation) for preactivation in preactivations]
        )

    def gates(
        self, preactivations: Sequence[Float[Tensor, "S _"]], num_samples: int | None = None
    ) -> list[Bool[Tensor, "Q _"]]:
        """Open neurons of each layer, one row for each `num_samples` samples of one task, in their order.

        Args:
            preactivations: of samples, from `preactivations`.
            num_samples: of a window; None is all samples.
        """
        gates = []
        for preactivation, discretizer in zip(preactivations, self.discretizers, strict=True):
            unit = sample_mean_unit(num_samples or len(preactivation), discretizer)  # type: ignore[arg-type]
            gates.append(unit(preactivation.detach().unsqueeze(1))[0][:, 0] > 0)

        return gates


class BinUnit(nn.Module):
    """Opens a neuron where its strongest bin is none of the closing bins (CH-HNN).

    Args:
        num_bins: bins n of a neuron.
        num_closed: closing bins; the more, the fewer neurons are open.
        scale: of the softmax over bins.

    Raises:
        ConfigError: no opening bin, or no closing bin.

    Example:
        >>> unit = BinUnit(num_bins=2, num_closed=1)
        >>> unit.score(torch.tensor([[0.25, 0.75, 1.0, 0.0]])).tolist()  # two neurons of two bins
        [[0.5, -1.0]]
    """

    def __init__(self, num_bins: int = 10, num_closed: int = 5, scale: float = 50.0) -> None:
        super().__init__()
        if not 0 < num_closed < num_bins or not scale > 0:
            raise ConfigError(f"BinUnit needs 0 < num_closed < num_bins, but got {num_closed} and {num_bins}")

        self.num_bins = num_bins
        self.num_closed = num_closed
        self.scale = scale

    def bins(self, preactivation: Float[Tensor, "B M"]) -> Float[Tensor, "B C n"]:
        """The softmax over bins of each neuron."""
        return torch.softmax(self.scale * preactivation.unflatten(-1, (-1, self.num_bins)), -1)

    def score(self, preactivation: Float[Tensor, "B M"]) -> Float[Tensor, "B C"]:
        """The strongest opening bin minus the strongest closing bin; above 0 the neuron is open."""
        grouped = preactivation.unflatten(-1, (-1, self.num_bins))
        closed = grouped[..., : self.num_closed]
        opened = grouped[..., self.num_closed :]
        return opened.amax(-1) - closed.amax(-1)

    def forward(self, preactivation: Float[Tensor, "B M"]) -> Bool[Tensor, "B C"]:
        """Which neurons are open."""
        return self.score(preactivation) > 0
