"""Series of a sensor: recordings of voice, muscle, motion or heart, each with a label and a group (who was recorded).

All series lie one after the other in one array; a series is a range of it. So a selection of series, and windows that
are cut from them, share the samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, Shaped
from numpy.typing import ArrayLike, NDArray

from spikebridge.data.io.column import Column
from spikebridge.errors import ConfigError, DataError, did_you_mean, is_positive


@dataclass(frozen=True, eq=False)
class SensorSeries:
    """S series of one sensor with C channels.

    Attributes:
        samples: float32 `(N, C)`, all series; an array, or a column in a temporary file if they are long.
        starts: `(S,)`, the first sample of each series.
        stops: `(S,)`, the sample after its last.
        rate_hz: samples a second.
        label: `(S,)` places in `label_names`; None without labels.
        group: `(S,)` places in `group_names`: the person or the device; None if it is not known.
        label_names: names of the classes.
        group_names: names of the groups.
        channel_names: C names.
        marks: `(M,)` samples at which something is annotated, such as heart beats; None without.
        keys: further columns with one entry a series.
        name: the name of a known data set, else "own".

    Example:
        >>> series = make_series([np.zeros((3, 2)), np.ones((5, 2))], rate_hz=50, label=["rest", "wave"])
        >>> len(series), series[1].shape, series.label_names, series.seconds.tolist()
        (2, (5, 2), ('rest', 'wave'), [0.06, 0.1])
    """

    samples: Column
    starts: Int64[np.ndarray, " S"]
    stops: Int64[np.ndarray, " S"]
    rate_hz: float
    label: Int64[np.ndarray, " S"] | None = None
    group: Int64[np.ndarray, " S"] | None = None
    label_names: tuple[str, ...] = ()
    group_names: tuple[str, ...] = ()
    channel_names: tuple[str, ...] = ()
    marks: Int64[np.ndarray, " M"] | None = None
    keys: Mapping[str, Shaped[np.ndarray, " S"]] = field(default_factory=dict)
    name: str = "own"

    def __len__(self) -> int:
        """The number of series."""
        return len(self.starts)

    def __getitem__(self, index: int) -> Float32[np.ndarray, "L C"]:
        """The samples of one series."""
        return self.samples[int(self.starts[index]) : int(self.stops[index])]

    @property
    def num_channels(self) -> int:
        """The number of channels."""
        return len(self.channel_names)

    @property
    def num_classes(self) -> int:
        """The number of label names."""
        return len(self.label_names)

    @property
    def seconds(self) -> NDArray[np.float64]:
        """The length of each series [s]."""
        return (self.stops - self.starts) / self.rate_hz

    @property
    def groups(self) -> list[int]:
        """The groups that have a series, ascending; none if groups are not known."""
        return [] if self.group is None else np.unique(self.group).tolist()

    def select(self, chosen: ArrayLike) -> "SensorSeries":
        """A selection of the series in this order; the samples are shared.

        Args:
            chosen: places `(M,)`, or marks `(S,)`.

        Example:
            >>> series = make_series([np.zeros((3, 1)), np.ones((5, 1))], rate_hz=50, group=["anna", "ben"])
            >>> one = series.select(series.group == 1)
            >>> len(one), one[0].shape, [one.group_names[g] for g in one.groups]
            (1, (5, 1), ['ben'])
        """
        index = np.asarray(chosen)
        index = index if index.dtype == bool else index.astype(np.int64)

        return replace(
            self,
            starts=self.starts[index],
            stops=self.stops[index],
            label=None if self.label is None else self.label[index],
            group=None if self.group is None else self.group[index],
            keys={name: column[index] for name, column in self.keys.items()},
        )

    def with_label_names(self, names: Sequence[str]) -> "SensorSeries":
        """The same labels as places in another list of names, such as the classes of a trained network.

        Raises:
            DataError: there are no labels, or one of them is not in the list.

        Example:
            >>> series = make_series([np.zeros((3, 1))] * 2, rate_hz=50, label=["wave", "rest"])
            >>> series.with_label_names(["wave", "rest", "fist"]).label.tolist()
            [0, 1]
        """
        if self.label is None:
            raise DataError("the series have no labels, but classes are asked for; add an array `label`.")

        places = {name: place for place, name in enumerate(names)}
        used = [self.label_names[i] for i in np.unique(self.label)]
        unknown = [name for name in used if name not in places]
        if unknown:
            raise DataError(f"a series has the label {unknown[0]!r}, not a class; {did_you_mean(unknown[0], names)}")

        table = np.array([places.get(name, -1) for name in self.label_names], np.int64)
        return replace(self, label=table[self.label], label_names=tuple(names))


def make_series(
    series: Sequence[ArrayLike],
    rate_hz: float,
    label: Sequence[Any] | NDArray[Any] | None = None,
    group: Sequence[Any] | NDArray[Any] | None = None,
    channel_names: Sequence[str] = (),
) -> SensorSeries:
    """Series from arrays.

    Args:
        series: `(L, C)` or `(L,)` each, of one C.
        rate_hz: samples a second.
        label: one a series, numbers or texts.
        group: one a series, numbers or texts.
        channel_names: C names; "0", "1", ... without.

    Raises:
        DataError: no series, or of different numbers of channels.
        ConfigError: a rate that is not above 0, or not one label and group a series.

    Example:
        >>> make_series([[0.0, 1.0], [2.0, 3.0, 4.0]], rate_hz=8000)[1].ravel().tolist()
        [2.0, 3.0, 4.0]
    """
    check_rate(rate_hz)
    arrays = [np.asarray(one, np.float32).reshape(len(np.asarray(one)), -1) for one in series]
    widths = {one.shape[1] for one in arrays}
    if len(widths) != 1:
        raise DataError(f"series of one sensor have one number of channels, but got {sorted(widths)}.")

    names = channel_names or [str(channel) for channel in range(widths.pop())]
    lengths = [len(one) for one in arrays]

    return assemble_series(np.concatenate(arrays), lengths, rate_hz, names, label, group)


def assemble_series(
    samples: Column,
    lengths: Sequence[int],
    rate_hz: float,
    channel_names: Sequence[str],
    label: Sequence[Any] | NDArray[Any] | None,
    group: Sequence[Any] | NDArray[Any] | None,
    label_names: Sequence[str] | None = None,
    **properties: Any,
) -> SensorSeries:
    """Series of these lengths, one after the other in a column; `properties` are further fields of the series."""
    stops = np.cumsum(lengths, dtype=np.int64)
    labels, label_names = named_column("label", label, len(lengths), label_names)
    groups, group_names = named_column("group", group, len(lengths))

    return SensorSeries(
        samples=samples,
        starts=stops - np.array(lengths, np.int64),
        stops=stops,
        rate_hz=float(rate_hz),
        label=labels,
        group=groups,
        label_names=label_names,
        group_names=group_names,
        channel_names=tuple(channel_names),
        **properties,
    )


def check_rate(rate_hz: object) -> None:
    """Refuses a sampling rate that is no finite number above 0."""
    if not is_positive(rate_hz):
        raise ConfigError(f"rate_hz is the number of samples a second, above 0, but got {rate_hz!r}")


def named_column(
    kind: str, values: Sequence[Any] | NDArray[Any] | None, number: int, names: Sequence[str] | None = None
) -> tuple[Int64[np.ndarray, " S"] | None, tuple[str, ...]]:
    """Labels or groups as places in a list of names, and the names; without given ones they are the sorted values."""
    if values is None:
        return None, ()

    column = np.asarray(values)
    if column.shape != (number,):
        raise ConfigError(f"{kind} has one value a series, ({number},), but got {column.shape}")

    # floats are accepted if they are integral
    if column.dtype.kind not in "biuU":
        integral = column.dtype.kind == "f" and (column == np.floor(column))
        if not np.all(integral):
            first = int(np.argmin(integral)) if column.dtype.kind == "f" else 0
            raise DataError(f"{kind}: expected integers or texts, but series {first} has {column[first]!r}.")

        column = column.astype(np.int64)

    if column.dtype.kind == "U":
        column = np.char.strip(column)
        empty = column == ""
        if empty.any():
            first = int(empty.argmax())
            raise DataError(f"{kind}: {int(empty.sum())} of {number} series have an empty one, first series {first}.")

    if names is None:
        unique, index = np.unique(column, return_inverse=True)
        return index.astype(np.int64).reshape(-1), tuple(str(value) for value in unique)

    wrong = (column < 0) | (column >= len(names)) if column.dtype.kind != "U" else ~np.isin(column, list(names))
    if wrong.any():
        first = int(wrong.argmax())
        count = f"{int(wrong.sum())} of {number} are not, first {column[first]!s} of series {first}"
        raise DataError(f"{kind}: expected 0 to {len(names) - 1}, places in the names, but {count}.")

    if column.dtype.kind == "U":
        places = {name: place for place, name in enumerate(names)}
        column = np.array([places[text] for text in column.tolist()], np.int64)

    return column.astype(np.int64), tuple(names)


def cut_windows(series: SensorSeries, seconds: float, stride_seconds: float | None = None) -> SensorSeries:
    """Windows of one length as series of their own; an incomplete window at the end of a series is dropped.

    Args:
        series: the series to cut; a series shorter than a window gives none.
        seconds: length of a window [s].
        stride_seconds: time from the start of one window to that of the next [s]; the length of a window without it.

    Returns:
        The windows, which keep label, group and keys of their series and share its samples; the key `series` is the
        place of the series that a window comes from.

    Raises:
        ConfigError: a length or stride below one sample.

    Example:
        >>> series = make_series([np.arange(10.0), np.arange(3.0)], rate_hz=2, label=["a", "b"])
        >>> windows = cut_windows(series, seconds=2, stride_seconds=1)
        >>> [windows[i].ravel().tolist() for i in range(len(windows))][-1], windows.keys["series"].tolist()
        ([6.0, 7.0, 8.0, 9.0], [0, 0, 0, 0])
    """
    length = round(seconds * series.rate_hz)
    stride = length if stride_seconds is None else round(stride_seconds * series.rate_hz)
    if length < 1 or stride < 1:
        rate = f"{series.rate_hz:g} Hz"
        raise ConfigError(f"windows of {seconds} s, one every {stride_seconds} s, are below one sample at {rate}")

    number = np.maximum((series.stops - series.starts - length) // stride + 1, 0)
    owner = np.repeat(np.arange(len(series)), number)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(number) - number, number)
    windows = series.select(owner)
    starts = windows.starts + place * stride

    return replace(
        windows, starts=starts, stops=starts + length, keys={**windows.keys, "series": owner.astype(np.int64)}
    )
