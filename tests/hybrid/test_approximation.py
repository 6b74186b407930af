"""H and F approximate a causal map of a window: the wider F is, the smaller the error (R. Zhao et al., 2022)."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from spikebridge.hybrid import FIR, HybridUnit, Tumbling

LENGTH = 6
CHANNELS = 12


def some_map(windows: Tensor) -> Tensor:
    """A map of a window `(K, L, B)` that is neither linear nor without memory: a phase, and a product of two times."""
    phase = (windows * torch.arange(LENGTH).reshape(1, -1, 1)).sum(1) / 4
    return phase.sin() + windows[:, 0] * windows[:, -1]


def unit_of(width: int) -> HybridUnit:
    """Random kernels in time, one a channel, and a network of one hidden layer as wide as asked for."""
    torch.manual_seed(width)
    kernel = FIR(LENGTH, shape=(CHANNELS,))
    hidden = nn.Linear(CHANNELS, width)

    for parameter, spread in ((kernel.weight, CHANNELS**-0.5), (hidden.weight, 0.3), (hidden.bias, 0.3)):
        nn.init.normal_(parameter, std=spread)

    nonlinearity = nn.Sequential(hidden, nn.Tanh(), nn.Linear(width, 1, bias=False))
    return HybridUnit(Tumbling(LENGTH), kernel, nonlinearity).double()


def signal(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1000 * LENGTH, 10, 1, generator=generator, dtype=torch.float64) * 2 - 1


@torch.no_grad()
def error(width: int) -> float:
    """The error of a unit on new signals, with the best last layer for others, as a share of the map's spread."""
    unit = unit_of(width)
    read_out = unit.nonlinearity[2]
    unit.nonlinearity[2] = nn.Identity()

    def run(seed: int) -> tuple[Tensor, Tensor]:
        x = signal(seed)
        y, _ = unit(x.expand(-1, -1, CHANNELS))
        return y, some_map(x.reshape(-1, LENGTH, 10)).unsqueeze(-1)

    features, target = run(seed=0)
    best = torch.linalg.lstsq(features.flatten(0, 1), target.flatten(0, 1)).solution
    read_out.weight.copy_(best.T)
    features, target = run(seed=1)

    return float((read_out(features) - target).std() / target.std())


def test_the_error_falls_with_the_width() -> None:
    errors = [error(width) for width in (8, 32, 128, 512)]
    assert all(wider < 0.9 * narrower for narrower, wider in pairwise(errors)), errors
    assert errors[-1] < 0.02


def test_the_map_needs_both_the_kernel_and_the_nonlinearity() -> None:
    # without a hidden layer the phase's sine and the product stay out of reach, however many kernels there are
    x = signal(0)
    windows = x.reshape(-1, LENGTH, 10)
    flat = windows.transpose(1, 2).reshape(-1, LENGTH)
    target = some_map(windows).reshape(-1, 1)
    linear = torch.linalg.lstsq(flat, target).solution

    assert (flat @ linear - target).std() / target.std() > 0.5
