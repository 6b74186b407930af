"""A correlation filter that learns the target while it runs: ridge regression, solved in the Fourier domain.

The filter maps features `f_c` of a search patch to a Gaussian `y` at the target's place. With `F_c` and `Y` their
Fourier transforms, and sums over the frames so far,

    W_c = sum conj(F_c) Y / (sum sum_c |F_c|^2 + lambda),    response = inverse transform of sum_c F_c W_c

is the least-squares solution for one frame, and a good approximation for several (D. Bolme et al., CVPR 2010; J.
Henriques et al., IEEE TPAMI 37:583, 2015). Frames with a confident answer count, and the first one keeps a share.
Several scales are tried (M. Danelljan et al., BMVC 2014). Patches have the target's size as their unit and the
logarithm of the brightness as their values, so that neither distance nor light changes the features.

Features of a cell are the means over its pixels of grey and of orientation harmonics: with the gradient `m e^(i a)`,
`m`, and `m e^(2 i n a)` for n = 1 to 4. They span the same space as a histogram of nine orientations, to which ridge
regression gives the same response, without sorting pixels into bins.

What was learned is a few hundred kB in the tracker's state; a frame costs two transforms of each channel and scale.

Beside a trained detector (`MixedDetector`), the surer of both answers in each frame. The trained one is sure of targets
like those of its training, the filter of what it has seen since the first box. Each claims a standard deviation of its
place: the one as it was trained to, the filter by its peak-to-sidelobe ratio. The trained one reads events, too, and
without any it claims too much; then the filter answers until the target is lost. Both learn from the box that the
tracker makes of the answer, so that the one leads the other back. A filter alone soon learns whatever hides the target.
So where the trained detector usually sees the target, and neither sees it now, its unsure answer is given, and neither
learns.

Both may follow something else, and be sure of it. But the events do not fit then, and the confidence of the tracker's
box is low. After three such frames in a row the trained detector looks for the first template in the whole frame. If it
is sure to see it elsewhere, and again in the next frame, the target is there.

Every answer starts from the box before, so errors of the size add up. The given box is the one that is right, so the
size of an answer of the trained detector is drawn a little towards it. The filter compares sizes with the last one, and
a target that grows would be held back.
"""

from dataclasses import dataclass
from functools import cache
from math import sqrt
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from torch import Tensor

from spikebridge.networks.sensing.model.boxes import (
    Box,
    box_center,
    box_from_center,
    clamp_box,
    crop_covering,
    crop_frame,
)
from spikebridge.networks.sensing.tracker.detectors import (
    DetectorInputs,
    FoundBox,
    LearnedDetector,
    LearnedTarget,
    confidence,
)
from spikebridge.ops.layers.orientation import CELL, Scaling, sampled_features
from spikebridge.ops.layers.ridge_filter import FilterSums, filter_response, filter_sums
from spikebridge.ops.selection import select

_HARMONICS = 4
_BINS = 9
"""Of the histogram that the harmonics stand for; higher ones count less, as in linear interpolation between bins."""
_LEAST_LIGHT = 8.0
"""Added to grey levels before the logarithm, as in the network's own frames."""
_FAINT = 1e-3
"""Added to the deviation of a response, so that a target without contrast has no clear peak."""
_LEAST_POWER = 0.1
"""Added to the mean power of the first frame, which is about 100 where there is contrast."""
_WEIGHTS = (1.0, *(sqrt(2) * float(np.sinc(n / _BINS)) ** 2 for n in range(1, _HARMONICS + 1) for _ in "xy"), 1.0)
"""Of the strength of the gradient, the harmonics of its angle, cosine and sine, and grey."""
_FAINT_GRADIENT = 1e-9
"""Added to the strength of a gradient, so that there is an angle."""
_FLAT = 0.01
"""Root mean square of the features of a patch without contrast; noise below it is not amplified."""
_LEAST_SIZE = 1e-3
"""Of a found box [px]; a detector may find one without area."""


class _FilterState(NamedTuple):
    """What a correlation filter knows of its target.

    Args:
        sums: weighted, over frames.
        first: of the frame with the given box.
        first_power: mean power of that frame.
    """

    sums: FilterSums
    first: FilterSums
    first_power: float


class _SearchedPatch(NamedTuple):
    """The patch around a predicted box.

    Args:
        frame: grey levels.
        box: the predicted one [px].
        features: for each scale.
    """

    frame: NDArray[np.uint8]
    box: Box
    features: Float[Tensor, "K C N N"]


