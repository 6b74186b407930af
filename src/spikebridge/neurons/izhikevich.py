"""Izhikevich's simple model of spiking neurons (E. M. Izhikevich, IEEE Transactions on Neural Networks 14, 2003).

Membranes are in mV and the model's time in ms, as printed; `dt` is in seconds like everywhere. NIR has no node for it.
"""

from typing import Any, NamedTuple, TypedDict, Unpack

from torch import Tensor

from spikebridge.axes import Step
from spikebridge.neurons.dt import required_dt
from spikebridge.neurons.neuron import Neuron
from spikebridge.neurons.quantity import Names, Quantity, Value
from spikebridge.neurons.surrogate import Arctan, Surrogate, check_surrogate
from spikebridge.ops.precision import zero_state

_WIDE = Arctan(width=10.0)  # membranes move by tens of mV


class IzhikevichState(NamedTuple):
    """Membrane [mV] and recovery variable, both after the reset."""

    v: Tensor
    u: Tensor


class _Spiking(TypedDict, total=False):
    surrogate: Surrogate


def izhikevich_step(
    x_t: Step,
    state: IzhikevichState,
    *,
    dt_ms: float,
    a: Value = 0.02,
    b: Value = 0.2,
    c: Value = -65.0,
    d: Value = 8.0,
    v_threshold: Value = 30.0,
    **spiking: Unpack[_Spiking],
) -> tuple[Step, IzhikevichState]:
    """One Euler step of `dv/dt = 0.04 v^2 + 5 v + 140 - u + x`, `du/dt = a (b v - u)`, then the reset.

    A spike, where `v >= v_threshold`, sets `v = c` and adds `d` to `u`.

    Args:
        x_t: input current, in the model's units.
        state: membranes and recovery after the last step.
        dt_ms: step [ms].
        a: rate of the recovery [1/ms].
        b: coupling of the recovery to the membrane.
        c: membrane after a spike [mV].
        d: rise of the recovery with a spike.
        v_threshold: peak of a spike [mV].
        spiking: `surrogate`, the derivative of the spike; an arctan of width 10 unless given.

    Returns:
        Spikes and the state after the reset.

    Example:
        >>> import torch
        >>> state = IzhikevichState(v=torch.tensor([[-70.0]]), u=torch.tensor([[-14.0]]))
        >>> spikes, state = izhikevich_step(torch.tensor([[0.0]]), state, dt_ms=1.0)  # rest: 196 - 350 + 140 + 14 = 0
        >>> spikes.item(), round(state.v.item(), 3), round(state.u.item(), 3)
        (0.0, -70.0, -14.0)
    """
    v = state.v + dt_ms * (0.04 * state.v * state.v + 5 * state.v + 140 - state.u + x_t)
    u = state.u + dt_ms * a * (b * state.v - state.u)
    spikes = spiking.get("surrogate", _WIDE)(v - v_threshold)

    return spikes, IzhikevichState(v=v * (1 - spikes) + spikes * c, u=u + spikes * d)


class Izhikevich(Neuron):
    """A layer of Izhikevich neurons; the defaults are the regular spiking cell.

    Args:
        dt: step of the layer's clock [s], at most 1 ms is advised; None where a network or `Sequential` binds it.
        a, b, c, d: the model's parameters, in its own units.
        v_threshold: peak of a spike [mV].
        surrogate: derivative of the spike.
        learn: quantities that are trained.

    Example:
        >>> import torch
        >>> spikes, state = Izhikevich(dt=0.0005)(torch.full((400, 1, 1), 10.0))
        >>> bool(spikes.sum() > 0), bool(Izhikevich(dt=0.0005)(torch.zeros(400, 1, 1))[0].sum() > 0)
        (True, False)
    """

    a = Quantity(positive=True)
    b = Quantity()
    c = Quantity()
    d = Quantity()
    v_threshold = Quantity()
    step_function = staticmethod(izhikevich_step)
    no_leak = "has a membrane with a square, whose decay over several steps has no closed form"

    def __init__(
        self,
        *,
        dt: float | None = None,
        a: Value = 0.02,
        b: Value = 0.2,
        c: Value = -65.0,
        d: Value = 8.0,
        v_threshold: Value = 30.0,
        surrogate: Surrogate = _WIDE,
        learn: Names = (),
    ) -> None:
        super().__init__(dt, learn, a=a, b=b, c=c, d=d, v_threshold=v_threshold)
        check_surrogate(type(self).__name__, surrogate)
        self.surrogate = surrogate

    @property
    def uses_dt(self) -> bool:
        return True

    def initial_state(self, x_t: Step) -> IzhikevichState:
        v = zero_state(x_t) - 65.0
        return IzhikevichState(v=v, u=v * self.b)

    def arguments(self, quantities: dict[str, Any]) -> dict[str, Any]:
        return {**quantities, "dt_ms": 1000.0 * required_dt(self), "surrogate": self.surrogate}
