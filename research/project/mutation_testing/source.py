"""Mutations of the functions of the package: statements, random draws, and files with a mutation.

A mutation changes one node of a statement. It is identified by its function, the text of the statement, the path from
the statement to the node, and its kind, so that `replay.py` finds it in a tree where files have moved.
"""

import ast
import copy
import hashlib
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from research.project.mutation_testing.operators import KINDS, called_name, changed, is_text

PACKAGE = Path("src") / "spikebridge"
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
NodePath = list[tuple[str, int | None]]


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """All statements, those inside others after them, without documentation and `raise`."""
    for statement in body:
        if isinstance(statement, ast.Raise) or (isinstance(statement, ast.Expr) and is_text(statement.value)):
            continue
        yield statement
        for node in [statement, *getattr(statement, "handlers", []), *getattr(statement, "cases", [])]:
            for name in ("body", "orelse", "finalbody"):
                inside = getattr(node, name, [])
                yield from statements(inside if isinstance(inside, list) else [])


def children(node: ast.AST) -> Iterator[tuple[str, int | None, ast.AST]]:
    """The nodes below a node of a statement that a mutation may change, without other statements."""
    asks_type = isinstance(node, ast.Call) and called_name(node) in ("isinstance", "issubclass")

    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue

        is_list = isinstance(value, list)
        for k, child in enumerate(value if is_list else [value]):
            if isinstance(child, ast.AST) and not _is_fixed(child) and not (asks_type and k == 1):
                yield name, k if is_list else None, child


def _is_fixed(node: ast.AST) -> bool:
    """True for statements and for messages, which are not mutated."""
    is_warning = isinstance(node, ast.Call) and called_name(node) == "warn"
    return isinstance(node, ast.stmt | ast.JoinedStr) or is_warning


def places(statement: ast.stmt) -> Iterator[tuple[str, int, NodePath]]:
    """Every mutation of a statement: its kind, its number among those of the kind, and the path to its node."""

    def below(node: ast.AST, parent: ast.AST, name: str, path: NodePath) -> Iterator[tuple[str, int, NodePath]]:
        for kind, others in KINDS.items():
            for variant, other in enumerate(others(node, parent, name)):
                # `f(x, x)` is the same with its arguments exchanged
                if ast.dump(other) != ast.dump(node):
                    yield kind, variant, path

        for inner, k, child in children(node):
            yield from below(child, node, inner, [*path, (inner, k)])

    return below(statement, statement, "", [])


def head(statement: ast.stmt) -> ast.stmt:
    """A statement without the statements inside it."""
    bare = copy.copy(statement)
    for name in ("body", "orelse", "finalbody"):
        if isinstance(getattr(bare, name, None), list):
            setattr(bare, name, [ast.Pass()] if name == "body" else [])

    for name in ("handlers", "cases"):
        if hasattr(bare, name):
            setattr(bare, name, [changed(part, body=[ast.Pass()]) for part in getattr(bare, name)])

    return bare


def head_text(statement: ast.stmt) -> str:
    """The text of a statement without the statements inside it."""
    return ast.unparse(ast.fix_missing_locations(copy.deepcopy(head(statement))))


