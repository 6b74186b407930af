"""Recipes and building blocks as their source shows them, read with `ast`.

Running a recipe imports PyTorch, which takes seconds. So `list` and a misspelt option are answered from the source.
"""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import spikebridge
from spikebridge.recipes.load import RECIPES, recipe_file

_PACKAGE = Path(spikebridge.__file__).parent


@dataclass(frozen=True)
class Listing:
    """A recipe or a building block as `list` shows it."""

    name: str
    summary: str
    presets: tuple[str, ...] = ()


class OptionOutline(NamedTuple):
    """The options of a dataclass of settings, without dashes, each with its choices (none: any value)."""

    options: dict[str, tuple[str, ...]]
    renamed: dict[str, str]
    presets: tuple[str, ...]


class _BlockKind(NamedTuple):
    """A kind of building block: the exports of a folder that derive from one of the bases."""

    folder: str
    bases: tuple[str, ...]
    excluded: tuple[str, ...] = ()


BLOCKS = {
    "neurons": _BlockKind("neurons", ("Stateful",), excluded=("Neuron", "FiringNeuron", "Sequential")),
    "surrogates": _BlockKind("neurons", ("Surrogate",)),
    "windows": _BlockKind("hybrid", ("Window",)),
    "kernels": _BlockKind("hybrid", ("Kernel",)),
    "discretizers": _BlockKind("hybrid", ("Discretizer",)),
    "coding schemes": _BlockKind("coding", ("Encoder", "Decoder")),
}


def list_recipes() -> list[Listing]:
    """Every recipe of the package with its presets."""
    sources = {name: _Source.read(recipe_file(name)) for name in RECIPES}
    return [Listing(name, source.summary, _keys(source.names.get("PRESETS"))) for name, source in sources.items()]


def list_building_blocks(kind: str) -> list[Listing]:
    """The building blocks of a kind of `BLOCKS`, in the order of their export."""
    folder, bases, excluded = BLOCKS[kind]
    classes = _classes(folder)
    exports = _Source.read(_PACKAGE / folder / "__init__.py").names

    def derives(name: str) -> bool:
        parents = [ast.unparse(base) for base in classes[name].bases] if name in classes else []
        return any(parent in bases or derives(parent) for parent in parents)

    return [Listing(name, _first_line(classes[name])) for name in exports if name not in excluded and derives(name)]


# several kinds share a folder
@cache
def _classes(folder: str) -> dict[str, ast.ClassDef]:
    sources = [_Source.read(path) for path in sorted((_PACKAGE / folder).rglob("*.py"))]
    return {name: node for one in sources for name, node in one.names.items() if isinstance(node, ast.ClassDef)}


def network_names(recipe: str) -> tuple[str, ...]:
    """The networks that a recipe may train; none where it has no option `networks`."""
    outline = read_outline(recipe, "Config")
    return () if outline is None else outline.options.get("networks", ())


def read_outline(recipe: str, kind: str) -> OptionOutline | None:
    """The options of a recipe's `Config` or `Evaluation`; None where the source does not show all of them."""
    try:
        source = _Source.read(recipe_file(recipe))
        if kind == "Evaluation" and not {kind, "*"} & source.names.keys():
            # a recipe may go without
            return OptionOutline({}, {}, ())
        options = _options(source.find(kind))
        renamed = _renamed(source.find(kind))
    except (OSError, SyntaxError, ValueError, LookupError):
        # loading the recipe gives the reason
        return None

    return OptionOutline(options, renamed, _keys(source.names.get("PRESETS")))


@dataclass(frozen=True)
class _Source:
    """A Python file: the first line of its docstring, and the names at its top."""

    summary: str
    names: dict[str, ast.AST]

    @classmethod
    def read(cls, path: Path) -> "_Source":
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        return cls(_first_line(tree), _bound(tree))

    def find(self, name: str) -> "_Definition | None":
        """The class, function or value of a name; one that is imported from the package is found there."""
        node = self.names.get(name)
        if isinstance(node, ast.Name):
            return self.find(node.id)
        if not isinstance(node, ast.ImportFrom):
            return None if node is None else _Definition(self, node)

        module = _PACKAGE.parent.joinpath(*(node.module or "").split("."))
        path = next((one for one in (module.with_suffix(".py"), module / "__init__.py") if one.is_file()), None)
        original = next(alias.name for alias in node.names if name in (alias.asname, alias.name))

        return None if path is None else _Source.read(path).find(original)


