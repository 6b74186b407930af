"""The report of a sweep: its table, a figure, the cells that failed, and the command."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from spikebridge.analysis.plots.figures import accuracy_bars, accuracy_lines
from spikebridge.analysis.plots.style import to_svg
from spikebridge.analysis.report import Picture, Section, Table, write_report
from spikebridge.data.io.atomic import write_text
from spikebridge.data.io.closed_folder import inside
from spikebridge.recipes.sweep.table import CellResult, Objective

_MAX_BARS = 40


def write_sweep_report(
    folder: Path,
    recipe: str,
    objective: Objective,
    table: Sequence[Mapping[str, Any]],
    cells: Sequence[CellResult],
    command: str,
) -> None:
    """Writes figure.svg and report.html into the folder of a sweep; `command` makes the same sweep."""
    best = next((index for index, row in enumerate(table) if row["best"]), None)
    pictures = []
    if svg := _figure(objective, cells):
        write_text(inside(folder, "figure.svg"), svg)
        pictures = [Picture(svg, f"{objective.metric} of each cell, with means and one standard deviation")]

    failed = [{"cell": cell.name, "error": cell.error} for cell in cells if cell.state == "failed"]
    sections = [Section("Settings", tables=[Table(table, marked=[] if best is None else [best])], pictures=pictures)]
    sections += [Section("Failed cells", tables=[Table(failed)])] if failed else []
    facts = {"cells": len(cells), "seconds of training": round(sum(cell.seconds for cell in cells), 1)}
    lead = "" if best is None else _lead(objective, table[best], cells)

    write_report(inside(folder, "report.html"), f"Sweep of {recipe}", sections, facts, command, lead)


def _lead(objective: Objective, best: Mapping[str, Any], cells: Sequence[CellResult]) -> str:
    """The sentence about the best settings."""
    settings = next(cell.settings for cell in cells if cell.settings.items() <= best.items())
    words = ", ".join(f"{name} = {value}" for name, value in settings.items()) or "the preset"
    direction = "highest" if objective.maximize else "lowest"
    return f"Best: {words}, with {objective.metric} {best[objective.metric]:.4g} ({direction})."


def _figure(objective: Objective, cells: Sequence[CellResult]) -> str:
    """Bars with the seeds of each combination; of many, a line with the best so far. Empty without values."""
    scores: dict[str, list[float]] = {}
    for cell in cells:
        if cell.state == "finished":
            name = ", ".join(f"{key} {value}" for key, value in cell.settings.items()) or "preset"
            scores.setdefault(name, []).append(objective.value(cell.metrics, "the results"))

    if not scores:
        return ""
    if len(scores) <= _MAX_BARS:
        return to_svg(accuracy_bars(scores, objective.metric))

    values = [value for several in scores.values() for value in several]
    best_so_far = list(accumulate(values, max if objective.maximize else min))
    series = {"best so far": best_so_far, "cell": values}

    return to_svg(accuracy_lines(list(range(1, len(values) + 1)), series, "cells", objective.metric))
