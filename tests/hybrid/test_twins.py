"""Twins of equal size: the nearest number of parameters, at any width, without a random number more."""

from typing import Any

import pytest
import torch
from torch import nn

from spikebridge.errors import ConfigError
from spikebridge.hybrid import match_parameters


def mlp(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3))  # 10 width + 3 parameters


@pytest.mark.parametrize("goal", [1, 13, 17, 18, 19, 23, 1003, 1007, 1008, 1009, 65_540])
def test_no_other_width_is_nearer(goal: int) -> None:
    twin = match_parameters(mlp, goal)
    assert twin.num_parameters == 10 * twin.width + 3
    best = min(range(1, 7000), key=lambda width: abs(10 * width + 3 - goal))
    assert twin.width == best


def test_frozen_parameters_do_not_count() -> None:
    target = mlp(20)
    target[0].requires_grad_(False)
    assert match_parameters(mlp, target).num_parameters == 63  # 20 * 3 + 3


def test_a_twin_begins_as_the_builder_alone_makes_it() -> None:
    torch.manual_seed(0)
    twin = match_parameters(mlp, 333)
    torch.manual_seed(0)
    alone = mlp(33)
    assert all(torch.equal(a, b) for a, b in zip(twin.network.parameters(), alone.parameters(), strict=True))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((mlp, nn.ReLU()), "needs a network with trainable parameters, but got a ReLU"),
        ((mlp, 0), "needs a network with trainable parameters, but got 0"),
        ((mlp, 12.5), "but got 12.5"),
        ((mlp, None), "but got None"),
        ((lambda width: mlp(4), 100), "needs a build that grows, but width 2 has 43 parameters again"),
        ((lambda width: width, 100), "needs a build.* but it made 1"),
    ],
)
def test_a_comparison_that_cannot_be_made_is_refused(arguments: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        match_parameters(*arguments)


def test_a_smallest_width_is_kept() -> None:
    assert match_parameters(mlp, 13, min_width=9).width == 9
    with pytest.raises(ConfigError, match="min_width as an integer of at least 1, but got 0"):
        match_parameters(mlp, 1000, min_width=0)
