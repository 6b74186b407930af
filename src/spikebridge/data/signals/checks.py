"""Checks of series before a network is trained on them: values, channels, rates, labels, groups."""

from collections.abc import Iterator
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32

from spikebridge.data.signals.arrays import KNOWN_SETS
from spikebridge.data.signals.series import SensorSeries

_CLIPPED_RUN = 3  # equal samples at an extreme in a row
_CLIPPED_SHARE = 1e-3
_MIN_SECONDS = 0.01  # of a plausible series
_MAX_SECONDS = 4 * 3600.0


class SeriesFinding(NamedTuple):
    """A problem of series, and its remedy. Series with an error are refused by `read_series`."""

    level: Literal["error", "warning"]
    problem: str
    remedy: str

    def __str__(self) -> str:
        """Problem and remedy in one line."""
        return f"{self.problem}; {self.remedy}"


_error = partial(SeriesFinding, "error")
_warning = partial(SeriesFinding, "warning")


def check_series(series: SensorSeries) -> list[SeriesFinding]:
    """Problems of series, errors first.

    Args:
        series: series that were read with `checked=False`, so that errors are listed and not raised.

    Example:
        >>> from spikebridge.data.signals.series import make_series
        >>> series = make_series([[0.0, 1.0, float("nan")], [2.0, 0.0, 1.0]], rate_hz=100, label=[0, 0])
        >>> for finding in check_series(series):
        ...     print(finding.level, finding)
        error 1 of 6 values are NaN or infinite, first in series 0, channel 0, sample 2; cut these stretches out or...
        warning there are no groups; add `group`, the person or device of each series: without it a split is random...
        warning all series have the label '0'; a classifier needs two classes
    """
    findings = [*_known_set(series), *_values(series), *_lengths(series), *_groups(series), *_labels(series)]
    return sorted(findings, key=lambda finding: finding.level)


def _known_set(series: SensorSeries) -> Iterator[SeriesFinding]:
    """Findings about rate and channels of a known set."""
    known = next((one for one in KNOWN_SETS if one.name == series.name), None)
    if known is None:
        return

    if series.rate_hz != known.rate_hz:
        rates = f"which has {known.rate_hz:g} Hz, but rate_hz is {series.rate_hz:g}"
        remedy = "correct it, or rename the arrays to label and group if this is a recording of your own"
        yield _error(f"the arrays are those of {known.name}, {rates}", remedy)

    if series.num_channels != known.num_channels:
        channels = f"which has {known.num_channels} channels, but samples has {series.num_channels}"
        remedy = "a missing channel cannot be left out: give all of them in their order"
        yield _error(f"the arrays are those of {known.name}, {channels}", remedy)


class _Faults(NamedTuple):
    """Faults of the values of all series."""

    num_not_finite: int
    first: tuple[int, int, int]  # series, channel and sample of the first one
    constant: list[list[int]]  # channels of each series
    clipped: list[int]  # series
    repeated: list[tuple[int, int]]  # a series, and a later one with the same samples


def _values(series: SensorSeries) -> Iterator[SeriesFinding]:
    """Findings about values that are not finite, channels that do not change, clipped and repeated series."""
    faults = _find_faults(series)
    names = series.channel_names

    if faults.num_not_finite:
        index, channel, sample = faults.first
        num_values = int((series.stops - series.starts).sum()) * series.num_channels
        first = f"first in series {index}, channel {names[channel]}, sample {sample}"
        remedy = "cut these stretches out or fill them in the way that suits the sensor"
        yield _error(f"{faults.num_not_finite} of {num_values} values are NaN or infinite, {first}", remedy)

    # most units of a spike train are silent, and its counts are small integers
    continuous = series.name != "spike_trains"
    for channel, name in enumerate(names if continuous else ()):
        dead = [index for index, channels in enumerate(faults.constant) if channel in channels]
        if len(dead) == len(series):
            yield _warning(f"channel {name} never changes", "it looks like a missing channel: check the sensor")
        elif dead:
            problem = f"channel {name} does not change in {len(dead)} of {len(series)} series, first series {dead[0]}"
            yield _warning(problem, "it looks like a loose contact: leave these series out")

    if faults.clipped and continuous:
        problem = f"{len(faults.clipped)} of {len(series)} series are clipped, first series {faults.clipped[0]}"
        yield _warning(problem, "record with less gain")

    if faults.repeated:
        index, copy = faults.repeated[0]
        problem = f"{len(faults.repeated)} series are there twice, first series {copy}, which is series {index} again"
        yield _warning(problem, "remove the copies: a copy in the test set flatters")


