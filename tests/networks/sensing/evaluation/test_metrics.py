import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spikebridge.errors import ShapeError
from spikebridge.networks.sensing.evaluation.metrics import (
    NORMALIZED_THRESHOLDS,
    OVERLAP_THRESHOLDS,
    distances,
    error_by_speed,
    overlaps,
    score,
    score_by_bin,
    success_curve,
    target_speed,
)
from spikebridge.networks.sensing.model.boxes import box_center

numbers = st.floats(-50, 50, allow_nan=False).map(lambda value: round(value, 2))
sizes = st.floats(0.5, 60).map(lambda value: round(value, 2))
some_boxes = st.lists(st.tuples(numbers, numbers, sizes, sizes), min_size=1, max_size=8).map(np.array)


def boxes(*rows):
    return np.array(rows, dtype=float)


def test_the_thresholds_are_those_of_the_literature():
    assert len(OVERLAP_THRESHOLDS) == 21 and OVERLAP_THRESHOLDS[1] == pytest.approx(0.05)
    assert len(NORMALIZED_THRESHOLDS) == 51 and NORMALIZED_THRESHOLDS[-1] == 0.5


def test_every_figure_worked_by_hand():
    """Truth 10 x 20 at the origin. Box a is right; b is 3 px to the right; c is 4 px down; d is far away."""
    truths = boxes(*[[0, 0, 10, 20]] * 4)
    found = boxes([0, 0, 10, 20], [3, 0, 10, 20], [0, 4, 10, 20], [100, 0, 10, 20])
    result = score(found, truths)

    assert result.num_outputs == 4
    assert result.mean_distance_px == (0 + 3 + 4 + 100) / 4
    # strictly below: 3 px is not below 3
    assert (result.precision_3px, result.precision_5px, result.precision_20px) == (0.25, 0.75, 0.75)

    # b: 7 * 20 of 400 - 140; c: 10 * 16 of 400 - 160
    iou = [1, 140 / 260, 160 / 240, 0]
    assert result.miou == pytest.approx(sum(iou) / 4)
    # a is above 0 .. 0.95 (20 thresholds), b above 0 .. 0.5 (11), c above 0 .. 0.65 (14), d above none
    assert result.auc == pytest.approx((20 + 11 + 14 + 0) / (4 * 21))

    # 0 is below 0.01 .. 0.5 (50), 3/10 below 0.31 .. 0.5 (20), 4/20 below 0.21 .. 0.5 (30), 10 below none
    assert result.normalized_precision == pytest.approx((50 + 20 + 30 + 0) / (4 * 51))
    assert result.lost_share == 0.25


def test_a_right_answer_is_not_above_an_overlap_of_one():
    assert score(boxes([0, 0, 1, 1]), boxes([0, 0, 1, 1])).auc == pytest.approx(20 / 21)


def test_the_middle_of_a_box_is_half_its_size_away():
    assert box_center(boxes([0, 0, 3, 5])).tolist() == [[1.5, 2.5]]


def test_boxes_that_touch_in_a_line_do_not_overlap():
    assert overlaps(boxes([0, 0, 2, 2]), boxes([2, 0, 2, 2])).tolist() == [0.0]


def test_a_box_without_area_overlaps_nothing_and_is_no_nan():
    empty = boxes([0, 0, 0, 0], [1, 1, -3, -3])
    assert overlaps(empty, boxes([0, 0, 0, 0], [0, 0, 2, 2])).tolist() == [0.0, 0.0]


@given(some_boxes)
def test_overlap_is_symmetric_bounded_and_one_with_itself(pair):
    other = pair[::-1]
    there = overlaps(pair, other)

    assert there == pytest.approx(overlaps(other, pair))
    assert (there >= 0).all() and (there <= 1 + 1e-12).all()
    assert overlaps(pair, pair) == pytest.approx(1)


@given(some_boxes, numbers, numbers)
def test_moving_everything_changes_nothing(pair, right, down):
    moved = np.array([right, down, 0, 0])
    there = score(pair, pair[::-1])
    moved_there = score(pair + moved, pair[::-1] + moved)

    assert moved_there.mean_distance_px == pytest.approx(there.mean_distance_px, abs=1e-9)
    assert moved_there.miou == pytest.approx(there.miou, abs=1e-9)


@given(some_boxes)
def test_the_order_of_outputs_changes_nothing(pair):
    truths = np.roll(pair, 1, axis=0)
    order = np.random.default_rng(0).permutation(len(pair))
    assert score(pair[order], truths[order]) == pytest.approx(score(pair, truths))


@given(arrays(float, 6, elements=st.floats(0, 1)))
def test_the_success_curve_falls(overlap):
    assert (np.diff(success_curve(overlap)) <= 0).all()


