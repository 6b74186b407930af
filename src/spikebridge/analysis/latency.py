"""Wall time of the ticks of a network."""

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridNetwork
from spikebridge.ops.modes import evaluating


@dataclass(frozen=True)
class StepTimes:
    """Wall time of single ticks [s]."""

    median: float
    p99: float  # 99 of 100 ticks took less
    num_ticks: int


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
