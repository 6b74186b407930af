"""The two pathways of the sensing network: the ANN "what" for frames, the SNN "where" for events.

Both have the same features, so that the change from the SNN can be added to the features of the ANN.

| pathway | layers |
|---|---|
| ANN | a linear convolution of stride 2, and in parallel two convolutions with ReLU between them |
| SNN | the same with LIF neurons in place of ReLU |

The first kernels are Gaussians: an untrained network sees smoothed log intensity, and smoothed ON minus OFF as its
change.

Source: R. Zhao et al., Nature Communications 13:3427 (2022), Fig. 2 and eq. 7. The released code has a decay of 0; here
the time constant of each channel is learned.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.neurons import LIF, Sequential, Stateful
from spikebridge.neurons.sequential import SequentialState, split_paths
from spikebridge.neurons.stateless import over_time

# side of a cell of the features [px]
STRIDE = 2
# added to grey levels before the logarithm, as in an event camera
LOG_OFFSET = 8.0
# added to the variance of a frame's logarithm, so that a frame of one grey gives zeros
VARIANCE_FLOOR = 1e-6
# time constant of the membranes before training [s]
_INITIAL_TAU = 0.013


def log_intensity(frames: Float[Tensor, "*B 1 H W"]) -> Float[Tensor, "*B 1 H W"]:
    """Logarithm of grey levels 0 to 255, with mean 0 and variance 1 in each frame."""
    return F.layer_norm((frames + LOG_OFFSET).log(), frames.shape[-2:], eps=VARIANCE_FLOOR)


class WhatPathway(nn.Module):
    """The ANN: features of a frame at half its resolution, of a linear and of a nonlinear branch."""

    def __init__(self, num_features: int = 8) -> None:
        super().__init__()
        n = num_features

        # "straight" is the linear branch, "bent" the other one: the names are keys of saved weights
        self.straight = nn.Conv2d(1, n, 5, STRIDE, 2, bias=False)
        self.bent = nn.Sequential(
            nn.Conv2d(1, n, 5, STRIDE, 2, bias=False), nn.BatchNorm2d(n), nn.ReLU(), nn.Conv2d(n, n, 3, 1, 1)
        )
        _initialize_gaussians(self.straight)

    def forward(self, frames: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B C H2 W2"]:
        """Features of grey levels 0 to 255."""
        light = log_intensity(frames)
        return self.straight(light) + self.bent(light)


class WherePathway(Stateful):
    """The SNN: the change of features by each bin of events, of a linear and of a spiking branch.

    A bin lasts `dt` seconds; None where a network binds it.
    """

    def __init__(self, num_features: int = 8, *, dt: float | None = None) -> None:
        super().__init__()
        n = num_features
        self.straight = nn.Conv2d(2, n, 5, STRIDE, 2, bias=False)

        self.spiking = Sequential(
            conv=nn.Conv2d(2, n, 5, STRIDE, 2, bias=False),
            norm=nn.BatchNorm2d(n),
            lif=LIF(torch.full((n, 1, 1), _INITIAL_TAU), dt=dt, learn=("tau",)),
            out=nn.Conv2d(n, n, 3, 1, 1, bias=False),
        )

        _initialize_gaussians(self.straight)

    def modulable_paths(self) -> list[str]:
        return [f"spiking.{path}" for path in self.spiking.modulable_paths()]

    def initial_state(self, x_t: Tensor) -> SequentialState:
        return self.spiking.initial_state(x_t)

    def step(self, x_t: Tensor, state: SequentialState, **modulation: Any) -> tuple[Tensor, SequentialState]:
        y, state = self(x_t.unsqueeze(0), state, **modulation)
        return y[0], state

    def forward(
        self, x: Float[Tensor, "T B 2 H W"], state: SequentialState | None = None, **modulation: Any
    ) -> tuple[Float[Tensor, "T B C H2 W2"], SequentialState]:
        modulation = split_paths(modulation, ["spiking"]).get("spiking", {})
        change, state = self.spiking(x, state, **modulation)

        return over_time(self.straight, x) + change, state


def _initialize_gaussians(conv: nn.Conv2d) -> None:
    """Gaussians with standard deviations of one and two pixels in turn, positive for ON, negative for OFF."""
    steps = torch.arange(5.0) - 2
    distance = steps.square()[:, None] + steps.square()[None, :]
    signs = torch.tensor([1.0, -1.0])[: conv.in_channels, None, None]

    with torch.no_grad():
        for channel, kernel in enumerate(conv.weight):
            gaussian = (-distance / (2 * (1.0 + channel % 2) ** 2)).exp()
            # noise, so that no two channels learn the same
            noise = 0.1 * torch.randn(kernel.shape)
            kernel.copy_(gaussian / gaussian.sum() * signs + noise / 5)
