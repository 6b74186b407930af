"""Bundles of trained networks: which words name one, the export of a run, the load for a placement on chips."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikebridge.errors import ConfigError
from spikebridge.recipes.target import OwnRecipe, Target

if TYPE_CHECKING:
    from spikebridge.analysis.chips import NetworkLoad
    from spikebridge.deploy.bundle.bundle import Bundle


def is_bundle(word: str) -> bool:
    """True if a word names the folder of a bundle."""
    return (Path(word) / "manifest.json").is_file()


def open_bundle(word: str, own: OwnRecipe, network: str | None = None) -> "Bundle":
    """A bundle; neither a recipe file nor a network may be named for it, since it holds one network and no code."""
    if network is not None:
        raise ConfigError(f"{word} is a bundle, which holds one network; leave --network out")
    if own.recipe is not None:
        raise ConfigError(f"{word} is a bundle, which needs no recipe; leave --recipe out")

    from spikebridge.deploy.bundle.bundle import Bundle

    return Bundle.open(Path(word))


def export_target(
    target: Target,
    network: str | None,
    out: Path | None,
    progress: Callable[[str], None],
    retrained: Any = None,
) -> tuple[str, "Bundle"]:
    """Exports a trained network on the recipe's example, with the record of its run; gives its name and the bundle.

    `retrained` is the same network with other weights, which takes its place.
    """
    name, trained, run = target.trained_network(network)
    trained = trained if retrained is None else retrained
    from spikebridge.deploy.bundle.export import export

    # a layer that is no hybrid network has one input without a name
    inputs: Any = target.inputs(trained)
    card = {
        "recipe": run.recipe,
        "network": name,
        "config": run.config,
        "results": run.results() if run.finished else {},
        "environment": run.environment() if run.file("environment.json").is_file() else {},
    }

    bundle = export(
        trained,
        inputs if isinstance(inputs, dict) else {"signal": inputs},
        out or Path(f"{name}.bundle"),
        card=card,
        progress=progress,
    )
    return name, bundle


def class_names(bundle: "Bundle") -> tuple[str, ...]:
    """The names of the classes of a bundle's network; none where its record has no names."""
    results = bundle.manifest.card.get("results")
    names = results.get("classes") if isinstance(results, dict) else None
    is_named = isinstance(names, list) and all(isinstance(name, str) for name in names)

    return tuple(names) if is_named and names else ()


def load_of_bundle(bundle: "Bundle") -> "NetworkLoad":
    """The needs of the parts and links of a bundle on its sample; memory is the size of their files."""
    import torch

    from spikebridge.analysis.chips import measure_load
    from spikebridge.deploy.bundle.rebuild import rebuild

    manifest = bundle.manifest
    memory = {name: float(manifest.files[part.file].size) for name, part in manifest.parts.items()}
    for link in manifest.links:
        if link.numbers is not None and link.source in memory:
            memory[link.source] += manifest.files[link.numbers].size

    inputs = {name: torch.from_numpy(x.copy()) for name, x in bundle.sample_inputs().items()}
    return measure_load(rebuild(bundle), inputs, memory)
