"""The target detector: place and size of the target in a new frame, near a predicted box or in the whole frame.

A patch is the picture around a box, scaled so that every target fills the same share of it. The detector compares the
patch of the new frame with that of the frame before, with the background, with the events between them and with the
template

    K = (1 - a) K_0 + a K_new

of the first frame and of the last confident detection. `K_0` never changes, so that one bad frame does no lasting harm
(the complementary filter of DashNet, Z. Yang et al., arXiv:1909.12942). Both templates are inputs, too: the last size
is the best evidence of the size now, unless it was wrong already.

Boxes are `(x, y, w, h)` with the upper left corner, in pixels of the picture.
"""

from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.networks.sensing.model.backbones import STRIDE, WhatPathway
from spikebridge.networks.sensing.model.background import log_contrast
from spikebridge.networks.sensing.model.heads import cross_spectrum, cut_out
from spikebridge.ops.saturation import clip

SCALES = (0.87, 1.15)
"""Assumed sizes relative to the predicted one; on validation frames a third one between them gains nothing."""
CELL = 2 * STRIDE
"""Side of a cell, the unit of the spread of an untrained detector [px of a patch]."""
_FULL_CONTRAST = 0.5  # logarithm of a brightness ratio from which on a pixel counts fully as new
_UNKNOWN_CONTRAST = 0.25  # assumed where the background is unknown
_MIN_WEIGHT = 0.02  # of places without any change: a target may stand still


class Detection(NamedTuple):
    """The answer of the detector.

    Args:
        boxes: of the target.
        spread: standard deviation of the centre along an axis [px].
        odds: log-odds of the cells of the patch; cell (i, j) is at the place `(8 j + 0.5, 8 i + 0.5)` of its 64 px.
    """

    boxes: Float[Tensor, "B 4"]
    spread: Float[Tensor, " B"]
    odds: Float[Tensor, "B N N"]


def blend_templates(first: Tensor, newest: Tensor, a: float) -> Tensor:
    """The template `K = (1 - a) K_0 + a K_new`.

    Args:
        first: `K_0`.
        newest: `K_new`.
        a: share of the newest, from 0 to 1.

    Example:
        >>> blend_templates(torch.tensor([1.0]), torch.tensor([2.0]), a=0.25).item()
        1.25
    """
    if not 0 <= a <= 1:
        raise ConfigError(f"the share of the newest template is a number from 0 to 1, but got {a}")

    return (1 - a) * first + a * newest


