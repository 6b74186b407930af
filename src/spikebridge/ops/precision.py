"""Working precision: what adds up over time is computed and kept in float32 at least.

A sum in half precision stops growing: the bfloat16 above 256 is 258, so 256 + 1 is 256 again. Half-precision signals
are upcast to float32, their state is float32, and only the output is rounded to the dtype of the signal. float32 and
float64 stay as they are.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

HALF = (torch.float16, torch.bfloat16)
SINGLE_OR_HALF = frozenset((torch.float32, *HALF))


def state_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of a state for signals of a dtype: float32 for half precision, else the same."""
    return torch.float32 if dtype in HALF else dtype


def upcast(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """A half-precision tensor in float32; any other as it is."""
    return x.float() if x.dtype in HALF else x


def zero_state(x_t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Zeros of a state, one for each number of a step."""
    return torch.zeros_like(x_t, dtype=state_dtype(x_t.dtype))


def cast_for(module: nn.Module, x: Tensor) -> Tensor:
    """A signal in float32 or half precision in the dtype, of these, that the parameters of a module have."""
    if x.dtype not in SINGLE_OR_HALF:
        return x

    dtype = next((p.dtype for p in module.parameters() if p.dtype in SINGLE_OR_HALF), x.dtype)
    return x.to(dtype)


def is_autocast(device: torch.device) -> bool:
    """True if autocast is on for a device."""
    place = device.type
    return torch.amp.is_autocast_available(place) and torch.is_autocast_enabled(place)


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The half precision of autocast for a device; None without autocast."""
    return torch.get_autocast_dtype(device.type) if is_autocast(device) else None


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A block in which autocast is off; without autocast it costs nothing."""
    return torch.autocast(device.type, enabled=False) if is_autocast(device) else nullcontext()


class _BilinearInItsOwnDtype(TorchFunctionMode):
    """Gives `bilinear` its inputs in the dtype of its weight: PyTorch leaves it out of autocast on a CPU."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is nn.functional.bilinear:
            left, right, weight, *bias = args
            args = left.to(weight.dtype), right.to(weight.dtype), weight, *bias
        return func(*args, **(kwargs or {}))


def complete_autocast(module: nn.Module, device: torch.device) -> AbstractContextManager[object]:
    """A block in which a module runs under autocast whatever layers it holds; without autocast it costs nothing."""
    # its inputs come in half precision from other layers, its weight is in float32, and it refuses both together
    if is_autocast(device) and any(isinstance(layer, nn.Bilinear) for layer in module.modules()):
        return _BilinearInItsOwnDtype()

    return nullcontext()