class _Definition(NamedTuple):
    """A class, function or value, and the file that holds it."""

    source: _Source
    node: ast.AST


def _options(settings: _Definition | None, prefix: str = "") -> dict[str, tuple[str, ...]]:
    """The options of a dataclass with their choices; a `LookupError` where a base of it is not found."""
    if settings is None or not isinstance(settings.node, ast.ClassDef):
        raise LookupError(prefix)

    options: dict[str, tuple[str, ...]] = {}
    for base in settings.node.bases:
        options |= _options(settings.source.find(ast.unparse(base)), prefix)

    checked = _checked_choices(settings)
    # class variables such as RENAMED_FIELDS are no options
    for node in settings.node.body:
        if not isinstance(node, ast.AnnAssign) or ast.unparse(node.annotation).startswith("ClassVar"):
            continue

        name = ast.unparse(node.target)
        kind = ast.unparse(node.annotation)
        option = name.replace("_", "-")
        group = settings.source.find(kind)

        if group is not None and isinstance(group.node, ast.ClassDef):
            options |= _options(group, f"{prefix}{option}.")
            continue

        options[prefix + option] = checked.get(name) or _literals(settings.source, node.annotation)
        if kind == "bool":
            options[f"{prefix}no-{option}"] = ()

    return options


def _literals(source: _Source, annotation: ast.AST) -> tuple[str, ...]:
    """The values of a `Literal`, also in a tuple or with None; none where other values are possible."""
    values: list[str] = []
    for node in ast.walk(annotation):
        match node:
            case ast.Subscript(value=ast.Name("Literal")):
                values += [str(one.value) for one in ast.walk(node.slice) if isinstance(one, ast.Constant)]
            case ast.Name(name) if name not in ("Literal", "tuple"):
                alias = source.find(name)
                inner = () if alias is None else _literals(*alias)
                if not inner:
                    return ()
                values += inner

    return tuple(values)


def _checked_choices(settings: _Definition) -> dict[str, tuple[str, ...]]:
    """Fields that a dataclass looks up in a table, `check_chosen(KIND, self.FIELD, TABLE)`, and the table's keys.

    `[*TABLE, *LEFT]` also admits names that a run folder of the last release may hold.
    """
    choices = {}
    for node in ast.walk(settings.node):
        match node:
            case ast.Call(
                func=ast.Name("check_chosen"),
                args=[
                    _,
                    ast.Attribute(value=ast.Name("self"), attr=field),
                    ast.Name(table) | ast.List(elts=[ast.Starred(value=ast.Name(table)), *_]),
                ],
            ):
                definition = settings.source.find(table)
                choices[field] = () if definition is None else _keys(definition.node)

    return choices


def _renamed(settings: _Definition | None) -> dict[str, str]:
    """`RENAMED_FIELDS` of a dataclass: fields of release 0.1 and their names now."""
    table = None if settings is None else _bound(settings.node).get("RENAMED_FIELDS")
    return {} if table is None else dict(ast.literal_eval(table))


def _bound(tree: ast.AST) -> dict[str, ast.AST]:
    """Names at the top of a file or class: variables with their values, imported ones with their statement."""
    bound: dict[str, ast.AST] = {}
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            bound[node.name] = node
        elif isinstance(node, ast.ImportFrom):
            bound |= {alias.asname or alias.name: node for alias in node.names}
        elif isinstance(node, ast.AnnAssign | ast.Assign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            bound |= {target.id: node.value for target in targets if isinstance(target, ast.Name)}

    return bound


def _keys(table: ast.AST | None) -> tuple[str, ...]:
    """The keys of a dictionary whose keys are all written out; none of anything else."""
    keys = table.keys if isinstance(table, ast.Dict) else []
    # a key that is computed, or another table that is unpacked, leaves the table unknown
    words = tuple(str(key.value) for key in keys if isinstance(key, ast.Constant))
    return words if len(words) == len(keys) else ()


def _first_line(node: ast.Module | ast.ClassDef) -> str:
    return (ast.get_docstring(node) or "").split("\n", 1)[0]
