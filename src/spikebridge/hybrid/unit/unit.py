"""The hybrid unit, `Y = Q . F . H . W (X)` (R. Zhao et al., Nature Communications 13:3427, 2022, eqs. 1 and 4-6).

    h(t, k) = [ X . W(t - k Ts) ] * H(t)        Y = Q[ F( h(t, k) ) ]

`HybridUnit._equation` is this equation: window, kernel, nonlinearity, discretizer, each taking and returning its state.
`_window_form` says which stages can follow each other, and which form the window then has.
"""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from spikebridge.axes import Signal
from spikebridge.errors import ConfigError, ShapeError, StateError, in_words
from spikebridge.hybrid.clock import Clock
from spikebridge.hybrid.unit.discretizer import Discretizer
from spikebridge.hybrid.unit.kernel import Kernel
from spikebridge.hybrid.unit.scan import scan_with_resets
from spikebridge.hybrid.unit.window import Hold, Since, Sliding, Starts, Window, window_starts_from_argument
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.quantity import refuse_other_place
from spikebridge.neurons.state import (
    State,
    TupleForm,
    allow_state,
    check_state,
    refuse_other_form,
    state_remedy,
    with_path,
)
from spikebridge.neurons.stateless import over_time, refuse_hidden_state, refuse_inplace
from spikebridge.ops.checks import check_mode
from spikebridge.ops.precision import HALF, cast_for, state_dtype, upcast


class UnitState(NamedTuple):
    """The states of the window (its unfinished steps), of the kernel (in the streaming form) and of the discretizer."""

    window: State = None
    kernel: State = None
    discretizer: State = None


class Stages(NamedTuple):
    """The output of each stage of a unit: windows, `h(t, k)`, the nonlinearity's and the discretizer's values.

    All are `(K, M, B, *N)`; in the streaming form each step counts as a window of one.
    """

    window: Tensor
    kernel: Tensor
    nonlinearity: Tensor
    discretizer: Tensor


# the nonlinearity last: all of them are modules
_KINDS = {"window": Window, "kernel": Kernel, "discretizer": Discretizer, "nonlinearity": nn.Module}
_LAYER_HINT = "; a spiking layer is the discretizer SpikingLayer(layer)"


def _place_of(stage: object, name: str) -> str:
    """A hint at the argument that a stage belongs to."""
    if name == "window" and isinstance(stage, int) and not isinstance(stage, bool):
        return f"; did you mean Tumbling({stage})?"
    if isinstance(stage, Stateful) and not isinstance(stage, Kernel):
        return _LAYER_HINT

    place = next((word for word, kind in _KINDS.items() if isinstance(stage, kind)), name)
    return f"; did you mean {place}=?" if place != name else ""


def _stage(name: str) -> Any:
    """A registered stage, or None, found without the search of nn.Module, which takes longer than a sum."""

    def put(unit: nn.Module, value: Any) -> None:
        # nn.Module registers a module before it comes here
        if value is not None:
            raise ConfigError(f"{type(unit).__name__} needs {name} as a module or None, but got {in_words(value)}")

    return property(lambda unit: unit._modules.get(name), put)


