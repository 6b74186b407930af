"""Modules of other libraries as parts of a hybrid network, with their state taken out.

SpikingJelly, snnTorch and sinabs keep a state inside their modules, so that two streams share it until it is reset.
Here it is set before a call and read after it. Between calls such a module holds no state: a sequence, its steps and
its parts give the same numbers, streams never mix, and a state_dict does not depend on the size of a batch.
"""

from typing import NamedTuple

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.neurons.base import Stateful, refuse_timeless, refuse_unknown
from spikebridge.neurons.quantity import Modulated
from spikebridge.neurons.state import State
from spikebridge.ops.modes import evaluating


class StateSlot(NamedTuple):
    """An attribute of another library's module that holds state between steps."""

    owner: nn.Module
    name: str


class _AdaptedState(NamedTuple):
    """The value of each slot, in order, with the batch first; None for an empty slot."""

    held: tuple[Tensor | None, ...]


class Adapted(Stateful):
    """A module with hidden state as a layer with explicit state. Its weights stay in `module`.

    Subclasses, one for each library, name the slots of the state (`slots`, `read`, `write`), the values before the
    first step (`initial_value`, `clear`), and run the module over a sequence (`run`).

    Args:
        module: a module of the other library. No other code may call it between the calls of this layer.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._clear()

    def slots(self) -> list[StateSlot]:
        """The slots of the state."""
        raise NotImplementedError

    def read(self, slot: StateSlot) -> Tensor | None:
        """The value of a slot, None if it is no tensor."""
        value = getattr(slot.owner, slot.name)
        return value if isinstance(value, Tensor) else None

    def write(self, slot: StateSlot, value: Tensor) -> None:
        setattr(slot.owner, slot.name, value)

    def initial_value(self, slot: StateSlot, like: Tensor) -> Tensor:
        """The value before the first step, of the shape of a later one."""
        return torch.zeros_like(like)

    def clear(self, slot: StateSlot) -> None:
        raise NotImplementedError

    def run(self, x: Shaped[Tensor, "T B *N"]) -> Tensor:
        """The module over a sequence, from the values of the slots."""
        raise NotImplementedError

    def initial_state(self, x_t: Shaped[Tensor, "B *N"]) -> _AdaptedState:
        self._clear()

        try:
            # a step of zeros shows the shapes; in eval mode it changes no statistics
            with evaluating(self.module):
                self.run(torch.zeros_like(x_t).unsqueeze(0))
            held = [(slot, self.read(slot)) for slot in self.slots()]
            return _AdaptedState(tuple(None if like is None else self.initial_value(slot, like) for slot, like in held))
        finally:
            self._clear()

    def step(
        self, x_t: Shaped[Tensor, "B *N"], state: State, **modulation: Modulated
    ) -> tuple[Shaped[Tensor, "B *M"], _AdaptedState]:
        y, state = self._whole(x_t.unsqueeze(0), state, modulation)
        return y[0], state

    def forward(
        self, x: Shaped[Tensor, "T B *N"], state: State = None, **modulation: Modulated
    ) -> tuple[Shaped[Tensor, "T B *M"], _AdaptedState]:
        refuse_timeless(self, x)
        if len(x) == 0:
            return super().forward(x, state, **modulation)
        return self._whole(x, state if state is not None else self.initial_state(x[0]), modulation)

    def _whole(self, x: Tensor, state: _AdaptedState, modulation: dict[str, Modulated]) -> tuple[Tensor, _AdaptedState]:
        refuse_unknown(self, modulation)
        slots = self.slots()
        if len(state.held) != len(slots):
            raise ConfigError(
                f"the state has {len(state.held)} slots, but this module has {len(slots)}; give the state that it "
                "returned"
            )

        try:
            for slot, value in zip(slots, state.held, strict=True):
                if value is not None:
                    self.write(slot, value)

            y = self.run(x)
            return y, _AdaptedState(tuple(self.read(slot) for slot in slots))
        finally:
            # streams share the module, and must not find the state of another
            self._clear()

    def _clear(self) -> None:
        for slot in self.slots():
            self.clear(slot)


def over_steps(module: nn.Module, x: Shaped[Tensor, "T B *N"]) -> Tensor:
    """A module of single steps over all steps; of several results the first one is the output."""
    outputs = []
    for x_t in x.unbind(0):
        y_t = module(x_t)
        outputs.append(y_t[0] if isinstance(y_t, tuple) else y_t)

    return torch.stack(outputs)
