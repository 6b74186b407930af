"""Mean places under a map and Gaussians are those of the definition, natively and by products of matrices."""

import numpy as np
import pytest

from spikebridge.networks.sensing.native.places import mean_places
from spikebridge.ops import without_native


@pytest.mark.parametrize("shape", [(5, 7), (2, 2), (9, 4)], ids=str)
@pytest.mark.parametrize("num_priors", [1, 8, 11])
def test_places_are_those_of_the_definition(shape: tuple[int, int], num_priors: int) -> None:
    random = np.random.default_rng(0)
    maps = random.normal(size=shape) * 3, random.random(shape)
    factors = np.array([[0.0, 0.0], [1.0, -0.5], [200.0, 0.0]])
    means = random.normal(size=(num_priors, 2)) * 3
    variances = random.random(num_priors) + 0.2
    means[0] = -60.0, 70.0  # far outside
    x = np.arange(-3, shape[1] - 3)
    y = np.arange(1, shape[0] + 1)
    native = mean_places(maps, factors, (-3, 1), means, variances)

    with without_native():
        products = mean_places(maps, factors, (-3, 1), means, variances)

    for places, spreads in (native, products):
        for i, (a, b) in enumerate(factors):
            for k, (mean, variance) in enumerate(zip(means, variances, strict=True)):
                distance = (x - mean[0]) ** 2 + ((y - mean[1]) ** 2)[:, None]
                odds = a * maps[0] + b * maps[1] - distance / (2 * variance)
                share = np.exp(odds - odds.max())
                share /= share.sum()
                place = np.array([(share * x).sum(), (share * y[:, None]).sum()])
                second = (share * (x**2 + y[:, None] ** 2)).sum()
                np.testing.assert_allclose(places[i, k], place, atol=1e-9)
                np.testing.assert_allclose(spreads[i, k], (second - place @ place) / 2, atol=1e-9)
