"""Results of the claims, numbers with their spread, and the files of figures."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from research.pages.made_page import DOCS, result_file

Results = dict[str, Any]


def load(name: str) -> Results:
    """A committed result of research/claims, such as "units/orbits"."""
    results: Results = json.loads(result_file(f"claims/{name}").read_text(encoding="utf-8"))
    return results


def number(value: float, digits: int = 2) -> str:
    """A number with a fixed number of digits."""
    return f"{value:.{digits}f}"


def with_spread(measured: Results, digits: int = 1, factor: float = 1.0) -> str:
    """Mean and standard deviation over seeds."""
    mean = f"{factor * measured['mean']:.{digits}f}"
    return mean if measured["sd"] is None else f"{mean} ± {factor * measured['sd']:.{digits}f}"


def percentage(measured: Results) -> str:
    """Mean and standard deviation of a share [%]."""
    return with_spread(measured, factor=100)


def spread_over(values: Sequence[float], digits: int = 1) -> str:
    """Mean and standard deviation of values, one for each seed."""
    sd = None if len(values) < 2 else float(np.std(values, ddof=1))
    return with_spread({"mean": float(np.mean(values)), "sd": sd}, digits)


def save_figure(name: str, figure: Any) -> None:
    """Writes a figure of the claims."""
    from spikebridge.analysis.plots.figures import to_svg

    path = DOCS / "images" / f"claims-{name}.svg"
    path.write_text(to_svg(figure, name.replace("-", " ")), encoding="utf-8")
