"""The base class of all commands: a dataclass whose docstring is the help and whose fields are the options.

Nothing heavy is imported before a command is executed, so that `--help` and `list` take no time.
"""

import ast
import contextlib
import dataclasses
import inspect
import io
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, cast

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, Suppress, arg
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from spikebridge.data.io.number_text import parse_integer, parse_real
from spikebridge.errors import ConfigError, SpikebridgeError, did_you_mean
from spikebridge.threads import parse_threads, set_threads

_Threads = Annotated[str, arg(metavar="N|auto")]
Flag = Annotated[bool, FlagCreatePairsOff, arg(help_behavior_hint="")]
Network = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: all)")]
DataFolder = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: $SPIKEBRIDGE_DATA)")]
Recipe = Annotated[str, Positional, arg(metavar="RECIPE", help_behavior_hint="")]
RunOrRecipe = Annotated[str, Positional, arg(metavar="RUN_OR_RECIPE", help_behavior_hint="")]
_RecipeFile = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: the recipe of the package)")]
SETTINGS = "settings"
_CHOICE = re.compile(r"invalid choice '(.*)' for argument '(.*)'\. Expected one of (\(.*\))\.")  # of tyro
_ARGUMENT = re.compile(r"[A-Z][A-Z/_]*")  # alone in its line of the box
_BOX = "─━╭╮╰╯│┃├┤|+ "  # in Unicode or ASCII


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


@dataclass(frozen=True)
class OwnRecipe:
    """The recipe file of a run, as the user named it.

    Attributes:
        recipe: path of the file; None where the recipe is one of the package.
        edited: whether it is accepted although it was edited after the run was started.
    """

    recipe: Path | None = None
    edited: bool = False


@dataclass(frozen=True, kw_only=True)
class RunCommand(Command):
    """The options of commands that open a run."""

    recipe: _RecipeFile = None
    """The recipe file of your own that made the run. It is executed; a run folder never names code to execute."""
    edited: Flag = False
    """Accept a recipe file that was edited after the run was started."""

    @property
    def own(self) -> OwnRecipe:
        """The recipe file of the run, as the user named it."""
        return OwnRecipe(self.recipe, self.edited)


def parse_options(form: Any, program: str, words: list[str], add_help: bool = True) -> tuple[Any, list[str]]:
    """The options of a dataclass, and the words that are none of its options.

    Args:
        form: the dataclass.
        program: its name in messages.
        words: to parse.
        add_help: whether `--help` prints the options and stops with `SystemExit(0)`.

    Raises:
        ConfigError: an option has no value, or one that cannot be read.
    """
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
                add_help=add_help,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ConfigError(_reason(stop, output.getvalue(), program)) from None

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


def _reason(stop: SystemExit, box: str, program: str) -> str:
    """Why tyro refused: the error behind its exit if it is one of ours, else the first paragraph of the box it drew."""
    cause = stop.__context__
    while cause is not None:
        if isinstance(cause, SpikebridgeError):
            return str(cause)
        cause = cause.__context__

    lines = []
    for line in box.splitlines()[1:]:
        text = line.strip(_BOX)
        if text.strip("-"):
            lines.append(text)
        elif lines:
            break

    text = " ".join(lines)
    missing = [line for line in lines if _ARGUMENT.fullmatch(line)]
    if text.startswith("Missing from") and missing:
        return f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing (see {program} --help)"

    if choice := _CHOICE.fullmatch(text):
        word, option, known = choice.groups()
        # None stands for an option that is left out
        choices = [one for one in ast.literal_eval(known) if one != "None"]
        return f"{option} has no choice {word!r}: {did_you_mean(word, choices)}"

    reason = text.replace("Error parsing", "cannot read the value of", 1)
    return f"{reason} (see {program} --help)"


def unknown_option(word: str, known: Iterable[str], renamed: Mapping[str, str], program: str) -> str:
    """Why a word that begins with a dash is no option, with the one that was meant where there is one.

    Args:
        word: as it was typed.
        known: the options, with their dashes.
        renamed: fields of release 0.1 and their fields now, "group.name" in a group.
        program: its name in the message.

    Example:
        >>> unknown_option("--lr=1", ["--optimizer.lr"], {}, "spikebridge train my.py")
        'the option --lr is now --optimizer.lr (see spikebridge train my.py --help)'
    """
    name = word.split("=", 1)[0].replace("_", "-")
    options = list(known)
    bare = name.removeprefix("--")
    moved = renamed.get(bare.replace("-", "_"))
    grouped = [one for one in options if "." in one and one.rpartition(".")[2] == bare]

    if moved is not None or len(grouped) == 1:
        new = grouped[0] if moved is None else "--" + moved.replace("_", "-")
        return f"the option {name} is now {new} (see {program} --help)"

    # by its last word, too; a whole name goes first
    by_word = {one.rpartition(".")[2].lstrip("-"): one for one in options} | {one.lstrip("-"): one for one in options}
    near = get_close_matches(bare, by_word, n=1)
    hint = f" did you mean {by_word[near[0]]}?" if near else ""

    return f"no option {word}:{hint} {program} --help lists them"


def check_data(path: Path | None) -> None:
    """Refuses data that is not there.

    Raises:
        ConfigError: there is no such file or folder.
    """
    if path is not None and not path.expanduser().exists():
        raise ConfigError(f"--data {path}: there is no such file or folder")


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


def set_threads_from(words: list[str]) -> None:
    """Sets the number of threads before a recipe loads PyTorch, so before the words are parsed.

    Of a process that has loaded PyTorch already the number stays, unless the words name one.
    """
    values = [word.partition("=")[2] for word in words if word.startswith("--threads=")]
    values += [value for word, value in itertools.pairwise(words) if word == "--threads"]
    if values:
        set_threads(parse_threads(values[-1]))
    elif "torch" not in sys.modules:
        set_threads()


def parse_command(command: type[C], program: str, words: list[str]) -> C | None:
    """A command with its options set, or None where only its help was asked for.

    Args:
        command: its class.
        program: its name in messages.
        words: its options.

    Raises:
        ConfigError: an option that it does not have, without a value, or with one that cannot be read.
    """
    form, program, words = command.specialize(program, words)
    try:
        parsed, unknown = parse_options(form, program, words)
    except SystemExit:  # only the help was asked for
        return None

    if unknown:
        raise ConfigError(_unknown(unknown[0], form, program))

    return cast(C, parsed)


def _unknown(word: str, form: Any, program: str) -> str:
    if not word.startswith("-"):
        return f"{word!r} is an unexpected argument (see {program} --help)"
    settings = next((one.default for one in dataclasses.fields(form) if one.name == SETTINGS), None)
    return unknown_option(word, _options(form), getattr(type(settings), "RENAMED_FIELDS", {}), program)


def own_options(command: type[Command]) -> list[str]:
    """The options of a command as they are typed, without dashes in front; a positional argument is none.

    Example:
        >>> own_options(Command)
        ['json', 'threads']
    """
    return [name for one in dataclasses.fields(command) if (name := _option_name(one)) is not None]


def _option_name(one: "dataclasses.Field[Any]") -> str | None:
    notes = getattr(one.type, "__metadata__", ())
    if Positional in notes or Suppress in notes:
        return None
    renamed = next((note.name for note in notes if getattr(note, "metavar", None) and note.name), one.name)
    return str(renamed).replace("_", "-")


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
