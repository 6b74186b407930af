"""Activity of the layers of a network on real inputs: spikes, rates, sizes of activations, membrane traces."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.analysis.hooks import Call, display_path, evaluating, is_layer, trace_calls, unwrap_vmap
from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.hybrid import Discretizer, HybridNetwork
from spikebridge.neurons import Stateful
from spikebridge.neurons.base import split_in_time


@dataclass
class LayerActivity:
    """The outputs of one layer over a run.

    Attributes:
        path: of the layer.
        layer: its class.
        num_values: neurons times steps times samples.
        num_spikes: sum of the sizes of all values where the layer spikes, else 0.
        largest: the largest value.
    """

    path: str
    layer: str
    is_spiking: bool = False
    num_values: int = 0
    largest: float = float("-inf")
    _sum: float = 0.0
    _num_nonzero: int = 0
    _whole: bool = True
    _active: dict[torch.Size, Tensor] = field(default_factory=dict)

    @property
    def kind(self) -> Literal["spikes", "values"]:
        """Spikes, where a layer of neurons or a discretizer gave only integers; else values."""
        return "spikes" if self.is_spiking and self._whole else "values"

    @property
    def num_spikes(self) -> int:
        """All spikes of the run; a value of 2 or -2 is two spikes."""
        return round(self._sum) if self.kind == "spikes" else 0

    @property
    def rate(self) -> float:
        """Spikes a neuron and step; 0 for a layer that does not spike."""
        return self.num_spikes / self.num_values if self.num_values else 0.0

    @property
    def mean_magnitude(self) -> float:
        """The mean of the absolute values."""
        return self._sum / self.num_values if self.num_values else 0.0

    @property
    def share_nonzero(self) -> float:
        """The share of values that are not zero."""
        return self._num_nonzero / self.num_values if self.num_values else 0.0

    @property
    def share_active(self) -> float:
        """The share of neurons that were not zero at least once."""
        neurons = sum(active.numel() for active in self._active.values())
        return sum(int(active.sum()) for active in self._active.values()) / neurons if neurons else 0.0

    def add(self, rows: Tensor) -> None:
        """Adds outputs, one row a step and sample."""
        values = rows.double() if rows.is_floating_point() else rows.to(torch.float64)
        self.num_values += values.numel()
        self.largest = max(self.largest, float(values.max()))
        self._sum += float(values.abs().sum())
        self._num_nonzero += int((values != 0).sum())
        self._whole = self._whole and bool((values == values.round()).all())
        active = (values != 0).any(0)
        known = self._active.get(active.shape)
        self._active[active.shape] = active if known is None else known | active


@dataclass
class Activity:
    """The outputs of all layers over a run, by path, in the order of their first call."""

    layers: dict[str, LayerActivity] = field(default_factory=dict)
    _pieces: dict[str, list[Tensor]] = field(default_factory=dict)

    def __getitem__(self, path: str) -> LayerActivity:
        if path not in self.layers:
            raise ConfigError(f"no layer {path!r} has run; {did_you_mean(path, self.layers)}")
        return self.layers[path]

    @property
    def traces(self) -> dict[str, Tensor]:
        """The requested membrane traces, `(T, B, *N)` by path."""
        return {path: torch.cat(pieces) for path, pieces in self._pieces.items()}

    def rows(self) -> list[dict[str, Any]]:
        """A table, one row a layer."""
        return [
            {
                "layer": path,
                "kind": one.kind,
                "spikes": one.num_spikes if one.kind == "spikes" else None,
                "rate": one.rate if one.kind == "spikes" else None,
                "mean |y|": one.mean_magnitude,
                "active neurons": one.share_active,
            }
            for path, one in self.layers.items()
        ]


@contextmanager
def record_activity(network: nn.Module, traces: Iterable[str] = ()) -> Iterator[Activity]:
    """Records the output of every layer inside the block; the results of the network do not change.

    Args:
        network: a hybrid network or any module.
        traces: paths of layers whose membranes are kept, step by step; each such layer runs twice.

    Raises:
        ConfigError: a trace of a layer that is not there or has no state.

    Example:
        >>> from spikebridge.neurons import IF, Sequential
        >>> network = Sequential(fire=IF(v_threshold=2.0))
        >>> with record_activity(network) as activity:
        ...     _ = network(torch.ones(4, 1, 3))
        >>> activity["fire"].num_spikes, activity["fire"].rate
        (6, 0.5)
    """
    wanted = set(traces)
    stateful = {display_path(network, n) for n, m in network.named_modules() if isinstance(m, Stateful) and is_layer(m)}
    for path in wanted - stateful:
        raise ConfigError(f"there is no layer {path!r} with a membrane; {did_you_mean(path, stateful)}")

    activity = Activity()
    tracing = False

    def leave(call: Call) -> None:
        nonlocal tracing
        if tracing or not is_layer(call.module):
            return

        rows = _rows(call)
        if rows is None or rows.numel() == 0:
            return

        is_spiking = isinstance(call.module, Stateful | Discretizer)
        name = type(call.module).__name__
        activity.layers.setdefault(call.path, LayerActivity(call.path, name, is_spiking)).add(rows)

        if call.path in wanted:
            tracing = True
            try:
                with torch.no_grad():
                    trace = membrane_trace(call.module, *call.args, **call.kwargs)  # type: ignore[arg-type]
            finally:
                tracing = False

            activity._pieces.setdefault(call.path, []).append(trace)

    with trace_calls(network, leave):
        yield activity


def _rows(call: Call) -> Tensor | None:
    """A layer's outputs with all axes of time and batch in one; None where it gave no tensor."""
    y = call.output[0] if type(call.output) is tuple and call.output else call.output
    if not isinstance(y, Tensor) or y.is_complex():
        return None

    y, num_axes = unwrap_vmap(y)
    if isinstance(call.module, Discretizer):
        num_axes += 2  # windows, steps in them, samples
    elif isinstance(call.module, Stateful):
        num_axes += 1  # steps, samples

    return y.flatten(0, num_axes) if y.ndim > num_axes else y.flatten().unsqueeze(1)


