"""Units and networks read no number from a tensor in any forward pass: on a GPU, that would wait for all its work."""

import pytest
import torch
from test_contract import BATCH, STEPS, UNITS, flags, make, signal
from torch import nn

from device_reads import reads_of
from spikebridge.coding import BernoulliEncoder, DeltaEncoder, LatencyEncoder, RateEncoder
from spikebridge.errors import ConfigError, DataError
from spikebridge.hybrid import (
    Exponential,
    HybridNetwork,
    HybridUnit,
    Mean,
    Modulation,
    Since,
    Sum,
    Transmission,
    Tumbling,
    Wake,
    every,
    ticks,
)
from spikebridge.neurons import LIF, Sequential
from spikebridge.ops.checks import checks, without_value_checks


@pytest.mark.parametrize("case", UNITS, ids=lambda case: "-".join(map(str, case)))
def test_no_unit_reads_a_number(case: tuple[str, str, bool, str]) -> None:
    unit = make(*case)
    x = signal()
    starts = flags(make(*case))
    _, state = unit(x, starts=starts)

    assert reads_of(lambda: unit(x, starts=starts)) == 0
    assert reads_of(lambda: unit(x, state, starts=starts)) == 0
    assert reads_of(lambda: unit(x[:1], state, starts=None if starts is None else starts[:1])) == 0


@pytest.mark.parametrize("encoder", [RateEncoder(4), LatencyEncoder(4), BernoulliEncoder(4), DeltaEncoder(0.1)])
def test_no_coding_scheme_reads_a_number(encoder: HybridUnit) -> None:
    x = torch.rand(3, BATCH, 2)
    assert reads_of(lambda: encoder.decoder()(encoder(x)[0])) == 0


def looped(trigger: torch.dtype) -> tuple[HybridNetwork, dict[str, torch.Tensor]]:
    """Two parts in a loop of transmission and modulation, with windows that start at frames."""
    parts = {"snn": Sequential(fc=nn.Linear(4, 4), lif=LIF(0.01, dt=0.001)), "ann": nn.Linear(4, 4)}
    links = [
        Transmission("events", "snn"),
        Transmission("snn", "ann", HybridUnit(Since("frames"), Exponential(0.01, dt=0.001, keep=True, learn="tau"))),
        Modulation("ann", "snn.lif.v_threshold", HybridUnit(None, None, nn.Softplus()), delay=ticks(3)),
        Transmission("snn", "rate", HybridUnit(Tumbling(4), Mean())),
        Transmission("frames", "seen", HybridUnit(None, Sum()) if trigger is torch.float32 else None, held=True),
    ]

    inputs = {"events": every(0.001), "frames": every(0.004)}
    parts |= {"rate": nn.Identity(), "seen": nn.Identity()}
    if trigger is torch.bool:
        links.pop()
        parts.pop("seen")

    network = HybridNetwork(
        dt=0.001,
        inputs=inputs,
        parts=parts,
        links=links,
        outputs=["ann", "rate"],
        clocks={"seen": every(0.001)} if trigger is torch.float32 else {},
    )

    frames = torch.rand(STEPS // 4 + 1, BATCH, 2) if trigger is torch.float32 else torch.ones(4, BATCH) > 0
    return network, {"events": torch.rand(STEPS, BATCH, 4), "frames": frames}


@pytest.mark.parametrize("trigger", [torch.float32, torch.bool])
@pytest.mark.parametrize("training", [False, True])
def test_no_network_reads_a_number(trigger: torch.dtype, training: bool) -> None:
    network, inputs = looped(trigger)
    network.train(training)
    network(inputs)

    assert reads_of(lambda: network(inputs)) == 0

    state = network.initial_state(inputs)
    first = {name: x[0] for name, x in inputs.items()}
    _, after = network.step(first, state)

    assert reads_of(lambda: network.step(first, state)) == 0
    assert reads_of(lambda: network.step({"events": first["events"]}, after)) == 0

    _, state = network({name: x[:3] if name == "events" else x[:1] for name, x in inputs.items()}, ticks=3)
    assert reads_of(lambda: network({"events": inputs["events"][3:4]}, state)) == 0


@pytest.mark.parametrize("state", ["keep", "leak", "reset"])
@pytest.mark.parametrize("training", [False, True])
def test_no_part_with_a_wake_reads_a_flag_where_all_samples_are_computed(state: str, training: bool) -> None:
    replay = 0 if state == "keep" else 2
    network = HybridNetwork(
        dt=0.001,
        inputs={"events": every(0.001)},
        parts={"guard": nn.Linear(4, 1), "snn": Sequential(fc=nn.Linear(4, 3), lif=LIF(0.01)), "ann": nn.Linear(3, 2)},
        links=[
            Transmission("events", "guard"),
            Transmission("events", "snn"),
            Transmission("snn", "ann", HybridUnit(None, Sum()), held=True),
            Wake("guard", "snn", state=state, replay=replay, asleep="none", gather=False, stay=ticks(2)),
            Wake("guard", "ann", HybridUnit(None, None, nn.Sigmoid()), gather=False),
        ],
        outputs=["ann", "snn.awake"],
        clocks={"ann": every(0.001)},
    ).train(training)
    inputs = {"events": torch.rand(STEPS, BATCH, 4)}
    first = {"events": inputs["events"][0]}
    # flags on a CPU are checked for NaN, those on a GPU are not
    with without_value_checks():
        _, after = network.step(first, network.initial_state(inputs))
        assert reads_of(lambda: network(inputs)) == 0
        assert reads_of(lambda: network.step(first, after)) == 0


def test_values_are_checked_where_a_stream_begins_or_always() -> None:
    encoder = RateEncoder(2)
    x = torch.tensor([0.5, torch.nan]).reshape(2, 1, 1)
    with pytest.raises(DataError, match="RateEncoder needs finite values, but 1 of 2"):
        encoder(x)

    _, state = encoder(x[:1])
    encoder(x[1:], state)
    with checks("always"), pytest.raises(DataError, match="RateEncoder needs finite values, but 1 of 1"):
        encoder(x[1:], state)


def test_a_nonlinearity_that_works_in_place_is_refused_where_a_stream_begins() -> None:
    unit = HybridUnit(None, None, nn.ReLU(inplace=True))
    with pytest.raises(ConfigError, match="ReLU writes into its input, which others read, too"):
        unit(torch.ones(2, 1, 1))
