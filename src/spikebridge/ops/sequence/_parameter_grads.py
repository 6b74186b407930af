"""The gradients of the parameters of neurons: sums of what each block of steps contributes."""

import torch
from torch import Tensor

from spikebridge.ops.sequence.tiling import is_number, slice_time
from spikebridge.ops.sequence.trajectory import Trajectory


class ParameterGrads:
    """The gradients of parameters by name, to which each block of steps of a part of the batch adds."""

    # each sum has the shape of its parameter, and so may have a time; the gradient of `r` alone needs the input

    def __init__(self, sums: dict[str, Tensor], trajectory: Trajectory, x: Tensor | None) -> None:
        self.sums = sums
        self.trajectory = trajectory
        self.x = x
        self.needs_spikes = not {"v_threshold", "v_reset", "jump", "decay_adaptation"}.isdisjoint(sums)

    def add_leak_and_charge(self, block: slice, grad: Tensor) -> None:
        """Adds those of decay, resting value and `r`, from the gradients of the membranes before the reset."""
        path = self.trajectory
        values = path.values
        if "decay" in self.sums:
            before = path.membranes_before(block)
            if not is_number(values.v_leak, 0):
                before = before - slice_time(values.v_leak, block, path.v)
            self._add("decay", block, grad, before)

        if "v_leak" in self.sums:
            self._add("v_leak", block, grad, 1 - slice_time(values.decay, block, path.v))

        drive = self.x if path.currents is None else path.currents[1:]
        if "r" in self.sums and drive is not None:
            self._add("r", block, grad, drive[block])

    def add_fire_and_reset(self, block: slice, after: Tensor, spike: Tensor, after_a: Tensor | None = None) -> None:
        """Adds those of threshold, reset and adaptation, from the gradients of membrane and adaptation after a step."""
        # `spike` is the gradient of membrane minus threshold; it is written over
        path = self.trajectory
        spikes = path.spikes(block)
        # minus the gradient of the threshold: a subtracting reset takes the threshold away where a neuron fired
        minus_threshold = spike.addcmul_(after, spikes) if path.spec.reset == "subtract" else spike
        if "v_threshold" in self.sums:
            self._add("v_threshold", block, minus_threshold, sign=-1)

        if "v_reset" in self.sums:
            self._add("v_reset", block, after, spikes)

        if after_a is not None and "jump" in self.sums:
            self._add("jump", block, after_a, spikes)

        if after_a is not None and path.adaptations is not None:
            self._add("decay_adaptation", block, after_a - minus_threshold, path.adaptations[block])

    def add_synapse(self, block: slice, grad: Tensor) -> None:
        """Adds that of the synaptic decay, from the gradients of the currents."""
        if "decay_syn" in self.sums and self.trajectory.currents is not None:
            self._add("decay_syn", block, grad, self.trajectory.currents[block])

    def _add(self, name: str, block: slice, left: Tensor, right: Tensor | None = None, sign: int = 1) -> None:
        """Adds products `(L, B, *N)`, summed to the shape of the parameter."""
        total = self.sums[name]
        # one number for all: a dot product stores no products
        if right is not None and total.ndim == 0 and left.is_contiguous() and right.is_contiguous():
            total += torch.dot(left.reshape(-1), right.expand_as(left).reshape(-1))
            return

        if total.ndim == left.ndim and len(total) > 1:
            total = total[block]
        total.add_((left if right is None else left * right).sum_to_size(total.shape), alpha=sign)
