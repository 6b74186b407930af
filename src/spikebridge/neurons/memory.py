"""Layers of an ANN with a state: recurrent modules of PyTorch (`Memory`) and linear filters (`DiagonalStateSpace`)."""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.axes import Signal, Step
from spikebridge.errors import ConfigError, ShapeError, in_words, is_integer, is_positive
from spikebridge.neurons.base import RowEffects, Stateful, refuse_timeless, refuse_unknown, scan
from spikebridge.neurons.dt import check_dt, required_dt
from spikebridge.neurons.state import State, check_state
from spikebridge.ops.precision import cast_for, upcast

_CELLS = (nn.RNNCell, nn.GRUCell, nn.LSTMCell)
_MODULES = (nn.RNN, nn.GRU, nn.LSTM)


class MemoryState(NamedTuple):
    """Hidden values `(B, H)`, or `(B, L, H)` of a module of L layers, and the cells of an LSTM, of the same shape."""

    h: Tensor
    c: Tensor | None = None


class Memory(Stateful):
    """A recurrent cell or module of PyTorch as a layer with a state, which begins at zero.

    Args:
        cell: `nn.RNNCell`, `nn.GRUCell`, `nn.LSTMCell`, which run step by step, or `nn.RNN`, `nn.GRU`, `nn.LSTM`,
            which run a whole sequence at once; their further layers become part of the state.

    Raises:
        ConfigError: another module, or one that reads the future (`bidirectional`) or whose batch is first.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> layer = Memory(nn.GRUCell(3, 2))
        >>> y, state = layer(torch.ones(5, 4, 3))
        >>> y.shape, state.h.shape
        (torch.Size([5, 4, 2]), torch.Size([4, 2]))
    """

    state_grows = False

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        if not isinstance(cell, (*_CELLS, *_MODULES)):
            raise ConfigError(
                f"Memory needs a recurrent cell like nn.GRUCell or a module like nn.GRU, but got {in_words(cell)}"
            )

        name = type(cell).__name__
        if isinstance(cell, nn.RNNBase) and cell.bidirectional:
            raise ConfigError(f"Memory runs forward in time, but the {name} is bidirectional; leave bidirectional out")
        if isinstance(cell, nn.RNNBase) and cell.batch_first:
            raise ConfigError(f"signals are time first, (T, B, N), but the {name} has batch_first=True; leave it out")

        self.cell = cell

    def initial_state(self, x_t: Step) -> MemoryState:
        cell: Any = self.cell
        dtype = next(cell.parameters()).dtype
        before: tuple[int, ...] = (x_t.shape[0],)
        if isinstance(cell, nn.RNNBase):
            before = (x_t.shape[0], cell.num_layers)

        has_cells = isinstance(cell, nn.LSTM | nn.LSTMCell)
        # the hidden values of an LSTM may be projected to a smaller size
        size = getattr(cell, "proj_size", 0) or cell.hidden_size
        h = x_t.new_zeros((*before, size), dtype=dtype)
        c = x_t.new_zeros((*before, cell.hidden_size), dtype=dtype) if has_cells else None

        return MemoryState(h, c)

    def step(
        self, x_t: Float[Tensor, "B N"], state: MemoryState, **modulation: Any
    ) -> tuple[Float[Tensor, "B H"], MemoryState]:
        self._check_axes(x_t.unsqueeze(0))
        if isinstance(self.cell, nn.RNNBase):
            y, state = self._run(x_t.unsqueeze(0), state)
            return y[0], state

        h, c = state
        x = cast_for(self.cell, x_t)
        if c is None:
            h = self.cell(x, h)
        else:
            h, c = self.cell(x, (h, c))

        return h.to(x_t.dtype), MemoryState(h, c)

    def forward(
        self, x: Float[Tensor, "T B N"], state: State = None, **modulation: Any
    ) -> tuple[Float[Tensor, "T B H"], MemoryState]:
        refuse_timeless(self, x)
        self._check_axes(x)
        if not isinstance(self.cell, nn.RNNBase) or x.shape[0] == 0:
            return scan(self, x, state, **modulation)

        refuse_unknown(self, modulation)
        if state is None:
            state = self.initial_state(x[0])
        else:
            check_state(self, state, x)

        return self._run(x, state)

    def advance(
        self, x_t: Float[Tensor, "B N"], state: Any, effects: RowEffects
    ) -> tuple[Float[Tensor, "B H"], MemoryState]:
        return self.step(x_t, state)

    def _run(self, x: Float[Tensor, "T B N"], state: MemoryState) -> tuple[Float[Tensor, "T B H"], MemoryState]:
        """A recurrent module over some steps."""
        # PyTorch's modules keep their layers first
        h, c = (None if tensor is None else tensor.transpose(0, 1).contiguous() for tensor in state)
        y, after = self.cell(cast_for(self.cell, x), h if c is None else (h, c))
        tensors = after if isinstance(after, tuple) else (after,)

        return y.to(x.dtype), MemoryState(*(tensor.transpose(0, 1) for tensor in tensors))

    def _check_axes(self, x: Signal) -> None:
        cell: Any = self.cell
        if x.ndim != 3 or x.shape[2] != cell.input_size:
            raise ShapeError(
                f"Memory({type(cell).__name__}) needs a signal (T, B, {cell.input_size}), but got {tuple(x.shape)}"
            )


class StateSpaceState(NamedTuple):
    """The modes of each feature `(B, N, M)`: real and imaginary parts."""

    real: Tensor
    imaginary: Tensor


