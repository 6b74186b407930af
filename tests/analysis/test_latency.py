"""Wall time of ticks."""

import pytest
from torch import Tensor

from spikebridge.analysis import measure_steps
from spikebridge.errors import ConfigError
from spikebridge.hybrid import HybridNetwork


def test_every_tick_is_measured_after_the_warm_up(network: HybridNetwork, inputs: dict[str, Tensor]) -> None:
    network.train()
    times = measure_steps(network, inputs, warmup=4)

    assert times.num_ticks == 20
    assert 0 < times.median <= times.p99 < 1
    assert network.training

    with pytest.raises(ConfigError, match="last 24 ticks, no more than the warm-up of 24"):
        measure_steps(network, inputs, warmup=24)

    with pytest.raises(ConfigError, match="warmup is a number of ticks, 0 or more, but is -1"):
        measure_steps(network, inputs, warmup=-1)

    with pytest.raises(ConfigError, match=r"takes its inputs by name, .* but got a Tensor"):
        measure_steps(network, next(iter(inputs.values())))
