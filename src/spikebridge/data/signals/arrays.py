"""Series from npz files: the general form, and known sets, which are recognised by the names of their arrays.

| array | general form |
|---|---|
| `samples` | `(N, C)` or `(N,)` numbers: all series, one after the other |
| `starts` | `(S + 1,)`: series i is `samples[starts[i] : starts[i + 1]]`; left out where there is one series |
| `rate_hz` | samples a second |
| `label` | optional, one a series: numbers or texts; with `label_names`, places in it |
| `group` | optional, the same with `group_names`: who or what was recorded; no group is on both sides of a split |
| `channel_names` | optional, C texts |
| `beat_at` | optional: samples of heart beats |
| `zero`, `units_per_one` | optional: a value is `(x - zero) / units_per_one` |
| others | one entry a series: kept as keys |

| known set | recognised by | label | group |
|---|---|---|---|
| `spoken_digits` | `digit`, `speaker` | the digit | the speaker |
| `myo` | `gesture`, `person`, `part` | the gesture | the person |
| `watch` | `exercise`, `person`, `side` | the exercise | the person |
| `ecg_100` | `beat_at`, `beat_symbol` | | |
"""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikebridge.data.io.npz import array_names, read_npz
from spikebridge.data.io.safe_open import MAX_BYTES, fits
from spikebridge.data.signals.series import SensorSeries, check_rate, named_column
from spikebridge.errors import DataError, did_you_mean, is_positive


class _KnownSet(NamedTuple):
    """A data set with arrays of its own names.

    Attributes:
        name: of the set.
        marks: names of arrays by which it is recognised.
        rate_hz: of the published set.
        num_channels: of the published set.
        units: that make one, where the file does not say it.
        label: name of the array of labels.
        label_names: of the classes; None where the file names them.
        group: name of the array of groups.
    """

    name: str
    marks: tuple[str, ...]
    rate_hz: float
    num_channels: int
    units: float = 1.0
    label: str | None = None
    label_names: tuple[str, ...] | None = None
    group: str | None = None


_DIGITS = tuple("0123456789")
KNOWN_SETS = (
    _KnownSet("spoken_digits", ("digit", "speaker"), 8000, 1, 2**15, "digit", _DIGITS, "speaker"),
    _KnownSet("myo", ("gesture", "person", "part"), 200, 8, 2**7, "gesture", None, "person"),
    _KnownSet("watch", ("exercise", "person", "side"), 50, 6, 1.0, "exercise", None, "person"),
    _KnownSet("ecg_100", ("beat_at", "beat_symbol"), 360, 2),
)
_OWN = _KnownSet("own", (), 0, 0, 1.0, "label", None, "group")
_UNITS = ("units_per_one", "units_per_millivolt")
_OPTIONAL = ("label", "label_names", "group", "group_names", "channel_names", "beat_at", "zero", "units_per_one")
_OTHER_NAMES = {
    "data": "samples", "x": "samples", "signal": "samples", "y": "label", "target": "label", "targets": "label",
    "subject": "group", "person": "group", "speaker": "group", "user": "group", "fs": "rate_hz", "sr": "rate_hz",
    "sampling_rate": "rate_hz", "sample_rate": "rate_hz", "hz": "rate_hz",
}  # fmt: skip


def read_npz_series(path: Path, rate_hz: float | None = None) -> SensorSeries:
    """Series of an npz file; see the tables above.

    Args:
        path: the file.
        rate_hz: samples a second, where the file does not say it.

    Raises:
        DataError: the file is missing, damaged or too large, an array is missing, unknown or does not fit the others,
            or the file says another rate.

    Example:
        >>> path = Path(getfixture("tmp_path")) / "mine.npz"
        >>> np.savez(path, samples=np.zeros((8, 2)), starts=[0, 3, 8], label=["rest", "wave"], rate_hz=50)
        >>> series = read_npz_series(path)
        >>> series.name, len(series), series.label_names, series[1].shape
        ('own', 2, ('rest', 'wave'), (5, 2))
    """
    names = array_names(path)
    known = next((one for one in KNOWN_SETS if {*one.marks, "samples"} <= {*names}), _OWN)
    _refuse_misspelt(path, names, known)
    arrays = read_npz(path, [name for name in names if name != "samples"], text=True)
    samples = _samples(path, arrays, known, names)
    starts = _starts(path, arrays.pop("starts", np.array([0, len(samples)])), len(samples))
    number = len(starts) - 1
    label, label_names = _names_of(path, arrays, known.label, number, known.label_names)
    group, group_names = _names_of(path, arrays, known.group, number)
    rate = _rate(path, arrays.pop("rate_hz", None), rate_hz, number)

    return SensorSeries(
        samples=samples,
        starts=starts[:-1],
        stops=starts[1:],
        rate_hz=rate,
        label=label,
        group=group,
        label_names=label_names,
        group_names=group_names,
        channel_names=_channel_names(path, arrays.pop("channel_names", None), samples.shape[1]),
        marks=_marks(path, arrays.pop("beat_at", None), len(samples)),
        keys={name: array for name, array in arrays.items() if array.shape == (number,)},
        name=known.name,
    )


