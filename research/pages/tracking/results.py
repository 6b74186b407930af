"""Results of the tracker, and numbers as the tracking pages show them."""

import json
from functools import cache
from typing import Any

from research.pages.made_page import result_file

Row = dict[str, Any]
METHODS = {
    "network": "**hybrid**",
    "ann_hold": "its ANN, held",
    "ann_constant_velocity": "its ANN, constant velocity",
    "events": "its SNN alone",
    "decay_0": "its membranes reset in every bin",
    "kcf": "KCF",
    "csrt": "CSRT",
}


@cache
def load(name: str) -> Row:
    """A result of research/sensing, or an empty one if it is not measured yet."""
    path = result_file(f"sensing/{name}")
    results: Row = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return results


def rows_of(name: str) -> list[Row]:
    """The rows of a result."""
    rows: list[Row] = load(name).get("rows", [])
    return rows


def cell(name: str) -> Row:
    """A part of the results of the default settings."""
    results: Row = load("between_frames/pathways").get("cells", {}).get(name, {})
    return results


def title_of(method: str) -> str:
    """A method as the pages name it."""
    return METHODS.get(method, method.replace("_", " "))


def number(value: float | None) -> str:
    """A number with three digits, or a dash."""
    if value is None:
        return "-"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def three_digits(value: float | None) -> str:
    """A number with three digits after the point, or a dash."""
    return "-" if value is None else f"{value:.3f}"


def with_sd(mean: float, sd: float | None) -> str:
    """A mean with its standard deviation; a single seed has none."""
    return f"{mean:.3f}" if sd is None else f"{mean:.3f} ± {sd:.3f}"
