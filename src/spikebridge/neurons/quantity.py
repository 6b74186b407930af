"""Physical quantities of a layer (time constants, thresholds, gains) and effects on them.

A quantity is a float, a tensor (one value a neuron), or learned. It reaches the computation as an argument, so a
modulated quantity is an argument from another place: nothing is ever written into the module.

All three are in the `state_dict()` of a `Quantified` module, a float as a float64 tensor on the CPU: it computes as a
float, without a read back from a device, and is saved and loaded to the bit.
"""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypeAlias, TypeGuard, get_args

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError, did_you_mean, in_words
from spikebridge.ops.checks import reads_values
from spikebridge.ops.precision import upcast

By: TypeAlias = Literal["add", "multiply", "replace"]
Value: TypeAlias = Tensor | float
Names: TypeAlias = str | Iterable[str]  # of quantities, one or several


def modulate(base: Value, signal: Tensor, by: By) -> Tensor:
    """A quantity under a modulating signal."""
    if by == "replace":
        return signal
    return base + signal if by == "add" else base * signal


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

    def on(self, base: Value, ndim: int) -> Tensor:
        """The quantity under this effect, with `ndim` axes, time first."""
        signal = self.signal
        if signal.ndim > ndim:
            raise ShapeError(
                f"a modulation of shape {tuple(signal.shape)} has more axes than what it modulates ({ndim} with time "
                "and batch); reduce it in the unit"
            )

        try:
            return modulate(base, signal.reshape(*signal.shape, *[1] * (ndim - signal.ndim)), self.by)
        except RuntimeError:
            raise ShapeError(
                f"a modulation of shape {tuple(signal.shape)} (T, B, *M) does not fit a quantity of shape "
                f"{tuple(torch.as_tensor(base).shape)} (*N), with which *M lines up from the left"
            ) from None


def are_effects(value: object) -> TypeGuard[Sequence[Effect]]:
    """True for a list of effects; numbers in a list are none."""
    return isinstance(value, list | tuple) and all(isinstance(item, Effect) for item in value)


Modulated: TypeAlias = Tensor | float | int | Effect | Sequence[Effect] | None  # None is no modulation


def broadcasts(shape: Sequence[int], onto: Sequence[int]) -> bool:
    """True if values of a shape broadcast onto another, lined up from the right."""
    pairs = zip(reversed(shape), reversed(onto), strict=False)
    return len(shape) <= len(onto) and all(n in (1, m) for n, m in pairs)


def has_two_meanings(shape: Sequence[int], neurons: Sequence[int]) -> bool:
    """True if a value with fewer axes than the neurons fits their leading and trailing axes in different ways."""
    # an `Effect` acts on the leading axes, a plain tensor on the trailing ones, as in PyTorch; with all axes, `(C, 1,
    # 1)` or `(1, H, W)`, nothing is ambiguous
    missing = len(neurons) - len(shape)
    if missing <= 0:
        return False

    leading, trailing = _with_all_axes(shape, missing)
    return leading != trailing and broadcasts(leading, neurons) and broadcasts(trailing, neurons)


