"""The hybrid network: parts joined by links, each with a clock of its own."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, DataError, did_you_mean
from spikebridge.hybrid.clock import Clock, Every
from spikebridge.hybrid.network.checks import (
    check_inputs,
    check_names,
    check_part,
    check_unit,
    count_ticks,
    infer_input_specs,
    needs_finite_check,
    refuse_not_finite,
    ticks_of,
)
from spikebridge.hybrid.network.delivery import split_by
from spikebridge.hybrid.network.execution import Segment
from spikebridge.hybrid.network.graph import Plan, make_plan
from spikebridge.hybrid.network.link import Link, LinkState, Route, describe
from spikebridge.hybrid.network.shape_inference import DeliveredSignal, begin, fill, find_shapes
from spikebridge.hybrid.unit.unit import HybridUnit
from spikebridge.neurons.state import State


class NetworkState(NamedTuple):
    """All that a stream needs to go on.

    Args:
        ticks: the next tick.
        like: an empty tensor, batch first, which tells batch size, dtype and device.
        parts: the states of the parts.
        links: what the links remember.
        inputs: an empty `(B, 0, *N)` for each input, by which later ones are known.
    """

    ticks: int
    like: Tensor
    parts: dict[str, State]
    links: dict[str, LinkState]
    inputs: dict[str, Tensor]


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
        ConfigError: clocks that do not divide or fit, loops without delay, names and quantities that do not exist.

    Example:
        >>> from spikebridge.hybrid import HybridUnit, Mean, Transmission, Tumbling, every
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
        if not 0 < dt < float("inf"):
            raise ConfigError(f"a hybrid network needs a base step dt > 0 s, but got {dt}")
        check_names(parts, outputs)
        self.dt = dt
        self.inputs = ticks_of(inputs, dt)
        self.outputs = tuple(outputs)
        self.parts = nn.ModuleDict(dict(parts))
        self.plan: Plan = make_plan(self.inputs, dict(parts), ticks_of(clocks or {}, dt), links, dt)
        self.incoming = self.plan.incoming
        self.units = nn.ModuleDict({r.name: r.link.unit for r in self.routes if r.link.unit is not None})
        self._needs_finite_check = needs_finite_check(self.inputs, self.routes, parts)
        self._seen: tuple[list[Any], dict[str, Tensor]] = ([], {})
        self._delivered: dict[tuple[object, ...], dict[str, DeliveredSignal]] = {}
        for name, part in parts.items():
            check_part(name, part, self.incoming[name], self.clock_of(name).period * dt)
        for route in self.routes:
            check_unit(route, dt)

    @property
    def routes(self) -> list[Route]:
        """All links with their clocks, in the order given."""
        return list(self.plan.routes.values())

    def clock_of(self, name: str) -> Clock:
        """The clock of an input or a part."""
        if name not in self.plan.clocks:
            raise ConfigError(f"there is no signal {name!r}; {did_you_mean(name, self.plan.clocks)}")
        return self.plan.clocks[name]

    def unit_of(self, route: Route) -> HybridUnit | None:
        """The unit that stands on a link now."""
        return self.units._modules.get(route.name)  # type: ignore[return-value]

    def initial_state(self, inputs: Mapping[str, Tensor]) -> NetworkState:
        """The state before the first tick. Shapes are found by sending empty signals through the graph once.

        Args:
            inputs: every input, `(T, B, *N)` with any T, also 0.

        Returns:
            The state.

        Raises:
            ConfigError: an input is missing, or a shape that comes back through a loop cannot be found.
            ShapeError: inputs of unlike batch, dtype or device.
        """
        known = infer_input_specs(self.inputs, inputs)
        state = self._begin(known, look_again=True)
        parts, links = fill(self, _time_first(known), state.links, self._delivered[_key(known)])
        return state._replace(parts=parts, links=links)

    def _look(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What `infer_input_specs` sees, remembered for the next stream of inputs that look the same."""
        looks = [
            (name, getattr(x, "shape", ())[1:], getattr(x, "dtype", None), getattr(x, "device", None))
            for name, x in inputs.items()
        ]
        if self._seen[0] != looks:
            self._seen = (looks, infer_input_specs(self.inputs, inputs))
        return self._seen[1]

    def _begin(self, known: dict[str, Tensor], look_again: bool = False) -> NetworkState:
        """A state before the first tick, in which parts and units are left to begin with their first sample."""
        key = _key(known)
        if look_again or key not in self._delivered:
            self._delivered[key] = find_shapes(self, _time_first(known))
        like = next(x for x in known.values() if x.is_floating_point())
        parts, links = begin(self, like, self._delivered[key])
        return NetworkState(0, like, parts, links, known)

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

        Raises:
            ShapeError: an input of another stream, or with another number of samples than the ticks have.
            DataError: an input holds values that are not finite.
            ConfigError: a name that is no input, or a state of another network.
        """
        if state is None:
            state = self._begin(self._look(inputs))
        else:
            self._refuse_other_state(state)
            check_inputs(self.inputs, inputs, state.inputs)
        for name in self._needs_finite_check:
            if name in inputs:
                refuse_not_finite(name, inputs[name])
        given = {name: inputs[name].shape[0] if name in inputs else 0 for name in self.inputs}
        stop = state.ticks + count_ticks(self.inputs, given, state.ticks, ticks, self.dt)
        try:
            return self._run_by_tick(inputs, state, stop) if exact else self._run(inputs, state, stop)
        except DataError:
            for name, x in inputs.items():
                refuse_not_finite(name, x)
            raise

    def step(self, inputs: Mapping[str, Tensor], state: NetworkState) -> tuple[dict[str, Tensor], NetworkState]:
        """One tick.

        Args:
            inputs: those that fire at it, `(B, *N)` each.
            state: after the tick before; `initial_state` for the first one.

        Returns:
            The outputs that fired, `(B, *M)` each, and the state.
        """
        outputs, state = self({name: x.unsqueeze(0) for name, x in inputs.items()}, state, ticks=1)
        return {name: y[0] for name, y in outputs.items()}, state

    def _refuse_other_state(self, state: NetworkState) -> None:
        for mine, theirs in (
            (self.incoming, state.parts),
            (self.plan.routes, state.links),
            (self.inputs, state.inputs),
        ):
            if mine.keys() != theirs.keys():
                raise ConfigError(f"the state is of another network: it tells of {list(theirs)}, not of {list(mine)}")

    def _run(
        self, inputs: Mapping[str, Tensor], state: NetworkState, stop: int
    ) -> tuple[dict[str, Tensor], NetworkState]:
        if stop == state.ticks:
            return {}, state
        stretch = Segment.begin(self, inputs, state.parts, state.links, state.ticks, stop)
        stretch.run()
        outputs = {name: y for name in self.outputs if (y := stretch.signals[name]) is not None}
        return outputs, state._replace(ticks=stop, parts=stretch.parts, links=stretch.links())

    def _run_by_tick(
        self, inputs: Mapping[str, Tensor], state: NetworkState, stop: int
    ) -> tuple[dict[str, Tensor], NetworkState]:
        ticks = range(state.ticks, stop)
        pieces = {
            name: split_by(x, [self.inputs[name].between(tick, tick + 1) for tick in ticks])
            for name, x in inputs.items()
        }
        given: dict[str, list[Tensor]] = {name: [] for name in self.outputs}
        for index, tick in enumerate(ticks):
            now = {name: piece for name, column in pieces.items() if (piece := column[index]) is not None}
            outputs, state = self._run(now, state, tick + 1)
            for name, y in outputs.items():
                given[name].append(y)
        return {name: torch.cat(values) for name, values in given.items() if values}, state

    def extra_repr(self) -> str:
        lines = [f"dt={self.dt:g}"]
        lines += [f"input {name!r} {clock.describe(self.dt)}" for name, clock in self.inputs.items()]
        lines += [f"{describe(route.link)} {route.reads.describe(self.dt)}" for route in self.routes]
        return "\n".join(lines)


def _key(known: Mapping[str, Tensor]) -> tuple[object, ...]:
    """What decides the shapes in a network."""
    return tuple([(x.shape[2:], x.dtype == torch.bool) for x in known.values()])


def _time_first(known: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Empty signals as a state keeps them, `(B, 0, *N)`, as signals `(0, B, *N)`."""
    return {name: x.transpose(0, 1) for name, x in known.items()}
