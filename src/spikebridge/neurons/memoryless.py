"""Neurons without memory: each tick alone. The baseline that shows what a membrane is worth. NIR: `Threshold`."""

from typing import Any, NamedTuple

from torch import Tensor

from spikebridge.axes import Step
from spikebridge.neurons.lif import LIFState, lif_step
from spikebridge.neurons.neuron import Neuron
from spikebridge.neurons.quantity import Names, Quantity, Value
from spikebridge.neurons.surrogate import ARCTAN, Surrogate, check_surrogate
from spikebridge.ops.precision import zero_state


class MemorylessState(NamedTuple):
    """Membrane of the last step after the reset; the next step does not depend on it."""

    v: Tensor


def _memoryless_step(x_t: Step, state: MemorylessState, **arguments: Any) -> tuple[Step, MemorylessState]:
    """One step of `lif_step` with decay 0."""
    spikes, (v, _) = lif_step(x_t, LIFState(state.v), **{**arguments, "decay": 0.0})
    return spikes, MemorylessState(v)


class Memoryless(Neuron):
    """A spike where the input reaches the threshold: `LIF` with decay 0.

    Args:
        v_threshold: the membrane at which a neuron fires.
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
    step_function = staticmethod(_memoryless_step)
    follows_spec = True

    def __init__(
        self, *, v_threshold: Value = 1.0, r: Value = 1.0, surrogate: Surrogate = ARCTAN, learn: Names = ()
    ) -> None:
        super().__init__(None, learn, v_threshold=v_threshold, r=r)
        check_surrogate(type(self).__name__, surrogate)
        self.surrogate = surrogate

    def initial_state(self, x_t: Step) -> MemorylessState:
        return MemorylessState(zero_state(x_t))

    def arguments(self, quantities: dict[str, Any]) -> dict[str, Any]:
        return {**quantities, "decay": 0.0, "surrogate": self.surrogate}
