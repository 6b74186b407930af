"""Calibration of confidences: how often answers of a confidence are correct."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def calibration(confidences: Sequence[float], right: Sequence[bool], num_bins: int = 10) -> dict[str, Any]:
    """Bins of confidence with the share of correct answers in each.

    `bins` holds those with answers; `expected_calibration_error` is the mean distance of confidence and share, weighted
    by the answers in a bin.
    """
    confidence = np.asarray(confidences, dtype=float)
    is_right = np.asarray(right, dtype=float)
    number = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    bins = []

    for k in np.unique(number).tolist():
        inside = number == k
        bins.append(
            {
                "from": k / num_bins,
                "to": (k + 1) / num_bins,
                "num_answers": int(inside.sum()),
                "confidence": round(float(confidence[inside].mean()), 4),
                "right": round(float(is_right[inside].mean()), 4),
            }
        )

    error = sum(one["num_answers"] * abs(one["confidence"] - one["right"]) for one in bins) / max(1, len(confidence))
    return {"bins": bins, "expected_calibration_error": round(error, 4)}
