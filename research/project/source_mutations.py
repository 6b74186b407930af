"""Mutations of the functions of the package: the operators, random draws, and finding them in another tree.

`mutations.py` runs the tests with them. A mutation changes one node of a statement. It is identified by its function,
the text of the statement, the way from the statement to the node, and its kind, so that it can be found again in a tree
where files have moved. Where names have changed, the code without its names is compared.
"""

import ast
import copy
import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

PACKAGE = Path("src") / "spikebridge"
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
Way = list[tuple[str, int | None]]


def swapped_comparison(node: ast.AST, parent: ast.AST, place: str) -> Iterator[ast.AST]:
    """`<` becomes `<=` or `>`, `==` becomes `!=`, `is` and `in` become what they are not."""
    if isinstance(node, ast.Compare):
        for k, operator in enumerate(node.ops):
            for other in COMPARISONS[type(operator)]:
                yield _changed(node, ops=[*node.ops[:k], other(), *node.ops[k + 1 :]])


COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}


def other_arithmetic(node: ast.AST, parent: ast.AST, place: str) -> Iterator[ast.AST]:
    """`+` becomes `-`, `*` becomes `/`, and the other way."""
    if isinstance(node, ast.BinOp | ast.AugAssign):
        operands = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.value,)
        other = ARITHMETIC.get(type(node.op))
        if other is not None and not any(_is_text(operand) for operand in operands):
            yield _changed(node, op=other())


ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}


def larger_constant(node: ast.AST, parent: ast.AST, place: str) -> Iterator[ast.AST]:
    """A number grows by one, True becomes False."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)


def negated_condition(node: ast.AST, parent: ast.AST, place: str) -> Iterator[ast.AST]:
    """The condition of `if`, `while`, `x if y else z` or a comprehension is negated."""
    if place == "ifs" or (place == "test" and isinstance(parent, ast.If | ast.While | ast.IfExp)):
        assert isinstance(node, ast.expr)
        yield ast.UnaryOp(ast.Not(), copy.deepcopy(node))


def dropped_sign(node: ast.AST, parent: ast.AST, place: str) -> Iterator[ast.AST]:
    """A minus or a `not` is left out."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield copy.deepcopy(node.operand)


def other_junction(node: ast.AST, parent: ast.AST, place: str) -> Iterator[ast.AST]:
    """`and` becomes `or`, and the other way."""
    if isinstance(node, ast.BoolOp):
        yield _changed(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())


def off_by_one(node: ast.AST, parent: ast.AST, place: str) -> Iterator[ast.AST]:
    """A slice begins or ends one later, a range ends one earlier or later."""
    if isinstance(node, ast.Slice) and node.step is None:
        yield _changed(node, lower=_plus(node.lower, 1) if node.lower else ast.Constant(1))
        if node.upper is not None:
            yield _changed(node, upper=_plus(node.upper, 1))
    elif isinstance(node, ast.Call) and _called(node) == "range":
        k = min(1, len(node.args) - 1)
        for by in (1, -1):
            yield _changed(node, args=[*node.args[:k], _plus(node.args[k], by), *node.args[k + 1 :]])


def swapped_arguments(node: ast.AST, parent: ast.AST, place: str) -> Iterator[ast.AST]:
    """Two positional arguments that follow each other change places."""
    if isinstance(node, ast.Call) and _called(node) not in (
        "isinstance",
        "issubclass",
        "getattr",
        "setattr",
        "hasattr",
    ):
        for k, (first, second) in enumerate(zip(node.args, node.args[1:], strict=False)):
            if not isinstance(first, ast.Starred) and not isinstance(second, ast.Starred):
                yield _changed(node, args=[*node.args[:k], second, first, *node.args[k + 2 :]])


