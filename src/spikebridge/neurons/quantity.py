"""Physical quantities of a layer (time constants, thresholds, gains) and effects on them.

A quantity is a float, a tensor (one value a neuron), or learned. It reaches the computation as an argument, so a
modulated quantity is an argument that came from elsewhere: nothing is ever written into the module.

All three are in the `state_dict()` of a `Quantified` module, a float as a float64 tensor on the CPU: it computes as a
float, without a read back from a device, and is saved and loaded to the bit.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError, did_you_mean, in_words
from spikebridge.ops.checks import reads_values
from spikebridge.ops.precision import upcast

By: TypeAlias = Literal["add", "multiply", "replace"]


@dataclass(frozen=True)
class Effect:
    """A modulating signal and how it acts on a quantity.

    The axes of the signal line up with the leading ones of the layer: `(T, B, C)` acts per channel on
    `(T, B, C, H, W)`. Where `*M` fits the trailing axes too, it is refused: see `has_two_meanings`.

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
        if not isinstance(self.signal, Tensor) or self.signal.ndim < 2:
            got = tuple(self.signal.shape) if isinstance(self.signal, Tensor) else self.signal
            raise ShapeError(f"a modulating signal is a tensor (T, B, *M), but got {got}")

    def upcast(self) -> "Effect":
        """The same with a signal of float32 at least."""
        signal = upcast(self.signal)
        return self if signal is self.signal else Effect(signal, self.by)

    def on(self, base: Tensor | float, ndim: int) -> Tensor:
        """The quantity under this effect, with `ndim` axes, time first."""
        if self.signal.ndim > ndim:
            raise ShapeError(
                f"a modulation of shape {tuple(self.signal.shape)} has more axes than what it modulates ({ndim} with "
                "time and batch); reduce it in the unit"
            )

        signal = self.signal.reshape(*self.signal.shape, *[1] * (ndim - self.signal.ndim))
        if self.by == "replace":
            return signal

        try:
            return base + signal if self.by == "add" else base * signal
        except RuntimeError:
            raise ShapeError(
                f"a modulation of shape {tuple(self.signal.shape)} (T, B, *M) does not fit a quantity of shape "
                f"{tuple(torch.as_tensor(base).shape)} (*N), with which *M lines up from the left"
            ) from None


def has_two_meanings(shape: Sequence[int], neurons: Sequence[int]) -> bool:
    """Whether a value with fewer axes than the neurons fits their leading and their trailing axes, as unlike values.

    This is the rule for all values that are broadcast: an `Effect` `*M` acts on the leading axes, a plain tensor on the
    trailing ones, as in PyTorch, and a shape that could be meant either way is refused. With all axes, `(C, 1, 1)` or
    `(1, H, W)`, nothing is ambiguous.

    Args:
        shape: of the value, `*M`, without time and batch.
        neurons: `*N`.

    Example:
        >>> has_two_meanings((4, 4), (4, 4, 4)), has_two_meanings((4, 4, 1), (4, 4, 4))
        (True, False)
        >>> has_two_meanings((4,), (4, 5, 6)), has_two_meanings((1,), (4, 4, 4))
        (False, False)
    """
    missing = len(neurons) - len(shape)
    if missing <= 0:
        return False

    leading, trailing = _with_all_axes(shape, missing)
    return leading != trailing and _fits(leading, neurons) and _fits(trailing, neurons)


def refuse_ambiguous(what: str, value: "Modulated", neurons: Sequence[int]) -> None:
    """Raises a `ShapeError` where a value, or one of several effects, fits the neurons in two ways.

    Args:
        what: has the value, for the message.
        value: a tensor, with time and batch or without, or effects; numbers always fit.
        neurons: `*N`.
    """
    for given in value if isinstance(value, list | tuple) else (value,):
        is_effect = isinstance(given, Effect)
        if not is_effect and not isinstance(given, Tensor):
            continue

        shape = given.signal.shape[2:] if is_effect else given.shape
        if has_two_meanings(shape, neurons):
            leading, trailing = _with_all_axes(shape, len(neurons) - len(shape))
            behind = ", behind time and batch" if is_effect else ""
            raise ShapeError(
                f"{what} needs a value with all axes of {tuple(neurons)}, but got {tuple(shape)}, which fits the "
                f"leading axes and the trailing ones; reshape it to {leading} or to {trailing}{behind}"
            )


