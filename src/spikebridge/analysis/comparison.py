"""Comparison of runs: results in columns, settings that differ, learning curves; differences in pairs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from spikebridge.analysis.learning_curves import Rows, learning_curves
from spikebridge.analysis.report import Section, Table
from spikebridge.data.io.records import is_plain_number
from spikebridge.errors import ConfigError, ShapeError

_MAX_ROWS = 400


@dataclass(frozen=True)
class RunRecord:
    """The content of a run folder as plain values."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Any] | None = None  # None for a run that is not finished
    environment: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Rows] = field(default_factory=dict)  # rows by training


def compare_runs(runs: Sequence[RunRecord]) -> list[Section]:
    """The sections of a report that compares two or more runs of different names."""
    names = [run.name for run in runs]
    if len(runs) < 2 or len(set(names)) < len(names):
        raise ConfigError(f"a comparison needs two or more runs of different names, but got {', '.join(names) or None}")

    return [_results(runs), _settings(runs), _curves(runs), _environments(runs)]


def _results(runs: Sequence[RunRecord]) -> Section:
    unfinished = [run.name for run in runs if run.results is None]
    text = [f"Not finished, so without results: {', '.join(unfinished)}."] if unfinished else []
    numbers = {run.name: dict(flat_numbers(run.results or {})) for run in runs}
    paths = list(dict.fromkeys(path for results in numbers.values() for path in results))
    # the other runs are compared with the first one
    first, *others = numbers
    rows = []

    for path in paths[:_MAX_ROWS]:
        row: dict[str, Any] = {"result": path} | {name: results.get(path) for name, results in numbers.items()}
        for other in others:
            is_paired = row[first] is not None and row[other] is not None
            row[f"{other} − {first}"] = row[other] - row[first] if is_paired else None

        rows.append(row)

    if len(paths) > _MAX_ROWS:
        text.append(f"{_MAX_ROWS} of {len(paths):,} numbers are shown.")

    if not rows:
        text.append("No run has a number among its results.")

    return Section("Results", text, [Table(rows)] if rows else [])


def _settings(runs: Sequence[RunRecord]) -> Section:
    rows = _differing("setting", {run.name: dict(_flat(run.settings)) for run in runs})
    return Section("Settings that differ", [] if rows else "All settings are equal.", [Table(rows)] if rows else [])


def _curves(runs: Sequence[RunRecord]) -> Section:
    return learning_curves({f"{run.name}: {name}": rows for run in runs for name, rows in run.metrics.items()})


def _environments(runs: Sequence[RunRecord]) -> Section:
    rows = _differing("environment", {run.name: dict(_flat(run.environment)) for run in runs})
    text = [] if rows else "All were made by equal versions on equal machines."
    return Section("Environment", text, [Table(rows)] if rows else [])


def _differing(title: str, runs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each name whose values differ."""
    rows = []
    for path in dict.fromkeys(path for values in runs.values() for path in values):
        values = {name: values.get(path) for name, values in runs.items()}
        first, *others = values.values()
        if any(other != first for other in others):
            rows.append({title: path, **values})

    return rows


def flat_numbers(results: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of nested results by path; a row of a table is named by its first text."""
    for name, value in _flat(results, path, " / "):
        if is_plain_number(value):
            yield name, value


def _flat(value: Any, path: str = "", between: str = ".") -> Iterator[tuple[str, Any]]:
    """Plain values by path."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _flat(item, f"{path}{between}{name}" if path else str(name), between)
    elif isinstance(value, list | tuple) and value and all(isinstance(item, Mapping) for item in value):
        for number, row in enumerate(value):
            text = next((item for item in row.values() if isinstance(item, str)), str(number))
            rest = {name: item for name, item in row.items() if item is not text}
            yield from _flat(rest, f"{path}{between}{text}" if path else text, between)
    elif isinstance(value, list | tuple):
        yield path, ", ".join(str(item) for item in value)
    else:
        yield path, value


class PairedDifference(NamedTuple):
    """The difference of two methods over the same seeds or people."""

    mean: float
    sd: float  # NaN for one pair
    number: int  # of pairs

    def verdict(self, pairs: str = "seeds") -> str:
        """ "ahead" or "behind" for the first method; "level" if the mean is within two standard errors of 0."""
        if self.number < 2:
            return f"n/a (needs 2 {pairs})"
        if abs(self.mean) <= 2 * self.sd / self.number**0.5:
            return "level"

        return "ahead" if self.mean > 0 else "behind"

    def rounded(self, digits: int) -> tuple[float, float | None]:
        """Mean and standard deviation for a table; None for one pair."""
        return round(self.mean, digits), None if self.number < 2 else round(self.sd, digits)


def paired_difference(first: Sequence[float], second: Sequence[float]) -> PairedDifference:
    """The difference of two methods, from scores of the same seeds or people in the same order."""
    if len(first) != len(second) or not len(first):
        raise ShapeError(f"paired scores need the same seeds, but there are {len(first)} and {len(second)}.")

    difference = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    sd = float(difference.std(ddof=1)) if len(difference) > 1 else float("nan")

    return PairedDifference(float(difference.mean()), sd, len(difference))
