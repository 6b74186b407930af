"""Random changes of a training batch: mixtures of two windows, masked frames, one input alone.

Of few people a network learns their voices as well as the words. A mixture of two windows of one class lies between two
voices, and has the label of both; mixup (H. Zhang et al., ICLR 2018) mixes classes and labels too. In some windows a
hybrid gets one of its two inputs alone (modality dropout), so that it learns to answer from each.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Change: TypeAlias = Callable[[dict[str, Tensor], torch.Generator], dict[str, Tensor]]

_MIN_OWN = 0.5  # share of the window itself in a mixture


def mix_within_class(batch: dict[str, Tensor], generator: torch.Generator, *, share: float) -> dict[str, Tensor]:
    """Mixes some windows with another window of their class in the batch, which is stretched to their length."""
    label = batch["label"]
    weight = batch["weight"]
    partner = _partners(label, generator)
    draws = torch.rand(2, len(label), 1, generator=generator)
    own = torch.where(draws[0] < share, _MIN_OWN + (1 - _MIN_OWN) * draws[1], 1.0)
    num_answers = (weight > 0).sum(0)
    mixed = {}

    # a window has the same factor in both inputs; what follows the end of its recording stays
    for name in ("frames", "signal"):
        x = batch[name]
        length = num_answers * (len(x) // len(weight))
        other = _stretched(x[:, partner], length[partner], length)
        inside = torch.arange(len(x))[:, None] < length
        mixed[name] = torch.where(inside[:, :, None], own * x + (1 - own) * other, x)

    return {**batch, **mixed}


def _partners(label: Int64[Tensor, " B"], generator: torch.Generator) -> Int64[Tensor, " B"]:
    """The place of another window of the same class, or of the window itself where it is alone."""
    order = torch.randperm(len(label), generator=generator)
    partner = torch.empty_like(label)
    for one in label.unique():
        members = order[label[order] == one]
        partner[members] = members.roll(1)

    return partner


def _stretched(
    x: Float[Tensor, "T B N"], before: Int64[Tensor, " B"], after: Int64[Tensor, " B"]
) -> Float[Tensor, "T B N"]:
    """Signals whose first steps, `before` of them, are stretched over `after` steps, linearly interpolated."""
    last = (before - 1).clamp(min=0)
    position = torch.minimum(torch.arange(len(x))[:, None] * (before / after.clamp(min=1)), last)
    left = position.long()
    right = torch.minimum(left + 1, last)
    share = (position - left)[:, :, None]

    def values(step: Tensor) -> Tensor:
        return x.gather(0, step[:, :, None].expand_as(x))

    return torch.lerp(values(left), values(right), share.to(x.dtype))


def mask_frames(batch: dict[str, Tensor], generator: torch.Generator, *, max_share: float) -> dict[str, Tensor]:
    """Masks a range of features and one of frames of each window (D. Park et al., SpecAugment, 2019)."""
    frames = batch["frames"]
    num_frames, num_windows, num_features = frames.shape

    def inside(size: int) -> Tensor:
        width = torch.rand(num_windows, generator=generator) * max_share * size
        start = torch.rand(num_windows, generator=generator) * size
        place = torch.arange(size)[:, None]
        return (place >= start) & (place < start + width.floor())

    masked = torch.zeros_like(frames, dtype=torch.bool)
    masked |= inside(num_features).T[None]
    masked |= inside(num_frames)[:, :, None]

    # the mean stands for an unknown value; zeros would be bands as loud as the mean of all
    return {**batch, "frames": torch.where(masked, frames.mean((0, 1)), frames)}


def drop_modality(batch: dict[str, Tensor], generator: torch.Generator, *, share: float) -> dict[str, Tensor]:
    """Removes one of the two inputs of some windows (N. Neverova et al., ModDrop, IEEE TPAMI 38:1692, 2016)."""
    draw = torch.rand(len(batch["label"]), 1, generator=generator)
    frames = batch["frames"]
    signal = batch["signal"]
    frames = torch.where(draw < share, frames.mean((0, 1)), frames)

    return {**batch, "frames": frames, "signal": signal.masked_fill(draw > 1 - share, 0.0)}


def in_turn(
    batch: dict[str, Tensor], generator: torch.Generator, *, changes: Sequence[Change | None]
) -> dict[str, Tensor]:
    """A batch after several random changes."""
    for change in changes:
        batch = batch if change is None else change(batch, generator)
    return batch
