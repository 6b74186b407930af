"""The neurons of `spec.py` over a whole sequence in plain C, where the installation has it: float32 on a CPU.

`forward_steps` and `backward_steps` have the signatures and the numbers of those in PyTorch.
The gradient of a value is summed over time first, then over columns.
"""

import ctypes
import math
from functools import lru_cache

import torch
from torch import Tensor

from spikebridge.ops.native.layout import (
    AxisOrder,
    Groups,
    at,
    changes_in_time,
    groups_of,
    layout_of,
    plan_of,
    point,
    point_to_signal,
    signal_at,
    standing_alone,
)
from spikebridge.ops.native.library import Backward, Forward, LoopPlan, Pooling, Share, library, run
from spikebridge.ops.native.memory_pool import pool_empty
from spikebridge.ops.sequence.spec import (
    BackwardArgs,
    ForwardResult,
    NeuronMemory,
    NeuronParams,
    NeuronSpec,
    Size,
)

_SURROGATES = ("Arctan", "Rectangle", "Triangle", "FastSigmoid")  # in the order of native.h
_SURROGATES_ARE_OF = "spikebridge.neurons.surrogate"
_BASE = len(NeuronParams._fields)  # its place among the values of native.h
NEVER, _TO_ZERO, _TO_VALUE, _BY_THRESHOLD = range(4)
_CHUNK = 512  # columns; what a step of them reads and writes stays in the nearest cache
_RECALLED = 2**18  # numbers of a chunk that are worked out again for the backward pass, at most, unless T is huge
_LEAST_COLUMNS = 64


def available() -> bool:
    """Whether the native library is there and fits."""
    return library().steps is not None


def why_not() -> str:
    """Why it is not, in a line; empty where it is."""
    return library().why_not


def description() -> str:
    """What runs, in a line, for a report on the installation."""
    found = library()
    if found.steps is None:
        return f"PyTorch alone: {found.why_not}"
    return f"native steps with {found.instructions}, on {'PyTorch threads' if found.team else 'one thread'}"


def surrogate_number(surrogate: object) -> int | None:
    """Its number in native.h; None for one that plain C does not know."""
    # by its full name: a class derived from it may have another derivative
    kind = type(surrogate)
    known = kind.__module__ == _SURROGATES_ARE_OF and kind.__qualname__ in _SURROGATES
    return _SURROGATES.index(kind.__qualname__) if known else None


def forward_steps(
    spec: NeuronSpec,
    x: Tensor,
    start: NeuronMemory,
    values: NeuronParams,
    keep: bool,
    pool: Size | None = None,
    donated: bool = False,
) -> ForwardResult:
    """All steps of a sequence, as `steps.forward_steps`, maybe pooled. What comes out lies as the signal does.

    What is kept takes the place of a signal to `donated`.
    """
    if (layout := layout_of(x)) is not None:
        seen = _seen_memory(layout, start), _seen_values(layout, values)
        y, v, end = forward_steps(spec, layout.seen(x), *seen, keep, pool, donated)
        return ForwardResult(layout.given(y), None if v is None else layout.given(v), end.each(layout.given_step))

    groups = _groups(x, pool)
    x = groups.dense(x)
    y = groups.pool_empty(x, x) if pool is None else _pooled_empty(x, pool)
    kept = None

    if keep and spec.fires:
        kept = standing_alone(x) if donated else groups.pool_empty(x, x)

    start = start.each(Tensor.contiguous)
    end = start.each(torch.empty_like)
    held: list[object] = []
    plan = _plan(spec, groups, x, values, _chunk(x, pool), held, whole=pool is not None)
    signals = [signal_at(signal, groups) for signal in (x, y if pool is None else None, kept)]
    job = Forward(plan, *signals, *map(at, (*start, *end)))

    if pool is not None:
        job.pooling = _pooling(y, x, groups, pool)

    run("spikebridge_forward", job)
    return ForwardResult(y, y if keep and not spec.fires else kept, end)


