"""Pathways of the paper's size: residual networks of bottlenecks, at an eighth of the resolution, one with spikes.

Three stages of one bottleneck each, as in the demonstration that R. Zhao et al. (2022) released, whose ANN has 1.90
million weights; here it has 1.96 million at a width of 64. The SNN is the same network with leaky integrate-and-fire
neurons for ReLU.

Source: K. He, X. Zhang, S. Ren, J. Sun, CVPR 2016 (bottlenecks); the last stage keeps its resolution.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.networks.sensing_pathways import log_intensity
from spikebridge.neurons import LIF, Sequential, Stateful
from spikebridge.neurons.sequential import split_paths
from spikebridge.neurons.state import State
from spikebridge.neurons.stateless import over_time

RESNET_STRIDE = 8
"""Pixels from one cell of the features to the next."""


def resnet_features(width: int) -> int:
    """Channels of what comes out.

    Example:
        >>> resnet_features(64)
        1024
    """
    return 16 * width


class Bottleneck(nn.Module):
    """Three convolutions, the middle one narrow, added to a shortcut.

    Args:
        num_in: channels that come in.
        width: channels of the middle; four times as many come out.
        stride: of the middle convolution.

    Example:
        >>> Bottleneck(8, 4, stride=2)(torch.zeros(1, 8, 12, 12)).shape
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
            Bottleneck(width, width), Bottleneck(4 * width, 2 * width, 2), Bottleneck(8 * width, 4 * width)
        )

    def forward(self, frames: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B C H2 W2"]:
        """Grey levels 0 to 255 to features."""
        return self.stages(self.stem(log_intensity(frames)))


class SpikingBottleneckState(NamedTuple):
    """Membranes of the inner layers, and of the layer that fires behind the sum."""

    body: State
    fire: State


class SpikingBottleneck(Stateful):
    """A bottleneck whose layers fire: spikes come in, spikes go out.

    Args:
        num_in: channels that come in.
        width: channels of the middle; four times as many come out.
        dt: length of a bin [s].
        stride: of the middle convolution.
        fires: whether the sum fires; else it is given out as it is, for what reads membranes.

    Example:
        >>> spikes, state = SpikingBottleneck(8, 4, dt=0.005)(torch.ones(2, 1, 8, 6, 6))
        >>> spikes.shape
        torch.Size([2, 1, 16, 6, 6])
    """

    def __init__(self, num_in: int, width: int, *, dt: float, stride: int = 1, fires: bool = True) -> None:
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

    def initial_state(self, x_t: Tensor) -> SpikingBottleneckState:
        fire = None if self.fire is None else self.fire.initial_state(self.shortcut(x_t))
        return SpikingBottleneckState(self.body.initial_state(x_t), fire)

    def step(
        self, x_t: Tensor, state: SpikingBottleneckState, **modulation: Any
    ) -> tuple[Tensor, SpikingBottleneckState]:
        y, state = self(x_t.unsqueeze(0), state, **modulation)
        return y[0], state

    def forward(
        self, x: Float[Tensor, "T B C H W"], state: SpikingBottleneckState | None = None, **modulation: Any
    ) -> tuple[Float[Tensor, "T B D H2 W2"], SpikingBottleneckState]:
        by_layer = split_paths(modulation, ["body"] if self.fire is None else ["body", "fire"])
        y, body = self.body(x, None if state is None else state.body, **by_layer.get("body", {}))
        y = y + over_time(self.shortcut, x)
        if self.fire is None:
            return y, SpikingBottleneckState(body, None)
        spikes, fire = self.fire(y, None if state is None else state.fire, **by_layer.get("fire", {}))
        return spikes, SpikingBottleneckState(body, fire)


def resnet_where(width: int = 64, *, dt: float) -> Sequential:
    """What events change in the features, at an eighth of the resolution: the spiking twin of `ResNetWhat`.

    Args:
        width: of the first stage; `resnet_features(width)` channels come out.
        dt: length of a bin [s].

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


def _lif(num_features: int, dt: float) -> LIF:
    return LIF(torch.full((num_features, 1, 1), 0.013), dt=dt, learn=("tau",))
