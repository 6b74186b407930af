"""Neurons without memory: each tick alone. The baseline that shows what a membrane is worth. NIR: `Threshold`."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from spikebridge.neurons.lif import LIFState, lif_step
from spikebridge.neurons.neuron import Neuron
from spikebridge.neurons.quantity import Quantity
from spikebridge.neurons.surrogate import ARCTAN, Surrogate
from spikebridge.ops.precision import zero_state


class Memoryless(Neuron):
    """A spike where the input reaches the threshold: `LIF` with decay 0.

    Args:
        v_threshold: where a spike is fired.
        r: membrane a unit of input.
        surrogate: derivative of the spike.
        learn: quantities that are trained.

    Example:
        >>> import torch
        >>> spikes, state = Memoryless()(torch.tensor([0.5, 1.5, 0.9]).reshape(3, 1, 1))
        >>> spikes.flatten().tolist()
        [0.0, 1.0, 0.0]
    """

    v_threshold = Quantity()
    r = Quantity()
    step_function = staticmethod(lif_step)
    follows_spec = True

    def __init__(
        self,
        *,
        v_threshold: Tensor | float = 1.0,
        r: Tensor | float = 1.0,
        surrogate: Surrogate = ARCTAN,
        learn: str | Iterable[str] = (),
    ) -> None:
        super().__init__(None, learn, v_threshold=v_threshold, r=r)
        self.surrogate = surrogate

    def initial_state(self, x_t: Tensor) -> LIFState:
        return LIFState(zero_state(x_t))

    def arguments(self, quantities: dict[str, Any]) -> dict[str, Any]:
        return {**quantities, "decay": 0.0, "surrogate": self.surrogate}
