"""Names of the last release that moved or left the package. The error of each says where it is now.

`_moved.json` has a table for each kind of name: `imports`, `commands`, `options`, `presets`, `networks` and `choices`.
An option, a preset or a network of a recipe is named "RECIPE.NAME", a choice of an option "RECIPE.OPTION.CHOICE". A row
of `imports` also serves all modules below it.

The import hook is the last entry of `sys.meta_path`: Python asks it only for paths that no other hook finds. Where a
package has no attribute `name`, `from package import name` looks for the module `package.name`: one hook serves modules
and exported names.
"""

import sys
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from spikebridge.errors import ConfigError


class _MovedPathHook:
    """Raises `ImportError` for an import path of the last release, with the place of today."""

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None for every path that is not in the table."""
        if name.startswith("spikebridge."):
            line = moved("imports", name)
            if line is not None:
                raise ImportError(line, name=name)

        return None


def moved(kind: str, name: str) -> str | None:
    """The line about a name of the last release; None for any other.

    Args:
        kind: a table of `_moved.json`.
        name: the name of the last release.

    Example:
        >>> moved("imports", "spikebridge.nothing") is None
        True
    """
    table = _tables()[kind]
    parts = name.split(".")
    paths = [name] if kind != "imports" else [".".join(parts[:n]) for n in range(len(parts), 1, -1)]
    path = next((path for path in paths if path in table), None)
    return None if path is None else f"{_in_words(kind, path)} {table[path]}"


def left_networks(recipe: str, names: Iterable[str]) -> dict[str, str]:
    """The networks of a recipe that have left it, each with its line; run folders of the last release may name them."""
    lines = {name: moved("networks", f"{recipe}.{name}") for name in names}
    return {name: line for name, line in lines.items() if line is not None}


def refuse_left_networks(recipe: str, names: Iterable[str]) -> None:
    """Raises a `ConfigError` for the first network that has left a recipe."""
    for line in left_networks(recipe, names).values():
        raise ConfigError(line)


def _in_words(kind: str, name: str) -> str:
    """The name as a user wrote it; an option, a preset, a network or a choice with its recipe."""
    recipe, _, rest = name.partition(".")
    if kind in ("imports", "commands"):
        return name if kind == "imports" else name.rpartition(".")[2]

    words = {"options": f"--{rest}", "presets": f"the preset {rest!r}", "networks": f"the network {rest!r}"}
    option, _, choice = rest.rpartition(".")
    words["choices"] = f"--{option} {choice}"

    return f"{words[kind]} of {recipe}"


@cache
def _tables() -> dict[str, dict[str, str]]:
    # here, since only a name of the last release needs it
    import json

    tables: dict[str, dict[str, str]] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return tables


def install() -> None:
    """Adds the hook behind all others, once."""
    if _MovedPathHook not in sys.meta_path:
        sys.meta_path.append(_MovedPathHook)
