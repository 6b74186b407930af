"""The share of small mutations of the source that the tests catch.

    cd research/project/mutation_testing
    python measure.py                                         # 100 mutations of this tree, as `now`
    python measure.py --src /path/to/checkout --label before --seed 0 --num 100
    python measure.py --src /path/to/checkout --label before --num 100 --resume  # after a stop
    python measure.py --label after --replay before --moves moves.tsv  # the same mutations in this tree

Drawn are a package (a folder of the source; under `networks` each folder), one of its functions with at least two
statements, a kind of mutation and a place, each uniformly. Docstrings, annotations, decorators, f-strings, warnings and
`raise` are not mutated. Some mutations change no behaviour, so that 100 % is out of reach: compare figures of one seed.

Each mutation is written into a copy of the checkout. The tests of the package (`tests/<package>`; without that folder
the files directly in `tests/`, and those that name the package) and the doctests of the file run until one fails. Test
files that mention the module run first. Before that the tests of each package run once without a mutation: a test that
fails there is left out, as is one that fails with a mutation and again without it. A timeout, after `--limit` seconds
or twice the time of the baseline, counts as caught. Real data are read from SPIKEBRIDGE_DATA.

`--replay` finds the same statement in the same function of another tree, in the file that `--moves` names (lines
`new<TAB>old old ...`, paths in the package without `.py`). Where names have changed, it compares statements and
functions without their names. Mutations that are not found are reported and count in no share.

Writes results/mutations.json after each mutation.
"""

import argparse
import json
import math
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

from research.project.mutation_testing.checkout import Baseline, Copy
from research.project.mutation_testing.operators import KINDS
from research.project.mutation_testing.replay import read_moves, replay
from research.project.mutation_testing.source import Mutation, draw_mutations, mutated_text, mutation_from, read_sources
from spikebridge.data.io.atomic import write_text

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "research" / "project" / "results" / "mutations.json"


class Results:
    """Results of one label, saved after each mutation; other labels in the file stay."""

    def __init__(self, out: Path, label: str, facts: dict[str, Any], resume: bool) -> None:
        self.out = out
        self.label = label
        self.facts = facts
        self.mutations: list[Mutation] = []
        self.baselines: dict[str, Baseline] = {}
        self._lock = Lock()
        earlier = _read(out).get(label)

        if resume and earlier is not None:
            # the list of mutations that are not found grows with `--replay`
            expected = {name: value for name, value in facts.items() if name != "not_located"}
            if {name: earlier["facts"].get(name) for name in expected} != expected:
                raise SystemExit(f"{label} was measured with {earlier['facts']}, but this is {facts}")
            self.mutations = [mutation_from(row) for row in earlier["mutations"]]
            self.baselines = {package: Baseline(**row) for package, row in earlier["baselines"].items()}

    def add(self, mutation: Mutation | None = None, **baselines: Baseline) -> None:
        """Records a mutation or the baseline of a package."""
        with self._lock:
            self.baselines |= baselines
            self.mutations += [mutation] if mutation is not None else []
            write_text(self.out, json.dumps({**_read(self.out), self.label: self.content()}, indent=2) + "\n")

    def content(self) -> dict[str, Any]:
        """The results of the label: facts, shares, baselines and mutations."""
        packages = sorted({mutation.package for mutation in self.mutations})
        return {
            "facts": self.facts,
            **share(self.mutations),
            **({"compared": compared(self.mutations)} if "replay" in self.facts else {}),
            "by_package": {name: share([m for m in self.mutations if m.package == name]) for name in packages},
            "by_kind": {kind: share([m for m in self.mutations if m.kind == kind]) for kind in KINDS},
            "baselines": {package: asdict(baseline) for package, baseline in self.baselines.items()},
            "mutations": [asdict(mutation) for mutation in self.mutations],
        }


def share(mutations: list[Mutation]) -> dict[str, Any]:
    """The share of caught mutations with its 95 % interval (Wilson)."""
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
    """Replayed mutations that were caught in one of the two trees alone."""
    return {
        "caught_before": sum(mutation.caught_before is True for mutation in mutations),
        "caught_before_alone": [m.summary() for m in mutations if m.caught_before and not m.caught],
        "caught_now_alone": [m.summary() for m in mutations if m.caught and not m.caught_before],
    }


