"""Checks of the values of signals: at the first call of a stream, or at every call.

Shapes, dtypes and devices are compared at every call, since that reads no number. To know whether a membrane is
finite, a number has to be read, and reading one from a GPU waits until all its work is done. So a value is read where
a stream begins (no state is given) and its numbers lie in the processor's memory; a call that continues a stream, and
any call on another device, reads none. `checks("always")` reads them at every call, on every device, for debugging.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from spikebridge.errors import ConfigError

_Mode: TypeAlias = Literal["first", "always"]

# paths that continue a stream read it by themselves: they enter no check
check_mode: ContextVar[_Mode | Literal["never"]] = ContextVar("checks", default="first")


@contextmanager
def checks(mode: _Mode) -> Iterator[None]:
    """Sets when values are checked, in this thread (or task) alone.

    Args:
        mode: "first" (the default) checks where a stream begins, on a CPU; "always" checks every call on every device,
            to find the call in which a signal or a parameter became NaN or infinite; a hybrid network names the part.

    Raises:
        ConfigError: an unknown mode.

    Example:
        >>> values = torch.ones(3)
        >>> reads_values(values, is_first=True), reads_values(values, is_first=False)
        (True, False)
        >>> with checks("always"):
        ...     reads_values(values, is_first=False)
        True
    """
    if mode not in get_args(_Mode):
        raise ConfigError(f"checks are made {' or '.join(map(repr, get_args(_Mode)))}, but got {mode!r}")

    token = check_mode.set(mode)
    try:
        yield
    finally:
        check_mode.reset(token)


@contextmanager
def without_value_checks() -> Iterator[None]:
    """Inside, no value is checked, in this thread (or task) alone: NaN passes through to the output."""
    token = check_mode.set("never")
    try:
        yield
    finally:
        check_mode.reset(token)


def reads_values(values: Tensor, is_first: bool) -> bool:
    """True if a call, the first of a stream or not, may read numbers of a tensor to check them."""
    # is_compiling first: what stands after it is never traced
    if torch.compiler.is_compiling() or check_mode.get() == "never":
        return False
    if not (is_first and values.is_cpu) and check_mode.get() != "always":
        return False

    return not torch._C._are_functorch_transforms_active() and not values.is_meta


def number_on_cpu(value: Tensor) -> float:
    """The one number of a tensor in the processor's memory, which waits for no device."""
    number: Any = value.tolist()  # unlike item(), it runs no operation, and it reads one that requires a gradient
    return float(number)


def is_finite(values: Tensor) -> bool:
    """True if no value is NaN or infinite; reading the answer waits for no device where the values are on a CPU."""
    finite = values.detach().isfinite().all()
    return bool(finite.tolist()) if finite.is_cpu else bool(finite)


def count_not_finite(values: Tensor) -> int:
    """The number of values that are NaN or infinite; it waits for the device of the values."""
    values = values.detach()
    # a sum costs less than a look at each value, and is finite only if they all are; of halves it would overflow soon
    total = values.sum(dtype=torch.float32 if values.element_size() < 4 else None)
    if math.isfinite(number_on_cpu(total) if total.is_cpu else float(total)):
        return 0

    return int((~values.isfinite()).sum())
