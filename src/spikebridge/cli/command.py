"""What all commands of `spikebridge` share: a dataclass whose docstring is the help and whose fields are the options.

Nothing heavy is imported before a command runs, so that help and `list` answer at once.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional, Suppress, arg

from spikebridge.errors import ConfigError

Flag = Annotated[bool, FlagCreatePairsOff, arg(help_behavior_hint="")]
Network = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: all)")]
DataFolder = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: $SPIKEBRIDGE_DATA)")]
Recipe = Annotated[str, Positional, arg(metavar="RECIPE", help_behavior_hint="")]
RunOrRecipe = Annotated[str, Positional, arg(metavar="RUN_OR_RECIPE", help_behavior_hint="")]
SETTINGS = "settings"


@dataclass(frozen=True)
class Answer:
    """What a command found out: `data` for machines, `text` for people, and the exit code.

    Of several processes only the first one tells.
    """

    data: dict[str, Any]
    text: str
    code: int = 0
    told: bool = True


@dataclass(frozen=True, kw_only=True)
class Command:
    """What all commands share."""

    json: Flag = False
    """Print one JSON document to stdout; everything else goes to stderr."""

    @classmethod
    def form(cls, program: str, words: list[str]) -> tuple[Any, str, list[str]]:
        """The dataclass to fill, the name its help gives, and the words left to fill it with."""
        return cls, program, words

    def answer(self) -> Answer:
        """Does the work."""
        raise NotImplementedError


def with_settings(command: type[Command], name: str, word: str, settings: Any) -> Any:
    """A command with the fields of a recipe's own dataclass as further options.

    Args:
        command: the command.
        name: its first field, which the word fills.
        word: what stood first on the line.
        settings: the recipe's options with the values to start from, a dataclass.

    Raises:
        ConfigError: an option of the recipe has the name of one of the command.
    """
    kind: Any = type(settings)
    clash = {own.name for own in dataclasses.fields(command)} & {other.name for other in dataclasses.fields(kind)}
    if clash:
        raise ConfigError(
            f"{word}: {kind.__name__} has {', '.join(sorted(clash))}, an option of the command itself; rename it"
        )
    fields: list[Any] = [
        (name, Suppress[str], field(default=word)),
        (SETTINGS, Annotated[kind, arg(name="")], field(default=settings)),
    ]
    return dataclasses.make_dataclass(command.__name__, fields, bases=(command,), frozen=True, kw_only=True)
