"""A transfer function is learned from recorded activity, and refuses what it cannot learn from."""

import pytest
import torch

from research.neuron_models.transfer_function import TransferFunction, fit_transfer_function
from spikebridge.errors import ConfigError, DataError, ShapeError


def test_a_rate_that_lags_is_learned_and_streams_in_parts() -> None:
    torch.manual_seed(0)
    drive = torch.rand(600, 4, 1).repeat_interleave(3, 0)[:600]
    rate = torch.zeros(4)
    y = []

    for x in drive[..., 0]:
        rate = rate + 0.3 * (x - rate)
        y.append(0.2 + rate.square())

    function = TransferFunction(1, dt=1e-3, tau=(1e-3, 3e-3), width=16)
    assert fit_transfer_function(function, drive, torch.stack(y), num_updates=300, batch=512) > 0.8
    with torch.no_grad():
        whole, _ = function(drive)
        first, state = function(drive[:7])
        second, _ = function(drive[7:], state)

    torch.testing.assert_close(whole, torch.cat([first, second]))
    assert bool((whole > 0).all())


def test_recordings_without_a_rate_to_learn_are_refused() -> None:
    function = TransferFunction(2, dt=1e-3)
    with pytest.raises(ConfigError, match="0 signals"):
        TransferFunction(0, dt=1e-3)

    with pytest.raises(ShapeError, match=r"signals \(T, B, 2\)"):
        fit_transfer_function(function, torch.ones(5, 3, 1), torch.ones(5, 3))

    with pytest.raises(DataError, match="above 0"):
        fit_transfer_function(function, torch.ones(5, 3, 2), torch.zeros(5, 3))

    with pytest.raises(DataError, match="NaN"):
        fit_transfer_function(function, torch.full((5, 3, 2), float("nan")), torch.ones(5, 3))