class DiagonalStateSpace(Stateful):
    """Linear filters with complex modes, one bank a feature: a diagonal state-space layer (S4D).

    With the modes `z`, their decays and frequencies `A = -decay + i frequency`, and one input `u` a feature:

        dz/dt = A z + u        y = sum of Re(C z) over the modes + D u

    A step is exact for an input that is constant in it: `z' = exp(A dt) z + (exp(A dt) - 1) / A u`. Decays and
    frequencies begin at `1 / (2 tau)` and `pi m / tau`, m = 0, 1, ..., with a `tau` for each feature, spaced evenly on
    a logarithmic scale. A. Gu et al., Advances in Neural Information Processing Systems 35 (2022), "S4D-Lin".

    Args:
        features: number of features N, each a filter bank of its own; `nn.Linear` before or after it mixes them.
        modes: modes M of a feature.
        tau: shortest and longest time scale of the features [s].
        dt: step of the layer's clock [s]; None where a network binds it.

    Raises:
        ConfigError: numbers below 1, or time scales that are not above 0 in rising order.

    Example:
        >>> layer = DiagonalStateSpace(4, modes=2, dt=0.001)
        >>> y, state = layer(torch.ones(5, 3, 4))
        >>> y.shape, state.real.shape
        (torch.Size([5, 3, 4]), torch.Size([3, 4, 2]))
    """

    state_grows = False

    def __init__(
        self, features: int, modes: int = 8, tau: tuple[float, float] = (0.01, 1.0), dt: float | None = None
    ) -> None:
        super().__init__()
        check_dt("DiagonalStateSpace", dt)
        for name, number in (("features", features), ("modes", modes)):
            if not is_integer(number) or number < 1:
                raise ConfigError(f"DiagonalStateSpace needs {name} as an integer above 0, but got {in_words(number)}")

        is_pair = isinstance(tau, list | tuple) and len(tau) == 2 and all(map(is_positive, tau))
        if not is_pair or tau[0] > tau[1]:
            raise ConfigError(
                f"DiagonalStateSpace needs tau as two times [s], 0 < shortest <= longest, but got {in_words(tau)}"
            )

        shortest, longest = tau

        scales = torch.logspace(math.log10(shortest), math.log10(longest), features).unsqueeze(1)
        numbers = torch.arange(modes)
        self.log_decay = nn.Parameter((0.5 / scales).log().expand(features, modes).clone())
        self.frequency = nn.Parameter(math.pi * numbers / scales)
        # 1 / tau: the answer to a constant input has the size of the input
        self.readout = nn.Parameter(torch.randn(2, features, modes) / (scales * modes**0.5))
        self.feedthrough = nn.Parameter(torch.ones(features))
        self.features = features
        self.modes = modes
        self.dt = dt

    def initial_state(self, x_t: Step) -> StateSpaceState:
        zeros = x_t.new_zeros((x_t.shape[0], self.features, self.modes), dtype=self.frequency.dtype)
        return StateSpaceState(zeros, zeros)

    def step(
        self, x_t: Float[Tensor, "B N"], state: StateSpaceState, **modulation: Any
    ) -> tuple[Float[Tensor, "B N"], StateSpaceState]:
        return self._filter(x_t, state, self._coefficients())

    def forward(
        self, x: Float[Tensor, "T B N"], state: State = None, **modulation: Any
    ) -> tuple[Float[Tensor, "T B N"], StateSpaceState]:
        refuse_timeless(self, x)
        if x.shape[2:] != (self.features,):
            raise ShapeError(
                f"DiagonalStateSpace needs a signal (T, B, {self.features}), but got {tuple(x.shape)}; nn.Linear "
                "changes the number of features"
            )

        refuse_unknown(self, modulation)
        if state is None:
            state = self.initial_state(x.new_zeros(x.shape[1:]))
        else:
            check_state(self, state, x)

        coefficients = self._coefficients()
        outputs = []
        for x_t in x.unbind(0):
            y_t, state = self._filter(x_t, state, coefficients)
            outputs.append(y_t)

        return (torch.stack(outputs) if outputs else x.new_empty(x.shape)), state

    def _coefficients(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`exp(A dt)` and `(exp(A dt) - 1) / A`, the real and the imaginary parts."""
        dt = required_dt(self)
        decay = self.log_decay.exp()
        size = torch.exp(-decay * dt)
        real = size * torch.cos(self.frequency * dt)
        imaginary = size * torch.sin(self.frequency * dt)
        # the quotient of two complex numbers, in real ones, which ONNX holds
        norm = decay.square() + self.frequency.square()
        gain_real = (decay * (1 - real) + self.frequency * imaginary) / norm
        gain_imaginary = (self.frequency * (1 - real) - decay * imaginary) / norm

        return real, imaginary, gain_real, gain_imaginary

    def _filter(
        self, x_t: Step, state: StateSpaceState, coefficients: tuple[Tensor, Tensor, Tensor, Tensor]
    ) -> tuple[Step, StateSpaceState]:
        """One step of all filters."""
        a, b, gain_a, gain_b = coefficients
        u = upcast(x_t).unsqueeze(-1)
        real = a * state.real - b * state.imaginary + gain_a * u
        imaginary = a * state.imaginary + b * state.real + gain_b * u
        c, d = self.readout
        y = (c * real - d * imaginary).sum(-1) + self.feedthrough * u.squeeze(-1)

        return y.to(x_t.dtype), StateSpaceState(real, imaginary)
