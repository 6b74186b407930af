"""Backbone, units, opening, objectives and the search for the task."""

import logging
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spikebridge.data import GroupedPermutations
from spikebridge.errors import ConfigError, ShapeError
from spikebridge.hybrid import Discretizer, Threshold
from spikebridge.networks.modulation import Backbone, GateTable, Gating, GaussianPrototypes, KWinners
from spikebridge.networks.modulation.model.backbone import BinUnit, sample_mean_unit
from spikebridge.networks.modulation.model.gating import DensityController, density_report, share_gates
from spikebridge.networks.modulation.model.task_inference import means_of
from spikebridge.networks.modulation.training.objectives import (
    OBJECTIVES,
    TaskPairDataset,
    bin_loss,
    cosines,
    density_floor_loss,
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


def test_the_density_controller_sets_the_thresholded_opening_of_the_mean_over_tasks() -> None:
    tasks = preactivations(40, 500) + 3 * preactivations(40, 1, seed=1)  # tasks of unlike strength
    control = DensityController(0.2).fit(tasks)
    opened = control(tasks.reshape(1, 1, 40, 500), 1)[0][0, 0]

    assert abs(opened.mean().item() - 0.2) < 0.01
    assert opened.mean(1).std() > 0.05  # single tasks differ: k-winners would not


def test_openings_pass_a_gradient_straight_through() -> None:
    for unit in (KWinners(0.5), DensityController(0.5)):
        values = preactivations(1, 1, 2, 6).requires_grad_()
        unit(values, 1)[0].sum().backward()
        assert torch.allclose(values.grad, torch.sigmoid(values) * (1 - torch.sigmoid(values)))


def test_the_report_of_opening_counts_layers_and_warns_of_few(caplog: pytest.LogCaptureFixture) -> None:
    gates = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0]]).bool()
    with caplog.at_level(logging.WARNING):
        (row,) = density_report([gates])

    assert row == {
        "layer": 1, "mean": 0.5, "min": 0.5, "max": 0.5, "fewest open": 2, "never open": 0.25, "always open": 0.25,
    }  # fmt: skip
    assert "below 50" in caplog.text


@pytest.mark.parametrize("weight", [0.0, 1.0, 1.5])
def test_a_free_pair_settles_where_the_table_says(weight: float) -> None:
    for name, overlap in (("similarity", 0.5), ("dissimilarity", 0.72)):
        cosine = torch.full((1, 1, 1), 0.4, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD([cosine], lr=0.2)

        for _ in range(100):
            loss = OBJECTIVES[name](cosine, torch.tensor([overlap], dtype=torch.float64), weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        free = (1 + weight / 2) * overlap if name == "similarity" else 1 - (1 + weight / 2) * (1 - overlap)
        assert cosine.item() == pytest.approx(free, abs=1e-6)


def test_the_floor_acts_below_the_minimum_alone_and_sums_layers() -> None:
    assert density_floor_loss([torch.full((1, 2, 4), 0.5)], rho=0.1).item() == 0
    assert density_floor_loss([torch.full((1, 2, 4), 0.04), torch.full((1, 2, 4), 0.07)], 0.1).item() == pytest.approx(
        0.09
    )


def test_bins_count_the_worst_layer_and_uneven_use() -> None:
    even = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    other = torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]]])

    # each bin of the two samples stands on another neuron: D = 1, wanted 0, to the fourth power
    assert bin_loss([even, even], [even, other], torch.tensor([1.0])).item() == pytest.approx(1.0)

    one_bin = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    # the empty bin has cosine 0; its D = 1 is as wanted, that of the full bin is 0: mean of 1 and 0, use off by 1/2
    assert bin_loss([one_bin], [one_bin], torch.tensor([0.0])).item() == pytest.approx(0.5 + 0.05 * 0.5)


