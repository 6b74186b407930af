"""Training the finder: pictures of a target beside the box that a tracker might believe, wrong in place and size.

In a closed loop a tracker sees its own mistakes, and they last. So each believed box is moved and stretched at random,
in one sample of five by far, and the newest template is cut out as wrongly. In some samples the target is not there at
all, so that the finder learns how far to trust itself; in some it has no newest template, as after a loss.

Pictures are kept finer than a sight: made coarser first they would be less sharp than what a tracker sees, and a finder
takes a sharper picture for one of a smaller target.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from spikebridge.data.event_bins import crop_events
from spikebridge.data.recording import Recording
from spikebridge.errors import ConfigError
from spikebridge.networks.sensing_crops import Reader
from spikebridge.networks.sensing_finding import Finder, Found
from spikebridge.networks.sensing_sights import SIDE, resampled, sight_side
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
from spikebridge.training import Batches

_ABSENT = 0.1
_ANEW = 0.15
_ROOM = 1.7
_PICTURE = 144
_GAPS = (1, 2)
_OUT_OF_SIGHT = 2.0  # sizes of the target from its middle
_TRIES = 20


class Looked(NamedTuple):
    """Which frames are looked at together: the newest, the one before, and the told one; and around which box."""

    now: int
    before: int
    told: int
    here: NDArray[np.float64]
    is_there: bool


class Sightings:
    """Samples for a finder.

    Many share a told picture, and clips have no events at all: each told picture, and silence, lie in memory once.

    Args:
        rows: what each sample has of its own, and the numbers of its `told` and `events`.
        told: pictures in which a box was told.
        events: between two frames; the first ones are none.
    """

    def __init__(self, rows: Batches, told: Tensor, events: Tensor) -> None:
        self.rows = rows
        self.told = told
        self.events = events

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, indices: Int[Tensor, "n"]) -> dict[str, Tensor]:
        """The samples of these numbers, in this order."""
        batch = self.rows.select(indices)
        return {**batch, "told": self.told[batch["told"]], "events": self.events[batch["events"]]}


def sightings(
    parts: Sequence[tuple[Recording, range]], apart: int = 300, lost: float = 0.2, seed: int = 0
) -> Sightings:
    """Pairs of frames with the events between them and a third frame in which the box was told.

    Of a recording with events all pairs of neighbours, and of frames with one between them, forwards and backwards in
    time; of a clip, which has none, neighbours in one direction, so that clips do not outweigh the others.

    Args:
        parts: recordings with boxes, and which frames of each.
        apart: the told frame is at most so many frames away.
        lost: so many more, as a share of them, are looked at where the target is not: what a tracker sees that has
            lost it, in the new frame, in the one before and in its newest template.
        seed: draws all that is chosen.

    Returns:
        Pictures of bytes, boxes `(x, y, w, h)` inside them, and whether the target `is_there`.

    Raises:
        ConfigError: no two neighbouring frames have boxes.
    """
    generator = np.random.default_rng(seed)
    chosen = [_looked(recording, frames, apart, lost, generator) for recording, frames in parts]
    number = sum(len(looked) for looked in chosen)
    if not number:
        raise ConfigError("a finder needs two neighbouring frames with boxes to learn from, but got none")
    num_told = sum(len({one.told for one in looked}) for looked in chosen)
    num_heard = sum(len(looked) for (part, _), looked in zip(parts, chosen, strict=True) if len(part.events.x))
    told = torch.empty(num_told, 1, _PICTURE, _PICTURE, dtype=torch.uint8)
    events = torch.zeros(1 + num_heard, 2, _PICTURE, _PICTURE, dtype=torch.uint8)
    columns: dict[str, Tensor] = {}
    sample = shown = heard = 0
    for (part, _), looked in zip(parts, chosen, strict=True):
        read = lru_cache(maxsize=None)(part.frames.__getitem__)
        known: dict[int, int] = {}
        for one in looked:
            if one.told not in known:
                told[shown] = _cut(_grey(read(one.told)), part.frame_boxes[one.told])
                known[one.told] = shown
                shown += 1
            if sounds := len(part.events.x) > 0:
                heard += 1
                events[heard] = _stirred(part, one)
            row = _row(part, read, one)
            row |= {"told": torch.tensor(known[one.told]), "events": torch.tensor(heard if sounds else 0)}
            # filled in place: rows and what they are stacked to, side by side, would take twice the memory
            columns = columns or {name: x.new_empty((number, *x.shape)) for name, x in row.items()}
            for name, x in row.items():
                columns[name][sample] = x
            sample += 1
    return Sightings(Batches(columns, batch=dict.fromkeys(columns, 0)), told, events)


def _looked(
    recording: Recording, frames: range, apart: int, lost: float, generator: np.random.Generator
) -> list[Looked]:
    known = np.isfinite(recording.frame_boxes).all(axis=1)
    silent = not len(recording.events.x)
    found = []
    for gap in (1,) if silent else _GAPS:
        for k in frames[gap:]:
            if not (known[k - gap] and known[k]):
                continue
            near = [j for j in frames if known[j] and abs(j - k) <= apart]
            pairs = [(k, k - gap), (k - gap, k)]
            for now, before in [pairs[generator.integers(2)]] if silent else pairs:
                one = Looked(now, before, int(generator.choice(near)), recording.frame_boxes[now], True)
                found.append(one)
                if generator.random() < lost and (away := somewhere_else(recording, one.here, generator)) is not None:
                    found.append(one._replace(here=away, is_there=False))
    return found


def somewhere_else(
    recording: Recording, box: NDArray[np.float64], generator: np.random.Generator
) -> NDArray[np.float64] | None:
    """A box of the same size on the frame, so far away that its sight does not show the target; None where no try found
    one."""
    room = np.array([recording.events.width, recording.events.height])
    for middle in generator.random((_TRIES, 2)) * room:
        if np.hypot(*(middle - box[:2] - box[2:] / 2)) > _OUT_OF_SIGHT * box[2:].prod() ** 0.5:
            return np.concatenate([middle - box[2:] / 2, box[2:]])
    return None


def _row(recording: Recording, read: Reader, one: Looked) -> dict[str, Tensor]:
    now, before, told, here, is_there = one
    there = recording.frame_boxes[told]
    scale = _PICTURE / _side(here)
    corner = here[:2] + here[2:] / 2 - _side(here) / 2

    def inside(box: NDArray[np.float64]) -> Tensor:
        moved = np.concatenate([box[:2] - corner, box[2:]])
        return torch.tensor(scale * moved, dtype=torch.float32)

    told_size = torch.tensor(there[2:] * _PICTURE / _side(there), dtype=torch.float32)
    return {
        "now": _cut(_grey(read(now)), here),
        "before": _cut(_grey(read(before)), here),
        "box": inside(here),
        "box_before": inside(recording.frame_boxes[before] if is_there else here),
        "box_told": torch.cat([(_PICTURE - told_size) / 2, told_size]),
        "is_there": torch.tensor(is_there),
    }


def _stirred(recording: Recording, one: Looked) -> Tensor:
    """The events between the two frames of a sample, around its box."""
    first, second = sorted(int(recording.frame_events[k]) for k in (one.before, one.now))
    events = recording.events.between(first, second)
    if one.now < one.before:  # what became brighter becomes darker backwards in time
        events = events._replace(on=~events.on)
    return _cut(255 * crop_events(events, (0, 0, recording.events.width, recording.events.height)), one.here)


def _grey(frame: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(frame.astype(np.float32))[None]


def _side(box: NDArray[np.float64]) -> float:
    """How much is cut around a target: more than its sight, so that there is room for boxes that are wrong."""
    return _ROOM * float(sight_side(torch.tensor(box[None])))


def _cut(picture: Tensor, box: NDArray[np.float64]) -> Tensor:
    """A picture around a box, as bytes, at nearly the scale of a sight: large targets take no more memory."""
    middle = torch.tensor((box[:2] + box[2:] / 2)[None], dtype=torch.float32)
    sides = torch.full((1, 2), _side(box))
    return resampled(picture[None], middle, sides, _PICTURE)[0].round().to(torch.uint8)


def objective(
    finder: Finder, batch: dict[str, Tensor], *, shake: float, abroad: float, lasting: float, a: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """How far found boxes are from the true ones, how far the odds are, and how honest the spread is.

    Args:
        finder: what is trained.
        batch: of `sightings`.
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
    found = finder(now, one["before"], one["events"], believed, first, newest, a)
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
