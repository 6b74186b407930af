"""Recipes and building blocks: listed from their source without an import, and the one place that imports a recipe.

`spikebridge --help` and `spikebridge list` answer without importing PyTorch: names and first docstring lines are read
from the source with `ast`. A recipe is any Python file with the parts named in `_PARTS`.
"""

import ast
import dataclasses
import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

from spikebridge.cli.command import unknown_option
from spikebridge.data.io.safe_open import read_bytes
from spikebridge.errors import ConfigError, did_you_mean

_log = logging.getLogger(__name__)

_PACKAGE = Path(__file__).resolve().parent.parent
_RECIPES = ("digits", "modulation", "reasoning", "sensing", "signals")
_MAX_BYTES = 2**24  # of a recipe file
_MODULE = "spikebridge_recipe_"
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
    return [Listing(name, _first_line(tree), _keys(_top_level(tree).get("PRESETS"))) for name, tree in trees.items()]


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


def refuse_misspelt(recipe: str, kind: str, program: str, words: list[str], own: Iterable[str]) -> None:
    """Refuses a misspelt option or choice of a recipe from its source, without importing PyTorch.

    What the source does not tell for certain is left to the parser.

    Args:
        recipe: a name, or the path of a recipe file.
        kind: its class of settings, `Config` or `Evaluation`.
        program: its name in the message.
        words: the options after it.
        own: names of the command's own options.

    Raises:
        ConfigError: an option that is none, or a value that is no choice of its option.
    """
    settings = _settings(recipe, kind)
    if settings is None:
        return

    presets, chosen, renamed = settings
    options = {name.replace("_", "-"): presets if name == "preset" else () for name in own} | chosen
    option = ""

    for word in words:
        if not word.startswith("--"):
            name = option
            value = word
        else:
            option, _, value = word[2:].partition("=")
            option = name = option.replace("_", "-")
            if name not in options and name not in ("help", "debug") and name.partition(".")[0] not in options:
                raise ConfigError(unknown_option(word, [f"--{one}" for one in options], renamed, program))

        choices = options.get(name, ())
        if value and choices and value not in choices and not value.startswith("-"):
            what = f"{recipe} has no preset {value!r}" if name == "preset" else f"--{name} has no choice {value!r}"
            raise ConfigError(f"{what}: {did_you_mean(value, choices)}")


def network_names(recipe: str) -> tuple[str, ...]:
    """The networks that a recipe may train, from its source; none where it has no option `networks`.

    Example:
        >>> network_names("digits")
        ('learned', 'fixed', 'transmission', 'modulation', 'ann', 'snn')
    """
    settings = _settings(recipe, "Config")
    return () if settings is None else settings.options.get("networks", ())


def load_recipe(word: str) -> ModuleType:
    """Imports a recipe by its name or by the path of its file.

    Args:
        word: `digits`, or `./my.py`. A file is a program: loading it runs it, so the word must come from the user and
            never from a file.

    Raises:
        ConfigError: there is no such recipe, or the file is not one.
    """
    known = recipe_files()
    _log.info("importing the recipe %s", word)
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

    config = module.Config
    presets = module.PRESETS
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

    import hashlib  # here, since it loads a library for cryptography that `--help` does not need

    return hashlib.sha256(read_bytes(Path(word), "a recipe file", _MAX_BYTES)).hexdigest()


def place_in_own_recipe(failure: BaseException) -> str | None:
    """Where a recipe file of the user's own failed, as "FILE, line N"; None where no such file had a part in it."""
    step = failure.__traceback__
    found = None
    while step is not None:
        if step.tb_frame.f_globals.get("__name__", "").startswith(_MODULE):
            found = f"{step.tb_frame.f_code.co_filename}, line {step.tb_lineno}"
        step = step.tb_next

    return found


def recipe_id(word: str) -> str:
    """What a run folder remembers of its recipe: a name, or for a file of your own its full path."""
    return word if word in recipe_files() else str(Path(word).resolve())


