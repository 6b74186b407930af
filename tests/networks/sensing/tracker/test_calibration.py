"""Calibration while tracking: gains and weights by hand, and the tracker that has them in its state."""

import numpy as np
import pytest
import torch

from research.sensing.variants.rotating_disk import RotatingDisk
from spikebridge.data.recordings.degradation import Degradation, degraded
from spikebridge.data.recordings.recording import Recording
from spikebridge.data.simulation.render import render_recording
from spikebridge.networks.sensing.evaluation.protocols import interframe, one_pass_evaluation, reset_every
from spikebridge.networks.sensing.model.motion_prior import MotionPriorNp
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import SensingOptions
from spikebridge.networks.sensing.tracker.calibration import (
    BinRecord,
    Calibration,
    Interval,
    TrainedHead,
    begin_interval,
    calibrated_place,
    initial_calibration,
    update_calibration,
)
from spikebridge.networks.sensing.tracker.inference import EagerInference
from spikebridge.networks.sensing.tracker.tracker import SensingTracker, TrackerOptions

pytestmark = pytest.mark.untyped

DT = 0.005
TRAINED = TrainedHead(1.0, 0.03, (0.5, 2.0))
STEPS = np.arange(-20, 21.0)
SQUARES = STEPS**2 + STEPS[:, None] ** 2


def fits(true: np.ndarray, strength: float) -> np.ndarray:
    """Scores of the events of a target whose features change by 8 |d|^2, `strength` times as strong."""
    return strength * 16 * (STEPS * true[0] + (STEPS * true[1])[:, None])


def interval(motion: np.ndarray, acceleration: np.ndarray | None = None, unit: float = 0.02) -> Interval:
    known = MotionPriorNp(np.zeros(2), motion, 0.0)
    faster = np.zeros(2) if acceleration is None else acceleration
    return begin_interval((known, known), faster, 8 * SQUARES, TRAINED, 10.0, unit, 1.0)


def answer(
    true: np.ndarray,
    strength: float,
    calibration: Calibration,
    known: Interval,
    elapsed: float,
    number: int,
) -> tuple[np.ndarray, float, BinRecord]:
    scores = fits(true, strength)[known.window(elapsed)]
    return calibrated_place(scores, calibration, known, elapsed, number)


def run(strength: float, turn: float, num: int = 40, learns: bool = True) -> tuple[Calibration, list[float]]:
    """Intervals of one bin: the target moves by 3 px, and `turn` px away from its last motion."""
    calibration = initial_calibration()
    errors = []
    generator = np.random.default_rng(0)
    motion = np.array([3.0, 0.0])

    for _ in range(num):
        true = np.array([3.0, 0.0]) + turn * generator.normal(size=2)
        place, _, record = answer(true, strength, calibration, interval(motion, unit=0.025), 0.025, 0)
        calibration = update_calibration(calibration, [record], true, 0.025) if learns else calibration
        errors.append(float(np.hypot(*(place - true))))
        motion = true

    return calibration, errors


def test_the_gain_is_the_least_squares_with_the_trained_one_as_three_intervals() -> None:
    true = np.array([2.0, 1.0])
    _, _, record = answer(true, 0.5, initial_calibration(), interval(true), 0.02, 2)
    calibration = update_calibration(initial_calibration(), [record], true, 0.02)

    # E = .5 * 16 * 5 = 40 and 2 M = 16 * 5 = 80 at the true displacement; 3 intervals of 80 have the gain 1
    assert calibration.gain(2, 1.0) == pytest.approx((40 + 3 * 80) / (80 + 3 * 80))
    assert calibration.gain(0, 1.0) == 1.0  # another bin

    again = update_calibration(calibration, [record], true, 0.02)
    assert again.changes[2] == pytest.approx(80 + 0.9 * 80)


def test_half_way_is_half_of_the_motion() -> None:
    true = np.array([4.0, 0.0])
    _, _, record = answer(true / 2, 1.0, initial_calibration(), interval(true), 0.01, 0)
    calibration = update_calibration(initial_calibration(), [record], true, 0.02)
    assert calibration.fits[0] == pytest.approx(16 * 4)  # at (2, 0)


