"""Training the finder: pictures of a target beside the box that a tracker might believe, wrong in place and size.

In a closed loop a tracker sees its own mistakes. So each believed box is moved and stretched at random, and in some
samples the target is not there at all, so that the finder learns how far to trust itself.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from spikebridge.data.event_bins import Crop, crop_events
from spikebridge.data.recording import Recording
from spikebridge.errors import ConfigError
from spikebridge.networks.sensing_crops import crop_around, crop_frame
from spikebridge.networks.sensing_finding import SIDE, Finder, Found, filtered, sight_side, sights
from spikebridge.networks.tracking_losses import box_overlap, map_presence
from spikebridge.training import Batches

PICTURES = ("now", "before", "told", "events")
BOXES = ("box", "box_before", "box_told")
_ABSENT = 0.1


def sightings(parts: Sequence[tuple[Recording, range]], size: int = 160, apart: int = 60, seed: int = 0) -> Batches:
    """Pairs of neighbouring frames with the events between them and a third frame in which the box was told.

    Args:
        parts: recordings with boxes, and which frames of each.
        size: side of what is cut around a target [px].
        apart: the told frame is at most so many frames away.
        seed: draws it.

    Returns:
        Pictures of bytes and boxes `(x, y, w, h)` inside them; each pair forwards and backwards in time.

    Raises:
        ConfigError: no two neighbouring frames have boxes.
    """
    generator = np.random.default_rng(seed)
    rows = [row for recording, frames in parts for row in _rows(recording, frames, size, apart, generator)]
    if not rows:
        raise ConfigError("a finder needs two neighbouring frames with boxes to learn from, but got none")
    columns = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    return Batches(columns, batch=dict.fromkeys(columns, 0))


def _rows(
    recording: Recording, frames: range, size: int, apart: int, generator: np.random.Generator
) -> list[dict[str, Tensor]]:
    known = np.isfinite(recording.frame_boxes).all(axis=1)
    found = []
    for k in frames[1:]:
        if not (known[k - 1] and known[k]):
            continue
        near = [j for j in frames if known[j] and abs(j - k) <= apart]
        told = int(generator.choice(near))
        found += [_row(recording, k, k - 1, told, size), _row(recording, k - 1, k, told, size)]
    return found


def _row(recording: Recording, now: int, before: int, told: int, size: int) -> dict[str, Tensor]:
    crop, _ = crop_around(recording.frame_boxes[now], size)
    corner = np.array([*crop[:2], 0, 0])
    events = recording.events.between(*sorted((int(recording.frame_events[before]), int(recording.frame_events[now]))))
    # what became brighter becomes darker backwards in time
    picture = crop_events(events if now > before else events._replace(on=~events.on), crop)
    told_crop, _ = crop_around(recording.frame_boxes[told], size)
    told_box = torch.tensor((recording.frame_boxes[told] - [*told_crop[:2], 0, 0])[None], dtype=torch.float32)
    sight = sights(crop_frame(recording.frames[told], told_crop)[None], told_box)[0]
    scale = SIDE / sight_side(told_box)[0]
    return {
        "now": _bytes(recording, now, crop),
        "before": _bytes(recording, before, crop),
        "told": sight.round().to(torch.uint8),
        "events": picture.bool(),
        "box": torch.tensor(recording.frame_boxes[now] - corner, dtype=torch.float32),
        "box_before": torch.tensor(recording.frame_boxes[before] - corner, dtype=torch.float32),
        "box_told": torch.cat([(SIDE - scale * told_box[0, 2:]) / 2, scale * told_box[0, 2:]]),
    }


def _bytes(recording: Recording, k: int, crop: Crop) -> Tensor:
    return crop_frame(recording.frames[k], crop).to(torch.uint8)


def objective(finder: Finder, batch: dict[str, Tensor], *, shake: float, a: float) -> tuple[Tensor, dict[str, Tensor]]:
    """How far found boxes are from the true ones, how far the odds are, and how honest the spread is.

    Args:
        finder: what is trained.
        batch: of `sightings`.
        shake: how wrong believed boxes are; 1 is about a sixth of the target's size.
        a: share of the newest template.
    """
    one = mirrored(batch)
    now, absent = _without_some(one["now"])
    believed = shaken(one["box"], shake)
    template = filtered(
        finder.template(one["told"], one["box_told"]),
        finder.template(one["before"], shaken(one["box_before"], 0.3 * shake)),
        a,
    )
    found = finder(now, one["before"], one["events"], believed, template)
    there = (~absent).float()
    side = sight_side(believed)
    away = (edges(found.boxes) - edges(one["box"])) / side[:, None] * 2
    overlap = box_overlap(found.boxes, one["box"])
    off = _middle(found.boxes) - _middle(one["box"])
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
    inside = (_middle(truth) - _middle(believed)) / side * SIDE + SIDE / 2
    cells = (inside - 0.5) / (SIDE / found.odds.shape[-1])
    chosen = there > 0
    return map_presence(found.odds[chosen], cells[chosen]) if chosen.any() else found.odds.sum() * 0


def _honesty(found: Found, off: Tensor, absent: Tensor, side: Tensor) -> Tensor:
    """Negative log-likelihood of how far off the middle is; a target that is not there is off by half the sight."""
    square = torch.where(absent, side.square() / 4, off.detach().square().sum(1))
    spread = (found.spread.square() + 0.25) / side.square()
    return 0.1 * (square / side.square() / (2 * spread) + spread.log()).clamp(max=50).mean()


def _without_some(now: Tensor) -> tuple[Tensor, Tensor]:
    """In some samples the picture is that of another one."""
    absent = torch.rand(len(now)) < _ABSENT
    return torch.where(absent[:, None, None, None], now.roll(1, 0), now), absent


def shaken(boxes: Float[Tensor, "B 4"], shake: float) -> Float[Tensor, "B 4"]:
    """Boxes as a tracker might believe them: moved and stretched, some little, some much.

    Args:
        boxes: true ones.
        shake: 0 leaves them as they are.
    """
    much = 1.5 * shake * torch.rand(len(boxes), 1)
    size = boxes[:, 2:].prod(1, keepdim=True).sqrt()
    middle = _middle(boxes) + torch.randn(len(boxes), 2) * (0.12 * much * size + min(1.0, shake))
    stretch = 0.12 * much * (torch.randn(len(boxes), 1) + torch.randn(len(boxes), 2))
    sizes = boxes[:, 2:] * stretch.exp()
    return torch.cat([middle - sizes / 2, sizes], 1)


def mirrored(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each sample as it is, mirrored, or with rows and columns swapped, its light brighter or darker, at random.

    Args:
        batch: square pictures, channels before rows, and boxes.
    """
    pictures = {name: batch[name] for name in PICTURES}  # bytes: a quarter of the work
    boxes = {name: batch[name] for name in BOXES}
    sides: dict[str, Any] = {name: pictures["told" if name == "box_told" else "now"].shape[-1] for name in BOXES}
    count = len(boxes["box"])
    for axis, dim in ((0, -1), (1, -2)):
        chosen = torch.rand(count) < 0.5
        pictures = {name: _either(chosen, x.flip(dim), x) for name, x in pictures.items()}
        for name, box in boxes.items():
            other = box.clone()
            other[:, axis] = sides[name] - box[:, axis] - box[:, axis + 2]
            boxes[name] = _either(chosen, other, box)
    chosen = torch.rand(count) < 0.5
    pictures = {name: _either(chosen, x.transpose(-1, -2), x) for name, x in pictures.items()}
    boxes = {name: _either(chosen, x[:, [1, 0, 3, 2]], x) for name, x in boxes.items()}
    light = (0.7 * (2 * torch.rand(count, 1, 1, 1) - 1)).exp()
    for name in ("now", "before"):
        pictures[name] = (light * pictures[name]).clamp(max=255)
    return {**{name: x.float() for name, x in pictures.items()}, **boxes}


def edges(boxes: Float[Tensor, "B 4"]) -> Float[Tensor, "B 4"]:
    """Left, top, right and bottom.

    Example:
        >>> edges(torch.tensor([[1.0, 2.0, 3.0, 4.0]])).tolist()
        [[1.0, 2.0, 4.0, 6.0]]
    """
    return torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


def _middle(boxes: Tensor) -> Tensor:
    return boxes[:, :2] + boxes[:, 2:] / 2


def _either(chosen: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(chosen.reshape(-1, *[1] * (no.ndim - 1)), yes, no)
