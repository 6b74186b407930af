"""Gradients of the values of a scheme: each step adds its share, from where the value stands in the equations."""

import torch
from torch import Tensor

from spikebridge.ops.cutting import in_block, is_number
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

    @property
    def about_spikes(self) -> bool:
        """Whether a value is wanted that acts where neurons fire."""
        return bool({"v_threshold", "v_reset", "jump", "decay_adaptation"} & self.sums.keys())

    def add_of_membranes(self, block: slice, grad: Tensor) -> None:
        """The shares of leak and charge in a block of steps, from the gradients of the membranes before the reset."""
        path, values = self.path, self.path.values
        if "decay" in self.sums:
            found = path.found(block)
            if not is_number(values.v_leak, 0):
                found = found - in_block(values.v_leak, block, path.v)
            self._add("decay", block, grad, found)
        if "v_leak" in self.sums:
            self._add("v_leak", block, grad, 1 - in_block(values.decay, block, path.v))
        drive = self.x if path.currents is None else path.currents[1:]
        if "r" in self.sums and drive is not None:
            self._add("r", block, grad, drive[block])

    def add_of_spikes(self, block: slice, after: Tensor, spike: Tensor, after_a: Tensor | None) -> None:
        """The shares of threshold, reset and adaptation in a block of steps.

        Args:
            block: which steps.
            after: gradients of the membranes after the reset.
            spike: of the spike's argument, membrane minus threshold.
            after_a: of the adaptation after the step.
        """
        path = self.path
        spikes = path.spikes(block)
        # all that reaches the threshold, but for the sign
        reaching = spike.addcmul_(after, spikes) if path.scheme.reset == "soft" else spike
        if "v_threshold" in self.sums:
            self._add("v_threshold", block, reaching, sign=-1)
        if "v_reset" in self.sums:
            self._add("v_reset", block, after, spikes)
        if after_a is not None and "jump" in self.sums:
            self._add("jump", block, after_a, spikes)
        if after_a is not None and path.adaptations is not None:
            self._add("decay_adaptation", block, after_a - reaching, path.adaptations[block])

    def add_of_currents(self, block: slice, grad: Tensor) -> None:
        """The share of the synaptic decay, from the gradients of the currents."""
        if "decay_syn" in self.sums and self.path.currents is not None:
            self._add("decay_syn", block, grad, self.path.currents[block])

    def _add(self, name: str, block: slice, left: Tensor, right: Tensor | None = None, sign: int = 1) -> None:
        """Adds products `(L, B, *N)` to the gradient of a value, which has its shape and may have a time."""
        total = self.sums[name]
        if right is not None and total.ndim == 0 and left.is_contiguous() and right.is_contiguous():
            total += torch.dot(left.reshape(-1), right.expand_as(left).reshape(-1))
            return
        if total.ndim == left.ndim and len(total) > 1:
            total = total[block]
        total.add_((left if right is None else left * right).sum_to_size(total.shape), alpha=sign)
