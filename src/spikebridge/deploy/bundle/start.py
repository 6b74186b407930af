"""The state at which a bundle begins, as tensors: of a stream of the trained network, and back for a network of torch.

| tensor | content |
|---|---|
| `parts.PART.state.i` | tensor i of the state of an ONNX step |
| `parts.PART.state.NODE.FIELD` | a field of the state of a node of a NIR graph |
| `parts.PART.outputs.SIGNAL`, `.asleep`, `.missed.i` | of a part with a wake: outputs, ticks asleep, samples missed |
| `links.LINK.queue`, `.held`, `.context`, `.triggered` | values that wait, the newest ones, triggers that wait |
| `links.LINK.unit.STAGE.i` | item i of the state of a stage |
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spikebridge.deploy.bundle.bundle import Bundle, below
from spikebridge.deploy.nir.graph import NirGraph
from spikebridge.deploy.onnx.writer import tensors_like, tensors_of
from spikebridge.errors import ConfigError, ExportError, in_words
from spikebridge.hybrid import HybridNetwork
from spikebridge.hybrid.network.link import LinkState, Route
from spikebridge.hybrid.network.network import NetworkState
from spikebridge.hybrid.network.state_links import set_states, state_at
from spikebridge.hybrid.network.wake import WakeState
from spikebridge.hybrid.unit.unit import UnitState
from spikebridge.neurons.state import State, select, to

_FIELDS = ("queue", "held", "context", "triggered")
_WITH_START = ("SignedDelta",)  # discretizers whose memory is a tensor of its values


def checked_start(network: HybridNetwork, state: Any, inputs: Mapping[str, Tensor]) -> NetworkState:
    """A state on the CPU, without gradients, with the batch of some inputs; raises if it is of another network."""
    if not isinstance(state, NetworkState):
        raise ConfigError(
            f"a bundle begins at a NetworkState, but got {in_words(state)}; a call of the network returns one, or "
            "leave state= out"
        )

    state = to(state, device="cpu")
    batch = next(iter(inputs.values())).shape[1]
    if state.like.shape[0] == 1 and batch > 1:
        state = select(state, [0] * batch)

    network.check_stream(state, inputs)
    return state


def link_tensors(route: Route, state: LinkState, last: int, tick: int) -> dict[str, Tensor]:
    """The tensors of the state of a link before a tick, whose values have acted up to the `last` tick of its target."""
    if route.skips is not None:
        raise ExportError(f"the link {route.name!r} skips ticks asleep, which a bundle with state= does not hold")

    tensors = {name: value for name in _FIELDS if (value := getattr(state, name)) is not None}
    if (route.sets or route.once) and not route.clock.between(last + 1 - route.delay, tick - route.delay):
        tensors.pop("held", None)

    for stage, own in zip(UnitState._fields, state.unit, strict=True):
        unit = route.link.unit
        kind = type(getattr(unit, stage, None)).__name__
        if stage == "discretizer" and own is not None and kind not in _WITH_START:
            raise ExportError(
                f"the unit of link {route.name!r} ends in {kind}, whose memory a bundle cannot begin with; export "
                "the network without state="
            )
        tensors |= {f"unit.{stage}.{i}": torch.as_tensor(value) for i, value in enumerate(own or ())}

    return {f"links.{route.name}.{name}": value.detach() for name, value in tensors.items()}


def part_tensors(name: str, part: nn.Module, state: Any, graph: NirGraph | None) -> dict[str, Tensor]:
    """The tensors of the state of a part; `graph` is that of a NIR file."""
    tensors: dict[str, Tensor] = {}
    if isinstance(state, WakeState):
        tensors = {f"outputs.{signal}": y for signal, y in state.outputs.items()}
        tensors |= {f"missed.{i}": x for i, x in enumerate(state.missed)}
        tensors |= {} if state.asleep is None else {"asleep": state.asleep}
        state = state.part

    if graph is None or state is None:
        tensors |= {f"state.{i}": t for i, t in enumerate(tensors_of(state, f"part {name!r}"))}
    else:
        paths = graph.memories
        tensors |= {f"state.{path}": state_at(part, state, path.removeprefix("neuron.")) for path in paths}

    return {f"parts.{name}.{key}": value.detach() for key, value in tensors.items()}


def start_state(bundle: Bundle, network: HybridNetwork, inputs: Mapping[str, Tensor]) -> NetworkState | None:
    """The state of the network of a bundle, trained or rebuilt, at which the bundle begins; None at the initial one."""
    record = bundle.manifest.start
    if record is None:
        return None

    batch = next(iter(inputs.values())).shape[1]
    stored = {name: torch.tensor(value) for name, value in bundle.numbers(record.file).items()}
    repeated = {name: value.repeat_interleave(batch, 0) if value.ndim else value for name, value in stored.items()}
    tensors = repeated if record.batch == 1 else stored
    initial = network.initial_state(inputs)
    parts = {
        name: _part_state(network.parts[name], initial.parts[name], below(f"parts.{name}.", tensors))
        for name in network.parts
    }
    links = {name: _link_state(state, below(f"links.{name}.", tensors)) for name, state in initial.links.items()}

    return initial._replace(ticks=record.tick, parts=parts, links=links)


def _part_state(part: nn.Module, initial: Any, tensors: Mapping[str, Tensor]) -> State:
    if isinstance(initial, WakeState):
        asleep = initial.asleep if initial.asleep is None else tensors.get("asleep", initial.asleep)
        outputs = {signal: tensors[f"outputs.{signal}"] for signal in initial.outputs}
        missed = below("missed.", tensors)
        rows = tuple(missed[str(i)] for i in range(len(missed)))
        return WakeState(_part_state(part, initial.part, tensors), outputs, asleep, rows)

    own = below("state.", tensors)
    if any("." in name for name in own):
        return set_states(part, initial, [(name.removeprefix("neuron."), value) for name, value in own.items()])

    return tensors_like(initial, [own[str(i)] for i in range(len(own))]) if own else initial


def _link_state(initial: LinkState, tensors: Mapping[str, Tensor]) -> LinkState:
    stages: list[State] = []
    for stage, own in zip(UnitState._fields, initial.unit, strict=True):
        values: list[Any] = [tensors.get(f"unit.{stage}.{i}") for i in range(len(own or ()))]
        values = [int(value) if value is not None and value.ndim == 0 else value for value in values]
        stages.append(own if None in values or own is None else type(own)(*values))

    fields = {name: tensors[name] for name in _FIELDS if name in tensors}
    return initial._replace(unit=UnitState(*stages), **fields)
