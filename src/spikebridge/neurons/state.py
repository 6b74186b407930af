"""Functions over any state: a nesting of (named) tuples, lists and dicts of tensors, whole numbers and None.

Every tensor in a state has the batch as its first axis.
"""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

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
