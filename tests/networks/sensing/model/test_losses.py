"""Losses of a tracker, with numbers worked by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spikebridge.errors import ConfigError, ShapeError
from spikebridge.networks.sensing.model.losses import (
    anchor_box,
    anchor_offsets,
    anchor_presence,
    box_overlap,
    center_box,
    feature_change,
    feature_size,
    map_presence,
    signed_response,
)

BOX = torch.tensor([[0.0, 0.0, 10.0, 10.0]])


def test_overlaps_are_shared_over_joined() -> None:
    others = torch.tensor([[0.0, 0.0, 10.0, 10.0], [5.0, 5.0, 10.0, 10.0], [20.0, 0.0, 5.0, 5.0], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(box_overlap(BOX, others), torch.tensor([1.0, 25 / 175, 0.0, 0.0]))


def test_two_empty_boxes_do_not_overlap() -> None:
    assert box_overlap(torch.zeros(4), torch.zeros(4)).item() == 0.0


def test_an_anchor_between_positive_and_negative_is_left_out() -> None:
    # shifted by 5: an overlap of 50 in 150
    anchors = torch.tensor([[0.0, 0.0, 10.0, 10.0], [5.0, 0.0, 10.0, 10.0], [30.0, 0.0, 10.0, 10.0]])
    logits = torch.tensor([[0.0, 50.0, 0.0]], requires_grad=True)
    loss = anchor_presence(logits, anchors, BOX)
    loss.backward()

    assert loss.item() == pytest.approx(math.log(2))  # both that count say nothing
    assert logits.grad is not None

    # ten times one positive pulls up by half, one negative down by half, over a weight of eleven
    torch.testing.assert_close(logits.grad, torch.tensor([[-5 / 11, 0.0, 0.5 / 11]]))


def test_without_an_anchor_that_counts_nothing_is_lost() -> None:
    between = torch.tensor([[5.0, 0.0, 10.0, 10.0]])
    assert anchor_presence(torch.tensor([[3.0]]), between, BOX).item() == 0.0
    assert anchor_box(torch.ones(1, 1, 4), between, BOX).item() == 0.0


def test_offsets_are_parts_of_the_anchors_size_and_not_of_its_place() -> None:
    offsets = anchor_offsets(torch.tensor([30.0, 10.0, 20.0, 40.0]), torch.tensor([20.0, 20.0, 40.0, 40.0]))
    torch.testing.assert_close(offsets, torch.tensor([0.25, -0.25, math.log(0.5), 0.0]))


def test_smooth_l1_is_square_below_one_and_straight_above() -> None:
    said = torch.tensor([[[0.5, 2.0, 0.0, 0.0]]])
    assert anchor_box(said, BOX, BOX).item() == pytest.approx(0.5 * 0.25 + 1.5)


def test_a_map_is_best_where_it_is_the_gaussian_itself() -> None:
    x = torch.arange(7.0)
    gaussian = -((x - 2).square()[None, :] + (x - 4).square()[:, None]) / 2
    best = map_presence(gaussian[None], torch.tensor([[2.0, 4.0]]))
    p = gaussian.flatten().softmax(0)

    assert best.item() == pytest.approx(-(p * p.log()).sum().item(), rel=1e-5)  # cross-entropy is then entropy

    swapped = map_presence(gaussian[None], torch.tensor([[4.0, 2.0]]))
    assert swapped > best + 1  # x is the column


def test_a_centre_is_measured_in_cells_and_a_size_beside_the_first() -> None:
    first = torch.tensor([[0.0, 0.0, 5.0, 10.0]])
    loss = center_box(torch.tensor([[7.0, 5.0]]), torch.zeros(1, 2), BOX, first, cell=4.0)
    assert loss.item() == pytest.approx(0.5 * 0.25 + 0.5 * math.log(2) ** 2)


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_a_change_that_is_right_loses_nothing(a: float, b: float) -> None:
    before = torch.full((2, 3), a)
    after = torch.full((2, 3), b)
    assert feature_change(after - before, before, after).item() == 0.0


def test_the_goal_of_a_change_gets_no_gradient_so_that_features_cannot_collapse() -> None:
    change, before, after = (torch.randn(3, requires_grad=True) for _ in range(3))
    feature_change(change, before, after).backward()

    assert change.grad is not None
    assert before.grad is None
    assert after.grad is None


def test_feature_size_is_a_mean_of_squares() -> None:
    assert feature_size(torch.tensor([[2.0, 0.0], [0.0, 0.0]])).item() == 1.0


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ShapeError, match="one shape"):
        feature_change(torch.zeros(2), torch.zeros(1), torch.zeros(2))

    with pytest.raises(ConfigError, match="sigma > 0"):
        map_presence(torch.zeros(1, 2, 2), torch.zeros(1, 2), sigma=0.0)

    with pytest.raises(ConfigError, match="cell above 0"):
        center_box(torch.zeros(1, 2), torch.zeros(1, 2), BOX, BOX, cell=0.0)


def test_the_released_loss_is_least_squares_to_five_and_minus_five_but_for_a_constant() -> None:
    response = torch.randn(1, 6, 7, dtype=torch.float64)
    centers = torch.tensor([[2.0, 3.0]], dtype=torch.float64)
    rows = torch.arange(6.0)[:, None]
    columns = torch.arange(7.0)[None]
    away = ((rows - 3) ** 2 + (columns - 2) ** 2).sqrt()
    goal = torch.where(away <= 1, 5.0, -5.0)
    counts = (away <= 1) | (away > 2)
    squares = 0.1 * (response[0] - goal)[counts].square().sum() - 2.5 * counts.sum()
    torch.testing.assert_close(signed_response(response, centers), squares)


def test_cells_between_one_and_two_from_the_target_are_left_out_of_the_released_loss() -> None:
    response = torch.zeros(1, 5, 5, requires_grad=True)
    signed_response(response, torch.tensor([[2.0, 2.0]])).backward()
    expected = torch.ones(5, 5)  # beyond two cells: down
    expected[2, 1:4] = expected[1:4, 2] = -1.0  # on the target and beside it: up

    for row, column in ((1, 1), (1, 3), (3, 1), (3, 3), (0, 2), (4, 2), (2, 0), (2, 4)):  # root of 2, and exactly 2
        expected[row, column] = 0.0

    assert response.grad is not None

    torch.testing.assert_close(response.grad[0], expected)
