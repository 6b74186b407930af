"""Claims of a detector are scaled to its errors."""

import pytest
import torch

from spikebridge.networks.sensing.data import generated_parts
from spikebridge.networks.sensing.model.detector import TargetDetector
from spikebridge.networks.sensing.training import spread
from spikebridge.networks.sensing.training.detector_samples import detector_samples
from spikebridge.networks.sensing.training.spread import fit_spread

pytestmark = pytest.mark.untyped


def test_claims_that_are_scaled_once_need_no_second_factor_and_any_scale_gives_the_same():
    recording, _ = generated_parts("validation", 1)[0]
    samples = detector_samples([(recording, range(1, 6))], absent_share=0.0)
    torch.manual_seed(0)
    detector = TargetDetector()
    first = fit_spread(detector, samples, template_rate=0.3)

    assert first.factor > 0 and not detector.training
    assert fit_spread(detector, samples, template_rate=0.3).factor == pytest.approx(1.0, rel=1e-5)
    with torch.no_grad():
        detector.votes.bias[-1] += 1.0

    assert fit_spread(detector, samples, template_rate=0.3).factor == pytest.approx(torch.e**-1, rel=1e-5)


def test_claims_that_differ_too_little_get_an_exponent_above_one():
    torch.manual_seed(0)
    claim = torch.randn(2000)
    square = 2 * torch.distributions.Exponential(1.0).sample((2000,)) * (2 * 1.5 * claim).exp()
    likely = [spread._likelihood(square, 2 * exponent * claim) for exponent in (0.7, 1.0, 1.5, 2.2)]

    assert max(likely) == likely[2]
