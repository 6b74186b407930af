"""A correlation filter that learns the target while it runs: ridge regression, solved in the Fourier domain.

The filter maps features `f_c` of a search patch to a Gaussian `y` at the target's place. With `F_c` and `Y` their
Fourier transforms, and sums over the frames so far,

    W_c = sum conj(F_c) Y / (sum sum_c |F_c|^2 + lambda),    response = inverse transform of sum_c F_c W_c

is the least-squares solution for one frame, and a good approximation for several (D. Bolme et al., CVPR 2010; J.
Henriques et al., IEEE TPAMI 37:583, 2015). Frames with a confident detection count, and the first one keeps a share.
Several scales are tried (M. Danelljan et al., BMVC 2014). Patches have the target's size as their unit and the
logarithm of the brightness as their values, so that neither distance nor light changes the features
(`native/orientation.py`).

The sums are a few hundred kB in the tracker's state; a frame costs two transforms of each channel and scale.
"""

from dataclasses import dataclass
from functools import cache
from math import sqrt
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from torch import Tensor

from spikebridge.networks.sensing.model.backbones import LOG_OFFSET
from spikebridge.networks.sensing.model.boxes import Box, box_center, box_from_center, clamp_box, crop_covering
from spikebridge.networks.sensing.native.orientation import CELL, Scaling, sample_features
from spikebridge.networks.sensing.native.ridge_filter import FilterSums, filter_response, filter_sums
from spikebridge.networks.sensing.tracker.detectors import DetectedBox, DetectorInputs

# added to the deviation of a response, so that a target without contrast has no clear peak
_DEVIATION_FLOOR = 1e-3
# smallest peak-to-sidelobe ratio
_MIN_RATIO = 1e-3
# added to the mean power of the first frame, which is about 100 where there is contrast
_POWER_FLOOR = 0.1
# smallest size of a target [px]
_MIN_SIDE = 2.0


class FilterState(NamedTuple):
    """Weighted sums over frames, the sums of the frame with the given box, and the mean power of that frame."""

    sums: FilterSums
    first: FilterSums
    first_power: float


class SearchPatch(NamedTuple):
    """The features around a predicted box [px] in a frame, for each scale."""

    frame: NDArray[np.uint8]
    box: Box
    features: Float[Tensor, "K C N N"]


@dataclass(frozen=True)
class CorrelationFilter:
    """A detector that learns its target; see `BoxDetector`."""

    # side of a patch [its own px], a multiple of 8
    side: int = 128
    # side of a patch, in sides of a square target
    context: float = 2.5
    # sizes that are tried, relative to the predicted one
    scales: tuple[float, ...] = (0.96, 1.0, 1.04)
    # factor of the response at another size than the predicted one
    scale_penalty: float = 0.99
    # standard deviation of the label, in sides of a square target
    label: float = 0.1
    # lambda, in units of the mean power of the first frame
    ridge: float = 1e-2
    # weight of a new frame
    rate: float = 0.03
    # smallest weight of the first frame
    first_share: float = 0.1

    @property
    def _num_cells(self) -> int:
        """Cells along a side of a patch."""
        return self.side // CELL

    def start(self, frame: NDArray[np.uint8], box: Box) -> FilterState:
        """See `BoxDetector`."""
        first = self._frame_sums(frame, box)
        return FilterState(first, first, first.power.mean().item())

    def detect(self, inputs: DetectorInputs, target: FilterState) -> tuple[DetectedBox, FilterState]:
        """See `BoxDetector`."""
        return self.detect_in(self.search_patch(inputs.frame, inputs.box), target), target

    def search_patch(self, frame: NDArray[np.uint8], box: Box) -> SearchPatch:
        """The patch around a predicted box [px], in all scales."""
        return SearchPatch(frame, box, self._features(frame, box, self.scales))

    def detect_in(self, patch: SearchPatch, target: FilterState) -> DetectedBox:
        """The target in a patch: the largest response."""
        # the power is that of all channels
        ridge = self.ridge * (target.first_power + _POWER_FLOOR)
        response = filter_response(patch.features, target.sums, target.first, self.first_share, ridge).numpy()

        penalties = [1.0 if scale == 1 else self.scale_penalty for scale in self.scales]
        best = int((response.max((1, 2)) * penalties).argmax())
        scale = self.scales[best]
        place, ratio = _peak(response[best])

        box = patch.box
        shift = place * (scale * self.context * target_side(box) / self._num_cells)
        detected = clamp_box(patch.frame, box_from_center(box_center(box) + shift, scale * box[2:]))

        return DetectedBox(box, detected, target_side(box) / max(ratio, _MIN_RATIO))

    def update(self, frame: NDArray[np.uint8], box: Box, target: FilterState) -> FilterState:
        """See `BoxDetector`."""
        new = self._frame_sums(frame, box)
        sums = (torch.lerp(old, one, self.rate) for old, one in zip(target.sums, new, strict=True))

        return target._replace(sums=FilterSums(*sums))

    def _frame_sums(self, frame: NDArray[np.uint8], box: Box) -> FilterSums:
        """The sums of one frame."""
        features = self._features(frame, box, (1.0,))[0]
        return filter_sums(features, _label(self._num_cells, self.label * self._num_cells / self.context))

    def _features(self, frame: NDArray[np.uint8], box: Box, scales: tuple[float, ...]) -> Float[Tensor, "K C N N"]:
        """Features of patches of several sizes, smaller towards the edges."""
        sides = [scale * self.context * target_side(box) for scale in scales]
        half = max(sides) / 2 + 1
        crop = crop_covering(box_center(box).tolist(), (half, half), frame.shape, min_size=1)
        x, y = (box_center(box) - crop[:2]).tolist()
        steps = np.array(sides)[:, None] * _steps(self.side)

        return sample_features(frame, crop, (x, y), steps, _scaling(self._num_cells))


