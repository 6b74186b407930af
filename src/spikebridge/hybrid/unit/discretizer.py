"""Q, the discretizer: makes spikes for an SNN, or integrates time away for an ANN (R. Zhao et al., 2022, eq. 6).

It maps the M values of each of K windows, `(K, M, B, *N)`, to M' values. There are three kinds:

| kind | M' | where it can be used |
|---|---|---|
| `"steps"` | M: value by value | any window |
| `"reduces"` | 1: time is integrated away | a framed window whose steps are kept |
| `"expands"` | L: the spikes of one held value | a framed window of one value |

The discretizers themselves are in `discretizers.py`.

Randomness is explicit: a random number is a function of a seed, a draw index and a place (a counter-based generator).
So a whole sequence, single steps and a stream cut anywhere draw the same numbers, and a sample's numbers do not depend
on the rest of the batch. A stage without a seed of its own takes that of its path in the network (`seed_of_path`): two
stages draw independently, and a network that is built again draws the same. The hash mixes 32-bit words with
multipliers below 2^31, so that no product leaves the 64 bits of an integer tensor.
"""

import zlib
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from spikebridge.axes import Windows
from spikebridge.neurons.quantity import Quantified
from spikebridge.neurons.state import State, allow_states_of
from spikebridge.ops.precision import upcast

_WORD = 0xFFFFFFFF


class Discretizer(Quantified):
    """Base of all discretizers. Subclasses give `forward`.

    `forward` gets values in float32 or float64: half-precision values are upcast, its state is never in half precision,
    and its output is rounded to the dtype of the values.
    """

    kind: Literal["steps", "reduces", "expands"] = "steps"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        allow_states_of(cls)

    def bind_path(self, path: str) -> None:
        """Gives the path in the network that the discretizer is built into; a stochastic one takes a seed from it."""

    def __call__(self, h: Windows, length: int, state: State = None) -> tuple[Tensor, State]:
        y, state = super().__call__(upcast(h), length, state)
        return y.to(h.dtype), state

    def initial_state(self, batch: int, device: torch.device) -> State:
        """The state of a new stream that draws random numbers; None where the first windows make the state."""
        return None

    def forward(self, h: Windows, length: int, state: State = None) -> tuple[Float[Tensor, "K M B *N2"], State]:
        """Maps the M values of each window to M' values.

        Args:
            h: `(K, M, B, *N)`.
            length: the steps L of a window.
            state: after the windows before, None at the start of a stream.

        Returns:
            `(K, M', B, *N)` and the state.
        """
        raise NotImplementedError


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard` with the gradient of `soft`.

    Example:
        >>> x = torch.tensor(0.3, requires_grad=True)
        >>> y = straight_through(x.round(), 2 * x)
        >>> y.backward()
        >>> y.item(), x.grad.item()
        (0.0, 2.0)
    """
    return hard.detach() + (soft - soft.detach())


def seed_of_path(path: str) -> int:
    """The seed of a stochastic stage from its path in a network, below 2^31.

    Example:
        >>> seed_of_path("units.eye_to_ear.discretizer"), seed_of_path("units.eye_to_arm.discretizer")
        (1767585387, 1756836342)
    """
    return zlib.crc32(path.encode()) >> 1


class DrawState(NamedTuple):
    """A seed for each sample `(B,)`, and the number of steps drawn so far."""

    seed: Tensor
    num_draws: int


def start_draws(seed: int, batch: int, device: torch.device) -> DrawState:
    """The draw state of a new stream: each sample of the batch has its own seed."""
    samples = torch.arange(batch, device=device)
    return DrawState(_mix(samples + (seed * 0x3C6EF372 & _WORD)), 0)


def draw_uniform(state: DrawState, num_steps: int, shape: torch.Size | tuple[int, ...]) -> tuple[Tensor, DrawState]:
    """Uniform numbers in [0, 1), `(num_steps, B, *shape)` in float32, and the state after them.

    Example:
        >>> state = start_draws(seed=0, batch=2, device=torch.device("cpu"))
        >>> both, _ = draw_uniform(state, 2, (3,))
        >>> first, state = draw_uniform(state, 1, (3,))
        >>> second, state = draw_uniform(state, 1, (3,))
        >>> torch.equal(both, torch.cat([first, second]))
        True
    """
    device = state.seed.device
    index = torch.arange(state.num_draws, state.num_draws + num_steps, device=device)
    streams = _mix(_mix(index).unsqueeze(1) ^ state.seed)
    places = _mix(torch.arange(int(torch.Size(shape).numel()), device=device) + 0x1B873593)
    words = _mix(_mix(streams.unsqueeze(-1) ^ places))
    # 24 bits: every value is exact in float32, so all dtypes see the same numbers
    uniform = (words >> 8).to(torch.float32) / (1 << 24)
    return uniform.reshape(num_steps, len(state.seed), *shape), DrawState(state.seed, state.num_draws + num_steps)


def _mix(words: Tensor) -> Tensor:
    words = words & _WORD
    words = (words ^ (words >> 16)) * 0x7FEB352D & _WORD
    words = (words ^ (words >> 15)) * 0x31848BAB & _WORD
    words = (words ^ (words >> 14)) * 0x5BD1E995 & _WORD
    return words ^ (words >> 16)
