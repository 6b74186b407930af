"""Damaged files of every input format are refused in one line, or read; `make fuzz` tries 1,000 of each."""

import os
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch

import spikebridge
from fuzz import campaign
from fuzz.campaign import Outcome, Row, read_all, run_format, specimen, through_command
from fuzz.oracles import Accepted, Check, at, closed, fingerprint, payload, rows, sealed
from fuzz.specimens import FORMATS, Format
from spikebridge.data.io import safe_open
from spikebridge.errors import DataError

pytestmark = pytest.mark.untyped

NUM_FILES = 20
SEED = 28
COMMANDS = ("scenes, JSON lines", "recording, meta.json", "run, config.json", "inputs of a bundle")


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_refused_or_read(name: str, tmp_path: Path) -> None:
    one = FORMATS[name]
    if not one.is_installed:
        pytest.skip(f"needs {', '.join(one.needs)}")

    row = run_format(name, SEED, range(NUM_FILES), 0, tmp_path)
    assert not row.faults
    assert row.counts.get("accepted", 0) + row.counts.get("refused", 0) == NUM_FILES

    # a format whose files are all accepted is not looked at
    assert row.counts.get("refused", 0) > 0 or not one.refuses

    if campaign.is_comparable(name):
        assert campaign.compare(name, SEED, NUM_FILES, row) == []