def test_more_closed_bins_open_fewer_neurons() -> None:
    preactivation = preactivations(20, 300 * 10)
    shares = [BinUnit(10, closed)(preactivation).float().mean().item() for closed in (3, 5, 8)]
    assert shares[0] > shares[1] > shares[2]
    assert shares[1] == pytest.approx(0.5, abs=0.03)


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


def table(new_below: float | None = None) -> GateTable:
    first = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 0, 0]]).bool()
    return GateTable([first, first], new_below)


def test_the_nearest_gate_is_found_and_ties_go_to_the_lower_task() -> None:
    query = torch.tensor([[2.0, 2.0, -1.0, 0.0], [-1.0, 3.0, 3.0, 0.0]])
    estimate = table().infer_task([query, query])

    assert estimate.task.tolist() == [0, 1]
    assert estimate.margin[0].item() == pytest.approx(0)  # task 2 has the same gate
    assert estimate.margin[1] > 0
    assert not estimate.is_new.any()


def test_a_query_that_no_gate_is_near_to_is_a_new_task() -> None:
    query = torch.tensor([[2.0, 2.0, 0.0, 0.0], [0.0, 0.1, 0.0, 5.0]])
    estimate = table(new_below=0.5).infer_task([query, query])
    assert estimate.is_new.tolist() == [False, True]


def test_a_table_has_one_bit_a_neuron_and_task() -> None:
    assert table().num_bits == 3 * 8
    with pytest.raises(ShapeError, match="one row for each task"):
        GateTable([torch.ones(2, 3).bool(), torch.ones(1, 3).bool()])

    with pytest.raises(ShapeError, match="8 neurons"):
        table().infer_task([torch.ones(1, 3)])


def test_how_numbers_vary_together_tells_tasks_of_one_mean_apart() -> None:
    draw = torch.Generator().manual_seed(0)
    first = torch.randn(4000, 3, generator=draw) @ torch.tensor([[1.0, 0.9, 0.0], [0.0, 0.4, 0.0], [0.0, 0.0, 1.0]])
    second = first * torch.tensor([1.0, -1.0, 1.0])  # the same variances, the other correlation
    found = GaussianPrototypes.fit([first[:2000], second[:2000]])
    right = [(found.infer_task(x[2000:]).task == k).float().mean().item() for k, x in enumerate((first, second))]

    assert min(right) > 0.75
    # samples of one task together, and memory that does not depend on how many samples there were
    assert found.infer_task(first[2000:], num_samples=10).task.tolist() == [0] * 200
    assert (len(found), found.num_values) == (2, 2 * (3 + 6))


def test_likelihoods_are_those_of_the_normal_distribution() -> None:
    covariance = torch.tensor([[2.0, 0.5], [0.5, 1.0]])
    mean = torch.tensor([1.0, -1.0])
    x = torch.tensor([[0.0, 0.0], [2.0, 1.0]])
    exact = torch.distributions.MultivariateNormal(mean, covariance).log_prob(x)
    found = GaussianPrototypes(mean[None], covariance[None]).log_likelihoods(x)[:, 0]

    assert torch.allclose(found - exact, torch.full((2,), math.log(2 * math.pi)), atol=1e-5)


def test_numbers_that_never_change_do_not_decide_alone() -> None:
    values = torch.cat([preactivations(200, 2), torch.zeros(200, 1)], 1)
    estimate = GaussianPrototypes.fit([values, values + torch.tensor([5.0, 5.0, 0.0])]).infer_task(torch.zeros(1, 3))

    assert estimate.task.tolist() == [0]
    with pytest.raises(ShapeError, match="have 3 features, but got 2"):
        GaussianPrototypes.fit([values]).infer_task(torch.zeros(1, 2))

    with pytest.raises(ShapeError, match="do not go with"):
        GaussianPrototypes(torch.zeros(2, 3), torch.zeros(2, 3))


