"""Signals whose axes lie in memory in another order, as images with the channels last: seen in the order of memory.

To the native steps a step is a row of columns, in any order. So a dense signal is run as it lies, and what comes out
lies as it did: nothing is copied, and the layers around keep the layout that they like.
"""

from typing import NamedTuple

from torch import Tensor

from spikebridge.ops.scheme import Memory, Values


class Layout(NamedTuple):
    """An order of axes.

    Args:
        axes: the axes of a signal as they lie in memory, time first.
        back: the order that undoes it.
    """

    axes: tuple[int, ...]
    back: tuple[int, ...]

    def seen(self, signal: Tensor) -> Tensor:
        """A signal `(T, B, *N)` in the order of memory."""
        return signal.permute(self.axes)

    def given(self, signal: Tensor) -> Tensor:
        """A signal from the order of memory back in its own."""
        return signal.permute(self.back)

    def seen_step(self, step: Tensor) -> Tensor:
        """A step `(B, *N)` in the order of memory."""
        return step.unsqueeze(0).permute(self.axes)[0]

    def given_step(self, step: Tensor) -> Tensor:
        """A step back in its own order."""
        return step.unsqueeze(0).permute(self.back)[0]

    def seen_memory(self, memory: Memory) -> Memory:
        """Memory in the order of memory."""
        return memory._replace(**{n: self.seen_step(m) for n, m in memory._asdict().items() if m is not None})

    def given_memory(self, memory: Memory) -> Memory:
        """Memory back in its own order."""
        return memory._replace(**{n: self.given_step(m) for n, m in memory._asdict().items() if m is not None})

    def seen_values(self, values: Values) -> Values:
        """Values with all axes of the signal, in the order of memory; a single number stays as it is."""
        tensors = {n: v for n, v in values._asdict().items() if isinstance(v, Tensor) and v.ndim > 0}
        return values._replace(**{n: self.seen(self._with_all_axes(value)) for n, value in tensors.items()})

    def given_value(self, grad: Tensor, value: Tensor) -> Tensor:
        """The gradient of a value back in its shape."""
        return (self.given(grad) if value.ndim > 0 else grad).reshape(value.shape)

    def _with_all_axes(self, value: Tensor) -> Tensor:
        return value.reshape(*[1] * (len(self.axes) - value.ndim), *value.shape)


def layout_of(signal: Tensor) -> Layout | None:
    """The order in which a dense signal lies, if it is not its own and time is first in it.

    Example:
        >>> import torch
        >>> image = torch.zeros(5, 3, 8, 8).to(memory_format=torch.channels_last)
        >>> layout_of(image.unflatten(0, (5, 1))).axes
        (0, 1, 3, 4, 2)
    """
    if signal.is_contiguous():
        return None
    rest = sorted(range(1, signal.ndim), key=lambda axis: (signal.shape[axis] > 1, -signal.stride()[axis]))
    axes = (0, *rest)
    if not signal.permute(axes).is_contiguous():
        return None
    return Layout(axes, tuple(sorted(range(signal.ndim), key=axes.__getitem__)))
