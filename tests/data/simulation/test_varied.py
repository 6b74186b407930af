"""Scenes in which everything is drawn again, and textures of overlapping shapes."""

import numpy as np
import pytest

from spikebridge.data.simulation.families import family_recording
from spikebridge.data.simulation.textures import dead_leaves, fractal_noise
from spikebridge.data.simulation.tumbling_objects import TumblingObjects

pytestmark = pytest.mark.untyped


def test_a_seed_gives_the_same_scene_and_others_differ_in_light_size_and_events():
    one, again = (family_recording("varied", 3, seconds=0.05) for _ in range(2))
    assert np.array_equal(one.frames, again.frames) and np.array_equal(one.events.x, again.events.x)

    many = [family_recording("varied", seed, seconds=0.05) for seed in range(6)]
    for values in (
        [recording.frames.mean() for recording in many],
        [recording.boxes[0, 2:].prod() ** 0.5 for recording in many],
        [recording.events.num_events / recording.frames[0].size for recording in many],
    ):
        assert max(values) > 1.5 * min(values)


def test_dead_leaves_have_edges_and_stay_within_their_tones():
    leaves, fractal = (make(60, 80, np.random.default_rng(0)) for make in (dead_leaves, fractal_noise))
    steps = np.abs(np.diff(leaves))

    # an edge is a large step among many small ones: the kurtosis is that of natural images, not of a fractal
    assert (
        (steps**4).mean() / (steps**2).mean() ** 2 > 10 > (np.diff(fractal) ** 4).mean() / np.diff(fractal).var() ** 2
    )

    toned = dead_leaves(30, 30, np.random.default_rng(1), tones=(0.4, 0.5))
    assert toned.min() >= 0.4 and toned.max() <= 0.5


def test_tumbling_objects_without_leaves_are_as_before():
    scene, other = (TumblingObjects(height=64, width=64, size=16, seed=3, leaves=leaves) for leaves in (False, True))
    assert scene.box(0.2).tolist() == other.box(0.2).tolist()
    assert not np.array_equal(scene.image(0.2), other.image(0.2))


def test_dark_scenes_have_more_contrast_for_their_light_and_noisy_frames():
    dark, varied = (
        [family_recording(name, seed, seconds=0.02).frames[0].astype(float) for seed in range(1, 5)]
        for name in ("dark", "varied")
    )

    contrast = [np.median([frame.std() / frame.mean() for frame in frames]) for frames in (dark, varied)]
    assert contrast[0] > 1.5 * contrast[1]
    assert np.median([frame.mean() for frame in dark]) < np.median([frame.mean() for frame in varied])