class _Nameless(ast.NodeTransformer):
    """Takes all names, texts and annotations out."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("id", "attr", "arg", "name", "module", "asname"):
            if isinstance(getattr(node, name, None), str):
                setattr(node, name, "_")

        for name in ("annotation", "returns"):
            if hasattr(node, name):
                setattr(node, name, None)

        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = "_"

        return node


def shape(node: ast.AST) -> str:
    """A short hash of code without its names and texts."""
    bare = copy.deepcopy(node)
    if isinstance(bare, FUNCTIONS):
        bare.body = body_of(bare) or bare.body

    return hashlib.sha1(ast.dump(_Nameless().visit(bare)).encode()).hexdigest()[:12]


def body_of(function: ast.AST) -> list[ast.stmt]:
    """The statements of a function below its docstring."""
    assert isinstance(function, FUNCTIONS)
    return function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body


@dataclass(frozen=True)
class Source:
    """A file of the package: its path in the package and its text."""

    file: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def functions(self) -> dict[str, ast.AST]:
        """Functions at the top and methods by their dotted names; a repeated name is that of the last one."""

        def inside(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.AST]]:
            for node in body:
                if isinstance(node, FUNCTIONS):
                    yield prefix + node.name, node
                elif isinstance(node, ast.ClassDef):
                    yield from inside(node.body, f"{prefix}{node.name}.")

        return dict(inside(self.tree.body, ""))

    @property
    def package(self) -> str:
        """The folder that the tests mirror; `.` for files at the top."""
        parts = Path(self.file).parts[:-1]
        return "/".join(parts[: 2 if parts[:1] == ("networks",) else 1]) or "."


def read_sources(checkout: Path) -> dict[str, Source]:
    """Every file of the package."""
    root = checkout / PACKAGE
    paths = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*.py"))}
    return {file: Source(file, path.read_text(encoding="utf-8")) for file, path in paths.items()}


@dataclass
class Mutation:
    """A mutation and its outcome."""

    package: str
    file: str
    function: str
    line: int
    kind: str
    before: str
    after: str
    statement: str
    occurrence: int
    path: NodePath
    variant: int
    statement_shape: str
    function_shape: str
    located: str = "drawn"
    caught_before: bool | None = None
    outcome: str = ""
    caught: bool = False
    caught_by: str = ""
    seconds: float = 0.0
    flaky: list[str] = field(default_factory=list)

    @property
    def key(self) -> tuple[Any, ...]:
        """The identity of a mutation in a tree."""
        return self.file, self.function, self.statement, self.occurrence, str(self.path), self.kind, self.variant

    def summary(self) -> str:
        """The outcome, place and change in a line."""
        by = f", by {self.caught_by}" if self.caught_by else ""
        change = f"{' '.join(self.before.split())} -> {self.after}"
        return f"{self.outcome} ({self.seconds:.0f} s{by}): {self.file}:{self.line} {self.kind}: {change}"


def draw_mutations(sources: dict[str, Source], seed: int, number: int) -> list[Mutation]:
    """Different mutations at random; the first ones do not depend on how many are drawn."""
    rng = random.Random(seed)
    functions: dict[str, list[tuple[Source, str]]] = defaultdict(list)
    for source in sources.values():
        for name, function in source.functions.items():
            if len(list(statements(body_of(function)))) >= 2:
                functions[source.package].append((source, name))

    mutations: dict[tuple[Any, ...], Mutation] = {}
    while len(mutations) < number:
        source, name = rng.choice(functions[rng.choice(sorted(functions))])
        mutation = _draw(source, name, rng)
        if mutation is not None:
            mutations.setdefault(mutation.key, mutation)

    return list(mutations.values())


def _draw(source: Source, name: str, rng: random.Random) -> Mutation | None:
    """One mutation of a function, or None where it can have none."""
    function = source.functions[name]
    kinds: dict[str, list[tuple[ast.stmt, int, NodePath]]] = defaultdict(list)
    for statement in statements(body_of(function)):
        for kind, variant, path in places(statement):
            kinds[kind].append((statement, variant, path))

    if not kinds:
        return None

    kind = rng.choice(sorted(kinds))
    statement, variant, path = rng.choice(kinds[kind])
    text = head_text(statement)
    # a function may have the same statement twice
    same = [other for other in statements(body_of(function)) if head_text(other) == text]

    return mutation_at(source, name, statement, text, same.index(statement), kind, variant, path)


def mutation_at(
    source: Source, name: str, statement: ast.stmt, text: str, occurrence: int, kind: str, variant: int, path: NodePath
) -> Mutation | None:
    """The mutation with its texts, or None where it cannot be written into the file."""
    node = node_at(statement, path)
    rewritten = rewrite(source, statement, kind, variant, path)
    if rewritten is None:
        return None

    return Mutation(
        package=source.package,
        file=source.file,
        function=name,
        line=getattr(node, "lineno", statement.lineno),
        kind=kind,
        before=ast.get_source_segment(source.text, node) or "",
        after=rewritten[1],
        statement=text,
        occurrence=occurrence,
        path=path,
        variant=variant,
        statement_shape=shape(head(statement)),
        function_shape=shape(source.functions[name]),
    )


def node_at(statement: ast.AST, path: NodePath) -> ast.AST:
    """The node at the end of a path."""
    node = statement
    for name, k in path:
        value = getattr(node, name)
        node = value if k is None else value[k]

    return node


def rewrite(source: Source, statement: ast.stmt, kind: str, variant: int, path: NodePath) -> tuple[str, str] | None:
    """The file with the mutation, and the text of the changed node; None where it does not compile."""
    node = node_at(statement, path)
    parent, name = (node_at(statement, path[:-1]), path[-1][0]) if path else (statement, "")
    other = list(KINDS[kind](node, parent, name))[variant]

    tree = copy.deepcopy(source.tree)
    _replace(tree, next(copied for copied in ast.walk(tree) if _is_same(copied, node)), other)
    expected = ast.dump(tree)

    text = ast.unparse(ast.fix_missing_locations(other))
    begin, end = _offsets(source.text, node)
    content = source.text.encode()

    # a text alone may bind otherwise than its node: `a + b` in place of `c` in `c * d`
    for attempt in (text, f"({text})"):
        mutated = (content[:begin] + attempt.encode() + content[end:]).decode()
        try:
            compile(mutated, source.file, "exec")
        except SyntaxError:
            continue

        if ast.dump(ast.parse(mutated)) == expected and mutated != source.text:
            return mutated, attempt

    return None


def _is_same(node: ast.AST, other: ast.AST) -> bool:
    names = ("lineno", "col_offset", "end_lineno", "end_col_offset")
    return type(node) is type(other) and all(getattr(node, name, 0) == getattr(other, name, 0) for name in names)


def _replace(tree: ast.AST, old: ast.AST, new: ast.AST) -> None:
    """Puts a node in the place of another."""
    for node in ast.walk(tree):
        for name, value in ast.iter_fields(node):
            if value is old:
                setattr(node, name, new)
            elif isinstance(value, list):
                value[:] = [new if item is old else item for item in value]


def _offsets(text: str, node: Any) -> tuple[int, int]:
    """Begin and end of a node in the bytes of its file."""
    lines = [0]
    for line in text.encode().splitlines(keepends=True):
        lines.append(lines[-1] + len(line))

    return lines[node.lineno - 1] + node.col_offset, lines[node.end_lineno - 1] + node.end_col_offset


def mutated_text(sources: dict[str, Source], mutation: Mutation) -> str:
    """The text of a file with its mutation."""
    source = sources[mutation.file]
    body = statements(body_of(source.functions[mutation.function]))
    same = [statement for statement in body if head_text(statement) == mutation.statement]
    rewritten = rewrite(source, same[mutation.occurrence], mutation.kind, mutation.variant, mutation.path)

    if rewritten is None:
        raise SystemExit(f"{mutation.file}:{mutation.line}: the mutation cannot be written any more")

    return rewritten[0]


def mutation_from(record: dict[str, Any]) -> Mutation:
    """A mutation from its row in the results."""
    return Mutation(**{**record, "path": [(name, k) for name, k in record["path"]]})
