"""The spikes of a population: independent Poisson processes, drawn alike whole and in parts."""

import pytest
import torch

from spikebridge.errors import ConfigError
from spikebridge.hybrid import Hold, HybridUnit, PoissonPopulation


def test_neurons_fire_as_independent_poisson_processes() -> None:
    rate = torch.full((1, 2000, 1), 0.02)
    spikes, _ = PoissonPopulation(50, seed=1).eval()(rate, length=1)
    counts = spikes[0, :, 0]  # (2000, 50), 2000 spikes expected

    assert float(counts.sum()) == pytest.approx(2000, rel=0.08)

    population = counts.sum(1)
    assert float(population.var() / population.mean()) == pytest.approx(1, abs=0.12)

    each = counts.sum(0)
    assert float(each.var() / each.mean()) == pytest.approx(1, abs=0.6)
    assert float(counts.max()) <= 2


def test_a_stream_may_be_cut_anywhere_and_samples_differ() -> None:
    unit = HybridUnit(Hold(3), None, None, PoissonPopulation(20, seed=3)).eval()
    x = torch.tensor([0.02, 0.3, 0.0, 0.1]).reshape(4, 1).expand(4, 2)
    whole, _ = unit(x)
    first, state = unit(x[:1])
    second, _ = unit(x[1:], state)

    assert torch.equal(whole, torch.cat([first, second]))
    assert not torch.equal(whole[:, 0], whole[:, 1])
    assert torch.equal(whole[6:9], torch.zeros(3, 2, 20))


def test_the_gradient_goes_to_the_rate_and_nan_stays() -> None:
    rate = torch.tensor([[[0.1, float("nan")]]], requires_grad=True)
    spikes, _ = PoissonPopulation(5).eval()(rate, length=1)

    assert spikes.shape == (1, 1, 2, 5)
    assert bool(spikes[0, 0, 0].isfinite().all())
    assert bool(spikes[0, 0, 1].isnan().all())

    spikes[0, 0, 0].sum().backward()
    assert rate.grad is not None
    assert float(rate.grad[0, 0, 0]) == 5


def test_a_population_has_neurons() -> None:
    with pytest.raises(ConfigError, match="PoissonPopulation"):
        PoissonPopulation(0)
