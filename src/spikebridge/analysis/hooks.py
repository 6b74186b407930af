"""Calls of the modules of a network during a run, by path; the run is not changed.

Paths are those of `named_modules`; in a hybrid network "where.lif1" is a layer of the part "where", and
"units.where_to_what.nonlinearity" a stage of a link's unit. Empty signals, which only infer shapes, are left out.
Modules with modulated weights run inside `torch.vmap`; their tensors are unwrapped.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.hybrid import HybridNetwork, Kernel
from spikebridge.neurons import Sequential, Stateful


@dataclass
class Call:
    """One call of a module.

    Attributes:
        path: of the module.
        empty: the call only infers a shape.
        num_products: products counted so far in this call.
    """

    path: str
    module: nn.Module
    empty: bool
    num_products: int = 0
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    output: Any = None


@dataclass
class CallStack:
    """The running calls, outermost first."""

    stack: list[Call] = field(default_factory=list)

    @property
    def shows_shapes(self) -> bool:
        """Whether the present call is inside one with an empty signal."""
        return any(call.empty for call in self.stack)


@contextmanager
def trace_calls(network: nn.Module, on_output: Callable[[Call], None]) -> Iterator[CallStack]:
    """Calls `on_output` after each call of a module, except for empty signals.

    Args:
        network: any module; all modules in it are followed.
        on_output: gets the call with its arguments and output; its result is ignored.

    Example:
        >>> paths = []
        >>> with trace_calls(nn.Sequential(nn.ReLU()), lambda call: paths.append(call.path)):
        ...     _ = nn.ReLU()(torch.ones(1))  # another one
        >>> paths
        []
    """
    calls = CallStack()

    def begin(path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        signal = next((a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)), None)
        empty = signal is not None and signal.numel() == 0
        calls.stack.append(Call(path, module, empty))

    def end(args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        counts = not calls.shows_shapes and output is not None
        call = calls.stack.pop()

        if counts:
            call.args = args
            call.kwargs = kwargs
            call.output = output
            on_output(call)

    handles = []
    for name, module in network.named_modules():
        path = display_path(network, name)

        def before(module: nn.Module, args: Any, kwargs: Any, path: str = path) -> None:
            begin(path, module, args, kwargs)

        def after(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            end(args, kwargs, output)

        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        # also after an error: a network infers shapes by trial, and a failed call has ended too
        handles.append(module.register_forward_hook(after, with_kwargs=True, always_call=True))

    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def display_path(network: nn.Module, name: str) -> str:
    """The path of a module as users write it: in a hybrid network without the prefix "parts".

    Example:
        >>> display_path(nn.Sequential(), "0.weight")
        '0.weight'
    """
    return name.removeprefix("parts.") if isinstance(network, HybridNetwork) else name


def is_layer(module: nn.Module) -> bool:
    """Whether a module is a layer by itself: a stateful one without stateful ones inside, or one without children.

    Example:
        >>> from spikebridge.neurons import IF
        >>> is_layer(IF()), is_layer(nn.ReLU()), is_layer(Sequential(IF()))
        (True, True, False)
    """
    if isinstance(module, Stateful):
        inside = (child for child in module.modules() if child is not module)
        return not isinstance(module, Kernel | Sequential) and not any(isinstance(child, Stateful) for child in inside)

    return next(module.children(), None) is None


def unwrap_vmap(x: Tensor) -> tuple[Tensor, int]:
    """The tensor below all `vmap`s, with their axes in front, and the number of these axes.

    Example:
        >>> unwrap_vmap(torch.ones(2, 3))[1]
        0
    """
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


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients inside the block; every module gets its own mode back.

    Example:
        >>> layer = nn.Dropout()
        >>> with evaluating(layer):
        ...     layer.training
        False
        >>> layer.training
        True
    """
    modes = [(module, module.training) for module in network.modules()]
    network.eval()

    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