@dataclass(frozen=True)
class CorrelationFilter:
    """A detector that learns its target; see `BoxDetector`.

    Args:
        side: of a patch [its own px], a multiple of 8.
        context: side of a patch, in sides of a square target.
        scales: sizes that are tried, relative to the predicted one.
        scale_penalty: factor of the response at another size than the predicted one.
        label: standard deviation of the label, in sides of a square target.
        ridge: lambda, in units of the mean power of the first frame.
        rate: weight of a new frame.
        first_share: least weight of the first frame.

    Example:
        >>> wall = np.random.default_rng(0).integers(0, 255, (120, 160)).astype(np.uint8)
        >>> detector, box = CorrelationFilter(), np.array([60.0, 40.0, 24.0, 24.0])
        >>> target = detector.start(wall, box)
        >>> patch = detector.search(np.roll(wall, (3, -5), (0, 1)), box)
        >>> detector.found(patch, target).box[:2].round().tolist()  # five pixels to the left, three down
        [55.0, 43.0]
    """

    side: int = 128
    context: float = 2.5
    scales: tuple[float, ...] = (0.96, 1.0, 1.04)
    scale_penalty: float = 0.99
    label: float = 0.1
    ridge: float = 1e-2
    rate: float = 0.03
    first_share: float = 0.1

    @property
    def _num_cells(self) -> int:
        """Cells along a side of a patch."""
        return self.side // CELL

    def start(self, frame: NDArray[np.uint8], box: Box) -> _FilterState:
        """The filter after one frame.

        Args:
            frame: grey levels.
            box: of the target [px].
        """
        first = self._learned(frame, box)
        return _FilterState(first, first, first.power.mean().item())

    def detect(self, inputs: DetectorInputs, target: _FilterState) -> tuple[FoundBox, _FilterState]:
        """See `BoxDetector`."""
        return self.found(self.search(inputs.frame, inputs.box), target), target

    def search(self, frame: NDArray[np.uint8], box: Box) -> _SearchedPatch:
        """The patch around a predicted box, in all scales.

        Args:
            frame: grey levels.
            box: the predicted one [px].
        """
        return _SearchedPatch(frame, box, self._features(frame, box, self.scales))

    def found(self, patch: _SearchedPatch, target: _FilterState) -> FoundBox:
        """The target in a patch: the largest response.

        Args:
            patch: of `search`.
            target: so far.
        """
        response = self._response(patch.features, target).numpy()
        penalties = [1.0 if scale == 1 else self.scale_penalty for scale in self.scales]
        best = int((response.max((1, 2)) * penalties).argmax())
        place, ratio = _peak(response[best])
        scale = self.scales[best]
        box = patch.box
        shift = place * (scale * self.context * _size(box) / self._num_cells)
        found = clamp_box(patch.frame, box_from_center(box_center(box) + shift, scale * box[2:]))

        return FoundBox(box, found, _size(box) / max(ratio, 1e-3))

    def update(self, frame: NDArray[np.uint8], box: Box, target: _FilterState) -> _FilterState:
        """The filter after one more frame.

        Args:
            frame: grey levels.
            box: of the target in it [px].
            target: so far.
        """
        new = self._learned(frame, box)
        sums = (torch.lerp(old, one, self.rate) for old, one in zip(target.sums, new, strict=True))

        return target._replace(sums=FilterSums(*sums))

    def _response(self, features: Float[Tensor, "K C N N"], target: _FilterState) -> Float[Tensor, "K N N"]:
        """Of the filter, to patches of all scales."""
        ridge = self.ridge * (target.first_power + _LEAST_POWER)  # the power is that of all channels
        if select("ridge filter", features) == "native":
            return filter_response(features, target.sums, target.first, self.first_share, ridge)

        numerator, power = (
            torch.lerp(one, first, self.first_share) for one, first in zip(target.sums, target.first, strict=True)
        )
        spectrum = (torch.fft.rfft2(features) * numerator).sum(1) / (power + ridge)

        return torch.fft.irfft2(spectrum, s=features.shape[2:])

    def _learned(self, frame: NDArray[np.uint8], box: Box) -> FilterSums:
        """The sums of one frame."""
        features = self._features(frame, box, (1.0,))[0]
        label = _label(self._num_cells, self.label * self._num_cells / self.context)
        if select("ridge filter", features) == "native":
            return filter_sums(features, label)

        seen = torch.fft.rfft2(features)
        return FilterSums(seen.conj() * label, (seen.real.square() + seen.imag.square()).sum(0))

    def _features(self, frame: NDArray[np.uint8], box: Box, scales: tuple[float, ...]) -> Float[Tensor, "K C N N"]:
        """Features of patches of several sizes, smaller towards the edges."""
        sides = [scale * self.context * _size(box) for scale in scales]
        half = max(sides) / 2 + 1
        crop = crop_covering(box_center(box).tolist(), (half, half), frame.shape, least=1)
        x, y = (box_center(box) - crop[:2]).tolist()
        steps = np.array(sides)[:, None] * _steps(self.side)
        scaling = _scaling(self._num_cells)

        if select("orientation features", scaling.levels) == "native":
            columns, rows = ((middle - 0.5 + steps).astype(np.float32) for middle in (x, y))
            return sampled_features(frame, crop, columns, rows, scaling)

        grid = np.empty((len(scales), self.side, self.side, 2), np.float32)
        # -1 and 1 are the outer edges of the picture
        grid[..., 0] = (2 * (x + steps) / crop[2] - 1)[:, None, :]
        grid[..., 1] = (2 * (y + steps) / crop[3] - 1)[:, :, None]
        several = (crop_frame(frame, crop)[None] + _LEAST_LIGHT).log().expand(len(scales), -1, -1, -1)
        patches = F.grid_sample(several, torch.from_numpy(grid), padding_mode="border", align_corners=False)

        return patch_features(patches[:, 0]).mul_(_window(self._num_cells))


