"""Functions over any state: a nesting of (named) tuples, lists and dicts of tensors, integers and None.

Every tensor in a state has the batch as its first axis. `form_of` describes a state without its values, and
`refuse_other_form` raises where a state has another form than the one that a layer makes.

Weights that change while a network runs are part of a state (`plastic` of a layer); `write_weights` makes them
parameters.

In a file (`save_state`, safetensors) a state names the types of its tuples. Only types that torch may load are made
again, those of `torch.serialization.get_safe_globals()`. The NamedTuples in the annotations of a layer's methods are
added there when the layer is defined, so that states of layers of one's own are loaded too, and by `torch.load(path,
weights_only=True)` as well.
"""

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar, get_args
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from spikebridge.data.io.atomic import atomic_write
from spikebridge.data.io.safe_open import checked_file
from spikebridge.errors import ConfigError, DataError, StateError, in_words

State: TypeAlias = Any
S = TypeVar("S")


def map_tensors(function: Callable[..., Tensor], state: S, *others: S) -> S:
    """The same state with `function` applied to each of its tensors, and to those at the same place in other states."""
    node: Any = state
    rest: Any = others
    if isinstance(node, Tensor):
        return function(node, *rest)  # type: ignore[return-value]

    if isinstance(node, tuple | list):
        children = [map_tensors(function, *items) for items in zip(node, *rest, strict=True)]
        return type(node)(*children) if hasattr(node, "_fields") else type(node)(children)  # type: ignore[return-value]

    if isinstance(node, dict):
        items = {name: (child, *[other[name] for other in rest]) for name, child in node.items()}
        return {name: map_tensors(function, *several) for name, several in items.items()}  # type: ignore[return-value]

    return state


def join_tensors(function: Callable[[list[Tensor]], Tensor], states: Sequence[S]) -> S:
    """States of one form as one, with `function` applied to the list of tensors at each place."""
    return map_tensors(lambda *tensors: function([*tensors]), *states)


def tensors_of(state: State) -> list[Tensor]:
    """The tensors of a state, in order."""
    tensors: list[Tensor] = []
    map_tensors(lambda t: tensors.append(t) or t, state)  # type: ignore[func-returns-value]

    return tensors


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
    """Per sample one of two states of the same form.

    Args:
        mask: `(B,)`, true for the samples of `yes`.
        yes: a state.
        no: another one of the same stream.

    Returns:
        The state.

    Example:
        >>> where(torch.tensor([True, False]), (torch.zeros(2), 5), (torch.tensor([10.0, 20.0]), 5))
        (tensor([ 0., 20.]), 5)
    """
    return map_tensors(lambda a, b: torch.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b), yes, no)


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
    """A state without its values: types, field names, and the shape, dtype and device of each tensor."""
    if isinstance(state, Tensor):
        return TensorForm(state.shape, state.dtype, state.device)

    if isinstance(state, tuple | list):
        names = getattr(state, "_fields", None) or map(str, range(len(state)))
        return TupleForm(type(state), {name: form_of(item) for name, item in zip(names, state, strict=True)})

    if isinstance(state, dict):
        return {name: form_of(item) for name, item in state.items()}

    return None if state is None else type(state)


def has_form(state: State, form: Form) -> bool:
    """True if `form_of(state)` is this form, without making it."""
    kind = type(form)
    if kind is TensorForm:
        shape, dtype, device = form
        return isinstance(state, Tensor) and state.shape == shape and state.dtype == dtype and state.device == device

    if kind is TupleForm:
        values = form.items.values()
        return type(state) is form.kind and len(state) == len(values) and all(map(has_form, state, values))

    if kind is dict:
        is_alike = isinstance(state, dict) and state.keys() == form.keys()
        return is_alike and all(has_form(state[name], item) for name, item in form.items())

    return state is None if form is None else type(state) is form


# of each layer the shape, dtype and device of a step of the last signal, and the form of a state for it
_FORMS: WeakKeyDictionary[nn.Module, tuple[Any, Form]] = WeakKeyDictionary()


