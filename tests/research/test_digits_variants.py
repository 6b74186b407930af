"""The digits networks that left the recipe: equal sizes, fixed units, and a recipe file that trains them."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from research.digits import variants
from spikebridge.analysis.summary import num_parameters
from spikebridge.training import Run

pytestmark = pytest.mark.untyped

SMALL = dataclasses.replace(variants.PRESETS["quick"], networks=("fixed", "modulation"), epochs=1, num_train=32)


@pytest.mark.parametrize("name", ["fixed", "modulation"])
def test_parameters_are_those_of_the_learned_hybrid_to_within_five_percent(name: str) -> None:
    goal = num_parameters(SMALL.network("learned"))
    assert abs(num_parameters(SMALL.network(name)) / goal - 1) < 0.05


def test_the_frames_reach_an_answer_that_reads_the_snn_alone() -> None:
    torch.manual_seed(0)
    network: Any = SMALL.network("modulation")
    # the learned modulation starts without effect: give it one
    torch.nn.init.normal_(network.units["what_to_where"].nonlinearity[0].weight, std=5.0)

    seen = variants.example(SMALL)
    unseen = seen | {"frames": torch.zeros_like(seen["frames"])}
    answers = [network(inputs, ticks=12)[0]["answer"] for inputs in (seen, unseen)]

    assert not torch.equal(*answers)


def test_both_are_trained_scored_and_reported(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", "variants", SMALL)
    results = variants.train(SMALL, run, quiet=True)

    assert [row["network"] for row in results["networks"]] == ["fixed", "modulation"]
    assert variants.evaluate(run)["accuracy by window"] == results["accuracy by window"]
    assert "variants.py" in variants.report(run).read_text()
