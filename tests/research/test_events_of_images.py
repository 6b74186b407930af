"""Events of a row of images, with one bin between two of them, are those of the camera with times."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from research.creature.events_of_images import events_of_images
from spikebridge.data.events.binning import bin_events
from spikebridge.data.simulation.event_camera import EventCamera, simulate
from spikebridge.errors import ShapeError

pytestmark = pytest.mark.untyped


def exact(threshold=0.25, **settings):
    return EventCamera(threshold_mean=threshold, threshold_sd=0.0, log_offset=0.1, **settings)


def rng(seed=0):
    return np.random.default_rng(seed)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_camera_in_steps_counts_the_same_events(seed):
    images = rng(seed).random((5, 3, 4))
    events = simulate(images, np.arange(5) * 1000, exact(0.2371), rng())
    grid = bin_events(events, 3, 4, dt=0.001, num_bins=4, counts=True)
    steps = events_of_images(torch.from_numpy(images)[:, None], exact(0.2371))

    assert steps[:, 0].equal(grid.double())


def test_the_camera_in_steps_leaks_and_is_noisy_at_the_same_rates():
    still = torch.full((11, 1, 30, 30), 0.5)
    leaking = events_of_images(still, exact(leak=5.0), dt=0.1)

    assert leaking[:, :, 1].sum() == 0
    assert leaking[:, :, 0].sum((0, 1)).sub(5).abs().max() <= 1

    noise = events_of_images(still, exact(shot_noise=10.0), dt=0.1, generator=torch.Generator().manual_seed(0))
    assert abs(noise.sum().item() - 9000) < 4 * 95
    assert abs(noise[:, :, 0].sum().item() - 4500) < 4 * 68


def test_one_image_in_steps_is_refused():
    with pytest.raises(ShapeError, match="at least 2 images"):
        events_of_images(torch.zeros(1, 1, 2, 2), exact())
