from itertools import pairwise
from math import inf

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from spikebridge.data.events.events import check_events, make_events
from spikebridge.data.simulation._sensor_steps import initial_sensor, sensor_step
from spikebridge.data.simulation.event_camera import (
    EventCamera,
    camera_step,
    initial_camera,
    keep_first_per_group,
    simulate,
)
from spikebridge.errors import ConfigError, DataError, ShapeError

pytestmark = pytest.mark.untyped

OFFSET = 0.1


def exact(threshold=0.25, **settings):
    return EventCamera(threshold_mean=threshold, threshold_sd=0.0, log_offset=OFFSET, **settings)


def rng(seed=0):
    return np.random.default_rng(seed)


def log_ramp(*levels):
    """Images of one pixel whose log intensity, counted from darkness, is at these levels."""
    return (OFFSET * np.exp(np.array(levels, float)) - OFFSET).reshape(-1, 1, 1).clip(min=0)


def test_a_ramp_gives_the_exact_count_and_times():
    """1.1 of log intensity in 1100 us passes 0.25, 0.5, 0.75 and 1.0: after 250, 500, 750 and 1000 us."""
    events = simulate(log_ramp(0, 1.1), [5000, 6100], exact(), rng())
    assert events["t"].tolist() == [5250, 5500, 5750, 6000]
    assert events["p"].all()


def test_a_falling_ramp_gives_off_events():
    events = simulate(log_ramp(1.1, 0), [0, 1100], exact(), rng())
    assert events["t"].tolist() == [250, 500, 750, 1000]
    assert not events["p"].any()


def test_what_is_left_over_counts_in_the_next_interval():
    """0.2 and then 0.2 more: the threshold of 0.25 is passed a quarter into the second interval."""
    events = simulate(log_ramp(0, 0.2, 0.4), [0, 1000, 2000], exact(), rng())
    assert events["t"].tolist() == [1250]


def test_cutting_a_ramp_into_images_changes_nothing():
    once = simulate(log_ramp(0, 2.1), [0, 2100], exact(), rng())
    often = simulate(log_ramp(*np.linspace(0, 2.1, 8)), np.arange(8) * 300, exact(), rng())
    assert len(once) == len(often) == 8
    assert once["t"].tolist() == often["t"].tolist()


def test_turning_back_is_measured_from_the_reference():
    """Up to 0.6 leaves the reference at 0.5; down to 0.2 passes 0.25 after 350 of 400 us."""
    events = simulate(log_ramp(0, 0.6, 0.2), [0, 600, 1000], exact(), rng())
    assert events["p"].tolist() == [True, True, False]
    assert events["t"].tolist() == [250, 500, 950]


def test_a_still_scene_is_silent():
    assert len(simulate(np.full((4, 3, 3), 0.5), np.arange(4) * 1000, exact(), rng())) == 0


def test_a_refractory_pixel_sleeps_and_wakes_with_a_fresh_reference():
    """Each 250 us of climbing are followed by 100 us of sleep: 250, 600, 950; the fourth would be at 1300."""
    events = simulate(log_ramp(0, 1.1), [0, 1100], exact(refractory=1e-4), rng())
    assert events["t"].tolist() == [250, 600, 950]


def test_sleep_continues_over_an_image():
    """An event at 950, asleep until 1150 and so over the image at 1000, then 950 us of climbing at the old speed."""
    events = simulate(log_ramp(0, 1.0, 2.0), [0, 1000, 2000], exact(0.95, refractory=2e-4), rng())
    assert events["t"].tolist() == [950]  # 1150 + 950 is past the end

    longer = simulate(log_ramp(0, 1.0, 2.2), [0, 1000, 2200], exact(0.95, refractory=2e-4), rng())
    assert longer["t"].tolist() == [950, 2100]


def test_leak_sends_on_events_at_its_rate():
    events = simulate(np.full((2, 1, 1), 0.5), [0, 1_000_000], exact(leak=4.5), rng())
    assert events["p"].all()
    assert np.abs(events["t"] - np.array([1, 2, 3, 4]) / 4.5e-6).max() <= 1