def check_state(layer: Any, state: State, x: Shaped[Tensor, "T B *N"]) -> None:
    """Compares a state with the initial one of a stateful layer for a signal; it reads no values.

    Raises:
        StateError: a state of another layer, batch, shape, dtype or device.
    """
    if torch.compiler.is_compiling():
        return

    # to compare a form costs little; to make an initial state, more than a step
    last = _FORMS.get(layer)
    if last is not None and last[0] == _kind_of_step(x) and has_form(state, last[1]):
        return

    form = keep_form(layer, layer.initial_state(x.new_zeros(x.shape[1:])), x)
    refuse_other_form(layer, state, form, layer.state_grows)


def keep_form(layer: Any, initial: State, x: Shaped[Tensor, "T B *N"]) -> Form:
    """Keeps the form of the initial state for a signal, with which a later call of the stream compares its own."""
    form = form_of(initial)
    _FORMS[layer] = (_kind_of_step(x), form)
    return form


def _kind_of_step(x: Tensor) -> tuple[torch.Size, torch.dtype, torch.device]:
    return x.shape[1:], x.dtype, x.device


def refuse_other_form(layer: nn.Module, state: State, form: Form, grows: bool = True, path: str = "") -> None:
    """Raises if a state has not the form that a layer makes, with the path of the first difference."""
    # what the first step makes, None or an axis of length 0 in the form, may be anything in a state that grows
    values: Any = state
    inside = f"{path}." if path else ""
    if form is None:
        if state is not None and not grows:
            raise _other(layer, path, state, "None")
    elif isinstance(form, TensorForm):
        _refuse_tensor(layer, state, form, path)
    elif isinstance(form, TupleForm):
        if type(state) is not form.kind or len(values) != len(form.items):
            raise _other(layer, path, state, form.kind.__name__)
        for (name, item), value in zip(form.items.items(), values, strict=True):
            refuse_other_form(layer, value, item, grows, inside + name)
    elif isinstance(form, Mapping):
        if not isinstance(state, dict) or state.keys() != form.keys():
            raise _other(layer, path, state, f"a dict of {', '.join(form)}")
        for name, item in form.items():
            refuse_other_form(layer, state[name], item, grows, inside + name)
    elif type(state) is not form:
        raise _other(layer, path, state, form.__name__)


def _refuse_tensor(layer: nn.Module, value: State, form: TensorForm, path: str) -> None:
    if not isinstance(value, Tensor):
        raise _other(layer, path, value, f"a tensor {tuple(form.shape)}")

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
    remedy = "it looks like (output, state): give its second item" if is_pair else state_remedy("layer")
    return StateError(f"{type(layer).__name__} got {_name(path, _describe(state))}, not {expected}; {remedy}", layer)


def _name(path: str, what: str) -> str:
    return f"a state whose {path} is {what}" if path else f"{what} as its state"


def _describe(state: State) -> str:
    """A state in words."""
    if state is None:
        return "None"
    if isinstance(state, Tensor):
        return f"a tensor {tuple(state.shape)}"

    kind = type(state).__name__
    is_plain = isinstance(state, tuple | list) and not hasattr(state, "_fields")

    return f"a {kind} of {len(state)}" if is_plain else kind


def state_remedy(owner: str) -> str:
    """The advice in errors of a state of another stream; `owner` is the kind of module that made it."""
    return f"give the state that this {owner} returned for the same stream, or None for a new stream"


def with_path(error: StateError, container: nn.Module) -> StateError:
    """The error of a layer, with its path in a container before the message."""
    paths = [path for path, module in container.named_modules(remove_duplicate=False) if module is error.layer and path]
    located = StateError(f"{' or '.join(map(repr, paths))}: {error.message}" if paths else error.message, error.layer)
    located.message = error.message

    return located


# of the weights of all samples to one
Reduce: TypeAlias = Literal["mean"] | Callable[[Tensor], Tensor]


class _PlasticWeight(NamedTuple):
    """A parameter, its path, and the weights `(B, *W)` that a state has in its place."""

    path: str
    parameter: nn.Parameter
    values: Tensor


def write_weights(layers: Mapping[str, Any], states: Mapping[str, State], reduce: Reduce | None) -> None:
    """Makes the weights in the states of some layers, by name, their parameters."""
    found = [weight for name, layer in layers.items() for weight in _plastic_weights(layer, states[name], name)]
    if not found:
        raise ConfigError(
            "there are no plastic weights in this state; a layer names those that it has: "
            "plastic = {'weight': 'fc.weight'}, by the field of its state the path of the parameter"
        )

    reduced = [_reduced(weight, reduce) for weight in found]
    with torch.no_grad():
        for weight, value in zip(found, reduced, strict=True):
            weight.parameter.copy_(value)


