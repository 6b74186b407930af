"""Explicit randomness: a number is a function of a seed, a draw index and a place.

No generator is hidden anywhere, so a whole sequence, single steps and a cut stream draw the same numbers, and a
sample's numbers do not depend on its batch mates. The hash mixes 32-bit words with multipliers below 2^31, so that no
product leaves the 64 bits of an integer tensor.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF


class DrawState(NamedTuple):
    """A seed for each sample `(B,)`, and how many steps have been drawn."""

    seed: Tensor
    num_draws: int


def start_draws(seed: int, batch: int, device: torch.device) -> DrawState:
    """Draws for a new stream: each sample of the batch has a seed of its own."""
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
