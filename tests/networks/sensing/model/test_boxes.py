"""Boxes, their middles and sizes, whatever their numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikebridge.errors import DataError
from spikebridge.networks.sensing.model.boxes import box_center, box_from_center, check_box, clamp_box, translate_box

NUMBERS = st.floats(-1e3, 1e3)
BOXES = st.tuples(NUMBERS, NUMBERS, st.floats(0.1, 1e3), st.floats(0.1, 1e3)).map(np.array)


@given(BOXES, NUMBERS, NUMBERS)
def test_a_box_is_its_middle_and_its_size_wherever_it_is(box: np.ndarray, x: float, y: float) -> None:
    np.testing.assert_allclose(box_from_center(box_center(box), box[2:]), box, atol=1e-9)
    way = np.array([x, y])
    np.testing.assert_allclose(box_center(translate_box(box, way)), box_center(box) + way, atol=1e-9)
    np.testing.assert_array_equal(translate_box(box, way)[2:], box[2:])


@given(BOXES)
def test_a_box_that_is_kept_on_a_frame_has_its_middle_there_and_moves_no_more_than_it_must(box: np.ndarray) -> None:
    kept = clamp_box(np.zeros((40, 60), np.uint8), box)
    middle = box_center(kept)

    assert ((middle >= -1e-9) & (middle <= np.array([60, 40]) + 1e-9)).all()

    np.testing.assert_array_equal(kept[2:], box[2:])
    inside = (box_center(box) >= 0) & (box_center(box) <= [60, 40])
    np.testing.assert_allclose(kept[:2][inside], box[:2][inside], atol=1e-9)


@pytest.mark.parametrize(
    "box", [[np.nan, 5, 4, 4], [5, 5, 0, 4], [5, 5, -4, -4], [5, 5, 4, np.inf], [5, 5, 4]], ids=str
)
def test_a_given_box_without_place_or_size_is_refused(box: list[float]) -> None:
    with pytest.raises(DataError, match="a size above 0 px, but got"):
        check_box(box)


def test_a_given_box_is_copied() -> None:
    mine = np.array([1.0, 2.0, 3.0, 4.0])
    told = check_box(mine)
    mine[:] = 0
    assert told.tolist() == [1.0, 2.0, 3.0, 4.0]
