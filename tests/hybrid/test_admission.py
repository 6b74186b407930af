"""NaN and infinity are refused wherever they come in: by a look at the input, or at the membranes it leads to."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import modules
import spikebridge.neurons as neurons
from modules import parallel
from spikebridge.errors import DataError
from spikebridge.hybrid import Gain, HybridNetwork, HybridUnit, Mean, Tumbling, ticks
from spikebridge.hybrid.network.checks import needs_finite_check
from spikebridge.neurons import (
    IF,
    LIF,
    Neuron,
    Sequential,
    Stateful,
)

# a refractory neuron ignores some of its inputs, and containers have neurons inside
LAYERS = {
    name: make
    for name, make in modules.LAYERS.items()
    if "refractory" not in name and name not in ("Recurrent", "Sequential")
}


def network(part: nn.Module, **link: Any) -> HybridNetwork:
    return parallel({"p": part}, **link).eval()


def looks(part: nn.Module, **link: Any) -> bool:
    """True if the network looks at every value of the input itself."""
    net = network(part, **link)
    return needs_finite_check(net.inputs, net.plan, dict(net.parts.items())) == ["x"]


def test_every_kind_of_neuron_has_a_case() -> None:
    kinds = {one for name in neurons.__all__ if isinstance(one := getattr(neurons, name), type)}
    own = {one for one in kinds if issubclass(one, Neuron) and one not in (Neuron, neurons.FiringNeuron)}
    assert {type(make()) for make in LAYERS.values()} == own


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("tick", [0, 3, 39])
def test_a_neuron_that_is_led_to_straight_shows_what_is_not_finite(kind: str, value: float, tick: int) -> None:
    part = Sequential(fc=nn.Linear(4, 3), neuron=LAYERS[kind]())
    assert not looks(part)

    x = torch.randn(40, 2, 4)
    x[tick, 1, 2] = value
    with pytest.raises(DataError, match="input 'x' has 1 values that are not finite"):
        network(part)({"x": x})


class Custom(Stateful):
    """A part that nothing is known of."""

    def initial_state(self, x_t: Tensor) -> tuple[()]:
        return ()

    def step(self, x_t: Tensor, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        return (x_t > 0).to(x_t.dtype), ()


def test_where_something_could_pass_unnoticed_every_value_is_looked_at() -> None:
    refractory = LIF(0.01, dt=0.001, refractory=0.002)
    for part in (nn.Linear(4, 3), Custom(), Gain(), refractory, Sequential(squash=nn.Sigmoid(), fire=IF())):
        assert looks(part)

    assert looks(IF(), delay=ticks(1))
    assert looks(IF(), unit=HybridUnit())
    assert not looks(IF())


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_a_part_would_swallow_is_refused_at_the_door(value: float) -> None:
    unit = HybridUnit(Tumbling(2), Mean())
    for part, link in ((Custom(), {}), (Sequential(squash=nn.Sigmoid(), fire=IF()), {}), (IF(), {"unit": unit})):
        x = torch.zeros(4, 2, 3)
        x[1, 0, 0] = value
        with pytest.raises(DataError, match="input 'x' has 1 values that are not finite"):
            network(part, **link)({"x": x})


def test_an_error_that_no_input_has_caused_is_not_blamed_on_one() -> None:
    part = Sequential(fc=nn.Linear(4, 3), fire=IF())
    with torch.no_grad():
        part.fc.weight[0, 0] = torch.nan

    with pytest.raises(DataError, match="IF met NaN or infinity in its input or parameters"):
        network(part)({"x": torch.ones(3, 1, 4)})
