"""The target detector with fused weights for one target: patches are cut out first and read in one batch.

Results equal those of `TargetDetector` to rounding. Small arrays of a single target are computed with NumPy.
"""

from copy import deepcopy
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from spikebridge.data.events.binned import BinEvents, Crop, crop_events
from spikebridge.networks.sensing.model.backbones import DARK, FAINT, STRIDE, log_intensity
from spikebridge.networks.sensing.model.background import Background, log_contrast
from spikebridge.networks.sensing.model.boxes import Box, box_center, crop_covering, crop_frame
from spikebridge.networks.sensing.model.detector import (
    CELL,
    CONTEXT_FACTOR,
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
from spikebridge.networks.sensing.tracker.fused_model import FusedWhat, ellipse_masks
from spikebridge.ops.layers.correlation import template_fits
from spikebridge.ops.layers.fixed_convolution import FixedConvolution, FixedConvolutions
from spikebridge.ops.layers.resampling import sample_patches
from spikebridge.ops.layers.search_region import RegionInputs, search_region
from spikebridge.ops.selection import select

_CELLS = PATCH_SIDE // STRIDE


@cache
def _places(num_cells: int) -> Float[np.ndarray, " N"]:
    """See `cell_offsets`."""
    return cell_offsets(num_cells, like=torch.empty((), dtype=torch.float64)).numpy()


@cache
def _middles(num_cells: int) -> Float[np.ndarray, "M 2"]:
    """Places of all cells, row after row, as `(x, y)`."""
    return np.stack(np.meshgrid(_places(num_cells), _places(num_cells)), 2).reshape(-1, 2)


class TargetPatch(NamedTuple):
    """What is seen around a box: what a template is made of, once it is needed.

    Args:
        light: see `log_intensity`.
        shape: width and height of the target, in sides of the patch.
    """

    light: Float[Tensor, "1 1 S S"]
    shape: Float[np.ndarray, "2"]


class FusedDetector(nn.Module):
    """A trained `TargetDetector`; later changes of its weights are not seen.

    Args:
        detector: in eval mode.

    Example:
        >>> from spikebridge.networks.sensing.model.background import initial_background
        >>> detector, frame = FusedDetector(TargetDetector().eval()), np.zeros((90, 90), np.uint8)
        >>> nothing = BinEvents(np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, bool))
        >>> box, background = np.array([30.0, 40.0, 20.0, 16.0]), initial_background(frame)
        >>> patch = detector.patch(frame, box)
        >>> template = detector.template(patch)
        >>> found, spread = detector.look(frame, frame, nothing, background, box, template, patch, a=0.3)
        >>> found.shape
        (4,)
    """

    def __init__(self, detector: TargetDetector) -> None:
        super().__init__()
        own = deepcopy(detector).requires_grad_(False)
        self.what = FusedWhat(own.what)
        self.votes = FixedConvolutions(*_fused(own.body), FixedConvolution(own.votes))

        for module in self.what.modules():
            if isinstance(module, nn.Conv2d):  # with so few channels this order of values is faster
                module.weight.data = module.weight.contiguous(memory_format=torch.channels_last)

    def patch(self, frame: NDArray[np.uint8], box: Box) -> TargetPatch:
        """What is seen around a box.

        Args:
            frame: grey levels.
            box: of the target [px].
        """
        crop = _around(frame, box, 1.0)
        light = log_intensity(_patches(crop_frame(frame, crop)[None], crop, box, (1.0,)))

        return TargetPatch(light, _shape(box, 1.0))

    def template(self, patch: TargetPatch) -> Float[Tensor, "1 C N N"]:
        """The target's features, without the mean of what is around.

        Args:
            patch: of the target.
        """
        return cut_out(self.what.of_light(patch.light), _masks([patch.shape]))

    def look(
        self,
        now: NDArray[np.uint8],
        before: NDArray[np.uint8],
        events: BinEvents,
        background: Background,
        box: Box,
        first: Float[Tensor, "1 C N N"],
        newest: TargetPatch | None,
        a: float,
    ) -> tuple[Box, float]:
        """Where the target is: the mean over two assumed sizes; see `TargetDetector.detect_multiscale`.

        Args:
            now: the new frame, grey levels.
            before: the frame before.
            events: between the two.
            background: what is behind the target.
            box: where the target is predicted to be in the new frame [px].
            first: template of the first frame.
            newest: where the target was surely seen last; without it the first template stands in its place.
            a: share of the newest template.

        Returns:
            The box, and how far its middle may be off along an axis [px].
        """
        (light, means), number = _seen(now, before, events, background, box), len(SCALES)
        light = light.reshape(2 * number, 1, PATCH_SIDE, PATCH_SIDE)
        features = self.what.of_light(light if newest is None else torch.cat([light, newest.light]))
        both = features[: 2 * number].unflatten(0, (number, 2))
        seen = both[:, 0]
        change = both[:, 0] - both[:, 1]
        shapes = [_shape(box, scale) for scale in SCALES]
        masks = _masks(shapes if newest is None else [*shapes, newest.shape])
        recent = first if newest is None else cut_out(features[-1:], masks[-1:])
        alike = _alike(seen, blend_templates(first, recent, a)).unsqueeze(1)
        every = [seen, change, first, recent, masks[:number], means, alike]
        sizes = [maps.shape[1] for maps in every]

        # channels last, as the convolutions read them
        inputs = features.new_empty(number, _CELLS, _CELLS, sum(sizes)).permute(0, 3, 1, 2)
        for part, maps in zip(inputs.split(sizes, 1), every, strict=True):
            part.copy_(maps)

        votes = self.votes(inputs)
        sides = np.array([_side(box, scale) for scale in SCALES])
        boxes, spreads = _decode_votes(votes.double().numpy(), box, sides)

        return boxes.sum(0) / number, float(spreads.sum()) / number

    def search(
        self, frame: NDArray[np.uint8], background: Background, box: Box, template: Float[Tensor, "1 C N N"]
    ) -> Box:
        """Where in the whole frame the template fits best; see `TargetDetector.search`.

        Args:
            frame: grey levels.
            background: what is behind the target.
            box: of the size that is looked for [px].
            template: of the target.
        """
        whole = (0, 0, frame.shape[1], frame.shape[0])
        like = torch.tensor(box[None], dtype=torch.float32)
        there = search_full_frame(self.what, crop_frame(frame, whole)[None], background.behind(whole), like, template)

        return there[0].double().numpy()


def _fused(layers: nn.Sequential) -> list[FixedConvolution]:
    """Convolutions with the batch norm and the ReLU behind each, in eval mode."""
    convs = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]
    fused = (fuse_conv_bn_eval(conv, norm) for conv, norm in zip(convs, norms, strict=True))
    return [FixedConvolution(conv, relu_from=0) for conv in fused]