class _Claims(NamedTuple):
    """How sure both detectors are of a frame.

    Args:
        confidence: of the trained one.
        ratio: of the filter, peak to sidelobes.
    """

    confidence: float
    ratio: float


class _MixedTarget(NamedTuple):
    """What both detectors know of the target.

    Args:
        learned: of the trained one.
        filtered: of the filter.
        size: width and height of the given box [px].
        last: claims in the last frame; None before the first one.
        usual: mean claims in the frames from which both have learned.
        num_doubted: number of frames in a row with the tracker's box in doubt, since the last search.
        candidate: the target elsewhere in the last frame, if a search has found it.
    """

    learned: LearnedTarget
    filtered: _FilterState
    size: Float[np.ndarray, "2"]
    last: _Claims | None = None
    usual: _Claims | None = None
    num_doubted: int = 0
    candidate: FoundBox | None = None


@dataclass(frozen=True)
class MixedDetector:
    """A trained detector and a filter that learns the target; see `BoxDetector`.

    The surer one gives the answer; without events the filter does until the target is lost. But where the trained one
    usually sees this target, and neither sees it now, the target is hidden: then the unsure answer of the trained one
    is given, from which the filter does not learn. The size of its answers is drawn to that of the given box.
    Where the tracker's box is in doubt, the trained one searches for the target.

    Args:
        learned: the trained one.
        filter: learns while it runs.
        usual_confidence: mean confidence from which on the trained one usually sees the target.
        least_confidence: below it the trained one does not see the target.
        least_ratio: share of its usual peak-to-sidelobe ratio below which the filter does not see it.
        rate: weight of a new frame in the means.
        size_share: share of the given size in that of an answer of the trained one, as logarithms.
        doubt: confidence of the tracker's box below which it is in doubt.
        search_after: number of frames in doubt, one after the other, after which the whole frame is searched.
    """

    learned: LearnedDetector
    filter: CorrelationFilter
    usual_confidence: float = 0.9
    least_confidence: float = 0.3
    least_ratio: float = 0.5
    rate: float = 0.1
    size_share: float = 0.1
    doubt: float = 0.5
    search_after: int = 3

    def start(self, frame: NDArray[np.uint8], box: Box) -> _MixedTarget:
        """See `BoxDetector`."""
        return _MixedTarget(self.learned.start(frame, box), self.filter.start(frame, box), box[2:].copy())

    def detect(self, inputs: DetectorInputs, target: _MixedTarget) -> tuple[FoundBox, _MixedTarget]:
        """See `BoxDetector`."""
        last = target.candidate
        target = self._searched(inputs, target)
        found = target.candidate
        if last is not None and found is not None and not _are_apart(last.box, found.box):
            return found._replace(is_elsewhere=True), self._restarted(target)

        one, learned = self.learned.detect(inputs, target.learned)
        other, filtered = self.filter.detect(inputs, target.filtered)
        claims = _Claims(confidence(one.spread, one.box), _size(other.box) / other.spread)
        is_surer = one.spread < other.spread or self._is_hidden(claims, target.usual)
        is_heard = len(inputs.events.x) > 0 or inputs.lost
        chosen, second = (one, other) if is_surer and is_heard else (other, one)
        box = self._drawn(chosen.box, target.size) if chosen is one else chosen.box

        return chosen._replace(box=box, second=second), target._replace(learned=learned, filtered=filtered, last=claims)

    def update(self, frame: NDArray[np.uint8], box: Box, target: _MixedTarget) -> _MixedTarget:
        """See `BoxDetector`."""
        learned = self.learned.update(frame, box, target.learned)
        filtered = self.filter.update(frame, box, target.filtered)
        usual = target.usual
        last = target.last

        if usual is None or last is None:
            usual = last
        else:
            usual = _Claims(*(old + self.rate * (new - old) for old, new in zip(usual, last, strict=True)))

        return target._replace(learned=learned, filtered=filtered, usual=usual)

    def _searched(self, inputs: DetectorInputs, target: _MixedTarget) -> _MixedTarget:
        """After a search of the whole frame, where the box is in doubt. Without events the trained one is too sure."""
        if inputs.confidence >= self.doubt or len(inputs.events.x) == 0:
            return target._replace(num_doubted=0, candidate=None)

        target = target._replace(num_doubted=target.num_doubted + 1)
        if target.num_doubted < self.search_after and target.candidate is None:
            return target

        sized = inputs._replace(box=box_from_center(box_center(inputs.box), target.size))
        found = self.learned.search(sized, target.learned)
        is_sure = confidence(found.spread, found.box) > self.learned.reacquire_confidence
        elsewhere = found if is_sure and _are_apart(found.box, inputs.box) else None

        return target._replace(num_doubted=0, candidate=elsewhere)

    def _restarted(self, target: _MixedTarget) -> _MixedTarget:
        """Without what the filter has learned since the first frame: it was of something else."""
        filtered = target.filtered._replace(sums=target.filtered.first)
        return target._replace(filtered=filtered, last=None, usual=None, candidate=None)

    def _drawn(self, box: Box, size: Float[np.ndarray, "2"]) -> Box:
        """The box, its size drawn towards another one."""
        own = box[2:].clip(min=_LEAST_SIZE)
        return box_from_center(box_center(box), own * (size / own) ** self.size_share)

    def _is_hidden(self, claims: _Claims, usual: _Claims | None) -> bool:
        if usual is None or usual.confidence < self.usual_confidence:
            return False
        return claims.confidence < self.least_confidence and claims.ratio < self.least_ratio * usual.ratio


