"""Any failure of a command is one line without control characters, and warnings do not stand before it."""

import errno
import logging
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from spikebridge.cli.command import Command, CommandResult
from spikebridge.cli.failure import interrupt_after_loading
from spikebridge.cli.main import COMMANDS, main
from spikebridge.errors import DataError, printable
from spikebridge.recipes.messages import explain

pytestmark = pytest.mark.untyped

Run = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True, kw_only=True)
class Fails(Command):
    """Warns, logs and fails."""

    failure: ClassVar[BaseException | None] = None
    text: ClassVar[str] = "done"

    def execute(self) -> CommandResult:
        """Fails, if it should."""
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("odd\x1b[31m input", stacklevel=1)

        logging.getLogger("spikebridge.somewhere").warning("odd file")
        if self.failure is not None:
            raise self.failure

        return CommandResult({}, self.text)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that fails in a way, or prints a text."""
    monkeypatch.setitem(COMMANDS, "fails", Fails)
    monkeypatch.delenv("SPIKEBRIDGE_DEBUG", raising=False)

    def call(
        failure: BaseException | None = None, text: str = "done", words: tuple[str, ...] = ()
    ) -> tuple[int, str, str]:
        monkeypatch.setattr(Fails, "failure", failure)
        monkeypatch.setattr(Fails, "text", text)
        code = main(["fails", *words])
        said = capsys.readouterr()

        return code, said.out, said.err

    return call


class PanicException(BaseException):
    """As libraries in Rust raise it."""


@pytest.mark.parametrize(
    ("failure", "code", "line"),
    [
        (DataError("a.npz: two\nlines"), 2, "error: a.npz: two lines"),
        (DataError("clip\x1b[2J\x07.npz: bad"), 2, r"error: clip\x1b[2J\x07.npz: bad"),
        (DataError("nam\udce9.npz: bad"), 2, r"error: nam\udce9.npz: bad"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a"), 2, "error: a: No such file or directory"),
        (MemoryError("Unable to allocate 9 GiB"), 2, "error: there is not enough memory for this input: Unable to"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "error: there is not enough memory"),
        (RecursionError("maximum recursion depth exceeded"), 2, "error: the input is nested too deep"),
        (KeyError("v"), 1, "unexpected KeyError: 'v' (--debug shows where)"),
        (PanicException("range end"), 1, "unexpected PanicException: range end (--debug shows where)"),
        (SystemExit(3), 1, "unexpected SystemExit: 3 (--debug shows where)"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_a_failure_is_one_line_without_the_warnings_before_it(
    run: Run, failure: BaseException, code: int, line: str
) -> None:
    found, out, err = run(failure)
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert err.startswith(f"spikebridge: {line}")


@pytest.fixture
def keyboard() -> Iterator[None]:
    """Python's own answer to Ctrl-C, which a process in the background does not have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("module", "whole"), [("torch.storage", True), ("my_recipe", False)])
def test_an_interrupt_waits_until_pytorch_is_loaded(keyboard: None, module: str, whole: bool) -> None:
    body = compile("signal.raise_signal(signal.SIGINT)\ndone.append(1)", "module.py", "exec")
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt), interrupt_after_loading():
        exec(body, {"__name__": module, "signal": signal, "done": done})
        # Python handles a signal between two instructions
        for _ in range(1000):
            time.sleep(0.001)

    assert bool(done) == whole
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_warnings_of_a_command_that_succeeds_are_one_line_each(run: Run) -> None:
    code, out, err = run()
    assert (code, out) == (0, "done\n")
    assert err == "spikebridge: warning: odd\\x1b[31m input\nspikebridge: warning: odd file\n"


def test_names_of_files_move_no_cursor(run: Run) -> None:
    assert (
        run(text="recording  clip\x1b[2J\x9b\u202e.npz\n\ta\tb")[1]
        == "recording  clip\\x1b[2J\\x9b\\u202e.npz\n\ta\tb\n"
    )
    assert printable("Übung 1 – Größe") == "Übung 1 – Größe"


def test_a_nul_in_an_argument_is_refused(run: Run) -> None:
    code, _, err = run(words=("a\0b",))
    assert (code, err) == (2, r"spikebridge: error: an argument holds a NUL character: 'a\x00b'" + "\n")


def test_debug_shows_the_failure_itself(run: Run) -> None:
    with pytest.warns(UserWarning, match="odd"), pytest.raises(MemoryError):
        run(MemoryError(), words=("--debug",))


def test_an_error_of_a_library_has_no_traceback_of_its_own() -> None:
    assert explain(MemoryError()) == ("error: there is not enough memory for this input", 2)


def test_a_full_disk_in_a_training_says_that_the_run_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = os.fsync
    number = 0

    def fsync(descriptor: int) -> None:
        nonlocal number
        number += 1
        # files at the start of the run can still be written
        if number > 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(descriptor)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", fsync)
    words = ["train", "digits", "--preset", "quick", "--networks", "ann", "--out", "run", "--quiet"]

    assert main(words) == 2

    said = capsys.readouterr().err
    line = said.splitlines()[-1]

    assert "No space left on device; the run is whole up to its last checkpoint: free some space, then" in line
    assert line.endswith("`spikebridge train digits --out run --resume` resumes")
    assert "Traceback" not in said
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_devices_and_pipes_stay_where_a_command_would_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(pipe := tmp_path / "pipe.svg")
    (link := tmp_path / "null.svg").symlink_to(os.devnull)
    for path, kind in ((pipe, "pipe"), (link, "device"), (tmp_path, "folder")):
        assert main(["draw", "digits", "--out", str(path)]) == 2
        assert f"{path}: expected the name of a file to write, but this is a {kind}" in capsys.readouterr().err

    assert pipe.is_fifo() and link.is_symlink()
