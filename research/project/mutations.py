"""The share of small mutations of the source that the tests catch.

    python research/project/mutations.py                                         # 100 mutations of this tree, as `now`
    python research/project/mutations.py --src /path/to/checkout --label before --seed 0 --num 100
    python research/project/mutations.py --src /path/to/checkout --label before --num 100 --resume  # after a stop
    python research/project/mutations.py --label after --replay before --moves moves.tsv  # the same in this tree

Drawn are a package (a folder of the source; under `networks` each folder), one of its functions with at least two
statements, a kind of mutation and a place, each uniformly. Docstrings, annotations, decorators, f-strings, warnings and
`raise` are not mutated. Some mutations change no behaviour, so that 100 % is out of reach: compare figures of one seed.

Each mutation is written into a copy of the checkout. The tests of the package (`tests/<package>`; without that folder
the files directly in `tests/`, and those that name the package) and the doctests of the file run until one fails. Test
files that mention the module run first. Before that the tests of each package run once without a mutation: what fails
there is left out, as is a test that fails with a mutation and again without it. A timeout, after `--limit` seconds or
twice the time of the baseline, counts as caught. Real data are read from SPIKEBRIDGE_DATA.

`--replay` finds the same statement in the same function of another tree, in the file that `--moves` names (lines
`new<TAB>old old ...`, paths in the package without `.py`). Where names have changed, it compares statements and
functions without their names. Mutations that are not found are reported and count in no share.

Writes results/mutations.json after each mutation.
"""

import argparse
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

