"""The target detector with fused weights for one target: patches are cut out first and read in one batch.

Results equal those of `TargetDetector` to rounding. Small arrays of a single target are computed with NumPy.
"""

from copy import deepcopy
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from spikebridge.data.events.binned import BinEvents, Crop, crop_events
from spikebridge.networks.sensing.model.backbones import LOG_OFFSET, STRIDE, VARIANCE_FLOOR, log_intensity
from spikebridge.networks.sensing.model.background import Background, log_contrast
from spikebridge.networks.sensing.model.boxes import Box, box_center, crop_covering, crop_frame
from spikebridge.networks.sensing.model.detector import (
    CELL,
    CONTEXT_FACTOR,
    MIN_SIZE,
    MIN_TARGET_SIDE,
    PATCH_SIDE,
    SCALES,
    TargetDetector,
    blend_templates,
    cell_offsets,
    correlation,
    search_full_frame,
)
from spikebridge.networks.sensing.model.heads import cut_out
from spikebridge.networks.sensing.native.bin_events import BIN_EVENTS
from spikebridge.networks.sensing.native.correlation import TEMPLATE_FITS, template_fits
from spikebridge.networks.sensing.native.fixed_convolution import FixedConvolution, FixedConvolutions
from spikebridge.networks.sensing.native.resampling import sample_patches
from spikebridge.networks.sensing.native.search_region import RegionInputs, search_region
from spikebridge.networks.sensing.tracker.fused_model import FusedWhat
from spikebridge.networks.sensing.tracker.head import ellipse_masks
from spikebridge.ops.selection import select

_CELLS = PATCH_SIDE // STRIDE
_NUM_SCALES = len(SCALES)


class TargetPatch(NamedTuple):
    """The logarithm of the patch around a box, and width and height of the target, in sides of the patch.

    A template is made of it once it is needed.
    """

    light: Float[Tensor, "1 1 S S"]
    shape: Float[np.ndarray, "2"]


class FusedDetector(nn.Module):
    """A trained `TargetDetector`; its weights are read once."""

    def __init__(self, detector: TargetDetector) -> None:
        super().__init__()
        own = deepcopy(detector).requires_grad_(False)
        self.what = FusedWhat(own.what)
        self.votes = FixedConvolutions(*_fused_layers(own.body), FixedConvolution(own.votes))

        # this order of values is faster with so few channels
        for module in self.what.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.data = module.weight.contiguous(memory_format=torch.channels_last)

    def patch(self, frame: NDArray[np.uint8], box: Box) -> TargetPatch:
        """The patch around a box [px]."""
        crop = _patch_crop(frame, box, 1.0)
        light = log_intensity(_patches(crop_frame(frame, crop)[None], crop, box, (1.0,)))

        return TargetPatch(light, _target_shape(box, 1.0))

    def template(self, patch: TargetPatch) -> Float[Tensor, "1 C N N"]:
        """The target's features, without the mean of the features around."""
        return cut_out(self.what.of_light(patch.light), _target_masks([patch.shape]))

    def detect(
        self,
        frame: NDArray[np.uint8],
        before: NDArray[np.uint8],
        events: BinEvents,
        background: Background,
        box: Box,
        first: Float[Tensor, "1 C N N"],
        newest: TargetPatch | None,
        a: float,
    ) -> tuple[Box, float]:
        """The box of the target, and the standard deviation of its centre along an axis [px].

        They are means over two assumed sizes: in a closed loop a wrong size would otherwise confirm itself. `newest` is
        the patch of the last confident detection; without it the first template stands in its place. `a` is the share
        of the newest template.
        """
        light, means = _region(frame, before, events, background, box)
        light = light.reshape(2 * _NUM_SCALES, 1, PATCH_SIDE, PATCH_SIDE)

        # all patches in one batch
        maps = self.what.of_light(light if newest is None else torch.cat([light, newest.light]))
        pairs = maps[: 2 * _NUM_SCALES].unflatten(0, (_NUM_SCALES, 2))
        features = pairs[:, 0]
        change = pairs[:, 0] - pairs[:, 1]

        shapes = [_target_shape(box, scale) for scale in SCALES]
        masks = _target_masks(shapes if newest is None else [*shapes, newest.shape])
        recent = first if newest is None else cut_out(maps[-1:], masks[-1:])
        similarity = _similarity(features, blend_templates(first, recent, a)).unsqueeze(1)
        votes = self.votes(_stacked([features, change, first, recent, masks[:_NUM_SCALES], means, similarity]))

        sides = np.array([_patch_side(box, scale) for scale in SCALES])
        boxes, spreads = _decode_votes(votes.double().numpy(), box, sides)

        return boxes.sum(0) / _NUM_SCALES, float(spreads.sum()) / _NUM_SCALES

    def search(
        self, frame: NDArray[np.uint8], background: Background, box: Box, template: Float[Tensor, "1 C N N"]
    ) -> Box:
        """The box of this size in the whole frame at which the template fits best, for a lost target."""
        whole = (0, 0, frame.shape[1], frame.shape[0])
        like = torch.tensor(box[None], dtype=torch.float32)
        best = search_full_frame(self.what, crop_frame(frame, whole)[None], background.behind(whole), like, template)

        return best[0].double().numpy()


def _fused_layers(layers: nn.Sequential) -> list[FixedConvolution]:
    """Convolutions with the batch norm and the ReLU behind each, in eval mode."""
    convs = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]
    fused = (fuse_conv_bn_eval(conv, norm) for conv, norm in zip(convs, norms, strict=True))
    return [FixedConvolution(conv, relu_from=0) for conv in fused]


