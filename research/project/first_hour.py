"""The first hour of a new user: walks through pages from an empty folder, each command with its time.

PYTHONPATH=tests python research/project/first_hour.py                          # all walks, quiet and busy; ten minutes
PYTHONPATH=tests python research/project/first_hour.py --walks deploy --loads quiet  # results of the others stay

A walk runs the Python blocks and shell commands of a page in order and unedited, as a reader types them: every command
is a process of its own, and the Python blocks share one. A slow command runs in the quick form that the page shows with
it; commands that need a device are left out, and so is `pip install`. "Busy" is one counting process a core. A command
that fails, or a block that prints something else than the page says, is in the results. They are written to
results/first_hour.json; `research/pages/project_page.py` makes tables of research/project/NOTES.md.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from page_commands import Line, lines_of
from research.project.busy import load
from spikebridge.data.io.atomic import write_text
from spikebridge.training.run.environment import describe_environment

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results" / "first_hour.json"
WALKS = {
    "readme": "README.md",
    "train": "docs/tutorials/train-your-own.md",
    "track": "docs/how-to/track-with-your-camera.md",
    "deploy": "docs/how-to/deploy.md",
}
LOADS = {"quiet": False, "busy": True}
BLOCK = re.compile(r"^## (?P<heading>[^\n]+)$|^```(?P<kind>python|sh)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
MAX_SECONDS = 900.0  # of a command
# answers each block with its failure; the blocks may print themselves
INTERPRETER = """
import doctest, json, os, sys, traceback
answers = sys.stdout
sys.stdout = open(os.devnull, "w")
names = {"__name__": "__main__"}
flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
for request in sys.stdin:
    text = json.loads(request)
    failures = []
    try:
        if text.startswith(">>>"):
            block = doctest.DocTestParser().get_doctest(text, names, "page", "page", 0)
            doctest.DocTestRunner(optionflags=flags).run(block, out=failures.append, clear_globs=False)
            names.update(block.globs)
        else:
            exec(compile(text, "page", "exec"), names)
    except Exception:
        failures.append(traceback.format_exc())
    print(json.dumps("".join(failures)[-500:]), file=answers, flush=True)
"""


class Step(NamedTuple):
    """A Python block, or a command, that a reader types at once."""

    line: int
    what: str
    python: str = ""


def steps(page: str) -> Iterator[Step]:
    """The steps of a page, in order."""
    heading = ""
    for match in BLOCK.finditer(page):
        heading = match["heading"] or heading
        line = page.count("\n", 0, match.start()) + 1
        if match["kind"] == "python":
            yield Step(line, f"Python: {heading}", match["text"])
        elif match["kind"] == "sh":
            yield from (Step(row.number, row.text) for row in lines_of(match["text"], line + 1) if _is_run(row))


def _is_run(line: Line) -> bool:
    return not line.is_parsed_only and line.text.startswith("spikebridge ")


@contextmanager
def _interpreter(environment: dict[str, str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that runs Python blocks; it keeps its names from block to block."""
    command = [sys.executable, "-c", INTERPRETER]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=folder, env=environment, **pipes) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def walk(page: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Takes every step of a page in a folder; a row has its line, text, seconds, and the failure if there is one."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    # a new user has no data
    environment.pop("SPIKEBRIDGE_DATA", None)
    background: list[tuple[Step, float, subprocess.Popen[bytes]]] = []

    with _interpreter(environment, folder) as interpreter:
        for step in steps(page):
            start = time.perf_counter()
            if step.python:
                yield _row(step, start, _run_block(interpreter, step.python))
                continue

            process = subprocess.Popen(
                ["bash", "-o", "pipefail", "-c", step.what.removesuffix("&")],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            if step.what.endswith("&"):
                background.append((step, start, process))
            else:
                yield _row(step, start, _wait(process))

        # a live command in the background ends with its sender, which is a later step
        for step, start, process in background:
            yield _row(step, start, _wait(process))


def _row(step: Step, start: float, failure: str) -> dict[str, Any]:
    row = {"line": step.line, "what": step.what, "seconds": round(time.perf_counter() - start, 2)}
    return row | ({"failed": failure} if failure else {})


def _run_block(interpreter: subprocess.Popen[str], text: str) -> str:
    """Runs a block and gives its failure; empty where it printed what the page shows."""
    assert interpreter.stdin is not None and interpreter.stdout is not None
    print(json.dumps(text), file=interpreter.stdin, flush=True)
    answer = interpreter.stdout.readline()
    return str(json.loads(answer)) if answer else "the interpreter ended"


def _wait(process: subprocess.Popen[bytes]) -> str:
    """Waits for a command and gives its failure; empty where it ended well."""
    try:
        error = process.communicate(timeout=MAX_SECONDS)[1].decode(errors="replace")
    except subprocess.TimeoutExpired:
        process.kill()
        return f"more than {MAX_SECONDS:.0f} s"

    # a sender whose receiver has had enough ends with 141
    return f"exit code {process.returncode}: {error[-300:]}" if process.returncode not in (0, 141) else ""


def main() -> int:
    """Takes the walks and writes the results; the exit code is 1 where a step failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--walks", nargs="+", choices=WALKS, default=list(WALKS))
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=list(LOADS))
    options = parser.parse_args()
    walks = json.loads(RESULTS.read_text(encoding="utf-8"))["walks"] if RESULTS.exists() else {}
    measured: dict[str, Any] = {"cores": os.cpu_count(), "load_before": round(os.getloadavg()[0], 2), "walks": walks}
    num_failed = 0

    for name in options.walks:
        page = WALKS[name]
        rows: dict[str, list[dict[str, Any]]] = {}

        for kind in options.loads:
            with tempfile.TemporaryDirectory() as folder, load(LOADS[kind]):
                rows[kind] = []
                for row in walk((ROOT / page).read_text(encoding="utf-8"), Path(folder)):
                    print(name, kind, json.dumps(row), flush=True)
                    rows[kind].append(row)

            num_failed += sum("failed" in row for row in rows[kind])

        walks[name] = {**walks.get(name, {}), "page": page, **rows, "environment": describe_environment()}
        write_text(RESULTS, json.dumps(measured, indent=1) + "\n")

    return int(num_failed > 0)


if __name__ == "__main__":
    sys.exit(main())
