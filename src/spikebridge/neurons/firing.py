"""What neurons that fire at a threshold and are reset have in common, whatever drives them."""

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias, TypedDict, get_args

from torch import Tensor

from spikebridge.errors import ConfigError, did_you_mean, in_words
from spikebridge.neurons.neuron import Neuron
from spikebridge.neurons.quantity import Quantity
from spikebridge.neurons.surrogate import ARCTAN, Surrogate, check_surrogate

Reset: TypeAlias = Literal["zero", "subtract", "none"]
_RENAMED_RESETS = {"hard": "zero", "soft": "subtract"}


_MEMBRANE = {"v_threshold": 1.0, "v_reset": 0.0, "v_leak": 0.0, "r": 1.0}  # where nothing else is given


class FiringSettings(TypedDict, total=False):
    """Keyword arguments of every firing neuron."""

    v_threshold: Tensor | float
    v_reset: Tensor | float
    v_leak: Tensor | float
    r: Tensor | float
    reset: Reset
    surrogate: Surrogate
    detach_reset: bool


class FiringNeuron(Neuron):
    """A layer of neurons that fire at a threshold.

    Args:
        tau: membrane time constant [s].
        dt: step of the layer's clock [s].
        learn: quantities that are trained.
        own: further quantities of the subclass.
        membrane: `v_threshold`, where a spike is fired, `v_reset`, the membrane after a reset to a value, `v_leak`, the
            membrane at rest and the initial one, and `r`, the membrane a unit of input.
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
        tau: Tensor | float,
        dt: float | None,
        learn: str | Iterable[str],
        own: dict[str, Tensor | float],
        *,
        reset: Reset = "zero",
        surrogate: Surrogate = ARCTAN,
        detach_reset: bool = False,
        **membrane: Tensor | float,
    ) -> None:
        for name in membrane.keys() - _MEMBRANE.keys():
            known = ["tau", "dt", "learn", "reset", "surrogate", "detach_reset", *own, *_MEMBRANE]
            raise ConfigError(f"{type(self).__name__} has no {name!r}; {did_you_mean(name, known)}")

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
        return {**quantities, **kinds}
