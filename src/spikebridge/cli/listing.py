"""`spikebridge list`.

`spikebridge data`.

`spikebridge copy`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from spikebridge.cli import formatting, targets
from spikebridge.cli import recipes as discovery
from spikebridge.cli.command import Answer, Command, DataFolder, Recipe
from spikebridge.data import catalog as files
from spikebridge.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class List(Command):
    """Show the recipes and the building blocks."""

    def answer(self) -> Answer:
        """Reads sources only; no recipe and no PyTorch is imported."""
        recipes = discovery.list_recipes()
        blocks = {kind: discovery.list_blocks(kind) for kind in discovery.KINDS}
        blocks["data sets"] = [discovery.Listing(known.name, known.about) for known in files.DATA_SETS]
        return Answer({"recipes": recipes, "blocks": blocks}, formatting.listing(recipes, blocks))


@dataclass(frozen=True, kw_only=True)
class Data(Command):
    """Show which data sets are there, and where the others come from."""

    data: DataFolder = None
    """The folder with data sets."""

    def answer(self) -> Answer:
        """Looks for files; nothing is downloaded."""
        entries = files.available(self.data)
        sets = [
            {"name": entry.data_set.name, "present": entry.present, "missing": list(entry.missing)}
            | {"about": entry.data_set.about, "source": entry.data_set.source, "licence": entry.data_set.licence}
            for entry in entries
        ]
        return Answer({"data sets": sets}, formatting.data_sets(sets))


@dataclass(frozen=True, kw_only=True)
class Copy(Command):
    """Copy a recipe into a file of your own, to edit and train."""

    recipe: Recipe
    """A recipe's name."""
    file: Annotated[Path, Positional, arg(metavar="FILE", help_behavior_hint="")]
    """The file to write, such as ./my.py."""

    def answer(self) -> Answer:
        """Writes the file unless there is one already."""
        text = discovery.source(self.recipe)
        if self.file.suffix != ".py":
            raise ConfigError(f"a recipe is a Python file: its name must end in .py, but got {self.file}")
        if self.file.exists():
            raise ConfigError(f"{self.file} exists; name another file or remove it first")
        targets.write_text(self.file, text)
        return Answer({"path": self.file}, f"{self.file}: edit it, then `spikebridge train {self.file}`")
