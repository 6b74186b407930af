"""Linear layers in training that leave out silent inputs, and read spikes that are kept as bytes.

Between spiking layers most inputs are 0 and add nothing to the weight gradient, a third of the work of a training step.
Plain C lists the active inputs once and sums over them alone: in float32 on a CPU, where few inputs are active;
everything else goes to PyTorch. Gradients are equal to rounding. A gradient that is not finite shows only where its
input was active.
"""

import ctypes
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from spikebridge.ops.checks import number_on_cpu
from spikebridge.ops.layers._spike_packing import packed_or_own, packs_spikes
from spikebridge.ops.native.layout import run
from spikebridge.ops.native.library import int64_fields, library, pointer_fields, threads_for
from spikebridge.ops.native.memory_pool import pool_empty
from spikebridge.ops.selection import is_linear_profitable, is_plain_training, select
from spikebridge.ops.sequence.autograd import is_batched, refuse_unusual_backward

_MAX_ACTIVE = 0.4  # share of active inputs up to which lists beat the dense product, measured
_OUTPUTS = 64  # of a block, of linear.h
_SAMPLE = 64  # rows that are counted to estimate the active share
PART_SIZE = 2**22  # bytes that become numbers together: a part takes 16 MB of the memory that packing has saved


class _Job(ctypes.Structure):
    """`Linear` of linear.h."""

    _fields_ = [
        *int64_fields("num_rows", "num_inputs", "num_outputs"),
        *pointer_fields("x", "gradient", "sums", "weights"),
        *int64_fields("num_threads"),
        *pointer_fields("team"),
    ]


def linear(layer: nn.Linear, x: Float[Tensor, "*B N"]) -> Float[Tensor, "*B M"]:
    """The result of `layer(x)`, with the same gradients to rounding; fastest where most inputs are 0."""
    is_packed = packs_spikes() and is_plain_training(x, layer.weight)
    if not is_packed and select("linear", x, layer) == "torch":
        y: Tensor = layer(x)
        return y

    return _Linear.apply(x, layer.weight, layer.bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(packed_or_own(x), weight)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        rows, grad_rows = (signal.reshape(-1, signal.shape[-1]) for signal in (x, grad))
        if rows.dtype == torch.uint8:
            refuse_unusual_backward("a linear layer whose inputs are kept as bytes,", grad)

        grad_weight = _grad_of_weight(rows, grad_rows) if wants_weight else None
        grad_x = _grad_of_input(grad, weight) if wants_x else None
        return grad_x, grad_weight, grad_rows.sum(0) if wants_bias else None


def _grad_of_input(grad: Tensor, weight: Tensor) -> Tensor:
    if torch.is_grad_enabled() or is_batched(grad) or grad.ndim != 2:
        return grad @ weight
    # the input, often from the memory pool, may be freed by now
    return torch.mm(grad, weight, out=pool_empty((len(grad), weight.shape[1]), grad))


def _grad_of_weight(rows: Tensor, grad_rows: Tensor) -> Tensor:
    if rows.dtype == torch.uint8:
        return _grad_of_packed(rows, grad_rows)

    is_large = is_linear_profitable(rows.numel(), rows.shape[1], grad_rows.shape[1])
    if is_large and not torch.is_grad_enabled() and not is_batched(grad_rows) and _is_silent(rows):
        return _sparse_gradient(rows, grad_rows)

    return grad_rows.T @ rows


def _grad_of_packed(rows: Tensor, grad_rows: Tensor) -> Tensor:
    """The weight gradient from spikes as bytes, which become numbers a part at a time."""
    size = max(1, PART_SIZE // rows.shape[1])
    total = torch.zeros(grad_rows.shape[1], rows.shape[1], dtype=grad_rows.dtype, device=grad_rows.device)
    for part, grad_part in zip(rows.split(size), grad_rows.split(size), strict=True):
        total += _grad_of_weight(part.to(grad_part.dtype), grad_part)

    return total


def _is_silent(rows: Tensor) -> bool:
    """True if few inputs are active, estimated from some of the rows."""
    some = rows[:: max(1, len(rows) // _SAMPLE)]
    return number_on_cpu(some.count_nonzero()) <= _MAX_ACTIVE * some.numel()


def _sparse_gradient(rows: Tensor, grad_rows: Tensor) -> Tensor:
    rows = rows.contiguous()
    grad_rows = grad_rows.contiguous()
    num_outputs = grad_rows.shape[1]
    num_blocks = -(-num_outputs // _OUTPUTS)
    sums = rows.new_empty(num_blocks, rows.shape[1], _OUTPUTS)
    weights = rows.new_empty(num_outputs, rows.shape[1])

    job = _Job(*rows.shape, num_outputs)
    job.x, job.gradient, job.sums, job.weights = (t.data_ptr() for t in (rows, grad_rows, sums, weights))
    job.num_threads = threads_for(num_blocks)
    job.team = library().team
    run("spikebridge_linear_weights", job, "the gradient of a linear layer")

    return weights