def dropped_call(node: ast.AST, parent: ast.AST, place: str) -> Iterator[ast.AST]:
    """A call whose result nobody takes, such as a check, is left out."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield ast.Pass()


def opposite_function(node: ast.AST, parent: ast.AST, place: str) -> Iterator[ast.AST]:
    """`min` becomes `max`, `any` becomes `all`, and the other way."""
    if place == "func":
        if isinstance(node, ast.Name) and node.id in OPPOSITES:
            yield _changed(node, id=OPPOSITES[node.id])
        elif isinstance(node, ast.Attribute) and node.attr in OPPOSITES:
            yield _changed(node, attr=OPPOSITES[node.attr])


OPPOSITES = {"min": "max", "max": "min", "any": "all", "all": "any", "amin": "amax", "amax": "amin"}
OPPOSITES |= {"floor": "ceil", "ceil": "floor", "minimum": "maximum", "maximum": "minimum"}

KINDS: dict[str, Callable[[ast.AST, ast.AST, str], Iterator[ast.AST]]] = {
    "comparison": swapped_comparison,
    "arithmetic": other_arithmetic,
    "constant": larger_constant,
    "condition": negated_condition,
    "sign": dropped_sign,
    "and/or": other_junction,
    "off by one": off_by_one,
    "arguments": swapped_arguments,
    "call": dropped_call,
    "opposite": opposite_function,
}


def _changed(node: ast.AST, **fields: Any) -> ast.AST:
    """A copy of a node with other fields."""
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)

    return copy.deepcopy(other)


def _plus(node: ast.expr, by: int) -> ast.expr:
    return ast.BinOp(node, ast.Add() if by > 0 else ast.Sub(), ast.Constant(abs(by)))


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """All statements, those inside others after them; no documentation, nothing that is raised."""
    for statement in body:
        if isinstance(statement, ast.Raise) or (isinstance(statement, ast.Expr) and _is_text(statement.value)):
            continue
        yield statement
        for node in [statement, *getattr(statement, "handlers", []), *getattr(statement, "cases", [])]:
            for name in ("body", "orelse", "finalbody"):
                inside = getattr(node, name, [])
                yield from statements(inside if isinstance(inside, list) else [])


def children(node: ast.AST) -> Iterator[tuple[str, int | None, ast.AST]]:
    """The nodes of a statement below a node that a mutation may change, but no other statement."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        several = isinstance(value, list)
        for k, child in enumerate(value if several else [value]):
            of_a_type = isinstance(node, ast.Call) and _called(node) in ("isinstance", "issubclass") and k == 1
            message = isinstance(child, ast.JoinedStr) or (isinstance(child, ast.Call) and _called(child) == "warn")
            if isinstance(child, ast.AST) and not isinstance(child, ast.stmt) and not message and not of_a_type:
                yield name, k if several else None, child


def places(statement: ast.stmt) -> Iterator[tuple[str, int, Way]]:
    """Every mutation that a statement can have: its kind, which of them, and the way to its node."""

    def below(node: ast.AST, parent: ast.AST, name: str, path: Way) -> Iterator[tuple[str, int, Way]]:
        for kind, others in KINDS.items():
            for variant, other in enumerate(others(node, parent, name)):
                if ast.dump(other) != ast.dump(node):
                    yield kind, variant, path

        for inner, k, child in children(node):
            yield from below(child, node, inner, [*path, (inner, k)])

    return below(statement, statement, "", [])


def head(statement: ast.stmt) -> ast.stmt:
    """A statement without the statements inside it."""
    kept = copy.copy(statement)
    for name in ("body", "orelse", "finalbody"):
        if isinstance(getattr(kept, name, None), list):
            setattr(kept, name, [ast.Pass()] if name == "body" else [])

    for name in ("handlers", "cases"):
        if hasattr(kept, name):
            setattr(kept, name, [_changed(one, body=[ast.Pass()]) for one in getattr(kept, name)])

    return kept


def head_text(statement: ast.stmt) -> str:
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
    """What is left of code without its names and texts, in short."""
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
        """Functions at the top and methods by their dotted names; of several with one name the last."""

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
    path: Way
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
        """What tells two mutations of a tree apart."""
        return self.file, self.function, self.statement, self.occurrence, str(self.path), self.kind, self.variant

    def told(self) -> str:
        by = f", by {self.caught_by}" if self.caught_by else ""
        change = f"{' '.join(self.before.split())} -> {self.after}"
        return f"{self.outcome} ({self.seconds:.0f} s{by}): {self.file}:{self.line} {self.kind}: {change}"