def backward_steps(args: BackwardArgs) -> dict[str, Tensor]:
    """The gradients of a sequence, as `steps.backward_steps`."""
    if (layout := layout_of(args.v)) is not None:
        return _given_gradients(layout, backward_steps(_seen_args(layout, args)), args.values)

    spec, x, v, start, values, grad_y, grad_end, wanted, out, pool = args
    groups = _groups(v, pool)
    v = groups.dense(v)
    x = None if x is None else groups.dense(x)
    memories = {name: m for name, m in start._asdict().items() if m is not None}

    # only the share of the decay looks at the first membrane: no copy for others
    first = {name: m.contiguous() for name, m in memories.items() if name != "v" or "decay" in wanted}
    last = {name: grad.contiguous() for name, grad in grad_end.items()}
    grads = {name: m.new_empty(m.shape, dtype=torch.float32) for name, m in memories.items() if name in wanted}
    grad_x = None

    if "x" in wanted:
        grad_x = out if out is not None and groups.dense(out) is out else groups.pool_empty(v, start.v)

    held: list[object] = []
    histories = (start.a is not None) + (start.i is not None and not {"r", "decay_syn"}.isdisjoint(wanted))
    chunk = _chunk(v, pool)
    if histories and pool is None:
        chunk = min(chunk, max(_LEAST_COLUMNS, _RECALLED // (len(v) * histories)))

    plan = _plan(spec, groups, v, values, chunk, held, whole=pool is not None)
    pointers = [at(rows.get(name)) for rows in (first, last) for name in NeuronMemory._fields]
    job = Backward(plan, signal_at(x, groups), signal_at(v, groups), *pointers)

    if grad_y is not None and pool is None:
        point_to_signal(job.grad_y, grad_y, groups, held)
    elif grad_y is not None and pool is not None:
        grad_y = groups.dense(grad_y)
        job.pooling = _pooling(grad_y, v, groups, pool)

    job.grad_x = signal_at(grad_x, groups)
    job.grad_v, job.grad_i, job.grad_a = (at(grads.get(name)) for name in NeuronMemory._fields)
    sums = {name: _share(job, name, getattr(values, name), v) for name in NeuronParams._fields if name in wanted}
    run("spikebridge_backward", job)
    results = {name: _summed(part, getattr(values, name)) for name, part in sums.items()}

    return results | grads | ({} if grad_x is None else {"x": grad_x})


def _groups(x: Tensor, pool: Size | None) -> Groups:
    return groups_of(x) if pool is None else Groups(x.shape[1], x.shape[2:].numel())


def _chunk(x: Tensor, pool: Size | None) -> int:
    """Columns that are run through all steps at once: as many as a row of windows has."""
    return _CHUNK if pool is None else pool[0] * x.shape[3:].numel()


def _pooled_empty(x: Tensor, pool: Size) -> Tensor:
    num_steps, batch, height, width, channels = x.shape
    return pool_empty((num_steps, batch, height // pool[0], width // pool[1], channels), x)


def _pooling(pooled: Tensor, x: Tensor, groups: Groups, pool: Size) -> Pooling:
    """Where pooled pictures stand, and how those were, `(T, B, Y, X, C)`, from which they come."""
    return Pooling(signal_at(pooled, groups), x.shape[4], x.shape[3], *pool)


def _seen_memory(layout: AxisOrder, memory: NeuronMemory) -> NeuronMemory:
    return memory.each(layout.seen_step)


def _seen_values(layout: AxisOrder, values: NeuronParams) -> NeuronParams:
    """Values with all axes of the signal; a single number stays as it is."""
    tensors = {n: v for n, v in values._asdict().items() if isinstance(v, Tensor) and v.ndim > 0}
    return values._replace(**{n: layout.seen_value(value) for n, value in tensors.items()})


def _seen_args(layout: AxisOrder, args: BackwardArgs) -> BackwardArgs:
    """The arguments of a backward pass, in the order of memory."""
    return args._replace(
        x=None if args.x is None else layout.seen(args.x),
        v=layout.seen(args.v),
        start=_seen_memory(layout, args.start),
        values=_seen_values(layout, args.values),
        grad_y=None if args.grad_y is None else layout.seen(args.grad_y),
        grad_end={name: layout.seen_step(grad) for name, grad in args.grad_end.items()},
        out=None if args.out is None else layout.seen(args.out),
    )


def _given_gradients(layout: AxisOrder, grads: dict[str, Tensor], values: NeuronParams) -> dict[str, Tensor]:
    """What a backward pass gave, back in its own order; the gradients of values in their shapes."""
    given = {}
    for name, grad in grads.items():
        if name in NeuronParams._fields:
            value: Tensor = getattr(values, name)
            given[name] = (layout.given(grad) if value.ndim > 0 else grad).reshape(value.shape)
        else:
            given[name] = layout.given(grad) if name == "x" else layout.given_step(grad)

    return given


def _plan(
    spec: NeuronSpec,
    groups: Groups,
    x: Tensor,
    values: NeuronParams,
    chunk: int,
    held: list[object],
    whole: bool = False,
) -> LoopPlan:
    """The plan of both directions: at most `chunk` columns at once. `held` keeps alive what the plan points to."""
    threads = torch.get_num_threads()
    tensors = {name: value for name, value in values._asdict().items() if isinstance(value, Tensor)}
    numbers = values._replace(**dict.fromkeys(tensors, math.nan))
    plan, kept = _plan_of_numbers(spec, numbers, len(x), groups, chunk, threads, whole)
    held.append(kept)

    if tensors:
        plan = LoopPlan.from_buffer_copy(plan)
        for name, value in tensors.items():
            point(plan.values[NeuronParams._fields.index(name)], value, x, groups, held)
        if "v_leak" in tensors:
            point(plan.values[_BASE], tensors["v_leak"], x, groups, held)

    return plan


@lru_cache(maxsize=256)
def _plan_of_numbers(
    spec: NeuronSpec, values: NeuronParams, num_steps: int, groups: Groups, chunk: int, threads: int, whole: bool
) -> tuple[LoopPlan, ctypes.Array[ctypes.c_float]]:
    """The plan for plain numbers, and those numbers; cached, since a layer needs the same plan at each call."""
    plan = LoopPlan.from_buffer_copy(plan_of(num_steps, groups, chunk, threads, whole))
    plan.reset = _reset(spec, values)
    plan.through_reset = not spec.detach_reset
    plan.surrogate = 0 if spec.surrogate is None else surrogate_number(spec.surrogate)
    plan.width = 1.0 if spec.surrogate is None else spec.surrogate.width

    # nothing is added where the resting value is 0 for good, and -0 is what adds nothing even to -0
    base = -0.0 if values.v_leak == 0 else values.v_leak
    numbers = (ctypes.c_float * (_BASE + 1))(*map(float, (*values, base)))
    for k, place in enumerate(plan.values):
        place.at = ctypes.addressof(numbers) + k * ctypes.sizeof(ctypes.c_float)

    return plan, numbers


def _reset(spec: NeuronSpec, values: NeuronParams) -> int:
    if not spec.fires:
        return NEVER
    if spec.reset == "subtract":
        return _BY_THRESHOLD
    return _TO_ZERO if values.v_reset == 0 else _TO_VALUE


def _share(job: Backward, name: str, value: Tensor, x: Tensor) -> Tensor:
    """Memory for the gradient of a value, as far as the native steps sum it up."""
    share: Share = job.shares[NeuronParams._fields.index(name)]
    if changes_in_time(value, x):
        part = x.new_empty(x.shape, dtype=torch.float32)
        share.steps = part.data_ptr()
    elif value.numel() > 1:
        part = x.new_empty(x.shape[1:], dtype=torch.float32)
        share.columns = part.data_ptr()
    else:
        num_chunks = job.plan.num_groups * -(-job.plan.num_columns // job.plan.chunk)
        part = x.new_empty(num_chunks, dtype=torch.float64)
        share.chunks = part.data_ptr()

    return part


def _summed(part: Tensor, value: Tensor) -> Tensor:
    """The rest of the sum, in the shape of the value."""
    if part.dtype == torch.float64:
        return part.sum().float().reshape(value.shape)
    shape = value.shape if value.ndim <= part.ndim else value.shape[1:]
    return part.sum_to_size(shape).reshape(value.shape)
