"""Files and folders that are there whole or not at all, and never in the place of something that is no file."""

import ast
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from errno import ENOSPC
from pathlib import Path

import pytest

import spikebridge
from spikebridge.data.io.atomic import (
    append_text,
    atomic_folder,
    atomic_write,
    is_disk_full,
    is_temporary,
    make_parents,
    write_text,
)
from spikebridge.errors import ConfigError

ROOT = Path(spikebridge.__file__).parent


def names(folder: Path) -> list[str]:
    """All that is in a folder."""
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["nameless", "named"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """New files without a name, as Linux has them, and files with a temporary name."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    return str(request.param)


@pytest.mark.parametrize("write", [write_text, append_text])
def test_a_file_does_not_take_the_place_of_anything_else(tmp_path: Path, write: Callable[[Path, str], None]) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    (folder := tmp_path / "folder").mkdir()
    (link := tmp_path / "link").symlink_to("/dev/null")

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(door := tmp_path / "door"))
        for path, kind in ((pipe, "pipe"), (folder, "folder"), (door, "socket"), (link, "device")):
            with pytest.raises(
                ConfigError, match=f"{path}: expected the name of a file to write, but this is a {kind}"
            ):
                write(path, "never")

    assert pipe.is_fifo() and folder.is_dir() and door.is_socket() and link.is_symlink()


@pytest.mark.usefixtures("either_way")
def test_a_full_disk_is_reported_with_the_name_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("of yesterday")
    with pytest.raises(OSError) as raised, atomic_write(path) as file:
        file.write(b"half")
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    assert raised.value.filename == str(path)
    assert path.read_text() == "of yesterday" and names(tmp_path) == ["a.txt"]


@pytest.mark.usefixtures("either_way")
def test_a_file_that_cannot_be_opened_is_reported_by_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "a.txt"
    with pytest.raises(FileNotFoundError) as raised:
        write_text(path, "never")
    assert raised.value.filename == str(path)


@pytest.mark.usefixtures("either_way")
def test_a_new_file_replaces_the_old_one_behind_a_link_with_the_usual_permissions(tmp_path: Path) -> None:
    (path := tmp_path / "a.txt").write_text("old")
    (link := tmp_path / "link").symlink_to("a.txt")
    write_text(link, "new")

    assert link.is_symlink() and path.read_text() == "new" and names(tmp_path) == ["a.txt", "link"]

    (other := tmp_path / "b.txt").write_text("by hand")
    assert path.stat().st_mode == other.stat().st_mode


def test_a_killed_writer_leaves_nothing_that_the_next_one_does_not_remove(tmp_path: Path, either_way: str) -> None:
    forget = "" if either_way == "nameless" else "del os.O_TMPFILE"
    code = f"""
import os, signal
from pathlib import Path
{forget}
from spikebridge.data.io.atomic import atomic_folder, atomic_write
with atomic_folder(Path("folder")), atomic_write(Path("a.txt")) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""

    killed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL

    left = {"nameless": r"\.folder\.\d+\.tmp", "named": r"\.a\.txt\.\d+\.tmp \.folder\.\d+\.tmp"}[either_way]
    assert re.fullmatch(left, " ".join(names(tmp_path)))

    write_text(tmp_path / "a.txt", "whole")
    with atomic_folder(tmp_path / "folder"):
        pass

    assert names(tmp_path) == ["a.txt", "folder"]


def test_a_temporary_file_of_a_living_process_stays(tmp_path: Path) -> None:
    (other := tmp_path / f".a.txt.{os.getppid()}.tmp").write_text("of another writer")
    write_text(tmp_path / "a.txt", "whole")
    assert other.exists()


def test_a_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="half"), atomic_folder(tmp_path / "new") as draft:
        write_text(draft / "a.txt", "half")
        raise ValueError("half")

    assert names(tmp_path) == []

    (tmp_path / "new").symlink_to("nowhere")
    with pytest.raises(ConfigError, match="new is there already"), atomic_folder(tmp_path / "new"):
        pytest.fail("nothing may be written")


def test_text_is_appended_and_a_first_one_makes_the_file(tmp_path: Path) -> None:
    append_text(tmp_path / "a.txt", "abc")
    append_text(tmp_path / "a.txt", "def")
    assert (tmp_path / "a.txt").read_text() == "abcdef"


def test_temporary_files_and_a_full_disk_are_recognised() -> None:
    assert is_temporary(Path("run/.config.json.4711.tmp"))
    assert not is_temporary(Path("run/config.json"))
    assert is_disk_full(OSError(ENOSPC, "No space left on device"))
    assert not is_disk_full(FileNotFoundError(2, "No such file or directory"))


