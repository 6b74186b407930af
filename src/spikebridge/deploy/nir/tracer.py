"""The graph of the layers of a part, found by tracing one step.

A graph is not a sequence: branches, skips and sums inside a user-defined `forward` are kept. Between layers only
reshapes of time and batch and additions are allowed; NIR has no node for anything else, and the error names it.
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
    """A layer that ran.

    Attributes:
        name: its path in the part; one that runs again gets a number.
        sources: the nodes whose outputs add up at its input.
        shape: of one sample that came in.
        given: of one sample that went out.
    """

    name: str
    module: nn.Module
    sources: Value
    shape: tuple[int, ...]
    given: tuple[int, ...]


@dataclass(frozen=True)
class _Known:
    tensor: Tensor  # kept, so that its id stays its own
    value: Value | str  # or the operation that made it, which NIR does not know
    shape: tuple[int, ...]


def trace(part: nn.Module, x: Tensor, entry: Value = ("input",), prefix: str = "") -> tuple[list[Visit], Value]:
    """The layers of a part in the order in which they run, and what adds up to its output.

    Args:
        part: stateful or plain, in eval mode.
        x: one step, `(1, B, *N)`.
        entry: the name of what comes in.
        prefix: of all names.

    Raises:
        ExportError: something between the layers is no wiring.

    Example:
        >>> from spikebridge.neurons import IF, Sequential
        >>> visits, output = trace(Sequential(fc=nn.Linear(2, 3), fire=IF()), torch.zeros(1, 1, 2))
        >>> [(visit.name, visit.sources) for visit in visits], output
        ([('fc', ('input',)), ('fire', ('fc',))], ('fire',))
    """
    wires = _Wires(part, x, entry, prefix)
    # a state is found and checked by sending nothing through the layers, which must not be taken for the step
    state = part.initial_state(x[0]) if isinstance(part, Stateful) else None
    if state is not None:
        with torch.no_grad():
            part(x, state)

    with torch.no_grad(), wires:
        y = part(x, state)[0] if isinstance(part, Stateful) else over_time(part, x)

    output = _as_signal(wires.value_of(y, "its output").value)
    visits: list[Visit] = []
    ends: dict[str, Value] = {}

    for visit in wires.visits:
        if isinstance(visit.module, Recurrent):
            inner, ends[visit.name] = _with_feedback(visit, visit.module)
            visits += inner
        else:
            visits.append(visit)

    return [replace(visit, sources=_renamed(visit.sources, ends)) for visit in visits], _renamed(output, ends)


def _is_layer(module: nn.Module) -> bool:
    """Whether a module is one layer, and not a container of layers."""
    return isinstance(module, Neuron | Recurrent) or next(module.children(), None) is None


class _Wires(TorchFunctionMode):
    """Follows tensors from layer to layer."""

    def __init__(self, part: nn.Module, x: Tensor, entry: Value, prefix: str) -> None:
        super().__init__()
        self.part = part
        self.prefix = prefix
        self.batch = x.shape[1]
        self.known = {id(x): _Known(x, entry, tuple(x.shape[2:]))}
        self.visits: list[Visit] = []
        self.inside = 0
        self.waiting: list[tuple[Value, tuple[int, ...]]] = []
        self.handles: list[Any] = []

    def __enter__(self) -> "_Wires":
        below: list[str] = []
        for path, module in self.part.named_modules():
            if any(path.startswith(f"{above}.") or above == "" for above in below) or not _is_layer(module):
                continue
            below.append(path)
            name = ".".join(part for part in (self.prefix, path) if part) or "neuron"
            self.handles.append(module.register_forward_pre_hook(self._before(name)))
            self.handles.append(module.register_forward_hook(self._after(name)))

        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        for handle in self.handles:
            handle.remove()

    def value_of(self, x: Tensor, where: str) -> _Known:
        """What a tensor is made of, or why that is unknown."""
        known = self.known.get(id(x))
        if known is None or isinstance(known.value, str):
            does = f"computes {known.value!r}" if known is not None else "uses a tensor of its own"
            raise ExportError(
                f"{type(self.part).__name__} {does} between its layers, before {where}; NIR holds only layers and sums"
            )

        return known

    def _before(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            if self.inside == 0:
                known = self.value_of(arguments[0], repr(name))
                self.waiting.append((_as_signal(known.value), known.shape))
            self.inside += 1

        return hook

    def _after(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
            self.inside -= 1
            if self.inside:
                return

            y = output[0] if isinstance(output, tuple) else output
            sources, shape = self.waiting.pop()
            lead = 2 if isinstance(module, Stateful) else 1
            given = tuple(y.shape[lead:])

            if isinstance(module, _TRANSPARENT):
                self.known[id(y)] = _Known(y, sources, given)
                return

            times = sum(visit.module is module for visit in self.visits)
            if times and isinstance(module, Stateful):
                raise ExportError(f"the layer {name!r} runs twice in one step; a node of NIR has one membrane")

            own = name if not times else f"{name}_{times + 1}"
            self.visits.append(Visit(own, module, sources, shape, given))
            self.known[id(y)] = _Known(y, (own,), given)

        return hook

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = getattr(function, "__name__", "")
        if self.inside or name in _FRESH:
            return result

        came = [self.known[id(x)] for x in _tensors(args) if id(x) in self.known]
        for y in _tensors(result) if came else ():
            if y.is_floating_point() and id(y) not in self.known:
                self.known[id(y)] = _Known(y, self._made(name, args, came, y), came[0].shape)

        return result

    def _made(self, name: str, args: Any, came: list[_Known], y: Tensor) -> Value | str:
        """What an operation between layers gives: the same signal in another form, a sum, or something else."""
        first = came[0]
        foreign = next((known.value for known in came if isinstance(known.value, str)), None)
        if foreign is not None:
            return foreign

        whole = y.shape[y.ndim - len(first.shape) :] == first.shape
        rows = y.numel() == self.batch * torch.Size(first.shape).numel()
        if name in _SAME and len(came) == 1 and whole and rows:
            return first.value
        if name in _SUMS and len(came) == 2 and came[0].shape == came[1].shape and len(list(_tensors(args))) == 2:
            return (*_as_signal(came[0].value), *_as_signal(came[1].value))

        return name


def _with_feedback(visit: Visit, module: Recurrent) -> tuple[list[Visit], Value]:
    """A recurrent layer as its layer and the weight that brings its output back, and what it gives out."""
    zero = torch.zeros(1, 2, *visit.shape)
    inner, out = trace(module.layer, zero, (*visit.sources, _FEEDBACK), f"{visit.name}.layer")
    back, end = trace(module.weight, torch.zeros(1, 2, *visit.given), out, f"{visit.name}.weight")
    return [replace(v, sources=_renamed(v.sources, {_FEEDBACK: end})) for v in (*inner, *back)], out


def _renamed(value: Value, aliases: dict[str, Value]) -> Value:
    return tuple(new for name in value for new in aliases.get(name, (name,)))


def _as_signal(value: Value | str) -> Value:
    return value if isinstance(value, tuple) else (value,)


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    return [x for value in values for x in _tensors(value)] if isinstance(values, tuple | list) else []
