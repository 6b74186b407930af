"""Windows of one length, cut from series: what a network is trained and scored on."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import ArrayLike

from spikebridge.data.signals.series import SensorSeries, cut_windows
from spikebridge.errors import DataError

_FLOOR = 1e-5  # of a variance
_GUESS = -6.0  # the level of a channel before anything is recorded
_WEIGHT_OF_GUESS = 8  # windows


class Windows(NamedTuple):
    """B windows of L samples.

    Attributes:
        samples: `(B, L, C)`; zeros after the end of a shorter recording.
        lengths: samples of each window that are recorded, `(B,)`.
        label: `(B,)`.
        group: `(B,)`: who was recorded; zeros where it is not known.
        series: `(B,)`: place of the series that a window comes from.
        past: `(B, P)`: statistics of what the same sensor recorded before the window, without labels; P may be 0.
    """

    samples: Float32[np.ndarray, "B L C"]
    lengths: Int64[np.ndarray, " B"]
    label: Int64[np.ndarray, " B"]
    group: Int64[np.ndarray, " B"]
    series: Int64[np.ndarray, " B"]
    past: Float32[np.ndarray, "B P"]

    def select(self, chosen: ArrayLike) -> "Windows":
        """Some of the windows.

        Args:
            chosen: places, or marks of those to take.
        """
        index = np.asarray(chosen)
        return Windows(*(column[index] for column in self))


def windows_of(series: SensorSeries, seconds: float, stride_seconds: float | None) -> Windows:
    """Windows of a length, side by side or overlapping; without a stride one a series, from its start.

    Args:
        series: with labels.
        seconds: length of a window [s].
        stride_seconds: from one window to the next [s]. None takes the start of each series, filled up with zeros where
            the series is shorter.

    Raises:
        DataError: no labels, or no series is as long as a window.

    Example:
        >>> from spikebridge.data.signals.series import make_series
        >>> series = make_series([np.ones(5), np.ones(3)], rate_hz=1, label=["a", "b"])
        >>> windows_of(series, 4, None).samples[:, :, 0].tolist(), windows_of(series, 2, 1).series.tolist()
        ([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 0.0]], [0, 0, 0, 0, 1, 1])
    """
    if series.label is None:
        raise DataError("the series have no labels to train on or to score; add an array `label`.")

    length = round(seconds * series.rate_hz)
    if stride_seconds is None:
        place = np.arange(len(series))
        lengths = np.minimum(series.stops - series.starts, length)
        cut = series
    else:
        cut = cut_windows(series, seconds, stride_seconds)
        place = cut.keys["series"]
        lengths = np.full(len(cut), length)
        if not len(cut):
            raise DataError(
                f"no series is as long as a window of {seconds:g} s; the longest has {series.seconds.max():g} s."
            )

    samples = np.zeros((len(cut), length, series.num_channels), np.float32)
    for index, number in enumerate(lengths):
        samples[index, :number] = cut[index][:number]

    group = np.zeros(len(cut), np.int64) if series.group is None else series.group[place]
    past = np.zeros((len(cut), 0), np.float32)

    return Windows(samples, lengths.astype(np.int64), series.label[place], group, place.astype(np.int64), past)


def with_past(windows: Windows, number: int) -> Windows:
    """Windows with the running mean and spread of each channel's level over the windows of the same group before them.

    A level is the logarithm of a channel's variance. The first windows of a group have a fixed guess instead, which the
    recorded levels replace. No label is used.

    Args:
        windows: in the order of their recording.
        number: windows over which the statistics forget.

    Returns:
        The same with `past` `(B, 2 C)`.

    Example:
        >>> places = np.zeros(3, np.int64)
        >>> loud = np.array([-1.0, 1.0] * 4, np.float32).reshape(1, 8, 1).repeat(3, 0)
        >>> windows = Windows(loud, places + 8, places, places, places, np.zeros((3, 0), np.float32))
        >>> [round(float(x), 2) for x in with_past(windows, 100).past[:, 0]]
        [-6.0, -5.33, -4.8]
    """
    levels = np.log(windows.samples.var(1) + _FLOOR)
    mean = np.empty_like(levels)
    square = np.empty_like(levels)

    for group in np.unique(windows.group):
        places = np.flatnonzero(windows.group == group)
        first = np.full(levels.shape[1], _GUESS)
        second = np.full(levels.shape[1], _GUESS**2 + 1)

        for count, place in enumerate(places, start=_WEIGHT_OF_GUESS + 1):
            mean[place], square[place] = first, second
            share = 1 / min(count, number)
            first = first + share * (levels[place] - first)
            second = second + share * (levels[place] ** 2 - second)

    spread = np.sqrt(np.maximum(square - mean**2, 0.01))
    return windows._replace(past=np.concatenate([mean, spread], 1).astype(np.float32))
