"""`spikebridge draw` and `replay`: a network as a diagram, and on an example over time."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from spikebridge.cli import formatting
from spikebridge.cli.command import CommandResult, OneNetwork, RunCommand, RunOrRecipe, write_file
from spikebridge.data.io.atomic import check_target
from spikebridge.recipes.bundle import is_bundle, open_bundle
from spikebridge.recipes.target import resolve_target

_log = logging.getLogger(__name__)

_Drawn = Annotated[str, Positional, arg(metavar="RUN_RECIPE_OR_BUNDLE", help_behavior_hint="")]
_SvgFile = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: NETWORK.svg)")]
_PageFile = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: NETWORK.html)")]
_LayerPaths = Annotated[tuple[str, ...], arg(metavar="PATH", help_behavior_hint="(default: all)")]


@dataclass(frozen=True, kw_only=True)
class Draw(RunCommand):
    """Draw a network, or the parts and files of a bundle, as an SVG diagram."""

    target: _Drawn
    """A run folder, a recipe's name, the path of a recipe file, or the folder of a bundle."""
    network: OneNetwork = None
    """The network of the recipe to draw."""
    out: _SvgFile = None
    """The SVG file to write."""

    def execute(self) -> CommandResult:
        """Builds the network, sums it up and draws it."""
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
    network: OneNetwork = None
    """The network of the recipe."""
    sample: Annotated[int, arg(metavar="N")] = 0
    """The sample of the recipe's example."""
    layers: _LayerPaths = ()
    """The layers of neurons to show, such as `where.lif1`."""
    out: _PageFile = None
    """The HTML file to write."""

    def execute(self) -> CommandResult:
        """Records the network and writes the page."""
        if self.out is not None:
            check_target(self.out)

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
