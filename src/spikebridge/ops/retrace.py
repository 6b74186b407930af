"""What a forward pass did not keep, worked out again from the membranes that it kept."""

from typing import NamedTuple

import torch
from torch import Tensor

from spikebridge.ops.cutting import each_step, in_block, is_number
from spikebridge.ops.scheme import Memory, Scheme, Value, Values


class Path(NamedTuple):
    """A sequence seen again: its thresholds, and where they are asked for its currents and adaptations.

    Args:
        scheme, v, start, values: as given to `retrace`.
        thresholds: a value of the scheme, or with adaptation one for each step.
        currents: synaptic currents `(T + 1, B, *N)`, the first from before the first step.
        adaptations: what each step found, before its decay.
    """

    scheme: Scheme
    v: Tensor
    start: Memory
    values: Values
    thresholds: Value
    currents: Tensor | None
    adaptations: Tensor | None

    def spikes(self, block: slice) -> Tensor:
        """Which neurons fired in a block of steps."""
        spikes = torch.empty_like(self.v[block])
        return torch.ge(self.v[block], in_block(self.thresholds, block, self.v), out=spikes)

    @property
    def adapts(self) -> bool:
        """Whether the threshold remembers."""
        return self.start.a is not None

    def found(self, block: slice) -> Tensor:
        """The membranes that a block of steps found: those after the resets of the steps before."""
        before = slice(max(block.start - 1, 0), block.stop - 1)
        v = self.v[before]
        if self.scheme.fires and self.scheme.reset == "soft":
            v = torch.addcmul(v, self.spikes(before), in_block(self.thresholds, before, self.v), value=-1)
        elif self.scheme.fires:
            silent = torch.empty_like(v, memory_format=torch.contiguous_format)
            torch.lt(v, in_block(self.thresholds, before, self.v), out=silent)
            if is_number(self.values.v_reset, 0):
                v = silent.mul_(v)
            else:
                v = torch.where(silent > 0, v, in_block(self.values.v_reset, before, self.v))
        return v if block.start > 0 else torch.cat([self.start.v.unsqueeze(0), v])


def retrace(scheme: Scheme, x: Tensor | None, v: Tensor, start: Memory, values: Values, with_adaptations: bool) -> Path:
    """The path of a sequence.

    Args:
        scheme: what kind of neuron.
        x: the input, given where currents are asked for.
        v: membranes before the reset.
        start: the memory before the first step.
        values: the numbers of the scheme.
        with_adaptations: whether those are asked for.
    """
    currents = adaptations = None
    thresholds = values.v_threshold
    if start.i is not None and x is not None:
        currents = torch.empty((len(v) + 1, *v.shape[1:]), dtype=v.dtype, device=v.device)
        currents[0] = start.i
        rows = currents.unbind(0)
        for t, (x_t, decay) in enumerate(zip(x.unbind(0), each_step(values.decay_syn, v), strict=True)):
            torch.mul(rows[t], decay, out=rows[t + 1]).add_(x_t)
    if start.a is not None and scheme.fires:
        a, spikes, thresholds = start.a.clone(), torch.empty_like(start.a), torch.empty_like(v)
        adaptations = torch.empty_like(v) if with_adaptations else None
        numbers = [each_step(n, v) for n in (values.v_threshold, values.decay_adaptation, values.jump)]
        for t, (v_t, row, threshold, decay, jump) in enumerate(
            zip(v.unbind(0), thresholds.unbind(0), *numbers, strict=True)
        ):
            if adaptations is not None:
                adaptations[t] = a
            torch.add(a.mul_(decay), threshold, out=row)
            a.addcmul_(torch.ge(v_t, row, out=spikes), jump)
    return Path(scheme, v, start, values, thresholds, currents, adaptations)
