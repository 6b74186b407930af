"""The trained network of a run; the recipe is the one of this package, whatever the run's folder holds."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from spikebridge.errors import ConfigError
from spikebridge.training.run.run import Run

if TYPE_CHECKING:
    from torch import nn


def network_of_run(run: Run, name: str, seed: int | None = None) -> "nn.Module":
    """The first network of a run with its weights, in eval mode. The recipe is the one of this package.

    Args:
        run: with weights.
        name: of the run, for messages.
        seed: of its training, where there are several; None takes the first one.

    Raises:
        ConfigError: the recipe is not of this package, or there is no such seed.
    """
    if not (Path(__file__).parent.parent / "networks" / run.recipe / "recipe.py").is_file() or "/" in run.recipe:
        raise ConfigError(f"{name!r} is of the recipe {run.recipe!r}, which this package does not have")

    recipe = import_module(f"spikebridge.networks.{run.recipe}.recipe")
    trained = {path: child for path, child in run.children().items() if (child.path / "weights.safetensors").exists()}
    first, untrained = next(iter(recipe.build(run.config_as(recipe.Config)).items()))
    seeds = {int(path.rpartition("-")[2]): child for path, child in trained.items() if path.startswith(f"{first}/")}
    check_seed(name, seed, seeds)
    network: nn.Module = untrained

    if hasattr(recipe, "trained") and (seed is None or len(seeds) == 1):
        network = recipe.trained(run)[first]
    elif seeds:
        seeds[min(seeds) if seed is None else seed].load_weights(network)
    else:
        raise ConfigError(f"{name!r} has no weights of {first!r}")

    return network.eval()


def check_seed(name: str, seed: int | None, seeds: dict[int, Run]) -> None:
    """Refuses a seed that a run does not have."""
    if seed is not None and seed not in seeds:
        raise ConfigError(f"{name!r} has no seed {seed}; it has {', '.join(map(str, sorted(seeds)))}")
