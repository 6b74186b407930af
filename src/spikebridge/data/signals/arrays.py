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

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikebridge.data.io.npz import array_names, read_npz
from spikebridge.data.io.safe_open import MAX_BYTES, fits
from spikebridge.data.signals.series import SensorSeries, check_rate, named_column
from spikebridge.errors import DataError, did_you_mean, is_positive


class _KnownSet(NamedTuple):
    """A data set whose arrays have names of its own, by which it is recognised (`marks`)."""

    name: str
    marks: tuple[str, ...]
    rate_hz: float
    num_channels: int
    units: float = 1.0  # that make one, if the file does not say it
    label: str | None = None  # name of the array
    label_names: tuple[str, ...] | None = None  # None if the file has them
    group: str | None = None


_DIGITS = tuple("0123456789")
KNOWN_SETS = (
    _KnownSet("spoken_digits", ("digit", "speaker"), 8000, 1, 2**15, "digit", _DIGITS, "speaker"),
    _KnownSet("myo", ("gesture", "person", "part"), 200, 8, 2**7, "gesture", None, "person"),
    _KnownSet("watch", ("exercise", "person", "side"), 50, 6, 1.0, "exercise", None, "person"),
    _KnownSet("ecg_100", ("beat_at", "beat_symbol"), 360, 2),
)
_OWN = _KnownSet("own", (), 0, 0, 1.0, "label", None, "group")
_MAX_ENTRIES = 2**16  # of an array beside few samples
_UNITS = ("units_per_one", "units_per_millivolt")
_OPTIONAL = ("label", "label_names", "group", "group_names", "channel_names", "beat_at", "zero", "units_per_one")
_OTHER_NAMES = {
    "data": "samples", "x": "samples", "signal": "samples", "y": "label", "target": "label", "targets": "label",
    "subject": "group", "person": "group", "speaker": "group", "user": "group", "fs": "rate_hz", "sr": "rate_hz",
    "sampling_rate": "rate_hz", "sample_rate": "rate_hz", "hz": "rate_hz",
}  # fmt: skip


def read_npz_series(path: Path, rate_hz: float | None = None) -> SensorSeries:
    """Series of an npz file; see the tables above. `rate_hz` is for a file that does not say it."""
    names = array_names(path)
    known = next((one for one in KNOWN_SETS if {*one.marks, "samples"} <= {*names}), _OWN)
    _refuse_misspelt(path, names, known)

    def check(headers: Mapping[str, Any]) -> None:
        limit = max(prod(headers["samples"].shape), _MAX_ENTRIES)
        for name in set(headers) & {*_OPTIONAL, "starts", "rate_hz", known.label, known.group}:
            if prod(headers[name].shape) > limit:
                raise DataError(f"{path}, {name}: expected at most a value a sample, but got {headers[name].shape}.")

        # a small file may unpack to many samples, which its starts do not reach
        if "starts" in names and prod(headers["samples"].shape) > _MAX_ENTRIES:
            _starts(path, read_npz(path, ("starts",))["starts"], *headers["samples"].shape[:1])

    arrays = read_npz(path, names, text=True, check=check)
    # each step takes its arrays out, so that the keys remain
    samples = _samples(path, arrays, known)
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
    """Refuses a file without samples, or with an optional array under another name, which would be ignored."""
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
            raise DataError(f"{path}: no array {name!r} is in the general form; did you mean {meant!r}? Rename it.")


def _hint(name: str, names: Sequence[str]) -> str:
    other = next((one for one in names if _OTHER_NAMES.get(one.lower()) == name), None)
    return f"rename {other!r}" if other is not None else did_you_mean(name, names)


def _samples(path: Path, arrays: dict[str, NDArray[Any]], known: _KnownSet) -> NDArray[np.float32]:
    raw = arrays.pop("samples")
    if raw.ndim not in (1, 2) or raw.dtype.kind not in "iuf" or 0 in raw.shape:
        raise DataError(f"{path}, samples: expected numbers (N, channels), but got {raw.dtype} {raw.shape}.")

    if raw.ndim == 2 and raw.shape[1] > raw.shape[0]:
        raise DataError(f"{path}, samples: expected (N, channels), time first, but got {raw.shape}; transpose them.")

    if not fits(raw.shape, np.dtype(np.float32).itemsize):
        raise DataError(f"{path}, samples: expected at most {MAX_BYTES} bytes as float32, but got {raw.shape}.")

    zero = _number(path, arrays.pop("zero", None), "zero", 0.0)
    units = known.units
    for name in _UNITS:
        units = _number(path, arrays.pop(name, None), name, units)

    if not is_positive(units):
        raise DataError(f"{path}: expected units above 0, but got {units}.")

    with np.errstate(over="ignore", invalid="ignore"):
        # always a copy, since it is changed in place
        samples = raw.astype(np.float32)
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
        expected = f"S + 1 places from 0 to {num_samples}, the end of the last series"
        raise DataError(f"{where}: expected {expected}, but they go from {starts[0]} to {starts[-1]}.")

    empty = np.diff(starts) <= 0
    if empty.any():
        raise DataError(f"{where}: expected rising places, but series {int(empty.argmax())} is empty or goes back.")

    return starts


