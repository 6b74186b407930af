"""The hybrid unit, `Y = Q . F . H . W (X)` (R. Zhao et al., Nature Communications 13:3427, 2022, eqs. 1 and 4-6).

Which stages of a hybrid unit can follow each other, and which of its two forms the window takes then.
"""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from spikebridge.axes import Signal
from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid.clock import Clock
from spikebridge.hybrid.unit.apply import call
from spikebridge.hybrid.unit.discretizer import Discretizer
from spikebridge.hybrid.unit.kernel import Kernel
from spikebridge.hybrid.unit.scan import last_of_windows, scan_with_resets
from spikebridge.hybrid.unit.window import Hold, Since, Window, window_starts_from_argument
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.state import State
from spikebridge.neurons.stateless import over_time, refuse_hidden_state


class UnitState(NamedTuple):
    """The state of the window (unfinished steps), of the kernel (when it runs on) and of the discretizer."""

    window: State = None
    kernel: State = None
    discretizer: State = None


class Stages(NamedTuple):
    """What each stage of a unit gave: windows, `h(t, k)`, the nonlinearity's and the discretizer's values.

    All are `(K, M, B, *N)`; a running unit counts each step as a window of one.
    """

    window: Tensor
    kernel: Tensor
    nonlinearity: Tensor
    discretizer: Tensor


