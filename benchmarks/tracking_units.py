"""The table of docs/explanation/tracking.md on options of the unit, which tracking_page.py makes among the others."""

from typing import Any

from made_page import measured

SPOKEN = {
    "linear": "linear map",
    "tanh": "its tanh",
    "joined": "the tanh of it and the features",
    "yes or no": "generated scenes, any event",
    "counts": "generated scenes, events counted",
}
PARTS = ("validation", "test")
FIGURES = {"distance px": "px", "auc": "AUC", "shaken 1 px": "shaken 1 px", "10 Hz px": "10 Hz, px"}


def units(sensing: dict[str, Any], beside: dict[str, Any]) -> str:
    """A on both parts, of three seeds each."""
    found = beside.get("units", {})
    rows = [
        (spoken, *(_spread(found[name][part][figure]) for part in PARTS for figure in FIGURES))
        for name, spoken in SPOKEN.items()
        if name in found
    ]
    return measured(("map, events", *(f"{part}: {figure}" for part in PARTS for figure in FIGURES.values())), rows)


def _spread(figure: dict[str, Any]) -> str:
    return f"{figure['mean']:.3f} ± {figure['sd']:.3f}"
