"""The neurons of `spec.py` over a whole sequence in plain C, where the installation has it: float32 on a CPU.

`forward_steps` and `backward_steps` have the signatures and the numbers of those in PyTorch.
The gradient of a parameter is summed over time first, then over columns.
"""

import ctypes
import math
from functools import lru_cache

import torch
from torch import Tensor

from spikebridge.ops.native.layout import (
    AxisOrder,
    Groups,
    Pointers,
    address_of,
    as_own_tensor,
    as_signal,
    changes_in_time,
    groups_of,
    layout_of,
    plan_of,
    run,
)
from spikebridge.ops.native.library import Backward, Forward, LoopPlan, Pooling, Share, library
from spikebridge.ops.native.memory_pool import pool_empty
from spikebridge.ops.sequence.spec import (
    BackwardArgs,
    ForwardArgs,
    ForwardResult,
    NeuronParams,
    NeuronSpec,
    NeuronState,
    Size,
)

_SURROGATES = ("Arctan", "Rectangle", "Triangle", "FastSigmoid")  # in the order of native.h
_SURROGATE_MODULE = "spikebridge.neurons.surrogate"
_BASE = len(NeuronParams._fields)  # its place among the values of native.h
_NO_RESET, _TO_ZERO, _TO_VALUE, _BY_THRESHOLD = range(4)
_CHUNK = 512  # columns; what a step of them reads and writes stays in the nearest cache
# numbers of a chunk that the backward pass computes again: with more of them chunks become smaller, down to this size
_MAX_RECOMPUTED = 2**18
_MIN_COLUMNS = 64


def available() -> bool:
    """True if the native library is there and has the version of the package."""
    return library().steps is not None


def why_not() -> str:
    """The reason why the native library is not available, in a line; empty where it is."""
    return library().why_not


def description() -> str:
    """The implementation that runs, in a line, for a report on the installation."""
    loaded = library()
    if loaded.steps is None:
        return f"PyTorch alone: {loaded.why_not}"
    threads = "PyTorch threads" if loaded.team else "one thread"
    return f"native steps with {loaded.instructions}, the widest that this processor runs, on {threads}"


def surrogate_number(surrogate: object) -> int | None:
    """The number of a surrogate in native.h; None for one that plain C does not know."""
    # by its full name: a class derived from it may have another derivative
    kind = type(surrogate)
    is_known = kind.__module__ == _SURROGATE_MODULE and kind.__qualname__ in _SURROGATES
    return _SURROGATES.index(kind.__qualname__) if is_known else None


def forward_steps(args: ForwardArgs) -> ForwardResult:
    """All steps of a sequence, maybe pooled; results lie in memory as the signal does."""
    layout = layout_of(args.x)
    if layout is not None:
        y, v, end = forward_steps(_permuted_forward(layout, args))
        return ForwardResult(layout.restore(y), None if v is None else layout.restore(v), end.each(layout.restore_step))

    spec, x, start, values, keep, pool, donated = args
    groups = _groups_for(x, pool)
    x = groups.dense(x)
    y = groups.pool_empty(x, x) if pool is None else _pooled_empty(x, pool)
    kept = None
    if keep and spec.fires:
        kept = as_own_tensor(x) if donated else groups.pool_empty(x, x)

    start = start.each(Tensor.contiguous)
    end = start.each(torch.empty_like)
    pointers = Pointers(x, groups)
    plan = _plan(spec, values, pointers, _chunk_of(x, pool), whole=pool is not None)
    signals = [as_signal(signal, groups) for signal in (x, y if pool is None else None, kept)]
    job = Forward(plan, *signals, *map(address_of, (*start, *end)))
    if pool is not None:
        job.pooling = _pooling(y, x, groups, pool)

    run("spikebridge_forward", job)
    return ForwardResult(y, y if keep and not spec.fires else kept, end)