def _find_faults(series: SensorSeries) -> _Faults:
    num_not_finite = 0
    first = (0, 0, 0)
    constant: list[list[int]] = []
    peaks: list[Float32[np.ndarray, " C"]] = []
    clipped_shares: list[Float32[np.ndarray, " C"]] = []
    first_with: dict[int, int] = {}
    repeated = []

    for index in range(len(series)):
        x = series[index]
        finite = np.isfinite(x)
        if not finite.all():
            if not num_not_finite:
                sample, channel = np.argwhere(~finite)[0].tolist()
                first = index, channel, sample

            num_not_finite += int((~finite).sum())
            x = np.where(finite, x, 0)

        # one sample is neither constant nor a copy
        constant.append(np.flatnonzero((x == x[:1]).all(0)).tolist() if len(x) > 1 else [])
        peaks.append(np.abs(x).max(0))
        clipped_shares.append(_clipped_share(x))
        content = hash(x.tobytes())

        if len(x) > 1 and len(constant[-1]) < x.shape[1]:
            if content in first_with:
                repeated.append((first_with[content], index))
            first_with.setdefault(content, index)

    # runs at the extreme of a quiet series are no sign of clipping
    loud = np.stack(peaks) >= np.stack(peaks).max(0) / 2
    clipped = np.flatnonzero((loud & (np.stack(clipped_shares) >= _CLIPPED_SHARE)).any(1))

    return _Faults(num_not_finite, first, constant, clipped.tolist(), repeated)


def _clipped_share(x: Float32[np.ndarray, "L C"]) -> Float32[np.ndarray, " C"]:
    """The share of samples of each channel in runs of equal ones at its largest or smallest value."""
    if len(x) <= _CLIPPED_RUN:
        return np.zeros(x.shape[1], np.float32)

    low = x.min(0)
    high = x.max(0)
    extreme = ((x == high) | (x == low)) & (low < high)
    # a run begins where three samples in a row are at the same extreme
    run = extreme[:-2] & extreme[1:-1] & extreme[2:] & (x[:-2] == x[2:]) & (x[1:-1] == x[2:])

    return (run.sum(0) / len(x)).astype(np.float32)


def _lengths(series: SensorSeries) -> Iterator[SeriesFinding]:
    """Findings about lengths that show a wrong rate."""
    median = float(np.median(series.seconds))
    if not _MIN_SECONDS <= median <= _MAX_SECONDS:
        problem = f"at {series.rate_hz:g} Hz the series last {median:.3g} s in the median"
        yield _warning(
            problem, "check rate_hz: it is the number of samples a second, in Hz, not in kHz and not the step"
        )


def _groups(series: SensorSeries) -> Iterator[SeriesFinding]:
    """Findings about too few groups for a split by group."""
    if series.marks is not None:
        return

    if series.group is None:
        reason = "without it a split is random, and its accuracy says nothing about unseen people"
        yield _warning("there are no groups", f"add `group`, the person or device of each series: {reason}")
    elif len(series.groups) < 2:
        problem = f"all series are of one group, {series.group_names[series.groups[0]]!r}"
        yield _warning(problem, "record a second person: the accuracy on unseen people cannot be measured")


def _labels(series: SensorSeries) -> Iterator[SeriesFinding]:
    """Findings about missing labels, a single class, classes with one series, and classes of one group."""
    if series.marks is not None:
        return

    if series.label is None:
        yield _warning("there are no labels", "add `label` to train or to measure an accuracy")
        return

    counts = np.bincount(series.label, minlength=series.num_classes)
    present = np.flatnonzero(counts).tolist()
    if len(present) < 2:
        yield _warning(
            f"all series have the label {series.label_names[present[0]]!r}", "a classifier needs two classes"
        )
        return

    single = [series.label_names[i] for i in np.flatnonzero(counts == 1).tolist()]
    if single:
        problem = f"{len(single)} of {len(present)} classes have one series only, first {single[0]!r}"
        yield _warning(problem, "record more: a class cannot be in training and test with one series")

    # with one group there is a finding already
    if series.group is None or len(series.groups) < 2:
        return

    groups_of = {i: np.unique(series.group[series.label == i]) for i in present if counts[i] > 1}
    of_one_group = [series.label_names[i] for i, groups in groups_of.items() if len(groups) == 1]
    if of_one_group:
        problem = f"{len(of_one_group)} of {len(present)} classes are of one group only, first {of_one_group[0]!r}"
        yield _warning(problem, "record it from a second one: with that group held out the class cannot be learned")
