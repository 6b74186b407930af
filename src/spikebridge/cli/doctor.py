"""`spikebridge doctor`, `draw`, `replay`, `list` and `models`: networks and the installation, looked at."""

import logging
import os
import platform
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from spikebridge._requirements import unfit_versions
from spikebridge.cli import formatting
from spikebridge.cli.command import (
    Command,
    CommandResult,
    File,
    Flag,
    Name,
    RunCommand,
    RunOrRecipe,
    RunRecipeOrBundle,
    write_file,
)
from spikebridge.data import catalog
from spikebridge.data.io.atomic import check_target
from spikebridge.errors import ConfigError
from spikebridge.recipes.bundle import is_bundle, open_bundle
from spikebridge.recipes.outline import BLOCKS, Listing, list_building_blocks, list_recipes
from spikebridge.recipes.target import resolve_target
from spikebridge.training.run.environment import installed_version

if TYPE_CHECKING:
    from spikebridge.pretrained.models import ModelCard

_log = logging.getLogger(__name__)

_LayerPaths = Annotated[tuple[str, ...], arg(metavar="PATH", help_behavior_hint="(default: all)")]


@dataclass(frozen=True, kw_only=True)
class Doctor(RunCommand):
    """Check the networks of a run for faults such as silent neurons; without a run, show the installation."""

    run: Annotated[str | None, Positional, arg(metavar="[RUN]", help_behavior_hint="")] = None
    """A run folder; or a recipe, whose networks are checked with pretrained or else untrained weights."""
    network: Name = None
    """The network of the recipe to check (default: all)."""
    paths: Flag = False
    """List the implementations of each operation, fastest first, and which one runs here."""

    def execute(self) -> CommandResult:
        """Findings, each with a remedy; the exit code is 1 where there are any."""
        if self.run is None and self.recipe is not None:
            raise ConfigError("--recipe names the recipe file of a run, but there is no run")

        if self.paths:
            if self.run is not None:
                raise ConfigError("--paths describes the installation; leave out the run")
            operations = _operations()
            return CommandResult({"operations": operations}, formatting.operations(operations))

        if self.run is None:
            facts = _installation_facts()
            return CommandResult(facts, formatting.facts(facts), code=int("unfit" in facts))

        target = resolve_target(self.run, self.own, self.network)
        note = target.training_note()
        findings = target.findings(self.network)
        text = "\n".join([*([note] if note else []), formatting.findings(findings)])
        # a recipe that was never trained is no fault, a run without weights is
        faulty = bool(findings) or (note is not None and target.run is not None)

        return CommandResult({"training": note or "finished", "findings": findings}, text, code=int(faulty))


def _installation_facts() -> dict[str, Any]:
    """Versions, threads, devices, extras, fast paths and data: the facts of a bug report."""
    packages = _packages()
    versions = {"spikebridge": installed_version("spikebridge"), "python": platform.python_version()}
    versions |= {name: installed_version(name) for name in packages.pop("")}
    unfit = unfit_versions()
    if unfit:
        return {"versions": versions, "unfit": unfit}

    import torch

    from spikebridge.ops.sequence.native import description

    devices = ["cpu", *(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))]
    return {
        "versions": versions,
        "threads": {
            "cores": os.cpu_count(),
            "used": torch.get_num_threads(),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY"),
        },
        "devices": {"found": devices},
        "extras": {extra: all(map(installed_version, names)) for extra, names in packages.items()},
        "fast paths": {"spiking layers": description()},
        "data": {"SPIKEBRIDGE_DATA": os.environ.get("SPIKEBRIDGE_DATA")},
    }


def _packages() -> dict[str, list[str]]:
    """The packages that each extra needs, and under an empty name those that the program itself needs."""
    # slow, and no help page needs it
    from importlib.metadata import requires

    packages: dict[str, list[str]] = {"": []}
    for requirement in requires("spikebridge") or ():
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        extra = re.search(r"extra == ['\"](\w+)", requirement)
        packages.setdefault(extra[1] if extra else "", []).append(name)

    return packages


def _operations() -> list[dict[str, Any]]:
    """Every operation with its implementations in order, and the one that runs a small call here."""
    import torch

    from spikebridge.networks.sensing import native as sensing
    from spikebridge.neurons import Arctan
    from spikebridge.ops.selection import OPERATIONS, select

    operations = {**OPERATIONS, **sensing.OPERATIONS}

    # a probe may draw numbers
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


