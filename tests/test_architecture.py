"""The rules of the architecture that a program can check: layers, sizes, names, forbidden constructs.

The rules themselves stand in `docs/explanation/architecture.md`.
"""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

import spikebridge
from research.project.entered_files import enter_network, enter_neuron, enter_unit

pytestmark = pytest.mark.untyped

ROOT = Path(spikebridge.__file__).parent
PROJECT = Path(__file__).resolve().parent.parent
FILES = sorted(ROOT.rglob("*.py"))

# a folder imports folders of lower layers; those of one layer do not import each other
LAYERS = (
    ("errors", "axes", "_moved", "_notebook", "_requirements", "threads"),
    ("ops", "data"),
    ("neurons",),
    ("hybrid",),
    ("coding",),
    ("training", "analysis", "deploy"),
    ("networks",),
    ("pretrained",),
    ("recipes",),
    ("cli",),
    ("__main__",),
)
# inside of a folder the same holds; what is not named may import and be imported by all of its folder
INNER_LAYERS = {
    "hybrid": (("clock", "modulation"), ("unit",), ("network",)),
    "ops": (
        ("recomputation", "precision"),
        ("native",),
        ("sequence",),
        ("filters", "layers"),
        ("sparse",),
    ),
    "deploy": (
        ("nir", "onnx", "stages"),
        ("bundle",),
        ("runtime",),
        ("integer",),
        ("c",),
        ("front_ends",),
        ("quantization",),
        ("chips",),
        ("streaming",),
        ("web",),
        ("compare", "run"),
    ),
}
NETWORK_LAYERS = (
    ("data",),
    ("simulation",),
    ("parsing", "perception", "events", "native"),
    ("graph", "model"),
    ("tracker", "explain"),
    ("baselines",),
    ("training",),
    ("evaluation",),
    ("report",),
    ("track", "quantize", "comparison", "tasks"),
    ("recipe",),
)

MAX_LINES = 600
MAX_LINES_OF_A_FUNCTION = 80
MAX_MODULES = 16
MAX_LEVELS = 3
MAX_SIBLINGS_OF_A_PREFIX = 2
MAX_ARGUMENTS = 8
# files that a call enters: one that continues a stream, and the one that begins it, checks it and prepares what runs
MAX_FILES = {"neuron_later": 4, "neuron_steps_later": 10, "unit_later": 8, "network_later": 7}
MAX_FILES_AT_FIRST = {"neuron": 9, "neuron_steps": 16, "unit": 10, "network": 7}
MIN_LINES_OF_A_CONCEPT = 120
NAMES_WITHOUT_A_CONCEPT = {"util", "utils", "common", "helper", "helpers", "misc", "manager", "factory"}
# words of this project alone, where the field has a standard term
PRIVATE_WORDS = re.compile(
    r"\b(told|nobody|whoever|hears?|heard|so-many-th|sights?|finders?|rooms?|goes on|go on|stirred|abroad|shaken)\b"
    r"|\bheeds?\b",
    re.I,
)
PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    """All nodes of a file."""
    return list(ast.walk(parsed(path)))


def violations(rule: Callable[[Path], Iterable[object]]) -> dict[str, list[object]]:
    """Violations of a rule by file. (A test for each file would be thousands.)"""
    by_file = {path.relative_to(ROOT).as_posix(): list(rule(path)) for path in FILES}
    return {name: lines for name, lines in by_file.items() if lines}


def parts_of(path: Path) -> tuple[str, ...]:
    """Folders and name of a file below the package."""
    return path.relative_to(ROOT).with_suffix("").parts


def level(layers: tuple[tuple[str, ...], ...], name: str) -> int | None:
    """Number of the layer that a name stands in, counted from below."""
    return next((number for number, layer in enumerate(layers) if name in layer), None)


