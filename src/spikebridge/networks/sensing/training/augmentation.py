"""Random augmentation of the detector's samples: flips, backgrounds, aspect, resolution, illumination, wrong boxes.

A sample has the pictures `now`, `before`, `given`, `events` and `behind`, `(B, C, S, S)`, and the boxes of its target
in the first three, `(x, y, w, h)` in pixels of them. Flips also serve the samples of the pathways; they work on bytes,
which takes a quarter of the time.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from spikebridge.networks.sensing.model.detector import resample

PICTURES = ("now", "before", "given", "events", "behind")
BOXES = ("box", "box_before", "box_given")
_FAR = 0.2
_SWOLLEN = 0.3
_SWELLS = 0.5
_WHOLLY = 0.6
_COARSE = 0.3
_SILENT = 0.1
_HIDDEN = 0.25


def jitter_boxes(boxes: Float[Tensor, "B 4"], box_noise: float) -> Float[Tensor, "B 4"]:
    """Boxes as a tracker might predict them: displaced and stretched, most of them little, one in five by far.

    Three in ten are too small or too large by up to a factor of 1.6: only the detector can correct a wrong size.

    Args:
        boxes: true ones.
        box_noise: 0 leaves them as they are.
    """
    count = len(boxes)
    much = box_noise * (1.5 * torch.rand(count, 1) + 2 * (torch.rand(count, 1) < _FAR))
    size = boxes[:, 2:].prod(1, keepdim=True).sqrt()
    middle = box_centers(boxes) + torch.randn(count, 2) * (0.12 * much * size + min(1.0, box_noise))
    stretch = 0.12 * much * (torch.randn(count, 1) + torch.randn(count, 2))
    swollen = min(1.0, box_noise) * (torch.rand(count, 1) < _SWOLLEN) * (2 * torch.rand(count, 1) - 1)
    sizes = boxes[:, 2:] * (stretch + _SWELLS * swollen).clamp(-1, 1).exp()

    return torch.cat([middle - sizes / 2, sizes], 1)


def correlated_jitter(
    before: Float[Tensor, "B 4"], boxes: Float[Tensor, "B 4"], predicted: Float[Tensor, "B 4"], most: float = 1.0
) -> Float[Tensor, "B 4"]:
    """Boxes of the frame before, wrong by a share of the error of the predicted ones: errors of a tracker persist.

    With independent errors the newest template would always show the target, and a detector would learn to trust it; in
    a closed loop it shows what the tracker took for the target. Three in five are wrong by the largest share, so that
    only the first template shows the target.

    Args:
        before: true boxes of the frame before.
        boxes: true ones of the new frame.
        predicted: what a tracker takes them for.
        most: the largest share.

    Example:
        >>> box, predicted = torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.tensor([[4.0, 0.0, 10.0, 10.0]])
        >>> 0 <= correlated_jitter(box, box, predicted)[0, 0] <= 4
        tensor(True)
    """
    share = most * (torch.rand(len(boxes), 1) / (1 - _WHOLLY)).clamp(max=1)
    size, earlier = (one[:, 2:].prod(1, keepdim=True).sqrt() for one in (boxes, before))
    middle = box_centers(before) + share * (box_centers(predicted) - box_centers(boxes)) / size * earlier
    sizes = before[:, 2:] * (predicted[:, 2:] / boxes[:, 2:]) ** share

    return torch.cat([middle - sizes / 2, sizes], 1)


def random_flip(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each sample flipped and transposed at random.

    Args:
        batch: square pictures of one size, channels before rows, and boxes.
    """
    ways = draw_flips(len(batch["box"]))
    middle = batch["now"].shape[-1] / 2
    stack = torch.cat([batch[name] for name in PICTURES], 1)
    pictures = flip_images(stack, ways).split([batch[name].shape[1] for name in PICTURES], 1)
    boxes = {}

    for name in BOXES:
        sizes = flip_vectors(batch[name][:, 2:], ways, signed=False)
        places = middle + flip_vectors(box_centers(batch[name]) - middle, ways)
        boxes[name] = torch.cat([places - sizes / 2, sizes], 1)

    return {**batch, **dict(zip(PICTURES, pictures, strict=True)), **boxes}


