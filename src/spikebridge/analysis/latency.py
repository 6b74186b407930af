"""Latency of a network: wall time of its ticks, and the architectural latency in ticks.

The architectural latency comes from windows, clocks and delays, on any machine: the ticks from an input sample until
the first output that uses it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from spikebridge.analysis.hooks import evaluating
from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.hybrid import HybridNetwork, Since
from spikebridge.hybrid.network.graph import owner_of
from spikebridge.hybrid.network.link import Route


@dataclass(frozen=True)
class StepTimes:
    """Wall time of single ticks [s]."""

    median: float
    p99: float  # 99 of 100 ticks took less
    num_ticks: int


class TickLatency(NamedTuple):
    """Ticks from an input sample until the output that first uses it, over all samples of a period of the network."""

    shortest: int
    mean: float
    longest: int


def measure_steps(network: HybridNetwork, inputs: Mapping[str, Tensor], warmup: int = 10) -> StepTimes:
    """Runs a stream tick by tick and measures the wall time of each tick.

    Args:
        network: a hybrid network; it is in evaluation mode while it is measured.
        inputs: every input, `(K, B, *N)`; their ticks are the stream.
        warmup: ticks at the start that are not measured.

    Raises:
        ConfigError: the stream is not longer than the warm-up, or that is below 0.
    """
    if warmup < 0:
        raise ConfigError(f"warmup is a number of ticks, 0 or more, but is {warmup}")

    times = []
    with evaluating(network):
        state = network.initial_state(inputs)
        lengths = [clock.phase + len(inputs[name]) * clock.period for name, clock in network.inputs.items()]
        num_ticks = max(0, min(lengths))
        if num_ticks <= warmup:
            raise ConfigError(f"the inputs last {num_ticks} ticks, no more than the warm-up of {warmup}; give more")

        for tick in range(num_ticks):
            # the inputs that have a sample at this tick
            samples = {
                name: inputs[name][clock.count(tick)]
                for name, clock in network.inputs.items()
                if clock.count(tick + 1) > clock.count(tick)
            }

            start = perf_counter()
            _, state = network.step(samples, state)
            # a GPU computes after the call has returned
            if state.like.is_cuda:
                torch.cuda.synchronize(state.like.device)

            times.append(perf_counter() - start)

    seconds = np.array(times[warmup:])
    return StepTimes(float(np.median(seconds)), float(np.quantile(seconds, 0.99)), len(seconds))


def architectural_latency(network: HybridNetwork, source: str, output: str) -> TickLatency:
    """The ticks from a sample of an input until the first output that uses it, along any path through the network.

    Args:
        network: a hybrid network.
        source: the name of an input.
        output: the name of a part, or "part.key".

    Raises:
        ConfigError: there is no such input or part, or no path between them.

    Example:
        >>> from torch import nn
        >>> from spikebridge.hybrid import HybridUnit, Mean, Transmission, Tumbling, every
        >>> network = HybridNetwork(
        ...     dt=0.001,
        ...     inputs={"events": every(0.001)},
        ...     parts={"ann": nn.Identity()},
        ...     links=[Transmission("events", "ann", HybridUnit(Tumbling(4), Mean()))],
        ...     outputs=["ann"],
        ... )
        >>> architectural_latency(network, "events", "ann")  # the last of 4 waits 0 ticks, the first 3
        TickLatency(shortest=0, mean=1.5, longest=3)
    """
    if source not in network.inputs:
        raise ConfigError(f"there is no input {source!r}; {did_you_mean(source, network.inputs)}")

    part = owner_of(output, network.parts)
    if part not in network.parts:
        raise ConfigError(f"there is no part {output!r}; {did_you_mean(output, network.parts)}")

    clocks = [*network.plan.clocks.values(), *(route.clock for route in network.routes)]
    period = math.lcm(*(clock.period for clock in clocks))
    # after every phase and delay the network is periodic
    start = max(clock.phase for clock in clocks) + sum(route.delay for route in network.routes)
    waits = []

    for tick in network.clock_of(source).ticks(start, start + period):
        arrival = _first_use(network, source, tick).get(part)
        if arrival is None:
            raise ConfigError(f"no link leads from {source!r} to {output!r}, not even through other parts")
        waits.append(arrival - tick)

    return TickLatency(min(waits), sum(waits) / len(waits), max(waits))


def _first_use(network: HybridNetwork, source: str, tick: int) -> dict[str, int]:
    """The first tick at which each part gives an output that uses a sample of `source` from `tick`."""
    first = {source: tick}
    queue = {source}
    while queue:
        # the earliest signal is final (Dijkstra)
        signal = min(queue, key=first.__getitem__)
        queue.remove(signal)

        for route in network.routes:
            for stamp in _stamps(network, route, signal, first[signal]):
                target = route.link.part
                arrival = network.clock_of(target).next(stamp + route.delay)
                if arrival < first.get(target, arrival + 1):
                    first[target] = arrival
                    queue.add(target)

    return first


def _stamps(network: HybridNetwork, route: Route, signal: str, tick: int) -> list[int]:
    """The first ticks at which a link gives a value that uses a signal's value of a tick, for each of its roles."""
    link = route.link
    unit = link.unit
    parts = network.parts
    stamps = []
    # values spread over a window (Hold, latency codes) begin with the tick at which the window closes
    if owner_of(link.source, parts) == signal:
        stamps.append(tick if unit is None else unit.window_clock(network.clock_of(signal)).next(tick))

    if link.context is not None and owner_of(link.context, parts) == signal and unit is not None:
        stamps.append(unit.window_clock(network.clock_of(link.source)).next(tick))

    if unit is not None and isinstance(unit.window, Since) and owner_of(unit.window.trigger, parts) == signal:
        stamps.append(network.clock_of(link.source).next(tick))

    return stamps
