"""Loading of recipes: those of the package by name, the user's own by the path of their file."""

import importlib
import logging
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import cast

from spikebridge.data.io.safe_open import read_bytes
from spikebridge.errors import ConfigError, did_you_mean
from spikebridge.recipes.recipe import Recipe, checked_recipe

_log = logging.getLogger(__name__)

RECIPES = ("digits", "modulation", "reasoning", "senses", "sensing", "signals")
"""The recipes of the package; a new network adds its name here."""
_NETWORKS = Path(__file__).resolve().parent.parent / "networks"
_MAX_BYTES = 2**24  # of a recipe file
_MODULE = "spikebridge_recipe_"
_folders: list[str] = []  # of recipe files, in sys.path too, the last one first


def recipe_file(word: str) -> Path:
    """The file of a recipe, given by its name or by its path."""
    return _NETWORKS / word / "recipe.py" if word in RECIPES else Path(word)


def load_recipe(word: str) -> Recipe:
    """Imports a recipe.

    A file is a program: loading it runs it. So the path must come from the user, never from a file.

    Args:
        word: the name of a recipe of the package, or the path of a recipe file.

    Raises:
        ConfigError: there is no such recipe, or the file is not one.

    Example:
        >>> sorted(load_recipe("digits").PRESETS)
        ['default', 'five', 'mnist', 'quick']
    """
    _log.info("importing the recipe %s", word)
    if word in RECIPES:
        return cast(Recipe, importlib.import_module(f"spikebridge.networks.{word}.recipe"))

    path = Path(word)
    if path.suffix != ".py":
        raise ConfigError(f"no recipe {word!r}: {did_you_mean(word, RECIPES)} A recipe file of your own ends in .py.")
    if not path.is_file():
        raise ConfigError(f"no recipe file {word}; `spikebridge copy RECIPE {word}` makes one to edit")

    return checked_recipe(load_program(path), word)


def load_program(path: Path) -> ModuleType:
    """Runs a Python file of the user's, once for each version of it; a `ConfigError` where it cannot be loaded."""
    if not path.is_file():
        raise ConfigError(f"there is no program {path}")
    return _run_file(path.resolve(), path.stat().st_mtime_ns)


# once for each version of the file: a second run would make a second class of each name
@lru_cache
def _run_file(path: Path, changed: int) -> ModuleType:
    module = ModuleType(f"{_MODULE}{path.stem}")
    module.__file__ = str(path)
    # dataclasses look their module up by its name while the file runs
    sys.modules[module.__name__] = module
    _make_importable(path.parent)

    try:
        # compiled here, since an import takes kept bytecode for that of a file edited within the same second
        exec(compile(read_bytes(path, "a recipe file", _MAX_BYTES), str(path), "exec"), module.__dict__)
    except SyntaxError as error:
        raise ConfigError(f"{error.filename or path}, line {error.lineno}: {error.msg}") from error
    except ImportError as error:
        raise ConfigError(f"{path} cannot be loaded: {error}") from error

    return module


def _make_importable(folder: Path) -> None:
    """Makes the modules beside a recipe file importable, as Python does for a program."""
    # a module of the same name beside another recipe is forgotten, or it would be taken for this one's
    others = [one for one in _folders if one != str(folder)]
    for name, module in list(sys.modules.items()) if others else ():
        beside = str(Path(getattr(module, "__file__", None) or ".").parent) in others
        if beside and not name.startswith(_MODULE) and "." not in name:
            del sys.modules[name]

    # behind the packages, of which a file of the same name hides none
    sys.path[:] = [*(one for one in sys.path if one not in _folders), str(folder), *others]
    _folders[:] = [str(folder), *others]


def recipe_digest(word: str) -> str | None:
    """The SHA-256 of a recipe file; None for a recipe of the package, which the version identifies."""
    if word in RECIPES:
        return None

    # here, since it loads a library for cryptography that `--help` does not need
    import hashlib

    return hashlib.sha256(read_bytes(Path(word), "a recipe file", _MAX_BYTES)).hexdigest()


def recipe_id(word: str) -> str:
    """The recipe as a run folder names it: by name, a file by its full path."""
    return word if word in RECIPES else str(Path(word).resolve())


def line_in_recipe_file(failure: BaseException) -> str | None:
    """The last line of a user's recipe file that led to a failure, as "FILE, line N"; None without such a line."""
    step = failure.__traceback__
    place = None
    while step is not None:
        if step.tb_frame.f_globals.get("__name__", "").startswith(_MODULE):
            place = f"{step.tb_frame.f_code.co_filename}, line {step.tb_lineno}"
        step = step.tb_next

    return place