def imported(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Dotted names of all imports of a file, those inside functions, too."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def points_up(layers: tuple[tuple[str, ...], ...], here: str, there: str) -> bool:
    """True if an import goes up, or to a sibling of the same layer."""
    own = level(layers, here)
    other = level(layers, there)
    # the lowest layer is free: its names may import each other
    return here != there and own is not None and other is not None and other >= own and other > 0


def wrong_imports(here: tuple[str, ...], names: Iterable[str]) -> list[str]:
    """The names that a file, given by its folders and name, may not import."""
    wrong = []
    for name in names:
        there = tuple(name.split(".")[1:])
        if not name.startswith("spikebridge.") or not there:
            continue

        layers = LAYERS
        own = here
        other = there
        if own[0] == other[0] and len(own) > 1 and len(other) > 1:
            if own[0] == "networks":
                if own[1] != other[1]:
                    wrong.append(name)
                    continue

                layers = NETWORK_LAYERS
                own = own[2:]
                other = other[2:]
            else:
                layers = INNER_LAYERS.get(own[0], ())
                own = own[1:]
                other = other[1:]

        if own and other and points_up(layers, own[0], other[0]):
            wrong.append(name)

    return wrong


def test_every_folder_stands_in_a_layer() -> None:
    assert {parts_of(path)[0] for path in FILES} - {"__init__"} <= {name for layer in LAYERS for name in layer}


def test_imports_point_down() -> None:
    assert violations(lambda path: wrong_imports(parts_of(path), imported(nodes_of(path)))) == {}


def test_an_import_that_points_up_is_found() -> None:
    tree = ast.parse("def f():\n    from spikebridge.training.loop import fit\nimport spikebridge.hybrid.unit")
    names = list(imported(ast.walk(tree)))

    assert wrong_imports(("neurons", "lif"), names) == ["spikebridge.hybrid.unit", "spikebridge.training.loop.fit"]
    assert wrong_imports(("cli", "train"), names) == []
    assert wrong_imports(("analysis", "cost"), names) == ["spikebridge.training.loop.fit"]
    assert wrong_imports(("hybrid", "unit", "unit"), ["spikebridge.hybrid.network.link"]) != []
    assert wrong_imports(("hybrid", "network", "link"), ["spikebridge.hybrid.unit.unit"]) == []
    assert wrong_imports(("networks", "sensing", "track"), ["spikebridge.networks.digits.model"]) != []
    assert wrong_imports(("networks", "sensing", "model", "heads"), ["spikebridge.networks.sensing.recipe"]) != []


def module_files() -> dict[str, Path]:
    """Every module by its dotted name."""
    names = {".".join(("spikebridge", *parts_of(path))): path for path in FILES}
    return {name.removesuffix(".__init__"): path for name, path in names.items()}


def file_imports() -> dict[Path, set[Path]]:
    """The files that each file imports, packages' `__init__` left out."""
    files = module_files()
    graph: dict[Path, set[Path]] = {}

    for path in FILES:
        # a package imports its modules, which import it back by their dotted names
        if path.name == "__init__.py":
            continue

        named = {files.get(name) or files.get(name.rpartition(".")[0]) for name in imported(nodes_of(path))}
        graph[path] = {other for other in named if other is not None and other != path and other.name != "__init__.py"}

    return graph


def circles(graph: dict[Path, set[Path]]) -> list[str]:
    """Chains of imports that end where they began."""
    chains: list[str] = []
    done: set[Path] = set()

    def visit(path: Path, chain: tuple[Path, ...]) -> None:
        if path in chain:
            chains.append(" -> ".join("/".join(parts_of(one)) for one in (*chain[chain.index(path) :], path)))
        elif path not in done:
            for other in sorted(graph[path]):
                visit(other, (*chain, path))
            done.add(path)

    for path in graph:
        visit(path, ())

    return chains


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles(file_imports()) == []


def test_a_file_that_continues_another_one_is_underscored() -> None:
    graph = file_imports()
    importers: dict[Path, list[Path]] = defaultdict(list)
    for path, others in graph.items():
        for other in others:
            importers[other].append(path)

    continuations = [
        "/".join(parts_of(path))
        for path in graph
        if len(path.read_text(encoding="utf-8").splitlines()) < MIN_LINES_OF_A_CONCEPT
        and not path.name.startswith("_")
        and [one.parent for one in importers[path]] == [path.parent]
    ]

    assert continuations == []


def test_a_folder_is_one_screen_and_at_most_three_levels_deep() -> None:
    modules = Counter(path.parent for path in FILES if path.name != "__init__.py")
    wide = {folder.relative_to(ROOT).as_posix(): number for folder, number in modules.items() if number > MAX_MODULES}

    assert wide == {}
    assert [path for path in FILES if len(parts_of(path)) > MAX_LEVELS + 1] == []


def test_three_siblings_never_share_a_prefix() -> None:
    heads = Counter((path.parent, path.stem.split("_")[0]) for path in FILES if not path.name.startswith("_"))
    assert {key: number for key, number in heads.items() if number > MAX_SIBLINGS_OF_A_PREFIX} == {}


def test_a_file_holds_one_concept() -> None:
    sizes = {path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    long = {name: lines for name, lines in sizes.items() if lines > MAX_LINES}
    assert long == {}, "a second concept goes into a file of its own"


def functions_of(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions and methods of a file."""
    return [node for node in nodes_of(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> int:
    """Lines of a function that hold code: no docstring, no comment, no blank line."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if not body:
        return 1

    last = function.end_lineno or function.lineno
    inside = [line.strip() for line in lines[body[0].lineno - 1 : last]]

    return 1 + sum(1 for line in inside if line and not line.startswith("#"))


def test_functions_are_short() -> None:
    def long_functions(path: Path) -> list[object]:
        lines = path.read_text(encoding="utf-8").splitlines()
        sizes = [(function.name, code_lines(function, lines)) for function in functions_of(path)]
        return [(name, size) for name, size in sizes if size > MAX_LINES_OF_A_FUNCTION]

    assert violations(long_functions) == {}


def num_arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Number of arguments of a function, `self` and `cls` left out."""
    names = [one.arg for one in [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]]
    return len([name for name in names if name not in ("self", "cls")])


def test_functions_take_at_most_eight_arguments() -> None:
    many = {
        f"{'/'.join(parts_of(path))}.{function.name}": number
        for path in FILES
        for function in functions_of(path)
        if (number := num_arguments(function)) > MAX_ARGUMENTS
    }

    assert many == {}


def test_a_call_enters_few_files() -> None:
    entered = enter_neuron() | enter_unit() | enter_network()
    many = {name: files for name, files in entered.items() if len(files) > (MAX_FILES | MAX_FILES_AT_FIRST)[name]}

    assert many == {}


def test_lines_of_code_are_no_docstrings_comments_and_blanks() -> None:
    text = 'def f():\n    """One."""\n\n    # why\n    a = 1\n    return a\n'
    function = ast.parse(text).body[0]
    assert isinstance(function, ast.FunctionDef)
    assert code_lines(function, text.splitlines()) == 3


def test_no_two_classes_have_one_name() -> None:
    names = Counter(
        node.name
        for path in FILES
        for node in parsed(path).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )

    # every recipe has its Config
    assert {name: number for name, number in names.items() if number > 1 and name != "Config"} == {}


def defined(tree: ast.Module) -> Iterator[str]:
    """Names that a file defines at its top."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


USES = re.compile(r"import \([^)]*|import [^\n]*|\.\w+|[\"'][\w.:]+[\"']")


def used(path: Path) -> set[str]:
    """Names that a file imports, reaches as attributes, or holds in a string of one word."""
    return set(re.findall(r"\w+", " ".join(USES.findall(path.read_text(encoding="utf-8")))))


def in_public_signatures(tree: ast.Module) -> set[str]:
    """Names in annotations of the public functions and classes of a file, which their readers look up."""
    public = [node for node in tree.body if not getattr(node, "name", "_").startswith("_")]
    nodes = [inner for node in public for inner in ast.walk(node)]
    annotations = [node.annotation for node in nodes if isinstance(node, ast.arg | ast.AnnAssign)]
    annotations += [node.returns for node in nodes if isinstance(node, ast.FunctionDef)]
    parts = [part for annotation in annotations if annotation is not None for part in ast.walk(annotation)]

    return {part.id for part in parts if isinstance(part, ast.Name)}


def test_a_name_that_only_its_own_file_uses_is_underscored() -> None:
    # one pass over all words: a search for each name in each file would take minutes
    readers = [*FILES, *ROOT.rglob("*.pyi")]
    readers += [path for part in ("tests", "research", "docs") for path in (PROJECT / part).rglob("*.py")]
    words = {path: used(path) for path in readers}

    for page in (*(PROJECT / "docs").rglob("*.md"), PROJECT / "README.md"):
        code = re.findall(r"```.*?```|`[^`\n]+`", page.read_text(encoding="utf-8"), re.DOTALL)
        words[page] = set(re.findall(r"\w+", " ".join(code)))

    num_files = Counter(word for names in words.values() for word in names)
    hooks = {"Config", "PRESETS", "train", "evaluate", "report", "build", "example"}
    own = {
        f"{'/'.join(parts_of(path))}.{name}"
        for path in FILES
        for name in set(defined(parsed(path))) - in_public_signatures(parsed(path))
        if not name.startswith("_")
        and num_files[name] == (name in words[path])
        and not (path.stem == "recipe" and name in hooks)
    }

    assert own == set()


def test_names_are_concepts() -> None:
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

    def empty_words(path: Path) -> set[str]:
        names = [node.name for node in nodes_of(path) if isinstance(node, kinds)]
        words = {word.lower() for name in [path.stem, *names] for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
        return words & NAMES_WITHOUT_A_CONCEPT

    assert violations(empty_words) == {}


def test_names_and_docstrings_use_the_words_of_the_field() -> None:
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    private = []

    for path in FILES:
        for node in nodes_of(path):
            if not isinstance(node, (*kinds, ast.Module)):
                continue

            name = path.stem if isinstance(node, ast.Module) else node.name
            words = " ".join(re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)) + "\n" + (ast.get_docstring(node) or "")
            private += [f"{'/'.join(parts_of(path))}.{name}: {match[0]}" for match in PRIVATE_WORDS.finditer(words)]

    assert private == []


def test_users_meet_errors_not_asserts_and_nothing_is_swallowed() -> None:
    def swallowing(path: Path) -> Iterator[str]:
        for node in nodes_of(path):
            if isinstance(node, ast.Assert) or (isinstance(node, ast.ExceptHandler) and node.type is None):
                yield f"line {node.lineno}: {'assert' if isinstance(node, ast.Assert) else 'bare except'}"

    assert violations(swallowing) == {}


def test_no_file_is_unpickled() -> None:
    def unpickling(path: Path) -> Iterator[object]:
        yield from {name.split(".")[0] for name in imported(nodes_of(path))} & PICKLES
        attributes = [node for node in nodes_of(path) if isinstance(node, ast.Attribute)]
        calls = {(node.value.id, node.attr) for node in attributes if isinstance(node.value, ast.Name)}
        yield from calls & {("torch", "load"), ("torch", "save")}

    assert violations(unpickling) == {}


def test_nothing_is_imported_wholesale() -> None:
    assert violations(lambda path: [name for name in imported(nodes_of(path)) if name.endswith(".*")]) == {}
