"""Events of a bin natively are those of operations on all events."""

import numpy as np
import pytest

from spikebridge.data.events.binned import BinEvents, crop_events
from spikebridge.errors import ShapeError
from spikebridge.networks.sensing.native.bin_events import BIN_EVENTS, count_near, event_image
from spikebridge.networks.sensing.tracker.confidence import _count_near
from spikebridge.networks.sensing.tracker.inputs import event_grid
from spikebridge.ops import without_native
from spikebridge.ops.selection import select
from spikebridge.ops.sequence import native

pytestmark = [pytest.mark.untyped, pytest.mark.skipif(not native.available(), reason="built without a C compiler")]


def some_events(number: int) -> BinEvents:
    """On a small sensor, so that some pixels have several."""
    random = np.random.default_rng(number)
    x, y = (random.integers(0, 30, 2 * number).astype(np.uint16)[::2] for _ in range(2))
    return BinEvents(x, y, random.random(number) < 0.5)


@pytest.mark.parametrize("number", [0, 1, 400])
@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("crop", [(3, 5, 7, 11), (-4, 20, 40, 19)], ids=str)
def test_images_are_those_of_the_operations(number: int, counts: bool, crop: tuple[int, int, int, int]) -> None:
    events = some_events(number)
    expected = crop_events(events, crop, counts)
    assert event_image(events, crop, counts).equal(expected)
    assert counts or event_grid(events, crop)[0].equal(expected)


@pytest.mark.parametrize("number", [0, 1, 400])
@pytest.mark.parametrize("box", [(3.3, 5.1, 12.7, 9.0), (-7.0, 8.0, 20.0, 0.5)], ids=str)
def test_numbers_near_a_box_are_those_of_the_operations(number: int, box: tuple[float, ...]) -> None:
    events = some_events(number)
    limits = (1.0, 0.5, 1.6)
    with without_native():
        expected = _count_near(events, np.array(box), limits)

    assert count_near(events, np.array(box), limits) == _count_near(events, np.array(box), limits) == expected


def test_columns_of_another_type_are_read_by_the_operations() -> None:
    assert select(BIN_EVENTS, np.zeros(1, np.int64)) == "reference"
    events = BinEvents(np.array([-1, 2]), np.array([0, 1]), np.array([True, True]))  # type: ignore[arg-type]
    assert event_grid(events, (-2, 0, 5, 2)).sum() == 2


def test_events_without_a_row_or_a_crop_are_refused() -> None:
    events = some_events(2)
    with pytest.raises(ShapeError, match="one length"):
        count_near(events._replace(y=events.y[:1]), np.ones(4), (1.0,))

    with pytest.raises(ShapeError, match="one pixel"):
        event_image(events, (0, 0, 4, 0), counts=False)


def test_no_event_is_near_a_box_that_is_no_number() -> None:
    assert count_near(some_events(9), np.array([np.nan, 5.0, 30.0, 30.0]), (1.0, 9.0)) == [0, 0]