def _plastic_weights(layer: Any, state: Any, path: str) -> Iterator[_PlasticWeight]:
    """The plastic weights of a layer and of the layers inside whose states its own holds."""
    if state is None or not hasattr(layer, "plastic"):
        return

    inside = f"{path}." if path else ""
    fields = state if isinstance(state, dict) else getattr(state, "_asdict", dict)()
    # the state of a row has those of its layers in order
    if isinstance(layers := fields.get("layers"), tuple):
        fields = dict(zip(layer._modules, layers, strict=True))

    for field, name in layer.plastic.items():
        where = f"{type(layer).__name__} at {path!r}" if path else type(layer).__name__
        parameter = dict(layer.named_parameters()).get(name)
        if field not in fields or parameter is None:
            kind = f"field {field!r} in its state" if field not in fields else f"parameter {name!r}"
            raise ConfigError(f"{where} names the plastic weight {field!r}: {name!r}, but has no {kind}; correct it")
        yield _PlasticWeight(inside + name, parameter, fields[field])

    for field, value in fields.items():
        yield from _plastic_weights(layer._modules.get(field), value, inside + field)


def _reduced(weight: _PlasticWeight, reduce: Reduce | None) -> Tensor:
    """The weights of all samples as one."""
    values = weight.values.detach()
    if reduce is not None and reduce != "mean" and not callable(reduce):
        raise ConfigError(f"write_back needs reduce= as 'mean', a function or None, but got {in_words(reduce)}")

    if not len(values):
        raise ConfigError(f"the weights {weight.path!r} are those of no sample; give the state of one at least")
    if reduce is None:
        if not bool((values == values[:1]).all()):
            raise ConfigError(
                f"the weights {weight.path!r} differ from sample to sample of the {len(values)}; give reduce='mean', a "
                "function of (B, *W), or a state of one sample, as spikebridge.neurons.select takes one"
            )
        one = values[0]
    else:
        one = values.mean(0) if reduce == "mean" else reduce(values)

    if one.shape != weight.parameter.shape:
        raise ConfigError(
            f"the weights {weight.path!r} are {tuple(one.shape)} in the state, but the parameter is "
            f"{tuple(weight.parameter.shape)}; the state holds one set of weights a sample, (B, *W)"
        )

    return one


_FORMAT = "spikebridge state"
_VERSION = "1"
_PLAIN = (bool, int, float, str, type(None))


def save_state(path: Path | str, state: State) -> None:
    """Writes the state of a stream of any module; an old file stays until the new one is complete.

    Args:
        path: ends in `.safetensors` by convention.
        state: the state that a layer, a unit or a network returned; its gradients are left out.

    Raises:
        ConfigError: it holds something that is no tensor, number, text or None, or a type that cannot be loaded again.

    Example:
        >>> from spikebridge.neurons import IF
        >>> path = Path(getfixture("tmp_path")) / "state.safetensors"
        >>> _, state = IF()(torch.full((3, 1, 1), 0.25))
        >>> save_state(path, state)
        >>> load_state(path)
        LIFState(v=tensor([[0.7500]]), wait=None)
    """
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    plan = json.dumps(_encode(state, "", tensors))
    metadata = {"format": _FORMAT, "version": _VERSION, "state": plan}

    with atomic_write(Path(path)) as file:
        file.write(save(tensors, metadata))


