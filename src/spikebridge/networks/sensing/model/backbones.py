"""The two pathways of the sensing network: the ANN "what" for frames, the SNN "where" for events.

Both have the same features, so that the change from the SNN can be added to the features of the ANN.

| size | ANN | SNN | stride |
|---|---|---|---|
| small | a linear convolution, and in parallel two with ReLU between | the same with LIF neurons | 2 |
| resnet | three bottlenecks, 1.96 million weights at a width of 64 | the same with LIF neurons | 8 |

The first kernels of the small pathways are Gaussians: an untrained network sees smoothed log intensity, and smoothed ON
minus OFF as its change. The resnet has the size of the demonstration that the authors released (1.90 million weights).

Sources: R. Zhao et al., Nature Communications 13:3427 (2022), Fig. 2 and eq. 7 (the released code has a decay of 0;
here the time constant of each channel is learned); K. He, X. Zhang, S. Ren, J. Sun, CVPR 2016 (bottlenecks).
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.neurons import LIF, Sequential, Stateful
from spikebridge.neurons.sequential import SequentialState, split_paths
from spikebridge.neurons.state import State
from spikebridge.neurons.stateless import over_time

STRIDE = 2
DARK = 8.0
"""Added to grey levels before the logarithm, as in an event camera."""
FAINT = 1e-6
"""Added to the variance of a frame's logarithm."""


def log_intensity(frames: Float[Tensor, "*B 1 H W"]) -> Float[Tensor, "*B 1 H W"]:
    """Logarithm of the intensity, as in an event camera, with mean 0 and variance 1 in each frame.

    Args:
        frames: grey levels 0 to 255.

    Returns:
        The same shape; zeros for a frame of one grey.

    Example:
        >>> log_intensity(torch.tensor([[[0.0, 248.0]]])).round(decimals=3).tolist()
        [[[-1.0, 1.0]]]
    """
    return F.layer_norm((frames + DARK).log(), frames.shape[-2:], eps=FAINT)


