"""Activity of a network on real inputs: spikes, rates, sizes of activations, membranes, and wakes of parts."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.analysis.hooks import Call, is_layer, trace_calls, unwrap_vmap
from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.hybrid import Discretizer, HybridNetwork, Wake
from spikebridge.hybrid.network.link import AWAKE, wake_of
from spikebridge.neurons import Stateful
from spikebridge.neurons.base import split_in_time
from spikebridge.ops.modes import evaluating


@dataclass
class LayerActivity:
    """The outputs of one layer over a run."""

    path: str
    layer: str  # its class
    is_spiking: bool = False
    num_values: int = 0  # neurons times steps times samples
    largest: float = float("-inf")
    _sum: float = 0.0  # of the absolute values
    _num_nonzero: int = 0
    _is_integral: bool = True
    _active: dict[torch.Size, Tensor] = field(default_factory=dict)  # neurons, by shape of the layer

    @property
    def kind(self) -> Literal["spikes", "values"]:
        """Spikes, if a layer of neurons or a discretizer gave only integers; else values."""
        return "spikes" if self.is_spiking and self._is_integral else "values"

    @property
    def num_spikes(self) -> int:
        """All spikes of the run, 0 for a layer that does not spike; a value of 2 or -2 is two spikes."""
        return round(self._sum) if self.kind == "spikes" else 0

    @property
    def rate(self) -> float:
        """Spikes a neuron and step; 0 for a layer that does not spike."""
        return self.num_spikes / self.num_values if self.num_values else 0.0

    @property
    def mean_magnitude(self) -> float:
        return self._sum / self.num_values if self.num_values else 0.0

    @property
    def share_nonzero(self) -> float:
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
        self._is_integral = self._is_integral and bool((values == values.round()).all())
        active = (values != 0).any(0)
        # a layer may run at several sizes
        earlier = self._active.get(active.shape)
        self._active[active.shape] = active if earlier is None else earlier | active


@dataclass
class Activity:
    """The outputs of all layers over a run, by path, in the order of their first call."""

    layers: dict[str, LayerActivity] = field(default_factory=dict)

    def __getitem__(self, path: str) -> LayerActivity:
        if path not in self.layers:
            raise ConfigError(f"no layer {path!r} has run; {did_you_mean(path, self.layers)}")
        return self.layers[path]


@contextmanager
def record_activity(network: nn.Module) -> Iterator[Activity]:
    """Records the output of every layer inside the block; the results of the network do not change.

    Args:
        network: a hybrid network or any module.

    Example:
        >>> from spikebridge.neurons import IF, Sequential
        >>> network = Sequential(fire=IF(v_threshold=2.0))
        >>> with record_activity(network) as activity:
        ...     _ = network(torch.ones(4, 1, 3))
        >>> activity["fire"].num_spikes, activity["fire"].rate
        (6, 0.5)
    """
    activity = Activity()

    def record(call: Call) -> None:
        if not is_layer(call.module):
            return

        rows = _rows(call)
        if rows is None or rows.numel() == 0:
            return

        is_spiking = isinstance(call.module, Stateful | Discretizer)
        name = type(call.module).__name__
        activity.layers.setdefault(call.path, LayerActivity(call.path, name, is_spiking)).add(rows)

    with trace_calls(network, record):
        yield activity


def _rows(call: Call) -> Tensor | None:
    """A layer's outputs with all axes of time and batch in one; None if it gave no tensor."""
    y = call.signals.get("")
    if y is None or y.is_complex():
        return None

    y, num_axes = unwrap_vmap(y)
    # the axis of samples is the last of these; a discretizer has windows and steps in them before it, a layer steps
    if isinstance(call.module, Discretizer):
        num_axes += 2
    elif isinstance(call.module, Stateful):
        num_axes += 1

    return y.flatten(0, num_axes) if y.ndim > num_axes else y.flatten().unsqueeze(1)


def membrane_trace(
    layer: Stateful, x: Float[Tensor, "T B *N"], state: Any = None, **modulation: Any
) -> Float[Tensor, "T B *N"]:
    """A layer's membrane after each step (after the reset if it fired).

    Args:
        layer: a layer whose state begins with its membrane.
        x: the input of the layer.
        state: the state after an earlier part of the stream, or None.
        modulation: modulated quantities, as the layer takes them.

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

    # step by step: a call of the layer returns the last membrane only
    varying, constant = split_in_time(modulation, len(x), x.ndim)
    membranes = []
    for t, x_t in enumerate(x.unbind(0)):
        _, state = layer.step(x_t, state, **constant, **{name: values[t] for name, values in varying.items()})
        membranes.append(state.v)

    return torch.stack(membranes) if membranes else torch.empty_like(x)


def spikes_of_part(
    network: HybridNetwork, part: str, inputs: Mapping[str, Float[Tensor, "T B *N"]]
) -> Float[Tensor, "K B *M"]:
    """The output spikes of an SNN of a network in evaluation mode, `(K, B, *M)` at all its ticks.

    Inputs that the network does not have are ignored.
    """
    pieces: list[Tensor] = []
    hook = network.parts[part].register_forward_hook(lambda module, args, result: pieces.append(result[0]))

    try:
        with evaluating(network):
            network({name: inputs[name] for name in network.inputs})
    finally:
        hook.remove()

    return torch.cat(pieces)


@dataclass(frozen=True)
class Waking:
    """The recorded wakes of a part, as means over the samples of a run.

    Args:
        share: of its ticks awake.
        num_wakes: wakes a sample, counting one at its first tick.
        num_replayed: samples run over again at waking.
        seconds: length of the run [s].
    """

    share: float
    num_wakes: float
    num_replayed: float
    seconds: float

    @property
    def wakes_an_hour(self) -> float:
        """Wakes in an hour of signal."""
        return 3600 * self.num_wakes / self.seconds


def with_flags(network: HybridNetwork) -> HybridNetwork:
    """The network, sharing its modules, with "part.awake" of every part that has a wake among its outputs."""
    flags = [wake_of(route).awake for route in network.plan.wakes.values()]
    missing = [name for name in flags if name not in network.outputs]
    if not missing:
        return network

    watched = copy(network)
    watched.outputs = (*network.outputs, *missing)
    return watched


def wakes_of(network: HybridNetwork, outputs: Mapping[str, Tensor], seconds: float) -> dict[str, Waking]:
    """The wakes by part, from the outputs of a run of `with_flags(network)` of some length [s]."""
    wakes = {}
    for part, route in network.plan.wakes.items():
        wake = wake_of(route)
        mask = outputs[wake.awake][:, :, 0] >= AWAKE
        if mask.numel():
            wakes[part] = _waking(wake, mask, seconds)

    return wakes


def _waking(wake: Wake, mask: Tensor, seconds: float) -> Waking:
    num_wakes = 0
    num_replayed = 0
    for flags in mask.T.tolist():
        asleep = 0
        for tick, awake in enumerate(flags):
            if awake and (asleep or tick == 0):
                num_wakes += 1
                num_replayed += min(wake.replay, tick if wake.state == "reset" else asleep)
            asleep = 0 if awake else asleep + 1

    batch = mask.shape[1]
    return Waking(float(mask.double().mean()), num_wakes / batch, num_replayed / batch, seconds)
