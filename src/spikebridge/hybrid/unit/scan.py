"""A kernel over a signal with resets where windows start: the loop over steps, or a faster form with the same numbers.

`_choose_form` alone decides which form runs. `Kernel.loop` is the definition of all of them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TypeAlias

import torch
from jaxtyping import Shaped
from torch import Tensor

from spikebridge.axes import Signal
from spikebridge.hybrid.unit.kernel import Kernel, Reset
from spikebridge.neurons.state import State
from spikebridge.ops.checks import is_finite, reads_values
from spikebridge.ops.selection import is_faster_in_windows

_MIN_SEGMENT = 4  # steps between two resets; below it the loop is faster


@dataclass(frozen=True)
class _Resets:
    """The steps at which windows start.

    Attributes:
        flags: for each step True, False, or a flag a sample `(B,)`.
        shared: the flags as bytes, if no step has one a sample.
        starts: the steps at which some sample starts a window.
    """

    flags: Sequence[Reset]
    shared: bytes | None
    starts: list[int]

    @classmethod
    def of(cls, resets: Iterable[Reset] | None, num_steps: int) -> "_Resets":
        if resets is None:
            return cls([False] * num_steps, bytes(num_steps), [])

        flags = list(resets)
        shared = bytes(flags) if {*map(type, flags)} == {bool} else None
        return cls(flags, shared, [t for t, flag in enumerate(flags) if flag is not False])

    @cached_property
    def period(self) -> int | None:
        """The steps from one reset to the next, if there are at least three of all samples, equally far apart."""
        gaps = {b - a for a, b in pairwise(self.starts)}
        is_regular = len(self.starts) > 2 and len(gaps) == 1 and all(self.flags[t] is True for t in self.starts)
        return gaps.pop() if is_regular else None

    def as_signal(self, x: Signal) -> Tensor:
        """1 where a step resets, else 0, `(T, 1 or B, 1, ...)`."""
        if self.shared is None:
            none = torch.zeros(x.shape[1], dtype=torch.bool, device=x.device)
            mask = torch.stack([f.expand_as(none) if isinstance(f, Tensor) else none | f for f in self.flags])
        else:
            mask = torch.tensor([*self.shared], device=x.device).unsqueeze(1)

        return mask.to(x.dtype).reshape(*mask.shape, *[1] * (x.ndim - 2))


_Form: TypeAlias = Callable[[Kernel, Signal, State, _Resets], tuple[Tensor, State]]


def scan_with_resets(
    kernel: Kernel, x: Signal, carry: State, resets: Iterable[Reset] | None = None
) -> tuple[Shaped[Tensor, "T B *M"], State]:
    """The values of a kernel at all steps of a float32 or float64 signal, and the carry after the last."""
    if not len(x):
        return _no_values(kernel, x, carry)

    window_starts = _Resets.of(resets, len(x))
    form = _choose_form(kernel, x, carry, window_starts)
    return form(kernel, x, carry, window_starts)


def _no_values(kernel: Kernel, x: Signal, carry: State) -> tuple[Tensor, State]:
    """The values of a signal without steps, in the shape that a step would have."""
    # a kernel may give values of another shape than its signal
    nothing = x.new_zeros(x.shape[1:])
    initial = kernel.initial_state(nothing)
    h_t, _ = kernel.step(nothing, initial)

    return x.new_empty((0, *h_t.shape)), initial if carry is None else carry


def _choose_form(kernel: Kernel, x: Signal, carry: State, resets: _Resets) -> _Form:
    """The fastest form of those that take the kernel and the signal."""
    if len(x) == 1 or not kernel.can_vectorize(x, carry):
        return _loop

    # plain C takes resets of all samples
    if resets.shared is not None and resets.starts and kernel.resets_in_one_pass(x):
        return _in_one_pass

    period = resets.period
    if resets.starts and not kernel.resets_by_decay:
        if period:
            return _in_windows
        return _in_segments if len(x) >= _MIN_SEGMENT * (len(resets.starts) + 1) else _loop

    # steps may be so small that windows in parallel are faster than one after the other
    if period and is_faster_in_windows(x):
        return _in_windows

    # each reset of all samples costs the preparation of a window again
    num_segments = len(resets.starts) + 1 if resets.shared is not None and resets.starts else 1
    if not kernel.is_profitable(x, num_segments):
        return _loop

    return _by_decay if resets.starts else _whole


def _loop(kernel: Kernel, x: Signal, carry: State, resets: _Resets) -> tuple[Tensor, State]:
    return kernel.loop(x, carry, resets.flags)


def _whole(kernel: Kernel, x: Signal, carry: State, resets: _Resets) -> tuple[Tensor, State]:
    return kernel.run(x, carry)


def _in_one_pass(kernel: Kernel, x: Signal, carry: State, resets: _Resets) -> tuple[Tensor, State]:
    return kernel.run(x, carry, resets.shared)


def _by_decay(kernel: Kernel, x: Signal, carry: State, resets: _Resets) -> tuple[Tensor, State]:
    values, end = kernel.run(x, kernel.reset(x[0], carry, resets.flags[0]), resets.as_signal(x))

    # 0 times infinity is not 0: only the loop resets what is not finite, as far as the values can be read without
    # waiting for a device
    can_stay = all(is_finite(t) for t in end if reads_values(t, is_first=True))
    return (values, end) if can_stay else kernel.loop(x, carry, resets.flags)


def _in_windows(kernel: Kernel, x: Signal, carry: State, resets: _Resets) -> tuple[Tensor, State]:
    """Windows of equal length: all complete ones at once, as if they were samples."""
    first = resets.starts[0]
    last = resets.starts[-1]
    period = resets.starts[1] - first
    is_complete = len(x) - last == period
    stop = len(x) if is_complete else last
    values = []

    # the steps before the first reset belong to the window of the call before
    if first:
        head = x[:first]
        values.append(kernel.values(head) if carry is None else kernel.run(head, carry)[0])

    body = x if stop - first == len(x) else x[first:stop]
    windows = body.unflatten(0, (-1, period)).movedim(1, 0)
    inside, ends = kernel.run(windows, None) if kernel.resets_by_decay else (kernel.values(windows), None)
    values.append(inside.movedim(0, 1).flatten(0, 1))

    if not is_complete:
        tail, carry = kernel.run(x[last:], None)
        values.append(tail)
    # the values of windows have no carry, so that the last window runs a second time
    elif ends is None:
        carry = kernel.run(x[last:], None)[1]
    else:
        # the carry of the last window is a part of that of all windows
        carry = type(ends)(*(t[-1].expand(x.shape[1], *t.shape[2:]).clone() for t in ends))

    return values[0] if len(values) == 1 else torch.cat(values), carry


def _in_segments(kernel: Kernel, x: Signal, carry: State, resets: _Resets) -> tuple[Tensor, State]:
    """The segments between resets one after the other."""
    edges = sorted({0, *resets.starts})
    values = []
    for t, segment in zip(edges, x.split([b - a for a, b in pairwise([*edges, len(x)])]), strict=True):
        h, carry = kernel.run(segment, kernel.reset(segment[0], carry, resets.flags[t]))
        values.append(h)

    return torch.cat(values), carry
