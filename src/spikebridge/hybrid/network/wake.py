"""Execution of a part that is not always awake: at its ticks, for the samples whose flag is set.

Definition: the part runs on all samples at every tick, and output and state are those after the tick where the flag is
set, else those before it. Fast form: it runs on the awake samples alone, a plain part on those of all ticks at once.
Both give the same bits where sums do not depend on the number of rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from spikebridge.errors import DataError, ShapeError, StateError
from spikebridge.hybrid.network.graph import NetworkPlan
from spikebridge.hybrid.network.link import AWAKE, SignalSpec, Wake, describe, wake_of
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.state import State, allow_state, map_tensors, select, state_remedy
from spikebridge.ops.checks import reads_values
from spikebridge.ops.selection import is_reference

Tensors: TypeAlias = dict[str, Tensor]  # by signal


class WakeState(NamedTuple):
    """The state of a part with a wake.

    Args:
        part: of the part itself; None before its first tick, or if it has none.
        outputs: the newest output while it slept or ran, `(B, *M)`, by signal.
        asleep: ticks since it ran, `(B,)`; None if nothing depends on it.
        missed: the newest samples of each input of a part that replays, `(B, R, *N)`.
    """

    part: State
    outputs: Tensors
    asleep: Tensor | None = None
    missed: tuple[Tensor, ...] = ()


allow_state(WakeState)


class _PartCall(Protocol):
    """A part on the values of its links over some ticks."""

    part: nn.Module
    num_ticks: int

    @property
    def is_modulated(self) -> bool:
        """True if a modulation acts on the part."""

    @property
    def inputs(self) -> list[Tensor]:
        """All signals, `(T, B, *N)`."""

    def run(self, a: int, b: int, samples: Tensor | None, state: State) -> tuple[Tensors, State]:
        """Runs ticks `a` to before `b` for some samples, or for all; outputs by signal, `(b - a, B, *M)`."""

    def run_rows(self, rows: Tensor) -> Tensors:
        """Runs a plain part on some rows of its signals `(T * B, *N)`; outputs by signal, `(R, *M)`."""

    def initial_state(self) -> State:
        """The state of the part before its first tick."""

    def is_first(self, tick: int) -> bool:
        """True if one of the ticks is the first of the part, and links set states of it."""

    def set_at_waking(self, state: State, tick: int, waking: Tensor) -> State:
        """The state of the part in which that of samples that wake at a tick is the newest value of its links."""

    def after(self, signals: list[Tensor]) -> "_PartCall":
        """The same call with earlier samples `(R, B, *N)` in front of each signal."""


def initial_wake_states(plan: NetworkPlan, specs: Mapping[str, SignalSpec], like: Tensor) -> dict[str, WakeState]:
    """The states of parts with a wake, asleep, for a stream like a tensor with its batch first."""
    batch = like.shape[0]
    states = {}
    for name, route in plan.wakes.items():
        wake = wake_of(route)
        own = {signal: specs[signal] for signal in plan.signals[name][:-1]}
        outputs = {signal: like.new_zeros((batch, *spec.shape), dtype=spec.dtype) for signal, spec in own.items()}
        counts = wake.state != "keep" or wake.replay > 0 or (name in plan.ports and plan.ports[name].sets)
        states[name] = WakeState(None, outputs, like.new_zeros(batch, dtype=torch.int64) if counts else None)

    return states


def refuse_other_wake_state(name: str, state: State, network: nn.Module) -> None:
    """Raises if the state of a part with a wake is that of another one."""
    if type(state) is not WakeState:
        raise StateError(
            f"part {name!r} has a wake, but {type(state).__name__} as its state, not a WakeState; "
            f"{state_remedy('network')}",
            network,
        )


def computes_all(wake: Wake, part: nn.Module, flags: Tensor) -> bool:
    """True if a call runs the part on all samples: it needs their gradients, or would wait for a GPU."""
    if wake.gradient == "expected" and part.training:
        return True
    if wake.gradient == "straight_through" and flags.requires_grad and torch.is_grad_enabled():
        return True

    return is_reference() or not (flags.is_cpu if wake.gather is None else wake.gather)


def _flag_signal(wake: Wake, part: nn.Module, flags: Tensor) -> Tensor:
    """The signal "part.awake", 0 or 1, or the probability in training with the expected output; `(T, B, 1)`."""
    if wake.gradient == "expected" and part.training:
        return flags.unsqueeze(-1)

    hard = (flags >= AWAKE).to(flags.dtype)
    if wake.gradient == "straight_through" and flags.requires_grad:
        hard = hard + (flags - flags.detach())

    return hard.unsqueeze(-1)


def largest_flag(wake: Wake, flags: Tensor) -> float:
    """The largest of some flags, read from their device; NaN is refused."""
    # one flag, as in a stream of one sample, needs no operation
    largest = float(flags.item() if flags.numel() == 1 else flags.detach().amax().item())
    if largest != largest:
        raise DataError(
            f"{describe(wake)} got NaN as a flag; check {wake.source!r}" + (" and the unit" if wake.unit else "")
        )

    return largest


def refused_missing(part: str, source: str, flags: Tensor) -> ShapeError:
    """The error of an input that was left out though a part is awake."""
    awake = (flags >= AWAKE).nonzero().flatten().tolist()
    return ShapeError(
        f"input {source!r} has no sample at this tick, but part {part!r} is awake for the samples {awake}; "
        "network.wanted(state) says which inputs a tick needs"
    )


def run_woken(call: _PartCall, wake: Wake, flags: Tensor, state: WakeState) -> tuple[Tensors, WakeState]:
    """Runs a part over its ticks, with flags `(T, B)`: its outputs and "part.awake" by signal, and the state after."""
    part = call.part
    if wake.gradient == "none":
        flags = flags.detach()

    whole = computes_all(wake, part, flags)
    if not whole or reads_values(flags, is_first=True):
        largest_flag(wake, flags)
    if state.part is None and isinstance(part, Stateful):
        state = state._replace(part=call.initial_state())

    is_mixed = whole and (flags.requires_grad or (wake.gradient == "expected" and part.training))
    if isinstance(part, Stateful) or call.is_modulated or is_mixed:
        outputs, after = _TimeLoop(call, wake, whole).run(flags, state)
    else:
        outputs, after = _at_once(call, wake, flags >= AWAKE, state, whole)

    return {**outputs, wake.awake: _flag_signal(wake, part, flags)}, after


def _at_once(call: _PartCall, wake: Wake, mask: Tensor, state: WakeState, whole: bool) -> tuple[Tensors, WakeState]:
    """A plain part on all rows, or the awake ones, in one call."""
    num_ticks, batch = mask.shape
    flat = mask.flatten()
    if whole:
        outputs = {name: y.flatten(0, 1) for name, y in call.run(0, num_ticks, None, None)[0].items()}
        order = torch.arange(len(flat), device=mask.device)
    else:
        rows = flat.nonzero().squeeze(1)
        if len(rows) == 0:
            return {name: y.expand(num_ticks, *y.shape) for name, y in state.outputs.items()}, state
        if len(rows) == len(flat):
            outputs, _ = call.run(0, num_ticks, None, None)
            return outputs, state._replace(outputs=_newest(wake, outputs, state.outputs))

        outputs = call.run_rows(rows)
        order = flat.cumsum(0) - 1

    # of each tick and sample the last row that ran, behind the outputs before this call
    before = torch.arange(batch, device=mask.device).unsqueeze(0)
    last = torch.where(flat, order + batch, -1).reshape(num_ticks, batch)
    last = torch.where(mask, last, before) if wake.asleep == "zero" else torch.cat([before, last]).cummax(0).values[1:]
    chosen = {
        name: torch.cat([state.outputs[name], y])[last.flatten()].unflatten(0, (num_ticks, batch))
        for name, y in outputs.items()
    }

    return chosen, state._replace(outputs=_newest(wake, chosen, state.outputs))


def _newest(wake: Wake, outputs: Mapping[str, Tensor], before: Tensors) -> Tensors:
    """The outputs of a part that falls asleep now; copies, so that the state keeps no long signal in memory."""
    return before if wake.asleep == "zero" else {name: y[-1].clone() for name, y in outputs.items()}


@dataclass(slots=True)
class _TimeLoop:
    """A part in pieces of its time: ticks one by one, or spans in which the same samples are awake."""

    call: _PartCall
    wake: Wake
    whole: bool

    def run(self, flags: Tensor, state: WakeState) -> tuple[Tensors, WakeState]:
        part, held, asleep, missed = state
        mask = flags >= AWAKE
        num_ticks = len(flags)
        earlier = self._with_missed(missed)
        pieces = []

        for a, b in pairwise(range(num_ticks + 1) if self.whole else _edges(mask)):
            if asleep is not None:
                part = self._wake_up(earlier, a, mask[a], part, asleep)
                asleep = torch.where(mask[a], 0, asleep + (b - a))

            ran, awake, part = self._run_awake(self.call, (a, b), flags[a], part)
            outputs = self._outputs(ran, awake, (a, b), flags[a], held)
            held = held if self.wake.asleep == "zero" else {name: y[-1] for name, y in outputs.items()}
            pieces.append(outputs)

        joined = pieces[0] if len(pieces) == 1 else {n: torch.cat([p[n] for p in pieces]) for n in pieces[0]}
        if self.wake.replay:
            missed = tuple(x[-self.wake.replay :].transpose(0, 1).clone() for x in earlier.inputs)

        return joined, WakeState(part, {name: y.clone() for name, y in held.items()}, asleep, missed)

    def _run_awake(
        self, call: _PartCall, ticks: tuple[int, int], flags: Tensor, part: State
    ) -> tuple[Tensors, Tensor | None, State]:
        """Runs ticks in which the same samples are awake: outputs of those that ran, which these are, the state."""
        if self.whole:
            outputs, after = call.run(*ticks, None, part)
            return outputs, None, map_tensors(lambda new, old: self._mix(flags, new, old), after, part)

        awake = (flags >= AWAKE).nonzero().squeeze(1)
        if len(awake) == len(flags):
            outputs, part = call.run(*ticks, None, part)
            return outputs, None, part
        if len(awake) == 0:
            return {}, awake, part

        outputs, after = call.run(*ticks, awake, select(part, awake))
        return outputs, awake, map_tensors(lambda new, old: old.index_copy(0, awake, new), after, part)

    def _outputs(
        self, outputs: Tensors, awake: Tensor | None, ticks: tuple[int, int], flags: Tensor, held: Tensors
    ) -> Tensors:
        """The outputs of all samples, from those of samples that ran and those before."""
        if self.whole:
            return {name: self._mix(flags, y[0], held[name]).unsqueeze(0) for name, y in outputs.items()}
        if awake is None:
            return outputs

        rows = {name: y.expand(ticks[1] - ticks[0], *y.shape) for name, y in held.items()}
        return {name: y.index_copy(1, awake, outputs[name]) if outputs else y for name, y in rows.items()}

    def _mix(self, flags: Tensor, new: Tensor, old: Tensor) -> Tensor:
        """The new values of each sample that is awake, else the old ones, with the gradient of its flag."""
        share = flags.reshape(-1, *[1] * (new.ndim - 1))
        if not new.is_floating_point():
            return torch.where(share >= AWAKE, new, old)
        if self.wake.gradient == "expected" and self.call.part.training:
            return (share * new + (1 - share) * old).to(new.dtype)

        chosen = torch.where(share >= AWAKE, new, old)
        if not flags.requires_grad:
            return chosen
        # the added value is 0
        return chosen + ((share - share.detach()) * (new - old).detach()).to(new.dtype)

    def _with_missed(self, missed: tuple[Tensor, ...]) -> _PartCall:
        """The call with the samples before it, for a part that replays them."""
        if not self.wake.replay or not missed:
            return self.call
        return self.call.after([x.transpose(0, 1) for x in missed])

    def _wake_up(self, earlier: _PartCall, tick: int, mask: Tensor, part: State, asleep: Tensor) -> State:
        """The state of a part in which samples that were asleep wake at a tick."""
        waking = mask & (asleep > 0)
        set_now = mask if self.call.is_first(tick) else waking
        if not self.whole and not bool(set_now.any()):
            return part

        here = earlier.num_ticks - self.call.num_ticks + tick
        num_samples = min(self.wake.replay, here)
        replayed = asleep.clamp(max=num_samples)
        if self.wake.state != "keep":
            rested = self.call.initial_state()
            if self.wake.state == "leak":
                rested = self.call.part.leak(part, asleep - replayed)  # type: ignore[operator]
            share = waking.to(torch.float32)
            part = map_tensors(lambda new, old: _choose(share, new, old), rested, part)
        if self.wake.state == "reset":
            replayed = torch.full_like(asleep, num_samples)
        part = self.call.set_at_waking(part, tick, set_now)

        for before in range(num_samples, 0, -1):
            share = (waking & (replayed >= before)).to(torch.float32)
            _, _, part = self._run_awake(earlier, (here - before, here - before + 1), share, part)

        return part


def _choose(share: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(share.reshape(-1, *[1] * (new.ndim - 1)) >= AWAKE, new, old)


def _edges(mask: Tensor) -> list[int]:
    """The ticks at which other samples are awake than before, with the first tick and the end."""
    changes = (mask[1:] != mask[:-1]).any(1).nonzero().squeeze(1) + 1
    return [0, *changes.tolist(), len(mask)]
