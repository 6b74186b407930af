"""Whether a confidence of 0.9 means right nine times out of ten."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def calibration(confidences: Sequence[float], right: Sequence[bool], num_bins: int = 10) -> dict[str, Any]:
    """Bins of confidence beside the share of right answers in each.

    Args:
        confidences: of answers, 0 to 1.
        right: whether each was.
        num_bins: of equal width.

    Returns:
        `bins` (those that hold answers), and `expected_calibration_error`: the mean distance of confidence and share,
        weighted by the answers in a bin.

    Example:
        >>> calibration([0.95, 0.95, 0.15, 0.15], [True, True, False, True])["expected_calibration_error"]
        0.2
    """
    sure, hits = np.asarray(confidences, dtype=float), np.asarray(right, dtype=float)
    number = np.minimum((sure * num_bins).astype(int), num_bins - 1)
    bins = []
    for k in range(num_bins):
        inside = number == k
        if inside.any():
            bins.append(
                {
                    "from": k / num_bins,
                    "to": (k + 1) / num_bins,
                    "num_answers": int(inside.sum()),
                    "confidence": round(float(sure[inside].mean()), 4),
                    "right": round(float(hits[inside].mean()), 4),
                }
            )
    away = sum(one["num_answers"] * abs(one["confidence"] - one["right"]) for one in bins) / max(1, len(sure))
    return {"bins": bins, "expected_calibration_error": round(away, 4)}