def swap_background(batch: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Some targets in front of the background of another sample, whose own target is beside them.

    A detector that always sees a target in front of its own background learns the background; and what is most easily
    mistaken for a target is another target.

    Args:
        batch: square pictures of one size, and boxes.
        share: of the samples.
    """
    count = len(batch["box"])
    side = batch["now"].shape[-1]
    other = torch.randperm(count)
    chosen = torch.rand(count) < share

    # the other target is one to two sizes away; pictures wrap around at their edges
    angle = 2 * torch.pi * torch.rand(count)
    far = side * (0.2 + 0.3 * torch.rand(count))
    outline = 2 ** (1 + 2 * torch.rand(count, 1)), 1 + 0.2 * torch.rand(count, 1)
    columns, rows = (
        (torch.arange(side) + (far * way)[chosen].round().long()[:, None]) % side for way in (angle.cos(), angle.sin())
    )
    power, wide = (part[chosen] for part in outline)
    here, then = (_covered(batch[name][chosen], side, power, wide) for name in ("box", "box_before"))

    # the background of the other sample, at times unknown where the target is
    hidden = here * (torch.rand(len(here), 1, 1, 1) < _HIDDEN)
    masks = {"now": here, "before": then, "events": torch.maximum(here, then), "behind": torch.zeros_like(here)}
    pictures = {}

    for name, mask in masks.items():
        own = batch[name].float()
        beside = other[chosen, None, None, None], torch.arange(own.shape[1])[:, None, None]
        around = own[(*beside, rows[:, None, :, None], columns[:, None, None, :])]
        if name == "behind":
            around[:, 1:] *= 1 - hidden
        pictures[name] = own.index_put((chosen,), around + mask * (own[chosen] - around))

    return {**batch, **pictures}


def _covered(boxes: Tensor, side: int, power: Tensor, wide: Tensor) -> Float[Tensor, "B 1 S S"]:
    """1 on targets: ellipses at a power of 2, nearly the boxes themselves at 8; a little wider than these."""
    half = boxes[:, 2:] / 2
    x, y = (((torch.arange(side) + 0.5 - boxes[:, i : i + 1]) / half[:, i : i + 1] - 1).abs() / wide for i in (0, 1))
    away = ((x**power)[:, None, :] + (y**power)[:, :, None]) ** (1 / power)[:, :, None]
    return torch.sigmoid(8 * (1 - away)).unsqueeze(1)


def jitter_aspect(batch: dict[str, Tensor], most: float = 0.3) -> dict[str, Tensor]:
    """All pictures of a sample and their boxes with another aspect ratio.

    Args:
        batch: square pictures of one size, and boxes.
        most: the largest change of a side, as a logarithm.
    """
    count = len(batch["box"])
    side = batch["now"].shape[-1]
    factor = (most * (2 * torch.rand(count, 2) - 1)).exp()
    stack = torch.cat([batch[name].float() for name in PICTURES], 1)
    stack = resample(stack, torch.full((count, 2), side / 2), side / factor, side)
    pictures = dict(zip(PICTURES, stack.split([batch[name].shape[1] for name in PICTURES], 1), strict=True))
    boxes = {name: _scaled(batch[name], factor, side / 2) for name in BOXES}

    return {**batch, **pictures, **boxes}


def lower_resolution(batch: dict[str, Tensor], most: float = 2.5) -> dict[str, Tensor]:
    """Some samples at a lower resolution, as of a small target.

    Every batch has samples of full resolution too, so that the statistics of batch norms fit both.

    Args:
        batch: square pictures of one size, and boxes.
        most: the largest factor along a side.
    """
    count = len(batch["box"])
    side = batch["now"].shape[-1]
    few = round(side * most ** -torch.rand(()).item())
    chosen = torch.rand(count) < _COARSE

    def seen(x: Tensor) -> Tensor:
        small = F.interpolate(x[chosen], (few, few), mode="bilinear", align_corners=False)
        coarse = F.interpolate(small, (side, side), mode="bilinear", align_corners=False)
        return x.index_put((chosen,), coarse)

    return {**batch, **{name: seen(batch[name]) for name in PICTURES}}


def jitter_illumination(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Frames with another brightness, contrast and noise; events and masks scaled to 1; in some samples no events.

    Args:
        batch: pictures of 0 to 255.
    """
    count = len(batch["box"])
    light, gamma = ((most * (2 * torch.rand(count, 1, 1, 1) - 1)).exp() for most in (0.7, 0.3))
    grey, known = batch["behind"].split(1, 1)
    frames = {"now": batch["now"], "before": batch["before"], "given": batch["given"], "behind": grey}
    changed = {name: 255 * (x / 255).pow(gamma) for name, x in frames.items()}
    changed["behind"] = light * changed["behind"]
    noise = 4 * torch.rand(count, 1, 1, 1)

    for name in ("now", "before"):
        changed[name] = light * changed[name] + noise * torch.randn_like(changed[name])

    has_events = (torch.rand(count, 1, 1, 1) > _SILENT).float()
    pictures = {name: x.clamp(0, 255) for name, x in changed.items()}
    pictures["behind"] = torch.cat([pictures["behind"], known / 255], 1)

    return {**batch, **pictures, "events": has_events * batch["events"] / 255}


def vary_camera(batch: dict[str, Tensor], lose_events: float, contrast: float) -> dict[str, Tensor]:
    """Samples of the pathways as other cameras would have recorded them: fewer events, another contrast.

    Args:
        batch: `frames`, `before` and `after` of 0 to 255, and `events` with the samples on the second axis.
        lose_events: largest share of the events of a sample that are removed.
        contrast: largest change of the contrast around the mean of the frames, as a logarithm.

    Example:
        >>> batch = {"events": torch.ones(6, 2, 2, 8, 8)}
        >>> bool(0.3 < vary_camera(batch, lose_events=0.5, contrast=0.0)["events"].mean() < 1)
        True
    """
    varied = dict(batch)
    if lose_events:
        events = batch["events"]
        share = lose_events * torch.rand(1, events.shape[1], 1, 1, 1)
        varied["events"] = events * (torch.rand(events.shape) >= share)

    if contrast:
        factor = (contrast * (2 * torch.rand(batch["frames"].shape[0], 1, 1, 1) - 1)).exp()
        mean = batch["frames"].float().mean((1, 2, 3), keepdim=True)
        for name in ("frames", "before", "after"):
            varied[name] = (mean + factor * (batch[name].float() - mean)).clamp(0, 255)

    return varied


def box_corners(boxes: Float[Tensor, "B 4"]) -> Float[Tensor, "B 4"]:
    """Left, top, right and bottom.

    Example:
        >>> box_corners(torch.tensor([[1.0, 2.0, 3.0, 4.0]])).tolist()
        [[1.0, 2.0, 4.0, 6.0]]
    """
    return torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


def box_centers(boxes: Float[Tensor, "B 4"]) -> Float[Tensor, "B 2"]:
    """Of boxes.

    Example:
        >>> box_centers(torch.tensor([[1.0, 2.0, 3.0, 4.0]])).tolist()
        [[2.5, 4.0]]
    """
    return boxes[:, :2] + boxes[:, 2:] / 2


def _scaled(boxes: Tensor, factor: Tensor, around: float) -> Tensor:
    return torch.cat([around + factor * (boxes[:, :2] - around), factor * boxes[:, 2:]], 1)


class _Flips(NamedTuple):
    """How each sample is turned: mirrored from left to right, then upside down, then rows and columns swapped."""

    across: Bool[Tensor, " B"]
    down: Bool[Tensor, " B"]
    swap: Bool[Tensor, " B"]


def draw_flips(count: int) -> _Flips:
    """A way for each of some samples; all eight are as likely.

    Args:
        count: of samples.
    """
    return _Flips(*(torch.rand(count) < 0.5 for _ in _Flips._fields))


def flip_images(pictures: Shaped[Tensor, "..."], ways: _Flips, axis: int = 0) -> Shaped[Tensor, "..."]:
    """Square pictures, each turned its way.

    Args:
        pictures: rows and columns last.
        ways: of the samples.
        axis: of the samples.

    Example:
        >>> upside_down = _Flips(torch.tensor([False]), torch.tensor([True]), torch.tensor([False]))
        >>> flip_images(torch.tensor([[[1, 2], [3, 4]]]), upside_down).tolist()
        [[[3, 4], [1, 2]]]
    """
    each = zip(pictures.unbind(axis), *(way.tolist() for way in ways), strict=True)
    return torch.stack([_turned(*one) for one in each], axis)


def flip_vectors(pairs: Float[Tensor, "*T B 2"], ways: _Flips, signed: bool = True) -> Float[Tensor, "*T B 2"]:
    """Numbers along `x` and `y`, turned as the pictures are.

    Args:
        pairs: displacements from the middle; with `signed` False lengths, which no mirror changes.
        ways: of the samples.
        signed: see `pairs`.

    Example:
        >>> everything = _Flips(*torch.ones(3, 1, dtype=torch.bool))
        >>> flip_vectors(torch.tensor([[1.0, 2.0]]), everything).tolist()
        [[-2.0, -1.0]]
    """
    if signed:
        pairs = torch.where(torch.stack([ways.across, ways.down], 1), -pairs, pairs)

    return torch.where(ways.swap[:, None], pairs.flip(-1), pairs)


def _turned(picture: Tensor, across: bool, down: bool, swap: bool) -> Tensor:
    axes = [axis for axis, way in ((-1, across), (-2, down)) if way]
    random_flip = picture.flip(axes) if axes else picture
    return random_flip.transpose(-1, -2) if swap else random_flip
