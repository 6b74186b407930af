"""The primitives of a chip's steps in numpy. No torch is needed.

The steps of a chip are methods of one class (`loihi.py`, `xylo.py`), which overrides the synapse, membrane, threshold
and saturation of the neurons in `spikebridge.deploy.stages.neurons`. Mixed with `ChipIntegers` they run in integers,
with `FakeChipIntegers` of `training.py` in torch.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from spikebridge.deploy.stages.arithmetic import IntegerArithmetic


@dataclass
class ChipIntegers(IntegerArithmetic):
    """Integers of 64 bits."""

    def shift_down(self, q: Any, bits: Any) -> Any:
        """`q / 2^bits`, rounded towards minus infinity."""
        return q >> bits

    def shift_to_zero(self, q: Any, bits: Any) -> Any:
        """`q / 2^bits`, rounded towards 0."""
        # as the shift of a negative number rounds down, it needs 2^bits - 1 first
        return (q + ((q < 0) * ((1 << bits) - 1))) >> bits

    def clip(self, q: Any, low: int, high: int) -> Any:
        return np.minimum(np.maximum(q, low), high)

    def spike_counts(self, v: Any, threshold: Any, highest: int) -> Any:
        """How often a threshold fits into a membrane, at most `highest` times."""
        counts = np.minimum(v // np.maximum(threshold, 1), highest)
        # subtracting a threshold of 0 or less never ends before the limit
        return np.where(v >= threshold, np.where(threshold > 0, counts, highest), 0)
