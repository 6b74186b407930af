"""Batches of samples whose first axis is time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from spikebridge.errors import ConfigError, ShapeError, did_you_mean, in_words, is_integer, is_number


@dataclass(frozen=True)
class StackSamples:
    """Makes one batch of samples: the `collate_fn` for signals whose first axis is time.

    Torch's own function puts the batch first. Signals here are `(T, B, *N)`, so a sample `(T, *N)` needs axis 1.

    Args:
        batch: the axis of the batch for each part of a sample: by name for dicts, in order for tuples.
        pad: a number for each part, by name or place, whose samples may differ in length: they are filled up with it
            at the end of time. The batch then has one part more, `"lengths"` or the last one: the steps of each sample
            `(B,)`, by name or place where several parts are padded. The losses take it.

    Raises:
        ConfigError: samples with other parts, or padding of a part that is not there.
        ShapeError: samples of different shapes, named by their part, or without a time step.

    Example:
        >>> import torch
        >>> samples = [(torch.zeros(5, 3), 0), (torch.ones(5, 3), 1)]
        >>> events, labels = StackSamples((1, 0))(samples)
        >>> (events.shape, labels)
        (torch.Size([5, 2, 3]), tensor([0, 1]))
        >>> events, labels, lengths = StackSamples((1, 0), pad={0: 0.0})([*samples, (torch.ones(2, 3), 1)])
        >>> (events.shape, lengths)
        (torch.Size([5, 3, 3]), tensor([5, 5, 2]))
    """

    batch: Mapping[str, int] | tuple[int, ...]
    pad: Mapping[Any, float] | None = None

    def __post_init__(self) -> None:
        names = self._names() if isinstance(self.batch, Mapping | tuple | list) else {"": None}
        if not all(is_integer(axis) for axis in names.values()):
            raise ConfigError(f"StackSamples needs batch as axes, {{'x': 1}} or (1, 0), but got {in_words(self.batch)}")
        if self.pad is not None and not (isinstance(self.pad, Mapping) and all(map(is_number, self.pad.values()))):
            raise ConfigError(
                f"StackSamples needs pad as numbers by part, {{'x': 0.0}} or {{0: 0.0}}, but got {in_words(self.pad)}"
            )

        for name in self.pad or ():
            if name not in names:
                raise ConfigError(f"there is no part {name!r} to pad: {did_you_mean(str(name), map(str, names))}")
        if self.pad and "lengths" in names:
            raise ConfigError("a padded batch gets its 'lengths' from StackSamples; give that part another name")

    def __call__(self, samples: Sequence[Any]) -> Any:
        """The batch: a dict or a tuple, as the samples are."""
        self._check(samples[0])
        batch: dict[Any, Any] = {}
        lengths: dict[Any, Tensor] = {}

        for name, axis in self._names().items():
            what = name if isinstance(name, str) else f"part {name}"
            parts = [sample[name] for sample in samples]
            if self.pad and name in self.pad:
                parts, lengths[name] = _pad(parts, self.pad[name], what)
            batch[name] = _stack(parts, axis, what)

        if lengths:
            batch["lengths"] = lengths if len(lengths) > 1 else next(iter(lengths.values()))
        return batch if isinstance(self.batch, Mapping) else tuple(batch.values())

    def _names(self) -> Mapping[Any, int]:
        """The axis of the batch of each part, by name or place."""
        return self.batch if isinstance(self.batch, Mapping) else dict(enumerate(self.batch))

    def _check(self, sample: Any) -> None:
        axes = self.batch
        if isinstance(axes, Mapping):
            if not isinstance(sample, Mapping) or sample.keys() != axes.keys():
                got = sorted(sample) if isinstance(sample, Mapping) else type(sample).__name__
                raise ConfigError(f"expected samples with {sorted(axes)}, but got {got}")
        elif not isinstance(sample, tuple | list) or len(sample) != len(axes):
            got = f"{len(sample)} parts" if isinstance(sample, tuple | list) else type(sample).__name__
            raise ConfigError(f"expected samples of {len(axes)} parts, but got {got}")


def _pad(parts: list[Any], value: float, name: str) -> tuple[list[Tensor], Tensor]:
    """Samples filled up to the longest one, and the steps of each."""
    signals = [torch.as_tensor(part) for part in parts]
    lengths = [len(signal) if signal.ndim else 0 for signal in signals]
    if min(lengths) == 0:
        raise ShapeError(f"{name}: sample {lengths.index(0)} of the batch has no time step; leave it out of the data")

    filled = [
        torch.cat([signal, signal.new_full((max(lengths) - length, *signal.shape[1:]), value)])
        for signal, length in zip(signals, lengths, strict=True)
    ]
    return filled, torch.tensor(lengths)


def _stack(parts: list[Any], axis: int, name: str) -> Any:
    shapes = {tuple(part.shape) for part in parts if hasattr(part, "shape")}
    if len(shapes) > 1:
        raise ShapeError(
            f"{name} has samples of different shapes: {sorted(shapes)}; pad time with StackSamples(pad=...), crop "
            "them, or load one at a time"
        )

    return default_collate(parts).movedim(0, axis)
