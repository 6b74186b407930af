"""Samples that begin again or stand still while the others of their batch run on."""

import pytest
import torch
from random_graphs import build, piece, random_graph, signals
from test_random_networks import TICKS, assert_same_bits
from torch import Tensor, nn

from spikebridge.errors import ConfigError, ShapeError, SpikebridgeError
from spikebridge.hybrid import (
    Exponential,
    HybridNetwork,
    HybridUnit,
    Initialisation,
    Mean,
    Modulation,
    Transmission,
    Tumbling,
    every,
    restart,
    run_lengths,
    ticks,
)
from spikebridge.neurons import LIF, Integrator, Sequential

pytestmark = pytest.mark.untyped
HALF = torch.tensor([True, False, True])


def loop() -> HybridNetwork:
    """Two parts in a loop with a window, a delay and a modulation, whose clocks repeat after 2 ticks."""
    torch.manual_seed(0)
    mean = HybridUnit(Tumbling(2), Mean(), nn.Linear(3, 2))
    links = [
        Transmission("x", "snn"),
        Transmission("snn", "ann", mean),
        Transmission("ann", "ann2", HybridUnit(None, Exponential(tau=0.01)), held=True, delay=ticks(3), initial=0.5),
        Modulation("ann", "snn.lif.r", HybridUnit(None, None, nn.Linear(2, 1)), by="add", delay=ticks(1)),
    ]
    network = HybridNetwork(
        dt=0.001,
        inputs={"x": every(0.001)},
        parts={"snn": Sequential(fc=nn.Linear(2, 3), lif=LIF(tau=0.01)), "ann": nn.Tanh(), "ann2": nn.Linear(2, 2)},
        links=links,
        outputs=["snn", "ann", "ann2"],
        clocks={"ann2": every(0.001)},
    )
    return network.double().eval()


def noise(number: int) -> Tensor:
    return torch.randn(number, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_a_sample_that_begins_again_gives_what_a_new_stream_gives() -> None:
    network = loop()
    x = noise(18)
    _, state = network({"x": x[:8]})
    outputs, _ = network({"x": x[8:]}, restart(network, state, HALF), exact=True)
    fresh, _ = network({"x": x[8:]}, exact=True)
    on, _ = network({"x": x[8:]}, state, exact=True)

    for name, y in outputs.items():
        torch.testing.assert_close(y[:, HALF], fresh[name][:, HALF])
        assert torch.equal(y[:, ~HALF], on[name][:, ~HALF])


@pytest.mark.parametrize("tick", [1, 7, 12])
def test_at_any_tick_of_any_network_the_others_stay_the_same_to_the_bit(tick: int) -> None:
    for seed in range(12):
        graph = random_graph(seed, wakes=True)
        network = build(graph)
        inputs = signals(graph, TICKS, batch=3)
        begin = network.initial_state({name: x[:0] for name, x in inputs.items()})
        _, state = network(piece(graph, inputs, 0, tick), begin, tick)
        rest = piece(graph, inputs, tick, TICKS)
        try:
            restarted = restart(network, state, HALF)
        except ConfigError as error:
            assert "cannot be taken back" in str(error)
            continue

        outputs, _ = network(rest, restarted, TICKS - tick)
        on, _ = network(rest, state, TICKS - tick)
        assert_same_bits(seed, *({name: y[:, ~HALF] for name, y in one.items()} for one in (outputs, on)))


@pytest.mark.parametrize("state", ["reset to a value", "replaced quantity"])
def test_a_value_that_cannot_be_taken_back_is_named(state: str) -> None:
    link = {
        "reset to a value": Initialisation("start", "sum.v", delay=ticks(1)),
        "replaced quantity": Modulation("start", "sum.r", by="replace"),
    }[state]
    network = HybridNetwork(
        dt=1.0,
        inputs={"x": every(1.0), "start": every(3.0)},
        parts={"sum": Integrator(tau=float("inf"))},
        links=[Transmission("x", "sum"), link],
        outputs=["sum"],
    )
    _, now = network({"x": torch.ones(4, 3, 1), "start": torch.ones(2, 3, 1)})
    with pytest.raises(
        ConfigError, match=r"'start' -> 'sum\..' (sets a state|replaces a quantity), and its last value"
    ):
        restart(network, now, HALF)
    _, now = network({"x": torch.ones(2, 3, 1)}, now)
    assert restart(network, now, HALF).parts["sum"].v[0].item() == 0


@pytest.mark.parametrize("samples", [torch.ones(3), torch.tensor([True]), [True, False, True]])
def test_flags_of_another_shape_or_kind_are_refused(samples: object) -> None:
    network = loop()
    _, state = network({"x": noise(4)})
    with pytest.raises(ShapeError, match=r"restart needs flags \(3,\)"):
        restart(network, state, samples)  # type: ignore[arg-type]


def test_a_finished_sample_resumes_at_its_end() -> None:
    network = loop()
    x = noise(20)
    lengths = torch.tensor([10, 6, 8])
    outputs, state = run_lengths(network, {"x": x[:10]}, lengths)
    later, _ = network({"x": x[10:]}, state, exact=True)

    for i, length in enumerate(lengths.tolist()):
        alone = {"x": torch.cat([x[:length, [i]], x[10:, [i]]])}
        expected, _ = network(alone, exact=True)
        for name, y in expected.items():
            cut = len(y) - len(later[name])
            torch.testing.assert_close(outputs[name][:cut, [i]], y[:cut])
            torch.testing.assert_close(later[name][:, [i]], y[cut:])
            assert not outputs[name][cut:, i].any()


WRONG = {
    "no integers": (torch.ones(3), "lengths needs integers"),
    "another batch": (torch.tensor([4, 4]), "lengths needs integers"),
    "beyond the data": (torch.tensor([4, 6, 2]), "a length is from 0 to 4"),
    "below 0": (torch.tensor([4, -2, 2]), "a length is from 0 to 4"),
    "inside a window": (torch.tensor([4, 3, 2]), "a multiple of 2 ticks less"),
    "before all values": (torch.tensor([4, 0, 2]), "a sample ends at tick 0"),
}


@pytest.mark.parametrize(("lengths", "says"), WRONG.values(), ids=WRONG)
def test_lengths_that_cannot_be_are_refused_in_one_line(lengths: Tensor, says: str) -> None:
    with pytest.raises(SpikebridgeError, match=says) as caught:
        run_lengths(loop(), {"x": noise(4)}, lengths)
    assert "\n" not in str(caught.value)
