"""Spike trains in HDF5, as SHD and SSC hold them, on files made here."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from spikebridge.cli.main import main
from spikebridge.data.signals.checks import check_series
from spikebridge.data.signals.files import read_series
from spikebridge.errors import ConfigError, DataError


def write(path: Path, **changes: Any) -> Path:
    """A file of three samples; an array of None is left out."""
    arrays: dict[str, Any] = {
        "spikes/times": [[0.0, 0.011, 0.0119], [0.005], [0.035]],
        "spikes/units": [[0, 5, 5], [699], [1]],
        "labels": np.array([0, 1, 0], np.uint16),
        "extra/speaker": np.array([4, 4, 9], np.uint16),
        "extra/keys": np.array([b"zero", b"one"]),
        **changes,
    }

    kinds = {"spikes/times": np.float16, "spikes/units": np.uint16}
    with h5py.File(path, "w") as h5:
        for name, values in arrays.items():
            if name in kinds and isinstance(values, list):
                column = h5.create_dataset(name, (len(values),), h5py.vlen_dtype(np.dtype(kinds[name])))
                for index, one in enumerate(values):
                    column[index] = np.array(one, kinds[name])
            elif values is not None:
                h5[name] = values

    return path


def test_spikes_are_counted_in_bins_of_each_sample(tmp_path: Path) -> None:
    series = read_series(write(tmp_path / "shd.h5"))
    assert (series.name, series.rate_hz, series.num_channels, len(series)) == ("spike_trains", 100.0, 700, 3)
    assert [series[index].shape[0] for index in range(3)] == [2, 1, 4]

    first = series[0]
    assert (first[0, 0], first[1, 5], first.sum()) == (1, 2, 3)
    assert (series.label_names, series.label.tolist()) == (("zero", "one"), [0, 1, 0])
    assert (series.group_names, series.group.tolist()) == (("4", "9"), [0, 0, 1])
    assert read_series(tmp_path / "shd.h5", rate_hz=1000.0)[0].shape == (12, 700)


def test_silent_units_and_small_counts_are_no_findings(tmp_path: Path) -> None:
    found = check_series(read_series(write(tmp_path / "shd.h5")))
    assert not [one for one in found if "channel" in one.problem or "clipped" in one.problem]


def test_data_check_shows_classes_and_speakers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "shd.h5")
    assert main(["data", "check", str(path), "--draw", str(tmp_path / "shd.svg")]) == 0

    text = capsys.readouterr().out
    assert "zero" in text and "spike_trains" in text
    assert (tmp_path / "shd.svg").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "there is no labels"),
        ({"spikes/units": None}, "there is no spikes/units"),
        ({"labels": np.array([0, 1])}, r"one entry a sample"),
        ({"labels": np.array([0.5, 1, 2])}, "labels: expected integers"),
        ({"spikes/units": np.zeros((3, 2), np.uint16)}, "expected one entry a sample"),
        ({"spikes/times": np.zeros(3)}, "expected a list of numbers for each sample"),
        ({"spikes/units": [[0, 5], [699], [1]]}, r"sample 0: expected a time and a unit .* \(3,\) and \(2,\)"),
        ({"spikes/units": [[0, 5, 700], [699], [1]]}, "units from 0 to 699, but found 700"),
        ({"spikes/times": [[0, 0, np.nan], [0], [0]]}, "sample 0: expected times from 0 to 60 s"),
        ({"spikes/times": [[0, 0, 0], [0], [-0.5]]}, "sample 2: expected times from 0 to 60 s"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_series(write(tmp_path / "shd.h5", **changes))


def test_other_files_and_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "words.h5").write_text("plain words")
    with pytest.raises(DataError, match="does not begin as an HDF5 file"):
        read_series(tmp_path / "words.h5")

    path = write(tmp_path / "shd.h5")
    content = path.read_bytes()
    (tmp_path / "cut.h5").write_bytes(content[: len(content) // 2])

    with pytest.raises(DataError, match="expected an HDF5 file of spike trains"):
        read_series(tmp_path / "cut.h5")

    with h5py.File(path, "a") as h5:
        h5["extra/elsewhere"] = h5py.ExternalLink("/etc/hostname", "/")

    with pytest.raises(DataError, match="a link to elsewhere"):
        read_series(path)

    with pytest.raises(ConfigError, match="rate_hz"):
        read_series(path, rate_hz=-1.0)
