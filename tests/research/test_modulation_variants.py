"""Methods that the modulation recipe compared earlier: their gates, their branch, and a training of each."""

import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from research.modulation.branch import ORIGINAL, VariantBranch, VariantSettings
from research.modulation.gates import BinGating, bin_loss, group_gates, share_gates, similarity_loss
from research.modulation.variants import VARIANTS, Config, matched_width, settings_of, train
from spikebridge.cli.command import parse_command
from spikebridge.cli.train import Train
from spikebridge.errors import ConfigError
from spikebridge.hybrid import KWinners
from spikebridge.networks.modulation import recipe as modulation
from spikebridge.networks.modulation.model.branch import extract_subnetwork
from spikebridge.training import Run

pytestmark = pytest.mark.untyped

PROJECT = Path(__file__).resolve().parents[2]

TINY = Config(
    data=modulation.DataConfig(num_train=20, num_test=40),
    tasks=modulation.TaskConfig(num_tasks=4, num_prior=8, group_size=2),
    network=modulation.BranchConfig(num_hidden=60, num_plain=20, rho=0.2),
    units=modulation.UnitConfig(num_pairs=16),
    training=modulation.TrainingConfig(epochs=1, num_fisher=10),
)
EARLIER = tuple(name for name in VARIANTS if name not in modulation.Config().methods)


def preactivations(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(st.floats(0, 1), st.integers(0, 2**16))
@settings(max_examples=30, deadline=None)
def test_sharing_keeps_the_opening_and_copies_the_share(share: float, seed: int) -> None:
    values = preactivations(1, 40, seed=seed)
    preactivation = torch.cat([values, values + 0.3 * preactivations(2, 40, seed=seed + 1)])  # three similar tasks
    own = KWinners(0.25)(preactivation[None, None], 1)[0][0, 0].bool()
    (gates,) = share_gates([own], [preactivation], share, threshold=0.0)

    assert gates.sum(1).tolist() == [10, 10, 10]
    assert torch.equal(gates[0], own[0])
    assert int((gates[1] & gates[0]).sum()) >= round(10 * share)


def test_a_task_without_a_similar_one_keeps_its_own_gate() -> None:
    preactivation = torch.tensor([[3.0, 2.0, 0.0, 0.0], [0.0, 0.0, 3.0, 2.0], [0.0, 1.0, 3.0, 2.0]])
    own = KWinners(0.5)(preactivation[None, None], 1)[0][0, 0].bool()
    (gates,) = share_gates([own], [preactivation], share=1.0)

    assert gates.int().tolist() == [[1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    # no later task plays a part
    assert torch.equal(share_gates([own[:2]], [preactivation[:2]], share=1.0)[0], gates[:2])
    with pytest.raises(ConfigError, match="from 0 to 1"):
        share_gates([own], [preactivation], share=1.5)


def test_groups_share_one_gate() -> None:
    sequence = modulation.task_sequence(TINY, 0, *modulation.recordings(TINY))
    first, _ = group_gates(settings_of(TINY, "group"), sequence)

    assert torch.equal(first[0], first[1]) and torch.equal(first[2], first[3])
    assert not torch.equal(first[1], first[2])
    assert (first.sum(1) == 12).all()


@pytest.mark.parametrize("weight", [0.0, 1.0, 1.5])
def test_a_free_pair_settles_above_its_similarity(weight: float) -> None:
    cosine = torch.full((1, 1, 1), 0.4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([cosine], lr=0.2)

    for _ in range(100):
        loss = similarity_loss(cosine, torch.tensor([0.5], dtype=torch.float64), weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    assert cosine.item() == pytest.approx((1 + weight / 2) * 0.5, abs=1e-6)


def test_bins_count_the_worst_layer_and_uneven_use() -> None:
    even = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    other = torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]]])

    # each bin of the two samples stands on another neuron: D = 1, its target 0, to the fourth power
    assert bin_loss([even, even], [even, other], torch.tensor([1.0])).item() == pytest.approx(1.0)

    one_bin = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    # the empty bin has cosine 0: its D = 1 is the target, that of the full bin is 0; use is off by 1/2
    assert bin_loss([one_bin], [one_bin], torch.tensor([0.0])).item() == pytest.approx(0.5 + 0.05 * 0.5)


def test_more_closing_bins_open_fewer_neurons() -> None:
    shares = []
    for rho in (0.7, 0.5, 0.2):
        gating = BinGating(4, (300, 300), rho)
        shares.append((gating.score(preactivations(20, 3000)) > 0).float().mean().item())

    assert shares[0] > shares[1] > shares[2]
    assert shares[1] == pytest.approx(0.5, abs=0.03)


def test_a_neuron_opens_by_its_strongest_bin() -> None:
    gating = BinGating(4, (2, 2), rho=0.5, num_bins=2)
    score = gating.score(torch.tensor([[0.25, 0.75, 1.0, 0.0]]))
    assert score.tolist() == [[0.5, -1.0]]


def test_the_wide_branch_has_the_parameters_of_a_gated_one_with_its_units() -> None:
    assert matched_width(64, 2000, 40) == 2064


@pytest.mark.parametrize(
    "options",
    [
        VariantSettings(num_steps=4, readout="mean", learn_threshold=True),
        dataclasses.replace(ORIGINAL, num_steps=4),
    ],
    ids=["mean", "original"],
)
def test_the_sub_network_of_a_varied_branch_gives_the_same_outputs(options: VariantSettings) -> None:
    whole = VariantBranch(6, (12, 10), 3, options).initialise(torch.Generator().manual_seed(0), gain=2.0).double()
    x = torch.rand(1, 20, 6, generator=torch.Generator().manual_seed(1)).double()
    gates = [torch.arange(12) % 2 == 0, torch.arange(10) < 5]
    masked = whole(x, **whole.modulation([gate.double() for gate in gates]))

    assert torch.allclose(masked, extract_subnetwork(whole, gates)(x), atol=1e-12)


def test_the_original_branch_is_that_of_the_released_code() -> None:
    assert (ORIGINAL.num_steps, ORIGINAL.v_threshold, ORIGINAL.leak, ORIGINAL.bias) == (10, 0.2, 1, False)
    assert VariantBranch(4, (6, 6), 10, ORIGINAL).inlet.bias is None


def test_rates_as_logits_flatten_the_softmax() -> None:
    # ten outputs of which one fires always: e / (e + 9), whatever the network has learnt
    rates = torch.zeros(10)
    rates[3] = 1.0
    assert rates.softmax(0).max().item() == pytest.approx(0.232, abs=5e-4)

    scaled = VariantBranch(6, (12, 10), 10, dataclasses.replace(ORIGINAL, logit_scale=10.0))
    assert scaled.read(rates.expand(4, 1, 10)).softmax(1).max().item() > 0.99


def test_every_variant_is_trained_and_scored(tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, methods=EARLIER)
    results = train(config, Run.create(tmp_path / "run", "variants", config), quiet=True)

    assert [row["method"] for row in results["methods"]] == list(EARLIER)
    assert all(0 <= row["ACC"] <= 1 for row in results["methods"])


@pytest.mark.parametrize(
    "words",
    [
        ["research/modulation/variants.py", "--methods", "projection", "snn_ewc", "hmn_shared"],
        ["research/digits/variants.py", "--networks", "fixed", "modulation"],
    ],
    ids=["modulation", "digits"],
)
def test_the_command_takes_what_left_the_recipes(words: list[str]) -> None:
    recipe, option, *names = words
    settings = parse_command(Train, "spikebridge train", [str(PROJECT / recipe), option, *names]).settings
    assert list(vars(settings)[option[2:]]) == names
