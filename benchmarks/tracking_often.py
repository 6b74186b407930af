"""The table of docs/explanation/tracking.md on an ANN with a frame in every bin, which tracking_page.py puts there."""

from typing import Any

from made_page import measured


def often(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """C on generated scenes, of three seeds."""
    rows = [
        (
            row["method"],
            f"{row['distance px']['mean']:.2f} ± {row['distance px']['sd']:.2f}",
            f"{row['auc']['mean']:.3f} ± {row['auc']['sd']:.3f}",
            f"{row['lost share']['mean']:.3f}",
        )
        for row in beside.get("often", {}).get("rows", [])
    ]
    return measured(("generated scenes, C", "distance px", "AUC", "lost share"), rows)
