"""Batches of samples whose first axis is time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import default_collate

from spikebridge.errors import ConfigError, ShapeError


@dataclass(frozen=True)
class StackSamples:
    """Makes one batch of samples: the `collate_fn` for signals whose first axis is time.

    Torch's own function puts the batch first. Signals here are `(T, B, *N)`, so a sample `(T, *N)` needs axis 1.

    Args:
        batch: the axis of the batch for each part of a sample: by name for dicts, in order for tuples.

    Raises:
        ConfigError: samples with other parts.
        ShapeError: samples of different shapes, named by their part.

    Example:
        >>> import torch
        >>> samples = [(torch.zeros(5, 3), 0), (torch.ones(5, 3), 1)]
        >>> events, labels = StackSamples((1, 0))(samples)
        >>> (events.shape, labels)
        (torch.Size([5, 2, 3]), tensor([0, 1]))
    """

    batch: Mapping[str, int] | tuple[int, ...]

    def __call__(self, samples: Sequence[Any]) -> Any:
        """The batch: a dict or a tuple, as the samples are."""
        axes = self.batch
        if isinstance(axes, Mapping):
            if not isinstance(samples[0], Mapping) or samples[0].keys() != axes.keys():
                got = sorted(samples[0]) if isinstance(samples[0], Mapping) else type(samples[0]).__name__
                raise ConfigError(f"expected samples with {sorted(axes)}, but got {got}")
            return {name: _stack([one[name] for one in samples], axis, name) for name, axis in axes.items()}

        if not isinstance(samples[0], tuple | list) or len(samples[0]) != len(axes):
            got = f"{len(samples[0])} parts" if isinstance(samples[0], tuple | list) else type(samples[0]).__name__
            raise ConfigError(f"expected samples of {len(axes)} parts, but got {got}")

        return tuple(_stack([one[k] for one in samples], axis, f"part {k}") for k, axis in enumerate(axes))


def _stack(parts: list[Any], axis: int, name: str) -> Any:
    shapes = {tuple(part.shape) for part in parts if hasattr(part, "shape")}
    if len(shapes) > 1:
        raise ShapeError(
            f"{name} has samples of different shapes: {sorted(shapes)}; pad or crop them, or load one at a time"
        )

    return default_collate(parts).movedim(0, axis)
