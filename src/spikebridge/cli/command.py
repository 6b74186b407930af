"""The base class of all commands: a dataclass whose docstring is the help and whose fields are the options.

Nothing heavy is imported before a command is executed, so that `--help` and `list` take no time.
"""

import contextlib
import dataclasses
import inspect
import io
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, cast

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, Suppress, arg
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from spikebridge.cli.words import parser_refusal, unknown_option
from spikebridge.data.io.atomic import check_target, make_parents, write_text
from spikebridge.data.io.number_text import parse_integer, parse_real
from spikebridge.errors import ConfigError
from spikebridge.recipes.target import OwnRecipe
from spikebridge.threads import parse_threads, set_threads

_Threads = Annotated[str, arg(metavar="N|auto")]
Flag = Annotated[bool, FlagCreatePairsOff, arg(help_behavior_hint="")]
Recipe = Annotated[str, Positional, arg(metavar="RECIPE", help_behavior_hint="")]
RunOrRecipe = Annotated[str, Positional, arg(metavar="RUN_OR_RECIPE", help_behavior_hint="")]
RunRecipeOrBundle = Annotated[str, Positional, arg(metavar="RUN_RECIPE_OR_BUNDLE", help_behavior_hint="")]
File = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")]
Folder = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")]
Name = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")]
Chip = Annotated[str | None, arg(metavar="NAME_OR_FILE", help_behavior_hint="(default: none)")]
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

    shows_progress: ClassVar[bool] = False

    json: Flag = False
    """Print one JSON document to stdout; everything else goes to stderr."""
    threads: _Threads = "auto"
    """Number of threads of a computation; auto: OMP_NUM_THREADS if it is set, else 1."""

    @classmethod
    def specialize(cls, program: str, words: list[str]) -> tuple[Any, str, list[str]]:
        """The dataclass to parse into, the program name in its help, and the arguments that are left to parse."""
        return cls, program, words

    def execute(self) -> CommandResult:
        """Does the work and gives the result."""
        raise NotImplementedError


C = TypeVar("C", bound=Command)


@dataclass(frozen=True, kw_only=True)
class RunCommand(Command):
    """The options of commands that open a run."""

    recipe: File = None
    """The recipe file of your own that made the run, or FILE.py:FUNCTION, which builds the network of a training with
    `fit` (default: the recipe of the package). It is executed; a run folder never names code to execute."""
    edited: Flag = False
    """Accept a recipe file that was edited after the run was started."""

    @property
    def own(self) -> OwnRecipe:
        """The recipe file of the run, as the user named it."""
        return OwnRecipe(self.recipe, self.edited)


def parse_command(command: type[C], program: str, words: list[str]) -> C | None:
    """A command with its options set, or None where only its help was asked for."""
    form, program, words = command.specialize(program, words)
    try:
        parsed, unknown = _parse_options(form, program, words)
    except SystemExit:
        # only the help was asked for
        return None

    if unknown:
        raise ConfigError(_unknown_word(unknown[0], form, program))

    return cast(C, parsed)


def _parse_options(form: Any, program: str, words: list[str]) -> tuple[Any, list[str]]:
    """The options of a dataclass, and the words that are none of its options; `--help` stops with `SystemExit(0)`."""
    output = io.StringIO()
    try:
        with contextlib.redirect_stderr(output), _strict_numbers():
            parsed, unknown = tyro.cli(
                form,
                prog=program,
                # that of tyro would lose the indent of the first command line
                description=inspect.getdoc(form),
                args=words,
                return_unknown_args=True,
            )
    except SystemExit as stop:
        # after the help
        if not stop.code:
            raise
        raise ConfigError(parser_refusal(stop, output.getvalue(), program)) from None

    return parsed, list(unknown)


