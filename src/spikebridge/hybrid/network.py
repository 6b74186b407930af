"""The hybrid network: parts joined by links, each with a clock of its own."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, DataError, ShapeError, did_you_mean
from spikebridge.hybrid.clock import Clock, Every
from spikebridge.hybrid.link import Modulation, Transmission
from spikebridge.hybrid.modulation import check_path
from spikebridge.hybrid.plan import Group, Link, Plan, Route, make_plan
from spikebridge.hybrid.route import LinkState, Stretch, absorb, fire
from spikebridge.hybrid.shapes import find_initial_state
from spikebridge.neurons.base import Stateful
from spikebridge.neurons.state import State
from spikebridge.neurons.stateless import refuse_hidden_state


class NetworkState(NamedTuple):
    """All that a stream needs to go on: the next tick, the states of parts and links, and, in the empty `like` `(B, 0)`,
    batch size, dtype and device."""

    ticks: int
    like: Tensor
    parts: dict[str, State]
    links: dict[str, LinkState]


class HybridNetwork(nn.Module):
    """A graph of parts and links over one base step.

    Args:
        dt: base step [s].
        inputs: the clock of each input, `every(1 / 40)`.
        parts: plain modules or `Stateful` ones.
        links: `Transmission`s and `Modulation`s, in the order of a part's arguments.
        outputs: parts whose outputs are given out.
        clocks: the clocks of parts that no sampled link tells.

    Raises:
        ConfigError: clocks that do not divide or do not fit, loops without delay, names and quantities that do not exist.

    Example:
        >>> from spikebridge.hybrid import HybridUnit, Mean, Tumbling, every
        >>> from spikebridge.neurons import IF
        >>> network = HybridNetwork(
        ...     dt=0.001,
        ...     inputs={"events": every(0.001)},
        ...     parts={"snn": IF(), "ann": nn.Identity()},
        ...     links=[Transmission("events", "snn"), Transmission("snn", "ann", HybridUnit(Tumbling(2), Mean()))],
        ...     outputs=["ann"],
        ... )
        >>> outputs, state = network({"events": torch.tensor([1.0, 0.0, 1.0, 1.0]).reshape(4, 1, 1)})
        >>> outputs["ann"].flatten().tolist(), state.ticks
        ([0.5, 1.0], 4)
    """

    def __init__(
        self,
        *,
        dt: float,
        inputs: Mapping[str, Every],
        parts: Mapping[str, nn.Module],
        links: Sequence[Link],
        outputs: Sequence[str],
        clocks: Mapping[str, Every] | None = None,
    ) -> None:
        super().__init__()
        if not dt > 0:
            raise ConfigError(f"a hybrid network needs a base step dt > 0 s, but got {dt}")
        self.dt = dt
        self.inputs = {name: rhythm.clock(dt, name) for name, rhythm in inputs.items()}
        for name, part in parts.items():
            refuse_hidden_state(part, name)
        self.parts = nn.ModuleDict(dict(parts))
        declared = {name: rhythm.clock(dt, name) for name, rhythm in (clocks or {}).items()}
        self.plan: Plan = make_plan(self.inputs, dict(parts), declared, links, dt)
        self.units = nn.ModuleDict({r.name: r.link.unit for r in self.routes if r.link.unit is not None})
        self.incoming = {part: [r for r in self.routes if r.link.part == part] for part in parts}
        for name in outputs:
            if name not in parts:
                raise ConfigError(f"the output {name!r} is no part: {did_you_mean(name, parts)}")
        self.outputs = tuple(outputs)
        self._loop_shapes: dict[tuple[torch.Size, ...], dict[str, torch.Size]] = {}
        for part in parts:
            self._check_part(part)
        for route in self.routes:
            self._check_unit(route)

    @property
    def routes(self) -> list[Route]:
        """All links with their clocks, in the order given."""
        return list(self.plan.routes.values())

    def clock_of(self, name: str) -> Clock:
        """The clock of an input or a part."""
        if name not in self.plan.clocks:
            raise ConfigError(f"there is no signal {name!r}; {did_you_mean(name, self.plan.clocks)}")
        return self.plan.clocks[name]

    def _check_part(self, name: str) -> None:
        module = self.parts[name]
        _check_steps(module, name, self.clock_of(name).period * self.dt)
        transmissions = [r.link for r in self.incoming[name] if isinstance(r.link, Transmission)]
        unnamed = [link for link in transmissions if link.into is None]
        if isinstance(module, Stateful) and len(unnamed) != 1:
            raise ConfigError(
                f"the stateful part {name!r} takes one signal by position, but {len(unnamed)} links bring one; name the others "
                "with into="
            )
        for route in self.incoming[name]:
            if isinstance(route.link, Modulation):
                check_path(module, name, route.link.path)

    def _check_unit(self, route: Route) -> None:
        unit = route.link.unit
        if unit is None:
            return
        what = f"the unit {route.name!r}"
        if unit.kernel is not None:
            _check_steps(unit.kernel, what, self.clock_of(route.link.source).period * self.dt)
        if unit.discretizer is not None:
            _check_steps(unit.discretizer, what, route.clock.period * self.dt)

    def initial_state(self, inputs: Mapping[str, Tensor]) -> NetworkState:
        """The state before the first tick. Shapes are found by sending empty signals through the graph once.

        Args:
            inputs: every input, `(T, B, *N)` with any T, also 0.
        """
        for name in self.inputs:
            if name not in inputs:
                raise ConfigError(
                    f"the first call needs every input, to know its shape, but {name!r} is missing; give an empty (0, B, *N) "
                    "where it has no sample yet"
                )
        like = _check_inputs(self, inputs, None)
        parts, links = find_initial_state(self, inputs)
        return NetworkState(0, like, parts, links)

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        state: NetworkState | None = None,
        ticks: int | None = None,
        *,
        exact: bool = False,
    ) -> tuple[dict[str, Tensor], NetworkState]:
        """A stretch of the stream, of any number of ticks.

        Args:
            inputs: the samples that fall in this stretch, `(K, B, *N)` each; an input without a sample may be left out.
            state: after the stretch before; None starts a stream.
            ticks: base ticks in this stretch; None means the most for which every input has exactly the samples given.
            exact: run tick by tick inside, so that whole, step and cut are equal to the bit on real numbers too.

        Returns:
            The outputs that fired, `(K, B, *M)` each, and the state.
        """
        if state is None:
            state = self.initial_state(inputs)
        else:
            _check_inputs(self, inputs, state.like)
        start = state.ticks
        stop = start + self._count_ticks(inputs, start, ticks)
        if not exact or stop - start <= 1:
            return self._run(inputs, state, stop)
        pieces: dict[str, list[Tensor]] = {}
        for tick in range(start, stop):
            now = {
                name: x[clock.count(tick) - clock.count(start) : clock.count(tick + 1) - clock.count(start)]
                for name, x in inputs.items()
                for clock in [self.inputs[name]]
            }
            outputs, state = self._run(now, state, tick + 1)
            for name, y in outputs.items():
                pieces.setdefault(name, []).append(y)
        return {name: torch.cat(values) for name, values in pieces.items()}, state

    def step(self, inputs: Mapping[str, Tensor], state: NetworkState) -> tuple[dict[str, Tensor], NetworkState]:
        """One tick: the inputs that fire, `(B, *N)` each, to the outputs that fired, `(B, *M)` each."""
        outputs, state = self({name: x.unsqueeze(0) for name, x in inputs.items()}, state, ticks=1)
        return {name: y[0] for name, y in outputs.items()}, state

    def _count_ticks(self, inputs: Mapping[str, Tensor], start: int, ticks: int | None) -> int:
        given = {name: len(inputs[name]) if name in inputs else 0 for name in self.inputs}
        if ticks is None:
            nexts = [
                clock.phase + (clock.count(start) + given[name]) * clock.period for name, clock in self.inputs.items()
            ]
            ticks = max(0, min(nexts) - start)
        elif ticks < 0:
            raise ConfigError(f"ticks must be 0 or more, but got {ticks}")
        for name, clock in self.inputs.items():
            expected = clock.count(start + ticks) - clock.count(start)
            if given[name] != expected:
                raise ShapeError(
                    f"input {name!r} has {expected} samples in the {ticks} ticks from tick {start} ({clock.describe(self.dt)}), but "
                    f"{given[name]} were given"
                )
        return ticks

    def _run(
        self, inputs: Mapping[str, Tensor], state: NetworkState, stop: int
    ) -> tuple[dict[str, Tensor], NetworkState]:
        stretch = Stretch(self, dict(inputs), dict(state.parts), dict(state.links), state.like, state.ticks)
        for group in self.plan.groups:
            for route in (r for part in group.parts for r in self.incoming[part] if r not in group.internal):
                absorb(stretch, route, state.ticks, stop)
            if group.loop:
                self._run_loop(stretch, group, state.ticks, stop)
            else:
                stretch.signals[group.parts[0]] = fire(stretch, group.parts[0], state.ticks, stop)
        outputs = {name: y for name in self.outputs if (y := stretch.signals[name]) is not None}
        return outputs, NetworkState(stop, state.like, stretch.parts, stretch.links)

    def _run_loop(self, stretch: Stretch, group: Group, start: int, stop: int) -> None:
        """Runs a loop in spans that end where a delayed link next delivers something made inside the span."""
        late = [route for route in group.internal if route.link.delay > 0]
        pieces: dict[str, list[Tensor]] = {part: [] for part in group.parts}
        while start < stop:
            end = min([stop, *(route.clock.next(start) + route.link.delay for route in late)])
            for part in group.parts:
                for route in self.incoming[part]:
                    if route in group.internal and route.link.delay == 0:
                        absorb(stretch, route, start, end)
                y = stretch.span[part] = fire(stretch, part, start, end)
                if y is not None:
                    pieces[part].append(y)
            for route in late:
                absorb(stretch, route, start, end)
            stretch.span.clear()
            start = end
        for part, values in pieces.items():
            stretch.signals[part] = torch.cat(values) if values else None


def _check_steps(module: nn.Module, name: str, period: float) -> None:
    """Raises where a layer's own `dt` is not the period of the clock it runs on."""
    for path, layer in module.named_modules():
        dt = getattr(layer, "dt", None) if isinstance(layer, Stateful) else None
        if dt is not None and abs(dt - period) > 1e-6 * period:
            raise ConfigError(
                f"{name!r} runs every {period:g} s, but its {type(layer).__name__}{f' at {path!r}' if path else ''} has dt={dt:g} s; "
                f"set dt={period:g}"
            )


