"""A leaky read-out that never fires (eq. 3 without the spike). NIR: `LI`, with `r_nir = r / (1 - decay)`."""

from typing import NamedTuple

from torch import Tensor

from spikebridge.axes import Step
from spikebridge.neurons.lif import at_rest, leak
from spikebridge.neurons.neuron import Neuron
from spikebridge.neurons.quantity import Names, Quantity, Value


class IntegratorState(NamedTuple):
    """Membrane."""

    v: Tensor


def integrator_step(
    x_t: Step, state: IntegratorState, *, decay: Value, v_leak: Value = 0.0, r: Value = 1.0
) -> tuple[Step, IntegratorState]:
    """One step: `v = v_leak + decay (v - v_leak) + r x`; the output is the membrane.

    Args:
        x_t: input current.
        state: membranes after the last step.
        decay: `exp(-dt / tau)`, 0 to 1.
        v_leak: membrane at rest.
        r: membrane a unit of input.

    Returns:
        The membrane, twice: as output and as state.

    Example:
        >>> import torch
        >>> y, state = integrator_step(torch.tensor([[1.0]]), IntegratorState(torch.tensor([[4.0]])), decay=0.5)
        >>> y.item()
        3.0
    """
    v = leak(state.v, decay, v_leak) + r * x_t
    return v, IntegratorState(v)


class Integrator(Neuron):
    """A layer of leaky integrators.

    Args:
        tau: time constant [s]; `inf` sums without leak.
        dt: step of the layer's clock [s]; None where a network or `Sequential` binds it.
        v_leak: membrane at rest, also the initial one.
        r: membrane a unit of input.
        learn: quantities that are trained.

    Example:
        >>> import torch
        >>> y, state = Integrator(tau=float("inf"), dt=0.001)(torch.ones(3, 1, 1))
        >>> y.flatten().tolist()
        [1.0, 2.0, 3.0]
    """

    tau = Quantity(positive=True)
    v_leak = Quantity()
    r = Quantity()
    step_function = staticmethod(integrator_step)
    follows_spec = True

    def __init__(
        self, tau: Value = 0.02, *, dt: float | None = None, v_leak: Value = 0.0, r: Value = 1.0, learn: Names = ()
    ) -> None:
        super().__init__(dt, learn, tau=tau, v_leak=v_leak, r=r)

    def initial_state(self, x_t: Step) -> IntegratorState:
        return IntegratorState(at_rest(x_t, self.v_leak))

    def leak(self, state: IntegratorState, num_steps: Tensor) -> IntegratorState:
        return IntegratorState(leak(state.v, self.decay_over("decay", num_steps, state.v), self.v_leak))
