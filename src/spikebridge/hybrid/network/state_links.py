"""States of parts that links read and set: paths to a field of the state of a layer, such as "lif.v"."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError, did_you_mean
from spikebridge.hybrid.clock import Clock
from spikebridge.hybrid.network.link import Initialisation, Link, Route, SignalSpec, describe
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.neuron import Neuron
from spikebridge.neurons.sequential import Sequential, SequentialState
from spikebridge.neurons.state import State


@dataclass(frozen=True)
class StatePorts:
    """The states of a part that links read and set."""

    clock: Clock  # of the part
    outputs: tuple[str, ...]  # the signals of the part that are no states
    reads: Mapping[str, str]  # by signal the path of the state that it is
    sets: tuple[Route, ...]


def _own(module: nn.Module, method: str) -> Any:
    """A method of a part that names its states itself, as one that was read from a file; None for others."""
    return getattr(module, method, None)


def _is_state(part: nn.Module, path: str) -> bool:
    """True if a path in a part leads to a state, and not to one of several outputs."""
    if (paths := _own(part, "state_paths")) is not None:
        return path in paths()

    head, dot, _ = path.partition(".")
    return isinstance(part, Neuron) or bool(dot and isinstance(part._modules.get(head), Stateful))


def states_read(parts: Mapping[str, nn.Module], signals: Sequence[str]) -> dict[str, dict[str, str]]:
    """By part the signals that are states of it, each with its path."""
    found: dict[str, dict[str, str]] = {}
    for signal in signals:
        name, _, path = signal.partition(".")
        if path and name in parts and _is_state(parts[name], path):
            _check_state_path(parts[name], name, path)
            found.setdefault(name, {})[signal] = path

    return found


def check_setters(links: Sequence[Link], parts: Mapping[str, nn.Module]) -> None:
    """Raises if a link sets a state that its part does not have, or that another one sets."""
    setters: dict[str, Link] = {}
    for link in links:
        if not isinstance(link, Initialisation) or link.part not in parts:
            continue

        if (other := setters.get(link.target)) is not None:
            raise ConfigError(
                f"the state {link.target!r} is set by two links, from {other.source!r} and {link.source!r}; join their "
                "values in one part, or set it from one of them with the other as context="
            )
        setters[link.target] = link
        _check_state_path(parts[link.part], link.part, link.path)


def _check_state_path(part: nn.Module, name: str, path: str) -> None:
    """Raises if a part has no state at a path."""
    paths = list(_state_paths(part))
    if not any(fnmatchcase(path, known) for known in paths):
        known = [f"{name}.{one}" for one in paths]
        hint = did_you_mean(f"{name}.{path}", known) if known else "it has no state; name a part with neurons or memory"
        raise ConfigError(f"part {name!r} has no state {path!r}: {hint}")


def _state_paths(module: nn.Module, prefix: str = "") -> Iterator[str]:
    """The paths of the states in a module; "*" stands for those of a layer that does not name their type."""
    if (paths := _own(module, "state_paths")) is not None:
        yield from [prefix + path for path in paths()]
    elif isinstance(module, Sequential):
        for name, layer in module.named_children():
            yield from _state_paths(layer, f"{prefix}{name}.")
    elif isinstance(module, Stateful):
        fields = _fields_of(module)
        yield from [f"{prefix}*"] if fields is None else []
        for field in fields or ():
            inner = module._modules.get(field)
            yield from _state_paths(inner, f"{prefix}{field}.") if inner is not None else [prefix + field]


def _fields_of(layer: Stateful) -> Sequence[str] | None:
    """The fields of the state of a layer, as the annotation of its initial state names them."""
    try:
        kind = inspect.get_annotations(type(layer).initial_state, eval_str=True).get("return")
    except NameError:
        return None

    fields: Sequence[str] | None = () if kind is None else getattr(kind, "_fields", None)
    return fields


def state_at(module: nn.Module, state: State, path: str) -> Tensor:
    """The state at a path in a module."""
    if (own := _own(module, "state_at")) is not None:
        value: Any = own(state, path)
        return value

    value = state
    layer: Any = module
    for name in path.split("."):
        value = _inside(layer, value, name, path)
        layer = layer._modules.get(name)

    if not isinstance(value, Tensor):
        raise ConfigError(f"the state {path!r} of {type(module).__name__} is no tensor here, but {value!r}")

    return value


def _with_state_at(module: nn.Module, state: Any, path: str, value: Tensor) -> State:
    """The state of a module in which the one at a path is a value."""
    if (own := _own(module, "with_state_at")) is not None:
        new: State = own(state, path, value)
        return new

    name, _, rest = path.partition(".")
    new = value
    if rest:
        new = _with_state_at(module._modules[name], _inside(module, state, name, path), rest, value)  # type: ignore[arg-type]
    if isinstance(module, Sequential):
        names = list(module._modules)
        return SequentialState(tuple(new if n == name else s for n, s in zip(names, state.layers, strict=True)))

    return state._replace(**{name: new})


def _inside(module: nn.Module, state: Any, name: str, path: str) -> Any:
    """A field of the state of a module, or the state of a layer in a row."""
    if isinstance(module, Sequential):
        return state.layers[list(module._modules).index(name)]
    if not hasattr(state, name):
        raise ConfigError(f"there is no state {path!r} in {type(state).__name__} of {type(module).__name__}")

    return getattr(state, name)


def check_value(part: nn.Module, state: State, route: Route, spec: SignalSpec) -> None:
    """Raises if the values of a link do not fit the state that they set."""
    shape = state_at(part, state, route.path).shape[1:]
    if shape != spec.shape:
        raise ShapeError(
            f"{describe(route.link)} brings values of shape {tuple(spec.shape)}, but the state has {tuple(shape)}; "
            "give it a unit, or a part before it, with that output"
        )


def set_states(
    part: nn.Module, state: State, values: Sequence[tuple[str, Tensor]], samples: Tensor | None = None
) -> State:
    """The state of a part in which values, by path, stand for those of some samples, a mask `(B,)`, or of all."""
    for path, value in values:
        before = state_at(part, state, path)
        new = value.to(before.dtype)
        if samples is not None:
            new = torch.where(samples.reshape(-1, *[1] * (new.ndim - 1)), new, before)
        state = _with_state_at(part, state, path, new)

    return state
