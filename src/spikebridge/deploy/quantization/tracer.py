"""The layers of a part and the signals between them: traced from a run of a stateful part, else from symbols."""

import inspect
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from spikebridge.deploy.nir import tracer as nir_tracer
from spikebridge.deploy.nir.tracer import Visit
from spikebridge.errors import ExportError
from spikebridge.neurons import Recurrent, Stateful

_JOINS: dict[Any, Literal["sum", "product"]] = {
    **dict.fromkeys((operator.add, torch.add, "add", "__add__", "__radd__"), "sum"),
    **dict.fromkeys((operator.mul, torch.mul, "mul", "__mul__", "__rmul__"), "product"),
    operator.and_: "product",
}


@dataclass(frozen=True)
class TracedNode:
    """A layer, a sum, a product or a concatenation of signals, or the output of a later node one tick ago."""

    name: str
    kind: Literal["layer", "sum", "product", "cat", "previous"]
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
    """A function of one signal and numbers, as a layer; None in `args` stands for the signal."""

    def __init__(self, function: Any, args: Sequence[Any], named: Mapping[str, Any]) -> None:
        super().__init__()
        self.function = function
        self.args = tuple(args)
        self.named = dict(named)

    def forward(self, x: Tensor) -> Tensor:
        args = [x if value is None else value for value in self.args]
        y: Tensor
        if isinstance(self.function, str):
            y = getattr(x, self.function)(*args[1:], **self.named)
        else:
            y = self.function(*args, **self.named)

        return y


def trace_graph(part: nn.Module, signals: Sequence[Tensor], named: Mapping[str, Tensor], where: str) -> TracedGraph:
    """A part in eval mode as layers, from one step of its signals by position and by name."""
    if isinstance(part, Stateful):
        return _trace_stateful(part, signals, named, where)

    return _SymbolicTrace(part, len(signals), list(named), where).graph()


def _trace_stateful(part: Stateful, signals: Sequence[Tensor], named: Mapping[str, Tensor], where: str) -> TracedGraph:
    if len(signals) != 1 or named:
        raise ExportError(f"{where!r} is stateful and takes further signals; its integer form takes one")

    try:
        visits, output = nir_tracer.trace(part, signals[0].unsqueeze(0), entry=("#0",), prefix="")
    except ExportError as reason:
        raise ExportError(f"{where!r} cannot be quantised: {reason}") from None

    nodes: list[TracedNode] = []

    def summed(sources: tuple[str, ...], name: str) -> tuple[str, ...]:
        if len(sources) == 1:
            return sources
        nodes.append(TracedNode(name, "sum", sources))
        return (name,)

    for visit in _in_order(part, visits, where):
        if isinstance(visit, TracedNode):
            nodes.append(visit)
            continue

        # neurons add currents up themselves
        is_stateful = isinstance(visit.module, Stateful)
        sources = visit.sources if is_stateful else summed(visit.sources, f"{visit.name}:sum")
        nodes.append(TracedNode(visit.name, "layer", sources, visit.module))

    (last,) = summed(output, "sum")
    return TracedGraph(("#0",), tuple(nodes), last)


def _in_order(part: Stateful, visits: Sequence[Visit], where: str) -> list[Visit | TracedNode]:
    """Visits in an order that can run: the weight of a recurrent layer first, on the layer's output one tick ago."""
    ordered: list[Visit | TracedNode] = list(visits)
    for path, module in part.named_modules():
        if isinstance(module, Recurrent):
            ordered = _with_feedback_first(ordered, path or "neuron", where)

    return ordered


def _with_feedback_first(ordered: list[Visit | TracedNode], name: str, where: str) -> list[Visit | TracedNode]:
    visits = [visit for visit in ordered if isinstance(visit, Visit)]
    feedback = [visit for visit in visits if _is_below(visit.name, f"{name}.weight")]
    layer = [visit for visit in visits if _is_below(visit.name, f"{name}.layer")]
    sources = {source for visit in feedback for source in visit.sources} - {visit.name for visit in feedback}
    fed_back = [visit for visit in layer if visit.name in sources]

    if not feedback or len(sources) != 1 or len(fed_back) != 1:
        raise ExportError(f"{where}.{name} feeds back more than the output of one layer, which has no integer form")

    previous = TracedNode(f"{name}:previous", "previous", (fed_back[0].name,), shape=fed_back[0].output_shape)
    renamed = [
        replace(visit, sources=tuple(previous.name if source in sources else source for source in visit.sources))
        for visit in feedback
    ]
    first = ordered.index(layer[0])
    rest = [visit for visit in ordered[first:] if visit not in feedback]

    return [*ordered[:first], previous, *renamed, *rest]


def _is_below(name: str, path: str) -> bool:
    return name == path or name.startswith(f"{path}.")


class _LeafTracer(fx.Tracer):
    """Looks into containers, and into operations on whole signals: any other module is a layer."""

    def __init__(self, root: nn.Module) -> None:
        super().__init__()
        # chosen before the trace, inside which no module can be tried
        self.layers = [m for m in root.modules() if next(m.children(), None) is None and not _is_operations(m)]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return any(m is layer for layer in self.layers)


def _is_operations(module: nn.Module) -> bool:
    """True for a module that only computes on whole signals: it has no parameter, and no layer of torch's own."""
    is_known = type(module).__module__.startswith("torch.nn") or isinstance(module, Stateful | TracedFunction)
    return not is_known and next(module.parameters(), None) is None and not is_elementwise(module)


