"""Tables and figures of the tracking pages: gains from events, confidence, and hidden targets.

python research/pages/events_page.py           # writes the pages and draws the figures
python research/pages/events_page.py --check   # exit code 1 where a page differs from the results
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from research.pages.made_page import DOCS, measured, result_file, write_or_check

IMAGES = DOCS / "images"
_RATE_TITLES = "hybrid, AUC", "its ANN, AUC", "equivalent frame rate [Hz]"
# a class of confidence with fewer has no share
_MIN_BOXES = 20
_KINDS = {"generated": "generated scenes", "recording": "recording"}


def _load(name: str) -> dict[str, Any]:
    results: dict[str, Any] = json.loads(result_file(f"sensing/{name}").read_text(encoding="utf-8"))
    return results


def _spread(measured: dict[str, Any]) -> str:
    mean = f"{measured['mean']:.3f}"
    return mean if measured["sd"] is None else f"{mean} ± {measured['sd']:.3f}"


def _rate(value: float | None, highest: int) -> str:
    return f"above {highest}" if value is None else f"{value:.0f}"


def equivalent(results: dict[str, Any], titles: tuple[str, ...], has_costs: bool) -> str:
    """AUC of hybrid and ANN by frame rate, the ANN's rate for the same AUC, and data and energy of both."""
    rows = []
    for kind, words in _KINDS.items():
        highest = max(row["rate"] for row in results["rates"][kind])
        for row, cost in zip(results["rates"][kind], results["costs"][kind], strict=True):
            # the ANN also ran at higher rates
            if "hybrid" not in row:
                continue

            rate = _rate(row["equivalent_rate"], highest)
            cells = (f"{words}, {row['rate']} Hz", _spread(row["hybrid"]), _spread(row["ann"]), rate)
            data = f"{cost['hybrid_bytes'] / 1e6:.2f} / {cost['ann_bytes'] / 1e6:.2f}"
            energy = f"{cost['hybrid_joules'] * 1e3:.2f} / {cost['ann_joules'] * 1e3:.2f}"
            rows.append((*cells, data, energy) if has_costs else cells)

    return measured(titles, rows)


def fast(results: dict[str, Any]) -> str:
    """The ANN at rates above those of the hybrid, with its data and energy."""
    rows = [
        (
            f"{row['rate']} Hz",
            _spread(row["ann"]),
            f"{cost['ann_bytes'] / 1e6:.2f}",
            f"{cost['ann_joules'] * 1e3:.2f}",
        )
        for row, cost in zip(results["rates"]["generated"], results["costs"]["generated"], strict=True)
        if "hybrid" not in row
    ]
    return measured(("generated scenes, ANN alone", "AUC", "data [MB/s]", "energy [mW]"), rows)


def confidence(results: dict[str, Any]) -> str:
    """Expected calibration error on each set of boxes."""
    rows = [
        (name.removeprefix("all: "), f"{row['share_right']:.2f} of {row['num']:,}", f"{row['ece']:.3f}")
        for name, row in results["rows"].items()
        if name.startswith("all: ")
    ]
    return measured(("scored on", "boxes that overlap by half", "ECE"), rows)


def hidden(results: dict[str, Any]) -> str:
    """Hidden targets that are found again, and the confidence meanwhile."""
    rows = [
        (
            f"`{name}`",
            f"{row['found_again']} of {row['num_scenes']}",
            f"{row['confidence_before']:.2f}",
            f"{row['confidence_hidden']:.2f} ({row['most_confidence_hidden']:.2f})",
            f"{row['confidence_after']:.2f}",
            f"{row['lost_share_hidden']:.2f}",
        )
        for name, row in results["detectors"].items()
    ]

    titles = ("`--detector`", "followed at the end", "confidence before")
    return measured((*titles, "hidden (largest)", "after", "`lost` while hidden"), rows)


