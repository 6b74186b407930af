"""What every part and unit of a network gives on an input, and whether that is worth comparing."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ExportError, check_named, in_words
from spikebridge.hybrid import Gain, Gate, HybridNetwork, Modulation
from spikebridge.hybrid.network.link import Route
from spikebridge.hybrid.network.shape_inference import infer_shapes
from spikebridge.neurons.neuron import Neuron


class ReferenceTrace(NamedTuple):
    """Signals by name.

    Args:
        parts: of every part, `(K, B, *M)`.
        links: of every unit, `(K, B, *M)`.
    """

    parts: dict[str, Tensor]
    links: dict[str, Tensor]


@dataclass(frozen=True)
class Sample:
    """An input, and what a network gave on it.

    Attributes:
        inputs: `(T, B, *N)` each.
        recorded: of every part and unit.
        ticks: base ticks.
    """

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
        """What a link carries, `(K, B, *M)`, one value at least."""
        values = self.recorded.links.get(route.name)
        return self.signal(route.link.source) if values is None else _at_least_one(values)


def _at_least_one(values: Tensor) -> Tensor:
    """The signal, or one value of zeros where it has none."""
    return values if len(values) else values.new_zeros((1, *values.shape[1:]))


def check_stream(inputs: Mapping[str, Tensor]) -> None:
    """Raises a `ConfigError` where inputs are not given by name, or hold no sample of a batch.

    Example:
        >>> check_stream({"x": torch.zeros(8, 0, 3)})
        Traceback (most recent call last):
        spikebridge.errors.ConfigError: input 'x' needs samples (T, B, *N), but got (8, 0, 3)
    """
    check_named(inputs)
    if not inputs:
        raise ConfigError("a network takes its inputs by name, but got none")

    for name, x in inputs.items():
        if not isinstance(x, Tensor) or x.ndim < 2 or not x.shape[1]:
            came = tuple(x.shape) if isinstance(x, Tensor) else in_words(x)
            raise ConfigError(f"input {name!r} needs samples (T, B, *N), but got {came}")


def record_trace(network: HybridNetwork, inputs: Mapping[str, Tensor], ticks: int | None = None) -> ReferenceTrace:
    """What every part and every unit gives.

    Args:
        network: in eval mode.
        inputs: `(T, B, *N)` each.
        ticks: base ticks; None means the most for which every input has exactly the samples given.

    Raises:
        ExportError: a part gives several tensors by name.

    Example:
        >>> from spikebridge.hybrid import HybridUnit, Sum, Transmission, Tumbling, every
        >>> from spikebridge.neurons import IF
        >>> unit = HybridUnit(Tumbling(2), Sum())
        >>> network = HybridNetwork(
        ...     dt=0.001,
        ...     inputs={"x": every(0.001)},
        ...     parts={"snn": IF(), "ann": nn.Identity()},
        ...     links=[Transmission("x", "snn"), Transmission("snn", "ann", unit)],
        ...     outputs=["ann"],
        ... ).eval()
        >>> recorded = record_trace(network, {"x": torch.ones(4, 1, 1)})
        >>> list(recorded.parts), recorded.links["snn_to_ann"].flatten().tolist()
        (['snn', 'ann'], [2.0, 2.0])
    """
    for name, signals in network.plan.signals.items():
        if signals != (name,):
            raise ExportError(
                f"part {name!r} gives several tensors by name ({', '.join(signals)}), but bundles and integers hold "
                "parts that give one; join them in one tensor, or make a part of each"
            )

    empty = {name: x[:0] for name, x in inputs.items() if name in network.inputs}
    carried = infer_shapes(network, empty).links
    batch = next(iter(inputs.values())).shape[1]
    made: dict[str, list[Tensor]] = {name: [torch.zeros(0, batch, *carried[name].shape)] for name in network.units}

    def hook(name: str) -> Any:
        return lambda unit, arguments, result: made[name].append(result[0].detach())

    with _all_outputs(network), torch.no_grad():
        state = network.initial_state(inputs)
        handles = [unit.register_forward_hook(hook(name)) for name, unit in network.units.items()]

        try:
            parts, _ = network(inputs, state, ticks)
        finally:
            for handle in handles:
                handle.remove()

    return ReferenceTrace(parts, {name: torch.cat(pieces) for name, pieces in made.items()})


def record_active_trace(
    network: HybridNetwork, inputs: Mapping[str, Tensor], ticks: int | None = None
) -> ReferenceTrace:
    """The recording, if every layer spikes in it and every unit acts: a comparison of silence passes everything.

    Raises:
        ExportError: a layer that never spikes, or a unit without effect, is named.
    """
    spoke: dict[str, bool] = {}

    def hook(name: str) -> Any:
        def hook(layer: nn.Module, arguments: Any, result: Any) -> None:
            spoke[name] = spoke.get(name, False) or bool(result[0].any())

        return hook

    layers = {name: layer for name, layer in network.named_modules() if _spikes(layer)}
    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]

    try:
        recorded = record_trace(network, inputs, ticks)
    finally:
        for handle in handles:
            handle.remove()

    for name in layers:
        if not spoke.get(name):
            raise ExportError(
                f"the layer {name!r} never spikes on the sample, so a comparison would say nothing; give a longer or "
                "stronger one, or train the network"
            )

    for route in network.routes:
        if route.name in network.units:
            neutral = {"multiply": 1.0, "add": 0.0}.get(route.link.by) if isinstance(route.link, Modulation) else 0.0
            values = recorded.links[route.name]
            if not values.numel() or (neutral is not None and bool(values.eq(neutral).all())):
                raise ExportError(
                    f"the unit of link {route.name!r} has no effect on the sample, so a comparison would say nothing; "
                    "give a longer sample, or train the network"
                )

    return recorded


def spikes_only(values: Tensor) -> bool:
    """Whether a signal is spikes."""
    return bool(((values == 0) | (values == 1)).all())


def _spikes(layer: nn.Module) -> bool:
    return isinstance(layer, Neuron) and not isinstance(layer, Gain | Gate) and hasattr(layer, "surrogate")


@contextmanager
def _all_outputs(network: HybridNetwork) -> Iterator[None]:
    before = network.outputs
    network.outputs = tuple(network.parts)
    try:
        yield
    finally:
        network.outputs = before
