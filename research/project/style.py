"""Measures how a tree of Python files is written: size, air, comments, packed assignments, words of docstrings.

    python research/project/style.py [FOLDER ...]    # src/spikebridge, tests and research without arguments
    python research/project/style.py --fragments     # also the docstrings that begin with a fragment
    python research/project/style.py --enter-sizes   # writes tests/code_lines.json again

- Code lines: lines that are no docstring, no comment and not blank.
- Air: the share of blank lines among the lines inside functions; comments the same, those on lines of their own.
- Packed assignments: `a, b = x, y`, unless values are exchanged; per 1,000 code lines inside functions.
- Fragments: docstrings that begin with a word of `FRAGMENTS`, such as "What a link brings.".
- Exported names: the different names of `__all__`. A docstring belongs to an unexported name if the function or class
  at the top of its file is not exported.
"""

import argparse
import ast
import io
import json
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("src/spikebridge", "tests", "research")
SIZES = ROOT / "tests" / "code_lines.json"
FRAGMENTS = {"What", "Of", "Where", "How", "Whether", "Which", "Whose", "When", "Why"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITIONS = (*FUNCTIONS, ast.ClassDef)


@dataclass
class Style:
    """Counts of a file, a folder or a tree."""

    files: int = 0
    code: int = 0
    docstrings: int = 0
    body: int = 0
    blank: int = 0
    comments: int = 0
    packed: int = 0
    unexported: int = 0
    fragments: list[str] = field(default_factory=list)

    def __add__(self, other: "Style") -> "Style":
        return Style(**{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)})

    @property
    def air(self) -> float:
        """Blank lines inside functions [%]."""
        return self._percentage(self.blank)

    @property
    def commented(self) -> float:
        """Comments inside functions [%]."""
        return self._percentage(self.comments)

    @property
    def packed_per_1000(self) -> float:
        """Packed assignments per 1,000 code lines inside functions."""
        return 1000 * self.packed / max(self.body, 1)

    def _percentage(self, lines: int) -> float:
        return 100 * lines / max(self.body + self.blank + self.comments, 1)


def measure(root: Path) -> dict[str, Style]:
    """The style of each folder of a tree; files at its top count as the folder "."."""
    exported = exported_names(root)
    styles: dict[str, Style] = {}

    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        folder = parts[0] if len(parts) > 1 else "."
        styles[folder] = styles.get(folder, Style()) + measure_file(path, exported)

    return styles


def measure_file(path: Path, exported: frozenset[str] = frozenset()) -> Style:
    """The style of one file."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    lines = text.split("\n")

    blank = {number for number, line in enumerate(lines, 1) if not line.strip()}
    comments = _comment_lines(text, lines)
    docstrings = {number for node in ast.walk(tree) for number in _docstring_lines(node)}
    code = set(range(1, len(lines) + 1)) - blank - comments - docstrings
    inside = {number for node in ast.walk(tree) if isinstance(node, FUNCTIONS) for number in _body_lines(node)}

    return Style(
        files=1,
        code=len(code),
        docstrings=len(docstrings),
        body=len(inside & code),
        blank=len((inside & blank) - docstrings),
        comments=len(inside & comments),
        packed=sum(_is_packed(node) for node in ast.walk(tree)),
        unexported=sum(len(_docstring_lines(node)) for node in _unexported(tree, exported)),
        fragments=[f"{path}:{line}: {words}" for line, words in _fragments(tree)],
    )


def exported_names(root: Path) -> frozenset[str]:
    """All names in `__all__` of the packages of a tree, in `__init__.py` or in the stub next to it."""
    names: set[str] = set()
    for path in (*root.rglob("__init__.py"), *root.rglob("__init__.pyi")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                names |= {word.value for word in ast.walk(node.value) if isinstance(word, ast.Constant)}

    return frozenset(names)


def _comment_lines(text: str, lines: list[str]) -> set[int]:
    """Lines that hold nothing but a comment."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    starts = [token.start[0] for token in tokens if token.type == tokenize.COMMENT]
    return {number for number in starts if lines[number - 1].lstrip().startswith("#")}


def _docstring_lines(node: ast.AST) -> range:
    if not isinstance(node, (*DEFINITIONS, ast.Module)) or ast.get_docstring(node) is None:
        return range(0)

    string = node.body[0]
    return range(string.lineno, (string.end_lineno or string.lineno) + 1)


def _body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> range:
    docstring = _docstring_lines(function)
    first = docstring.stop if docstring else function.body[0].lineno
    return range(first, (function.end_lineno or first) + 1)


def _is_packed(node: ast.AST) -> bool:
    """True if several values are assigned in one statement; an exchange of values needs one."""
    if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Tuple):
        return False
    if not isinstance(node.value, ast.Tuple) or len(node.targets[0].elts) < 2:
        return False

    targets = {ast.unparse(target) for target in node.targets[0].elts}
    return targets.isdisjoint(ast.unparse(value) for value in node.value.elts)


def _unexported(tree: ast.Module, exported: frozenset[str]) -> Iterator[ast.AST]:
    """Functions and classes that are not exported, with those inside them."""
    for node in tree.body:
        if isinstance(node, DEFINITIONS) and node.name not in exported:
            yield from (inner for inner in ast.walk(node) if isinstance(inner, DEFINITIONS))


def _fragments(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The line and the first line of each docstring that begins with a fragment."""
    for node in ast.walk(tree):
        docstring = ast.get_docstring(node) if isinstance(node, (*DEFINITIONS, ast.Module)) else None
        if docstring and docstring.split()[0].strip(",.;:") in FRAGMENTS:
            yield getattr(node, "lineno", 1), docstring.splitlines()[0]


def print_style(root: Path, with_fragments: bool) -> None:
    """Prints a row for each folder of a tree and one for all of it."""
    styles = measure(root)
    total = sum(styles.values(), Style())
    print(f"{root.relative_to(ROOT)}: {len(exported_names(root))} exported names, {len(total.fragments)} fragments")

    for folder, one in [*sorted(styles.items(), key=lambda item: -item[1].code), ("all", total)]:
        print(
            f"  {folder:12} files {one.files:4}  code {one.code:6}  air {one.air:4.1f} %  "
            f"comments {one.commented:4.1f} %  packed {one.packed_per_1000:4.1f} per 1,000  "
            f"docstring lines of unexported names {one.unexported:6}"
        )

    if with_fragments:
        print(*(f"  {fragment.removeprefix(f'{ROOT}/')}" for fragment in total.fragments), sep="\n")


def main() -> None:
    """Prints the style of trees, or writes the code lines of each folder of the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", default=FOLDERS, metavar="FOLDER")
    parser.add_argument("--fragments", action="store_true", help="print the docstrings that begin with a fragment")
    parser.add_argument("--enter-sizes", action="store_true", help="write tests/code_lines.json")
    options = parser.parse_args()

    if options.enter_sizes:
        sizes = {folder: style.code for folder, style in measure(ROOT / FOLDERS[0]).items()}
        SIZES.write_text(json.dumps(dict(sorted(sizes.items())), indent=1) + "\n", encoding="utf-8")
        return

    for name in options.folders:
        root = (ROOT / name).resolve()
        if not root.is_dir() or not root.is_relative_to(ROOT):
            raise SystemExit(f"expected a folder of this checkout, but there is no {name}")
        print_style(root, options.fragments)


if __name__ == "__main__":
    main()
