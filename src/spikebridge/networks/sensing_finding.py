"""Where is the target in a new frame, and how large is it? The ANN's answer at every frame.

A sight is a picture around a box, scaled so that every target fills the same share of it. The finder compares the
sight of the new frame with that of the frame before, with the events between them and with the template

    K = (1 - a) K_0 + a K_new

of the first frame and of the newest one in which the target was surely seen. `K_0` never changes, so that one bad frame
does no lasting harm (the complementary filter of DashNet, Z. Yang et al., arXiv:1909.12942).

Boxes are `(x, y, w, h)` with the upper left corner, in pixels of the picture.
"""

from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.networks.sensing_pathways import STRIDE, WhatPathway

SIDE = 64
"""Side of a sight [its own px]."""
CONTEXT = 2.6
"""Side of a sight, in sides of a square target."""
SMALLEST = 12.0
"""Smaller targets are looked at as if they had this side [px]."""
SCALES = (0.87, 1.15)
"""Of the believed size, when several are asked; on validation frames a third one between them makes it no better."""
_CELL = 2 * STRIDE


class Found(NamedTuple):
    """What the finder says.

    Args:
        boxes: where the target is, and its size.
        spread: how far the middle may be off along an axis [px].
        odds: log-odds of the cells of the sight; cell (i, j) looks at the place `(4 j + 0.5, 4 i + 0.5)` of its 64 px.
    """

    boxes: Float[Tensor, "B 4"]
    spread: Float[Tensor, " B"]
    odds: Float[Tensor, "B N N"]


def sight_side(boxes: Float[Tensor, "B 4"]) -> Float[Tensor, " B"]:
    """How much of a picture is seen around a box: the side of the square [px].

    Example:
        >>> sight_side(torch.tensor([[0.0, 0.0, 40.0, 10.0]])).item()  # 2.6 times the root of 400
        52.0
    """
    return CONTEXT * boxes[:, 2:].prod(1).clamp(min=0).sqrt().clamp(min=SMALLEST)


def sights(pictures: Float[Tensor, "B C H W"], boxes: Float[Tensor, "B 4"]) -> Float[Tensor, "B C S S"]:
    """Pictures around boxes, all at one scale; where they stick out the nearest pixels are repeated.

    Args:
        pictures: frames, or events laid out.
        boxes: what is in the middle of each sight.

    Example:
        >>> box = torch.tensor([[20.0, 20.0, 64 / 2.6, 64 / 2.6]])  # a sight of 64 px: nothing is scaled
        >>> picture = torch.arange(100.0).expand(1, 1, 100, 100)
        >>> seen = sights(picture, box)
        >>> round(seen[0, 0, 0, 1].item() - seen[0, 0, 0, 0].item(), 3)
        1.0
    """
    return resampled(pictures, boxes[:, :2] + boxes[:, 2:] / 2, sight_side(boxes)[:, None].expand(-1, 2), SIDE)


def resampled(
    pictures: Float[Tensor, "B C H W"], middles: Float[Tensor, "B 2"], sides: Float[Tensor, "B 2"], size: int
) -> Float[Tensor, "B C S S"]:
    """Rectangles of pictures as squares of `size` pixels, bilinear.

    Args:
        pictures: pixel i covers `[i, i + 1)`.
        middles: of the rectangles, `(x, y)` [px].
        sides: width and height of them [px].
        size: of what comes out.

    Example:
        >>> resampled(torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[1.0, 0.5]]), torch.ones(1, 2), 1).item()
        2.0
    """
    grid = _grid(pictures, middles, sides, size)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def _grid(pictures: Tensor, middles: Tensor, sides: Tensor, size: int) -> Float[Tensor, "B S S 2"]:
    steps = (torch.arange(size, dtype=middles.dtype, device=middles.device) + 0.5) / size - 0.5
    # -1 and 1 are the outer edges of the picture
    x = 2 * (middles[:, :1] + sides[:, :1] * steps) / pictures.shape[3] - 1
    y = 2 * (middles[:, 1:] + sides[:, 1:] * steps) / pictures.shape[2] - 1
    return torch.stack([x[:, None, :].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], -1)


def target_mask(boxes: Float[Tensor, "B 4"], num_cells: int) -> Float[Tensor, "B 1 N N"]:
    """A soft ellipse in the middle of a sight: 1 on the target, 0 away from it.

    Args:
        boxes: of the sight; only their shape counts.
        num_cells: along each side.
    """
    half = 0.55 * boxes[:, 2:] / sight_side(boxes)[:, None]
    steps = _places(num_cells, like=boxes)
    x, y = steps / half[:, :1], steps / half[:, 1:]
    away = (x.square()[:, None, :] + y.square()[:, :, None]).sqrt()
    return torch.sigmoid(4 * (1 - away)).unsqueeze(1)


