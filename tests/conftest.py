"""The tests run plainly, with the fast paths off, and with every annotation of the package executed as a check.

`--reference` runs them on the plain step functions, `--without-native` on PyTorch alone: the numbers are the same.

In the last job (`--jaxtyping-packages`, `typed_job.py`) the checker stands before the package: a wrong argument is
refused in the checker's words, before the package can say its own. Tests of messages accept either there; the plain job
holds them to the package's words.
"""

import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from jaxtyping import TypeCheckError

from spikebridge.cli import failure
from spikebridge.data.catalog import find_files
from spikebridge.errors import DataError, SpikebridgeError
from spikebridge.ops import reference, without_native
from typed_job import CALLED, FOUND, LEAST_CALLED, left_out

_MANY_SETS = 6

failure.FIRST_LINE = 1e6  # on a busy machine a test may take long; what it prints stays the same


class RefusedByEither:
    """`pytest.raises` that takes the checker's refusal as well as the package's."""

    def __init__(self, plain: Any, expected: Any, match: str | None = None) -> None:
        self._raises = plain((expected, TypeCheckError))
        self._match = match

    def __enter__(self) -> Any:
        self._caught = self._raises.__enter__()
        return self._caught

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        as_expected = bool(self._raises.__exit__(kind, error, trace))
        by_checker = isinstance(error, TypeCheckError) or "Type-check error" in str(error)  # also as a cause
        if as_expected and self._match is not None and not by_checker:
            self._caught.match(self._match)

        return as_expected


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reference", action="store_true", help="run the plain step functions, no fast path")
    parser.addoption("--without-native", action="store_true", help="run fast paths in PyTorch alone")
    parser.addoption("--every-typed-test", action="store_true", help="leave out no test function in the typed job")


@pytest.fixture(autouse=True)
def paths_under_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """The fast paths, unless the command line turned them off."""
    if request.config.getoption("reference"):
        with reference():
            yield
    elif request.config.getoption("without_native"):
        with without_native():
            yield
    else:
        yield


def pytest_configure(config: pytest.Config) -> None:
    """Puts the checker's refusal beside ours where the checker runs."""
    if not _is_typed(config):
        return

    plain = pytest.raises

    def raises(expected: Any, *arguments: Any, **options: Any) -> Any:
        ours = isinstance(expected, type) and issubclass(expected, SpikebridgeError)
        if ours and not arguments and set(options) <= {"match"}:
            return RefusedByEither(plain, expected, **options)
        return plain(expected, *arguments, **options)

    pytest.raises = raises


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With the checker, leaves out test functions whose calls others make, and five of six of many parameter sets.

    Annotations are the same for all sets; the plain job runs each. A checksum of the name chooses, so that tests of one
    list of classes keep different ones.
    """
    if not _is_typed(config):
        return

    sets = Counter(item.nodeid.partition("[")[0] for item in items)
    known = set() if config.getoption("every_typed_test") else left_out()
    dropped = {
        item
        for item in items
        if (function := item.nodeid.partition("[")[0]) in known
        or (sets[function] > _MANY_SETS and zlib.crc32(item.nodeid.encode()) % 6)
    }

    config.hook.pytest_deselected(items=list(dropped))
    items[:] = [item for item in items if item not in dropped]


def _is_typed(config: pytest.Config) -> bool:
    return bool(config.getoption("jaxtyping_packages", default=None))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """The whole typed job fails where it calls too few of the annotated functions."""
    if _is_typed(session.config) and session.config.args == ["tests"] and len(CALLED) < LEAST_CALLED:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """How many of the annotated functions were called."""
    if _is_typed(config):
        line = f"{len(CALLED)} of {len(FOUND)} annotated functions were called; at least {LEAST_CALLED} must be"
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def real_set() -> Callable[[str], tuple[Path, ...]]:
    """Files of a real data set by name; without them the test is skipped, or fails where the data are required."""

    def look(name: str) -> tuple[Path, ...]:
        try:
            return find_files(name)
        except DataError as error:
            if os.environ.get("SPIKEBRIDGE_REQUIRE_DATA") == "1":
                pytest.fail(f"SPIKEBRIDGE_REQUIRE_DATA=1, but {error}")
            pytest.skip(str(error))

    return look
