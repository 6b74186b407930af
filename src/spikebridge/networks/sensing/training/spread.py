"""The standard deviation that a detector claims, scaled to its errors.

Training lets a detector claim a spread that suits all samples, those without the target too. A short training ends with
claims several times as large as the errors where the target is visible, and with claims that differ too little between
those and the others. A tracker then takes every answer for an unsure one: it searches the whole frame, and never renews
its template. So a claim `c`, in cells of the patch, becomes `factor c^exponent`: both only change the last layer.
"""

from math import inf, log
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.networks.sensing.model.detector import CELL, TargetDetector, patch_side
from spikebridge.networks.sensing.training.augmentation import box_centers, jitter_boxes
from spikebridge.networks.sensing.training.detector_samples import DetectorDataset

# median of the squared distance from the centre over the variance of an axis, for a Gaussian in the plane
_MEDIAN = 2 * log(2)
# a tracker that follows its target predicts well, another one badly
_BOX_NOISES = (0.5, 1.5)
_TEMPLATE_NOISE = 0.2
_BATCH = 64
# 1 first: another exponent needs a gain in log-likelihood
_EXPONENTS = tuple(2 ** (k / 4) for k in (0, 1, -1, 2, -2, 3, -3, 4, 5, 6))
_MIN_GAIN = 1e-3
# degrees of freedom of a Student distribution: a few errors are far larger than the others
_FREEDOM = 3.0


class _FittedSpread(NamedTuple):
    """The change of claims `c` to `factor c^exponent`."""

    factor: float
    exponent: float


class _Errors(NamedTuple):
    """Squared errors of the centre [cells^2], logarithms of the claims [cells], and True where the target is there."""

    square: Float[Tensor, " N"]
    log_claim: Float[Tensor, " N"]
    has_target: Bool[Tensor, " N"]


def fit_spread(detector: TargetDetector, samples: DetectorDataset, template_rate: float) -> _FittedSpread:
    """Changes the claims of a trained detector, in place, so that half of its errors are below the claimed median.

    The exponent is that of the largest likelihood of all samples; the factor follows from the errors where the target
    is there. A missing target has an error of half the patch. The detector is left in eval mode; `samples` are others
    than those of its training.
    """
    detector.eval()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        batches = [
            _errors(detector, samples, rows, template_rate, noise)
            for noise in _BOX_NOISES
            for rows in torch.arange(len(samples)).split(_BATCH)
        ]
        errors = _Errors(*(torch.cat(column) for column in zip(*batches, strict=True)))
        fitted = _maximum_likelihood(errors)

        detector.votes.weight[-1] *= fitted.exponent
        detector.votes.bias[-1] = fitted.exponent * detector.votes.bias[-1] + log(fitted.factor)  # type: ignore[index]

    return fitted


def _maximum_likelihood(errors: _Errors) -> _FittedSpread:
    best = _FittedSpread(1.0, 1.0)
    best_likelihood = -inf

    for exponent in _EXPONENTS:
        log_variance = 2 * exponent * errors.log_claim
        ratio = (errors.square.log() - log_variance)[errors.has_target].median().exp()
        factor = (float(ratio) / _MEDIAN) ** 0.5
        if not 0 < factor < inf:
            raise ConfigError(f"a detector's spread is scaled by a factor above 0, but its errors give {factor}")

        likelihood = _likelihood(errors.square, log_variance + 2 * log(factor))
        if likelihood > best_likelihood + _MIN_GAIN:
            best = _FittedSpread(factor, exponent)
            best_likelihood = likelihood

    return best


def _likelihood(square: Float[Tensor, " N"], log_variance: Float[Tensor, " N"]) -> float:
    """Mean log-likelihood of squared errors in the plane, up to a constant."""
    tail = (1 + square / (_FREEDOM * log_variance.exp())).log()
    return float((-log_variance - (_FREEDOM + 2) / 2 * tail).mean())


def _errors(
    detector: TargetDetector, samples: DetectorDataset, rows: Tensor, template_rate: float, box_noise: float
) -> _Errors:
    batch = samples.select(rows)
    frame, before, first_frame, events = (batch[name].float() for name in ("frame", "before", "first", "events"))
    grey, known = batch["behind"].float().split(1, 1)
    predicted = jitter_boxes(batch["box"], box_noise)
    first = detector.template(first_frame, batch["box_first"])
    newest = detector.template(before, jitter_boxes(batch["box_before"], _TEMPLATE_NOISE))

    behind = torch.cat([grey, known / 255], 1)
    detection = detector(frame, before, events / 255, behind, predicted, first, newest, template_rate)
    distance = box_centers(detection.boxes) - box_centers(batch["box"])
    cell = patch_side(predicted) / CELL
    has_target = batch["has_target"]
    half_patch = torch.tensor((CELL / 2) ** 2)
    square = torch.where(has_target, distance.square().sum(1) / cell.square(), half_patch)

    return _Errors(square, (detection.spread / cell).log(), has_target)
