"""The trained network of a run; the recipe is the one of this package, whatever the run's folder holds."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from spikebridge.errors import ConfigError
from spikebridge.training.run.run import Run

if TYPE_CHECKING:
    from torch import nn


def network_of_run(run: Run, name: str, seed: int | None = None) -> "nn.Module":
    """The first network of a run with its weights, in eval mode; of the first seed if none is named.

    `name` is that of the run in messages.
    """
    # the name comes from a file, so it must not lead out of the package
    file = Path(__file__).parent.parent / "networks" / run.recipe / "recipe.py"
    if "/" in run.recipe or not file.is_file():
        raise ConfigError(f"{name!r} is of the recipe {run.recipe!r}, which this package does not have")

    recipe = import_module(f"spikebridge.networks.{run.recipe}.recipe")
    trained = trained_runs(run)
    first, untrained = next(iter(recipe.build(run.config_as(recipe.Config)).items()))
    numbers = {path.removeprefix(f"{first}/seed-"): child for path, child in trained.items()}
    seeds = {int(number): child for number, child in numbers.items() if number.isdecimal()}
    check_seed(name, seed, seeds)
    network: nn.Module = untrained

    # a recipe that chooses among its seeds does so if the user does not
    if hasattr(recipe, "trained") and (seed is None or len(seeds) == 1):
        network = recipe.trained(run)[first]
    elif seeds:
        seeds[min(seeds) if seed is None else seed].load_weights(network)
    else:
        raise ConfigError(f"{name!r} has no weights of {first!r}")

    return network.eval()


def trained_runs(run: Run) -> dict[str, Run]:
    """The inner runs with weights, by their path, such as "learned/seed-0"."""
    return {path: child for path, child in run.children().items() if child.file("weights.safetensors").is_file()}


def check_seed(name: str, seed: int | None, seeds: dict[int, Run]) -> None:
    """Refuses a seed that a run does not have."""
    if seed is not None and seed not in seeds:
        raise ConfigError(f"{name!r} has no seed {seed}; it has {', '.join(map(str, sorted(seeds)))}")
