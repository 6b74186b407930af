"""Switches: `with reference():` runs the plain step functions alone; `with without_native():` leaves plain C out."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_reference: ContextVar[bool] = ContextVar("reference", default=False)
_without_native: ContextVar[bool] = ContextVar("without_native", default=False)


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
    token = _reference.set(True)
    try:
        yield
    finally:
        _reference.reset(token)


@contextmanager
def without_native() -> Iterator[None]:
    """Inside, fast paths run in PyTorch alone, as where the installation had no compiler.

    Example:
        >>> with without_native():
        ...     is_without_native()
        True
    """
    token = _without_native.set(True)
    try:
        yield
    finally:
        _without_native.reset(token)


def is_reference() -> bool:
    """Whether fast paths are off."""
    return _reference.get()


# evaluated once, while tracing: torch.compiler.assume_constant_result does the same, but loads the compiler
is_reference._dynamo_marked_constant = True  # type: ignore[attr-defined]


def is_without_native() -> bool:
    """Whether the native library is off."""
    return _without_native.get()
