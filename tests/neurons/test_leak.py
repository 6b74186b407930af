"""States after some steps without input, as one power of their decays: what a part that slept wakes up with."""

import pytest
import torch
from torch import nn

from spikebridge.errors import ConfigError
from spikebridge.neurons import (
    IF,
    LIF,
    PLIF,
    AdaptiveLIF,
    CubaLIF,
    Integrator,
    Izhikevich,
    Memoryless,
    Recurrent,
    Sequential,
    Stateful,
)
from spikebridge.neurons.state import tensors_of

STEPS = torch.tensor([0, 1, 2, 40])
SILENT = {"v_threshold": 1e6, "dt": 0.001}
LAYERS = {
    "LIF": LIF(0.01, v_leak=0.3, **SILENT),
    "IF": IF(**SILENT),
    "refractory": LIF(0.01, refractory=0.003, **SILENT),
    "PLIF": PLIF(0.01, **SILENT),
    "AdaptiveLIF": AdaptiveLIF(0.01, 0.05, **SILENT),
    "CubaLIF": CubaLIF(0.01, 0.004, r=2.0, v_leak=0.3, **SILENT),
    "CubaLIF of one time constant": CubaLIF(0.01, 0.01, **SILENT),
    "CubaLIF of nearly one": CubaLIF(0.01, 0.01000001, **SILENT),
    "CubaLIF without a leak": CubaLIF(float("inf"), 0.004, **SILENT),
    "Integrator": Integrator(0.01, v_leak=0.3, dt=0.001),
    "Recurrent": Recurrent(CubaLIF(0.01, 0.004, **SILENT), nn.Linear(3, 3, bias=False)),
    "Sequential": Sequential(fc=nn.Linear(3, 3, bias=False), lif=LIF(0.01, **SILENT), sum=Integrator(0.02, dt=0.001)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_leak_is_that_of_the_steps_without_input(name: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name].double()
    with torch.no_grad():
        x = torch.rand(5, 4, 3, dtype=torch.float64)
        state = layer(x)[1]
        given = layer.leak(state, STEPS)
        for sample, steps in enumerate(STEPS.tolist()):
            expected = state
            for _ in range(steps):
                expected = layer.step(torch.zeros_like(x[0]), expected)[1]
            for one, other in zip(tensors_of(given), tensors_of(expected), strict=True):
                torch.testing.assert_close(one[sample], other[sample], rtol=1e-12, atol=1e-12)


def test_feedback_is_dropped_with_the_input_of_the_steps_asleep() -> None:
    layer = Recurrent(Memoryless(), nn.Linear(1, 1, bias=False))
    state = layer.initial_state(torch.zeros(2, 1))._replace(y=torch.ones(2, 1))
    with pytest.raises(ConfigError, match="Memoryless does not say how its state leaks; give it a method leak"):
        layer.leak(state, torch.tensor([0, 1]))

    layer = Recurrent(LIF(0.01, dt=0.001), nn.Linear(1, 1, bias=False))
    state = layer.initial_state(torch.zeros(2, 1))._replace(y=torch.ones(2, 1))
    assert layer.leak(state, torch.tensor([0, 1])).y.flatten().tolist() == [1, 0]


def test_a_layer_without_a_closed_form_says_why() -> None:
    layer: Stateful = Izhikevich(dt=0.001)
    with pytest.raises(ConfigError, match=r"Izhikevich has a membrane with a square, .* no closed form"):
        layer.leak(layer.initial_state(torch.zeros(1, 1)), torch.tensor([3]))
