"""What is wrong with rows that come in pieces."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool


class RowErrors(NamedTuple):
    """How many of the rows so far have a fault, and which is the first, of each kind.

    Example:
        >>> faults = RowErrors().after({"too late": np.array([False, True])})
        >>> faults = faults.after({"too late": np.array([True, False, False])})
        >>> str(faults)
        'of 5 events, 2 too late, first at index 1'
    """

    num_rows: int = 0
    counts: Mapping[str, int] = {}
    first: Mapping[str, int] = {}

    def after(self, marks: Mapping[str, Bool[np.ndarray, " N"]]) -> "RowErrors":
        """The same and the next rows.

        Args:
            marks: by kind, which of these rows have the fault.
        """
        (num_rows,) = {len(wrong) for wrong in marks.values()}
        counts = {what: self.counts.get(what, 0) + int(wrong.sum()) for what, wrong in marks.items()}
        new = {what: self.num_rows + int(wrong.argmax()) for what, wrong in marks.items() if wrong.any()}
        return RowErrors(self.num_rows + num_rows, counts, {**new, **self.first})

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.first)

    def __str__(self) -> str:
        """All of them in words."""
        found = [f"{self.counts[what]} {what}, first at index {first}" for what, first in self.first.items()]
        return f"of {self.num_rows} events, {'; '.join(found)}"
