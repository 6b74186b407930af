"""Neurons without memory: each tick alone. The baseline that shows what a membrane is worth. NIR: `Threshold`."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from spikebridge.neurons.lif import LIFState, lif_step
from spikebridge.neurons.neuron import Neuron
from spikebridge.neurons.quantity import Quantity
from spikebridge.neurons.surrogate import ARCTAN, Surrogate, check_surrogate
from spikebridge.ops.precision import zero_state


class MemorylessState(NamedTuple):
    """Membrane of the last step after the reset; the next step does not depend on it."""

    v: Tensor


def memoryless_step(
    x_t: Float[Tensor, "B *N"], state: MemorylessState, **arguments: Any
) -> tuple[Float[Tensor, "B *N"], MemorylessState]:
    """One step of `lif_step` with decay 0.

    Args:
        x_t: input.
        state: of the last step.
        arguments: `v_threshold`, `r`, `surrogate`, as in `lif_step`.

    Returns:
        Spikes and the state after them.

    Example:
        >>> import torch
        >>> spikes, state = memoryless_step(torch.tensor([[0.7]]), MemorylessState(torch.tensor([[0.8]])))
        >>> spikes.item(), round(state.v.item(), 3)
        (0.0, 0.7)
    """
    spikes, (v, _) = lif_step(x_t, LIFState(state.v), **{**arguments, "decay": 0.0})
    return spikes, MemorylessState(v)


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
    step_function = staticmethod(memoryless_step)
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
        check_surrogate(type(self).__name__, surrogate)
        self.surrogate = surrogate

    def initial_state(self, x_t: Tensor) -> MemorylessState:
        return MemorylessState(zero_state(x_t))

    def arguments(self, quantities: dict[str, Any]) -> dict[str, Any]:
        return {**quantities, "decay": 0.0, "surrogate": self.surrogate}
