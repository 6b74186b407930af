"""The typed job: tests with every annotation of the package executed as a check (`make test-types`).

Annotations are the same whatever values a test tries, and checking them takes longer than most tests. So two parameter
sets of a test function are enough, and files with the marker `untyped` are left out: other files call most of their
functions. The job fails if it calls too few of the annotated functions.

This is a plugin of pytest. The checker stands before the package: it refuses a wrong argument in its own words before
the package can. Tests of messages accept either refusal in this job; the plain job holds them to the package's words.
"""

import functools
import zlib
from collections import defaultdict
from types import TracebackType
from typing import Any

import beartype
import pytest
from beartype.roar import BeartypeDecorHintPep673Exception, BeartypeDecorHintPep3119Exception
from jaxtyping import TypeCheckError

MIN_CALLED = 3100
"""Annotated functions that the job must call. A file loses its marker if there are fewer."""
MAX_SETS = 2

ANNOTATED: set[str] = set()
CALLED: set[str] = set()
# an int is a float, as Python's typing says
_check = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))


def checker(function: Any) -> Any:
    """Checks the annotations of a function at every call, and records that it was called."""
    try:
        checked: Any = _check(function)
    except (BeartypeDecorHintPep673Exception, BeartypeDecorHintPep3119Exception):
        # it cannot check a method that returns `Self`, or a protocol that describes modules, such as that of recipes
        return function

    if isinstance(function, type):
        return checked

    name = f"{function.__module__}.{function.__qualname__}"
    ANNOTATED.add(name)

    @functools.wraps(checked)
    def recorded(*arguments: Any, **options: Any) -> Any:
        CALLED.add(name)
        return checked(*arguments, **options)

    return recorded


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
        is_expected = bool(self._raises.__exit__(kind, error, trace))
        # the package may have caught the refusal and raised its own error from it
        by_checker = isinstance(error, TypeCheckError) or "Type-check error" in str(error)
        if is_expected and self._match is not None and not by_checker:
            self._caught.match(self._match)

        return is_expected


def pytest_configure(config: pytest.Config) -> None:
    """Lets tests of messages accept the checker's refusal, where the checker runs."""
    if not is_typed(config):
        return

    # importing the package needs the checker
    from spikebridge.errors import SpikebridgeError

    plain = pytest.raises

    def raises(expected: Any, *arguments: Any, **options: Any) -> Any:
        is_ours = isinstance(expected, type) and issubclass(expected, SpikebridgeError)
        if is_ours and not arguments and set(options) <= {"match"}:
            return RefusedByEither(plain, expected, **options)
        return plain(expected, *arguments, **options)

    pytest.raises = raises


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With the checker, keeps few parameter sets of each test function."""
    if not is_typed(config):
        return

    sets: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        sets[item.nodeid.partition("[")[0]].append(item)

    # a checksum of the name chooses, so that tests of one list of classes keep different ones
    kept = {item for several in sets.values() for item in sorted(several, key=_checksum)[:MAX_SETS]}
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]


def _checksum(item: pytest.Item) -> int:
    return zlib.crc32(item.nodeid.encode())


def is_typed(config: pytest.Config) -> bool:
    """True in the typed job."""
    return bool(config.getoption("jaxtyping_packages", default=None))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the whole job if it called too few of the annotated functions."""
    if is_typed(session.config) and session.config.args == ["tests"] and len(CALLED) < MIN_CALLED:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints the number of annotated functions that were called."""
    if is_typed(config):
        line = f"{len(CALLED)} of {len(ANNOTATED)} annotated functions were called; at least {MIN_CALLED} must be"
        terminalreporter.write_line(line)