def test_events_five_times_weaker_are_believed_after_some_intervals() -> None:
    calibration, errors = run(strength=0.2, turn=2.0)
    # sums that forget a tenth hold ten intervals of the gain .2, beside three of the trained gain 1
    assert calibration.gain(0, 1.0) == pytest.approx((10 * 0.2 + 3 * 1.0) / 13, abs=0.01)

    _, trained = run(strength=0.2, turn=2.0, learns=False)
    assert np.mean(errors[-10:]) < 0.75 * np.mean(trained[-10:])


def test_events_that_say_nothing_leave_constant_velocity() -> None:
    calibration, errors = run(strength=0.0, turn=0.2)
    held = [float(np.hypot(*(0.2 * pair))) for pair in np.random.default_rng(0).normal(size=(40, 2))]

    assert np.mean(errors[-10:]) < 2 * np.mean(held)

    weights = calibration.weights.reshape(-1, 3, 4)
    assert weights.sum() == pytest.approx(1.0)


def test_at_constant_acceleration_the_way_is_bent() -> None:
    """3 px in the last interval and 2 px more in each: 5 px until the next frame, 3 / 2 + 2 * 3 / 8 px half way."""
    known = interval(np.array([3.0, 0.0]), np.array([2.0, -1.0]))
    straight = known.means(0.02)[0]
    bent = known.means(0.02)[-1]

    assert straight.tolist() == [3.0, 0.0] and bent.tolist() == [5.0, -1.0]
    assert known.means(0.01)[-1].tolist() == [2.25, -0.375]

    rows, columns = known.window(0.02)  # 10 px around the trained prior
    assert (rows, columns) == (slice(10, 31), slice(13, 34))


def test_a_target_that_accelerates_is_followed_without_events() -> None:
    errors: dict[bool, float] = {}
    for is_known in (True, False):
        calibration = initial_calibration()
        for k in range(30):
            before = np.array([3.0 + 0.3 * k, 0.0])
            true = np.array([3.3 + 0.3 * k, 0.0])
            known = interval(before, (true - before) * is_known, unit=0.025)
            place, _, record = answer(true, 0.0, calibration, known, 0.025, 0)
            calibration = update_calibration(calibration, [record], true, 0.025)
            errors[is_known] = abs(place[0] - true[0])

    assert errors[True] < 0.3 * errors[False]  # the experts of the velocity alone keep a share


def test_priors_of_the_boxes_go_on_through_a_restart_and_the_others_follow_the_last_stream() -> None:
    known = interval(np.array([4.0, 0.0]), np.array([2.0, 0.0]))
    later = known.restarted(np.array([6.0, 1.0]), np.array([6.0, 1.0]), np.array([6.0, 1.0]), 0.02)

    # the crop is 6, 1 px on, and constant velocity gives 8, 0 px after twice the time
    assert later.means(0.02)[0].tolist() == [2.0, -1.0] == (known.means(0.04)[0] - [6.0, 1.0]).tolist()
    assert later.means(0.02)[4].tolist() == [6.0, 1.0]
    assert later.means(0.02)[-1].tolist() == (known.means(0.04)[-1] - [6.0, 1.0]).tolist()
    assert later.is_restarted and later.begun == 0.02 and later.since.tolist() == [1.0] * 4 + [0.0] * 4 + [1.0] * 4


def test_the_network_answers_for_the_trained_expert_of_a_restarted_stream() -> None:
    known = interval(np.array([4.0, 0.0])).restarted(np.array([4.0, 0.0]), np.array([3.0, 0.0]), np.ones(2), 0.02)
    scores = fits(np.zeros(2), 0.0)[known.window(0.01)]
    _, _, record = calibrated_place(scores, initial_calibration(), known, 0.01, 3, (np.array([5.0, 1.0]), 0.5))

    assert record.places[4].tolist() == [8.0, 1.0]  # of the frame, as constant velocity
    assert record.trained[0].tolist() == [8.0, 1.0] and record.trained[1] == 0.5
    assert record.places[12].tolist() == [6.0, 0.0] and record.elapsed == pytest.approx(0.03)


