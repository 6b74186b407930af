"""The base class of all commands: a dataclass whose docstring is the help and whose fields are the options.

Nothing heavy is imported before a command is executed, so that `--help` and `list` take no time.
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
class CommandResult:
    """The result of a command: `data` for JSON, `text` for the terminal, and the exit code.

    Of several processes only the first one prints.
    """

    data: dict[str, Any]
    text: str
    code: int = 0
    printed: bool = True


@dataclass(frozen=True, kw_only=True)
class Command:
    """The options that all commands share."""

    json: Flag = False
    """Print one JSON document to stdout; everything else goes to stderr."""

    @classmethod
    def specialize(cls, program: str, words: list[str]) -> tuple[Any, str, list[str]]:
        """The dataclass to parse into, the program name in its help, and the arguments that are left to parse."""
        return cls, program, words

    def execute(self) -> CommandResult:
        """Does the work and gives the result."""
        raise NotImplementedError


def add_settings(command: type[Command], name: str, word: str, settings: Any) -> Any:
    """A command with the fields of a recipe's settings as further options.

    Args:
        command: the command.
        name: its first field.
        word: the value of that field, the first argument.
        settings: the recipe's settings with the values to start from, a dataclass.

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
