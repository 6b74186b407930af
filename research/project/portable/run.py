"""Runs the tests as other processors would: other instructions, threads and native libraries, and changed weights.

    make test-portable                       # all settings, some hours; resumes where it was stopped
    make test-portable TESTS=tests/hybrid    # some tests in all settings, kept apart and not entered in the results
    python research/project/portable/run.py --settings own "two threads"
    python research/project/portable/run.py --again          # runs failed folders again, after a mend

A setting is a set of environment variables that PyTorch, MKL, oneDNN or the package reads before it starts. The
perturbed ones are the probe of `tests/perturbed_weights.py` on the tests of `PROBED`. A folder of tests is a process of
its own; its outcomes are kept in runs/portable/ and are not run again. Writes results/portable.json after each folder.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from spikebridge.data.io.atomic import write_text
from spikebridge.training.run.environment import describe_environment, git_revision

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "research" / "project" / "results" / "portable.json"
KEPT = ROOT / "runs" / "portable"
# tests without a sum of floating-point numbers, whose result would depend on the processor
LEFT_OUT = {
    "tests/cli": "words of commands and messages",
    "tests/fuzz": "damaged files",
    "tests/data/io": "opening and writing of files",
    "tests/data/recordings": "readers of files",
    "tests/data/events": "integers",
    "tests/recipes": "settings, folders and searches; `tests/networks` trains the recipes",
    "tests/analysis/test_pages_in_a_browser.py": "pages in a browser",
    "tests/analysis/test_notebook_html.py": "HTML",
    "tests/analysis/test_local_page.py": "HTML",
    "tests/training/test_lock.py": "locks of folders",
    "tests/training/test_resume.py": "processes that are killed and started again",
    "tests/deploy/test_c_boards.py": "an emulated processor, the same on every machine",
    "tests/deploy/test_web.py": "pages in a browser",
    "tests": "files directly in it: sources and names",
}
# of those, what does add numbers, as the examples of pages do
TAKEN = ("tests/test_sparse_linear.py", "tests/test_peers.py", "tests/test_docs.py")
# tests of networks, with shipped weights or weights drawn at random
PROBED = ("tests/networks", "tests/hybrid", "tests/neurons", "tests/analysis", "tests/deploy", "tests/pretrained")


@dataclass(frozen=True)
class Setting:
    """Environment variables and options of a run of the tests.

    Args:
        variables: by name.
        march: the processor for which a native library is built.
        options: of pytest.
    """

    variables: dict[str, str] = field(default_factory=dict)
    march: str = ""
    options: tuple[str, ...] = ()


SETTINGS = {
    "own": Setting(),
    "MKL compatible": Setting({"MKL_CBWR": "COMPATIBLE"}),
    "native library absent": Setting({"SPIKEBRIDGE_NATIVE": "off"}),
    "PyTorch default": Setting({"ATEN_CPU_CAPABILITY": "default"}),
    "PyTorch AVX2": Setting({"ATEN_CPU_CAPABILITY": "avx2"}),
    "oneDNN SSE4.1": Setting({"DNNL_MAX_CPU_ISA": "SSE41"}),
    "two threads": Setting({"OMP_NUM_THREADS": "2"}),
    "native library x86-64": Setting(march="x86-64"),
    "native library x86-64-v3": Setting(march="x86-64-v3"),
    **{f"perturbed weights, draw {draw}": Setting(options=(f"--perturb-weights={draw}",)) for draw in (1, 2, 3)},
}


def folders(setting: Setting) -> list[tuple[str, list[str]]]:
    """Folders of tests of a setting, with their files."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    names = [file.relative_to(ROOT).as_posix() for file in files]
    kept = [name for name in names if name in TAKEN or not any(_is_left_out(name, place) for place in LEFT_OUT)]

    if setting.options:
        kept = [name for name in kept if name.startswith(tuple(f"{place}/" for place in PROBED))]

    by_folder: dict[str, list[str]] = {}
    for name in kept:
        by_folder.setdefault(str(Path(name).parent), []).append(name)

    # the examples of the documentation strings are one folder
    return [*by_folder.items(), *([] if setting.options else [("src", ["src"])])]


def _is_left_out(name: str, place: str) -> bool:
    return str(Path(name).parent) == "tests" if place == "tests" else name == place or name.startswith(f"{place}/")


def build(march: str) -> Path:
    """The native library for a processor; it is built once."""
    folder = KEPT / f"native {march}"
    found = sorted(folder.rglob("_native*.so"))

    if not found:
        environment = {**os.environ, "CFLAGS": f"{os.environ.get('CFLAGS', '')} -march={march}"}
        python = [sys.executable, "setup.py", "build_ext", "--build-lib", str(folder), "--build-temp", f"{folder}.tmp"]
        subprocess.run(python, cwd=ROOT, env=environment, check=True, capture_output=True)
        shutil.rmtree(f"{folder}.tmp")
        found = sorted(folder.rglob("_native*.so"))

    return found[0]


