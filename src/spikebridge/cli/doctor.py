"""`spikebridge doctor`, `list` and `models`: what is installed and what comes with it."""

import importlib.util
import os
import platform
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from tyro.conf import Positional, arg

from spikebridge.cli import formatting, targets
from spikebridge.cli.command import Command, CommandResult, Flag, Network, RunCommand
from spikebridge.cli.recipes import KINDS, Listing, list_building_blocks, list_recipes
from spikebridge.data import catalog
from spikebridge.errors import ConfigError
from spikebridge.training.run.environment import installed_version

_REQUIRED = (
    "torch",
    "lightning-fabric",
    "numpy",
    "scikit-learn",
    "safetensors",
    "jaxtyping",
    "tyro",
    "rich",
    "jinja2",
    "matplotlib",
)
# the module that tells whether an extra is installed
_EXTRAS = {
    "onnx": "onnxscript",
    "nir": "nir",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "aedat": "aedat",
    "faery": "faery",
    "camera": "dv_processing",
    "opencv": "cv2",
    "video": "av",
    "videos": "pymunk",
    "docs": "sphinx",
    "test": "pytest",
}


def _installation_facts() -> dict[str, Any]:
    """Versions, threads, devices, extras, fast paths and data: the facts of a bug report.

    Example:
        >>> facts = _installation_facts()
        >>> sorted(facts)
        ['data', 'devices', 'extras', 'fast paths', 'threads', 'versions']
    """
    import torch

    from spikebridge.ops.sequence.native import description

    devices = ["cpu", *(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))]
    return {
        "versions": {"spikebridge": installed_version("spikebridge"), "python": platform.python_version()}
        | {name: installed_version(name) for name in _REQUIRED},
        "threads": {
            "cores": os.cpu_count(),
            "used": torch.get_num_threads(),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY"),
        },
        "devices": {"found": devices},
        "extras": {name: importlib.util.find_spec(module) is not None for name, module in _EXTRAS.items()},
        "fast paths": {"spiking layers": description()},
        "data": {"SPIKEBRIDGE_DATA": os.environ.get("SPIKEBRIDGE_DATA")},
    }


def _fast_paths() -> list[dict[str, Any]]:
    """Every operation with its implementations in order, and the one that runs a small call here."""
    import torch

    from spikebridge.networks.sensing import native as sensing
    from spikebridge.neurons import Arctan
    from spikebridge.ops.selection import OPERATIONS, select

    operations = {**OPERATIONS, **sensing.OPERATIONS}
    with torch.random.fork_rng(devices=[]):
        return [
            {
                "operation": name,
                "about": operation.about,
                "paths": [{"path": path.name, "when": path.when} for path in operation.paths],
                "here": select(operation, *operation.probe(Arctan())),
            }
            for name, operation in operations.items()
        ]


def _paths_text(operations: list[dict[str, Any]]) -> str:
    """A paragraph for each operation; an arrow marks the path that runs here."""
    lines = []
    for operation in operations:
        lines.append(f"{operation['operation']}: {operation['about']}")
        for path in operation["paths"]:
            mark = "->" if path["path"] == operation["here"] else "  "
            lines.append(f"  {mark} {path['path']:<10} {path['when']}")

    return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Doctor(RunCommand):
    """Check the networks of a run for faults such as silent neurons; without a run, show the installation."""

    run: Annotated[str | None, Positional, arg(metavar="[RUN]", help_behavior_hint="")] = None
    """A run folder; or a recipe, whose networks are checked with pretrained or else untrained weights."""
    network: Network = None
    """The network of the recipe to check."""
    paths: Flag = False
    """List the implementations of each operation, fastest first, and which one runs here."""

    def execute(self) -> CommandResult:
        """Findings, each with a remedy; the exit code is 1 where there are any."""
        if self.run is None and self.recipe is not None:
            raise ConfigError("--recipe names the recipe file of a run, but there is no run")

        if self.paths:
            if self.run is not None:
                raise ConfigError("--paths describes the installation; leave out the run")
            operations = _fast_paths()
            return CommandResult({"operations": operations}, _paths_text(operations))

        if self.run is None:
            facts = _installation_facts()
            return CommandResult(facts, formatting.facts(facts))

        target = targets.resolve_target(self.run, self.own, self.network)
        note = target.training_note()
        findings = target.findings(self.network)
        text = "\n".join([*([note] if note else []), formatting.findings(findings)])
        faulty = bool(findings) or (note is not None and target.run is not None)

        return CommandResult({"training": note or "finished", "findings": findings}, text, code=int(faulty))


@dataclass(frozen=True, kw_only=True)
class List(Command):
    """List the recipes with their presets, and the building blocks."""

    def execute(self) -> CommandResult:
        """Reads sources only; no recipe and no PyTorch is imported."""
        recipes = list_recipes()
        blocks = {kind: list_building_blocks(kind) for kind in KINDS}
        blocks["data sets"] = [Listing(known.name, known.about) for known in catalog.DATA_SETS]
        return CommandResult({"recipes": recipes, "blocks": blocks}, formatting.listing(recipes, blocks))


@dataclass(frozen=True, kw_only=True)
class Models(Command):
    """List the pretrained networks: size, licences, data, figures, and the command that made each."""

    name: Annotated[str | None, Positional, arg(metavar="[NAME]", help_behavior_hint="(default: all)")] = None
    """Only this network."""

    def execute(self) -> CommandResult:
        """Reads the cards; loads no network."""
        from spikebridge.pretrained.models import ModelCard, model_card, model_cards

        def text(card: ModelCard) -> str:
            data = {name: f"{used}; licence {licence}" for name, used, licence, _ in card.data}
            generated = {"generated": card.generated} if card.generated else {}
            rows: dict[str, Any] = {
                "what": card.about,
                "loaded as": f'spikebridge.load_pretrained("{card.name}"): {card.returns}',
                "size": f"{card.num_values} weights; {card.num_bytes / 1e6:.1f} MB of files",
                "licence of the weights": card.weights_licence,
                "made by": card.command,
                "at commit": card.revision,
                "data": data | generated,
                "figures": dict(card.figures),
            }

            return f"{card.name}\n{formatting.facts(rows, '  ')}"

        cards = model_cards() if self.name is None else [model_card(self.name)]
        return CommandResult({"models": [asdict(card) for card in cards]}, "\n\n".join(map(text, cards)))