@dataclass(frozen=True, kw_only=True)
class Draw(RunCommand):
    """Draw a network, or the parts and files of a bundle, as an SVG diagram."""

    target: RunRecipeOrBundle
    """A run folder, a recipe's name, the path of a recipe file, or the folder of a bundle."""
    network: Name = None
    """The network of the recipe to draw (default: the first one)."""
    out: File = None
    """The SVG file to write (default: NETWORK.svg)."""

    def execute(self) -> CommandResult:
        # before the work, which a wrong path would lose
        if self.out is not None:
            check_target(self.out)
        if is_bundle(self.target):
            return self._draw_bundle()

        target = resolve_target(self.target, self.own, self.network)
        name, network = target.hybrid_network(self.network)
        from spikebridge.analysis.plots.figures import draw_network
        from spikebridge.analysis.summary import summarize

        _log.info("counting the operations of %s", name)
        summary = str(summarize(network, target.inputs(network)))
        _log.info("drawing %s", name)
        path = self.out or Path(f"{name}.svg")
        write_file(path, draw_network(network))

        return CommandResult({"network": name, "path": path, "summary": summary}, f"{summary}\n\ndrawing: {path}")

    def _draw_bundle(self) -> CommandResult:
        from spikebridge.analysis.plots.bundle_diagram import draw_bundle

        manifest = open_bundle(self.target, self.own, self.network).manifest
        folder = Path(self.target)
        path = self.out or Path(f"{folder.resolve().stem}.svg")
        write_file(path, draw_bundle(asdict(manifest)))
        parts = [{"part": name, "side": one.side, "file": one.file} for name, one in manifest.parts.items()]

        return CommandResult(
            {"bundle": folder, "path": path, "parts": parts}, f"{formatting.table(parts)}\n\ndrawing: {path}"
        )


@dataclass(frozen=True, kw_only=True)
class ReplayNetwork(RunCommand):
    """Run a network on an example and write a page that replays it: spikes, membranes, units and outputs over time."""

    target: RunOrRecipe
    """A run folder, a recipe's name, or the path of a recipe file; without a run the network is untrained."""
    network: Name = None
    """The network of the recipe (default: the first one)."""
    sample: Annotated[int, arg(metavar="N")] = 0
    """The sample of the recipe's example."""
    layers: _LayerPaths = ()
    """The layers of neurons to show, such as `where.lif1`."""
    out: File = None
    """The HTML file to write (default: NETWORK.html)."""

    def execute(self) -> CommandResult:
        if self.out is not None:
            check_target(self.out)

        # an untrained network can be replayed, too; the page says so
        target = resolve_target(self.target, self.own)
        name, network = target.hybrid_network(self.network)
        note = target.training_note()
        if note is None:
            name, network, _ = target.trained_network(name)

        from spikebridge.analysis.replay.network import record_network
        from spikebridge.analysis.report import Section, write_report

        replay = record_network(network, target.inputs(network), self.sample, self.layers or None, name)
        path = self.out or Path(f"{name}.html")
        section = Section("Replay", [] if note is None else f"{note[0].upper()}{note[1:]}.", replays=[replay])
        write_report(path, f"{name} on an example", [section], {"network": self.target, "sample": self.sample})
        lanes = [{"lane": lane.name, "shown": lane.note} for lane in replay.lanes]

        return CommandResult(
            {"network": name, "page": path, "lanes": lanes}, f"{formatting.table(lanes)}\n\npage: {path}"
        )


@dataclass(frozen=True, kw_only=True)
class List(Command):
    """List the recipes with their presets, and the building blocks."""

    def execute(self) -> CommandResult:
        """Reads sources only; no recipe and no PyTorch is imported."""
        recipes = list_recipes()
        blocks = {kind: list_building_blocks(kind) for kind in BLOCKS}
        blocks["data sets"] = [Listing(known.name, known.about) for known in catalog.DATA_SETS]
        return CommandResult({"recipes": recipes, "blocks": blocks}, formatting.listing(recipes, blocks))


@dataclass(frozen=True, kw_only=True)
class Models(Command):
    """List the pretrained networks: size, licences, data, figures, and the command that made each."""

    name: Annotated[str | None, Positional, arg(metavar="[NAME]", help_behavior_hint="(default: all)")] = None
    """Only this network."""

    def execute(self) -> CommandResult:
        from spikebridge.pretrained.models import model_card, model_cards

        cards = model_cards() if self.name is None else [model_card(self.name)]
        return CommandResult({"models": [asdict(card) for card in cards]}, "\n\n".join(map(_card_text, cards)))


def _card_text(card: "ModelCard") -> str:
    data = {name: f"{used}; licence {licence}" for name, used, licence, _ in card.data}
    rows: dict[str, Any] = {
        "what": card.about,
        "loaded as": f'spikebridge.load_pretrained("{card.name}"): {card.returns}',
        "size": f"{card.num_values} weights; {card.num_bytes / 1e6:.1f} MB of files",
        "licence of the weights": card.weights_licence,
        "made by": card.command,
        "at commit": card.revision,
        "data": data | ({"generated": card.generated} if card.generated else {}),
        "figures": dict(card.figures),
    }

    return f"{card.name}\n{formatting.facts(rows, '  ')}"