def _side(box: Box, scale: float) -> float:
    """See `patch_side`."""
    return CONTEXT_FACTOR * max(scale * max(float(box[2] * box[3]), 0.0) ** 0.5, MIN_TARGET_SIDE)


def _around(frame: NDArray[np.uint8], box: Box, scale: float) -> Crop:
    """The pixels of a frame that a patch needs."""
    half = _side(box, scale) / 2 + 1
    return crop_covering(box_center(box).tolist(), (half, half), frame.shape, least=1)


def _seen(
    now: NDArray[np.uint8], before: NDArray[np.uint8], events: BinEvents, background: Background, box: Box
) -> tuple[Float[Tensor, "K 2 S S"], Float[Tensor, "K 5 N N"]]:
    """Light of both frames for several assumed sizes; and events and what differs from the background, in cells."""
    crop = _around(now, box, max(SCALES))
    if background.is_native and select("bin events", events.x) == "native":
        inputs = RegionInputs(now, before, *events, background.through(crop), crop[:2])
        return search_region(inputs, *_places_read(crop, box, SCALES), DARK, FAINT)

    frames = [crop_frame(frame, crop)[None] for frame in (now, before)]
    pictures = torch.cat([*frames, crop_events(events, crop)[None], background.behind(crop)], 1)
    patches = _patches(pictures, crop, box, SCALES)
    brighter = log_contrast(patches[:, :1], patches[:, 4:])
    means = _means_of_cells(torch.cat([patches[:, 2:4], brighter, brighter.abs(), patches[:, 5:]], 1))

    return log_intensity(patches[:, :2, None])[:, :, 0], means