def summary(mutations: list[Mutation]) -> str:
    """The shares of caught mutations, a line a package."""
    lines = []
    for package in (None, *sorted({mutation.package for mutation in mutations})):
        row = share([mutation for mutation in mutations if package in (None, mutation.package)])
        caught = f"{row['caught']} of {row['n']}" + (f" ({row['share']:.0%})" if row["n"] else "")
        lines.append(f"{package or 'all'}: {caught}")

    return "\n".join(lines)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def revision(checkout: Path) -> str:
    """The commit of a checkout, marked where files differ from it."""
    words = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def run_tests(checkout: Path, todo: list[Mutation], results: Results, limit: float, workers: int) -> None:
    """Tests mutations; each worker has its own copy of the checkout."""
    sources = read_sources(checkout)
    copies: SimpleQueue[Copy] = SimpleQueue()
    lock = Lock()

    def test(mutation: Mutation) -> None:
        copy = copies.get()
        try:
            # a baseline is measured once, and while no other one runs
            with lock:
                if mutation.package not in results.baselines:
                    results.add(None, **{mutation.package: copy.measure(mutation.package)})
                    print(f"{mutation.package}: {results.baselines[mutation.package]}", flush=True)

            copy.try_out(mutation, mutated_text(sources, mutation), results.baselines[mutation.package], limit)
            results.add(mutation)
        finally:
            copies.put(copy)

        caught = share(results.mutations)
        print(f"{caught['caught']} of {caught['n']} caught; {mutation.summary()}", flush=True)

    with TemporaryDirectory(prefix="mutations-") as folder, ThreadPoolExecutor(workers) as pool:
        for k in range(workers):
            copies.put(Copy(checkout, Path(folder) / str(k)))
        # an error of a worker is raised here
        for _ in pool.map(test, todo):
            pass


def earlier_mutations(out: Path, label: str) -> list[dict[str, Any]]:
    """The rows of the mutations of a label."""
    content = _read(out)
    if label not in content:
        raise SystemExit(f"{out} has no label {label}; it has {', '.join(content) or 'none'}")

    rows: list[dict[str, Any]] = content[label]["mutations"]
    return rows


def main() -> None:
    """Draws or replays mutations and runs the tests with each of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--src", type=Path, default=ROOT, help="the checkout, with src/ and tests/")
    parser.add_argument("--label", default="now", help="the name of these results")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num", type=int, default=100, help="how many mutations are drawn")
    parser.add_argument("--limit", type=float, default=240.0, help="seconds that tests may take with a mutation")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="keep what is measured under this label")
    parser.add_argument("--replay", metavar="LABEL", help="take the mutations of another label instead of drawing them")
    parser.add_argument("--moves", type=Path, help="for --replay: a file of lines `new<TAB>old old ...`")
    parser.add_argument("--list", action="store_true", help="print the mutations and run nothing")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    checkout = options.src.resolve()
    sources = read_sources(checkout)
    facts: dict[str, Any] = {"git_revision": revision(checkout), "seed": options.seed, "limit": options.limit}

    if options.replay is None:
        mutations = draw_mutations(sources, options.seed, options.num)
    else:
        rows = earlier_mutations(options.out, options.replay)
        mutations, lost = replay(rows, sources, read_moves(options.moves))
        facts |= {"replay": options.replay, "not_located": lost}
        print(f"{len(mutations)} mutations are found again. Not found: {len(lost)}", *lost, sep="\n  ", flush=True)

    if options.list:
        for m in mutations:
            print(f"{m.file}:{m.line} {m.function}, {m.kind} ({m.located}): {m.before} -> {m.after}")
        return

    results = Results(options.out, options.label, facts, options.resume)
    done = {mutation.key for mutation in results.mutations}
    todo = [mutation for mutation in mutations if mutation.key not in done]
    run_tests(checkout, todo, results, options.limit, options.workers)
    print(summary(results.mutations))


if __name__ == "__main__":
    main()
