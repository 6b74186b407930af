"""A filter of the target's size: ridge regression over 17 sizes of its patch (M. Danelljan et al., BMVC 2014).

The features of a patch make one sample of a sequence over sizes, each 1.02 times the one before; the filter maps the
sequence to a Gaussian at the size of the box.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float, UInt8
from scipy import fft

from spikebridge.networks.sensing.detection.patches import grey_features
from spikebridge.networks.sensing.model.boxes import Box

_NUM_SCALES = 17
_STEP = 1.02
# side of a patch [its own px], a multiple of the cells of features
_SIDE = 32
# size of a patch, in that of the box
_CONTEXT = 1.2
# weight of a new frame
_RATE = 0.03
# lambda, in units of the mean power of the first frame
_RIDGE = 0.01
# added to it where there is no contrast
_FLOOR = 1e-6


class ScaleFilter(NamedTuple):
    """Weighted sums over frames, and lambda."""

    numerator: Complex[np.ndarray, "D K"]
    power: Float[np.ndarray, " K"]
    ridge: float

    def factor(self, frame: UInt8[np.ndarray, "H W"], box: Box) -> float:
        """The target's size, in that of a box around it [px]."""
        spectrum = _spectrum(frame, box)
        response = fft.ifft((self.numerator * spectrum).sum(0) / (self.power + self.ridge)).real
        best = int(response.argmax())
        vertex = parabola_vertex(*response[best - 1 : best + 2]) if 0 < best < _NUM_SCALES - 1 else 0.0

        return float(_STEP ** (best + vertex - _NUM_SCALES // 2))

    def updated(self, frame: UInt8[np.ndarray, "H W"], box: Box) -> "ScaleFilter":
        """The filter after a frame with the target in a box [px]."""
        new = initial_scale(frame, box)
        numerator = self.numerator + _RATE * (new.numerator - self.numerator)
        return ScaleFilter(numerator, self.power + _RATE * (new.power - self.power), self.ridge)


def initial_scale(frame: UInt8[np.ndarray, "H W"], box: Box) -> ScaleFilter:
    """The filter of one frame with the target in a box [px]."""
    spectrum = _spectrum(frame, box)
    power = (np.abs(spectrum) ** 2).sum(0)
    return ScaleFilter(_label() * spectrum.conj(), power, _RIDGE * float(power.mean()) + _FLOOR)


def parabola_vertex(before: float, here: float, after: float) -> float:
    """The vertex of the parabola through a value and its neighbours, relative to the value."""
    curvature = before - 2 * here + after
    return float(min(max((before - after) / (2 * curvature), -0.5), 0.5)) if curvature < 0 else 0.0


def _spectrum(frame: UInt8[np.ndarray, "H W"], box: Box) -> Complex[np.ndarray, "D K"]:
    steps = np.arange(_NUM_SCALES) - _NUM_SCALES // 2
    sides = _CONTEXT * _STEP ** steps[:, None] * box[2:]
    features = grey_features(frame, box, sides, np.zeros_like(sides), _SIDE).reshape(_NUM_SCALES, -1)
    window = np.hanning(_NUM_SCALES + 2)[1:-1].astype(np.float32)

    return fft.fft((features * window[:, None]).T, axis=1)


@cache
def _label() -> Complex[np.ndarray, " K"]:
    steps = np.arange(_NUM_SCALES) - _NUM_SCALES // 2
    return fft.fft(np.exp(-0.5 * (steps / (_NUM_SCALES / 16)) ** 2))