@pytest.mark.parametrize("turn", [0.2, 1.0])
def test_a_network_that_does_not_help_leaves_constant_velocity_in_a_long_interval(turn: float) -> None:
    """Two streams an interval; what the network says of the second one is wrong."""
    calibration = initial_calibration()
    generator = np.random.default_rng(1)
    motion = np.array([6.0, 0.0])
    errors = []
    by_boxes = []

    for _ in range(40):
        true = np.array([6.0, 0.0]) + turn * generator.normal(size=2)
        known = MotionPriorNp(np.zeros(2), motion / 2, 0.0)
        first = begin_interval((known, known), np.zeros(2), SQUARES, TRAINED, 10.0, 0.02, 2.0)
        place, _, early = answer(true, 0.0, calibration, first, 0.02, 0)
        second = first.restarted(place, np.round(place), place, 0.02)
        scores = fits(true, 0.0)[second.window(0.02)]
        wrong = np.array([-9.0, 4.0]), 0.2
        place, _, late = calibrated_place(scores, calibration, second, 0.02, 1, wrong)
        calibration = update_calibration(calibration, [early, late], true, 0.04)
        errors.append(np.hypot(*(place + second.crop - true)))
        by_boxes.append(np.hypot(*(motion - true)))
        motion = true

    assert np.mean(errors[10:]) < 1.03 * np.mean(by_boxes[10:])


def test_where_the_path_bends_only_its_end_counts() -> None:
    true = np.array([4.0, 0.0])
    _, _, half = answer(true / 2, 1.0, initial_calibration(), interval(true), 0.01, 0)
    _, _, end = answer(true, 1.0, initial_calibration(), interval(true), 0.02, 1)
    change = np.array([8.0, 0.0])
    bent = update_calibration(initial_calibration(), [half, end._replace(begun=0.01)], true, 0.02, change=change)

    # parabola and straight line are 1 px apart half way
    assert bent.counts[0] == pytest.approx(1 / (1 + (1 / 0.3) ** 2)) and bent.counts[1] == 1.0
    short = update_calibration(initial_calibration(), [half, end], true, 0.02, change=change)
    assert short.counts[0] == short.counts[1] == 1.0


def test_an_uncertain_box_teaches_less_and_no_bin_nothing() -> None:
    true = np.array([2.0, 0.0])
    _, _, record = answer(true, 0.5, initial_calibration(), interval(true), 0.02, 0)
    half = update_calibration(initial_calibration(), [record], true, 0.02, certainty=0.5)

    assert half.counts[0] == 0.5
    for bins, certainty in (((), 1.0), ([record], 0.0)):
        assert update_calibration(initial_calibration(), bins, true, 0.02, certainty).counts.sum() == 0


@pytest.fixture(scope="module")
def recording() -> Recording:
    return render_recording(RotatingDisk(height=64, width=64), duration=0.3, dt=DT)


def tracker(unit: str = "learned") -> SensingTracker:
    torch.manual_seed(0)
    options = SensingOptions(num_features=4, reach=6, unit=unit)
    return SensingTracker(Sensing(DT, options).eval(), TrackerOptions(crop=48, calibrate=True))


def test_the_acceleration_is_the_second_difference_of_the_boxes(recording: Recording) -> None:
    one = tracker()
    state = None
    middles = recording.frame_boxes[:, :2] + recording.frame_boxes[:, 2:] / 2

    for k in range(6):
        b = int(recording.frame_bins[k])
        for now in range(b, int(recording.frame_bins[k + 1])):
            given = {"box": recording.frame_boxes[k]} if now == b else {}
            _, state = one.step({**recording.inputs(now, now + 1), **given}, state)

        assert state is not None
        if k >= 2:
            assert state.interval is not None
            wanted = middles[k] - 2 * middles[k - 1] + middles[k - 2]
            np.testing.assert_allclose(state.interval.curvature[-1], wanted, atol=1e-9)
            assert not state.interval.curvature[0].any()


def test_without_any_event_there_is_nothing_to_calibrate(recording: Recording) -> None:
    one = tracker()
    silent = degraded(recording, Degradation(lose_events=1.0))
    state = None

    for k in range(4):
        b = int(silent.frame_bins[k])
        _, state = one.step({**silent.inputs(b, b + 1), "box": silent.frame_boxes[k]}, state)

    assert state is not None and state.interval is None


