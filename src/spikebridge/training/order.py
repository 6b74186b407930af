"""Which samples come when, and which process takes them: pure functions, so that a resume replays nothing."""

import torch
from jaxtyping import Int
from torch import Tensor

from spikebridge.training.generators import derived_seed


def epoch_order(num_samples: int, seed: int, phase: int, epoch: int) -> Int[Tensor, "num_samples"]:
    """The order of the samples in one epoch, from nothing but these four numbers.

    Args:
        num_samples: how many there are.
        seed: of the training.
        phase: number of the phase, from 0.
        epoch: number of the epoch inside the phase, from 0.

    Returns:
        `(num_samples,)`: a permutation.

    Example:
        >>> order = epoch_order(4, seed=0, phase=0, epoch=0)
        >>> sorted(order.tolist())
        [0, 1, 2, 3]
        >>> bool((order == epoch_order(4, seed=0, phase=0, epoch=0)).all())
        True
    """
    generator = torch.Generator().manual_seed(derived_seed(seed, phase, epoch))
    return torch.randperm(num_samples, generator=generator)


def share(indices: Int[Tensor, "n"], rank: int, num_processes: int) -> tuple[Int[Tensor, "n_r"], float]:
    """One process's part of a global batch and the weight of its mean, so that the processes average to the whole.

    The mean over `n` samples is the average over `R` processes of `R n_r / n` times the mean over the `n_r` of process
    `r`, however unevenly they are cut; so no sample is dropped from an uneven last batch. A process that would get none
    takes the first sample with weight 0: it must take part, and adds nothing.

    Args:
        indices: `(n,)`, the global batch.
        rank: number of this process, from 0.
        num_processes: R.

    Returns:
        the samples of this process, and the weight `R n_r / n`.

    Example:
        >>> share(torch.tensor([7, 8, 9]), rank=0, num_processes=2)
        (tensor([7, 8]), 1.3333333333333333)
        >>> share(torch.tensor([7, 8, 9]), rank=1, num_processes=2)
        (tensor([9]), 0.6666666666666666)
        >>> share(torch.tensor([7]), rank=1, num_processes=2)
        (tensor([7]), 0.0)
    """
    mine = indices.tensor_split(num_processes)[rank]
    return (mine, num_processes * len(mine) / len(indices)) if len(mine) else (indices[:1], 0.0)
