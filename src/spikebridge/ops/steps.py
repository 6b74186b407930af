"""The scheme of `scheme.py` over a whole sequence, forward and backward, in plain PyTorch.

Both functions are plain arithmetic outside autograd. A faster implementation has the same two signatures, and is chosen
in `dispatch.py` where it can serve.
"""

from collections.abc import Collection

from torch import Tensor

from spikebridge.ops.scheme import Gradients, Memory, Scheme, Trace, Values


def forward_steps(scheme: Scheme, x: Tensor, start: Memory, values: Values, keep: bool) -> Trace:
    """All steps of a sequence.

    Args:
        scheme: what kind of neuron.
        x: the input `(T, B, *N)`, T >= 1, float32 or float64, with any strides.
        start: the memory before the first step; never written to.
        values: the numbers of the scheme.
        keep: give the membranes before the reset, for a backward pass. A neuron that does not fire gives its outputs
            as those.

    Returns:
        Outputs, membranes and the memory after the last step, all in memory of their own.
    """
    raise NotImplementedError


def backward_steps(
    scheme: Scheme,
    x: Tensor | None,
    v: Tensor,
    start: Memory,
    values: Values,
    grad_y: Tensor | None,
    grad_end: Memory,
    wanted: Collection[str],
) -> Gradients:
    """The gradients of a sequence from those of its outputs and of its last memory.

    Args:
        scheme: what kind of neuron.
        x: the input, given only where "r" or "decay_syn" is wanted.
        v: the membranes before the reset, as `forward_steps` kept them. All else is worked out again from them.
        start: the memory before the first step.
        values: the numbers of the scheme.
        grad_y: of the outputs `(T, B, *N)`, with any strides; None for zeros.
        grad_end: of the last memory; None for zeros.
        wanted: names out of "x", those of `Memory` and those of `Values`; the latter only where they are tensors.

    Returns:
        What is wanted; the gradient of a value is summed to the shape of the value.
    """
    raise NotImplementedError
