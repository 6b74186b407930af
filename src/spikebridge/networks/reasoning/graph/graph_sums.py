"""Sums of spikes over the connections of a spiking graph, in two ways to the same numbers.

Sparse rows (CSR) are the ordinary way; dense matrices, one a block, are the reference. Signals are `(N, Q)`: neurons of
all blocks, columns.
"""

import warnings
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from spikebridge.ops.selection import is_reference

Path = Literal["dense", "sparse"]
GraphSums: TypeAlias = Callable[[Float[Tensor, "N Q"]], Float[Tensor, "N Q"]]


class Weights(NamedTuple):
    """Connections that end on one place of their targets; none joins two blocks."""

    source: Int[Tensor, "C"]
    target: Int[Tensor, "C"]
    weight: Float[Tensor, "C"]
    block: Int[Tensor, "N"]  # of each neuron: 0, 1, ...


def graph_sums(weights: Weights, path: Path | None = None) -> GraphSums:
    """The function that sums spikes over connections; without a path it is sparse, and dense inside `reference()`."""
    path = path or ("dense" if is_reference() else "sparse")
    return _dense_sums(weights) if path == "dense" else _sparse_sums(weights)


def _dense_sums(weights: Weights) -> GraphSums:
    order = torch.argsort(weights.block, stable=True)
    sizes = torch.bincount(weights.block)
    first = sizes.cumsum(0) - sizes
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device) - first[weights.block[order]]

    num_blocks = len(sizes)
    size = int(sizes.max()) if num_blocks else 0
    matrix = weights.weight.new_zeros(num_blocks, size, size)
    block = weights.block[weights.target]
    matrix.index_put_((block, place[weights.target], place[weights.source]), weights.weight, accumulate=True)
    padded_place = weights.block * size + place

    def sums(spikes: Tensor) -> Tensor:
        padded = spikes.new_zeros(num_blocks * size, spikes.shape[1])
        padded[padded_place] = spikes
        return torch.bmm(matrix, padded.reshape(num_blocks, size, -1)).flatten(0, 1)[padded_place]

    return sums


def _sparse_sums(weights: Weights) -> GraphSums:
    order = torch.argsort(weights.target, stable=True)
    number = len(weights.block)
    counts = torch.bincount(weights.target, minlength=number)
    rows = torch.cat([weights.target.new_zeros(1), counts.cumsum(0)])

    with warnings.catch_warnings():
        # PyTorch calls the layout beta once a process; what is used of it here is a product
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        matrix = torch.sparse_csr_tensor(
            rows, weights.source[order], weights.weight[order], (number, number), check_invariants=False
        )

    return lambda spikes: matrix @ spikes
