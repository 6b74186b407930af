"""Recipes and building blocks: listed from their source without an import, and the one place that imports a recipe.

`spikebridge --help` and `spikebridge list` answer without importing PyTorch: names and first docstring lines are read
from the source with `ast`. A recipe is any Python file with the parts named in `_PARTS`.
"""

import ast
import dataclasses
import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType

from spikebridge.data.io.safe_open import read_bytes
from spikebridge.errors import ConfigError, did_you_mean

_PACKAGE = Path(__file__).resolve().parent.parent
_RECIPES = ("digits", "modulation", "reasoning", "sensing", "signals")
_MAX_BYTES = 2**24  # of a recipe file
_MODULE = "spikebridge_recipe_"
_NAME = re.compile(r"(?:^|[\s(,{\"'])(\w+)[\"']?:", re.MULTILINE)
_PARTS = ("Config", "PRESETS", "train", "evaluate", "report", "build", "example")


@dataclass(frozen=True)
class Listing:
    """A recipe or a building block as `list` shows it."""

    name: str
    summary: str
    presets: tuple[str, ...] = ()


@dataclass(frozen=True)
class _BlockKind:
    """A kind of building block: what a folder exports that derives from these bases, directly or not.

    Args:
        folder: whose `__init__.py` exports them.
        bases: class names.
        but: what derives from them and is no building block itself.
    """

    folder: str
    bases: tuple[str, ...]
    but: tuple[str, ...] = ()


KINDS = {
    "neurons": _BlockKind("neurons", ("Stateful",), but=("Neuron", "FiringNeuron", "Sequential")),
    "surrogates": _BlockKind("neurons", ("Surrogate",)),
    "windows": _BlockKind("hybrid", ("Window",)),
    "kernels": _BlockKind("hybrid", ("Kernel",)),
    "discretizers": _BlockKind("hybrid", ("Discretizer",)),
    "coding schemes": _BlockKind("coding", ("Encoder", "Decoder")),
}


def recipe_files() -> dict[str, Path]:
    """The recipes of the package by name, each with its file.

    Example:
        >>> recipe_files()["digits"].name
        'recipe.py'
    """
    return {name: _PACKAGE / "networks" / name / "recipe.py" for name in _RECIPES}


def list_recipes() -> list[Listing]:
    """Name, first line and presets of every recipe of the package."""
    trees = {name: _parse(path) for name, path in recipe_files().items()}
    return [Listing(name, _first_line(tree), _preset_names(tree)) for name, tree in trees.items()]


def list_building_blocks(kind: str) -> list[Listing]:
    """Name and first line of every building block of a kind of `KINDS`, in the order of their export."""
    meant = KINDS[kind]
    trees = [_parse(path) for path in sorted((_PACKAGE / meant.folder).rglob("*.py"))]
    classes = {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}
    return [
        Listing(name, _first_line(classes[name]))
        for name in _exports(_PACKAGE / meant.folder)
        if name in classes and name not in meant.but and _derives(name, meant.bases, classes)
    ]


def refuse_misspelt(recipe: str, program: str, words: list[str], options: Iterable[str]) -> None:
    """Refuses a misspelt preset or option of a recipe of the package from its source, without importing PyTorch.

    What is refused here is no name of the recipe for certain; all else is left to the parser.

    Args:
        recipe: a name; that of a recipe file is left alone.
        program: its name in the message.
        words: the options after it.
        options: names of the command's own options, without dashes in front.

    Raises:
        ConfigError: a preset that is none, or an option that is like a known one.
    """
    if recipe not in recipe_files():
        return
    path = recipe_files()[recipe]
    tree = _parse(path)
    presets = _preset_names(tree)
    preset = next((value for word, value in pairwise(words) if word == "--preset"), None)
    if preset is not None and not preset.startswith("-") and preset not in presets:
        raise ConfigError(f"{recipe} has no preset {preset!r}: {did_you_mean(preset, presets)}")
    sources = [path, *path.parent.rglob("*.py"), *(_PACKAGE / "training").rglob("*.py")]
    # every name that is annotated, or a key in a text: fields of any settings, and options of earlier releases
    used = {name for source in sources for name in _NAME.findall(source.read_text(encoding="utf-8"))}
    config = _top_level(tree).get("Config")
    fields = [name for name in _top_level(config) if name.islower()] if isinstance(config, ast.ClassDef) else []
    known = [name.replace("_", "-") for name in [*fields, *options]]
    for word in words:
        name = word.removeprefix("--").split("=")[0]
        first = name.partition(".")[0].replace("-", "_")
        if not word.startswith("--") or name in ("help", *known) or {first, first.removeprefix("no_")} & used:
            continue
        near = get_close_matches(name, known, n=1)
        if near:
            raise ConfigError(f"no option {word}: did you mean --{near[0]}? {program} --help lists them")


