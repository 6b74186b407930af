"""`spikebridge push` and `pull`: runs and bundles on a Hugging Face hub."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from spikebridge.cli.command import Command, CommandResult, Flag

_Pushed = Annotated[Path, Positional, arg(metavar="RUN_OR_BUNDLE", help_behavior_hint="")]
_Repository = Annotated[str, Positional, arg(metavar="OWNER/NAME", help_behavior_hint="")]
_Pulled = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: NAME)")]


@dataclass(frozen=True, kw_only=True)
class Push(Command):
    """Upload a run or a bundle to a Hugging Face hub, with a model card made from its record (extra: hub)."""

    folder: _Pushed
    """The folder of a run or a bundle."""
    repository: _Repository
    """The repository; it is made where there is none."""
    private: Flag = False
    """Make a new repository private."""

    def execute(self) -> CommandResult:
        """Uploads the files of a run or a bundle."""
        from spikebridge.pretrained.hub import push

        address = push(self.folder, self.repository, private=self.private)
        return CommandResult({"repository": self.repository, "address": address}, address)


@dataclass(frozen=True, kw_only=True)
class Pull(Command):
    """Download a run or a bundle from a Hugging Face hub and check the hash of every file (extra: hub)."""

    repository: _Repository
    """The repository."""
    out: _Pulled = None
    """The folder to create."""

    def execute(self) -> CommandResult:
        """Downloads, checks and writes; nothing of it is executed."""
        from spikebridge.pretrained.hub import pull

        folder = pull(self.repository, self.out or Path(self.repository.rpartition("/")[2]))
        return CommandResult({"repository": self.repository, "folder": folder}, str(folder))
