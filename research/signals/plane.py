"""Accuracy against energy, and time to decide, for several sizes and frame rates, on new people.

    python research/signals/plane.py                # every point that the results lack (a quarter of an hour a set)
    python research/signals/plane.py --sets watch   # one set
    python research/signals/plane.py --quick        # two points of the generated gestures; writes nothing

A point is a network of the recipe at one frame period and one size, trained as the preset of the set but on one (myo)
or two (watch) augmented copies. Energy is that of a second of signal, the front end included. Each network with spikes
is compared with the best ANN, over all frame rates and sizes, of at most 1.02 times its energy; that ANN is chosen by
the reported accuracies, which favours it. Time to decide is the signal from the start of a window to the
first answer from which the accuracy over windows stays at 80 % or more. A figure of each set goes into docs/images.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from spikebridge.analysis.comparison import paired_difference
from spikebridge.analysis.plots.style import PAGE_WIDTH, SERIES, draw_legend, new_figure, show_values, to_svg
from spikebridge.data.io.atomic import write_text
from spikebridge.networks.signals import recipe as signals
from spikebridge.recipes import train_all
from spikebridge.training import Run
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "plane.json"
IMAGES = Path(__file__).parents[2] / "docs" / "images"
MIN_ACCURACY = 80.0  # of a decision [%]
TOLERANCE = 1.02


class Point(NamedTuple):
    """A network at a frame period [steps] and a size."""

    network: str
    frame_period: int
    hidden: int


def points_of(periods: Sequence[int], slow: Sequence[int], sizes: tuple[int, int]) -> list[Point]:
    """The ANN at all periods and both sizes, the learned hybrid at the slower ones, the other two at the second one."""
    ann = [Point("ann", period, size) for size in sizes for period in periods]
    hybrid = [Point("learned", period, size) for period in slow for size in sizes]
    return ann + hybrid + [Point(name, slow[1], size) for name in ("fixed", "snn") for size in sizes]


# the period of the preset is the second of the slower ones
POINTS = {
    "myo": points_of((4, 13, 26, 52), (7, 13, 26), (24, 72)),
    "watch": points_of((10, 25, 50, 100), (10, 25, 50), (20, 64)),
}
COPIES = {"myo": 1, "watch": 2}


def settings(preset: signals.Config, point: Point, seed: int) -> signals.Config:
    """Settings of a point, which is trained on all folds of a set."""
    return replace(
        preset,
        networks=(point.network,),
        seed=seed,
        sensor=replace(preset.sensor, frame_period=point.frame_period),
        network=replace(preset.network, hidden=point.hidden),
        training=replace(preset.training, copies=COPIES.get(preset.dataset, 1)),
    )


def measured(point: Point, run: Run) -> dict[str, Any]:
    """The scores of a trained point."""
    config = run.config_as(signals.Config)
    results = run.results()
    scores = [child.results() for child in run.children().values()]
    period = signals.build(config)[point.network].dt * point.frame_period
    row = results["networks"][0]

    return {
        **point._asdict(),
        "seed": config.seed,
        "accuracy %": row["accuracy %"],
        "sd over people": row["sd"],
        "uJ/s": row["uJ/s"],
        "parameters": row["parameters"],
        "answers [s]": [round(period * (k + 1), 4) for k in range(len(scores[0]["accuracy_by_answer"]))],
        "accuracy by answer": [
            fmean(column) * 100 for column in zip(*(score["accuracy_by_answer"] for score in scores), strict=True)
        ],
        "people": {name: 100 * value for score in scores for name, value in score["per_group"].items()},
    }


def rows_of(
    preset: signals.Config, points: Sequence[Point], seed: int, folder: Path, workers: int
) -> list[dict[str, Any]]:
    """The scores of several points, which are trained if they are not yet."""
    configs = {"-".join(map(str, (*point, seed))): settings(preset, point, seed) for point in points}
    runs = train_all("signals", configs, folder, workers=workers)
    return [measured(point, run) for point, run in zip(points, runs.values(), strict=True)]


def decision_time(row: Mapping[str, Any]) -> float | None:
    """Seconds to the first answer from which the accuracy stays at 80 % or more; None if the last is below."""
    enough = np.array(row["accuracy by answer"]) >= MIN_ACCURACY
    if not enough[-1]:
        return None

    below = np.flatnonzero(~enough)
    return float(row["answers [s]"][below[-1] + 1 if len(below) else 0])


def compared(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A network and the most accurate, and the soonest, ANN of at most its energy."""
    anns = [ann for ann in rows if ann["network"] == "ann" and ann["uJ/s"] <= TOLERANCE * row["uJ/s"]]
    own = {key: row[key] for key in ("network", "frame_period", "hidden", "accuracy %", "uJ/s")}
    own_time = decision_time(row)
    own["decides after [s]"] = own_time
    if not anns:
        return {**own, "ann": None}

    best = max(anns, key=lambda ann: ann["accuracy %"])
    people = row["people"]
    gap = paired_difference(list(people.values()), [best["people"][person] for person in people])
    points, sd = gap.rounded(2)
    times = [time for time in map(decision_time, anns) if time is not None]

    return {
        **own,
        "ann": {key: best[key] for key in ("frame_period", "hidden", "accuracy %", "uJ/s")},
        "points": points,
        "sd": sd,
        "it is": gap.verdict("people"),
        "ann decides after [s]": min(times, default=None),
        "share of its time": round(own_time / min(times), 3) if own_time and times else None,
    }


