"""A kernel over a stretch of a stream, restarted where windows open: at once where it can be, else step by step."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TypeAlias

import torch
from jaxtyping import Shaped
from torch import Tensor

from spikebridge.axes import Signal, Step, Windows
from spikebridge.hybrid.unit.kernel import Kernel
from spikebridge.neurons.state import State, where
from spikebridge.ops.selection import is_faster_in_windows

Restart: TypeAlias = bool | Tensor  # for all samples or none, or a flag a sample `(B,)`
_MIN_SEGMENT = 4  # steps; below it the loop costs less


def scan_with_resets(
    kernel: Kernel, x: Signal, carry: State, resets: Iterable[Restart] | None = None
) -> tuple[Shaped[Tensor, "T B *M"], State]:
    """The values of a kernel at all steps, restarted where asked.

    Args:
        kernel: what steps.
        x: `(T, B, *N)`, T >= 1.
        carry: from the step before, or None.
        restarts: for each step True, False, or a flag a sample `(B,)`.

    Returns:
        The values of all steps, and the carry after the last.

    Example:
        >>> from spikebridge.hybrid import Sum
        >>> values, carry = scan_with_resets(Sum(), torch.ones(4, 1, 1), None, [True, False, True, False])
        >>> values.flatten().tolist(), carry.total.item()
        ([1.0, 2.0, 1.0, 2.0], 2.0)
    """
    is_whole = x.shape[0] > 1 and kernel.can_vectorize(x, carry)
    if resets is None and is_whole and kernel.is_profitable(x):
        return _uninterrupted(kernel, x, carry)
    flags: Sequence[Restart] = [False] * len(x) if resets is None else list(resets)
    if not is_whole:
        return _loop(kernel, x, carry, flags)
    of_all = _of_all(flags)
    if of_all is not None and 1 not in of_all:
        return _uninterrupted(kernel, x, carry) if kernel.is_profitable(x) else _loop(kernel, x, carry, flags)
    if of_all is not None and kernel.resets_in_one_pass(x):
        return kernel.run(x, carry, of_all)
    starts = [t for t, flag in enumerate(flags) if flag is not False]
    period = _period(starts, flags)
    if kernel.resets_by_decay and not (period and is_faster_in_windows(x)):
        if not kernel.is_profitable(x, 1 if of_all is None else len(starts) + 1):
            return _loop(kernel, x, carry, flags)
        values, end = kernel.run(x, _restarted(kernel, x[0], carry, flags[0]), _where(x, flags))
        # 0 times what is not finite is not 0: only the loop can forget that
        return (values, end) if _is_finite(end) else _loop(kernel, x, carry, flags)
    if period:
        return _windows(kernel, x, carry, starts, period)
    if len(x) < _MIN_SEGMENT * (len(starts) + 1):
        return _loop(kernel, x, carry, flags)
    return _segments(kernel, x, carry, starts, flags)


def _uninterrupted(kernel: Kernel, x: Signal, carry: State) -> tuple[Shaped[Tensor, "T B *M"], State]:
    return kernel.run(x, carry) if carry is not None else kernel.run_from_start(x)


def last_of_windows(kernel: Kernel, windows: Windows) -> Shaped[Tensor, "K B *M"]:
    """The last value of each window, whose shape may be another than that of a sample.

    Example:
        >>> from spikebridge.hybrid import Sum
        >>> last_of_windows(Sum(), torch.ones(2, 5, 1, 1)).flatten().tolist()
        [5.0, 5.0]
    """
    steps = windows.movedim(1, 0)
    if kernel.can_vectorize(steps, None):
        return kernel.last(steps)
    return _loop(kernel, steps, None, [False] * len(steps))[0][-1]


def _loop(kernel: Kernel, x: Signal, carry: State, flags: Sequence[Restart]) -> tuple[Shaped[Tensor, "T B *M"], State]:
    step, values = kernel.bound_step(x[0]), []
    for x_t, flag in zip(x.unbind(0), flags, strict=True):
        h_t, carry = step(x_t, _restarted(kernel, x_t, carry, flag))
        values.append(h_t)
    return torch.stack(values), carry


def _restarted(kernel: Kernel, x_t: Step, carry: State, flag: Restart) -> State:
    if carry is None or flag is True:
        return kernel.initial_state(x_t)
    return where(flag, kernel.initial_state(x_t), carry) if isinstance(flag, Tensor) else carry


def _of_all(flags: Sequence[Restart]) -> bytes | None:
    """The flags as bytes, where they are those of all samples."""
    return bytes(flags) if {*map(type, flags)} == {bool} else None


def _where(x: Signal, flags: Sequence[Restart]) -> Tensor:
    """1 where a step restarts, else 0, beside the signal."""
    of_all = _of_all(flags)
    if of_all is None:
        none = torch.zeros(x.shape[1], dtype=torch.bool, device=x.device)
        where = torch.stack([flag if isinstance(flag, Tensor) else none | flag for flag in flags])
    else:
        where = torch.tensor([*of_all], device=x.device).unsqueeze(1)
    return where.to(x.dtype).reshape(*where.shape, *[1] * (x.ndim - 2))


def _is_finite(carry: State) -> bool:
    return all(bool((t.detach() * 0).sum() == 0) for t in carry)


def _period(starts: list[int], flags: Sequence[Restart]) -> int | None:
    """Steps from one restart of all samples to the next, if there are at least three and all equally far apart."""
    gaps = {b - a for a, b in pairwise(starts)}
    uniform = len(starts) > 2 and len(gaps) == 1 and all(flags[t] is True for t in starts)
    return gaps.pop() if uniform else None


def _windows(
    kernel: Kernel, x: Signal, carry: State, starts: list[int], period: int
) -> tuple[Shaped[Tensor, "T B *M"], State]:
    """Equal windows side by side: all complete ones at once, as if they were samples."""
    ends_whole = len(x) - starts[-1] == period
    body_ends = len(x) if ends_whole else starts[-1]
    values = []
    if starts[0]:
        head = x[: starts[0]]
        values.append(kernel.values_from_start(head) if carry is None else kernel.run(head, carry)[0])
    body = x if body_ends - starts[0] == len(x) else x[starts[0] : body_ends]
    windows = body.unflatten(0, (-1, period)).movedim(1, 0)
    kept, ends = kernel.run_from_start(windows) if kernel.resets_by_decay else (kernel.values_from_start(windows), None)
    values.append(kept.movedim(0, 1).flatten(0, 1))
    if not ends_whole:
        last, carry = kernel.run_from_start(x[starts[-1] :])
        values.append(last)
    elif ends is None:
        carry = kernel.carry_from_start(x[starts[-1] :])
    else:
        # a carry that forgets is one of numbers side by side: that of the last window is a part of that of all
        carry = type(ends)(*(t[-1].expand(x.shape[1], *t.shape[2:]).clone() for t in ends))
    return values[0] if len(values) == 1 else torch.cat(values), carry


def _segments(
    kernel: Kernel, x: Signal, carry: State, starts: list[int], flags: Sequence[Restart]
) -> tuple[Shaped[Tensor, "T B *M"], State]:
    """From one restart to the next."""
    begins = sorted({0, *starts})
    values = []
    for t, stretch in zip(begins, x.split([b - a for a, b in pairwise([*begins, len(x)])]), strict=True):
        h, carry = kernel.run(stretch, _restarted(kernel, stretch[0], carry, flags[t]))
        values.append(h)
    return torch.cat(values), carry
