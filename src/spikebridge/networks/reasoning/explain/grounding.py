"""Grounding: the objects and events of a scene that the texts of a question name.

People describe loosely. The entrance of an object that is in view from the first frame is no event of the video; the
start of motion of an object that enters in motion is its entrance. Where no event fits a text about causes, the nearest
one that is seen takes its place. Each replacement, and each name that fits no object or several, is a remark.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

from spikebridge.networks.reasoning.data.scene import ATTRIBUTES, Question, Scene, object_tokens
from spikebridge.networks.reasoning.executor import Event, Executor

_KIND_NAMES = {
    "in": "entrance",
    "out": "exit",
    "collision": "collision",
    "begin": "motion as the video begins",
    "move": "start of motion",
    "stop": "stop",
    "turn": "change of direction",
}
# events nearest to one that is not seen: at any side, or another change of the same motion
_NEAREST = {
    "filter_in": ("filter_in", "filter_come"),
    "filter_out": ("filter_out",),
    "filter_move": ("filter_come",),
    "filter_turn": ("filter_change",),
}
_ATTRIBUTE_FILTERS = tuple(f"filter_{kind}" for kind in ATTRIBUTES)
_GRAY_METAL = ("gray", "filter_color", "metal", "filter_material")

_Tokens = tuple[str, ...]


class Grounding(NamedTuple):
    """The program of a text about what is seen, the events that it names, and remarks."""

    program: _Tokens
    events: tuple[Event, ...] = ()
    remarks: tuple[str, ...] = ()
    is_located: bool | None = None  # None for a text without an event, True for one that is seen or before the video


class GroundedQuestion(NamedTuple):
    """A question with the programs of what is seen, and the grounding of its own text and of each choice."""

    question: Question
    text: Grounding
    choices: tuple[Grounding, ...]

    @property
    def remarks(self) -> tuple[str, ...]:
        """All remarks, each once."""
        return tuple(dict.fromkeys(remark for one in (self.text, *self.choices) for remark in one.remarks))


def ground(scene: Scene, question: Question) -> GroundedQuestion:
    """The question about the objects and events of a scene."""
    seen = _SeenScene(scene)
    is_about_causes = question.kind == "explanatory"
    if is_about_causes:
        # the program of the event stands between `events` and the search for its causes
        end = question.program.index("filter_ancestor")
        event = seen.ground(question.program[1:end], question.unused, is_cause=False)
        text = event._replace(program=("events", *event.program, *question.program[end:]))
    else:
        text = seen.ground_objects(question.program, question.unused)

    ground_choice = seen.ground if is_about_causes else seen.ground_objects
    choices = tuple(ground_choice(choice.program, choice.unused) for choice in question.choices)
    pairs = zip(question.choices, choices, strict=True)
    judged = tuple(replace(choice, program=one.program) for choice, one in pairs)

    return GroundedQuestion(replace(question, program=text.program, choices=judged), text, choices)


class _SeenScene:
    def __init__(self, scene: Scene) -> None:
        self._executor = Executor(scene)

    def ground(self, program: _Tokens, unused: Sequence[str], is_cause: bool = True) -> Grounding:
        """The nearest event that is seen for a program of an event; an object may stand for a cause."""
        named = self.ground_objects(program, unused)
        if named.program[0] != "events":
            return named

        events = self._members(named.program)
        named = named._replace(events=events, is_located=bool(events))
        if events:
            return named

        last = named.program.index("unique") + 1
        one = named.program[1:last]
        kind = named.program[last]
        if not self._members(one):
            return named

        members = " and the ".join(map(_label, _selections(named.program)))
        name = f"{_KIND_NAMES[kind.removeprefix('filter_')]} of the {members}"
        where = " at that side" if "filter_side" in named.program else ""
        for other in _NEAREST.get(kind, ()):
            events = self._members((*named.program[:last], other))[:1]
            if events:
                nearest = (*named.program[:last], other, "first", "filter_order")
                remark = f"no {name} is seen{where}; read as its {_KIND_NAMES[events[0].kind]}"
                return Grounding(nearest, events, (*named.remarks, remark), True)

        if kind == "filter_in" and is_cause and self._is_in_view(one):
            remark = f"the {name} is before the first frame; read as its presence"
            return Grounding(one, (), (*named.remarks, remark), True)

        return named._replace(remarks=(*named.remarks, f"no {name} is seen{where}"))

    def ground_objects(self, program: _Tokens, unused: Sequence[str] = ()) -> Grounding:
        """A program with remarks on its words and on the objects that it names."""
        remarks = [f"not used: {', '.join(map(repr, unused))}"] if unused else []
        program = self._with_two_objects(program, remarks)
        for one in list(_selections(program)):
            number = len(self._members(one))
            # silver is gray metal, but people call gray rubber silver as well
            gray = (*one[:3], *one[5:])
            if not number and one[1:5] == _GRAY_METAL and self._members(gray):
                remarks.append(f"no {_label(one)} is seen; read as the {_label(gray)}")
                program = _with_selection(program, one, gray)
            elif number != 1:
                found = f"{number} objects fit" if number else "no object fits"
                remarks.append(f"{found} '{_label(one)}'")

        return Grounding(program, (), tuple(dict.fromkeys(remarks)))

    def _with_two_objects(self, program: _Tokens, remarks: list[str]) -> _Tokens:
        """The program of `the red ball hits the red ball` with each of the two objects by all of its values."""
        selections = list(_selections(program))
        if program.count("filter_collision") != 2 or len(selections) != 2 or selections[0] != selections[1]:
            return program

        members = self._members(selections[0])
        if len(members) != 2:
            name = _label(selections[0])
            remarks.append(f"{len(members)} objects fit '{name}', not 2; read as any collision of the {name}")
            return program

        first, second = (object_tokens(self._executor.scene.objects[o]) for o in members)
        place = program.index("unique") + 1
        rest = _with_selection(program[place:], selections[0], second)
        return (*_with_selection(program[:place], selections[0], first), *rest)

    def _members(self, tokens: _Tokens) -> tuple[Any, ...]:
        return tuple(self._executor.select([token for token in tokens if token != "unique"]))

    def _is_in_view(self, one: _Tokens) -> bool:
        return any(self._executor.tracks.visible[0, 0, o] for o in self._members(one))


def _selections(program: _Tokens) -> Iterator[_Tokens]:
    for first, token in enumerate(program):
        if token != "objects":
            continue

        last = first + 1
        while program[last + 1 : last + 2] and program[last + 1] in _ATTRIBUTE_FILTERS:
            last += 2
        if program[last : last + 1] == ("unique",):
            yield program[first : last + 1]


def _with_selection(program: _Tokens, old: _Tokens, new: _Tokens) -> _Tokens:
    first = next((k for k in range(len(program)) if program[k : k + len(old)] == old), None)
    if first is None:
        return program

    return (*program[:first], *new, *_with_selection(program[first + len(old) :], old, new))


def _label(one: _Tokens) -> str:
    values = [value for value, token in pairwise(one) if token in _ATTRIBUTE_FILTERS]
    return " ".join(values if "filter_shape" in one else [*values, "object"])