def tables(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every network with spikes and its ANNs of equal energy, sorted by energy."""
    return sorted((compared(row, rows) for row in rows if row["network"] != "ann"), key=lambda row: row["uJ/s"])


def draw(name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """The plane of energy and accuracy."""
    figure, axes = new_figure(PAGE_WIDTH, 3.4, "")
    for colour, marker, network in zip(SERIES, "osD^", ("learned", "ann", "fixed", "snn"), strict=False):
        own = sorted((row for row in rows if row["network"] == network), key=lambda row: row["uJ/s"])
        x = [row["uJ/s"] for row in own]
        y = [row["accuracy %"] for row in own]
        (line,) = axes.plot(x, y, marker, color=colour, markersize=5, label=network)
        show_values(line, [f"{network}, {row['frame_period']} steps a frame, {row['hidden']} hidden" for row in own])

    axes.set(xscale="log", xlabel="energy [µJ a second of signal]", ylabel="accuracy, people not seen [%]")
    draw_legend(axes)
    write_text(IMAGES / f"signals-plane-{name}.svg", to_svg(figure))


def main() -> None:
    """Measures what is missing, writes after every set, and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(POINTS), choices=list(POINTS))
    parser.add_argument("--folder", type=Path, default=Path("runs/signals-plane"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="points that train at a time")
    parser.add_argument("--quick", action="store_true", help="two points of the generated gestures; writes nothing")
    options = parser.parse_args()

    if options.quick:
        points = [Point("learned", 25, 8), Point("ann", 25, 8)]
        with TemporaryDirectory() as folder:
            print(tables(rows_of(signals.PRESETS["quick"], points, 0, Path(folder), options.workers)))
        return

    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in options.sets:
        rows = results.get(name, {}).get("rows", [])
        done = {(*(row[key] for key in Point._fields), row["seed"]) for row in rows}
        points = [point for point in POINTS[name] if (*point, options.seed) not in done]
        if points:
            rows += rows_of(signals.PRESETS[name], points, options.seed, options.folder / name, options.workers)
            command = f"python research/signals/plane.py --sets {name}"
            results[name] = {
                "table": tables(rows),
                "rows": rows,
                "command": command,
                "environment": describe_environment(),
            }

            write_text(RESULTS, json.dumps(results, indent=1) + "\n")

        draw(name, rows)


if __name__ == "__main__":
    main()
