"""A unit behind a part that gives no value while it is asleep: its windows do not count the ticks asleep.

In them the state of a sample stands still, so that its windows close at ticks of its own.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from spikebridge.hybrid.unit.unit import HybridUnit, UnitState
from spikebridge.hybrid.unit.window import Since, Sliding, Starts
from spikebridge.neurons.state import State, allow_state, where


class _AwakeWindow(NamedTuple):
    """The window of each sample.

    Args:
        steps: the newest steps awake, `(B, L, *N)`, oldest first.
        filled: those of the window that is open, `(B,)`.
    """

    steps: Tensor
    filled: Tensor


allow_state(_AwakeWindow)


class AwakeSteps(NamedTuple):
    """Values `(T, B, *M)` of a unit, true `(T, B)` where it gives one, and the state after the last step."""

    values: Tensor
    given: Tensor
    state: UnitState


def awake_reason(unit: HybridUnit, held: bool) -> str | None:
    """The reason why a unit cannot skip ticks, None if it can."""
    window = unit.window
    if window is None or isinstance(window, Since):
        return None
    if not isinstance(window, Sliding) or unit.form != "framed" or unit.outputs_per_window != 1:
        return "its unit gives several values a window: give it a kernel with keep=False"

    return None if held else "a window that does not count them closes at no fixed tick: read it held=True"


def run_awake(
    unit: HybridUnit, x: Tensor, awake: Tensor, state: UnitState, starts: Starts | None, context: Tensor | None
) -> AwakeSteps:
    """Runs a unit on steps `(T, B, *N)`, of which those of samples asleep, by a mask `(T, B)`, do not count."""
    # complete, so that the state of a sample that is asleep is there to stay
    none: Starts | None = None if starts is None else []
    empty, complete = unit(x[:0], _of_unit(state), starts=none, context=None if context is None else context[:0])
    window: State = state.window
    state = complete._replace(window=window if window is not None else _first_window(unit, x))
    values = [empty]
    given = []

    for t in range(len(x)):
        context_t = None if context is None else context[t : t + 1]
        starts_t = None if starts is None else awake.new_ones(x.shape[1]) & starts[t]
        y, made, state = _step(unit, x[t], awake[t], state, starts_t, context_t)
        values.append(y)
        given.append(made)

    return AwakeSteps(torch.cat(values), torch.stack(given) if given else awake, state)


def _of_unit(state: UnitState) -> UnitState:
    """The state as the unit itself takes it."""
    return state._replace(window=None)


def _first_window(unit: HybridUnit, x: Tensor) -> State:
    if unit.form == "framed":
        steps = x.new_zeros((x.shape[1], unit.window_length, *x.shape[2:]))
        return _AwakeWindow(steps, torch.zeros(x.shape[1], dtype=torch.int64, device=x.device))

    # of Since: a window waits for the first step awake
    return torch.zeros(x.shape[1], dtype=torch.bool, device=x.device) if isinstance(unit.window, Since) else None


def _step(
    unit: HybridUnit, x_t: Tensor, awake: Tensor, state: UnitState, starts: Tensor | None, context: Tensor | None
) -> tuple[Tensor, Tensor, UnitState]:
    """One step: its values `(1, B, *M)`, true `(B,)` where it gives one, and the state."""
    window = state.window
    if isinstance(window, _AwakeWindow):
        joined = torch.cat([window.steps[:, 1:], x_t.unsqueeze(1)], 1)
        steps = where(awake, joined, window.steps)
        filled = window.filled + awake
        made = awake & (filled == unit.window_length)
        stride: int = unit.window.stride  # type: ignore[union-attr, assignment]
        window = _AwakeWindow(steps, torch.where(made, unit.window_length - stride, filled))
        y, after = unit(steps.transpose(0, 1), UnitState(discretizer=state.discretizer), context=context)
    else:
        made = awake
        waiting = None if starts is None else starts | window
        window = None if waiting is None else waiting & ~awake
        x = x_t.unsqueeze(0)
        y, after = unit(x, _of_unit(state), starts=None if waiting is None else waiting.unsqueeze(0), context=context)

    return y, made, where(made, _of_unit(after), _of_unit(state))._replace(window=window)
