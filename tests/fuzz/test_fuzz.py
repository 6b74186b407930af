"""Damaged files of every input format are refused in one line, or read; `make fuzz` tries 1,000 of each."""

import os
import sys
import time
from pathlib import Path

import pytest

from fuzz import campaign
from fuzz.campaign import Outcome, read_all, run_format, specimen, through_command
from fuzz.specimens import FORMATS, Format

pytestmark = pytest.mark.untyped

NUM_FILES = 50
SEED = 24
COMMANDS = ("scenes, JSON lines", "recording, meta.json", "run, config.json", "inputs of a bundle")


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_refused_or_read(name: str, tmp_path: Path) -> None:
    one = FORMATS[name]
    if not one.is_installed:
        pytest.skip(f"needs {', '.join(one.needs)}")

    counts, faults = run_format(name, SEED, range(NUM_FILES), 0, tmp_path)
    assert not faults
    assert counts["accepted"] + counts["refused"] == NUM_FILES

    # a format whose files are all accepted is not looked at; lines of a stream are skipped one by one
    assert counts["refused"] > NUM_FILES / 5 or name == "lines of a stream"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_ends_in_one_line(name: str, tmp_path: Path) -> None:
    one = FORMATS[name]
    content = specimen(one, tmp_path)
    (tmp_path / one.file).write_bytes(content[: len(content) // 2])
    assert through_command(one, tmp_path) == ""


def stub(read: object) -> Format:
    return Format("stub", "a", lambda folder: (folder / "a").write_bytes(b"abc"), read)  # type: ignore[arg-type, return-value]


def outcomes(read: object, folder: Path, num_files: int = 1) -> list[Outcome]:
    (folder / "a").write_bytes(b"abc")
    return list(read_all(stub(read), folder, b"abc", 0, range(num_files)))


def test_a_reader_that_fails_in_another_way_is_a_fault(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise KeyError("a")

    (found,) = outcomes(fail, tmp_path)
    assert (found.kind, found.line[:8]) == ("fault", "KeyError")


def test_a_reader_that_takes_too_much_memory_or_prints_is_a_fault(tmp_path: Path) -> None:
    # more than a reader may take
    (found,) = outcomes(lambda folder: bytearray(2**32), tmp_path)
    assert (found.kind, found.line[:11]) == ("fault", "MemoryError")
    (found,) = outcomes(lambda folder: os.write(2, b"panicked"), tmp_path)
    assert (found.kind, found.line) == ("fault", "output beside the message: b'panicked'")


def test_a_reader_that_never_ends_waits_or_dies_is_a_fault_of_that_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "CPU_SECONDS", 0.2)
    monkeypatch.setattr(campaign, "WALL_SECONDS", 4)
    visits = tmp_path / "visits"

    def strange(folder: Path) -> None:
        with visits.open("a") as file:
            file.write("x")

        number = len(visits.read_text())
        if number == 2:
            while True:
                pass

        if number == 3:
            time.sleep(60)

        if number == 4:
            os.abort()

    found = outcomes(strange, tmp_path, 5)
    assert [one.number for one in found] == [0, 1, 2, 3, 4]

    lines = ["", "more than 0.2 s of processor time", "more than 4 s", "the process died of SIGABRT", ""]
    assert [one.line for one in found] == lines


def test_a_specimen_that_is_refused_stops_the_check(tmp_path: Path) -> None:
    def refuse(folder: Path) -> None:
        raise ValueError("not mine")

    with pytest.raises(ValueError, match="not mine"):
        specimen(stub(refuse), tmp_path)


def test_a_file_can_be_made_again(tmp_path: Path) -> None:
    one = FORMATS["events, csv"]
    content = specimen(one, tmp_path)
    files = [campaign.damaged(one, content, 3, number) for number in range(20)]

    assert files == [campaign.damaged(one, content, 3, number) for number in range(20)]
    assert len({*files}) > 15


def test_every_reader_has_a_specimen() -> None:
    from spikebridge.data.events.files import EVENT_FORMATS
    from spikebridge.data.io.images import SUFFIXES
    from spikebridge.data.signals.files import SERIES_FORMATS
    from spikebridge.networks.reasoning.data.clevrer_scenes import _SUFFIXES
    from spikebridge.networks.reasoning.simulation.files import VIDEO_SUFFIXES

    files = {Path(one.file).suffix for one in FORMATS.values()}
    same = {".hdf5": ".h5", ".jpeg": ".jpg", ".tiff": ".tif"}
    wanted = {
        same.get(suffix, suffix) for suffix in (*EVENT_FORMATS, *SUFFIXES, *SERIES_FORMATS, *_SUFFIXES, *VIDEO_SUFFIXES)
    }

    assert wanted <= files


def test_the_campaign_reports_faults_and_keeps_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(folder: Path) -> None:
        if (folder / "a").read_bytes() != b"abc":
            raise KeyError("a")

    monkeypatch.setitem(FORMATS, "stub", stub(fail))
    words = ["campaign", "--formats", "stub", "--files", "5", "--keep", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)

    assert campaign.main() == 1

    said = capsys.readouterr().out
    # a mutation may leave one file as it was
    assert "5 faults, seed 0" in said or "4 faults, seed 0" in said
    assert "stub, seed 0, file 0: KeyError" in said
    assert (tmp_path / "stub-0-0").exists()
