"""Demand of parts with a wake: the inputs that the next tick needs, and the cost of being awake."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.hybrid.network.delivery import largest_of_newest, next_flags, sort_values
from spikebridge.hybrid.network.execution import apply_part
from spikebridge.hybrid.network.graph import NetworkGraph
from spikebridge.hybrid.network.link import AWAKE, LinkState, Route, SignalSpec, wake_of
from spikebridge.ops.modes import evaluating


class _OnDemand:
    """The methods of a hybrid network that speak of the demand of its parts with a wake."""

    def wanted(self, state: Any) -> dict[str, Tensor]:
        """The samples that the next tick needs of each input: a camera may stay off while all parts that see it sleep.

        They read it without a unit, and do not replay. A flag made in the tick itself is not known: delay its wake.

        Args:
            state: after the tick before.

        Returns:
            Flags `(B,)` for each input, false for one without a sample at the next tick.
        """
        network: Any = self
        return _wanted_inputs(network, state.links, state.like, state.ticks)

    def expected_cost(self, outputs: Mapping[str, Tensor], costs: Mapping[str, float] | None = None) -> Tensor:
        """The share awake times the cost of a run, for a loss: the sum over parts with a wake.

        Args:
            outputs: those of a call, with "part.awake" of every part that has a wake.
            costs: cost of one run of a part, by name; None counts its multiply-accumulates.

        Returns:
            The expected cost of a tick, differentiable.

        Raises:
            ConfigError: outputs without "part.awake", or costs of a part without a wake.
        """
        network: Any = self
        known = [specs.links for specs in network._signal_specs.values()]
        return _expected_cost(network, known[-1] if known else None, outputs, costs)


def _wanted_inputs(network: NetworkGraph, links: Mapping[str, LinkState], like: Tensor, tick: int) -> dict[str, Tensor]:
    """The samples `(B,)` that a tick needs of each input, for a stream like a tensor with its batch first."""
    wanted = {
        name: like.new_full(like.shape[:1], clock.has(tick), dtype=torch.bool) for name, clock in network.inputs.items()
    }
    for name, parts in network.plan.on_demand.items():
        wakes = [network.plan.wakes[part] for part in parts]
        flags = [_flags_before(wake, links[wake.name], tick) for wake in wakes]
        known = [flag >= AWAKE for flag in flags if flag is not None]
        if len(known) == len(flags):
            wanted[name] &= torch.stack(known).any(0)

    return wanted


def _flags_before(route: Route, state: LinkState, tick: int) -> Tensor | None:
    """The flags of a wake at a tick that has not begun, `(B,)`; None if one of them is made in it."""
    flags = cast(Tensor, state.held)
    if route.clock.between(tick - route.delay, tick - route.delay + 1):
        if state.queue is None:
            return None
        flags = next_flags(flags, state.queue[:, 0])

    return largest_of_newest(flags, route.num_flags)[:, 0]


def _expected_cost(
    network: NetworkGraph,
    specs: Mapping[str, SignalSpec] | None,
    outputs: Mapping[str, Tensor],
    costs: Mapping[str, float] | None,
) -> Tensor:
    """The sum over parts with a wake of the share awake times the cost of one run; `specs` are those of the links."""
    wakes = network.plan.wakes
    for part in costs or {}:
        if part not in wakes:
            raise ConfigError(f"costs has {part!r}, which has no wake; {did_you_mean(part, wakes)}")

    terms = []
    for part, route in wakes.items():
        awake = wake_of(route).awake
        if awake not in outputs:
            raise ConfigError(f"the expected cost needs {awake!r} among the outputs: outputs=[..., {awake!r}]")

        if costs is not None and part in costs:
            cost = costs[part]
        elif specs is None:
            raise ConfigError(f"the cost of a run of {part!r} is not known before the first call; give it in costs=")
        else:
            cost = _count_products(network, part, specs)
        terms.append(outputs[awake].mean() * cost)

    return torch.stack(terms).sum() if terms else torch.zeros(())


def _count_products(network: NetworkGraph, part: str, specs: Mapping[str, SignalSpec]) -> float:
    """The multiply-accumulates of one run of a part on one sample."""
    from torch.utils.flop_counter import FlopCounterMode

    module = network.parts[part]
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(()))
    routes = [route for route in network.plan.incoming[part] if not route.path and not route.num_flags]
    values = [torch.zeros((1, 1, *specs[r.name].shape), dtype=specs[r.name].dtype, device=like.device) for r in routes]
    signals, named, _ = sort_values(routes, values)
    counter = FlopCounterMode(display=False)
    with evaluating(module), torch.no_grad(), counter:
        apply_part(module, signals, named)

    return counter.get_total_flops() / 2
