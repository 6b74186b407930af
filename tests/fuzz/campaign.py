"""Many damaged files of every input format, each read under limits of time and memory.

    PYTHONPATH=tests python -m fuzz.campaign                                  # `make fuzz`: 1,000 files a format
    PYTHONPATH=tests python -m fuzz.campaign --formats NIR --seed 3 --first 17 --files 1    # one of them again

A file is damaged by a generator that the name of the format, the seed and the number of the file start, so every file
can be made again. It is read in a process of its own (a fork that reads many of them), as the command reads it. The
reader must accept the specimen before and after; of the damaged files it must accept each or refuse it with one of the
package's own errors, which the command shows as one line with exit code 2. Anything else is a fault: another
exception, output of a library, more than 10 s of processor time or 2 GiB of memory, or a process that dies.
Some files are also given to the command itself, in processes of their own.

Prints a line for each format, and for each fault the file, which is kept. Writes research/project/results/fuzz.json.
"""

import argparse
import contextlib
import faulthandler
import json
import logging
import os
import pickle
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from fuzz.specimens import FORMATS, Format
from spikebridge.errors import SpikebridgeError
from spikebridge.recipes.messages import explain

RESULTS = Path(__file__).parents[2] / "research" / "project" / "results" / "fuzz.json"
CPU_SECONDS = 10  # of one file; a reader that waits takes no processor time
WALL_SECONDS = 120
MEMORY = 2**31  # bytes beyond those of the process that reads
COMMAND_MEMORY = 8 * 2**30  # address space of the command, most of it of PyTorch's libraries


class Outcome(NamedTuple):
    """The outcome of a command on a damaged file.

    Args:
        number: of the file.
        kind: "accepted", "refused" or "fault".
        line: the message.
        seconds: of processor time.
    """

    number: int
    kind: str
    line: str
    seconds: float


def damaged(one: Format, content: bytes, seed: int, number: int) -> bytes:
    """The file of a number."""
    return one.damage(content, random.Random(f"{one.name} {seed} {number}"))


def specimen(one: Format, folder: Path) -> bytes:
    """Writes the specimen and reads it; the content of the file that is to be damaged."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder):
        one.write(folder)
        one.read(folder)

    return (folder / one.file).read_bytes()


def read_all(one: Format, folder: Path, content: bytes, seed: int, numbers: Iterable[int]) -> Iterator[Outcome]:
    """Reads damaged files in forks of this process, which are ended where they take too long."""
    waiting = list(numbers)
    while waiting:
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            # of a fork beside threads, which the child does not use
            warnings.simplefilter("ignore", DeprecationWarning)
            process = os.fork()

        if process == 0:
            os.close(reading)
            try:
                _read_in_fork(one, folder, content, seed, waiting, writing)
            finally:
                os._exit(1)

        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            while waiting:
                try:
                    outcome = Outcome(*pickle.load(pipe))
                except (EOFError, pickle.UnpicklingError):
                    break

                waiting.pop(0)
                yield outcome

        _, status = os.waitpid(process, 0)
        if waiting and os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            why = {"SIGPROF": f"more than {CPU_SECONDS} s of processor time", "SIGALRM": f"more than {WALL_SECONDS} s"}
            yield Outcome(waiting.pop(0), "fault", why.get(name, f"the process died of {name}"), 0.0)
        elif waiting:
            code = os.waitstatus_to_exitcode(status)
            yield Outcome(waiting.pop(0), "fault", f"the process ended with code {code}", 0.0)


def _read_in_fork(one: Format, folder: Path, content: bytes, seed: int, numbers: Iterable[int], pipe: int) -> None:
    """Reads in this process, sends the outcomes and ends it."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (own + MEMORY, own + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir(folder)

    # the command shows these in lines of their own, or not at all
    warnings.simplefilter("ignore")
    logging.disable()
    faulthandler.disable()
    spoken = tempfile.TemporaryFile()  # noqa: SIM115 - open to the end of the process

    for stream in (1, 2):
        os.dup2(spoken.fileno(), stream)

    intact = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with os.fdopen(pipe, "wb") as sending:
        for number in numbers:
            for path, whole in intact.items():
                path.write_bytes(whole)

            (folder / one.file).write_bytes(damaged(one, content, seed, number))
            signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
            signal.alarm(WALL_SECONDS)
            spoken.truncate(0)
            spoken.seek(0)
            begun = time.process_time()
            kind, line = _outcome(one, folder)
            seconds = time.process_time() - begun
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
            spoken.seek(0)

            if said := spoken.read(200):
                kind = "fault"
                line = f"output beside the message: {said!r}"

            pickle.dump((number, kind, line, seconds), sending)
            sending.flush()

    os._exit(0)


