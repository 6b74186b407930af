"""Neurons over time with gradients: one autograd node a sequence, with its own backward pass.

It keeps one tensor a step for the backward pass, the membranes before the reset; or the input, where gradients need it,
from which the membranes are computed again.
"""

from typing import Any

import torch
from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.ops.sequence.custom_op import NEED_INPUT, run_custom_op
from spikebridge.ops.sequence.dispatch import choose
from spikebridge.ops.sequence.spec import BackwardArgs, ForwardArgs, NeuronParams, NeuronSpec, NeuronState, Size

_NAMES = ("x", *NeuronState._fields, *NeuronParams._fields)
_NUM_STATES = len(NeuronState._fields)


def run_sequence(
    spec: NeuronSpec,
    x: Tensor,
    start: NeuronState,
    values: NeuronParams,
    pool: Size | None = None,
    donated: bool = False,
) -> tuple[Tensor, NeuronState]:
    """Outputs and last state of an input `(T, B, *N)` in float32 or float64, T >= 1, with gradients."""
    # `pool` is given where `selection` takes the native path for it
    tensors = [t for t in (x, *start, *values) if isinstance(t, Tensor)]
    if torch.compiler.is_compiling():
        return run_custom_op(spec, x, start, values)

    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        y, *end = _Sequence.apply(spec, pool, donated, x, *start, *values)
        return y, NeuronState(*end)

    y, _, last = choose(spec, x).forward(ForwardArgs(spec, x, start, values, False, pool, donated))
    return y, last


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
    """True if a gradient stands for many, which `vmap` or `is_grads_batched` gives at once."""
    batched = torch._C._functorch
    return grad is not None and (batched.is_legacy_batchedtensor(grad) or batched.is_batchedtensor(grad))


class _Sequence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, spec: NeuronSpec, pool: Size | None, donated: bool, x: Tensor, *rest: Any
    ) -> tuple[Tensor | None, ...]:
        start = NeuronState(*rest[:_NUM_STATES])
        values = NeuronParams(*rest[_NUM_STATES:])
        ctx.wanted = [n for n, needed in zip(_NAMES, ctx.needs_input_grad[3:], strict=True) if needed]
        ctx.keeps_input = any(name in ctx.wanted for name in NEED_INPUT)

        # the gradient of a sum needs the sum only for the gradient of the decay
        ctx.keeps_membranes = (spec.fires or "decay" in ctx.wanted) and not ctx.keeps_input
        ctx.steps = choose(spec, x)
        args = ForwardArgs(spec, x, start, values, ctx.keeps_membranes, pool, donated)
        y, v, end = ctx.steps.forward(args)

        # numbers cannot be saved as tensors are
        ctx.save_for_backward(x if ctx.keeps_input else v, *[t if isinstance(t, Tensor) else None for t in rest])
        ctx.numbers = [None if isinstance(t, Tensor) else t for t in rest]
        ctx.spec = spec
        ctx.pool = pool
        ctx.shape = x.shape
        ctx.set_materialize_grads(False)

        return y, *end

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor | None, *grad_end: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_unusual_backward("a spiking layer", grad_y, *grad_end)
        kept, *tensors = ctx.saved_tensors
        rest = [n if t is None else t for t, n in zip(tensors, ctx.numbers, strict=True)]
        start = NeuronState(*rest[:_NUM_STATES])
        values = NeuronParams(*rest[_NUM_STATES:])
        x = None
        v = kept

        if ctx.keeps_input:
            x = kept
            v = ctx.steps.forward(ForwardArgs(ctx.spec, x, start, values, keep=True)).v
        elif not ctx.keeps_membranes:
            v = grad_y if grad_y is not None else start.v.new_zeros(ctx.shape)  # for its shape alone

        # the gradient of the input takes the memory of membranes that are not read again
        out = v if ctx.spec.fires and not torch._C._autograd._get_current_graph_task_keep_graph() else None
        ends = {n: g for n, g in zip(NeuronState._fields, grad_end, strict=True) if g is not None}
        unused = {"v_reset"} if ctx.spec.reset == "subtract" else set()
        wanted = [n for n in ctx.wanted if n not in unused]
        grads = ctx.steps.backward(BackwardArgs(ctx.spec, x, v, start, values, grad_y, ends, wanted, out, ctx.pool))

        return None, None, None, *map(grads.get, _NAMES)
