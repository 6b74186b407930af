"""Rooms of a recording: in both ways of time, and anew where a box is missing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from spikebridge.data.recordings.recording import Recording
from spikebridge.data.simulation.render import render_recording
from spikebridge.data.simulation.rotating_disk import RotatingDisk
from spikebridge.networks.sensing.model.background import initial_background
from spikebridge.networks.sensing.training.detector_samples import background_sequence


@pytest.fixture(scope="module")
def recording() -> Recording:
    return render_recording(RotatingDisk(height=64, width=64), duration=0.2, dt=0.005)


def every(recording: Recording, frames: range, wrong: float = 0.0) -> dict[int, list[int]]:
    generator = np.random.default_rng(0)
    return {
        k: sorted(found)
        for k, found in background_sequence(recording, frames, recording.frames.__getitem__, generator, wrong)
    }


def test_the_first_frame_has_no_background_and_the_third_two(recording: Recording) -> None:
    assert every(recording, range(2, 7)) == {2: [], 3: [1], 4: [1, 2], 5: [1, 2], 6: [1, 2]}
    assert every(recording, range(2, 7)[::-1]) == {6: [], 5: [1], 4: [1, 2], 3: [1, 2], 2: [1, 2]}
    assert every(recording, range(0, 8, 2)) == {0: [], 2: [], 4: [], 6: []}


def test_a_frame_without_a_box_begins_anew(recording: Recording) -> None:
    boxes = recording.frame_boxes.copy()
    boxes[3] = np.nan

    assert every(replace(recording, frame_boxes=boxes), range(7)) == {
        0: [],
        1: [1],
        2: [1, 2],
        3: [],
        4: [],
        5: [1],
        6: [1, 2],
    }


def test_true_boxes_give_the_backgrounds_of_a_tracker_without_errors(recording: Recording) -> None:
    generator = np.random.default_rng(0)
    found = dict(background_sequence(recording, range(5), recording.frames.__getitem__, generator, wrong=0.0))
    background = initial_background(recording.frames[0])

    for k in range(1, 5):
        box = recording.frame_boxes[k - 1]
        there = recording.frame_boxes[k]
        background = background.updated(recording.frames[k - 1], box, recording.frames[k], there)

        assert torch.equal(found[k][1].picture, background.picture)

        np.testing.assert_array_equal(found[k][1].motion, background.motion)


def test_wrong_boxes_give_other_backgrounds(recording: Recording) -> None:
    pictures = []
    for wrong in (0.0, 1.0):
        generator = np.random.default_rng(0)
        *_, (_, found) = background_sequence(recording, range(6), recording.frames.__getitem__, generator, wrong)
        pictures.append(found[1].picture)

    assert not torch.equal(*pictures)
