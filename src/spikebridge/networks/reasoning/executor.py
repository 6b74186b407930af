"""The symbolic executor: runs programs on lists of objects and events, without spikes.

It is the reference of the spiking graph. It refuses a program that selects the only member of a set with none or
several. Collisions of one pair of objects are the same answer to a choice, at whatever frame.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from spikebridge.networks.reasoning.data.scene import NUM_OBSERVED_FRAMES, Question, Scene
from spikebridge.networks.reasoning.events import events as observations
from spikebridge.networks.reasoning.events.motion import SIDE_NAMES, hitters_of, sides_of, with_motion
from spikebridge.networks.reasoning.parsing.operators import OperatorTable, parse

# the kinds of event among which a filter chooses
_KINDS = {
    **{f"filter_{kind}": (kind,) for kind in ("in", "out", "collision", "move", "stop", "turn")},
    "filter_come": ("in", "begin", "move"),
    "filter_change": ("move", "stop", "turn"),
}


class Event(NamedTuple):
    """An event with its rank in time and the objects that take part. A hypothetical one has rank -1."""

    rank: int
    kind: str
    frame: int
    objects: frozenset[int]


class _ObservedEvents(NamedTuple):
    """Events in order of time, pairs of ranks of an event and its cause, and the sides and hitter of each event."""

    events: list[Event]
    causes: set[tuple[int, int]]
    sides: Bool[np.ndarray, "E 4"]
    hitters: Int[np.ndarray, "E"]


class _ExecutorResult(NamedTuple):
    """A value, or the reason of a refusal: `empty`, `ambiguous`, `missing`, `other kind` or `no roll-out`."""

    value: str | None
    refusal: str | None = None


class _RefusalError(Exception):
    """A program has no answer."""


class Executor:
    """Executes programs about one scene; `causal` is that of `answer`."""

    def __init__(self, scene: Scene, table: OperatorTable | None = None, causal: bool = False) -> None:
        self.scene = scene
        self.table = table if table is not None else OperatorTable()
        self.causal = causal
        self.tracks = observations.tracks_of([scene])
        self._observed: dict[bool, _ObservedEvents] = {}
        self.seen = self._observe(of_motion=False)

    def _observe(self, of_motion: bool) -> _ObservedEvents:
        if of_motion not in self._observed:
            self._observed[of_motion] = self._observed_events(of_motion)
        return self._observed[of_motion]

    def _observed_events(self, of_motion: bool) -> _ObservedEvents:
        observed = observations.observed_events([self.scene], self.tracks)
        scenes = [self.scene if of_motion else None]
        events = with_motion(observed, scenes)
        rows = zip(events.kind, events.frame, events.objects, strict=True)

        return _ObservedEvents(
            [
                Event(rank, observations.EVENT_KINDS[kind], int(frame), frozenset(int(o) for o in objects if o >= 0))
                for rank, (kind, frame, objects) in enumerate(rows)
            ],
            set(zip(*(column.tolist() for column in observations.causes_of(events)), strict=True)),
            sides_of(events, scenes),
            hitters_of(events, scenes),
        )

    def run(self, tokens: Sequence[str]) -> _ExecutorResult:
        """The answer of a whole program, or the reason of a refusal; raises `ConfigError` for wrong types."""
        try:
            return _ExecutorResult(str(self._value_of(tokens)))
        except _RefusalError as refusal:
            return _ExecutorResult(None, str(refusal))

    def select(self, tokens: Sequence[str]) -> list[Any]:
        """The objects or events that a program without `unique` selects."""
        return list(self._value_of(tokens))

    def _value_of(self, tokens: Sequence[str]) -> Any:
        parse(tokens, self.table)
        # events of motion would be further links between others, so only programs that ask for them see them
        rows = self.table.rows
        self.seen = self._observe(any(token in rows and rows[token].of_motion for token in tokens))
        stack: list[Any] = []

        for token in tokens:
            if token in self.table.words:
                stack.append(token)
                continue

            first = len(stack) - self.table.numbers_of_arguments[token]
            stack[first:] = [self._operation(token)(*stack[first:])]

        return stack[0]

    def _operation(self, token: str) -> Callable[..., Any]:
        verb, _, name = token.partition("_")
        if name in self.table.attributes and verb == "filter":
            return lambda objects, value: [o for o in objects if self._value(o, name) == value]
        if name in self.table.attributes:
            return lambda o: self._value(o, name)
        if token in _KINDS:
            kinds = _KINDS[token]
            return lambda events, members: [e for e in events if e.kind in kinds and e.objects & _as_set(members)]
        if token in ("filter_start", "filter_end"):
            return lambda events: _at_order([e for e in events if e.kind == name], "first")

        return self._operations[token]

    @cached_property
    def _operations(self) -> dict[str, Callable[..., Any]]:
        objects = range(self.scene.num_objects)
        # any two objects may collide; whether they do is decided by the world of the question
        pairs = [frozenset(pair) for pair in combinations(objects, 2)]

        return {
            "objects": lambda: list(objects),
            "events": lambda: self.seen.events,
            "all_events": lambda: [Event(-1, "collision", -1, pair) for pair in pairs],
            "unseen_events": lambda: _collisions(self.scene.predicted),
            "null": lambda: None,
            "unique": _only,
            "filter_moving": lambda objects, frame: [o for o in objects if self._moves(o, frame)],
            "filter_stationary": lambda objects, frame: [
                o for o in objects if self._is_visible(o, frame) and not self._moves(o, frame)
            ],
            "filter_side": lambda events, side: [e for e in events if self.seen.sides[e.rank, SIDE_NAMES.index(side)]],
            "filter_hitter": lambda events, members: [
                e for e in events if self.seen.hitters[e.rank] in _as_set(members)
            ],
            "filter_before": lambda events, event: [e for e in events if e.frame < event.frame],
            "filter_after": lambda events, event: [e for e in events if e.frame > event.frame],
            "filter_ancestor": lambda events, event: [e for e in events if (event.rank, e.rank) in self.seen.causes],
            "filter_order": _at_order,
            "filter_counterfact": self._without,
            "query_frame": lambda event: event.frame,
            "query_object": _border_object,
            "query_collision_partner": _partner,
            "count": len,
            "exist": lambda members: "yes" if members else "no",
            "belong_to": self._belongs,
            "negate": lambda value: _judgment(value == "wrong"),
        }

    def _value(self, o: int, kind: str) -> str:
        return self.scene.objects[o][list(self.table.attributes).index(kind)]

    def _moves(self, o: int, frame: int | None) -> bool:
        return bool(self.tracks.moving[0, self._samples(frame), o].any())

    def _is_visible(self, o: int, frame: int | None) -> bool:
        return bool(self.tracks.visible[0, self._samples(frame), o].any())

    def _samples(self, frame: int | None) -> np.ndarray:
        """The sample nearest to a frame; without a frame all observed samples."""
        frames = self.tracks.frames[0]
        if frame is None:
            return np.flatnonzero(frames < NUM_OBSERVED_FRAMES)
        return np.abs(frames - frame).argmin(keepdims=True)

    def _belongs(self, choice: int | Event, events: list[Event]) -> str:
        # start and end are times, not answers; collisions of one pair are one answer at whatever frame
        candidates = [e for e in events if e.kind not in ("start", "end")]
        if isinstance(choice, Event):
            return _judgment(any(e.kind == choice.kind and e.objects == choice.objects for e in candidates))
        return _judgment(any(choice in e.objects for e in candidates))

    def _without(self, events: list[Event], removed: int) -> list[Event]:
        if removed not in self.scene.what_if:
            raise _RefusalError("no roll-out")

        scene = self.scene
        rows = observations.without_object(scene, removed) if self.causal else scene.what_if[removed]
        pairs = {collision.objects for collision in _collisions(rows)}
        return [e for e in events if e.objects in pairs]


def execute(
    scenes: Sequence[Scene], questions: Sequence[Question], causal: bool = False
) -> tuple[list[list[str | None]], list[list[str | None]]]:
    """The executor's values and the reasons of its refusals, for each whole program of each question."""
    executors = {scene.video: Executor(scene, causal=causal) for scene in scenes}
    results = [[executors[question.video].run(program) for program in question.programs] for question in questions]
    values = [[result.value for result in row] for row in results]
    refusals = [[result.refusal for result in row] for row in results]

    return values, refusals


def _as_set(members: list[int] | int) -> set[int]:
    return {members} if isinstance(members, int) else set(members)


def _only(members: list[Any]) -> Any:
    if len(members) != 1:
        raise _RefusalError("ambiguous" if members else "empty")
    return members[0]


def _at_order(events: list[Event], order: str) -> Event:
    if not events:
        raise _RefusalError("empty")
    if order == "second" and len(events) < 2:
        raise _RefusalError("missing")
    return events[{"first": 0, "second": 1, "last": -1}[order]]


def _border_object(event: Event) -> int:
    if len(event.objects) != 1:
        raise _RefusalError("other kind")
    return next(iter(event.objects))


def _partner(event: Event, o: int) -> int:
    if event.kind != "collision" or o not in event.objects:
        raise _RefusalError("other kind")
    return next(iter(event.objects - {o}))


def _judgment(is_correct: bool) -> str:
    return "correct" if is_correct else "wrong"


def _collisions(rows: np.ndarray) -> list[Event]:
    return [Event(-1, "collision", int(frame), frozenset((int(a), int(b)))) for frame, a, b in rows]
