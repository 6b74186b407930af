"""The two pathways of the sensing network: "what" reads a frame, "where" reads events and remembers.

Both give the same features, so that the change which "where" sees can be added to what "what" has seen. Each has a
straight path beside its layers; the first kernels of both are Gaussians, so that an untrained network already sees
smoothed log intensity, and smoothed ON minus OFF as its change.

Source: R. Zhao et al., Nature Communications 13:3427 (2022), Fig. 2 and eq. 7. Their released code has a decay of 0,
so its membranes remember nothing; here the time constant of each channel is learned.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.neurons import LIF, Sequential, Stateful
from spikebridge.neurons.sequential import SequentialState, split_paths
from spikebridge.neurons.stateless import over_time

STRIDE = 2
_DARK = 8.0  # grey levels added before the logarithm, as in an event camera


def log_intensity(frames: Float[Tensor, "*B 1 H W"]) -> Float[Tensor, "*B 1 H W"]:
    """Frames as an event camera sees them: the logarithm, its mean 0 and its variance 1 in each frame.

    Args:
        frames: grey levels 0 to 255.

    Returns:
        The same shape; zeros for a frame of one grey.

    Example:
        >>> log_intensity(torch.tensor([[[0.0, 248.0]]])).round(decimals=3).tolist()
        [[[-1.0, 1.0]]]
    """
    return F.layer_norm((frames + _DARK).log(), frames.shape[-2:], eps=1e-6)


class WhatPathway(nn.Module):
    """Features of a frame, at half its resolution: a convolution, and beside it two with a nonlinearity between.

    Args:
        num_features: channels of the features.

    Example:
        >>> WhatPathway(8)(torch.zeros(2, 1, 96, 96)).shape
        torch.Size([2, 8, 48, 48])
    """

    def __init__(self, num_features: int = 8) -> None:
        super().__init__()
        n = num_features
        self.straight = nn.Conv2d(1, n, 5, STRIDE, 2, bias=False)
        self.bent = nn.Sequential(
            nn.Conv2d(1, n, 5, STRIDE, 2, bias=False), nn.BatchNorm2d(n), nn.ReLU(), nn.Conv2d(n, n, 3, 1, 1)
        )
        _start_as_gaussians(self.straight)

    def forward(self, frames: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B C H2 W2"]:
        """Grey levels 0 to 255 to features."""
        light = log_intensity(frames)
        return self.straight(light) + self.bent(light)


class WherePathway(Stateful):
    """What each bin of events changes in the features: a convolution of the events, and beside it spiking neurons.

    Args:
        num_features: channels of the features.
        dt: length of a bin [s].
        tau: time constant at which the membranes of each channel start; it is learned [s].
        memory: False takes the leak to the end, a decay of 0 in every step: the network without memory, to compare.

    Example:
        >>> change, state = WherePathway(8, dt=1 / 240)(torch.zeros(6, 2, 2, 96, 96))
        >>> change.shape
        torch.Size([6, 2, 8, 48, 48])
    """

    def __init__(self, num_features: int = 8, *, dt: float, tau: float = 0.013, memory: bool = True) -> None:
        super().__init__()
        n = num_features
        self.straight = nn.Conv2d(2, n, 5, STRIDE, 2, bias=False)
        taus = torch.full((n, 1, 1), tau if memory else dt * 1e-3)
        self.spiking = Sequential(
            conv=nn.Conv2d(2, n, 5, STRIDE, 2, bias=False),
            norm=nn.BatchNorm2d(n),
            lif=LIF(taus, dt=dt, learn=("tau",) if memory else ()),
            out=nn.Conv2d(n, n, 3, 1, 1, bias=False),
        )
        _start_as_gaussians(self.straight)

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
        bent, state = self.spiking(x, state, **split_paths(modulation, ["spiking"]).get("spiking", {}))
        return over_time(self.straight, x) + bent, state


def _start_as_gaussians(conv: nn.Conv2d) -> None:
    """Smooth with standard deviations of one and two pixels in turn, ON (or light) up, OFF down."""
    rows = torch.arange(5.0) - 2
    away = rows.square()[:, None] + rows.square()[None, :]
    with torch.no_grad():
        for channel, kernel in enumerate(conv.weight):
            gaussian = (-away / (2 * (1.0 + channel % 2) ** 2)).exp()
            noise = 0.1 * torch.randn(kernel.shape)
            signs = torch.tensor([1.0, -1.0])[: len(kernel), None, None]
            kernel.copy_(gaussian / gaussian.sum() * signs + noise / 5)
