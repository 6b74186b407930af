"""Random changes of trials in training: faster, turned, louder, noisy, a picture moved. No label changes."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

_MAX_SPEED = math.log(1.25)
_TURN = math.radians(20)
_LOUDNESS = 0.1
_NOISE = 0.15  # highest standard deviation, in the units of the sensor
_MOVE = 0.12  # of a picture, in its half widths
_ZOOM = 0.1


def random_speed(number: int, generator: torch.Generator) -> Float[Tensor, " B"]:
    """A speed for each trial."""
    return torch.exp((2 * torch.rand(number, generator=generator) - 1) * _MAX_SPEED)


def vary_motion(x: Float[Tensor, "T B C"], generator: torch.Generator) -> Float[Tensor, "T B C"]:
    """Trials of a motion sensor at another strength and angle, half of them with noise."""
    number = x.shape[1]
    if x.shape[2] % 3 == 0:
        turn = _rotations(number, generator)
        x = torch.einsum("tbvj,bij->tbvi", x.unflatten(2, (-1, 3)), turn).flatten(2)

    strength = torch.exp(_LOUDNESS * torch.randn(number, 1, generator=generator))
    level = _NOISE * torch.rand(number, 1, generator=generator) * (torch.rand(number, 1, generator=generator) < 0.5)

    return x * strength + level * torch.randn(x.shape, generator=generator)


def stretch(
    x: Float[Tensor, "T B C"], length: Int64[Tensor, " B"], speed: Float[Tensor, " B"]
) -> tuple[Float[Tensor, "T B C"], Int64[Tensor, " B"]]:
    """Trials that take `1 / speed` of their time, linearly interpolated; the last value follows their end.

    Example:
        >>> x = torch.tensor([0.0, 2.0, 4.0, 4.0]).reshape(4, 1, 1)
        >>> y, length = stretch(x, torch.tensor([3]), torch.tensor([2.0]))
        >>> y.flatten().tolist(), length.tolist()
        ([0.0, 4.0, 4.0, 4.0], [2])
    """
    last = (length - 1).float()
    place = torch.minimum(torch.arange(len(x))[:, None] * speed, last)
    left = place.long()
    right = torch.minimum(left + 1, length - 1)
    share = (place - left)[..., None]
    low, high = (x.gather(0, step[..., None].expand(*step.shape, x.shape[2])) for step in (left, right))

    return torch.lerp(low, high, share), (length / speed).ceil().long().clamp(1, len(x))


def _rotations(number: int, generator: torch.Generator) -> Float[Tensor, "B 3 3"]:
    """Rotations about a random axis by a normal angle (Rodrigues' formula)."""
    axis = F.normalize(torch.randn(number, 3, generator=generator), dim=1)
    angle = (_TURN * torch.randn(number, generator=generator))[:, None, None]
    cross = torch.linalg.cross(torch.eye(3).expand(number, 3, 3), axis[:, None].expand(number, 3, 3))

    return torch.eye(3) + torch.sin(angle) * cross + (1 - torch.cos(angle)) * cross @ cross


def vary_pictures(x: Float[Tensor, "K B 1 H W"], generator: torch.Generator) -> Float[Tensor, "K B 1 H W"]:
    """Pictures moved and zoomed, each trial in its own way, with brightness that differs where something is."""
    number = x.shape[1]
    draws = 2 * torch.rand(4, number, generator=generator) - 1
    zoom = torch.exp(_ZOOM * draws[0])
    matrix = torch.zeros(number, 2, 3)
    matrix[:, 0, 0] = zoom
    matrix[:, 1, 1] = zoom
    matrix[:, :, 2] = _MOVE * draws[1:3].T
    grid = F.affine_grid(matrix, [number, len(x), *x.shape[3:]], align_corners=False)
    moved = F.grid_sample(x.squeeze(2).transpose(0, 1), grid, align_corners=False).transpose(0, 1).unsqueeze(2)

    return torch.where(moved > 0, (moved + 0.05 * draws[3, :, None, None, None]).clamp(0.02, 1), moved)
