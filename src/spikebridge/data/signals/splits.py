"""Splits of series into training and test: by group (a person, a device) where groups are given.

A random split puts recordings of one person on both sides. It flatters: the network is then tested on voices and wrists
that it was trained on. So a random split is made only without groups, and with a warning.
"""

import warnings
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int64

from spikebridge.data.signals.series import SensorSeries
from spikebridge.errors import ConfigError


class SeriesSplit(NamedTuple):
    """One division of series: places of the series to train on, and of those to test on."""

    name: str  # names of the tested groups, or the number of the fold
    train: Int64[np.ndarray, " A"]
    test: Int64[np.ndarray, " B"]
    by: Literal["group", "random"]


def group_folds(series: SensorSeries, num_folds: int | None = None) -> list[SeriesSplit]:
    """Folds in which no group is on both sides.

    Args:
        series: with groups.
        num_folds: each tests on its share of the groups; None leaves one group out at a time.

    Raises:
        ConfigError: no groups are given, or fewer groups than folds.

    Example:
        >>> from spikebridge.data.signals.series import make_series
        >>> series = make_series([np.zeros((3, 1))] * 4, rate_hz=50, group=["anna", "ben", "anna", "cleo"])
        >>> [(fold.name, fold.test.tolist()) for fold in group_folds(series)]
        [('anna', [0, 2]), ('ben', [1]), ('cleo', [3])]
    """
    groups = series.groups
    if series.group is None or len(groups) < 2:
        count = "none are given" if series.group is None else f"there is only {series.group_names[groups[0]]!r}"
        remedy = "give `group`, or split at random, which says nothing about unseen people"
        raise ConfigError(f"a split by group needs two groups or more, but {count}; {remedy}")

    num_folds = len(groups) if num_folds is None else num_folds
    if not 2 <= num_folds <= len(groups):
        raise ConfigError(f"{len(groups)} groups allow 2 to {len(groups)} folds, but {num_folds} are asked for")

    folds = []
    for fold in range(num_folds):
        held_out = groups[fold::num_folds]
        is_test = np.isin(series.group, held_out)
        name = ", ".join(series.group_names[group] for group in held_out)
        folds.append(SeriesSplit(name, np.flatnonzero(~is_test), np.flatnonzero(is_test), "group"))

    return folds


def random_folds(series: SensorSeries, num_folds: int = 5, seed: int = 0) -> list[SeriesSplit]:
    """Folds at random with equal shares of every class. They say nothing about people who are not in the data."""
    if not 2 <= num_folds <= len(series):
        raise ConfigError(f"{len(series)} series allow 2 to {len(series)} folds, but {num_folds} are asked for")

    order = np.random.default_rng(seed).permutation(len(series))
    # sorted by class, folds that take every n-th series share each class
    if series.label is not None:
        order = order[np.argsort(series.label[order], kind="stable")]

    fold_of = np.empty(len(series), np.int64)
    fold_of[order] = np.arange(len(series)) % num_folds

    return [
        SeriesSplit(str(fold), np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold), "random")
        for fold in range(num_folds)
    ]


def folds_of(series: SensorSeries, num_folds: int | None = None, seed: int = 0) -> list[SeriesSplit]:
    """Folds by group where there are two groups or more, else at random with a warning.

    Args:
        series: with or without groups.
        num_folds: None leaves one group out at a time, or makes 5 folds at random.
        seed: draws a random order.

    Raises:
        ConfigError: more folds than groups or series.

    Example:
        >>> from spikebridge.data.signals.series import make_series
        >>> folds_of(make_series([np.zeros((3, 1))] * 2, rate_hz=50, group=[1, 2]))[0].by
        'group'
    """
    if len(series.groups) >= 2:
        return group_folds(series, num_folds)

    reason = "no groups are given" if series.group is None else "there is one group only"
    warnings.warn(
        f"{reason}, so the series are split at random: recordings of one person may be on both sides, and the accuracy "
        "says nothing about unseen people.",
        stacklevel=2,
    )

    return random_folds(series, 5 if num_folds is None else num_folds, seed)
