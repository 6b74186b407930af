"""Held readings: at each of a part's ticks the newest value that has arrived."""

from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor


@dataclass(slots=True)
class Reading:
    """A held signal over some ticks.

    Args:
        rows: the value held before, None where there is none, and those that arrived, oldest first, `(B, *N)` each.
        counts: for each tick how many had arrived by then.
    """

    rows: list[Tensor | None]
    counts: list[int]

    @classmethod
    def of(cls, held: Tensor | None, arrived: Tensor | None, counts: list[int]) -> "Reading":
        """A reading from what was held before and what arrived, `(r, B, *N)`.

        Example:
            >>> reading = Reading.of(torch.zeros(1), torch.tensor([[1.0], [2.0]]), counts=[0, 1, 1, 2])
            >>> reading.values(0, 4).flatten().tolist()
            [0.0, 1.0, 1.0, 2.0]
        """
        return cls([held] if arrived is None else [held, *arrived.unbind(0)], counts)

    @property
    def newest(self) -> Tensor | None:
        """What is held afterwards."""
        return self.rows[-1]

    @property
    def appears(self) -> int:
        """The first tick at which there is a value."""
        if self.rows[0] is not None:
            return 0
        return next((i for i, count in enumerate(self.counts) if count > 0), len(self.counts))

    @property
    def changes(self) -> list[int]:
        """The ticks at which the value is another than at the tick before."""
        return [i for i in range(1, len(self.counts)) if self.counts[i] != self.counts[i - 1]]

    def values(self, a: int, b: int) -> Tensor:
        """The value at each of the ticks from `a` to before `b`, `(b - a, B, *N)`."""
        return self._spread(self._runs(a, b))

    def signal(self, a: int, b: int) -> Tensor:
        """The same, but `(1, B, *N)` where it does not change."""
        runs = self._runs(a, b)
        return runs[0][0].unsqueeze(0) if len(runs) == 1 else self._spread(runs)

    def _runs(self, a: int, b: int) -> list[tuple[Tensor, int]]:
        """The different values in order, and for how many ticks each is read."""
        if b - a == 1:
            runs = [(self.rows[self.counts[a]], 1)]
        else:
            runs = [(self.rows[count], len(list(run))) for count, run in groupby(self.counts[a:b])]
        return [(row, number) for row, number in runs if row is not None]

    def _spread(self, runs: list[tuple[Tensor, int]]) -> Tensor:
        pieces = [row.expand(number, *row.shape) for row, number in runs]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)
