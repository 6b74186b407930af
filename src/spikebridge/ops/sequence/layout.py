"""How signals lie in memory, so that the native steps run them there: nothing is copied.

To the native steps a step is a row of columns, in any order: a dense signal whose axes lie in another order, as images
with the channels last, is seen in the order of memory, and what comes out lies as it did. Or it is some rows, groups,
which may lie anywhere: windows of a signal, side by side as if they were samples.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from spikebridge.ops.native.memory_pool import pool_empty
from spikebridge.ops.sequence.spec import BackwardArgs, NeuronMemory, NeuronParams

_FEWEST_COLUMNS = 32  # of a group; shorter rows are copied side by side, which is faster


class Outline(NamedTuple):
    """What a backward pass needs of a signal that it does not keep.

    Args:
        shape: of the signal.
        strides: of the signal.
    """

    shape: torch.Size
    strides: tuple[int, ...]

    @classmethod
    def of(cls, signal: Tensor) -> "Outline":
        """That of a signal."""
        return cls(signal.shape, signal.stride())

    @property
    def groups(self) -> "Groups":
        """As `groups_of` the signal."""
        return _groups_of(*self)


class _Layout(NamedTuple):
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
        return standing_alone(signal.permute(self.back))

    def seen_step(self, step: Tensor) -> Tensor:
        """A step `(B, *N)` in the order of memory."""
        return step.unsqueeze(0).permute(self.axes)[0]

    def given_step(self, step: Tensor) -> Tensor:
        """A step back in its own order."""
        return standing_alone(step.unsqueeze(0).permute(self.back)[0])

    def seen_memory(self, memory: NeuronMemory) -> NeuronMemory:
        """Memory in the order of memory."""
        return memory._replace(**{n: self.seen_step(m) for n, m in memory._asdict().items() if m is not None})

    def given_memory(self, memory: NeuronMemory) -> NeuronMemory:
        """Memory back in its own order."""
        return memory._replace(**{n: self.given_step(m) for n, m in memory._asdict().items() if m is not None})

    def seen_values(self, values: NeuronParams) -> NeuronParams:
        """Values with all axes of the signal, in the order of memory; a single number stays as it is."""
        tensors = {n: v for n, v in values._asdict().items() if isinstance(v, Tensor) and v.ndim > 0}
        return values._replace(**{n: self.seen(self._with_all_axes(value)) for n, value in tensors.items()})

    def given_value(self, grad: Tensor, value: Tensor) -> Tensor:
        """The gradient of a value back in its shape."""
        return (self.given(grad) if value.ndim > 0 else grad).reshape(value.shape)

    def seen_args(self, args: BackwardArgs) -> BackwardArgs:
        """The arguments of a backward pass, in the order of memory."""
        return args._replace(
            x=None if args.x is None else self.seen(args.x),
            v=self.seen(args.v),
            start=self.seen_memory(args.start),
            values=self.seen_values(args.values),
            grad_y=None if args.grad_y is None else self.seen(args.grad_y),
            grad_end={name: self.seen_step(grad) for name, grad in args.grad_end.items()},
            out=None if args.out is None else self.seen(args.out),
        )

    def given_gradients(self, grads: dict[str, Tensor], values: NeuronParams) -> dict[str, Tensor]:
        """What a backward pass gave, back in its own order."""
        given = {}
        for name, grad in grads.items():
            if name in NeuronParams._fields:
                given[name] = self.given_value(grad, getattr(values, name))
            else:
                given[name] = self.given(grad) if name == "x" else self.given_step(grad)
        return given

    def _with_all_axes(self, value: Tensor) -> Tensor:
        return value.reshape(*[1] * (len(self.axes) - value.ndim), *value.shape)


def layout_of(signal: Tensor) -> _Layout | None:
    """The order in which a dense signal lies, if it is not its own and time is first in it.

    Example:
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
    return _Layout(axes, tuple(sorted(range(signal.ndim), key=axes.__getitem__)))


class Groups(NamedTuple):
    """How many rows a step has, of how many columns each."""

    number: int
    num_columns: int

    def dense(self, signal: Tensor) -> Tensor:
        """A signal whose rows are dense: itself, or a copy."""
        first = 1 if self.number == 1 else 2
        return signal if _is_dense(signal.shape, signal.stride(), first) else signal.contiguous()

    def strides(self, signal: Tensor) -> tuple[int, int]:
        """Numbers from a step to the next, and from a group to the next, of a signal whose rows are dense."""
        step, group, *_ = signal.stride()
        return step, group if self.number > 1 else 0

    def pool_empty(self, signal: Tensor | Outline, like: Tensor) -> Tensor:
        """Memory for steps like those of a signal, with time inside of the groups where it is so in the signal."""
        if self.number > 1:
            shape, strides = signal if isinstance(signal, Outline) else Outline.of(signal)
            if strides[1] > strides[0]:
                return pool_empty(shape, like, (self.num_columns, shape[0] * self.num_columns, *strides[2:]))
        return pool_empty(signal.shape, like)


def standing_alone(view: Tensor) -> Tensor:
    """The memory of a view as a tensor of its own, which may be written to and differentiated."""
    own = view.new_empty(0)
    return own.set_(view.untyped_storage(), view.storage_offset(), view.shape, view.stride())


def groups_of(signal: Tensor) -> Groups:
    """One group where a signal is dense or a copy is faster, else one a sample.

    Example:
        >>> windows = torch.zeros(40, 2, 50).unflatten(0, (4, 10)).movedim(1, 0)
        >>> groups_of(windows)
        Groups(number=4, num_columns=100)
    """
    return _groups_of(signal.shape, signal.stride())


@lru_cache(maxsize=256)
def _groups_of(shape: torch.Size, strides: tuple[int, ...]) -> Groups:
    num_columns = shape[2:].numel()
    side_by_side = _is_dense(shape, strides, 1)
    if side_by_side or num_columns < _FEWEST_COLUMNS or not _is_dense(shape, strides, 2):
        return Groups(1, shape[1:].numel())
    return Groups(shape[1], num_columns)


@lru_cache(maxsize=256)
def _is_dense(shape: torch.Size, strides: tuple[int, ...], first: int) -> bool:
    """Whether the axes from the given one on lie dense, in their order."""
    expected = 1
    for size, stride in zip(reversed(shape[first:]), reversed(strides[first:]), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True
