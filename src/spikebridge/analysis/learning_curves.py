"""Learning curves of trainings from the rows of their metrics: a figure a metric, training beside validation."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikebridge.analysis.plots.figures import accuracy_lines, to_svg
from spikebridge.analysis.report import Picture, Section
from spikebridge.errors import is_number

Rows: TypeAlias = Sequence[Mapping[str, Any]]
_PLACES = ("epoch", "task", "step")
# the learning rate is a setting
_NO_METRICS = {*_PLACES, "kind", "phase", "seconds", "lr"}
_VALIDATION = "validation/"
_HEADING = "Learning curves"
_MAX_FIGURES = 8
_MAX_LINES = 8


def learning_curves(trainings: Mapping[str, Rows], order: Sequence[str] = ()) -> Section:
    """A figure for each metric, with a line for each network: mean and standard deviation over its seeds.

    The rows of trainings "learned/seed-0" and "learned/seed-1" make one line. A metric "validation/loss" is dashed in
    the figure of "loss". With the `order` of a report's networks each has the colour of the other figures.
    """
    groups: dict[str, list[Rows]] = {}
    for name, rows in trainings.items():
        if rows:
            groups.setdefault(_without_seed(name), []).append(_whole_epochs(rows))

    groups = {name: groups[name] for name in [*(name for name in order if name in groups), *groups]}
    every = dict.fromkeys(key for seeds in groups.values() for rows in seeds for key in _metrics(rows))
    # validation stands with the same metric of the training
    metrics = [
        name for name in every if name.removeprefix(_VALIDATION) == name or name.removeprefix(_VALIDATION) not in every
    ]
    pictures = [_figure(metric, groups, order) for metric in metrics[:_MAX_FIGURES]]
    if not pictures:
        return Section(_HEADING, "No metrics were recorded.")

    text = ["Means over seeds; bands are one standard deviation."] if any(len(s) > 1 for s in groups.values()) else []
    if len(metrics) > _MAX_FIGURES:
        text.append(f"{_MAX_FIGURES} of {len(metrics)} metrics are shown; all of them are in metrics.jsonl.")

    if len(groups) > _MAX_LINES:
        text.append(f"{_MAX_LINES} of {len(groups)} trainings are shown.")

    return Section(_HEADING, text, pictures=pictures)


def _whole_epochs(rows: Rows) -> Rows:
    """The rows of epochs or tasks, if there are any; else those of steps."""
    return [row for row in rows if row.get("kind") != "step"] or list(rows)


def _without_seed(name: str) -> str:
    """The name of a training without its seed and fold."""
    return re.sub(r"(^|/)((seed|fold)-\d+-?)+(?=/|$)", "", name).strip("/") or name


def _metrics(rows: Rows) -> Iterable[str]:
    names = (name for row in rows for name, value in row.items() if is_number(value) and name not in _NO_METRICS)
    # one of a group of parameters is "lr/NAME"
    return (name for name in names if not name.startswith("lr/"))


def _figure(metric: str, groups: Mapping[str, Sequence[Rows]], order: Sequence[str]) -> Picture:
    measured = dict(list(_with_metric(metric, groups).items())[:_MAX_LINES])
    validated = {name: measured[name] for name in _with_metric(_VALIDATION + metric, measured)}
    length = max(len(rows) for seeds in measured.values() for rows in seeds)
    series = {name: _values(metric, seeds, length) for name, seeds in measured.items()}
    validation = {name: _values(_VALIDATION + metric, seeds, length) for name, seeds in validated.items()}
    first = next(iter(measured.values()))[0][0]
    place = next((name for name in _PLACES if name in first), "row")
    figure = accuracy_lines(np.arange(1, length + 1), series, place, metric, order or list(groups), validation)

    return Picture(to_svg(figure, f"{metric} against {place}"), metric)


def _with_metric(metric: str, groups: Mapping[str, Sequence[Rows]]) -> dict[str, Sequence[Rows]]:
    """The networks that recorded a metric."""
    return {name: seeds for name, seeds in groups.items() if any(metric in row for rows in seeds for row in rows)}


def _values(metric: str, seeds: Sequence[Rows], length: int) -> NDArray[np.float64]:
    """The values of a metric, `(length, seeds)`; NaN if a row has no number or a training ended earlier."""
    values = np.full((length, len(seeds)), np.nan)
    for column, rows in enumerate(seeds):
        for place, row in enumerate(rows):
            value = row.get(metric)
            # a loss that diverged is a gap in the line
            if is_number(value) and np.isfinite(value):
                values[place, column] = value

    return values
