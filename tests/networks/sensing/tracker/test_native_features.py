"""Features that are read from a picture natively are those of its operations one after the other."""

import numpy as np
import pytest
import torch

from spikebridge.networks.sensing.tracker.correlation_filter import CorrelationFilter
from spikebridge.ops import without_native


@pytest.mark.parametrize("side", [8, 24, 64])
@pytest.mark.parametrize("box", [(20.0, 15.0, 14.0, 9.0), (-12.0, 30.0, 30.0, 6.0), (50.3, 40.7, 3.0, 70.0)], ids=str)
def test_features_are_those_of_the_operations(side: int, box: tuple[float, ...]) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (61, 83)).astype(np.uint8)
    detector = CorrelationFilter(side=side)
    got = detector._features(frame, np.array(box), detector.scales)
    with without_native():
        expected = detector._features(frame, np.array(box), detector.scales)
    assert got.shape == (3, 10, side // 4, side // 4)
    torch.testing.assert_close(got, expected, atol=2e-4, rtol=1e-3)


def test_a_patch_of_one_grey_has_no_features() -> None:
    frame = np.full((40, 40), 90, np.uint8)
    detector = CorrelationFilter(side=16)
    features = detector._features(frame, np.array([10.0, 10.0, 8.0, 8.0]), (1.0,))
    assert features.abs().max() < 1e-3
