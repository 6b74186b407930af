"""Phases: their settings, the names in them, and parameters frozen meanwhile."""

from typing import Any

import pytest
import torch
from torch import nn

from spikebridge.errors import ConfigError
from spikebridge.ops.modes import evaluating
from spikebridge.training.phase import check_phases, find, trainable_only


class Hybrid(nn.Module):
    """Looks like a hybrid network from outside: parts and units by name."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(
            {"what": nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), "where": nn.Linear(2, 1)}
        )
        self.units = nn.ModuleDict({"what_to_where": nn.Linear(2, 2), "fixed": nn.Identity()})


def trained(module: nn.Module) -> list[str]:
    return [name for name, parameter in module.named_parameters() if parameter.requires_grad]


def test_parts_and_units_are_found_by_their_names_and_anything_by_its_path() -> None:
    network = Hybrid()
    assert find(network, "where") is network.parts["where"]
    assert find(network, "what_to_where") is network.units["what_to_where"]
    assert find(network, "what.0.bias") is network.parts["what"][0].bias
    assert find(network, "parts.where") is network.parts["where"]
    assert find(network, "") is network


def test_a_path_wins_over_a_part() -> None:
    network = Hybrid()
    network.where = nn.Linear(1, 1)
    assert find(network, "where") is network.where


def test_an_unknown_name_is_an_error_that_proposes_one() -> None:
    with pytest.raises(ConfigError, match=r"nothing is called 'were' in Hybrid: did you mean 'where'\?"):
        find(Hybrid(), "were")


def test_a_thing_without_parameters_cannot_be_trained() -> None:
    with pytest.raises(ConfigError, match="'fixed' has no parameters"), trainable_only(Hybrid(), ["fixed"]):
        pass


@pytest.mark.parametrize("name", ["", "what", "parts.what", "parts"])
def test_what_was_frozen_before_stays_frozen_in_a_named_part(name: str) -> None:
    network = Hybrid()
    network.parts["what"][0].weight.requires_grad_(False)
    with trainable_only(network, [name]):
        assert "parts.what.0.weight" not in trained(network)
        assert "parts.what.0.bias" in trained(network)

    with trainable_only(network, [name, "what.0.weight"]):
        assert "parts.what.0.weight" in trained(network)
    assert not network.parts["what"][0].weight.requires_grad


@pytest.mark.parametrize("name", ["", "where", "units.what_to_where"])
def test_a_part_that_is_frozen_as_a_whole_cannot_be_trained(name: str) -> None:
    network = Hybrid().requires_grad_(False)
    with pytest.raises(ConfigError, match=r"is frozen: none of .*requires_grad_\(\)"), trainable_only(network, [name]):
        pass


def test_what_is_not_named_is_frozen_and_in_eval_mode() -> None:
    network = Hybrid()
    with trainable_only(network, ["where", "what_to_where"]):
        assert trained(network) == [
            "parts.where.weight",
            "parts.where.bias",
            "units.what_to_where.weight",
            "units.what_to_where.bias",
        ]

        assert not network.parts["what"][1].training
        assert network.parts["where"].training


def test_a_parameter_can_be_trained_alone_and_leaves_modes_alone() -> None:
    network = Hybrid()
    with trainable_only(network, ["what.1.weight"]):
        assert trained(network) == ["parts.what.1.weight"]
        assert not network.parts["what"][1].training


def test_after_a_phase_everything_is_as_it_was_also_after_an_error() -> None:
    network = Hybrid()
    network.parts["what"].eval()
    network.parts["where"].weight.requires_grad_(False)
    modes = [part.training for part in network.modules()]
    names = trained(network)

    with pytest.raises(RuntimeError, match="stop"), trainable_only(network, ["where"]):
        network.parts["where"](torch.ones(1, 2)).sum().backward()
        raise RuntimeError("stop")

    assert [part.training for part in network.modules()] == modes
    assert trained(network) == names
    assert all(parameter.grad is None for parameter in network.parameters())


def test_evaluating_gives_every_submodule_its_own_mode_back() -> None:
    network = Hybrid()
    network.parts["what"].eval()
    modes = [part.training for part in network.modules()]

    with evaluating(network):
        assert not any(part.training for part in network.modules())
        assert not torch.is_grad_enabled()

    assert [part.training for part in network.modules()] == modes
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": "where"}, r"write train=\('where',\)"),
        ({"train": ()}, "trains nothing"),
        ({"epochs": 0}, "at least 1 epoch, but got 0"),
        ({"clip": 0.0}, "clip > 0, but got 0.0"),
        ({"clip": float("nan")}, "clip > 0, but got nan"),
    ],
)
def test_a_phase_that_cannot_be_meant_is_refused(phase: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        phase(**changes)


def test_two_phases_of_one_name_are_refused(phase: Any) -> None:
    with pytest.raises(ConfigError, match="two phases are called 'line'"):
        check_phases([phase(), phase()])
