"""Held readings: at each of a part's ticks the newest value that has arrived."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import torch
from torch import Tensor


@dataclass(slots=True)
class Reading:
    """A held signal over some ticks.

    Args:
        held: the value from before, `(B, *N)`; None where there is none.
        arrived: those that arrived, oldest first, `(r, B, *N)`, or None.
        counts: for each tick how many had arrived by then.

    Example:
        >>> reading = Reading(torch.zeros(1), torch.tensor([[1.0], [2.0]]), counts=[0, 1, 1, 2])
        >>> reading.values(0, 4).flatten().tolist()
        [0.0, 1.0, 1.0, 2.0]
    """

    held: Tensor | None
    arrived: Tensor | None
    counts: list[int]
    rows: Sequence[Tensor] = ()

    @property
    def newest(self) -> Tensor | None:
        """What is held afterwards."""
        return self.held if self.arrived is None else self.arrived[-1]

    @property
    def appears(self) -> int:
        """The first tick at which there is a value."""
        if self.held is not None:
            return 0
        return next((i for i, count in enumerate(self.counts) if count > 0), len(self.counts))

    @property
    def changes(self) -> list[int]:
        """The ticks at which the value is another than at the tick before."""
        return [i for i, (before, now) in enumerate(pairwise(self.counts), start=1) if before != now]

    def values(self, a: int, b: int) -> Tensor:
        """The value at each of the ticks from `a` to before `b`, `(b - a, B, *N)`."""
        counts = self.counts[a:b]
        first, last = counts[0], counts[-1]
        if first == last:
            row = self._row(first)
            return row.expand(b - a, *row.shape)
        if self.arrived is not None and counts == list(range(first, last + 1)):
            # one after another: a piece of the signal as it is
            new = self.arrived[max(first - 1, 0) : last]
            return new if first else torch.cat([self._row(0).unsqueeze(0), new])
        runs = [(self._row(count), len(list(run))) for count, run in groupby(counts)]
        return torch.cat([row.expand(number, *row.shape) for row, number in runs])

    def signal(self, a: int, b: int) -> Tensor:
        """The same, but `(1, B, *N)` where it does not change."""
        same = self.counts[a] == self.counts[b - 1]
        return self._row(self.counts[a]).unsqueeze(0) if same else self.values(a, b)

    def _row(self, count: int) -> Tensor:
        if count == 0 or self.arrived is None:
            row = self.held
        else:
            # unbind, not arrived[i]: indexing would cost the whole length each time in the backward pass
            self.rows = self.rows or self.arrived.unbind(0)
            row = self.rows[count - 1]
        if row is None:
            raise IndexError("nothing has arrived yet")
        return row
