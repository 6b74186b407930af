"""Cutting a batch in time, for truncated back-propagation through time."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from spikebridge.errors import ConfigError, ShapeError, did_you_mean


@dataclass(frozen=True)
class TimeSlices:
    """Cuts the named signals `(T, B, *N)` of a batch in time; the other tensors go into every slice whole.

    Signals of several clocks are cut at the same moments: 5 frames at 40 Hz beside 30 events at 240 Hz.

    Args:
        lengths: samples of a slice, by name; the last slice may be shorter.

    Raises:
        ConfigError: no signal, a length below 1, or a signal that the batch does not have.
        ShapeError: signals that fall into different numbers of slices.

    Example:
        >>> import torch
        >>> batch = {"x": torch.arange(5).reshape(5, 1), "label": torch.tensor([3])}
        >>> [piece["x"].flatten().tolist() for piece in TimeSlices({"x": 2})(batch)]
        [[0, 1], [2, 3], [4]]
        >>> [piece["label"].tolist() for piece in TimeSlices({"x": 5})(batch)]
        [[3]]
    """

    lengths: Mapping[str, int]

    def __post_init__(self) -> None:
        if not self.lengths or min(self.lengths.values()) < 1:
            raise ConfigError(f"slices need signals and at least 1 sample of each, but got {dict(self.lengths)}")

    def __call__(self, batch: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        for name in self.lengths:
            if name not in batch:
                raise ConfigError(f"the batch has no signal {name!r} to slice: {did_you_mean(name, batch)}")
        counts = {name: math.ceil(len(batch[name]) / length) for name, length in self.lengths.items()}
        if len(set(counts.values())) != 1:
            raise ShapeError(f"the signals fall into different numbers of slices: {counts}; change their lengths")
        for k in range(next(iter(counts.values()))):
            cut = {name: batch[name][k * length : (k + 1) * length] for name, length in self.lengths.items()}
            yield {**batch, **cut}
