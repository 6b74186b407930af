"""Operators of mutations: each gives the nodes that may stand in the place of one node of a statement."""

import ast
import copy
from collections.abc import Callable, Iterator
from typing import Any


def swapped_comparison(node: ast.AST, parent: ast.AST, place: str) -> Iterator[ast.AST]:
    """`<` becomes `<=` or `>`, `==` becomes `!=`, `is` becomes `is not`, `in` becomes `not in`."""
    if isinstance(node, ast.Compare):
        for k, operator in enumerate(node.ops):
            for other in COMPARISONS[type(operator)]:
                yield changed(node, ops=[*node.ops[:k], other(), *node.ops[k + 1 :]])


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
        # a text with another operator than `+` is an error, which any call finds
        if other is not None and not any(is_text(operand) for operand in operands):
            yield changed(node, op=other())


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
        yield changed(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())


def off_by_one(node: ast.AST, parent: ast.AST, place: str) -> Iterator[ast.AST]:
    """A slice begins or ends one later, a range ends one earlier or later."""
    if isinstance(node, ast.Slice) and node.step is None:
        yield changed(node, lower=_plus(node.lower, 1) if node.lower else ast.Constant(1))
        if node.upper is not None:
            yield changed(node, upper=_plus(node.upper, 1))
    elif isinstance(node, ast.Call) and called_name(node) == "range":
        k = min(1, len(node.args) - 1)
        for by in (1, -1):
            yield changed(node, args=[*node.args[:k], _plus(node.args[k], by), *node.args[k + 1 :]])


def swapped_arguments(node: ast.AST, parent: ast.AST, place: str) -> Iterator[ast.AST]:
    """Two positional arguments that follow each other change places."""
    if isinstance(node, ast.Call) and called_name(node) not in ORDERED:
        for k, (first, second) in enumerate(zip(node.args, node.args[1:], strict=False)):
            if not isinstance(first, ast.Starred) and not isinstance(second, ast.Starred):
                yield changed(node, args=[*node.args[:k], second, first, *node.args[k + 2 :]])


# an error with other arguments, which any call finds
ORDERED = ("isinstance", "issubclass", "getattr", "setattr", "hasattr")


def dropped_call(node: ast.AST, parent: ast.AST, place: str) -> Iterator[ast.AST]:
    """A call whose result is not used, such as a check, is left out."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield ast.Pass()


def opposite_function(node: ast.AST, parent: ast.AST, place: str) -> Iterator[ast.AST]:
    """`min` becomes `max`, `any` becomes `all`, and the other way."""
    if place == "func":
        if isinstance(node, ast.Name) and node.id in OPPOSITES:
            yield changed(node, id=OPPOSITES[node.id])
        elif isinstance(node, ast.Attribute) and node.attr in OPPOSITES:
            yield changed(node, attr=OPPOSITES[node.attr])


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


def changed(node: ast.AST, **fields: Any) -> ast.AST:
    """A copy of a node with other fields."""
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)

    return copy.deepcopy(other)


def _plus(node: ast.expr, by: int) -> ast.expr:
    return ast.BinOp(node, ast.Add() if by > 0 else ast.Sub(), ast.Constant(abs(by)))


def called_name(node: ast.Call) -> str:
    """The last name of a called function."""
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def is_text(node: ast.AST) -> bool:
    """True for a string, with or without values in it."""
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
