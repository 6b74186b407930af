"""The target detector: place and size of the target in a new frame, near a predicted box or in the whole frame.

A search patch is the picture around a box, scaled so that every target fills the same share of it. The detector
compares the patch of the new frame with that of the frame before, with the background, with the events between them and
with the template

    K = (1 - a) K_0 + a K_new

of the first frame and of the last confident detection. `K_0` never changes, so that one bad frame does no lasting harm
(the complementary filter of DashNet, Z. Yang et al., arXiv:1909.12942). Both templates are inputs, too: the last size
is the best evidence of the size in the new frame, unless it was wrong already.

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
from spikebridge.networks.sensing.model.heads import HARDNESS, MASK_SIZE, cross_spectrum, cut_out
from spikebridge.ops.saturation import clip

# side of a patch [its own px]
PATCH_SIDE = 64
# side of a cell, the unit of the spread of an untrained detector [px of a patch]
CELL = 2 * STRIDE
# side of a patch, in sides of a square target
CONTEXT_FACTOR = 2.6
# smaller targets get the patch of this side [px]
MIN_TARGET_SIDE = 12.0
# assumed sizes relative to the predicted one; on validation frames a third one between them gains nothing
SCALES = (0.87, 1.15)
# logarithm of a brightness ratio from which on a pixel counts fully as new
_FULL_CONTRAST = 0.5
# assumed where the background is unknown
_UNKNOWN_CONTRAST = 0.25
# the weight of a place without any change: a target may stand still
_MIN_WEIGHT = 0.02
# sides of a detected box [px]
MIN_SIZE = 2.0
_NUM_FEATURES = 8
# channels of a layer; twice as many where cells are twice as large
_NUM_HIDDEN = 64


class Detection(NamedTuple):
    """The boxes of the target, the standard deviation of their centres along an axis [px], and log-odds of cells.

    Cell (i, j) of `odds` is at `(8 j + 0.5, 8 i + 0.5)` of the 64 px of the patch.
    """

    boxes: Float[Tensor, "B 4"]
    spread: Float[Tensor, " B"]
    odds: Float[Tensor, "B N N"]


def blend_templates(first: Tensor, newest: Tensor, a: float) -> Tensor:
    """The template `K = (1 - a) K_0 + a K_new`."""
    if not 0 <= a <= 1:
        raise ConfigError(f"the share of the newest template is a number from 0 to 1, but got {a}")

    return (1 - a) * first + a * newest


class TargetDetector(nn.Module):
    """A convolutional network on the patches of a predicted box. Each cell votes for a box, weighted by its odds."""

    def __init__(self) -> None:
        super().__init__()
        self.what = WhatPathway(_NUM_FEATURES)
        n = _NUM_HIDDEN

        self.body = nn.Sequential(
            *_layer(4 * _NUM_FEATURES + 7, n, 2),
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
        """The target's features, by grey levels 0 to 255 and boxes, without the mean of the features around."""
        features = self.what(search_patches(pictures, boxes))
        return cut_out(features, target_mask(boxes, features.shape[-1]))

    def forward(
        self,
        frame: Float[Tensor, "B 1 H W"],
        before: Float[Tensor, "B 1 H W"],
        events: Float[Tensor, "B 2 H W"],
        behind: Float[Tensor, "B 2 H W"],
        boxes: Float[Tensor, "B 4"],
        first: Float[Tensor, "#B C N N"],
        newest: Float[Tensor, "#B C N N"],
        a: float,
    ) -> Detection:
        """The box of the target in a new frame, by the frame before, grey levels 0 to 255, and the events between them.

        `events` are ON and OFF, 1 where there was any; `behind` is the background, grey levels and 1 where they are
        known. `boxes` are predicted. `first` and `newest` are the templates `K_0` and `K_new` of each sample, or one
        for all, and `a` is the share of the newest one in `K`.
        """
        sides = patch_side(boxes)[:, None].expand(-1, 2)
        grid = _sampling_grid(frame, boxes[:, :2] + boxes[:, 2:] / 2, sides, PATCH_SIDE)
        sample = partial(F.grid_sample, grid=grid, padding_mode="border", align_corners=False)

        patch = sample(frame)
        features, features_before = self.what(torch.cat([patch, sample(before)])).chunk(2)
        mask = target_mask(boxes, features.shape[-1])
        event_map = F.avg_pool2d(sample(events), STRIDE)
        difference = _background_difference(patch, sample(behind))
        similarity = correlation(features, blend_templates(first, newest, a)).unsqueeze(1)
        templates = torch.cat([first, newest], 1).expand(len(features), -1, -1, -1)

        inputs = [features, features - features_before, templates, mask, event_map, difference, similarity]
        votes = self.votes(self.body(torch.cat(inputs, 1)))

        return _decode_votes(votes, boxes)


