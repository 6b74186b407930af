"""The test functions that the typed job may leave out, because others call every annotated function that they call.

    make typed-tests    # some minutes; writes tests/untyped.txt

Runs the typed job with all test functions of its files, and notes for each one its processor time and the annotated
functions of the package that it calls. Then test functions are chosen, those with the most further annotated functions
for their time first, until each annotated function is called. The others are written to the list.
"""

import resource
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import typed_job  # noqa: E402 - from the folder of the tests

HEAD = "# Test functions that the typed job leaves out (tests/typed_job.py), made by research/project/typed_tests.py\n"
OVERHEAD = 0.01  # seconds of processor time, of a test that does nothing


class Recorder:
    """Notes what each test function costs and calls."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.called: dict[str, set[str]] = defaultdict(set)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Around each test."""
        function = item.nodeid.partition("[")[0]
        typed_job.CALLED.clear()
        before = _seconds()
        yield
        self.seconds[function] += _seconds() - before
        self.called[function] |= typed_job.CALLED


def _seconds() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def chosen(seconds: dict[str, float], called: dict[str, set[str]]) -> set[str]:
    """Test functions that together call all that is called, cheap ones first."""
    left = set[str]().union(*called.values())
    found = set[str]()
    while left:
        best = max(called, key=lambda name: len(called[name] & left) / (seconds[name] + OVERHEAD))
        found.add(best)
        left -= called[best]

    return found


def main() -> int:
    """Runs the job and writes the list; the exit code of the tests. Arguments go to pytest, such as `--ignore`."""
    recorder = Recorder()
    words = [
        "tests",
        "--every-typed-test",
        "-p",
        "no:cacheprovider",
        "--jaxtyping-packages=spikebridge,typed_job.checker",
    ]

    code = pytest.main([*words, *sys.argv[1:]], plugins=[recorder])
    if code == 0:
        kept = chosen(recorder.seconds, recorder.called)
        others = sorted(set(recorder.seconds) - kept)
        typed_job.LEFT_OUT.write_text("".join([HEAD, *(f"{name}\n" for name in others)]), encoding="utf-8")
        total = sum(recorder.seconds.values())
        rest = sum(recorder.seconds[name] for name in kept)
        print(f"{len(kept)} of {len(recorder.seconds)} test functions, {rest:.0f} of {total:.0f} s of processor time")

    return int(code)


if __name__ == "__main__":
    sys.exit(main())
