"""The hybrid unit, `Y = Q . F . H . W (X)` (R. Zhao et al., Nature Communications 13:3427, 2022, eqs. 1 and 4-6)."""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from spikebridge.axes import Signal
from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid.clock import Clock
from spikebridge.hybrid.discretizer import Discretizer
from spikebridge.hybrid.kernel import Kernel, run_kernel
from spikebridge.hybrid.window import Hold, Since, Window
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
    """Links a network to another: window, kernel in time, nonlinearity, discretizer. Any may be left out, set or learned.

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
                f"a hybrid unit's nonlinearity has no state, but got {type(nonlinearity).__name__}; a spiking layer is the "
                "discretizer Fire(layer)"
            )
        if nonlinearity is not None:
            refuse_hidden_state(nonlinearity, "nonlinearity")
        self.window = window
        self.kernel = kernel
        self.nonlinearity = nonlinearity
        self.discretizer = discretizer
        self.form: Literal["cut", "running"] = _form(window, kernel, discretizer)

    @property
    def kept(self) -> bool:
        """Whether the kernel gives every step of a window."""
        return self.kernel is None or self.kernel.keep

    @property
    def outputs_per_window(self) -> int:
        """M', the number of values that one window gives; 1 in the running form."""
        if self.form == "running":
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
        return self.window.clock(source) if self.window is not None and self.form == "cut" else source

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
                f"{name} gives {number} values every {closes.period} base ticks, which does not divide; choose a length that "
                "divides, or a finer base step"
            )
        return Clock(closes.period // number, closes.phase)

    def forward(
        self, x: Signal, state: UnitState | None = None, *, opens: Tensor | None = None, context: Tensor | None = None
    ) -> tuple[Tensor, UnitState]:
        """The unit on a stretch of a stream.

        Args:
            x: `(T, B, *N)`.
            state: from the stretch before, or None at the start.
            opens: for `Since`: where windows open, `(T, B)` or `(T,)`.
            context: a second signal for the nonlinearity, one value a window `(K, B, *C)`, or a step where it runs.

        Returns:
            `(T_out, B, *M)`, maybe with T_out = 0, and the state.
        """
        stages, state = self.stages(x, state, opens=opens, context=context)
        return stages.discretizer.flatten(0, 1), state

    def stages(
        self, x: Signal, state: UnitState | None = None, *, opens: Tensor | None = None, context: Tensor | None = None
    ) -> tuple[Stages, UnitState]:
        """The same with what each stage gave, for tests and figures."""
        if x.ndim < 2:
            raise ShapeError(f"a hybrid unit needs a signal (T, B, *N), but got shape {tuple(x.shape)}")
        w, k, q = state if state is not None else UnitState()
        windows, flags, w = self._window(x, w, opens)
        h, k = self._kernel(windows, k, flags)
        f = self._nonlinearity(h, context)
        y, q = self._discretizer(f, q)
        return Stages(windows, h, f, y), UnitState(w, k, q)

    def _window(self, x: Tensor, state: State, opens: Tensor | None) -> tuple[Tensor, Iterable[Any] | None, State]:
        if self.form == "cut" and self.window is not None:
            windows, state = self.window.cut(x, state)
            return windows, None, state
        if isinstance(self.window, Since):
            if opens is None:
                raise ConfigError("a unit with the window Since needs opens=, the flags (T, B) of where windows open")
            if len(opens) != len(x):
                raise ShapeError(f"opens has {len(opens)} steps, but the signal has {len(x)}")
            # plain flags for the whole batch are cheaper than a mask
            return x.unsqueeze(1), opens.tolist() if opens.ndim == 1 else opens.unbind(0), None
        if self.window is not None:
            flags, state = self.window.opens(len(x), state)
            return x.unsqueeze(1), flags, state
        return x.unsqueeze(1), None, None

    def _kernel(self, windows: Tensor, carry: State, flags: Iterable[Any] | None) -> tuple[Tensor, State]:
        if self.kernel is None:
            return windows, None
        if self.form == "running":
            if len(windows) == 0:
                carry = carry if carry is not None else self.kernel.initial_state(windows.new_zeros(windows.shape[2:]))
                return windows, carry
            values, carry = run_kernel(self.kernel, windows.squeeze(1).unbind(0), carry, flags)
            return torch.stack(values).unsqueeze(1), carry
        values, _ = run_kernel(self.kernel, windows.unbind(1), None)
        return torch.stack(values, dim=1) if self.kept else values[-1].unsqueeze(1), None

    def _nonlinearity(self, h: Tensor, context: Tensor | None) -> Tensor:
        if self.nonlinearity is None:
            return h
        flat = h.flatten(0, 1)
        if context is None:
            f = over_time(self.nonlinearity, flat)
        else:
            if len(context) != len(h):
                raise ShapeError(f"the context has {len(context)} values, but the unit has {len(h)} windows")
            spread = context.unsqueeze(1).expand(len(h), h.shape[1], *context.shape[1:])
            f = over_time(self.nonlinearity, flat, spread.flatten(0, 1))
        return f.reshape(*h.shape[:2], *f.shape[1:])

    def _discretizer(self, f: Tensor, state: State) -> tuple[Tensor, State]:
        return (f, None) if self.discretizer is None else self.discretizer(f, self._length, state)


def _form(window: Window | None, kernel: Kernel | None, discretizer: Discretizer | None) -> Literal["cut", "running"]:
    """Which of its two forms the window takes, or a `ConfigError` where the stages do not fit."""
    kept = kernel is None or kernel.keep
    kind = discretizer.kind if discretizer is not None else "steps"
    if window is None or isinstance(window, Since):
        if kind != "steps":
            raise ConfigError(
                f"{type(discretizer).__name__} {kind} the steps of a window, but "
                f"{'without a window' if window is None else 'in Since'} there are none to count; use Tumbling, Sliding or Hold"
            )
        return "running"
    if isinstance(window, Hold):
        if kind == "reduces" or (not kept and kind != "expands"):
            raise ConfigError(
                "Hold makes steps of one value, and this unit reduces them to one again without making new ones; leave the "
                "window out, keep the kernel (keep=True), or use a discretizer that expands (FirstSpike, Phase, Burst)"
            )
        return "cut"
    if kind == "reduces":
        return "cut"
    if kept and kind == "expands":
        raise ConfigError(
            f"{type(discretizer).__name__} makes the spikes of one value a window, but the kernel keeps {window.length}; reduce "
            "them first, for example with Mean()"
        )
    if kept and window.overlaps:
        raise ConfigError(
            "overlapping windows have no kept steps: a step would be given out twice; reduce them, or use Tumbling"
        )
    return "running" if kept else "cut"
