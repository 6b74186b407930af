"""Backbone, units, gates, the objective, and the inference of the task."""

import logging
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spikebridge.data import GroupedPermutations
from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid import KWinners, Threshold
from spikebridge.networks.modulation import Backbone, GateTable, Gating, GaussianPrototypes
from spikebridge.networks.modulation.evaluation.scores import density_report
from spikebridge.networks.modulation.model.gating import sample_mean_unit
from spikebridge.networks.modulation.model.task_inference import means_of
from spikebridge.networks.modulation.training.tasks import LabelledInputs, TaskSequence
from spikebridge.networks.modulation.training.units import (
    TaskPairDataset,
    cosines,
    density_floor_loss,
    dissimilarity_loss,
)


def preactivations(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(st.floats(0.001, 1.0), st.integers(1, 60), st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_k_winners_open_exactly_the_same_number_for_every_task(rho: float, size: int, seed: int) -> None:
    values = preactivations(3, 1, 4, size, seed=seed).round(decimals=1)  # with ties
    opened = KWinners(rho)(values, 1)[0]

    assert set(opened.unique().tolist()) <= {0.0, 1.0}
    assert (opened.sum(-1) == max(1, round(rho * size))).all()
    assert (
        torch.where(opened > 0, values, torch.inf).amin(-1) >= torch.where(opened > 0, -torch.inf, values).amax(-1)
    ).all()


def test_ties_open_the_lower_index_and_saturated_signals_are_ranked_before_the_sigmoid() -> None:
    values = torch.tensor([40.0, 60.0, 50.0, 50.0]).reshape(1, 1, 1, 4)
    assert torch.sigmoid(values).unique().numel() == 1  # all saturate: after the sigmoid they are equal
    assert KWinners(0.5)(values, 1)[0].flatten().tolist() == [0.0, 1.0, 1.0, 0.0]


def test_k_winners_pass_a_gradient_straight_through() -> None:
    values = preactivations(1, 1, 2, 6).requires_grad_()
    KWinners(0.5)(values, 1)[0].sum().backward()
    assert torch.allclose(values.grad, torch.sigmoid(values) * (1 - torch.sigmoid(values)))


def test_the_report_of_opening_counts_layers_and_warns_of_few(caplog: pytest.LogCaptureFixture) -> None:
    gates = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0]]).bool()
    with caplog.at_level(logging.WARNING):
        (row,) = density_report([gates])

    assert row == {
        "layer": 1, "mean": 0.5, "min": 0.5, "max": 0.5, "fewest open": 2, "never open": 0.25, "always open": 0.25,
    }  # fmt: skip
    assert "below 50" in caplog.text


def test_a_free_pair_settles_where_the_objective_is_smallest() -> None:
    cosine = torch.full((1, 1, 1), 0.4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([cosine], lr=0.2)

    for _ in range(100):
        loss = dissimilarity_loss(cosine, torch.tensor([0.72], dtype=torch.float64))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    # the derivative 2 (D - Y) - Y is 0 at D = 1.5 Y, with Y = 1 - .72
    assert cosine.item() == pytest.approx(1 - 1.5 * 0.28, abs=1e-6)


def test_cosines_are_of_every_sample_with_every_other() -> None:
    # 2 * 3 / (2 * 5), and orthogonal signals
    found = cosines(torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[3.0, 4.0], [0.0, 1.0]]]))
    assert found[0, 0].tolist() == pytest.approx([0.6, 0.0])


def test_the_floor_acts_below_the_minimum_alone_and_sums_layers() -> None:
    assert density_floor_loss([torch.full((1, 2, 4), 0.5)], rho=0.1).item() == 0
    assert density_floor_loss([torch.full((1, 2, 4), 0.04), torch.full((1, 2, 4), 0.07)], 0.1).item() == pytest.approx(
        0.09
    )


def test_the_second_unit_thresholds_the_mean_over_samples() -> None:
    # eq. 17: the mean of (0.4, 0.8) is 0.6 > 1/2, that of (0.9, 0.05) is 0.475
    signals = torch.tensor([[[0.4, 0.9]], [[0.8, 0.05]]])
    assert sample_mean_unit(2, Threshold(0.5))(signals)[0].flatten().tolist() == [1.0, 0.0]


