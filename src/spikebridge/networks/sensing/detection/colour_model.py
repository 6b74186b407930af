"""The colours of a target and of its surroundings: histograms that tell, pixel by pixel, which of both it is.

A class of colours counts for the target by the share `t / (t + s)` of its frequency `t` in the target, beside `s` in
the surroundings (H. Possegger et al., CVPR 2015). Grey frames have classes of grey levels.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int32, UInt8
from numpy.typing import NDArray

from spikebridge.networks.sensing.model.boxes import Box, box_center

# classes of each of red, green and blue, and of grey
_NUM_LEVELS = 16
_NUM_GREYS = 32
# points along a side of the region that is counted
_NUM_POINTS = 48
# share of the box that is the target for sure
_CORE = 0.8
# factor of the box outside of which there are surroundings
_RIM = 1.05
# surroundings that are counted, in sides of a square target, added to both sides of the box
_MARGIN = 1.0
# weight of a new frame
_RATE = 0.04
# smallest weight of the first frame in the target's colours
_FIRST_SHARE = 0.1
# frequency below which a class says nothing
_RARE = 1e-4


class ColourModel(NamedTuple):
    """Frequencies of classes of colours in the target, in its surroundings, and in the target of the first frame."""

    target: Float[np.ndarray, " K"]
    surroundings: Float[np.ndarray, " K"]
    first: Float[np.ndarray, " K"]

    def shares(self) -> Float[np.ndarray, " K"]:
        """For each class the probability of the target, where target and surroundings are as large."""
        target = (1 - _FIRST_SHARE) * self.target + _FIRST_SHARE * self.first + _RARE
        return (target / (target + self.surroundings + _RARE)).astype(np.float32)

    def updated(self, picture: UInt8[np.ndarray, "H W *C"], box: Box) -> "ColourModel":
        """The model after a frame with the target in a box [px]."""
        new = initial_colours(picture, box)
        target = self.target + _RATE * (new.target - self.target)
        return ColourModel(target, self.surroundings + _RATE * (new.surroundings - self.surroundings), self.first)


def initial_colours(picture: UInt8[np.ndarray, "H W *C"], box: Box) -> ColourModel:
    """The model of one frame with the target in a box [px]."""
    width, height = (box[2:] + _MARGIN * max(float(box[2] * box[3]), 1.0) ** 0.5).tolist()
    classes = colour_classes(nearest_pixels(picture, box_center(box), (width, height), _NUM_POINTS))
    steps = 2 * np.abs(unit_steps(_NUM_POINTS))
    # sides of the smallest box with the same centre that holds a point, in sides of the target
    sides = np.maximum((steps * height / box[3])[:, None], steps * width / box[2])

    # a target thinner than the points are apart has the one in its middle
    inside = classes[sides <= max(_CORE, sides.min())]
    outside = classes[sides > _RIM]
    number = _NUM_GREYS if picture.ndim == 2 else _NUM_LEVELS**3
    target, surroundings = (np.bincount(part, minlength=number) / max(len(part), 1) for part in (inside, outside))

    return ColourModel(target, surroundings, target)


def colour_classes(pixels: UInt8[np.ndarray, "*S"]) -> Int32[np.ndarray, "*S"]:
    """The class of each pixel, by grey level `(H, W)` or by colour `(H, W, 3)`."""
    if pixels.ndim == 2:
        return pixels.astype(np.int32) * _NUM_GREYS >> 8

    red, green, blue = np.moveaxis(pixels.astype(np.int32) * _NUM_LEVELS >> 8, 2, 0)
    return (red * _NUM_LEVELS + green) * _NUM_LEVELS + blue


def nearest_pixels(
    picture: UInt8[np.ndarray, "H W *C"], center: NDArray[np.float64], size: tuple[float, float], number: int
) -> UInt8[np.ndarray, "N N *C"]:
    """The pixels nearest to a grid of points on a rectangle [px]; beyond the edges those at the edge."""
    columns, rows = (
        (middle + side * unit_steps(number)).clip(0, extent - 1).astype(int)
        for middle, side, extent in zip(center, size, picture.shape[1::-1], strict=True)
    )
    return picture[rows[:, None], columns]


@cache
def unit_steps(number: int) -> Float[np.ndarray, " N"]:
    """The centres of equal parts of a line of length 1, from its middle."""
    steps: NDArray[np.float64] = (np.arange(number) + 0.5) / number - 0.5
    return steps
