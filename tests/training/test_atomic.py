"""Files that are there whole or not at all, and what is said where they cannot be."""

import os
from errno import ENOSPC
from pathlib import Path

import pytest

from spikebridge.errors import ConfigError
from spikebridge.training.run.atomic import atomic_write


def test_a_file_does_not_take_the_place_of_a_device_or_pipe(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    with pytest.raises(ConfigError, match=f"{pipe}: expected the name of a file"), atomic_write(pipe):
        pytest.fail("nothing may be written")
    assert pipe.is_fifo()


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("of yesterday")
    with pytest.raises(OSError) as told, atomic_write(path) as temporary:
        temporary.write_text("half")
        raise OSError(ENOSPC, os.strerror(ENOSPC))
    assert told.value.filename == str(path)
    assert path.read_text() == "of yesterday" and list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_opened_is_told_by_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "a.txt"
    with pytest.raises(FileNotFoundError) as told, atomic_write(path) as temporary:
        temporary.write_text("never")
    assert told.value.filename == str(path)
