"""The backward pass of neurons over time in PyTorch: back-propagation through the equations of `spec.py`.

With `u` the membrane and `a` the adaptation after a step, `th` the threshold in it, `h` the surrogate's derivative and
`[.]` what the spike does to the membrane, `v_reset - v` (zero), `-th` (subtract) or 0 (detached), each step backward is

    spike  = h (grad_y + [.] grad_u + jump grad_a)
    grad_v = grad_u (1 where silent, or subtract) + spike
    grad_a = decay_adaptation (grad_a - spike - (subtract) y grad_u)
    grad_u = decay grad_v

so `grad_v` is a linear recurrence, one operation a step where nothing adapts; all else is done for blocks of steps.
What a forward pass did not keep (spikes, thresholds, currents) is rematerialized from the membranes that it kept, and
the gradient of a parameter is the sum of what each step contributes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from spikebridge.ops.native.memory_pool import pool_empty
from spikebridge.ops.sequence.spec import BackwardArgs, NeuronMemory, NeuronParams, NeuronSpec, SurrogateGradient, Value
from spikebridge.ops.sequence.tiling import (
    as_tensor,
    batch_parts,
    each_step,
    in_block,
    is_number,
    number,
    of_batch,
    time_blocks,
    values_of_batch,
)


class _Trajectory(NamedTuple):
    """A rematerialized sequence: its thresholds, and on request its currents and adaptations.

    Args:
        spec, v, start, values: as given to `_rematerialize`.
        thresholds: one value, or with adaptation one for each step.
        currents: synaptic currents `(T + 1, B, *N)`, the first from before the first step.
        adaptations: what each step found, before its decay.
    """

    spec: NeuronSpec
    v: Tensor
    start: NeuronMemory
    values: NeuronParams
    thresholds: Value
    currents: Tensor | None
    adaptations: Tensor | None

    def spikes(self, block: slice) -> Tensor:
        """Which neurons fired in a block of steps."""
        spikes = torch.empty_like(self.v[block])
        return torch.ge(self.v[block], in_block(self.thresholds, block, self.v), out=spikes)

    @property
    def adapts(self) -> bool:
        """Whether the threshold adapts."""
        return self.start.a is not None

    def found(self, block: slice) -> Tensor:
        """The membranes that a block of steps found: those after the resets of the steps before."""
        before = slice(max(block.start - 1, 0), block.stop - 1)
        v = self.v[before]

        if self.spec.fires and self.spec.reset == "subtract":
            v = torch.addcmul(v, self.spikes(before), in_block(self.thresholds, before, self.v), value=-1)
        elif self.spec.fires:
            silent = torch.empty_like(v, memory_format=torch.contiguous_format)
            torch.lt(v, in_block(self.thresholds, before, self.v), out=silent)
            if is_number(self.values.v_reset, 0):
                v = silent.mul_(v)
            else:
                v = torch.where(silent > 0, v, in_block(self.values.v_reset, before, self.v))

        return v if block.start > 0 else torch.cat([self.start.v.unsqueeze(0), v])


def _rematerialize(
    spec: NeuronSpec, x: Tensor | None, v: Tensor, start: NeuronMemory, values: NeuronParams, with_adaptations: bool
) -> _Trajectory:
    """The path of a sequence.

    Args:
        spec: what kind of neuron.
        x: the input, given where currents are needed.
        v: membranes before the reset.
        start: the memory before the first step.
        values: the numbers of the neuron.
        with_adaptations: whether those are needed.
    """
    currents = adaptations = None
    thresholds = values.v_threshold

    if start.i is not None and x is not None:
        currents = torch.empty((len(v) + 1, *v.shape[1:]), dtype=v.dtype, device=v.device)
        currents[0] = start.i
        rows = currents.unbind(0)

        for t, (x_t, decay) in enumerate(zip(x.unbind(0), each_step(values.decay_syn, v), strict=True)):
            torch.mul(rows[t], decay, out=rows[t + 1]).add_(x_t)

    if start.a is not None and spec.fires:
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

    return _Trajectory(spec, v, start, values, thresholds, currents, adaptations)


class _ParameterGrads:
    """Collects the gradients of a part of a batch.

    Args:
        sums: by name the gradient of each value that is wanted, in its shape; added to.
        path: what the forward pass saw.
        x: the input, where the gradient of `r` needs it.
    """

    def __init__(self, sums: dict[str, Tensor], path: _Trajectory, x: Tensor | None) -> None:
        self.sums = sums
        self.path = path
        self.x = x

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
        reaching = spike.addcmul_(after, spikes) if path.spec.reset == "subtract" else spike
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


def backward_steps(args: BackwardArgs) -> dict[str, Tensor]:
    """The gradients of a sequence, by name what is wanted; that of a value is summed to the shape of the value.

    Example:
        >>> from spikebridge.neurons import Rectangle
        >>> from spikebridge.ops.sequence.spec import NeuronMemory, NeuronSpec
        >>> v, start = torch.tensor([0.5, 3.0]).reshape(2, 1, 1), NeuronMemory(torch.zeros(1, 1))
        >>> values = NeuronParams(decay=0.5, v_threshold=1.0)
        >>> end = {"v": torch.ones(1, 1)}  # the last step fired: its membrane is 0, whatever came
        >>> args = BackwardArgs(NeuronSpec(Rectangle()), None, v, start, values, None, end, {"x"})
        >>> backward_steps(args)["x"].flatten().tolist()
        [0.0, 0.0]
    """
    spec, x, v, start, values, grad_y, grad_end, wanted, out, _ = args
    sums: dict[str, Tensor] = {n: torch.zeros_like(getattr(values, n)) for n in NeuronParams._fields if n in wanted}
    values = NeuronParams(*map(number, values))
    grad_x = pool_empty(v.shape, v) if out is None else out
    memories = {n: m for n, m in start._asdict().items() if m is not None}
    carries = {n: grad_end[n].clone() if n in grad_end else torch.zeros_like(m) for n, m in memories.items()}

    for part in batch_parts(v):
        start_of_part = start.of_batch(part)
        values_of_part = values_of_batch(values, part, v.ndim)
        x_of_part = None if x is None else x[:, part]
        path = _rematerialize(spec, x_of_part, v[:, part], start_of_part, values_of_part, "decay_adaptation" in sums)
        shares = _ParameterGrads({n: of_batch(total, part, v.ndim) for n, total in sums.items()}, path, x_of_part)

        _Backpropagation(
            path,
            None if grad_y is None else grad_y[:, part],
            {name: carry[part] for name, carry in carries.items()},
            grad_x[:, part],
            shares if sums else None,
        ).all_steps()

    return {n: grad for n, grad in {"x": grad_x, **carries, **sums}.items() if n in wanted}


class _Block(NamedTuple):
    """Some steps: which ones, their membranes before the reset, the gradients of their outputs, where theirs go."""

    steps: slice
    v: Tensor
    grad_y: Tensor | None
    out: Tensor


class _Backpropagation:
    """Back-propagation through time of a part of a batch.

    Args:
        path: what the forward pass saw.
        grad_y: the gradients of the outputs, or None.
        carry: by name the gradients of the memory after what is still to do; written to.
        out: where the gradients of the input go; it may be the memory of the path's membranes.
        shares: collects the gradients of values, if any is wanted.
    """

    def __init__(
        self,
        path: _Trajectory,
        grad_y: Tensor | None,
        carry: dict[str, Tensor],
        out: Tensor,
        shares: _ParameterGrads | None,
    ) -> None:
        self.path = path
        self.carry = carry
        self.out = out
        self.shares = shares
        self.spec = path.spec
        self.values = path.values
        self.v = path.v
        self.threshold = as_tensor(path.thresholds, self.v)
        self.decays = each_step(self.values.decay, self.v)
        self._scratch: dict[str, Tensor] = {}
        steps = time_blocks(self.v)
        self.size = steps[0].stop
        grads = [None] * len(steps) if grad_y is None else grad_y.split(self.size)
        pieces = zip(steps, self.v.split(self.size), grads, out.split(self.size), strict=True)
        self.blocks = [_Block(*piece) for piece in pieces]

        # where gradients of membranes stay in `out` as they are, the block before finds those of its next step there
        self.is_bare = shares is None and is_number(self.values.r, 1) and "i" not in carry and "a" not in carry

    def all_steps(self) -> None:
        """Writes the gradients of the input and of the memory before the first step, and collects those of values."""
        for block in reversed(self.blocks):
            if self.spec.surrogate is None:
                self._sum(block)
            elif self.path.adapts:
                self._fire_and_adapt(block, self.spec.surrogate)
            else:
                self._fire(block, self.spec.surrogate)

    def _scratch_for(self, name: str, block: _Block) -> Tensor:
        """Memory for a block, the same for all blocks."""
        if name not in self._scratch:
            shape = (self.size, *self.v.shape[1:])
            self._scratch[name] = torch.empty(shape, dtype=self.v.dtype, device=self.v.device)

        scratch = self._scratch[name]
        return scratch if len(block.v) == self.size else scratch[: len(block.v)]

    def _grad(self, block: _Block) -> Tensor:
        """Where the gradients of a block's membranes are worked out: at once in place, if all else is read by then."""
        return block.out if self.shares is None else self._scratch_for("grad", block)

    def _sum(self, block: _Block) -> None:
        """Neurons that do not fire: a leaky sum, backwards."""
        grad = self._grad(block)
        grad.zero_() if block.grad_y is None else grad.copy_(block.grad_y)
        self._add_later(block, grad)
        self._finish(block, grad)

    def _fire(self, block: _Block, surrogate: SurrogateGradient) -> None:
        """Neurons that fire: `grad_v` of each step from the one after it."""
        v, threshold = block.v, in_block(self.threshold, block.steps, self.v)
        h = surrogate.derivative(torch.sub(v, threshold, out=self._scratch_for("distance", block)))
        slope = self._slope(block, threshold, h)
        about_spikes = self.shares is not None and self.shares.about_spikes
        effect = self._effect(block, threshold, h) if about_spikes else None
        grad = self._grad(block)
        grad.zero_() if block.grad_y is None else torch.mul(block.grad_y, h, out=grad)
        spike = self._scratch_for("spike", block).copy_(grad) if about_spikes else None
        self._add_later(block, grad, slope)
        self._finish(block, grad, spike, effect)

    def _add_later(self, block: _Block, grad: Tensor, slope: Tensor | None = None) -> None:
        """Adds to the gradient of each step what is left, by decay and slope, of that of the step after it."""
        after = slice(block.steps.start + 1, block.steps.stop + 1)
        carried = after.stop > len(self.v) or not self.is_bare  # the last one's is in the carry, its decay done
        decay = self.values.decay
        factor = 1.0

        if slope is None:
            factors: Sequence[Tensor] = self.decays[after]
        else:
            inside = slope[:-1] if carried else slope
            if isinstance(decay, Tensor):
                inside.mul_(in_block(decay, slice(after.start, after.start + len(inside)), self.v))
            else:
                factor = decay

            factors = slope.unbind(0)

        rows = grad.unbind(0)
        if not carried:
            rows[-1].addcmul_(factors[-1], self.out[block.steps.stop], value=factor)
        elif slope is None:
            rows[-1].add_(self.carry["v"])
        else:
            rows[-1].addcmul_(factors[-1], self.carry["v"])

        for t in range(len(rows) - 2, -1, -1):
            rows[t].addcmul_(factors[t], rows[t + 1], value=factor)

    def _fire_and_adapt(self, block: _Block, surrogate: SurrogateGradient) -> None:
        """Neurons with adaptive thresholds: two gradients are propagated together."""
        v, threshold = block.v, in_block(self.threshold, block.steps, self.v)
        h = surrogate.derivative(torch.sub(v, threshold, out=self._scratch_for("distance", block)))
        effect = self._effect(block, threshold, h)
        subtracts = self.spec.reset == "subtract"
        jumps = torch.mul(h, in_block(self.values.jump, block.steps, self.v), out=self._scratch_for("distance", block))

        # a reset to a value cuts what fired; a subtracting one takes away a threshold that has a gradient of its own
        mask = self._scratch_for("mask", block)
        (torch.ge if subtracts else torch.lt)(v, threshold, out=mask)
        grad = self._grad(block)
        spike = self._scratch_for("spike", block)
        spike.zero_() if block.grad_y is None else torch.mul(block.grad_y, h, out=spike)
        after = self._scratch_for("after", block)
        after_a = self._scratch_for("after_a", block)
        rows = [tensor.unbind(0) for tensor in (spike, grad, after, after_a, mask, jumps)]
        effects = [None] * len(h) if effect is None else effect.unbind(0)
        decays = self.decays[block.steps], each_step(self.values.decay_adaptation, self.v)[block.steps]
        carry_u = self.carry["v"]
        carry_a = self.carry["a"]

        for spike_t, grad_t, u, a, mask_t, jump_t, effect_t, decay, decay_a in zip(
            *[column[::-1] for column in (*rows, effects, *decays)], strict=True
        ):
            spike_t.addcmul_(jump_t, a.copy_(carry_a))
            u.copy_(carry_u)
            if effect_t is not None:
                spike_t.addcmul_(effect_t, u)

            torch.sub(a, spike_t, out=carry_a)
            if subtracts:
                torch.add(spike_t, u, out=grad_t)
                carry_a.addcmul_(u, mask_t, value=-1)
            else:
                torch.addcmul(spike_t, u, mask_t, out=grad_t)

            carry_a.mul_(decay_a)
            torch.mul(grad_t, decay, out=carry_u)

        self._finish(block, grad, spike, None, after, after_a)

    def _effect(self, block: _Block, threshold: Tensor, h: Tensor) -> Tensor | None:
        """How the membrane after the reset changes with the spike, through the surrogate; None for not at all."""
        if self.spec.detach_reset:
            return None

        effect = self._scratch_for("effect", block)
        if self.spec.reset == "subtract":
            return torch.mul(h, threshold, out=effect).neg_()

        return torch.sub(in_block(self.values.v_reset, block.steps, self.v), block.v, out=effect).mul_(h)

    def _slope(self, block: _Block, threshold: Tensor, h: Tensor) -> Tensor | None:
        """How the membrane after the reset changes with the one before it; None for one to one."""
        v = block.v  # free by now
        slope = self._scratch_for("distance", block)
        if self.spec.reset == "subtract":
            return None if self.spec.detach_reset else torch.mul(h, threshold, out=slope).neg_().add_(1)

        torch.lt(v, threshold, out=slope)
        if self.spec.detach_reset:
            return slope
        if is_number(self.values.v_reset, 0):
            return slope.addcmul_(v, h, value=-1)

        return slope.addcmul_(in_block(self.values.v_reset, block.steps, self.v) - v, h)

    def _finish(
        self,
        block: _Block,
        grad: Tensor,
        spike: Tensor | None = None,
        effect: Tensor | None = None,
        after: Tensor | None = None,
        after_a: Tensor | None = None,
    ) -> None:
        """From the gradients of the membranes to those of the values, the input, and what came before the block."""
        values = self.values
        v = self.v
        steps = block.steps

        if self.shares is not None:
            self.shares.add_of_membranes(steps, grad)
            if spike is not None:
                if after is None:
                    after = self._scratch_for("after", block)
                    torch.mul(grad[1:], in_block(values.decay, slice(steps.start + 1, steps.stop), v), out=after[:-1])
                    after[-1] = self.carry["v"]

                if effect is not None:
                    spike.addcmul_(effect, after)
                self.shares.add_of_spikes(steps, after, spike, after_a)

        if steps.start == 0 or not self.is_bare:
            torch.mul(grad[0], self.decays[steps.start], out=self.carry["v"])

        if not is_number(values.r, 1):
            grad.mul_(in_block(values.r, steps, v))

        if "i" in self.carry:
            decays = each_step(values.decay_syn, v)[steps]
            _leaky_sum(grad, self.carry["i"], decays)
            torch.mul(grad[0], decays[0], out=self.carry["i"])
            if self.shares is not None:
                self.shares.add_of_currents(steps, grad)

        if self.shares is not None:
            block.out.copy_(grad)


def _leaky_sum(grad: Tensor, last: Tensor, decays: Sequence[Tensor]) -> None:
    """Each step's gradient, and what is left of that of the step after it; `last` comes from beyond the block."""
    rows = grad.unbind(0)
    rows[-1].add_(last)
    for t in range(len(rows) - 2, -1, -1):
        rows[t].addcmul_(decays[t + 1], rows[t + 1])
