"""A replay of a hybrid network: spikes, membranes, outputs of units and parts on one time line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from spikebridge.analysis.hooks import Call, display_path, evaluating, is_layer, trace_calls, unwrap_vmap
from spikebridge.analysis.replay.lanes import Lane, Spikes, Traces, hold_last
from spikebridge.analysis.replay.replay import Replay
from spikebridge.analysis.summary import kind_of
from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.hybrid import HybridNetwork, HybridUnit
from spikebridge.hybrid.clock import count_ticks
from spikebridge.hybrid.network.delivery import split_inputs
from spikebridge.hybrid.network.graph import owner_of
from spikebridge.neurons import Stateful

_MAX_LANES = 16
_MAX_MEMBRANES = 4


@dataclass
class _Recorded:
    """What one module gave at each tick: a row, or None where it had no tick."""

    outputs: dict[int, NDArray[Any]] = field(default_factory=dict)
    membranes: dict[int, NDArray[Any]] = field(default_factory=dict)


def record_network(
    network: HybridNetwork,
    inputs: Mapping[str, Float[Tensor, "K B *N"]],
    sample: int = 0,
    layers: Sequence[str] | None = None,
    name: str = "hybrid network",
) -> Replay:
    """Runs a network tick by tick and keeps what its layers, units and parts give.

    Args:
        network: the network; it is not changed.
        inputs: `(K, B, *N)` each, as for a call.
        sample: which one of the batch is kept.
        layers: paths of the layers of neurons to show, such as "where.lif"; all by default, up to 16 lanes in all.
        name: of the replay.

    Returns:
        A lane of spikes and one of membranes for each layer of neurons, one of traces for each unit and output.

    Raises:
        ConfigError: no such sample or layer.
        ShapeError: the samples of an input are not those of whole ticks.

    Example:
        >>> import torch
        >>> from spikebridge.hybrid import Transmission, every
        >>> from spikebridge.neurons import IF
        >>> network = HybridNetwork(dt=0.001, inputs={"x": every(0.001)}, parts={"snn": IF(v_threshold=2.0)},
        ...                         links=[Transmission("x", "snn")], outputs=["snn"])
        >>> replay = record_network(network, {"x": torch.ones(4, 1, 1)})
        >>> [(lane.name, lane.note) for lane in replay.lanes]
        [('snn: spikes', '1 neuron, 2 spikes'), ('snn: membranes', '0 to 1')]
    """
    batch = next((x.shape[1] for x in inputs.values()), 0)
    if not 0 <= sample < batch:
        raise ConfigError(f"sample {sample} of a batch of {batch} is not there; choose one from 0 to {batch - 1}")

    stateful = [
        display_path(network, path) for path, m in network.named_modules() if isinstance(m, Stateful) and is_layer(m)
    ]
    for path in layers or ():
        if path not in stateful:
            raise ConfigError(f"there is no layer of neurons {path!r}; {did_you_mean(path, stateful)}")

    recorded, outputs, num_ticks = _run(network, inputs, sample)
    chosen = [path for path in stateful if path in recorded and (layers is None or path in layers)]
    lanes = [lane for path in chosen for lane in _layer_lanes(path, recorded[path], num_ticks)]

    values = {
        f"unit {route.name}": recorded[path].outputs
        for route in network.routes
        if (path := f"units.{route.name}") in recorded
    }

    # the output of a spiking part is the spikes of its last layer
    values |= {
        f"output of {signal}": rows
        for signal, rows in outputs.items()
        if kind_of(network.parts[owner_of(signal, network.parts)]) != "SNN"
    }

    lanes += [_value_lane(words, rows, num_ticks) for words, rows in values.items() if rows]
    return Replay(name, lanes[:_MAX_LANES], network.dt, word="tick")


def _run(
    network: HybridNetwork, inputs: Mapping[str, Tensor], sample: int
) -> tuple[dict[str, _Recorded], dict[str, dict[int, NDArray[Any]]], int]:
    """What layers and units gave, by path, the outputs of the network by name, and the number of ticks."""
    recorded: dict[str, _Recorded] = {}
    outputs: dict[str, dict[int, NDArray[Any]]] = {name: {} for name in network.outputs}
    tick = 0

    def keep(call: Call) -> None:
        # layers of neurons and units give their output (T, B, *N) and their state
        if not isinstance(call.module, Stateful | HybridUnit) or not isinstance(call.output, tuple):
            return

        y, state = call.output
        one = recorded.setdefault(call.path, _Recorded())
        if y.numel():
            one.outputs[tick] = _row(y[-1], sample)

        if isinstance(v := getattr(state, "v", None), Tensor) and v.numel():
            one.membranes[tick] = _row(v, sample)

    with evaluating(network), trace_calls(network, keep):
        state = network.initial_state(inputs)
        num_ticks = count_ticks(network.inputs, {name: len(x) for name, x in inputs.items()}, 0, None, network.dt)
        for tick, now in enumerate(split_inputs(network.inputs, inputs, range(num_ticks + 1))):
            given, state = network(now, state, ticks=1)
            for name, y in given.items():
                if y.numel():
                    outputs[name][tick] = _row(y[-1], sample)

    return recorded, outputs, num_ticks


def _row(values: Tensor, sample: int) -> NDArray[Any]:
    """The values `(B, *N)` of one sample, flat; inside of `vmap` the sample has an axis of its own in front."""
    return unwrap_vmap(values)[0][sample].flatten().float().cpu().numpy()


def _dense(rows: Mapping[int, NDArray[Any]], num_ticks: int, held: bool = False) -> NDArray[Any]:
    """`(T, N)`; ticks without a row are NaN, or hold the row before."""
    width = len(next(iter(rows.values())))
    dense = np.full((num_ticks, width), np.nan)
    for tick, row in rows.items():
        dense[tick] = row

    return hold_last(dense, np.isin(np.arange(num_ticks), list(rows))) if held else dense


def _layer_lanes(path: str, one: _Recorded, num_ticks: int) -> list[Lane]:
    """Spikes of a layer, or its values where they are none, and its membranes."""
    lanes: list[Lane] = []
    busiest: list[int] = []

    if one.outputs:
        values = _dense(one.outputs, num_ticks)
        known = values[np.isfinite(values)]
        if known.size and (known == known.round()).all():
            spikes = np.nan_to_num(values)
            lanes.append(Spikes(f"{path}: spikes", np.sign(spikes)))
            activity = np.count_nonzero(spikes, axis=0)
            busiest = sorted(np.argsort(-activity, kind="stable")[:_MAX_MEMBRANES].tolist())
        else:
            lanes.append(_value_lane(f"{path}: values", one.outputs, num_ticks))

    if one.membranes:
        v = _dense(one.membranes, num_ticks, held=True)
        chosen = busiest or list(range(min(v.shape[1], _MAX_MEMBRANES)))
        lanes.append(Traces(f"{path}: membranes", {str(n): v[:, n] for n in chosen}))

    return lanes


def _value_lane(name: str, rows: Mapping[int, NDArray[Any]], num_ticks: int) -> Traces:
    """Values that hold until the next one."""
    values = _dense(rows, num_ticks, held=True)
    return Traces(name, {str(n): values[:, n] for n in range(values.shape[1])}, steps=True)
