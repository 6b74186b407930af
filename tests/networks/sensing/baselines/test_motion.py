"""Trackers without a network, by hand and on the real recording."""

import numpy as np
import pytest

from spikebridge.data.events.binned import BinEvents
from spikebridge.data.recordings.fe240hz import load_fe240hz
from spikebridge.data.recordings.recording import temporal_splits
from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.sensing.baselines.motion import ConstantVelocity, Kalman, StaticBox, fit_kalman
from spikebridge.networks.sensing.evaluation.protocols import interframe

pytestmark = pytest.mark.untyped

NOTHING = BinEvents(np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, bool))
EVERY_TRACKER = [StaticBox(), ConstantVelocity(), Kalman(acceleration=100.0, box_noise=1.0, speed=100.0)]


def given(x, y=0.0, w=2.0, h=4.0, **changes):
    return {"events": NOTHING, "elapsed": 0.5, "frame_age": 0.5, "box": np.array([x, y, w, h]), **changes}


def nothing_given(elapsed=0.5):
    return {"events": NOTHING, "elapsed": elapsed}


def run(tracker, *steps):
    state = None
    boxes = []
    for inputs in steps:
        box, state = tracker.step(inputs, state)
        boxes.append(box)

    return np.array(boxes)


@pytest.mark.parametrize("tracker", EVERY_TRACKER, ids=lambda tracker: type(tracker).__name__)
def test_after_one_box_the_target_stands_still_with_its_size(tracker):
    assert run(tracker, given(3, 5), nothing_given(), nothing_given(9.0)) == pytest.approx(np.array([[3, 5, 2, 4]] * 3))


@pytest.mark.parametrize("tracker", EVERY_TRACKER, ids=lambda tracker: type(tracker).__name__)
def test_the_first_box_must_be_given(tracker):
    with pytest.raises(DataError, match="needs the target's box"):
        tracker.step(nothing_given(), None)


@pytest.mark.parametrize("tracker", EVERY_TRACKER, ids=lambda tracker: type(tracker).__name__)
def test_a_box_without_a_place_is_refused(tracker):
    with pytest.raises(DataError, match="a size above 0 px"):
        tracker.step(given(np.nan), None)


@pytest.mark.parametrize("tracker", EVERY_TRACKER, ids=lambda tracker: type(tracker).__name__)
def test_the_state_that_was_given_is_left_as_it_was(tracker):
    _, state = tracker.step(given(3), None)
    _, state = tracker.step(given(5), state)
    once, _ = tracker.step(nothing_given(), state)
    again, _ = tracker.step(nothing_given(), state)

    assert np.array_equal(once, again)


def test_constant_velocity_extrapolates_the_centre_and_keeps_the_new_size():
    """Middles at 1 and 9 with 1 s between: 8 px/s. The new box is 4 px wide."""
    boxes = run(ConstantVelocity(), given(0), nothing_given(), given(7, w=4.0), nothing_given(0.25))
    assert boxes[:, 0].tolist() == [0, 0, 7 + 4, 7 + 6] and boxes[3].tolist() == [13, 0, 4, 4]


def test_a_frame_inside_a_step_counts_from_its_own_time():
    """Given at 0 s, then in the step from 1 to 2 s at 1.5 s: 12 px in 1.5 s, and 4 px more until 2 s."""
    boxes = run(ConstantVelocity(), given(0, elapsed=1.0, frame_age=1.0), given(12, elapsed=1.0, frame_age=0.5))
    assert boxes[1, 0] == 12 + 4


def test_a_frame_without_a_box_changes_nothing():
    boxes = run(
        ConstantVelocity(), given(0), given(4), {**nothing_given(), "frame": None, "frame_age": 0.5}, nothing_given()
    )
    assert boxes[:, 0].tolist() == [0, 8, 12, 16]


def test_two_boxes_at_one_time_give_no_velocity():
    boxes = run(ConstantVelocity(), given(0), given(4), given(4, elapsed=0.0, frame_age=0.5))
    assert boxes[2, 0] == 4 + 4


def test_kalman_worked_by_hand():
    """No wandering, noise 1 px, speed 3 px/s, 1 s apart. After 0 and 6 the velocity's covariance with the place is 9
    and the innovation's variance 1 + 9 + 1 = 11: the place is 10/11 of 6, the velocity 9/11 of 6."""
    tracker = Kalman(acceleration=0.0, box_noise=1.0, speed=3.0)
    first = given(0, elapsed=1.0, frame_age=1.0)
    second = given(6, elapsed=1.0, frame_age=1.0)
    boxes = run(tracker, first, second, nothing_given(1.0))

    assert boxes[1, 0] == pytest.approx(6 * 10 / 11 + 6 * 9 / 11)
    assert boxes[2, 0] == pytest.approx(6 * 10 / 11 + 2 * 6 * 9 / 11)


def test_a_wandering_velocity_grows_the_covariance_by_the_textbook():
    """Over T the variance of the place grows by q T^3 / 3, that of the velocity by q T, and between them q T^2 / 2."""
    tracker = Kalman(acceleration=6.0, box_noise=1.0, speed=2.0)
    _, state = tracker.step(given(0, elapsed=2.0, frame_age=2.0), None)
    assert state.covariance == pytest.approx(np.array([[1 + 4 * 4 + 6 * 8 / 3, 4 * 2 + 6 * 4 / 2], [20, 4 + 12]]))


