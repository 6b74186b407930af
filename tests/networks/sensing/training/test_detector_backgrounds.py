"""Backgrounds of a recording, in both directions of time; they start again where a box is missing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from research.sensing.variants.rotating_disk import RotatingDisk
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.simulation.render import render_recording
from spikebridge.networks.sensing.model.background import initial_background
from spikebridge.networks.sensing.training.detector_samples import background_sequence

pytestmark = pytest.mark.untyped


@pytest.fixture(scope="module")
def recording() -> Recording:
    return render_recording(RotatingDisk(height=64, width=64), duration=0.2, dt=0.005)


def gaps_of_backgrounds(recording: Recording, frames: range) -> dict[int, list[int]]:
    sequence = background_sequence(
        recording, frames, recording.frames.__getitem__, np.random.default_rng(0), error_factor=0.0
    )
    return {k: sorted(backgrounds) for k, backgrounds in sequence}


def test_the_first_frame_has_no_background_and_the_third_two(recording: Recording) -> None:
    assert gaps_of_backgrounds(recording, range(2, 7)) == {2: [], 3: [1], 4: [1, 2], 5: [1, 2], 6: [1, 2]}
    assert gaps_of_backgrounds(recording, range(2, 7)[::-1]) == {6: [], 5: [1], 4: [1, 2], 3: [1, 2], 2: [1, 2]}
    assert gaps_of_backgrounds(recording, range(0, 8, 2)) == {0: [], 2: [], 4: [], 6: []}


def test_after_a_frame_without_a_box_the_background_starts_again(recording: Recording) -> None:
    boxes = recording.frame_boxes.copy()
    boxes[3] = np.nan

    assert gaps_of_backgrounds(replace(recording, frame_boxes=boxes), range(7)) == {
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
    sequence = dict(background_sequence(recording, range(5), recording.frames.__getitem__, generator, error_factor=0.0))
    background = initial_background(recording.frames[0])

    for k in range(1, 5):
        before, box = recording.frame_boxes[[k - 1, k]]
        background = background.updated(recording.frames[k - 1], before, recording.frames[k], box)

        assert torch.equal(sequence[k][1].picture, background.picture)
        np.testing.assert_array_equal(sequence[k][1].motion, background.motion)


def test_wrong_boxes_give_other_backgrounds(recording: Recording) -> None:
    pictures = []
    for error_factor in (0.0, 1.0):
        generator = np.random.default_rng(0)
        *_, (_, backgrounds) = background_sequence(
            recording, range(6), recording.frames.__getitem__, generator, error_factor
        )
        pictures.append(backgrounds[1].picture)

    assert not torch.equal(*pictures)
