"""The targets of the sensing network beside what was measured in the cells of `sensing.py`."""

from typing import Any

from research.sensing.between_frames import memory as sensing_memory
from research.sensing.between_frames import training as sensing_training

ALONE = ("ann_hold", "ann_constant_velocity")


def beside_targets(cells: dict[str, Any]) -> list[dict[str, Any]]:
    """Each target with its measured figure and whether it is met; None where it was not measured."""
    ours, slow, loop = (_row(cells, name, "learned") for name in ("main", "ten_hertz", "closed_loop"))
    velocity = _row(cells, "main", "constant velocity")
    new, still, steady = (_row(cells, "unseen", name) for name in ("learned", "hold", "constant_velocity"))
    alone = cells.get("generated", {}).get("A")
    spent = cells.get("cost", {})
    in_time = _row(cells, "late", "learned").get("auc")
    frames_alone = max((_row(cells, "late", name).get("auc", 0.0) for name in ALONE), default=0.0)

    def with_noise(noise: str) -> float | None:
        return ours[noise] / velocity[noise] if ours else None

    rows = [
        ("A: mean distance [px]", ours.get("distance px"), "at most", 1.25),
        ("A: of constant velocity", ours.get("of constant velocity"), "at most", 0.72),
        ("A: AUC", ours.get("auc"), "at least", 0.88),
        ("A shaken 1 px: of constant velocity", with_noise("shaken 1 px"), "at most", 0.62),
        ("A shaken 2 px: of constant velocity", with_noise("shaken 2 px"), "at most", 0.55),
        ("C: AUC", loop.get("auc"), "at least", 0.60),
        ("E: AUC, of its ANN in frames alone", in_time and in_time / frames_alone, "at least", 1.0),
        ("D: A at 10 Hz, mean distance [px]", slow.get("distance px"), "at most", 4.0),
        (
            "trained on generated scenes alone: of hold",
            alone and alone["mean_distance_px"] / alone["baselines"]["hold"]["mean_distance_px"],
            "at most",
            0.5,
        ),
        (
            "unseen (test part, mirrored and turned), A: of hold",
            new and new["distance px"] / still["distance px"],
            "at most",
            0.5,
        ),
        (
            "unseen (test part, mirrored and turned), A: of constant velocity",
            new and new["distance px"] / steady["distance px"],
            "at most",
            1.0,
        ),
        *saved_rows(spent),
        ("ms a bin", spent.get("ms a bin"), "at most", 1.5),
        ("ms a frame and bin", spent.get("ms a frame and bin"), "at most", 4.0),
        ("ms a bin with the finder", spent.get("ms a bin with the finder"), "at most", 4.0),
        *sensing_memory.rows(cells.get("memory", {})),
        *sensing_training.rows(cells.get("training", {})),
    ]
    return [
        {
            "figure": figure,
            "measured": measured or None,
            "target": f"{side} {limit}",
            "met": None if not measured else bool(measured <= limit if side == "at most" else measured >= limit),
        }
        for figure, measured, side, limit in rows
    ]


def saved_rows(spent: dict[str, Any]) -> list[tuple[str, float | None, str, float]]:
    """Targets of operations and energy: of the tracker as it runs, and with given boxes."""
    limits = (("6 bins", 3.0, 4.0), ("24 bins", 7.0, 12.0))
    return [
        (f"{figure} at {bins}, {loop}", spent.get(bins, {}).get(loop, {}).get(figure), "at least", limit)
        for loop in ("closed loop", "told boxes")
        for bins, *least in limits
        for figure, limit in zip(("operations saved", "energy saved"), least, strict=True)
    ]


def _row(cells: dict[str, Any], cell: str, tracker: str) -> dict[str, Any]:
    """The row of a tracker in the table of a cell; empty where the cell is missing."""
    return next((row for row in cells.get(cell, {}).get("trackers", []) if row["tracker"] == tracker), {})
