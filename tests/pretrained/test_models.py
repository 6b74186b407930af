"""The pretrained networks load, and their cards say what their records say."""

import json
import re
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest
import torch

import spikebridge
from spikebridge.cli.main import main
from spikebridge.errors import ConfigError
from spikebridge.pretrained import shipped, shipped_run
from spikebridge.pretrained.models import load_pretrained, model_card, model_cards
from spikebridge.recipes.target import resolve_target
from spikebridge.training.run.config_io import reproduce_command

RECIPES = (
    *("sensing", "sensing_research", "modulation", "reasoning", "signals", "signals_ecg", "signals_watch"),
    *("senses_actions", "senses_falls"),
)
every_model = pytest.mark.parametrize("name", shipped())


@every_model
def test_every_network_loads_in_eval_mode_and_is_new_each_time(name: str) -> None:
    first = load_pretrained(name)
    second = load_pretrained(name)

    assert not any(module.training for module in first.modules())

    pairs = list(zip(first.parameters(), second.parameters(), strict=True))
    assert pairs
    assert all(torch.equal(one, other) and one is not other for one, other in pairs)


@every_model
def test_every_card_is_whole(name: str) -> None:
    card = model_card(name)
    assert card.about and card.returns and card.weights_licence and card.command and card.figures
    assert card.data or card.generated
    assert card.num_values > 900
    # float32, and the head of the file
    assert card.num_bytes >= 4 * card.num_values
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", card.revision)


@pytest.mark.parametrize("name", RECIPES)
def test_the_command_of_a_card_is_that_of_its_record(name: str) -> None:
    run = shipped_run(name)
    assert run is not None
    recipe = import_module(f"spikebridge.networks.{run.recipe}.recipe")
    assert model_card(name).command == reproduce_command(run.recipe, run.config_as(recipe.Config))


@pytest.mark.parametrize("recipe", ["digits", "modulation", "reasoning", "senses", "sensing", "signals"])
def test_a_command_leaves_out_the_settings_of_the_preset_with_which_it_begins(recipe: str) -> None:
    module = import_module(f"spikebridge.networks.{recipe}.recipe")
    assert reproduce_command(recipe, module.PRESETS["default"]) == f"spikebridge train {recipe}"


@pytest.mark.parametrize(
    ("name", "module"),
    [("reasoning_detector", "detector"), ("reasoning_parser", "parser"), ("reasoning_predictor", "predictor")],
)
def test_parts_were_trained_with_the_defaults_of_their_command(name: str, module: str) -> None:
    trained: Any = import_module(f"research.reasoning.training.{module}")
    run = shipped_run(name)

    assert run is not None
    assert run.config == vars(getattr(trained, f"{module.capitalize()}Config")())
    assert f"reasoning.training.{module} --out" in model_card(name).command


def test_a_seed_is_chosen_where_there_are_several() -> None:
    weights = [next(load_pretrained("sensing_research", seed=seed).parameters()) for seed in (0, 1)]
    assert not torch.equal(*weights)
    assert torch.equal(weights[0], next(load_pretrained("sensing_research").parameters()))

    load_pretrained("reasoning_parser", seed=0)
    with pytest.raises(ConfigError, match="'sensing_research' has no seed 3; it has 0, 1, 2"):
        load_pretrained("sensing_research", seed=3)

    with pytest.raises(ConfigError, match="'reasoning_parser' has no seed 1; it has 0"):
        load_pretrained("reasoning_parser", seed=1)


def test_the_package_offers_the_function_and_imports_nothing_for_it() -> None:
    assert spikebridge.load_pretrained is load_pretrained
    script = "import sys, spikebridge; assert not {'torch', 'numpy', 'safetensors'} & set(sys.modules); spikebridge.x"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "AttributeError: module 'spikebridge' has no attribute 'x'"


def test_the_command_shows_cards_as_text_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0

    text = capsys.readouterr().out
    for card in model_cards():
        assert f'spikebridge.load_pretrained("{card.name}")' in text
        assert card.command in text

    assert main(["models", "sensing_research", "--json"]) == 0

    (card_again,) = json.loads(capsys.readouterr().out)["models"]
    assert card_again["data"][0][2] == "not stated: research use only"
    assert main(["models", "sensin"]) == 2
    assert "did you mean 'sensing'" in capsys.readouterr().err


def test_commands_take_shipped_weights_by_their_name() -> None:
    target = resolve_target("sensing_research")
    assert target.run is not None and target.run.config["recording"] == "both"
    with pytest.raises(ConfigError, match="neither a run folder nor a recipe"):
        resolve_target("reasoning_detector")