class HybridUnit(nn.Module):
    """Links a network to another: window, kernel in time, nonlinearity, discretizer. Any may be left out, set, learned.

    It is a module like any other and keeps no state, so it also serves in a `forward` of your own:
    `y, state = unit(x, state)`.

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
        >>> y, state = unit(torch.tensor([7.0]).reshape(1, 1, 1), state)  # the stream goes on
        >>> y.flatten().tolist()
        [6.0]
    """

    def __init__(
        self,
        window: Window | None = None,
        kernel: Kernel | None = None,
        nonlinearity: nn.Module | None = None,
        discretizer: Discretizer | None = None,
    ) -> None:
        super().__init__()
        for stage, kind, name in (
            (window, Window, "window"),
            (kernel, Kernel, "kernel"),
            (nonlinearity, nn.Module, "nonlinearity"),
            (discretizer, Discretizer, "discretizer"),
        ):
            if stage is not None and not isinstance(stage, kind):
                raise ConfigError(f"a hybrid unit's {name} is a {kind.__name__}, but got {type(stage).__name__}")
        if isinstance(nonlinearity, Stateful):
            raise ConfigError(
                f"a hybrid unit's nonlinearity has no state, but got {type(nonlinearity).__name__}; a spiking layer is "
                "the discretizer SpikingLayer(layer)"
            )
        if nonlinearity is not None:
            refuse_hidden_state(nonlinearity, "nonlinearity")
        self.window = window
        self.kernel = kernel
        self.nonlinearity = nonlinearity
        self.discretizer = discretizer
        self.form: WindowForm = window_form(window, kernel, discretizer)

    @property
    def kept(self) -> bool:
        """Whether the kernel gives every step of a window."""
        kernel = self.kernel  # a module looks its parts up
        return kernel is None or kernel.keep

    @property
    def outputs_per_window(self) -> int:
        """M', the number of values that one window gives; 1 in the running form."""
        if self.form == "streaming":
            return 1
        kind = self.discretizer.kind if self.discretizer is not None else "steps"
        if kind == "reduces" or (kind == "steps" and not self.kept):
            return 1
        return self._length

    @property
    def _length(self) -> int:
        return self.window.length or 1 if self.window is not None else 1

    def window_clock(self, source: Clock) -> Clock:
        """The clock at which the nonlinearity acts: when windows close, or every step."""
        return self.window.clock(source) if self.window is not None and self.form == "framed" else source

    def kernel_period(self, source: Clock) -> float:
        """Base ticks from one step of the kernel to the next: those of the source, or of the steps of a held value."""
        return source.period / (self._length if isinstance(self.window, Hold) else 1)

    def clock(self, source: Clock, name: str = "the unit") -> Clock:
        """The clock of the unit's output for a source's clock.

        Example:
            >>> from spikebridge.hybrid import Hold, Mean, Tumbling
            >>> HybridUnit(Tumbling(6), Mean()).clock(Clock(1, 0)), HybridUnit(Hold(3)).clock(Clock(6, 2))
            (Clock(period=6, phase=5), Clock(period=2, phase=2))
        """
        closes, number = self.window_clock(source), self.outputs_per_window
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
        starts: Tensor | None = None,
        context: Shaped[Tensor, "K B *C"] | None = None,
    ) -> tuple[Float[Tensor, "T2 B *M"], UnitState]:
        """The unit on a stretch of a stream.

        Args:
            x: `(T, B, *N)`.
            state: from the stretch before, or None at the start.
            opens: for `Since`: where windows open, flags `(T, B)`, or `(T,)` for all samples.
            context: a second signal for the nonlinearity, one value a window `(K, B, *C)`, or a step where it runs.

        Returns:
            `(T_out, B, *M)`, maybe with T_out = 0, and the state.

        Raises:
            ShapeError: a signal that is not floats `(T, B, *N)`, or what does not go with it.
            ConfigError: flags or a context that the unit has no use for, or flags that it lacks.
        """
        (*_, y), state = self._run(x, state, starts, context)
        return y if self._is_single and self.discretizer is None else y.flatten(0, 1), state

    def stages(
        self,
        x: Signal,
        state: UnitState | None = None,
        *,
        starts: Tensor | None = None,
        context: Shaped[Tensor, "K B *C"] | None = None,
    ) -> tuple[Stages, UnitState]:
        """The same with what each stage gave, for tests and figures."""
        (windows, h, f, y), state = self._run(x, state, starts, context)
        if self.form == "streaming":
            windows = windows.unsqueeze(1)
        if self._is_single:
            h, f, y = h.unsqueeze(1), f.unsqueeze(1), y.unsqueeze(1) if self.discretizer is None else y
        return Stages(windows, h, f, y), state

    def check_inputs(self, x: Tensor) -> None:
        """Raises where a signal is not one for this unit."""
        if x.ndim < 2 or not x.is_floating_point():
            raise ShapeError(f"a hybrid unit needs a signal of floats (T, B, *N), but got {x.dtype} {tuple(x.shape)}")
        _refuse_other_place(self.kernel, x)
        _refuse_other_place(self.discretizer, x)

    def _run(
        self, x: Tensor, state: UnitState | None, starts: Tensor | None, context: Tensor | None
    ) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], UnitState]:
        """What each stage gave: `(K, M, B, *N)`, or without M where that is 1 before the discretizer."""
        self.check_inputs(x)
        w, k, q = state if state is not None else UnitState()
        windows, flags, w = self._window(x, w, starts)
        h, k = self._kernel(windows, k, flags)
        f = self._nonlinearity(h, context)
        y, q = self._discretizer(f, q)
        return (windows, h, f, y), UnitState(w, k, q)

    @property
    def _is_single(self) -> bool:
        """Whether a window has one value before the discretizer, which then needs no axis for its steps."""
        return self.form == "streaming" or not self.kept

    def initial_state(self, batch: int, device: torch.device) -> UnitState:
        """The state of a new stream; what the first samples make is left to them."""
        return UnitState(
            discretizer=None if self.discretizer is None else self.discretizer.initial_state(batch, device)
        )

    def buffer_steps(self, x: Signal, state: UnitState) -> UnitState:
        """Takes in steps with which no window closes, so that nothing comes out. For the cut form."""
        return state if self.window is None else state._replace(window=self.window.frame(x, state.window)[1])

    def _window(self, x: Tensor, state: State, starts: Tensor | None) -> tuple[Tensor, Iterable[Any] | None, State]:
        window = self.window
        if isinstance(window, Since):
            return x, window_starts_from_argument(starts, x), None
        if starts is not None:
            raise ConfigError("opens= says where windows of Since open, but this unit has another window")
        if window is None:
            return x, None, None
        if self.form == "framed":
            windows, state = window.frame(x, state)
            return windows, None, state
        flags, state = window.starts(len(x), state)
        return x, flags, state

    def _kernel(self, windows: Tensor, carry: State, flags: Iterable[Any] | None) -> tuple[Tensor, State]:
        kernel = self.kernel
        if kernel is None:
            return windows, None
        if self.form == "streaming":
            if len(windows) == 0:
                nothing = windows.new_zeros(windows.shape[1:])
                begin = kernel.initial_state(nothing)
                # what comes out may have other channels than what goes in
                h_t, _ = kernel.step(nothing, begin)
                return windows.new_empty((0, *h_t.shape)), carry if carry is not None else begin
            return scan_with_resets(kernel, windows, carry, flags)
        if not kernel.keep:
            return last_of_windows(kernel, windows), None
        return scan_with_resets(kernel, windows.movedim(1, 0), None)[0].movedim(0, 1), None

    def _nonlinearity(self, h: Tensor, context: Tensor | None) -> Tensor:
        if self.nonlinearity is None:
            if context is not None:
                raise ConfigError("a context is for the nonlinearity, but this unit has none")
            return h
        if context is not None and len(context) != len(h):
            raise ShapeError(f"the context has {len(context)} values, but the unit has {len(h)} windows")
        if self._is_single:
            return self._map(self.nonlinearity, [h] if context is None else [h, context])
        num_windows, num_steps = h.shape[:2]
        if self.kernel is None and isinstance(self.window, Hold):
            h = h[:, :1]  # the steps of a held value are one value
        rows = [h.flatten(0, 1)]
        if context is not None:
            rows.append(context.unsqueeze(1).expand(*h.shape[:2], *context.shape[1:]).flatten(0, 1))
        f = self._map(self.nonlinearity, rows)
        return f.reshape(*h.shape[:2], *f.shape[1:]).expand(num_windows, num_steps, *f.shape[1:])

    def _map(self, nonlinearity: nn.Module, rows: list[Tensor]) -> Tensor:
        # without a kernel the steps are those of the source, which others read, too
        return call(nonlinearity, rows)[0] if self.kernel is None else over_time(nonlinearity, *rows)

    def _discretizer(self, f: Tensor, state: State) -> tuple[Tensor, State]:
        if self.discretizer is None:
            return f, None
        return self.discretizer(f.unsqueeze(1) if self._is_single else f, self._length, state)


def _refuse_other_place(stage: nn.Module | None, x: Tensor) -> None:
    """Raises where what a stage keeps has another dtype or device than its signal."""
    if stage is None:
        return
    for value in (*stage._parameters.values(), *stage._buffers.values()):
        if value is not None and (value.dtype != x.dtype or value.device != x.device):
            place = x.device.type
            if torch.amp.is_autocast_available(place) and torch.is_autocast_enabled(place):
                return
            raise ShapeError(
                f"{type(stage).__name__} keeps {value.dtype} on {value.device}, but its signal is {x.dtype} on "
                f"{x.device}; move one of them with .to()"
            )


WindowForm: TypeAlias = Literal["framed", "streaming"]


def window_form(window: Window | None, kernel: Kernel | None, discretizer: Discretizer | None) -> WindowForm:
    """The form that the window takes, or a `ConfigError` where the stages do not fit.

    Example:
        >>> from spikebridge.hybrid import Mean, Tumbling
        >>> window_form(Tumbling(6), Mean(), None), window_form(Tumbling(6), Mean(keep=True), None)
        ('framed', 'streaming')
    """
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
                "the window out, keep the kernel (keep=True), or use a discretizer that expands (FirstSpike, Phase, "
                "Burst)"
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