from research.project.source_mutations import (
    KINDS,
    PACKAGE,
    Mutation,
    Source,
    drawn,
    located,
    mutation_from,
    read_moves,
    read_sources,
    written,
)

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "research" / "project" / "results" / "mutations.json"
# of what lies at the top of a checkout
NOT_COPIED = {".git", ".venv", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", "runs", "site"}
MOST_MEMORY = 16 * 2**20  # KiB of address space of a test process: a mutation may ask for any number
LONGEST_BASELINE = 3600  # seconds, for the tests of a package without a mutation
MOST_FLAKY = 3  # tests a mutation that also fail without it


@dataclass
class Baseline:
    """What the tests of a package do without a mutation."""

    seconds: float
    left_out: list[str]


class Copy:
    """A copy of a checkout that holds at most one mutation."""

    def __init__(self, checkout: Path, folder: Path) -> None:
        self.root = folder / "checkout"
        self._tests_at = folder / "tests"
        self._hypothesis = folder / "hypothesis"
        shutil.copytree(checkout, self.root, ignore=lambda at, _: NOT_COPIED if Path(at) == checkout else set())
        self._refuse_another_package()

    def _refuse_another_package(self) -> None:
        words = [sys.executable, "-c", "import spikebridge; print(spikebridge.__file__)"]
        told = subprocess.run(words, env=self._environment(False), capture_output=True, text=True, check=True).stdout
        if not Path(told.strip()).is_relative_to(self.root):
            raise SystemExit(f"tests would import {told.strip()} instead of the copy in {self.root}")

    def _environment(self, keeps_bytecode: bool) -> dict[str, str]:
        own = {"PYTHONPATH": str(self.root / "src"), "OMP_NUM_THREADS": "1"}
        own |= {"HYPOTHESIS_STORAGE_DIRECTORY": str(self._hypothesis)}
        # bytecode of the baseline is reused, that of mutated files is not written
        own |= {} if keeps_bytecode else {"PYTHONDONTWRITEBYTECODE": "1"}
        return {**os.environ, **own}

    def test_files(self, package: str) -> list[str]:
        """The tests of a package, in order."""
        tests = self.root / "tests"
        top = package == "."
        if not top and (tests / package).is_dir():
            found = set((tests / package).rglob("test_*.py"))
        else:
            found = set(tests.glob("test_*.py"))
            name = re.compile(rf"\bspikebridge\.{re.escape(package.replace('/', '.'))}\b")
            found |= {path for path in tests.rglob("test_*.py") if not top and name.search(path.read_text("utf-8"))}

        return sorted(path.relative_to(self.root).as_posix() for path in found)

    def measure(self, package: str) -> Baseline:
        """Runs the tests of a package and the doctests of its files without a mutation."""
        top = package == "."
        files = self.root.glob(f"{PACKAGE}/*.py") if top else self.root.glob(f"{PACKAGE}/{package}/**/*.py")
        sources = sorted(path.relative_to(self.root).as_posix() for path in files)
        started = time.perf_counter()
        code, told = self.run([*self.test_files(package), *sources], LONGEST_BASELINE, keeps_bytecode=True)

        if code not in (0, 1):
            raise SystemExit(f"the tests of {package} do not run (exit code {code}):\n{told[-3000:]}")

        return Baseline(round(time.perf_counter() - started, 1), failures(told))

    def run(
        self,
        what: list[str],
        limit: float,
        stop: bool = False,
        leave_out: Sequence[str] = (),
        keeps_bytecode: bool = False,
    ) -> tuple[int | None, str]:
        """Runs tests; the exit code is None where they took too long."""
        shutil.rmtree(self._hypothesis, ignore_errors=True)  # no test replays the examples of an earlier mutation
        words = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=no", "-p", "no:cacheprovider", *["-x"] * stop]
        words += [f"--basetemp={self._tests_at}", "--hypothesis-seed=0", *(f"--deselect={one}" for one in leave_out)]
        limited = ["sh", "-c", f'ulimit -v {MOST_MEMORY}; exec "$@"', "sh", *words, *what]

        process = subprocess.Popen(
            limited,
            cwd=self.root,
            env=self._environment(keeps_bytecode),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # so that what the tests started ends with them
        )
        try:
            told, _ = process.communicate(timeout=max(1.0, limit))
            return process.returncode, told
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None, process.communicate()[0]

    def try_out(self, mutation: Mutation, text: str, baseline: Baseline, limit: float) -> None:
        """Writes a mutation into the copy, runs the tests, restores the file, and records the outcome."""
        path = self.root / PACKAGE / mutation.file
        whole = path.read_bytes()
        stat = path.stat()
        limit = max(limit, 2 * baseline.seconds)
        started = time.perf_counter()

        while True:
            try:
                path.write_text(text, encoding="utf-8")
                mutation.outcome, mutation.caught_by = self._outcome(mutation, baseline, limit)
            finally:
                path.write_bytes(whole)
                os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

            if mutation.outcome != "failed" or not mutation.caught_by or len(mutation.flaky) == MOST_FLAKY:
                break
            if self.run([mutation.caught_by], limit)[0] not in (1, None):
                break

            mutation.flaky.append(mutation.caught_by)

        mutation.caught = mutation.outcome != "survived"
        mutation.seconds = round(time.perf_counter() - started, 1)

    def _outcome(self, mutation: Mutation, baseline: Baseline, limit: float) -> tuple[str, str]:
        """The outcome of a mutation, and the test that caught it."""
        until = time.perf_counter() + limit
        leave_out = [*baseline.left_out, *mutation.flaky]
        near, others = self._in_order(mutation)

        for files in ([(PACKAGE / mutation.file).as_posix(), *near], others):
            if not files:
                continue
            code, told = self.run(files, until - time.perf_counter(), True, leave_out)
            if code is None:
                return "timeout", ""
            if code not in (0, 5):  # 5: none of these files has a test
                outcome = "failed" if code == 1 else "not imported" if code in (2, 3, 4) else "crashed"
                return outcome, next(iter(failures(told)), "")

        return "survived", ""

    def _in_order(self, mutation: Mutation) -> tuple[list[str], list[str]]:
        """Test files that mention the module, those that mention the function, too, first; and all others."""
        stem = Path(mutation.file).stem
        words = [Path(mutation.file).parent.name if stem == "__init__" else stem, *mutation.function.split(".")]
        ranks = {}

        for file in self.test_files(mutation.package):
            text = (self.root / file).read_text(encoding="utf-8")
            module, *function = [re.search(rf"\b{re.escape(word)}\b", text) is not None for word in words]
            ranks[file] = 2 * module + any(function)

        near = sorted((file for file in ranks if ranks[file] >= 2), key=lambda file: (-ranks[file], file))
        return near, sorted((file for file in ranks if ranks[file] < 2), key=lambda file: (-ranks[file], file))


def failures(told: str) -> list[str]:
    """Names of the tests that failed, in pytest's own words."""
    lines = [line.split(" ", 1)[1] for line in told.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return [line.split(" - ")[0].strip() for line in lines]


class Results:
    """Results of one label, saved after each mutation; other labels in the file stay."""

    def __init__(self, out: Path, label: str, facts: dict[str, Any], resume: bool) -> None:
        self.out = out
        self.label = label
        self.facts = facts
        self.mutations: list[Mutation] = []
        self.baselines: dict[str, Baseline] = {}
        self._lock = Lock()
        known = _read(out).get(label)

        if resume and known is not None:
            same = {name: value for name, value in facts.items() if name != "not_located"}  # it grows with `--replay`
            if {name: known["facts"].get(name) for name in same} != same:
                raise SystemExit(f"{label} was measured with {known['facts']}, but this is {facts}")
            self.mutations = [mutation_from(one) for one in known["mutations"]]
            self.baselines = {package: Baseline(**one) for package, one in known["baselines"].items()}

    def add(self, mutation: Mutation | None = None, **baselines: Baseline) -> None:
        """Records a mutation or the baseline of a package."""
        with self._lock:
            self.baselines |= baselines
            self.mutations += [mutation] if mutation is not None else []
            everything = {**_read(self.out), self.label: self.content()}
            draft = self.out.with_name(f"{self.out.name}.part")
            draft.write_text(json.dumps(everything, indent=2) + "\n", encoding="utf-8")
            draft.replace(self.out)

    def content(self) -> dict[str, Any]:
        packages = sorted({mutation.package for mutation in self.mutations})
        return {
            "facts": self.facts,
            **share(self.mutations),
            **({"compared": compared(self.mutations)} if "replay" in self.facts else {}),
            "by_package": {one: share([m for m in self.mutations if m.package == one]) for one in packages},
            "by_kind": {kind: share([m for m in self.mutations if m.kind == kind]) for kind in KINDS},
            "baselines": {package: asdict(one) for package, one in self.baselines.items()},
            "mutations": [asdict(mutation) for mutation in self.mutations],
        }


def share(mutations: list[Mutation]) -> dict[str, Any]:
    """How many mutations were caught, with the 95 % interval after Wilson."""
    number = len(mutations)
    caught = sum(mutation.caught for mutation in mutations)
    if not number:
        return {"n": 0, "caught": 0, "share": None}

    p = caught / number
    z = 1.96
    middle = p + z**2 / (2 * number)
    root = z * math.sqrt(p * (1 - p) / number + z**2 / (4 * number**2))
    interval = [(middle + sign * root) / (1 + z**2 / number) for sign in (-1, 1)]

    return {"n": number, "caught": caught, "share": p, "interval": interval} | {
        "timeouts": sum(mutation.outcome == "timeout" for mutation in mutations)
    }


def compared(mutations: list[Mutation]) -> dict[str, Any]:
    """Replayed mutations: which were caught in one of the two trees alone."""
    return {
        "caught_before": sum(mutation.caught_before is True for mutation in mutations),
        "caught_before_alone": [m.told() for m in mutations if m.caught_before and not m.caught],
        "caught_now_alone": [m.told() for m in mutations if m.caught and not m.caught_before],
    }


def summary(mutations: list[Mutation]) -> str:
    """The shares in words, a line a package."""
    lines = []
    for package in (None, *sorted({mutation.package for mutation in mutations})):
        one = share([mutation for mutation in mutations if package in (None, mutation.package)])
        caught = f"{one['caught']} of {one['n']}" + (f" ({one['share']:.0%})" if one["n"] else "")
        lines.append(f"{package or 'all'}: {caught}")

    return "\n".join(lines)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def revision(checkout: Path) -> str:
    """The commit of a checkout, marked where files differ from it."""
    words = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def work(checkout: Path, todo: list[Mutation], results: Results, limit: float, workers: int) -> None:
    """Tests mutations; each worker has its own copy of the checkout."""
    sources = read_sources(checkout)
    copies: SimpleQueue[Copy] = SimpleQueue()
    lock = Lock()

    def one(mutation: Mutation) -> None:
        place = copies.get()
        try:
            with lock:  # a baseline is measured once, and while no other one runs
                if mutation.package not in results.baselines:
                    results.add(None, **{mutation.package: place.measure(mutation.package)})
                    print(f"{mutation.package}: {results.baselines[mutation.package]}", flush=True)

            place.try_out(mutation, written(sources, mutation), results.baselines[mutation.package], limit)
            results.add(mutation)
        finally:
            copies.put(place)

        caught = share(results.mutations)
        print(f"{caught['caught']} of {caught['n']} caught; {mutation.told()}", flush=True)

    with TemporaryDirectory(prefix="mutations-") as folder, ThreadPoolExecutor(workers) as pool:
        for k in range(workers):
            copies.put(Copy(checkout, Path(folder) / str(k)))
        for _ in pool.map(one, todo):
            pass


def replayed(out: Path, label: str, sources: dict[str, Source], moves: Path | None) -> tuple[list[Mutation], list[str]]:
    """The mutations of another label in this tree, and those whose statement is not found."""
    known = _read(out)
    if label not in known:
        raise SystemExit(f"{out} has no label {label}; it has {', '.join(known) or 'none'}")

    found = []
    lost = []
    where = read_moves(moves)

    for old in map(mutation_from, known[label]["mutations"]):
        new = located(old, sources, where)
        if new is None:
            lost.append(f"{old.file}: {old.function}: {old.statement.splitlines()[0]}")
        else:
            found.append(new)

    return found, lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--src", type=Path, default=ROOT, help="the checkout, with src/ and tests/")
    parser.add_argument("--label", default="now", help="the name of these results")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num", type=int, default=100, help="how many mutations are drawn")
    parser.add_argument("--limit", type=float, default=240.0, help="seconds that tests may take with a mutation")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="keep what is measured under this label")
    parser.add_argument("--replay", metavar="LABEL", help="take the mutations of another label instead of drawing them")
    parser.add_argument("--moves", type=Path, help="for --replay: where files have gone")
    parser.add_argument("--list", action="store_true", help="print the mutations and run nothing")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    checkout = options.src.resolve()
    sources = read_sources(checkout)
    facts: dict[str, Any] = {"git_revision": revision(checkout), "seed": options.seed, "limit": options.limit}

    if options.replay is None:
        mutations = drawn(sources, options.seed, options.num)
    else:
        mutations, lost = replayed(options.out, options.replay, sources, options.moves)
        facts |= {"replay": options.replay, "not_located": lost}
        print(f"{len(mutations)} mutations are found again. Not found: {len(lost)}", *lost, sep="\n  ", flush=True)

    if options.list:
        for one in mutations:
            print(f"{one.file}:{one.line} {one.function}, {one.kind} ({one.located}): {one.before} -> {one.after}")
        return

    results = Results(options.out, options.label, facts, options.resume)
    done = {mutation.key for mutation in results.mutations}
    work(checkout, [one for one in mutations if one.key not in done], results, options.limit, options.workers)
    print(summary(results.mutations))


if __name__ == "__main__":
    main()