class HybridUnit(nn.Module):
    """Links one network to another: window, kernel in time, nonlinearity, discretizer. Each may be left out or learned.

    It keeps no state, so it also works inside a `forward` of your own: `y, state = unit(x, state)`. Signals are
    checked at the first call of a stream (no state is given); `spikebridge.ops.checks("always")` checks every call.
    Half-precision signals are computed in float32, with states in float32; the nonlinearity gets them in the dtype of
    its parameters, and the output has the dtype of the signal.

    Args:
        window: `Hold`, `Tumbling`, `Sliding`, `Since`; None is one window that never closes.
        kernel: a `Kernel`; None keeps the steps as they are.
        nonlinearity: any plain module on `(B, *N)`; identity if None. It may take a second argument, the context.
        discretizer: a `Discretizer`; None gives the values as they are.

    Raises:
        ConfigError: stages that cannot follow each other.

    Example:
        >>> from spikebridge.hybrid import Mean, Tumbling
        >>> unit = HybridUnit(Tumbling(2), Mean())
        >>> y, state = unit(torch.tensor([1.0, 3.0, 5.0]).reshape(3, 1, 1))
        >>> y.flatten().tolist()
        [2.0]
        >>> y, state = unit(torch.tensor([7.0]).reshape(1, 1, 1), state)  # the stream continues
        >>> y.flatten().tolist()
        [6.0]
    """

    window: Window | None = _stage("window")
    kernel: Kernel | None = _stage("kernel")

    def __init__(
        self,
        window: Window | None = None,
        kernel: Kernel | None = None,
        nonlinearity: nn.Module | None = None,
        discretizer: Discretizer | None = None,
    ) -> None:
        super().__init__()
        for name, stage in zip(_KINDS, (window, kernel, discretizer, nonlinearity), strict=True):
            if stage is not None and not isinstance(stage, _KINDS[name]):
                kind = _KINDS[name].__name__
                raise ConfigError(
                    f"a hybrid unit's {name} is a {kind}, but got {in_words(stage)}{_place_of(stage, name)}"
                )

        if isinstance(nonlinearity, Stateful):
            who = type(nonlinearity).__name__
            raise ConfigError(f"a hybrid unit's nonlinearity has no state, but got {who}{_LAYER_HINT}")

        if nonlinearity is not None:
            refuse_hidden_state(nonlinearity, "'nonlinearity'")

        self.window = window
        self.kernel = kernel
        self.nonlinearity = nonlinearity
        self.discretizer = discretizer
        self.form: _WindowForm = _window_form(window, kernel, discretizer)
        self.kept = kernel is None or kernel.keep  # every step of a window reaches the nonlinearity

        # the stages that have a state in this form
        has_window = window is not None and not isinstance(window, Since | Hold)
        self._has_state = (has_window, kernel is not None and self.form == "streaming", discretizer is not None)

        # a window with one value before the discretizer needs no axis for its steps
        self._is_single = self.form == "streaming" or not self.kept
        self.window_length = window.length or 1 if window is not None else 1

    @property
    def outputs_per_window(self) -> int:
        """M', the number of values that one window gives; 1 in the streaming form."""
        if self.form == "streaming":
            return 1

        kind = self.discretizer.kind if self.discretizer is not None else "steps"
        if kind == "reduces" or (kind == "steps" and not self.kept):
            return 1

        return self.window_length

    def window_clock(self, source: Clock) -> Clock:
        """The clock of the nonlinearity: one value whenever a window closes, or one a step."""
        return self.window.clock(source) if self.window is not None and self.form == "framed" else source

    def kernel_period(self, source: Clock) -> float:
        """The base ticks from one step of the kernel to the next, which are fewer for the steps of a held value."""
        return source.period / (self.window_length if isinstance(self.window, Hold) else 1)

    def clock(self, source: Clock, name: str = "the unit") -> Clock:
        """The clock of the unit's output for a source's clock.

        Example:
            >>> from spikebridge.hybrid import Hold, Mean, Tumbling
            >>> HybridUnit(Tumbling(6), Mean()).clock(Clock(1, 0)), HybridUnit(Hold(3)).clock(Clock(6, 2))
            (Clock(period=6, phase=5), Clock(period=2, phase=2))
        """
        closes = self.window_clock(source)
        number = self.outputs_per_window
        if closes.period % number:
            raise ConfigError(
                f"{name} gives {number} values every {closes.period} base ticks, which does not divide; choose a "
                "length that divides, or a finer base step"
            )

        return Clock(closes.period // number, closes.phase)

    def forward(
        self,
        x: Signal,
        state: UnitState | None = None,
        *,
        starts: Starts | None = None,
        context: Shaped[Tensor, "K B *C"] | None = None,
    ) -> tuple[Float[Tensor, "T2 B *M"], UnitState]:
        """The unit on a part of a stream.

        Args:
            x: `(T, B, *N)`.
            state: after the part before, or None at the start of the stream.
            starts: for `Since`: where windows start, flags `(T, B)`, or `(T,)` for all samples.
            context: a second signal for the nonlinearity: one value a window `(K, B, *C)`, one a step when streaming.

        Returns:
            `(T_out, B, *M)`, maybe with T_out = 0, and the state.

        Raises:
            ShapeError: a signal that is not floats `(T, B, *N)`, or flags or a context of another length.
            ConfigError: flags or a context that the unit does not use, or flags that it lacks.
        """
        (_, _, _, y), state = self._checked_equation(x, state, starts, context)
        y = y if self._is_single and self.discretizer is None else y.flatten(0, 1)

        return y if y.dtype == x.dtype else y.to(x.dtype), state

    def stages(
        self,
        x: Signal,
        state: UnitState | None = None,
        *,
        starts: Starts | None = None,
        context: Shaped[Tensor, "K B *C"] | None = None,
    ) -> tuple[Stages, UnitState]:
        """As `forward`, with the output of each stage, for tests and figures."""
        values, state = self._checked_equation(x, state, starts, context)
        windows, h, f, y = (value.to(x.dtype) for value in values)
        if self.form == "streaming":
            windows = windows.unsqueeze(1)

        if self._is_single:
            h = h.unsqueeze(1)
            f = f.unsqueeze(1)
            y = y.unsqueeze(1) if self.discretizer is None else y

        return Stages(windows, h, f, y), state

    def _checked_equation(
        self, x: Tensor, state: UnitState | None, starts: Starts | None, context: Tensor | None
    ) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], UnitState]:
        """The equation, with checks of the signal where a stream begins and of the state where it continues."""
        try:
            # later calls of a stream compare shapes of the state alone
            if state is not None:
                self._check_state(state, x)
                if check_mode.get() != "always":
                    return self._equation(x, state, starts, context)

            self.check_inputs(x)
            # a kernel makes steps of its own; without one the nonlinearity gets those of the source, which others read
            if self.nonlinearity is None or self.kernel is not None:
                return self._equation(x, state or UnitState(), starts, context)
            with refuse_inplace(self.nonlinearity, [x] if context is None else [x, context]):
                return self._equation(x, state or UnitState(), starts, context)
        except StateError as error:
            raise with_path(error, self) from None

    def _equation(
        self, x: Tensor, state: UnitState, starts: Starts | None, context: Tensor | None
    ) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], UnitState]:
        """`Y = Q . F . H . W (X)`; each stage's output is `(K, M, B, *N)`, up to Q without M where that is 1."""
        w, k, q = state
        windows, resets, w = self._window(self._upcast(x), w, starts)
        h, k = self._kernel(windows, k, resets)
        f = self._nonlinearity(h, context, is_half=x.dtype in HALF)
        y, q = self._discretizer(f, q)

        return (windows, h, f, y), UnitState(w, k, q)

    def _window(
        self, x: Tensor, state: State, starts: Starts | None
    ) -> tuple[Tensor, Iterable[bool | Tensor] | None, State]:
        window = self.window
        if isinstance(window, Since):
            return x, window_starts_from_argument(starts, x), None
        if starts is not None:
            raise ConfigError("starts= says where windows of Since start, but this unit has another window")
        if window is None:
            return x, None, None

        if self.form == "framed":
            windows, state = window.frame(x, state)
            return windows, None, state

        flags, state = window.starts(len(x), state)
        return x, flags, state

    def _kernel(self, windows: Tensor, carry: State, resets: Iterable[bool | Tensor] | None) -> tuple[Tensor, State]:
        kernel = self.kernel
        if kernel is None:
            return windows, None
        if self.form == "streaming":
            return scan_with_resets(kernel, windows, carry, resets)
        if not kernel.keep:
            return kernel.last_of_windows(windows), None

        # every window starts from nothing, so that all of them run in parallel like samples
        h, _ = scan_with_resets(kernel, windows.movedim(1, 0), None)
        return h.movedim(0, 1), None

    def _nonlinearity(self, h: Tensor, context: Tensor | None, is_half: bool) -> Tensor:
        if self.nonlinearity is None:
            if context is not None:
                raise ConfigError("a context is for the nonlinearity, but this unit has none")
            return h

        if context is not None and len(context) != len(h):
            raise ShapeError(f"the context has {len(context)} values, but the unit has {len(h)} windows")

        signals = [h] if context is None else [h, context]
        if is_half:
            signals = [cast_for(self.nonlinearity, signal) for signal in signals]
        if self._is_single:
            return over_time(self.nonlinearity, *signals)

        num_windows, num_steps = h.shape[:2]
        is_held = self.kernel is None and isinstance(self.window, Hold)
        num_mapped = 1 if is_held else num_steps  # the steps of a held value are one value
        signals[0] = (signals[0][:, :1] if is_held else signals[0]).flatten(0, 1)
        if context is not None:
            signals[1] = signals[1].unsqueeze(1).expand(-1, num_mapped, *context.shape[1:]).flatten(0, 1)

        f = over_time(self.nonlinearity, *signals)
        return f.unflatten(0, (num_windows, num_mapped)).expand(num_windows, num_steps, *f.shape[1:])

    def _discretizer(self, f: Tensor, state: State) -> tuple[Tensor, State]:
        if self.discretizer is None:
            return f, None

        y, new = self.discretizer(f.unsqueeze(1) if self._is_single else f, self.window_length, state)
        # a state that is not used is one of another unit
        if new is None and state is not None:
            raise _unused(self.discretizer, state)

        return y, new

    def check_inputs(self, x: Tensor) -> None:
        """Raises if a signal does not fit this unit."""
        if not isinstance(x, Tensor) or x.is_nested or x.ndim < 2 or not x.is_floating_point():
            actual = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) and not x.is_nested else in_words(x)
            raise ShapeError(f"a hybrid unit needs a signal of floats (T, B, *N), but got {actual}")

        for stage in (self.kernel, self.discretizer):
            if stage is not None:
                _check_dtype(stage, x)

        if self.kernel is not None:
            self.kernel.check_quantities(x.shape[2:])

    def _check_state(self, state: UnitState, x: Tensor) -> None:
        """Raises if a state is not one of this unit, or of another stream than a signal."""
        if type(state) is not UnitState:
            refuse_other_form(self, state, _FORM)

        for name, has_state, own in zip(UnitState._fields, self._has_state, state, strict=True):
            if own is not None and not has_state:
                raise _unused(getattr(self, name) or self, own)

        if state.kernel is None:
            return

        # a kernel that has begun needs the position in its window, or the next reset would come at another step
        if state.window is None and self.form == "streaming" and isinstance(self.window, Sliding):
            raise StateError(f"{type(self.window).__name__} got None as its state; {_REMEDY}", self.window)
        if self.kernel is not None:
            check_state(self.kernel, state.kernel, self._upcast(x))

    def initial_state(self, batch: int, device: torch.device) -> UnitState:
        """The state of a new stream; None stands for the states that the first samples make."""
        discretizer = self.discretizer
        return UnitState(discretizer=None if discretizer is None else discretizer.initial_state(batch, device))

    def buffer_steps(self, steps: Tensor, state: UnitState) -> UnitState:
        """The state after steps `(B, l, *N)` with which no window closes. For the framed form."""
        window = self.window
        if window is None:
            return state
        return UnitState(window.buffer(self._upcast(steps), state.window), state.kernel, state.discretizer)

    def _upcast(self, x: Tensor) -> Tensor:
        """The signal as the kernel and the discretizer compute with it."""
        if x.dtype not in HALF or (self.kernel is None and self.discretizer is None):
            return x
        return upcast(x)