def test_kalman_is_better_than_constant_velocity_for_noisy_boxes():
    """A straight path, given with 2 px of noise: the more boxes, the better the estimate."""
    rng = np.random.default_rng(0)
    steps = [given(20.0 * k + rng.normal(0, 2)) for k in range(60)]
    truth = 20.0 * np.arange(1, 61)
    straight, kalman = (run(t, *steps)[10:, 0] - truth[10:] for t in (ConstantVelocity(), Kalman(1.0, 2.0, 50.0)))

    assert np.abs(kalman).mean() < 0.5 * np.abs(straight).mean()


def test_the_fit_recovers_the_noise():
    rng = np.random.default_rng(1)
    times = np.arange(400) * 0.025
    acceleration = 40_000.0
    velocity = np.cumsum(rng.normal(0, np.sqrt(acceleration * 0.025), (400, 2)), axis=0)
    places = np.cumsum(velocity * 0.025, axis=0) + rng.normal(0, 1.5, (400, 2))
    boxes = np.hstack([places, np.full((400, 2), 20.0)])
    boxes[50] = np.nan
    fitted = fit_kalman([(boxes, times)])

    assert fitted.box_noise == pytest.approx(1.5, rel=0.2)
    assert fitted.acceleration == pytest.approx(acceleration, rel=0.5)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="Kalman needs box_noise above 0, but got 0"):
        Kalman(acceleration=0.0, box_noise=0.0, speed=1.0)

    with pytest.raises(ConfigError, match="acceleration of 0 or more, but got -1"):
        Kalman(acceleration=-1.0, box_noise=1.0, speed=1.0)

    with pytest.raises(DataError, match="8 known boxes or more, but got 7"):
        fit_kalman([(np.ones((7, 4)), np.arange(7.0))])

    for number in (0, 1):
        with pytest.raises(DataError, match=f"two or more, but got {number}"):
            Kalman(acceleration=1.0, box_noise=1.0, speed=1.0).surprise(np.ones((number, 2)), np.ones(number))


@pytest.fixture(scope="module")
def real(real_set):
    """The real recording with the boxes of its frames at both offsets, and its test part."""
    folder = real_set("fe240hz")[0].parent
    return {offset: load_fe240hz(folder, event_offset=-3, box_offset=offset) for offset in (-5, -3)}


TEST = temporal_splits(560)["test"]


@pytest.mark.parametrize(
    ("offset", "tracker", "distance", "precision_3px", "auc"),
    [
        (-3, StaticBox(), 3.710, 0.495, 0.741),
        (-3, ConstantVelocity(), 1.614, 0.892, 0.856),
        (-5, StaticBox(), 3.800, 0.482, 0.736),
        (-5, ConstantVelocity(), 1.758, 0.859, 0.848),
    ],
)
def test_known_figures_of_the_real_recording_come_out(real, offset, tracker, distance, precision_3px, auc):
    """Worked out once without this package; -5 is the offset of the boxes, -3 that of older figures."""
    score = interframe(real[offset], tracker, TEST).score()
    assert score.num_outputs == 1272
    assert score.mean_distance_px == pytest.approx(distance, abs=0.002)
    assert (score.precision_3px, score.auc) == pytest.approx((precision_3px, auc), abs=0.001)


def test_the_real_error_grows_from_bin_to_bin(real):
    per_bin = interframe(real[-3], ConstantVelocity(), TEST).report()["per_bin"]
    errors = [round(one["mean_distance_px"], 2) for one in per_bin]
    assert errors == pytest.approx([0.97, 1.31, 1.50, 1.67, 1.97, 2.27], abs=0.011)


def test_a_fitted_kalman_beats_constant_velocity_on_the_real_recording_most_with_box_noise(real):
    recording = real[-5]
    train = temporal_splits(recording.num_frames)["train"]
    boxes = recording.frame_boxes[train.start : train.stop].copy()
    boxes[:, :2] += np.random.default_rng(1).normal(0, 2.0, (len(boxes), 2))
    kalman = fit_kalman([(boxes, recording.frame_times[train.start : train.stop])])
    settings = {"frames": TEST, "noise_px": 2.0, "seed": 0}
    straight = interframe(recording, ConstantVelocity(), **settings).score().mean_distance_px
    two, many = (interframe(recording, kalman, num_given=n, **settings).score().mean_distance_px for n in (2, 8))

    assert two < 0.95 * straight and many < 0.75 * straight


def test_at_fewer_frames_constant_velocity_loses_its_lead_on_the_real_recording(real):
    """At 5 Hz the target has turned long before the next frame."""
    lead = {}
    for keep in (1, 8):
        frames = range(-(-TEST.start // keep), -(-TEST.stop // keep))
        results = (
            interframe(real[-3].subsample_frames(keep), tracker, frames)
            for tracker in (ConstantVelocity(), StaticBox())
        )
        straight, hold = (result.score().mean_distance_px for result in results)
        lead[keep] = straight / hold

    assert lead[1] < 0.5 and 0.8 < lead[8] < 1
