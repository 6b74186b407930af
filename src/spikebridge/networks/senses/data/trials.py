"""Recordings of several sensors at once, each with its own clock, from an npz file or a folder of them.

| array | meaning |
|---|---|
| `NAME` | `(N, *shape)` numbers: the samples of a sensor, all trials one after the other |
| `NAME_starts` | `(S + 1,)`: trial i is `NAME[NAME_starts[i] : NAME_starts[i + 1]]`; it may be empty |
| `NAME_rate_hz`, or `NAME_s` | samples a second, or the time [s] of each sample since the start of its trial |
| `NAME_units_per_one` | optional: a value is `x / units`, one number or one a channel; 255 for pictures of bytes |
| `label`, `person` | one a trial: numbers or texts; with `label_names`, places in it |
| `fall_start_s`, `fall_end_s` | of falls of a `wrist` [g], one a trial: times since its start [s], NaN for none |

A folder holds one file `NAME.npz` a sensor: `samples`, `starts`, `rate_hz` or `s`, and in one `label` and `person`.
UTD-MHAD and WEDA-FALL, as the shared files hold them, are recognised by the names of their arrays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float, Int64
from numpy.typing import NDArray

from spikebridge.data.io.npz import read_npz
from spikebridge.data.signals.series import named_column
from spikebridge.errors import DataError, did_you_mean, is_positive

_KEYS = ("samples", "starts", "rate_hz", "s", "units_per_one")
_STARTS = dict.fromkeys(("depth", "skeleton", "frame_ms"), "frame_starts") | {"samples": "starts"}
_SPAN = ("fall_start_s", "fall_end_s")
_UTD_MHAD = {"inertia", "depth", "frame_ms", "action"}  # arrays by which a set is recognised
_WEDA_FALL = {"samples", "activity", *_SPAN}
_TAKEN = ("answer", "gate", "senses", "label", "person")  # of parts and arrays
_MAX_ENTRIES = 2**20  # of an array that is not as long as a sensor's samples
_STALE_S = 0.5
_STALE_STEPS = 1.5  # of a sensor that is slower
DRIFT = "clocks that drift, or a sensor that was off; times are taken as they are"


def stale_s(times: Float[np.ndarray, " N"]) -> float:
    """The age [s] at which the newest sample of a sensor is none: half a second, or more for a slow one."""
    steps = np.diff(times)
    steps = steps[steps > 0]
    return max(_STALE_S, _STALE_STEPS * float(np.median(steps))) if len(steps) else _STALE_S


@dataclass(frozen=True)
class SensorRecording:
    """All samples of a sensor: places of trials, and times [s] since the start of each trial."""

    samples: NDArray[Any]
    starts: Int64[np.ndarray, " S1"]
    times: Float[np.ndarray, " N"]
    units: Float[np.ndarray, " U"]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one value."""
        return self.samples.shape[1:]

    @property
    def rate_hz(self) -> float:
        """Samples a second, the median over all trials."""
        steps = np.diff(self.times)
        return 1 / float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0

    def of(self, trial: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """The values of a trial and their times."""
        part = slice(self.starts[trial], self.starts[trial + 1])
        return (self.samples[part] / self.units).astype(np.float32), self.times[part]


@dataclass(frozen=True)
class Trials:
    """Trials of several sensors, with the class and the person of each.

    `teachers` are sensors that are known in training alone, by the sensor that they teach; `spans` are the times of an
    event in a trial [s], NaN where there is none.
    """

    sensors: dict[str, SensorRecording]
    label: Int64[np.ndarray, " S"]
    person: Int64[np.ndarray, " S"]
    label_names: tuple[str, ...]
    person_names: tuple[str, ...]
    teachers: dict[str, SensorRecording]
    spans: Float[np.ndarray, "S 2"] | None = None
    name: str = "own"

    def __len__(self) -> int:
        return len(self.label)

    @property
    def people(self) -> list[str]:
        """The people who are there, in order."""
        return [self.person_names[one] for one in np.unique(self.person)]

    def seconds(self) -> Float[np.ndarray, " S"]:
        """The time from the start of each trial to the last sample of any sensor."""
        return np.max([np.nan_to_num(_edges(one)[1]) for one in self.sensors.values()], 0)

    def with_classes(self, names: Sequence[str]) -> "Trials":
        """The trials with labels as places in the classes of a network."""
        unknown = [self.label_names[one] for one in np.unique(self.label) if self.label_names[one] not in names]
        if unknown:
            raise DataError(
                f"the data has the class {unknown[0]!r}, which the network does not; {did_you_mean(unknown[0], names)}"
            )

        places = np.array([names.index(name) if name in names else -1 for name in self.label_names])
        return replace(self, label=places[self.label], label_names=tuple(names))


def read_trials(path: Path) -> Trials:
    """Trials of a file or folder."""
    arrays = _folder_arrays(path) if path.is_dir() else _arrays(path)
    known = _of_known_set(path, arrays)
    return _trials(path, arrays, "own") if known is None else known


def read_sensor(path: Path, name: str) -> SensorRecording:
    """One sensor of a file: of a file of several by its name, or `samples` with `rate_hz` or `s`."""
    arrays = _arrays(path)
    known = _of_known_set(path, arrays)
    if known is not None:
        if name not in known.sensors:
            raise DataError(f"{path} has no sensor {name!r}; {did_you_mean(name, known.sensors)}")
        return known.sensors[name]

    if name not in arrays:
        if "samples" not in arrays:
            raise DataError(f"{path}: expected an array 'samples' or {name!r}; {did_you_mean(name, arrays)}")
        arrays = {name if key == "samples" else f"{name}_{key}": array for key, array in arrays.items()}

    starts = np.array([0, len(arrays[name])])
    return _recording(path, {f"{name}_starts": starts, **arrays}, name)


def _of_known_set(path: Path, arrays: dict[str, NDArray[Any]]) -> Trials | None:
    """The trials of UTD-MHAD or WEDA-FALL."""
    if arrays.keys() >= _UTD_MHAD:
        return _utd_mhad(path, arrays)
    if arrays.keys() >= _WEDA_FALL:
        return _weda_fall(path, arrays)

    return None


def _folder_arrays(path: Path) -> dict[str, NDArray[Any]]:
    files = sorted(path.glob("*.npz"))
    if not files:
        raise DataError(f"{path}: expected a file NAME.npz for each sensor, but there is none")

    arrays: dict[str, NDArray[Any]] = {}
    for file in files:
        for key, array in _arrays(file).items():
            name = f"{file.stem}_{key}" if key in _KEYS else key
            arrays[file.stem if key == "samples" else name] = array

    return arrays


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    return read_npz(path, text=True, check=partial(_check_sizes, path))


def _check_sizes(path: Path, headers: Mapping[str, Any]) -> None:
    for name, header in headers.items():
        if prod(header.shape) <= _MAX_ENTRIES:
            continue

        starts = _STARTS.get(name, "starts" if "starts" in headers else f"{name.removesuffix('_s')}_starts")
        if starts not in headers or prod(headers[starts].shape) > _MAX_ENTRIES:
            raise DataError(f"{path}, {name}: expected at most {_MAX_ENTRIES} values, but got {header.shape}")

        last = read_npz(path, (starts,))[starts].ravel()[-1:].tolist()
        if last != [header.shape[0]]:
            raise DataError(
                f"{path}, {starts}: expected {header.shape[0]}, the length of {name}, at the end, but got {last}"
            )


def _trials(path: Path, arrays: Mapping[str, NDArray[Any]], name: str, teachers: Mapping[str, str] = {}) -> Trials:
    """Trials of the general form; `teachers` names arrays that teach a sensor."""
    names = [key.removesuffix("_starts") for key in arrays if key.endswith("_starts")]
    missing = [one for one in names if one not in arrays]
    if not names or missing:
        raise DataError(f"{path}: expected arrays NAME and NAME_starts for each sensor, but got {', '.join(arrays)}")

    unfit = [one for one in names if not one.isidentifier() or one in _TAKEN]
    if unfit:
        raise DataError(
            f"{path}: a sensor has a name of letters, digits and _, and none of {', '.join(_TAKEN)}, but got "
            f"{unfit[0]!r}; rename its arrays"
        )

    recordings = {one: _recording(path, arrays, one) for one in names}
    counts = {one: len(recording.starts) - 1 for one, recording in recordings.items()}
    if len({*counts.values()}) > 1:
        raise DataError(f"{path}: expected as many trials of each sensor, but got {counts}")

    number = counts[names[0]]
    label, label_names = _column(path, arrays, "label", number)
    person, person_names = _column(path, arrays, "person", number)
    trials = Trials(
        sensors={one: recording for one, recording in recordings.items() if one not in teachers.values()},
        label=label,
        person=person,
        label_names=label_names,
        person_names=person_names,
        teachers={sensor: recordings[teacher] for sensor, teacher in teachers.items()},
        name=name,
    )
    return replace(trials, spans=_spans(path, arrays, trials.seconds()))


def _spans(
    path: Path, arrays: Mapping[str, NDArray[Any]], seconds: Float[np.ndarray, " S"]
) -> Float[np.ndarray, "S 2"] | None:
    columns = [arrays[key] for key in _SPAN if key in arrays]
    if not columns:
        return None

    is_fit = [(one.shape, one.dtype.kind) for one in columns] == 2 * [(seconds.shape, "f")]
    spans = np.stack(columns, 1).astype(np.float64) if is_fit else np.full((len(seconds), 2), -1.0)
    start, end = spans.T
    if not (np.isnan(spans).all(1) | ((start >= 0) & (start < end) & (start <= seconds))).all():
        raise DataError(
            f"{path}: expected {' and '.join(_SPAN)} in each of {len(seconds)} trials, rising and inside of it, or NaN "
            "in both for no fall"
        )

    return spans


def _column(
    path: Path, arrays: Mapping[str, NDArray[Any]], name: str, number: int
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    if name not in arrays:
        raise DataError(f"{path}: expected an array {name!r}, one entry a trial; {did_you_mean(name, arrays)}")
    if arrays[name].shape != (number,):
        raise DataError(f"{path}, {name}: expected one entry a trial, ({number},), but got {arrays[name].shape}")

    names = arrays.get(f"{name}_names")
    column, known = named_column(name, arrays[name], number, None if names is None else names.tolist())
    return cast(NDArray[np.int64], column), known


def _recording(path: Path, arrays: Mapping[str, NDArray[Any]], name: str) -> SensorRecording:
    samples = arrays[name]
    starts = arrays[f"{name}_starts"]
    if samples.dtype.kind not in "iufb" or samples.ndim < 1 or 0 in samples.shape[1:]:
        raise DataError(f"{path}, {name}: expected numbers, but got {samples.dtype} {samples.shape}")
    if samples.dtype.kind == "f" and not np.isfinite(samples).all():
        raise DataError(f"{path}, {name}: expected finite numbers; leave samples out that are missing")

    is_rising = (
        starts.dtype.kind in "iu"
        and starts.ndim == 1
        and len(starts) > 1
        and (starts[0], starts[-1]) == (0, len(samples))
        and (starts[1:] >= starts[:-1]).all()
    )
    if not is_rising:
        raise DataError(
            f"{path}, {name}_starts: expected S + 1 rising places from 0 to {len(samples)}, but got {starts!r:.80}"
        )

    starts = starts.astype(np.int64)
    samples = samples[:, None] if samples.ndim == 1 else samples

    return SensorRecording(samples, starts, _times(path, arrays, name, starts), _units(path, arrays, name, samples))


def _units(path: Path, arrays: Mapping[str, NDArray[Any]], name: str, samples: NDArray[Any]) -> NDArray[np.float32]:
    # a picture of bytes is from 0 to 255, as one of a file
    usual = 255 if samples.dtype == np.uint8 and samples.ndim > 2 else 1
    units = np.atleast_1d(arrays.get(f"{name}_units_per_one", np.float32(usual)))
    is_fit = units.dtype.kind in "iuf" and units.shape in ((1,), samples.shape[-1:])
    if not is_fit or not (np.isfinite(units) & (units != 0)).all():
        raise DataError(
            f"{path}, {name}_units_per_one: expected one number that is not 0, or one a channel, but got {units!r:.80}"
        )

    return units.astype(np.float32)


def _times(path: Path, arrays: Mapping[str, NDArray[Any]], name: str, starts: NDArray[np.int64]) -> NDArray[np.float64]:
    if f"{name}_s" in arrays:
        times = arrays[f"{name}_s"]
        # a shape that does not fit is refused before its numbers are copied
        if (
            times.shape != (starts[-1],)
            or times.dtype.kind not in "iuf"
            or not _rises(times.astype(np.float64), starts)
        ):
            raise DataError(f"{path}, {name}_s: expected a time a sample, rising in each trial")

        return times.astype(np.float64)

    rate = arrays.get(f"{name}_rate_hz")
    if rate is None or rate.size != 1 or rate.dtype.kind not in "iuf" or not is_positive(float(rate.item())):
        raise DataError(f"{path}: expected {name}_rate_hz above 0, or {name}_s, the time of each sample")

    return (np.arange(starts[-1]) - np.repeat(starts[:-1], np.diff(starts))) / float(rate.item())


def _rises(times: NDArray[np.float64], starts: NDArray[np.int64]) -> bool:
    steps = np.diff(times)
    steps[starts[1:-1][(starts[1:-1] > 0) & (starts[1:-1] < starts[-1])] - 1] = 0
    return bool(np.isfinite(times).all() and (steps >= 0).all())


def _utd_mhad(path: Path, arrays: dict[str, NDArray[Any]]) -> Trials:
    """UTD-MHAD: inertia [g, 100 degrees/s], depth [0 to 1], and the skeleton that teaches the depth."""
    units = [arrays["units_per_g"]] * 3 + [100 * arrays["units_per_degree_a_second"]] * 3
    starts = arrays["frame_starts"]
    own = {
        "inertia": arrays["inertia"],
        "inertia_starts": arrays["inertia_starts"],
        "inertia_rate_hz": arrays["inertia_rate_hz"],
        "inertia_units_per_one": np.array(units, np.float32).ravel(),
        "label": arrays["action"],
        "label_names": arrays["action_names"],
        "person": arrays["person"].astype("U"),
    }
    for name in ("depth", "skeleton"):
        if name in arrays:
            own |= {name: arrays[name], f"{name}_starts": starts, f"{name}_s": arrays["frame_ms"] / 1000}
            own[f"{name}_units_per_one"] = np.full(1, 255.0 if name == "depth" else 300.0)

    return _trials(path, own, "utd_mhad", {"depth": "skeleton"} if "skeleton" in arrays else {})


def _weda_fall(path: Path, arrays: dict[str, NDArray[Any]]) -> Trials:
    """WEDA-FALL: acceleration [g] and rotation [rad/s] of a wrist, and the times of falls."""
    scale = float(arrays["units_per_one"])
    return _trials(
        path,
        {
            **{key: arrays[key] for key in _SPAN},
            "wrist": arrays["samples"],
            "wrist_starts": arrays["starts"],
            "wrist_rate_hz": np.array(50.0),
            "wrist_units_per_one": np.array([9.81 * scale] * 3 + [scale] * 3, np.float32),
            "label": arrays["activity"],
            "label_names": arrays["activity_names"],
            "person": arrays["person"].astype("U"),
        },
        "weda_fall",
    )


def _edges(recording: SensorRecording) -> Float[np.ndarray, "2 S"]:
    """The times of the first and the last sample of each trial [s], NaN without samples."""
    edges = np.full((2, len(recording.starts) - 1), np.nan)
    there = np.diff(recording.starts) > 0
    edges[0, there] = recording.times[recording.starts[:-1][there]]
    edges[1, there] = recording.times[recording.starts[1:][there] - 1]

    return edges


def refuse_other_units(acceleration: Float[np.ndarray, "N 3"]) -> None:
    """Refuses acceleration whose usual size is not that of gravity in g; a dead sensor is none of it."""
    size = float(np.median(np.linalg.norm(acceleration, axis=1))) if len(acceleration) else 0.0
    if size and not 0.5 < size < 2:
        raise DataError(
            f"the acceleration has a median size of {size:.3g}, but in g it is about 1; divide m/s^2 by 9.81"
        )


def findings(trials: Trials) -> list[str]:
    """Lines about trials that cannot be meant, or that make a score less sure."""
    lines = []
    edges = {name: _edges(one) for name, one in trials.sensors.items()}
    empty = {name: int((np.diff(one.starts) == 0).sum()) for name, one in trials.sensors.items()}
    lines += [f"{name} recorded nothing in {count} of {len(trials)} trials" for name, count in empty.items() if count]

    largest = {name: one.samples.max(initial=0) / one.units.max() for name, one in trials.sensors.items()}
    lines += [
        f"{name} has values up to {value:g}, but pictures are read from 0, nothing, to 1; give {name}_units_per_one"
        for name, value in largest.items()
        if value > 1 and len(trials.sensors[name].shape) == 2
    ]

    first, *others = edges
    allowed = {name: stale_s(one.times) for name, one in trials.sensors.items()}
    for name in others:
        apart = np.abs(edges[name] - edges[first]).max(0)
        count = int((apart > max(allowed[name], allowed[first])).sum())
        if count:
            most = np.nanmax(apart)
            lines.append(f"{name} begins or ends up to {most:.1f} s from {first} in {count} trials: {DRIFT}")

    all_classes = len(np.unique(trials.label))
    few = [
        trials.person_names[one]
        for one in np.unique(trials.person)
        if len(np.unique(trials.label[trials.person == one])) < all_classes
    ]
    if few:
        lines.append(f"not every class was recorded from {', '.join(few)}")

    return lines