allow_state(UnitState)
_FORM = TupleForm(UnitState, dict.fromkeys(UnitState._fields))
_REMEDY = state_remedy("unit")


def _unused(stage: nn.Module, state: State) -> StateError:
    return StateError(f"{type(stage).__name__} got {type(state).__name__} as its state, but has none; {_REMEDY}", stage)


def _check_dtype(stage: nn.Module, x: Tensor) -> None:
    """Raises if the parameters of a stage have another dtype or device than the signal."""
    for value in (*stage._parameters.values(), *stage._buffers.values()):
        # half precision is computed in float32
        if value is not None and (state_dtype(value.dtype) != state_dtype(x.dtype) or value.device != x.device):
            refuse_other_place(f"{type(stage).__name__} keeps", value, ", but its signal is", x)


_WindowForm: TypeAlias = Literal["framed", "streaming"]


def _window_form(window: Window | None, kernel: Kernel | None, discretizer: Discretizer | None) -> _WindowForm:
    """The form of the window, or a `ConfigError` if the stages do not fit."""
    kept = kernel is None or kernel.keep
    kind = discretizer.kind if discretizer is not None else "steps"
    who = type(discretizer).__name__

    if window is None or isinstance(window, Since):
        if kind != "steps":
            raise ConfigError(
                f"{who} {kind} the steps of a window, but {'without a window' if window is None else 'in Since'} there "
                "are none to count; use Tumbling, Sliding or Hold"
            )

        return "streaming"

    if kernel is not None and kept and kind == "expands":
        raise ConfigError(
            f"{who} makes the spikes of one value a window, but the kernel keeps {window.length}; give out its last "
            "one alone (keep=False)"
        )

    if isinstance(window, Hold):
        if kind == "reduces" or (not kept and kind != "expands"):
            raise ConfigError(
                "Hold makes steps of one value, and this unit reduces them to one again without making new ones; leave "
                "the window out, keep the kernel (keep=True), or use a discretizer that expands (FirstSpike, "
                "PhaseCode, Burst)"
            )

        return "framed"

    if kept and kind == "expands":
        raise ConfigError(
            f"{who} makes the spikes of one value a window, but without a kernel there are {window.length}; reduce "
            "them first, for example with Mean()"
        )

    if kind == "reduces":
        return "framed"

    if kept and window.overlaps:
        raise ConfigError(
            "overlapping windows have no kept steps: a step would be given out twice; reduce them, or use Tumbling"
        )

    return "streaming" if kept else "framed"