def _outcome(one: Format, folder: Path) -> tuple[str, str]:
    try:
        one.mend(folder)
        one.read(folder)
    except BaseException as failure:  # noqa: BLE001 - as the command does
        line, code = explain(failure)
        line = " ".join(line.split())
        own = isinstance(failure, SpikebridgeError) or (isinstance(failure, OSError) and bool(failure.strerror))
        if code != 2 or not own:
            return "fault", f"{type(failure).__name__}: {line:.300}"
        return "refused", line

    return "accepted", ""


def through_command(one: Format, folder: Path) -> str:
    """Gives the folder to the command itself; what is wrong with how it ends, or nothing."""
    if one.words is None:
        raise ValueError(f"no command reads {one.name}")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (COMMAND_MEMORY, COMMAND_MEMORY))

    words = [sys.executable, "-m", "spikebridge.cli.main", *one.words(folder)]
    done = subprocess.run(
        words,
        capture_output=True,
        timeout=WALL_SECONDS,
        preexec_fn=limit,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )

    # a command that takes long says so every few seconds
    said = done.stderr.decode(errors="replace").splitlines()
    lines = [line for line in said if not re.fullmatch(r"spikebridge \w+: (.+, )?\d+ s", line)]
    if done.returncode not in (0, 2):
        return f"exit code {done.returncode}: {' / '.join(lines[-3:])}"
    if "Traceback" in done.stderr.decode(errors="replace") or (done.returncode == 2 and len(lines) != 1):
        return f"{len(lines)} lines on stderr: {' / '.join(lines[:3])}"

    return ""


def run_format(name: str, seed: int, numbers: range, num_commands: int, kept: Path) -> tuple[Counter[str], list[str]]:
    """All files of one format: how many of each kind, and a line for each fault."""
    one = FORMATS[name]
    counts: Counter[str] = Counter()
    faults: list[str] = []

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "specimen"
        content = specimen(one, folder)
        whole = Path(temporary) / "whole"
        shutil.copytree(folder, whole)
        slowest = 0.0

        for outcome in read_all(one, folder, content, seed, numbers):
            counts[outcome.kind] += 1
            slowest = max(slowest, outcome.seconds)

            if outcome.kind == "fault":
                faults.append(f"{one.name}, seed {seed}, file {outcome.number}: {outcome.line}")
                kept.mkdir(parents=True, exist_ok=True)
                file = f"{name.replace(' ', '-').replace('/', '-')}-{seed}-{outcome.number}"
                (kept / file).write_bytes(damaged(one, content, seed, outcome.number))

        counts["slowest ms"] = round(1e3 * slowest)
        for number in numbers[:num_commands] if one.words is not None else ():
            shutil.rmtree(folder)
            shutil.copytree(whole, folder)
            (folder / one.file).write_bytes(damaged(one, content, seed, number))
            one.mend(folder)
            counts["commands"] += 1

            if wrong := through_command(one, folder):
                faults.append(f"{one.name}, seed {seed}, file {number}, by the command: {wrong}")

    return counts, faults


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--formats", nargs="*", default=list(FORMATS), metavar="NAME", help=", ".join(FORMATS))
    parser.add_argument("--files", type=int, default=1000, help="of each format (default: 1000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first file (default: 0)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", type=int, default=3, help="files given to the command itself (default: 3)")
    parser.add_argument("--workers", type=int, default=2, help="formats at once (default: 2)")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-faults"), help="where files of faults are kept")
    given = parser.parse_args()
    begun = time.monotonic()
    rows = {}
    faults = []
    numbers = range(given.first, given.first + given.files)
    present = [name for name in given.formats if FORMATS[name].is_installed]

    with ProcessPoolExecutor(given.workers, get_context("fork")) as pool:
        done = {
            name: pool.submit(run_format, name, given.seed, numbers, given.commands, given.keep) for name in present
        }
        for name in given.formats:
            if name not in done:
                rows[name] = {"left out": f"needs {', '.join(FORMATS[name].needs)}"}
                found: list[str] = []
            else:
                counts, found = done[name].result()
                rows[name] = dict(counts)

            print(f"{name:<34} {', '.join(f'{key} {value}' for key, value in rows[name].items())}", flush=True)
            faults += found
            for line in found:
                print(f"  {line}", flush=True)

    print(f"{len(faults)} faults, seed {given.seed}, {time.monotonic() - begun:.0f} s")
    if given.files >= 1000 and set(given.formats) == set(FORMATS):
        head = {"seed": given.seed, "files": given.files, "seconds": round(time.monotonic() - begun)}
        RESULTS.write_text(json.dumps({**head, "faults": faults, "formats": rows}, indent=1) + "\n")

    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