# the one module that writes, and temporary files without a name, which hold long columns
# the lock of a run must be new, or replace a stale one
WRITERS = {"data/io/atomic.py", "data/io/column.py", "training/run/lock.py"}
WRITING = {
    *("write_text", "write_bytes", "tofile", "memmap", "save_file", "replace", "rename", "renames"),
    *("symlink_to", "hardlink_to", "touch", "copy", "copy2", "copyfile", "copytree", "move", "mkstemp", "mkdtemp"),
    *("NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile", "SummaryWriter", "fdopen", "mkfifo"),
}
# these take a file name or an open file, which must be the one of `atomic_write`, or a buffer
INTO_A_FILE = {"save": 0, "savez": 0, "savez_compressed": 0, "savefig": 0, "savetxt": 0, "dump": 1, "writer": 0}
OPEN_FILES = {"file", "opened", "content", "out", "buffer", "text"}
MODULES = {"os", "shutil", "tempfile"}
ALLOWED = {
    # a lock is made where there is none, which a file that replaces another cannot say
    *(("training/run/lock.py", name) for name in ("write_text", "replace", "open")),
    # the log of a sweep's cell grows while its process prints
    ("recipes/sweep/cell.py", "open"),
    # into a temporary folder, or into one that takes its name when it is whole
    ("pretrained/hub.py", "copyfile"),
    *((f"deploy/{name}.py", "copytree") for name in ("c/boards", "chips/export")),
    # TensorBoard writes its own folder
    ("training/run/metrics.py", "SummaryWriter"),
    # folders of their own, made of `write_bytes` and `write_text`
    ("recipes/quantize.py", "save"),
    ("data/recordings/write.py", "save"),
    ("deploy/bundle/export.py", "save"),
    ("deploy/quantization/lowering.py", "save"),
}


def writes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines and names of calls that may write a file by its name, other than the functions of `data/io/atomic.py`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue

        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        words = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        if name == "open" and any(re.fullmatch(r"[rwaxbt+]{1,3}", word) and set(word) & set("wax+") for word in words):
            if ast.unparse(node.args[0]) not in OPEN_FILES:
                yield node.lineno, name
        elif name in ("write_text", "write_bytes"):
            if owner:  # `Path.write_text`
                yield node.lineno, name
        elif name in ("replace", "rename", "copy") and owner not in MODULES:
            # of a string, a dataclass or a tensor, but for a path with one argument
            if name in ("replace", "rename") and len(node.args) == 1 and not node.keywords:
                yield node.lineno, name
        elif name in WRITING or (
            name in INTO_A_FILE and owner and not {*map(ast.unparse, node.args[INTO_A_FILE[name] :][:1])} <= OPEN_FILES
        ):
            yield node.lineno, name


@pytest.mark.untyped
def test_there_is_one_way_to_write_a_file() -> None:
    found = [
        f"{name}, line {line}: {call}"
        for path in sorted(ROOT.rglob("*.py"))
        if (name := path.relative_to(ROOT).as_posix()) not in WRITERS
        for line, call in writes(ast.parse(path.read_text(encoding="utf-8")))
        if (name, call) not in ALLOWED
    ]

    assert not found, "write with data/io/atomic.py: " + "; ".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "path.open('w')",
        "open(path, mode='ab')",
        "path.write_text('a')",
        "np.savez(path, a=a)",
        "os.replace(a, b)",
        "draft.replace(path)",
        "draft.rename(path)",
        "image.save(path, 'PNG')",
        "json.dump(a, path.open('x'))",
        "save_file(tensors, path)",
        "shutil.copy(a, b)",
        "av.open(str(path), 'w')",
    ],
)
def test_every_other_way_to_write_is_found(text: str) -> None:
    assert list(writes(ast.parse(text)))


@pytest.mark.parametrize("text", ["path.open('rb')", "'a'.replace('b', 'c')", "write_text(path, 'a')", "x.copy()"])
def test_what_writes_no_file_is_not_found(text: str) -> None:
    assert not list(writes(ast.parse(text)))


def test_a_row_that_finds_no_space_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> None:
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as raised:
        append_text(tmp_path / "metrics.jsonl", "{}")
    assert raised.value.filename == str(tmp_path / "metrics.jsonl")


def test_a_folder_that_is_made_for_a_file_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_parents(tmp_path / "a.txt")
    assert not caplog.messages

    with atomic_folder(tmp_path / "misspelt" / "deep" / "new"):
        pass
    assert caplog.messages == [f"made the folder {tmp_path / 'misspelt' / 'deep'}"]
