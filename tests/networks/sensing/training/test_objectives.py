"""Objectives of training with numbers worked by hand: overlaps, presence, and truths that are unknown."""

import pytest
import torch
from torch import Tensor

from spikebridge.errors import ConfigError
from spikebridge.networks.sensing.model.sensing import Sensing
from spikebridge.networks.sensing.model.units import SensingOptions
from spikebridge.networks.sensing.training.objectives import (
    box_overlap,
    jitter_samples,
    map_presence,
    tracking_objective,
)

pytestmark = pytest.mark.untyped

DT = 1 / 240
NAN = float("nan")
BOX = torch.tensor([[0.0, 0.0, 10.0, 10.0]])


def batch(size: int = 32) -> dict[str, Tensor]:
    torch.manual_seed(0)
    pictures = {name: 255 * torch.rand(4, 1, size, size) for name in ("frames", "before", "after")}

    return {
        **pictures,
        "events": torch.rand(3, 4, 2, size, size) < 0.2,
        "boxes": torch.tensor([[0.0, 0.0, 9.0, 9.0]]).repeat(4, 1),
        "motion": torch.randn(4, 2),
        "truths": torch.randn(3, 4, 2),
    }


def small() -> Sensing:
    torch.manual_seed(1)
    return Sensing(DT, SensingOptions(num_features=4, reach=4, search=6.0, detector=False))


def test_overlaps_are_shared_over_joined() -> None:
    others = torch.tensor([[0.0, 0.0, 10.0, 10.0], [5.0, 5.0, 10.0, 10.0], [20.0, 0.0, 5.0, 5.0], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(box_overlap(BOX, others), torch.tensor([1.0, 25 / 175, 0.0, 0.0]))
    # 2 of 6 square pixels
    halves = box_overlap(torch.tensor([0.0, 0.0, 2.0, 2.0]), torch.tensor([1.0, 0.0, 2.0, 2.0]))
    assert halves.item() == pytest.approx(1 / 3)


def test_two_empty_boxes_do_not_overlap() -> None:
    assert box_overlap(torch.zeros(4), torch.zeros(4)).item() == 0.0


def test_a_map_is_best_where_it_is_the_gaussian_itself() -> None:
    x = torch.arange(7.0)
    gaussian = -((x - 2).square()[None, :] + (x - 4).square()[:, None]) / 2
    best = map_presence(gaussian[None], torch.tensor([[2.0, 4.0]]))
    p = gaussian.flatten().softmax(0)

    # cross-entropy is then entropy
    assert best.item() == pytest.approx(-(p * p.log()).sum().item(), rel=1e-5)

    # x is the column
    swapped = map_presence(gaussian[None], torch.tensor([[4.0, 2.0]]))
    assert swapped > best + 1


def test_a_map_without_information_costs_the_logarithm_of_its_cells() -> None:
    cost = map_presence(torch.zeros(1, 2, 2), torch.tensor([[0.0, 1.0]]))
    assert cost.item() == pytest.approx(torch.tensor(4.0).log().item())


def test_a_gaussian_without_a_width_is_refused() -> None:
    with pytest.raises(ConfigError, match="sigma > 0"):
        map_presence(torch.zeros(1, 2, 2), torch.zeros(1, 2), sigma=0.0)


def test_the_loss_is_the_mean_over_the_bins_that_have_a_truth() -> None:
    network = small().eval()
    samples = batch()

    def loss(*bins: int) -> float:
        truths = torch.full_like(samples["truths"], NAN)
        truths[list(bins)] = samples["truths"][list(bins)]
        torch.manual_seed(2)
        return tracking_objective(network, {**samples, "truths": truths}, box_noise=1.0)[0].item()

    assert loss(0, 1, 2) == pytest.approx((loss(0) + loss(1) + loss(2)) / 3, rel=1e-5)


def test_known_truths_give_the_bits_of_the_plain_formula() -> None:
    network = small()
    samples = batch()

    def plain() -> Tensor:
        flipped, boxes, errors, start = jitter_samples(network, samples, 1.0)
        places, _ = network.track(flipped.frames, flipped.events, boxes, start)
        square = (places + errors - flipped.truths).square().sum(-1)
        return (square + 0.25).sqrt().mean()

    results = []
    for loss_of in (plain, lambda: tracking_objective(network, samples, box_noise=1.0)[0]):
        torch.manual_seed(2)
        network.zero_grad()
        loss = loss_of()
        loss.backward()
        results.append([loss.detach(), *(p.grad.clone() for p in network.parameters() if p.grad is not None)])

    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_an_unknown_truth_reaches_no_gradient() -> None:
    network = small()
    samples = batch()
    samples["truths"][:-1] = NAN
    loss, shown = tracking_objective(network, samples, box_noise=1.0)
    loss.backward()

    assert all(value.isfinite() for value in (loss, *shown.values()))
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("grey", [0.0, 255.0])
def test_crops_of_one_grey_without_events_have_finite_gradients(grey: float) -> None:
    network = small()
    samples = batch()
    flat = {name: torch.full_like(samples[name], grey) for name in ("frames", "before", "after")}
    loss, _ = tracking_objective(network, {**samples, **flat, "events": torch.zeros_like(samples["events"])})
    loss.backward()

    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)