def test_shot_noise_has_its_rate_and_both_polarities():
    events = simulate(np.full((2, 50, 50), 0.5), [0, 1_000_000], exact(shot_noise=4.0), rng())
    assert abs(len(events) - 10_000) < 4 * 100
    assert abs(events["p"].mean() - 0.5) < 4 * 0.5 / 100

    check_events(events, 50, 50)
    assert np.bincount(events["t"] // 250_000, minlength=4).min() > 2300


def test_thresholds_have_their_spread_and_floor():
    settings = EventCamera(threshold_mean=0.2, threshold_sd=0.03, threshold_floor=0.05)
    threshold = initial_camera(np.zeros((100, 100)), 0, settings, rng()).threshold

    assert threshold.mean() == pytest.approx(0.2, abs=0.001)
    assert threshold.std() == pytest.approx(0.03, rel=0.03)
    assert abs(np.corrcoef(threshold[0].ravel(), threshold[1].ravel())[0, 1]) < 0.04

    wide = EventCamera(threshold_mean=0.1, threshold_sd=0.5, threshold_floor=0.05)
    assert initial_camera(np.zeros((100, 100)), 0, wide, rng()).threshold.min() == 0.05


def test_censoring_keeps_the_first_of_a_group_and_changes_of_polarity():
    events = make_events(
        t=[0, 5, 10, 15, 20, 24_999, 25_000, 25_001],
        x=[0, 0, 1, 0, 0, 1, 0, 1],
        y=[0] * 8,
        p=[1, 1, 1, 0, 1, 1, 1, 1],
    )

    assert keep_first_per_group(events, 0.025)["t"].tolist() == [0, 10, 15, 20, 25_000, 25_001]


def test_the_censoring_option_is_the_function_on_the_plain_events():
    images = rng(3).random((6, 4, 4))
    times = np.arange(6) * 1000
    plain = simulate(images, times, exact(), rng())
    censored = simulate(images, times, exact(first_event_per_group=0.0025), rng())

    assert len(censored) < len(plain)
    assert censored.tolist() == keep_first_per_group(plain, 0.0025).tolist()


def one_pixel_by_hand(levels, times, camera):
    """The same camera written as a person would for one pixel: walk from event to event."""
    events = []
    reference = levels[0]
    asleep_until = None

    for (a, b), (start, stop) in zip(pairwise(levels), pairwise(times), strict=True):
        speed = (b - a) / (stop - start)
        while True:
            if asleep_until is not None:
                if asleep_until > stop:
                    break
                reference = a + speed * (asleep_until - start)
                asleep_until = None

            goal = reference + (camera.threshold_mean if speed > 0 else -camera.threshold_mean)
            now = start + (goal - a) / speed if speed != 0 else inf
            if now > stop:
                break

            events.append((now, speed > 0))
            reference = goal
            if camera.refractory:
                asleep_until = now + camera.refractory * 1e6

    return events


# thousandths of log intensity never differ by a multiple of 0.2371 here, so that rounding decides nothing
unlike_levels = st.lists(st.integers(0, 2300), min_size=2, max_size=8, unique=True)


@settings(max_examples=100)
@given(unlike_levels, st.lists(st.integers(0, 6), max_size=2), st.sampled_from([0.0, 1.01e-4, 1.303e-3]))
def test_a_pixel_does_what_a_pixel_walked_by_hand_does(levels, still_at, refractory):
    for place in still_at:
        levels = [*levels[: place + 1], *levels[place:]] if place < len(levels) else levels

    camera = exact(0.2371, refractory=refractory)
    times = list(range(0, 1000 * len(levels), 1000))
    images = log_ramp(*(level / 1000 for level in levels))
    by_hand = one_pixel_by_hand(np.log(images.ravel() + OFFSET).tolist(), times, camera)
    events = simulate(images, times, camera, rng())

    assert len(events) == len(by_hand)
    for event, (t, on) in zip(events, by_hand, strict=True):
        assert event["p"] == on and -1e-6 < t - event["t"] < 1


def test_events_are_sorted_and_on_the_sensor():
    images = rng(1).random((10, 6, 8))
    settings = EventCamera(refractory=1e-4, leak=10.0, shot_noise=50.0, first_event_per_group=0.003)
    events = simulate(images, np.arange(10) * 1000, settings, rng())

    assert len(events) > 200

    check_events(events, 6, 8)


def test_the_same_seed_gives_the_same_events():
    images = rng(1).random((4, 6, 8))
    times = np.arange(4) * 1000
    settings = EventCamera(shot_noise=100.0)
    first = simulate(images, times, settings, rng(7))

    assert first.tolist() == simulate(images, times, settings, rng(7)).tolist()
    assert first.tolist() != simulate(images, times, settings, rng(8)).tolist()


def test_step_by_step_gives_what_the_whole_gives():
    images = rng(1).random((6, 4, 4))
    times = np.arange(6) * 1000
    settings = EventCamera(refractory=3e-4)
    generator = rng(7)
    state = initial_camera(images[0], 0, settings, generator)
    parts = []

    for image, time in zip(images[1:], times[1:], strict=True):
        events, state = camera_step(image, int(time), state, settings, generator)
        parts.extend(events.tolist())

    assert parts == simulate(images, times, settings, rng(7)).tolist()


def test_images_of_a_wrong_kind_are_refused():
    with pytest.raises(ShapeError, match="at least 2 images"):
        simulate(np.zeros((1, 2, 2)), [0], exact(), rng())

    with pytest.raises(ShapeError, match="at least 2 images"):
        simulate(np.zeros((2, 2, 2)), [0, 1, 2], exact(), rng())

    with pytest.raises(ShapeError, match="whole microseconds"):
        simulate(np.zeros((2, 2, 2)), [0.0, 0.025], exact(), rng())

    with pytest.raises(DataError, match="0 us came after one at 5 us"):
        simulate(np.zeros((2, 2, 2)), [5, 0], exact(), rng())


@pytest.mark.parametrize("value", [255.0, -0.1, float("nan")])
def test_intensities_out_of_range_are_refused(value):
    with pytest.raises(DataError, match=r"intensities in \[0, 1\]"):
        simulate(np.full((2, 1, 1), value), [0, 1], exact(), rng())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold_mean", 0.0),
        ("threshold_sd", -0.1),
        ("threshold_floor", 0.0),
        ("log_offset", 0.0),
        ("refractory", float("inf")),
        ("leak", -1.0),
        ("shot_noise", float("nan")),
        ("first_event_per_group", 0.0),
    ],
)
def test_impossible_settings_are_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=f"EventCamera needs {name} .* but got {value}"):
        EventCamera(**{name: value})


