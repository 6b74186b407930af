"""Makes the tables of the two reasoning pages, and their figures, from the results of the reasoning benchmarks.

python research/pages/reasoning_page.py           # writes the pages, and the figures into docs/images
python research/pages/reasoning_page.py --check   # exit code 1 if a page differs from the results
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from research.pages.made_page import DOCS, head, line, result_file, write_or_check

IMAGES = DOCS / "images"
ASKED = {"compartment": "graph", "executor": "executor", "executor + guess": "executor + guess",
         "executor, clips": "executor with the clip at 20 events"}  # fmt: skip


def targets(results: Mapping[str, Any]) -> str:
    """What was aimed at, and whether it was reached."""
    lines = [head("figure [%, or times]", "measured", "target", "met")]
    for row in results["targets"]:
        spread = f" ± {row['sd']} ({row['seeds']} seeds)" if "sd" in row else ""
        verdict = {True: "yes", False: "no", None: "-"}[row["met"]]
        lines.append(line(row["figure"], f"{row['measured']}{spread}", row["target"], verdict))

    return "\n".join(lines)


def accuracy(results: Mapping[str, Any]) -> str:
    """A row a set of questions, a column a source of perception; per option / per question."""
    sources = {
        "as perceived": "noisy scenes",
        "rule": "noisy scenes, rule",
        "learned units": "noisy scenes, learned units",
        "near truth": "near-truth scenes",
    }

    lines = [head("questions, per option / per question [%]", *sources, "executor, learned units")]
    for name, found in results["sets"].items():
        what_if = name == "silver counterfactual"
        graph, plain = ("compartment, causal", "executor, causal") if what_if else ("compartment", "executor")
        cells = [_both(found[source][graph]) if source in found else "-" for source in sources.values()]
        lines.append(line(name, *cells, _both(found["noisy scenes, learned units"][plain])))

    return "\n".join(lines)


def budget(results: Mapping[str, Any]) -> str:
    """Silver descriptive questions with one part at a time from near truth, in all and by subtype."""
    rows = results["sets"]["silver descriptive"]["error budget, learned"]
    kinds = [kind for kind in next(iter(rows.values())) if not kind.startswith("per_")]
    lines = [head("from near truth [%]", "all", *(kind.removeprefix("query_") for kind in kinds))]
    lines += [
        line(name, *(f"{100 * row[kind]:.2f}" for kind in ("per_option", *kinds) if kind in row))
        for name, row in rows.items()
    ]

    return "\n".join(lines)


def collisions(results: Mapping[str, Any]) -> str:
    """What each choice in the collision unit is worth."""
    shown = ("per_option", "per_question", "recall", "precision")
    names = ("per option", "per question", "recall", "precision", "timing [frames]")
    lines = [head("collisions [%]", *names)]

    for name, row in results["rows"].items():
        cells = [_percent(row[key]) if key in row else "-" for key in shown]
        late = row.get("timing_frames")
        lines.append(line(name, *cells, "-" if late is None else f"{_mean(late):.2f}"))

    return "\n".join(lines)


def twins(results: Mapping[str, Any]) -> str:
    """The hybrid, the ANN alone and the executor alone, and what they cost."""
    kinds = ("descriptive", "explanatory", "predictive", "counterfactual")
    lines = [head("per option / per question [%]", *kinds, "ms a program", "energy of a program [nJ]")]
    cost = results["cost of a program"]

    for where in ("from true scenes", "from pixels"):
        for who in ("hybrid", "ANN only", "executor only"):
            row = results[where][who]
            spent = f"{cost[who]['energy nJ']:,.0f}" if who in cost else "-"
            cells = [_both(row[kind]) if kind in row else "-" for kind in kinds]
            lines.append(line(f"{who}, {where}", *cells, f"{row['ms_a_program']:.2f}", spent))

    numbers = (results["from true scenes"]["num_videos"], results["from pixels"]["num_videos"])
    twin = results["twin"]
    lines.append(
        f"\n{numbers[0]} test videos from true scenes, {numbers[1]} from pixels; the ANN learned from "
        f"{twin['num_videos']} videos in {twin['process_minutes_with_drawing']:.1f} minutes of one core, one seed."
    )

    return "\n".join(lines)


def speed(results: Mapping[str, Any]) -> str:
    """Milliseconds a program, building included, and how often the engine is faster."""
    rows = results["beside_one_at_a_time"]
    ways = list(rows[0]["ms_a_program"])
    lines = [head("ms a program", *(row["scenes"] for row in rows))]
    lines += [line(way, *(f"{row['ms_a_program'][way]:.3f}" for row in rows)) for way in ways]

    for name, key in (
        ("one at a time / engine, both by the project's own building", "engine_over_arrays"),
        ("one at a time as published / engine, both `paper`", "paper_engine_over_loops"),
        ("one at a time as published / engine in `compartment`", "engine_over_loops"),
    ):
        lines.append(line(name, *(f"{row[key]:.1f} x" for row in rows)))

    return "\n".join(lines)


def faults(results: Mapping[str, Any]) -> str:
    """What is left of the clean share of right options under faults of the graph."""
    rows = results["faults"]["rows"]
    graphs = list(dict.fromkeys(row["graph"] for row in rows))
    kinds = list(dict.fromkeys(row["fault"] for row in rows))
    share = {(row["graph"], row["fault"]): row for row in rows}
    lines = [head("options right [%], share of clean", *graphs)]

    for kind in kinds:
        cells = [share[graph, kind] for graph in graphs]
        left = [f" ({row['percent_of_clean']:.0f} %)" if "percent_of_clean" in row else "" for row in cells]
        lines.append(line(kind, *(f"{row['per_option']:.1f}{more}" for row, more in zip(cells, left, strict=True))))

    return "\n".join(lines)


def draw() -> None:
    """The figures of parallelism and of wrong events, beside the executor."""
    from spikebridge.analysis.plots.figures import accuracy_lines, to_svg

    many = _results("parallelism")
    wrong = _results("robustness")
    rows = many["growth_with_the_scene"]["rows"]
    figures = {}

    size = accuracy_lines(
        [row["connections"] for row in rows],
        {name: [row[key] for row in rows] for name, key in (
            ("graph: run", "run_ms"), ("graph: build", "build_ms"), ("executor", "executor_ms"))},
        "connections of the graph (2 objects, 4 events to 128, 256)", "16 programs [ms]",
    )  # fmt: skip

    _on_logarithms(size, x=(1e3, 1e4, 1e5), y=(0.5, 1, 2, 5, 10, 20))
    figures["reasoning-parallelism"] = (size, "Time of 16 programs against the size of the scene; 21 steps always")
    batch = many["growth_with_the_batch"]

    for key, number, each, title in (
        ("queries_about_one_video", "queries", "ms_a_query", "Time of a query against queries in the batch"),
        ("videos_with_building", "videos", "ms_a_video", "Time of a video, building included, against videos"),
    ):
        found = batch[key]
        figure = accuracy_lines(
            [row[number] for row in found], {"graph": [row[each] for row in found]}, f"{number} in a batch", "each [ms]"
        )
        _on_logarithms(figure, x=[row[number] for row in found], y=(0.05, 0.1, 0.2, 0.5, 1, 2, 4))
        figures[f"reasoning-{number}"] = (figure, title)

    swept = [row for row in wrong["rule"]["rows"] if isinstance(row["rule"], dict) and row["rule"]["near"] == 20.0]
    rule = _against([row["rule"]["jolt"] for row in swept], swept, "change of both velocities that counts [px/sample]")
    _on_logarithms(rule, x=[row["rule"]["jolt"] for row in swept])
    figures["reasoning-wrong-events"] = (rule, "Collisions by the rule, from invented ones to missed ones")
    errors = wrong["errors"]["rows"]

    for kind in ("collisions missed", "collisions added"):
        found = [errors[0], *(row for row in errors if row["error"] == kind)]
        places = [100 * row.get("size", 0) for row in found]
        figures[f"reasoning-{kind.replace(' ', '-')}"] = (_against(places, found, f"{kind} [%]"), kind.capitalize())

    for name, (figure, title) in figures.items():
        (IMAGES / f"{name}.svg").write_text(to_svg(figure, title))


def _against(x: Sequence[float], rows: Sequence[Mapping[str, Any]], title: str) -> Any:
    from spikebridge.analysis.plots.figures import accuracy_lines

    series = {name: [row[who]["per_option"] for row in rows] for who, name in ASKED.items()}
    return accuracy_lines(x, series, title, "options right [%]")


def _on_logarithms(figure: Any, x: Sequence[float], y: Sequence[float] = ()) -> None:
    axes = figure.axes[0]
    axes.set_xscale("log")
    axes.set_xticks(x, [f"{value:,g}" for value in x])

    if y:
        low, high = axes.get_ylim()
        axes.set_yscale("log")
        inside = [value for value in y if low <= value <= high]
        axes.set_yticks(inside, [f"{value:g}" for value in inside])

    axes.minorticks_off()


def _both(shares: Mapping[str, float]) -> str:
    if shares["per_option"] == shares["per_question"]:
        return f"{100 * shares['per_option']:.2f}"
    return f"{100 * shares['per_option']:.2f} / {100 * shares['per_question']:.2f}"


def _mean(value: Any) -> float:
    return float(value["mean"] if isinstance(value, dict) else value)


def _percent(value: Any) -> str:
    if isinstance(value, dict) and value["sd"] is not None:
        return f"{100 * value['mean']:.2f} ± {100 * value['sd']:.2f}"
    return f"{100 * _mean(value):.2f}"


def _results(name: str) -> Any:
    return json.loads(result_file(f"reasoning/{name}").read_text())


MAKERS: dict[str, tuple[Callable[[Any], str], str]] = {
    "targets": (targets, "targets"),
    "accuracy": (accuracy, "accuracy"),
    "budget": (budget, "accuracy"),
    "collisions": (collisions, "collisions"),
    "twins": (twins, "twins"),
    "speed": (speed, "parallelism"),
    "faults": (faults, "robustness"),
}


def main() -> int:
    """Writes the pages and the figures, or checks the pages."""
    tables = {name: make(_results(results)) for name, (make, results) in MAKERS.items()}
    return write_or_check(Path(__file__), __doc__, tables, draw)


if __name__ == "__main__":
    sys.exit(main())