def test_every_format_that_is_installed_has_an_entered_number() -> None:
    numbers = campaign.entered()
    entered = numbers["accepted"][f"seed {SEED}, {NUM_FILES} files"]
    installed = {name for name, one in FORMATS.items() if one.is_installed}

    # the optional packages of a format may have been there or not
    assert all(name in entered for name in installed if campaign.is_comparable(name))
    assert set(entered) <= set(FORMATS)
    assert set(numbers["read"]) >= set(entered)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_ends_in_one_line(name: str, tmp_path: Path) -> None:
    one = FORMATS[name]
    content = specimen(one, tmp_path).content
    (tmp_path / one.file).write_bytes(content[: len(content) // 2])
    assert through_command(one, tmp_path) == ""


def stub(read: object, *checks: Check) -> Format:
    def write(folder: Path) -> None:
        (folder / "a").write_bytes(b"abc")

    return Format("stub", "a", write, read, checks=checks)  # type: ignore[arg-type]


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
    monkeypatch.setattr(campaign, "WALL_SECONDS", 2)
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

    lines = ["", "more than 0.2 s of processor time", "more than 2 s", "the process died of SIGABRT", ""]
    assert [one.line for one in found] == lines


def test_memory_that_a_refusal_takes_counts_with_the_size_of_the_file(tmp_path: Path) -> None:
    def refuse(folder: Path) -> None:
        np.ones(40_000_000)
        raise DataError("too large")

    # 320 MB for a file of a few bytes
    (found,) = outcomes(refuse, tmp_path)
    assert found.kind == "fault"
    assert "MB of memory to refuse a file of" in found.line


def test_an_accepted_file_is_compared_with_its_specimen(tmp_path: Path) -> None:
    one = replace(stub(lambda folder: (folder / "a").read_bytes(), sealed), mutators=(lambda content, chance: b"abd",))
    (tmp_path / "a").write_bytes(b"abc")
    kinds = {outcome.line for outcome in read_all(one, tmp_path, b"abc", 0, range(5))}
    assert kinds == {"a file with a checksum was read as something else"}

    blind = replace(stub(lambda folder: b"abc", payload(at(1))), mutators=(lambda content, chance: b"abd",))
    lines = {outcome.line for outcome in read_all(blind, tmp_path, b"abc", 0, range(5))}
    assert lines == {"numbers between the bytes 1 and 3 were changed, but the same was read"}


def test_checks_of_accepted_files() -> None:
    table = Accepted(b"a,b\n1,2\n", b"a,b\n1,2\n\n3,4", False, "", [(1, 2)], True)
    assert rows(len)(table) == "2 rows in the file, but 1 were read"
    assert rows(len)(table._replace(value=[(1, 2), (3, 4)])) == ""
    assert closed(table) == ""
    assert closed(table._replace(link="a copy elsewhere")) == "a link that leaves the folder was followed"
    assert sealed(table._replace(same=False, is_opened=True)) == ""

    # a change elsewhere, such as of a comment, may be read as the same
    numbers = Accepted(b"#12", b"%12", False, "", None, True)
    assert payload(at(1))(numbers) == ""
    assert payload(at(1))(numbers._replace(after=b"#13", same=False)) == ""


def test_fingerprints_tell_values_apart_and_rounded_ones_forgive_the_last_bits() -> None:
    plain = [1, True, 1.0, "1", b"1", None, [1], [[1]], {"a": 1}, {"b": 1}]
    values = [*plain, np.array([1]), np.array([1.0]), torch.ones(1), torch.nn.Linear(1, 1)]
    assert len({fingerprint(value) for value in values}) == len(values)

    third = np.array([1 / 3])
    assert fingerprint(third) != fingerprint(np.nextafter(third, 1))
    assert fingerprint(third, rounded=True) == fingerprint(np.nextafter(third, 1), rounded=True)
    assert fingerprint(third, rounded=True) != fingerprint(third * 1.01, rounded=True)


def test_another_number_of_accepted_files_names_the_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "NUMBERS", tmp_path / "accepted.json")
    row = Row({"accepted": 7, "refused": 43}, [], "0123")
    campaign.enter("NIR", 24, 50, row)
    campaign.enter("chip", 24, 50, row)
    assert campaign.is_comparable("NIR")
    assert campaign.compare("NIR", 24, 50, row) == []

    (line,) = campaign.compare("NIR", 24, 50, row._replace(counts={"accepted": 8}))
    assert line.startswith("NIR: 8 of 50 files of seed 24 are accepted, before it were 7; if that is meant, `python -m")

    (line,) = campaign.compare("NIR", 24, 50, row._replace(read="4567"))
    assert line.startswith("NIR: the specimen is read as something else than before")

    # other seeds are not known
    assert campaign.compare("NIR", 25, 50, row) == []


def test_a_specimen_that_is_refused_stops_the_check(tmp_path: Path) -> None:
    def refuse(folder: Path) -> None:
        raise ValueError("not mine")

    with pytest.raises(ValueError, match="not mine"):
        specimen(stub(refuse), tmp_path)


def test_a_file_can_be_made_again(tmp_path: Path) -> None:
    one = FORMATS["events, csv"]
    content = specimen(one, tmp_path).content
    files = [campaign.damaged(one, content, 3, number) for number in range(20)]

    assert files == [campaign.damaged(one, content, 3, number) for number in range(20)]
    assert len({*files}) > 15


def test_every_suffix_that_is_read_has_a_specimen() -> None:
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


# modules that open files for others, for a caller that has a specimen, or of which the user is the author
NO_SPECIMEN = {
    "spikebridge.data.images.photographs": "pictures that come with a package",
    "spikebridge.recipes.load": "a recipe file is a program that the user starts",
    "spikebridge.training.callbacks.loggers": "one word, the id of a run",
    "spikebridge.pretrained.models": "cards of the networks that come with the package",
}
OPENERS = ("safe_open", "json_text", "json_stream", "npz", "hdf5", "images")
READING = {
    *("open_binary", "read_bytes", "read_text", "open_unpacked", "checked_file", "read_json", "json_objects"),
    *("read_npz", "array_names", "npz_columns", "open_hdf5", "open_image", "read_grey"),
}


def test_every_module_that_opens_files_has_a_specimen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    check = safe_open._check_kind

    def watch(*arguments: Any) -> None:
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            seen.add(frame.f_globals.get("__name__", ""))
            frame = frame.f_back
        check(*arguments)

    monkeypatch.setattr(safe_open, "_check_kind", watch)
    # formats of one folder differ in the file that is damaged
    for number, one in enumerate({(one.write, one.read): one for one in FORMATS.values()}.values()):
        if one.is_installed:
            specimen(one, tmp_path / f"{number}")

    missing = sorted(set(modules_that_open_files()) - seen - set(NO_SPECIMEN))
    assert missing == []
    assert set(NO_SPECIMEN) <= set(modules_that_open_files())


def modules_that_open_files() -> list[str]:
    """Modules that import a function which opens a file; one that reads what comes with the package names its place."""
    package = Path(spikebridge.__file__).parent
    names = []
    for path in package.rglob("*.py"):
        text = path.read_text("utf-8")
        opens = re.findall(rf"from spikebridge\.data\.io\.(?:{'|'.join(OPENERS)}) import ([^(\n]+|\([^)]+\))", text)
        functions = set(re.findall(r"\w+", " ".join(opens))) & READING
        reads_own = "with_suffix" in text and functions == {"read_json"}
        if functions and not reads_own and path.parent.name != "io":
            names.append(".".join(path.relative_to(package.parent).with_suffix("").parts))

    return names


def test_the_campaign_reports_faults_and_keeps_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(folder: Path) -> None:
        if (folder / "a").read_bytes() != b"abc":
            raise KeyError("a")

    monkeypatch.setitem(FORMATS, "stub", stub(fail))
    monkeypatch.setattr(campaign, "NUMBERS", tmp_path / "none.json")
    words = ["campaign", "--formats", "stub", "--files", "5", "--keep", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)

    assert campaign.main() == 1

    said = capsys.readouterr().out
    # a mutation may leave one file as it was
    assert "5 faults up to seed 0" in said or "4 faults up to seed 0" in said
    assert "stub, seed 0, file 0: KeyError" in said
    assert (tmp_path / "stub-0-0").exists()
