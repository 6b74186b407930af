"""The scheme of `spec.py` over a whole sequence in plain C, where the installation has it: float32 on a CPU.

`forward_steps` and `backward_steps` have the signatures and the numbers of those in PyTorch.
The gradient of a value is summed over time first, then over columns.
"""

import ctypes
import math
from functools import lru_cache

import torch
from torch import Tensor

from spikebridge.ops.native.library import (
    Backward,
    Forward,
    LeakySum,
    LoopPlan,
    Pooling,
    Respond,
    Share,
    Signal,
    library,
)
from spikebridge.ops.native.library import Value as CValue
from spikebridge.ops.native.memory_pool import pool_empty
from spikebridge.ops.sequence.layout import Groups, groups_of, layout_of, standing_alone
from spikebridge.ops.sequence.spec import (
    BackwardArgs,
    ForwardResult,
    NeuronMemory,
    NeuronParams,
    NeuronSpec,
    Size,
    Value,
)

SURROGATES = ("Arctan", "Rectangle", "Triangle", "FastSigmoid")  # in the order of native.h
_SURROGATES_ARE_OF = "spikebridge.neurons.surrogate"
BASE = len(NeuronParams._fields)  # its place among the values of native.h
NEVER, TO_ZERO, TO_VALUE, BY_THRESHOLD = range(4)
CHUNK = 512  # columns; what a step of them reads and writes stays in the nearest cache
_RESPONSE_CHUNK = 2048  # columns; steps of long rows look at the same ones, some at once
_RECALLED = 2**18  # numbers of a chunk that are worked out again for the backward pass, at most, unless T is huge
_LEAST_COLUMNS = 64
LINE = 16  # numbers in a cache line
WORK_OF_A_THREAD = 2**15  # elements; below it a thread costs more than it brings


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
    known = kind.__module__ == _SURROGATES_ARE_OF and kind.__qualname__ in SURROGATES
    return SURROGATES.index(kind.__qualname__) if known else None


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
        seen = layout.seen_memory(start), layout.seen_values(values)
        y, v, end = forward_steps(spec, layout.seen(x), *seen, keep, pool, donated)
        return ForwardResult(layout.given(y), None if v is None else layout.given(v), layout.given_memory(end))
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
    signals = [_signal(signal, groups) for signal in (x, y if pool is None else None, kept)]
    job = Forward(plan, *signals, *map(at, (*start, *end)))
    if pool is not None:
        job.pooling = _pooling(y, x, groups, pool)
    run("spikebridge_forward", job)
    return ForwardResult(y, y if keep and not spec.fires else kept, end)


def backward_steps(args: BackwardArgs) -> dict[str, Tensor]:
    """The gradients of a sequence, as `steps.backward_steps`."""
    if (layout := layout_of(args.v)) is not None:
        return layout.given_gradients(backward_steps(layout.seen_args(args)), args.values)
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
    job = Backward(plan, _signal(x, groups), _signal(v, groups), *pointers)
    if grad_y is not None and pool is None:
        _point_to_rows(job.grad_y, grad_y, groups, held)
    elif grad_y is not None and pool is not None:
        grad_y = groups.dense(grad_y)
        job.pooling = _pooling(grad_y, v, groups, pool)
    job.grad_x = _signal(grad_x, groups)
    job.grad_v, job.grad_i, job.grad_a = (at(grads.get(name)) for name in NeuronMemory._fields)
    sums = {name: _share(job, name, getattr(values, name), v) for name in NeuronParams._fields if name in wanted}
    run("spikebridge_backward", job)
    results = {name: _summed(part, getattr(values, name)) for name, part in sums.items()}
    return results | grads | ({} if grad_x is None else {"x": grad_x})


def _groups(x: Tensor, pool: Size | None) -> Groups:
    return groups_of(x) if pool is None else Groups(x.shape[1], x.shape[2:].numel())


def _chunk(x: Tensor, pool: Size | None) -> int:
    """Columns that are run through all steps at once: as many as a row of windows has."""
    return CHUNK if pool is None else pool[0] * x.shape[3:].numel()


