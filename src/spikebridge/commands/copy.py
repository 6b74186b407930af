"""`spikebridge copy`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from spikebridge import targets
from spikebridge.commands.command import Answer, Command, Recipe
from spikebridge.errors import ConfigError
from spikebridge.recipes import discovery


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