def _refuse_misspelt(path: Path, names: Sequence[str], known: _KnownSet) -> None:
    """Raises where an array is missing, or looks like an optional one under another name, which would be left out."""
    if "samples" not in names:
        raise DataError(f"{path}: expected an array 'samples', but there is none; {_hint('samples', names)}")
    if known is not _OWN:
        return

    expected = ("samples", "starts", "rate_hz", *_OPTIONAL)
    for name in names:
        if name in expected:
            continue
        meant = _OTHER_NAMES.get(name.lower()) or next(iter(get_close_matches(name, expected, n=1, cutoff=0.8)), None)
        if meant is not None and meant not in names:
            raise DataError(
                f"{path}: there is no array {name!r} in the general form; did you mean {meant!r}? Rename it."
            )


def _hint(name: str, names: Sequence[str]) -> str:
    other = next((found for found in names if _OTHER_NAMES.get(found.lower()) == name), None)
    return f"rename {other!r}" if other is not None else did_you_mean(name, names)


def _samples(
    path: Path, arrays: dict[str, NDArray[Any]], known: _KnownSet, names: Sequence[str]
) -> NDArray[np.float32]:
    raw = read_npz(path, ["samples"])["samples"]
    if raw.ndim not in (1, 2) or raw.dtype.kind not in "iuf" or 0 in raw.shape:
        raise DataError(f"{path}, samples: expected numbers (N, channels), but got {raw.dtype} {raw.shape}.")

    if raw.ndim == 2 and raw.shape[1] > raw.shape[0]:
        raise DataError(
            f"{path}, samples: expected (N, channels), time first, but got {raw.shape}; transpose the array."
        )

    if not fits(raw.shape, np.dtype(np.float32).itemsize):
        raise DataError(f"{path}, samples: expected at most {MAX_BYTES} bytes as float32, but got {raw.shape}.")

    zero = _number(path, arrays.pop("zero", None), "zero", 0.0)
    units = known.units
    for name in _UNITS:
        units = _number(path, arrays.pop(name, None), name, units)

    if not is_positive(units):
        raise DataError(f"{path}: expected units above 0, but got {units}.")

    with np.errstate(over="ignore", invalid="ignore"):
        samples = raw.astype(np.float32)  # always a copy, changed in place below
        if zero:
            samples -= np.float32(zero)
        if units != 1:
            samples /= np.float32(units)

    return samples.reshape(len(raw), -1)


def _number(path: Path, array: NDArray[Any] | None, name: str, default: float) -> float:
    if array is None:
        return default
    if array.size != 1 or array.dtype.kind not in "iuf":
        raise DataError(f"{path}, {name}: expected one number, but got {array.dtype} {array.shape}.")
    return float(array.item())


def _starts(path: Path, starts: NDArray[Any], num_samples: int) -> NDArray[np.int64]:
    where = f"{path}, starts"
    if starts.ndim != 1 or starts.dtype.kind not in "iu" or len(starts) < 2:
        raise DataError(f"{where}: expected integers (S + 1,), but got {starts.dtype} {starts.shape}.")
    if starts.max() > num_samples:
        raise DataError(f"{where}: expected places up to {num_samples}, but got {starts.max()}.")

    starts = starts.astype(np.int64)
    if starts[0] != 0 or starts[-1] != num_samples:
        raise DataError(
            f"{where}: expected S + 1 places from 0 to the number of samples, {num_samples}, but they go from "
            f"{starts[0]} to {starts[-1]}; append the end of the last series."
        )

    empty = np.diff(starts) <= 0
    if empty.any():
        raise DataError(f"{where}: expected rising places, but series {int(empty.argmax())} is empty or goes back.")

    return starts


