"""Only regular files are opened, and never more is read or unpacked than the limits say."""

import gzip
import io
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spikebridge.data.events.dvs_gesture import read_gesture_labels
from spikebridge.data.io import safe_open
from spikebridge.data.io.npz import read_npz
from spikebridge.data.io.safe_open import (
    checked_file,
    decoding,
    fits,
    line_blocks,
    open_binary,
    open_unpacked,
    read_at_most,
    read_bytes,
    read_lines,
    read_text,
)
from spikebridge.data.signals.wav_folder import read_wav_folder
from spikebridge.errors import DataError


def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    started = time.monotonic()
    with pytest.raises(DataError, match="expected a table, but this is a pipe; write its content into a file first"):
        read_bytes(tmp_path / "pipe", "a table")

    assert time.monotonic() - started < 1


def test_a_link_to_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe"):
        checked_file(tmp_path / "link", "a table")


def test_a_pipe_that_appears_after_the_check_does_not_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"abc")
    regular = (tmp_path / "file").stat()
    monkeypatch.setattr(Path, "stat", lambda self, **_: regular)

    with pytest.raises(DataError, match="pipe"):
        read_bytes(tmp_path / "pipe", "a table")


def test_devices_sockets_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="this is a device"):
        read_bytes(Path("/dev/zero"), "a table")

    with pytest.raises(DataError, match="this is a folder"):
        read_bytes(tmp_path, "a table")

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(DataError, match="this is a socket"):
            read_bytes(tmp_path / "socket", "a table")


def test_names_that_no_file_can_have_are_errors_of_one_kind(tmp_path: Path) -> None:
    for name in ("a\0b", "x" * 5000, "file/inside"):
        (tmp_path / "file").write_bytes(b"abc")
        with pytest.raises(DataError, match="expected a table, but"):
            read_bytes(tmp_path / name, "a table")


def test_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(DataError, match="cannot be read"):
        read_bytes(tmp_path / "a", "a table")


def test_empty_and_large_files_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(DataError, match="the file is empty"):
        read_bytes(path, "a table")

    with path.open("wb") as file:  # 8 TB that take no place on the disk
        file.truncate(2**43)

    with pytest.raises(DataError, match="a table of at most 1073741824 bytes, but it is larger"):
        read_bytes(path, "a table")


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    monkeypatch.setattr(safe_open, "read_at_most", lambda file, num_bytes: b"x" * num_bytes)
    with pytest.raises(DataError, match="at most 10 bytes"):
        read_bytes(tmp_path / "file", "a table", max_bytes=10)


def test_text_is_utf_8_with_or_without_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbfabc")

    assert read_text(path, "a word") == "abc"

    path.write_bytes("abc".encode("utf-16"))
    with pytest.raises(DataError, match="byte 0: expected a word in UTF-8"):
        read_text(path, "a word")


@pytest.mark.parametrize("packed", [False, True])
def test_plain_and_packed_files_are_read_alike(tmp_path: Path, packed: bool) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(gzip.compress(content) if packed else content)
    with open_unpacked(tmp_path / "file", "bytes") as file:
        assert file.read(300) + file.read() == content


def test_a_packed_file_that_grows_too_much_is_refused_while_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safe_open, "_ALLOWANCE", 1000)
    (tmp_path / "file").write_bytes(gzip.compress(bytes(2**22)))
    with pytest.raises(DataError, match="200 for each byte"), open_unpacked(tmp_path / "file", "bytes") as file:
        while file.read(2**16):
            pass


def test_a_damaged_packed_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(gzip.compress(b"abc" * 1000)[:-4])
    with pytest.raises(DataError, match="gzip file is damaged"), open_unpacked(tmp_path / "file", "bytes") as file:
        file.read()


def test_an_error_in_the_block_is_not_taken_for_one_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    with pytest.raises(ZeroDivisionError), open_binary(tmp_path / "file", "bytes"):
        1 / 0  # noqa: B018


def test_an_error_of_a_decoder_becomes_a_data_error_with_the_name_of_the_file() -> None:
    message = r"a\.png: expected an image, but it is damaged or of another kind \(index out of range\)"
    with pytest.raises(DataError, match=message), decoding(Path("a.png"), "an image"):
        raise IndexError("index out of range")


def test_a_declared_array_fits_below_1_gib_and_empty_axes_count_as_1() -> None:
    assert fits((60000, 28, 28))
    assert fits((2**28,), num_bytes=4)
    assert not fits((2**28 + 1,), num_bytes=4)
    assert not fits((0, 2**40))
    assert not fits((-1,))


def test_a_read_stops_at_the_end_of_the_content_or_at_the_limit() -> None:
    assert read_at_most(io.BytesIO(b"abc"), 2**40) == b"abc"
    assert read_at_most(io.BytesIO(b"abc"), 2) == b"ab"


def test_lines_come_complete_and_the_last_one_without_its_end() -> None:
    assert list(line_blocks(io.BytesIO(b"1,2,3,1\n5,6"))) == [b"1,2,3,1\n", b"5,6"]


def test_an_archive_that_lost_a_member_from_its_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "two.npz"
    np.savez(path, first=np.arange(3), second=np.arange(4))
    content = bytearray(path.read_bytes())
    # the last record: the number of members stands 10 bytes behind its mark, twice the size of the table 2 bytes later
    end = content.rindex(b"PK\x05\x06")
    table = int.from_bytes(content[end + 12 : end + 16], "little")
    second = content.rindex(b"PK\x01\x02", 0, end)
    content[end + 12 : end + 16] = (table - (end - second)).to_bytes(4, "little")
    path.write_bytes(content)

    with pytest.raises(DataError, match=r"two\.npz"):
        read_npz(path)


def test_only_ends_of_lines_end_a_line(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"a\x0bb\r\nc\x0cd\re\xc2\x85f\n")

    assert read_lines(path, "a table") == ["a\x0bb", "c\x0cd", "e\x85f"]


@pytest.mark.parametrize("read", [read_gesture_labels, lambda path: read_wav_folder(path.parent)])
def test_a_table_with_a_cell_without_end_is_refused(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = tmp_path / "labels.csv"
    path.write_text('"' + "1" * 140_000 + "\n")

    with pytest.raises(DataError, match=r"labels\.csv"):
        read(path)
