"""The backward pass of neurons over time in PyTorch: back-propagation through the equations of `spec.py`.

With `u` the membrane and `a` the adaptation after a step, `th` the threshold in it, `h` the surrogate's derivative and
`[.]` what the spike does to the membrane, `v_reset - v` (zero), `-th` (subtract) or 0 (detached), each step backward is

    spike  = h (grad_y + [.] grad_u + jump grad_a)
    grad_v = grad_u (1 where silent, or subtract) + spike
    grad_a = decay_adaptation (grad_a - spike - (subtract) y grad_u)
    grad_u = decay grad_v

so `grad_v` is a linear recurrence, one operation a step where nothing adapts; all else is done for blocks of steps.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from spikebridge.ops.native.memory_pool import pool_empty
from spikebridge.ops.sequence._parameter_grads import ParameterGrads
from spikebridge.ops.sequence.spec import BackwardArgs, NeuronParams, SurrogateGradient
from spikebridge.ops.sequence.tiling import (
    as_number,
    as_tensor,
    batch_parts,
    each_step,
    is_number,
    slice_batch,
    slice_params,
    slice_time,
    time_blocks,
)
from spikebridge.ops.sequence.trajectory import Trajectory, rematerialize


def backward_steps(args: BackwardArgs) -> dict[str, Tensor]:
    """The gradients that are wanted, by name; that of a parameter is summed to its shape."""
    spec, x, v, start, values, grad_y, grad_end, wanted, out, _ = args
    sums: dict[str, Tensor] = {n: torch.zeros_like(getattr(values, n)) for n in NeuronParams._fields if n in wanted}
    values = NeuronParams(*map(as_number, values))
    grad_x = pool_empty(v.shape, v) if out is None else out
    states = {n: m for n, m in start._asdict().items() if m is not None}
    carry = {n: grad_end[n].clone() if n in grad_end else torch.zeros_like(m) for n, m in states.items()}

    for part in batch_parts(v):
        x_of_part = None if x is None else x[:, part]
        values_of_part = slice_params(values, part, v.ndim)
        trajectory = rematerialize(
            spec, x_of_part, v[:, part], start.of_batch(part), values_of_part, "decay_adaptation" in sums
        )

        parameter_grads = None
        if sums:
            sums_of_part = {n: slice_batch(total, part, v.ndim) for n, total in sums.items()}
            parameter_grads = ParameterGrads(sums_of_part, trajectory, x_of_part)

        _Backpropagation(
            trajectory,
            None if grad_y is None else grad_y[:, part],
            {name: grad[part] for name, grad in carry.items()},
            grad_x[:, part],
            parameter_grads,
        ).run()

    return {n: grad for n, grad in {"x": grad_x, **carry, **sums}.items() if n in wanted}


class _Block(NamedTuple):
    """A block of steps: membranes before the reset, gradients of the outputs, memory for those of the input."""

    steps: slice
    v: Tensor
    grad_y: Tensor | None
    grad_x: Tensor


class _Backpropagation:
    """Back-propagation through a part of the batch, the last block first; writes to `carry` and `grad_x`."""

    # `carry` holds the gradients of the state after the steps that are still to do; `grad_x` may be the memory of the
    # membranes

    def __init__(
        self,
        trajectory: Trajectory,
        grad_y: Tensor | None,
        carry: dict[str, Tensor],
        grad_x: Tensor,
        parameter_grads: ParameterGrads | None,
    ) -> None:
        self.spec = trajectory.spec
        self.values = trajectory.values
        self.v = trajectory.v
        self.threshold = as_tensor(trajectory.thresholds, self.v)
        self.decays = each_step(self.values.decay, self.v)
        self.adapts = trajectory.start.a is not None
        self.carry = carry
        self.grad_x = grad_x
        self.parameter_grads = parameter_grads
        self.needs_spikes = parameter_grads is not None and parameter_grads.needs_spikes

        steps = time_blocks(self.v)
        self.block_size = steps[0].stop
        grads = [None] * len(steps) if grad_y is None else grad_y.split(self.block_size)
        pieces = zip(steps, self.v.split(self.block_size), grads, grad_x.split(self.block_size), strict=True)
        self.blocks = [_Block(*piece) for piece in pieces]
        self._scratch: dict[str, Tensor] = {}

        # where the gradients of the input are those of the membranes, a block reads those of its next step from there
        self.keeps_grad_v = (
            parameter_grads is None and is_number(self.values.r, 1) and "i" not in carry and "a" not in carry
        )

    def run(self) -> None:
        """Writes the gradients of the input and of the state before the first step, and adds those of parameters."""
        for block in reversed(self.blocks):
            if self.spec.surrogate is None:
                grad_v = self._integrate(block)
            elif self.adapts:
                grad_v = self._fire_and_adapt(block, self.spec.surrogate)
            else:
                grad_v = self._fire(block, self.spec.surrogate)

            self._leave_block(block, grad_v)

    def _scratch_for(self, name: str, block: _Block) -> Tensor:
        """Memory for a tensor of a block, the same for all blocks."""
        if name not in self._scratch:
            shape = (self.block_size, *self.v.shape[1:])
            self._scratch[name] = torch.empty(shape, dtype=self.v.dtype, device=self.v.device)

        scratch = self._scratch[name]
        return scratch if len(block.v) == self.block_size else scratch[: len(block.v)]

    def _memory_for_grad_v(self, block: _Block) -> Tensor:
        """Memory for the gradients of a block's membranes: that of the input's, unless parameters read membranes."""
        return block.grad_x if self.parameter_grads is None else self._scratch_for("grad_v", block)

    def _derivative(self, block: _Block, surrogate: SurrogateGradient, threshold: Tensor) -> Tensor:
        return surrogate.derivative(torch.sub(block.v, threshold, out=self._scratch_for("distance", block)))

    def _integrate(self, block: _Block) -> Tensor:
        """`grad_v` of neurons that do not fire: a leaky sum, backward."""
        grad_v = self._memory_for_grad_v(block)
        grad_v.zero_() if block.grad_y is None else grad_v.copy_(block.grad_y)
        self._add_later_steps(block, grad_v, None)
        return grad_v

    def _fire(self, block: _Block, surrogate: SurrogateGradient) -> Tensor:
        """`grad_v` of neurons that fire: `h grad_y`, and what a step hands on to the one before it."""
        threshold = slice_time(self.threshold, block.steps, self.v)
        h = self._derivative(block, surrogate, threshold)
        slope = self._reset_slope(block, threshold, h)
        effect = self._reset_effect(block, threshold, h) if self.needs_spikes else None

        # the membranes of the block are read no more: `grad_v` may take their memory
        grad_v = self._memory_for_grad_v(block)
        grad_v.zero_() if block.grad_y is None else torch.mul(block.grad_y, h, out=grad_v)
        spike = self._scratch_for("spike", block).copy_(grad_v) if self.needs_spikes else None
        self._add_later_steps(block, grad_v, slope)

        if self.parameter_grads is not None and spike is not None:
            after = self._grads_after_reset(block, grad_v)
            if effect is not None:
                spike.addcmul_(effect, after)
            self.parameter_grads.add_fire_and_reset(block.steps, after, spike)

        return grad_v

    def _add_later_steps(self, block: _Block, grad_v: Tensor, slope: Tensor | None) -> None:
        """Adds to each step's gradient `decay slope` times that of the step after it; no slope is 1."""
        next_steps = slice(block.steps.start + 1, block.steps.stop + 1)
        # the decay of the step after the block is in the carry already
        is_carried = next_steps.stop > len(self.v) or not self.keeps_grad_v
        decay = self.values.decay
        factor = 1.0

        if slope is None:
            factors: Sequence[Tensor] = self.decays[next_steps]
        else:
            inside = slope[:-1] if is_carried else slope
            if isinstance(decay, Tensor):
                inside.mul_(slice_time(decay, slice(next_steps.start, next_steps.start + len(inside)), self.v))
            else:
                factor = decay
            factors = slope.unbind(0)

        rows = grad_v.unbind(0)
        if not is_carried:
            rows[-1].addcmul_(factors[-1], self.grad_x[block.steps.stop], value=factor)
        elif slope is None:
            rows[-1].add_(self.carry["v"])
        else:
            rows[-1].addcmul_(factors[-1], self.carry["v"])

        for t in range(len(rows) - 2, -1, -1):
            rows[t].addcmul_(factors[t], rows[t + 1], value=factor)

    def _grads_after_reset(self, block: _Block, grad_v: Tensor) -> Tensor:
        """`grad_u` of each step: `decay grad_v` of the step after it."""
        after = self._scratch_for("after", block)
        decays = slice_time(self.values.decay, slice(block.steps.start + 1, block.steps.stop), self.v)
        torch.mul(grad_v[1:], decays, out=after[:-1])
        after[-1] = self.carry["v"]
        return after

    def _fire_and_adapt(self, block: _Block, surrogate: SurrogateGradient) -> Tensor:
        """`grad_v` of neurons with adaptive thresholds: `grad_u` and `grad_a` run through the steps together."""
        v = block.v
        threshold = slice_time(self.threshold, block.steps, self.v)
        h = self._derivative(block, surrogate, threshold)
        effect = self._reset_effect(block, threshold, h)
        subtracts = self.spec.reset == "subtract"
        jump = slice_time(self.values.jump, block.steps, self.v)
        jumps = torch.mul(h, jump, out=self._scratch_for("distance", block))

        # a reset to a value cuts what fired; a subtracting one takes away a threshold that has a gradient of its own
        mask = self._scratch_for("mask", block)
        (torch.ge if subtracts else torch.lt)(v, threshold, out=mask)
        grad_v = self._memory_for_grad_v(block)
        spike = self._scratch_for("spike", block)
        spike.zero_() if block.grad_y is None else torch.mul(block.grad_y, h, out=spike)
        after = self._scratch_for("after", block)
        after_a = self._scratch_for("after_a", block)

        rows = [tensor.unbind(0) for tensor in (spike, grad_v, after, after_a, mask, jumps)]
        effects = [None] * len(h) if effect is None else effect.unbind(0)
        decays = self.decays[block.steps]
        decays_a = each_step(self.values.decay_adaptation, self.v)[block.steps]
        grad_u = self.carry["v"]
        grad_a = self.carry["a"]

        for spike_t, grad_t, after_t, after_a_t, mask_t, jump_t, effect_t, decay, decay_a in zip(
            *[column[::-1] for column in (*rows, effects, decays, decays_a)], strict=True
        ):
            after_t.copy_(grad_u)
            spike_t.addcmul_(jump_t, after_a_t.copy_(grad_a))
            if effect_t is not None:
                spike_t.addcmul_(effect_t, after_t)

            torch.sub(after_a_t, spike_t, out=grad_a)
            if subtracts:
                torch.add(spike_t, after_t, out=grad_t)
                grad_a.addcmul_(after_t, mask_t, value=-1)
            else:
                torch.addcmul(spike_t, after_t, mask_t, out=grad_t)

            grad_a.mul_(decay_a)
            torch.mul(grad_t, decay, out=grad_u)

        if self.parameter_grads is not None and self.needs_spikes:
            self.parameter_grads.add_fire_and_reset(block.steps, after, spike, after_a)

        return grad_v

    def _reset_effect(self, block: _Block, threshold: Tensor, h: Tensor) -> Tensor | None:
        """`h [.]`: the derivative of the membrane after the reset by the one before, through the spike; None for 0."""
        if self.spec.detach_reset:
            return None

        effect = self._scratch_for("effect", block)
        if self.spec.reset == "subtract":
            return torch.mul(h, threshold, out=effect).neg_()

        return torch.sub(slice_time(self.values.v_reset, block.steps, self.v), block.v, out=effect).mul_(h)

    def _reset_slope(self, block: _Block, threshold: Tensor, h: Tensor) -> Tensor | None:
        """The whole derivative of the membrane after the reset by the one before; None for 1."""
        v = block.v
        slope = self._scratch_for("distance", block)
        if self.spec.reset == "subtract":
            return None if self.spec.detach_reset else torch.mul(h, threshold, out=slope).neg_().add_(1)

        torch.lt(v, threshold, out=slope)
        if self.spec.detach_reset:
            return slope
        if is_number(self.values.v_reset, 0):
            return slope.addcmul_(v, h, value=-1)

        return slope.addcmul_(slice_time(self.values.v_reset, block.steps, self.v) - v, h)

    def _leave_block(self, block: _Block, grad_v: Tensor) -> None:
        """Turns the gradients of a block's membranes into those of its input, in place, and of the state before it."""
        values = self.values
        steps = block.steps
        if self.parameter_grads is not None:
            self.parameter_grads.add_leak_and_charge(steps, grad_v)

        if steps.start == 0 or not self.keeps_grad_v:
            torch.mul(grad_v[0], self.decays[steps.start], out=self.carry["v"])

        grad_x = grad_v if is_number(values.r, 1) else grad_v.mul_(slice_time(values.r, steps, self.v))
        if "i" in self.carry:
            decays = each_step(values.decay_syn, self.v)[steps]
            _leaky_sum(grad_x, self.carry["i"], decays)
            torch.mul(grad_x[0], decays[0], out=self.carry["i"])
            if self.parameter_grads is not None:
                self.parameter_grads.add_synapse(steps, grad_x)

        if self.parameter_grads is not None:
            block.grad_x.copy_(grad_x)


def _leaky_sum(grad: Tensor, last: Tensor, decays: Sequence[Tensor]) -> None:
    """A leaky sum over the steps of a block, backward and in place; `last` comes from beyond the block."""
    rows = grad.unbind(0)
    rows[-1].add_(last)
    for t in range(len(rows) - 2, -1, -1):
        rows[t].addcmul_(decays[t + 1], rows[t + 1])