class WhatPathway(nn.Module):
    """The ANN: features of a frame at half its resolution, of a linear and of a nonlinear branch.

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


_NO_MEMORY = 1e-7  # a time constant with which nothing is left after any bin [s]


class WherePathway(Stateful):
    """The SNN: the change of features by each bin of events, of a linear and of a spiking branch.

    Args:
        num_features: channels of the features.
        dt: length of a bin [s]; None where a network binds it.
        tau: initial time constant of each channel's membranes; it is learned [s].
        memory: False is a decay of 0 in every step, for comparison.

    Example:
        >>> change, state = WherePathway(8, dt=1 / 240)(torch.zeros(6, 2, 2, 96, 96))
        >>> change.shape
        torch.Size([6, 2, 8, 48, 48])
    """

    def __init__(
        self, num_features: int = 8, *, dt: float | None = None, tau: float = 0.013, memory: bool = True
    ) -> None:
        super().__init__()
        n = num_features
        self.straight = nn.Conv2d(2, n, 5, STRIDE, 2, bias=False)
        taus = torch.full((n, 1, 1), tau if memory else _NO_MEMORY)

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
    """Gaussians with standard deviations of one and two pixels in turn, positive for ON, negative for OFF."""
    rows = torch.arange(5.0) - 2
    away = rows.square()[:, None] + rows.square()[None, :]

    with torch.no_grad():
        for channel, kernel in enumerate(conv.weight):
            gaussian = (-away / (2 * (1.0 + channel % 2) ** 2)).exp()
            noise = 0.1 * torch.randn(kernel.shape)
            signs = torch.tensor([1.0, -1.0])[: len(kernel), None, None]
            kernel.copy_(gaussian / gaussian.sum() * signs + noise / 5)


RESNET_STRIDE = 8
"""Pixels from one cell of the features to the next."""


def resnet_features(width: int) -> int:
    """Number of output channels.

    Example:
        >>> resnet_features(64)
        1024
    """
    return 16 * width


class _Bottleneck(nn.Module):
    """Three convolutions, the middle one narrow, added to a shortcut.

    Args:
        num_in: channels that come in.
        width: channels of the middle; four times as many come out.
        stride: of the middle convolution.

    Example:
        >>> _Bottleneck(8, 4, stride=2)(torch.zeros(1, 8, 12, 12)).shape
        torch.Size([1, 16, 6, 6])
    """

    def __init__(self, num_in: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_conv(num_in, width, 1),
            nn.ReLU(),
            *_conv(width, width, 3, stride),
            nn.ReLU(),
            *_conv(width, 4 * width, 1),
        )

        self.shortcut = nn.Sequential(*_conv(num_in, 4 * width, 1, stride))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H2 W2"]:
        """Features to features."""
        return torch.relu(self.body(x) + self.shortcut(x))


class ResNetWhat(nn.Module):
    """Features of a frame, at an eighth of its resolution.

    Args:
        width: of the first stage; `resnet_features(width)` channels come out.

    Example:
        >>> ResNetWhat(4)(torch.zeros(1, 1, 48, 48)).shape
        torch.Size([1, 64, 6, 6])
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv(1, width, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.stages = nn.Sequential(
            _Bottleneck(width, width), _Bottleneck(4 * width, 2 * width, 2), _Bottleneck(8 * width, 4 * width)
        )

    def forward(self, frames: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B C H2 W2"]:
        """Grey levels 0 to 255 to features."""
        return self.stages(self.stem(log_intensity(frames)))


class _SpikingBottleneckState(NamedTuple):
    """Membranes of the inner layers, and of the spiking layer behind the sum."""

    body: State
    fire: State


class SpikingBottleneck(Stateful):
    """A bottleneck of spiking layers.

    Args:
        num_in: channels that come in.
        width: channels of the middle; four times as many come out.
        dt: length of a bin [s]; None where a network binds it.
        stride: of the middle convolution.
        fires: whether the sum spikes; else it is the output itself.

    Example:
        >>> spikes, state = SpikingBottleneck(8, 4, dt=0.005)(torch.ones(2, 1, 8, 6, 6))
        >>> spikes.shape
        torch.Size([2, 1, 16, 6, 6])
    """

    def __init__(
        self, num_in: int, width: int, *, dt: float | None = None, stride: int = 1, fires: bool = True
    ) -> None:
        super().__init__()
        self.body = Sequential(
            *_conv(num_in, width, 1),
            _lif(width, dt),
            *_conv(width, width, 3, stride),
            _lif(width, dt),
            *_conv(width, 4 * width, 1),
        )

        self.shortcut = nn.Sequential(*_conv(num_in, 4 * width, 1, stride))
        self.fire = _lif(4 * width, dt) if fires else None

    def modulable_paths(self) -> list[str]:
        layers = {"body": self.body} if self.fire is None else {"body": self.body, "fire": self.fire}
        return [f"{name}.{path}" for name, layer in layers.items() for path in layer.modulable_paths()]

    def initial_state(self, x_t: Tensor) -> _SpikingBottleneckState:
        fire = None if self.fire is None else self.fire.initial_state(self.shortcut(x_t))
        return _SpikingBottleneckState(self.body.initial_state(x_t), fire)

    def step(
        self, x_t: Tensor, state: _SpikingBottleneckState, **modulation: Any
    ) -> tuple[Tensor, _SpikingBottleneckState]:
        y, state = self(x_t.unsqueeze(0), state, **modulation)
        return y[0], state

    def forward(
        self, x: Float[Tensor, "T B C H W"], state: _SpikingBottleneckState | None = None, **modulation: Any
    ) -> tuple[Float[Tensor, "T B D H2 W2"], _SpikingBottleneckState]:
        by_layer = split_paths(modulation, ["body"] if self.fire is None else ["body", "fire"])
        y, body = self.body(x, None if state is None else state.body, **by_layer.get("body", {}))
        y = y + over_time(self.shortcut, x)
        if self.fire is None:
            return y, _SpikingBottleneckState(body, None)

        spikes, fire = self.fire(y, None if state is None else state.fire, **by_layer.get("fire", {}))
        return spikes, _SpikingBottleneckState(body, fire)


def resnet_where(width: int = 64, *, dt: float | None = None) -> Sequential:
    """The SNN at an eighth of the resolution: the spiking twin of `ResNetWhat`.

    Args:
        width: of the first stage; `resnet_features(width)` channels come out.
        dt: length of a bin [s]; None where a network binds it.

    Example:
        >>> change, state = resnet_where(4, dt=1 / 240)(torch.zeros(3, 1, 2, 48, 48))
        >>> change.shape
        torch.Size([3, 1, 64, 6, 6])
    """
    return Sequential(
        *_conv(2, width, 7, 2),
        _lif(width, dt),
        nn.MaxPool2d(3, 2, 1),
        SpikingBottleneck(width, width, dt=dt),
        SpikingBottleneck(4 * width, 2 * width, dt=dt, stride=2),
        SpikingBottleneck(8 * width, 4 * width, dt=dt, fires=False),
    )


def _conv(num_in: int, num_out: int, size: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(num_in, num_out, size, stride, size // 2, bias=False), nn.BatchNorm2d(num_out)]


def _lif(num_features: int, dt: float | None) -> LIF:
    return LIF(torch.full((num_features, 1, 1), 0.013), dt=dt, learn=("tau",))
