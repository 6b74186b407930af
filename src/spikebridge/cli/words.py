"""Words of a command line that cannot be meant: one line says why, and what was meant where that can be guessed."""

import ast
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from spikebridge._moved import moved
from spikebridge.errors import ConfigError, SpikebridgeError, did_you_mean
from spikebridge.recipes.outline import read_outline
from spikebridge.recipes.training import unknown_preset

_CHOICE = re.compile(r"invalid choice '(.*)' for argument '(.*)'\. Expected one of (\(.*\))\.")  # of tyro
_ARGUMENT = re.compile(r"[A-Z][A-Z/_]*")  # alone in its line of the box
_BOX = "─━╭╮╰╯│┃├┤|+ "  # in Unicode or ASCII


def refuse_misspelt(recipe: str, kind: str, program: str, words: list[str], own: Iterable[str]) -> None:
    """Refuses a misspelt option or choice of a recipe from its source, without importing PyTorch.

    `kind` is the recipe's class of settings, `own` are the options of the command itself. What the source does not show
    for certain is left to the parser.
    """
    outline = read_outline(recipe, kind)
    if outline is None:
        return

    options = {name: outline.presets if name == "preset" else () for name in own} | outline.options
    name = ""

    for word in words:
        # a value belongs to the option before it
        value = word
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            name = name.replace("_", "-")
            if name not in options and name not in ("help", "debug") and name.partition(".")[0] not in options:
                known = [f"--{one}" for one in options]
                raise ConfigError(unknown_option(word, known, outline.renamed, program, recipe))

        choices = options.get(name, ())
        if value and choices and value not in choices and not value.startswith("-"):
            raise ConfigError(_unknown_choice(recipe, name, value, choices))


def _unknown_choice(recipe: str, option: str, value: str, choices: Iterable[str]) -> str:
    if option == "preset":
        return unknown_preset(recipe, value, choices)

    return moved("networks", f"{recipe}.{value}") or _no_choice(recipe, option, value, choices)


def _no_choice(owner: str, option: str, value: str, choices: Iterable[str]) -> str:
    line = moved("choices", f"{owner}.{option}.{value}")
    return line or f"--{option} has no choice {value!r}: {did_you_mean(value, choices)}"


def unknown_option(word: str, known: Iterable[str], renamed: Mapping[str, str], program: str, owner: str) -> str:
    """The line about a word that begins with a dash and is no option.

    `known` are options with their dashes, `renamed` fields of release 0.1 with their names now. `owner` is the recipe
    or the command that might have had the option.
    """
    name = word.split("=", 1)[0].replace("_", "-")
    bare = name.removeprefix("--")
    for one in (bare, re.sub(r"(^|\.)no-", r"\1", bare)):
        if line := moved("options", f"{owner}.{one}"):
            return f"{line} (see {program} --help)"

    options = list(known)
    new = renamed.get(bare.replace("-", "_"))
    grouped = [one for one in options if "." in one and one.rpartition(".")[2] == bare]
    if new is not None or len(grouped) == 1:
        place = grouped[0] if new is None else "--" + new.replace("_", "-")
        return f"the option {name} is now {place} (see {program} --help)"

    # an option in a group is also known by its last word; a whole name goes first
    by_word = {one.rpartition(".")[2].lstrip("-"): one for one in options} | {one.lstrip("-"): one for one in options}
    near = get_close_matches(bare, by_word, n=1)
    hint = f" did you mean {by_word[near[0]]}?" if near else ""

    return f"no option {word}:{hint} {program} --help lists them"


def parser_refusal(stop: SystemExit, box: str, program: str) -> str:
    """The line about words that tyro refused: our own error behind its exit, or the first paragraph of its box."""
    # a check of settings raises inside of the parser, which hides it
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
        # the last word of the program is a recipe or the command
        return _no_choice(program.rpartition(" ")[2], option.removeprefix("--"), word, choices)

    reason = text.replace("Error parsing", "cannot read the value of", 1)
    return f"{reason} (see {program} --help)"
