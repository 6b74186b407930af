"""`with reference():` turns every fast path off, so that the plain step functions run."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_plain: ContextVar[bool] = ContextVar("plain", default=False)


@contextmanager
def reference() -> Iterator[None]:
    """Inside, the plain loops run, in this thread (or task) alone.

    Example:
        >>> with reference():
        ...     is_reference()
        True
        >>> is_reference()
        False
    """
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def is_reference() -> bool:
    """Whether fast paths are off."""
    return _plain.get()
