"""The tables and figures of docs/explanation/what-hybrid-units-can-do.md, and the verdicts in the README.

python benchmarks/claims_page.py           # writes the pages and draws the figures
python benchmarks/claims_page.py --check   # exit code 1 where a page differs from the results
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from made_page import DOCS, table, write_or_check

RESULTS = Path(__file__).parent / "results" / "claims"
IMAGES = DOCS / "images"
Results = dict[str, Any]


def load(name: str) -> Results:
    """A committed result."""
    found: Results = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def number(value: float, digits: int = 2) -> str:
    """A number as people write it."""
    return f"{value:.{digits}f}"


def with_spread(found: Results, digits: int = 1, factor: float = 1.0) -> str:
    """Mean and standard deviation over seeds."""
    mean = f"{factor * found['mean']:.{digits}f}"
    return mean if found["sd"] is None else f"{mean} ± {factor * found['sd']:.{digits}f}"


def save(name: str, figure: Any) -> None:
    """Writes a figure of the page."""
    from spikebridge.analysis.plots.figures import to_svg

    (IMAGES / f"claims-{name}.svg").write_text(to_svg(figure, name.replace("-", " ")), encoding="utf-8")


def neuron_accuracy() -> str:
    """Spike times and rates of the Hodgkin-Huxley network."""
    rows = [
        (f"{row['current']:g}", str(row["spikes"]), number(row["off_ms"], 3), number(row["rate_error_percent"], 3))
        for row in load("neuron_models")["accuracy"]
    ]
    return table(("current [µA/cm²]", "spikes in 200 ms", "spike times off by at most [ms]", "rate off by [%]"), rows)


def neuron_units() -> str:
    """Spike times with learned units."""
    found = load("neuron_models")["learned"]
    currents = found[0]["currents"]

    def of(seeds: list[float | None]) -> str:
        return ", ".join("missed" if one is None else number(one) for one in seeds)

    rows = [
        (row["way"], *(of([seed[i] for seed in row["off_ms_by_current"]]) for i in range(len(currents))))
        for row in found
    ]
    return table(("units that are learned", *(f"{current:g} µA/cm²" for current in currents)), rows)


def neuron_cost() -> str:
    """Processor time of a step."""
    rows = [
        (row["way"], number(row["us_a_step"], 0), number(row["over_by_hand"])) for row in load("neuron_models")["cost"]
    ]
    return table(("a step at batch 20", "processor time [µs]", "times that by hand"), rows)


def draw_neurons() -> None:
    """Error against step."""
    from spikebridge.analysis.plots.figures import accuracy_lines

    rows = load("neuron_models")["orders"]
    series = {f"{row['neuron']}, order {row['order']:.2f}": row["off_ms"] for row in rows}
    figure = accuracy_lines(np.array(rows[0]["steps_ms"]), series, "step [ms]", "spike times off by [ms]")
    axes = figure.axes[0]
    axes.set(xscale="log", yscale="log")
    save("neuron-models", figure)


def verdicts() -> str:
    """A row for each claim."""
    neurons = load("neuron_models")
    worst = max(row["off_ms"] for row in neurons["accuracy"])
    fitted, recorded = (
        max(off for seed in row["off_ms_by_current"] for off in seed if off is not None) for row in neurons["learned"]
    )
    rows = [
        (
            "Richer neurons from simple ones",
            f"yes: Hodgkin-Huxley from integrators and four units, spikes within {worst:.2f} ms over 200 ms, within "
            f"{fitted:.2f} ms with fitted units, within {recorded:.1f} ms with two units learned from recordings",
        ),
    ]
    return table(("claim of the paper", "verdict"), rows)


EXPLANATION = DOCS / "explanation"
PAGES: dict[Path, dict[str, Callable[[], str]]] = {
    EXPLANATION / "what-hybrid-units-can-do.md": {
        "neuron accuracy": neuron_accuracy,
        "neuron units": neuron_units,
        "neuron cost": neuron_cost,
    },
    DOCS.parent / "README.md": {"verdicts": verdicts},
}
FIGURES = (draw_neurons,)


def main() -> int:
    """Writes or checks the pages."""
    codes = [
        write_or_check(page, {name: make() for name, make in tables.items()}, Path(__file__), __doc__)
        for page, tables in PAGES.items()
    ]
    if "--check" not in sys.argv:
        for figure in FIGURES:
            figure()
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