def test_a_soft_gate_of_samples_can_close_what_most_samples_open() -> None:
    signals = torch.tensor([[[0.55]], [[0.55]], [[0.1]]])
    assert (signals > 0.5).float().mean().item() > 0.5
    assert sample_mean_unit(3, Threshold(0.5))(signals)[0].item() == 0


def test_the_backbone_sees_the_mean_over_time_of_centred_recordings() -> None:
    backbone = Backbone(5, (4, 3), num_steps=2).initialise(torch.Generator().manual_seed(0))
    x = torch.rand(2, 6, 5)
    backbone.fit_mean(x)
    expected = (x.mean(0) - x.mean()) @ backbone.heads[1].weight.T

    assert torch.allclose(backbone(x)[1], expected, atol=1e-6)
    with pytest.raises(ShapeError, match="recordings of 2 steps"):
        backbone(torch.rand(1, 6, 5))


def test_a_projection_of_uncentred_pictures_opens_nearly_the_same_for_every_task() -> None:
    orders = GroupedPermutations(64, 6, group_size=1, generator=torch.Generator().manual_seed(0))
    means = torch.rand(64, generator=torch.Generator().manual_seed(1))
    shown = means[orders.permutations].unsqueeze(0)
    overlap = []

    for centred in (False, True):
        gating = Gating(Backbone(64, (200, 200)).initialise(torch.Generator().manual_seed(2)), [KWinners(0.1)] * 2)
        if centred:
            gating.backbone.fit_mean(shown)
        gates = gating.gates(gating.preactivations(shown), num_samples=1)[0].float()
        overlap.append(((gates @ gates.T).sum() - gates.sum()).item() / (6 * 5 * 20))

    assert overlap[0] > 2 * overlap[1]


def table() -> GateTable:
    first = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 0, 0]]).bool()
    return GateTable([first, first])


def test_the_nearest_gate_is_found_and_ties_go_to_the_lower_task() -> None:
    query = torch.tensor([[2.0, 2.0, -1.0, 0.0], [-1.0, 3.0, 3.0, 0.0]])
    # task 2 has the gate of task 0
    assert table().infer_task([query, query]).tolist() == [0, 1]


def test_gates_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="one row for each task"):
        GateTable([torch.ones(2, 3).bool(), torch.ones(1, 3).bool()])

    with pytest.raises(ShapeError, match="8 neurons"):
        table().infer_task([torch.ones(1, 3)])

    with pytest.raises(ConfigError, match="a discretizer for each of 2 layers, but got 1"):
        Gating(Backbone(4, (6, 6)), [KWinners(0.5)])


def test_covariances_distinguish_tasks_of_one_mean() -> None:
    draw = torch.Generator().manual_seed(0)
    first = torch.randn(4000, 3, generator=draw) @ torch.tensor([[1.0, 0.9, 0.0], [0.0, 0.4, 0.0], [0.0, 0.0, 1.0]])
    second = first * torch.tensor([1.0, -1.0, 1.0])  # the same variances, the other correlation
    found = GaussianPrototypes.fit([first[:2000], second[:2000]])
    right = [(found.infer_task(x[2000:]) == k).float().mean().item() for k, x in enumerate((first, second))]

    assert min(right) > 0.75
    # samples of one task together, and memory that does not depend on how many samples there were
    assert found.infer_task(first[2000:], num_samples=10).tolist() == [0] * 200
    assert (len(found), found.num_values) == (2, 2 * (3 + 6))


def test_likelihoods_are_those_of_the_normal_distribution() -> None:
    covariance = torch.tensor([[2.0, 0.5], [0.5, 1.0]])
    mean = torch.tensor([1.0, -1.0])
    x = torch.tensor([[0.0, 0.0], [2.0, 1.0]])
    exact = torch.distributions.MultivariateNormal(mean, covariance).log_prob(x)
    found = GaussianPrototypes(mean[None], covariance[None]).log_likelihoods(x)[:, 0]

    assert torch.allclose(found - exact, torch.full((2,), math.log(2 * math.pi)), atol=1e-5)


