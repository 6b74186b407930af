"""Many damaged files of every input format, each read under limits of time and memory.

    PYTHONPATH=tests python -m fuzz.campaign                                  # `make fuzz`: 1,000 files a format
    PYTHONPATH=tests python -m fuzz.campaign --seeds 0 1 2 --resume          # those that are not in the results yet
    PYTHONPATH=tests python -m fuzz.campaign --formats NIR --seeds 3 --first 17 --files 1    # one of them again
    PYTHONPATH=tests python -m fuzz.campaign --seeds 28 --files 20 --enter    # enters the numbers of accepted files

A file is damaged by a generator that the name of the format, the seed and the number of the file start, so every file
can be made again. It is read in a process of its own (a fork that reads many of them), as the command reads it. The
reader must accept the specimen before and after; of the damaged files it must accept each or refuse it with one of the
package's own errors, which the command shows as one line with exit code 2. Anything else is a fault: another
exception, output of a library, more than 10 s of processor time, 1 GiB of memory, for a refused file 10 times its
size and 200 MB, or a process that dies. Some files are also given to the command itself, in processes of their own.

A reader that accepts too much raises nothing, so three more things are faults: an accepted file that fails a check of
its format (`oracles.py`), a specimen that is read as something else than `accepted.json` says, and another number of
accepted files than is entered there for the seed. These numbers hold for the libraries that the file names.

Prints a line for each format, and for each fault the file, which is kept. Writes research/project/results/fuzz.json
after each format.
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
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from fuzz.oracles import Accepted, fingerprint
from fuzz.specimens import FORMATS, Damage, Format
from spikebridge.errors import SpikebridgeError
from spikebridge.recipes.messages import explain

RESULTS = Path(__file__).parents[2] / "research" / "project" / "results" / "fuzz.json"
NUMBERS = Path(__file__).with_name("accepted.json")
CPU_SECONDS = 10  # of one file; a reader that waits takes no processor time
WALL_SECONDS = 30
COMMAND_SECONDS = 180
MEMORY = 2**31  # bytes of address space beyond those of the process that reads
MAX_MEMORY = 2**30  # bytes of memory beyond those of the process that reads
MAX_REFUSED = (10, 200e6)  # bytes a byte of a refused file, and for any file
LIBRARIES = ("numpy", "pillow", "torch", "safetensors")  # that decide on many formats
COMMAND_MEMORY = 8 * 2**30  # address space of the command, most of it of PyTorch's libraries


class Outcome(NamedTuple):
    """The outcome of a command on a damaged file.

    Args:
        number: of the file.
        kind: "accepted", "refused" or "fault".
        line: the message.
        seconds: of processor time.
        memory: bytes beyond those before; 0 where they cannot be measured.
    """

    number: int
    kind: str
    line: str
    seconds: float
    memory: int = 0


class Specimen(NamedTuple):
    """The content of the file that is to be damaged, and the fingerprint of what is read from it."""

    content: bytes
    read: str


def damaged(one: Format, content: bytes, seed: int, number: int) -> Damage:
    """The file of a number."""
    return one.damage(content, random.Random(f"{one.name} {seed} {number}"))


def specimen(one: Format, folder: Path) -> Specimen:
    """Writes the specimen and reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder):
        one.write(folder)
        read = fingerprint(one.read(folder), rounded=True)

    return Specimen((folder / one.file).read_bytes(), read)


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
    original = fingerprint(one.read(folder)) if one.checks else ""
    with os.fdopen(pipe, "wb") as sending:
        for number in numbers:
            (folder / one.file).unlink(missing_ok=True)
            for path, whole in intact.items():
                path.write_bytes(whole)

            damage = damaged(one, content, seed, number)
            one.place(folder, damage)
            before = _start_of_memory()
            signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
            signal.alarm(WALL_SECONDS)
            spoken.truncate(0)
            spoken.seek(0)
            begun = time.process_time()
            kind, line = _outcome(one, folder, content, damage, original)
            seconds = time.process_time() - begun
            memory = _memory("VmHWM") - before
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
            spoken.seek(0)

            if said := spoken.read(200):
                kind = "fault"
                line = f"output beside the message: {said!r}"
            elif too_large := _complaint_about_memory(kind, memory, len(damage.content)):
                kind = "fault"
                line = too_large

            pickle.dump((number, kind, line, seconds, memory), sending)
            sending.flush()

    os._exit(0)