def _check_inputs(network: HybridNetwork, inputs: Mapping[str, Tensor], like: Tensor | None) -> Tensor:
    """Raises where an input is unknown, malformed, of another batch, dtype or device, or not finite."""
    for name, x in inputs.items():
        if name not in network.inputs:
            raise ConfigError(f"there is no input {name!r}; {did_you_mean(name, network.inputs)}")
        if not isinstance(x, Tensor) or x.ndim < 2:
            what = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ShapeError(f"input {name!r} needs a signal (T, B, *N), but got {what}")
        if x.dtype == torch.bool:
            continue
        if not x.is_floating_point():
            raise ShapeError(f"input {name!r} needs floats (or flags, for a trigger), but got {x.dtype}; use .float()")
        if like is None:
            like = x.new_empty((x.shape[1], 0))
        if x.shape[1] != len(like):
            raise ShapeError(f"input {name!r} has a batch of {x.shape[1]}, but the stream has {len(like)}")
        if x.dtype != like.dtype or x.device != like.device:
            raise ShapeError(
                f"input {name!r} is {x.dtype} on {x.device}, but the stream is {like.dtype} on {like.device}; move it with .to()"
            )
        if len(x) and not torch.compiler.is_compiling() and not bool(x.isfinite().all()):
            raise DataError(
                f"input {name!r} has {int((~x.isfinite()).sum())} values that are not finite (NaN or infinite); mend the data first"
            )
    if like is None:
        raise ConfigError("a stream needs at least one input of floats, to know its dtype")
    return like
