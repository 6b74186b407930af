"""The layout of a source tree in figures: files, folders, circles, names, and how many files one call enters.

    python research/project/layout.py                                     # this tree, as `now`
    python research/project/layout.py --src /path/to/src --label before   # another one

Adds or replaces one column of results/layout.json and prints all columns. The rows:

- Lines of documentation are docstrings and the strings below fields. Comments count as code.
- A module is a file that is no `__init__`. An import counts wherever it stands in a file; one of a folder's name counts
  as one of the module that defines the name. A circle is a largest set of modules that all import each other.
- Files of one prefix: three or more modules of a folder whose names begin with the same word.
- A second page: under 120 lines, no underscore, and the one module that imports it is a sibling.
- Public names stand at the top of files, without underscore. Used by another file: of the package, not of tests or
  research, and not an `__init__` that exports it. Exported: the different names of `__all__` in `__init__.py`, or in
  the stub next to it if the folder imports lazily.
- Arguments: all of a function without `self` and `cls`. A short function has at most three lines below its docstring.
- Files entered: the calls of `entered_files.py`. Writing: the figures of `style.py`.
"""

import argparse
import ast
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from research.project.entered_files import PACKAGE, PROBES
from research.project.style import Style, measure
from spikebridge.data.io.atomic import write_text
from spikebridge.training.run.environment import git_revision

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "research" / "project" / "results" / "layout.json"
MIN_LINES_OF_A_CONCEPT = 120
MIN_SIBLINGS = 3
MAX_SHORT_BODY = 3
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Module:
    """A file of the package, by its dotted name."""

    name: str
    path: Path
    text: str
    stub: str = ""

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def num_lines(self) -> int:
        return len(self.text.splitlines())


def read_modules(package: Path) -> dict[str, Module]:
    """Every file of a package by its dotted name; an `__init__` has the name of its folder."""
    modules = {}
    for file in sorted(package.rglob("*.py")):
        path = file.relative_to(package)
        name = ".".join((PACKAGE, *path.with_suffix("").parts)).removesuffix(".__init__")
        stub = file.with_suffix(".pyi")
        stub_text = stub.read_text(encoding="utf-8") if stub.exists() else ""
        modules[name] = Module(name, path, file.read_text(encoding="utf-8"), stub_text)

    return modules


def top_level_names(module: Module) -> tuple[list[str], list[str]]:
    """Classes and functions at the top of a file, and its other names."""
    defined = []
    bound = []

    for node in module.tree.body:
        if isinstance(node, (ast.ClassDef, *FUNCTIONS)):
            defined.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            bound += [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]

    return defined, bound


