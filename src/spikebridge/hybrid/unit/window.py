"""W, the window: lays one network's time on the other's (R. Zhao et al., 2022, eq. 4: `X . W(t - k Ts)`).

A window has one of two forms:

- *framed*: `(T, B, *N)` becomes complete windows `(K, L, B, *N)`; the steps of the unfinished window are state.
- *streaming*: the signal stays as it is, with one flag a step that says where a window starts; there the kernel is
  reset.

| window | framed | streaming |
|---|---|---|
| `Hold(n)` | every value becomes n steps | |
| `Tumbling(n)` | windows of n steps without overlap | a start every n steps |
| `Sliding(n, stride)` | windows of n steps, one every `stride` steps | |
| `Since(trigger)` | | a start at each sample of another signal |
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.axes import Signal, Windows
from spikebridge.errors import ConfigError, ShapeError, StateError, in_words
from spikebridge.hybrid.clock import Clock
from spikebridge.neurons.state import TensorForm, TupleForm, allow_states_of, refuse_other_form, state_remedy

# where windows start: for each step True, False, or a flag a sample `(B,)`; as one tensor `(T, B)` or `(T,)`
Starts: TypeAlias = Tensor | Sequence[bool | Tensor]


class _FrameBuffer(NamedTuple):
    """Steps of the unfinished window, batch first `(B, l, *N)`."""

    buffer: Tensor


class _WindowPosition(NamedTuple):
    """The number of steps since the present window started; 0 when the next step starts one."""

    position: int


class Window(nn.Module):
    """Base of all windows.

    Attributes:
        length: steps in one window, None if they are not fixed.
        overlaps: True if a step can be in more than one window.
    """

    length: int | None = None
    overlaps: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        allow_states_of(cls, ("frame", "starts"))

    def frame(self, x: Signal, state: _FrameBuffer | None) -> tuple[Windows, _FrameBuffer | None]:
        """Divides a signal into windows.

        Args:
            x: `(T, B, *N)`.
            state: after the call before, None at the start.

        Returns:
            Complete windows `(K, L, B, *N)`, maybe with K = 0, and the steps of the unfinished one.
        """
        raise ConfigError(f"{type(self).__name__} has no framed form: its windows have no fixed length")

    def buffer(self, steps: Tensor, state: _FrameBuffer | None) -> _FrameBuffer | None:
        """The state of `frame` after steps `(B, l, *N)` with which no window closes."""
        return self.frame(steps.transpose(0, 1), state)[1]

    def starts(self, num_steps: int, state: _WindowPosition | None) -> tuple[list[bool], _WindowPosition | None]:
        """A flag for each of `num_steps` steps, True if a window starts there, and the state after them."""
        raise ConfigError(f"{type(self).__name__} has no streaming form")

    def clock(self, source: Clock) -> Clock:
        """The clock of one value a window, stamped when the window closes."""
        return source

    def extra_repr(self) -> str:
        return f"{self.length}" if self.length is not None else ""


def checked_integer(name: str, what: str, value: int, minimum: int = 1) -> int:
    """The value, or a `ConfigError` that says which class needs what."""
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise ConfigError(f"{name} needs {what} as an integer of at least {minimum}, but got {in_words(value)}")
    return value


class Hold(Window):
    """Each value becomes `length` steps: from a slow network to a fast one.

    Args:
        length: steps for which one value is held.

    Example:
        >>> windows, _ = Hold(3).frame(torch.tensor([1.0, 2.0]).reshape(2, 1, 1), None)
        >>> windows[:, :, 0, 0].tolist()
        [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length: int = checked_integer("Hold", "its length", length)

    def frame(self, x: Signal, state: _FrameBuffer | None) -> tuple[Windows, None]:
        return x.unsqueeze(1).expand(len(x), self.length, *x.shape[1:]), None


class Sliding(Window):
    """Windows of `length` steps, one every `stride` steps.

    Args:
        length: steps in a window.
        stride: steps from one window to the next, at most `length`.

    Example:
        >>> windows, state = Sliding(3, stride=1).frame(torch.arange(4.0).reshape(4, 1, 1), None)
        >>> windows[:, :, 0, 0].tolist(), state.buffer.flatten().tolist()
        ([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]], [2.0, 3.0])
    """

    def __init__(self, length: int, stride: int = 1) -> None:
        super().__init__()
        self.length: int = checked_integer(type(self).__name__, "its length", length)
        self.stride = checked_integer(type(self).__name__, "its stride", stride)
        if self.stride > self.length:
            raise ConfigError(f"Sliding needs stride <= length, or steps are lost, but got {stride} > {length}")

        self.overlaps = self.stride < self.length

    def frame(self, x: Signal, state: _FrameBuffer | None) -> tuple[Windows, _FrameBuffer]:
        steps = self._with_buffer(x, state)
        num_steps = steps.shape[0]
        num_windows = max(0, (num_steps - self.length) // self.stride + 1)
        used = num_windows * self.stride

        if not self.overlaps:
            # a slice of all steps would cost the backward pass a copy
            complete = steps if used == num_steps else steps[:used]
            windows = complete.reshape(num_windows, self.length, *x.shape[1:])
        elif num_windows:
            windows = steps.unfold(0, self.length, self.stride).movedim(-1, 1)
        else:
            windows = x.new_empty((0, self.length, *x.shape[1:]))

        if used == num_steps:
            return windows, _FrameBuffer(x.new_empty((x.shape[1], 0, *x.shape[2:])))

        rest = steps[used:]
        if used or steps is x:
            # a copy: the state neither keeps a long signal in memory nor changes when the caller writes into it
            rest = rest.clone()

        return windows, _FrameBuffer(rest.transpose(0, 1))

    def buffer(self, steps: Tensor, state: _FrameBuffer | None) -> _FrameBuffer:
        if state is None:
            return _FrameBuffer(steps.clone())

        batch, _, *shape = steps.shape
        self._checked_steps(steps, (batch, *shape), state)
        return _FrameBuffer(torch.cat([state.buffer, steps], 1))

    def _with_buffer(self, x: Signal, state: _FrameBuffer | None) -> Float[Tensor, "T2 B *N"]:
        """A signal behind the steps of the unfinished window."""
        if state is None:
            return x

        num_steps = self._checked_steps(x, x.shape[1:], state)
        return torch.cat([state.buffer.transpose(0, 1), x]) if num_steps else x

    def _checked_steps(self, steps: Tensor, sample: Sequence[int], state: _FrameBuffer) -> int:
        """The steps in a state; raises if others, of samples `(B, *N)`, cannot follow, or if the window is complete."""
        before = state.buffer if type(state) is _FrameBuffer else None
        if not isinstance(before, Tensor) or not is_alike(steps, sample, before):
            form = TensorForm(torch.Size((sample[0], 0, *sample[1:])), steps.dtype, steps.device)
            refuse_other_form(self, state, TupleForm(_FrameBuffer, {"buffer": form}))

        num_steps = state.buffer.shape[1]
        if num_steps >= self.length:
            raise self._too_long(num_steps)

        return num_steps

    def starts(self, num_steps: int, state: _WindowPosition | None) -> tuple[list[bool], _WindowPosition]:
        if state is not None:
            refuse_other_form(self, state, TupleForm(_WindowPosition, {"position": int}))
            if state.position >= self.length:
                raise self._too_long(state.position)

        position = 0 if state is None else state.position
        first = -position % self.length
        flags = [t % self.length == first for t in range(num_steps)]

        return flags, _WindowPosition((position + num_steps) % self.length)

    def _too_long(self, num_steps: int) -> StateError:
        """The error of a state with more steps than an unfinished window."""
        return StateError(
            f"{type(self).__name__}({self.length}) got a state of {num_steps} steps of an unfinished window; "
            f"{state_remedy('window')}",
            self,
        )

    def clock(self, source: Clock) -> Clock:
        return Clock(source.period * self.stride, source.phase + (self.length - 1) * source.period)

    def extra_repr(self) -> str:
        return f"{self.length}, stride={self.stride}"


def is_alike(x: Tensor, sample: Sequence[int], stream: Tensor) -> bool:
    """True if a signal, whose samples have the shape `(B, *N)`, fits a stream `(B, T, *N)`: shape, dtype and device."""
    if x.dtype != stream.dtype or x.device != stream.device:
        return False

    batch, _, *shape = stream.shape
    return sample == (batch, *shape)


class Tumbling(Sliding):
    """Windows of `length` steps without overlap: from a fast network to a slow one.

    Args:
        length: steps in a window.

    Example:
        >>> windows, state = Tumbling(2).frame(torch.arange(5.0).reshape(5, 1, 1), None)
        >>> windows[:, :, 0, 0].tolist(), state.buffer.flatten().tolist()
        ([[0.0, 1.0], [2.0, 3.0]], [4.0])
    """

    def __init__(self, length: int) -> None:
        super().__init__(length, stride=length)

    def extra_repr(self) -> str:
        return f"{self.length}"


class Since(Window):
    """A window that starts at each sample of another signal, however late it comes: a camera frame, a saccade.

    The first source step at or after a trigger belongs to the new window; before any trigger the window is open from
    the start. In a network the trigger is named; it is a signal of floats (each sample triggers) or of flags `(T, B)`.
    A unit called on its own takes the flags: `unit(x, state, starts=...)`.

    Args:
        trigger: name of the signal.

    Example:
        >>> Since("frames")
        Since('frames')
    """

    def __init__(self, trigger: str) -> None:
        super().__init__()
        if not isinstance(trigger, str):
            raise ConfigError(f"Since needs the name of a signal, such as 'frames', but got {in_words(trigger)}")
        self.trigger = trigger

    def extra_repr(self) -> str:
        return repr(self.trigger)


def window_starts_from_clock(source: Clock, trigger: Clock, start: int, stop: int) -> list[bool]:
    """A flag for each source step, True if it is the first at or after a sample of the trigger."""
    ticks = source.ticks(start, stop)
    # the first step takes all triggers before it
    before = [trigger.count(tick - source.period + 1) if tick > source.phase else 0 for tick in ticks]

    return [trigger.count(tick + 1) > count for tick, count in zip(ticks, before, strict=True)]


def window_starts_from_mask(
    source: Clock, trigger: Clock, flags: Tensor | None, waiting: Tensor, start: int, stop: int
) -> tuple[Tensor, Tensor]:
    """Flags `(T, B)` of source steps when the trigger is a mask `(K, B)`, None without a sample in these ticks.

    `waiting` `(B,)` marks samples whose trigger came after the last source step; it is returned for the next call.
    """
    if flags is None:
        flags = waiting.new_empty((0, len(waiting)))
    elif flags.numel() != len(flags) * len(waiting):
        raise ShapeError(f"a trigger has one flag a sample, (T, B), but got shape {tuple(flags.shape)}")

    ticks = source.ticks(start, stop)
    before = trigger.count(start)
    edges = [0, *[count - before for count in trigger.counts(ticks)], len(flags)]
    rows = flags.reshape(len(flags), len(waiting))
    triggered = [rows[a:b].any(0) for a, b in pairwise(edges)]  # since the step before; the last one, after all steps
    # a trigger behind the last step of the call before starts a window at the first step of this one
    triggered[0] = triggered[0] | waiting

    return torch.stack(triggered[:-1]) if ticks else waiting.new_empty((0, len(waiting))), triggered[-1]


def window_starts_from_argument(starts: Starts | None, x: Tensor) -> Iterable[bool | Tensor]:
    """The flags for a unit with the window `Since`, one a step: True, False, or one a sample `(B,)`."""
    if starts is None:
        raise ConfigError("a unit with the window Since needs starts=, the flags (T, B) of where windows start")
    if not isinstance(starts, Tensor | list | tuple):
        raise ConfigError(f"starts needs flags (T, B), a tensor or a list, but got {in_words(starts)}")
    if len(starts) != len(x):
        raise ShapeError(f"starts has {len(starts)} steps, but the signal has {len(x)}")
    if not isinstance(starts, Tensor):
        samples = x.shape[1:2]
        if {*map(type, starts)} != {bool} and not all(
            type(f) is bool or (isinstance(f, Tensor) and f.dtype == torch.bool and f.shape == samples) for f in starts
        ):
            raise ShapeError(f"starts needs True, False or flags {tuple(samples)} a step, but got {in_words(starts)}")
        return starts

    if starts.dtype != torch.bool or starts.ndim not in (1, 2) or starts.shape[1:] not in ((), x.shape[1:2]):
        raise ShapeError(
            f"starts needs flags (T, B) or (T,) for a signal {tuple(x.shape)}, but got {starts.dtype} "
            f"{tuple(starts.shape)}"
        )

    if not starts.is_cpu:
        # reading flags from a device would wait for it
        return starts.unbind(0) if starts.ndim == 2 else starts.unsqueeze(1).unbind(0)
    if starts.ndim == 1:
        return starts.numpy().tolist()

    # a step at which no sample starts a window is cheaper without a mask
    return [row if some else False for row, some in zip(starts.unbind(0), starts.any(1).numpy().tolist(), strict=True)]
