"""XdG: each task opens a random part of every layer (N. Masse, G. Grant, D. Freedman, PNAS 115:E10467, 2018)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Generator, Tensor

from spikebridge.errors import ConfigError
from spikebridge.training.rng import derive_seed


@dataclass(frozen=True)
class RandomGates:
    """Random gates, one set a task; each layer opens exactly `round(share * C)` neurons."""

    # a gate is a function of seed, task and layer: tasks may come in any order, and nothing is stored

    sizes: tuple[int, ...]  # neurons C of each layer
    share: float = 0.2  # open, above 0 to 1; .20 was published
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or any(round(self.share * size) < 1 for size in self.sizes):
            raise ConfigError(f"a share of {self.share} opens no neuron, or too many, of layers of {self.sizes}")

    def __call__(self, task: int) -> tuple[Bool[Tensor, " C"], ...]:
        """The gates of a task, one a layer; true is open."""
        return tuple(self._gate(task, layer, size) for layer, size in enumerate(self.sizes))

    def _gate(self, task: int, layer: int, size: int) -> Tensor:
        # the number of a layer is in its seed, so that layers of one size differ
        draws = Generator().manual_seed(derive_seed(self.seed, task, layer))
        gate = torch.zeros(size, dtype=torch.bool)
        gate[torch.randperm(size, generator=draws)[: round(self.share * size)]] = True
        return gate