def drawn(sources: dict[str, Source], seed: int, number: int) -> list[Mutation]:
    """Different mutations at random; the first ones do not depend on how many are drawn."""
    rng = random.Random(seed)
    functions: dict[str, list[tuple[Source, str]]] = defaultdict(list)
    for source in sources.values():
        for name, function in source.functions.items():
            if len(list(statements(body_of(function)))) >= 2:
                functions[source.package].append((source, name))

    found: dict[tuple[Any, ...], Mutation] = {}
    while len(found) < number:
        source, name = rng.choice(functions[rng.choice(sorted(functions))])
        mutation = _drawn_in(source, name, rng)
        if mutation is not None:
            found.setdefault(mutation.key, mutation)

    return list(found.values())


def _drawn_in(source: Source, name: str, rng: random.Random) -> Mutation | None:
    """One mutation of a function, or None where it can have none."""
    function = source.functions[name]
    kinds: dict[str, list[tuple[ast.stmt, int, Way]]] = defaultdict(list)
    for statement in statements(body_of(function)):
        for kind, variant, path in places(statement):
            kinds[kind].append((statement, variant, path))

    if not kinds:
        return None

    kind = rng.choice(sorted(kinds))
    statement, variant, path = rng.choice(kinds[kind])
    text = head_text(statement)
    same = [one for one in statements(body_of(function)) if head_text(one) == text]

    return _mutation(source, name, statement, text, same.index(statement), kind, variant, path)


def _mutation(
    source: Source, name: str, statement: ast.stmt, text: str, occurrence: int, kind: str, variant: int, path: Way
) -> Mutation | None:
    """The mutation with its texts, or None where it cannot be written into the file."""
    node = at(statement, path)
    written = rewritten(source, statement, kind, variant, path)
    if written is None:
        return None

    return Mutation(
        package=source.package,
        file=source.file,
        function=name,
        line=getattr(node, "lineno", statement.lineno),
        kind=kind,
        before=ast.get_source_segment(source.text, node) or "",
        after=written[1],
        statement=text,
        occurrence=occurrence,
        path=path,
        variant=variant,
        statement_shape=shape(head(statement)),
        function_shape=shape(source.functions[name]),
    )


def at(statement: ast.AST, path: Way) -> ast.AST:
    """The node at the end of a way."""
    for name, k in path:
        value = getattr(statement, name)
        statement = value if k is None else value[k]

    return statement


def rewritten(source: Source, statement: ast.stmt, kind: str, variant: int, path: Way) -> tuple[str, str] | None:
    """The file with the mutation, and the text that stands there now; None where it does not compile."""
    node = at(statement, path)
    parent, name = (at(statement, path[:-1]), path[-1][0]) if path else (statement, "")
    other = list(KINDS[kind](node, parent, name))[variant]
    tree = copy.deepcopy(source.tree)
    _replace(tree, next(one for one in ast.walk(tree) if _is_same(one, node)), other)
    wanted = ast.dump(tree)
    text = ast.unparse(ast.fix_missing_locations(other))
    begin, end = _offsets(source.text, node)
    whole = source.text.encode()

    for attempt in (text, f"({text})"):
        changed = (whole[:begin] + attempt.encode() + whole[end:]).decode()
        try:
            compile(changed, source.file, "exec")
        except SyntaxError:
            continue

        if ast.dump(ast.parse(changed)) == wanted and changed != source.text:
            return changed, attempt

    return None


def _is_same(one: ast.AST, other: ast.AST) -> bool:
    names = ("lineno", "col_offset", "end_lineno", "end_col_offset")
    return type(one) is type(other) and all(getattr(one, name, 0) == getattr(other, name, 0) for name in names)


