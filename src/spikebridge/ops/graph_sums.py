"""Sums of spikes over the connections of a spiking graph, three ways to the same numbers.

Dense (`bmm`, a matrix a block) is the reference; sparse rows (CSR) are the ordinary way; by events, only the outgoing
connections of neurons that fired are looked at. Signals are `(N, Q)`: neurons of all blocks, columns.
"""

import warnings
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from spikebridge.ops.selection import select

Path = Literal["dense", "sparse", "events"]


class Weights(NamedTuple):
    """Connections that end on one place of their targets.

    Args:
        source: `(C,)` neuron.
        target: `(C,)` neuron.
        weight: `(C,)`.
        block: `(N,)` the block of each neuron, 0, 1, ...; no connection joins two.
    """

    source: Int[Tensor, "C"]
    target: Int[Tensor, "C"]
    weight: Float[Tensor, "C"]
    block: Int[Tensor, "N"]


class _DenseSums:
    """A matrix a block, padded to the largest."""

    def __init__(self, weights: Weights) -> None:
        order = torch.argsort(weights.block, stable=True)
        sizes = torch.bincount(weights.block)
        first = sizes.cumsum(0) - sizes
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device) - first[weights.block[order]]
        most = int(sizes.max()) if len(sizes) else 0
        self.shape = (len(sizes), most)
        self.at = weights.block * most + place
        matrix = weights.weight.new_zeros(len(sizes), most, most)
        block = weights.block[weights.target]
        matrix.index_put_((block, place[weights.target], place[weights.source]), weights.weight, accumulate=True)
        self.matrix = matrix

    def __call__(self, spikes: Float[Tensor, "N Q"]) -> Float[Tensor, "N Q"]:
        padded = spikes.new_zeros(self.shape[0] * self.shape[1], spikes.shape[1])
        padded[self.at] = spikes
        return torch.bmm(self.matrix, padded.reshape(*self.shape, -1)).flatten(0, 1)[self.at]


class _SparseSums:
    """Rows of what arrives at a neuron."""

    def __init__(self, weights: Weights) -> None:
        order = torch.argsort(weights.target, stable=True)
        number = len(weights.block)
        rows = _pointers(weights.target, number)

        with warnings.catch_warnings():
            # PyTorch calls the layout beta once a process; what is used of it here is a product
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
            self.matrix = torch.sparse_csr_tensor(
                rows, weights.source[order], weights.weight[order], (number, number), check_invariants=False
            )

    def __call__(self, spikes: Float[Tensor, "N Q"]) -> Float[Tensor, "N Q"]:
        return self.matrix @ spikes


class _EventSums:
    """Lists of where a neuron's spike goes."""

    def __init__(self, weights: Weights) -> None:
        order = torch.argsort(weights.source, stable=True)
        pointers = _pointers(weights.source, len(weights.block))
        self.first = pointers[:-1]
        self.number = pointers.diff()
        self.target = weights.target[order]
        self.weight = weights.weight[order]

    def __call__(self, spikes: Float[Tensor, "N Q"]) -> Float[Tensor, "N Q"]:
        columns = spikes.shape[1]
        fired, column = spikes.nonzero(as_tuple=True)
        number = self.number[fired]
        of = torch.repeat_interleave(number)
        begin = number.cumsum(0) - number
        connection = self.first[fired][of] + torch.arange(len(of), device=of.device) - begin[of]
        sums = spikes.new_zeros(spikes.numel())
        sums.index_add_(0, self.target[connection] * columns + column[of], self.weight[connection])

        return sums.reshape(spikes.shape)


_PATHS: dict[Path, type[_DenseSums] | type[_SparseSums] | type[_EventSums]] = {
    "dense": _DenseSums,
    "sparse": _SparseSums,
    "events": _EventSums,
}


def graph_sums(weights: Weights, path: Path | None = None) -> _DenseSums | _SparseSums | _EventSums:
    """What adds up spikes over connections.

    Args:
        weights: the connections.
        path: `dense`, `sparse` or `events`; None is sparse, and dense inside `reference()`.

    Returns:
        A function of spikes `(N, Q)` that gives sums `(N, Q)`.

    Example:
        >>> one_way = Weights(torch.tensor([0]), torch.tensor([1]), torch.tensor([3.0]), torch.tensor([0, 0]))
        >>> graph_sums(one_way)(torch.tensor([[1.0], [0.0]])).flatten().tolist()
        [0.0, 3.0]
    """
    return _PATHS[path or ("dense" if select("graph sums") == "dense" else "sparse")](weights)


def _pointers(index: Tensor, number: int) -> Tensor:
    """Where the connections of each neuron begin, `(N + 1,)`."""
    return torch.cat([index.new_zeros(1), torch.bincount(index, minlength=number).cumsum(0)])