@lru_cache
def _strict_numbers() -> ConstructorRegistry:
    """Rules of tyro under which `1_3` is no number."""
    registry = ConstructorRegistry()
    parsers: dict[Any, Callable[[str], Any]] = {int: parse_integer, float: parse_real}

    def rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        parse = parsers.get(info.type)
        if parse is None:
            return None

        return PrimitiveConstructorSpec(
            nargs=1,
            metavar=info.type.__name__.upper(),
            instance_from_str=lambda words: parse(words[0]),
            is_instance=lambda value: isinstance(value, int if info.type is int else (int, float)),
            str_from_instance=lambda value: [str(value)],
        )

    registry.primitive_rule(rule)
    return registry


def add_settings(command: type[Command], name: str, word: str, settings: Any) -> Any:
    """A command with the fields of a recipe's settings as further options.

    Its first argument, the field `name`, has the value `word` already; the settings have the values to start from.
    """
    kind: Any = type(settings)
    clash = {own.name for own in dataclasses.fields(command)} & {other.name for other in dataclasses.fields(kind)}
    if clash:
        raise ConfigError(
            f"{word}: {kind.__name__} has {', '.join(sorted(clash))}, an option of the command itself; rename it"
        )

    # the first argument is parsed already, and settings have no prefix of their own
    fields: list[Any] = [
        (name, Suppress[str], field(default=word)),
        (SETTINGS, Annotated[kind, arg(name="")], field(default=settings)),
    ]
    return dataclasses.make_dataclass(command.__name__, fields, bases=(command,), frozen=True, kw_only=True)


def own_options(command: type[Command]) -> list[str]:
    """The options of a command as they are typed, without dashes in front; a positional argument is none."""
    return [name for one in dataclasses.fields(command) if (name := _option_name(one)) is not None]


def _unknown_word(word: str, form: Any, program: str) -> str:
    if not word.startswith("-"):
        return f"{word!r} is an unexpected argument (see {program} --help)"

    settings = next((one.default for one in dataclasses.fields(form) if one.name == SETTINGS), None)
    renamed = getattr(type(settings), "RENAMED_FIELDS", {})
    # the last word of the program is a recipe or the command
    return unknown_option(word, _options(form), renamed, program, program.rpartition(" ")[2])


def _options(form: Any, prefix: str = "") -> Iterator[str]:
    """Every option of a dataclass as it is typed, nested ones with dots."""
    for one in dataclasses.fields(form):
        name = _option_name(one)
        value = one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
        if dataclasses.is_dataclass(value):
            yield from _options(value, "" if one.name == SETTINGS else f"{prefix}{name}.")
        elif name is not None:
            yield f"--{prefix}{name}"
            if isinstance(value, bool):
                yield f"--{prefix}no-{name}"


def _option_name(one: "dataclasses.Field[Any]") -> str | None:
    # the annotations of tyro
    notes = getattr(one.type, "__metadata__", ())
    if Positional in notes or Suppress in notes:
        return None
    renamed = next((note.name for note in notes if getattr(note, "metavar", None) and note.name), one.name)
    return str(renamed).replace("_", "-")


def option_value(words: list[str], name: str) -> str | None:
    """The value of an option that is needed before the words are parsed; None where they do not give one."""
    values = [word.partition("=")[2] for word in words if word.startswith(f"--{name}=")]
    values += [value for word, value in itertools.pairwise(words) if word == f"--{name}" and not value.startswith("--")]
    return values[-1] if values else None


def set_threads_from(words: list[str]) -> None:
    """Sets the number of threads before the words are parsed, since parsing loads a recipe and PyTorch with it.

    In a process that has loaded PyTorch already the number stays, unless the words name one.
    """
    number = option_value(words, "threads")
    if number is not None:
        set_threads(parse_threads(number))
    elif "torch" not in sys.modules:
        set_threads()


def check_data(path: Path | None) -> None:
    """Refuses data that is not there."""
    if path is not None and not path.expanduser().exists():
        raise ConfigError(f"--data {path}: there is no such file or folder")


def write_file(path: Path, text: str) -> None:
    """Writes a file of text in whole or not at all; its folder is made, too."""
    check_target(path)
    make_parents(path)
    write_text(path, text)
