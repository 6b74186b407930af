"""Mackey-Glass: the series, and a forecaster that continues it by itself."""

import numpy as np
import pytest
import torch

from research.signals.forecast.network import continued, fit_readout, forecast_network
from research.signals.forecast.series import mackey_glass, smape
from spikebridge.errors import ConfigError

pytestmark = pytest.mark.untyped


def test_the_series_solves_its_equation() -> None:
    x = mackey_glass(4000, tau=17.0, dt=0.5, warm_up=500.0)[0][:, 0].astype(float)
    slope = (x[36:] - x[34:-2]) / 1.0  # central difference over two samples of 0.5
    late = x[1:-35]  # 34 samples, 17 time units, earlier
    now = x[35:-1]
    expected = 0.2 * late / (1 + late**10) - 0.1 * now

    assert np.abs(slope - expected).max() < 2e-3
    assert 0.2 < x.min() < 0.6 < 1.1 < x.max() < 1.5


def test_another_delay_is_another_series_and_numbers_that_cannot_be_are_refused() -> None:
    assert np.abs(mackey_glass(200, tau=17.0)[0] - mackey_glass(200, tau=30.0)[0]).max() > 0.1
    assert mackey_glass(50)[0].tobytes() == mackey_glass(50)[0].tobytes()
    for arguments in ({"num_samples": 0}, {"num_samples": 5, "tau": 0.0}, {"num_samples": 5, "dt": -1.0}):
        with pytest.raises(ConfigError, match="above 0"):
            mackey_glass(**arguments)  # type: ignore[arg-type]


def test_the_symmetric_percentage_error_is_worked_by_hand() -> None:
    assert smape(np.array([1.0, 1.0]), np.array([1.0, 3.0])) == 50.0
    assert smape(np.array([1.0]), np.array([-1.0])) == 200.0


@pytest.mark.parametrize(("num_features", "num_spiking"), [(120, 0), (100, 20)])
def test_a_sine_is_continued_on_its_own_predictions(num_features: int, num_spiking: int) -> None:
    t = torch.arange(500, dtype=torch.float64)
    x = torch.sin(0.3 * t) + 0.5 * torch.sin(0.11 * t)
    network = forecast_network(8, num_features, num_spiking)
    fit_readout(network, x[:400])
    found = continued(network, x[:400], 60)

    assert (found - x[400:460]).abs().max() < 0.05


def test_the_readout_of_the_last_sample_is_the_first_prediction() -> None:
    x = torch.sin(0.3 * torch.arange(120, dtype=torch.float64))
    network = forecast_network(4, 30, 5)
    state = fit_readout(network, x)

    assert state.ticks == 120

    y = network({"x": x.reshape(-1, 1, 1)})[0]["readout"][-1]
    assert continued(network, x, 1).equal(y.reshape(1))
    assert continued(network, x, 3, bounds=(-0.1, 0.1)).abs().max() <= 0.1
