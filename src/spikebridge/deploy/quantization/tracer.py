"""What a part computes, layer by layer: read from a stateful part as it runs, from a plain one by its symbols."""

import inspect
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from spikebridge.deploy.nir import tracer as nir_trace
from spikebridge.deploy.nir.tracer import Visit
from spikebridge.errors import ExportError
from spikebridge.neurons import Recurrent, Stateful

_ADD = (operator.add, torch.add, "add", "__add__", "__radd__")


@dataclass(frozen=True)
class TracedNode:
    """A layer, or signals put together.

    Attributes:
        name: of the layer in its part.
        kind: a layer, a sum of signals, signals side by side, or what a later node gave one tick ago.
        sources: names of inputs or nodes.
        axis: along which signals stand side by side.
        shape: of one sample, of what was given one tick ago.
    """

    name: str
    kind: Literal["layer", "sum", "cat", "previous"]
    sources: tuple[str, ...]
    module: nn.Module | None = None
    axis: int | None = None
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class TracedGraph:
    """A part in layers. Inputs are called "#0", "#1" by position, or by their names."""

    inputs: tuple[str, ...]
    nodes: tuple[TracedNode, ...]
    output: str


class TracedFunction(nn.Module):
    """A function of one signal and numbers, as a layer.

    Args:
        function: the function, or the name of a method of tensors.
        args: its arguments; None stands for the signal.
        named: its arguments by name.

    Example:
        >>> TracedFunction(operator.mul, (2.0, None), {})(torch.ones(1)).item()
        2.0
    """

    def __init__(self, function: Any, args: Sequence[Any], named: Mapping[str, Any]) -> None:
        super().__init__()
        self.function = function
        self.args = tuple(args)
        self.named = dict(named)

    def forward(self, x: Tensor) -> Tensor:
        """The function of a signal."""
        given = [x if value is None else value for value in self.args]
        y: Tensor = (
            getattr(x, self.function)(*given[1:], **self.named)
            if isinstance(self.function, str)
            else (self.function(*given, **self.named))
        )

        return y


def trace_graph(part: nn.Module, signals: Sequence[Tensor], named: Mapping[str, Tensor], where: str) -> TracedGraph:
    """A part in layers.

    Args:
        part: in evaluation mode.
        signals: one step of what it takes by position, `(B, *N)` each.
        named: the same by name.
        where: its path, for messages.

    Raises:
        ExportError: the computation between its layers cannot be traced.

    Example:
        >>> read = trace_graph(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), [torch.zeros(1, 2)], {}, "ann")
        >>> [(node.name, node.sources) for node in read.nodes], read.output
        ([('0', ('#0',)), ('1', ('0',))], '1')
    """
    if isinstance(part, Stateful):
        return _stateful(part, signals, named, where)

    return _Symbols(part, len(signals), list(named), where).trace_graph()


def _stateful(part: Stateful, signals: Sequence[Tensor], named: Mapping[str, Tensor], where: str) -> TracedGraph:
    if len(signals) != 1 or named:
        raise ExportError(f"{where!r} is stateful and takes further signals; its integer form takes one")

    try:
        visits, output = nir_trace.trace(part, signals[0].unsqueeze(0), entry=("#0",), prefix="")
    except ExportError as reason:
        raise ExportError(f"{where!r} cannot be quantised: {reason}") from None

    nodes: list[TracedNode] = []

    def added(sources: tuple[str, ...], name: str) -> tuple[str, ...]:
        if len(sources) == 1:
            return sources
        nodes.append(TracedNode(name, "sum", sources))
        return (name,)

    for visit in _in_order(part, visits, where):
        if isinstance(visit, TracedNode):
            nodes.append(visit)
            continue

        sources = visit.sources
        if not isinstance(visit.module, Stateful):
            sources = added(sources, f"{visit.name}:sum")
        nodes.append(TracedNode(visit.name, "layer", sources, visit.module))

    (last,) = added(output, "sum")
    return TracedGraph(("#0",), tuple(nodes), last)


def _in_order(part: Stateful, visits: Sequence[Visit], where: str) -> list[Visit | TracedNode]:
    """Visits as they can run: the weight of a recurrent layer first, on what the layer gave one tick ago."""
    ordered: list[Visit | TracedNode] = list(visits)
    for path, module in part.named_modules():
        if not isinstance(module, Recurrent):
            continue

        name = path or "neuron"
        back = [v for v in ordered if isinstance(v, Visit) and _below(v.name, f"{name}.weight")]
        inside = [v for v in ordered if isinstance(v, Visit) and _below(v.name, f"{name}.layer")]
        outer = {source for v in back for source in v.sources} - {v.name for v in back}
        given = [v for v in inside if v.name in outer]

        if not back or len(given) != len(outer) or len(given) != 1:
            raise ExportError(
                f"{where}.{name} feeds back what is not the output of one layer, which has no integer form"
            )

        before = TracedNode(f"{name}:previous", "previous", (given[0].name,), shape=given[0].given)
        renamed = [replace(v, sources=tuple(before.name if s in outer else s for s in v.sources)) for v in back]
        first = ordered.index(inside[0])
        rest = [v for v in ordered[first:] if v not in back]
        ordered = [*ordered[:first], before, *renamed, *rest]

    return ordered


