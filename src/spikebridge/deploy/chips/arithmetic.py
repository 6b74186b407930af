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
        # exact: integers below 2^53, and the conversion cuts the fraction off
        return (q / (1 << bits)).astype(np.int64)

    def clip(self, q: Any, low: int, high: int) -> Any:
        return np.minimum(np.maximum(q, low), high)

    def spike_counts(self, v: Any, threshold: Any, highest: int) -> Any:
        """How often a threshold fits into a membrane, at most `highest` times."""
        if highest == 1:
            return (v >= threshold).astype(np.int64)

        counts = np.minimum(v // np.maximum(threshold, 1), highest)
        # subtracting a threshold of 0 or less never ends before the limit
        return np.where(v >= threshold, np.where(threshold > 0, counts, highest), 0)
