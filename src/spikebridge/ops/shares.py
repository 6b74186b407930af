"""Gradients of the values of a scheme: each step adds its share, from where the value stands in the equations."""

import torch
from torch import Tensor

from spikebridge.ops.cutting import in_block
from spikebridge.ops.retrace import Path


class Shares:
    """Collects the gradients of a part of a batch.

    Args:
        sums: by name the gradient of each value that is wanted, in its shape; added to.
        path: what the forward pass saw.
        x: the input, where the gradient of `r` needs it.
    """

    def __init__(self, sums: dict[str, Tensor], path: Path, x: Tensor | None) -> None:
        self.sums, self.path, self.x = sums, path, x

    def add(self, block: slice, grad: Tensor, after: Tensor, spike: Tensor | None, after_a: Tensor | None) -> None:
        """The shares of a block of steps.

        Args:
            block: which steps.
            grad: gradients of the membranes before the reset.
            after: of those after it.
            spike: of the spike's argument, membrane minus threshold; None where nothing fires.
            after_a: of the adaptation after the step.
        """
        path, values = self.path, self.path.values
        if "decay" in self.sums:
            self._add("decay", block, grad * (path.found(block) - in_block(values.v_leak, block, path.v)))
        if "v_leak" in self.sums:
            self._add("v_leak", block, grad * (1 - in_block(values.decay, block, path.v)))
        if "r" in self.sums:
            drive = self.x if path.currents is None else path.currents[1:]
            self._add("r", block, grad * drive[block])
        if spike is None or not {"v_threshold", "v_reset", "jump", "decay_adaptation"} & self.sums.keys():
            return
        spikes = path.spikes(block)
        # all that reaches the threshold, but for the sign
        reaching = torch.addcmul(spike, after, spikes) if path.scheme.reset == "soft" else spike
        if "v_threshold" in self.sums:
            self._add("v_threshold", block, -reaching)
        if "v_reset" in self.sums:
            self._add("v_reset", block, after * spikes)
        if after_a is not None and "jump" in self.sums:
            self._add("jump", block, after_a * spikes)
        if after_a is not None and path.adaptations is not None:
            self._add("decay_adaptation", block, (after_a - reaching) * path.adaptations[block])

    def add_of_currents(self, block: slice, grad: Tensor) -> None:
        """The share of the synaptic decay, from the gradients of the currents."""
        if "decay_syn" in self.sums and self.path.currents is not None:
            self._add("decay_syn", block, grad * self.path.currents[block])

    def _add(self, name: str, block: slice, share: Tensor) -> None:
        """Adds a share `(L, B, *N)` to the gradient of a value, which has its shape and may have a time."""
        total = self.sums[name]
        if total.ndim == share.ndim and len(total) > 1:
            total = total[block]
        total.add_(share.sum_to_size(total.shape))
