"""The native kernels of the detectors give the numbers of the separate operations."""

import numpy as np
import pytest
import torch

from spikebridge.data.events.binned import BinEvents
from spikebridge.errors import ShapeError
from spikebridge.networks.sensing.detection.patches import grey_features
from spikebridge.networks.sensing.model.background import Background, initial_background
from spikebridge.networks.sensing.native.search_region import RegionInputs, search_region
from spikebridge.networks.sensing.tracker.fused_detector import _region
from spikebridge.ops import without_native
from spikebridge.ops.sequence import native

needs_library = pytest.mark.skipif(not native.available(), reason="built without a C compiler")


@pytest.mark.parametrize("side", [8, 24, 64])
@pytest.mark.parametrize("box", [(20.0, 15.0, 14.0, 9.0), (-12.0, 30.0, 30.0, 6.0), (50.3, 40.7, 3.0, 70.0)], ids=str)
def test_features_are_those_of_the_operations(side: int, box: tuple[float, ...]) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (61, 83)).astype(np.uint8)
    sides = np.array([[30.0, 21.0], [9.0, 80.0], [40.0, 40.0]])
    offsets = np.array([[0.0, 0.0], [5.0, -3.5], [-60.0, 2.0]])
    got = grey_features(frame, np.array(box), sides, offsets, side)

    with without_native():
        expected = grey_features(frame, np.array(box), sides, offsets, side)

    assert got.shape == (3, 10, side // 4, side // 4)

    np.testing.assert_allclose(got, expected, atol=2e-4, rtol=1e-3)


def test_a_patch_of_one_grey_has_no_features() -> None:
    frame = np.full((40, 40), 90, np.uint8)
    features = grey_features(frame, np.array([10.0, 10.0, 8.0, 8.0]), np.full((1, 2), 20.0), np.zeros((1, 2)), 16)
    assert np.abs(features).max() < 1e-3


def some_background(frame: np.ndarray) -> Background:
    """A background with unknown pixels, after a motion of the camera."""
    moved = Background(initial_background(frame).picture, np.array([[1.02, 0.1, 0.2], [-0.1, 0.97, -0.1]], np.float32))
    return moved.updated(frame, np.array([1.0, 0.2, 1.5, 3.0]), frame, np.zeros(4))


@pytest.mark.parametrize("size", [(61, 83), (2, 50), (40, 3), (1, 30)], ids=str)
@pytest.mark.parametrize("box", [(20.0, 15.0, 14.0, 9.0), (-12.0, 30.0, 30.0, 6.0), (50.3, 40.7, 3.0, 70.0)], ids=str)
def test_the_patch_around_a_box_is_that_of_separate_operations(size: tuple[int, int], box: tuple[float, ...]) -> None:
    random, (height, width) = np.random.default_rng(0), size
    now, before = (random.integers(0, 256, (height, 2 * width)).astype(np.uint8)[:, ::2] for _ in range(2))
    x, y = (random.integers(0, n, 300).astype(np.uint16) for n in (width, height))
    events = BinEvents(x, y, random.random(300) < 0.5)
    background = some_background(now)
    light, means = _region(now, before, events, background, np.array(box))

    with without_native():
        expected, expected_means = _region(now, before, events, background, np.array(box))

    assert light.shape == (2, 2, 64, 64) and means.shape == (2, 5, 32, 32)

    torch.testing.assert_close(light, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(means, expected_means, atol=1e-4, rtol=1e-4)


def test_nothing_is_seen_of_no_events_before_an_unknown_background() -> None:
    frame = np.full((40, 40), 90, np.uint8)
    nothing = BinEvents(*(np.empty(0, of) for of in (np.uint16, np.uint16, bool)))
    light, means = _region(frame, frame, nothing, initial_background(frame), np.array([10.0, 10.0, 8.0, 8.0]))
    assert not light.any() and not means.any()


@needs_library
def test_what_would_be_read_beyond_its_memory_is_refused() -> None:
    frame = np.zeros((40, 40), np.uint8)
    box = np.array([10.0, 10.0, 8.0, 8.0])
    nothing = BinEvents(*(np.empty(0, of) for of in (np.uint16, np.uint16, bool)))

    with pytest.raises(ShapeError, match="frames of one size"):
        _region(frame, frame[:30], nothing, initial_background(frame), box)

    part = initial_background(frame).part((0, 0, 9, 9))
    places = np.zeros((1, 4), np.float32)
    with pytest.raises(ShapeError, match="inside of a frame"):
        search_region(RegionInputs(frame, frame, *nothing, part, (32, 0)), places, places, 8.0, 1e-6)

    with pytest.raises(ShapeError, match="whole cells"):
        grey_features(frame, box, np.full((1, 2), 20.0), np.zeros((1, 2)), 130)


@pytest.mark.parametrize("size", [(1, 6), (9, 9)], ids=str)
def test_nothing_is_behind_a_box_beside_the_frame(size: tuple[int, int]) -> None:
    with without_native():
        assert initial_background(np.zeros(size, np.uint8)).behind((0, 0, 0, 1)).shape == (1, 2, 1, 0)