def _pooled_empty(x: Tensor, pool: Size) -> Tensor:
    num_steps, batch, height, width, channels = x.shape
    return pool_empty((num_steps, batch, height // pool[0], width // pool[1], channels), x)


def _pooling(pooled: Tensor, x: Tensor, groups: Groups, pool: Size) -> Pooling:
    """Where pooled pictures stand, and how those were, `(T, B, Y, X, C)`, from which they come."""
    return Pooling(_signal(pooled, groups), x.shape[4], x.shape[3], *pool)


def respond(x: Tensor, taps: Tensor, offset: int, y: Tensor) -> None:
    """`y[t] = sum_k taps[k] x[t + offset - k]`, over those steps that `x` has; written to `y`.

    Args:
        x: `(S, B, *N)`.
        taps: `(n, *M)`, `*M` lines up from the right with the signal.
        offset: which step of `x` the first tap of the first value looks at.
        y: `(T, B, *N)`, dense, or with time inside of the batch.
    """
    groups = groups_of(y)
    x = groups.dense(x)
    plan = plan_of(len(y), groups, _RESPONSE_CHUNK, torch.get_num_threads())
    job = Respond(plan, _signal(x, groups), _signal(y, groups))
    job.num_given, job.offset, job.num_taps = len(x), offset, len(taps)
    if taps[0].numel() == 1:
        numbers, job.taps.step = taps.detach().contiguous(), 1
    else:
        lined_up = taps.detach().reshape(len(taps), *[1] * (x.ndim - taps.ndim), *taps.shape[1:])
        numbers = lined_up.expand(len(taps), *x.shape[1:]).contiguous()
        job.taps.step, job.taps.group, job.taps.column = x[0].numel(), groups.num_columns, 1
    job.taps.at = numbers.data_ptr()
    run("spikebridge_respond", job)


def run(name: str, job: Forward | Backward | Respond | LeakySum) -> None:
    """Runs a job, on as many threads as its plan says."""
    if getattr(library().steps, name)(ctypes.byref(job)) != 0:
        raise MemoryError("out of memory in the native steps")


def at(tensor: Tensor | None) -> int | None:
    """Where the numbers of a tensor stand."""
    return None if tensor is None else tensor.data_ptr()


def _signal(tensor: Tensor | None, groups: Groups) -> Signal:
    """Where a signal stands whose rows are dense; nowhere if there is none."""
    return Signal() if tensor is None else Signal(tensor.data_ptr(), *groups.strides(tensor))


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
            point(plan.values[BASE], tensors["v_leak"], x, groups, held)
    return plan


@lru_cache(maxsize=256)
def plan_of(num_steps: int, groups: Groups, chunk: int, threads: int, whole: bool = False) -> LoopPlan:
    """The plan for a signal, without a neuron: at most `chunk` columns at once (`whole`: exactly). It is constant."""
    plan = LoopPlan(num_steps=num_steps, num_groups=groups.number, num_columns=groups.num_columns)
    team, num_columns = library().team, groups.number * groups.num_columns
    plan.num_threads = min(threads, 1 + num_steps * num_columns // WORK_OF_A_THREAD) if team else 1
    plan.team = team
    if not whole:
        chunk = -(-min(chunk, groups.num_columns, -(-num_columns // plan.num_threads)) // LINE) * LINE
    plan.chunk = chunk
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
    numbers = (ctypes.c_float * (BASE + 1))(*map(float, (*values, base)))
    for k, place in enumerate(plan.values):
        place.at = ctypes.addressof(numbers) + k * ctypes.sizeof(ctypes.c_float)
    return plan, numbers


def _reset(spec: NeuronSpec, values: NeuronParams) -> int:
    if not spec.fires:
        return NEVER
    if spec.reset == "subtract":
        return BY_THRESHOLD
    return TO_ZERO if values.v_reset == 0 else TO_VALUE


def point(place: CValue, value: Value, x: Tensor, groups: Groups, held: list[object]) -> None:
    """Lets a value point to its numbers: one for all, one a step, one a column, or one for each element.

    Args:
        place: the pointer to set.
        value: a number, or a tensor that lines up from the right with the signal.
        x: the signal.
        groups: the rows of its steps.
        held: keeps alive what is pointed to.
    """
    if not isinstance(value, Tensor):
        single = ctypes.c_float(value)
        place.at, place.step, place.group, place.column = ctypes.addressof(single), 0, 0, 0
        held.append(single)
        return
    if value.numel() == groups.num_columns > 1 and _is_a_row(value, x):
        place.step, place.group, place.column, place.at = 0, 0, 1, value.data_ptr()
        held.append(value)
        return
    value = value.detach().float()  # C reads nothing else
    if _point_to_number(place, value, held):
        return
    varies = _varies(value, x)
    if varies and value[0].numel() == 1:
        numbers = value.contiguous()
        place.step = 1
    elif varies:
        numbers = value.expand(x.shape).contiguous()
        place.step, place.group, place.column = x[0].numel(), groups.num_columns, 1
    else:
        row = value[0] if value.ndim == x.ndim else value
        for_groups = row.ndim == x.ndim - 1 and len(row) > 1  # else those of one group are those of all
        numbers = row.expand(x.shape[1:] if for_groups or groups.number == 1 else (1, *x.shape[2:])).contiguous()
        place.step, place.group, place.column = 0, groups.num_columns if for_groups else 0, 1
    place.at = numbers.data_ptr()
    held.append(numbers)


def _is_a_row(value: Tensor, x: Tensor) -> bool:
    """Whether a tensor has the last axes of a signal, without time, and C can read it as it lies."""
    first = x.ndim - value.ndim
    return first > 0 and value.shape == x.shape[first:] and value.dtype == torch.float32 and value.is_contiguous()


def _point_to_number(place: CValue, value: Tensor, held: list[object]) -> bool:
    """The same for what is one number, if it is."""
    if value.numel() > 1 and any(value.stride()):
        return False
    place.at, place.step, place.group, place.column = value.data_ptr(), 0, 0, 0
    held.append(value)
    return True


def _point_to_rows(place: CValue, signal: Tensor, groups: Groups, held: list[object]) -> None:
    """Lets a value of the plan point to a signal where it lies."""
    if _point_to_number(place, signal, held):
        return
    rows = groups.dense(signal)
    place.at, place.column = rows.data_ptr(), 1
    place.step, place.group = groups.strides(rows)
    held.append(rows)


def _varies(value: Tensor, x: Tensor) -> bool:
    """Whether a tensor has a number of its own for each step."""
    return value.ndim == x.ndim and len(value) > 1


def _share(job: Backward, name: str, value: Tensor, x: Tensor) -> Tensor:
    """Memory for the gradient of a value, as far as the native steps sum it up."""
    share: Share = job.shares[NeuronParams._fields.index(name)]
    if _varies(value, x):
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
