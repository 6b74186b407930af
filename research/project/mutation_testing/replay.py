"""Finds the mutations of an earlier tree again in this one, where files have moved and names have changed."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from research.project.mutation_testing.source import (
    Mutation,
    Source,
    body_of,
    head,
    head_text,
    mutation_at,
    mutation_from,
    shape,
    statements,
)


def read_moves(path: Path | None) -> dict[str, list[str]]:
    """New files by the old file that moved there, from lines `new<TAB>old old ...`."""
    moves: dict[str, list[str]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines() if path is not None else ():
        new, _, old_files = line.partition("\t")
        if not line.startswith("#"):
            for old in old_files.split():
                moves[f"{old}.py"].append(f"{new}.py")

    return moves


def located(old: Mutation, sources: dict[str, Source], moves: dict[str, list[str]]) -> Mutation | None:
    """The same mutation in another tree, or None where its statement is not there."""
    mutation = _located(old, sources, moves)
    if mutation is not None:
        mutation.caught_before = old.caught

    return mutation


Functions = list[tuple[Source, str]]


def _located(old: Mutation, sources: dict[str, Source], moves: dict[str, list[str]]) -> Mutation | None:
    """The mutation at the one place where the first of several rules finds it, from the strictest to the loosest."""
    near = [sources[file] for file in dict.fromkeys([*moves[old.file], old.file]) if file in sources]
    last = old.function.rpartition(".")[2]

    def functions(sources: Iterable[Source], fits: Callable[[Source, str], bool]) -> Functions:
        return [(source, name) for source in sources for name in source.functions if fits(source, name)]

    same_name = functions(near, lambda _, name: name == old.function)
    same_last_name = functions(near, lambda _, name: name.rpartition(".")[2] == last)
    elsewhere = functions(sources.values(), lambda _, name: name == old.function)
    all_near = functions(near, lambda *_: True)
    same_shape = functions(near, lambda source, name: shape(source.functions[name]) == old.function_shape)

    rules: list[tuple[str, Functions, bool]] = [
        ("text", same_name, False),
        ("text", same_last_name, False),
        ("text elsewhere", elsewhere, False),
        ("text of another function", all_near, False),
        ("shape", same_last_name, True),
        ("shape of the function", same_shape, True),
    ]
    for rule, candidates, is_nameless in rules:
        mutations = [one for source, name in candidates for one in _matching(old, source, name, is_nameless)]
        # two places are none: the mutation may belong to either
        if len(mutations) == 1:
            mutations[0].located = rule
            return mutations[0]

    return None


def _matching(old: Mutation, source: Source, name: str, is_nameless: bool) -> list[Mutation]:
    """The mutation in a function of another file, or an empty list if that has not its statement."""
    body = list(statements(body_of(source.functions[name])))
    if is_nameless:
        same = [statement for statement in body if shape(head(statement)) == old.statement_shape]
        # statements of one shape cannot be told apart
        same = same if len(same) == 1 else []
    else:
        same = [statement for statement in body if head_text(statement) == old.statement]
        same = same[old.occurrence : old.occurrence + 1]

    if not same:
        return []

    text = head_text(same[0])
    mutation = mutation_at(source, name, same[0], text, old.occurrence, old.kind, old.variant, old.path)

    return [mutation] if mutation is not None else []


def replay(
    records: list[dict[str, Any]], sources: dict[str, Source], moves: dict[str, list[str]]
) -> tuple[list[Mutation], list[str]]:
    """Mutations of the results of another tree in this one, and lines about those that are not found."""
    mutations = []
    lost = []

    for old in map(mutation_from, records):
        new = located(old, sources, moves)
        if new is None:
            lost.append(f"{old.file}: {old.function}: {old.statement.splitlines()[0]}")
        else:
            mutations.append(new)

    return mutations, lost
