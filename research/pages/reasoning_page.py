"""The tables and figures of the pages about reasoning, made from results of research/reasoning.

python research/pages/reasoning_page.py           # writes the pages, and the figures into docs/images
python research/pages/reasoning_page.py --check   # exit code 1 where a page differs from the results
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from research.pages.made_page import DOCS, head, line, result_file, write_or_check

IMAGES = DOCS / "images"
ANSWERERS = {
    "compartment": "graph",
    "executor": "executor",
    "executor + guess": "executor + guess",
    "executor, clips": "executor with the clip at 20 events",
}


def targets(results: Mapping[str, Any]) -> str:
    """Targets, and the figures that meet them or do not."""
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
    for name, scores in results["sets"].items():
        # counterfactual questions need the events that the removed object caused
        suffix = ", causal" if name == "silver counterfactual" else ""
        cells = [_both(scores[key][f"compartment{suffix}"]) if key in scores else "-" for key in sources.values()]
        lines.append(line(name, *cells, _both(scores["noisy scenes, learned units"][f"executor{suffix}"])))

    return "\n".join(lines)


def budget(results: Mapping[str, Any]) -> str:
    """Silver descriptive questions with one part at a time from near truth, all and by subtype."""
    rows = results["sets"]["silver descriptive"]["error budget, learned"]
    kinds = [kind for kind in next(iter(rows.values())) if not kind.startswith("per_")]
    lines = [head("from near truth [%]", "all", *(kind.removeprefix("query_") for kind in kinds))]
    lines += [
        line(name, *(f"{100 * row[kind]:.2f}" for kind in ("per_option", *kinds) if kind in row))
        for name, row in rows.items()
    ]

    return "\n".join(lines)


def collisions(results: Mapping[str, Any]) -> str:
    """Gains of each choice in the collision unit."""
    shown = ("per_option", "per_question", "recall", "precision")
    names = ("per option", "per question", "recall", "precision", "timing [frames]")
    lines = [head("collisions [%]", *names)]

    for name, row in results["rows"].items():
        cells = [_percent(row[key]) if key in row else "-" for key in shown]
        timing = row.get("timing_frames")
        lines.append(line(name, *cells, "-" if timing is None else f"{_mean(timing):.2f}"))

    return "\n".join(lines)


def prediction(results: Mapping[str, Any]) -> str:
    """Collisions to come, by rules, trees and the prediction unit with either kind of neurons."""
    names = {
        "f1_pairs": "F1 of pairs",
        "f1_5_frames": "F1 within 5 frames",
        "precision": "precision",
        "recall": "recall",
    }
    rows = {
        "nearest": "nearest pairs",
        "straight": "straight lines",
        "decay": "speed decays by 2 % a frame",
        "trees": "boosted trees on these",
        "spiking": "spiking prediction unit",
        "ann": "prediction unit",
    }
    lines = [head("collisions in frames 96 to 127 [%]", *names.values())]
    lines += [
        line(text, *(_percent(results["rows"][name][key]) for key in names))
        for name, text in rows.items()
        if name in results["rows"]
    ]

    return "\n".join(lines)


def twins(results: Mapping[str, Any]) -> str:
    """Accuracy and cost of the hybrid, the ANN alone and the executor alone."""
    kinds = ("descriptive", "explanatory", "predictive", "counterfactual")
    lines = [head("per option / per question [%]", *kinds, "ms a program", "energy of a program [nJ]")]
    cost = results["cost of a program"]

    for where in ("from true scenes", "from pixels"):
        for who in ("hybrid", "ANN only", "executor only"):
            row = results[where][who]
            energy = f"{cost[who]['energy nJ']:,.0f}" if who in cost else "-"
            cells = [_both(row[kind]) if kind in row else "-" for kind in kinds]
            lines.append(line(f"{who}, {where}", *cells, f"{row['ms_a_program']:.2f}", energy))

    numbers = (results["from true scenes"]["num_videos"], results["from pixels"]["num_videos"])
    twin = results["twin"]
    lines.append(
        f"\n{numbers[0]} test videos from true scenes, {numbers[1]} from pixels; the ANN learned from "
        f"{twin['num_videos']} videos in {twin['process_minutes_with_drawing']:.1f} minutes of one core, one seed."
    )

    return "\n".join(lines)


def speed(results: Mapping[str, Any]) -> str:
    """Milliseconds a program, building included, and the gain of the engine."""
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
    """Right options under faults of the graph, and their share of those without faults."""
    rows = results["faults"]["rows"]
    graphs = list(dict.fromkeys(row["graph"] for row in rows))
    kinds = list(dict.fromkeys(row["fault"] for row in rows))
    by_fault = {(row["graph"], row["fault"]): row for row in rows}
    lines = [head("options right [%], share of clean", *graphs)]

    lines += [line(kind, *(_of_clean(by_fault[graph, kind]) for graph in graphs)) for kind in kinds]
    return "\n".join(lines)


def words(results: Mapping[str, Any]) -> str:
    """Questions in people's words: texts that are read, and choices that are judged rightly."""
    names = {"train": "training videos", "validation": "validation videos"}
    sets = {name: results[key] for key, name in names.items()}
    by_hand = [row["programs by hand"] for row in sets.values()]
    right = [counts["right"] + counts["refused rightly"] for counts in by_hand]
    totals = [sum(counts.values()) for counts in by_hand]
    lines = [head("people's questions [%]", *(f"{one['num_questions']}, {name}" for name, one in sets.items()))]
    lines.append(line("texts that are read", *(_percent(one["texts_read"]) for one in sets.values())))
    lines.append(line("questions that are read", *(_percent(one["questions_read"]) for one in sets.values())))
    lines.append(line("programs by hand: right", *(f"{a} of {b}" for a, b in zip(right, totals, strict=True))))
    lines.append(line("events that are seen", *(_percent(one["events_seen"]) for one in sets.values())))
    lines.append(line("right, per choice / per question", *(_both(one) for one in sets.values())))
    lines.append(line("the same, `strict`", *(_both(one["strict"]) for one in sets.values())))
    lines.append(line("the same, always wrong", *(_both(one["always_wrong"]) for one in sets.values())))

    return "\n".join(lines)


