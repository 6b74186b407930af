"""Runs the shell commands of a page, in order, in the current folder.

A `spikebridge` command runs in a fork of a process that has imported the recipes and the parts of trainings and
exports, and has exported once: PyTorch is loaded once, and no thread is lost in a fork. A comment may change that:

- `# ... minutes` or `# ... hours`: the command is slow. Its options are parsed, and the next line must be its quick
  form, the same command with other options.
- `# needs ...`: the command needs a device that is missing. Its options are parsed.

A training of a quick preset that another page has run, with the same words, is copied from there.

`make` and `python research/...` are looked up, `pip install` is compared with the extras of the project.
"""

import atexit
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from torch import nn

from spikebridge.cli.command import parse_command
from spikebridge.cli.main import COMMANDS, main
from spikebridge.deploy.onnx.writer import write_onnx
from spikebridge.recipes.load import RECIPES, load_recipe

ROOT = Path(__file__).resolve().parent.parent
MAX_SECONDS = 300  # of a command; one that waits for another one which has failed is ended
IMPORTED_ONCE = ("lightning_fabric", "onnxscript")  # commands import them late; together they take seconds
_TRAINED: dict[tuple[str, ...], Path] = {}  # copies of run folders, by the words of their training
SLOW = re.compile(r"\b(minutes?|hours?)\b")


class Line(NamedTuple):
    """A command of a page."""

    number: int
    text: str
    comment: str

    @property
    def stages(self) -> list[list[str]]:
        """The words of each command of a pipe."""
        return [shlex.split(stage) for stage in self.text.removesuffix("&").split(" | ")]

    @property
    def is_slow(self) -> bool:
        """True if a quick form must follow."""
        return SLOW.search(self.comment) is not None

    @property
    def is_parsed_only(self) -> bool:
        """True if the command is not run."""
        return self.is_slow or self.comment.startswith("needs ")


def lines_of(block: str, first: int = 1) -> Iterator[Line]:
    """The commands of a block; a backslash continues a line."""
    joined = ""
    start = first
    for number, text in enumerate(block.splitlines(), start=first):
        joined += text
        if joined.endswith("\\"):
            joined = joined[:-1]
            continue

        command, _, comment = joined.partition(" #") if not joined.startswith("#") else ("", "", joined)
        if command.strip():
            yield Line(start, command.strip(), comment.strip())

        joined = ""
        start = number + 1


@cache
def _server() -> subprocess.Popen[str]:
    """The process that runs blocks; it ends with this one."""
    command = [sys.executable, str(Path(__file__))]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run_commands(block: str, first: int = 1) -> list[str]:
    """Runs the commands of a block in the current folder; gives a line for each one that fails.

    `first` is the number of the block's first line in the page.
    """
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    print(json.dumps([str(Path.cwd()), block, first]), file=server.stdin, flush=True)
    failures: list[str] = json.loads(server.stdout.readline())

    return failures


def _serve() -> None:
    """Answers one line for each line: folder, block and first line in, failures out."""
    for name in RECIPES:
        load_recipe(name)

    for name in IMPORTED_ONCE:
        import_module(name)

    # the first export translates torch's library of operators
    write_onnx(nn.Identity(), {"x": torch.ones(1, 1)})

    for request in sys.stdin:
        folder, block, first = json.loads(request)
        os.chdir(folder)
        print(json.dumps(list(_failures(block, first))), flush=True)


def _failures(block: str, first: int) -> Iterator[str]:
    background: list[tuple[Line, _Running]] = []
    lines = list(lines_of(block, first))
    for line, following in zip(lines, [*lines[1:], None], strict=True):
        if line.is_slow and not _is_quick_form(line, following):
            yield f"line {line.number}: {line.text}: a slow command needs a quick form in the next line"

        if line.is_parsed_only:
            yield from _report(line, _parse(line.stages[0]))
        elif line.stages[0][0] != "spikebridge":
            yield from _report(line, _look_up(line.stages[0]))
        elif line.text.endswith("&"):
            background.append((line, _Running(line.stages)))
        else:
            yield from _report(line, _run(line.stages))

    # the sender of a live command in the background stands in a later line
    for line, running in background:
        yield from _report(line, running.wait())


