"""Public names are exported by their folders, and have docstrings that fit them."""

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import spikebridge

pytestmark = pytest.mark.untyped

ROOT = Path(spikebridge.__file__).parent
EXPORTING = ("neurons", "hybrid", "coding", "data")
FILES = sorted(ROOT.rglob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a file, read once for all tests."""
    return ast.parse(path.read_text())


def public(tree: ast.Module) -> list[ast.ClassDef | ast.FunctionDef]:
    """Classes and functions at the top of a file whose names do not begin with an underscore."""
    kinds = (ast.ClassDef, ast.FunctionDef)
    return [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


def exported(folder: str) -> set[str]:
    """The names in `__all__` of a folder."""
    return set(getattr(importlib.import_module(f"spikebridge.{folder}"), "__all__", ()))


def is_record(node: ast.ClassDef) -> bool:
    """True if a class only holds or describes values, such as a state: it comes from a call and needs no export."""
    bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
    decorators = {ast.unparse(decorator).split("(")[0] for decorator in node.decorator_list}
    return bool(bases & {"NamedTuple", "Protocol", "TypedDict"}) or "dataclass" in decorators


@pytest.mark.parametrize("folder", EXPORTING)
def test_every_public_class_that_is_no_record_is_exported_by_its_folder(folder: str) -> None:
    trees = [tree_of(path) for path in sorted((ROOT / folder).rglob("*.py"))]
    classes = [node for tree in trees for node in public(tree) if isinstance(node, ast.ClassDef)]
    assert {node.name for node in classes if not is_record(node)} - exported(folder) == set()


@pytest.mark.parametrize("folder", [*EXPORTING, "training", "analysis"])
def test_every_exported_name_is_there(folder: str) -> None:
    module = importlib.import_module(f"spikebridge.{folder}")
    for name in exported(folder):
        assert getattr(module, name) is not None


def test_public_names_and_files_have_docstrings() -> None:
    silent = []
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        tree = tree_of(path)
        # an empty `__init__.py` only makes a package
        if path.stat().st_size > 0 and not ast.get_docstring(tree):
            silent.append(f"{name}: the file has no docstring")
        silent += [f"{name}: {node.name}" for node in public(tree) if not ast.get_docstring(node)]

    assert silent == []


def documented_arguments(docstring: str) -> list[str]:
    """The names in the section `Args` of a docstring."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", docstring, re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^ {4}(?! )([\w*, ]+):", section[1], re.MULTILINE) if section else []
    return [name.strip(" *") for line in lines for name in line.split(",")]


def arguments(node: ast.FunctionDef) -> set[str]:
    """The names of a function's arguments."""
    parts = node.args
    several = [argument for argument in (parts.vararg, parts.kwarg) if argument]
    return {argument.arg for argument in (*parts.posonlyargs, *parts.args, *parts.kwonlyargs, *several)}


def class_arguments(node: ast.ClassDef) -> set[str] | None:
    """Arguments of `__init__`, or the fields of a record; None if a parent class has them."""
    methods = {inner.name: inner for inner in node.body if isinstance(inner, ast.FunctionDef)}
    if "__init__" in methods:
        init = methods["__init__"]
        return None if init.args.kwarg else arguments(init)

    annotated = [inner.target for inner in node.body if isinstance(inner, ast.AnnAssign)]
    fields = {target.id for target in annotated if isinstance(target, ast.Name)}
    return fields if is_record(node) and fields and len(node.bases) <= 1 else None


def documented_nodes() -> Iterator[tuple[str, ast.Module | ast.ClassDef | ast.FunctionDef, str]]:
    """Every file, class and function with a docstring: its path, node and docstring."""
    for path in FILES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                yield path.relative_to(ROOT).as_posix(), node, ast.get_docstring(node) or ""


def test_documented_arguments_have_the_names_of_arguments() -> None:
    stale = []
    for path, node, docstring in documented_nodes():
        if isinstance(node, ast.Module) or "Args:" not in docstring:
            continue

        names = arguments(node) if isinstance(node, ast.FunctionDef) else class_arguments(node)
        if names is not None:
            unknown = [name for name in documented_arguments(docstring) if name not in names]
            stale += [f"{path}: {node.name} has no {name}" for name in unknown]

    assert stale == []


def test_files_that_a_docstring_names_exist() -> None:
    names = {path.name for path in FILES}
    stale = [
        f"{path}: no {file}"
        for path, _, docstring in documented_nodes()
        for file in re.findall(r"`(\w+\.py)`", docstring)
        if file not in names
    ]

    assert stale == []
