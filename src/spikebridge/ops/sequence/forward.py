"""Neurons over a whole sequence in PyTorch: forward here, backward in `backward.py`.

Both functions are plain arithmetic outside autograd, in place, in memory taken once. A faster implementation has the
same two signatures, and is chosen in `dispatch.py` where it can serve.

Numbers are those of the step functions to the bit: a product is rounded before it is added. Where one operation does
both, one of its factors is 0 or 1, so that fused arithmetic has nothing to leave out.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from spikebridge.ops.native.memory_pool import pool_empty
from spikebridge.ops.sequence.backward import backward_steps
from spikebridge.ops.sequence.spec import ForwardArgs, ForwardResult, NeuronParams, NeuronSpec, NeuronState
from spikebridge.ops.sequence.tiling import as_number, batch_parts, each_step, is_number, slice_params, time_blocks

__all__ = ["backward_steps", "forward_steps"]


def forward_steps(args: ForwardArgs) -> ForwardResult:
    """All steps of a sequence; results have memory of their own."""
    spec, x, start, values, keep, *_ = args
    values = NeuronParams(*map(as_number, values))
    y = pool_empty(x.shape, x)
    v = pool_empty(x.shape, x) if keep and spec.fires else None
    end = start.each(lambda m: torch.empty(m.shape, dtype=m.dtype, device=m.device))

    for part in batch_parts(x):
        v_of_part = None if v is None else v[:, part]
        signals = _Part(x[:, part], start.of_batch(part), end.of_batch(part), y[:, part], v_of_part)
        _run_part(spec, slice_params(values, part, x.ndim), signals)

    return ForwardResult(y, y if keep and not spec.fires else v, end)


class _Part(NamedTuple):
    """The signals of a part of the batch: read from `x` and `start`, written to the others."""

    x: Tensor
    start: NeuronState
    state: NeuronState  # after each step
    y: Tensor
    v: Tensor | None

    def membrane_rows(self, fires: bool) -> list[Tensor]:
        """The tensor of each step that its membranes before the reset are written to."""
        if not fires:
            return list(self.y.unbind(0))
        if self.v is not None:
            return list(self.v.unbind(0))

        # without a backward pass one row serves all steps
        return [torch.empty_like(self.state.v)] * len(self.x)


def _run_part(spec: NeuronSpec, values: NeuronParams, part: _Part) -> None:
    """Writes outputs, membranes and the last state of a part of the batch, by the loop with the fewest operations."""
    on_cpu = part.x.device.type == "cpu"
    is_plain_charge = is_number(values.v_leak, 0) and is_number(values.r, 1) and part.start.i is None
    resets_to_zero = spec.reset == "zero" and is_number(values.v_reset, 0) and part.start.a is None

    if not spec.fires and is_plain_charge:
        _sum(values, part)
    elif spec.fires and is_plain_charge and resets_to_zero and isinstance(values.decay, float) and on_cpu:
        _leak_and_reset_at_once(values.decay, values, part)
    else:
        _charge_fire_reset(spec, values, part)


def _charge_fire_reset(spec: NeuronSpec, values: NeuronParams, part: _Part) -> None:
    """Every neuron: the equations of `spec.py` in place, those that change nothing left out."""
    x, start, state, y, _ = part
    leaks_to_zero = is_number(values.v_leak, 0)
    scales = not is_number(values.r, 1)
    resets_to_zero = spec.reset == "zero" and is_number(values.v_reset, 0)

    # addcmul rounds a product of three from left to right on the processor; elsewhere the order is not defined
    factor = values.decay if isinstance(values.decay, float) and leaks_to_zero and x.device.type == "cpu" else None
    one = x.new_ones(())
    before = start.v
    drive = torch.empty_like(state.v)
    sum_ = torch.empty_like(state.v)

    for tensor, first in zip(state[1:], start[1:], strict=True):
        if tensor is not None and first is not None:
            tensor.copy_(first)

    rows = part.membrane_rows(spec.fires)
    numbers = [each_step(value, x) for value in values]
    for x_t, y_t, v_t, decay, threshold, v_reset, v_leak, r, decay_syn, decay_adaptation, jump in zip(
        x.unbind(0), y.unbind(0), rows, *numbers, strict=True
    ):
        # charge
        current = x_t if state.i is None else state.i.mul_(decay_syn).add_(x_t)
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

        # fire
        if state.a is not None:
            threshold = torch.add(state.a.mul_(decay_adaptation), threshold, out=sum_)
        torch.ge(v_t, threshold, out=y_t)

        # reset
        torch.addcmul(v_t, y_t, threshold if spec.reset == "subtract" else v_t, value=-1, out=state.v)
        if spec.reset == "zero" and not resets_to_zero:
            state.v.addcmul_(y_t, v_reset)
        if state.a is not None:
            state.a.addcmul_(y_t, jump)

        before = state.v

    if not spec.fires:
        state.v.copy_(before)


def _leak_and_reset_at_once(decay: float, values: NeuronParams, part: _Part) -> None:
    """A leak to 0 and a reset to 0 are one product, `decay v` times 0 where the neuron fired: two operations a step."""
    x, start, state, y, _ = part
    one = x.new_ones(())
    xs = x.unbind(0)
    rows = part.membrane_rows(fires=True)
    thresholds = each_step(values.v_threshold, x)
    silences = y.unbind(0)
    before = start.v
    silent = one
    done = 0

    for block in time_blocks(x):
        for x_t, silent_t, v_t, threshold in zip(
            xs[block], silences[block], rows[block], thresholds[block], strict=True
        ):
            torch.addcmul(x_t, before, silent, value=decay, out=v_t)
            before = v_t
            silent = torch.lt(v_t, threshold, out=silent_t)

        # `y` holds 1 for silence: all steps but the last, which the next one reads, become spikes
        spikes = y[done : block.stop - 1]
        torch.sub(one, spikes, out=spikes)
        done = block.stop - 1

    torch.mul(before, silent, out=state.v)
    torch.sub(one, silent, out=silent)


def _sum(values: NeuronParams, part: _Part) -> None:
    """A leaky sum: a neuron that does not fire, with its resting value at 0."""
    x, start, state, y, _ = part
    decay = values.decay
    one = x.new_ones(())
    before = start.v

    if is_number(decay, 1):
        for x_t, v_t in zip(x.unbind(0), y.unbind(0), strict=True):
            before = torch.add(x_t, before, out=v_t)
    elif isinstance(decay, float) and x.device.type == "cpu":
        for x_t, v_t in zip(x.unbind(0), y.unbind(0), strict=True):
            before = torch.addcmul(x_t, before, one, value=decay, out=v_t)
    else:
        for x_t, v_t, decay_t in zip(x.unbind(0), y.unbind(0), each_step(decay, x), strict=True):
            before = torch.mul(before, decay_t, out=v_t).add_(x_t)

    state.v.copy_(before)
