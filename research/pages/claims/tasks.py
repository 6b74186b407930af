"""Accuracy and memory of networks that learn many tasks."""

import json
from typing import Any

from research.pages.claims.results import Results, load, number, percentage, save_figure, spread_over
from research.pages.made_page import result_file, table, table_of

MODES = {"inferred": "a Gaussian a task", "nearest": "nearest gate", "direct": "gate of 20 images", "given": "given"}
RIVALS = {
    "hmn": "hybrid network, C = 2000",
    "xdg_ewc": "XdG with EWC, C = 2000",
    "ann_ewc": "one ANN with EWC, 400 wide",
    "snn_ewc": "one SNN with EWC, 400 wide",
}
NUM_TASKS = 40


def _rows() -> list[Results]:
    """Accuracy and memory by method, width, tasks and the way in which the task is found."""
    rows: list[Results] = load("networks/task_scaling")["rows"]
    return rows


def _separate_networks() -> Results:
    """The largest of the networks that learn one task each."""
    return max((row for row in _rows() if row["method"] == "single"), key=lambda row: int(row["width"]))


def _share_of_separate(row: Results) -> float:
    """The stored numbers of a row, divided by those of separate networks for as many tasks."""
    separate = _separate_networks()
    return float(row["stored"] / (row["tasks"] * separate["stored"] / separate["tasks"]))


def scaling() -> str:
    """Accuracy and stored numbers of the hybrid network against the number of tasks."""
    ceiling = _separate_networks()["accuracy"]["mean"]
    return table_of(
        [row for row in _rows() if row["method"] == "hmn" and row["mode"] != "given"],
        {
            "C": lambda row: str(row["width"]),
            "tasks": lambda row: str(row["tasks"]),
            "task found by": lambda row: MODES[row["mode"]],
            "seeds": lambda row: str(len(row["accuracy"]["values"])),
            "accuracy [%]": lambda row: percentage(row["accuracy"]),
            "of separate networks [%]": lambda row: number(100 * row["accuracy"]["mean"] / ceiling, 1),
            "stored numbers [million]": lambda row: f"{row['stored'] / 1e6:.2f}",
            "of separate networks": lambda row: number(_share_of_separate(row)),
        },
    )


def rivals() -> str:
    """Accuracy and memory of other methods, at the largest number of tasks that each has learned."""
    cells = json.loads(result_file("modulation/methods").read_text(encoding="utf-8"))["digits"]["cells"]
    rows = []

    for method, words in RIVALS.items():
        seeds = cells[method]
        memory = seeds[0]["memory"]
        # a number has 32 bits
        a_task = memory["table bits a task"] / 32 + memory.get("numbers a task", 0)
        stored = memory["branch"] + memory["backbone"] + NUM_TASKS * a_task
        accuracy = spread_over([100 * seed["acc"] for seed in seeds])
        needs_number = "yes" if method == "xdg_ewc" else "no"
        rows.append((words, needs_number, str(len(seeds)), accuracy, f"{stored / 1e6:.2f}"))

    separate = sorted((row for row in _rows() if row["method"] == "single"), key=lambda row: -row["width"])
    rows += [
        (
            f"a network a task, {row['width']} wide",
            "yes",
            str(len(row["accuracy"]["values"])),
            percentage(row["accuracy"]),
            f"{row['stored'] / 1e6:.2f}",
        )
        for row in separate
    ]

    titles = ("needs the task's number", "seeds", "accuracy [%]", "stored numbers [million]")
    return table((f"{NUM_TASKS} tasks", *titles), rows)


def draw_memory() -> None:
    """Stored numbers against tasks, by the sizes of networks that were trained."""
    from spikebridge.analysis.plots.figures import accuracy_lines

    counts = [10, 40, 100, 200, 400]
    sizes: dict[tuple[str, int], Any] = {}
    for row in load("networks/task_scaling")["chains"]:
        sizes.setdefault((row["chain"]["method"], row["chain"]["width"]), row["parameters"])

    series: dict[str, list[float]] = {}
    for (method, width), size in sizes.items():
        if method == "hmn":
            fixed = size["network"] + size["backbone"]
            gates = size["table_a_task"]
            gaussians = gates + size["prototype_a_task"]
            series[f"hybrid, C = {width}, nearest gate"] = [fixed + count * gates for count in counts]
            series[f"hybrid, C = {width}, a Gaussian a task"] = [fixed + count * gaussians for count in counts]
        elif method == "single":
            series[f"a network a task, {width} wide"] = [count * size["network"] for count in counts]

    figure = accuracy_lines(counts, series, "tasks", "stored numbers")
    figure.axes[0].set(xscale="log", yscale="log")
    save_figure("tasks", figure)


def verdict() -> tuple[str, str]:
    """Claim and verdict."""
    inferred = [row for row in _rows() if row["mode"] == "inferred"]
    largest = max(inferred, key=lambda row: (row["tasks"], row["width"]))
    separate = _separate_networks()
    kept = 100 * largest["accuracy"]["mean"] / separate["accuracy"]["mean"]

    return (
        "Parameters a task fall with the number of tasks",
        f"partly: {largest['tasks']} tasks in one network of C = {largest['width']} keep {kept:.0f} % of the accuracy "
        f"of separate networks of {separate['width']} neurons with {_share_of_separate(largest):.2f} of their "
        "numbers; small separate networks need fewer still",
    )


TABLES = {"tasks": scaling, "rivals": rivals}
FIGURES = (draw_memory,)
