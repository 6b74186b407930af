"""Leaky integrate-and-fire neurons (LIF), without a leak (IF), and with a learned time constant (PLIF).

R. Zhao et al., Nature Communications 13:3427 (2022), eq. 7. NIR's `LIF` integrates `tau dv/dt = (v_leak - v) + r I`;
with the input constant over a step its exact solution scales the input by `1 - decay`, so `r_nir = r / (1 - decay)`.

PLIF learns its time constant (W. Fang et al., ICCV 2021), stored as its logarithm, so that it stays positive. In NIR it
is a `LIF`.
"""

import math
from typing import Any, Literal, NamedTuple, TypeAlias, TypedDict, Unpack, get_args

import torch
from torch import Tensor

from spikebridge.axes import Step
from spikebridge.errors import ConfigError, did_you_mean, in_words, is_number
from spikebridge.neurons.dt import required_dt
from spikebridge.neurons.neuron import Neuron
from spikebridge.neurons.quantity import Names, Quantity, Value, names_to_learn, warn_of_milliseconds
from spikebridge.neurons.surrogate import ARCTAN, Surrogate, check_surrogate
from spikebridge.ops.precision import state_dtype, zero_state

Reset: TypeAlias = Literal["zero", "subtract", "none"]
_RENAMED_RESETS = {"hard": "zero", "soft": "subtract"}
_MEMBRANE = {"v_threshold": 1.0, "v_reset": 0.0, "v_leak": 0.0, "r": 1.0}  # defaults


class LIFState(NamedTuple):
    """Membrane after the reset, and steps of refractory time left (None where there is none)."""

    v: Tensor
    wait: Tensor | None = None


def at_rest(x_t: Tensor, v_leak: Value) -> Tensor:
    """Membranes at their resting value, one for each number of a step."""
    if isinstance(v_leak, float):
        return torch.full_like(x_t, v_leak, dtype=state_dtype(x_t.dtype))
    return zero_state(x_t) + v_leak


def leak(v: Tensor, decay: Value, v_leak: Value) -> Tensor:
    """A membrane one step closer to its resting value."""
    # one product instead of three operations where the membrane rests at 0, as by default
    if isinstance(v_leak, float) and v_leak == 0:
        return v if isinstance(decay, float) and decay == 1 else v * decay
    return v_leak + decay * (v - v_leak)


class Firing(TypedDict, total=False):
    """Keyword arguments of `fire_and_reset`: the spike, and the membrane after it."""

    surrogate: Surrogate
    v_reset: Value
    reset: Reset
    detach_reset: bool


def fire_and_reset(
    v: Tensor,
    v_threshold: Value,
    active: Tensor | None = None,
    *,
    v_reset: Value = 0.0,
    reset: Reset = "zero",
    surrogate: Surrogate = ARCTAN,
    detach_reset: bool = False,
) -> tuple[Tensor, Tensor]:
    """Spikes of active neurons where the membrane has reached its threshold, and the membrane after them."""
    spikes = surrogate(v - v_threshold)
    if active is not None:
        spikes = spikes * active

    reached = spikes.detach() if detach_reset else spikes
    if reset == "none":
        return spikes, v
    if reset == "subtract":
        return spikes, v - reached * v_threshold
    # two operations instead of four
    if isinstance(v_reset, float) and v_reset == 0:
        return spikes, v - reached * v

    return spikes, v * (1 - reached) + reached * v_reset


