"""Weights in safetensors files, checked against the network before any of them is changed."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from spikebridge.data.io.atomic import write_bytes
from spikebridge.data.io.safe_open import checked_file
from spikebridge.errors import ConfigError, DataError
from spikebridge.neurons.quantity import names_of_floats


def state_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module by name; a `ConfigError` if not all of it is tensors."""
    state = module.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ConfigError(
                f"{name!r} of {type(module).__name__} is a {type(value).__name__}; only tensors can be saved"
            )

    return state


def cpu_copy(tensor: Tensor) -> Tensor:
    """A contiguous copy on the CPU with memory of its own (tied weights share theirs)."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def save_weights(path: Path, weights: nn.Module | Mapping[str, Tensor]) -> None:
    """Writes weights; an old file stays until the new one is complete.

    Args:
        path: ends in `.safetensors` by convention.
        weights: a module, or tensors by name.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     save_weights(Path(folder) / "w.safetensors", {"a": torch.tensor([1.5])})
        ...     read_weights(Path(folder) / "w.safetensors")
        {'a': tensor([1.5000])}
    """
    tensors = state_tensors(weights) if isinstance(weights, nn.Module) else weights
    write_bytes(path, save({name: cpu_copy(tensor) for name, tensor in tensors.items()}))


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU."""
    try:
        # the header names the sizes, and the reader holds them against the size of the file before it takes memory
        return load_file(checked_file(path, "weights"))
    except DataError:
        raise
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"the weights at {path} are damaged: {error}") from error


def load_weights(path: Path, module: nn.Module) -> None:
    """Copies the weights of a file into a module, in the module's own precision and on its device.

    Raises:
        DataError: no such file, a damaged one, or one with NaN or infinite values.
        ConfigError: weights of another network; the module is left as it was.
    """
    weights = read_weights(path)
    check_compatible(weights, module, str(path))
    module.load_state_dict(weights)


def check_compatible(weights: Mapping[str, Tensor], module: nn.Module, source: str) -> None:
    """Refuses weights whose names or shapes are not those of a module; the message names the first difference."""
    # weights of release 0.1 lack the floats of layers
    own = state_tensors(module)
    floats = names_of_floats(module)
    if weights.keys().isdisjoint(floats):
        own = {name: tensor for name, tensor in own.items() if name not in floats}

    missing = sorted(own.keys() - weights.keys())
    unknown = sorted(weights.keys() - own.keys())
    kind = type(module).__name__
    if missing:
        raise ConfigError(f"{source} is of another network: it lacks {_some(missing)} of this {kind}")
    if unknown:
        raise ConfigError(f"{source} is of another network: this {kind} has no {_some(unknown)}")

    for name, tensor in own.items():
        weight = weights[name]
        if weight.shape != tensor.shape:
            shapes = f"has the shape {tuple(weight.shape)}, but {tuple(tensor.shape)} in this {kind}"
            raise ConfigError(f"{source} is of another network: {name!r} {shapes}")
        if _kind_of(weight) != _kind_of(tensor):
            dtypes = f"holds {weight.dtype}, but {tensor.dtype} in this {kind}"
            raise ConfigError(f"{source} is of another network: {name!r} {dtypes}")

        _check_finite(name, weight, tensor, source)


def _check_finite(name: str, weight: Tensor, initial: Tensor, source: str) -> None:
    """Refuses a weight that is not finite where the untrained network is."""
    # the time constant of a neuron without leak is infinite from the start
    weight = weight.detach().cpu()
    if weight.isfinite().all():
        return

    bad = ~weight.isfinite() & ~(weight == initial.detach().cpu())
    if bad.any():
        raise DataError(
            f"{source}: {int(bad.sum())} of {weight.numel()} values of {name!r} are not finite; the training diverged, "
            "or the file is damaged"
        )


def _kind_of(tensor: Tensor) -> str:
    if tensor.dtype == torch.bool:
        return "truth values"
    return "real" if tensor.is_floating_point() else "complex" if tensor.is_complex() else "integers"


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def load_exactly(weights: Mapping[str, Tensor], module: nn.Module) -> None:
    """Gives a module these weights in their own precision: a network trained in float64 continues in float64."""
    # load_state_dict alone would round them to the precision of the module
    for name, tensor in module.state_dict(keep_vars=True).items():
        if name in weights and tensor.dtype != weights[name].dtype:
            tensor.data = tensor.data.to(weights[name].dtype)

    with torch.no_grad():
        module.load_state_dict(weights)