def filtered(first: Tensor, newest: Tensor, a: float) -> Tensor:
    """The template `K = (1 - a) K_0 + a K_new`.

    Args:
        first: `K_0`.
        newest: `K_new`.
        a: share of the newest, from 0 to 1.

    Example:
        >>> filtered(torch.tensor([1.0]), torch.tensor([2.0]), a=0.25).item()
        1.25
    """
    if not 0 <= a <= 1:
        raise ConfigError(f"the share of the newest template is a number from 0 to 1, but got {a}")
    return (1 - a) * first + a * newest


class Finder(nn.Module):
    """Convolutions over all that is seen around a believed box. Each cell votes for a box, and counts by its odds.

    Args:
        num_features: channels of the ANN's features.
        num_hidden: channels of what compares them.

    Example:
        >>> finder = Finder().eval()
        >>> frames, box = torch.rand(1, 1, 90, 90), torch.tensor([[30.0, 40.0, 20.0, 16.0]])
        >>> found = finder(frames, frames, torch.zeros(1, 2, 90, 90), box, finder.template(frames, box))
        >>> found.boxes.shape, found.odds.shape
        (torch.Size([1, 4]), torch.Size([1, 16, 16]))
    """

    def __init__(self, num_features: int = 8, num_hidden: int = 24) -> None:
        super().__init__()
        self.what = WhatPathway(num_features)
        n = num_hidden
        self.body = nn.Sequential(
            *_layer(2 * num_features + 4, n, 1, 1),
            *_layer(n, n, 2, 1),
            *_layer(n, n, 1, 2),
            *_layer(n, n, 1, 4),
            *_layer(n, n, 1, 2),
            nn.Dropout2d(0.1),
        )
        # log-odds, four edges and the logarithm of the spread
        self.votes = nn.Conv2d(n, 6, 1)
        with torch.no_grad():
            self.votes.weight[1:] = 0

    def template(self, pictures: Float[Tensor, "B 1 H W"], boxes: Float[Tensor, "B 4"]) -> Float[Tensor, "B C N N"]:
        """The target's features, without the mean of what is around.

        Args:
            pictures: grey levels 0 to 255.
            boxes: of the target.
        """
        features = self.what(sights(pictures, boxes))
        mask = target_mask(boxes, features.shape[-1])
        around = (features * (1 - mask)).sum((2, 3), keepdim=True) / (1 - mask).sum((2, 3), keepdim=True)
        return mask * (features - around)

    def forward(
        self,
        now: Float[Tensor, "B 1 H W"],
        before: Float[Tensor, "B 1 H W"],
        events: Float[Tensor, "B 2 H W"],
        boxes: Float[Tensor, "B 4"],
        template: Float[Tensor, "#B C N N"],
    ) -> Found:
        """Where the target is.

        Args:
            now: the new frame, grey levels 0 to 255.
            before: the frame before.
            events: between the two, ON and OFF, 1 where there was any.
            boxes: where the target is believed to be in the new frame.
            template: `K` of each sample, or one for all.
        """
        grid = _grid(now, boxes[:, :2] + boxes[:, 2:] / 2, sight_side(boxes)[:, None].expand(-1, 2), SIDE)
        look = partial(F.grid_sample, grid=grid, padding_mode="border", align_corners=False)
        seen, last = self.what(torch.cat([look(now), look(before)])).chunk(2)
        mask = target_mask(boxes, seen.shape[-1])
        stirred = F.avg_pool2d(look(events), STRIDE)
        alike = correlation(seen, template).unsqueeze(1)
        votes = self.votes(self.body(torch.cat([seen, seen - last, mask, stirred, alike], 1)))
        return _counted(votes, boxes)

    def agreed(
        self,
        now: Float[Tensor, "1 1 H W"],
        before: Float[Tensor, "1 1 H W"],
        events: Float[Tensor, "1 2 H W"],
        box: Float[Tensor, "1 4"],
        template: Float[Tensor, "1 C N N"],
    ) -> Found:
        """The mean of what is found when the target is believed smaller and larger than it is: in a closed loop a
        wrong size would else confirm itself.

        Args:
            now: as for `forward`, and so on; one sample.
            before: the frame before.
            events: between the two.
            box: where the target is believed to be.
            template: `K`.
        """
        scales = torch.tensor(SCALES, dtype=box.dtype, device=box.device)[:, None]
        sizes = scales * box[:, 2:]
        boxes = torch.cat([box[:, :2] + box[:, 2:] / 2 - sizes / 2, sizes], 1)
        several = (x.expand(len(boxes), -1, -1, -1) for x in (now, before, events))
        found = self(*several, boxes, template)
        return Found(*(part.mean(0, keepdim=True) for part in found))

    def search(
        self, picture: Float[Tensor, "1 1 H W"], box: Float[Tensor, "1 4"], template: Float[Tensor, "1 C N N"]
    ) -> Float[Tensor, "1 4"]:
        """Where in the whole frame the template fits best, for a target that was lost.

        Args:
            picture: grey levels 0 to 255.
            box: of the size that is looked for.
            template: `K`.
        """
        scale = SIDE / float(sight_side(box))
        size = [max(SIDE, round(n * scale)) for n in picture.shape[2:]]
        features = self.what(F.interpolate(picture, size, mode="bilinear", align_corners=False))
        mask = target_mask(box, template.shape[-1])
        energy = _shifted(features.square().sum(1, keepdim=True), mask.square())
        fits = _shifted(features, template) / (energy.clamp(min=0) + 1.0).sqrt()
        row, column = divmod(int(fits[0].argmax()), fits.shape[-1])
        # the template's middle is the edge between two cells
        cell = torch.tensor([[column, row]], dtype=box.dtype, device=box.device)
        whole = torch.tensor([[fits.shape[-1], fits.shape[-2]]], dtype=box.dtype, device=box.device)
        extent = torch.tensor([[picture.shape[-1], picture.shape[-2]]], dtype=box.dtype, device=box.device)
        return torch.cat([cell / whole * extent - box[:, 2:] / 2, box[:, 2:]], 1)


