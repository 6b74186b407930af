"""Neurons made of integrators and units behave as their differential equations say."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from research.neuron_models.channels import GateTimeConstant, MembraneParameters, SteadyGates
from research.neuron_models.evaluation import largest_stable_step, simulate
from research.neuron_models.model import (
    UNITS,
    adaptive_exponential,
    hodgkin_huxley,
    rest_of,
    two_compartments,
    voltage_clamp,
)
from research.neuron_models.simulation import (
    record_hodgkin_huxley,
    record_two_compartments,
    spike_times,
    spikes_of_exponential,
)
from research.neuron_models.training import learn_units, learned_units, recordings, varied_currents
from spikebridge.deploy import export
from spikebridge.deploy.runtime.runner import Runner
from spikebridge.errors import ConfigError, DataError, ShapeError

pytestmark = pytest.mark.untyped


def current(value: float, duration: float, step: float) -> Tensor:
    return torch.full((round(duration / step), 1, 1), value, dtype=torch.float64)


def first_spike(v: Tensor, step: float, level: float = 0.0) -> float:
    return float(spike_times(v[:, 0, 0].numpy(), step, level)[0])


def test_the_error_of_a_spike_falls_with_the_square_of_the_step() -> None:
    (expected,) = spike_times(record_hodgkin_huxley([20.0] * 4, 1e-3), 1e-5)
    late = [
        first_spike(simulate(hodgkin_huxley, current(20.0, 0.004, step), step)["membrane"], step) - expected
        for step in (8e-5, 4e-5)
    ]

    assert abs(late[0]) < 2e-5
    assert 3 < late[0] / late[1] < 5


def test_a_dendrite_delays_the_spike_as_much_as_its_equations() -> None:
    (expected,) = spike_times(record_two_compartments([40.0] * 4, 1e-3), 1e-5)
    given = current(40.0, 0.004, 4e-5)
    given[0] /= 2  # the dendrite's first step is centred on the edge
    found = first_spike(simulate(two_compartments, given, 4e-5)["membrane"], 4e-5)

    assert found == pytest.approx(expected, abs=5e-6)


def test_an_exponential_neuron_fires_resets_and_adapts() -> None:
    expected = spikes_of_exponential(2000.0, 0.01)
    outputs = simulate(adaptive_exponential, current(2000.0, 0.01, 2e-5), 2e-5)
    found = spike_times(outputs["membrane"][:, 0, 0].numpy(), 2e-5, 19.0)

    assert len(found) == len(expected) == 2
    assert np.abs(found - expected).max() < 5e-5

    w = outputs["adaptation"][:, 0, 0]
    at = round(found[0] / 2e-5)

    assert float(w[at + 3] - w[at - 3]) == pytest.approx(80.5, abs=1.0)


def test_gates_have_the_rates_of_the_paper() -> None:
    # at -40 mV the quotient of the rate of m is 0 / 0, whose limit is 1
    opening = {"m": 1.0, "n": 0.1 * 1.5 / (1 - np.exp(-1.5)), "h": 0.07 * np.exp(-1.25)}
    closing = {"m": 4 * np.exp(-25 / 18), "n": 0.125 * np.exp(-25 / 80), "h": 1 / (1 + np.exp(0.5))}
    steady = SteadyGates()(torch.tensor([-40.0]))[0]
    tau = GateTimeConstant()(torch.tensor([-40.0]))[0]

    for i, gate in enumerate(("m", "n", "h")):
        rate = opening[gate] + closing[gate]
        assert float(steady[i]) == pytest.approx(opening[gate] / rate, rel=1e-5)
        assert float(tau[i]) == pytest.approx(1e-3 / rate, rel=1e-5)


def test_a_network_without_a_current_stays_at_rest() -> None:
    membrane = MembraneParameters(conductances=(100.0, 30.0, 0.5))
    outputs = hodgkin_huxley(membrane=membrane)({"current": torch.zeros(50, 2, 3)})[0]
    assert float((outputs["membrane"] - rest_of(membrane)).abs().max()) < 1e-3


def test_rests_are_those_of_the_equations() -> None:
    assert rest_of(MembraneParameters()) == pytest.approx(-64.996, abs=1e-3)

    outputs, _ = two_compartments()({"current": torch.zeros(2, 1, 1)})
    assert [outputs[name][1].item() for name in ("membrane", "dendrite")] == pytest.approx([-63.4, -61.3], abs=0.05)


def test_a_stream_cut_anywhere_equals_the_whole() -> None:
    network = hodgkin_huxley()
    given = 20 * torch.rand(40, 2, 3)
    whole = network({"current": given}, ticks=80)[0]["membrane"]
    first, state = network({"current": given[:13]}, ticks=25)
    second, _ = network({"current": given[13:]}, state, ticks=55)

    assert torch.equal(torch.cat([first["membrane"], second["membrane"]]), whole)


def test_a_clamped_membrane_predicts_what_the_neuron_does() -> None:
    given = torch.full((60, 1, 1), 20.0)
    v = hodgkin_huxley()({"current": given}, ticks=120)[0]["membrane"]
    predicted = voltage_clamp()({"voltage": v, "current": given}, ticks=120)[0]["prediction"]
    torch.testing.assert_close(predicted[:-1], v[1:], rtol=1e-5, atol=1e-4)


def test_units_learn_from_recordings() -> None:
    data = recordings(varied_currents(2, 0.006, np.random.default_rng(0)), 2e-5)
    assert data.tensors["voltage"].shape == data.tensors["current"].shape == (300, 2, 1)

    units = learned_units(8, seed=0)

    def error() -> float:
        with torch.no_grad():
            clamped = voltage_clamp(2e-5, units=units)
            v = data.tensors["voltage"]
            return float((clamped(dict(data.tensors))[0]["prediction"][:-1] - v[1:]).abs().mean())

    before = error()
    learn_units(units, data, 2e-5, num_updates=10)

    assert error() < before / 2

    outputs = hodgkin_huxley(units=units)({"current": torch.zeros(4, 1, 1)})[0]
    assert outputs["membrane"].shape == (4, 1, 1)


def test_a_bundle_runs_without_torch(tmp_path: Path) -> None:
    network = hodgkin_huxley()
    given = torch.full((100, 2, 1), 30.0)
    bundle = export(network, {"current": given[:4]}, tmp_path / "neuron", ticks=8)
    v = network({"current": given}, ticks=200)[0]["membrane"]
    alone = Runner(bundle).run({"current": given.numpy()}, ticks=200)["membrane"]

    assert float(v.max() - v.min()) > 10

    np.testing.assert_allclose(alone, v.numpy(), atol=1e-2)


def test_a_step_too_long_for_a_current_is_an_error_with_the_largest_stable_step() -> None:
    with pytest.raises(DataError, match=r"the largest stable step is 6.25e-05 s"):
        simulate(hodgkin_huxley, torch.full((20, 1, 1), 5000.0), 5e-4)

    assert largest_stable_step(hodgkin_huxley, torch.full((2, 1, 1), 5000.0), 5e-4) == 6.25e-5
    with pytest.raises(DataError, match=r"no step down to .* is stable; lower the current"):
        simulate(hodgkin_huxley, torch.full((2, 1, 1), 1e7), 5e-4)


def test_wrong_calls_are_one_sentence() -> None:
    with pytest.raises(ShapeError, match=r"current \(T, B, \*N\) of floats, but got \(5,\)"):
        simulate(hodgkin_huxley, torch.zeros(5), 1e-5)

    with pytest.raises(DataError, match="finite current"):
        simulate(hodgkin_huxley, torch.full((5, 1, 1), float("nan")), 1e-5)

    with pytest.raises(ConfigError, match="step > 0 s, but got -1"):
        hodgkin_huxley(-1.0)

    with pytest.raises(ConfigError, match="coupling > 0"):
        two_compartments(coupling=0.0)

    with pytest.raises(ConfigError, match=r"no unit 'gate_tua'.*gate_tau"):
        hodgkin_huxley(units={"gate_tua": GateTimeConstant()})

    assert set(learned_units(4, 0)) == set(UNITS)