class _SourceLoader(SourceFileLoader):
    """Compiles a file anew: kept bytecode is taken for that of the file if size and second are the same."""

    def get_code(self, fullname: str) -> CodeType:
        """The code of the file as it is now."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


# once a version of the file: two runs of it would make two classes of each name
@lru_cache
def _load_file(path: Path, changed: int) -> ModuleType:
    name = f"{_MODULE}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_SourceLoader(name, str(path)))
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


class _Settings(NamedTuple):
    """What the source of a recipe tells of a class of settings.

    Args:
        presets: names.
        options: as they are typed, without dashes in front, each with its choices; none allow any value.
        renamed: fields of release 0.1 and their fields now.
    """

    presets: tuple[str, ...]
    options: dict[str, tuple[str, ...]]
    renamed: dict[str, str]


def _settings(recipe: str, kind: str) -> _Settings | None:
    """The settings of a recipe; None where the source does not tell all of them."""
    path = recipe_files().get(recipe, Path(recipe))
    try:
        source = _Source(path, _top_level(_parse(path)))
        if kind == "Evaluation" and not {kind, "*"} & source.names.keys():
            return _Settings((), {}, {})  # a recipe may go without
        found = source.find(kind)
        options = {} if found is None else _options_of(*found)
    except (OSError, SyntaxError, ValueError, LookupError):
        return None  # loading it gives the reason

    if found is None:
        return None

    moved = _top_level(found[1]).get("RENAMED_FIELDS")
    renamed = dict(ast.literal_eval(moved)) if isinstance(moved, ast.Dict) and _keys(moved) else {}

    return _Settings(_keys(source.names.get("PRESETS")), options, renamed)


@dataclass(frozen=True)
class _Source:
    """The names at the top of a file; those that it imports from the package are found there."""

    path: Path
    names: dict[str, ast.AST]

    def find(self, name: str) -> tuple["_Source", ast.AST] | None:
        """The class, function or value of a name, with the file that holds it."""
        node = self.names.get(name)
        if isinstance(node, ast.Name):
            return self.find(node.id)
        if not isinstance(node, ast.ImportFrom):
            return None if node is None else (self, node)

        module = _PACKAGE.parent.joinpath(*(node.module or "").split("."))
        path = next((one for one in (module.with_suffix(".py"), module / "__init__.py") if one.is_file()), None)
        original = next(alias.name for alias in node.names if name in (alias.asname, alias.name))

        return None if path is None else _Source(path, _top_level(_parse(path))).find(original)


def _options_of(source: _Source, settings: ast.AST, prefix: str = "") -> dict[str, tuple[str, ...]]:
    """The options of a class of settings as they are typed, without dashes in front, each with its choices.

    Raises:
        LookupError: it is no class, or derives from one that is not found in a source.
    """
    if not isinstance(settings, ast.ClassDef):
        raise LookupError(source.path)

    options: dict[str, tuple[str, ...]] = {}
    for base in settings.bases:
        found = source.find(ast.unparse(base))
        if found is None:
            raise LookupError(ast.unparse(base))
        options |= _options_of(*found, prefix)

    tables = dict(_tables(source, settings))
    for node in settings.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue

        name = node.target.id
        kind = ast.unparse(node.annotation)
        option = name.replace("_", "-")
        group = source.find(kind)

        if kind.startswith("ClassVar"):
            continue

        if group is not None and isinstance(group[1], ast.ClassDef):
            options |= _options_of(*group, f"{prefix}{option}.")
        else:
            options[prefix + option] = tables.get(name) or _choices(source, node.annotation)
            options |= {f"{prefix}no-{option}": ()} if kind == "bool" else {}

    return options


def _choices(source: _Source, annotation: ast.AST) -> tuple[str, ...]:
    """The values of a `Literal`, also in a tuple or beside None; none where other values are possible."""
    found: list[str] = []
    for node in ast.walk(annotation):
        match node:
            case ast.Subscript(value=ast.Name("Literal")):
                found += [str(value.value) for value in ast.walk(node.slice) if isinstance(value, ast.Constant)]
            case ast.Name(name) if name not in ("Literal", "tuple"):
                meant = source.find(name)
                inner = () if meant is None else _choices(*meant)
                if not inner:
                    return ()
                found += inner

    return tuple(found)


def _tables(source: _Source, settings: ast.AST) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Fields whose words a check looks up in a table, and its keys.

    A check is `check_chosen(KIND, self.FIELD, TABLE)` or `for name in self.FIELD: if name not in TABLE`.
    """
    for node in ast.walk(settings):
        match node:
            case (
                ast.Call(
                    func=ast.Name("check_chosen"),
                    args=[_, ast.Attribute(value=ast.Name("self"), attr=field), ast.Name(table)],
                )
                | ast.For(
                    iter=ast.Attribute(value=ast.Name("self"), attr=field),
                    body=[ast.If(test=ast.Compare(ops=[ast.NotIn()], comparators=[ast.Name(table)])), *_],
                )
            ):
                meant = source.find(table)
                if meant is not None:
                    yield field, _keys(meant[1])


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _top_level(tree: ast.AST) -> dict[str, ast.AST]:
    """Names bound at the top of a file or class: variables with their value, what is imported with its statement."""
    bound: dict[str, ast.AST] = {}
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            bound[node.name] = node
        elif isinstance(node, ast.ImportFrom):
            bound |= {alias.asname or alias.name: node for alias in node.names}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            bound[node.target.id] = node.value
        elif isinstance(node, ast.Assign):
            bound |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}

    return bound


def _keys(table: ast.AST | None) -> tuple[str, ...]:
    """The keys of a dictionary whose keys are all written out; none of anything else."""
    keys = table.keys if isinstance(table, ast.Dict) else []
    words = tuple(str(key.value) for key in keys if isinstance(key, ast.Constant))
    return words if len(words) == len(keys) else ()


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
