"""What is public is exported where people look for it, and says what it is."""

import ast
import importlib
from pathlib import Path

import pytest

import spikebridge

ROOT = Path(spikebridge.__file__).parent
EXPORTING = ("neurons", "hybrid", "coding", "data")
FILES = sorted(ROOT.rglob("*.py"))


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
    trees = [ast.parse(path.read_text()) for path in sorted((ROOT / folder).rglob("*.py"))]
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
        name, tree = path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())
        if path.stat().st_size > 0 and not ast.get_docstring(tree):
            silent.append(f"{name}: a file begins with what it is about")
        silent += [f"{name}: {node.name}" for node in public(tree) if not ast.get_docstring(node)]
    assert silent == []
