"""Comparison of runs: results side by side, settings that differ, learning curves; differences in pairs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from spikebridge.analysis.learning_curves import Rows, learning_curves
from spikebridge.analysis.report import Section, Table
from spikebridge.errors import ConfigError, ShapeError

_MAX_ROWS = 400


@dataclass(frozen=True)
class RunRecord:
    """What a run folder holds, as plain values.

    Args:
        name: of the run, different for each.
        settings: nested, as in config.json.
        results: nested, as in results.json; None of a run that is not finished.
        environment: versions and machine.
        metrics: rows by training.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Any] | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Rows] = field(default_factory=dict)


def compare_runs(runs: Sequence[RunRecord]) -> list[Section]:
    """The sections of a report that compares runs.

    Args:
        runs: two or more, of different names.

    Raises:
        ConfigError: fewer than two runs, or two of one name.

    Example:
        >>> sections = compare_runs([RunRecord("a", {"lr": 0.1}, {"accuracy": 0.5}),
        ...                          RunRecord("b", {"lr": 0.2}, {"accuracy": 0.75})])
        >>> sections[0].tables[0].rows
        [{'result': 'accuracy', 'a': 0.5, 'b': 0.75, 'b − a': 0.25}]
        >>> sections[1].tables[0].rows
        [{'setting': 'lr', 'a': 0.1, 'b': 0.2}]
    """
    names = [run.name for run in runs]
    if len(runs) < 2 or len(set(names)) < len(names):
        raise ConfigError(
            f"a comparison needs two or more runs of different names, but got {', '.join(names) or 'none'}"
        )

    return [_results(runs), _settings(runs), _curves(runs), _environments(runs)]


def _results(runs: Sequence[RunRecord]) -> Section:
    unfinished = [run.name for run in runs if run.results is None]
    text = [f"Not finished, so without results: {', '.join(unfinished)}."] if unfinished else []
    numbers = {run.name: dict(flat_numbers(run.results or {})) for run in runs}
    paths = list(dict.fromkeys(path for found in numbers.values() for path in found))
    first, *others = [run.name for run in runs]
    rows = []

    for path in paths[:_MAX_ROWS]:
        row: dict[str, Any] = {"result": path} | {name: found.get(path) for name, found in numbers.items()}
        for other in others:
            a = row[first]
            b = row[other]
            row[f"{other} − {first}"] = None if a is None or b is None else b - a

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


def _differing(what: str, values: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each name whose values differ."""
    paths = dict.fromkeys(path for found in values.values() for path in found)
    rows = [{what: path} | {name: found.get(path) for name, found in values.items()} for path in paths]
    return [row for row in rows if any(row[name] != next(iter(list(row.values())[1:])) for name in values)]


def flat_numbers(results: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of nested results by path; a row of a table is named by its first text.

    Example:
        >>> list(flat_numbers({"networks": [{"network": "ann", "accuracy": 0.9}], "seeds": 2}))
        [('networks / ann / accuracy', 0.9), ('seeds', 2)]
    """
    for name, value in _flat(results, path, " / "):
        if isinstance(value, int | float) and not isinstance(value, bool):
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
    """The difference of two methods over the same seeds or people.

    Args:
        mean: of the differences.
        sd: their standard deviation; NaN for one pair.
        number: of pairs.
    """

    mean: float
    sd: float
    number: int

    def verdict(self, pairs: str = "seeds") -> str:
        """Whether the first method is ahead or behind; level where the mean is within two standard errors of zero.

        Args:
            pairs: what the pairs are, in words.

        Example:
            >>> PairedDifference(0.01, 0.002, 4).verdict(), PairedDifference(0.01, 0.02, 4).verdict()
            ('ahead', 'level')
            >>> paired_difference([0.5], [0.4]).verdict("people")
            'n/a (needs 2 people)'
        """
        if self.number < 2:
            return f"n/a (needs 2 {pairs})"
        if abs(self.mean) <= 2 * self.sd / self.number**0.5:
            return "level"

        return "ahead" if self.mean > 0 else "behind"

    def rounded(self, digits: int) -> tuple[float, float | None]:
        """Mean and standard deviation for a table; None for one pair."""
        return round(self.mean, digits), None if self.number < 2 else round(self.sd, digits)


def paired_difference(first: Sequence[float], second: Sequence[float]) -> PairedDifference:
    """The difference of two methods, pair by pair.

    Args:
        first, second: a score for each seed or person, in the same order.

    Raises:
        ShapeError: not the same number of scores, or none.

    Example:
        >>> paired_difference([0.5, 0.75], [0.25, 0.5])
        PairedDifference(mean=0.25, sd=0.0, number=2)
    """
    if len(first) != len(second) or not len(first):
        raise ShapeError(f"paired scores need the same seeds, but there are {len(first)} and {len(second)}.")

    difference = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    sd = float(difference.std(ddof=1)) if len(difference) > 1 else float("nan")

    return PairedDifference(float(difference.mean()), sd, len(difference))
