"""The backward pass of the scheme in `scheme.py`: what follows by hand from its equations.

With `u` the membrane and `a` the adaptation after a step, `th` the threshold in it, `h` the surrogate's derivative and
`[.]` what the spike does to the membrane, `v_reset - v` (hard), `-th` (soft) or 0 (detached), each step backward is

    spike  = h (grad_y + [.] grad_u + jump grad_a)
    grad_v = grad_u (1 where silent, or soft) + spike
    grad_a = decay_adaptation (grad_a - spike - (soft) y grad_u)
    grad_u = decay grad_v

so `grad_v` is a linear recurrence, one operation a step where nothing adapts; all else is done for blocks of steps.
"""

from collections.abc import Collection

from torch import Tensor

from spikebridge.ops.scheme import Memory, Scheme, Values


def backward_steps(
    scheme: Scheme,
    x: Tensor | None,
    v: Tensor,
    start: Memory,
    values: Values,
    grad_y: Tensor | None,
    grad_end: dict[str, Tensor],
    wanted: Collection[str],
) -> dict[str, Tensor]:
    """The gradients of a sequence from those of its outputs and of its last memory.

    Args:
        scheme: what kind of neuron.
        x: the input, given only where "r" or "decay_syn" is wanted.
        v: the membranes before the reset, as `forward_steps` kept them. All else is worked out again from them.
        start: the memory before the first step.
        values: the numbers of the scheme.
        grad_y: of the outputs `(T, B, *N)`, with any strides; None for zeros.
        grad_end: of the last memory by name, "v", "i" and "a"; what is missing is zeros.
        wanted: names out of "x", those of `Memory` and those of `Values`, the latter only where they are tensors.

    Returns:
        By name what is wanted; the gradient of a value is summed to the shape of the value.

    Example:
        >>> from spikebridge.neurons import Rectangle
        >>> v, start = torch.tensor([0.5, 3.0]).reshape(2, 1, 1), Memory(torch.zeros(1, 1))
        >>> values = Values(decay=0.5, v_threshold=1.0)
        >>> end = {"v": torch.ones(1, 1)}  # the last step fired: its membrane is 0, whatever came
        >>> backward_steps(Scheme(Rectangle()), None, v, start, values, None, end, {"x"})["x"].flatten().tolist()
        [0.0, 0.0]
    """
    raise NotImplementedError
