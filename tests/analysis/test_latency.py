"""Latency by the wall and by clocks."""

import pytest
from torch import Tensor, nn

from spikebridge.analysis import architectural_latency, measure_steps
from spikebridge.errors import ConfigError
from spikebridge.hybrid import (
    Exponential,
    Hold,
    HybridNetwork,
    HybridUnit,
    Last,
    Mean,
    Since,
    Sliding,
    Transmission,
    Tumbling,
    every,
    ticks,
)
from spikebridge.neurons import IF


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


def test_windows_held_values_and_delays_by_hand(network: HybridNetwork) -> None:
    # an event at tick 0 is in the window that closes at 5 and is read at 6; one at 5 is read at 6 too
    assert architectural_latency(network, "events", "what") == (1, 3.5, 6)
    assert architectural_latency(network, "events", "where") == (0, 0.0, 0)
    assert architectural_latency(network, "frames", "what") == (0, 0.0, 0)

    # the modulation comes one tick after its frame
    assert architectural_latency(network, "frames", "where") == (1, 1.0, 1)


def chain(unit: HybridUnit, period: int = 1, phase: int = 0, **link: object) -> HybridNetwork:
    return HybridNetwork(
        dt=1.0,
        inputs={"x": every(period, phase)} | ({"frames": every(10.0)} if isinstance(unit.window, Since) else {}),
        parts={"snn": IF()},
        links=[Transmission("x", "snn", unit, **link)],  # type: ignore[arg-type]
        outputs=["snn"],
    )


def test_windows_by_hand() -> None:
    assert architectural_latency(chain(HybridUnit(Sliding(4, 2), Mean())), "x", "snn") == (0, 0.5, 1)
    assert architectural_latency(chain(HybridUnit(Tumbling(3), None, None, Last())), "x", "snn") == (0, 1.0, 2)
    assert architectural_latency(chain(HybridUnit(Hold(3)), period=6, phase=2), "x", "snn") == (0, 0.0, 0)

    running = HybridUnit(Tumbling(5), Exponential(2.0, dt=1.0, keep=True))
    assert architectural_latency(chain(running, delay=ticks(3)), "x", "snn") == (3, 3.0, 3)


def test_a_trigger_and_a_context_are_used_too() -> None:
    network = chain(HybridUnit(Since("frames"), Mean()), period=4, phase=1)
    # a frame at tick 10 is met by the step at 13, one at 20 by 21
    assert architectural_latency(network, "frames", "snn") == (1, 2.0, 3)

    class Beside(nn.Module):
        def forward(self, x: Tensor, context: Tensor) -> Tensor:
            return x + context

    network = HybridNetwork(
        dt=1.0,
        inputs={"x": every(1.0), "frames": every(4.0)},
        parts={"ann": nn.Identity()},
        links=[Transmission("x", "ann", HybridUnit(Tumbling(4), Mean(), Beside()), context="frames")],
        outputs=["ann"],
    )

    assert architectural_latency(network, "frames", "ann") == (3, 3.0, 3)


def apart() -> HybridNetwork:
    return HybridNetwork(
        dt=1.0,
        inputs={"x": every(1.0), "frames": every(1.0)},
        parts={"alone": IF(), "snn": IF()},
        links=[Transmission("x", "alone"), Transmission("frames", "snn")],
        outputs=["alone", "snn"],
    )


def test_missing_ways_are_named(network: HybridNetwork) -> None:
    with pytest.raises(ConfigError, match="no input 'event'; did you mean 'events'"):
        architectural_latency(network, "event", "what")

    with pytest.raises(ConfigError, match="no part 'wat'"):
        architectural_latency(network, "events", "wat")

    with pytest.raises(ConfigError, match="no link leads from 'frames' to 'alone'"):
        architectural_latency(apart(), "frames", "alone")