@given(st.floats(0, 1), st.integers(0, 2**16))
@settings(max_examples=30, deadline=None)
def test_sharing_keeps_the_opening_and_takes_over_the_share(share: float, seed: int) -> None:
    values = preactivations(1, 40, seed=seed)
    preactivation = torch.cat([values, values + 0.3 * preactivations(2, 40, seed=seed + 1)])  # three similar tasks
    own = KWinners(0.25)(preactivation[None, None], 1)[0][0, 0].bool()
    (gates,) = share_gates([own], [preactivation], share, threshold=0.0)

    assert gates.sum(1).tolist() == [10, 10, 10]
    assert torch.equal(gates[0], own[0])
    assert int((gates[1] & gates[0]).sum()) >= round(10 * share)


def test_a_task_that_is_near_to_none_keeps_its_own_gate() -> None:
    preactivation = torch.tensor([[3.0, 2.0, 0.0, 0.0], [0.0, 0.0, 3.0, 2.0], [0.0, 1.0, 3.0, 2.0]])
    own = KWinners(0.5)(preactivation[None, None], 1)[0][0, 0].bool()
    (gates,) = share_gates([own], [preactivation], share=1.0)

    assert gates.int().tolist() == [[1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    # no later task is looked at
    assert torch.equal(share_gates([own[:2]], [preactivation[:2]], share=1.0)[0], gates[:2])
    with pytest.raises(ConfigError, match="from 0 to 1"):
        share_gates([own], [preactivation], share=1.5)


def test_queries_are_means_of_neighbours_alone() -> None:
    assert means_of(torch.tensor([[1.0], [3.0], [10.0], [20.0], [7.0]]), 2).flatten().tolist() == [2.0, 15.0]
    with pytest.raises(ConfigError, match="from 1 to 2"):
        means_of(torch.ones(2, 1), 3)


def test_pairs_show_each_task_its_own_order_and_balance_groups() -> None:
    tasks = GroupedPermutations(10, 40, generator=torch.Generator().manual_seed(0))
    images = torch.arange(60.0).reshape(6, 10)
    allowed = torch.arange(20)
    draw = torch.Generator().manual_seed(1)
    pairs = TaskPairDataset(tasks, allowed, images, 400, num_samples=3, generator=draw)

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
    # every picture is like the mean one, as digits are
    images = torch.linspace(-1, 1, 16) + 0.3 * preactivations(50, 16)
    pairs = TaskPairDataset(tasks, torch.arange(24), images, 320, 4, generator=torch.Generator().manual_seed(2))
    backbone = Backbone(16, (40, 40), scale=5.0).initialise(torch.Generator().manual_seed(3)).fit_mean(images[None])
    optimizer = torch.optim.Adam(backbone.parameters(), lr=3e-2)

    def loss(indices: Tensor) -> Tensor:
        batch = pairs.select(indices)
        sides = [backbone.signals(backbone.preactivations(side)) for side in (batch.first, batch.second)]
        layers = zip(*sides, strict=True)
        return torch.stack([OBJECTIVES["dissimilarity"](cosines(a, b), batch.similarity) for a, b in layers]).sum()

    before = loss(torch.arange(320)).item()
    for indices in torch.arange(320).split(16):
        optimizer.zero_grad()
        loss(indices).backward()
        optimizer.step()

    assert loss(torch.arange(320)).item() < before - 0.05


@pytest.mark.parametrize("make", [lambda: KWinners(0.0), lambda: DensityController(1.5), lambda: BinUnit(5, 5)])
def test_openings_that_cannot_be_meant_are_refused(make: object) -> None:
    with pytest.raises(ConfigError):
        make()  # type: ignore[operator]


@pytest.mark.parametrize("gate", [KWinners(0.5), DensityController(0.5)], ids=["winners", "density"])
def test_a_gate_of_nan_is_nan(gate: Discretizer) -> None:
    h = torch.tensor([0.1, math.nan, 0.3, 0.4]).reshape(1, 1, 1, 4)
    assert gate(h, length=1)[0].isnan().flatten().tolist() == [False, True, False, False]
