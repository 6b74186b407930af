"""snnTorch: its neurons keep membranes and currents as buffers of their own, `init_hidden` or not."""

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from spikebridge.deploy.adapters.base import Adapted, StateSlot, over_steps
from spikebridge.errors import ConfigError

KEPT_SECONDS = ("spk", "syn", "syn_exc", "syn_inh", "mem")


class SnnTorch(Adapted):
    """A neuron of snnTorch, or a network of neurons with `init_hidden=True` and plain layers. It takes one step a call.

    Args:
        module: the neuron or network.

    Raises:
        ConfigError: a neuron inside a network gives its state out (`init_hidden=False`).
    """

    def __init__(self, module: nn.Module) -> None:
        for path, child in module.named_modules():
            if path and getattr(child, "init_hidden", True) is False:
                raise ConfigError(
                    f"{type(child).__name__} at {path!r} gives its state out; inside a network it has to keep it "
                    "(init_hidden=True), or stand alone as a part"
                )
        super().__init__(module)

    def slots(self) -> list[StateSlot]:
        neurons = (child for child in self.module.modules() if hasattr(child, "init_hidden"))
        return [StateSlot(child, name) for child in neurons for name in KEPT_SECONDS if name in child._buffers]

    def clear(self, slot: StateSlot) -> None:
        threshold = next((buffer for name, buffer in slot.owner.named_buffers() if name == "threshold"), None)
        setattr(slot.owner, slot.name, torch.zeros(0, device=None if threshold is None else threshold.device))

    def run(self, x: Shaped[Tensor, "T B *N"]) -> Tensor:
        return over_steps(self.module, x)
