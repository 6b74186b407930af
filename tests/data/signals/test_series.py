"""Series, their selections and windows, splits by group, and checks."""

import warnings

import numpy as np
import pytest

from spikebridge.data.signals.checks import check_series
from spikebridge.data.signals.series import SensorSeries, cut_windows, make_series, named_column
from spikebridge.data.signals.splits import folds_of, group_folds, random_folds
from spikebridge.errors import ConfigError, DataError

RNG = np.random.default_rng(0)


def noise(number: int = 8, length: int = 40, channels: int = 2, **columns: object) -> SensorSeries:
    columns = {"label": [i % 2 for i in range(number)], "group": [i % 3 for i in range(number)], **columns}
    return make_series(list(RNG.normal(size=(number, length, channels))), 50, **columns)  # type: ignore[arg-type]


def problems(series: SensorSeries) -> str:
    return "\n".join(f"{finding.level} {finding}" for finding in check_series(series))


def test_a_selection_and_windows_share_the_samples() -> None:
    series = make_series([np.arange(10.0), np.arange(100.0, 105.0)], 2, label=["b", "a"], group=[7, 3])
    one = series.select([1])

    assert one.samples is series.samples
    assert (one.label_names, one.label.tolist(), one.groups) == (("a", "b"), [0], [0])

    windows = cut_windows(series, seconds=2, stride_seconds=1.5)
    assert [windows[i].ravel().tolist() for i in range(len(windows))] == [
        [0, 1, 2, 3],
        [3, 4, 5, 6],
        [6, 7, 8, 9],
        [100, 101, 102, 103],
    ]

    assert windows.keys["series"].tolist() == [0, 0, 0, 1]
    assert windows.group.tolist() == [1, 1, 1, 0]
    with pytest.raises(ConfigError, match="below one sample"):
        cut_windows(series, seconds=0.1)


def test_labels_of_a_file_are_places_in_the_classes_of_a_network() -> None:
    series = noise(label=["rest", "wave"] * 4)
    moved = series.with_label_names(["fist", "wave", "rest"])

    assert moved.label.tolist() == [2, 1] * 4
    with pytest.raises(DataError, match="'rest', not a class"):
        series.with_label_names(["wave", "fist"])


def test_a_label_that_is_empty_or_no_place_is_refused() -> None:
    with pytest.raises(DataError, match="1 of 3 series have an empty one, first series 1"):
        named_column("label", ["a", " ", "b"], 3)

    with pytest.raises(DataError, match="1 of 2 are not, first 5 of series 1"):
        named_column("label", [0, 5], 2, ["a", "b"])

    with pytest.raises(DataError, match="integers or texts, but series 1 has"):
        named_column("label", np.array([0.0, np.nan]), 2)

    with pytest.raises(ConfigError, match="one value a series"):
        named_column("group", [1], 2)


def test_no_group_is_on_both_sides() -> None:
    series = noise(12)
    for folds in (group_folds(series), group_folds(series, 2)):
        for fold in folds:
            assert not {*series.group[fold.train]} & {*series.group[fold.test]}
            assert sorted([*fold.train, *fold.test]) == list(range(12))
        assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(12))

    assert [fold.name for fold in group_folds(series, 2)] == ["0, 2", "1"]


def test_a_random_split_warns_and_shares_every_class() -> None:
    series = noise(20, group=None)
    with pytest.warns(UserWarning, match="no groups are given.*nothing about unseen people"):
        folds = folds_of(series)

    assert {fold.by for fold in folds} == {"random"}
    for fold in folds:
        assert np.bincount(series.label[fold.test]).tolist() == [2, 2]

    assert not np.array_equal(folds[0].test, random_folds(series, 5, seed=1)[0].test)
    with pytest.warns(UserWarning, match="one group only"):
        folds_of(noise(group=["anna"] * 8))

    with pytest.raises(ConfigError, match="there is only 'anna'"):
        group_folds(noise(group=["anna"] * 8))

    with pytest.raises(ConfigError, match="3 groups allow 2 to 3 folds"):
        group_folds(noise(), 4)


def test_good_series_have_no_finding() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_series(noise(12)) == []


def test_values_that_are_not_numbers_are_an_error_with_their_place() -> None:
    series = noise()
    series.samples[45:50, 1] = np.nan
    assert "error 5 of 640 values are NaN or infinite, first in series 1, channel 1, sample 5" in problems(series)


def test_a_missing_channel_and_a_loose_contact_are_found() -> None:
    series = noise()
    series.samples[:, 0] = 3
    series.samples[80:120, 1] = 0
    found = problems(series)

    assert "warning channel 0 never changes; it looks like a missing channel" in found
    assert "channel 1 does not change in 1 of 8 series, first series 2" in found


def test_clipped_and_repeated_series_are_found() -> None:
    t = np.arange(400) / 400
    sine = np.sin(2 * np.pi * 5 * t)
    series = make_series([sine, np.clip(1.5 * sine, -1, 1), np.sin(2 * np.pi * 7 * t), sine], 400, label=[0, 1, 0, 1])
    found = problems(series)

    assert "1 of 4 series are clipped, first series 1" in found
    assert "1 series are there twice, first series 3, which is series 0 again" in found


def test_rates_people_and_classes_are_looked_at() -> None:
    found = problems(make_series([np.arange(8.0), np.arange(8.0)[::-1], np.ones(8)], 0.0005, label=[0, 0, 1]))
    assert "at 0.0005 Hz the series last 1.6e+04 s in the median; check rate_hz" in found
    assert "1 of 2 classes have one series only, first '1'" in found
    assert "there are no groups" in found
    assert "all series are of one group, 'anna'" in problems(noise(group=["anna"] * 8))
    assert "all series have the label '4'" in problems(noise(label=[4] * 8))
    assert "there are no labels" in problems(noise(label=None))
    assert "2 of 2 classes are of one group only" in problems(noise(6, label=[0, 1] * 3, group=["a", "b"] * 3))