class TargetDetector(nn.Module):
    """A convolutional network on the patches of a predicted box. Each cell votes for a box, weighted by its odds.

    Args:
        num_features: channels of the ANN's features.
        num_hidden: channels of the layers that compare them; twice as many where cells are twice as large.

    Example:
        >>> detector = TargetDetector().eval()
        >>> frames, box = torch.rand(1, 1, 90, 90), torch.tensor([[30.0, 40.0, 20.0, 16.0]])
        >>> template = detector.template(frames, box)
        >>> nothing = torch.zeros(1, 2, 90, 90)  # no events, and an unknown background
        >>> found = detector(frames, frames, nothing, nothing, box, template, template, a=0.3)
        >>> found.boxes.shape, found.odds.shape
        (torch.Size([1, 4]), torch.Size([1, 8, 8]))
    """

    def __init__(self, num_features: int = 8, num_hidden: int = 64) -> None:
        super().__init__()
        self.what = WhatPathway(num_features)
        n = num_hidden

        self.body = nn.Sequential(
            *_layer(4 * num_features + 7, n, 2),
            *_layer(n, n, 1),
            *_layer(n, 2 * n, 2),
            *_layer(2 * n, 2 * n, 1),
            *_layer(2 * n, 2 * n, 1),
            *_layer(2 * n, 2 * n, 1),
            nn.Dropout2d(0.05),
        )

        # log-odds, four edges and the logarithm of the spread
        self.votes = nn.Conv2d(2 * n, 6, 1)
        with torch.no_grad():
            self.votes.weight[1:] = 0

    def template(self, pictures: Float[Tensor, "B 1 H W"], boxes: Float[Tensor, "B 4"]) -> Float[Tensor, "B C N N"]:
        """The target's features, without the mean of what is around.

        Args:
            pictures: grey levels 0 to 255.
            boxes: of the target.
        """
        features = self.what(search_patches(pictures, boxes))
        return cut_out(features, target_mask(boxes, features.shape[-1]))

    def forward(
        self,
        now: Float[Tensor, "B 1 H W"],
        before: Float[Tensor, "B 1 H W"],
        events: Float[Tensor, "B 2 H W"],
        behind: Float[Tensor, "B 2 H W"],
        boxes: Float[Tensor, "B 4"],
        first: Float[Tensor, "#B C N N"],
        newest: Float[Tensor, "#B C N N"],
        a: float,
    ) -> Detection:
        """The box of the target.

        Args:
            now: the new frame, grey levels 0 to 255.
            before: the frame before.
            events: between the two, ON and OFF, 1 where there was any.
            behind: the background in the new frame: grey levels, and 1 where they are known.
            boxes: predicted boxes in the new frame.
            first: template `K_0` of each sample, or one for all.
            newest: `K_new`, likewise.
            a: share of the newest template in `K`.
        """
        grid = _sampling_grid(
            now, boxes[:, :2] + boxes[:, 2:] / 2, patch_side(boxes)[:, None].expand(-1, 2), PATCH_SIDE
        )
        look = partial(F.grid_sample, grid=grid, padding_mode="border", align_corners=False)
        patch = look(now)
        seen, last = self.what(torch.cat([patch, look(before)])).chunk(2)
        mask = target_mask(boxes, seen.shape[-1])
        event_map = F.avg_pool2d(look(events), STRIDE)
        new = _background_difference(patch, look(behind))
        alike = correlation(seen, blend_templates(first, newest, a)).unsqueeze(1)
        known = torch.cat([first, newest], 1).expand(len(seen), -1, -1, -1)
        votes = self.votes(self.body(torch.cat([seen, seen - last, known, mask, event_map, new, alike], 1)))

        return _decode_votes(votes, boxes)

    def detect_multiscale(
        self,
        now: Float[Tensor, "1 1 H W"],
        before: Float[Tensor, "1 1 H W"],
        events: Float[Tensor, "1 2 H W"],
        behind: Float[Tensor, "1 2 H W"],
        box: Float[Tensor, "1 4"],
        first: Float[Tensor, "1 C N N"],
        newest: Float[Tensor, "1 C N N"],
        a: float,
    ) -> Detection:
        """The mean over two assumed sizes: in a closed loop a wrong size would otherwise confirm itself.

        Args:
            now: as for `forward`, and so on; one sample.
            before: the frame before.
            events: between the two.
            behind: the background.
            box: the predicted box.
            first: `K_0`.
            newest: `K_new`.
            a: share of the newest template in `K`.
        """
        scales = torch.tensor(SCALES, dtype=box.dtype, device=box.device)[:, None]
        sizes = scales * box[:, 2:]
        boxes = torch.cat([box[:, :2] + box[:, 2:] / 2 - sizes / 2, sizes], 1)
        several = (x.expand(len(boxes), -1, -1, -1) for x in (now, before, events, behind))
        found = self(*several, boxes, first, newest, a)

        return Detection(*(part.mean(0, keepdim=True) for part in found))

    def search(
        self,
        picture: Float[Tensor, "1 1 H W"],
        behind: Float[Tensor, "1 2 H W"],
        box: Float[Tensor, "1 4"],
        template: Float[Tensor, "1 C N N"],
    ) -> Float[Tensor, "1 4"]:
        """The box in the whole frame at which the template fits best, for a lost target.

        Args:
            picture: grey levels 0 to 255.
            behind: the background.
            box: of the size to search for.
            template: `K`.
        """
        return search_full_frame(self.what, picture, behind, box, template)


