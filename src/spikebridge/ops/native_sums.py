"""Sums without a neuron in plain C, where the installation has it: a signal is read and written once."""

from enum import IntEnum

from torch import Tensor

from spikebridge.ops import native
from spikebridge.ops.native_layout import Groups, layout_of
from spikebridge.ops.native_library import LeakySum, Signal
from spikebridge.ops.reference import is_without_native
from spikebridge.ops.scheme import Scheme, Value


class Form(IntEnum):
    """What is remembered and given; the order and the words are those of native.h."""

    SUM = 0
    SUM_BACKWARD = 1
    SUM_BACKWARD_AND_SLOPE = 2
    LAST = 3
    LAST_AND_SLOPE = 4
    MEAN = 5
    MEAN_BACKWARD = 6
    ALPHA = 7
    ALPHA_BACKWARD = 8


def serves(x: Tensor, *numbers: Value) -> bool:
    """Whether plain C can run sums of a signal: float32 on a CPU, with numbers that are the same at all steps."""
    return (
        not is_without_native()
        and native.serves(Scheme(), x)
        and not any(isinstance(n, Tensor) and n.ndim == x.ndim and len(n) > 1 for n in numbers)
    )


def keeps_its_place(x: Tensor) -> bool:
    """Whether what comes out of `run` can lie in memory as the signal does, without a copy."""
    return x.is_contiguous() or layout_of(x) is None


def run(
    form: Form,
    groups: Groups,
    x: Tensor,
    y: Tensor | None,
    first: Tensor,
    second: Tensor | None = None,
    *,
    decay: Value = 1.0,
    factor: Value = 1.0,
    backwards: bool = False,
    found: tuple[Tensor, Tensor] | None = None,
) -> None:
    """All steps of a form.

    Args:
        form: which one.
        groups: the rows of a step.
        x: the signal `(T, B, *N)`.
        y: memory for what is given, `(T, B, *N)`, in which those rows are dense; None for nothing.
        first: what is remembered, `(B, *N)`, dense; written in place.
        second: the same, for forms with two.
        decay: d of native.h.
        factor: k of native.h.
        backwards: begin with the last step.
        found: the sums, and the one before the first, for the slope of a sum.
    """
    held: list[object] = []
    job = LeakySum(native.plan_of(len(x), groups, native.CHUNK), form, _signal(x, groups, held, backwards))
    if y is not None:
        job.y = _signal(y, groups, held, backwards)
    job.first = first.data_ptr()
    if second is not None:
        job.second = second.data_ptr()
    if found is not None:
        sums, start = found
        job.before, job.start = _signal(sums[:-1], groups, held, backwards), start.data_ptr()
    for place, value in ((job.decay, decay), (job.factor, factor)):
        native.point(place, value, x, groups, held)
    native.run("spikebridge_sum", job)


def _signal(signal: Tensor, groups: Groups, held: list[object], backwards: bool) -> Signal:
    if signal.stride(0) == 0:
        row = signal[0].contiguous()
        held.append(row)
        return Signal(row.data_ptr(), 0, groups.num_columns)
    rows = groups.dense(signal)
    held.append(rows)
    step, group = groups.strides(rows)
    if not backwards:
        return Signal(rows.data_ptr(), step, group)
    return Signal(rows.data_ptr() + (len(rows) - 1) * step * rows.element_size(), -step, group)
