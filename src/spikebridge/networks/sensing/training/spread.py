"""The standard deviation that a detector claims, scaled to its errors.

Training lets a detector claim what it needs for all samples, those without the target too. A short training ends with
claims several times as large as the errors where the target is seen. A tracker then takes every answer for an unsure
one: it searches the whole frame, and never renews its template.
"""

from math import log

import torch

from spikebridge.errors import ConfigError
from spikebridge.networks.sensing.model.detector import TargetDetector
from spikebridge.networks.sensing.training.augmentation import box_centers, jitter_boxes
from spikebridge.networks.sensing.training.detector_samples import DetectorDataset

_MEDIAN = 2 * log(2)
"""Of the squared distance from the centre over the variance of an axis, for a Gaussian in the plane."""
_BOX_NOISE, _TEMPLATE_NOISE = 0.5, 0.2  # a tracker that follows its target predicts well
_BATCH = 64


def fit_spread(detector: TargetDetector, samples: DetectorDataset, template_rate: float, seed: int = 0) -> float:
    """Scales the claims of a detector, in place, so that half of its errors are below the median that they claim.

    Args:
        detector: trained; it is left in eval mode.
        samples: with the target in all of them, that the detector was not trained on.
        template_rate: share of the newest template.
        seed: of the errors of the predicted boxes.

    Returns:
        The factor of all standard deviations.

    Raises:
        ConfigError: the detector has no error at all, or one that is not finite.
    """
    detector.eval()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        squares = torch.cat(
            [_squares(detector, samples, i, template_rate) for i in torch.arange(len(samples)).split(_BATCH)]
        )
        factor = (float(squares.median()) / _MEDIAN) ** 0.5
        if not 0 < factor < float("inf"):
            raise ConfigError(f"a detector's spread is scaled by a factor above 0, but its errors give {factor}")
        detector.votes.bias[-1] += log(factor)  # type: ignore[index]
    return factor


def _squares(detector: TargetDetector, samples: DetectorDataset, rows: torch.Tensor, a: float) -> torch.Tensor:
    """Squared errors of the centre, in units of the claimed variance."""
    batch = samples.select(rows)
    now, before, given, events = (batch[name].float() for name in ("now", "before", "given", "events"))
    grey, known = batch["behind"].float().split(1, 1)
    predicted = jitter_boxes(batch["box"], _BOX_NOISE)
    first = detector.template(given, batch["box_given"])
    newest = detector.template(before, jitter_boxes(batch["box_before"], _TEMPLATE_NOISE))
    behind = torch.cat([grey, known / 255], 1)
    found = detector(now, before, events / 255, behind, predicted, first, newest, a)
    away = box_centers(found.boxes) - box_centers(batch["box"])
    return away.square().sum(1) / found.spread.square()
