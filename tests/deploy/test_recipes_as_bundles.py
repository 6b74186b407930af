"""Recipes as bundles, and the commands: export, compare, run. Weights are quick ones: drawn, not trained."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from research.digits import variants
from spikebridge.cli.main import main
from spikebridge.deploy import Bundle, compare_bundle, export
from spikebridge.networks.digits import recipe as digits
from spikebridge.networks.modulation import recipe as modulation
from spikebridge.networks.reasoning import recipe as reasoning
from spikebridge.pretrained import shipped_run
from spikebridge.training import Run

pytestmark = pytest.mark.untyped

PICTURES = Path(__file__).resolve().parent.parent.parent / "docs" / "images"


def stirred(network: nn.Module, by: float = 0.05) -> nn.Module:
    """Untrained units have no effect; these have."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += by * torch.randn(parameter.shape, generator=generator)

    return network


def compared(network: Any, example: dict[str, Any], path: Path) -> Bundle:
    names = getattr(network, "inputs", example)
    bundle = export(network, {name: example[name] for name in names}, path)
    comparison = compare_bundle(bundle)

    assert comparison.passed, [row for row in comparison.rows if not row.passed]
    return bundle


@pytest.mark.parametrize("name", ["fixed", "snn", "ann"])
def test_networks_of_the_digits_recipe(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = variants.PRESETS["quick"]
    compared(stirred(digits.build(config)[name]), digits.example(config), tmp_path / "b")


def test_the_modulation_network_with_its_k_winners(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = modulation.PRESETS["quick"]
    bundle = compared(modulation.build(config)["hmn"], modulation.example(config), tmp_path / "b")
    unit = next(link.unit for link in bundle.manifest.links if link.name == "unit1")

    assert unit is not None
    assert unit.discretizer is not None
    assert unit.discretizer.name == "KWinners"


def test_the_collision_unit_of_the_reasoning_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = reasoning.PRESETS["quick"]
    unit = reasoning.build(config)["collisions"]
    unit.set_threshold(-9.0)
    compared(unit, reasoning.example(config), tmp_path / "b")


@pytest.mark.parametrize("recipe", [modulation, reasoning])
def test_shipped_weights_go_into_a_bundle(recipe: Any, tmp_path: Path) -> None:
    run = shipped_run(recipe.__name__.split(".")[-2])
    assert run is not None
    (network,) = recipe.trained(run).values()
    compared(network, recipe.example(run.config_as(recipe.Config)), tmp_path / "b")


def test_a_run_goes_from_export_to_compare_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    config = digits.PRESETS["quick"]
    run = Run.create(tmp_path / "run", "digits", config)
    run.child("learned/seed-0").save_weights(stirred(digits.build(config)["learned"]))

    assert main(["export", "run", "--out", "b", "--json"]) == 0

    printed = json.loads(capsys.readouterr().out)
    assert (printed["network"], printed["passed"], printed["left_out"]) == ("learned", True, [])
    assert main(["compare", "b", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"] is True
    assert main(["run", "b", "--json"]) == 0

    printed = json.loads(capsys.readouterr().out)
    assert (printed["ticks"], printed["outputs"][0]["output"]) == (12, "answer")

    assert main(["draw", "b", "--out", "b.svg"]) == 0
    assert "snn/where.nir" in capsys.readouterr().out
    assert Path("b.svg").read_text() == (PICTURES / "digits-bundle.svg").read_text(), "spikebridge draw BUNDLE"

    assert main(["compare", "b", "--tolerance", "1e-12"]) == 1
    assert "NOT within tolerance" in capsys.readouterr().out

    for words, message in (
        (["export", "run", "--out", "b"], "is there already"),
        (["export", "run", "--network", "snn", "--out", "c"], "no weights of 'snn'"),
        (["compare", "run"], "is not a bundle"),
        (["draw", "b", "--network", "snn"], "holds one network; leave --network out"),
        (["run", "b", "--input", "lost.npz"], "lost.npz: expected an npz file, but there is no such file"),
    ):
        assert main(words) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert message in error

    assert not (tmp_path / "c").exists()
