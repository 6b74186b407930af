"""A copy of a checkout, into which mutations are written one after the other, and the tests that run there."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from research.project.mutation_testing.source import PACKAGE, Mutation

# of the files at the top of a checkout
NOT_COPIED = {".git", ".venv", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", "runs", "site"}
MAX_MEMORY = 16 * 2**20  # KiB of address space of a test process: a mutation may ask for any number
MAX_BASELINE = 3600  # seconds, for the tests of a package without a mutation
MAX_FLAKY = 3  # tests a mutation that also fail without it


@dataclass
class Baseline:
    """Time of the tests of a package without a mutation, and tests that fail without one."""

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
        command = [sys.executable, "-c", "import spikebridge; print(spikebridge.__file__)"]
        environment = self._environment(keeps_bytecode=False)
        output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        if not Path(output.strip()).is_relative_to(self.root):
            raise SystemExit(f"tests would import {output.strip()} instead of the copy in {self.root}")

    def _environment(self, keeps_bytecode: bool) -> dict[str, str]:
        paths = os.pathsep.join((str(self.root / "src"), str(self.root)))
        variables = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        variables |= {"HYPOTHESIS_STORAGE_DIRECTORY": str(self._hypothesis)}
        # bytecode of the baseline is used again, that of mutated files is not written
        variables |= {} if keeps_bytecode else {"PYTHONDONTWRITEBYTECODE": "1"}
        return {**os.environ, **variables}

    def test_files(self, package: str) -> list[str]:
        """The tests of a package, in order."""
        tests = self.root / "tests"
        is_top = package == "."
        if not is_top and (tests / package).is_dir():
            paths = set((tests / package).rglob("test_*.py"))
        else:
            # a package without a folder of tests is tested by those that name it
            paths = set(tests.glob("test_*.py"))
            name = re.compile(rf"\bspikebridge\.{re.escape(package.replace('/', '.'))}\b")
            paths |= {path for path in tests.rglob("test_*.py") if not is_top and name.search(path.read_text("utf-8"))}

        return sorted(path.relative_to(self.root).as_posix() for path in paths)

    def measure(self, package: str) -> Baseline:
        """Runs the tests of a package and the doctests of its files without a mutation."""
        pattern = "*.py" if package == "." else f"{package}/**/*.py"
        files = self.root.glob(f"{PACKAGE}/{pattern}")
        # importing __main__ runs the program
        sources = sorted(path.relative_to(self.root).as_posix() for path in files if path.stem != "__main__")
        start = time.perf_counter()
        code, output = self.run([*self.test_files(package), *sources], MAX_BASELINE, keeps_bytecode=True)

        if code not in (0, 1):
            raise SystemExit(f"the tests of {package} do not run (exit code {code}):\n{output[-3000:]}")

        return Baseline(round(time.perf_counter() - start, 1), failures(output))

    def run(
        self,
        files: list[str],
        limit: float,
        stops: bool = False,
        leave_out: Sequence[str] = (),
        keeps_bytecode: bool = False,
    ) -> tuple[int | None, str]:
        """Runs tests until one fails, if it stops; the exit code is None where they took longer than the limit [s]."""
        # no test replays the examples of an earlier mutation
        shutil.rmtree(self._hypothesis, ignore_errors=True)
        command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=no", "-p", "no:cacheprovider", *["-x"] * stops]
        command += [f"--basetemp={self._tests_at}", "--hypothesis-seed=0"]
        command += [f"--deselect={test}" for test in leave_out]
        limited = ["sh", "-c", f'ulimit -v {MAX_MEMORY}; exec "$@"', "sh", *command, *files]

        process = subprocess.Popen(
            limited,
            cwd=self.root,
            env=self._environment(keeps_bytecode),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # processes of the tests end with them
        )
        try:
            output, _ = process.communicate(timeout=max(1.0, limit))
            return process.returncode, output
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None, process.communicate()[0]

    def try_out(self, mutation: Mutation, text: str, baseline: Baseline, limit: float) -> None:
        """Writes a mutation into the copy, runs the tests, restores the file, and records the outcome."""
        path = self.root / PACKAGE / mutation.file
        content = path.read_bytes()
        stat = path.stat()
        limit = max(limit, 2 * baseline.seconds)
        start = time.perf_counter()

        while True:
            try:
                path.write_text(text, encoding="utf-8")
                mutation.outcome, mutation.caught_by = self._outcome(mutation, baseline, limit)
            finally:
                path.write_bytes(content)
                # bytecode of the baseline stays valid
                os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

            if mutation.outcome != "failed" or not mutation.caught_by or len(mutation.flaky) == MAX_FLAKY:
                break
            # a test that also fails without the mutation has caught nothing
            if self.run([mutation.caught_by], limit)[0] not in (1, None):
                break

            mutation.flaky.append(mutation.caught_by)

        mutation.caught = mutation.outcome != "survived"
        mutation.seconds = round(time.perf_counter() - start, 1)

    def _outcome(self, mutation: Mutation, baseline: Baseline, limit: float) -> tuple[str, str]:
        """The outcome of a mutation, and the test that caught it."""
        until = time.perf_counter() + limit
        leave_out = [*baseline.left_out, *mutation.flaky]
        near, others = self._in_order(mutation)

        for files in ([(PACKAGE / mutation.file).as_posix(), *near], others):
            if not files:
                continue
            code, output = self.run(files, until - time.perf_counter(), stops=True, leave_out=leave_out)
            if code is None:
                return "timeout", ""

            # 5: none of these files has a test
            if code not in (0, 5):
                outcome = "failed" if code == 1 else "not imported" if code in (2, 3, 4) else "crashed"
                return outcome, next(iter(failures(output)), "")

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


def failures(output: str) -> list[str]:
    """Names of the tests that failed, from the output of pytest."""
    lines = [line.split(" ", 1)[1] for line in output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return [line.split(" - ")[0].strip() for line in lines]
