"""The standard deviation that a detector claims, scaled to its errors.

Training lets a detector claim what it needs for all samples, those without the target too. A short training ends with
claims several times as large as the errors where the target is seen, and with claims that differ too little between
those and the others. A tracker then takes every answer for an unsure one: it searches the whole frame, and never renews
its template. So a claim `c`, in cells of the patch, becomes `factor c^exponent`: both only change the last layer.
"""

from math import log
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.networks.sensing.model.detector import CELL, TargetDetector, patch_side
from spikebridge.networks.sensing.training.augmentation import box_centers, jitter_boxes
from spikebridge.networks.sensing.training.detector_samples import DetectorDataset

_MEDIAN = 2 * log(2)
"""Of the squared distance from the centre over the variance of an axis, for a Gaussian in the plane."""
_BOX_NOISE = (0.5, 1.5)  # a tracker that follows its target predicts well, another one badly
_TEMPLATE_NOISE = 0.2
_BATCH = 64
_EXPONENTS = tuple(2 ** (k / 4) for k in (0, 1, -1, 2, -2, 3, -3, 4, 5, 6))
_FREEDOM = 3.0  # degrees, of a Student distribution: a few errors are far larger than the others
_GAIN = 1e-3  # in log-likelihood that another exponent has to bring


class _FittedSpread(NamedTuple):
    """How claims `c` were changed, to `factor c^exponent`."""

    factor: float
    exponent: float


def fit_spread(
    detector: TargetDetector, samples: DetectorDataset, template_rate: float, seed: int = 0
) -> _FittedSpread:
    """Changes the claims of a detector, in place, so that half of its errors are below the median that they claim.

    The exponent is that of the largest likelihood, of all samples; the factor follows from the errors where the target
    is there. A missing target has an error of half the patch.

    Args:
        detector: trained; it is left in eval mode.
        samples: that the detector was not trained on.
        template_rate: share of the newest template.
        seed: of the errors of the predicted boxes.

    Raises:
        ConfigError: the detector has no error at all, or one that is not finite.
    """
    detector.eval()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        pairs = [
            _errors(detector, samples, i, template_rate, noise)
            for noise in _BOX_NOISE
            for i in torch.arange(len(samples)).split(_BATCH)
        ]

        square, claim, there = (torch.cat(column) for column in zip(*pairs, strict=True))
        best = _FittedSpread(1.0, 1.0)
        most = -float("inf")

        for exponent in _EXPONENTS:
            scaled = 2 * exponent * claim
            factor = (float((square.log() - scaled)[there].median().exp()) / _MEDIAN) ** 0.5
            if not 0 < factor < float("inf"):
                raise ConfigError(f"a detector's spread is scaled by a factor above 0, but its errors give {factor}")
            likelihood = _likelihood(square, scaled + 2 * log(factor))
            if likelihood > most + _GAIN:
                best = _FittedSpread(factor, exponent)
                most = likelihood

        detector.votes.weight[-1] *= best.exponent
        detector.votes.bias[-1] = best.exponent * detector.votes.bias[-1] + log(best.factor)  # type: ignore[index]

    return best


def _likelihood(square: Float[Tensor, " N"], log_variance: Float[Tensor, " N"]) -> float:
    """Mean log-likelihood of squared errors in the plane, but for a constant."""
    tail = (1 + square / (_FREEDOM * log_variance.exp())).log()
    return float((-log_variance - (_FREEDOM + 2) / 2 * tail).mean())


def _errors(
    detector: TargetDetector, samples: DetectorDataset, rows: Tensor, a: float, box_noise: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Squared errors of the centre [cells], logarithms of the claims, and whether the target is there."""
    batch = samples.select(rows)
    now, before, given, events = (batch[name].float() for name in ("now", "before", "given", "events"))
    grey, known = batch["behind"].float().split(1, 1)
    predicted = jitter_boxes(batch["box"], box_noise)
    first = detector.template(given, batch["box_given"])
    newest = detector.template(before, jitter_boxes(batch["box_before"], _TEMPLATE_NOISE))
    behind = torch.cat([grey, known / 255], 1)
    found = detector(now, before, events / 255, behind, predicted, first, newest, a)
    away = box_centers(found.boxes) - box_centers(batch["box"])
    cell = patch_side(predicted) / CELL
    there = batch["is_there"]
    square = torch.where(there, away.square().sum(1) / cell.square(), torch.tensor((CELL / 2) ** 2))

    return square, (found.spread / cell).log(), there