def lif_step(
    x_t: Step,
    state: LIFState,
    *,
    decay: Value,
    v_threshold: Value = 1.0,
    v_leak: Value = 0.0,
    r: Value = 1.0,
    refractory: int = 0,
    **firing: Unpack[Firing],
) -> tuple[Step, LIFState]:
    """One step: leak and charge, fire, reset.

    `v = v_leak + decay (v - v_leak) + r x`, a spike where `v >= v_threshold`, then the reset.

    Args:
        x_t: input current.
        state: membranes (and refractory steps left) after the last step.
        decay: `exp(-dt / tau)`, 0 to 1.
        v_threshold: the membrane at which a neuron fires.
        v_leak: membrane at rest.
        r: membrane a unit of input.
        refractory: steps after a spike in which a neuron neither integrates nor fires.
        firing: `v_reset`, `reset`, `surrogate` and `detach_reset`, as in `fire_and_reset`.

    Returns:
        Spikes, 0 or 1, and the state after the reset.

    Example:
        >>> state = LIFState(v=torch.tensor([[0.8]]))
        >>> spikes, state = lif_step(torch.tensor([[0.7]]), state, decay=0.5)
        >>> spikes.item(), state.v.item()
        (1.0, 0.0)
    """
    charge = x_t if isinstance(r, float) and r == 1 else r * x_t
    v = leak(state.v, decay, v_leak) + charge
    if state.wait is None:
        spikes, v = fire_and_reset(v, v_threshold, **firing)
        return spikes, LIFState(v)

    active = state.wait == 0
    spikes, v = fire_and_reset(torch.where(active, v, state.v), v_threshold, active, **firing)
    wait = torch.where(spikes > 0, refractory, (state.wait - 1).clamp(min=0))

    return spikes, LIFState(v, wait)


class FiringSettings(Firing, TypedDict, total=False):
    """Keyword arguments of every firing neuron."""

    v_threshold: Value
    v_leak: Value
    r: Value


class FiringNeuron(Neuron):
    """A layer of neurons that fire at a threshold.

    Args:
        tau: membrane time constant [s].
        dt: step of the layer's clock [s].
        learn: quantities that are trained.
        own: further quantities of the subclass.
        membrane: `v_threshold`, where a spike is fired; `v_reset`, the membrane after a reset to a value; `v_leak`, the
            membrane at rest and the initial one; `r`, the membrane a unit of input.
        reset: "zero" sets the membrane to `v_reset`, "subtract" takes the threshold away, "none" leaves it.
        surrogate: derivative of the spike.
        detach_reset: no gradient through the reset.
    """

    tau = Quantity(positive=True)
    v_threshold = Quantity()
    v_reset = Quantity()
    v_leak = Quantity()
    r = Quantity()

    def __init__(
        self,
        tau: Value,
        dt: float | None,
        learn: Names,
        own: dict[str, Value],
        *,
        reset: Reset = "zero",
        surrogate: Surrogate = ARCTAN,
        detach_reset: bool = False,
        **membrane: Value,
    ) -> None:
        for name in membrane.keys() - _MEMBRANE.keys():
            names = ["tau", "dt", "learn", "reset", "surrogate", "detach_reset", *own, *_MEMBRANE]
            raise ConfigError(f"{type(self).__name__} has no {name!r}; {did_you_mean(name, names)}")

        super().__init__(dt, learn, tau=tau, **own, **(_MEMBRANE | membrane))
        if reset not in get_args(Reset):
            new = _RENAMED_RESETS.get(str(reset))
            hint = f"{reset!r} is now {new!r}" if new else f"but got {in_words(reset)}"
            raise ConfigError(
                f"{type(self).__name__} needs reset='zero', 'subtract' or 'none'{'; ' if new else ', '}{hint}"
            )

        check_surrogate(type(self).__name__, surrogate)
        self.reset = reset
        self.surrogate = surrogate
        self.detach_reset = detach_reset

    def arguments(self, quantities: dict[str, Any]) -> dict[str, Any]:
        kinds = {"reset": self.reset, "surrogate": self.surrogate, "detach_reset": self.detach_reset}
        return {**super().arguments(quantities), **kinds}


