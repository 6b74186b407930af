"""A replay of a hybrid network: spikes, membranes, outputs of units and parts on one time line."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from spikebridge.analysis.activity import with_flags
from spikebridge.analysis.hooks import Call, display_path, is_layer, trace_calls, unwrap_vmap
from spikebridge.analysis.replay.lanes import Lane, Spikes, Traces, hold_last
from spikebridge.analysis.replay.replay import Replay
from spikebridge.analysis.summary import kind_of
from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.hybrid import HybridNetwork, HybridUnit
from spikebridge.hybrid.clock import count_ticks
from spikebridge.hybrid.network.delivery import split_inputs
from spikebridge.hybrid.network.graph import owner_of
from spikebridge.hybrid.network.link import wake_of
from spikebridge.neurons import Stateful
from spikebridge.ops.modes import evaluating

_MAX_LANES = 16
_MAX_MEMBRANES = 4
_Rows: TypeAlias = dict[int, NDArray[Any]]  # the values of one sample by tick


@dataclass
class _Record:
    """The outputs and membranes of one module, at the ticks at which it ran."""

    outputs: _Rows = field(default_factory=dict)
    membranes: _Rows = field(default_factory=dict)


def record_network(
    network: HybridNetwork,
    inputs: Mapping[str, Float[Tensor, "K B *N"]],
    sample: int = 0,
    layers: Sequence[str] | None = None,
    name: str = "hybrid network",
) -> Replay:
    """Runs a network tick by tick: lanes of spikes and membranes of each layer of neurons, traces of units and outputs.

    The flags of each part with a wake are a lane, too.

    Args:
        network: the network; it is not changed.
        inputs: `(K, B, *N)` each, as for a call.
        sample: the index of the recorded sample in the batch.
        layers: paths of the layers of neurons to show, such as "where.lif"; all by default, up to 16 lanes in all.
        name: of the replay.

    Raises:
        ConfigError: no such sample or layer.
        ShapeError: the samples of an input are not those of whole ticks.
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

    records, outputs, num_ticks = _run(network, inputs, sample)
    lanes = []
    for path in stateful:
        if path in records and (layers is None or path in layers):
            lanes += _layer_lanes(path, records[path], num_ticks)

    units = {f"unit {route.name}": f"units.{route.name}" for route in network.routes}
    rows = {words: records[path].outputs for words, path in units.items() if path in records}

    flags = {wake_of(route).awake for route in network.plan.wakes.values()}
    for signal, values in outputs.items():
        if signal in flags:
            rows[signal] = values
            continue

        # the only output of a spiking part is the spikes of its last layer
        part = owner_of(signal, network.parts)
        if signal != part or kind_of(network.parts[part]) != "SNN":
            rows[f"output of {signal}"] = values

    lanes += [_value_lane(words, values, num_ticks) for words, values in rows.items() if values]
    return Replay(name, lanes[:_MAX_LANES], network.dt, word="tick")


def _run(
    network: HybridNetwork, inputs: Mapping[str, Tensor], sample: int
) -> tuple[dict[str, _Record], dict[str, _Rows], int]:
    """The records of layers and units by path, the outputs of the network by name, and the number of ticks."""
    records: defaultdict[str, _Record] = defaultdict(_Record)
    watched = with_flags(network)
    outputs: dict[str, _Rows] = {name: {} for name in watched.outputs}
    tick = 0

    def record(call: Call) -> None:
        # layers of neurons and units give their output (T, B, *N) and their state
        if not isinstance(call.module, Stateful | HybridUnit) or not isinstance(call.output, tuple):
            return

        y, state = call.output
        v = getattr(state, "v", None)
        # of a part with several outputs they are outputs of the network
        if isinstance(y, Tensor) and y.numel():
            records[call.path].outputs[tick] = _row(y[-1], sample)
        if isinstance(v, Tensor) and v.numel():
            records[call.path].membranes[tick] = _row(v, sample)

    with evaluating(network), trace_calls(network, record):
        state = network.initial_state(inputs)
        num_ticks = count_ticks(network.inputs, {name: len(x) for name, x in inputs.items()}, 0, None, network.dt)
        for tick, samples in enumerate(split_inputs(network.inputs, inputs, range(num_ticks + 1))):
            y, state = watched(samples, state, ticks=1)
            for name, value in y.items():
                if value.numel():
                    outputs[name][tick] = _row(value[-1], sample)

    return records, outputs, num_ticks


def _row(values: Tensor, sample: int) -> NDArray[Any]:
    """The values `(B, *N)` of one sample, flat; inside `vmap` the sample has an axis of its own in front."""
    return unwrap_vmap(values)[0][sample].flatten().float().cpu().numpy()


def _dense(rows: _Rows, num_ticks: int, held: bool = False) -> NDArray[Any]:
    """`(T, N)`; ticks without a row are NaN, or hold the row before."""
    dense = np.full((num_ticks, len(next(iter(rows.values())))), np.nan)
    for tick, row in rows.items():
        dense[tick] = row

    return hold_last(dense, np.isin(np.arange(num_ticks), list(rows))) if held else dense


def _layer_lanes(path: str, record: _Record, num_ticks: int) -> list[Lane]:
    """The spikes of a layer, or its values if they are no spikes, and its membranes."""
    lanes: list[Lane] = []
    busiest: list[int] = []

    if record.outputs:
        values = _dense(record.outputs, num_ticks)
        finite = values[np.isfinite(values)]
        if finite.size and (finite == finite.round()).all():
            spikes = np.nan_to_num(values)
            lanes.append(Spikes(f"{path}: spikes", np.sign(spikes)))
            activity = np.count_nonzero(spikes, axis=0)
            busiest = sorted(np.argsort(-activity, kind="stable")[:_MAX_MEMBRANES].tolist())
        else:
            lanes.append(_value_lane(f"{path}: values", record.outputs, num_ticks))

    if record.membranes:
        # a layer at a slower clock keeps its membrane between its ticks
        v = _dense(record.membranes, num_ticks, held=True)
        neurons = busiest or range(min(v.shape[1], _MAX_MEMBRANES))
        lanes.append(Traces(f"{path}: membranes", {str(n): v[:, n] for n in neurons}))

    return lanes


def _value_lane(name: str, rows: _Rows, num_ticks: int) -> Traces:
    """Values that hold until the next one."""
    values = _dense(rows, num_ticks, held=True)
    return Traces(name, {str(n): values[:, n] for n in range(values.shape[1])}, steps=True)
