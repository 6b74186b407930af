"""Series that the recipe trains on: the known sets, a file of the user's own, or generated gestures."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from spikebridge.data.signals.arrays import KNOWN_SETS
from spikebridge.data.signals.files import find_series, read_series
from spikebridge.data.signals.series import SensorSeries, make_series
from spikebridge.data.signals.splits import SeriesSplit, folds_of
from spikebridge.errors import ConfigError, DataError


class _SetForm(NamedTuple):
    """Rate [Hz], channels and classes of a set."""

    rate_hz: float
    num_channels: int
    num_classes: int


_NUM_CLASSES = {"spoken_digits": 10, "myo": 7, "watch": 7}
# so that a network is built without its data
FORMS = {"generated": _SetForm(50.0, 3, 3)} | {
    known.name: _SetForm(float(known.rate_hz), known.num_channels, _NUM_CLASSES[known.name])
    for known in KNOWN_SETS
    if known.name in _NUM_CLASSES
}
_GESTURES = ("circle", "shake", "push")


def load_series(dataset: str, data: Path | None = None) -> SensorSeries:
    """The series of a set."""
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
    # a file of one's own may be a recording of the same sensor; its rate and channels are checked where it is used
    if series.name not in (dataset, "own"):
        raise DataError(f"{data} holds the set {series.name!r}, but {dataset!r} is asked for")

    return series


def folds_of_set(series: SensorSeries, num_folds: int | None) -> list[SeriesSplit]:
    """The folds of a set, whole groups in each; `myo` has one of its own."""
    if series.name != "myo":
        return folds_of(series, num_folds)

    # people with a part 0 are trained on; the others' part 1 is the armband's past, and their parts 2 and 3 are scored
    part = series.keys["part"]
    name = f"{len(np.unique(series.group[part > 1]))} people" if series.group is not None else "others"

    return [SeriesSplit(name, np.flatnonzero(part == 0), np.flatnonzero(part > 1), "group")]


def scored_series(series: SensorSeries) -> Int64[np.ndarray, " S"]:
    """Places of the series of a file that are scored: all, but for `myo` without part 1, the armband's past."""
    return np.flatnonzero(series.keys["part"] != 1) if series.name == "myo" else np.arange(len(series))


def with_classes(series: SensorSeries, names: Sequence[str]) -> SensorSeries:
    """Series whose labels are places in the classes of a network; labels that are numbers are these places."""
    places = [str(place) for place in range(len(names))]
    if series.label is not None and not {*series.label_names} <= {*names} and {*series.label_names} <= {*places}:
        return replace(series.with_label_names(places), label_names=tuple(names))

    return series.with_label_names(names)


def generated_gestures(num_people: int = 6, num_each: int = 8, seed: int = 0) -> SensorSeries:
    """Gestures of 2 s in three channels at 50 Hz; people differ in speed, strength and the angle of the sensor."""
    generator = np.random.default_rng(seed)
    rate_hz = 50.0
    time = np.arange(round(2 * rate_hz)) / rate_hz
    samples = []
    label = []
    group = []

    for person in range(num_people):
        speed, strength = np.exp(generator.normal(0, 0.2, 2))
        angle = generator.normal(0, 0.4)
        rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])

        for name in _GESTURES:
            for _ in range(num_each):
                phase = 2 * np.pi * (speed * time + generator.random())
                still = np.zeros_like(time)
                wave = {
                    "circle": [np.cos(phase), np.sin(phase), still],
                    "shake": [np.cos(3 * phase), still, still],
                    "push": [np.maximum(np.sin(phase), 0) ** 3, still, 0.5 * np.sin(phase)],
                }[name]

                # gravity along the third axis
                noise = generator.normal(0, 0.3, (len(time), 3))
                samples.append(strength * np.stack(wave, 1) @ rotation.T + [0, 0, 1] + noise)
                label.append(name)
                group.append(f"person {person + 1}")

    return make_series(samples, rate_hz, label, group, ("x", "y", "z"))
