"""Compiles programs of postfix tokens to instructions for the graph.

The graph holds one set of objects, one set of events and one memory. The compiler reads a program as a tree of typed
values, orders the evaluation of arguments, moves a choice to memory, and clears sets that are no longer needed. A
program that needs two sets of one kind at the same time is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, TypeAlias

from spikebridge.errors import ConfigError
from spikebridge.networks.reasoning.parsing.operators import BLANK, Operator, OperatorTable, ProgramNode, parse

_Condition: TypeAlias = Literal["observed", "motion", "predicted", "counterfactual"]


class Probe(NamedTuple):
    """A check of the size of a set (`object` or `event`) at a step, on which the certainty of the answer depends."""

    step: int
    group: str
    min_size: int = 1
    max_size: int = 1
    collision: bool = False


@dataclass(frozen=True)
class Instructions:
    """A compiled program."""

    names: tuple[str, ...]  # instructions in order
    reads: str  # read-out of the answer: `count`, `exist`, `match`, or a kind of attribute
    group: str = "both"  # the set whose members are counted, `object` or `event`
    negated: bool = False
    world: _Condition = "observed"
    removal: "Instructions | None" = None  # selects the object that a counterfactual world is without
    probes: tuple[Probe, ...] = ()
    pair: tuple[Probe, Probe] | None = None  # two probes that must not select the same object

    def filled(self, words: Sequence[str]) -> "Instructions":
        """The same instructions with words in place of blanks."""
        names = tuple(
            BLANK.sub(lambda blank: words[int(blank[1])], name) if "{" in name else name for name in self.names
        )
        removal = None if self.removal is None else self.removal.filled(words)

        return replace(self, names=names, removal=removal)

    def num_steps(self, table: OperatorTable) -> int:
        """Steps of the spike train, with the silent one at which the answer is read."""
        return 1 + sum(len(table.trains[name]) for name in self.names)


def compile_program(tokens: Sequence[str], table: OperatorTable) -> Instructions:
    """Instructions with the answer of the executor; raises `ConfigError` for a program that the graph cannot run."""
    tree = parse(tokens, table)
    if tree.gives != "answer":
        raise ConfigError(f"a program gives an answer, but this one gives {tree.gives}: {' '.join(tokens)}")

    planner = _Planner(table)
    # negation inverts the last neuron, so that all of it stands at the end
    while tree.token == "negate":
        tree = tree.arguments[0]
        planner.num_negations += 1

    if planner.num_negations and tree.token != "belong_to":
        raise ConfigError("negate inverts belong_to only")

    if tree.token == "belong_to":
        choice, events = tree.arguments
        if events.gives == "happening events":
            return _compile_hypothetical(choice, events, planner)

        planner.compare(choice, events)
        return planner.finish("match", "both")

    (argument,) = tree.arguments
    planner.evaluate(argument)
    planner.add(tree.token)

    return planner.finish(tree.token.removeprefix("query_"), argument.group or "both")


def _compile_hypothetical(choice: ProgramNode, happening: ProgramNode, planner: "_Planner") -> Instructions:
    """A predictive or counterfactual choice: it runs in the world of those events, and is correct if one is left."""
    _check_possible_event(choice, happening)
    planner.evaluate(choice)
    planner.add(happening.token)

    first, second = [probe for probe in planner.probes if probe.group == "object"][-2:]
    program = planner.finish("exist", "event")
    if happening.token != "filter_counterfact":
        return replace(program, world="predicted", pair=(first, second))

    # the world of the question depends on the removed object, so its selection is a program of its own
    selector = _Planner(planner.table)
    selector.evaluate(happening.arguments[1])
    removal = selector.finish("object", "object")

    return replace(program, world="counterfactual", pair=(first, second), removal=removal)


def _check_possible_event(choice: ProgramNode, happening: ProgramNode) -> None:
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
    num_negations: int = 0
    num_steps: int = 0
    of_motion: bool = False

    def add(self, name: str) -> None:
        self.names.append(name)
        self.num_steps += self._length(name)

    def finish(self, reads: str, group: str) -> Instructions:
        names = (*self.names, *["negate"] * self.num_negations)
        negated = self.num_negations % 2 == 1
        world: _Condition = "motion" if self.of_motion else "observed"
        return Instructions(names, reads, group, negated, world, probes=tuple(self.probes))

    def evaluate(self, node: ProgramNode) -> None:
        """Adds the instructions after which a set holds the value of a node."""
        operator = node.operator
        if operator is None:
            return

        self.of_motion |= operator.of_motion
        for argument in self._ordered_arguments(node, operator):
            self.evaluate(argument)

        group = node.group
        # an operator that adds to a set would add to what is left of an earlier value
        if operator.admits and group in self.stale:
            self.add(f"forget {group}s")
            self.stale.discard(group)

        self._probe_before(node)
        name = self._instruction(node)
        if name is not None:
            self.add(name)
            self.stale |= {argument.group for argument in node.arguments}
            self.stale -= {group, *operator.forgets}

        self._probe_after(node)

    def compare(self, choice: ProgramNode, events: ProgramNode) -> None:
        """Moves a choice to memory; the part that belongs to the events stays there."""
        self.evaluate(choice)
        group = choice.group
        self.stale.add(group)
        place = len(self.names)
        store = f"store {group}s"
        self.add(store)
        self.evaluate(events)

        if self.names[place + 1 : place + 2] == ["events"]:
            # one instruction for both, as in the paper
            self.names[place : place + 2] = [f"events, storing {group}s"]
            self._shift_probes(place, -self._length(store))

        # the choice's object would stand for itself
        if group == "object" and "object" in self.stale:
            self.add("forget objects")

        self.add("belong_to")

    def _length(self, name: str) -> int:
        return len(self.table.trains.get(name, self.table.blank_train))

    def _shift_probes(self, place: int, steps: int) -> None:
        edge = sum(self._length(name) for name in self.names[:place])
        self.probes = [p._replace(step=p.step + steps) if p.step >= edge else p for p in self.probes]
        self.num_steps += steps

    def _ordered_arguments(self, node: ProgramNode, operator: Operator) -> list[ProgramNode]:
        """The arguments that sets hold, so ordered that the second does not overwrite the first."""
        arguments = [argument for argument in node.arguments if argument.operator is not None]
        if operator.over_all:
            if arguments[0].token != "events":
                raise ConfigError(
                    f"{node.token!r} would need two sets of events here; it runs over all events, so put further "
                    "filters behind it"
                )

            arguments = arguments[1:]

        if len(arguments) == 2:
            # the value that the other evaluation would overwrite comes last
            first, second = arguments
            if first.group in second.writes:
                first, second = second, first
            if first.group in second.writes:
                raise ConfigError(f"{node.token!r} would need two sets of {first.group}s here, but there is one")
            return [first, second]

        return arguments

    def _instruction(self, node: ProgramNode) -> str | None:
        if node.token in ("filter_order", "filter_side"):
            return node.arguments[1].token
        if node.token.removeprefix("filter_") in self.table.attributes:
            return f"filter_{node.arguments[1].token}"
        return node.token if node.token in self.table.trains else None

    def _probe(self, group: str, min_size: int = 1, max_size: int = 1, collision: bool = False) -> None:
        self.probes.append(Probe(self.num_steps - 1, group, min_size, max_size, collision))

    def _probe_before(self, node: ProgramNode) -> None:
        if node.token == "filter_order":
            self._probe("event", min_size=2 if node.arguments[1].token == "second" else 1, max_size=10**6)
        elif node.token == "query_collision_partner":
            self._probe("event", collision=True)

    def _probe_after(self, node: ProgramNode) -> None:
        # whether a possible event happens is decided by the world
        singles = ("unique", "filter_start", "filter_end", "query_object", "query_collision_partner")
        if node.token in singles and node.gives != "possible event":
            self._probe(node.group)
