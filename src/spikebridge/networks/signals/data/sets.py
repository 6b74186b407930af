"""The series that the recipe trains on: the known sets, a file of the user's own, or generated gestures."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from spikebridge.data.signals.files import find_series, read_series
from spikebridge.data.signals.series import SensorSeries, make_series
from spikebridge.data.signals.splits import SeriesSplit, folds_of
from spikebridge.errors import ConfigError, DataError

_NAMES = ("circle", "shake", "push")


def load_series(dataset: str, data: Path | None = None) -> SensorSeries:
    """The series of a set.

    Args:
        dataset: `spoken_digits`, `myo`, `watch`, `own` or `generated`.
        data: the folder of data sets for a known one, or its file; the file or folder of an own one.

    Raises:
        ConfigError: a file for generated series, or none for own ones.
        DataError: the set is not there; the message names its source.
    """
    if dataset == "generated":
        if data is None:
            return generated_gestures()
        if data.is_dir():
            raise ConfigError(f"the run uses generated gestures and reads nothing from {data}; leave --data out")

    if dataset == "own":
        if data is None:
            raise ConfigError("a set of your own needs a file: --data my.npz (`spikebridge data check` checks one)")
        return read_series(data)

    if data is None or data.is_dir():
        return find_series(dataset, data)

    series = read_series(data)
    # series in the general form may be recordings of the same sensor; their rate and channels are checked where used
    if series.name not in (dataset, "own"):
        raise DataError(f"{data} holds the set {series.name!r}, but {dataset!r} is asked for")

    return series


def folds_of_set(series: SensorSeries, num_folds: int | None) -> list[SeriesSplit]:
    """The folds of a set, whole groups in each; `myo` has one of its own.

    The people of `myo` with a part 0 are trained on; the parts 2 and 3 of the others are scored. Their part 1 is what
    the armband recorded before.

    Args:
        series: all of them.
        num_folds: None leaves one group out at a time.
    """
    if series.name != "myo":
        return folds_of(series, num_folds)

    part = series.keys["part"]
    name = f"{len(np.unique(series.group[part > 1]))} people" if series.group is not None else "others"

    return [SeriesSplit(name, np.flatnonzero(part == 0), np.flatnonzero(part > 1), "group")]


def scored_series(series: SensorSeries) -> Int64[np.ndarray, " S"]:
    """The places of the series of a file that are scored: all, without part 1 of `myo`, which is recorded before."""
    return np.flatnonzero(series.keys["part"] != 1) if series.name == "myo" else np.arange(len(series))


def with_classes(series: SensorSeries, names: Sequence[str]) -> SensorSeries:
    """The same with labels as places in the classes of a network; plain numbers are taken as these places.

    Args:
        series: with labels.
        names: of the classes.

    Raises:
        DataError: no labels, or one that is no class.

    Example:
        >>> series = make_series([np.zeros(3)] * 2, 50, label=[1, 0])
        >>> with_classes(series, ["rest", "wave"]).label.tolist()
        [1, 0]
    """
    places = [str(place) for place in range(len(names))]
    if series.label is not None and not {*series.label_names} <= {*names} and {*series.label_names} <= {*places}:
        return replace(series.with_label_names(places), label_names=tuple(names))

    return series.with_label_names(names)


def generated_gestures(num_people: int = 6, num_each: int = 8, seed: int = 0) -> SensorSeries:
    """Series of three channels at 50 Hz, 2 s each: a circle, a shake or a push, as each person makes them.

    People differ in speed, strength and the angle at which they hold the sensor.

    Example:
        >>> series = generated_gestures()
        >>> len(series), series.num_channels, series.label_names
        (144, 3, ('circle', 'push', 'shake'))
    """
    generator = np.random.default_rng(seed)
    rate_hz = 50.0
    time = np.arange(round(2 * rate_hz)) / rate_hz
    made = []
    label = []
    group = []

    for person in range(num_people):
        speed, strength = np.exp(generator.normal(0, 0.2, 2))
        angle = generator.normal(0, 0.4)
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])

        for name in _NAMES:
            for _ in range(num_each):
                phase = 2 * np.pi * (speed * time + generator.random())
                flat = np.zeros_like(time)
                wave = {
                    "circle": [np.cos(phase), np.sin(phase), flat],
                    "shake": [np.cos(3 * phase), flat, flat],
                    "push": [np.maximum(np.sin(phase), 0) ** 3, flat, 0.5 * np.sin(phase)],
                }[name]

                noise = generator.normal(0, 0.3, (len(time), 3))
                made.append(strength * np.stack(wave, 1) @ turn.T + [0, 0, 1] + noise)
                label.append(name)
                group.append(f"person {person + 1}")

    return make_series(made, rate_hz, label, group, ("x", "y", "z"))