def _names_of(
    path: Path, arrays: dict[str, NDArray[Any]], name: str | None, number: int, names: Sequence[str] | None = None
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """A column of labels or groups as places in a list of names, and the names."""
    if name is None or name not in arrays:
        return None, ()

    column = arrays.pop(name)
    texts = arrays.pop(f"{name}_names", None)
    if column.shape != (number,):
        raise DataError(f"{path}, {name}: expected one entry a series, ({number},), but got {column.shape}.")

    if texts is not None:
        if texts.ndim != 1 or texts.dtype.kind != "U" or len({*texts.tolist()}) != len(texts):
            raise DataError(f"{path}, {name}_names: expected different texts, but got {texts.dtype} {texts.shape}.")
        names = texts.tolist()

    try:
        return named_column(name, column, number, names)
    except DataError as error:
        raise DataError(f"{path}, {error}") from None


def _rate(path: Path, stored: NDArray[Any] | None, given: float | None, number: int) -> float:
    # one rate a series is accepted if all are equal
    if stored is not None and stored.shape == (number,) and stored.dtype.kind in "iuf" and number > 1:
        refuse_two_rates(f"{path}", dict(zip(map(str, range(number)), stored.tolist(), strict=True)), "series")
        stored = stored[:1]

    if stored is None:
        if given is None:
            raise DataError(f"{path}: expected an array 'rate_hz', the samples a second, but there is none.")
        check_rate(given)
        return float(given)

    rate = _number(path, stored, "rate_hz", 0.0)
    if not is_positive(rate):
        raise DataError(f"{path}, rate_hz: expected samples a second, above 0, but got {rate:g}.")
    if given is not None and not np.isclose(rate, given, rtol=1e-6):
        raise DataError(f"{path}: expected {given:g} Hz, but the file says {rate:g} Hz; nothing is resampled.")

    return rate


def refuse_two_rates(where: str, rates: dict[str, float], kind: str) -> None:
    """Refuses series or files of one set with different rates; `kind` is "series" or "file"."""
    by_rate: dict[float, list[str]] = {}
    for name, rate in rates.items():
        by_rate.setdefault(rate, []).append(name)

    if len(by_rate) < 2:
        return

    largest_first = sorted(by_rate.items(), key=lambda item: -len(item[1]))
    parts = [
        f"{len(names)}{f' of {len(rates)}' if i == 0 else ''} have {rate:g} Hz (first {kind} {names[0]})"
        for i, (rate, names) in enumerate(largest_first[:3])
    ]

    raise DataError(f"{where}: expected one rate, but {' and '.join(parts)}; nothing is resampled: do so first.")


def _channel_names(path: Path, names: NDArray[Any] | None, number: int) -> tuple[str, ...]:
    if names is None:
        return tuple(map(str, range(number)))

    if names.shape != (number,) or names.dtype.kind != "U":
        raise DataError(
            f"{path}, channel_names: expected {number} texts, one a channel, but got {names.dtype} {names.shape}."
        )

    return tuple(names.tolist())


def _marks(path: Path, marks: NDArray[Any] | None, num_samples: int) -> NDArray[np.int64] | None:
    if marks is None:
        return None
    if marks.ndim != 1 or marks.dtype.kind not in "iu" or (np.diff(marks.astype(np.int64)) <= 0).any():
        raise DataError(f"{path}, beat_at: expected rising integers, but got {marks.dtype} {marks.shape}.")

    if len(marks) and not (int(marks[0]) >= 0 and int(marks[-1]) < num_samples):
        raise DataError(f"{path}, beat_at: expected 0 to {num_samples - 1}, but got {marks[0]} to {marks[-1]}.")

    return marks.astype(np.int64)
