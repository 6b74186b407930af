"""Boxes, their middles and sizes, whatever their numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikebridge.errors import DataError
from spikebridge.networks.sensing.model.boxes import (
    box_center,
    box_from_center,
    check_box,
    clamp_box,
    crop_around,
    crop_covering,
    crop_frame,
    translate_box,
)

NUMBERS = st.floats(-1e3, 1e3)
BOXES = st.tuples(NUMBERS, NUMBERS, st.floats(0.1, 1e3), st.floats(0.1, 1e3)).map(np.array)


@given(BOXES, NUMBERS, NUMBERS)
def test_a_box_is_its_middle_and_its_size_wherever_it_is(box: np.ndarray, x: float, y: float) -> None:
    np.testing.assert_allclose(box_from_center(box_center(box), box[2:]), box, atol=1e-9)
    displacement = np.array([x, y])
    np.testing.assert_allclose(box_center(translate_box(box, displacement)), box_center(box) + displacement, atol=1e-9)
    np.testing.assert_array_equal(translate_box(box, displacement)[2:], box[2:])


@given(BOXES)
def test_a_box_clamped_to_a_frame_has_its_middle_there_and_moves_as_little_as_possible(box: np.ndarray) -> None:
    clamped = clamp_box(np.zeros((40, 60), np.uint8), box)
    middle = box_center(clamped)

    assert ((middle >= -1e-9) & (middle <= np.array([60, 40]) + 1e-9)).all()

    np.testing.assert_array_equal(clamped[2:], box[2:])
    inside = (box_center(box) >= 0) & (box_center(box) <= [60, 40])
    np.testing.assert_allclose(clamped[:2][inside], box[:2][inside], atol=1e-9)


@pytest.mark.parametrize(
    "box", [[np.nan, 5, 4, 4], [5, 5, 0, 4], [5, 5, -4, -4], [5, 5, 4, np.inf], [5, 5, 4]], ids=str
)
def test_a_given_box_without_place_or_size_is_refused(box: list[float]) -> None:
    with pytest.raises(DataError, match="a size above 0 px, but got"):
        check_box(box)


def test_a_given_box_is_copied() -> None:
    mine = np.array([1.0, 2.0, 3.0, 4.0])
    checked = check_box(mine)
    mine[:] = 0
    assert checked.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_a_crop_is_of_whole_pixels_and_the_rest_stays_in_the_box() -> None:
    # the centre is (12.25, 23)
    crop, local_box = crop_around(np.array([10.0, 20.0, 4.5, 6.0]), size=16)
    assert crop == (4, 15, 16, 16)
    assert local_box.tolist() == [0.25, 0.0, 4.5, 6.0]


def test_a_covering_crop_has_every_pixel_that_a_rectangle_touches_inside_of_the_frame() -> None:
    assert crop_covering((5.0, 1.0), (2.5, 3.0), shape=(10, 20)) == (2, 0, 6, 4)
    assert crop_covering((-9.0, 5.0), (2.0, 1.0), shape=(10, 20), min_size=1) == (0, 4, 1, 2)


def test_beyond_the_edge_of_a_frame_the_nearest_pixels_are_repeated() -> None:
    crop = crop_frame(np.array([[1, 2], [3, 4]], np.uint8), (-1, 1, 3, 2))
    assert crop.tolist() == [[[3.0, 3.0, 4.0], [3.0, 3.0, 4.0]]]
