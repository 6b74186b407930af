"""A sequence rematerialized for its backward pass: spikes, thresholds, currents and adaptations.

The forward pass keeps the membranes before the reset alone. All else follows from them and from the state before the
first step, in less time than it takes to read it from memory.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from spikebridge.ops.sequence.spec import NeuronParams, NeuronSpec, NeuronState, Value
from spikebridge.ops.sequence.tiling import each_step, is_number, slice_time


class Trajectory(NamedTuple):
    """States of a sequence. Spikes and membranes after a reset are computed for a block of steps on request."""

    spec: NeuronSpec
    v: Tensor  # membranes before the reset
    start: NeuronState
    values: NeuronParams
    thresholds: Value  # one value, or with adaptation one for each step
    currents: Tensor | None  # (T + 1, B, *N), the first from before the first step
    adaptations: Tensor | None  # before the decay of each step

    def spikes(self, block: slice) -> Tensor:
        spikes = torch.empty_like(self.v[block])
        return torch.ge(self.v[block], slice_time(self.thresholds, block, self.v), out=spikes)

    def membranes_before(self, block: slice) -> Tensor:
        """The membranes before a block of steps: those after the reset, one step earlier."""
        earlier = slice(max(block.start - 1, 0), block.stop - 1)
        v = self.v[earlier]

        if self.spec.fires and self.spec.reset == "subtract":
            v = torch.addcmul(v, self.spikes(earlier), slice_time(self.thresholds, earlier, self.v), value=-1)
        elif self.spec.fires:
            silent = torch.empty_like(v, memory_format=torch.contiguous_format)
            torch.lt(v, slice_time(self.thresholds, earlier, self.v), out=silent)
            if is_number(self.values.v_reset, 0):
                v = silent.mul_(v)
            else:
                v = torch.where(silent > 0, v, slice_time(self.values.v_reset, earlier, self.v))

        return v if block.start > 0 else torch.cat([self.start.v.unsqueeze(0), v])


def rematerialize(
    spec: NeuronSpec, x: Tensor | None, v: Tensor, start: NeuronState, values: NeuronParams, with_adaptations: bool
) -> Trajectory:
    """The trajectory of membranes `v`, with currents where the input is given, and adaptations on request."""
    currents = None if start.i is None or x is None else _currents(x, start.i, values, v)
    adaptations = None
    thresholds = values.v_threshold

    if start.a is not None and spec.fires:
        adaptations = torch.empty_like(v) if with_adaptations else None
        thresholds = _adapted_thresholds(v, start.a, values, adaptations)

    return Trajectory(spec, v, start, values, thresholds, currents, adaptations)


def _currents(x: Tensor, start: Tensor, values: NeuronParams, v: Tensor) -> Tensor:
    currents = torch.empty((len(v) + 1, *v.shape[1:]), dtype=v.dtype, device=v.device)
    currents[0] = start
    rows = currents.unbind(0)
    for t, (x_t, decay) in enumerate(zip(x.unbind(0), each_step(values.decay_syn, v), strict=True)):
        torch.mul(rows[t], decay, out=rows[t + 1]).add_(x_t)

    return currents


def _adapted_thresholds(v: Tensor, start: Tensor, values: NeuronParams, adaptations: Tensor | None) -> Tensor:
    """The threshold of each step; the adaptations before each step are written to memory for them, if there is any."""
    thresholds = torch.empty_like(v)
    a = start.clone()
    spikes = torch.empty_like(start)
    numbers = [each_step(n, v) for n in (values.v_threshold, values.decay_adaptation, values.jump)]

    for t, (v_t, row, threshold, decay, jump) in enumerate(
        zip(v.unbind(0), thresholds.unbind(0), *numbers, strict=True)
    ):
        if adaptations is not None:
            adaptations[t] = a
        torch.add(a.mul_(decay), threshold, out=row)
        a.addcmul_(torch.ge(v_t, row, out=spikes), jump)

    return thresholds
