"""Tiles of a signal that fit a processor's caches: parts of the batch, and blocks of time.

Samples are independent, so each part of a batch runs through all steps alone, with its membranes in the cache.
What needs no loop over time is done for a block of steps at once.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from spikebridge.ops.checks import number_on_cpu
from spikebridge.ops.sequence.spec import NeuronParams, Value

# elements of a step of a part, for one thread: membranes of 256 kB stay in the second cache over all steps
ROW_SIZE = 65536
# elements of a block of steps, for one thread: a few tensors of this size fit the second cache
BLOCK_SIZE = 65536


def batch_parts(x: Tensor) -> list[slice]:
    """Parts of the batch of a signal `(T, B, *N)` whose steps fit a cache; on a GPU all of it."""
    batch = x.shape[1]
    sample = max(1, x[0].numel() // max(1, batch))
    size = max(1, ROW_SIZE * torch.get_num_threads() // sample) if x.device.type == "cpu" else max(1, batch)

    return [slice(b, min(b + size, batch)) for b in range(0, max(1, batch), size)]


def time_blocks(x: Tensor) -> list[slice]:
    """Blocks of steps that stay in a cache while a few operations go over them."""
    num_steps = len(x)
    size = max(1, BLOCK_SIZE * torch.get_num_threads() // max(1, x[0].numel()))
    return [slice(t, min(t + size, num_steps)) for t in range(0, num_steps, size)]


def as_number(value: Value) -> Value:
    """The number of a tensor `()` on the processor; any other value as it is."""
    return number_on_cpu(value) if isinstance(value, Tensor) and value.ndim == 0 and value.is_cpu else value


def is_number(value: Value, number: float | int) -> bool:
    """True if a value is that number; of a tensor no element is read."""
    return not isinstance(value, Tensor) and value == number


def slice_batch(value: Tensor, part: slice, ndim: int) -> Tensor:
    """The value for a part of the batch of a signal with `ndim` axes, in the same memory."""
    if value.ndim < ndim - 1:
        return value
    axis = value.ndim - ndim + 1
    return value if value.shape[axis] == 1 else value.narrow(axis, part.start, part.stop - part.start)


def slice_params(values: NeuronParams, part: slice, ndim: int) -> NeuronParams:
    """The parameters of a part of the batch."""
    return NeuronParams(*[slice_batch(value, part, ndim) if isinstance(value, Tensor) else value for value in values])


def each_step(value: Value, x: Tensor) -> Sequence[Tensor]:
    """A value for each step of a signal, as tensors, so that no operation has to wrap a number."""
    if not isinstance(value, Tensor):
        return [x.new_full((), value)] * len(x)
    if value.ndim < x.ndim:
        return [value] * len(x)

    return [value[0]] * len(x) if len(value) == 1 else value.unbind(0)


def as_tensor(value: Value, x: Tensor) -> Tensor:
    """A value as a tensor with the dtype and device of a signal."""
    return value if isinstance(value, Tensor) else x.new_full((), value)


def slice_time(value: Value, block: slice, x: Tensor) -> Tensor:
    """A value for a block of the steps of a signal."""
    value = as_tensor(value, x)
    return value if value.ndim < x.ndim or len(value) == 1 else value[block]
