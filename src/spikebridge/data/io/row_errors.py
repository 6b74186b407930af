"""Counts invalid rows of a table that is read in chunks."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool


class RowErrors(NamedTuple):
    """Number of invalid rows so far and index of the first one, by kind of error.

    Example:
        >>> errors = RowErrors().with_rows({"too late": np.array([False, True])})
        >>> errors = errors.with_rows({"too late": np.array([True, False, False])})
        >>> str(errors)
        'of 5 events, 2 too late, first at index 1'
    """

    num_rows: int = 0
    counts: Mapping[str, int] = {}
    first: Mapping[str, int] = {}

    def with_rows(self, marks: Mapping[str, Bool[np.ndarray, " N"]]) -> "RowErrors":
        """The errors with those of the next rows added.

        Args:
            marks: for each kind of error, True where a row has it.
        """
        (num_rows,) = {len(wrong) for wrong in marks.values()}
        counts = {what: self.counts.get(what, 0) + int(wrong.sum()) for what, wrong in marks.items()}
        new = {what: self.num_rows + int(wrong.argmax()) for what, wrong in marks.items() if wrong.any()}

        return RowErrors(self.num_rows + num_rows, counts, {**new, **self.first})

    def __bool__(self) -> bool:
        """Whether there is any error."""
        return bool(self.first)

    def __str__(self) -> str:
        """All errors, as in the example."""
        found = [f"{self.counts[what]} {what}, first at index {first}" for what, first in self.first.items()]
        return f"of {self.num_rows} events, {'; '.join(found)}"