def search_full_frame(
    what: nn.Module,
    picture: Float[Tensor, "1 1 H W"],
    behind: Float[Tensor, "1 2 H W"],
    box: Float[Tensor, "1 4"],
    template: Float[Tensor, "1 C N N"],
) -> Float[Tensor, "1 4"]:
    """The box in a whole frame at which a template fits best, weighted by the difference to the background.

    Args:
        what: the pathway that reads the frame.
        picture: grey levels 0 to 255.
        behind: the background: grey levels, and 1 where they are known.
        box: of the size to search for.
        template: of a patch.
    """
    scale = PATCH_SIDE / float(patch_side(box))
    size = [max(PATCH_SIDE, round(n * scale)) for n in picture.shape[2:]]
    both = F.interpolate(torch.cat([picture, behind], 1), size, mode="bilinear", align_corners=False)
    seen, scaled = both.split([1, 2], 1)
    features = what(seen)
    mask = target_mask(box, template.shape[-1])
    energy = _correlate(features.square().sum(1, keepdim=True), mask.square())
    fits = _correlate(features, template) / (energy.clamp(min=0) + 1.0).sqrt()
    stands_out = (log_contrast(seen, scaled).abs() / _FULL_CONTRAST).clamp(max=1) + _UNKNOWN_CONTRAST * (
        1 - scaled[:, 1:]
    )
    new = _correlate(F.avg_pool2d(stands_out, STRIDE, ceil_mode=True), mask / mask.sum())
    fits = clip(fits, low=0) * (new + _MIN_WEIGHT)
    row, column = divmod(int(fits[0].argmax()), fits.shape[-1])

    # the template's middle is the edge between two cells
    cell = torch.tensor([[column, row]], dtype=box.dtype, device=box.device)
    whole = torch.tensor([[fits.shape[-1], fits.shape[-2]]], dtype=box.dtype, device=box.device)
    extent = torch.tensor([[picture.shape[-1], picture.shape[-2]]], dtype=box.dtype, device=box.device)

    return torch.cat([cell / whole * extent - box[:, 2:] / 2, box[:, 2:]], 1)


def _background_difference(
    patch: Float[Tensor, "B 1 S S"], behind: Float[Tensor, "B 2 S S"]
) -> Float[Tensor, "B 3 N N"]:
    """Brightness relative to the background, its absolute value, and the known share, by cell."""
    brighter = log_contrast(patch, behind)
    return F.avg_pool2d(torch.cat([brighter, brighter.abs(), behind[:, 1:]], 1), STRIDE)


def correlation(features: Float[Tensor, "B C N N"], template: Float[Tensor, "#B C N N"]) -> Float[Tensor, "B N N"]:
    """The correlation with a template at each cell: 1 with itself.

    Args:
        features: of a patch.
        template: of a patch of the same size, its target in the centre; one for each sample or one for all.
    """
    return _correlate(features, template) / (template.square().sum((1, 2, 3)) + 1e-6)[:, None, None]


def _correlate(features: Float[Tensor, "B C H W"], template: Float[Tensor, "#B C N N"]) -> Float[Tensor, "B H W"]:
    """`sum_d T(d) . f(x + d)` with d from the template's middle, for every x."""
    height, width = features.shape[2:]
    num_cells = template.shape[-1]
    half = num_cells // 2

    # what wraps around is farther away than half a template
    size = (height + num_cells - half, width + num_cells - half)
    fits = torch.fft.irfft2(cross_spectrum(features, template, size), s=size).roll((half, half), (1, 2))

    return fits[:, :height, :width]


def _decode_votes(votes: Float[Tensor, "B 6 N N"], boxes: Float[Tensor, "B 4"]) -> Detection:
    """The mean of the boxes that the cells vote for."""
    num_cells = votes.shape[-1]
    odds = votes[:, 0]
    shifts = votes[:, 1:5]
    log_spread = votes[:, 5]
    share = odds.flatten(1).softmax(1).reshape(odds.shape)
    steps = cell_offsets(num_cells, like=votes)
    x = steps.expand(num_cells, num_cells)
    y = steps.unsqueeze(1).expand(num_cells, num_cells)

    # an untrained detector predicts a quarter of the patch on each side of a cell
    edges = torch.stack([x - 0.25, y - 0.25, x + 0.25, y + 0.25]) + shifts
    left, top, right, bottom = ((share.unsqueeze(1) * edges).sum((2, 3)) * patch_side(boxes)[:, None]).unbind(1)
    size = torch.stack([right - left, bottom - top], 1).clamp(min=2.0)
    middle = boxes[:, :2] + boxes[:, 2:] / 2 + torch.stack([left + right, top + bottom], 1) / 2
    spread = (share * log_spread).sum((1, 2)).exp() * patch_side(boxes) / CELL

    return Detection(torch.cat([middle - size / 2, size], 1), spread, odds)


