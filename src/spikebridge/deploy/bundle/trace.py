"""The signals of every part and unit of a network on an input, and a check that all of them are active."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ExportError, check_named, in_words
from spikebridge.hybrid import Gain, Gate, HybridNetwork, Modulation
from spikebridge.hybrid.network.delivery import LinkBuffer
from spikebridge.hybrid.network.link import Route, wake_of
from spikebridge.hybrid.network.network import NetworkState
from spikebridge.hybrid.network.shape_inference import infer_shapes
from spikebridge.neurons.neuron import Neuron


class ReferenceTrace(NamedTuple):
    """The signals of all parts and of all units by name, `(K, B, *M)` each."""

    parts: dict[str, Tensor]
    links: dict[str, Tensor]


@dataclass(frozen=True)
class Sample:
    """Inputs `(T, B, *N)`, the signals of a network on them, and the number of base ticks."""

    inputs: dict[str, Tensor]
    recorded: ReferenceTrace
    ticks: int

    def signal(self, name: str) -> Tensor:
        """An input or a part, `(K, B, *M)`, one value at least."""
        if name in self.inputs:
            return _at_least_one(self.inputs[name])

        y = self.recorded.parts.get(name)
        if y is None or not len(y):
            raise ExportError(f"part {name!r} never fires on the sample; give a longer one")

        return y

    def carried(self, route: Route) -> Tensor:
        """The values of a link, `(K, B, *M)`, one value at least."""
        values = self.recorded.links.get(route.name)
        return self.signal(route.link.source) if values is None else _at_least_one(values)


def _at_least_one(values: Tensor) -> Tensor:
    return values if len(values) else values.new_zeros((1, *values.shape[1:]))


def check_stream(inputs: Mapping[str, Tensor]) -> None:
    """Raises a `ConfigError` for inputs without names, or without a sample of a batch."""
    check_named(inputs)
    if not inputs:
        raise ConfigError("a network takes its inputs by name, but got none")

    for name, x in inputs.items():
        if not isinstance(x, Tensor) or x.ndim < 2 or not x.shape[1]:
            got = tuple(x.shape) if isinstance(x, Tensor) else in_words(x)
            raise ConfigError(f"input {name!r} needs samples (T, B, *N), but got {got}")


def check_float32(network: HybridNetwork, reason: str) -> None:
    """Raises an `ExportError` for parameters or buffers of another precision."""
    for name, value in (*network.named_parameters(), *network.named_buffers()):
        if value.is_floating_point() and value.dtype != torch.float32:
            raise ExportError(f"{name!r} is {value.dtype}; {reason}, so call network.float() first")


def record_trace(
    network: HybridNetwork,
    inputs: Mapping[str, Tensor],
    ticks: int | None = None,
    state: NetworkState | None = None,
) -> ReferenceTrace:
    """The signals of every part and unit of a network in eval mode, on inputs `(T, B, *N)`, from a state or the start.

    `ticks` of None takes the largest number for which every input has exactly its samples.
    """
    for route in network.routes:
        unit = network.unit_of(route)
        if route.skips is not None and unit is not None and hasattr(unit.discretizer, "seed"):
            raise ExportError(
                f"the unit of link {route.name!r} draws at random behind a part that gives no value while it is "
                "asleep, which bundles and integers do not hold; wake that part with asleep='hold'"
            )

    # a unit that never gives a value has a shape all the same
    empty = {name: x[:0] for name, x in inputs.items() if name in network.inputs}
    specs = infer_shapes(network, empty).links
    batch = next(iter(inputs.values())).shape[1]
    values = {name: [torch.zeros(0, batch, *specs[name].shape, dtype=specs[name].dtype)] for name in network.units}

    def hook(name: str) -> Any:
        return lambda unit, arguments, result: values[name].append(result[0].detach())

    with _all_outputs(network), _own_units(network), torch.no_grad():
        # the hooks come after the initial state, whose computation may run units
        state = network.initial_state(inputs) if state is None else state
        with _hooks(network.units, hook):
            parts, after = network(inputs, state, ticks)

    links = {name: torch.cat(pieces) for name, pieces in values.items()}
    for route in network.routes:
        # such a unit ran on samples asleep, too
        if route.skips is not None and route.name in links and len(parts[route.skips]):
            buffer = LinkBuffer(route, network.unit_of(route), state.links[route.name], checked=False)
            with torch.no_grad():
                buffer.push({**inputs, **parts}, state.ticks, after.ticks)
            links[route.name] = torch.cat(tuple(buffer.waiting))

    return ReferenceTrace(parts, links)


def record_active_trace(
    network: HybridNetwork,
    inputs: Mapping[str, Tensor],
    ticks: int | None = None,
    state: NetworkState | None = None,
) -> ReferenceTrace:
    """The trace; raises an `ExportError` if a layer is silent or a unit neutral, since then every comparison passes."""
    active: dict[str, bool] = {}

    def hook(name: str) -> Any:
        def record(layer: nn.Module, arguments: Any, result: Any) -> None:
            active[name] = active.get(name, False) or bool(result[0].any())

        return record

    layers = {name: layer for name, layer in network.named_modules() if _is_spiking(layer)}
    with _hooks(layers, hook):
        trace = record_trace(network, inputs, ticks, state)

    # a hook that never ran has no entry
    for name in layers:
        if not active.get(name):
            raise ExportError(
                f"the layer {name!r} never spikes on the sample, so a comparison would say nothing; give a longer or "
                "stronger one, or train the network"
            )

    for name in _flags_of(network):
        if not trace.parts[name].any():
            raise ExportError(
                f"{name!r} is never set on the sample, so a comparison would say nothing; give a longer one"
            )

    for route in network.routes:
        if route.name in network.units and _is_neutral(route, trace.links[route.name]):
            raise ExportError(
                f"the unit of link {route.name!r} has no effect on the sample, so a comparison would say nothing; "
                "give a longer sample, or train the network"
            )

    return trace


def _flags_of(network: HybridNetwork) -> list[str]:
    """The signals "part.awake" of the parts that have a wake."""
    return [wake_of(route).awake for route in network.plan.wakes.values()]


def _is_neutral(route: Route, values: Tensor) -> bool:
    neutral = {"multiply": 1.0, "add": 0.0}.get(route.link.by) if isinstance(route.link, Modulation) else 0.0
    return not values.numel() or (neutral is not None and bool(values.eq(neutral).all()))


def _is_spiking(layer: nn.Module) -> bool:
    return isinstance(layer, Neuron) and not isinstance(layer, Gain | Gate) and hasattr(layer, "surrogate")


@contextmanager
def _hooks(modules: Any, hook: Any) -> Iterator[None]:
    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _own_units(network: HybridNetwork) -> Iterator[None]:
    """Inside, each link has a unit of its own, so that a hook knows the link whose values it is given."""
    before = dict(network.units.items())
    first: dict[int, str] = {}
    for name, unit in before.items():
        if first.setdefault(id(unit), name) != name:
            network.units[name] = copy.deepcopy(unit)

    try:
        yield
    finally:
        network.units.update(before)


@contextmanager
def _all_outputs(network: HybridNetwork) -> Iterator[None]:
    before = network.outputs
    network.outputs = tuple(signal for signals in network.plan.signals.values() for signal in signals)
    try:
        yield
    finally:
        network.outputs = before
