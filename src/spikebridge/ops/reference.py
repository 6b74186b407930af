"""`with reference():` turns every fast path off, so that the plain step functions run.

Where a gradient may be summed up in another way: ordinary training in float32 on a CPU, and nobody who traces it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

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


# a compiler asks once, while it traces: torch.compiler.assume_constant_result says the same, but loads the compiler
is_reference._dynamo_marked_constant = True  # type: ignore[attr-defined]


def is_without_native() -> bool:
    """Whether the native library is off."""
    return _without_native.get()


def is_plain_training(x: Tensor, weight: Tensor) -> bool:
    """Whether the gradient of a weight is asked for in this way.

    Args:
        x: what the weight meets.
        weight: of a layer.

    Example:
        >>> is_plain_training(torch.ones(2, 3), nn.Linear(3, 1).weight)
        True
    """
    if torch.compiler.is_compiling() or is_reference() or not torch.is_grad_enabled():
        return False
    if (
        torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or torch.is_autocast_enabled("cpu")
    ):
        return False
    plain = type(x) in (Tensor, nn.Parameter) and x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu"
    return plain and x.numel() > 0 and weight.requires_grad
