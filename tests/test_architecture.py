"""The house rules that a program can check: which folder may import which, sizes, names, forbidden constructs."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import spikebridge

ROOT = Path(spikebridge.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

BELOW_RECIPES = {"ops", "data", "neurons", "hybrid", "coding", "networks", "training", "analysis", "deploy"}
COMMAND_LINE = {"__main__", "cli", "commands", "installation", "layout", "targets"}
MAY_IMPORT = {
    "ops": set(),
    "data": set(),
    "neurons": {"ops"},
    "hybrid": {"neurons", "ops"},
    "coding": {"hybrid", "neurons"},
    "networks": {"coding", "hybrid", "neurons", "ops", "data"},
    "training": {"hybrid", "neurons", "coding"},
    "analysis": {"hybrid", "neurons", "coding"},
    "deploy": {"hybrid", "neurons", "coding", "ops"},
    "recipes": BELOW_RECIPES,
    "pretrained": BELOW_RECIPES,
    "command line": {"recipes", "pretrained", "deploy", "analysis", "data"},
    "errors": set(),
    "axes": set(),
    "__init__": set(),
}
EVERYBODY_MAY_IMPORT = {"errors", "axes"}
# the command line opens run folders, and says which fast path is there; how a run is made stays with the recipes
COMMAND_LINE_MAY_IMPORT = {"spikebridge.training.run", "spikebridge.training.processes", "spikebridge.ops.native"}

MOST_LINES = {"ops": 400}
MOST_LINES_ELSEWHERE = 300
MOST_LINES_OF_A_FUNCTION = 60
NAMES_WITHOUT_A_CONCEPT = {"util", "utils", "common", "helper", "helpers", "misc", "manager", "factory"}
PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}

every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())


def folder_of(path: Path) -> str:
    """The concept that a file belongs to."""
    first = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return "command line" if first in COMMAND_LINE else first


def imported(tree: ast.Module) -> Iterator[str]:
    """Dotted names of all that a file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def wrong_imports(folder: str, names: Iterator[str]) -> list[str]:
    """The names that a folder may not import."""
    wrong = []
    for name in names:
        if not name.startswith("spikebridge."):
            continue
        target = name.split(".")[1]
        target = "command line" if target in COMMAND_LINE else target
        exception = folder == "command line" and name.rsplit(".", 1)[0] in COMMAND_LINE_MAY_IMPORT
        below = target in MAY_IMPORT and target not in {folder, *EVERYBODY_MAY_IMPORT, *MAY_IMPORT[folder]}
        if below and not exception:
            wrong.append(name)
    return wrong


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> int:
    """Lines of a function that hold code: no docstring, no comment, no blank line."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if not body:
        return 1
    last = function.end_lineno or function.lineno
    inside = [line.strip() for line in lines[body[0].lineno - 1 : last]]
    return 1 + sum(1 for line in inside if line and not line.startswith("#"))


def test_every_folder_stands_in_the_table() -> None:
    assert {folder_of(path) for path in FILES} <= set(MAY_IMPORT)


@every_file
def test_imports_point_down(path: Path) -> None:
    assert wrong_imports(folder_of(path), imported(ast.parse(path.read_text()))) == []


def test_an_import_that_points_up_is_seen() -> None:
    tree = ast.parse("def f():\n    from spikebridge.training.loop import fit\nimport spikebridge.hybrid.unit")
    assert wrong_imports("neurons", imported(tree)) == ["spikebridge.hybrid.unit", "spikebridge.training.loop.fit"]
    assert wrong_imports("recipes", imported(tree)) == []
    assert wrong_imports("command line", iter(["spikebridge.training.run.Run", "spikebridge.training.loop.fit"])) == [
        "spikebridge.training.loop.fit"
    ]


@every_file
def test_a_file_has_one_idea(path: Path) -> None:
    most = MOST_LINES.get(folder_of(path), MOST_LINES_ELSEWHERE)
    assert len(path.read_text().splitlines()) <= most, "a second concept wants a file of its own"


@every_file
def test_functions_are_short(path: Path) -> None:
    text = path.read_text()
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    sizes = {function.name: code_lines(function, text.splitlines()) for function in functions}
    assert {name: size for name, size in sizes.items() if size > MOST_LINES_OF_A_FUNCTION} == {}


def test_lines_of_code_are_counted_without_words_about_them() -> None:
    text = 'def f():\n    """One."""\n\n    # why\n    a = 1\n    return a\n'
    function = ast.parse(text).body[0]
    assert isinstance(function, ast.FunctionDef)
    assert code_lines(function, text.splitlines()) == 3


@every_file
def test_names_are_concepts(path: Path) -> None:
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    names = [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]
    words = {word.lower() for name in [path.stem, *names] for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
    assert words & NAMES_WITHOUT_A_CONCEPT == set()


@every_file
def test_users_meet_errors_not_asserts_and_nothing_is_swallowed(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.Assert), f"line {node.lineno}: assert"
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"line {node.lineno}: bare except"


@every_file
def test_no_file_is_unpickled(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert {name.split(".")[0] for name in imported(tree)} & PICKLES == set()
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    calls = {(node.value.id, node.attr) for node in attributes if isinstance(node.value, ast.Name)}
    assert ("torch", "load") not in calls
    assert ("torch", "save") not in calls


@every_file
def test_nothing_is_imported_wholesale(path: Path) -> None:
    assert [name for name in imported(ast.parse(path.read_text())) if name.endswith(".*")] == []
