"""A kernel over a signal with resets where windows start: at once where that gives the same numbers, else in a loop.

| resets | way |
|---|---|
| none | `run` of the kernel |
| of all samples, a kernel whose reset is a decay of 0 | `run` of the kernel, with the resets |
| of all samples, equally far apart | complete windows side by side, as if they were samples |
| others | from one reset to the next, or step by step |
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Shaped
from torch import Tensor

from spikebridge.axes import Signal
from spikebridge.hybrid.unit.kernel import Kernel, Reset
from spikebridge.neurons.state import State
from spikebridge.ops.checks import is_finite, reads_values
from spikebridge.ops.selection import is_faster_in_windows

_MIN_SEGMENT = 4  # steps between two resets; below it the loop is faster


def scan_with_resets(
    kernel: Kernel, x: Signal, carry: State, resets: Iterable[Reset] | None = None
) -> tuple[Shaped[Tensor, "T B *M"], State]:
    """The values of a kernel at all steps, with resets where windows start.

    Args:
        kernel: the kernel.
        x: `(T, B, *N)`, T >= 1, in float32 or float64.
        carry: after the step before, or None.
        resets: for each step True, False, or a flag a sample `(B,)`.

    Returns:
        The values of all steps, and the carry after the last.

    Example:
        >>> from spikebridge.hybrid import Sum
        >>> values, carry = scan_with_resets(Sum(), torch.ones(4, 1, 1), None, [True, False, True, False])
        >>> values.flatten().tolist(), carry.total.item()
        ([1.0, 2.0, 1.0, 2.0], 2.0)
    """
    vectorizes = x.shape[0] > 1 and kernel.can_vectorize(x, carry)
    if resets is None and vectorizes and kernel.is_profitable(x):
        return _without_resets(kernel, x, carry)

    flags: Sequence[Reset] = [False] * len(x) if resets is None else list(resets)
    if not vectorizes:
        return kernel.loop(x, carry, flags)

    of_all = _of_all_samples(flags)
    if of_all is not None and 1 not in of_all:
        return _without_resets(kernel, x, carry) if kernel.is_profitable(x) else kernel.loop(x, carry, flags)
    if of_all is not None and kernel.resets_in_one_pass(x):
        return kernel.run(x, carry, of_all)

    starts = [t for t, flag in enumerate(flags) if flag is not False]
    period = _period(starts, flags)
    if kernel.resets_by_decay and not (period and is_faster_in_windows(x)):
        if not kernel.is_profitable(x, 1 if of_all is None else len(starts) + 1):
            return kernel.loop(x, carry, flags)
        values, end = kernel.run(x, kernel.reset(x[0], carry, flags[0]), _as_signal(x, flags))
        # 0 times infinity is not 0: only the loop resets what is not finite
        return (values, end) if _is_finite(end) else kernel.loop(x, carry, flags)

    if period:
        return _side_by_side(kernel, x, carry, starts, period)
    if len(x) < _MIN_SEGMENT * (len(starts) + 1):
        return kernel.loop(x, carry, flags)

    return _segment_by_segment(kernel, x, carry, starts, flags)


def _without_resets(kernel: Kernel, x: Signal, carry: State) -> tuple[Shaped[Tensor, "T B *M"], State]:
    return kernel.run(x, carry) if carry is not None else kernel.run_from_start(x)


def _side_by_side(
    kernel: Kernel, x: Signal, carry: State, starts: list[int], period: int
) -> tuple[Shaped[Tensor, "T B *M"], State]:
    """Windows of equal length: all complete ones at once, as if they were samples."""
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
        # the carry of the last window is a part of that of all windows
        carry = type(ends)(*(t[-1].expand(x.shape[1], *t.shape[2:]).clone() for t in ends))

    return values[0] if len(values) == 1 else torch.cat(values), carry


def _segment_by_segment(
    kernel: Kernel, x: Signal, carry: State, starts: list[int], flags: Sequence[Reset]
) -> tuple[Shaped[Tensor, "T B *M"], State]:
    """From one reset to the next."""
    edges = sorted({0, *starts})
    values = []
    for t, segment in zip(edges, x.split([b - a for a, b in pairwise([*edges, len(x)])]), strict=True):
        h, carry = kernel.run(segment, kernel.reset(segment[0], carry, flags[t]))
        values.append(h)

    return torch.cat(values), carry


def _of_all_samples(flags: Sequence[Reset]) -> bytes | None:
    """The flags as bytes, where no sample has its own."""
    return bytes(flags) if {*map(type, flags)} == {bool} else None


def _as_signal(x: Signal, flags: Sequence[Reset]) -> Tensor:
    """1 where a step resets, else 0, `(T, 1 or B, 1, ...)`."""
    of_all = _of_all_samples(flags)
    if of_all is None:
        none = torch.zeros(x.shape[1], dtype=torch.bool, device=x.device)
        mask = torch.stack([flag.expand_as(none) if isinstance(flag, Tensor) else none | flag for flag in flags])
    else:
        mask = torch.tensor([*of_all], device=x.device).unsqueeze(1)

    return mask.to(x.dtype).reshape(*mask.shape, *[1] * (x.ndim - 2))


def _is_finite(carry: State) -> bool:
    """Whether a carry is finite, as far as its numbers can be read without waiting for a device."""
    return all(is_finite(t) for t in carry if reads_values(t, is_first=True))


def _period(starts: list[int], flags: Sequence[Reset]) -> int | None:
    """Steps from one reset of all samples to the next, if there are at least three and all equally far apart."""
    gaps = {b - a for a, b in pairwise(starts)}
    uniform = len(starts) > 2 and len(gaps) == 1 and all(flags[t] is True for t in starts)
    return gaps.pop() if uniform else None