def correlation(features: Float[Tensor, "B C N N"], template: Float[Tensor, "#B C N N"]) -> Float[Tensor, "B N N"]:
    """How well a template fits at each cell: 1 where it finds itself.

    Args:
        features: of a sight.
        template: of a sight of the same size, its target in the middle; one for all features will do.
    """
    return _shifted(features, template) / (template.square().sum((1, 2, 3)) + 1e-6)[:, None, None]


def _shifted(features: Float[Tensor, "B C H W"], template: Float[Tensor, "#B C N N"]) -> Float[Tensor, "B H W"]:
    """`sum_d T(d) . f(x + d)` with d from the template's middle, for every x."""
    height, width = features.shape[2:]
    num_cells = template.shape[-1]
    size = (height + num_cells, width + num_cells)
    product = (torch.fft.rfft2(features, s=size) * torch.fft.rfft2(template, s=size).conj()).sum(1)
    fits = torch.fft.irfft2(product, s=size).roll((num_cells // 2, num_cells // 2), (1, 2))
    return fits[:, :height, :width]


def _counted(votes: Float[Tensor, "B 6 N N"], boxes: Float[Tensor, "B 4"]) -> Found:
    """The mean over cells of the boxes that they vote for."""
    num_cells = votes.shape[-1]
    odds, shifts, log_spread = votes[:, 0], votes[:, 1:5], votes[:, 5]
    share = odds.flatten(1).softmax(1).reshape(odds.shape)
    steps = _places(num_cells, like=votes)
    x, y = steps.expand(num_cells, num_cells), steps.unsqueeze(1).expand(num_cells, num_cells)
    # an untrained finder gives a quarter of the sight to each side of a cell
    edges = torch.stack([x - 0.25, y - 0.25, x + 0.25, y + 0.25]) + shifts
    left, top, right, bottom = ((share.unsqueeze(1) * edges).sum((2, 3)) * sight_side(boxes)[:, None]).unbind(1)
    size = torch.stack([right - left, bottom - top], 1).clamp(min=2.0)
    middle = boxes[:, :2] + boxes[:, 2:] / 2 + torch.stack([left + right, top + bottom], 1) / 2
    spread = (share * log_spread).sum((1, 2)).exp() * sight_side(boxes) / _CELL
    return Found(torch.cat([middle - size / 2, size], 1), spread, odds)


def _places(num_cells: int, like: Tensor) -> Float[Tensor, " N"]:
    """Where cells look, from the middle of a sight, in parts of its side; a stride starts at the first pixel."""
    stride = SIDE // num_cells
    return (torch.arange(num_cells, dtype=like.dtype, device=like.device) * stride + 0.5) / SIDE - 0.5


def _layer(num_in: int, num_out: int, stride: int, dilation: int) -> list[nn.Module]:
    conv = nn.Conv2d(num_in, num_out, 3, stride, dilation, dilation, bias=False)
    return [conv, nn.BatchNorm2d(num_out), nn.ReLU()]
