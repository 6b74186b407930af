"""The report of a sweep: its table, a figure, the cells that failed, and the command."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from spikebridge.analysis.plots.figures import accuracy_bars, accuracy_lines
from spikebridge.analysis.plots.style import to_svg
from spikebridge.analysis.report import Picture, Section, Table, write_report
from spikebridge.cli.sweep.table import CellResult, Objective
from spikebridge.data.io.atomic import write_text

_MOST_ROWS = 40  # of a figure


def write_sweep_report(
    folder: Path,
    recipe: str,
    objective: Objective,
    table: Sequence[Mapping[str, Any]],
    cells: Sequence[CellResult],
    command: str,
) -> None:
    """Writes figure.svg and report.html.

    Args:
        folder: of the sweep.
        recipe: its name.
        objective: what makes a cell the best.
        table: a row for each combination of settings.
        cells: all of them.
        command: that makes the same sweep.
    """
    best = next((index for index, row in enumerate(table) if row["best"]), None)
    pictures = []
    if svg := _figure(objective, cells):
        write_text(folder / "figure.svg", svg)
        pictures = [Picture(svg, f"{objective.metric} of each cell, with means and one standard deviation")]

    lead = ""
    if best is not None:
        settings = next(cell.settings for cell in cells if _is_of(cell, table[best]))
        words = ", ".join(f"{name} = {value}" for name, value in settings.items()) or "the preset"
        mean = table[best][objective.metric]
        direction = "highest" if objective.maximize else "lowest"
        lead = f"Best: {words}, with {objective.metric} {mean:.4g} ({direction})."

    failed = [{"cell": cell.name, "error": cell.error} for cell in cells if cell.state == "failed"]
    sections = [Section("Settings", tables=[Table(table, marked=[] if best is None else [best])], pictures=pictures)]
    sections += [Section("Failed cells", tables=[Table(failed)])] if failed else []
    facts = {"cells": len(cells), "seconds of training": round(sum(cell.seconds for cell in cells), 1)}
    write_report(folder / "report.html", f"Sweep of {recipe}", sections, facts, command, lead)


def _is_of(cell: CellResult, row: Mapping[str, Any]) -> bool:
    return all(row.get(name) == value for name, value in cell.settings.items())


def _figure(objective: Objective, cells: Sequence[CellResult]) -> str:
    """Means and seeds of each combination; of many, the value of each and the best so far. Empty without values."""
    scores: dict[str, list[float]] = {}
    for cell in cells:
        if cell.state == "finished":
            name = ", ".join(f"{key} {value}" for key, value in cell.settings.items()) or "preset"
            scores.setdefault(name, []).append(objective.value(cell.metrics, "the results"))

    if not scores:
        return ""

    if len(scores) > _MOST_ROWS:
        values = [value for several in scores.values() for value in several]
        so_far = list(accumulate(values, max if objective.maximize else min))
        numbers = list(range(1, len(values) + 1))
        series = {"best so far": so_far, "cell": values}

        return to_svg(accuracy_lines(numbers, series, "cells", objective.metric))

    return to_svg(accuracy_bars(scores, objective.metric))