def backward_steps(args: BackwardArgs) -> dict[str, Tensor]:
    """The gradients that are wanted, by name."""
    layout = layout_of(args.v)
    if layout is not None:
        return _restored(layout, backward_steps(_permuted_backward(layout, args)), args.values)

    spec, x, v, start, values, grad_y, grad_end, wanted, out, pool = args
    groups = _groups_for(v, pool)
    v = groups.dense(v)
    x = None if x is None else groups.dense(x)
    states = {name: state for name, state in start._asdict().items() if state is not None}

    # the gradient of the decay alone reads the first membrane: no copy for others
    first = {name: m.contiguous() for name, m in states.items() if name != "v" or "decay" in wanted}
    last = {name: grad.contiguous() for name, grad in grad_end.items()}
    grads = {name: m.new_empty(m.shape, dtype=torch.float32) for name, m in states.items() if name in wanted}
    if "x" in wanted:
        is_usable = out is not None and groups.dense(out) is out
        grads["x"] = out if out is not None and is_usable else groups.pool_empty(v, start.v)

    chunk = _chunk_of(v, pool)
    # adaptations and currents are computed again for all steps of a chunk, and have to stay near the processor
    num_recomputed = (start.a is not None) + (start.i is not None and not {"r", "decay_syn"}.isdisjoint(wanted))
    if num_recomputed and pool is None:
        chunk = min(chunk, max(_MIN_COLUMNS, _MAX_RECOMPUTED // (len(v) * num_recomputed)))

    pointers = Pointers(v, groups)
    plan = _plan(spec, values, pointers, chunk, whole=pool is not None)
    addresses = [address_of(rows.get(name)) for rows in (first, last) for name in NeuronState._fields]
    job = Backward(plan, as_signal(x, groups), as_signal(v, groups), *addresses)

    if grad_y is not None and pool is None:
        pointers.set_gradient(job.grad_y, grad_y)
    elif grad_y is not None and pool is not None:
        grad_y = groups.dense(grad_y)
        job.pooling = _pooling(grad_y, v, groups, pool)

    job.grad_x = as_signal(grads.get("x"), groups)
    job.grad_v, job.grad_i, job.grad_a = (address_of(grads.get(name)) for name in NeuronState._fields)
    sums = {name: _partial_sums(job, name, getattr(values, name), v) for name in NeuronParams._fields if name in wanted}
    run("spikebridge_backward", job)

    return {name: _total(partial, getattr(values, name)) for name, partial in sums.items()} | grads


def _groups_for(x: Tensor, pool: Size | None) -> Groups:
    """The rows of a step; in front of a pooling each picture is one."""
    return groups_of(x) if pool is None else Groups(x.shape[1], x.shape[2:].numel())


def _chunk_of(x: Tensor, pool: Size | None) -> int:
    """Columns that run through all steps at once: in front of a pooling a row of windows."""
    return _CHUNK if pool is None else pool[0] * x.shape[3:].numel()


def _pooled_empty(x: Tensor, pool: Size) -> Tensor:
    num_steps, batch, height, width, channels = x.shape
    return pool_empty((num_steps, batch, height // pool[0], width // pool[1], channels), x)


def _pooling(pooled: Tensor, x: Tensor, groups: Groups, pool: Size) -> Pooling:
    """The pooled pictures, or their gradient, of full pictures `(T, B, Y, X, C)`."""
    return Pooling(as_signal(pooled, groups), x.shape[4], x.shape[3], *pool)


def _permuted(layout: AxisOrder, values: NeuronParams) -> NeuronParams:
    """Parameters with all axes of the signal; a single number stays as it is."""
    tensors = {n: v for n, v in values._asdict().items() if isinstance(v, Tensor) and v.ndim > 0}
    return values._replace(**{n: layout.permute_value(value) for n, value in tensors.items()})


def _permuted_forward(layout: AxisOrder, args: ForwardArgs) -> ForwardArgs:
    start = args.start.each(layout.permute_step)
    return args._replace(x=layout.permute(args.x), start=start, values=_permuted(layout, args.values))


def _permuted_backward(layout: AxisOrder, args: BackwardArgs) -> BackwardArgs:
    return args._replace(
        x=None if args.x is None else layout.permute(args.x),
        v=layout.permute(args.v),
        start=args.start.each(layout.permute_step),
        values=_permuted(layout, args.values),
        grad_y=None if args.grad_y is None else layout.permute(args.grad_y),
        grad_end={name: layout.permute_step(grad) for name, grad in args.grad_end.items()},
        out=None if args.out is None else layout.permute(args.out),
    )


def _restored(layout: AxisOrder, grads: dict[str, Tensor], values: NeuronParams) -> dict[str, Tensor]:
    """Gradients back in their own order; those of parameters in the shapes of the parameters."""
    restored = {}
    for name, grad in grads.items():
        if name in NeuronParams._fields:
            value: Tensor = getattr(values, name)
            restored[name] = (layout.restore(grad) if value.ndim > 0 else grad).reshape(value.shape)
        else:
            restored[name] = layout.restore(grad) if name == "x" else layout.restore_step(grad)

    return restored


def _plan(spec: NeuronSpec, values: NeuronParams, pointers: Pointers, chunk: int, whole: bool) -> LoopPlan:
    """The plan of both directions: at most `chunk` columns at once (`whole`: exactly)."""
    tensors = {name: value for name, value in values._asdict().items() if isinstance(value, Tensor)}
    numbers = values._replace(**dict.fromkeys(tensors, math.nan))
    threads = torch.get_num_threads()
    plan, array = _plan_of_numbers(spec, numbers, len(pointers.x), pointers.groups, chunk, threads, whole)
    pointers.keep(array)

    if tensors:
        plan = LoopPlan.from_buffer_copy(plan)
        for name, value in tensors.items():
            pointers.set_value(plan.values[NeuronParams._fields.index(name)], value)
        if "v_leak" in tensors:
            pointers.set_value(plan.values[_BASE], tensors["v_leak"])

    return plan


# a layer needs the same plan at each call
@lru_cache(maxsize=256)
def _plan_of_numbers(
    spec: NeuronSpec, values: NeuronParams, num_steps: int, groups: Groups, chunk: int, threads: int, whole: bool
) -> tuple[LoopPlan, ctypes.Array[ctypes.c_float]]:
    """The plan for parameters that are numbers, and the array of these numbers that it points to."""
    plan = LoopPlan.from_buffer_copy(plan_of(num_steps, groups, chunk, threads, whole))
    plan.reset = _reset_number(spec, values)
    plan.through_reset = not spec.detach_reset
    plan.surrogate = 0 if spec.surrogate is None else surrogate_number(spec.surrogate)
    plan.width = 1.0 if spec.surrogate is None else spec.surrogate.width

    # nothing is added where the resting value is 0 for good, and -0 is what adds nothing even to -0
    base = -0.0 if values.v_leak == 0 else values.v_leak
    numbers = (ctypes.c_float * (_BASE + 1))(*map(float, (*values, base)))
    for k, place in enumerate(plan.values):
        place.at = ctypes.addressof(numbers) + k * ctypes.sizeof(ctypes.c_float)

    return plan, numbers


def _reset_number(spec: NeuronSpec, values: NeuronParams) -> int:
    if not spec.fires:
        return _NO_RESET
    if spec.reset == "subtract":
        return _BY_THRESHOLD
    return _TO_ZERO if values.v_reset == 0 else _TO_VALUE


def _partial_sums(job: Backward, name: str, value: Tensor, x: Tensor) -> Tensor:
    """Memory for the gradient of a parameter, as far as the native library sums it up: a step, a column or a chunk."""
    share: Share = job.shares[NeuronParams._fields.index(name)]
    if changes_in_time(value, x):
        partial = x.new_empty(x.shape, dtype=torch.float32)
        share.steps = partial.data_ptr()
    elif value.numel() > 1:
        partial = x.new_empty(x.shape[1:], dtype=torch.float32)
        share.columns = partial.data_ptr()
    else:
        num_chunks = job.plan.num_groups * -(-job.plan.num_columns // job.plan.chunk)
        # double precision: few numbers that are sums of many
        partial = x.new_empty(num_chunks, dtype=torch.float64)
        share.chunks = partial.data_ptr()

    return partial


def _total(partial: Tensor, value: Tensor) -> Tensor:
    """The rest of the sum, in the shape of the parameter."""
    if partial.dtype == torch.float64:
        return partial.sum().float().reshape(value.shape)
    shape = value.shape if value.ndim <= partial.ndim else value.shape[1:]
    return partial.sum_to_size(shape).reshape(value.shape)
