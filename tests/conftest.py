"""The tests run twice: plainly, and with every annotation of the package executed as a check.

In the second job (`--jaxtyping-packages`, see the Makefile) the checker stands before the package: a wrong argument is
refused in the checker's words, before the package can say its own. Tests of messages accept either there; the plain job
holds them to the package's words.
"""

from types import TracebackType
from typing import Any

import pytest
from jaxtyping import TypeCheckError

from spikebridge.errors import SpikebridgeError


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
        if as_expected and self._match is not None and not isinstance(error, TypeCheckError):
            self._caught.match(self._match)
        return as_expected


def pytest_configure(config: pytest.Config) -> None:
    """Puts the checker's refusal beside ours where the checker runs."""
    if not config.getoption("jaxtyping_packages", default=None):
        return
    plain = pytest.raises

    def raises(expected: Any, *arguments: Any, **options: Any) -> Any:
        ours = isinstance(expected, type) and issubclass(expected, SpikebridgeError)
        if ours and not arguments and set(options) <= {"match"}:
            return RefusedByEither(plain, expected, **options)
        return plain(expected, *arguments, **options)

    pytest.raises = raises
