"""What is public is exported where people look for it, and says what it is."""

import ast
import importlib
import re
from functools import cache
from pathlib import Path

import pytest

import spikebridge

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
    """The names that a folder offers."""
    return set(getattr(importlib.import_module(f"spikebridge.{folder}"), "__all__", ()))


def is_record(node: ast.ClassDef) -> bool:
    """Whether a class only holds or describes values: a state or a plan comes from a call, nobody has to name it."""
    bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
    decorators = {ast.unparse(decorator).split("(")[0] for decorator in node.decorator_list}
    return bool(bases & {"NamedTuple", "Protocol", "TypedDict"}) or "dataclass" in decorators


@pytest.mark.parametrize("folder", EXPORTING)
def test_every_public_class_that_does_something_is_exported_by_its_folder(folder: str) -> None:
    trees = [tree_of(path) for path in sorted((ROOT / folder).rglob("*.py"))]
    classes = [node for tree in trees for node in public(tree) if isinstance(node, ast.ClassDef)]
    assert {node.name for node in classes if not is_record(node)} - exported(folder) == set()


@pytest.mark.parametrize("folder", [*EXPORTING, "training", "analysis"])
def test_every_exported_name_is_there(folder: str) -> None:
    module = importlib.import_module(f"spikebridge.{folder}")
    for name in exported(folder):
        assert getattr(module, name) is not None


def test_what_is_public_says_what_it_is() -> None:
    silent = []
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        tree = tree_of(path)
        if path.stat().st_size > 0 and not ast.get_docstring(tree):
            silent.append(f"{name}: a file begins with what it is about")
        silent += [f"{name}: {node.name}" for node in public(tree) if not ast.get_docstring(node)]

    assert silent == []


def documented_arguments(docstring: str) -> list[str]:
    """The names in the section `Args` of a docstring."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", docstring, re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^ {4}(?! )([\w*, ]+):", section[1], re.MULTILINE) if section else []
    return [name.strip(" *") for line in lines for name in line.split(",")]


def arguments(node: ast.FunctionDef) -> set[str]:
    """The names of a function's arguments."""
    named = node.args
    several = [one for one in (named.vararg, named.kwarg) if one]
    return {one.arg for one in (*named.posonlyargs, *named.args, *named.kwonlyargs, *several)}


def class_arguments(node: ast.ClassDef) -> set[str] | None:
    """What an instance is made from: the arguments of `__init__`, or the fields; None where a parent says it."""
    methods = {one.name: one for one in node.body if isinstance(one, ast.FunctionDef)}
    if "__init__" in methods:
        named = arguments(methods["__init__"])
        return None if methods["__init__"].args.kwarg else named

    fields = {one.target.id for one in node.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)}
    return fields if is_record(node) and fields and len(node.bases) <= 1 else None


def test_documented_arguments_have_the_names_of_arguments_and_named_files_are_there() -> None:
    stale = []
    known = {path.name for path in FILES}

    for path in FILES:
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                continue

            docstring = ast.get_docstring(node) or ""
            name = path.relative_to(ROOT).as_posix()
            stale += [f"{name}: no {file}" for file in re.findall(r"`(\w+\.py)`", docstring) if file not in known]
            if isinstance(node, ast.Module) or "Args:" not in docstring:
                continue

            given = arguments(node) if isinstance(node, ast.FunctionDef) else class_arguments(node)
            if given is not None:
                unknown = [one for one in documented_arguments(docstring) if one not in given]
                stale += [f"{name}: {node.name} has no {one}" for one in unknown]

    assert stale == []
