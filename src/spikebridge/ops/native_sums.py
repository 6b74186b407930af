"""Sums without a neuron in plain C, where the installation has it: a signal is read and written once."""

from collections.abc import Sequence
from enum import IntEnum
from typing import cast

import torch
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


BACKWARDS = {Form.SUM_BACKWARD, Form.SUM_BACKWARD_AND_SLOPE, Form.MEAN_BACKWARD, Form.ALPHA_BACKWARD}
NEVER_FIRES = Scheme()
CHUNK = 2048  # columns; memory is one row or two, and long rows are run some steps at once


def serves(x: Tensor, *numbers: Value) -> bool:
    """Whether plain C can run sums of a signal: all in float32 on a CPU, numbers the same at all steps."""
    tensors = [n for n in numbers if isinstance(n, Tensor)]
    return (
        not is_without_native()
        and native.serves(NEVER_FIRES, x)
        and all(n.dtype == x.dtype and (n.ndim < x.ndim or len(n) == 1) for n in tensors)
    )


def keeps_its_place(x: Tensor) -> bool:
    """Whether what comes out of `run` can lie in memory as the signal does, without a copy."""
    return x.is_contiguous() or layout_of(x) is None


def run(
    form: Form,
    groups: Groups,
    x: Tensor | None,
    y: Tensor | None,
    first: Tensor | None,
    second: Tensor | None = None,
    *,
    start: Sequence[Tensor | None] = (),
    decay: Value = 1.0,
    factor: Value = 1.0,
    found: tuple[Tensor, Tensor | None] | None = None,
    anew: bytes | None = None,
) -> None:
    """All steps of a form.

    Args:
        form: which one.
        groups: the rows of a step.
        x: the signal `(T, B, *N)`; None for zeros.
        y: memory for what is given, `(T, B, *N)`, in which those rows are dense; None for nothing.
        first: memory for what is remembered in the end, `(B, *N)`, dense; None where nobody wants it.
        second: the same, for forms with two.
        start: what is remembered in the beginning, dense, first and second; None for zeros.
        decay: d of native.h.
        factor: k of native.h.
        found: the sums, and the one before the first, for the slope of a sum.
        anew: a flag a step, 1 where there are zeros before it.
    """
    given = cast(Tensor, y if x is None else x)
    held: list[object] = []
    backwards = form in BACKWARDS
    plan = native.plan_of(given.shape[0], groups, CHUNK, torch.get_num_threads())
    job = LeakySum(plan, form)
    for place, signal in ((job.x, x), (job.y, y), (job.before, None if found is None else found[0][:-1])):
        if signal is not None:
            _point_to_rows(place, signal, groups, held, backwards)
    first_start, second_start, *_ = *start, None, None
    job.start_first, job.start_second = native.at(first_start), native.at(second_start)
    job.first, job.second = native.at(first), native.at(second)
    job.start = None if found is None else native.at(found[1])
    job.anew = anew
    for place, value in ((job.decay, decay), (job.factor, factor)):
        native.point(place, value, given, groups, held)
    native.run("spikebridge_sum", job)


def _point_to_rows(place: Signal, signal: Tensor, groups: Groups, held: list[object], backwards: bool) -> None:
    """Lets a place of the job point to a signal, or to its last step where it is run backwards."""
    if signal.stride(0) == 0:
        row = signal[0].contiguous()
        held.append(row)
        place.at, place.step, place.group = row.data_ptr(), 0, groups.num_columns
        return
    rows = groups.dense(signal)
    held.append(rows)
    at, (step, group) = rows.data_ptr(), groups.strides(rows)
    if backwards:
        at, step = at + (rows.shape[0] - 1) * step * rows.element_size(), -step
    place.at, place.step, place.group = at, step, group