def load_state(path: Path | str, device: torch.device | str = "cpu") -> State:
    """Reads a state that `save_state` wrote.

    Args:
        path: the file.
        device: the device of its tensors.

    Raises:
        DataError: there is no such file, it is damaged or holds no state, or it holds a type that is not imported:
            import the module that defines it.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.exists():
        raise DataError(f"there is no state at {path}")

    try:
        with safe_open(checked_file(path, "a state"), "pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it has keys alone
    except DataError:
        raise
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"the state at {path} is damaged: {error}") from error

    if metadata.get("format") != _FORMAT or metadata.get("version") != _VERSION:
        raise DataError(f"{path} holds no state of version {_VERSION}: write it with save_state")

    try:
        return _decode(json.loads(metadata["state"]), tensors)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"the state at {path} is damaged: {error}") from error


def allow_states_of(kind: type, methods: Iterable[str] = ("initial_state", "step", "forward")) -> None:
    """Allows torch to load the NamedTuples that annotations of a class's own methods name."""
    for name in methods:
        method = vars(kind).get(name)
        if inspect.isfunction(method):
            for annotation in method.__annotations__.values():
                allow_state(_resolved(annotation, method.__globals__))


def allow_state(annotation: Any) -> None:
    """Allows torch to load a NamedTuple, or those in a union or tuple of types, and those of their fields."""
    if _is_named_tuple(annotation):
        if annotation not in _allowed():
            torch.serialization.add_safe_globals([annotation])
            for field in annotation.__annotations__.values():
                allow_state(field)
    else:
        for part in get_args(annotation):
            allow_state(part)


def _resolved(annotation: Any, names: dict[str, Any]) -> Any:
    """The value of an annotation, which may be written as text (`from __future__ import annotations`)."""
    if not isinstance(annotation, str):
        return annotation

    try:
        return eval(annotation, names)
    except Exception:  # noqa: BLE001 - a name that is defined later; the state is refused when it is saved
        return None


def _is_named_tuple(kind: Any) -> bool:
    return isinstance(kind, type) and kind.__bases__ == (tuple,) and hasattr(kind, "_fields")


def _allowed() -> list[Any]:
    return [kind for kind in torch.serialization.get_safe_globals() if _is_named_tuple(kind)]


def _encode(state: State, path: str, tensors: dict[str, Tensor]) -> Any:
    """A state as JSON; its tensors are put aside by their path."""
    if isinstance(state, Tensor):
        name = path or "state"
        tensors[name] = state.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}

    if isinstance(state, _PLAIN):
        return {"value": state}

    inside = f"{path}." if path else ""
    if _is_named_tuple(type(state)):
        kind = type(state)
        if kind not in _allowed():
            raise ConfigError(
                f"{kind.__qualname__} cannot be loaded again: name it in the annotation of its layer's initial_state, "
                f"or call torch.serialization.add_safe_globals([{kind.__name__}])"
            )

        fields = {name: _encode(value, inside + name, tensors) for name, value in state._asdict().items()}
        return {"type": kind.__qualname__, "module": kind.__module__, "fields": fields}

    if type(state) in (tuple, list):
        items = [_encode(value, f"{inside}{index}", tensors) for index, value in enumerate(state)]
        return {type(state).__name__: items}

    if type(state) is dict and all(isinstance(key, str) for key in state):
        return {"dict": {key: _encode(value, inside + key, tensors) for key, value in state.items()}}

    raise ConfigError(
        f"a state is made of tensors, numbers and (named) tuples, lists and dicts of them, but {path or 'this'} is a "
        f"{type(state).__name__}"
    )


def _decode(plan: Any, tensors: dict[str, Tensor]) -> State:
    if "tensor" in plan:
        return tensors[plan["tensor"]]
    if "value" in plan:
        return plan["value"]
    if "dict" in plan:
        return {key: _decode(value, tensors) for key, value in plan["dict"].items()}

    if "type" in plan:
        kind = _find(plan["type"], plan["module"])
        return kind(**{name: _decode(value, tensors) for name, value in plan["fields"].items()})

    for kind in (tuple, list):
        if kind.__name__ in plan:
            return kind(_decode(value, tensors) for value in plan[kind.__name__])

    raise ValueError(f"unknown entry {sorted(plan)}")


def _find(name: str, module: str) -> Any:
    """The type of a state by its name; a script that is run or imported gives its module another name."""
    kinds = [kind for kind in _allowed() if kind.__qualname__ == name]
    package = module.partition(".")[0]
    same = [kind for kind in kinds if kind.__module__.partition(".")[0] == package] or kinds
    if len(same) != 1:
        exact = [kind for kind in same if kind.__module__ == module]
        if len(exact) != 1:
            raise DataError(f"the state holds a {name} of {module}, which is not known here: import {module}")
        return exact[0]

    return same[0]
