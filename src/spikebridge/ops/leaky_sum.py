"""Leaky sums over a whole sequence, with gradients: the scheme of a neuron that never fires."""

from jaxtyping import Float
from torch import Tensor

from spikebridge.ops.scheme import Memory, Scheme, Value, Values
from spikebridge.ops.sequence import run_sequence


def leaky_sum(
    x: Float[Tensor, "T B *N"], start: Float[Tensor, "B *N"], decay: Value = 1.0
) -> tuple[Float[Tensor, "T B *N"], Float[Tensor, "B *N"]]:
    """`h[t] = decay h[t - 1] + x[t]`, to the bit as step by step.

    Args:
        x: the signal, T >= 1, one that `sequence.serves`.
        start: the sum before the first step.
        decay: what is left of it after a step, 0 to 1.

    Returns:
        The sums, and the last one in memory of its own.

    Example:
        >>> import torch
        >>> sums, last = leaky_sum(torch.ones(3, 1, 1), torch.zeros(1, 1), decay=0.5)
        >>> sums.flatten().tolist(), last.item()
        ([1.0, 1.5, 1.75], 1.75)
    """
    sums, end = run_sequence(Scheme(), x, Memory(start), Values(decay))
    return sums, end.v


def sum_of_sums(
    x: Float[Tensor, "T B *N"], inner: Float[Tensor, "B *N"], outer: Float[Tensor, "B *N"], decay: Value
) -> tuple[Float[Tensor, "T B *N"], Float[Tensor, "B *N"], Float[Tensor, "B *N"]]:
    """A leaky sum of a leaky sum in one pass: `f[t] = decay f[t - 1] + x[t]`, `z[t] = decay z[t - 1] + f[t]`.

    Args:
        x: the signal, T >= 1, one that `sequence.serves`.
        inner: `f` before the first step.
        outer: `z` before the first step.
        decay: what is left of each after a step.

    Returns:
        `z` at all steps, and the last `f` and `z`.

    Example:
        >>> import torch
        >>> z, *_ = sum_of_sums(torch.ones(3, 1, 1), torch.zeros(1, 1), torch.zeros(1, 1), decay=1.0)
        >>> z.flatten().tolist()  # of 1, 2, 3
        [1.0, 3.0, 6.0]
    """
    z, end = run_sequence(Scheme(), x, Memory(outer, inner), Values(decay, decay_syn=decay))
    return z, end.i if end.i is not None else inner, end.v