def _replace(tree: ast.AST, old: ast.AST, new: ast.AST) -> None:
    """Puts a node in the place of another."""
    for node in ast.walk(tree):
        for name, value in ast.iter_fields(node):
            if value is old:
                setattr(node, name, new)
            elif isinstance(value, list):
                value[:] = [new if one is old else one for one in value]


def _offsets(text: str, node: Any) -> tuple[int, int]:
    """Where a node begins and ends in a file's bytes."""
    lines = [0]
    for line in text.encode().splitlines(keepends=True):
        lines.append(lines[-1] + len(line))

    return lines[node.lineno - 1] + node.col_offset, lines[node.end_lineno - 1] + node.end_col_offset


def read_moves(path: Path | None) -> dict[str, list[str]]:
    """Where each old file has gone, by lines `new<TAB>old old ...`."""
    moves: dict[str, list[str]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines() if path is not None else ():
        new, _, old = line.partition("\t")
        if not line.startswith("#"):
            for one in old.split():
                moves[f"{one}.py"].append(f"{new}.py")

    return moves


def located(old: Mutation, sources: dict[str, Source], moves: dict[str, list[str]]) -> Mutation | None:
    """The same mutation in another tree, or None where its statement is not there."""
    found = _located(old, sources, moves)
    if found is not None:
        found.caught_before = old.caught

    return found


def _located(old: Mutation, sources: dict[str, Source], moves: dict[str, list[str]]) -> Mutation | None:
    """The one place that the first of several rules finds, from the strictest to the loosest."""
    near = [sources[file] for file in dict.fromkeys([*moves[old.file], old.file]) if file in sources]
    everywhere = list(sources.values())
    last = old.function.rpartition(".")[2]

    def called(sources: list[Source], fits: Callable[[str], bool]) -> list[tuple[Source, str]]:
        return [(source, name) for source in sources for name in source.functions if fits(name)]

    attempts: list[tuple[str, list[tuple[Source, str]], bool]] = [
        ("text", called(near, lambda name: name == old.function), False),
        ("text", called(near, lambda name: name.rpartition(".")[2] == last), False),
        ("text elsewhere", called(everywhere, lambda name: name == old.function), False),
        ("text of another function", called(near, lambda _: True), False),
        ("shape", called(near, lambda name: name.rpartition(".")[2] == last), True),
    ]
    for word, functions, nameless in attempts:
        found = [one for source, name in functions for one in _matching(old, source, name, nameless)]
        if len(found) == 1:
            found[0].located = word
            return found[0]

    whole = [(s, name) for s, name in called(near, lambda _: True) if shape(s.functions[name]) == old.function_shape]
    found = [one for source, name in whole for one in _matching(old, source, name, True)]
    if len(found) != 1:
        return None

    found[0].located = "shape of the function"
    return found[0]


def _matching(old: Mutation, source: Source, name: str, nameless: bool) -> list[Mutation]:
    """The mutation in a function of another file, where that has its statement."""
    body = list(statements(body_of(source.functions[name])))
    if nameless:
        same = [one for one in body if shape(head(one)) == old.statement_shape]
    else:
        same = [one for one in body if head_text(one) == old.statement]

    if len(same) > 1 or (same and not nameless):
        same = same[old.occurrence : old.occurrence + 1] if not nameless else []

    text = head_text(same[0]) if same else ""
    made = _mutation(source, name, same[0], text, old.occurrence, old.kind, old.variant, old.path) if same else None

    return [made] if made is not None else []


def written(sources: dict[str, Source], mutation: Mutation) -> str:
    """The file with a mutation."""
    source = sources[mutation.file]
    body = statements(body_of(source.functions[mutation.function]))
    statement = [one for one in body if head_text(one) == mutation.statement][mutation.occurrence]
    made = rewritten(source, statement, mutation.kind, mutation.variant, mutation.path)

    if made is None:
        raise SystemExit(f"{mutation.file}:{mutation.line}: the mutation cannot be written any more")

    return made[0]


def mutation_from(record: dict[str, Any]) -> Mutation:
    """A mutation as it was written down."""
    return Mutation(**{**record, "path": [(name, k) for name, k in record["path"]]})
