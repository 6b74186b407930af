"""`spikebridge list`."""

from dataclasses import dataclass

from spikebridge import layout
from spikebridge.commands.command import Answer, Command
from spikebridge.data import files
from spikebridge.recipes import discovery


@dataclass(frozen=True, kw_only=True)
class List(Command):
    """Show the recipes and the building blocks."""

    def answer(self) -> Answer:
        """Reads sources only; no recipe and no PyTorch is imported."""
        recipes = discovery.list_recipes()
        blocks = {kind: discovery.list_blocks(kind) for kind in discovery.KINDS}
        blocks["data sets"] = [discovery.Listing(known.name, known.about) for known in files.DATA_SETS]
        return Answer({"recipes": recipes, "blocks": blocks}, layout.listing(recipes, blocks))
