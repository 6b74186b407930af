"""The graph of the layers of a part, traced from one step.

Branches, skips and sums inside a user-defined `forward` are kept. Between layers only reshapes of time and batch and
additions are allowed; NIR has no node for anything else, and the error names it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from spikebridge.errors import ExportError
from spikebridge.neurons import Recurrent, Stateful
from spikebridge.neurons.neuron import Neuron
from spikebridge.neurons.stateless import over_time

Value: TypeAlias = tuple[str, ...]  # the nodes whose outputs add up

_SAME = {
    *("flatten", "reshape", "view", "unflatten", "unsqueeze", "squeeze", "contiguous", "detach", "clone", "expand"),
    *("unbind", "stack", "cat", "split", "__getitem__", "movedim", "transpose"),
}
_SUMS = {"add", "__add__", "__radd__"}
_FRESH = {"new_zeros", "new_empty", "new_ones", "new_full", "zeros_like", "ones_like", "empty_like", "full_like"}
_TRANSPARENT = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)
_FEEDBACK = "@"


@dataclass(frozen=True)
class Visit:
    """A layer that ran, with the nodes whose outputs add up at its input."""

    name: str  # its path in the part; a layer that runs again gets a number
    module: nn.Module
    sources: Value
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


@dataclass(frozen=True)
class _TracedTensor:
    tensor: Tensor  # kept, so that its id stays its own
    value: Value | str  # or the name of an operation that NIR does not have
    shape: tuple[int, ...]


def trace(part: nn.Module, x: Tensor, entry: Value = ("input",), prefix: str = "") -> tuple[list[Visit], Value]:
    """The layers of a part in eval mode, in the order in which they run on `x` `(1, B, *N)`, and the output."""
    tracer = _LayerTracer(part, x, entry, prefix)
    # layers check their shapes at the first call of a stream, by runs that must not be traced
    state = part.initial_state(x[0]) if isinstance(part, Stateful) else None
    if state is not None:
        with torch.no_grad():
            part(x, state)

    with torch.no_grad(), tracer:
        y = part(x, state)[0] if isinstance(part, Stateful) else over_time(part, x)

    output = _nodes_of(tracer.traced(y, "its output").value)
    visits: list[Visit] = []
    outputs: dict[str, Value] = {}

    for visit in tracer.visits:
        if isinstance(visit.module, Recurrent):
            inner, outputs[visit.name] = _with_feedback(visit, visit.module)
            visits += inner
        else:
            visits.append(visit)

    visits = [replace(visit, sources=_renamed(visit.sources, outputs)) for visit in visits]
    return visits, _renamed(output, outputs)


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, Neuron | Recurrent) or next(module.children(), None) is None


class _LayerTracer(TorchFunctionMode):
    """Follows tensors from layer to layer."""

    def __init__(self, part: nn.Module, x: Tensor, entry: Value, prefix: str) -> None:
        super().__init__()
        self.part = part
        self.prefix = prefix
        self.batch = x.shape[1]
        self.tensors = {id(x): _TracedTensor(x, entry, tuple(x.shape[2:]))}
        self.visits: list[Visit] = []
        self.depth = 0  # of layers that run
        self.inputs: list[_TracedTensor] = []
        self.handles: list[Any] = []

    def __enter__(self) -> "_LayerTracer":
        layers: list[str] = []
        for path, module in self.part.named_modules():
            is_inside = any(path.startswith(f"{layer}.") or layer == "" for layer in layers)
            if is_inside or not _is_layer(module):
                continue

            layers.append(path)
            # a part that is one layer has no path of its own
            name = ".".join(text for text in (self.prefix, path) if text) or "neuron"
            self.handles.append(module.register_forward_pre_hook(self._before(name)))
            self.handles.append(module.register_forward_hook(self._after(name)))

        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        for handle in self.handles:
            handle.remove()

    def traced(self, x: Tensor, where: str) -> _TracedTensor:
        """The nodes of a tensor; raises an `ExportError` if it comes from anything but layers and sums."""
        traced = self.tensors.get(id(x))
        if traced is None or isinstance(traced.value, str):
            does = f"computes {traced.value!r}" if traced is not None else "uses a tensor of its own"
            raise ExportError(
                f"{type(self.part).__name__} {does} between its layers, before {where}; NIR holds only layers and sums"
            )

        return traced

    def _before(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            if self.depth == 0:
                self.inputs.append(self.traced(arguments[0], repr(name)))
            self.depth += 1

        return hook

    def _after(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
            self.depth -= 1
            if self.depth == 0:
                self._visit(name, module, output[0] if isinstance(output, tuple) else output)

        return hook

    def _visit(self, name: str, module: nn.Module, y: Tensor) -> None:
        x = self.inputs.pop()
        sources = _nodes_of(x.value)
        shape = tuple(y.shape[2 if isinstance(module, Stateful) else 1 :])
        if isinstance(module, _TRANSPARENT):
            self.tensors[id(y)] = _TracedTensor(y, sources, shape)
            return

        times = sum(visit.module is module for visit in self.visits)
        if times and isinstance(module, Stateful):
            raise ExportError(f"the layer {name!r} runs twice in one step; a node of NIR has one membrane")

        unique = name if not times else f"{name}_{times + 1}"
        self.visits.append(Visit(unique, module, sources, x.shape, shape))
        self.tensors[id(y)] = _TracedTensor(y, (unique,), shape)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        # inside a layer all is the layer's own, and new tensors hold no signal
        name = getattr(function, "__name__", "")
        if self.depth or name in _FRESH:
            return result

        sources = [self.tensors[id(x)] for x in _tensors(args) if id(x) in self.tensors]
        for y in _tensors(result) if sources else ():
            if y.is_floating_point() and id(y) not in self.tensors:
                value = self._value_of(name, args, sources, y)
                self.tensors[id(y)] = _TracedTensor(y, value, sources[0].shape)

        return result

    def _value_of(self, name: str, args: Any, sources: list[_TracedTensor], y: Tensor) -> Value | str:
        """The nodes of the result of an operation between layers, or its name if NIR does not have it."""
        unknown = next((source.value for source in sources if isinstance(source.value, str)), None)
        if unknown is not None:
            return unknown

        first = sources[0]
        keeps_samples = y.shape[y.ndim - len(first.shape) :] == first.shape
        keeps_rows = y.numel() == self.batch * torch.Size(first.shape).numel()
        if name in _SAME and len(sources) == 1 and keeps_samples and keeps_rows:
            return first.value

        is_of_two = len(sources) == 2 and len(list(_tensors(args))) == 2
        if name in _SUMS and is_of_two and first.shape == sources[1].shape:
            return (*_nodes_of(first.value), *_nodes_of(sources[1].value))

        return name


def _with_feedback(visit: Visit, module: Recurrent) -> tuple[list[Visit], Value]:
    """A recurrent layer as its layer and the weight of its feedback, and its output."""
    if module.starts_silent:
        raise ExportError(f"{visit.name!r} starts without feedback (starts_silent); in NIR it acts at every step")

    zeros = torch.zeros(1, 2, *visit.input_shape)
    inner, output = trace(module.layer, zeros, (*visit.sources, _FEEDBACK), f"{visit.name}.layer")
    weight, end = trace(module.weight, torch.zeros(1, 2, *visit.output_shape), output, f"{visit.name}.weight")
    return [replace(v, sources=_renamed(v.sources, {_FEEDBACK: end})) for v in (*inner, *weight)], output


def _renamed(value: Value, aliases: dict[str, Value]) -> Value:
    return tuple(new for name in value for new in aliases.get(name, (name,)))


def _nodes_of(value: Value | str) -> Value:
    return value if isinstance(value, tuple) else (value,)


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    return [x for value in values for x in _tensors(value)] if isinstance(values, tuple | list) else []
