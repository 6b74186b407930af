"""Neurons over time with gradients: one autograd node a sequence, with its own backward pass.

It keeps one tensor a step for the backward pass, the membranes before the reset (or the input, where that has to be
known, from which the membranes are worked out again).
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.ops.sequence.custom_op import NEED_THE_INPUT, run_custom_op
from spikebridge.ops.sequence.dispatch import IN_C, SequenceSteps, choose
from spikebridge.ops.sequence.spec import BackwardArgs, NeuronMemory, NeuronParams, NeuronSpec, Size


def run_sequence(
    spec: NeuronSpec,
    x: Tensor,
    start: NeuronMemory,
    values: NeuronParams,
    pool: Size | None = None,
    donated: bool = False,
) -> tuple[Tensor, NeuronMemory]:
    """The outputs and the last memory of a sequence, with gradients to every tensor that requires one.

    Args:
        spec: what kind of neuron.
        x: the input `(T, B, *N)`, T >= 1, in float32 or float64.
        start: the memory before the first step, in the dtype of the input.
        values: the numbers of the neuron, tensors in the dtype of the input.
        pool: windows of which the largest outputs are given, where `selection` takes the native path for it.
        donated: the input is not read again, so that its memory may be used.

    Returns:
        `(T, B, *N)` and the memory.

    Example:
        >>> from spikebridge.neurons import Arctan
        >>> x = torch.tensor([1.0, 1.0, 1.0]).reshape(3, 1, 1)
        >>> params = NeuronParams(decay=1.0, v_threshold=2.0)
        >>> y, end = run_sequence(NeuronSpec(Arctan()), x, NeuronMemory(torch.zeros(1, 1)), params)
        >>> y.flatten().tolist(), end.v.item()
        ([0.0, 1.0, 0.0], 1.0)
    """
    tensors = [t for t in (x, *start, *values) if isinstance(t, Tensor)]
    if torch.compiler.is_compiling():
        y, end = run_custom_op(spec, x, start, values)
    elif torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        y, *memories = _Sequence.apply(spec, pool, donated, x, *start, *values)
        end = NeuronMemory(*memories)
    else:
        y, _, end = _steps(spec, x, pool, donated).forward(spec, x, start, values, keep=False)

    return y, end


def _steps(spec: NeuronSpec, x: Tensor, pool: Size | None, donated: bool) -> SequenceSteps:
    steps = choose(spec, x)
    return IN_C._replace(forward=partial(IN_C.forward, pool=pool, donated=donated)) if steps is IN_C else steps


def refuse_unusual_backward(what: str, *grads: Tensor | None) -> None:
    """Raises in a backward pass that is differentiated again, or that takes batched gradients."""
    if torch.is_grad_enabled():
        raise ConfigError(
            f"{what} on its fast path has no second derivative; run the forward pass inside "
            "spikebridge.ops.reference() to get one, or leave out create_graph=True"
        )

    if any(is_batched(grad) for grad in grads):
        raise ConfigError(
            f"{what} on its fast path takes one gradient at a time; run the forward pass inside "
            "spikebridge.ops.reference() to give many at once, or leave out is_grads_batched or vectorize"
        )


def is_batched(grad: Tensor | None) -> bool:
    """Whether a gradient stands for many, which `vmap` or `is_grads_batched` gives at once."""
    batched = torch._C._functorch
    return grad is not None and (batched.is_legacy_batchedtensor(grad) or batched.is_batchedtensor(grad))


class _Sequence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, spec: NeuronSpec, pool: Size | None, donated: bool, x: Tensor, *rest: Any
    ) -> tuple[Tensor | None, ...]:
        names = ("x", *NeuronMemory._fields, *NeuronParams._fields)
        ctx.wanted = [n for n, needed in zip(names, ctx.needs_input_grad[3:], strict=True) if needed]
        start = NeuronMemory(*rest[:3])
        values = NeuronParams(*rest[3:])
        ctx.from_input = any(name in ctx.wanted for name in NEED_THE_INPUT)

        # the gradient of a sum needs the sum only for the gradient of the decay
        ctx.needs_membranes = (spec.fires or "decay" in ctx.wanted) and not ctx.from_input
        ctx.pool = pool
        ctx.steps = choose(spec, x)
        y, v, end = _steps(spec, x, pool, donated).forward(spec, x, start, values, keep=ctx.needs_membranes)
        ctx.shape = x.shape
        tensors = [t if isinstance(t, Tensor) else None for t in rest]
        ctx.save_for_backward(x if ctx.from_input else v, *tensors)
        ctx.numbers = [None if isinstance(t, Tensor) else t for t in rest]
        ctx.spec = spec
        ctx.set_materialize_grads(False)

        return y, *end

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor | None, *grad_end: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_unusual_backward("a spiking layer", grad_y, *grad_end)
        kept, *tensors = ctx.saved_tensors
        rest = [n if t is None else t for t, n in zip(tensors, ctx.numbers, strict=True)]
        start = NeuronMemory(*rest[:3])
        values = NeuronParams(*rest[3:])
        x = None
        v = kept

        if ctx.from_input:
            x = kept
            v = ctx.steps.forward(ctx.spec, kept, start, values, keep=True).v
        elif not ctx.needs_membranes:
            v = grad_y if grad_y is not None else start.v.new_zeros(ctx.shape)  # for its shape alone

        # the gradient of the input reuses the memory of membranes that are not read again
        out = v if ctx.spec.fires and not torch._C._autograd._get_current_graph_task_keep_graph() else None
        ends = {n: g for n, g in zip(NeuronMemory._fields, grad_end, strict=True) if g is not None}
        unused = {"v_reset"} if ctx.spec.reset == "subtract" else set()
        wanted = [n for n in ctx.wanted if n not in unused]
        grads = ctx.steps.backward(BackwardArgs(ctx.spec, x, v, start, values, grad_y, ends, wanted, out, ctx.pool))

        return None, None, None, *(grads.get(name) for name in ("x", *NeuronMemory._fields, *NeuronParams._fields))
