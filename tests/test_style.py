"""Rules that a program can check: blank lines, assignments, comments, docstrings, sizes, and use of each module."""

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest

import spikebridge
from research.project.style import SIZES, Style, exported_names, measure, measure_file
from spikebridge.cli.main import main
from spikebridge.recipes.outline import Listing, list_recipes, read_outline

ROOT = Path(spikebridge.__file__).parent
PROJECT = Path(__file__).resolve().parent.parent
TREES = {"src": ROOT, "tests": PROJECT / "tests", "research": PROJECT / "research"}

pytestmark = pytest.mark.untyped

MAX_GROWTH = 1.02  # of the code lines of a folder
MIN_AIR = 5.0  # %
MIN_COMMENTS = {"src": 2.5, "tests": 1.0, "research": 1.0}  # %
MAX_PACKED = 4.0  # in 1,000 code lines
MAX_EXPORTED = 290
MAX_UNEXPORTED_DOCSTRINGS = 6300
MAX_SCRIPTS = 12  # files of a folder
MAX_HELP = 90  # lines
MAX_PRESETS = 5
MAX_NETWORKS = 4
# the field says: again, integer, max_, min_
PRIVATE_WORDS = re.compile(r"\b(anew|whole numbers?)\b|\b_?(most|least)_\w+", re.IGNORECASE)

every_tree = pytest.mark.parametrize("tree", TREES)


@cache
def styles(tree: str) -> dict[str, Style]:
    """The style of the folders of a tree."""
    return measure(TREES[tree])


def total(tree: str) -> Style:
    """The style of a whole tree."""
    return sum(styles(tree).values(), Style())


@every_tree
def test_functions_have_air_reasons_one_assignment_a_line_and_docstrings_without_fragments(tree: str) -> None:
    # one test a tree, so that one worker measures it
    style = total(tree)
    assert style.fragments == []
    assert style.air >= MIN_AIR
    assert style.commented >= MIN_COMMENTS[tree]
    assert style.packed_per_1000 <= MAX_PACKED


def test_names_and_docstrings_use_the_words_of_the_field() -> None:
    private = []
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            private += [f"{path.relative_to(ROOT)}: {match[0]}" for match in PRIVATE_WORDS.finditer(_words_of(node))]

    assert private == []


def _words_of(node: ast.AST) -> str:
    """The name that a node defines, and its docstring."""
    if isinstance(node, ast.arg):
        return node.arg
    if isinstance(node, ast.Name):
        return node.id if isinstance(node.ctx, ast.Store) else ""
    if isinstance(node, ast.Module):
        return ast.get_docstring(node) or ""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return f"{node.name}\n{ast.get_docstring(node) or ''}"

    return ""


def test_exported_names_are_few_and_only_they_have_long_docstrings() -> None:
    assert len(exported_names(ROOT)) <= MAX_EXPORTED
    assert total("src").unexported <= MAX_UNEXPORTED_DOCSTRINGS


def test_no_folder_grows_unnoticed() -> None:
    """A change that needs more lines raises the number of its folder, and its commit says why."""
    entered: dict[str, int] = json.loads(SIZES.read_text(encoding="utf-8"))
    measured = {folder: style.code for folder, style in styles("src").items()}
    assert measured.keys() == entered.keys()

    grown = {folder: lines for folder, lines in measured.items() if lines > MAX_GROWTH * entered[folder]}
    assert grown == {}, "take lines out, or give the reason and run research/project/style.py --enter-sizes"

    # a number that is too large would let the folder fill again
    shrunk = {folder: lines for folder, lines in measured.items() if lines * MAX_GROWTH < entered[folder]}
    assert shrunk == {}, "run research/project/style.py --enter-sizes"


def test_a_folder_of_research_is_one_subject() -> None:
    sizes: dict[str, int] = {}
    for path in (PROJECT / "research").rglob("*"):
        if path.is_file() and path.parent.name != "__pycache__":
            folder = path.parent.relative_to(PROJECT).as_posix()
            sizes[folder] = sizes.get(folder, 0) + 1

    assert {folder: files for folder, files in sizes.items() if files > MAX_SCRIPTS} == {}


