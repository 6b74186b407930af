"""SpikingJelly: every `MemoryModule` keeps its memories by name, with the value that a reset gives them."""

from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from spikebridge.deploy.adapters.base import Adapted, StateSlot, over_steps
from spikebridge.errors import ConfigError


class SpikingJelly(Adapted):
    """A module of SpikingJelly, in single-step or multi-step mode.

    Args:
        module: all of its layers in one mode (`spikingjelly.activation_based.functional.set_step_mode`).

    Raises:
        ConfigError: some layers are in one mode, some in the other.
    """

    def __init__(self, module: nn.Module) -> None:
        modes = {child.step_mode for child in module.modules() if hasattr(child, "step_mode")}
        if len(modes) > 1:
            raise ConfigError(
                "some layers are in step mode 's' and some in 'm'; "
                "spikingjelly.activation_based.functional.set_step_mode(module, 'm') sets all of them"
            )
        super().__init__(module)
        self.takes_sequences = modes == {"m"}

    def slots(self) -> list[StateSlot]:
        # what is recorded of a whole sequence (v_seq) is a result, not a memory
        return [
            StateSlot(child, name)
            for child in self.module.modules()
            for name in getattr(child, "_memories", {})
            if not name.endswith("_seq")
        ]

    def initial_value(self, slot: StateSlot, like: Tensor) -> Tensor:
        value = self._reset_value(slot)
        return torch.full_like(like, float(value)) if isinstance(value, int | float) else torch.zeros_like(like)

    def clear(self, slot: StateSlot) -> None:
        setattr(slot.owner, slot.name, self._reset_value(slot))

    def run(self, x: Shaped[Tensor, "T B *N"]) -> Tensor:
        y: Tensor = self.module(x) if self.takes_sequences else over_steps(self.module, x)
        return y

    def _reset_value(self, slot: StateSlot) -> Any:
        memories: Any = slot.owner
        return memories._memories_rv[slot.name]
