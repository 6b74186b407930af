"""What came of a sweep: numbers in the results of its cells, a row for each combination of settings, the best one."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any, Literal

from spikebridge.errors import ConfigError, did_you_mean

State = Literal["finished", "failed", "pruned"]


@dataclass(frozen=True)
class CellResult:
    """A cell at the end of a sweep.

    Attributes:
        name: of its run folder.
        settings: names and values as typed.
        seed: None for that of the preset.
        state: how it ended.
        metrics: numbers of its results by name.
        error: one line, where it failed.
        seconds, cpu_seconds: of its training; 0 where it was finished before the times were kept.
    """

    name: str
    settings: dict[str, str]
    seed: int | None
    state: State
    metrics: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    seconds: float = 0.0
    cpu_seconds: float = 0.0


@dataclass(frozen=True)
class Objective:
    """What makes a cell the best.

    Attributes:
        metric: its name, or the last words of it, without units: `learned.accuracy` stands for
            "networks.learned.accuracy %".
        maximize: whether the highest value is the best, else the lowest.
    """

    metric: str
    maximize: bool = True

    def value(self, metrics: Mapping[str, float], where: str) -> float:
        """The metric of a cell.

        Raises:
            ConfigError: it is not there, or several are meant.

        Example:
            >>> Objective("accuracy").value({"accuracy %": 90.0, "loss": 0.3}, "the results")
            90.0
        """
        wanted = _plain_name(self.metric)
        found = {name: value for name, value in metrics.items() if f" {_plain_name(name)}".endswith(f" {wanted}")}
        exact = [value for name, value in found.items() if _plain_name(name) == wanted]
        if len(exact) == 1:
            return exact[0]
        if len(found) == 1:
            return next(iter(found.values()))
        if found:
            raise ConfigError(f"{where} have several {self.metric!r}: {', '.join(found)}; name one of them")

        known = list(dict.fromkeys(map(_last, metrics)))
        raise ConfigError(f"{where} have no number {self.metric!r}; {did_you_mean(self.metric, known)}")

    def best(self, values: Iterable[float]) -> float:
        """The best of some values."""
        return max(values) if self.maximize else min(values)


def metrics_of(results: Mapping[str, Any]) -> dict[str, float]:
    """Every number in the results of a run, by the last part of its name where that names one alone.

    A row of a table has the first word in it as its name.

    Example:
        >>> metrics_of({"table": [{"network": "ann", "accuracy %": 90.0, "sd": None}], "seed": 3})
        {'accuracy %': 90.0, 'seed': 3}
        >>> metrics_of({"table": [{"network": "ann", "px": 2.0}, {"network": "snn", "px": 3.0}]})
        {'table.ann.px': 2.0, 'table.snn.px': 3.0}
    """
    found = dict(_numbers(results, ()))
    last = [path[-1] for path in found]

    return {path[-1] if last.count(path[-1]) == 1 else ".".join(path): value for path, value in found.items()}


def first_objective(cells: Iterable[CellResult]) -> Objective | None:
    """The first number in the results, where the user names none; None without results."""
    return next((Objective(next(iter(cell.metrics))) for cell in cells if cell.metrics), None)


def summarize_cells(cells: Sequence[CellResult], objective: Objective) -> list[dict[str, Any]]:
    """A row for each combination of settings: mean and spread over its seeds, the best one marked.

    Raises:
        ConfigError: a finished cell has no such metric.

    Example:
        >>> cells = [
        ...     CellResult(f"{lr}-{seed}", {"lr": lr}, seed, "finished", {"accuracy": a})
        ...     for lr, seed, a in [("0.1", 0, 80.0), ("0.1", 1, 84.0), ("0.2", 0, 70.0), ("0.2", 1, 70.0)]
        ... ]
        >>> for row in summarize_cells(cells, Objective("accuracy")):
        ...     print(row["lr"], row["cells"], row["accuracy"], round(row["sd"], 3), row["best"])
        0.1 2 82.0 2.828 *
        0.2 2 70.0 0.0
    """
    groups: dict[tuple[str, ...], list[CellResult]] = {}
    for cell in cells:
        groups.setdefault(tuple(cell.settings.values()), []).append(cell)

    means: list[float | None] = []
    rows = []

    for group in groups.values():
        finished = [cell for cell in group if cell.state == "finished"]
        values = [objective.value(cell.metrics, f"the results of {cell.name}") for cell in finished]
        means.append(fmean(values) if values else None)

        rows.append(
            {
                **group[0].settings,
                "cells": len(finished),
                objective.metric: means[-1],
                "sd": stdev(values) if len(values) > 1 else None,
                "lowest": min(values, default=None),
                "highest": max(values, default=None),
                "seconds": fmean(cell.seconds for cell in finished) if finished else None,
                "failed": len(group) - len(finished),
            }
        )

    if not any(row["failed"] for row in rows):
        for row in rows:
            del row["failed"]

    there = [mean for mean in means if mean is not None]
    best = objective.best(there) if there else None

    return [
        {**row, "best": "*" if mean is not None and mean == best else ""} for row, mean in zip(rows, means, strict=True)
    ]


def _numbers(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    if isinstance(value, int | float) and not isinstance(value, bool):
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


def _last(name: str) -> str:
    """The last part of a name."""
    return _plain_name(name.rpartition(".")[2])