def draw() -> None:
    """Draws the figures."""
    from spikebridge.analysis.plots.figures import accuracy_lines, to_svg

    def save(name: str, figure: Any) -> None:
        text = to_svg(figure, name.replace("-", " "))
        (IMAGES / f"tracking-{name}.svg").write_text(text, encoding="utf-8")

    results = _load("between_frames/equivalent_frame_rate")
    for kind, words in _KINDS.items():
        rows = results["rates"][kind]
        rates = np.array([row["rate"] for row in rows])
        # a gap in the line where the hybrid did not run
        missing = [np.nan] * results["seeds"]
        series = {
            title: np.array([row["seeds"][name] if name in row else missing for row in rows])
            for name, title in (("hybrid", "hybrid"), ("ann", "its ANN"))
        }

        figure = accuracy_lines(rates, series, f"frames a second, {words}", "AUC")
        _logarithmic(figure, rates)
        save("frame-rate" + ("" if kind == "generated" else "-recording"), figure)

    if results["speeds"]:
        save("speed", _against_speed(results["speeds"]))

    save("reliability", _reliability(_load("cameras/confidence")["rows"]))
    targets = _load("closed_loop/hidden_targets")
    row = targets["detectors"]["both"]
    lines = {name: np.array(row[name]) for name in ("overlap", "confidence")}
    figure = accuracy_lines(np.array(row["seconds"]), lines, "time [s]", "mean over scenes")
    figure.axes[0].axvspan(*targets["hidden_seconds"], alpha=0.15, linewidth=0)
    save("hidden", figure)


def _reliability(rows: dict[str, Any]) -> Any:
    """The share of right boxes against the mean confidence of each class with 20 boxes or more, by kind."""
    from spikebridge.analysis.plots.figures import accuracy_lines

    classes = np.linspace(0.05, 0.95, 10)
    series = {}
    for name, row in rows.items():
        if name.startswith("all: "):
            shares = np.full(10, np.nan)
            for one in row["curve"]:
                if one["num"] >= _MIN_BOXES:
                    shares[min(int(10 * one["mean_confidence"]), 9)] = one["share_right"]
            series[name.removeprefix("all: ")] = shares

    figure = accuracy_lines(classes, series, "confidence", "share of right boxes")
    figure.axes[0].plot([0, 1], [0, 1], linestyle=":", linewidth=1, color="grey")

    return figure


def _against_speed(rows: list[dict[str, Any]]) -> Any:
    from spikebridge.analysis.plots.figures import accuracy_lines

    speeds = np.array([row["speed"] for row in rows])
    titles = {"hybrid": "hybrid", "ann": "its ANN", "snn": "its SNN"}
    series = {title: np.array([row["seeds"][name] for row in rows]) for name, title in titles.items()}
    figure = accuracy_lines(speeds, series, "speed of the target [px/s]", "AUC in time")
    _logarithmic(figure, speeds)

    return figure


def _logarithmic(figure: Any, places: np.ndarray) -> None:
    """A logarithmic axis with a mark at each measured place."""
    figure.axes[0].set(xscale="log", xticks=places, xticklabels=[str(place) for place in places])
    figure.axes[0].minorticks_off()


def main() -> int:
    """Writes or checks the pages."""
    default = _load("between_frames/equivalent_frame_rate")
    research = _load("between_frames/equivalent_frame_rate_research")
    costs = "data, hybrid / ANN [MB/s]", "energy, hybrid / ANN [mW]"

    tables = {
        "equivalent": equivalent(default, ("frames", *_RATE_TITLES, *costs), has_costs=True),
        "research-rates": equivalent(research, ("frames, `sensing_research`", *_RATE_TITLES), has_costs=False),
        "fast": fast(default),
        "confidence": confidence(_load("cameras/confidence")),
        "hidden": hidden(_load("closed_loop/hidden_targets")),
    }
    return write_or_check(Path(__file__), __doc__, tables, draw)


if __name__ == "__main__":
    sys.exit(main())