def _places_read(
    crop: Crop, box: Box, scales: tuple[float, ...]
) -> tuple[Float32[np.ndarray, "K S"], Float32[np.ndarray, "K S"]]:
    """Columns and rows of a crop that patches read, from the middle of its first pixel on."""
    left, top, _, _ = crop
    steps = np.array([_side(box, scale) for scale in scales])[:, None] * _places(PATCH_SIDE)
    x, y = (box_center(box) - (left + 0.5, top + 0.5)).tolist()
    return (x + steps).astype(np.float32), (y + steps).astype(np.float32)


def _patches(
    pictures: Float[Tensor, "1 C H W"], crop: Crop, box: Box, scales: tuple[float, ...]
) -> Float[Tensor, "K C S S"]:
    """See `search_patches`: pictures of a crop, for several assumed sizes."""
    columns, rows = _places_read(crop, box, scales)
    if select("resampling", pictures) == "native":
        return sample_patches(pictures[0], columns, rows)

    grid = np.empty((len(scales), PATCH_SIDE, PATCH_SIDE, 2), np.float32)
    # -1 and 1 are the outer edges of the picture
    grid[..., 0] = ((2 * columns + 1) / crop[2] - 1)[:, None, :]
    grid[..., 1] = ((2 * rows + 1) / crop[3] - 1)[:, :, None]
    several = pictures.expand(len(scales), -1, -1, -1)

    return F.grid_sample(several, torch.from_numpy(grid), padding_mode="border", align_corners=False)


def _means_of_cells(patches: Float[Tensor, "K C S S"]) -> Float[Tensor, "K C N N"]:
    """What `avg_pool2d` gives of two by two pixels, in a quarter of its time."""
    rows = patches[:, :, ::STRIDE] + patches[:, :, 1::STRIDE]
    return (rows[..., ::STRIDE] + rows[..., 1::STRIDE]) / STRIDE**2


def _alike(features: Float[Tensor, "K C N N"], template: Float[Tensor, "1 C N N"]) -> Float[Tensor, "K N N"]:
    """See `correlation`."""
    is_native = select("template fits", features) == "native"
    return template_fits(features, template) if is_native else correlation(features, template)


def _shape(box: Box, scale: float) -> Float[np.ndarray, "2"]:
    """Width and height of the target, in sides of the patch of an assumed size."""
    shape: Float[np.ndarray, "2"] = scale * box[2:] / _side(box, scale)
    return shape


def _masks(shapes: list[Float[np.ndarray, "2"]]) -> Float[Tensor, "K 1 N N"]:
    """See `target_mask`."""
    boxes = np.concatenate([np.zeros((len(shapes), 2)), shapes], 1)
    return ellipse_masks(_places(_CELLS), boxes, margin=0.0, hardness=4.0)


def _decode_votes(
    votes: Float[np.ndarray, "K 6 N N"], box: Box, sides: Float[np.ndarray, " K"]
) -> tuple[Float[np.ndarray, "K 4"], Float[np.ndarray, " K"]]:
    """See `TargetDetector.forward`: the mean over cells of the boxes that they vote for, and its spread."""
    odds = votes[:, 0].reshape(len(votes), -1)
    shifts = votes[:, 1:].reshape(len(votes), 5, -1)
    share = np.exp(odds - odds.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    middle = share @ _middles(votes.shape[-1])
    shifts = (shifts @ share[..., None])[..., 0]

    # an untrained detector gives a quarter of the patch to each side of a cell
    first, last = (sides[:, None] * (middle + side + shifts[:, i : i + 2]) for side, i in ((-0.25, 0), (0.25, 2)))
    size = np.maximum(last - first, 2.0)
    middle = box_center(box) + (first + last) / 2

    return np.concatenate([middle - size / 2, size], 1), np.exp(shifts[:, 4]) * sides / CELL
