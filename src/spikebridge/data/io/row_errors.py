"""Counts invalid rows of a table that is read in chunks."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool


class RowErrors(NamedTuple):
    """Number of invalid rows so far and index of the first one, by kind of error."""

    num_rows: int = 0
    counts: Mapping[str, int] = {}
    first: Mapping[str, int] = {}

    def with_rows(self, marks: Mapping[str, Bool[np.ndarray, " N"]]) -> "RowErrors":
        """The errors with those of the next rows added; a mark is True where a row has that kind of error."""
        (num_rows,) = {len(wrong) for wrong in marks.values()}
        counts = {kind: self.counts.get(kind, 0) + int(wrong.sum()) for kind, wrong in marks.items()}
        first = {kind: self.num_rows + int(wrong.argmax()) for kind, wrong in marks.items() if wrong.any()}

        return RowErrors(self.num_rows + num_rows, counts, {**first, **self.first})

    def __bool__(self) -> bool:
        return bool(self.first)

    def __str__(self) -> str:
        """All errors in one line, such as "of 5 events, 2 too late, first at index 1"."""
        errors = [f"{self.counts[kind]} {kind}, first at index {first}" for kind, first in self.first.items()]
        return f"of {self.num_rows} events, {'; '.join(errors)}"
