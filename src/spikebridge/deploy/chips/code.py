"""Signed counts of spikes as those of a chip's channels: one for each sign, and several where a channel holds few."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikebridge.errors import DataError


@dataclass(frozen=True)
class InputCode:
    """The channels of an input.

    Args:
        shape: of a step of the input.
        signed: negative counts go to channels of their own, whose weights have the other sign.
        copies: channels of a value and sign; each takes `limit` of its spikes, the first ones first.
        limit: spikes of a channel in a step.
    """

    shape: tuple[int, ...]
    signed: bool
    copies: int
    limit: int

    @property
    def channels(self) -> int:
        """The number of channels."""
        return prod(self.shape) * self.repeats

    @property
    def repeats(self) -> int:
        """Channels of one value."""
        return (2 if self.signed else 1) * self.copies

    def encode(self, x: NDArray[Any], name: str) -> NDArray[np.int64]:
        """Counts of spikes `(B, *shape)` as `(B, channels)`; counts that are none or too many raise a `DataError`."""
        counts = np.rint(x).astype(np.int64)
        if not np.array_equal(counts, x):
            odd = x[counts != x].ravel()[0]
            raise DataError(f"{name!r} takes whole numbers of spikes, but got {odd:.4g}")

        highest = self.copies * self.limit
        lowest = -highest if self.signed else 0
        if counts.size and (counts.max() > highest or counts.min() < lowest):
            outside = counts.max() if counts.max() > highest else counts.min()
            raise DataError(
                f"{name!r} has channels for {lowest} to {highest} spikes in a step, but got {outside}; quantise it on "
                "more samples, or limit the code"
            )

        signs = [np.maximum(counts, 0), np.maximum(-counts, 0)] if self.signed else [counts]
        parts = [np.clip(one - copy * self.limit, 0, self.limit) for copy in range(self.copies) for one in signs]
        return np.concatenate([part.reshape(len(x), -1) for part in parts], 1)

    def weights(self, weight: Any, axis: int) -> Any:
        """Weights of the values as those of the channels, along the axis of the values."""
        signs = [weight, -weight] if self.signed else [weight]
        return np.concatenate(signs * self.copies, axis)