def _start_of_memory() -> int:
    """Bytes of this process, from which on its peak is counted anew."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")

    return _memory("VmHWM")


def _memory(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return 1024 * int(line.split()[1])

    return 0


def _complaint_about_memory(kind: str, memory: int, size: int) -> str:
    per_byte, allowance = MAX_REFUSED
    if kind == "refused" and memory > per_byte * size + allowance:
        return f"{memory / 1e6:.0f} MB of memory to refuse a file of {size} bytes"
    if memory > MAX_MEMORY:
        return f"{memory / 1e6:.0f} MB of memory for a file of {size} bytes"

    return ""


def _outcome(one: Format, folder: Path, content: bytes, damage: Damage, original: str) -> tuple[str, str]:
    try:
        value = one.read(folder)
    except BaseException as failure:  # noqa: BLE001 - as the command does
        line, code = explain(failure)
        line = " ".join(line.split())
        own = isinstance(failure, SpikebridgeError) or (isinstance(failure, OSError) and bool(failure.strerror))
        if code != 2 or not own:
            return "fault", f"{type(failure).__name__}: {line:.300}"
        return "refused", line

    if not one.checks:
        return "accepted", ""

    same = fingerprint(value) == original
    accepted = Accepted(content, damage.content, damage.is_opened, damage.link, value, same)
    try:
        complaints = [line for check in one.checks if (line := check(accepted))]
    except Exception as failure:  # noqa: BLE001 - a mistake in a check is one of that file alone
        complaints = [f"a check failed: {type(failure).__name__}: {failure}"]

    return ("fault", complaints[0]) if complaints else ("accepted", "")


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
        timeout=COMMAND_SECONDS,
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


class Row(NamedTuple):
    """The outcome of a format.

    Args:
        counts: files of each kind, commands, the slowest file and the largest.
        faults: a line for each.
        read: fingerprint of what the specimen was read as.
    """

    counts: dict[str, int]
    faults: list[str]
    read: str


def run_format(name: str, seed: int, numbers: range, num_commands: int, kept: Path) -> Row:
    """All files of one format."""
    one = FORMATS[name]
    counts: Counter[str] = Counter()
    faults: list[str] = []

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "specimen"
        content, read = specimen(one, folder)
        whole = Path(temporary) / "whole"
        shutil.copytree(folder, whole)
        slowest = 0.0
        largest = 0

        for outcome in read_all(one, folder, content, seed, numbers):
            counts[outcome.kind] += 1
            slowest = max(slowest, outcome.seconds)
            largest = max(largest, outcome.memory)

            if outcome.kind == "fault":
                faults.append(f"{one.name}, seed {seed}, file {outcome.number}: {outcome.line}")
                kept.mkdir(parents=True, exist_ok=True)
                file = f"{name.replace(' ', '-').replace('/', '-')}-{seed}-{outcome.number}"
                (kept / file).write_bytes(damaged(one, content, seed, outcome.number).content)

        counts["slowest ms"] = round(1e3 * slowest)
        counts["largest MB"] = round(largest / 1e6)
        for number in numbers[:num_commands] if one.words is not None else ():
            shutil.rmtree(folder)
            shutil.copytree(whole, folder)
            one.place(folder, damaged(one, content, seed, number))
            counts["commands"] += 1

            if wrong := through_command(one, folder):
                faults.append(f"{one.name}, seed {seed}, file {number}, by the command: {wrong}")

    return Row(dict(counts), faults, read)


# numbers that are entered


def installation() -> dict[str, str]:
    """Versions that decide on the bytes of specimens and on the files that libraries accept."""
    found = {"python": ".".join(map(str, sys.version_info[:2])), "zlib": zlib.ZLIB_RUNTIME_VERSION}
    for library in (*LIBRARIES, *sorted({library for one in FORMATS.values() for library in one.needs})):
        with contextlib.suppress(PackageNotFoundError):
            found[library] = version(library)

    return found


def entered() -> dict[str, Any]:
    """The numbers of `accepted.json`: what specimens are read as, and accepted files by seed and number of files."""
    return dict(json.loads(NUMBERS.read_text()))


def is_comparable(name: str) -> bool:
    """True if the numbers were entered with the libraries that are installed and that decide on a format."""
    made_with = entered()["made with"]
    here = installation()
    return all(
        made_with.get(library) == here.get(library) for library in ("python", "zlib", *LIBRARIES, *FORMATS[name].needs)
    )


def compare(name: str, seed: int, num_files: int, row: Row) -> list[str]:
    """A line for each number of a format that is another one than was entered."""
    numbers = entered()
    again = f"`python -m fuzz.campaign --enter --formats {name!r} --seeds {seed} --files {num_files}` enters it"
    known = numbers["accepted"].get(_key(seed, num_files), {}).get(name)
    accepted = row.counts.get("accepted", 0)
    lines = []

    if numbers["read"].get(name) != row.read:
        lines.append(f"{name}: the specimen is read as something else than before; if that is meant, {again}")
    if known is not None and accepted != known:
        lines.append(
            f"{name}: {accepted} of {num_files} files of seed {seed} are accepted, before it were {known}; if that is "
            f"meant, {again}"
        )

    return lines


def enter(name: str, seed: int, num_files: int, row: Row) -> None:
    """Enters the numbers of a format."""
    numbers = entered() if NUMBERS.exists() else {"read": {}, "accepted": {}}
    # an optional package may be missing here
    numbers["made with"] = numbers.get("made with", {}) | installation()
    numbers["read"][name] = row.read
    numbers["accepted"].setdefault(_key(seed, num_files), {})[name] = row.counts.get("accepted", 0)
    order = {"made with": numbers["made with"], "read": _sorted(numbers["read"])}
    accepted = {key: _sorted(numbers["accepted"][key]) for key in sorted(numbers["accepted"])}
    NUMBERS.write_text(json.dumps({**order, "accepted": accepted}, indent=1) + "\n")


def _key(seed: int, num_files: int) -> str:
    return f"seed {seed}, {num_files} files"


def _sorted(rows: dict[str, Any]) -> dict[str, Any]:
    return {name: rows[name] for name in FORMATS if name in rows}


# results


def _save(results: dict[str, Any], rows: dict[str, Row], seed: int, seconds: float) -> None:
    """Adds formats of a seed to the results; those that are there stay."""
    one = results["seeds"].setdefault(str(seed), {"seconds": 0, "faults": [], "formats": {}})
    one["seconds"] = round(one["seconds"] + seconds)
    for name, row in rows.items():
        one["formats"][name] = row.counts
        one["faults"] += row.faults

    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--formats", nargs="*", default=list(FORMATS), metavar="NAME", help=", ".join(FORMATS))
    parser.add_argument("--files", type=int, default=1000, help="of each format (default: 1000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first file (default: 0)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--commands", type=int, default=3, help="files given to the command itself (default: 3)")
    parser.add_argument("--workers", type=int, default=2, help="formats at once (default: 2)")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-faults"), help="where files of faults are kept")
    parser.add_argument("--resume", action="store_true", help="formats that the results have are left out")
    parser.add_argument("--enter", action="store_true", help="enters the numbers of accepted files")
    return parser.parse_args()


def main() -> int:
    given = _arguments()
    numbers = range(given.first, given.first + given.files)
    is_whole = given.first == 0 and given.files >= 1000
    results: dict[str, Any] = {"files": given.files, "seeds": {}}
    if given.resume and RESULTS.exists():
        results |= json.loads(RESULTS.read_text())
        if results["files"] != given.files:
            raise SystemExit(f"{RESULTS} has {results['files']} files a format, not {given.files}")

    compares = given.first == 0 and not given.enter and NUMBERS.exists()
    others = [name for name in given.formats if compares and not is_comparable(name)]
    if others:
        print(f"not compared with {NUMBERS.name}, which was made with other libraries: {', '.join(others)}")

    num_faults = 0
    for seed in given.seeds:
        known = results["seeds"].get(str(seed), {}).get("formats", {})
        present = [name for name in given.formats if FORMATS[name].is_installed and name not in known]
        begun = time.monotonic()
        with ProcessPoolExecutor(given.workers, get_context("fork")) as pool:
            waiting = {
                pool.submit(run_format, name, seed, numbers, given.commands, given.keep): name for name in present
            }
            for done in as_completed(waiting):
                name = waiting[done]
                row = done.result()
                if given.enter:
                    enter(name, seed, given.files, row)
                if compares and name not in others:
                    row.faults.extend(compare(name, seed, given.files, row))

                counts = ", ".join(f"{key} {value}" for key, value in row.counts.items())
                print(f"{name:<34} {counts}", *row.faults, sep="\n  ", flush=True)
                num_faults += len(row.faults)
                if is_whole:
                    _save(results, {name: row}, seed, time.monotonic() - begun)
                    begun = time.monotonic()

        for name in given.formats:
            if not FORMATS[name].is_installed:
                print(f"{name:<34} left out: needs {', '.join(FORMATS[name].needs)}")

        print(f"{num_faults} faults up to seed {seed}", flush=True)

    return int(num_faults > 0)


if __name__ == "__main__":
    sys.exit(main())