def search_full_frame(
    what: nn.Module,
    frame: Float[Tensor, "1 1 H W"],
    behind: Float[Tensor, "1 2 H W"],
    box: Float[Tensor, "1 4"],
    template: Float[Tensor, "1 C N N"],
) -> Float[Tensor, "1 4"]:
    """The box of a size, in a whole frame, at which a template fits best, weighted by the difference to the background.

    `what` is the pathway that reads the frame.
    """
    # the frame at the scale of a patch
    scale = PATCH_SIDE / float(patch_side(box))
    size = [max(PATCH_SIDE, round(n * scale)) for n in frame.shape[2:]]
    both = F.interpolate(torch.cat([frame, behind], 1), size, mode="bilinear", align_corners=False)
    frame_scaled, behind_scaled = both.split([1, 2], 1)

    features = what(frame_scaled)
    mask = target_mask(box, template.shape[-1])
    energy = _correlate(features.square().sum(1, keepdim=True), mask.square())
    fits = _correlate(features, template) / (energy.clamp(min=0) + 1.0).sqrt()

    contrast = (log_contrast(frame_scaled, behind_scaled).abs() / _FULL_CONTRAST).clamp(max=1)
    contrast = contrast + _UNKNOWN_CONTRAST * (1 - behind_scaled[:, 1:])
    novelty = _correlate(F.avg_pool2d(contrast, STRIDE, ceil_mode=True), mask / mask.sum())
    fits = clip(fits, low=0) * (novelty + _MIN_WEIGHT)

    # the template's centre is the edge between two cells
    row, column = divmod(int(fits[0].argmax()), fits.shape[-1])
    cell = torch.tensor([[column, row]], dtype=box.dtype, device=box.device)
    num_cells = torch.tensor([[fits.shape[-1], fits.shape[-2]]], dtype=box.dtype, device=box.device)
    extent = torch.tensor([[frame.shape[-1], frame.shape[-2]]], dtype=box.dtype, device=box.device)

    return torch.cat([cell / num_cells * extent - box[:, 2:] / 2, box[:, 2:]], 1)


def _background_difference(
    patch: Float[Tensor, "B 1 S S"], behind: Float[Tensor, "B 2 S S"]
) -> Float[Tensor, "B 3 N N"]:
    """Brightness relative to the background, its absolute value, and the known share, by cell."""
    brighter = log_contrast(patch, behind)
    return F.avg_pool2d(torch.cat([brighter, brighter.abs(), behind[:, 1:]], 1), STRIDE)


def correlation(features: Float[Tensor, "B C N N"], template: Float[Tensor, "#B C N N"]) -> Float[Tensor, "B N N"]:
    """The correlation of a patch with a template, the target in its centre, at each cell: 1 with itself."""
    return _correlate(features, template) / (template.square().sum((1, 2, 3)) + 1e-6)[:, None, None]


def _correlate(features: Float[Tensor, "B C H W"], template: Float[Tensor, "#B C N N"]) -> Float[Tensor, "B H W"]:
    """`sum_d T(d) . f(x + d)` with d from the template's centre, for every x."""
    height, width = features.shape[2:]
    num_cells = template.shape[-1]
    half = num_cells // 2

    # places that wrap around are farther away than half a template
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
    size = torch.stack([right - left, bottom - top], 1).clamp(min=MIN_SIZE)
    center = boxes[:, :2] + boxes[:, 2:] / 2 + torch.stack([left + right, top + bottom], 1) / 2
    spread = (share * log_spread).sum((1, 2)).exp() * patch_side(boxes) / CELL

    return Detection(torch.cat([center - size / 2, size], 1), spread, odds)


def _layer(num_in: int, num_out: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(num_in, num_out, 3, stride, 1, bias=False)
    return [conv, nn.BatchNorm2d(num_out), nn.ReLU()]


def patch_side(boxes: Float[Tensor, "B 4"]) -> Float[Tensor, " B"]:
    """Side of the square around a box that a patch shows [px]."""
    return CONTEXT_FACTOR * boxes[:, 2:].prod(1).clamp(min=0).sqrt().clamp(min=MIN_TARGET_SIDE)


def search_patches(pictures: Float[Tensor, "B C H W"], boxes: Float[Tensor, "B 4"]) -> Float[Tensor, "B C S S"]:
    """Patches of frames, or images of events, around boxes; beyond the edges the nearest pixels are repeated."""
    return resample(pictures, boxes[:, :2] + boxes[:, 2:] / 2, patch_side(boxes)[:, None].expand(-1, 2), PATCH_SIDE)


def resample(
    pictures: Float[Tensor, "B C H W"], centers: Float[Tensor, "B 2"], sides: Float[Tensor, "B 2"], size: int
) -> Float[Tensor, "B C S S"]:
    """Rectangles of pictures, by centres `(x, y)`, widths and heights [px], as squares of `size` pixels, bilinear."""
    grid = _sampling_grid(pictures, centers, sides, size)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def _sampling_grid(
    pictures: Float[Tensor, "B C H W"], centers: Float[Tensor, "B 2"], sides: Float[Tensor, "B 2"], size: int
) -> Float[Tensor, "B S S 2"]:
    """The positions of `resample`, from -1 at one outer edge of the picture to 1 at the other."""
    steps = (torch.arange(size, dtype=centers.dtype, device=centers.device) + 0.5) / size - 0.5
    x = 2 * (centers[:, :1] + sides[:, :1] * steps) / pictures.shape[3] - 1
    y = 2 * (centers[:, 1:] + sides[:, 1:] * steps) / pictures.shape[2] - 1

    return torch.stack([x[:, None, :].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], -1)


def target_mask(boxes: Float[Tensor, "B 4"], num_cells: int) -> Float[Tensor, "B 1 N N"]:
    """A soft ellipse of the shape of a box in the centre of a patch: 1 on the target, 0 away from it."""
    half = MASK_SIZE * boxes[:, 2:] / patch_side(boxes)[:, None]
    steps = cell_offsets(num_cells, like=boxes)
    x = steps / half[:, :1]
    y = steps / half[:, 1:]
    distance = (x.square()[:, None, :] + y.square()[:, :, None]).sqrt()

    return torch.sigmoid(HARDNESS * (1 - distance)).unsqueeze(1)


def cell_offsets(num_cells: int, like: Tensor) -> Float[Tensor, " N"]:
    """Positions of cells relative to the centre of a patch [sides of it]; a stride starts at the first pixel."""
    stride = PATCH_SIDE // num_cells
    return (torch.arange(num_cells, dtype=like.dtype, device=like.device) * stride + 0.5) / PATCH_SIDE - 0.5