class LIF(FiringNeuron):
    """A layer of leaky integrate-and-fire neurons.

    Args:
        tau: membrane time constant [s], above 0; `inf` is a neuron without leak.
        dt: step of the layer's clock [s]; None where a network or `Sequential` binds it.
        v_threshold: the membrane at which a neuron fires.
        v_reset: membrane after a reset to a value.
        v_leak: membrane at rest, also the initial one.
        r: membrane a unit of input.
        reset: "zero", "subtract" or "none".
        refractory: refractory time [s], rounded to whole steps.
        surrogate: derivative of the spike.
        detach_reset: no gradient through the reset.
        learn: quantities that are trained, for example `("tau", "v_threshold")`.

    Example:
        >>> lif = LIF(tau=0.02, dt=0.001, v_threshold=1.0)
        >>> spikes, state = lif(torch.full((4, 1, 3), 0.6))
        >>> spikes[:, 0, 0].tolist()
        [0.0, 1.0, 0.0, 1.0]
    """

    step_function = staticmethod(lif_step)
    refractory_time: float
    follows_spec = True

    def __init__(
        self,
        tau: Value = 0.02,
        *,
        dt: float | None = None,
        refractory: float = 0.0,
        learn: Names = (),
        **settings: Unpack[FiringSettings],
    ) -> None:
        super().__init__(tau, dt, learn, {}, **settings)
        if not is_number(refractory) or not 0 <= refractory < math.inf:
            raise ConfigError(f"{type(self).__name__} needs a refractory time >= 0 s, but got {in_words(refractory)}")

        self.refractory_time = float(refractory)
        warn_of_milliseconds(self, "refractory", self.refractory_time)
        # a refractory time that dt cannot hold is refused here, not at the first call
        if dt is not None:
            _ = self.refractory

    @property
    def refractory(self) -> int:
        """The refractory time in steps, rounded."""
        if self.refractory_time == 0:
            return 0

        dt = required_dt(self)
        if self.refractory_time <= dt / 2:
            raise ConfigError(
                f"{type(self).__name__} has a refractory time of {self.refractory_time} s, at most half a step of {dt} "
                "s; make it 0"
            )

        return round(self.refractory_time / dt)

    def _times(self) -> dict[str, Any]:
        return {**super()._times(), "refractory": getattr(self, "refractory_time", None)}

    def initial_state(self, x_t: Tensor) -> LIFState:
        return LIFState(
            v=at_rest(x_t, self.v_leak),
            wait=torch.zeros(x_t.shape, dtype=torch.int64, device=x_t.device) if self.refractory else None,
        )

    def arguments(self, quantities: dict[str, Any]) -> dict[str, Any]:
        return {**super().arguments(quantities), "refractory": self.refractory}

    def leak(self, state: LIFState, num_steps: Tensor) -> LIFState:
        v = leak(state.v, self.decay_over("decay", num_steps, state.v), self.v_leak)
        if state.wait is None:
            return state._replace(v=v)

        steps = num_steps.reshape(-1, *[1] * (v.ndim - 1))
        return state._replace(v=v, wait=(state.wait - steps).clamp(min=0))


class IF(LIF):
    """Integrate-and-fire neurons: `LIF` with `tau=inf`. The arguments are those of `LIF` without `tau`.

    Without a leak `tau` and `v_leak` (here the initial membrane, no more) cannot be modulated: it would silently
    change nothing. `dt` is needed for a refractory time only.

    Example:
        >>> spikes, state = IF(v_threshold=2.0)(torch.ones(4, 1, 1))
        >>> spikes.flatten().tolist()
        [0.0, 1.0, 0.0, 1.0]
    """

    modulable = tuple(name for name in LIF.modulable if name not in ("tau", "v_leak"))

    @property
    def uses_dt(self) -> bool:
        return self.refractory_time > 0

    def __init__(self, *, dt: float | None = None, **settings: Any) -> None:
        super().__init__(math.inf, dt=dt, **settings)

    def arguments(self, quantities: dict[str, Any]) -> dict[str, Any]:
        return super().arguments({**quantities, "tau": self.tau})


class PLIF(LIF):
    """`LIF` whose `tau` is trained, one for the layer or one a neuron; the arguments are those of `LIF`.

    Example:
        >>> [name for name, _ in PLIF(tau=0.02, dt=0.001).named_parameters()]
        ['log_tau']
    """

    def __init__(self, tau: Value = 0.02, *, dt: float | None = None, learn: Names = (), **settings: Any) -> None:
        also = names_to_learn(type(self).__name__, learn, self.modulable)
        super().__init__(tau, dt=dt, learn=("tau", *also), **settings)
