"""Both ends of a way at once: by hand, beside a sum over all pairs of places, and beside a beginning that is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from spikebridge.networks.sensing.model.motion_prior import SPREAD_FACTOR, MotionPriorNp, StartUncertainty, bayes_update

HALF = 12
STEPS = np.arange(-HALF, HALF + 1)


def bump(x: float = 0.0, y: float = 0.0) -> NDArray[np.float64]:
    """How alike a round target is to itself at each displacement from a place, at most 15."""
    return 15 * np.exp(-((STEPS - x) ** 2 + (STEPS[:, None] - y) ** 2) / 10)


def change(came_from: tuple[float, float], went_to: tuple[float, float]) -> NDArray[np.float64]:
    """How well the change of such a target fits each displacement."""
    return bump(*went_to) - bump(*came_from)


def expected(place: tuple[float, float], motion: tuple[float, float]) -> MotionPriorNp:
    return MotionPriorNp(np.array(place), np.array(motion), 0.0)


def over_all_pairs(
    fits: NDArray[np.float64], drift: StartUncertainty, start: MotionPriorNp, variance: float, age: float
) -> tuple[NDArray[np.float64], float]:
    """The definition: every place where it may have begun, with every one where it may be."""
    y, x = np.divmod(np.arange(len(STEPS) ** 2), len(STEPS))
    places = np.stack([x, y], 1) - HALF
    found = np.zeros(len(STEPS) ** 2)

    for i, began in enumerate(places):
        way = places - began
        inside = (abs(way) <= HALF).all(1)
        odds = (
            fits[y, x]
            - fits[y[i], x[i]]
            - ((began - start.place) ** 2).sum() / (2 * (SPREAD_FACTOR * drift.spread) ** 2)
        )

        odds -= ((way - start.motion * age) ** 2).sum(1) / (2 * variance)
        odds[inside] += drift.unchanged[way[inside, 1] + HALF, way[inside, 0] + HALF]
        found += np.where(inside, np.exp(odds), 0.0)

    share = found / found.sum()
    mean = share @ places

    return mean, float(np.sqrt(share @ ((places - mean) ** 2).sum(1) / 2))


@pytest.mark.parametrize("age", [0.3, 1.0])
@pytest.mark.parametrize("place", [(0.0, 0.0), (0.4, -1.3)])
def test_the_sum_is_that_over_all_pairs_of_places(place: tuple[float, float], age: float) -> None:
    rng = np.random.default_rng(0)
    fits = change((1.0, -1.0), (3.0, 2.0)) + rng.normal(0, 0.3, (len(STEPS), len(STEPS)))
    drift = StartUncertainty(0.6, bump() - 15)
    start = expected(place, (2.0, 3.0))
    found = bayes_update(fits, drift, start, 2.0, age, 9.0)
    mean, spread = over_all_pairs(fits, drift, start, 2.0, age)

    # what is farther than three standard deviations is left out
    np.testing.assert_allclose(found[0], mean, atol=0.02)
    assert found[1] == pytest.approx(spread, abs=0.02)


def test_events_tell_that_it_began_elsewhere() -> None:
    fits = change((2.0, -2.0), (5.0, 1.0))
    still = bump() - 15
    start = expected((0.0, 0.0), (3.0, 3.0))
    (x, y), _ = bayes_update(fits, StartUncertainty(1.0, still), start, 1.0, 1.0, 8.0)

    assert (x, y) == (pytest.approx(5.0, abs=0.3), pytest.approx(1.0, abs=0.3))

    (x, y), _ = bayes_update(fits, StartUncertainty(0.25, still), start, 1.0, 1.0, 8.0)
    assert x < 4.7 and y > 1.3  # who is sure of the beginning believes what is foretold from there


def test_what_never_changed_stays_in_doubt() -> None:
    nothing = np.zeros((len(STEPS), len(STEPS)))
    place, spread = bayes_update(
        nothing, StartUncertainty(0.75, bump() - 15), expected((0.0, 0.0), (0.0, 0.0)), 4.0, 1.0, 8.0
    )
    np.testing.assert_allclose(place, 0, atol=1e-9)

    assert spread > 1.4


def test_a_target_at_the_edge_of_the_map_gives_numbers() -> None:
    drift = StartUncertainty(3.0, bump() - 15)
    start = expected((11.0, -11.0), (9.0, -9.0))
    place, spread = bayes_update(change((10.0, -9.0), (12.0, -12.0)), drift, start, np.inf, 1.0, 10.0)
    assert np.isfinite(place).all() and np.isfinite(spread)
