"""Families of generated scenes: each differs from the plain one in its own property."""

import numpy as np
import pytest

from spikebridge.data.simulation.families import SCENE_FAMILIES, family_recording
from spikebridge.data.simulation.moving_objects import MovingObjects
from spikebridge.errors import ConfigError


@pytest.fixture(scope="module")
def recordings():
    return {family: family_recording(family, seed=4, seconds=0.05) for family in SCENE_FAMILIES}


def test_every_family_gives_frames_events_and_boxes(recordings):
    for family, recording in recordings.items():
        assert recording.name == f"{family} 4"
        assert recording.num_frames == 2 and recording.num_bins == 12
        assert recording.events.num_events > 0

        middle = recording.boxes[:, :2] + recording.boxes[:, 2:] / 2
        assert (middle > 0).all() and (middle < [recording.events.width, recording.events.height]).all()


def test_a_seed_gives_the_same_scene_and_another_seed_another_one(recordings):
    again = family_recording("jerky", seed=4, seconds=0.05)
    assert np.array_equal(again.frames, recordings["jerky"].frames)
    assert np.array_equal(again.events.x, recordings["jerky"].events.x)
    assert not np.array_equal(family_recording("jerky", seed=5, seconds=0.05).boxes, again.boxes)


def test_families_differ_in_their_own_property(recordings):
    def events_a_pixel(name):
        return recordings[name].events.num_events / recordings[name].frames[0].size

    assert recordings["dim"].frames.mean() < 0.4 * recordings["plain"].frames.mean()
    assert events_a_pixel("high-thresholds") < events_a_pixel("plain") < events_a_pixel("noisy")
    assert events_a_pixel("moving-camera") > 1.5 * events_a_pixel("smooth")
    assert recordings["small"].frames.shape[1:] == (88, 88) and recordings["large"].frames.shape[1:] == (176, 232)

    def roughness(name):
        return np.abs(np.diff(recordings[name].frames[0].astype(float))).mean()

    assert roughness("textured") > 1.5 * roughness("plain")


def test_distractors_beside_the_target_stay_at_their_distance():
    scene = MovingObjects(seed=1, size=20, num_distractors=2, beside=True)
    for body in scene._bodies[1:]:
        away = [np.hypot(*np.subtract(scene._place(body, t), scene.center(t))) for t in (0.0, 0.3, 0.9)]
        assert away == pytest.approx([away[0]] * 3)
        assert 20 <= away[0] <= 28


def test_a_scene_without_stops_has_a_steady_pace():
    def paces(stops):
        motion = MovingObjects(seed=2, stops=stops)._target.motion
        return np.diff([motion.path_position(t) for t in np.linspace(0, 2, 201)])

    assert np.ptp(paces(0.0)) == pytest.approx(0.0, abs=1e-12)
    assert paces(1.0).min() < 0.01 * paces(1.0).mean()


def test_jitter_moves_a_target_by_no_more_than_its_size():
    smooth = MovingObjects(seed=2)
    jerky = MovingObjects(seed=2, jitter=5.0)
    away = np.array([np.subtract(jerky.center(t), smooth.center(t)) for t in np.linspace(0, 1, 60)])
    assert 2 < np.abs(away).max() <= 5


def test_an_unknown_family_and_stops_out_of_range_are_refused():
    with pytest.raises(ConfigError, match=r"no family of scenes 'dimm'.*dim"):
        family_recording("dimm", seed=0)
    with pytest.raises(ConfigError, match="stops from 0 to 1, but got 2"):
        MovingObjects(stops=2)
