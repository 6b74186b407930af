"""The probe of edges: `--perturb-weights DRAW` multiplies every weight by 1 + 1e-6 or 1 - 1e-6.

A sum that another processor adds in another order differs by about as much. An assertion that changes stands on an
edge: a threshold, a tie, or a difference that is smaller than the rounding of another machine.

Shipped weights are changed where they are read, those drawn at random where `torch.nn.init` draws them. Numbers that a
test writes itself stay. The signs come from the values and the draw, so that equal weights stay equal to the bit.
"""

import functools
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SIZE = 1e-6
# functions of `torch.nn.init` that layers call when they are built
RANDOM = (
    *("uniform_", "normal_", "trunc_normal_", "orthogonal_"),
    *("kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_"),
)


def perturb(tensor: Tensor, draw: int) -> Tensor:
    """A tensor whose numbers are changed; one of integers stays as it is."""
    if not tensor.is_floating_point() or tensor.is_meta:
        return tensor

    values = tensor.detach().cpu().contiguous().to(torch.float64)
    generator = torch.Generator().manual_seed(zlib.crc32(values.numpy().tobytes(), draw))
    signs = 2 * torch.randint(2, values.shape, generator=generator) - 1
    return (values * (1 + SIZE * signs)).to(tensor)


def install(draw: int) -> None:
    """Perturbs shipped weights and those that layers draw, from now on."""
    from spikebridge.training.run import weights

    weights.load_file = _perturbed_file(weights.load_file, Path(weights.__file__).parents[2] / "pretrained", draw)
    for name in RANDOM:
        setattr(nn.init, name, _perturbed_draw(getattr(nn.init, name), draw))


def _perturbed_file(load: Callable[..., dict[str, Tensor]], shipped: Path, draw: int) -> Callable[..., Any]:
    @functools.wraps(load)
    def loaded(path: Any, *arguments: Any, **options: Any) -> dict[str, Tensor]:
        values = load(path, *arguments, **options)

        # weights that a test has saved are those of a network that was perturbed when it was built
        if not Path(path).resolve().is_relative_to(shipped):
            return values

        return {name: perturb(value, draw) for name, value in values.items()}

    return loaded


def _perturbed_draw(initialise: Callable[..., Tensor], draw: int) -> Callable[..., Tensor]:
    @functools.wraps(initialise)
    def drawn(tensor: Tensor, *arguments: Any, **options: Any) -> Tensor:
        initialise(tensor, *arguments, **options)
        with torch.no_grad():
            return tensor.copy_(perturb(tensor, draw))

    return drawn