def _below(name: str, path: str) -> bool:
    return name == path or name.startswith(f"{path}.")


class _Layers(fx.Tracer):
    """Looks into containers alone: what has no children is a layer."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return next(m.children(), None) is None


class _Symbols:
    """A plain part as its symbols tell it."""

    def __init__(self, part: nn.Module, num_signals: int, named: list[str], where: str) -> None:
        self.where = where
        self.alone = next(part.children(), None) is None
        if self.alone and (num_signals != 1 or named):
            raise ExportError(
                f"{where!r} is a {type(part).__name__}, a layer of {num_signals + len(named)} signals, which has no "
                "integer form"
            )

        self.root = nn.Sequential(part) if self.alone else part
        bound = inspect.signature(self.root.forward).bind(
            *(f"#{i}" for i in range(num_signals)), **{name: name for name in named}
        )
        missing = {n: None for n in inspect.signature(self.root.forward).parameters if n not in bound.arguments}

        try:
            self.graph = _Layers().trace(self.root, concrete_args=missing or None)
        except Exception as error:  # noqa: BLE001 - tracing runs code of others, which may fail in any way
            raise ExportError(f"{where!r} cannot be quantised: its forward cannot be followed ({error})") from None

        self.arguments = bound.arguments
        self.inputs = (*(f"#{i}" for i in range(num_signals)), *named)
        self.known: dict[fx.Node, Any] = {}
        self.nodes: list[TracedNode] = []

    def trace_graph(self) -> TracedGraph:
        for node in self.graph.nodes:
            if node.op == "output":
                return TracedGraph(self.inputs, tuple(self.nodes), self._name(node.args[0]))
            if node.op == "placeholder":
                self.known[node] = self.arguments.get(str(node.target).lstrip("*"))
            elif node.op == "call_module":
                self.known[node] = self._layer(node, self.root.get_submodule(str(node.target)), str(node.target))
            elif node.users:
                self.known[node] = self._function(node)

        raise ExportError(f"{self.where!r} cannot be quantised: it has no output")

    def _layer(self, node: fx.Node, module: nn.Module, name: str) -> str:
        sources = tuple(self._name(arg) for arg in (*node.args, *node.kwargs.values()))
        if self.alone:
            name = name.removeprefix("0").removeprefix(".")

        taken = {known.name for known in self.nodes} | set(self.inputs)
        own = name or "layer"
        while own in taken:
            own = f"{own}'"

        self.nodes.append(TracedNode(own, "layer", sources, module))
        return own

    def _function(self, node: fx.Node) -> Any:
        target: Any = node.target
        if node.op == "get_attr":
            raise ExportError(f"{self.where!r} cannot be quantised: it uses the tensor {target!r} between its layers")
        if target is operator.getitem and isinstance(self.known.get(node.args[0]), tuple):  # type: ignore[arg-type]
            return self.known[node.args[0]][node.args[1]]  # type: ignore[index]

        signals = [arg for arg in node.args if isinstance(arg, fx.Node)]
        if target is torch.cat:
            axis: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
            given: Any = node.args[0]
            several = self.known[given] if isinstance(given, fx.Node) else tuple(self._name(one) for one in given)
            self.nodes.append(TracedNode(node.name, "cat", tuple(several), axis=axis))

            return node.name

        if target in _ADD and len(signals) == 2:
            self.nodes.append(TracedNode(node.name, "sum", tuple(self._name(one) for one in signals)))
            return node.name

        if len(signals) != 1 or any(isinstance(value, fx.Node) for value in node.kwargs.values()):
            raise ExportError(
                f"{self.where!r} cannot be quantised: it computes {getattr(target, '__name__', target)!r} of several "
                "signals between its layers"
            )

        args = [None if isinstance(arg, fx.Node) else arg for arg in node.args]
        self.nodes.append(
            TracedNode(node.name, "layer", (self._name(signals[0]),), TracedFunction(target, args, dict(node.kwargs)))
        )

        return node.name

    def _name(self, arg: Any) -> str:
        name = self.known.get(arg) if isinstance(arg, fx.Node) else None
        if not isinstance(name, str):
            raise ExportError(
                f"{self.where!r} cannot be quantised: its layers take an argument that is not a signal ({arg!r})"
            )

        return name


def acts_alone(module: nn.Module) -> bool:
    """Whether a layer maps every value by itself, so that a table can stand for it.

    Example:
        >>> acts_alone(nn.Tanh()), acts_alone(nn.Softmax(-1)), acts_alone(nn.Linear(1, 1))
        (True, False, False)
    """
    x = torch.linspace(-3, 3, 24)
    try:
        with torch.no_grad():
            flat = module(x)
            square = module(x.reshape(2, 3, 2, 2))
            turned = module(x.flip(0).reshape(6, 4))
    except (RuntimeError, TypeError, ValueError, IndexError):
        return False

    if not isinstance(flat, Tensor) or flat.shape != x.shape or square.shape != (2, 3, 2, 2):
        return False

    return torch.allclose(square.flatten(), flat, atol=1e-6) and torch.allclose(
        turned.flatten().flip(0), flat, atol=1e-6
    )
