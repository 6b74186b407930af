"""The backward pass of the scheme in `scheme.py`: what follows by hand from its equations.

With `u` the membrane and `a` the adaptation after a step, `th` the threshold in it, `h` the surrogate's derivative and
`[.]` what the spike does to the membrane, `v_reset - v` (hard), `-th` (soft) or 0 (detached), each step backward is

    spike  = h (grad_y + [.] grad_u + jump grad_a)
    grad_v = grad_u (1 where silent, or soft) + spike
    grad_a = decay_adaptation (grad_a - spike - (soft) y grad_u)
    grad_u = decay grad_v

so `grad_v` is a linear recurrence, one operation a step where nothing adapts; all else is done for blocks of steps.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from spikebridge.ops.cutting import (
    batch_parts,
    each_step,
    in_block,
    is_number,
    memory_of_batch,
    number,
    of_batch,
    time_blocks,
    values_of_batch,
)
from spikebridge.ops.retrace import memory_of_steps, retrace
from spikebridge.ops.scheme import Bump, Memory, Scheme, Values


def backward_steps(
    scheme: Scheme,
    x: Tensor | None,
    v: Tensor,
    start: Memory,
    values: Values,
    grad_y: Tensor | None,
    grad_end: dict[str, Tensor],
    wanted: Collection[str],
) -> dict[str, Tensor]:
    """The gradients of a sequence from those of its outputs and of its last memory.

    Args:
        scheme: what kind of neuron.
        x: the input, given only where "r" or "decay_syn" is wanted.
        v: the membranes before the reset, as `forward_steps` kept them. All else is worked out again from them.
        start: the memory before the first step.
        values: the numbers of the scheme.
        grad_y: of the outputs `(T, B, *N)`, with any strides; None for zeros.
        grad_end: of the last memory by name, "v", "i" and "a"; what is missing is zeros.
        wanted: names out of "x", those of `Memory` and those of `Values`, the latter only where they are tensors.

    Returns:
        By name what is wanted; the gradient of a value is summed to the shape of the value.

    Example:
        >>> from spikebridge.neurons import Rectangle
        >>> v, start = torch.tensor([0.5, 3.0]).reshape(2, 1, 1), Memory(torch.zeros(1, 1))
        >>> values = Values(decay=0.5, v_threshold=1.0)
        >>> end = {"v": torch.ones(1, 1)}  # the last step fired: its membrane is 0, whatever came
        >>> backward_steps(Scheme(Rectangle()), None, v, start, values, None, end, {"x"})["x"].flatten().tolist()
        [0.0, 0.0]
    """
    sums = {n: v.new_zeros(value.shape) for n, value in values._asdict().items() if n in wanted}
    values = Values(*map(number, values))
    grad_x = torch.empty(v.shape, dtype=v.dtype, device=v.device)
    starts = {n: torch.empty_like(m) for n, m in start._asdict().items() if m is not None}
    for part in batch_parts(v):
        sums_of_part = {n: of_batch(total, part, v.ndim) for n, total in sums.items()}
        way = _WayBack(
            scheme,
            None if x is None else x[:, part],
            v[:, part],
            memory_of_batch(start, part),
            values_of_batch(values, part, v.ndim),
            None if grad_y is None else grad_y[:, part],
            {name: grad[part] for name, grad in grad_end.items()},
            grad_x[:, part],
            sums_of_part,
        )
        for name, grad in way.all_steps().items():
            starts[name][part] = grad
    return {n: grad for n, grad in {"x": grad_x, **starts, **sums}.items() if n in wanted}


class _WayBack:
    """A part of a batch on its way back through time. `carry` has the gradients of the memory before what is done."""

    def __init__(
        self,
        scheme: Scheme,
        x: Tensor | None,
        v: Tensor,
        start: Memory,
        values: Values,
        grad_y: Tensor | None,
        grad_end: dict[str, Tensor],
        grad: Tensor,
        sums: dict[str, Tensor],
    ) -> None:
        self.scheme, self.x, self.v, self.start, self.values = scheme, x, v, start, values
        self.grad_y, self.grad, self.sums = grad_y, grad, sums
        self.carry = {
            name: grad_end[name].clone() if name in grad_end else torch.zeros_like(memory)
            for name, memory in start._asdict().items()
            if memory is not None
        }
        self.path = retrace(scheme, x, v, start, values, with_adaptations="decay_adaptation" in sums)

    def all_steps(self) -> dict[str, Tensor]:
        """Writes the gradients of the input, adds to those of the values, and gives those of the first memory."""
        for block in reversed(time_blocks(self.v)):
            if self.scheme.surrogate is None:
                self._sum(block)
            elif self.start.a is None:
                self._fire(block, self.scheme.surrogate)
            else:
                self._fire_and_adapt(block, self.scheme.surrogate)
        return self.carry

    def _sum(self, block: slice) -> None:
        """Neurons that do not fire: a leaky sum, backwards."""
        grad, last = self._outputs(block, None), self.carry["v"]
        _leaky_sum(grad, last, each_step(self.values.decay, self.v)[block])
        self._finish(block, self._after(block, last) if self.sums else None, None)

    def _fire(self, block: slice, surrogate: Bump) -> None:
        """Neurons that fire: `grad_v` of each step from the one after it."""
        v, threshold = self.v[block], in_block(self.path.thresholds, block, self.v)
        h = surrogate.derivative(v - threshold)
        grad, last = self._outputs(block, h), self.carry["v"]
        slope = self._slope(block, v, threshold, h)
        if slope is None:
            _leaky_sum(grad, last, each_step(self.values.decay, self.v)[block])
        else:
            slope[:-1].mul_(in_block(self.values.decay, slice(block.start + 1, block.stop), self.v))
            rows, slopes = grad.unbind(0), slope.unbind(0)
            rows[-1].addcmul_(slopes[-1], last)
            for t in range(len(rows) - 2, -1, -1):
                rows[t].addcmul_(slopes[t], rows[t + 1])
        if not self.sums:
            self._finish(block, None, None)
            return
        after, spike = self._after(block, last), self._spike(block, h)
        effect = self._effect(v, threshold, h)
        self._finish(block, after, spike if effect is None else spike.addcmul_(effect, after))

    def _fire_and_adapt(self, block: slice, surrogate: Bump) -> None:
        """Neurons whose threshold remembers: two gradients go back in time together."""
        values, soft = self.values, self.scheme.reset == "soft"
        v, threshold = self.v[block], in_block(self.path.thresholds, block, self.v)
        h = surrogate.derivative(v - threshold)
        effect, jumps = self._effect(v, threshold, h), h * in_block(values.jump, block, self.v)
        # a hard reset cuts what fired; a soft one takes away a threshold that has a gradient of its own
        mask = self.path.spikes(block) if soft else self.path.silence(block)
        spike, grad, after, after_a = self._spike(block, h), self.grad[block], torch.empty_like(h), torch.empty_like(h)
        decays, decays_a = each_step(values.decay, self.v)[block], each_step(values.decay_adaptation, self.v)[block]
        carry_u, carry_a = self.carry["v"], self.carry["a"]
        effects = [None] * len(h) if effect is None else effect.unbind(0)
        rows = [spike, grad, after, after_a, mask, jumps]
        for *six, effect_t, decay, decay_a in reversed(
            list(zip(*[row.unbind(0) for row in rows], effects, decays, decays_a, strict=True))
        ):
            spike_t, grad_t, u, a, mask_t, jump_t = six
            spike_t.addcmul_(jump_t, a.copy_(carry_a))
            u.copy_(carry_u)
            if effect_t is not None:
                spike_t.addcmul_(effect_t, u)
            torch.sub(a, spike_t, out=carry_a)
            if soft:
                torch.add(spike_t, u, out=grad_t)
                carry_a.addcmul_(u, mask_t, value=-1)
            else:
                torch.addcmul(spike_t, u, mask_t, out=grad_t)
            carry_a.mul_(decay_a)
            torch.mul(grad_t, decay, out=carry_u)
        self._finish(block, after, spike, after_a)

    def _outputs(self, block: slice, h: Tensor | None) -> Tensor:
        """What comes from the outputs alone, where the gradients of a block will stand."""
        grad = self.grad[block]
        if self.grad_y is None:
            return grad.zero_()
        return grad.copy_(self.grad_y[block]) if h is None else torch.mul(self.grad_y[block], h, out=grad)

    def _spike(self, block: slice, h: Tensor) -> Tensor:
        """The gradients of a spike's argument that come from the outputs alone, in memory of their own."""
        return torch.zeros_like(h) if self.grad_y is None else self.grad_y[block] * h

    def _effect(self, v: Tensor, threshold: Tensor, h: Tensor) -> Tensor | None:
        """How the membrane after the reset changes with the spike, through the surrogate."""
        if self.scheme.detach_reset:
            return None
        return -(threshold * h) if self.scheme.reset == "soft" else (self.values.v_reset - v) * h

    def _slope(self, block: slice, v: Tensor, threshold: Tensor, h: Tensor) -> Tensor | None:
        """How the membrane after the reset changes with the one before it; None for one to one."""
        if self.scheme.reset == "soft":
            return None if self.scheme.detach_reset else torch.mul(h, threshold).neg_().add_(1)
        silent = self.path.silence(block)
        if self.scheme.detach_reset:
            return silent
        if is_number(self.values.v_reset, 0):
            return silent.addcmul_(v, h, value=-1)
        return silent.addcmul_(in_block(self.values.v_reset, block, self.v) - v, h)

    def _after(self, block: slice, last: Tensor) -> Tensor:
        """The gradients of the membranes after the reset, from those before the reset of the steps that follow."""
        grad = self.grad[block]
        after = torch.empty_like(grad, memory_format=torch.contiguous_format)
        torch.mul(grad[1:], in_block(self.values.decay, slice(block.start + 1, block.stop), self.v), out=after[:-1])
        after[-1] = last
        return after

    def _finish(self, block: slice, after: Tensor | None, spike: Tensor | None, after_a: Tensor | None = None) -> None:
        """From the gradients of the membranes to those of the values, the input, and what came before the block."""
        grad, values, v = self.grad[block], self.values, self.v
        if after is not None:
            self._add_to_sums(block, after, spike, after_a)
        self.carry["v"] = grad[0] * each_step(values.decay, v)[block.start]
        if not is_number(values.r, 1):
            grad.mul_(in_block(values.r, block, v))
        if "i" in self.carry:
            decays = each_step(values.decay_syn, v)[block]
            _leaky_sum(grad, self.carry["i"], decays)
            self.carry["i"] = grad[0] * decays[0]
            if self.path.currents is not None and "decay_syn" in self.sums:
                self._add("decay_syn", block, grad * self.path.currents[block])

    def _add_to_sums(self, block: slice, after: Tensor, spike: Tensor | None, after_a: Tensor | None) -> None:
        """Adds a block's share to the gradients of the values, each from where it stands in the equations."""
        grad, path, values = self.grad[block], self.path, self.values
        if "decay" in self.sums:
            found = memory_of_steps(self.scheme, path, self.start, values, block)
            self._add("decay", block, grad * (found - in_block(values.v_leak, block, self.v)))
        if "v_leak" in self.sums:
            self._add("v_leak", block, grad * (1 - in_block(values.decay, block, self.v)))
        if "r" in self.sums:
            drive = self.x if path.currents is None else path.currents[1:]
            self._add("r", block, grad * drive[block])
        if spike is None:
            return
        spikes = path.spikes(block)
        if self.scheme.reset == "soft":
            spike = torch.addcmul(spike, after, spikes)  # now all that reaches the threshold, but for the sign
        if "v_threshold" in self.sums:
            self._add("v_threshold", block, -spike)
        if "v_reset" in self.sums:
            self._add("v_reset", block, after * spikes)
        if after_a is not None and "jump" in self.sums:
            self._add("jump", block, after_a * spikes)
        if after_a is not None and path.adaptations is not None:
            self._add("decay_adaptation", block, (after_a - spike) * path.adaptations[block])

    def _add(self, name: str, block: slice, share: Tensor) -> None:
        """Adds a share `(L, B, *N)` to the gradient of a value, which has its shape and may have a time."""
        total = self.sums[name]
        if total.ndim == share.ndim and len(total) > 1:
            total = total[block]
        total.add_(share.sum_to_size(total.shape))


def _leaky_sum(grad: Tensor, last: Tensor, decays: Sequence[Tensor]) -> None:
    """Each step's gradient, and what is left of that of the step after it; `last` comes from beyond the block."""
    rows = grad.unbind(0)
    rows[-1].add_(last)
    for t in range(len(rows) - 2, -1, -1):
        rows[t].addcmul_(decays[t + 1], rows[t + 1])
