"""Training the finder: pictures of a target beside the box that a tracker might believe, wrong in place and size.

In a closed loop a tracker sees its own mistakes, and they last. So each believed box is moved and stretched at random,
in one sample of five by far, and the newest template is cut out as wrongly. In some samples the target is not there at
all, so that the finder learns how far to trust itself; in some it has no newest template, as after a loss.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from spikebridge.networks.sensing_finding import Finder, Found
from spikebridge.networks.sensing_sights import SIDE, sight_side
from spikebridge.networks.tracking_losses import box_overlap, map_presence
from spikebridge.recipes.sensing_changes import (
    coarser,
    drifted,
    edges,
    middles,
    mirrored,
    relit,
    set_abroad,
    shaken,
    stretched,
)

_ABSENT = 0.1
_ANEW = 0.15


def objective(
    finder: Finder, batch: dict[str, Tensor], *, shake: float, abroad: float, lasting: float, a: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """How far found boxes are from the true ones, how far the odds are, and how honest the spread is.

    Args:
        finder: what is trained.
        batch: of `sensing_sightings`.
        shake: how wrong believed boxes are; 1 is about a sixth of the target's size.
        abroad: share of the samples whose target stands before what is around another one.
        lasting: the newest template is wrong by up to this share of what the believed box is wrong by.
        a: share of the newest template.
    """
    one = relit(coarser(stretched(set_abroad(mirrored(batch), abroad))))
    now, absent = _without_some(one["now"], one["is_there"])
    believed = shaken(one["box"], shake)
    wrong = drifted(one["box_before"], one["box"], believed, lasting)
    first = finder.template(one["told"], one["box_told"])
    newest = finder.template(one["before"], shaken(wrong, 0.3 * shake))
    newest = torch.where(torch.rand(len(now), 1, 1, 1) < _ANEW, first, newest)
    found = finder(now, one["before"], one["events"], one["behind"], believed, first, newest, a)
    there = (~absent).float()
    side = sight_side(believed)
    away = (edges(found.boxes) - edges(one["box"])) / side[:, None] * 2
    overlap = box_overlap(found.boxes, one["box"])
    off = middles(found.boxes) - middles(one["box"])
    place = 10 * F.smooth_l1_loss(away, torch.zeros_like(away), beta=0.05, reduction="none").mean(1) + 1 - overlap
    loss = (
        (there * place).mean()
        + 0.1 * _presence(found, believed, one["box"], there)
        + _honesty(found, off, absent, side)
    )
    return loss, {"overlap": (there * overlap).sum() / there.sum().clamp(min=1)}


def _presence(found: Found, believed: Tensor, truth: Tensor, there: Tensor) -> Tensor:
    """Cross-entropy of the odds, of the samples in which there is a target."""
    side = sight_side(believed)[:, None]
    inside = (middles(truth) - middles(believed)) / side * SIDE + SIDE / 2
    cells = (inside - 0.5) / (SIDE / found.odds.shape[-1])
    chosen = there > 0
    return map_presence(found.odds[chosen], cells[chosen]) if chosen.any() else found.odds.sum() * 0


def _honesty(found: Found, off: Tensor, absent: Tensor, side: Tensor) -> Tensor:
    """Negative log-likelihood of how far off the middle is; a target that is not there is off by half the sight."""
    square = torch.where(absent, side.square() / 4, off.detach().square().sum(1))
    spread = (found.spread.square() + 0.25) / side.square()
    return 0.1 * (square / side.square() / (2 * spread) + spread.log()).clamp(max=50).mean()


def _without_some(now: Tensor, is_there: Tensor) -> tuple[Tensor, Tensor]:
    """In some samples the picture is that of another one; and where the target is missing then."""
    other = torch.rand(len(now)) < _ABSENT
    return torch.where(other[:, None, None, None], now.roll(1, 0), now), other | ~is_there
