"""What events buy, confidence and hidden targets, as tables and figures of the tracking pages.

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
_KINDS = {"generated": "generated scenes", "recording": "recording"}


def _load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result_file(f"sensing/{name}").read_text(encoding="utf-8"))
    return found


def _spread(one: dict[str, Any]) -> str:
    return f"{one['mean']:.3f}" if one["sd"] is None else f"{one['mean']:.3f} ± {one['sd']:.3f}"


def _rate(value: float | None, highest: int) -> str:
    return f"above {highest}" if value is None else f"{value:.0f}"


def equivalent(found: dict[str, Any], titles: tuple[str, ...], has_costs: bool) -> str:
    """AUC of hybrid and ANN by frame rate, the ANN's rate for the same AUC, and what both cost.

    Args:
        found: the results.
        titles: of the columns.
        has_costs: whether data and energy are columns.
    """
    rows = []
    for kind, words in _KINDS.items():
        highest = max(row["rate"] for row in found["rates"][kind])
        for row, cost in zip(found["rates"][kind], found["costs"][kind], strict=True):
            if "hybrid" not in row:
                continue
            rate = _rate(row["equivalent_rate"], highest)
            cells = (f"{words}, {row['rate']} Hz", _spread(row["hybrid"]), _spread(row["ann"]), rate)
            data = f"{cost['hybrid_bytes'] / 1e6:.2f} / {cost['ann_bytes'] / 1e6:.2f}"
            energy = f"{cost['hybrid_joules'] * 1e3:.2f} / {cost['ann_joules'] * 1e3:.2f}"
            rows.append((*cells, data, energy) if has_costs else cells)

    return measured(titles, rows)


def fast(found: dict[str, Any]) -> str:
    """The ANN at rates above those of the hybrid, with its data and energy."""
    rows = [
        (
            f"{row['rate']} Hz",
            _spread(row["ann"]),
            f"{cost['ann_bytes'] / 1e6:.2f}",
            f"{cost['ann_joules'] * 1e3:.2f}",
        )
        for row, cost in zip(found["rates"]["generated"], found["costs"]["generated"], strict=True)
        if "hybrid" not in row
    ]
    return measured(("generated scenes, ANN alone", "AUC", "data [MB/s]", "energy [mW]"), rows)


def confidence(found: dict[str, Any]) -> str:
    """Expected calibration error by what is scored."""
    rows = [
        (name.removeprefix("all: "), f"{row['share_right']:.2f} of {row['num']:,}", f"{row['ece']:.3f}")
        for name, row in found["rows"].items()
        if name.startswith("all: ") or name.startswith("real, test")
    ]
    return measured(("scored on", "boxes that overlap by half", "ECE"), rows)


def hidden(found: dict[str, Any]) -> str:
    """Whether hidden targets are found again."""
    rows = [
        (
            f"`{name}`",
            f"{row['found_again']} of {row['num_scenes']}",
            f"{row['confidence_before']:.2f}",
            f"{row['confidence_hidden']:.2f} ({row['most_confidence_hidden']:.2f})",
            f"{row['confidence_after']:.2f}",
            f"{row['lost_share_hidden']:.2f}",
        )
        for name, row in found["detectors"].items()
    ]

    titles = ("`--detector`", "followed at the end", "confidence before")
    return measured((*titles, "hidden (largest)", "after", "`lost` while hidden"), rows)


def draw() -> None:
    """The figures."""
    from spikebridge.analysis.plots.figures import accuracy_lines, to_svg

    def save(name: str, figure: Any) -> None:
        text = to_svg(figure, name.replace("-", " "))
        (IMAGES / f"tracking-{name}.svg").write_text(text, encoding="utf-8")

    found = _load("between_frames/equivalent_frame_rate")
    for kind, words in _KINDS.items():
        rows = found["rates"][kind]
        rates = np.array([row["rate"] for row in rows])
        series = {
            spoken: np.array([row["seeds"][who] if who in row else [np.nan] * found["seeds"] for row in rows])
            for who, spoken in (("hybrid", "hybrid"), ("ann", "its ANN"))
        }

        figure = accuracy_lines(rates, series, f"frames a second, {words}", "AUC")
        figure.axes[0].set(xscale="log", xticks=rates, xticklabels=[str(rate) for rate in rates])
        figure.axes[0].minorticks_off()
        save("frame-rate" + ("" if kind == "generated" else "-recording"), figure)

    if found["speeds"]:
        save("speed", _against_speed(found["speeds"]))

    row = _load("closed_loop/hidden_targets")["detectors"]["both"]
    lines = {name: np.array(row[name]) for name in ("overlap", "confidence")}
    figure = accuracy_lines(np.array(row["seconds"]), lines, "time [s]", "mean over scenes")
    figure.axes[0].axvspan(*_load("closed_loop/hidden_targets")["hidden_seconds"], alpha=0.15, linewidth=0)
    save("hidden", figure)


def _against_speed(rows: list[dict[str, Any]]) -> Any:
    from spikebridge.analysis.plots.figures import accuracy_lines

    speeds = np.array([row["speed"] for row in rows])
    names = {"hybrid": "hybrid", "ann": "its ANN", "snn": "its SNN"}
    of_speed = {spoken: np.array([row["seeds"][who] for row in rows]) for who, spoken in names.items()}
    figure = accuracy_lines(speeds, of_speed, "speed of the target [px/s]", "AUC in time")
    figure.axes[0].set(xscale="log", xticks=speeds, xticklabels=[str(speed) for speed in speeds])
    figure.axes[0].minorticks_off()

    return figure


def main() -> int:
    """Writes or checks the pages."""
    rates = _load("between_frames/equivalent_frame_rate")
    other = {
        "confidence": confidence(_load("cameras/confidence")),
        "hidden": hidden(_load("closed_loop/hidden_targets")),
    }

    costs = "data, hybrid / ANN [MB/s]", "energy, hybrid / ANN [mW]"
    others = _load("between_frames/equivalent_frame_rate_research")

    tables = {
        "equivalent": equivalent(rates, ("frames", *_RATE_TITLES, *costs), has_costs=True),
        "research-rates": equivalent(others, ("frames, `sensing_research`", *_RATE_TITLES), has_costs=False),
        "fast": fast(rates),
    }
    return write_or_check(Path(__file__), __doc__, tables | other, draw)


if __name__ == "__main__":
    sys.exit(main())
