"""Modulation: quantities of one network that another network sets (R. Zhao et al., 2022, "hybrid modulation").

Threshold, time constant and leak are quantities of a neuron; weights, biases and connectivity are parameters of any
module; `Gain` and `Gate` are small layers with one quantity. All have a path: a quantity is an argument of the
computation, and an `Effect` is an argument from another network.

A signal V (1 open, 0 closed) can silence neurons in two ways: `ThresholdModulation` raises their thresholds,
`GateModulation` stops their spikes.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError, did_you_mean, in_words, is_positive
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.neuron import Neuron
from spikebridge.neurons.quantity import By, Effect, Names, Quantity, Value
from spikebridge.neurons.state import State


class _Factor(Neuron):
    """A layer without state that multiplies by its only quantity."""

    def initial_state(self, x_t: Tensor) -> State:
        return ()

    def _loop(self, x: Tensor, state: State, arguments: dict[str, Any]) -> tuple[Tensor, State]:
        # without memory all steps are one product
        (factor,) = arguments.values()
        return x * factor, ()

    def leak(self, state: tuple[()], num_steps: Tensor) -> tuple[()]:
        return state


class Gain(_Factor):
    """Multiplies a signal, a current or a feature, by `gain`.

    Args:
        gain: the factor.
        learn: `("gain",)` to train it.

    Example:
        >>> import torch
        >>> Gain(2.0)(torch.ones(1, 1, 1))[0].item(), Gain()(torch.ones(1, 1, 1), gain=torch.tensor(3.0))[0].item()
        (2.0, 3.0)
    """

    gain = Quantity()

    def __init__(self, gain: Value = 1.0, learn: Names = ()) -> None:
        super().__init__(None, learn, gain=gain)


class Gate(_Factor):
    """Passes spikes where `gate` is 1 and stops them where it is 0; it comes after a spiking layer.

    Args:
        gate: 1 open, 0 closed, or between.
        learn: `("gate",)` to train it.

    Example:
        >>> import torch
        >>> Gate()(torch.ones(1, 1, 2), gate=torch.tensor([0.0, 1.0]))[0].flatten().tolist()
        [0.0, 1.0]
    """

    gate = Quantity()

    def __init__(self, gate: Value = 1.0, learn: Names = ()) -> None:
        super().__init__(None, learn, gate=gate)


def _in_time(signal: Float[Tensor, "*M"]) -> Float[Tensor, "T B C"]:
    """A signal of one layer, `(C,)`, `(B, C)` or `(T, B, C)`, with time and batch in front: 1 where it is the same."""
    if not 1 <= signal.ndim <= 3:
        raise ShapeError(
            f"a layer's signal is (C,), (B, C) or (T, B, C), but got shape {tuple(signal.shape)}; flatten its neurons"
        )

    return signal.reshape(*[1] * (3 - signal.ndim), *signal.shape)


@dataclass(frozen=True)
class ThresholdModulation:
    """Closed neurons get a higher threshold: `v_threshold + (1 - V) v_t` (R. Zhao et al., 2022, eq. 19).

    Args:
        v_t: rise of a closed neuron's threshold, above 0.

    Example:
        >>> import torch
        >>> from spikebridge.neurons import IF
        >>> effect = ThresholdModulation(2.0).effect(torch.tensor([1.0, 0.0]))
        >>> IF(v_threshold=1.0)(torch.full((1, 1, 2), 1.5), v_threshold=effect)[0].flatten().tolist()
        [1.0, 0.0]
    """

    v_t: float = 1.0
    quantity: ClassVar[str] = "v_threshold"
    by: ClassVar[By] = "add"

    def __post_init__(self) -> None:
        if not is_positive(self.v_t):
            raise ConfigError(
                f"ThresholdModulation needs v_t > 0, but got {in_words(self.v_t)}; GateModulation is its limit"
            )

    def signal(self, v: Float[Tensor, "*M"]) -> Float[Tensor, "*M"]:
        """The rise of the thresholds."""
        return (1 - v) * self.v_t

    def effect(self, v: Float[Tensor, "*M"]) -> Effect:
        """The effect of a layer's signal `(C,)`, `(B, C)` or `(T, B, C)` on its thresholds."""
        return Effect(_in_time(self.signal(v)), self.by)


@dataclass(frozen=True)
class GateModulation:
    """Spikes of closed neurons are stopped: for binary V the limit of `ThresholdModulation` for a large `v_t`.

    It acts on a `Gate` after the spiking layer. A closed neuron still integrates. Where V changes in time the two
    differ: before a gate a neuron fires and resets, under a raised threshold it keeps its charge.

    Example:
        >>> import torch
        >>> Gate()(torch.ones(1, 1, 2), gate=GateModulation().effect(torch.tensor([1.0, 0.0])))[0].flatten().tolist()
        [1.0, 0.0]
    """

    quantity: ClassVar[str] = "gate"
    by: ClassVar[By] = "multiply"

    def signal(self, v: Float[Tensor, "*M"]) -> Float[Tensor, "*M"]:
        """The factor of the spikes."""
        return v

    def effect(self, v: Float[Tensor, "*M"]) -> Effect:
        """The effect of a layer's signal `(C,)`, `(B, C)` or `(T, B, C)` on its gate."""
        return Effect(_in_time(self.signal(v)), self.by)


def modulable_paths(part: nn.Module) -> list[str]:
    """The paths of all that can be modulated in a part: quantities of stateful layers, parameters of plain modules.

    Example:
        >>> from spikebridge.neurons import IF, Sequential
        >>> modulable_paths(Sequential(fc=nn.Linear(2, 2, bias=False), gate=Gate()))
        ['fc.weight', 'gate.gate']
    """
    if isinstance(part, Stateful):
        return part.modulable_paths()

    return [name for name, _ in part.named_parameters()]


def acts_on_a_parameter(part: nn.Module, path: str) -> bool:
    """True if a path leads to a parameter of a plain module, and not to a quantity of a stateful layer."""
    # below a plain module all names of a path are those of its parameters
    owner: Any = part
    for name in path.split(".")[:-1]:
        if isinstance(owner, Stateful):
            owner = owner._modules.get(name, owner)

    return not isinstance(owner, Stateful)


def check_path(part: nn.Module, name: str, path: str) -> None:
    """Raises if a part has nothing to modulate at a path."""
    paths = modulable_paths(part)
    if path not in paths:
        raise ConfigError(f"part {name!r} has no quantity {path!r}; {did_you_mean(path, paths)}")