def test_every_sample_in_steps_has_a_camera_of_its_own():
    state = initial_sensor(torch.zeros(2, 20, 20), EventCamera(), torch.Generator().manual_seed(0))
    assert not state.threshold[0].equal(state.threshold[1])
    assert not state.threshold[:, 0].equal(state.threshold[:, 1])
    assert state.threshold.std().item() == pytest.approx(0.03, rel=0.1)


def test_random_numbers_are_never_drawn_from_the_global_generator():
    with pytest.raises(ConfigError, match="threshold_sd above 0 draws random numbers"):
        initial_sensor(torch.zeros(1, 2, 2), EventCamera())

    state = initial_sensor(torch.zeros(1, 2, 2), exact())
    with pytest.raises(ConfigError, match="shot_noise above 0 draws random numbers"):
        sensor_step(torch.zeros(1, 2, 2), state, exact(shot_noise=1.0))


@pytest.fixture(scope="module")
def recording(real_set):
    folder, events, _ = real_set("fe240hz")
    with np.load(events) as arrays:
        return sorted(folder.glob("*.jpg")), {name: arrays[name] for name in ("bin", "x", "y", "p")}


def signed_map(x, y, on, shape):
    total = np.zeros(shape)
    np.add.at(total, (y, x), np.where(on, 1.0, -1.0))
    return gaussian_filter(total, 1.5)


@pytest.mark.parametrize(
    "camera",
    [EventCamera(), EventCamera(threshold_mean=0.25, first_event_per_group=0.025)],
    ids=["default", "censored as the recording"],
)
def test_simulated_events_look_like_those_of_a_real_camera(recording, camera):
    """Events between frames k and k + 1 are in bins 6 k - 3 .. 6 k + 2; k goes through the recording in equal steps."""
    names, real = recording
    correlations = []

    for k in range(20, 560, 60):
        images = np.stack([np.asarray(Image.open(name).convert("L")) / 255 for name in names[k : k + 2]])
        # the recording was censored in groups that end in the middle between two frames
        events = simulate(images, [12_500, 37_500], camera, rng(k))
        first, last = np.searchsorted(real["bin"], [6 * k - 3, 6 * k + 3])
        x, y, is_off = (real[name][first:last] for name in ("x", "y", "p"))
        ours = signed_map(events["x"], events["y"], events["p"], images.shape[1:])
        theirs = signed_map(x, y, ~is_off, images.shape[1:])
        correlations.append(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1])

    assert np.mean(correlations) >= 0.8
