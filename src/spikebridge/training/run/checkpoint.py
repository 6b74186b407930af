"""Checkpoints: weights, optimizer, generators and counters of a training in one file.

A checkpoint is a safetensors file `checkpoint/step-00000120.safetensors`. Its tensors are numbered; the tree that holds
them is JSON in the header, with a version and a digest of all. A file is written atomically. The newest two are kept.
Where the newest is damaged (a bad disk), the one before is taken and a warning logged: a resumed training is equal to
the bit, so only time is lost. If none is whole, that is an error, never a silent new start.

The tree (an optimizer's state) nests tensors and plain values. Tuples and dicts with integer keys, which JSON lacks,
are marked. `torch.utils._pytree` has no stable text form of a tree, so that files need this one.
"""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from spikebridge.data.io.atomic import is_temporary, write_bytes
from spikebridge.data.io.closed_folder import inside
from spikebridge.data.io.json_text import parse_json
from spikebridge.data.io.safe_open import checked_file
from spikebridge.errors import ConfigError, DataError
from spikebridge.training.run.weights import cpu_copy

VERSION = "1"
_NUM_KEPT = 2
_log = logging.getLogger(__name__)


def save_checkpoint(folder: Path, step: int, tree: Any, root: Path | None = None) -> Path:
    """Writes a checkpoint of a step, and removes all but the newest two; no link may lead out of `root`."""
    folder.mkdir(parents=True, exist_ok=True)
    text, tensors = tree_flatten(tree)
    tensors = {name: cpu_copy(tensor) for name, tensor in tensors.items()}
    path = folder / f"step-{step:08d}.safetensors"
    write_bytes(
        inside(folder, path.name, root),
        save(tensors, {"version": VERSION, "tree": text, "digest": _digest(text, tensors)}),
    )

    # a later checkpoint is of a training that was resumed from before it; it must not win over this one
    others = [file for file in _files(folder) if file != path]
    behind = [file for file in others if file.name < path.name]
    for file in {*others} - {*behind[: _NUM_KEPT - 1]}:
        file.unlink()

    for file in folder.iterdir():
        if is_temporary(file):
            file.unlink()

    return path


def load_checkpoint(folder: Path, root: Path | None = None) -> Any | None:
    """The newest whole checkpoint of a folder; None if the folder holds none at all. No link may lead out of `root`."""
    files = [inside(folder, file.name, root) for file in _files(folder)]
    for file in files:
        try:
            return read_checkpoint(file)
        except DataError as error:
            _log.warning("%s; trying the checkpoint before it", error)

    if files:
        raise DataError(f"no checkpoint in {folder} is whole; remove that folder to start the training again")

    return None


def read_checkpoint(path: Path) -> Any:
    """The tree of one checkpoint; a `DataError` if the file is damaged."""
    try:
        # the header names the sizes, and the reader holds them against the size of the file before it takes memory
        with safe_open(checked_file(path, "a checkpoint"), framework="pt") as file:
            head = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"the checkpoint {path} is damaged: {error}") from error

    if head.get("version", VERSION) != VERSION:
        raise ConfigError(
            f"the checkpoint {path} has version {head['version']}, but this program reads version {VERSION}"
        )

    text = head.get("tree", "")
    if head.get("digest") != _digest(text, tensors):
        raise DataError(f"the checkpoint {path} is damaged: its digest does not fit")

    return tree_unflatten(text, tensors)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.safetensors"), reverse=True)


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)

    return digest.hexdigest()


def tree_flatten(tree: Any) -> tuple[str, dict[str, Tensor]]:
    """The tree as JSON without its tensors, and the tensors by number."""
    tensors: dict[str, Tensor] = {}
    return json.dumps(_flatten(tree, tensors)), tensors


def _flatten(node: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(node, Tensor):
        name = str(len(tensors))
        tensors[name] = node
        return {"tensor": name}

    if isinstance(node, dict):
        return {"dict": [[_flatten(key, tensors), _flatten(value, tensors)] for key, value in node.items()]}
    if isinstance(node, tuple):
        return {"tuple": [_flatten(item, tensors) for item in node]}
    if isinstance(node, list):
        return [_flatten(item, tensors) for item in node]
    if node is None or isinstance(node, bool | int | float | str):
        return node

    raise ConfigError(
        f"a checkpoint holds tensors and plain values, but something here is a {type(node).__name__}: {node!r}"
    )


def tree_unflatten(text: str, tensors: dict[str, Tensor]) -> Any:
    """The tree that `tree_flatten` flattened; a `DataError` if the text is no such tree."""
    try:
        return _unflatten(parse_json(text, "the tree"), tensors)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"not a tree of tensors and values: {error!r}") from error


def _unflatten(node: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(node, list):
        return [_unflatten(item, tensors) for item in node]
    if not isinstance(node, dict):
        return node

    ((mark, inside),) = node.items()
    if mark == "tensor":
        return tensors[inside]
    if mark == "tuple":
        return tuple(_unflatten(item, tensors) for item in inside)

    return {_unflatten(key, tensors): _unflatten(value, tensors) for key, value in inside}
