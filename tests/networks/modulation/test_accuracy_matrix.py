"""Measures of the matrix R, worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikebridge.errors import ShapeError
from spikebridge.networks.modulation.evaluation.accuracy_matrix import accuracy_after, continual_metrics

# three tasks; the first and the third are of one group
R = [
    [0.1, 0.2, 0.1],
    [0.9, 0.3, 0.6],
    [0.95, 0.8, 0.5],
    [0.6, 0.7, 0.8],
]


def test_every_measure_by_hand() -> None:
    result = continual_metrics(R, group=[0, 1, 0])
    assert result.num_tasks == 3
    assert result.acc == pytest.approx((0.6 + 0.7 + 0.8) / 3)
    assert result.bwt == pytest.approx(((0.6 - 0.9) + (0.7 - 0.8)) / 2)

    # task 2: .3 - .2 before it was learnt; task 3: .5 - .1
    assert result.fwt == pytest.approx((0.1 + 0.4) / 2)
    assert result.transfer == pytest.approx(0.5)

    # the best of task 1 was .95, after task 2; the last row does not count as a best
    assert result.forgetting == pytest.approx(((0.95 - 0.6) + (0.8 - 0.7)) / 2)
    assert result.just_learnt == pytest.approx((0.9 + 0.8 + 0.8) / 3)


def test_scores_of_some_tasks_alone() -> None:
    result = continual_metrics(R, group=[0, 1, 0], counted=[True, False, True])
    assert result.num_tasks == 2
    assert result.acc == pytest.approx(0.7)
    assert result.bwt == pytest.approx(-0.3)
    assert result.fwt == pytest.approx(0.4)
    assert result.just_learnt == pytest.approx(0.85)


def test_the_first_and_the_last_four_tasks_are_told_apart() -> None:
    matrix = np.zeros((7, 6))
    matrix[np.arange(1, 7), np.arange(6)] = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    result = continual_metrics(matrix)

    assert result.just_learnt_first == pytest.approx(0.75)
    assert result.just_learnt_last == pytest.approx(0.55)
    assert np.isnan(result.transfer)


def test_one_task_has_no_past_and_no_future() -> None:
    result = continual_metrics([[0.1], [0.9]])
    assert (result.acc, result.just_learnt) == (0.9, 0.9)
    assert all(np.isnan([result.bwt, result.fwt, result.forgetting, result.transfer]))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 7), st.integers(0, 1000))
def test_measures_by_their_sums(num_tasks: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    matrix = draw.random((num_tasks + 1, num_tasks))
    group = draw.integers(0, 3, num_tasks)
    result = continual_metrics(matrix, group)
    tasks = range(1, num_tasks + 1)
    one = {(k, j): matrix[k, j - 1] for k in range(num_tasks + 1) for j in tasks}

    assert result.bwt == pytest.approx(np.mean([one[num_tasks, j] - one[j, j] for j in tasks[:-1]]))
    assert result.fwt == pytest.approx(np.mean([one[j - 1, j] - one[0, j] for j in tasks[1:]]))

    best = [max(one[k, j] for k in range(j, num_tasks)) - one[num_tasks, j] for j in tasks[:-1]]
    assert result.forgetting == pytest.approx(np.mean(best))
    assert result.forgetting >= -result.bwt - 1e-12

    mates = [j for j in tasks if group[j - 1] in group[: j - 1]]
    expected = np.mean([one[j - 1, j] for j in mates]) if mates else float("nan")

    assert result.transfer == pytest.approx(expected, nan_ok=True)


def test_the_curve_is_the_mean_over_the_tasks_so_far() -> None:
    assert accuracy_after(R) == pytest.approx([0.9, (0.95 + 0.8) / 2, 0.7])


def test_a_matrix_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(K \+ 1, K\), but has shape \(2, 2\)"):
        continual_metrics([[0.1, 0.2], [0.3, 0.4]])

    with pytest.raises(ShapeError, match="row 1, column 0 has none"):
        accuracy_after([[0.1], [float("nan")]])

    with pytest.raises(ShapeError, match=r"group needs one value for each of 3 tasks, but has shape \(2,\)"):
        continual_metrics(R, group=[0, 1])
