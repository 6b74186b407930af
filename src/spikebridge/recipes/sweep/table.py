"""The table of a sweep: numbers in the results of its cells, a row for each combination of settings, the best one."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any, Literal

from spikebridge.data.io.records import is_plain_number
from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.recipes.sweep.grid import Cell


@dataclass(frozen=True)
class CellResult:
    """A cell at the end of a sweep: settings as typed, numbers of its results by name, and the time it took [s].

    The times are 0 where a cell was finished before they were kept.
    """

    name: str
    settings: dict[str, str]
    seed: int | None
    state: Literal["finished", "failed", "pruned"]
    metrics: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    seconds: float = 0.0
    cpu_seconds: float = 0.0


def result_of(cell: Cell, results: Mapping[str, Any] | None = None, error: str | None = None) -> CellResult:
    """A cell that is finished with these results, or failed."""
    metrics = {} if results is None else metrics_of(results)
    return CellResult(cell.name, cell.settings, cell.seed, "failed" if results is None else "finished", metrics, error)


@dataclass(frozen=True)
class Objective:
    """A number in the results whose highest or lowest value is the best.

    The last words of its name are enough: `learned.accuracy` stands for "networks.learned.accuracy %".
    """

    metric: str
    maximize: bool = True

    def value(self, metrics: Mapping[str, float], where: str) -> float:
        """The metric of a cell; a `ConfigError` if it is not there, or if the name fits several."""
        # a whole name goes before the end of a longer one
        wanted = _plain_name(self.metric)
        names = [name for name in metrics if _plain_name(name) == wanted]
        if len(names) != 1:
            names = [name for name in metrics if f" {_plain_name(name)}".endswith(f" {wanted}")]
        if len(names) == 1:
            return metrics[names[0]]
        if names:
            raise ConfigError(f"{where} have several {self.metric!r}: {', '.join(names)}; name one of them")

        last_parts = dict.fromkeys(_plain_name(name.rpartition(".")[2]) for name in metrics)
        raise ConfigError(f"{where} have no number {self.metric!r}; {did_you_mean(self.metric, last_parts)}")


def metrics_of(results: Mapping[str, Any]) -> dict[str, float]:
    """Every number in the results of a run, by the last part of its name where that names one alone.

    A row of a table has the first word in it as its name.
    """
    numbers = dict(_numbers(results, ()))
    last = [path[-1] for path in numbers]

    return {path[-1] if last.count(path[-1]) == 1 else ".".join(path): value for path, value in numbers.items()}


def first_objective(cells: Iterable[CellResult]) -> Objective | None:
    """The first number in the results, where the user names none; None without results."""
    return next((Objective(next(iter(cell.metrics))) for cell in cells if cell.metrics), None)


def summarize_cells(cells: Sequence[CellResult], objective: Objective) -> list[dict[str, Any]]:
    """A row for each combination of settings: mean and spread over its seeds, the best one marked."""
    groups: dict[tuple[str, ...], list[CellResult]] = {}
    for cell in cells:
        groups.setdefault(tuple(cell.settings.values()), []).append(cell)

    values = [_values(group, objective) for group in groups.values()]
    rows = [_row(group, objective.metric, one) for group, one in zip(groups.values(), values, strict=True)]
    if not any(row["failed"] for row in rows):
        for row in rows:
            del row["failed"]

    # not from the rows, where a metric may have the name of another column
    means = [fmean(one) if one else None for one in values]
    best = (max if objective.maximize else min)((mean for mean in means if mean is not None), default=None)

    return [
        {**row, "best": "*" if mean is not None and mean == best else ""} for row, mean in zip(rows, means, strict=True)
    ]


def _values(group: Sequence[CellResult], objective: Objective) -> list[float]:
    return [objective.value(cell.metrics, f"the results of {cell.name}") for cell in group if cell.state == "finished"]


def _row(group: Sequence[CellResult], metric: str, values: Sequence[float]) -> dict[str, Any]:
    """The cells of one combination of settings, with the metric of those that are finished."""
    return {
        **group[0].settings,
        "cells": len(values),
        metric: fmean(values) if values else None,
        "sd": stdev(values) if len(values) > 1 else None,
        "lowest": min(values, default=None),
        "highest": max(values, default=None),
        "seconds": fmean(cell.seconds for cell in group if cell.state == "finished") if values else None,
        "failed": len(group) - len(values),
    }


def _numbers(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    if is_plain_number(value):
        yield path, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _numbers(inner, (*path, str(name)))
    elif isinstance(value, list | tuple):
        for number, row in enumerate(value):
            if isinstance(row, Mapping):
                name = next((one for one in row.values() if isinstance(one, str)), str(number))
                yield from _numbers(row, (*path, name))


def _plain_name(name: str) -> str:
    """A name without units and signs, in small letters."""
    return re.sub(r"\W+", " ", name).strip().lower()
