"""Calls of the modules of a network during a run, by path; the run is not changed.

Paths are those of `named_modules`; in a hybrid network "where.lif1" is a layer of the part "where", and
"units.where_to_what.nonlinearity" a stage of a link's unit. Empty signals, which only infer shapes, are ignored.
Modules with modulated weights run inside `torch.vmap`; their tensors are unwrapped.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridNetwork, Kernel
from spikebridge.neurons import Sequential, Stateful
from spikebridge.neurons.stateless import tensors_by_name

Inputs: TypeAlias = Tensor | Mapping[str, Tensor]


@dataclass
class Call:
    """One call of a module."""

    path: str
    module: nn.Module
    empty: bool  # the call only infers a shape
    num_products: int = 0  # counted so far in this call
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    output: Any = None

    @property
    def signals(self) -> dict[str, Tensor]:
        """The tensors of the output by name, without a state; a single one has the name ""."""
        y = self.output[0] if type(self.output) is tuple and self.output else self.output
        values = {"": y} if isinstance(y, Tensor) else tensors_by_name(y) or {}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}


@dataclass
class CallStack:
    """The running calls, outermost first."""

    stack: list[Call] = field(default_factory=list)

    @property
    def shows_shapes(self) -> bool:
        """True if the present call is inside one with an empty signal."""
        return any(call.empty for call in self.stack)


@contextmanager
def trace_calls(network: nn.Module, on_output: Callable[[Call], None]) -> Iterator[CallStack]:
    """Calls `on_output` after each call of a module in the network, except for empty signals."""
    calls = CallStack()

    def begin(path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        signal = next((a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)), None)
        empty = signal is not None and signal.numel() == 0
        calls.stack.append(Call(path, module, empty))

    def end(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        is_real = not calls.shows_shapes and output is not None
        call = calls.stack.pop()
        if is_real:
            call.args = args
            call.kwargs = kwargs
            call.output = output
            on_output(call)

    handles = []
    for name, module in network.named_modules():
        handles.append(module.register_forward_pre_hook(partial(begin, display_path(network, name)), with_kwargs=True))
        # also after an error: a network infers shapes by trial, and a failed call has ended too
        handles.append(module.register_forward_hook(end, with_kwargs=True, always_call=True))

    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def display_path(network: nn.Module, name: str) -> str:
    """The path of a module as users write it: in a hybrid network without the prefix "parts"."""
    return name.removeprefix("parts.") if isinstance(network, HybridNetwork) else name


def is_layer(module: nn.Module) -> bool:
    """True for a stateful module without stateful ones inside, and for any other module without children."""
    if isinstance(module, Stateful):
        inside = (child for child in module.modules() if child is not module)
        return not isinstance(module, Kernel | Sequential) and not any(isinstance(child, Stateful) for child in inside)

    return next(module.children(), None) is None


def unwrap_vmap(x: Tensor) -> tuple[Tensor, int]:
    """The tensor below all `vmap`s, with their axes in front, and the number of these axes."""
    functorch = torch._C._functorch
    x = x.detach()
    num_axes = 0

    while functorch.is_functorch_wrapped_tensor(x):
        axis = functorch.maybe_get_bdim(x) if functorch.is_batchedtensor(x) else -1
        x = functorch.get_unwrapped(x)
        if axis >= 0:
            x = x.movedim(axis, 0)
            num_axes += 1

    return x.detach(), num_axes


def check_inputs(network: nn.Module, inputs: Inputs) -> None:
    """Refuses inputs of the wrong form: by name for a hybrid network, one tensor for any other module."""
    if isinstance(network, HybridNetwork) and not isinstance(inputs, Mapping):
        raise ConfigError("a hybrid network needs its inputs by name, {'frames': ...}, but got one tensor")
    if not isinstance(network, HybridNetwork) and not isinstance(inputs, Tensor):
        raise ConfigError(f"{type(network).__name__} needs one tensor, but got {type(inputs).__name__}")
