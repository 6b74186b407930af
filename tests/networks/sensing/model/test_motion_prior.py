"""The places of a restarted stream: by hand, as a sum over all pairs of places, and with a known start."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from spikebridge.networks.sensing.model.motion_prior import (
    SPREAD_FACTOR,
    MotionPriorNp,
    StartUncertainty,
    bayes_update,
    search_slice,
    soft_argmax,
)

HALF = 12
STEPS = np.arange(-HALF, HALF + 1)


def bump(x: float = 0.0, y: float = 0.0) -> NDArray[np.float64]:
    """The similarity of a round target to itself at each displacement from a place, at most 15."""
    return 15 * np.exp(-((STEPS - x) ** 2 + (STEPS[:, None] - y) ** 2) / 10)


def change(came_from: tuple[float, float], went_to: tuple[float, float]) -> NDArray[np.float64]:
    """The fit of the change of such a target to each displacement."""
    return bump(*went_to) - bump(*came_from)


def expected(place: tuple[float, float], motion: tuple[float, float]) -> MotionPriorNp:
    return MotionPriorNp(np.array(place), np.array(motion), 0.0)


def over_all_pairs(
    fits: NDArray[np.float64], drift: StartUncertainty, start: MotionPriorNp, variance: float, age: float
) -> tuple[NDArray[np.float64], float]:
    """The definition: every place where it may have begun, with every one where it may be."""
    y, x = np.divmod(np.arange(len(STEPS) ** 2), len(STEPS))
    places = np.stack([x, y], 1) - HALF
    total = np.zeros(len(STEPS) ** 2)

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
        total += np.where(inside, np.exp(odds), 0.0)

    share = total / total.sum()
    mean = share @ places

    return mean, float(np.sqrt(share @ ((places - mean) ** 2).sum(1) / 2))


@pytest.mark.parametrize("age", [0.3, 1.0])
@pytest.mark.parametrize("place", [(0.0, 0.0), (0.4, -1.3)])
def test_the_sum_is_that_over_all_pairs_of_places(place: tuple[float, float], age: float) -> None:
    rng = np.random.default_rng(0)
    fits = change((1.0, -1.0), (3.0, 2.0)) + rng.normal(0, 0.3, (len(STEPS), len(STEPS)))
    drift = StartUncertainty(0.6, bump() - 15)
    start = expected(place, (2.0, 3.0))
    estimate = bayes_update(fits, drift, start, 2.0, age, 9.0)
    mean, spread = over_all_pairs(fits, drift, start, 2.0, age)

    # starts farther than three standard deviations away are left out
    np.testing.assert_allclose(estimate[0], mean, atol=0.02)
    assert estimate[1] == pytest.approx(spread, abs=0.02)


def test_events_show_that_the_stream_began_elsewhere() -> None:
    fits = change((2.0, -2.0), (5.0, 1.0))
    still = bump() - 15
    start = expected((0.0, 0.0), (3.0, 3.0))
    (x, y), _ = bayes_update(fits, StartUncertainty(1.0, still), start, 1.0, 1.0, 8.0)

    assert (x, y) == (pytest.approx(5.0, abs=0.3), pytest.approx(1.0, abs=0.3))

    (x, y), _ = bayes_update(fits, StartUncertainty(0.25, still), start, 1.0, 1.0, 8.0)
    # with a sure start the prediction from there counts more
    assert x < 4.7 and y > 1.3


def test_without_any_change_the_place_stays_uncertain() -> None:
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


def test_a_search_covers_the_pixels_within_reach_of_a_place_on_the_axis() -> None:
    # -1 to 2, and 6 to 8, of -8 to 8
    assert search_slice(0.4, 2.0, half=8) == slice(7, 11)
    assert search_slice(9.5, 2.0, half=8) == slice(14, 17)


def test_a_soft_argmax_is_the_mean_place_and_its_deviation() -> None:
    odds = torch.full((1, 5, 5), -99.0)
    odds[0, 3, 2] = odds[0, 3, 3] = 0.0
    place, spread = soft_argmax(odds, torch.zeros(1, 2), search=2)

    # half a pixel along x: a variance of 1/4 along one of two axes
    torch.testing.assert_close(place, torch.tensor([[0.5, 1.0]]))
    assert spread.item() == pytest.approx((0.25 / 2) ** 0.5)


def test_a_restarted_stream_that_moved_from_minus_1_to_3_is_nearly_at_3() -> None:
    bump = np.exp(-(np.arange(-8, 9) ** 2) / 8)
    still = 20 * (np.outer(bump, bump) - 1)
    fits = np.roll(still, 3, axis=1) - np.roll(still, -1, axis=1)
    prior = expected((0.0, 0.0), (2.0, 0.0))
    place, _ = bayes_update(fits, StartUncertainty(1.0, still), prior, variance=4.0, age=1.0, search=5.0)
    np.testing.assert_allclose(place, [2.9, 0.0], atol=0.05)