def _with_all_axes(shape: Sequence[int], missing: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A shape on the leading axes and on the trailing ones."""
    ones = (1,) * missing
    return (*shape, *ones), (*ones, *shape)


def refuse_ambiguous(what: str, value: Modulated, neurons: Sequence[int]) -> None:
    """Raises if a value, or one of several effects, fits the neurons `*N` in two ways; numbers always fit."""
    for item in value if isinstance(value, list | tuple) else (value,):
        is_effect = isinstance(item, Effect)
        if not is_effect and not isinstance(item, Tensor):
            continue

        shape = item.signal.shape[2:] if is_effect else item.shape
        if has_two_meanings(shape, neurons):
            leading, trailing = _with_all_axes(shape, len(neurons) - len(shape))
            behind = ", behind time and batch" if is_effect else ""
            raise ShapeError(
                f"{what} needs a value with all axes of {tuple(neurons)}, but got {tuple(shape)}, which fits the "
                f"leading axes and the trailing ones; reshape it to {leading} or to {trailing}{behind}"
            )


def refuse_other_place(has: str, value: Tensor, needs: str, signal: Tensor) -> None:
    """Raises if a value has another dtype or device than a signal; `has` and `needs` are the words before each."""
    if value.dtype != signal.dtype or value.device != signal.device:
        raise ShapeError(
            f"{has} {value.dtype} on {value.device}{needs} {signal.dtype} on {signal.device}; move one of them with "
            ".to()"
        )


_TIMES = ("tau", "delay", "sigma")  # the beginnings of the names of times [s]
_LONG = 1.0  # s
_LONG_IN_STEPS = 1000
_SHORT = 0.2  # s: times of slow currents, which a simulation in fine steps may have
_OWN_UNIT = 0.1  # s: a longer step counts time in a unit of the user's own, such as dt=1.0


def warn_of_milliseconds(layer: nn.Module, name: str, value: Any) -> None:
    """Warns of a time [s] that is long for the clock of its layer: it may have been meant in milliseconds."""
    dt = getattr(layer, "dt", None)
    if value is None or dt is None or dt >= _OWN_UNIT:
        return
    if isinstance(value, Tensor) and (_are_hidden(value) or not value.is_cpu or not value.numel()):
        return

    longest = float(value.detach().max() if isinstance(value, Tensor) else value)
    if max(_SHORT, min(_LONG, _LONG_IN_STEPS * dt)) < longest < math.inf:
        warnings.warn(
            f"{type(layer).__name__} has {name}={longest:g} s, {longest / dt:.6g} steps of {dt:g} s; times are in "
            f"seconds: {longest:g} ms is {name}={longest / 1000:g}",
            stacklevel=2,
        )


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

    # without `__set__`, so that Python itself finds a float among the attributes of the layer, at no cost
    def __get__(self, layer: nn.Module | None, owner: type | None = None) -> Any:
        if layer is None:
            return self
        if (logarithm := layer._parameters.get(f"log_{self.name}")) is not None:
            return upcast(logarithm).exp()

        for place in (layer._parameters, layer._buffers):
            value = place.get(self.name)
            if value is not None:
                return upcast(value)

        raise AttributeError(self.name)

    def set(self, layer: nn.Module, value: Any) -> None:
        """Gives the quantity another value, which goes where the one before is kept."""
        key = f"log_{self.name}" if self.positive else self.name
        parameter = layer._parameters.get(key)
        if parameter is None:
            self.store(layer, value, learn=False)
            return

        if isinstance(value, nn.Parameter) and not self.positive:
            layer._parameters[key] = value
            return

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
        # the value before may be of another kind, kept elsewhere
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

        for kept in _KEPT:
            layer.__dict__.pop(kept, None)

        if self.name.startswith(_TIMES):
            warn_of_milliseconds(layer, self.name, value)

    def check(self, layer: nn.Module, value: Any) -> None:
        """Raises if a value to keep is not a number, or not positive and has to be."""
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
        """Raises if a value is NaN, or not positive and has to be."""
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

    def resolve(self, layer: nn.Module, value: Modulated, ndim: int, is_first: bool = True) -> Value:
        """The value under modulation; if a stream begins and it must be positive, its numbers are checked."""
        resolved: Value
        if isinstance(value, Tensor):
            resolved = upcast(value)
        elif isinstance(value, Effect):
            resolved = value.upcast().on(getattr(layer, self.name), ndim)
        elif are_effects(value):
            resolved = getattr(layer, self.name)
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


# attributes that a layer keeps until another one is set: arguments of its step that are all numbers, and for sets of
# quantities whether they act on the arguments of their names alone
_KEPT = ("_kept", "_alone")


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
    _kept: dict[str, Any] | None = None
    _alone: Mapping[tuple[str, ...], bool] = MappingProxyType({})

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = [name for name, value in vars(cls).items() if isinstance(value, Quantity)]
        cls.modulable = tuple(dict.fromkeys([*cls.modulable, *own]))

    def __setattr__(self, name: str, value: Any) -> None:
        for kept in _KEPT:
            self.__dict__.pop(kept, None)

        quantity = getattr(type(self), name, None)
        if isinstance(quantity, Quantity):
            # a module has rules of its own for parameters and buffers, which would pass the checks by
            quantity.set(self, value)
        else:
            super().__setattr__(name, value)
            if name == "dt":
                for time, seconds in self._times().items():
                    warn_of_milliseconds(self, time, seconds)

    def _times(self) -> dict[str, Any]:
        """The time constants and other times [s] by name, None before they are set."""
        return {name: getattr(self, name, None) for name in self.modulable if name.startswith(_TIMES)}

    def store_quantities(self, learn: Names, quantities: Mapping[str, Value]) -> None:
        """Stores quantities by name: numbers, buffers, or parameters for those named in `learn`."""
        learned = names_to_learn(type(self).__name__, learn, quantities)
        for name, value in quantities.items():
            getattr(type(self), name).store(self, value, learn=name in learned)

    def keep_numbers(self, arguments: dict[str, Any]) -> None:
        """Keeps arguments of a step that are all numbers until an attribute of the layer is set."""
        # is_compiling first: a compiler would guard what it reads, and trace what is written
        if torch.compiler.is_compiling() or self._parameters or self._buffers or self._modules:
            return

        # a tensor may be written in place or trained; a number changes by `__setattr__` alone, which forgets them
        if not any(isinstance(value, Tensor) for value in arguments.values()):
            self.__dict__["_kept"] = arguments

    def _floats(self) -> list[str]:
        """The quantities that are kept as floats."""
        return [name for name in self.__dict__ if isinstance(getattr(type(self), name, None), Quantity)]

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in self._floats():
            destination[prefix + name] = torch.tensor(getattr(self, name), dtype=torch.float64, device="cpu")

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], strict: bool, *lists: list[str]
    ) -> None:
        missing, unexpected, errors = lists
        floats = {prefix + name: name for name in self._floats()}
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, *lists)
        unexpected[:] = [key for key in unexpected if key not in floats]
        is_old = (local_metadata.get("version") or 1) < 2 and not any(key in state_dict for key in floats)

        for key, name in floats.items():
            if key not in state_dict:
                missing.extend([key] if strict and not is_old else [])
                continue

            value = state_dict[key]
            if not isinstance(value, Tensor) or value.ndim:
                shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                errors.append(f"size mismatch for {key}: {shape} there and one number here")
                continue

            try:
                setattr(self, name, float(value))
            except ConfigError as error:
                errors.append(f"{key}: {error}")


def names_of_floats(module: nn.Module) -> set[str]:
    """The names in `state_dict()` of all quantities that are kept as floats."""
    quantified = [(path, layer) for path, layer in module.named_modules() if isinstance(layer, Quantified)]
    return {f"{path}.{name}" if path else name for path, layer in quantified for name in layer._floats()}


def names_to_learn(who: str, learn: Names, quantities: Iterable[str]) -> tuple[str, ...]:
    """The quantities named in `learn=`, or a `ConfigError` if they are no names of quantities."""
    if not isinstance(learn, Iterable):
        raise ConfigError(f"{who} takes learn= as names of quantities, such as ('tau',), but got {in_words(learn)}")

    quantities = list(quantities)
    names = (learn,) if isinstance(learn, str) else tuple(learn)
    for name in names:
        if name not in quantities:
            raise ConfigError(f"{who} cannot learn {in_words(name)}; {did_you_mean(str(name), quantities)}")

    return names


def _are_hidden(values: Tensor) -> bool:
    """True if numbers cannot be read: in `torch.func` transforms, in compilation, on the meta device."""
    # is_compiling first: what stands after it is never traced
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active() or values.is_meta