def patch_features(patches: Float[Tensor, "K S S"]) -> Float[Tensor, "K C N N"]:
    """Grey and orientation harmonics of cells, scaled to one root mean square for each patch.

    Args:
        patches: logarithm of the brightness.

    Example:
        >>> ramp = torch.arange(16.0).expand(1, 16, 16)  # the gradient points to the right everywhere
        >>> features = patch_features(ramp)
        >>> features.shape  # grey, m, and four harmonics of two numbers
        torch.Size([1, 10, 4, 4])
        >>> features[0, 1:3, 1, 1] / features[0, 0, 1, 1]  # cos 2a and sin 2a, times sqrt(2) sinc(1 / 9)^2
        tensor([1.3577, 0.0000])
    """
    num_patches, side = patches.shape[:2]
    beyond = F.pad(patches[:, None], (1, 1, 1, 1), "replicate")[:, 0]
    along = beyond[:, 1:-1, 2:] - beyond[:, 1:-1, :-2]
    down = beyond[:, 2:, 1:-1] - beyond[:, :-2, 1:-1]
    both = along * down
    parts = patches.new_empty(num_patches, len(_WEIGHTS), side, side)
    strength = parts[:, 0]
    cosine = parts[:, 1]
    sine = parts[:, 2]
    torch.add(along.square_(), down.square_(), out=strength).sqrt_().add_(_FAINT_GRADIENT)
    torch.div(along.sub_(down), strength, out=cosine)
    torch.div(both.mul_(2), strength, out=sine)

    # of the angle n a by those of (n - 1) a and (n - 2) a
    doubled = (2 * cosine).div_(strength)[:, None]
    torch.mul(doubled, parts[:, 1:3], out=parts[:, 3:5])[:, 0].sub_(strength)
    for n in range(5, 2 * _HARMONICS + 1, 2):
        torch.mul(doubled, parts[:, n - 2 : n], out=parts[:, n : n + 2]).sub_(parts[:, n - 4 : n - 2])

    parts[:, -1] = patches
    cells = parts.unflatten(2, (-1, CELL)).sum(3) @ _means_of_cells(side)
    cells *= patches.new_tensor(_WEIGHTS)[:, None, None]
    cells[:, -1:] -= cells[:, -1:].mean((2, 3), keepdim=True)
    power = cells.square().mean((2, 3))
    oriented = power[:, :-1].sum(1, keepdim=True).sqrt() + _FLAT
    grey = 3 * power[:, -1:].sqrt() + _FLAT

    return cells.div_(torch.cat([oriented.expand(-1, cells.shape[1] - 1), grey], 1)[:, :, None, None])


