"""Physical quantities of a layer (time constants, thresholds, gains) and effects on them.

A quantity is a float, a tensor (one value a neuron), or learned. It reaches the computation as an argument, so a
modulated quantity is an argument that came from elsewhere: nothing is ever written into the module.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError

By: TypeAlias = Literal["add", "multiply", "replace"]


@dataclass(frozen=True)
class Effect:
    """A modulating signal and how it acts on a quantity.

    The axes of the signal line up with those of the layer from the left: `(T, B, C)` acts per channel on `(T, B, C, H, W)`.

    Args:
        signal: `(T, B, *M)`, or `(1, B, *M)` when it does not change in time.
        by: "add", "multiply" or "replace".

    Example:
        >>> Effect(torch.tensor([[[2.0], [3.0]]]), "multiply").on(0.5, ndim=3)
        tensor([[[1.0000],
                 [1.5000]]])
    """

    signal: Tensor
    by: By = "multiply"

    def __post_init__(self) -> None:
        if self.by not in get_args(By):
            raise ConfigError(f"a modulation acts by one of {', '.join(get_args(By))}, but got {self.by!r}")

    def on(self, base: Tensor | float, ndim: int) -> Tensor:
        """The quantity under this effect, with `ndim` axes, time first."""
        if self.signal.ndim > ndim:
            raise ShapeError(
                f"a modulation of shape {tuple(self.signal.shape)} has more axes than what it modulates ({ndim} with time "
                "and batch); reduce it in the unit"
            )
        signal = self.signal.reshape(*self.signal.shape, *[1] * (ndim - self.signal.ndim))
        if self.by == "replace":
            return signal
        return base + signal if self.by == "add" else base * signal


Modulated: TypeAlias = Tensor | float | Effect | Sequence[Effect]


class Quantity:
    """A physical quantity of a layer, declared on the class and set by `set_quantity`.

    Args:
        positive: it must be above zero; when learned it is stored as its logarithm, so that it stays there.
    """

    def __init__(self, positive: bool = False) -> None:
        self.positive = positive

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, layer: nn.Module | None, owner: type | None = None) -> Any:
        if layer is None:
            return self
        if (logarithm := layer._parameters.get(f"log_{self.name}")) is not None:
            return logarithm.exp()
        for place in (layer._parameters, layer._buffers, layer.__dict__):
            if self.name in place:
                return place[self.name]
        raise AttributeError(self.name)

    def __set__(self, layer: nn.Module, value: Any) -> None:
        self.store(layer, value, learn=False)

    def store(self, layer: nn.Module, value: Tensor | float, learn: bool) -> None:
        """Checks a value and puts it where the module keeps it: a parameter, a buffer, or a plain number."""
        self.check(layer, value)
        for place in (layer._parameters, layer._buffers, layer.__dict__):
            place.pop(self.name, None)
            place.pop(f"log_{self.name}", None)
        if learn:
            tensor = torch.as_tensor(value, dtype=torch.get_default_dtype() if isinstance(value, float | int) else None)
            if self.positive:
                if not bool(tensor.isfinite().all()):
                    raise ConfigError(
                        f"{type(layer).__name__} cannot learn {self.name} from {value}: start it at a finite value"
                    )
                layer._parameters[f"log_{self.name}"] = nn.Parameter(tensor.detach().log())
            else:
                layer._parameters[self.name] = nn.Parameter(tensor.detach().clone())
        elif isinstance(value, Tensor):
            layer._buffers[self.name] = value.detach().clone()
        else:
            layer.__dict__[self.name] = float(value)

    def check(self, layer: nn.Module, value: Tensor | float) -> None:
        """Raises a `ConfigError` where the value is not a number, or not positive and has to be."""
        who = type(layer).__name__
        if isinstance(value, Tensor):
            smallest = float(value.detach().min()) if value.numel() else math.nan
            if bool(value.isnan().any()):
                smallest = math.nan
        elif isinstance(value, int | float) and not isinstance(value, bool):
            smallest = float(value)
        else:
            raise ConfigError(f"{who} needs {self.name} as a number or a tensor, but got {value!r}")
        if math.isnan(smallest):
            raise ConfigError(f"{who} needs a number for {self.name}, but got {value}")
        if self.positive and smallest <= 0:
            hint = f"; did you mean {-smallest:g}?" if smallest < 0 else ""
            unlimited = " (tau=inf is a neuron without leak.)" if self.name == "tau" else ""
            unit = " s" if self.name.startswith("tau") else ""
            raise ConfigError(f"{who} needs {self.name} > 0{unit}, but got {smallest:g}{hint}{unlimited}")

    def resolve(self, layer: nn.Module, value: Modulated, ndim: int) -> Tensor | float:
        """The value under modulation, checked where it must be positive."""
        if isinstance(value, Effect):
            value = value.on(self.__get__(layer), ndim)
        elif isinstance(value, list | tuple):
            effects: Sequence[Effect] = value
            value = self.__get__(layer)
            for effect in effects:
                value = effect.on(value, ndim)
        if self.positive and not torch.compiler.is_compiling():
            self.check(layer, value)  # type: ignore[arg-type]
        return value  # type: ignore[return-value]