def environment_of(setting: Setting) -> dict[str, str]:
    """The environment of a setting's processes."""
    paths = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    chosen = {"SPIKEBRIDGE_NATIVE": str(build(setting.march))} if setting.march else {}
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **setting.variables, **chosen}


def run(setting: Setting, words: list[str], outcomes: Path) -> None:
    """Runs tests in a process of their own and keeps their outcomes."""
    outcomes.parent.mkdir(parents=True, exist_ok=True)
    partial = outcomes.with_suffix(".partial")
    options = [*setting.options, "-p", "no:cacheprovider", f"--junitxml={partial}"]

    # a process that ends early leaves no outcomes, which `failures` reports
    with outcomes.with_suffix(".log").open("w") as log:
        python = [sys.executable, "-m", "pytest", *options, *words]
        subprocess.run(python, cwd=ROOT, env=environment_of(setting), stdout=log, stderr=subprocess.STDOUT)

    revision = ElementTree.Element("revision", name=git_revision(ROOT / "src") or "unknown")
    tree = ElementTree.parse(partial)
    tree.getroot().append(revision)
    tree.write(partial)
    partial.replace(outcomes)


def outcomes_of(file: Path) -> dict[str, str]:
    """Tests of a file of outcomes, and "passed", "failed" or "skipped"."""
    words = {"failure": "failed", "error": "failed", "skipped": "skipped"}
    outcomes: dict[str, str] = {}

    for case in ElementTree.parse(file).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        found = [words[child.tag] for child in case if child.tag in words]
        outcomes[name] = found[0] if found else "passed"

    return outcomes


def summary(name: str, setting: Setting, files: dict[str, Path]) -> dict[str, Any]:
    """The row of a setting in the results."""
    done = {folder: file for folder, file in files.items() if file.exists()}
    tests: dict[str, str] = {}
    for file in done.values():
        tests.update(outcomes_of(file))

    counts = Counter(tests.values())
    revisions = {element.get("name") for file in done.values() for element in ElementTree.parse(file).iter("revision")}
    return {
        "setting": name,
        "variables": setting.variables | ({"CFLAGS": f"-march={setting.march}"} if setting.march else {}),
        "options": list(setting.options),
        "num_folders": [len(done), len(files)],
        "passed": counts["passed"],
        "skipped": counts["skipped"],
        "failed": sorted(test for test, outcome in tests.items() if outcome == "failed"),
        "revisions": sorted(revisions),
    }


def main() -> int:
    """Runs the settings one after another; 1 if a test failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", nargs="*", help="files or folders instead of the suite")
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS), choices=list(SETTINGS), metavar="NAME")
    parser.add_argument("--again", action="store_true", help="run folders with failed tests again")
    options = parser.parse_args()

    rows = {row["setting"]: row for row in _entered()}
    for name in options.settings:
        setting = SETTINGS[name]
        # chosen tests are of one day: they are run, not resumed
        groups = [("chosen", options.tests)] if options.tests else folders(setting)
        files = {folder: KEPT / name / f"{folder.replace('/', '.')}.xml" for folder, _ in groups}

        for folder, words in groups:
            failed = [] if not files[folder].exists() else _failed(files[folder])
            if not files[folder].exists() or options.tests or (options.again and failed):
                run(setting, words, files[folder])
                print(f"{name}, {folder}: {_sentence(files[folder])}", flush=True)

            rows[name] = summary(name, setting, files)
            if not options.tests:
                _enter([rows[one] for one in SETTINGS if one in rows])

    return int(any(rows[name]["failed"] for name in options.settings))


def _failed(file: Path) -> list[str]:
    return [test for test, outcome in outcomes_of(file).items() if outcome == "failed"]


def _sentence(file: Path) -> str:
    counts = Counter(outcomes_of(file).values())
    numbers = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items()))
    return "\n  ".join([numbers, *_failed(file)])


def _entered() -> list[dict[str, Any]]:
    return json.loads(RESULTS.read_text(encoding="utf-8"))["settings"] if RESULTS.exists() else []


def _enter(rows: list[dict[str, Any]]) -> None:
    content = {
        "command": "make test-portable",
        "environment": describe_environment(),
        "left_out": LEFT_OUT,
        "taken": TAKEN,
        "probed": PROBED,
        "settings": rows,
    }
    write_text(RESULTS, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