@pytest.mark.parametrize("recipe", list_recipes(), ids=lambda recipe: recipe.name)
def test_a_recipe_shows_few_networks_presets_and_options(recipe: Listing, capsys: pytest.CaptureFixture[str]) -> None:
    outline = read_outline(recipe.name, "Config")
    assert outline is not None

    networks = outline.options.get("networks", outline.options.get("methods", ()))
    assert len(networks) <= MAX_NETWORKS
    assert len(recipe.presets) <= MAX_PRESETS

    assert main(["train", recipe.name, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(bool(line.strip()) for line in lines) <= MAX_HELP


def test_counts_of_style_are_those_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "small.py"
    file.write_text(
        '"""What a file is."""\n\n'
        "def f(a, b):\n"
        '    """Sum."""\n'
        "    x, y = a, b\n"
        "    a, b = b, a\n"
        "\n"
        "    # a reason\n"
        "    return x + y\n"
    )

    style = measure_file(file)

    assert (style.code, style.docstrings, style.body, style.blank, style.comments) == (4, 2, 3, 1, 1)
    assert style.packed == 1, "the exchange of values is not packed"
    assert style.fragments == [f"{file}:1: What a file is."]


def test_a_method_is_exported_with_its_class(tmp_path: Path) -> None:
    file = tmp_path / "small.py"
    file.write_text('class A:\n    """A."""\n\n    def f(self):\n        """F."""\n\n\nclass B:\n    """B."""\n')
    assert [measure_file(file, frozenset(names)).unexported for names in ({}, {"A"}, {"f"})] == [3, 1, 3]


def test_what_is_installed_is_reached_by_users() -> None:
    """A module of the wheel is reached from an exported name or a command, not from research or tests alone."""
    modules = _modules()
    waiting = [name for name in modules if _is_entry(name, modules[name])]
    reached: set[str] = set()

    while waiting:
        name = waiting.pop()
        if name in modules and name not in reached:
            reached.add(name)
            # importing a module imports its package, too
            waiting += [*_imports(modules[name]), name.rpartition(".")[0]]

    assert sorted(modules.keys() - reached) == []


def _modules() -> dict[str, Path]:
    """All modules of the package by their dotted names."""
    names = {path: ("spikebridge", *path.relative_to(ROOT).with_suffix("").parts) for path in ROOT.rglob("*.py")}
    return {".".join(parts).removesuffix(".__init__"): path for path, parts in names.items()}


def _is_entry(name: str, path: Path) -> bool:
    """True for the command line, recipes with their streams, top-level packages, and modules that a page imports."""
    is_package = path.name == "__init__.py" and name.count(".") <= 1
    # recipes/live.py imports the stream of a recipe by the recipe's name
    is_recipe = path.stem in ("__main__", "recipe", "stream")

    return is_package or is_recipe or name == "spikebridge.cli.main" or name in _modules_of_pages()


@cache
def _modules_of_pages() -> set[str]:
    """Modules that a tutorial or a how-to page imports."""
    pages = [*(PROJECT / "docs" / "tutorials").glob("*.md"), *(PROJECT / "docs" / "how-to").glob("*.md")]
    texts = (page.read_text(encoding="utf-8") for page in pages)
    return {name for text in texts for name in re.findall(r"from (spikebridge[\w.]*) import", text)}


def _imports(path: Path) -> set[str]:
    """Modules that a file imports or names in a string, with those of the stub next to an `__init__.py`."""
    stub = path.with_suffix(".pyi")
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in (path, stub) if file.exists()]
    names: set[str] = set()

    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # stubs import from their own folder
            package = ".".join(("spikebridge", *path.parent.relative_to(ROOT).parts)) if node.level else ""
            module = ".".join(filter(None, (package, node.module)))
            names |= {f"{module}.{alias.name}" for alias in node.names} | {module}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("spikebridge."):
            # modules that are imported late, by their name
            names.add(node.value)

    return names