def documentation_lines(tree: ast.Module) -> set[int]:
    """Lines of strings that are statements of their own."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))

    return lines


def size(modules: dict[str, Module]) -> dict[str, Any]:
    """Files and lines."""
    total = 0
    documentation = 0
    code = 0

    for module in modules.values():
        lines = module.text.splitlines()
        documented = documentation_lines(module.tree)
        total += len(lines)
        documentation += len(documented)
        code += sum(1 for number, line in enumerate(lines, 1) if line.strip() and number not in documented)

    return {"files": len(modules), "lines": total, "lines_of_code": code, "share_of_docstrings": documentation / total}


def folders(modules: dict[str, Module]) -> dict[str, Any]:
    """Width and depth of the folders, and modules of a folder that begin with one word."""
    paths = [module.path for module in modules.values() if not module.is_package]
    widths = Counter(path.parent.as_posix() for path in paths)
    families: dict[str, list[str]] = defaultdict(list)

    for path in paths:
        word = path.stem.split("_")[0]
        # a name that begins with an underscore has no word
        if word:
            families[(path.parent / word).as_posix()].append(path.as_posix())

    families = {prefix: files for prefix, files in families.items() if len(files) >= MIN_SIBLINGS}
    return {
        "widest": dict(widths.most_common(8)),
        "depth": max(len(path.parts) - 1 for path in paths),
        "files_of_one_prefix": sum(map(len, families.values())),
        "prefixes": {prefix: len(files) for prefix, files in sorted(families.items())},
    }


class Homes:
    """Finds the module that defines an imported name."""

    def __init__(self, modules: dict[str, Module]) -> None:
        self._modules = modules
        self._definers: dict[str, list[str]] = defaultdict(list)
        for name, module in modules.items():
            if not module.is_package:
                for defined in chain(*top_level_names(module)):
                    self._definers[defined].append(name)

    def home(self, source: str, name: str) -> str | None:
        """The module that `from source import name` needs, or None if it is no module of the package."""
        if f"{source}.{name}" in self._modules:
            source = f"{source}.{name}"

        if source not in self._modules:
            return None
        if not self._modules[source].is_package:
            return source

        below = [module for module in self._definers[name] if module.startswith(f"{source}.")]
        return self._exported_from(source, name) if len(below) > 1 else next(iter(below), None)

    def _exported_from(self, package: str, name: str) -> str | None:
        """The module from which a folder imports a name that several of its modules define."""
        module = self._modules[package]
        for node in (*ast.walk(module.tree), *ast.walk(ast.parse(module.stub))):
            if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
                return self.home(_absolute(module, node), name)

        return None

    def imports(self, module: Module) -> set[str]:
        """All modules that a module imports, inside its functions, too."""
        names: set[str | None] = set()
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names if alias.name in self._modules}
            elif isinstance(node, ast.ImportFrom):
                source = _absolute(module, node)
                names |= {self.home(source, alias.name) for alias in node.names}

        return {name for name in names if name and name != module.name and not self._modules[name].is_package}

    def names_used(self, module: Module) -> set[tuple[str, str]]:
        """The names of other modules that a module imports or reaches as `module.name`, with the module of each."""
        used = set[tuple[str, str]]()
        modules = dict[str, str]()
        imports = [node for node in ast.walk(module.tree) if isinstance(node, ast.ImportFrom)]

        for node in imports:
            source = _absolute(module, node)
            for alias in node.names:
                used.add((self.home(source, alias.name) or "", alias.name))
                modules[alias.asname or alias.name] = f"{source}.{alias.name}"

        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
                used.add((self.home(modules[node.value.id], node.attr) or "", node.attr))

        return {(home, name) for home, name in used if home != module.name}


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    """The absolute dotted name after `from`."""
    if not node.level:
        return node.module or ""
    parts = module.name.split(".") if module.is_package else module.name.split(".")[:-1]
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The sets of modules that all import each other, directly or not (Tarjan's strong components)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    components = []

    def visit(name: str) -> None:
        index[name] = lowest[name] = len(index)
        stack.append(name)

        for other in sorted(graph[name]):
            if other not in index:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], index[other])

        if lowest[name] == index[name]:
            members = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(members) > 1:
                components.append(sorted(members))

    # a chain of imports may be longer than the default
    sys.setrecursionlimit(10_000)
    for name in sorted(graph):
        if name not in index:
            visit(name)

    return sorted(components)


def imports(modules: dict[str, Module]) -> dict[str, Any]:
    """Circles, and modules that only continue a sibling."""
    homes = Homes(modules)
    graph = {name: homes.imports(module) for name, module in modules.items() if not module.is_package}
    importers: dict[str, list[str]] = defaultdict(list)

    for name, others in graph.items():
        for other in others:
            importers[other].append(name)

    second = []
    for name in graph:
        folder, _, last = name.rpartition(".")
        has_one_importer = [importer.rpartition(".")[0] for importer in importers[name]] == [folder]
        if has_one_importer and modules[name].num_lines < MIN_LINES_OF_A_CONCEPT and not last.startswith("_"):
            second.append(modules[name].path.as_posix())

    return {"circles": circles(graph), "second_pages": second}


def exported(module: Module) -> list[str]:
    """Names in `__all__` of a folder or of the stub next to it; else those that the stub imports `as` itself."""
    stub = ast.parse(module.stub)
    from_imports = (node for node in ast.walk(stub) if isinstance(node, ast.ImportFrom))
    as_itself = [alias.name for node in from_imports for alias in node.names if alias.asname == alias.name]
    return _all_of(module.tree) or _all_of(stub) or as_itself


def _all_of(tree: ast.Module) -> list[str]:
    """The strings that stand in `__all__`."""
    names = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            lists = (inner for inner in ast.walk(node.value or node) if isinstance(inner, ast.List | ast.Tuple))
            names += [str(word.value) for words in lists for word in words.elts if isinstance(word, ast.Constant)]

    return names


def names(modules: dict[str, Module]) -> dict[str, Any]:
    """Public and exported names, and names of two or more classes."""
    defined = []
    constants = []
    all_exported = []
    classes = Counter[str]()

    for module in modules.values():
        public = [[name for name in kind if not name.startswith("_")] for kind in top_level_names(module)]
        defined += public[0]
        constants += public[1]
        all_exported += exported(module) if module.is_package else []
        tops = (node.name for node in module.tree.body if isinstance(node, ast.ClassDef))
        classes.update(name for name in tops if not name.startswith("_"))

    homes = Homes(modules)
    used = set().union(*(homes.names_used(module) for module in modules.values() if not module.is_package))
    in_files = {(module.name, name) for module in modules.values() for name in top_level_names(module)[0]}

    return {
        "public_classes_and_functions": len(defined),
        "used_by_other_files": sum(not name.startswith("_") for _, name in used & in_files),
        "public_names": len(defined) + len(constants),
        "exported": len(set(all_exported)),
        "exported_with_repeats": len(all_exported),
        "class_names_of_several": {name: number for name, number in sorted(classes.items()) if number > 1},
    }


def functions(modules: dict[str, Module]) -> dict[str, Any]:
    """The most arguments of a function, and the share of short functions."""
    max_arguments = 0
    where = ""
    num_short = 0
    number = 0

    for module in modules.values():
        for node in ast.walk(module.tree):
            if not isinstance(node, FUNCTIONS):
                continue

            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = sum(argument.arg not in ("self", "cls") for argument in arguments)
            if count > max_arguments:
                max_arguments = count
                where = f"{module.path.as_posix()}: {node.name}"

            body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
            length = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            num_short += length <= MAX_SHORT_BODY
            number += 1

    return {
        "max_arguments": max_arguments,
        "max_arguments_in": where,
        "functions": number,
        "share_of_short": num_short / number,
    }


def entered_files(src: Path) -> Iterator[tuple[str, list[str]]]:
    """Files that each probe enters in a tree, in a process of its own and an empty folder."""
    environment = {**os.environ, "PYTHONPATH": str(src), "OMP_NUM_THREADS": "1"}
    script = Path(__file__).with_name("entered_files.py")

    for probe in PROBES:
        with TemporaryDirectory() as folder:
            out = Path(folder) / "entered.json"
            command = [sys.executable, str(script), "--only", probe, "--out", str(out)]
            subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
            yield from json.loads(out.read_text(encoding="utf-8")).items()


def measured(src: Path) -> dict[str, Any]:
    """One column: all figures of a tree."""
    package = src / PACKAGE
    modules = read_modules(package)
    if not modules:
        raise SystemExit(f"{src}: expected a folder that holds the package {PACKAGE}, but there is none")

    static = size(modules) | folders(modules) | imports(modules) | names(modules) | functions(modules)
    has_library = any(package.rglob("*.so"))
    facts = {"git_revision": git_revision(src), "native_library": has_library}

    return {**facts, **static, "style": writing(package), "entered": dict(entered_files(src))}


def writing(package: Path) -> dict[str, float]:
    """The figures of `style.py` for a tree."""
    style = sum(measure(package).values(), Style())

    return {
        "code_lines": style.code,
        "air": round(style.air, 1),
        "comments": round(style.commented, 1),
        "packed_per_1000": round(style.packed_per_1000, 1),
        "fragments": len(style.fragments),
        "unexported_docstring_lines": style.unexported,
    }


def widest(column: dict[str, Any]) -> str:
    """The widest folder and the depth of a tree."""
    folder, number = next(iter(column["widest"].items()))
    return f"{number} ({folder}), {column['depth']}"


def entered_by(*calls: str) -> Callable[[dict[str, Any]], str]:
    """A row with the number of files that each call enters."""
    return lambda column: " / ".join(str(len(column["entered"][call])) for call in calls)


ROWS: dict[str, Callable[[dict[str, Any]], str]] = {
    "Python files": lambda c: f"{c['files']}",
    "lines": lambda c: f"{c['lines']:,}",
    "lines without docstrings and blanks": lambda c: f"{c['lines_of_code']:,}",
    "writing": lambda c: ", ".join(f"{name} {value:,}" for name, value in c["style"].items()),
    "share of docstring lines": lambda c: f"{c['share_of_docstrings']:.1%}",
    "widest folder, depth": widest,
    "import circles by file": lambda c: f"{len(c['circles'])}",
    "files of one prefix": lambda c: f"{c['files_of_one_prefix']}",
    "second pages": lambda c: f"{len(c['second_pages'])}",
    "public classes and functions / of them used by another file / with constants": lambda c: (
        f"{c['public_classes_and_functions']:,} / {c['used_by_other_files']:,} / {c['public_names']:,}"
    ),
    "exported names / with repeats": lambda c: f"{c['exported']} / {c['exported_with_repeats']}",
    "class names of two or more classes": lambda c: f"{len(c['class_names_of_several'])}",
    "most arguments of a function": lambda c: f"{c['max_arguments']}",
    "functions of at most three lines": lambda c: f"{c['share_of_short']:.1%}",
    "files entered: unit": entered_by("unit"),
    "files entered: network / spiking network": entered_by("network", "spiking_network"),
    "files entered: training loop / in training/ / recipe / `train sensing`": entered_by(
        "train_loop", "train_loop_in_training", "train_recipe", "train_command"
    ),
    "files entered: box of a bin / of six with a frame": entered_by("box", "box_with_frame"),
}


def table(columns: dict[str, dict[str, Any]]) -> str:
    """A table with all columns."""
    cells = [["", *columns], *([title, *(row(one) for one in columns.values())] for title, row in ROWS.items())]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    lines.insert(1, "-|-".join("-" * width for width in widths))

    return "\n".join(f"| {line} |" if k != 1 else f"|-{line}-|" for k, line in enumerate(lines))


def main() -> None:
    """Measures a tree and prints all columns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--src", type=Path, default=ROOT / "src", help="the folder that holds the package")
    parser.add_argument("--label", default="now", help="the column's name")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    columns = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    columns[options.label] = measured(options.src.resolve())
    write_text(options.out, json.dumps(columns, indent=2) + "\n")
    print(table(columns))


if __name__ == "__main__":
    main()
