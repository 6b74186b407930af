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
        counts = x.reshape(len(x), 1, -1).astype(np.int64)
        values = np.concatenate([counts, -counts], 1) if self.signed else counts
        highest = self.copies * self.limit
        if (counts != x.reshape(counts.shape)).any() or (counts.size and values.max() > highest):
            odd = x[(x != np.trunc(x)) | (np.abs(x) > highest)].ravel()
            raise DataError(
                f"{name!r} has channels for whole spikes, at most {highest} in a step, but got {odd[0]:.4g}; quantise "
                "it on more samples, or limit the code"
            )
        if not self.signed and counts.size and counts.min() < 0:
            raise DataError(f"{name!r} has no channels for negative counts, but got {counts.min()}")

        if self.copies > 1:
            values = (values[:, None] - self.limit * np.arange(self.copies)[:, None, None]).clip(max=self.limit)

        return np.maximum(values, 0).reshape(len(x), -1)

    def weights(self, weight: Any, axis: int) -> Any:
        """Weights of the values as those of the channels, along the axis of the values."""
        signs = [weight, -weight] if self.signed else [weight]
        return np.concatenate(signs * self.copies, axis)
