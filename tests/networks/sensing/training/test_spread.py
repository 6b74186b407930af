"""Claims of a detector are scaled to its errors."""

import pytest
import torch

from spikebridge.networks.sensing.data import generated_parts
from spikebridge.networks.sensing.model.detector import TargetDetector
from spikebridge.networks.sensing.training.detector_samples import detector_samples
from spikebridge.networks.sensing.training.spread import fit_spread


def test_claims_that_are_scaled_once_need_no_second_factor_and_any_scale_gives_the_same():
    recording, _ = generated_parts("validation", 1)[0]
    samples = detector_samples([(recording, range(1, 6))], lost=0.0)
    torch.manual_seed(0)
    detector = TargetDetector()
    first = fit_spread(detector, samples, template_rate=0.3)
    assert first > 0 and not detector.training
    assert fit_spread(detector, samples, template_rate=0.3) == pytest.approx(1.0, rel=1e-5)
    with torch.no_grad():
        detector.votes.bias[-1] += 1.0
    assert fit_spread(detector, samples, template_rate=0.3) == pytest.approx(torch.e**-1, rel=1e-5)
