"""sinabs: its layers keep their states as buffers, and take the batch before time."""

from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from spikebridge.deploy.adapters.base import Adapted, StateSlot


class Sinabs(Adapted):
    """A module of sinabs. Its layers see `(B, T, *N)`; those that squeeze batch and time into one axis see that.

    Args:
        module: the layer or network.
    """

    def __init__(self, module: nn.Module) -> None:
        # a squeezing layer gets the batch at each call, since its own guess is fixed when it is made
        self.squeezing: tuple[Any, ...] = ()
        super().__init__(module)
        self.squeezing = tuple(child for child in module.modules() if hasattr(child, "squeeze_init"))

    def slots(self) -> list[StateSlot]:
        layers = (child for child in self.module.modules() if hasattr(child, "is_state_initialised"))
        return [StateSlot(child, name) for child in layers for name in child._buffers]

    def clear(self, slot: StateSlot) -> None:
        buffer = getattr(slot.owner, slot.name)
        slot.owner.register_buffer(slot.name, torch.zeros(0, device=buffer.device))

    def write(self, slot: StateSlot, value: Tensor) -> None:
        slot.owner.register_buffer(slot.name, value)

    def run(self, x: Shaped[Tensor, "T B *N"]) -> Tensor:
        rows = x.transpose(0, 1)
        if not self.squeezing:
            y: Tensor = self.module(rows)
            return y.transpose(0, 1)
        for layer in self.squeezing:
            layer.batch_size, layer.num_timesteps = rows.shape[:2]
        squeezed: Tensor = self.module(rows.flatten(0, 1))
        return squeezed.unflatten(0, rows.shape[:2]).transpose(0, 1)