def test_a_step_does_not_change_the_state_it_is_given(recording: Recording) -> None:
    one = tracker()
    state = None
    states = []
    boxes = []

    for b in range(recording.num_bins):
        k = np.flatnonzero(recording.frame_bins == b)
        given = {"box": recording.frame_boxes[k[0]]} if len(k) else {}
        states.append(state)
        box, state = one.step({**recording.inputs(b, b + 1), **given}, state)
        boxes.append(box)

    resumed = states[20]
    for b in range(20, recording.num_bins):
        k = np.flatnonzero(recording.frame_bins == b)
        given = {"box": recording.frame_boxes[k[0]]} if len(k) else {}
        box, resumed = one.step({**recording.inputs(b, b + 1), **given}, resumed)
        assert np.array_equal(box, boxes[b])

    assert resumed is not None
    assert resumed.calibration.counts.max() > 0


def test_answers_between_frames_of_a_learning_tracker_are_those_of_one_run_with_all_boxes(recording: Recording) -> None:
    one = tracker()
    between = interframe(recording, one)
    run_through = reset_every(recording, one, 1)
    inside = np.isin(run_through.bins, between.bins)

    assert np.array_equal(run_through.boxes[inside], between.boxes)

    plain = one.with_options(calibrate=False)
    assert not plain.learns
    assert not np.array_equal(interframe(recording, plain).boxes, between.boxes)


def test_the_layers_of_the_network_give_the_same_calibrated_boxes_as_the_fused_form(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    fused = one_pass_evaluation(recording, tracker())
    monkeypatch.setattr("spikebridge.networks.sensing.tracker.inference.can_fuse", lambda sensing: False)
    layers = tracker()

    assert isinstance(layers._inference(layers.sensing, 48).network, EagerInference)

    np.testing.assert_allclose(one_pass_evaluation(recording, layers).boxes, fused.boxes, atol=1e-2)


def test_a_stream_without_events_is_followed_at_constant_velocity(recording: Recording) -> None:
    silent = degraded(recording, Degradation(lose_events=1.0))
    answers = interframe(silent, tracker())
    assert np.isfinite(answers.boxes).all()


def test_before_anything_is_learned_the_gain_and_nearly_all_of_the_answer_are_the_trained_ones() -> None:
    calibration = initial_calibration()
    assert calibration.gain(0, trained=1.01) == 1.01
    # trained weight and four others, three sources, trained width and three others
    weights = calibration.weights.reshape(5, 3, 4)
    assert weights[0, 1, 0] == pytest.approx(1 / (1 + 4 * np.exp(-8.5) + 55 * np.exp(-10)))
    assert weights[0, 1, 0] > 0.99


@pytest.mark.parametrize(
    ("answer", "lead"), [([8.5, 0.0], 10.0), ([3.5, 0.0], 5.0), ([0.0, -1.5], 3.0), ([30.0, 0.0], 10.0)]
)
def test_the_trained_expert_leads_by_the_share_of_the_first_motion_that_it_saw(
    answer: list[float], lead: float
) -> None:
    # of 8.5 px; 1.5 px more count on both sides
    learned = update_calibration(initial_calibration(), (), np.array([8.5, 0.0]), 0.1, answer=np.array(answer))
    assert learned.losses[-1] - learned.losses[4] == pytest.approx(lead)

    known = learned._replace(counts=np.ones(24))
    assert update_calibration(known, (), np.array([0.0, 9.0]), 0.1, answer=np.zeros(2)) is known


def test_losses_count_in_units_of_the_answers_own_distance() -> None:
    for far, unit in ((0.5, 1.5), (40.0, 40.0)):
        start = initial_calibration()
        _, _, record = answer(np.zeros(2), 0.0, start, interval(np.zeros(2)), 0.02, 0)
        places = np.tile([far, 0.0], (60, 1))
        places[12] = 0.0
        losses = update_calibration(start, [record._replace(places=places)], np.zeros(2), 0.02).losses
        assert losses[13] - losses[12] == pytest.approx(12.0 * far / unit, rel=0.01)