def _with_all_axes(shape: Sequence[int], missing: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A shape on the leading axes and on the trailing ones."""
    ones = (1,) * missing
    return (*shape, *ones), (*ones, *shape)


def _fits(shape: Sequence[int], neurons: Sequence[int]) -> bool:
    return all(m in (1, n) for m, n in zip(shape, neurons, strict=True))


Modulated: TypeAlias = Tensor | float | int | Effect | Sequence[Effect] | None  # None is no modulation


class Quantity:
    """A physical quantity of a layer, declared on the class of a `Stateful` and set like an attribute.

    Setting a learned quantity writes into its parameter, so it stays learned.

    Args:
        positive: it must be above zero; when learned it is stored as its logarithm, so that it stays there.

    Example:
        >>> from spikebridge.neurons import PLIF
        >>> layer = PLIF(tau=0.02, dt=0.001)
        >>> layer.tau = 1.0
        >>> layer.tau.item(), layer.log_tau.item()
        (1.0, 0.0)
    """

    def __init__(self, positive: bool = False) -> None:
        self.positive = positive

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, layer: nn.Module | None, owner: type | None = None) -> Any:
        if layer is None:
            return self
        if (logarithm := layer._parameters.get(f"log_{self.name}")) is not None:
            return upcast(logarithm).exp()

        for place in (layer._parameters, layer._buffers, layer.__dict__):
            if self.name in place:
                value = place[self.name]
                return upcast(value) if isinstance(value, Tensor) else value

        raise AttributeError(self.name)

    def __set__(self, layer: nn.Module, value: Any) -> None:
        key = f"log_{self.name}" if self.positive else self.name
        parameter = layer._parameters.get(key)
        if parameter is None:
            self.store(layer, value, learn=False)
        elif isinstance(value, nn.Parameter) and not self.positive:
            layer._parameters[key] = value
        else:
            self.check(layer, value)
            new = torch.as_tensor(value, dtype=parameter.dtype, device=parameter.device)

            try:
                with torch.no_grad():
                    parameter.copy_(new.log() if self.positive else new)
            except RuntimeError:
                raise ShapeError(
                    f"{type(layer).__name__} learns {self.name} of shape {tuple(parameter.shape)}, but got "
                    f"{tuple(new.shape)}; make a new layer for another shape"
                ) from None

    def store(self, layer: nn.Module, value: Tensor | float | int, learn: bool) -> None:
        """Checks a value and puts it where the module keeps it: a parameter, a buffer, or a plain number."""
        self.check(layer, value)
        for place in (layer._parameters, layer._buffers, layer.__dict__):
            place.pop(self.name, None)
            place.pop(f"log_{self.name}", None)

        if learn:
            tensor = value if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.get_default_dtype())
            if self.positive and not _are_hidden(tensor) and not bool(tensor.isfinite().all()):
                raise ConfigError(
                    f"{type(layer).__name__} cannot learn {self.name} from {value}: start it at a finite value"
                )

            key = f"log_{self.name}" if self.positive else self.name
            layer._parameters[key] = nn.Parameter(tensor.log() if self.positive else tensor.clone())
        elif isinstance(value, Tensor):
            layer._buffers[self.name] = value.clone()
        else:
            layer.__dict__[self.name] = float(value)

    def check(self, layer: nn.Module, value: Any) -> None:
        """Raises a `ConfigError` where a value to keep is not a number, or not positive and has to be."""
        who = type(layer).__name__
        if isinstance(value, Tensor):
            if not value.is_floating_point():
                raise ConfigError(f"{who} needs {self.name} as floating numbers, but got {value.dtype}; use .float()")
            if value.requires_grad:
                raise ConfigError(
                    f"{who} got {self.name} as a tensor that requires a gradient; to train it, name it in learn=; to "
                    "modulate it, pass it to forward"
                )
        elif not isinstance(value, Real) or isinstance(value, bool):
            hint = "; torch.tensor makes one of it" if isinstance(value, list | tuple) else ""
            raise ConfigError(f"{who} needs {self.name} as a number or a tensor, but got {in_words(value)}{hint}")

        self.check_values(layer, value)

    def check_values(self, layer: nn.Module, value: Tensor | float | int, origin: str = "") -> None:
        """Raises a `ConfigError` where a value is not a number, or not positive and has to be."""
        if isinstance(value, Tensor):
            if _are_hidden(value) or value.numel() == 0:
                return
            smallest = float(value.detach().min())  # NaN if there is one
        else:
            smallest = float(value)

        who = type(layer).__name__
        if math.isnan(smallest):
            raise ConfigError(f"{who} needs a number for {self.name}{origin}, but got NaN")

        if self.positive and smallest <= 0:
            unit = " s" if self.name.startswith("tau") else ""
            hint = f"; did you mean {-smallest:g}?" if smallest < 0 else ""
            unlimited = " (tau=inf is a neuron without leak.)" if self.name == "tau" else ""
            raise ConfigError(f"{who} needs {self.name} > 0{unit}{origin}, but got {smallest:g}{hint}{unlimited}")

    def resolve(self, layer: nn.Module, value: Modulated, ndim: int, is_first: bool = True) -> Tensor | float:
        """The value under modulation; where a stream begins, checked if it must be positive."""
        resolved: Tensor | float
        if isinstance(value, Tensor):
            resolved = upcast(value)
        elif isinstance(value, Effect):
            resolved = value.upcast().on(self.__get__(layer), ndim)
        elif isinstance(value, list | tuple):
            resolved = self.__get__(layer)
            for effect in value:
                resolved = effect.upcast().on(resolved, ndim)
        elif isinstance(value, Real) and not isinstance(value, bool):
            resolved = float(value)
        else:
            raise ConfigError(
                f"{type(layer).__name__} takes a number, a tensor or an Effect for {self.name}, but got {value!r}"
            )

        if self.positive and (not isinstance(resolved, Tensor) or reads_values(resolved, is_first)):
            self.check_values(layer, resolved, " under modulation")

        return resolved


class Quantified(nn.Module):
    """A module that declares quantities. They are listed in `modulable`, checked when they are set, and saved.

    Files of release 0.1 have no floats; from them a layer keeps those that it was built with.

    Example:
        >>> from spikebridge.neurons import LIF
        >>> layer = LIF(tau=0.02, dt=0.001)
        >>> layer.load_state_dict(LIF(tau=0.05, dt=0.001).state_dict())
        <All keys matched successfully>
        >>> layer.tau
        0.05
    """

    _version = 2  # release 0.1 saved no floats
    modulable: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = [name for name, value in vars(cls).items() if isinstance(value, Quantity)]
        cls.modulable = tuple(dict.fromkeys([*cls.modulable, *own]))

    def __setattr__(self, name: str, value: Any) -> None:
        quantity = getattr(type(self), name, None)
        if isinstance(quantity, Quantity):
            # a module has rules of its own for parameters and buffers, which would pass the checks by
            quantity.__set__(self, value)
        else:
            super().__setattr__(name, value)

    def _floats(self) -> list[str]:
        """The quantities that are kept as floats."""
        return [name for name in self.__dict__ if isinstance(getattr(type(self), name, None), Quantity)]

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in self._floats():
            destination[prefix + name] = torch.tensor(getattr(self, name), dtype=torch.float64, device="cpu")

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        floats = {prefix + name: name for name in self._floats()}
        rest = (local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        super()._load_from_state_dict(state_dict, prefix, *rest)
        unexpected_keys[:] = [key for key in unexpected_keys if key not in floats]
        is_old = (local_metadata.get("version") or 1) < 2 and not any(key in state_dict for key in floats)

        for key, name in floats.items():
            if key not in state_dict:
                missing_keys.extend([key] if strict and not is_old else [])
                continue

            value = state_dict[key]
            if not isinstance(value, Tensor) or value.ndim:
                shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                error_msgs.append(f"size mismatch for {key}: {shape} there and one number here")
                continue

            try:
                setattr(self, name, float(value))
            except ConfigError as error:
                error_msgs.append(f"{key}: {error}")


def names_of_floats(module: nn.Module) -> set[str]:
    """The names in `state_dict()` of all quantities that are kept as floats.

    Example:
        >>> from spikebridge.neurons import Memoryless, Sequential
        >>> sorted(names_of_floats(Sequential(fc=nn.Linear(3, 2), spikes=Memoryless(v_threshold=torch.ones(2)))))
        ['spikes.r']
    """
    quantified = [(path, layer) for path, layer in module.named_modules() if isinstance(layer, Quantified)]
    return {f"{path}.{name}" if path else name for path, layer in quantified for name in layer._floats()}


def names_to_learn(who: str, learn: str | Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """The quantities named in `learn=`, or a `ConfigError` where they are no names of quantities."""
    if not isinstance(learn, Iterable):
        raise ConfigError(f"{who} takes learn= as names of quantities, such as ('tau',), but got {in_words(learn)}")

    names = (learn,) if isinstance(learn, str) else tuple(learn)
    for name in names:
        if name not in (known := list(known)):
            raise ConfigError(f"{who} cannot learn {in_words(name)}; {did_you_mean(str(name), known)}")

    return names


def _are_hidden(values: Tensor) -> bool:
    """Whether a tensor's values cannot be looked at: in `torch.func` transforms, in compilation, on the meta device."""
    # is_compiling first: what stands after it is never traced
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active() or values.is_meta
