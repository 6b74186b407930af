"""The layers of a network that can be stepped by events, in order, each with its place in the state; or a refusal."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError
from spikebridge.ops.layers.pooling import MaxPool2d

_PLAIN = (nn.Conv2d, nn.Linear, nn.MaxPool2d, MaxPool2d, nn.AvgPool2d, nn.Flatten)
_ABSENT = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)  # in evaluation


@dataclass(frozen=True)
class LayerRow:
    """The layers of a container: the number of one among those with a state, None without a state, or a container."""

    places: tuple["LayerRow | int | None", ...]

    def states(self, container: Any, states: list[Any]) -> Any:
        """The state of a container like `container`, with the states of its layers in order."""
        parts = [
            place.states(old, states) if isinstance(place, LayerRow) else None if place is None else states[place]
            for place, old in zip(self.places, container.layers, strict=True)
        ]
        return type(container)(tuple(parts))


@dataclass(frozen=True)
class EventLayer:
    """A layer of the network, with the indices that lead to its state in that of the network; None without one."""

    path: str
    module: nn.Module
    address: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        return f"{self.path!r} ({type(self.module).__name__})"

    def find(self, state: Any) -> Any:
        """The state of the layer in that of the network; a `ShapeError` where there is none."""
        try:
            for index in self.address or ():
                state = state[index]
        except (IndexError, KeyError, TypeError):
            raise ShapeError(f"the state holds nothing for {self.name}; give the state of the same network") from None

        return state


def read_layers(network: nn.Module) -> tuple[list[EventLayer], LayerRow]:
    """The layers of a `spikebridge.neurons.Sequential`; a `ConfigError` names one that cannot be stepped by events."""
    if not isinstance(network, nn.Module) or not _is_row(network) or not hasattr(network, "initial_state"):
        kind = type(network)
        raise ConfigError(
            f"event-driven stepping takes a spikebridge.neurons.Sequential, but got a {kind.__module__}."
            f"{kind.__qualname__}; put its layers into one"
        )

    layers: list[EventLayer] = []
    return layers, _read(network, "", (), layers)


def arguments_of(module: Any, num_axes: int) -> dict[str, Any]:
    """The arguments of a neuron's step function, for steps `(B, *N)` with `num_axes` axes."""
    arguments: dict[str, Any] = module.arguments(module.quantities(num_axes + 1, {}))
    return {name: value.detach() if isinstance(value, Tensor) else value for name, value in arguments.items()}


def _is_row(module: nn.Module) -> bool:
    """True if a module only runs its children one after the other, as both kinds of Sequential do."""
    return type(module).forward.__qualname__ == "Sequential.forward"


def _follows_spec(module: nn.Module) -> bool:
    """True for neurons whose step is that of `spec.py`, as it stands in `neurons/`."""
    # neurons are of a higher layer and cannot be imported here: their attributes tell their kind
    kind: Any = type(module)
    if not getattr(kind, "follows_spec", False):
        return False

    return kind.forward.__qualname__ == "Neuron.forward" and kind.step.__qualname__ == "Stateful.step"


def _read(row: nn.Module, path: str, address: tuple[int, ...], layers: list[EventLayer]) -> LayerRow:
    _refuse_hooks(row, path)
    places: list[LayerRow | int | None] = []
    # `named_children` would leave out a layer that stands in two places
    children = [(name, module) for name, module in row._modules.items() if module is not None]

    for index, (name, module) in enumerate(children):
        child_path = f"{path}.{name}" if path else name
        child_address = (*address, 0, index)  # a container's state has one field, the states of its layers
        if _is_row(module):
            inner = _read(module, child_path, child_address, layers)
            places.append(inner if hasattr(module, "initial_state") else None)
            continue

        _refuse_unsupported(module, child_path)
        _refuse_hooks(module, child_path)
        if _follows_spec(module):
            places.append(sum(layer.address is not None for layer in layers))
            layers.append(EventLayer(child_path, module, child_address))
        else:
            places.append(None)
            if type(module) not in _ABSENT:
                layers.append(EventLayer(child_path, module))

    return LayerRow(tuple(places))


def _refuse_hooks(module: nn.Module, path: str) -> None:
    if module._forward_hooks or module._forward_pre_hooks:
        raise ConfigError(
            f"{path or 'the network'!r} has forward hooks, which a prepared network would not call; remove them"
        )


def _refuse_unsupported(module: nn.Module, path: str) -> None:
    reason = _reason_against(module)
    if reason:
        raise ConfigError(
            f"{path!r} is a {type(module).__name__}, which cannot be stepped by events: {reason}; step the network "
            "itself, or prepare the layers before and after it"
        )


def _reason_against(module: Any) -> str:
    """The reason why a layer cannot be stepped by events; empty where it can."""
    kind = type(module)
    if kind in _ABSENT:
        return "it is random in training mode (use .eval())" if kind is not nn.Identity and module.training else ""

    if _follows_spec(module):
        arguments = arguments_of(module, 2)
        if arguments.get("reset") == "none":
            return "it has no reset"
        surrogate = arguments.get("surrogate")
        is_plain = surrogate is None or type(surrogate).__call__.__qualname__ == "Surrogate.__call__"
        return "" if is_plain else "its surrogate makes spikes in a way of its own"

    if hasattr(module, "initial_state"):
        return "its step is not the scheme of charge, fire and reset"
    if kind not in _PLAIN:
        names = ", ".join(dict.fromkeys(plain.__name__ for plain in _PLAIN))
        return f"only neurons, {names} can (and Identity, and Dropout in evaluation)"
    if kind is nn.Conv2d and module.padding_mode != "zeros":
        return f"its padding is {module.padding_mode!r}, not zeros"
    if kind is nn.MaxPool2d and module.return_indices:
        return "it returns indices too"
    if kind is nn.Flatten and (module.start_dim, module.end_dim) != (1, -1):
        return f"it flattens from axis {module.start_dim} to {module.end_dim}, not from 1 to -1"

    return ""
