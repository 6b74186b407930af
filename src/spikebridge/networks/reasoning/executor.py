"""A plain symbolic executor: programs over lists of objects and events, without spikes.

It is what the graph is measured against. Where a program asks for the only one and there is none, or several, it
refuses. Meetings of one pair of objects count as the same answer of a choice, whenever they happen.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from spikebridge.networks.reasoning.data.scene import NUM_OBSERVED_FRAMES, Question, Scene
from spikebridge.networks.reasoning.events.events import (
    EVENT_KINDS,
    causes_of,
    observed_events,
    tracks_of,
    without_object,
)
from spikebridge.networks.reasoning.parsing.operators import OperatorTable, parse


class Event(NamedTuple):
    """An event: its rank in time, kind, frame, and who takes part. A possible one has rank and frame -1."""

    rank: int
    kind: str
    frame: int
    objects: frozenset[int]


class ExecutorResult(NamedTuple):
    """What the executor says: a value, or why it refuses (`empty`, `ambiguous`, `missing`, `other kind`)."""

    value: str | None
    refusal: str | None = None


class _RefusalError(Exception):
    """A value that a program asks for is not there."""


class Executor:
    """Answers programs about one scene.

    Args:
        scene: what was perceived.
        table: operators and attributes.
        causal: what-if events as in `without_object`.

    Example:
        >>> scene = Scene.from_lists(
        ...     1,
        ...     objects=[["red", "metal", "cube"], ["blue", "rubber", "sphere"]],
        ...     trajectory=[[0, [[0, 9.0, 9.0], [1, 5.0, 5.0]]]],
        ...     collisions=[[5, 0, 1]],
        ... )
        >>> executor = Executor(scene)
        >>> executor.run("events objects red filter_color unique filter_collision count".split())
        ExecutorResult(value='1', refusal=None)
        >>> executor.run("objects unique query_color".split())
        ExecutorResult(value=None, refusal='ambiguous')
    """

    def __init__(self, scene: Scene, table: OperatorTable | None = None, causal: bool = False) -> None:
        self.scene = scene
        self.table = table if table is not None else OperatorTable()
        self.causal = causal
        self.tracks = tracks_of([scene])
        listed = observed_events([scene], self.tracks)
        self.events = [
            Event(rank, EVENT_KINDS[kind], int(frame), frozenset(int(o) for o in who if o >= 0))
            for rank, (kind, frame, who) in enumerate(zip(listed.kind, listed.frame, listed.objects, strict=True))
        ]
        self.causes = set(zip(*(column.tolist() for column in causes_of(listed)), strict=True))
        self.objects = list(range(scene.num_objects))

    def run(self, tokens: Sequence[str]) -> ExecutorResult:
        """The answer of a program, or why there is none.

        Args:
            tokens: postfix, a choice's before its question's.

        Raises:
            ConfigError: the program is not well typed.
        """
        parse(tokens, self.table)
        stack: list[Any] = []
        try:
            for token in tokens:
                if token in self.table.words:
                    stack.append(token)
                    continue
                number = len(self.table.rows[token].signatures[0].takes)
                arguments = stack[len(stack) - number :]
                stack[len(stack) - number :] = [self._meaning(token)(*arguments)]
        except _RefusalError as refusal:
            return ExecutorResult(None, str(refusal))
        return ExecutorResult(str(stack[0]))

    def _meaning(self, token: str) -> Callable[..., Any]:
        verb, _, what = token.partition("_")
        if what in self.table.attributes:
            if verb == "filter":
                return lambda objects, value: [o for o in objects if self._value(o, what) == value]
            return lambda o: self._value(o, what)
        if token in ("filter_in", "filter_out", "filter_collision"):
            return lambda events, who: [e for e in events if e.kind == what and e.objects & _members(who)]
        if token in ("filter_start", "filter_end"):
            return lambda events: _first([e for e in events if e.kind == what])
        return getattr(self, f"_{token}")

    def _value(self, o: int, kind: str) -> str:
        return self.scene.objects[o][list(self.table.attributes).index(kind)]

    def _objects(self) -> list[int]:
        return self.objects

    def _events(self) -> list[Event]:
        return self.events

    def _null(self) -> None:
        return None

    def _all_events(self) -> list[Event]:
        pairs = [frozenset((a, b)) for a in self.objects for b in self.objects if a < b]
        return [Event(-1, "collision", -1, pair) for pair in pairs]

    def _unique(self, found: list[Any]) -> Any:
        if len(found) != 1:
            raise _RefusalError("ambiguous" if found else "empty")
        return found[0]

    def _filter_moving(self, objects: list[int], frame: int | None) -> list[int]:
        return [o for o in objects if self._moves(o, frame)]

    def _filter_stationary(self, objects: list[int], frame: int | None) -> list[int]:
        return [o for o in objects if self._is_visible(o, frame) and not self._moves(o, frame)]

    def _moves(self, o: int, frame: int | None) -> bool:
        return bool(self.tracks.moving[0, self._samples(frame), o].any())

    def _is_visible(self, o: int, frame: int | None) -> bool:
        return bool(self.tracks.visible[0, self._samples(frame), o].any())

    def _samples(self, frame: int | None) -> np.ndarray:
        frames = self.tracks.frames[0]
        if frame is None:
            return np.flatnonzero(frames < NUM_OBSERVED_FRAMES)
        return np.abs(frames - frame).argmin(keepdims=True)

    def _filter_before(self, events: list[Event], event: Event) -> list[Event]:
        return [e for e in events if e.frame < event.frame]

    def _filter_after(self, events: list[Event], event: Event) -> list[Event]:
        return [e for e in events if e.frame > event.frame]

    def _filter_ancestor(self, events: list[Event], event: Event) -> list[Event]:
        return [e for e in events if (event.rank, e.rank) in self.causes]

    def _filter_order(self, events: list[Event], order: str) -> Event:
        if not events:
            raise _RefusalError("empty")
        if order == "second" and len(events) < 2:
            raise _RefusalError("missing")
        return events[{"first": 0, "second": 1, "last": -1}[order]]

    def _query_frame(self, event: Event) -> int:
        return event.frame

    def _query_object(self, event: Event) -> int:
        if event.kind not in ("in", "out"):
            raise _RefusalError("other kind")
        return next(iter(event.objects))

    def _query_collision_partner(self, event: Event, o: int) -> int:
        if event.kind != "collision" or o not in event.objects:
            raise _RefusalError("other kind")
        return next(iter(event.objects - {o}))

    def _count(self, found: list[Any]) -> int:
        return len(found)

    def _exist(self, found: list[Any]) -> str:
        return "yes" if found else "no"

    def _belong_to(self, entry: int | Event, events: list[Event]) -> str:
        happened = [e for e in events if e.kind not in ("start", "end")]
        if isinstance(entry, Event):
            return _right(any(e.kind == entry.kind and e.objects == entry.objects for e in happened))
        return _right(any(entry in e.objects for e in happened))

    def _negate(self, value: str) -> str:
        return _right(value == "wrong")

    def _unseen_events(self) -> list[Event]:
        return _meetings(self.scene.predicted)

    def _filter_counterfact(self, events: list[Event], removed: int) -> list[Event]:
        if removed not in self.scene.what_if:
            raise _RefusalError("no roll-out")
        rows = without_object(self.scene, removed) if self.causal else self.scene.what_if[removed]
        pairs = {meeting.objects for meeting in _meetings(rows)}
        return [e for e in events if e.objects in pairs]


def execute(
    scenes: Sequence[Scene], questions: Sequence[Question], causal: bool = False
) -> tuple[list[list[str | None]], list[list[str | None]]]:
    """The executor's values and the reasons of its refusals, for each whole program of each question.

    Args:
        scenes: that the questions are about.
        questions: any.
        causal: what-if events as in `without_object`.
    """
    scene_of = {scene.video: scene for scene in scenes}
    executors: dict[int | str, Executor] = {}
    values, refusals = [], []
    for question in questions:
        if question.video not in executors:
            executors[question.video] = Executor(scene_of[question.video], causal=causal)
        outcomes = [executors[question.video].run(program) for program in question.programs]
        values.append([outcome.value for outcome in outcomes])
        refusals.append([outcome.refusal for outcome in outcomes])
    return values, refusals


def _members(who: list[int] | int) -> set[int]:
    return {who} if isinstance(who, int) else set(who)


def _first(events: list[Event]) -> Event:
    if not events:
        raise _RefusalError("empty")
    return events[0]


def _right(is_right: bool) -> str:
    return "correct" if is_right else "wrong"


def _meetings(rows: np.ndarray) -> list[Event]:
    return [Event(-1, "collision", int(frame), frozenset((int(a), int(b)))) for frame, a, b in rows]
