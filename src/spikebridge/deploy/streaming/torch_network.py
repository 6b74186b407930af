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
from spikebridge.hybrid import HybridNetwork, Modulation, Transmission, every
from spikebridge.neurons import Sequential, Stateful
from spikebridge.neurons.state import State
from spikebridge.ops.selection import select
from spikebridge.ops.sparse.engine import prepare

EVENTS = "events"
NETWORK = "network"


def network_steps(network: nn.Module, sample: Mapping[str, Tensor]) -> NetworkSteps:
    """Steps of a network.

    Args:
        network: the trained one, a hybrid network or layers that take events.
        sample: of its inputs, `(T, B, *N)` each; it tells the shapes.

    Raises:
        ConfigError: it takes no events, or something that no stream brings.
    """
    if not isinstance(network, HybridNetwork):
        network = _alone(network)
        sample = {EVENTS: next(iter(sample.values()))}

    hybrid = network.eval()
    inputs = {
        name: InputRecord(clock_record(clock), tuple(sample[name].shape[2:])) for name, clock in hybrid.inputs.items()
    }
    spec = stream_input_spec(inputs, hybrid.dt, {name: x.detach().cpu().numpy() for name, x in sample.items()})

    return NetworkSteps(spec, network_advance(hybrid), TOGETHER)


def network_advance(network: HybridNetwork) -> Advance:
    """Runs some ticks of a network from a state; None is the state before the first one."""
    hybrid = network.eval()
    first = next(hybrid.parameters(), torch.empty(0))
    if select("live step", first) == "native":
        hybrid = with_event_driven_parts(hybrid)

    def advance(given: dict[str, Values], state: Any, ticks: int) -> tuple[dict[str, Values], Any]:
        tensors = {name: torch.from_numpy(x).to(first) for name, x in given.items() if len(x)}
        with torch.inference_mode():
            outputs, state = hybrid(tensors, state, ticks=ticks)
        return {name: y[-1, 0].float().cpu().numpy() for name, y in outputs.items() if len(y)}, state

    return advance


class EventDrivenPart(Stateful):
    """Layers in a row, stepped by events: only inputs that are not zero cost work. Its state is that of the layers.

    Args:
        part: a `spikebridge.neurons.Sequential` of layers that `ops.sparse` knows.

    Raises:
        ConfigError: a layer that cannot be stepped by events.
    """

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.prepared = prepare(part)

    def initial_state(self, x_t: Tensor) -> State:
        return self.prepared.initial_state(x_t)

    def step(self, x_t: Tensor, state: State, **modulation: Any) -> tuple[Tensor, State]:
        return self.prepared.step(x_t, state)


def with_event_driven_parts(network: HybridNetwork) -> HybridNetwork:
    """The same network with every part that can be stepped by events stepped so; the one given is left as it is.

    A part under modulation keeps its own step, since its weights and thresholds change from step to step.
    """
    modulated = {route.link.part for route in network.routes if isinstance(route.link, Modulation)}
    parts: dict[str, nn.Module] = dict(network.parts.items())
    for name, part in network.parts.items():
        if isinstance(part, Sequential) and name not in modulated:
            with suppress(ConfigError):  # a layer without a step by events
                parts[name] = EventDrivenPart(part)

    live = copy.copy(network)
    live._modules = {**network._modules, "parts": nn.ModuleDict(parts)}

    return live


def _alone(network: nn.Module) -> HybridNetwork:
    """Layers alone as a hybrid network of one part; its step is that of its neurons."""
    all_steps: list[Any] = [getattr(module, "dt", None) for module in network.modules()]
    steps = {dt for dt in all_steps if isinstance(dt, float)}
    if len(steps) != 1:
        found = ", ".join(f"{dt:g} s" for dt in sorted(steps)) or "none"
        raise ConfigError(
            f"a live network needs neurons of one step, but those of {type(network).__name__} are {found}"
        )

    (dt,) = steps
    return HybridNetwork(
        dt=dt,
        inputs={EVENTS: every(dt)},
        parts={NETWORK: network},
        links=[Transmission(EVENTS, NETWORK)],
        outputs=[NETWORK],
    )
