"""Where the windows of `Since` open, among the steps of their source."""

import torch
from torch import Tensor

from spikebridge.errors import ShapeError
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
