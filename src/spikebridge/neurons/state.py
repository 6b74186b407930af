"""Functions over any state: a nesting of (named) tuples, lists and dicts of tensors, whole numbers and None.

Every tensor in a state has the batch as its first axis. `form_of` describes a state without its values, and
`refuse_other_form` raises where a state has another form than the one that a layer makes.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from spikebridge.errors import StateError

State: TypeAlias = Any
S = TypeVar("S")


def map_tensors(function: Callable[[Tensor], Tensor], state: S) -> S:
    """The same state with `function` applied to each of its tensors.

    Example:
        >>> map_tensors(lambda v: v + 1, {"v": torch.tensor([1.0]), "ticks": 3})
        {'v': tensor([2.]), 'ticks': 3}
    """
    node: Any = state
    if isinstance(node, Tensor):
        return function(node)  # type: ignore[return-value]
    if isinstance(node, tuple):
        children = [map_tensors(function, child) for child in node]
        return type(node)(*children) if hasattr(node, "_fields") else tuple(children)  # type: ignore[return-value]
    if isinstance(node, list):
        return [map_tensors(function, child) for child in node]  # type: ignore[return-value]
    if isinstance(node, dict):
        return {name: map_tensors(function, child) for name, child in node.items()}  # type: ignore[return-value]
    return state


def detach(state: S) -> S:
    """The state cut from the graph that made it: gradients stop here (truncated back-propagation through time).

    Example:
        >>> v = torch.ones(1, requires_grad=True) * 2
        >>> detach((v, 7))
        (tensor([2.]), 7)
    """
    return map_tensors(Tensor.detach, state)


def to(state: S, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> S:
    """The state on another device, its floating tensors in another dtype.

    Example:
        >>> to((torch.ones(1), torch.tensor([1])), dtype=torch.float64)
        (tensor([1.], dtype=torch.float64), tensor([1]))
    """
    return map_tensors(lambda t: t.to(device=device, dtype=dtype if t.is_floating_point() else None), state)


def select(state: S, samples: Tensor | list[int] | slice) -> S:
    """The state of some samples of the batch, in the given order.

    Example:
        >>> select((torch.tensor([10.0, 20.0, 30.0]), 5), [2, 0])
        (tensor([30., 10.]), 5)
    """
    return map_tensors(lambda t: t[samples], state)


def where(mask: Tensor, yes: S, no: S) -> S:
    """Per sample one of two states of the same form: `yes` where the mask `(B,)` is set, else `no`.

    What is not a tensor belongs to the whole batch and is taken from `yes`.

    Example:
        >>> where(torch.tensor([True, False]), (torch.zeros(2),), (torch.ones(2),))
        (tensor([0., 1.]),)
    """
    left: Any = yes
    right: Any = no
    if isinstance(left, Tensor):
        return torch.where(mask.reshape(-1, *[1] * (left.ndim - 1)), left, right)  # type: ignore[return-value]
    if isinstance(left, tuple):
        children = [where(mask, a, b) for a, b in zip(left, right, strict=True)]
        return type(left)(*children) if hasattr(left, "_fields") else tuple(children)  # type: ignore[return-value]
    if isinstance(left, list):
        return [where(mask, a, b) for a, b in zip(left, right, strict=True)]  # type: ignore[return-value]
    if isinstance(left, dict):
        return {name: where(mask, child, right[name]) for name, child in left.items()}  # type: ignore[return-value]
    return yes


class TensorForm(NamedTuple):
    """The form of a tensor in a state."""

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device


class TupleForm(NamedTuple):
    """The form of a (named) tuple or list: its type, and its items by field or index."""

    kind: type
    items: dict[str, Any]


Form: TypeAlias = Any


def form_of(state: State) -> Form:
    """A state without its values: types, field names, and the shape, dtype and device of each tensor.

    Example:
        >>> form_of((torch.zeros(2, 3), 7)) == form_of((torch.ones(2, 3), 8)), form_of((torch.ones(2, 4), 8)).items["1"]
        (True, <class 'int'>)
    """
    if isinstance(state, Tensor):
        return TensorForm(state.shape, state.dtype, state.device)
    if isinstance(state, tuple | list):
        names = getattr(state, "_fields", None) or map(str, range(len(state)))
        return TupleForm(type(state), {name: form_of(item) for name, item in zip(names, state, strict=True)})
    if isinstance(state, dict):
        return {name: form_of(item) for name, item in state.items()}
    return None if state is None else type(state)


def refuse_other_form(layer: nn.Module, state: State, form: Form, grows: bool = True) -> None:
    """Raises where a state has not the form that a layer makes.

    Args:
        layer: named in the message.
        state: what came.
        form: of the layer's initial state.
        grows: whether None (made by the first step) and an axis of length 0 in the form may be anything in the state.

    Raises:
        StateError: the first difference, by its field.
    """
    _refuse(layer, state, form, "", grows)


def _refuse(layer: nn.Module, state: State, form: Form, path: str, grows: bool) -> None:
    if form is None:
        if state is not None and not grows:
            raise _other(layer, path, state, "None")
    elif isinstance(form, TensorForm):
        if not isinstance(state, Tensor):
            raise _other(layer, path, state, f"a tensor {tuple(form.shape)}")
        _refuse_tensor(layer, state, form, path)
    elif isinstance(form, TupleForm):
        values: Any = state
        if type(state) is not form.kind or len(values) != len(form.items):
            raise _other(layer, path, state, form.kind.__name__)
        for (name, item), value in zip(form.items.items(), values, strict=True):
            _refuse(layer, value, item, f"{path}.{name}" if path else name, grows)
    elif isinstance(form, Mapping):
        if not isinstance(state, dict) or state.keys() != form.keys():
            raise _other(layer, path, state, f"a dict of {', '.join(form)}")
        for name, item in form.items():
            _refuse(layer, state[name], item, f"{path}.{name}" if path else name, grows)
    elif type(state) is not form:
        raise _other(layer, path, state, form.__name__)


def _refuse_tensor(layer: nn.Module, value: Tensor, form: TensorForm, path: str) -> None:
    pairs = zip(value.shape, form.shape, strict=False)
    if value.ndim != len(form.shape) or any(n != m and m > 0 for n, m in pairs):
        raise _other(layer, path, value, f"a tensor {tuple(form.shape)}, as its signal needs")
    if value.dtype != form.dtype or value.device != form.device:
        raise StateError(
            f"{type(layer).__name__} got {_name(path, f'{value.dtype} on {value.device}')}, but its signal needs "
            f"{form.dtype} on {form.device}; move the state with spikebridge.neurons.to()",
            layer,
        )


def _other(layer: nn.Module, path: str, state: State, expected: str) -> StateError:
    """The error of a state, or a field of it, that is not what was expected."""
    is_pair = type(state) is tuple and len(state) == 2 and isinstance(state[0], Tensor | dict)
    remedy = "it looks like (output, state): give its second item" if is_pair else _REMEDY
    return StateError(f"{type(layer).__name__} got {_name(path, _describe(state))}, not {expected}; {remedy}", layer)


def _name(path: str, what: str) -> str:
    return f"a state whose {path} is {what}" if path else f"{what} as its state"


def _describe(state: State) -> str:
    """What came, in words."""
    if state is None:
        return "None"
    if isinstance(state, Tensor):
        return f"a tensor {tuple(state.shape)}"
    kind = type(state).__name__
    is_plain = isinstance(state, tuple | list) and not hasattr(state, "_fields")
    return f"a {kind} of {len(state)}" if is_plain else kind


_REMEDY = "give the state that this layer returned for the same stream, or None for a new stream"


def with_path(error: StateError, container: nn.Module) -> StateError:
    """The error of a layer, with its path in a container before the message.

    Example:
        >>> error = StateError("IF got ...", layer := nn.Identity())
        >>> str(with_path(error, nn.Sequential(nn.Identity(), layer)))
        "'1': IF got ..."
    """
    paths = [path for path, module in container.named_modules(remove_duplicate=False) if module is error.layer and path]
    located = StateError(f"{' or '.join(map(repr, paths))}: {error.message}" if paths else error.message, error.layer)
    located.message = error.message
    return located