def load_recipe(word: str) -> ModuleType:
    """Imports a recipe by its name or by the path of its file.

    Args:
        word: `digits`, or `./my.py`. A file is a program: loading it runs it, so the word must come from the user and
            never from a file.

    Raises:
        ConfigError: there is no such recipe, or the file is not one.
    """
    known = recipe_files()
    if word in known:
        return importlib.import_module(f"spikebridge.networks.{word}.recipe")
    path = Path(word)
    if path.suffix != ".py":
        raise ConfigError(f"no recipe {word!r}: {did_you_mean(word, known)} A recipe file of your own ends in .py.")
    if not path.is_file():
        raise ConfigError(f"no recipe file {word}; `spikebridge copy RECIPE {word}` makes one to edit")
    module = _load_file(path.resolve(), path.stat().st_mtime_ns)
    _check_parts(module, word)
    return module


def _check_parts(module: ModuleType, word: str) -> None:
    missing = [part for part in _PARTS if not hasattr(module, part)]
    if missing:
        raise ConfigError(f"{word} is not a recipe: it has no {', '.join(missing)}. A recipe has {', '.join(_PARTS)}.")
    config, presets = module.Config, module.PRESETS
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        raise ConfigError(f"{word} is not a recipe: its Config should be a dataclass, but is {config!r:.100}")
    if not isinstance(presets, dict) or not presets:
        raise ConfigError(f"{word} is not a recipe: its PRESETS should name a Config at least, but is {presets!r:.100}")
    for name, preset in presets.items():
        if not isinstance(name, str) or not isinstance(preset, config):
            raise ConfigError(f"{word} is not a recipe: its preset {name!r} should be a Config, but is {preset!r:.100}")
    for part in _PARTS[2:]:
        if not callable(getattr(module, part)):
            raise ConfigError(f"{word} is not a recipe: its {part} should be a function")


def recipe_source(name: str) -> str:
    """The text of a recipe of the package.

    Raises:
        ConfigError: there is no such recipe.
    """
    known = recipe_files()
    if name not in known:
        raise ConfigError(f"no recipe {name!r}: {did_you_mean(name, known)}")
    return known[name].read_text(encoding="utf-8")


def recipe_digest(word: str) -> str | None:
    """The SHA-256 of a recipe file of your own; None for a recipe of the package, whose version says what it is.

    Raises:
        DataError: there is no such file.
    """
    if word in recipe_files():
        return None
    return hashlib.sha256(read_bytes(Path(word), "a recipe file", _MAX_BYTES)).hexdigest()


def place_in_own_recipe(failure: BaseException) -> str | None:
    """Where a recipe file of the user's own failed, as "FILE, line N"; None where no such file had a part in it."""
    step, found = failure.__traceback__, None
    while step is not None:
        if step.tb_frame.f_globals.get("__name__", "").startswith(_MODULE):
            found = f"{step.tb_frame.f_code.co_filename}, line {step.tb_lineno}"
        step = step.tb_next
    return found


def recipe_id(word: str) -> str:
    """What a run folder remembers of its recipe: a name, or for a file of your own its full path."""
    return word if word in recipe_files() else str(Path(word).resolve())


# once a version of the file: two runs of it would make two classes of each name
@lru_cache
def _load_file(path: Path, changed: int) -> ModuleType:
    name = f"{_MODULE}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} cannot be loaded as a Python file")
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up by name while the file runs
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ConfigError(f"{error.filename or path}, line {error.lineno}: {error.msg}") from error
    except ImportError as error:
        raise ConfigError(f"{path} cannot be loaded: {error}") from error
    return module


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _top_level(tree: ast.Module | ast.ClassDef) -> dict[str, ast.AST]:
    """Names bound at the top of a file or class: classes and functions with their node, variables with their value."""
    bound: dict[str, ast.AST] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            bound[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            bound[node.target.id] = node.value
        elif isinstance(node, ast.Assign):
            bound |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
    return bound


def _preset_names(recipe: ast.Module) -> tuple[str, ...]:
    presets = _top_level(recipe).get("PRESETS")
    keys = presets.keys if isinstance(presets, ast.Dict) else []
    return tuple(str(key.value) for key in keys if isinstance(key, ast.Constant))


def _exports(folder: Path) -> list[str]:
    """All that a folder's `__init__.py` imports from elsewhere."""
    nodes = ast.walk(_parse(folder / "__init__.py"))
    return [alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names]


def _derives(name: str, bases: tuple[str, ...], classes: dict[str, ast.ClassDef]) -> bool:
    """Whether a class derives from one of the bases through classes of the same folder."""
    if name not in classes:
        return False
    parents = [base.id for base in classes[name].bases if isinstance(base, ast.Name)]
    return any(parent in bases or _derives(parent, bases, classes) for parent in parents)


def _first_line(node: ast.Module | ast.ClassDef) -> str:
    return (ast.get_docstring(node) or "").split("\n", 1)[0]