def _stacked(parts: list[Tensor]) -> Float[Tensor, "K C N N"]:
    """All inputs of the convolutions, one a scale, channels last, as the convolutions read them."""
    sizes = [maps.shape[1] for maps in parts]
    stacked = parts[0].new_empty(_NUM_SCALES, _CELLS, _CELLS, sum(sizes)).permute(0, 3, 1, 2)
    for part, maps in zip(stacked.split(sizes, 1), parts, strict=True):
        part.copy_(maps)

    return stacked


def _patch_side(box: Box, scale: float) -> float:
    """See `patch_side`."""
    return CONTEXT_FACTOR * max(scale * max(float(box[2] * box[3]), 0.0) ** 0.5, MIN_TARGET_SIDE)


def _patch_crop(frame: NDArray[np.uint8], box: Box, scale: float) -> Crop:
    """The pixels of a frame that a patch needs."""
    half = _patch_side(box, scale) / 2 + 1
    return crop_covering(box_center(box).tolist(), (half, half), frame.shape, min_size=1)


def _region(
    frame: NDArray[np.uint8], before: NDArray[np.uint8], events: BinEvents, background: Background, box: Box
) -> tuple[Float[Tensor, "K 2 S S"], Float[Tensor, "K 5 N N"]]:
    """The logarithm of both frames for several assumed sizes; events and differences to the background, by cell."""
    crop = _patch_crop(frame, box, max(SCALES))
    part = background.part(crop)
    if part.is_native and select(BIN_EVENTS, events.x) == "native":
        inputs = RegionInputs(frame, before, *events, part, crop[:2])
        return search_region(inputs, *_patch_positions(crop, box, SCALES), LOG_OFFSET, VARIANCE_FLOOR)

    frames = [crop_frame(picture, crop)[None] for picture in (frame, before)]
    pictures = torch.cat([*frames, crop_events(events, crop)[None], background.behind(crop)], 1)
    patches = _patches(pictures, crop, box, SCALES)
    brighter = log_contrast(patches[:, :1], patches[:, 4:])
    means = _cell_means(torch.cat([patches[:, 2:4], brighter, brighter.abs(), patches[:, 5:]], 1))

    return log_intensity(patches[:, :2, None])[:, :, 0], means


def _patch_positions(
    crop: Crop, box: Box, scales: tuple[float, ...]
) -> tuple[Float32[np.ndarray, "K S"], Float32[np.ndarray, "K S"]]:
    """Columns and rows of a crop that patches read, from the centre of its first pixel on."""
    left, top, _, _ = crop
    steps = np.array([_patch_side(box, scale) for scale in scales])[:, None] * _offsets(PATCH_SIDE)
    x, y = (box_center(box) - (left + 0.5, top + 0.5)).tolist()
    return (x + steps).astype(np.float32), (y + steps).astype(np.float32)


def _patches(
    pictures: Float[Tensor, "1 C H W"], crop: Crop, box: Box, scales: tuple[float, ...]
) -> Float[Tensor, "K C S S"]:
    """See `search_patches`: pictures of a crop, for several assumed sizes."""
    return sample_patches(pictures, *_patch_positions(crop, box, scales))


def _cell_means(patches: Float[Tensor, "K C S S"]) -> Float[Tensor, "K C N N"]:
    rows = patches[:, :, ::STRIDE] + patches[:, :, 1::STRIDE]
    return (rows[..., ::STRIDE] + rows[..., 1::STRIDE]) / STRIDE**2


def _similarity(features: Float[Tensor, "K C N N"], template: Float[Tensor, "1 C N N"]) -> Float[Tensor, "K N N"]:
    """See `correlation`."""
    is_native = select(TEMPLATE_FITS, features) == "native"
    return template_fits(features, template) if is_native else correlation(features, template)


def _target_shape(box: Box, scale: float) -> Float[np.ndarray, "2"]:
    """Width and height of the target, in sides of the patch of an assumed size."""
    shape: Float[np.ndarray, "2"] = scale * box[2:] / _patch_side(box, scale)
    return shape


def _target_masks(shapes: list[Float[np.ndarray, "2"]]) -> Float[Tensor, "K 1 N N"]:
    """See `target_mask`."""
    boxes = np.concatenate([np.zeros((len(shapes), 2)), shapes], 1)
    return ellipse_masks(_offsets(_CELLS), boxes, margin=0.0)


def _decode_votes(
    votes: Float[np.ndarray, "K 6 N N"], box: Box, sides: Float[np.ndarray, " K"]
) -> tuple[Float[np.ndarray, "K 4"], Float[np.ndarray, " K"]]:
    """See `TargetDetector.forward`: the mean over cells of the boxes that they vote for, and its spread."""
    odds = votes[:, 0].reshape(len(votes), -1)
    shifts = votes[:, 1:].reshape(len(votes), 5, -1)
    share = np.exp(odds - odds.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    center = share @ _cell_centers(votes.shape[-1])
    shifts = (shifts @ share[..., None])[..., 0]

    # an untrained detector gives a quarter of the patch to each side of a cell
    first = sides[:, None] * (center - 0.25 + shifts[:, :2])
    last = sides[:, None] * (center + 0.25 + shifts[:, 2:4])
    size = np.maximum(last - first, MIN_SIZE)
    center = box_center(box) + (first + last) / 2

    return np.concatenate([center - size / 2, size], 1), np.exp(shifts[:, 4]) * sides / CELL


@cache
def _offsets(num_cells: int) -> Float[np.ndarray, " N"]:
    """See `cell_offsets`."""
    return cell_offsets(num_cells, like=torch.empty((), dtype=torch.float64)).numpy()


@cache
def _cell_centers(num_cells: int) -> Float[np.ndarray, "M 2"]:
    """Positions of all cells, row after row, as `(x, y)`."""
    return np.stack(np.meshgrid(_offsets(num_cells), _offsets(num_cells)), 2).reshape(-1, 2)
