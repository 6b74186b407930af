"""Training what follows between frames: samples turned at random, boxes that are wrong as a tracker's are."""

import torch
from torch import Tensor

from spikebridge.networks.sensing import Sensing
from spikebridge.networks.sensing_crops import Samples


def objective(network: Sensing, batch: dict[str, Tensor], *, shake: float) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean distance between answer and truth, rounded off near 0, on turned samples with shaken boxes."""
    samples = turned(Samples(**{**batch, "events": batch["events"].float()}))
    size = len(samples.boxes)
    noise = shake * torch.rand(size, 1) * (torch.rand(size, 1) < 0.5)
    here, before = noise * torch.randn(size, 2), noise * torch.randn(size, 2)
    boxes = torch.cat([samples.boxes[:, :2] + here, samples.boxes[:, 2:]], 1)
    start = network.begin(samples.frames, boxes, samples.before, samples.motion + here - before)
    places, _ = network.follow(samples.frames, samples.events, boxes, start)
    away = (places + here - samples.truths).square().sum(-1)
    return (away + 0.25).sqrt().mean(), {"distance_px": away.sqrt().mean()}


def turned(samples: Samples) -> Samples:
    """Each sample as it is, mirrored, or with rows and columns swapped, at random: pictures, boxes and ways together.

    Args:
        samples: of one batch.
    """
    for axis, side in ((0, -1), (1, -2)):
        chosen = torch.rand(len(samples.boxes)) < 0.5
        sign = torch.where(chosen, -1.0, 1.0)[:, None] ** (torch.arange(2) == axis)
        samples = Samples(
            frames=_where(chosen, samples.frames.flip(side), samples.frames),
            before=_where(chosen, samples.before.flip(side), samples.before),
            events=_where(chosen, samples.events.flip(side), samples.events, 1),
            boxes=samples.boxes * torch.cat([sign, torch.ones_like(sign)], 1),
            motion=samples.motion * sign,
            truths=samples.truths * sign,
        )
    chosen = torch.rand(len(samples.boxes)) < 0.5
    return Samples(
        frames=_where(chosen, samples.frames.transpose(-1, -2), samples.frames),
        before=_where(chosen, samples.before.transpose(-1, -2), samples.before),
        events=_where(chosen, samples.events.transpose(-1, -2), samples.events, 1),
        boxes=_where(chosen, samples.boxes[:, [1, 0, 3, 2]], samples.boxes),
        motion=_where(chosen, samples.motion.flip(-1), samples.motion),
        truths=_where(chosen, samples.truths.flip(-1), samples.truths, 1),
    )


def _where(chosen: Tensor, yes: Tensor, no: Tensor, axis: int = 0) -> Tensor:
    return torch.where(chosen.reshape(-1, *[1] * (no.ndim - axis - 1)), yes, no)
