"""Times of commands with different numbers of threads, on a quiet machine and on a busy one.

python research/project/busy.py                        # all works; a quarter of an hour on a quiet machine of two cores
python research/project/busy.py --works digits track   # some of them; the rows of the others stay as they are
python research/project/busy.py --threads auto 1 2     # some settings
python research/project/busy.py --demo                 # also the training of `make demo`, some minutes a setting

The load of a busy machine is one counting process a core; it ends with this script. The row "unset" is PyTorch without
our settings: a thread a core, each waiting in a loop. CPU time is measured, too, since it depends little on other load:
on a quiet machine one thread has as much CPU time as wall time. A row also has the largest relative difference of the
results from those of one thread; numbers that differ between two runs on one thread, and those named as times, are left
out of it. Results are written to research/project/results/busy.json; `python research/pages/project_page.py` makes the
table of docs/how-to/choose-threads.md.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spikebridge.data.io.atomic import write_text
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "busy.json"
COMMAND = [sys.executable, "-m", "spikebridge"]
LOAD = "import os, sys\nwhile os.getppid() == int(sys.argv[1]):\n    for _ in range(10**6): pass"
SETTINGS = ("unset", "auto", "1", "2", "4", "8", "16")
WORKS = {
    "digits": "train digits --preset quick --out run --quiet",
    "modulation": "train modulation --preset quick --out run --quiet",
    "reasoning": "train reasoning --preset quick --out run --quiet",
    "sensing": "train sensing --preset quick --out run --quiet",
    "track": "track recording --out boxes.csv --quiet",
    "demo": "train digits --preset default --out run --quiet",
}
TIMES = re.compile(r"\b(s|ms|us|seconds|minutes)\b")
ANSWERS = {"track": "boxes.csv"}  # the file that is compared; else the results of the run
MAX_SECONDS = 900.0  # a command that takes longer is stopped


@contextmanager
def load(busy: bool) -> Iterator[None]:
    """One counting process a core while the block runs, if the machine shall be busy."""
    command = [sys.executable, "-c", LOAD, str(os.getpid())]
    processes = [subprocess.Popen(command) for _ in range((os.cpu_count() or 1) * busy)]

    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def environment(setting: str) -> dict[str, str]:
    """The variables of a process; "unset" undoes the settings of the command: threads wait in a loop, as in libgomp."""
    # settings of the user would stand in for those that are measured
    own = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "MKL_"))}
    cores = str(os.cpu_count() or 1)
    return own | ({"OMP_NUM_THREADS": cores, "GOMP_SPINCOUNT": "300000"} if setting == "unset" else {})


def measure(work: str, setting: str, folder: Path, busy: bool) -> dict[str, Any]:
    """Runs a command once: seconds, CPU seconds, and the numbers of its results."""
    command = [*COMMAND, *WORKS[work].split(), "--threads", "auto" if setting == "unset" else setting]
    # a run folder that is there would be refused
    subprocess.run(["rm", "-rf", "run", "boxes.csv"], cwd=folder, check=True)

    with load(busy):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()

        try:
            subprocess.run(
                command, cwd=folder, env=environment(setting), check=True, capture_output=True, timeout=MAX_SECONDS
            )
        except subprocess.TimeoutExpired:
            return {"seconds": None, "cpu": None}

        seconds = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)

    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(seconds, 2), "cpu": round(cpu, 2), "numbers": dict(_numbers(work, folder))}


def _numbers(work: str, folder: Path) -> Iterator[tuple[str, float]]:
    """All numbers of the results with their places."""
    path = folder / ANSWERS.get(work, "run/results.json")
    if path.suffix != ".csv":
        yield from _leaves(json.loads(path.read_text()))
        return

    for row, line in enumerate(path.read_text().splitlines()[1:]):
        for column, cell in enumerate(line.split(",")):
            if cell:
                yield f"{row},{column}", float(cell)


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(item, f"{place}/{key}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield place, float(value)


def difference(numbers: Mapping[str, float], others: Mapping[str, float], without: Set[str]) -> float | None:
    """Largest difference relative to the larger of both numbers; None where they cannot be paired."""
    if numbers.keys() != others.keys():
        return None
    pairs = ((a, others[place]) for place, a in numbers.items() if place not in without and a != others[place])
    return max((abs(a - b) / max(abs(a), abs(b)) for a, b in pairs), default=0.0)


def rows(works: Sequence[str], settings: Sequence[str]) -> Iterator[dict[str, Any]]:
    """One row a work and setting, as soon as it is measured."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "track" in works:
            make = [*COMMAND, "data", "make", "moving-object", "recording"]
            subprocess.run(make, cwd=folder, check=True, capture_output=True)

        for work in works:
            # files and caches of the first run are not measured
            measure(work, "auto", folder, busy=False)
            reference: dict[str, float] | None = None
            times: set[str] = set()

            # one thread comes first, since the others are compared with it
            for setting in sorted(settings, key=lambda setting: setting != "1"):
                quiet = measure(work, setting, folder, busy=False)
                busy = measure(work, setting, folder, busy=True)
                numbers = quiet.pop("numbers", {})
                repeated = busy.pop("numbers", {})

                if setting == "1":
                    reference = numbers
                    times = {place for place, a in numbers.items() if TIMES.search(place) or repeated.get(place) != a}

                largest = None if reference is None else difference(reference, numbers, times)
                yield {"work": work, "threads": setting, "quiet": quiet, "busy": busy, "difference": largest}


def main() -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--works", nargs="+", choices=WORKS, default=[name for name in WORKS if name != "demo"])
    parser.add_argument("--threads", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--demo", action="store_true", help="also the training of `make demo`")
    options = parser.parse_args()
    works = [*options.works, *(["demo"] if options.demo and "demo" not in options.works else [])]
    earlier = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"] if RESULTS.exists() else []
    results: list[dict[str, Any]] = [row for row in earlier if row["work"] not in works]
    # the results that are written below change the tree
    revision = describe_environment()["git_revision"]

    for row in rows(works, options.threads):
        print(json.dumps(row), flush=True)
        results.append(row | {"git_revision": revision})
        measured = {"cores": os.cpu_count(), "rows": sorted(results, key=lambda row: list(WORKS).index(row["work"]))}
        write_text(RESULTS, json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