def _layer(num_in: int, num_out: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(num_in, num_out, 3, stride, 1, bias=False)
    return [conv, nn.BatchNorm2d(num_out), nn.ReLU()]


PATCH_SIDE = 64
"""Side of a patch [its own px]."""
CONTEXT_FACTOR = 2.6
"""Side of a patch, in sides of a square target."""
MIN_TARGET_SIDE = 12.0
"""Smaller targets get the patch of this side [px]."""


def patch_side(boxes: Float[Tensor, "B 4"]) -> Float[Tensor, " B"]:
    """Side of the square around a box that a patch shows [px].

    Example:
        >>> patch_side(torch.tensor([[0.0, 0.0, 40.0, 10.0]])).item()  # 2.6 times the root of 400
        52.0
    """
    return CONTEXT_FACTOR * boxes[:, 2:].prod(1).clamp(min=0).sqrt().clamp(min=MIN_TARGET_SIDE)


def search_patches(pictures: Float[Tensor, "B C H W"], boxes: Float[Tensor, "B 4"]) -> Float[Tensor, "B C S S"]:
    """Patches of pictures around boxes; beyond the edges the nearest pixels are repeated.

    Args:
        pictures: frames, or images of events.
        boxes: in the centre of each patch.

    Example:
        >>> box = torch.tensor([[20.0, 20.0, 64 / 2.6, 64 / 2.6]])  # a patch of 64 px: no scaling
        >>> picture = torch.arange(100.0).expand(1, 1, 100, 100)
        >>> seen = search_patches(picture, box)
        >>> round(seen[0, 0, 0, 1].item() - seen[0, 0, 0, 0].item(), 3)
        1.0
    """
    return resample(pictures, boxes[:, :2] + boxes[:, 2:] / 2, patch_side(boxes)[:, None].expand(-1, 2), PATCH_SIDE)


def resample(
    pictures: Float[Tensor, "B C H W"], middles: Float[Tensor, "B 2"], sides: Float[Tensor, "B 2"], size: int
) -> Float[Tensor, "B C S S"]:
    """Rectangles of pictures as squares of `size` pixels, bilinear.

    Args:
        pictures: pixel i covers `[i, i + 1)`.
        middles: of the rectangles, `(x, y)` [px].
        sides: width and height of them [px].
        size: of what comes out.

    Example:
        >>> resample(torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[1.0, 0.5]]), torch.ones(1, 2), 1).item()
        2.0
    """
    grid = _sampling_grid(pictures, middles, sides, size)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def _sampling_grid(
    pictures: Float[Tensor, "B C H W"], middles: Float[Tensor, "B 2"], sides: Float[Tensor, "B 2"], size: int
) -> Float[Tensor, "B S S 2"]:
    """The places of `resample`, from -1 at one edge of the picture to 1 at the other.

    Args:
        pictures: as for `resample`, and so on.
        middles: of the rectangles.
        sides: width and height of them.
        size: of what comes out.
    """
    steps = (torch.arange(size, dtype=middles.dtype, device=middles.device) + 0.5) / size - 0.5
    # -1 and 1 are the outer edges of the picture
    x = 2 * (middles[:, :1] + sides[:, :1] * steps) / pictures.shape[3] - 1
    y = 2 * (middles[:, 1:] + sides[:, 1:] * steps) / pictures.shape[2] - 1

    return torch.stack([x[:, None, :].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], -1)


def target_mask(boxes: Float[Tensor, "B 4"], num_cells: int) -> Float[Tensor, "B 1 N N"]:
    """A soft ellipse in the centre of a patch: 1 on the target, 0 away from it.

    Args:
        boxes: of the patch; only their shape is used.
        num_cells: along each side.
    """
    half = 0.55 * boxes[:, 2:] / patch_side(boxes)[:, None]
    steps = cell_offsets(num_cells, like=boxes)
    x = steps / half[:, :1]
    y = steps / half[:, 1:]
    away = (x.square()[:, None, :] + y.square()[:, :, None]).sqrt()

    return torch.sigmoid(4 * (1 - away)).unsqueeze(1)


def cell_offsets(num_cells: int, like: Tensor) -> Float[Tensor, " N"]:
    """Positions of cells relative to the centre of a patch, in units of its side; a stride starts at the first pixel.

    Args:
        num_cells: along a side.
        like: has the type and the device.
    """
    stride = PATCH_SIDE // num_cells
    return (torch.arange(num_cells, dtype=like.dtype, device=like.device) * stride + 0.5) / PATCH_SIDE - 0.5
