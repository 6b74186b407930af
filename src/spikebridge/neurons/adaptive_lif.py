"""LIF neurons whose threshold jumps with each spike and decays (G. Bellec et al., NeurIPS 2018).

NIR has no node for it.
"""

from typing import NamedTuple, Unpack

from torch import Tensor

from spikebridge.axes import Step
from spikebridge.neurons.lif import Firing, FiringNeuron, FiringSettings, at_rest, fire_and_reset, leak
from spikebridge.neurons.quantity import Names, Quantity, Value
from spikebridge.ops.precision import zero_state


class AdaptiveLIFState(NamedTuple):
    """Membrane after the reset, and the sum that past spikes have added to the threshold."""

    v: Tensor
    a: Tensor


def adaptive_lif_step(
    x_t: Step,
    state: AdaptiveLIFState,
    *,
    decay: Value,
    decay_adaptation: Value,
    jump: Value = 0.2,
    v_threshold: Value = 1.0,
    v_leak: Value = 0.0,
    r: Value = 1.0,
    **firing: Unpack[Firing],
) -> tuple[Step, AdaptiveLIFState]:
    """One step: the adaptation decays, the membrane leaks and charges, fires at `v_threshold + a`, and `a` jumps.

    Args:
        x_t: input current.
        state: membranes and adaptations after the last step.
        decay: `exp(-dt / tau)` of the membrane.
        decay_adaptation: `exp(-dt / tau_adaptation)` of the threshold.
        jump: rise of the threshold with a spike.
        v_threshold: threshold at rest.
        v_leak: membrane at rest.
        r: membrane a unit of input.
        firing: `v_reset`, `reset`, `surrogate` and `detach_reset`, as in `fire_and_reset`.

    Returns:
        Spikes and the state after the reset.

    Example:
        >>> import torch
        >>> state = AdaptiveLIFState(v=torch.tensor([[0.0]]), a=torch.tensor([[1.0]]))
        >>> spikes, state = adaptive_lif_step(torch.tensor([[1.5]]), state, decay=0.5, decay_adaptation=0.5, jump=1.0)
        >>> spikes.item(), state.a.item()
        (1.0, 1.5)
    """
    a = state.a * decay_adaptation
    threshold = v_threshold + a
    charge = x_t if isinstance(r, float) and r == 1 else r * x_t
    v = leak(state.v, decay, v_leak) + charge
    spikes, v = fire_and_reset(v, threshold, **firing)

    return spikes, AdaptiveLIFState(v, a + jump * spikes)


class AdaptiveLIF(FiringNeuron):
    """A layer of LIF neurons with adaptive thresholds.

    Args:
        tau: membrane time constant [s].
        tau_adaptation: time constant of the threshold [s].
        dt: step of the layer's clock [s]; None where a network or `Sequential` binds it.
        jump: rise of the threshold with a spike.
        v_threshold, v_reset, v_leak, r, reset, surrogate, detach_reset, learn: as in `LIF`.

    Example:
        >>> import torch
        >>> layer = AdaptiveLIF(tau=float("inf"), tau_adaptation=float("inf"), dt=0.001, jump=1.0)
        >>> spikes, state = layer(torch.ones(6, 1, 1))  # thresholds 1, 2, 2, 3, 3, 3
        >>> spikes.flatten().tolist()
        [1.0, 0.0, 1.0, 0.0, 0.0, 1.0]
    """

    tau_adaptation = Quantity(positive=True)
    jump = Quantity()
    step_function = staticmethod(adaptive_lif_step)
    follows_spec = True

    def __init__(
        self,
        tau: Value = 0.02,
        tau_adaptation: Value = 0.2,
        *,
        dt: float | None = None,
        jump: Value = 0.2,
        learn: Names = (),
        **settings: Unpack[FiringSettings],
    ) -> None:
        super().__init__(tau, dt, learn, {"tau_adaptation": tau_adaptation, "jump": jump}, **settings)

    def leak(self, state: AdaptiveLIFState, num_steps: Tensor) -> AdaptiveLIFState:
        v = leak(state.v, self.decay_over("decay", num_steps, state.v), self.v_leak)
        return AdaptiveLIFState(v, state.a * self.decay_over("decay_adaptation", num_steps, state.a))

    def initial_state(self, x_t: Step) -> AdaptiveLIFState:
        return AdaptiveLIFState(v=at_rest(x_t, self.v_leak), a=zero_state(x_t))
