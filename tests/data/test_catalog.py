"""Known data sets: which are there, what is missing of the others, and where they come from."""

import json
import os
import subprocess
import sys

import pytest

from spikebridge.cli.main import main
from spikebridge.data import catalog
from spikebridge.data.catalog import DATA_SETS, available, data_folder, find_files, refuse_data_folder
from spikebridge.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def no_named_folder(monkeypatch):
    monkeypatch.delenv("SPIKEBRIDGE_DATA", raising=False)


def by_name(entries):
    return {entry.data_set.name: entry for entry in entries}


def test_without_a_folder_the_error_says_how_to_name_one():
    with pytest.raises(DataError, match=r"set SPIKEBRIDGE_DATA .* or give --data"):
        data_folder()


def test_the_variable_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SPIKEBRIDGE_DATA", str(tmp_path))
    assert data_folder() == tmp_path


def test_an_explicit_folder_goes_before_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("SPIKEBRIDGE_DATA", "/no/such/place")
    assert data_folder(tmp_path) == tmp_path


def test_a_folder_that_is_none_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(DataError, match="is not a folder"):
        data_folder(file)

    monkeypatch.setenv("SPIKEBRIDGE_DATA", "/no/such/place")
    with pytest.raises(DataError, match="/no/such/place does not exist; correct SPIKEBRIDGE_DATA"):
        available()


def test_the_embedded_digits_are_always_there():
    entries = by_name(available())
    assert entries["digits"].present and find_files("digits") == ()
    assert not entries["mnist"].present and len(entries["mnist"].missing) == 4


def test_a_set_of_an_optional_package_is_there_with_the_package(monkeypatch):
    for found in (None, object()):
        monkeypatch.setattr(catalog, "find_spec", lambda name, found=found: found)
        entry = by_name(available())["photographs"]
        assert entry.present == (found is not None)
        assert entry.missing == (() if found else ("the package skimage",))


def test_any_layout_will_do(tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()

    assert not by_name(available(tmp_path))["mnist"].present

    (folder / "digits.npz").touch()
    assert by_name(available(tmp_path))["mnist"].present
    assert find_files("mnist", tmp_path) == (folder / "digits.npz",)


def test_what_is_missing_is_reported_from_the_nearest_layout(tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name in ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz"):
        (folder / name).touch()

    # one file of the npz layout is missing too: the first of equals is reported
    assert by_name(available(tmp_path))["mnist"].missing == ("mnist/t10k-labels-idx1-ubyte.gz",)


def test_a_missing_set_is_reported_with_its_official_source(tmp_path):
    with pytest.raises(DataError) as caught:
        find_files("nmnist", tmp_path)

    message = str(caught.value)

    assert "nmnist/Train, nmnist/Test missing" in message
    assert "garrickorchard.com" in message and "CC BY-SA 4.0" in message


def test_a_misspelt_name_is_recognised():
    with pytest.raises(ConfigError, match="did you mean 'nmnist'"):
        find_files("nmmist")


def test_a_folder_that_would_not_be_read_is_refused(tmp_path):
    refuse_data_folder(None, "the digits of scikit-learn")
    with pytest.raises(ConfigError, match="uses the digits of scikit-learn and reads nothing from mine; leave --data"):
        refuse_data_folder("mine", "the digits of scikit-learn")


def test_every_set_says_what_it_is_and_where_it_comes_from():
    assert len({data_set.name for data_set in DATA_SETS}) == len(DATA_SETS)
    for data_set in DATA_SETS:
        assert data_set.about and data_set.source and data_set.licence


def test_the_table_needs_neither_torch_nor_numpy():
    code = "import sys, spikebridge.data.catalog; print(sorted({'torch', 'numpy', 'sklearn'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


def test_every_public_name_has_a_home():
    import spikebridge.data as data

    for name in data.__all__:
        assert getattr(data, name) is not None

    with pytest.raises(AttributeError, match="data attribute load_digit"):
        data.load_digit  # noqa: B018


def test_the_data_command_lists_every_set_with_its_missing_files_source_and_licence(tmp_path, capsys):
    (tmp_path / "nmnist" / "Train").mkdir(parents=True)
    assert main(["data", "--data", str(tmp_path), "--json"]) == 0

    entries = json.loads(capsys.readouterr().out)["data sets"]
    assert [(e["name"], e["about"], e["source"], e["licence"]) for e in entries] == [
        (known.name, known.about, known.source, known.licence) for known in DATA_SETS
    ]

    by_set = {entry["name"]: entry for entry in entries}
    assert by_set["digits"]["present"] and by_set["digits"]["missing"] == []
    assert not by_set["nmnist"]["present"] and by_set["nmnist"]["missing"] == ["nmnist/Test"]
    assert by_set["mnist"]["missing"][0] == "mnist/train-images-idx3-ubyte"


def test_the_data_command_prints_what_is_missing_for_people(tmp_path, capsys):
    assert main(["data", "--data", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("here  digits")
    assert "missing: nmnist/Train, nmnist/Test" in printed and "garrickorchard.com" in printed


def test_the_data_command_refuses_a_folder_that_does_not_exist(capsys):
    assert main(["data", "--data", "/no/such/place"]) == 2
    assert "/no/such/place" in capsys.readouterr().err
