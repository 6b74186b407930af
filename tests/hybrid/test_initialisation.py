"""Links that set and read states of parts, worked by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikebridge.deploy import quantize
from spikebridge.errors import ConfigError, ExportError, ShapeError, SpikebridgeError
from spikebridge.hybrid import (
    Burst,
    Difference,
    HybridNetwork,
    HybridUnit,
    Initialisation,
    Transmission,
    Tumbling,
    Wake,
    every,
    ticks,
)
from spikebridge.hybrid.network.link import Link
from spikebridge.neurons import IF, LIF, Integrator, Recurrent, Sequential

INF = float("inf")


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(-1, 1, 1)


def network_of(*links: Link, **settings: Any) -> HybridNetwork:
    """An integrator "sum" of an input "x", with links to it from an input "start"; `settings` replace arguments."""
    arguments: dict[str, Any] = {
        "dt": 1.0,
        "inputs": {"x": every(1.0), "start": every(3.0, 1.0)},
        "parts": {"sum": Integrator(tau=INF)},
        "outputs": ["sum"],
    }
    links = (Transmission("x", "sum"), *links)
    return HybridNetwork(**{**arguments, "links": links, **settings})


def test_a_value_sets_the_state_before_the_step_at_its_tick() -> None:
    network = network_of(Initialisation("start", "sum.v"))
    outputs, _ = network({"x": column(1, 1, 1, 1, 1, 1), "start": column(10, 20)})

    assert outputs["sum"].flatten().tolist() == [1, 11, 12, 13, 21, 22]


def test_a_delay_and_a_unit_act_as_on_every_link() -> None:
    double = HybridUnit(None, None, nn.Linear(1, 1, bias=False))
    nn.init.constant_(double.nonlinearity.weight, 2.0)
    network = network_of(Initialisation("start", "sum.v", double, delay=ticks(2)))
    outputs, _ = network({"x": column(1, 1, 1, 1, 1), "start": column(10, 20)})

    assert outputs["sum"].flatten().tolist() == [1, 2, 3, 21, 22]


def test_a_slower_part_takes_the_newest_value_at_its_next_tick() -> None:
    network = network_of(
        Initialisation("start", "sum.v"), inputs={"x": every(4.0, 3.0), "start": every(1.0)}, outputs=["sum"]
    )
    outputs, _ = network({"x": column(1, 1), "start": column(*range(8))})

    assert outputs["sum"].flatten().tolist() == [4, 8]


def test_a_state_is_read_after_the_step_as_signal_and_as_output() -> None:
    network = HybridNetwork(
        dt=1.0,
        inputs={"x": every(1.0)},
        parts={"snn": Sequential(gain=nn.Identity(), fire=IF()), "reader": nn.Identity()},
        links=[Transmission("x", "snn"), Transmission("snn.fire.v", "reader")],
        outputs=["snn", "snn.fire.v", "reader"],
    )
    outputs, _ = network({"x": column(0.75, 0.75, 0.75)})

    assert outputs["snn"].flatten().tolist() == [0, 1, 0]
    assert outputs["snn.fire.v"].flatten().tolist() == [0.75, 0, 0.75]
    assert torch.equal(outputs["reader"], outputs["snn.fire.v"])
    assert network.empty("snn.fire.v", network.initial_state({"x": column()})).shape == (0, 1, 1)


def test_a_part_with_a_wake_takes_the_newest_value_when_a_sample_wakes() -> None:
    network = network_of(
        Initialisation("start", "sum.v"),
        Wake("flag", "sum"),
        inputs={"x": every(1.0), "start": every(1.0), "flag": every(1.0)},
    )
    x = torch.ones(6, 2, 1)
    start = 10 * torch.arange(6.0).reshape(6, 1, 1).expand(6, 2, 1)
    flag = torch.tensor([[1, 0], [1, 0], [0, 1], [1, 1], [1, 0], [0, 1]]).float().unsqueeze(-1)
    outputs, _ = network({"x": x, "start": start, "flag": flag})

    assert outputs["sum"][:, 0, 0].tolist() == [1, 2, 2, 31, 32, 32]
    assert outputs["sum"][:, 1, 0].tolist() == [0, 0, 21, 22, 22, 51]


def test_gradients_pass_through_a_state_that_is_set() -> None:
    network = network_of(Initialisation("start", "sum.v"))
    start = column(10, 20).requires_grad_()
    outputs, _ = network({"x": column(1, 1, 1, 1, 1, 1), "start": start})
    outputs["sum"].sum().backward()

    assert start.grad is not None
    assert start.grad.flatten().tolist() == [3, 2]


def test_a_state_inside_a_recurrent_layer_has_a_path() -> None:
    layer = Recurrent(Integrator(tau=INF), nn.Linear(1, 1, bias=False))
    nn.init.zeros_(layer.weight.weight)
    parts = {"sum": Sequential(ring=layer)}
    network = network_of(Initialisation("start", "sum.ring.layer.v"), parts=parts)
    outputs, _ = network({"x": column(1, 1, 1), "start": column(10)})

    assert outputs["sum"].flatten().tolist() == [1, 11, 12]


def test_a_burst_beside_a_later_input_runs_in_steps() -> None:
    burst = HybridUnit(Tumbling(4), Difference(), None, Burst())
    network = HybridNetwork(
        dt=1.0,
        inputs={"x": every(1.0), "late": every(1.0, 5.0)},
        parts={"sum": nn.Bilinear(1, 1, 1)},
        links=[Transmission("x", "sum", burst, held=True), Transmission("late", "sum", held=True)],
        outputs=["sum"],
        clocks={"sum": every(1.0)},
    )
    x = column(*(t * t / 100 for t in range(20)))
    whole, _ = network({"x": x, "late": x[5:]}, ticks=20)
    state = network.initial_state({"x": x, "late": x})
    for t in range(20):
        outputs, state = network.step({"x": x[t], "late": x[t]} if t >= 5 else {"x": x[t]}, state)
        assert torch.equal(outputs["sum"], whole["sum"][t])


WRONG = {
    "no such field": ("sum.w", r"part 'sum' has no state 'w': did you mean 'sum.v'"),
    "no path": ("sum", r"path to a state, for example 'sum.lif.v'"),
    "no state": ("plain.v", r"part 'plain' has no state 'v': it has no state; name a part with neurons"),
    "no part": ("other.v", "leads to no part"),
}


@pytest.mark.parametrize(("target", "says"), WRONG.values(), ids=WRONG)
def test_a_state_that_is_not_there_is_named_with_a_remedy(target: str, says: str) -> None:
    parts = {"sum": Integrator(tau=INF), "plain": nn.Identity()}
    with pytest.raises(ConfigError, match=says):
        network_of(Transmission("x", "plain"), Initialisation("start", target), parts=parts)


def test_a_reader_of_a_state_that_is_not_there_is_told_which_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no state 'w': did you mean 'sum.v'"):
        network_of(outputs=["sum.w"], inputs={"x": every(1.0)})


def test_two_links_to_one_state_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"the state 'sum.v' is set by two links, from 'start' and 'x'; join"):
        network_of(Initialisation("start", "sum.v"), Initialisation("x", "sum.v"))


def test_values_of_another_shape_than_the_state_are_refused_before_the_first_tick() -> None:
    network = network_of(Initialisation("start", "sum.v"))
    with pytest.raises(ShapeError, match=r"'start' -> 'sum.v' brings values of shape \(2,\), but the state has \(1,\)"):
        network({"x": column(1), "start": torch.ones(0, 1, 2)})


def test_a_state_that_a_layer_leaves_out_is_refused() -> None:
    parts = {"sum": LIF(tau=INF)}
    network = network_of(Initialisation("start", "sum.wait"), parts=parts)
    with pytest.raises(ConfigError, match=r"the state 'wait' of LIF is no tensor here, but None"):
        network({"x": column(1), "start": column()})


def test_code_generation_and_integers_refuse_links_to_states_in_one_line() -> None:
    network = network_of(Initialisation("start", "sum.v"))
    inputs = {"x": column(*[1.0] * 6), "start": column(1, 2)}
    for call in (network.compiled, lambda: quantize(network, inputs)):
        with pytest.raises(SpikebridgeError, match=r"'sum'") as caught:
            call()
        assert isinstance(caught.value, ConfigError | ExportError)
        assert "\n" not in str(caught.value)