def test_figures_agree_with_the_got10k_toolkit():
    """Its success: overlaps above linspace(0, 1, 21). Its centre is x + (w - 1) / 2, half a pixel from ours."""
    rng = np.random.default_rng(0)
    truths = np.hstack([rng.uniform(0, 100, (50, 2)), rng.uniform(5, 40, (50, 2))])
    found = truths + rng.normal(0, 4, (50, 4)).clip(-4, 4)

    def got10k_centers(rects):
        return rects[:, :2] + (rects[:, 2:] - 1) / 2

    def got10k_overlaps(a, b):
        left = np.maximum(a[:, 0], b[:, 0])
        top = np.maximum(a[:, 1], b[:, 1])
        right = np.minimum(a[:, 0] + a[:, 2], b[:, 0] + b[:, 2])
        bottom = np.minimum(a[:, 1] + a[:, 3], b[:, 1] + b[:, 3])
        inter = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)

        return inter / (a[:, 2] * a[:, 3] + b[:, 2] * b[:, 3] - inter)

    theirs = np.sqrt(((got10k_centers(found) - got10k_centers(truths)) ** 2).sum(axis=1))
    assert distances(found, truths) == pytest.approx(theirs)

    iou = got10k_overlaps(found, truths)
    assert overlaps(found, truths) == pytest.approx(iou)

    success = np.greater(iou[:, None], np.linspace(0, 1, 21)[None]).mean(axis=0)
    assert score(found, truths).auc == pytest.approx(success.mean())
    assert score(found, truths).precision_20px == np.less(theirs, 20).mean()


def test_unknown_truths_are_left_out_and_lost_boxes_are_not():
    truths = boxes([0, 0, 2, 2], [np.nan] * 4, [0, 0, 2, 2])
    result = score(boxes([0, 0, 2, 2], [0, 0, 2, 2], [50, 0, 2, 2]), truths)
    assert (result.num_outputs, result.lost_share, result.mean_distance_px) == (2, 0.5, 25.0)


def test_without_a_truth_there_is_no_figure():
    result = score(boxes([0, 0, 1, 1]), boxes([np.nan] * 4))
    assert result.num_outputs == 0 and np.isnan(result[1:]).all()


def test_a_truth_without_a_size_is_never_hit_in_units_of_it():
    truths = boxes([0, 0, 0, 4], [0, 0, 10, 10])
    result = score(boxes([0, 0, 0, 4], [0, 0, 10, 10]), truths)
    assert (result.mean_distance_px, result.miou) == (0.0, 0.5)
    assert result.normalized_precision == pytest.approx(50 / 51 / 2)


def test_each_bin_has_its_own_score():
    truths = boxes(*[[0, 0, 4, 4]] * 4)
    found = truths + np.array([[1], [2], [3], [6]]) * np.array([1.0, 0, 0, 0])
    scores = score_by_bin(found, truths, [1, 2, 1, 2])
    assert [scores[m].mean_distance_px for m in (1, 2)] == [2.0, 4.0]


def test_speed_is_way_over_time_and_unknown_at_the_ends():
    """3 px right and 4 px down a step of 0.01 s is 500 px/s; the size of the box does not matter."""
    steps = np.arange(7)[:, None]
    truths = steps * np.array([3.0, 4.0, 0, 0]) + np.array([0.0, 0, 9, 9])
    speeds = target_speed(truths, dt=0.01)

    assert np.isnan(speeds[[0, 1, 2, 4, 5, 6]]).all() and speeds[3] == pytest.approx(500)

    truths[0] = np.nan
    assert np.isnan(target_speed(truths, dt=0.01)[3])
    assert np.isnan(target_speed(truths[:6], dt=0.01)).all()


def test_slow_and_fast_targets_have_their_own_error():
    truths = boxes(*[[0, 0, 4, 4]] * 4)
    found = truths + np.array([[1], [3], [8], [90]]) * np.array([1.0, 0, 0, 0])
    slow, fast, fastest = error_by_speed(found, truths, np.array([0.0, 99.9, 100.0, np.nan]), [0, 100, 200, 300])

    assert (slow.num_outputs, slow.mean_distance_px) == (2, 2.0)
    assert (fast.num_outputs, fast.mean_distance_px, fast.miou) == (1, 8.0, 0.0)
    assert fastest.num_outputs == 0 and np.isnan(fastest.mean_distance_px)


def test_what_cannot_be_scored_is_refused():
    one = boxes([0, 0, 1, 1])
    with pytest.raises(ShapeError, match=r"both be \(N, 4\), but got \(2, 4\) and \(1, 4\)"):
        score(boxes([0, 0, 1, 1], [0, 0, 1, 1]), one)

    with pytest.raises(ShapeError, match="1 of 1 are not finite, first at index 0"):
        score(boxes([0, np.nan, 1, 1]), one)

    with pytest.raises(ShapeError, match="needs its bin"):
        score_by_bin(one, one, [1, 2])

    with pytest.raises(ShapeError, match="growing edges"):
        error_by_speed(one, one, np.zeros(1), [0.0, 0.0])

    with pytest.raises(ShapeError, match="reach of 1 step"):
        target_speed(one, dt=0.1, reach=0)
