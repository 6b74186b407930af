"""Ten faults, each planted into a reader, and what finds it: the fuzz campaign or the tests.

    python research/project/planted_faults.py                   # all ten
    python research/project/planted_faults.py --faults nan      # one of them again; the others stay in the results

A fault is one change of the source: a check that is gone, a table that is cut in silence, another byte order. It is
written into a copy of the checkout in a temporary folder, so that the checkout stays as it is however the program ends.
In the copy run the campaign on the formats of that reader: 50 files of a seed whose numbers are entered
(`tests/fuzz/accepted.json`), and if these find nothing the 1,000 of `make fuzz`; and the tests of that reader until one
fails.

Writes results/planted_faults.json after each fault: what the campaign says first, and the first test that fails.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from research.project.mutation_testing.checkout import Copy, failures
from research.project.mutation_testing.source import PACKAGE
from spikebridge.data.io.atomic import write_text

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results" / "planted_faults.json"
CAMPAIGNS = ((24, 50), (0, 1000))  # seeds and numbers of files
LIMIT = 1800  # seconds of a campaign or of tests


@dataclass(frozen=True)
class Fault:
    """A change of one place of the source.

    Args:
        kind: in words.
        file: in the package.
        old: text that stands there once.
        new: text in its place.
        formats: of the campaign.
        tests: files or folders of tests.
    """

    kind: str
    file: str
    old: str
    new: str
    formats: Sequence[str]
    tests: Sequence[str]


FAULTS = {
    "bounds": Fault(
        "a missing bounds check",
        "data/events/events.py",
        '(events["x"] >= width) | (events["y"] >= height)',
        'events["x"] >= 2**15',
        ("events, csv", "events, N-MNIST", "events, EVT2"),
        ("tests/data",),
    ),
    "checksum": Fault(
        "a checksum that is not compared",
        "training/run/checkpoint.py",
        'if head.get("digest") != _digest(text, tensors):',
        'if head.get("digest") is None:',
        ("run, checkpoint",),
        ("tests/training",),
    ),
    "clipped": Fault(
        "a table whose odd rows are left out in silence",
        "data/signals/table.py",
        "rows = [(reader.line_num, row) for row in reader if row]",
        "rows = [(reader.line_num, row) for row in reader if len(row) == 6]",
        ("series, csv",),
        ("tests/data/signals",),
    ),
    "last row": Fault(
        "a table without its last row",
        "data/events/dvs_gesture.py",
        "    return labels\n",
        "    return labels[:-1] or labels\n",
        ("gestures, labels",),
        ("tests/data",),
    ),
    "link": Fault(
        "a link out of a closed folder that is followed",
        "data/io/closed_folder.py",
        "if not real.is_relative_to(real_outer):",
        "if not path.is_relative_to(outer):",
        ("run, weights", "bundle, sealed NIR"),
        ("tests/data/io", "tests/deploy/test_bundles.py"),
    ),
    "memory": Fault(
        "a size that is not checked before memory is taken",
        "data/io/safe_open.py",
        "if self._remaining < 0:",
        "if self._remaining is None:",
        ("scenes, packed", "digits, packed idx"),
        ("tests/data", "tests/networks/reasoning"),
    ),
    "byte order": Fault(
        "a wrong byte order",
        "data/signals/wav.py",
        'np.frombuffer(content, f"<i{bits // 8}")',
        'np.frombuffer(content, f">i{bits // 8}")',
        ("sound, wav",),
        ("tests/data/signals",),
    ),
    "nan": Fault(
        "a number that is not finite and is accepted",
        "deploy/stages/kernels.py",
        "if not np.isfinite(value).all():",
        "if np.size(value) == 0:",
        ("bundle, numbers of a unit",),
        ("tests/deploy",),
    ),
    "truncated": Fault(
        "an archive that is cut and read as far as it goes",
        "data/io/safe_open.py",
        'raise DataError(f"{path}: expected {expected}, but the gzip file is damaged or cut ({error}).") from error',
        "return",
        ("scenes, packed",),
        ("tests/data", "tests/networks/reasoning"),
    ),
    "default": Fault(
        "the default of a field of an earlier version",
        "deploy/nir/quantities.py",
        'metadata.get("reset", "zero")',
        'metadata.get("reset", "subtract")',
        ("NIR", "bundle, NIR"),
        ("tests/deploy/test_nir.py",),
    ),
}


def run_campaign(copy: Copy, fault: Fault) -> str | None:
    """The first finding of the campaign, None if there is none."""
    paths = os.pathsep.join(str(copy.root / name) for name in ("src", "", "tests"))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    for seed, num_files in CAMPAIGNS:
        command = [sys.executable, "-m", "fuzz.campaign", "--formats", *fault.formats, "--seeds", f"{seed}"]
        command += ["--files", f"{num_files}", "--commands", "0", "--workers", "1", "--keep", str(copy.root / "faults")]
        done = subprocess.run(command, cwd=copy.root, env=environment, capture_output=True, text=True, timeout=LIMIT)
        if done.returncode:
            # faults stand below the line of their format; a specimen that is refused ends the campaign
            lines = [line.strip() for line in done.stdout.splitlines() if line.startswith("  ")]
            line = lines[0] if lines else done.stderr.strip().splitlines()[-1]
            return f"{num_files} files of seed {seed}: {line}".replace(str(copy.root), ".")

    return None


def run_tests(copy: Copy, fault: Fault) -> str | None:
    """The first test that fails, None if none does."""
    code, output = copy.run(list(fault.tests), LIMIT, stops=True)
    if code == 0:
        return None
    return next(iter(failures(output)), f"the tests end with code {code}")


def try_out(copy: Copy, fault: Fault) -> dict[str, Any]:
    """Plants a fault into the copy, runs campaign and tests, and takes it out again."""
    path = copy.root / PACKAGE / fault.file
    content = path.read_text("utf-8")
    begun = time.perf_counter()
    try:
        path.write_text(planted(fault, content), encoding="utf-8")
        campaign = run_campaign(copy, fault)
        tests = run_tests(copy, fault)
    finally:
        path.write_text(content, encoding="utf-8")

    change = {"kind": fault.kind, "file": fault.file, "old": fault.old, "new": fault.new}
    seconds = round(time.perf_counter() - begun)
    return {**change, "formats": list(fault.formats), "campaign": campaign, "test": tests, "seconds": seconds}


def planted(fault: Fault, content: str) -> str:
    """The text of the file with the fault."""
    if content.count(fault.old) != 1:
        raise SystemExit(f"{fault.file} has {fault.old!r} {content.count(fault.old)} times; expected once")
    return content.replace(fault.old, fault.new)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faults", nargs="*", default=list(FAULTS), choices=list(FAULTS), metavar="NAME")
    given = parser.parse_args()
    rows: dict[str, Any] = json.loads(RESULTS.read_text("utf-8"))["faults"] if RESULTS.exists() else {}

    with TemporaryDirectory() as folder:
        copy = Copy(ROOT, Path(folder))
        for name in given.faults:
            rows[name] = try_out(copy, FAULTS[name])
            print(f"{name}: campaign: {rows[name]['campaign']}; test: {rows[name]['test']}", flush=True)
            kept = {name: rows[name] for name in FAULTS if name in rows}
            write_text(RESULTS, json.dumps(summary(kept), indent=1) + "\n")

    return int(any(not row["campaign"] and not row["test"] for row in rows.values()))


def summary(rows: dict[str, Any]) -> dict[str, Any]:
    """The results: seeds, numbers found by each, and a row a fault."""
    return {
        "command": "python research/project/planted_faults.py",
        "campaigns": [{"seed": seed, "files": num_files} for seed, num_files in CAMPAIGNS],
        "planted": len(rows),
        "found by the campaign": sum(row["campaign"] is not None for row in rows.values()),
        "found by tests": sum(row["test"] is not None for row in rows.values()),
        "found": sum(bool(row["campaign"] or row["test"]) for row in rows.values()),
        "faults": rows,
    }


if __name__ == "__main__":
    sys.exit(main())
