"""The table of docs/explanation/tracking.md on training without labels, which tracking_page.py puts there."""

from typing import Any

from made_page import measured


def labels(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """A on both parts, of three seeds each, by the boxes that were learned from."""
    rows = [
        (
            row["training"],
            row["part"],
            f"{row['distance px']:.3f} ± {row['sd']:.3f}",
            f"{row['auc']:.3f}",
            f"{row['constant velocity']:.2f}",
            f"{row['hold']:.2f}",
        )
        for row in beside.get("labels", {}).get("rows", [])
    ]
    return measured(("learned from", "part", "distance px", "AUC", "constant velocity px", "hold px"), rows)
