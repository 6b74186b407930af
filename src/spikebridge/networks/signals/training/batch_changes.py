"""Random changes of a training batch: windows between two people, hidden frames, one input alone.

Where few people are recorded, a network learns their ways to say a word beside the word. A mixture of two windows of
one class lies between two such ways, and its label is known, other than that of mixup (H. Zhang et al., ICLR 2018),
which mixes classes and labels too. In some windows a hybrid gets one of its two inputs alone (modality dropout), so
that it learns to answer from each: a speaker whose spectrum differs from all others is better known from changes than
from frames, or the other way.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Change: TypeAlias = Callable[[dict[str, Tensor], torch.Generator], dict[str, Tensor]]

_LEAST_OWN = 0.5


def mix_within_class(batch: dict[str, Tensor], generator: torch.Generator, *, share: float) -> dict[str, Tensor]:
    """Mixes some windows with another window of their class, stretched to their length; what follows the end stays.

    A window has the same factor, from 1/2 to 1, in both inputs. Its partner is drawn among the windows of its class
    in the batch, and may be of the same person. Frames and the fast signal of a voice are logarithms of powers, so what
    is mixed are spectra in decibels.

    Args:
        batch: with `frames` `(K, B, F)`, `signal` `(T, B, C)`, `weight` `(K, B)`, 0 after the end, and `label` `(B,)`.
        generator: of the draws.
        share: of the windows that are mixed.
    """
    label = batch["label"]
    weight = batch["weight"]
    partner = _partners(label, generator)
    draws = torch.rand(2, len(label), 1, generator=generator)
    own = torch.where(draws[0] < share, _LEAST_OWN + (1 - _LEAST_OWN) * draws[1], 1.0)
    lengths = (weight > 0).sum(0)
    mixed = {}

    for name in ("frames", "signal"):
        x = batch[name]
        length = lengths * (len(batch[name]) // len(weight))
        other = _stretched(x[:, partner], length[partner], length)
        inside = torch.arange(len(x))[:, None] < length
        mixed[name] = torch.where(inside[:, :, None], own * x + (1 - own) * other, x)

    return {**batch, **mixed}


def _partners(label: Int64[Tensor, " B"], generator: torch.Generator) -> Int64[Tensor, " B"]:
    """For each window another one of its class, or itself where it is alone.

    Example:
        >>> _partners(torch.tensor([1, 0, 1]), torch.Generator().manual_seed(0)).tolist()
        [2, 1, 0]
    """
    order = torch.randperm(len(label), generator=generator)
    partner = torch.empty_like(label)
    for of_class in label.unique():
        members = order[label[order] == of_class]
        partner[members] = members.roll(1)

    return partner


def _stretched(
    x: Float[Tensor, "T B N"], before: Int64[Tensor, " B"], after: Int64[Tensor, " B"]
) -> Float[Tensor, "T B N"]:
    """Signals whose first steps, `before` of them, are stretched over `after` steps, linearly interpolated.

    Example:
        >>> x = torch.tensor([0.0, 4.0, 0.0, 0.0]).reshape(4, 1, 1)
        >>> _stretched(x, torch.tensor([2]), torch.tensor([4])).ravel().tolist()
        [0.0, 2.0, 4.0, 4.0]
    """
    last = (before - 1).clamp(min=0)
    at = torch.minimum(torch.arange(len(x))[:, None] * (before / after.clamp(min=1)), last)
    left = at.long()
    right = torch.minimum(left + 1, last)
    part = (at - left)[:, :, None]

    def taken(step: Tensor) -> Tensor:
        return x.gather(0, step[:, :, None].expand_as(x))

    return torch.lerp(taken(left), taken(right), part.to(x.dtype))


def mask_frames(batch: dict[str, Tensor], generator: torch.Generator, *, most: float) -> dict[str, Tensor]:
    """Sets a range of features and a range of frames of each window to their mean (SpecAugment, D. Park et al., 2019).

    Args:
        batch: with `frames` `(K, B, F)`.
        generator: of the draws.
        most: of the features, and of the frames.
    """
    frames = batch["frames"]
    num_frames, number, num_features = frames.shape
    hidden = torch.zeros_like(frames, dtype=torch.bool)

    for size, axis in ((num_features, 2), (num_frames, 0)):
        width = torch.rand(number, generator=generator) * most * size
        start = torch.rand(number, generator=generator) * size
        place = torch.arange(size)[:, None]
        inside = (place >= start) & (place < start + width.floor())
        hidden |= inside.T[None] if axis == 2 else inside[:, :, None]

    mean = frames.mean((0, 1))
    return {**batch, "frames": torch.where(hidden, mean, frames)}


def drop_modality(batch: dict[str, Tensor], generator: torch.Generator, *, share: float) -> dict[str, Tensor]:
    """Takes one of the two inputs from some windows (N. Neverova et al., ModDrop, IEEE TPAMI 38:1692, 2016).

    Args:
        batch: with `frames` `(K, B, F)` and `signal` `(T, B, C)`.
        generator: of the draws.
        share: of the windows whose frames are all the mean frame, and of those whose signal is 0: no spikes.
    """
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
