"""A camera before a picture, whose target is a part of it."""

import numpy as np
import pytest

from research.sensing.variants.panned_picture import PannedPicture
from spikebridge.data.simulation.drawing import sample_bilinear
from spikebridge.errors import ConfigError

pytestmark = pytest.mark.untyped


def _level(image: np.ndarray, x: float, y: float) -> float:
    return float(sample_bilinear(image, np.array([x]), np.array([y]))[0])


def test_the_target_of_a_panned_picture_keeps_its_looks_wherever_it_goes():
    rows, columns = np.mgrid[:120, :160]
    picture = 0.5 + 0.2 * np.sin(columns / 9) + 0.2 * np.cos(rows / 11)
    scene = PannedPicture(picture, height=80, width=100, size=24, speed=150, seed=2, light_change=0, turning=0.4)
    boxes = np.array([scene.box(t) for t in np.linspace(0, 1, 9)])
    middles = boxes[:, :2] + boxes[:, 2:] / 2
    seen = [_level(scene.image(t), *middle) for t, middle in zip(np.linspace(0, 1, 9), middles, strict=True)]

    assert np.ptp(seen) < 0.01 < picture.std() and np.ptp(middles, axis=0).max() > 20
    # it is 1.5 times as large at most, turned by 0.4 rad, and its axes are stretched by 1.16
    assert boxes[:, 2:].prod(1).max() < 2 * 1.5 * boxes[:, 2:].prod(1).min()


def test_a_panned_picture_without_motion_is_mirrored_beyond_its_edges():
    picture = np.random.default_rng(0).random((12, 16))
    still = {"speed": 0, "scale_change": 1, "light_change": 0, "turning": 0, "tumbling": 0}
    image = PannedPicture(picture, height=48, width=64, size=8, **still).image(0.0)
    width, height = PannedPicture(picture, height=48, width=64, size=8, **still).box(0.3)[2:]

    assert width * height == pytest.approx(64)  # of axes whose product is 8 x 8

    # rows repeat after two heights of the picture, mirrored halfway
    np.testing.assert_allclose(image[:24], image[24:], atol=1e-9)
    np.testing.assert_allclose(image[:, :32], image[:, 32:], atol=1e-9)


def test_a_picture_too_small_for_its_target_is_refused():
    with pytest.raises(ConfigError, match="twice as large as the target, but got"):
        PannedPicture(np.ones((9, 9)), height=40, width=40, size=21)
