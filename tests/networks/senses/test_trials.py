"""Trials of several sensors: reading, clocks, and what cannot be meant."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikebridge.errors import ConfigError, DataError
from spikebridge.networks.senses.config import parse_sense
from spikebridge.networks.senses.data.sampling import sample_trials
from spikebridge.networks.senses.data.sets import folds_of_people, generated_trials
from spikebridge.networks.senses.data.trials import Trials, findings, read_trials


def arrays(**changed: Any) -> dict[str, Any]:
    """Two trials of a wrist at 10 Hz and an eye with times of its own."""
    return {
        "wrist": np.arange(14.0).reshape(7, 2),
        "wrist_starts": [0, 4, 7],
        "wrist_rate_hz": 10.0,
        "eye": np.ones((3, 2, 2)),
        "eye_starts": [0, 2, 3],
        "eye_s": [0.0, 0.25, 0.1],
        "label": ["wave", "rest"],
        "person": [3, 5],
        **changed,
    }


def written(path: Path, **changed: Any) -> Path:
    np.savez(path / "two.npz", **arrays(**changed))
    return path / "two.npz"


def test_a_file_holds_sensors_with_rates_or_times(tmp_path: Path) -> None:
    trials = read_trials(written(tmp_path))

    assert trials.people == ["3", "5"]
    assert [trials.label_names[one] for one in trials.label] == ["wave", "rest"]
    values, times = trials.sensors["wrist"].of(1)
    assert values[:, 0].tolist() == [8, 10, 12]
    assert times == pytest.approx([0.0, 0.1, 0.2])
    assert trials.seconds() == pytest.approx([0.3, 0.2])


def test_a_folder_holds_one_file_a_sensor(tmp_path: Path) -> None:
    own = arrays()
    np.savez(tmp_path / "eye.npz", samples=own["eye"], starts=own["eye_starts"], s=own["eye_s"])
    np.savez(
        tmp_path / "wrist.npz",
        samples=own["wrist"],
        starts=own["wrist_starts"],
        rate_hz=10.0,
        label=own["label"],
        person=own["person"],
    )

    assert {name: one.shape for name, one in read_trials(tmp_path).sensors.items()} == {"eye": (2, 2), "wrist": (2,)}


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"wrist_starts": [0, 4, 9]}, "wrist_starts: expected S \\+ 1 rising places from 0 to 7"),
        ({"eye_starts": [0, 3], "eye_s": [0.0, 0.1, 0.2]}, "as many trials of each sensor"),
        ({"wrist": np.full((7, 2), np.nan)}, "leave samples out that are missing"),
        ({"eye_s": [0.25, 0.0, 0.1]}, "a time a sample, rising in each trial"),
        ({"wrist_rate_hz": 0.0}, "wrist_rate_hz above 0, or wrist_s"),
        ({"fall_start_s": [0.1, np.nan]}, "fall_start_s and fall_end_s in each of 2 trials"),
        ({"fall_start_s": [0.2, np.nan], "fall_end_s": [0.1, np.nan]}, "rising and inside of it, or NaN in both"),
        ({"fall_start_s": [9.0, np.nan], "fall_end_s": [9.1, np.nan]}, "rising and inside of it, or NaN in both"),
        ({"wrist_rate_hz": "fast"}, "wrist_rate_hz above 0, or wrist_s"),
        ({"wrist": np.zeros((7, 0))}, "wrist: expected numbers"),
        ({"wrist_units_per_one": 0}, "one number that is not 0, or one a channel"),
        ({"wrist_units_per_one": np.ones(3)}, "one number that is not 0, or one a channel"),
        ({"my-ear": np.ones(2), "my-ear_starts": [0, 1, 2]}, "a sensor has a name of letters, digits and _"),
        ({"gate": np.ones(2), "gate_starts": [0, 1, 2]}, "none of answer, gate, .* rename its arrays"),
        ({"person": [3]}, "person: expected one entry a trial"),
    ],
)
def test_a_file_that_cannot_be_meant_is_one_line(tmp_path: Path, changed: dict[str, Any], line: str) -> None:
    with pytest.raises(DataError, match=line):
        read_trials(written(tmp_path, **changed))


def test_a_file_without_labels_or_a_folder_without_sensors_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a file NAME"):
        read_trials(tmp_path)

    own = arrays()
    del own["label"]
    np.savez(tmp_path / "two.npz", **own)
    with pytest.raises(DataError, match="expected an array 'label'"):
        read_trials(tmp_path / "two.npz")


def test_a_tick_has_the_newest_sample_by_then(tmp_path: Path) -> None:
    data = sample_trials(read_trials(written(tmp_path)), {"wrist": 1, "eye": 2}, 0.1)

    # trial 1 stopped: its last sample stays
    assert data.signals["wrist"][:, :, 0].T.tolist() == [[0, 2, 4, 6], [8, 10, 12, 12]]
    assert data.lengths["wrist"].tolist() == [4, 4]
    assert data.signals["eye"][:, 0, 0, 0, 0].tolist() == [1, 1]


def test_times_that_do_not_begin_with_each_trial_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    trials = read_trials(written(tmp_path, eye_s=[0.0, 0.25, 1.7e9]))
    with pytest.raises(DataError, match=r"eye reaches 1.7e.09 s, .* begin at 0 in each trial"):
        sample_trials(trials, {"wrist": 1, "eye": 2}, 0.1)


def test_pictures_of_bytes_are_from_0_to_1(tmp_path: Path) -> None:
    values, _ = read_trials(written(tmp_path, eye=np.full((3, 2, 2), 255, np.uint8))).sensors["eye"].of(0)
    assert values.max() == 1


def test_an_old_picture_is_none(tmp_path: Path) -> None:
    trials = read_trials(written(tmp_path, wrist_rate_hz=2.0))
    data = sample_trials(trials, {"wrist": 1, "eye": 1}, 0.5)

    assert data.signals["eye"][:, 0, 0, 0, 0].tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"wrist_rate_hz": 2.0}, "eye begins or ends up to 1.2 s from wrist in 2 trials: clocks that drift"),
        ({"eye_s": [0.9, 1.0, 0.1]}, "eye begins or ends up to 0.9 s from wrist in 1 trials: clocks that drift"),
        ({"eye_starts": [0, 0, 3], "eye_s": [0.0, 0.1, 0.2]}, "eye recorded nothing in 1 of 2 trials"),
        ({}, "not every class was recorded from 3, 5"),
        ({"eye": np.full((3, 2, 2), 9.0)}, "eye has values up to 9, but pictures are read from 0, nothing, to 1"),
    ],
)
def test_findings_name_drift_missing_sensors_and_missing_classes(
    tmp_path: Path, changed: dict[str, Any], line: str
) -> None:
    assert any(line in one for one in findings(read_trials(written(tmp_path, **changed))))


def test_folds_leave_people_out() -> None:
    trials = generated_trials(num_people=3, num_each=1)

    assert [part.tolist() for part in folds_of_people(trials, (), None)] == [[0], [1], [2]]
    assert [part.tolist() for part in folds_of_people(trials, ("person 2",), None)] == [[1]]
    with pytest.raises(ConfigError, match="no person 'anna'"):
        folds_of_people(trials, ("anna",), None)
    with pytest.raises(ConfigError, match="leaves nobody to train on"):
        folds_of_people(trials, trials.person_names, None)


def test_classes_of_a_file_are_those_of_the_network() -> None:
    trials = generated_trials(num_people=1, num_each=1)
    names = ["none", *reversed(trials.label_names)]

    assert trials.with_classes(names).label.tolist() == [4, 3, 2, 1]
    with pytest.raises(DataError, match="the class 'rise', which the network does not"):
        trials.with_classes(["wave", "press", "turn"])


@pytest.mark.parametrize("text", ["wrist", "wrist=snn", "wrist=rnn@50", "wrist=snn@0", "=snn@50"])
def test_a_sense_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="a sense is NAME=snn@HZ"):
        parse_sense(text)


def test_generated_trials_have_two_clocks() -> None:
    trials: Trials = generated_trials(num_people=2, num_each=1)
    data = sample_trials(trials, {"wrist": 1, "eye": 5}, 0.02)

    assert data.signals["wrist"].shape == (100, 8, 6)
    assert data.signals["eye"].shape == (20, 8, 1, 8, 8)
    assert torch.isfinite(data.signals["wrist"]).all()