@cache
def _means_of_cells(side: int) -> Float[Tensor, "S N"]:
    """Sums over the pixels of cells in a row, over the pixels of a cell."""
    return torch.eye(side // CELL, dtype=torch.float32).repeat_interleave(CELL, 0) / CELL**2


@cache
def _window(num_cells: int) -> Float[Tensor, "N N"]:
    line = torch.hann_window(num_cells + 2, periodic=False, dtype=torch.float32)[1:-1]
    return line[:, None] * line


@cache
def _steps(side: int) -> Float[np.ndarray, " S"]:
    """Middles of the pixels of a patch, in sides of it from its middle."""
    steps: NDArray[np.float64] = (np.arange(side) + 0.5) / side - 0.5
    return steps


@cache
def _scaling(num_cells: int) -> Scaling:
    levels = (torch.arange(256, dtype=torch.float32) + _LEAST_LIGHT).log()
    weights = torch.tensor(_WEIGHTS, dtype=torch.float32)
    return Scaling(levels, weights, _window(num_cells), _FAINT_GRADIENT, _FLAT)


@cache
def _label(num_cells: int, deviation: float) -> Complex[Tensor, "N M"]:
    """The transform of a Gaussian with its peak at no displacement."""
    steps = torch.fft.fftfreq(num_cells, 1 / num_cells, dtype=torch.float32)
    line = torch.exp(-((steps / deviation) ** 2) / 2)
    return torch.fft.rfft2(line[:, None] * line)


def _peak(response: Float[np.ndarray, "N N"]) -> tuple[NDArray[np.float64], float]:
    """Place of the largest value [cells], between cells by a parabola; and the peak-to-sidelobe ratio."""
    num_cells = len(response)
    response = response.astype(np.float64)
    row, column = divmod(int(response.argmax()), num_cells)
    peak = float(response[row, column])
    lines = response[row], response[:, column]
    place = [at + _vertex(line, at) for line, at in zip(lines, (column, row), strict=True)]
    near = np.arange(-(num_cells // 8), num_cells // 8 + 1)
    beside = response[(near[:, None] + row) % num_cells, (near + column) % num_cells]
    number = response.size - beside.size
    mean = (response.sum() - beside.sum()) / number
    square = (np.vdot(response, response) - np.vdot(beside, beside)) / number
    ratio = (peak - float(mean)) / (max(float(square - mean * mean), 0.0) ** 0.5 + _FAINT)

    return (np.array(place) + num_cells / 2) % num_cells - num_cells / 2, ratio


def _vertex(line: Float[np.ndarray, " N"], at: int) -> float:
    """Where the parabola through a value and its neighbours is largest, relative to the value."""
    before = float(line[at - 1])
    here = float(line[at])
    after = float(line[(at + 1) % len(line)])
    bend = before - 2 * here + after

    return min(max((before - after) / (2 * bend), -0.5), 0.5) if bend < 0 else 0.0


def _are_apart(box: Box, other: Box) -> bool:
    """Whether two boxes have no place in common."""
    return bool((np.abs(box_center(box) - box_center(other)) >= (box[2:] + other[2:]) / 2).any())


def _size(box: Box) -> float:
    """The root of the area, at least two pixels."""
    return max(sqrt(max(float(box[2] * box[3]), 0.0)), 2.0)
