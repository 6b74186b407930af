"""Where the windows of `Since` open, among the steps of their source."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid.clock import Clock


def openings_by_clock(source: Clock, trigger: Clock, start: int, stop: int) -> Tensor:
    """Where windows open when every sample of the trigger opens one: at the first source step at or after it.

    Args:
        source: clock of the steps.
        trigger: clock of the trigger.
        start: first base tick.
        stop: the tick after the last.

    Returns:
        One flag a source step, `(T,)`, the same for all samples.

    Example:
        >>> openings_by_clock(Clock(2, 0), Clock(3, 1), 0, 12).tolist()  # steps 0, 2, 4, ...; triggers 1, 4, 7, 10
        [False, True, True, False, True, True]
    """
    ticks = source.ticks(start, stop)
    before = [trigger.count(tick - source.period + 1) if tick > source.phase else 0 for tick in ticks]
    return torch.tensor(
        [trigger.count(tick + 1) > count for tick, count in zip(ticks, before, strict=True)], dtype=torch.bool
    )


def openings_by_flags(
    source: Clock, trigger: Clock, flags: Tensor | None, waiting: Tensor, start: int, stop: int
) -> tuple[Tensor, Tensor]:
    """The same when the trigger is a mask, so that each sample of the batch opens its windows by itself.

    Args:
        source: clock of the steps.
        trigger: clock of the mask.
        flags: the mask in this stretch, `(K, B)`; None where it has no tick.
        waiting: whether a trigger came after the last source step, `(B,)`.
        start: first base tick.
        stop: the tick after the last.

    Returns:
        One flag a source step and sample, `(T, B)`, and whether a trigger waits for the next step, `(B,)`.

    Example:
        >>> flags = torch.tensor([[True], [False], [True]])
        >>> opens, waiting = openings_by_flags(Clock(2, 0), Clock(1, 0), flags, torch.tensor([False]), 0, 3)
        >>> opens.flatten().tolist(), waiting.tolist()
        ([True, True], [False])
    """
    if flags is not None and flags.numel() != len(flags) * len(waiting):
        raise ShapeError(f"a trigger has one flag a sample, (T, B), but got shape {tuple(flags.shape)}")
    rows = [] if flags is None else [row.reshape(-1) for row in flags.unbind(0)]
    arrivals = iter(zip(trigger.ticks(start, stop), rows, strict=True) if rows else ())
    none = torch.zeros_like(waiting)
    opens = []
    stamp, row = next(arrivals, (stop, none))
    for tick in source.ticks(start, stop):
        while stamp <= tick:
            waiting = waiting | row
            stamp, row = next(arrivals, (stop, none))
        opens.append(waiting)
        waiting = none
    while stamp < stop:
        waiting = waiting | row
        stamp, row = next(arrivals, (stop, none))
    return torch.stack(opens) if opens else none.new_empty((0, len(none))), waiting


def openings_by_hand(opens: Tensor | None, x: Tensor) -> Iterable[Any]:
    """The flags that a unit is given, `(T, B)` or `(T,)`: for each step True, False, or one a sample `(B,)`."""
    if opens is None:
        raise ConfigError("a unit with the window Since needs opens=, the flags (T, B) of where windows open")
    if len(opens) != len(x):
        raise ShapeError(f"opens has {len(opens)} steps, but the signal has {len(x)}")
    if opens.dtype != torch.bool or opens.ndim not in (1, 2) or opens.shape[1:] not in ((), x.shape[1:2]):
        raise ShapeError(
            f"opens needs flags (T, B) or (T,) beside a signal {tuple(x.shape)}, but got {opens.dtype} "
            f"{tuple(opens.shape)}"
        )
    if opens.ndim == 1:
        return opens.tolist()
    # a step at which no sample opens a window is cheaper without a mask
    return [row if some else False for row, some in zip(opens.unbind(0), opens.any(1).tolist(), strict=True)]