def target_side(box: Box) -> float:
    """The root of the area of a box, at least two pixels [px]."""
    return max(sqrt(max(float(box[2] * box[3]), 0.0)), _MIN_SIDE)


@cache
def _window(num_cells: int) -> Float[Tensor, "N N"]:
    line = torch.hann_window(num_cells + 2, periodic=False, dtype=torch.float32)[1:-1]
    return line[:, None] * line


@cache
def _steps(side: int) -> Float[np.ndarray, " S"]:
    """Centres of the pixels of a patch, in sides of it from its centre."""
    steps: NDArray[np.float64] = (np.arange(side) + 0.5) / side - 0.5
    return steps


@cache
def _scaling(num_cells: int) -> Scaling:
    levels = (torch.arange(256, dtype=torch.float32) + LOG_OFFSET).log()
    return Scaling(levels, _window(num_cells))


@cache
def _label(num_cells: int, deviation: float) -> Complex[Tensor, "N M"]:
    """The transform of a Gaussian with its peak at no displacement."""
    steps = torch.fft.fftfreq(num_cells, 1 / num_cells, dtype=torch.float32)
    line = torch.exp(-((steps / deviation) ** 2) / 2)
    return torch.fft.rfft2(line[:, None] * line)


def _peak(response: Float[np.ndarray, "N N"]) -> tuple[NDArray[np.float64], float]:
    """The place of the peak `(x, y)` [cells], between cells by a parabola, and the peak-to-sidelobe ratio."""
    num_cells = len(response)
    response = response.astype(np.float64)
    row, column = divmod(int(response.argmax()), num_cells)
    place = [column + _vertex(response[row], column), row + _vertex(response[:, column], row)]

    # sidelobes are all values but those near the peak; places wrap around
    near = np.arange(-(num_cells // 8), num_cells // 8 + 1)
    lobe = response[(near[:, None] + row) % num_cells, (near + column) % num_cells]
    number = response.size - lobe.size
    mean = (response.sum() - lobe.sum()) / number
    square = (np.vdot(response, response) - np.vdot(lobe, lobe)) / number
    deviation = max(float(square - mean * mean), 0.0) ** 0.5
    ratio = (float(response[row, column]) - float(mean)) / (deviation + _DEVIATION_FLOOR)

    return (np.array(place) + num_cells / 2) % num_cells - num_cells / 2, ratio


def _vertex(line: Float[np.ndarray, " N"], index: int) -> float:
    """The vertex of the parabola through a value and its neighbours, relative to the value."""
    before = float(line[index - 1])
    here = float(line[index])
    after = float(line[(index + 1) % len(line)])
    curvature = before - 2 * here + after

    return min(max((before - after) / (2 * curvature), -0.5), 0.5) if curvature < 0 else 0.0
