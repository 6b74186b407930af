"""Norse: its modules take their state and give it back, as ours do; None is the state before the first step."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from spikebridge.errors import ShapeError
from spikebridge.neurons.base import Stateful, refuse_timeless, refuse_unknown
from spikebridge.neurons.quantity import Modulated
from spikebridge.neurons.state import State

_OVER_TIME = ("SNN", "SNNRecurrent", "Lift")


class _NorseState(NamedTuple):
    """The state as the module gave it, None before the first step."""

    inner: Any


class Norse(Stateful):
    """A module of Norse: a cell, a layer over time, or a `SequentialState` of either.

    Args:
        module: of Norse; it has layers over time (`LIF`, `Lift`, ...) or cells (`LIFCell`, ...), not both.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        kinds = {base.__name__ for child in module.modules() for base in type(child).__mro__}
        self.takes_sequences = not kinds.isdisjoint(_OVER_TIME)

    def initial_state(self, x_t: Shaped[Tensor, "B *N"]) -> _NorseState:
        """None inside: each cell of Norse knows itself how it begins."""
        return _NorseState(None)

    def step(
        self, x_t: Shaped[Tensor, "B *N"], state: State, **modulation: Modulated
    ) -> tuple[Shaped[Tensor, "B *M"], _NorseState]:
        refuse_unknown(self, modulation)
        x = x_t.unsqueeze(0) if self.takes_sequences else x_t
        y, inner = self._called(x, state)
        return (y[0] if self.takes_sequences else y), inner

    def forward(
        self, x: Shaped[Tensor, "T B *N"], state: State = None, **modulation: Modulated
    ) -> tuple[Shaped[Tensor, "T B *M"], _NorseState]:
        refuse_timeless(self, x)
        if not self.takes_sequences or len(x) == 0:
            return super().forward(x, state, **modulation)
        refuse_unknown(self, modulation)
        return self._called(x, state if state is not None else _NorseState(None))

    def _called(self, x: Tensor, state: _NorseState) -> tuple[Tensor, _NorseState]:
        # SequentialState writes into the list that it is given
        inner = list(state.inner) if isinstance(state.inner, list) else state.inner
        result = self.module(x, inner)
        if not isinstance(result, tuple) or not isinstance(result[0], torch.Tensor):
            raise ShapeError(f"{type(self.module).__name__} has to give an output and a state, but gave one value")
        return result[0], _NorseState(result[1])
