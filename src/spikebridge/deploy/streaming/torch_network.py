"""A trained network in PyTorch, stepped by a live stream."""

import copy
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.deploy.bundle.export import clock_record
from spikebridge.deploy.bundle.manifest import InputRecord
from spikebridge.deploy.streaming.network import TOGETHER, NetworkSteps, Values, stream_input_spec
from spikebridge.deploy.streaming.samples import Advance
from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridNetwork, Transmission, every
from spikebridge.neurons import Sequential, Stateful
from spikebridge.neurons.state import State
from spikebridge.ops.selection import select
from spikebridge.ops.sparse.engine import EventDriven

_EVENTS = "events"
_NETWORK = "network"


def network_steps(network: nn.Module, sample: Mapping[str, Tensor]) -> NetworkSteps:
    """The step function of a hybrid network, or of layers that take events; inputs `(T, B, *N)` tell the shapes."""
    if not isinstance(network, HybridNetwork):
        network = _network_of_layers(network)
        sample = {_EVENTS: next(iter(sample.values()))}

    hybrid = network.eval()
    inputs = {
        name: InputRecord(clock_record(clock), tuple(sample[name].shape[2:])) for name, clock in hybrid.inputs.items()
    }
    spec = stream_input_spec(inputs, hybrid.dt, {name: x.detach().cpu().numpy() for name, x in sample.items()})

    wanted = hybrid.wanted if spec.frames in hybrid.plan.on_demand else None
    return NetworkSteps(spec, network_advance(hybrid), TOGETHER, wanted)


def network_advance(network: HybridNetwork) -> Advance:
    """A function that runs some ticks of a network from a state; None is the first state."""
    hybrid = network.eval()
    like = next(hybrid.parameters(), torch.empty(0))
    if select("live step", like) == "native":
        hybrid = with_event_driven_parts(hybrid)

    def advance(inputs: dict[str, Values], state: Any, ticks: int) -> tuple[dict[str, Values], Any]:
        # the first call needs the shape of every input
        tensors = {name: torch.from_numpy(x).to(like) for name, x in inputs.items() if len(x) or state is None}
        with torch.inference_mode():
            outputs, state = hybrid(tensors, state, ticks=ticks)

        newest = {name: y[-1, 0].float().cpu().numpy() for name, y in outputs.items() if len(y)}
        return newest, state

    return advance


class EventDrivenPart(Stateful):
    """A `Sequential` whose layers compute only for inputs that are not zero, with the state of these layers."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.prepared = EventDriven(part)

    def initial_state(self, x_t: Tensor) -> State:
        return self.prepared.initial_state(x_t)

    def step(self, x_t: Tensor, state: State, **modulation: Any) -> tuple[Tensor, State]:
        return self.prepared.step(x_t, state)


def with_event_driven_parts(network: HybridNetwork) -> HybridNetwork:
    """A copy of a network, with event-driven parts where there is a form; weights are shared.

    A part under modulation keeps its own step, since its weights and thresholds change from step to step, and one with
    a wake, whose state may leak or be reset.
    """
    modulated = {route.link.part for route in network.routes if not isinstance(route.link, Transmission)}
    parts: dict[str, nn.Module] = dict(network.parts.items())
    for name, part in network.parts.items():
        if isinstance(part, Sequential) and name not in modulated:
            with suppress(ConfigError):  # a layer has no event-driven form
                parts[name] = EventDrivenPart(part)

    live = copy.copy(network)
    live._modules = dict(network._modules)
    live.parts = nn.ModuleDict(parts)

    return live


def _network_of_layers(layers: nn.Module) -> HybridNetwork:
    """A hybrid network of one part, whose step is that of its neurons."""
    attributes: list[Any] = [getattr(module, "dt", None) for module in layers.modules()]
    steps = {dt for dt in attributes if isinstance(dt, float)}
    if len(steps) != 1:
        found = ", ".join(f"{dt:g} s" for dt in sorted(steps)) or "none"
        raise ConfigError(f"a live network needs neurons of one step, but those of {type(layers).__name__} are {found}")

    (dt,) = steps
    return HybridNetwork(
        dt=dt,
        inputs={_EVENTS: every(dt)},
        parts={_NETWORK: layers},
        links=[Transmission(_EVENTS, _NETWORK)],
        outputs=[_NETWORK],
    )
