"""Neurons over a whole sequence in PyTorch: forward here, backward in `backward.py`.

Both functions are plain arithmetic outside autograd, in place, in memory taken once. A faster implementation has the
same two signatures, and is chosen in `dispatch.py` where it can serve.

Numbers are those of the step functions to the bit: a product is rounded before it is added. Where one operation does
both, one of its factors is 0 or 1, so that fused arithmetic has nothing to leave out.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from spikebridge.ops.native.memory_pool import pool_empty
from spikebridge.ops.sequence.backward import backward_steps
from spikebridge.ops.sequence.spec import ForwardResult, NeuronMemory, NeuronParams, NeuronSpec, Value
from spikebridge.ops.sequence.tiling import batch_parts, each_step, is_number, number, time_blocks, values_of_batch

__all__ = ["backward_steps", "forward_steps"]


def forward_steps(spec: NeuronSpec, x: Tensor, start: NeuronMemory, values: NeuronParams, keep: bool) -> ForwardResult:
    """All steps of a sequence.

    Args:
        spec: what kind of neuron.
        x: the input `(T, B, *N)`, T >= 1, float32 or float64, with any strides.
        start: the memory before the first step; never written to.
        values: the numbers of the neuron.
        keep: give the membranes before the reset, for a backward pass. A neuron that does not fire gives its outputs
            as those.

    Returns:
        Outputs, membranes and the memory after the last step; nothing in it shares memory with what was given.

    Example:
        >>> from spikebridge.neurons import Arctan
        >>> x, start = torch.ones(3, 1, 1), NeuronMemory(torch.zeros(1, 1))
        >>> trace = forward_steps(NeuronSpec(Arctan()), x, start, NeuronParams(decay=1.0, v_threshold=2.0), keep=True)
        >>> trace.y.flatten().tolist(), trace.v.flatten().tolist(), trace.end.v.item()
        ([0.0, 1.0, 0.0], [1.0, 2.0, 1.0], 1.0)
    """
    values = NeuronParams(*map(number, values))
    y = pool_empty(x.shape, x)
    v = pool_empty(x.shape, x) if keep and spec.fires else None
    end = start.each(lambda m: torch.empty(m.shape, dtype=m.dtype, device=m.device))

    for part in batch_parts(x):
        _steps_of_part(
            spec,
            x[:, part],
            values_of_batch(values, part, x.ndim),
            start.of_batch(part),
            end.of_batch(part),
            y[:, part],
            None if v is None else v[:, part],
        )

    return ForwardResult(y, y if keep and not spec.fires else v, end)


def _steps_of_part(
    spec: NeuronSpec,
    x: Tensor,
    values: NeuronParams,
    start: NeuronMemory,
    now: NeuronMemory,
    y: Tensor,
    v: Tensor | None,
) -> None:
    """Writes outputs to `y`, membranes to `v` if given, and to `now` the memory after each step."""
    # without a backward pass one row serves all steps
    rows = y.unbind(0) if not spec.fires else [torch.empty_like(now.v)] * len(x) if v is None else v.unbind(0)
    leaks_to_zero = is_number(values.v_leak, 0)
    scales = not is_number(values.r, 1)

    # a product of three is rounded from left to right on the processor; elsewhere the order is not defined
    factor = values.decay if isinstance(values.decay, float) and leaks_to_zero and x.device.type == "cpu" else None
    resets_to_zero = spec.fires and spec.reset == "zero" and is_number(values.v_reset, 0)
    if factor is not None and resets_to_zero and not scales and now.i is None and now.a is None:
        _two_operations_a_step(x, factor, values.v_threshold, start.v, now.v, y, rows)
        return

    if not spec.fires and leaks_to_zero and not scales and now.i is None:
        _sums(x, values.decay, start.v, now.v, rows)
        return

    one = x.new_ones(())
    before = start.v
    drive = torch.empty_like(now.v)
    sum_ = torch.empty_like(now.v)

    for memory, first in zip(now[1:], start[1:], strict=True):
        if memory is not None and first is not None:
            memory.copy_(first)

    numbers = [each_step(value, x) for value in values]
    for x_t, y_t, v_t, decay, threshold, v_reset, v_leak, r, decay_syn, decay_adaptation, jump in zip(
        x.unbind(0), y.unbind(0), rows, *numbers, strict=True
    ):
        current = x_t if now.i is None else now.i.mul_(decay_syn).add_(x_t)
        if scales:
            current = torch.mul(current, r, out=drive)

        if factor is not None:
            torch.addcmul(current, before, one, value=factor, out=v_t)
        elif leaks_to_zero:
            torch.mul(before, decay, out=v_t).add_(current)
        else:
            torch.sub(before, v_leak, out=v_t).mul_(decay).add_(v_leak).add_(current)

        if not spec.fires:
            before = v_t
            continue

        if now.a is not None:
            threshold = torch.add(now.a.mul_(decay_adaptation), threshold, out=sum_)

        torch.ge(v_t, threshold, out=y_t)
        torch.addcmul(v_t, y_t, threshold if spec.reset == "subtract" else v_t, value=-1, out=now.v)
        if spec.reset == "zero" and not resets_to_zero:
            now.v.addcmul_(y_t, v_reset)

        if now.a is not None:
            now.a.addcmul_(y_t, jump)

        before = now.v

    if not spec.fires:
        now.v.copy_(before)


def _two_operations_a_step(
    x: Tensor, decay: float, v_threshold: Value, start: Tensor, u: Tensor, y: Tensor, rows: Sequence[Tensor]
) -> None:
    """A leak to 0 and a reset to 0 are one product: `decay v`, times 0 where the neuron fired, else times 1."""
    one = x.new_ones(())
    xs = x.unbind(0)
    thresholds = each_step(v_threshold, x)
    silences = y.unbind(0)
    before = start
    silent = one
    done = 0

    for block in time_blocks(x):
        for x_t, silent_t, v_t, threshold in zip(
            xs[block], silences[block], rows[block], thresholds[block], strict=True
        ):
            torch.addcmul(x_t, before, silent, value=decay, out=v_t)
            before = v_t
            silent = torch.lt(v_t, threshold, out=silent_t)

        # all but the last, which the next step has to know, become spikes
        late = silences[done] if block.stop - done == 2 else y[done : block.stop - 1]
        torch.sub(one, late, out=late)
        done = block.stop - 1

    torch.mul(before, silent, out=u)
    torch.sub(one, silent, out=silent)


def _sums(x: Tensor, decay: Value, start: Tensor, v: Tensor, rows: Sequence[Tensor]) -> None:
    """A leaky sum."""
    one = x.new_ones(())
    before = start

    if is_number(decay, 1):
        for x_t, v_t in zip(x.unbind(0), rows, strict=True):
            before = torch.add(x_t, before, out=v_t)
    elif isinstance(decay, float) and x.device.type == "cpu":
        for x_t, v_t in zip(x.unbind(0), rows, strict=True):
            before = torch.addcmul(x_t, before, one, value=decay, out=v_t)
    else:
        for x_t, v_t, decay_t in zip(x.unbind(0), rows, each_step(decay, x), strict=True):
            before = torch.mul(before, decay_t, out=v_t).add_(x_t)

    v.copy_(before)
