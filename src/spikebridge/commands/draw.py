"""`spikebridge draw`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from spikebridge import targets
from spikebridge.commands.command import Answer, Command, RunOrRecipe

OneNetwork = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: the first one)")]
SvgFile = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: NETWORK.svg)")]


@dataclass(frozen=True, kw_only=True)
class Draw(Command):
    """Draw a network as SVG."""

    target: RunOrRecipe
    """A run folder, a recipe's name or the path of a recipe file."""
    network: OneNetwork = None
    """Which of the recipe's networks."""
    out: SvgFile = None
    """The file to write."""

    def answer(self) -> Answer:
        """Builds the network, sums it up and draws it."""
        target = targets.find(self.target)
        name, network = target.hybrid_network(self.network)
        from spikebridge.analysis import summarize
        from spikebridge.analysis.figures import draw_network

        summary = str(summarize(network, target.inputs(network)))
        path = self.out or Path(f"{name}.svg")
        targets.write_text(path, draw_network(network))
        return Answer({"network": name, "path": path, "summary": summary}, f"{summary}\n\ndrawing: {path}")
