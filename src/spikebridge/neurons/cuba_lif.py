"""Current-based LIF: a synaptic current with its own time constant feeds the membrane.

NIR's `CubaLIF` (`tau_syn`, `tau_mem`) integrates both in continuous time; per step its input is scaled by `1 - decay`
twice.
"""

from typing import NamedTuple, Unpack

import torch
from torch import Tensor

from spikebridge.axes import Step
from spikebridge.neurons.lif import Firing, FiringNeuron, FiringSettings, at_rest, fire_and_reset, leak
from spikebridge.neurons.quantity import Names, Quantity, Value
from spikebridge.ops.precision import zero_state


class CubaLIFState(NamedTuple):
    """Membrane after the reset, and synaptic current."""

    v: Tensor
    i: Tensor


def cuba_lif_step(
    x_t: Step,
    state: CubaLIFState,
    *,
    decay: Value,
    decay_syn: Value,
    v_threshold: Value = 1.0,
    v_leak: Value = 0.0,
    r: Value = 1.0,
    **firing: Unpack[Firing],
) -> tuple[Step, CubaLIFState]:
    """One step: `i = decay_syn i + x`, `v = v_leak + decay (v - v_leak) + r i`, fire, reset.

    Args:
        x_t: input to the synapses.
        state: membranes and currents after the last step.
        decay: `exp(-dt / tau)` of the membrane.
        decay_syn: `exp(-dt / tau_syn)` of the current.
        v_threshold: the membrane at which a neuron fires.
        v_leak: membrane at rest.
        r: membrane a unit of current.
        firing: `v_reset`, `reset`, `surrogate` and `detach_reset`, as in `fire_and_reset`.

    Returns:
        Spikes and the state after the reset.

    Example:
        >>> import torch
        >>> state = CubaLIFState(v=torch.tensor([[0.5]]), i=torch.tensor([[0.5]]))
        >>> spikes, state = cuba_lif_step(torch.tensor([[0.25]]), state, decay=0.5, decay_syn=0.5)
        >>> spikes.item(), state.v.item(), state.i.item()
        (0.0, 0.75, 0.5)
    """
    i = state.i * decay_syn + x_t
    v = leak(state.v, decay, v_leak) + r * i
    spikes, v = fire_and_reset(v, v_threshold, **firing)

    return spikes, CubaLIFState(v, i)


class CubaLIF(FiringNeuron):
    """A layer of LIF neurons with synaptic currents.

    Args:
        tau: membrane time constant [s].
        tau_syn: synaptic time constant [s].
        dt: step of the layer's clock [s]; None where a network or `Sequential` binds it.
        v_threshold, v_reset, v_leak, r, reset, surrogate, detach_reset, learn: as in `LIF`.

    Example:
        >>> import torch
        >>> layer = CubaLIF(tau=float("inf"), tau_syn=float("inf"), dt=0.001, v_threshold=3.0)
        >>> spikes, state = layer(torch.ones(3, 1, 1))  # currents 1, 2, 3; membranes 1, then 3
        >>> spikes.flatten().tolist()
        [0.0, 1.0, 1.0]
    """

    tau_syn = Quantity(positive=True)
    step_function = staticmethod(cuba_lif_step)
    follows_spec = True

    def __init__(
        self,
        tau: Value = 0.02,
        tau_syn: Value = 0.005,
        *,
        dt: float | None = None,
        learn: Names = (),
        **settings: Unpack[FiringSettings],
    ) -> None:
        super().__init__(tau, dt, learn, {"tau_syn": tau_syn}, **settings)

    def leak(self, state: CubaLIFState, num_steps: Tensor) -> CubaLIFState:
        current = self.decay_over("decay_syn", num_steps, state.i)
        v = leak(state.v, self.decay_over("decay", num_steps, state.v), self.v_leak)
        return CubaLIFState(v + self.r * state.i * self._charge_over(num_steps, state.i), state.i * current)

    def _charge_over(self, num_steps: Tensor, value: Tensor) -> Tensor:
        """The sum of `decay^(n - k) decay_syn^k` over the steps k = 1 ... n, for a value `(B, *N)` of the state."""
        one = torch.ones_like(num_steps)
        decay = self.decay_over("decay", one, value.double())
        ratio = self.decay_over("decay_syn", one, value.double()) / decay
        steps = num_steps.reshape(-1, *[1] * (value.ndim - 1)).double()
        # a geometric series, which keeps its digits where both decays are nearly equal
        growth = torch.expm1(ratio.log())
        series = torch.where(growth == 0, steps, torch.expm1(steps * ratio.log()) / torch.where(growth == 0, 1, growth))
        return (decay**steps * ratio * series).to(value.dtype)

    def initial_state(self, x_t: Step) -> CubaLIFState:
        return CubaLIFState(v=at_rest(x_t, self.v_leak), i=zero_state(x_t))