def test_constant_features_do_not_decide_alone() -> None:
    values = torch.cat([preactivations(200, 2), torch.zeros(200, 1)], 1)
    estimate = GaussianPrototypes.fit([values, values + torch.tensor([5.0, 5.0, 0.0])]).infer_task(torch.zeros(1, 3))

    assert estimate.tolist() == [0]
    with pytest.raises(ShapeError, match="have 3 features, but got 2"):
        GaussianPrototypes.fit([values]).infer_task(torch.zeros(1, 2))

    with pytest.raises(ShapeError, match="do not go with"):
        GaussianPrototypes(torch.zeros(2, 3), torch.zeros(2, 3))


def test_queries_are_means_of_neighbours() -> None:
    assert means_of(torch.tensor([[1.0], [3.0], [10.0], [20.0], [7.0]]), 2).flatten().tolist() == [2.0, 15.0]
    with pytest.raises(ConfigError, match="from 1 to 2"):
        means_of(torch.ones(2, 1), 3)


def sequence_of(tasks: GroupedPermutations, images: Tensor) -> TaskSequence:
    """All tasks but those of the last group train the backbone."""
    inputs = LabelledInputs(images, torch.zeros(len(images), dtype=torch.int64))
    return TaskSequence(tasks, tasks.split(1, ()), inputs, inputs)


def test_pairs_show_each_task_its_own_order_and_balance_groups() -> None:
    tasks = GroupedPermutations(10, 24, generator=torch.Generator().manual_seed(0))
    images = torch.arange(200.0).reshape(20, 10)
    pairs = TaskPairDataset(sequence_of(tasks, images), 400, torch.Generator().manual_seed(1))

    assert pairs.share_in_group == pytest.approx(0.5, abs=0.08)
    assert max(int(pairs.pairs.first.max()), int(pairs.pairs.second.max())) < 20

    batch = pairs.select(torch.tensor([7]))
    first = int(pairs.pairs.first[7])
    second = int(pairs.pairs.second[7])
    sets = [pairs.samples[side][7] for side in (0, 1)]

    assert not set(sets[0].tolist()) & set(sets[1].tolist())
    assert torch.equal(batch.first[0], images[sets[0]][:, tasks.permutations[first]])
    assert torch.equal(batch.second[0], images[sets[1]][:, tasks.permutations[second]])
    assert batch.similarity.item() == tasks.similarity[first, second]


def test_training_brings_signals_of_similar_tasks_together() -> None:
    tasks = GroupedPermutations(16, 24, generator=torch.Generator().manual_seed(0))
    # every image is like the mean one, as digits are
    images = torch.linspace(-1, 1, 16) + 0.3 * preactivations(50, 16)
    pairs = TaskPairDataset(sequence_of(tasks, images), 320, torch.Generator().manual_seed(2))
    backbone = Backbone(16, (40, 40), scale=5.0).initialise(torch.Generator().manual_seed(3)).fit_mean(images[None])
    optimizer = torch.optim.Adam(backbone.parameters(), lr=3e-2)

    def loss(indices: Tensor) -> Tensor:
        batch = pairs.select(indices)
        sides = [backbone.signals(backbone.preactivations(side)) for side in (batch.first, batch.second)]
        layers = zip(*sides, strict=True)
        return torch.stack([dissimilarity_loss(cosines(a, b), batch.similarity) for a, b in layers]).sum()

    before = loss(torch.arange(320)).item()
    for indices in torch.arange(320).split(16):
        optimizer.zero_grad()
        loss(indices).backward()
        optimizer.step()

    assert loss(torch.arange(320)).item() < before - 0.05


@pytest.mark.parametrize("rho", [0.0, 1.5])
def test_shares_out_of_range_are_refused(rho: float) -> None:
    with pytest.raises(ConfigError, match="share of open neurons"):
        KWinners(rho)


def test_a_gate_of_nan_is_nan() -> None:
    h = torch.tensor([0.1, math.nan, 0.3, 0.4]).reshape(1, 1, 1, 4)
    assert KWinners(0.5)(h, length=1)[0].isnan().flatten().tolist() == [False, True, False, False]