def _names_of(
    path: Path, arrays: dict[str, NDArray[Any]], name: str | None, number: int, names: Sequence[str] | None = None
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """A column of labels or groups, and the names that it gives places in."""
    if name is None or name not in arrays:
        return None, ()

    column = arrays.pop(name)
    given = arrays.pop(f"{name}_names", None)
    if column.shape != (number,):
        raise DataError(f"{path}, {name}: expected one entry a series, ({number},), but got {column.shape}.")

    if given is not None:
        if given.ndim != 1 or given.dtype.kind != "U" or len({*given.tolist()}) != len(given):
            raise DataError(f"{path}, {name}_names: expected different texts, but got {given.dtype} {given.shape}.")
        names = given.tolist()

    try:
        return named_column(name, column, number, names)
    except DataError as error:
        raise DataError(f"{path}, {error}") from None


def _rate(path: Path, found: NDArray[Any] | None, given: float | None, number: int) -> float:
    if found is not None and found.shape == (number,) and found.dtype.kind in "iuf" and number > 1:
        refuse_two_rates(f"{path}", dict(zip(map(str, range(number)), found.tolist(), strict=True)), "series")
        found = found[:1]

    if found is None:
        if given is None:
            raise DataError(f"{path}: expected an array 'rate_hz', the samples a second, but there is none.")
        check_rate(given)
        return float(given)

    rate = _number(path, found, "rate_hz", 0.0)
    if not is_positive(rate):
        raise DataError(f"{path}, rate_hz: expected samples a second, above 0, but got {rate:g}.")
    if given is not None and not np.isclose(rate, given, rtol=1e-6):
        raise DataError(f"{path}: expected {given:g} Hz, but the file says {rate:g} Hz; nothing is resampled.")

    return rate


def refuse_two_rates(where: str, rates: dict[str, float], what: str) -> None:
    """Raises where series or files of one set have different rates.

    Args:
        where: the set, for the message.
        rates: of each series or file.
        what: "series" or "file".

    Example:
        >>> refuse_two_rates("words", {"a.wav": 8000, "b.wav": 16000, "c.wav": 16000}, "file")
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: words: expected one rate, but 2 of 3 have 16000 Hz (first file b.wav) and 1 ...
    """
    found: dict[float, list[str]] = {}
    for name, rate in rates.items():
        found.setdefault(rate, []).append(name)

    if len(found) < 2:
        return

    ordered = sorted(found.items(), key=lambda item: -len(item[1]))
    parts = [
        f"{len(names)}{f' of {len(rates)}' if i == 0 else ''} have {rate:g} Hz (first {what} {names[0]})"
        for i, (rate, names) in enumerate(ordered[:3])
    ]

    raise DataError(
        f"{where}: expected one rate, but {' and '.join(parts)}; nothing is resampled: bring them to one rate with the "
        "tool that you trust."
    )


def _channel_names(path: Path, names: NDArray[Any] | None, number: int) -> tuple[str, ...]:
    if names is None:
        return tuple(map(str, range(number)))

    if names.shape != (number,) or names.dtype.kind != "U":
        raise DataError(
            f"{path}, channel_names: expected {number} texts, one a channel of samples, but got {names.dtype} "
            f"{names.shape}."
        )

    return tuple(names.tolist())


def _marks(path: Path, marks: NDArray[Any] | None, num_samples: int) -> NDArray[np.int64] | None:
    if marks is None:
        return None
    if marks.ndim != 1 or marks.dtype.kind not in "iu" or (np.diff(marks.astype(np.int64)) <= 0).any():
        raise DataError(f"{path}, beat_at: expected rising integers, but got {marks.dtype} {marks.shape}.")

    if len(marks) and not (int(marks[0]) >= 0 and int(marks[-1]) < num_samples):
        raise DataError(
            f"{path}, beat_at: expected samples from 0 to {num_samples - 1}, but got {marks[0]} to {marks[-1]}."
        )

    return marks.astype(np.int64)
