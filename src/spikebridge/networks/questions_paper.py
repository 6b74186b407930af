"""The published compiler: it shuffles tokens, and knows no types.

A value and its filter become one instruction, and so do words of order; `unique` and `query_frame` go; what leads to a
frame moves to the front; a motion filter without a time looks at all events. R. Zhao et al., 2022, released code.
"""

from collections.abc import Sequence

from spikebridge.networks.operators import ORDERS, OperatorTable
from spikebridge.networks.program_tree import parse
from spikebridge.networks.questions import Instructions


def compile_as_published(tokens: Sequence[str], table: OperatorTable) -> Instructions:
    """Instructions in the published way.

    Args:
        tokens: a whole program.
        table: operators and attributes.

    Raises:
        ConfigError: the program is not well typed.

    Example:
        >>> compile_as_published("objects red filter_color null filter_moving count".split(), OperatorTable()).names
        ('events', 'objects', 'filter_red', 'silence', 'filter_moving', 'count')
    """
    parse(tokens, table)
    program, negated = list(tokens), tokens[-1] == "negate"
    if "unseen_events" in program:
        choice = program[: program.index("unseen_events")]
        names = [*_instructions(["events", *choice[1:]], table), "unseen_events"]
        return Instructions(tuple(names), "exist", negated=negated, world="predicted")
    if "filter_counterfact" in program:
        begin, end = program.index("all_events", 1), program.index("filter_counterfact")
        names = [*_instructions(["events", *program[1:begin]], table), "filter_counterfact"]
        removal = Instructions(("silence", *_instructions(program[begin + 1 : end], table)), "object")
        return Instructions(tuple(names), "exist", negated=negated, world="supposed", removal=removal)
    ends = program[-2] if negated else program[-1]
    reads = "match" if ends == "belong_to" else ends.removeprefix("query_")
    return Instructions(tuple(_instructions(program, table)), reads, negated=negated)


def _instructions(program: Sequence[str], table: OperatorTable) -> list[str]:
    joined: list[str] = []
    for token in program:
        kind = token.removeprefix("filter_")
        if kind in table.attributes:
            joined.append(f"filter_{joined.pop()}")
        elif not (kind == "order" and joined[-1] in ORDERS):  # an order word alone is the instruction
            joined.append(token)
    if "query_frame" in joined:
        begin, end = joined.index("events"), joined.index("query_frame") + 1
        joined = joined[begin:end] + joined[:begin] + joined[end:]
    # a motion filter without a time is judged at the events that are there
    joined = ["silence" if t == "null" else t for t in joined if t not in ("unique", "query_frame")]
    if {"filter_moving", "filter_stationary"} & set(joined) and joined[0] != "events":
        joined = ["events", *joined]
    return _with_memory(joined)


def _with_memory(joined: Sequence[str]) -> list[str]:
    """Two `events` behind each other are one instruction, which stores the choice."""
    names: list[str] = []
    for token in joined:
        if token == "events" and names and names[-1] == "events":
            names[-1] = "events, storing both"
        else:
            names.append(token)
    return names
