"""Compiles programs of postfix tokens to instructions for the graph.

The graph holds one set of objects, one set of events and one memory. `compile_program` reads a program as a tree of
typed values, orders the evaluation of arguments, moves a choice to memory, and clears sets that are no longer needed. A
program that needs two sets of one kind at the same time is refused.

`compile_as_published` is the compiler of the released code of R. Zhao et al., 2022. It rewrites tokens without types: a
value and its filter become one instruction, as do words of order; `unique` and `query_frame` are dropped; the part that
leads to a frame moves to the front; a motion filter without a time applies to all events.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from spikebridge.errors import ConfigError
from spikebridge.networks.reasoning.parsing.operators import BLANK, ORDERS, Operator, OperatorTable, ProgramNode, parse


class Probe(NamedTuple):
    """A check of the size of a set at one step; the answer is certain where all probes hold.

    Args:
        step: from the first step of the train.
        group: `object` or `event`.
        least: fewest members.
        most: most members.
        collision: count collisions only.
    """

    step: int
    group: str
    least: int = 1
    most: int = 1
    collision: bool = False


@dataclass(frozen=True)
class Instructions:
    """A compiled program.

    Args:
        names: instructions in order.
        reads: read-out of the answer: `count`, `exist`, `match`, or a kind of attribute.
        group: the set whose members are counted, `object` or `event`; `both` as published.
        negated: the answer is negated.
        world: `observed`, `predicted` or `counterfactual` (without an object).
        removal: selects the object that a counterfactual world is without.
        probes: checks during the run.
        pair: two probes that must not select the same object.
    """

    names: tuple[str, ...]
    reads: str
    group: str = "both"
    negated: bool = False
    world: Literal["observed", "predicted", "counterfactual"] = "observed"
    removal: "Instructions | None" = None
    probes: tuple[Probe, ...] = ()
    pair: tuple[Probe, Probe] | None = None

    def filled(self, words: Sequence[str]) -> "Instructions":
        """The same instructions with words in place of blanks."""
        names = tuple(
            BLANK.sub(lambda blank: words[int(blank[1])], name) if "{" in name else name for name in self.names
        )
        removal = None if self.removal is None else self.removal.filled(words)

        return replace(self, names=names, removal=removal)

    def num_steps(self, table: OperatorTable) -> int:
        """Steps of its spike train, including the silent one at which the answer is read."""
        return 1 + sum(len(table.trains[name]) for name in self.names)


def compile_program(tokens: Sequence[str], table: OperatorTable) -> Instructions:
    """Instructions whose answer equals that of the symbolic executor wherever that has one.

    Args:
        tokens: a whole program, a choice's before its question's.
        table: operators and attributes.

    Raises:
        ConfigError: the program is not well typed, or needs two sets of one kind at a time.

    Example:
        >>> compile_program("objects blue filter_color count".split(), OperatorTable()).names
        ('objects', 'filter_blue', 'count')
    """
    tree = parse(tokens, table)
    if tree.gives != "answer":
        raise ConfigError(f"a program gives an answer, but this one gives {tree.gives}: {' '.join(tokens)}")

    planner = _Planner(table)
    negated = False
    while tree.token == "negate":
        tree = tree.arguments[0]
        negated = not negated
        planner.after.append("negate")

    if negated and tree.token != "belong_to":
        raise ConfigError("negate inverts belong_to only")
    if tree.token == "belong_to" and tree.arguments[1].gives == "happening events":
        return _hypothetical(tree, planner, negated)

    argument = tree.arguments[0]
    if tree.token == "belong_to":
        planner.belong_to(*tree.arguments)
        return planner.done("match", "both", negated)

    planner.evaluate(argument)
    planner.add(tree.token)
    group = argument.group or "both"
    reads = tree.token if tree.token in ("count", "exist") else tree.token.removeprefix("query_")

    return planner.done(reads, group, negated)


def _hypothetical(tree: ProgramNode, planner: "_Planner", negated: bool) -> Instructions:
    """A predictive or counterfactual choice: it runs in the world of those events, and is correct if one is left."""
    choice, happening = tree.arguments
    _check_possible_event(choice, happening)
    planner.evaluate(choice)
    planner.add(happening.token)
    first, second = [probe for probe in planner.probes if probe.group == "object"][-2:]
    world: Literal["predicted", "counterfactual"] = "predicted"
    removal = None

    if happening.token == "filter_counterfact":
        world = "counterfactual"
        finder = _Planner(planner.table)
        finder.evaluate(happening.arguments[1])
        removal = finder.done("object", "object", False)

    return planner.done("exist", "event", negated, world, removal, (first, second))


def _check_possible_event(choice: ProgramNode, happening: ProgramNode) -> None:
    """Raises where a possible event is not the collision of two single objects."""
    event = choice.arguments[0]
    objects = []
    while event.token == "filter_collision":
        objects.append(event.arguments[1].gives)
        event = event.arguments[0]

    if event.token != "all_events" or objects != ["object", "object"]:
        raise ConfigError(
            "a possible event is the collision of two objects: all_events, then filter_collision twice, each behind a "
            "single object (unique), then unique"
        )

    if happening.token == "filter_counterfact" and happening.arguments[0].token != "all_events":
        raise ConfigError("filter_counterfact runs over all_events; filters belong to the choice")


@dataclass
class _Planner:
    """Collects instructions, and tracks which sets hold values that are no longer needed."""

    table: OperatorTable
    names: list[str] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    stale: set[str] = field(default_factory=set)
    after: list[str] = field(default_factory=list)
    num_steps: int = 0

    def add(self, name: str) -> None:
        self.names.append(name)
        self.num_steps += len(self.table.trains.get(name, self.table.blank_train))

    def probe(self, group: str, least: int = 1, most: int = 1, collision: bool = False) -> None:
        self.probes.append(Probe(self.num_steps - 1, group, least, most, collision))

    def done(
        self,
        reads: str,
        group: str,
        negated: bool,
        world: Literal["observed", "predicted", "counterfactual"] = "observed",
        removal: Instructions | None = None,
        pair: tuple[Probe, Probe] | None = None,
    ) -> Instructions:
        names = (*self.names, *self.after)
        return Instructions(names, reads, group, negated, world, removal, tuple(self.probes), pair)

    def evaluate(self, node: ProgramNode) -> None:
        """Adds the instructions after which a set holds a value."""
        operator = node.operator
        if operator is None:
            return

        group = node.group
        self._arguments(node, operator)
        if operator.admits and group in self.stale:
            self.add(f"forget {group}s")
            self.stale.discard(group)

        self._checks_before(node)
        name = self._instruction(node)
        if name is not None:
            self.add(name)
            self.stale |= {argument.group for argument in node.arguments}
            self.stale -= {group, *operator.forgets}

        self._checks_after(node, group)

    def belong_to(self, entry: ProgramNode, events: ProgramNode) -> None:
        """Moves a choice to memory; the part that belongs to the events stays there."""
        self.evaluate(entry)
        group = entry.group
        self.stale.add(group)
        begin = len(self.names)
        self.add(f"store {group}s")
        self.evaluate(events)

        if self.names[begin + 1 : begin + 2] == ["events"]:
            # one instruction for both, as in the paper
            self.names[begin : begin + 2] = [f"events, storing {group}s"]
            self._shift_probes(begin, -len(self.table.trains[f"store {group}s"]))

        if group == "object" and "object" in self.stale:
            self.add("forget objects")

        self.add("belong_to")

    def _shift_probes(self, begin: int, steps: int) -> None:
        """Moves the probes behind an instruction whose length changed."""
        trains = self.table.trains
        edge = sum(len(trains.get(name, self.table.blank_train)) for name in self.names[:begin])
        self.probes = [p._replace(step=p.step + steps) if p.step >= edge else p for p in self.probes]
        self.num_steps += steps

    def _arguments(self, node: ProgramNode, operator: Operator) -> None:
        held = [a for a in node.arguments if a.operator is not None]
        if operator.over_all:
            if held[0].token != "events":
                raise ConfigError(
                    f"{node.token!r} would need two sets of events here; it runs over all events, so put further "
                    "filters behind it"
                )

            held = held[1:]

        if len(held) == 2:
            first, second = held
            if first.group in second.writes:
                first, second = second, first
            if first.group in second.writes:
                raise ConfigError(f"{node.token!r} would need two sets of {first.group}s here, but there is one")
            held = [first, second]

        for argument in held:
            self.evaluate(argument)

    def _instruction(self, node: ProgramNode) -> str | None:
        if node.token == "filter_order":
            return node.arguments[1].token
        if node.token.removeprefix("filter_") in self.table.attributes:
            return f"filter_{node.arguments[1].token}"
        return node.token if node.token in self.table.trains else None

    def _checks_before(self, node: ProgramNode) -> None:
        if node.token == "filter_order":
            self.probe("event", least=2 if node.arguments[1].token == "second" else 1, most=10**6)
        elif node.token == "query_collision_partner":
            self.probe("event", collision=True)

    def _checks_after(self, node: ProgramNode, group: str) -> None:
        # whether a possible event happens is decided by the world
        singles = ("unique", "filter_start", "filter_end", "query_object", "query_collision_partner")
        if node.token in singles and node.gives != "possible event":
            self.probe(group)


def compile_as_published(tokens: Sequence[str], table: OperatorTable) -> Instructions:
    """Instructions as the released code makes them.

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
    program = list(tokens)
    negated = tokens[-1] == "negate"
    if "unseen_events" in program:
        choice = program[: program.index("unseen_events")]
        names = [*_instructions(["events", *choice[1:]], table), "unseen_events"]
        return Instructions(tuple(names), "exist", negated=negated, world="predicted")

    if "filter_counterfact" in program:
        begin = program.index("all_events", 1)
        end = program.index("filter_counterfact")
        names = [*_instructions(["events", *program[1:begin]], table), "filter_counterfact"]
        removal = Instructions(("silence", *_instructions(program[begin + 1 : end], table)), "object")

        return Instructions(tuple(names), "exist", negated=negated, world="counterfactual", removal=removal)

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
        begin = joined.index("events")
        end = joined.index("query_frame") + 1
        joined = joined[begin:end] + joined[:begin] + joined[end:]

    # a motion filter without a time is judged at the events that are there
    joined = ["silence" if t == "null" else t for t in joined if t not in ("unique", "query_frame")]
    if {"filter_moving", "filter_stationary"} & set(joined) and joined[0] != "events":
        joined = ["events", *joined]

    return _with_memory(joined)


def _with_memory(joined: Sequence[str]) -> list[str]:
    """Joins two consecutive `events` to one instruction, which stores the choice."""
    names: list[str] = []
    for token in joined:
        if token == "events" and names and names[-1] == "events":
            names[-1] = "events, storing both"
        else:
            names.append(token)

    return names