def membrane_trace(
    layer: Stateful, x: Float[Tensor, "T B *N"], state: Any = None, **modulation: Any
) -> Float[Tensor, "T B *N"]:
    """A layer's membrane after each step (after the reset where it fired).

    Args:
        layer: a layer whose state begins with its membrane.
        x: its input.
        state: of an earlier part of the stream, or None.
        modulation: as the layer takes it.

    Raises:
        ConfigError: the layer has no membrane.

    Example:
        >>> from spikebridge.neurons import IF
        >>> membrane_trace(IF(v_threshold=2.5), torch.ones(4, 1, 1)).flatten().tolist()
        [1.0, 2.0, 0.0, 1.0]
    """
    if state is None:
        state = layer.initial_state(x.new_zeros(x.shape[1:]))

    if not hasattr(state, "v"):
        raise ConfigError(f"{type(layer).__name__} has no membrane to trace; choose a layer of neurons")

    varying, constant = split_in_time(modulation, len(x), x.ndim)
    membranes = []
    for t, x_t in enumerate(x.unbind(0)):
        _, state = layer.step(x_t, state, **constant, **{name: values[t] for name, values in varying.items()})
        membranes.append(state.v)

    return torch.stack(membranes) if membranes else torch.empty_like(x)


def spikes_of_part(
    network: HybridNetwork, part: str, inputs: Mapping[str, Float[Tensor, "T B *N"]]
) -> Float[Tensor, "K B *M"]:
    """The output spikes of one part of a network in evaluation mode, at all its ticks.

    Args:
        network: a hybrid network.
        part: an SNN of it.
        inputs: by name; those that the network does not have are left out.

    Example:
        >>> from spikebridge.hybrid import Transmission, every
        >>> from spikebridge.neurons import IF, Sequential
        >>> parts, links = {"snn": Sequential(IF(v_threshold=2.0))}, [Transmission("x", "snn")]
        >>> network = HybridNetwork(dt=0.01, inputs={"x": every(0.01)}, parts=parts, links=links, outputs=["snn"])
        >>> spikes_of_part(network, "snn", {"x": torch.ones(4, 1, 1), "unused": torch.ones(4, 1, 1)}).flatten().tolist()
        [0.0, 1.0, 0.0, 1.0]
    """
    pieces: list[Tensor] = []
    hook = network.parts[part].register_forward_hook(lambda module, given, result: pieces.append(result[0]))

    try:
        with evaluating(network):
            network({name: inputs[name] for name in network.inputs})
    finally:
        hook.remove()

    return torch.cat(pieces)