def _report(line: Line, failure: str) -> Iterator[str]:
    if failure:
        yield f"line {line.number}: {line.text}: {failure}"


def _is_quick_form(line: Line, following: Line | None) -> bool:
    if following is None or following.is_parsed_only:
        return False
    return following.stages[0][:3] == line.stages[0][:3] and following.stages[0] != line.stages[0]


def _parse(words: Sequence[str]) -> str:
    """Parses the options of a command and gives the failure; empty if there is none."""
    try:
        parse_command(COMMANDS[words[1]], f"spikebridge {words[1]}", list(words[2:]))
    except Exception as failure:  # noqa: BLE001 - any failure is one of the page
        return str(failure)

    return ""


def _look_up(words: Sequence[str]) -> str:
    """Looks up a command of another program and gives the failure; empty if there is none."""
    if words[0] == "make":
        done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stderr if done.returncode else ""

    if words[0] == "python" and words[1].startswith("research/"):
        return "" if (ROOT / words[1]).is_file() else "there is no such script"

    if words[:2] == ["pip", "install"]:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        groups = re.findall(r"\[([\w,-]+)\]", " ".join(words))
        unknown = {name for group in groups for name in group.split(",")} - extras.keys()
        return f"no such extra: {', '.join(sorted(unknown))}" if unknown else ""

    return "" if words[0] == "cd" or words[:2] == ["git", "clone"] else f"no rule for {words[0]!r}"


def _run(stages: Sequence[Sequence[str]]) -> str:
    """Runs the commands of a pipe, or copies what a training gave before, and gives the failure."""
    words = tuple(stages[0])
    is_training = words[1:2] == ("train",) and words[2] in RECIPES and {"--preset", "quick", "--out"} <= {*words}
    folder = Path(words[words.index("--out") + 1]) if is_training else Path()
    # a folder that is there decides what a training does
    if folder.exists():
        return _Running(stages).wait()

    if words in _TRAINED:
        shutil.copytree(_TRAINED[words], folder)
        return ""

    failure = _Running(stages).wait()
    if not failure:
        _TRAINED[words] = Path(tempfile.mkdtemp()) / "run"
        atexit.register(shutil.rmtree, _TRAINED[words].parent)
        shutil.copytree(folder, _TRAINED[words])

    return failure


class _Running:
    """The commands of a pipe, each in a fork of this process."""

    def __init__(self, stages: Sequence[Sequence[str]]) -> None:
        self.errors: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the last command has ended
        self.pids: list[int] = []
        source: int | None = None

        for number, words in enumerate(stages):
            reader, writer = os.pipe() if number + 1 < len(stages) else (None, None)
            self.pids.append(_fork(words, source, writer, self.errors))

            # a reader ends when the last writer has closed its end
            for end in (source, writer):
                if end is not None:
                    os.close(end)

            source = reader

    def wait(self) -> str:
        """Waits for all commands and gives the failure; empty if every one ended well."""
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in self.pids]
        self.errors.seek(0)
        text = self.errors.read().decode(errors="replace").strip()
        self.errors.close()

        # a sender whose receiver has had enough ends with 141
        failed = [code for number, code in enumerate(codes) if code and not (code == 141 and number + 1 < len(codes))]
        return f"exit code {failed[0]}: {text[-500:]}" if failed else ""


def _fork(words: Sequence[str], source: int | None, writer: int | None, errors: BinaryIO) -> int:
    """Starts one command; its output is dropped unless there is a pipe."""
    pid = os.fork()
    if pid:
        return pid

    code = 70
    try:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null if source is None else source, 0)
        os.dup2(null if writer is None else writer, 1)
        os.dup2(errors.fileno(), 2)
        sys.stdin = open(0)  # noqa: SIM115
        sys.stdout = open(1, "w")  # noqa: SIM115
        sys.stderr = open(2, "w")  # noqa: SIM115
        # a reader of the page may have no data
        os.environ.pop("SPIKEBRIDGE_DATA", None)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(MAX_SECONDS)
        code = main(words[1:]) if words[0] == "spikebridge" else 127
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve()
