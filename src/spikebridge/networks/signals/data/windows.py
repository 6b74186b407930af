"""Windows of one length, cut from series, on which a network is trained and scored."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import NDArray

from spikebridge.data.signals.series import SensorSeries, cut_windows
from spikebridge.errors import DataError

_VARIANCE_FLOOR = 1e-5
_PRIOR_LEVEL = -6.0  # level of a channel before anything is recorded
_PRIOR_WEIGHT = 8  # windows that the prior counts as


class Windows(NamedTuple):
    """B windows of L samples.

    Attributes:
        samples: `(B, L, C)`; zeros after the end of a shorter recording.
        lengths: samples of each window that are recorded, `(B,)`.
        label: places of the classes, `(B,)`.
        group: places of the recorded people, `(B,)`; zeros without groups.
        series: places of the series that the windows are cut from, `(B,)`.
        past: statistics of what the same sensor recorded before the window, without labels, `(B, P)`; P may be 0.
    """

    samples: Float32[np.ndarray, "B L C"]
    lengths: Int64[np.ndarray, " B"]
    label: Int64[np.ndarray, " B"]
    group: Int64[np.ndarray, " B"]
    series: Int64[np.ndarray, " B"]
    past: Float32[np.ndarray, "B P"]

    def select(self, chosen: NDArray[np.generic] | slice) -> "Windows":
        """Some of the windows.

        Args:
            chosen: their places, a mask, or a slice.
        """
        return Windows(*(column[chosen] for column in self))


def windows_of(series: SensorSeries, seconds: float, stride_seconds: float | None) -> Windows:
    """Windows of a length at every stride; without a stride one of each series, from its start."""
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
    """Adds the running mean and spread of each channel's log variance over the last `number` windows of the group."""
    levels = np.log(windows.samples.var(1) + _VARIANCE_FLOOR)
    mean = np.empty_like(levels)
    square = np.empty_like(levels)

    for group in np.unique(windows.group):
        # the first windows of a group have a fixed prior, which the recorded levels replace
        first = np.full(levels.shape[1], _PRIOR_LEVEL)
        second = np.full(levels.shape[1], _PRIOR_LEVEL**2 + 1)

        for count, place in enumerate(np.flatnonzero(windows.group == group), start=_PRIOR_WEIGHT + 1):
            # the window itself is not in its past
            mean[place] = first
            square[place] = second
            share = 1 / min(count, number)
            first = first + share * (levels[place] - first)
            second = second + share * (levels[place] ** 2 - second)

    spread = np.sqrt(np.maximum(square - mean**2, 0.01))
    return windows._replace(past=np.concatenate([mean, spread], 1).astype(np.float32))
