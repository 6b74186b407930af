"""Random augmentation of the detector's samples: flips, backgrounds, aspect, resolution, illumination, wrong boxes.

A sample has the pictures `frame`, `before`, `first`, `events` and `behind`, `(B, C, S, S)`, and the boxes of its target
in the first three, `(x, y, w, h)` in pixels of them. Flips also serve the samples of the pathways; they work on bytes,
which takes a quarter of the time.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from spikebridge.networks.sensing.model.detector import resample

PICTURES = ("frame", "before", "first", "events", "behind")
BOXES = ("box", "box_before", "box_first")

# predicted boxes: a unit of noise relative to the target's size, and the share with a far larger error
_NOISE_UNIT = 0.12
_FAR_SHARE = 0.2
# share with a wrong size, by up to this factor as a logarithm
_WRONG_SIZE_SHARE = 0.3
_MAX_WRONG_SIZE = 0.5
# share of the newest templates with the whole error of the predicted box
_FULL_ERROR_SHARE = 0.6
_LOW_RESOLUTION_SHARE = 0.3
_MAX_RESOLUTION_FACTOR = 2.5
_MAX_LOG_ASPECT = 0.3
# illumination: largest factors of brightness and exponents of grey levels as logarithms, and noise in grey levels
_MAX_LOG_BRIGHTNESS = 0.7
_MAX_LOG_GAMMA = 0.3
_MAX_NOISE = 4.0
_NO_EVENTS_SHARE = 0.1
# share of the swapped backgrounds that are unknown behind the target
_UNKNOWN_BEHIND_SHARE = 0.25


def jitter_boxes(boxes: Float[Tensor, "B 4"], box_noise: float) -> Float[Tensor, "B 4"]:
    """Boxes as a tracker might predict them: displaced and stretched, most of them little, one in five by far.

    Three in ten are too small or too large by up to a factor of 1.6: only the detector can correct a wrong size. With a
    noise of 0 boxes stay as they are.
    """
    count = len(boxes)
    noise = box_noise * (1.5 * torch.rand(count, 1) + 2 * (torch.rand(count, 1) < _FAR_SHARE))
    size = boxes[:, 2:].prod(1, keepdim=True).sqrt()
    centers = box_centers(boxes) + torch.randn(count, 2) * (_NOISE_UNIT * noise * size + min(1.0, box_noise))

    stretch = _NOISE_UNIT * noise * (torch.randn(count, 1) + torch.randn(count, 2))
    wrong_size = min(1.0, box_noise) * (torch.rand(count, 1) < _WRONG_SIZE_SHARE) * (2 * torch.rand(count, 1) - 1)
    sizes = boxes[:, 2:] * (stretch + _MAX_WRONG_SIZE * wrong_size).clamp(-1, 1).exp()

    return _boxes(centers, sizes)


def correlated_jitter(
    before: Float[Tensor, "B 4"], boxes: Float[Tensor, "B 4"], predicted: Float[Tensor, "B 4"]
) -> Float[Tensor, "B 4"]:
    """Boxes of the frame before, wrong by a share of the error of the predicted ones: errors of a tracker persist.

    With independent errors the newest template would always show the target, and a detector would learn to trust it; in
    a closed loop it shows what the tracker took for the target. Three in five are wrong by the whole error, so that
    only the first template shows the target. `boxes` are the true ones of the new frame.
    """
    share = (torch.rand(len(boxes), 1) / (1 - _FULL_ERROR_SHARE)).clamp(max=1)
    size, size_before = (x[:, 2:].prod(1, keepdim=True).sqrt() for x in (boxes, before))
    centers = box_centers(before) + share * (box_centers(predicted) - box_centers(boxes)) / size * size_before
    sizes = before[:, 2:] * (predicted[:, 2:] / boxes[:, 2:]) ** share

    return _boxes(centers, sizes)


def random_flip(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each sample of square pictures flipped and transposed at random."""
    flips = draw_flips(len(batch["box"]))
    center = batch["frame"].shape[-1] / 2
    pictures = _split_pictures(batch, flip_images(_stacked_pictures(batch), flips))
    boxes = {}

    for name in BOXES:
        sizes = flip_vectors(batch[name][:, 2:], flips, signed=False)
        boxes[name] = _boxes(center + flip_vectors(box_centers(batch[name]) - center, flips), sizes)

    return {**batch, **pictures, **boxes}


