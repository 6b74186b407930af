"""Scenes of given pictures: textures of objects."""

import numpy as np
import pytest

from spikebridge.data.simulation.drawing import sample_bilinear
from spikebridge.data.simulation.tumbling_objects import TumblingObjects
from spikebridge.errors import ConfigError


def _level(image: np.ndarray, x: float, y: float) -> float:
    return float(sample_bilinear(image, np.array([x]), np.array([y]))[0])


def test_target_distractors_and_background_have_the_given_textures():
    textures = np.full((32, 32), 0.3), np.full((32, 32), 0.6)
    still = {"height": 64, "width": 64, "size": 20, "camera_motion": 0, "light_change": 0}
    scene = TumblingObjects(**still, seed=1, num_distractors=1, textures=textures, background=np.full((68, 68), 0.9))
    image = scene.image(0.1)
    x, y, width, height = scene.box(0.1)

    assert _level(image, x + width / 2, y + height / 2) == pytest.approx(0.3)
    # beside them there are only mixtures at the outlines
    assert {round(float(level), 6) for level in np.unique(image)} >= {0.3, 0.6, 0.9}
    with pytest.raises(ConfigError, match=r"a background of \(68, 68\) rows and columns or more, but got \(60, 60\)"):
        TumblingObjects(**still, background=np.ones((60, 60)))
