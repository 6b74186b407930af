"""A linear layer of few connections, as between populations of neurons: each spike adds the weights of its own targets.

Without gradients on a CPU it does the work of the spikes that are there, else that of all connections.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from spikebridge.errors import ConfigError, ShapeError, in_words
from spikebridge.ops.selection import is_reference

_MAX_ACTIVE = 0.05  # of the inputs; with more of them all connections are as fast
_DENSE_ROWS = 2**25  # weights, of all pairs, up to which rows with zeros are added: long rows are added fast


class SparseLinear(nn.Module):
    """`y_i = sum_j w_ij x_j` over the connections from j to i.

    Args:
        num_inputs: neurons that send.
        num_outputs: neurons that receive.
        sources: the sending neuron of each connection, `(S,)`.
        targets: the receiving neuron of each connection, `(S,)`.
        weights: a number for all, or one a connection, `(S,)`.

    Raises:
        ConfigError: sizes, numbers of neurons or weights that do not fit.

    Example:
        >>> layer = SparseLinear(3, 2, torch.tensor([0, 2, 2]), torch.tensor([0, 0, 1]), weights=0.5)
        >>> layer(torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 2.0]])).tolist()
        [[1.0, 0.5], [1.0, 1.0]]
    """

    weights: Tensor
    indices: Tensor

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        sources: Int[Tensor, " S"],
        targets: Int[Tensor, " S"],
        weights: Float[Tensor, " S"] | float = 1.0,
    ) -> None:
        super().__init__()
        for role, neurons, number in (("sources", sources, num_inputs), ("targets", targets, num_outputs)):
            if neurons.ndim != 1 or neurons.is_floating_point() or len(neurons) != len(sources):
                raise ConfigError(
                    f"SparseLinear needs {role} as integers, one a connection, but got {in_words(neurons)}"
                )

            if len(neurons) and not 0 <= int(neurons.min()) <= int(neurons.max()) < number:
                raise ConfigError(
                    f"SparseLinear has {number} neurons as {role}, numbered from 0, but a connection names neuron "
                    f"{int(neurons.max()) if int(neurons.max()) >= number else int(neurons.min())}"
                )

        values = torch.as_tensor(weights, dtype=torch.get_default_dtype())
        if values.ndim and values.shape != sources.shape:
            raise ConfigError(
                f"SparseLinear needs one weight, or one for each of {len(sources)} connections, but got "
                f"{tuple(values.shape)}"
            )

        self.num_inputs = num_inputs
        self.num_outputs = num_outputs
        self.register_buffer("indices", torch.stack([targets, sources]))
        self.weights = nn.Parameter(values.expand(len(sources)).clone())
        self._rows: tuple[object, Tensor] | None = None

    @classmethod
    def fixed_fan_in(
        cls, num_inputs: int, num_outputs: int, fan_in: int, weight: float, generator: torch.Generator
    ) -> "SparseLinear":
        """Random connections, the same number to each receiving neuron (N. Brunel, 2000).

        Args:
            num_inputs: neurons that send.
            num_outputs: neurons that receive.
            fan_in: connections to each of them, from different neurons.
            weight: of all connections.
            generator: draws them.

        Raises:
            ConfigError: more connections than neurons that send.

        Example:
            >>> layer = SparseLinear.fixed_fan_in(10, 4, 3, 0.5, torch.Generator().manual_seed(0))
            >>> layer(torch.ones(1, 10)).tolist()
            [[1.5, 1.5, 1.5, 1.5]]
        """
        if not 0 <= fan_in <= num_inputs:
            raise ConfigError(f"each neuron gets 0 to {num_inputs} connections, but got fan_in={fan_in}")

        sources = torch.rand(num_outputs, num_inputs, generator=generator).argsort(1)[:, :fan_in]
        targets = torch.arange(num_outputs).unsqueeze(1).expand_as(sources)

        return cls(num_inputs, num_outputs, sources.flatten(), targets.flatten(), weight)

    def between(self, sources: Int[Tensor, " N"], targets: Int[Tensor, " M"]) -> "SparseLinear":
        """The connections from some neurons to some others, which are numbered in the order given.

        Example:
            >>> layer = SparseLinear(3, 2, torch.tensor([0, 2, 2]), torch.tensor([0, 0, 1]), weights=0.5)
            >>> layer.between(torch.tensor([2]), torch.tensor([1, 0]))(torch.ones(1, 1)).tolist()
            [[0.5, 0.5]]
        """
        numbers = []
        for neurons, number, row in ((targets, self.num_outputs, 0), (sources, self.num_inputs, 1)):
            place = torch.full((number,), -1)
            place[neurons] = torch.arange(len(neurons))
            numbers.append(place[self.indices[row]])

        kept = (numbers[0] >= 0) & (numbers[1] >= 0)
        return SparseLinear(len(sources), len(targets), numbers[1][kept], numbers[0][kept], self.weights.detach()[kept])

    def forward(self, x: Float[Tensor, "*B N"]) -> Float[Tensor, "*B M"]:
        """The weighted sums.

        Raises:
            ShapeError: another number of neurons than `num_inputs`.
        """
        if x.shape[-1] != self.num_inputs:
            raise ShapeError(f"SparseLinear takes {self.num_inputs} neurons, but got {tuple(x.shape)}")

        rows = x.reshape(-1, self.num_inputs)
        gradients = torch.is_grad_enabled() and (x.requires_grad or self.weights.requires_grad)
        if not gradients and x.is_cpu and not is_reference() and self._is_small() and rows.dtype == self.weights.dtype:
            active = rows.nonzero()
            if len(active) <= _MAX_ACTIVE * rows.numel():
                return self._add_rows(rows, active).reshape(*x.shape[:-1], self.num_outputs)

        targets, sources = self.indices
        y = rows.new_zeros(len(rows), self.num_outputs)
        y = y.index_add(1, targets, rows.index_select(1, sources) * self.weights.to(rows.dtype))

        return y.reshape(*x.shape[:-1], self.num_outputs)

    def synaptic_operations(self, x: Float[Tensor, "*B N"]) -> float:
        """The additions that spikes cause, one for each spike and connection."""
        fan_out = torch.bincount(self.indices[1], minlength=self.num_inputs)
        return float((x.abs().reshape(-1, self.num_inputs).sum(0) * fan_out).sum())

    def extra_repr(self) -> str:
        return f"{self.num_inputs}, {self.num_outputs}, connections={self.indices.shape[1]}"

    def _is_small(self) -> bool:
        return self.num_inputs * self.num_outputs <= _DENSE_ROWS

    def _add_rows(self, rows: Tensor, active: Tensor) -> Tensor:
        """The sum of the rows of the active inputs."""
        row, neuron = active.unbind(1)
        starts = torch.searchsorted(row, torch.arange(len(rows)))
        values = rows[row, neuron]
        return F.embedding_bag(neuron, self._weight_rows(), starts, mode="sum", per_sample_weights=values)

    def _weight_rows(self) -> Tensor:
        """The weights of each sending neuron as a row, made again when the weights have changed."""
        weights = self.weights
        # the version alone is not enough: a change of type or of `data` leaves it as it was
        key = id(weights), weights._version, weights.data_ptr(), weights.dtype
        if self._rows is None or self._rows[0] != key:
            targets, sources = self.indices
            rows = weights.new_zeros(self.num_inputs, self.num_outputs)
            self._rows = key, rows.index_put_((sources, targets), weights.detach(), accumulate=True)

        return self._rows[1]
