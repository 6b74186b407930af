"""`spikebridge draw`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from spikebridge import layout, targets
from spikebridge.commands.command import Answer, Command
from spikebridge.errors import ConfigError

OneNetwork = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: the first one)")]
SvgFile = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: NETWORK.svg)")]
Drawn = Annotated[str, Positional, arg(metavar="RUN_RECIPE_OR_BUNDLE", help_behavior_hint="")]


@dataclass(frozen=True, kw_only=True)
class Draw(Command):
    """Draw a network as SVG, or a bundle with the file of each part."""

    target: Drawn
    """A run folder, a recipe's name, the path of a recipe file, or the folder of a bundle."""
    network: OneNetwork = None
    """Which of the recipe's networks."""
    out: SvgFile = None
    """The file to write."""

    def answer(self) -> Answer:
        """Builds the network, sums it up and draws it."""
        if targets.is_bundle(self.target):
            return self._draw_bundle(Path(self.target))
        target = targets.find(self.target)
        name, network = target.hybrid_network(self.network)
        from spikebridge.analysis import summarize
        from spikebridge.analysis.figures import draw_network

        summary = str(summarize(network, target.inputs(network)))
        path = self.out or Path(f"{name}.svg")
        targets.write_text(path, draw_network(network))
        return Answer({"network": name, "path": path, "summary": summary}, f"{summary}\n\ndrawing: {path}")

    def _draw_bundle(self, folder: Path) -> Answer:
        if self.network is not None:
            raise ConfigError(f"{folder} is a bundle, which holds one network; leave --network out")
        from spikebridge.analysis.bundle_drawing import draw_bundle
        from spikebridge.deploy.bundle import Bundle

        bundle = Bundle.open(folder)
        path = self.out or Path(f"{folder.resolve().stem}.svg")
        targets.write_text(path, draw_bundle(asdict(bundle.manifest)))
        parts = [{"part": name, "side": one.side, "file": one.file} for name, one in bundle.manifest.parts.items()]
        return Answer({"bundle": folder, "path": path, "parts": parts}, f"{layout.table(parts)}\n\ndrawing: {path}")
