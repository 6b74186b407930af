"""A nesting of tensors and plain values, taken apart into tensors and JSON, and put together again.

The state of an optimizer is such a tree. Tuples and dicts with numbers as keys, which JSON lacks, are marked.
"""

import json
from typing import Any

from torch import Tensor

from spikebridge.errors import ConfigError, DataError


def take_apart(tree: Any) -> tuple[str, dict[str, Tensor]]:
    """The tree as JSON with the tensors left out, and the tensors by number.

    Args:
        tree: tensors, numbers, words, None, nested in lists, tuples and dicts.

    Raises:
        ConfigError: something else in the tree.

    Example:
        >>> import torch
        >>> text, tensors = take_apart({"step": 3, "mean": torch.tensor([0.5])})
        >>> text
        '{"dict": [["step", 3], ["mean", {"tensor": "0"}]]}'
        >>> put_together(text, tensors)
        {'step': 3, 'mean': tensor([0.5000])}
    """
    tensors: dict[str, Tensor] = {}
    return json.dumps(_apart(tree, tensors)), tensors


def _apart(node: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(node, Tensor):
        name = str(len(tensors))
        tensors[name] = node
        return {"tensor": name}
    if isinstance(node, dict):
        return {"dict": [[_apart(key, tensors), _apart(value, tensors)] for key, value in node.items()]}
    if isinstance(node, tuple):
        return {"tuple": [_apart(item, tensors) for item in node]}
    if isinstance(node, list):
        return [_apart(item, tensors) for item in node]
    if node is None or isinstance(node, bool | int | float | str):
        return node
    raise ConfigError(
        f"a checkpoint holds tensors and plain values, but something here is a {type(node).__name__}: {node!r}"
    )


def put_together(text: str, tensors: dict[str, Tensor]) -> Any:
    """The tree that was taken apart.

    Raises:
        DataError: the text is not such a tree, or a tensor is missing.
    """
    try:
        return _together(json.loads(text), tensors)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"not a tree of tensors and values: {error!r}") from error


def _together(node: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(node, list):
        return [_together(item, tensors) for item in node]
    if not isinstance(node, dict):
        return node
    ((mark, inside),) = node.items()
    if mark == "tensor":
        return tensors[inside]
    if mark == "tuple":
        return tuple(_together(item, tensors) for item in inside)
    return {_together(key, tensors): _together(value, tensors) for key, value in inside}
