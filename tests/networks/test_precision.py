"""Every precision trains every network of every recipe."""

from copy import deepcopy
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any, get_args, get_type_hints

import pytest
import torch
from torch import Tensor, nn

from spikebridge.hybrid import HybridNetwork
from spikebridge.networks.digits import recipe as digits
from spikebridge.training import WHOLE, Batches, Phase, Settings, fit

PRECISIONS = get_args(get_type_hints(Settings)["precision"])
SENSING = ("learned", "fixed", "none", "no_prior")
NAMES = {
    "digits": tuple(digits.VARIANTS),
    "modulation": ("hmn",),
    "reasoning": ("collisions",),
    "sensing": SENSING,
}


@cache
def networks_and_example(recipe: str) -> tuple[dict[str, nn.Module], dict[str, Tensor]]:
    module = import_module(f"spikebridge.networks.{recipe}.recipe")
    config = module.PRESETS["quick"]
    if recipe in ("digits", "sensing"):
        config = replace(config, networks=NAMES[recipe])

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return module.build(config), module.example(config)


@cache
def loss_in_single_precision(recipe: str, name: str) -> float:
    networks, example = networks_and_example(recipe)
    return float(objective(networks[name], example).detach())


def values_of(outputs: Any) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs] if outputs.is_floating_point() else []
    return [value for one in (outputs.values() if isinstance(outputs, dict) else outputs) for value in values_of(one)]


def objective(network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    if isinstance(network, HybridNetwork):
        # frames alone would last for ever: their clock is that of the recording
        ticks = len(batch["events"]) if "boxes" in batch else None
        outputs = network({name: batch[name] for name in network.inputs}, ticks=ticks)[0]
    else:
        (x,) = batch.values()
        outputs = network(x)[0]

    losses = [value.float().tanh().mean() for value in values_of(outputs)]
    return torch.stack(losses).sum()


def test_every_precision_of_an_option_is_tested() -> None:
    for recipe in NAMES:
        hints = get_type_hints(import_module(f"spikebridge.networks.{recipe}.recipe").Config)
        assert set(get_args(hints.get("precision", Any))) <= set(PRECISIONS)


@pytest.mark.untyped
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("recipe", "name"), [(recipe, name) for recipe, names in NAMES.items() for name in names])
def test_a_step_of_training_in_every_precision(recipe: str, name: str, precision: Any) -> None:
    networks, example = networks_and_example(recipe)
    network = deepcopy(networks[name])
    expected = loss_in_single_precision(recipe, name)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    data = Batches(example, dict.fromkeys(example, 1))
    phase = Phase("all", WHOLE, objective, 1, lambda parameters: torch.optim.SGD(parameters, lr=1e-3))
    settings = Settings(accelerator="cpu", precision=precision, batch_size=len(data), quiet=True)
    (row,) = fit(network, [phase], data, settings=settings)

    assert abs(row["loss"] - expected) < 0.02 + 0.05 * abs(expected)
    assert all(value.isfinite().all() for value in network.parameters())
    assert any(
        not torch.equal(value.to(before[name].dtype), before[name]) for name, value in network.named_parameters()
    )