def _of_clean(row: Mapping[str, Any]) -> str:
    """Right options, and their share of those without faults; the row without faults has none."""
    share = f" ({row['percent_of_clean']:.0f} %)" if "percent_of_clean" in row else ""
    return f"{row['per_option']:.1f}{share}"


def draw() -> None:
    """Draws the figures of parallelism and of wrong events."""
    from spikebridge.analysis.plots.figures import to_svg

    figures = _figures_of_parallelism(_results("parallelism")) | _figures_of_wrong_events(_results("robustness"))
    for name, (figure, title) in figures.items():
        (IMAGES / f"reasoning-{name}.svg").write_text(to_svg(figure, title), encoding="utf-8")


def _figures_of_parallelism(results: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    """Time against the size of the scene and of the batch, with titles."""
    from spikebridge.analysis.plots.figures import accuracy_lines

    rows = results["growth_with_the_scene"]["rows"]
    times = {"graph: run": "run_ms", "graph: build": "build_ms", "executor": "executor_ms"}
    scene = accuracy_lines(
        [row["connections"] for row in rows],
        {name: [row[key] for row in rows] for name, key in times.items()},
        "connections of the graph (2 objects, 4 events to 128, 256)",
        "16 programs [ms]",
    )
    _set_logarithmic(scene, x=(1e3, 1e4, 1e5), y=(0.5, 1, 2, 5, 10, 20))
    figures = {"parallelism": (scene, "Time of 16 programs against the size of the scene; 21 steps always")}

    for key, number, time, title in (
        ("queries_about_one_video", "queries", "ms_a_query", "Time of a query against queries in the batch"),
        ("videos_with_building", "videos", "ms_a_video", "Time of a video, building included, against videos"),
    ):
        rows = results["growth_with_the_batch"][key]
        sizes = [row[number] for row in rows]
        figure = accuracy_lines(sizes, {"graph": [row[time] for row in rows]}, f"{number} in a batch", "each [ms]")
        _set_logarithmic(figure, x=sizes, y=(0.05, 0.1, 0.2, 0.5, 1, 2, 4))
        figures[number] = (figure, title)

    return figures


def _figures_of_wrong_events(results: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    """Right options against invented and missed collisions, with titles."""
    # the other rows change the distance, or have no rule
    rows = [row for row in results["rule"]["rows"] if isinstance(row["rule"], dict) and row["rule"]["near"] == 20.0]
    jolts = [row["rule"]["jolt"] for row in rows]
    rule = _right_options(jolts, rows, "change of both velocities that counts [px/sample]")
    _set_logarithmic(rule, x=jolts)
    figures = {"wrong-events": (rule, "Collisions by the rule, from invented ones to missed ones")}

    errors = results["errors"]["rows"]
    for kind in ("collisions missed", "collisions added"):
        # the first row has no errors
        rows = [errors[0], *(row for row in errors if row["error"] == kind)]
        figure = _right_options([100 * row.get("size", 0) for row in rows], rows, f"{kind} [%]")
        figures[kind.replace(" ", "-")] = (figure, kind.capitalize())

    return figures


def _right_options(x: Sequence[float], rows: Sequence[Mapping[str, Any]], title: str) -> Any:
    """A figure of the right options of graph and executor."""
    from spikebridge.analysis.plots.figures import accuracy_lines

    series = {name: [row[key]["per_option"] for row in rows] for key, name in ANSWERERS.items()}
    return accuracy_lines(x, series, title, "options right [%]")


def _set_logarithmic(figure: Any, x: Sequence[float], y: Sequence[float] = ()) -> None:
    """Makes the horizontal axis logarithmic, and the vertical one if it has marks."""
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
    "prediction": (prediction, "prediction"),
    "twins": (twins, "twins"),
    "speed": (speed, "parallelism"),
    "faults": (faults, "robustness"),
    "words": (words, "people_words"),
}


def main() -> int:
    """Writes the pages and the figures, or checks the pages."""
    tables = {name: make(_results(results)) for name, (make, results) in MAKERS.items()}
    return write_or_check(Path(__file__), __doc__, tables, draw)


if __name__ == "__main__":
    sys.exit(main())
