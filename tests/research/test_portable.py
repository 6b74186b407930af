"""The tests of other processors: which tests run, and how the probe changes weights."""

import torch

from perturbed_weights import SIZE, perturb
from research.project.portable.run import LEFT_OUT, ROOT, SETTINGS, folders


def test_every_place_that_is_left_out_exists_and_the_others_run() -> None:
    assert [place for place in LEFT_OUT if not (ROOT / place).exists()] == []

    words = dict(folders(SETTINGS["own"]))
    assert {"src", "tests/networks/sensing/tracker", "tests/ops"} <= words.keys()
    assert not any(name.startswith("tests/cli") for name in words)


def test_the_probe_runs_tests_of_networks_alone() -> None:
    words = dict(folders(SETTINGS["perturbed weights, draw 1"]))
    assert "tests/hybrid" in words
    assert not {"src", "tests/ops", "tests"} & words.keys()


def test_weights_change_by_a_millionth_the_same_way_for_the_same_values_and_draw() -> None:
    weights = torch.linspace(0.5, 2.0, 64)
    changed = perturb(weights, draw=1)
    assert torch.equal(changed, perturb(weights.clone(), draw=1))
    assert not torch.equal(changed, perturb(weights, draw=2))

    # a float of 32 bits is rounded by at most 6e-8 of its size
    change = (changed / weights - 1).abs()
    assert change.min() > 0.8 * SIZE
    assert change.max() < 1.2 * SIZE


def test_integers_are_no_weights() -> None:
    counts = torch.arange(4)
    assert perturb(counts, draw=1) is counts