def swap_background(batch: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """A share of the targets in front of the background of another sample, whose own target is next to them.

    A detector that always gets a target in front of its own background learns the background; and a target is most
    easily mistaken for another target.
    """
    count = len(batch["box"])
    side = batch["frame"].shape[-1]
    other = torch.randperm(count)
    chosen = torch.rand(count) < share

    # the other target is one to two sizes away; pictures wrap around at their edges
    angle = 2 * torch.pi * torch.rand(count)
    distance = side * (0.2 + 0.3 * torch.rand(count))
    power = (2 ** (1 + 2 * torch.rand(count, 1)))[chosen]
    width = (1 + 0.2 * torch.rand(count, 1))[chosen]
    columns, rows = (
        (torch.arange(side) + (distance * part)[chosen].round().long()[:, None]) % side
        for part in (angle.cos(), angle.sin())
    )

    mask, mask_before = (_target_mask(batch[name][chosen], side, power, width) for name in ("box", "box_before"))
    is_unknown = mask * (torch.rand(len(mask), 1, 1, 1) < _UNKNOWN_BEHIND_SHARE)
    masks = {
        "frame": mask,
        "before": mask_before,
        "events": torch.maximum(mask, mask_before),
        "behind": torch.zeros_like(mask),
    }
    pictures = {}

    for name, target in masks.items():
        own = batch[name].float()
        channels = torch.arange(own.shape[1])[:, None, None]
        background = own[other[chosen, None, None, None], channels, rows[:, None, :, None], columns[:, None, None, :]]
        if name == "behind":
            background[:, 1:] *= 1 - is_unknown
        pictures[name] = own.index_put((chosen,), background + target * (own[chosen] - background))

    return {**batch, **pictures}


def _target_mask(boxes: Tensor, side: int, power: Tensor, width: Tensor) -> Float[Tensor, "B 1 S S"]:
    """1 on targets: ellipses at a power of 2, nearly the boxes themselves at 8; a little wider than these."""
    half = boxes[:, 2:] / 2
    x, y = (((torch.arange(side) + 0.5 - boxes[:, i : i + 1]) / half[:, i : i + 1] - 1).abs() / width for i in (0, 1))
    distance = ((x**power)[:, None, :] + (y**power)[:, :, None]) ** (1 / power)[:, :, None]
    return torch.sigmoid(8 * (1 - distance)).unsqueeze(1)


def jitter_aspect(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """All square pictures of a sample and their boxes with another aspect ratio."""
    count = len(batch["box"])
    side = batch["frame"].shape[-1]
    factor = (_MAX_LOG_ASPECT * (2 * torch.rand(count, 2) - 1)).exp()
    stack = resample(_stacked_pictures(batch, as_float=True), torch.full((count, 2), side / 2), side / factor, side)
    boxes = {name: _scaled(batch[name], factor, side / 2) for name in BOXES}

    return {**batch, **_split_pictures(batch, stack), **boxes}


def lower_resolution(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Some samples at a lower resolution, as of a small target.

    Every batch has samples of full resolution too, so that the statistics of batch norms fit both.
    """
    count = len(batch["box"])
    side = batch["frame"].shape[-1]
    small_side = round(side * _MAX_RESOLUTION_FACTOR ** -torch.rand(()).item())
    chosen = torch.rand(count) < _LOW_RESOLUTION_SHARE
    lowered = {}

    for name in PICTURES:
        small = F.interpolate(batch[name][chosen], (small_side, small_side), mode="bilinear", align_corners=False)
        coarse = F.interpolate(small, (side, side), mode="bilinear", align_corners=False)
        lowered[name] = batch[name].index_put((chosen,), coarse)

    return {**batch, **lowered}


def jitter_illumination(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Frames with another brightness, contrast and noise; events and masks scaled to 1; in some samples no events."""
    count = len(batch["box"])
    light, gamma = (
        (largest * (2 * torch.rand(count, 1, 1, 1) - 1)).exp() for largest in (_MAX_LOG_BRIGHTNESS, _MAX_LOG_GAMMA)
    )
    grey, known = batch["behind"].split(1, 1)
    frames = {"frame": batch["frame"], "before": batch["before"], "first": batch["first"], "behind": grey}
    changed = {name: 255 * (x / 255).pow(gamma) for name, x in frames.items()}

    # the background has no noise, and the first frame may have been in another light
    changed["behind"] = light * changed["behind"]
    noise = _MAX_NOISE * torch.rand(count, 1, 1, 1)
    for name in ("frame", "before"):
        changed[name] = light * changed[name] + noise * torch.randn_like(changed[name])

    has_events = (torch.rand(count, 1, 1, 1) > _NO_EVENTS_SHARE).float()
    pictures = {name: x.clamp(0, 255) for name, x in changed.items()}
    pictures["behind"] = torch.cat([pictures["behind"], known / 255], 1)

    return {**batch, **pictures, "events": has_events * batch["events"] / 255}


def vary_camera(batch: dict[str, Tensor], lose_events: float, contrast: float) -> dict[str, Tensor]:
    """Samples of the pathways as other cameras would have recorded them: fewer events, another contrast.

    The largest share of the events of a sample is removed, and the contrast around the mean of its frames changes by up
    to `contrast`, a logarithm.
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
    """Left, top, right and bottom of boxes."""
    return torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


def box_centers(boxes: Float[Tensor, "B 4"]) -> Float[Tensor, "B 2"]:
    """The centres `(x, y)` of boxes."""
    return boxes[:, :2] + boxes[:, 2:] / 2


def _boxes(centers: Tensor, sizes: Tensor) -> Float[Tensor, "B 4"]:
    return torch.cat([centers - sizes / 2, sizes], 1)


def _scaled(boxes: Tensor, factor: Tensor, around: float) -> Tensor:
    return torch.cat([around + factor * (boxes[:, :2] - around), factor * boxes[:, 2:]], 1)


def _stacked_pictures(batch: dict[str, Tensor], as_float: bool = False) -> Tensor:
    """All pictures of a batch with their channels one after the other: one operation instead of five."""
    return torch.cat([batch[name].float() if as_float else batch[name] for name in PICTURES], 1)


def _split_pictures(batch: dict[str, Tensor], stack: Tensor) -> dict[str, Tensor]:
    return dict(zip(PICTURES, stack.split([batch[name].shape[1] for name in PICTURES], 1), strict=True))


class _Flips(NamedTuple):
    """Flips of each sample: mirrored from left to right, then upside down, then rows and columns swapped."""

    across: Bool[Tensor, " B"]
    down: Bool[Tensor, " B"]
    swap: Bool[Tensor, " B"]


def draw_flips(count: int) -> _Flips:
    """Random flips of a number of samples; all eight are as likely."""
    return _Flips(*(torch.rand(count) < 0.5 for _ in _Flips._fields))


def flip_images(pictures: Shaped[Tensor, "..."], flips: _Flips, axis: int = 0) -> Shaped[Tensor, "..."]:
    """Square pictures, rows and columns last, each flipped; the samples are along `axis`."""
    samples = zip(pictures.unbind(axis), *(flip.tolist() for flip in flips), strict=True)
    return torch.stack([_flipped(picture, across, down, swap) for picture, across, down, swap in samples], axis)


def _flipped(picture: Tensor, across: bool, down: bool, swap: bool) -> Tensor:
    axes = [axis for axis, flip in ((-1, across), (-2, down)) if flip]
    if axes:
        picture = picture.flip(axes)

    return picture.transpose(-1, -2) if swap else picture


def flip_vectors(pairs: Float[Tensor, "*T B 2"], flips: _Flips, signed: bool = True) -> Float[Tensor, "*T B 2"]:
    """Displacements `(x, y)` flipped as pictures are; with `signed` False lengths, which no mirror changes."""
    if signed:
        pairs = torch.where(torch.stack([flips.across, flips.down], 1), -pairs, pairs)

    return torch.where(flips.swap[:, None], pairs.flip(-1), pairs)