class _SymbolicTrace:
    """The graph of a plain part, from a trace of its forward with symbols."""

    def __init__(self, part: nn.Module, num_signals: int, named: list[str], where: str) -> None:
        self.where = where
        has_one = num_signals == 1 and not named
        is_leaf = next(part.children(), None) is None
        self.is_single = is_leaf and has_one
        # without parameters it is operations alone, such as a sum
        if is_leaf and not has_one and next(part.parameters(), None) is not None:
            raise ExportError(
                f"{where!r} is a {type(part).__name__}, a layer of {num_signals + len(named)} signals, which has no "
                "integer form"
            )

        self.root = nn.Sequential(part) if self.is_single else part
        signature = inspect.signature(self.root.forward)
        positions = [f"#{i}" for i in range(num_signals)]
        bound = signature.bind(*positions, **{name: name for name in named})
        # arguments without a signal keep their default, None
        missing = {name: None for name in signature.parameters if name not in bound.arguments}

        try:
            self.symbols = _LeafTracer(self.root).trace(self.root, concrete_args=missing or None)
        except Exception as error:  # noqa: BLE001 - tracing runs code of others, which may fail in any way
            raise ExportError(f"{where!r} cannot be quantised: its forward cannot be followed ({error})") from None

        self.arguments = bound.arguments
        self.inputs = (*positions, *named)
        self.values: dict[fx.Node, Any] = {}  # names of signals, or tuples of them
        self.nodes: list[TracedNode] = []

    def graph(self) -> TracedGraph:
        for node in self.symbols.nodes:
            if node.op == "output":
                return TracedGraph(self.inputs, tuple(self.nodes), self._signal(node.args[0]))
            if node.op == "placeholder":
                self.values[node] = self.arguments.get(str(node.target).lstrip("*"))
            elif node.op == "call_module":
                self.values[node] = self._layer(node, self.root.get_submodule(str(node.target)), str(node.target))
            elif node.users:
                self.values[node] = self._function(node)

        raise ExportError(f"{self.where!r} cannot be quantised: it has no output")

    def _layer(self, node: fx.Node, module: nn.Module, name: str) -> str:
        sources = tuple(self._signal(arg) for arg in (*node.args, *node.kwargs.values()))
        if self.is_single:
            name = name.removeprefix("0").removeprefix(".")

        # a layer that is called again gets a name of its own
        names = {node.name for node in self.nodes} | set(self.inputs)
        unique = name or "layer"
        while unique in names:
            unique = f"{unique}'"

        self.nodes.append(TracedNode(unique, "layer", sources, module))
        return unique

    def _function(self, node: fx.Node) -> Any:
        target: Any = node.target
        if node.op == "get_attr":
            return self._number(str(target))
        if target is operator.getitem and isinstance(self.values.get(node.args[0]), tuple):  # type: ignore[arg-type]
            return self.values[node.args[0]][node.args[1]]  # type: ignore[index]
        if target is torch.cat:
            return self._concatenation(node)

        given: list[Any] = [self._constant(arg) for arg in node.args]
        signals = [arg for arg in given if isinstance(arg, fx.Node)]
        if not signals and node.op == "call_function":
            return target(*given, **node.kwargs)

        if target in _JOINS and len(signals) == 2:
            sources = tuple(self._signal(signal) for signal in signals)
            self.nodes.append(TracedNode(node.name, _JOINS[target], sources))
            return node.name

        if len(signals) != 1 or any(isinstance(value, fx.Node) for value in node.kwargs.values()):
            raise ExportError(
                f"{self.where!r} cannot be quantised: it computes {getattr(target, '__name__', target)!r} of several "
                "signals between its layers"
            )

        args = [None if isinstance(arg, fx.Node) else arg for arg in given]
        function = TracedFunction(target, args, dict(node.kwargs))
        self.nodes.append(TracedNode(node.name, "layer", (self._signal(signals[0]),), function))

        return node.name

    def _number(self, path: str) -> Tensor:
        owner, _, name = path.rpartition(".")
        number = getattr(self.root.get_submodule(owner), name)
        if not isinstance(number, Tensor) or number.numel() != 1 or number.requires_grad:
            raise ExportError(f"{self.where!r} cannot be quantised: it uses the tensor {path!r} between its layers")

        return number.detach()

    def _constant(self, arg: Any) -> Any:
        """The number that an argument stands for, or the argument itself."""
        value = self.values.get(arg) if isinstance(arg, fx.Node) else None
        return value if isinstance(value, Tensor) else arg

    def _concatenation(self, node: fx.Node) -> str:
        axis: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        joined: Any = node.args[0]
        if isinstance(joined, fx.Node):
            sources = tuple(self.values[joined])
        else:
            sources = tuple(self._signal(signal) for signal in joined)

        self.nodes.append(TracedNode(node.name, "cat", sources, axis=axis))
        return node.name

    def _signal(self, arg: Any) -> str:
        name = self.values.get(arg) if isinstance(arg, fx.Node) else None
        if not isinstance(name, str):
            raise ExportError(
                f"{self.where!r} cannot be quantised: its layers take an argument that is not a signal ({arg!r})"
            )

        return name


def is_elementwise(module: nn.Module) -> bool:
    """True if a layer maps every value by itself, so that a table can replace it."""
    # a layer of shape-dependent code fails here, or gives other values for other shapes
    x = torch.linspace(-3, 3, 24)
    try:
        with torch.no_grad():
            flat = module(x)
            square = module(x.reshape(2, 3, 2, 2))
            reversed_rows = module(x.flip(0).reshape(6, 4))
    except (RuntimeError, TypeError, ValueError, IndexError):
        return False

    if not isinstance(flat, Tensor) or flat.shape != x.shape or square.shape != (2, 3, 2, 2):
        return False

    # the same values in any shape and order
    same = torch.allclose(square.flatten(), flat, atol=1e-6)
    return same and torch.allclose(reversed_rows.flatten().flip(0), flat, atol=1e-6)
