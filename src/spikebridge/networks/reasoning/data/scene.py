"""Scenes of moving, colliding objects, and questions about them, as plain data after CLEVRER (K. Yi et al., ICLR 2020).

A scene holds the observed objects, trajectories and collisions, the collisions predicted after the last frame, and the
counterfactual collisions without each of the objects.

A question holds its words, a program of postfix tokens, and, for three of the four kinds, choices to judge. A choice's
program runs before its question's program: `(*choice.program, *question.program)` is one whole program.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from spikebridge.data.io.number_text import parse_integer
from spikebridge.errors import DataError, did_you_mean

COLORS = ("gray", "red", "blue", "green", "brown", "yellow", "cyan", "purple")
MATERIALS = ("metal", "rubber")
SHAPES = ("cube", "sphere", "cylinder")
# The three kinds of attribute and their values, in the order of an object's triple.
ATTRIBUTES: dict[str, tuple[str, ...]] = {"color": COLORS, "material": MATERIALS, "shape": SHAPES}

PICTURE = (100.0, 150.0)  # extent of CLEVRER's pictures: x runs down, y to the right
NUM_OBSERVED_FRAMES = 128  # a collision at this frame or later is a prediction

_MAX_COORDINATE = 1000.0  # coordinates range from 0 to about 160; a roll-out far beyond has diverged

_NONE = np.zeros((0, 3), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Scene:
    """One video, as objects, trajectories and collisions. A collision is a row `frame, object, object`.

    Args:
        video: number or name by which questions refer to it.
        objects: colour, material and shape of each object.
        frames: `(S,)` frames of the samples, ascending.
        positions: `(S, O, 2)` x and y of each object at each sample, NaN where it is not visible.
        collisions: `(C, 3)` observed.
        predicted: `(P, 3)` predicted after the last frame.
        what_if: for each removed object the collisions `(R, 3)` without it, from the first frame.
        attribute_scores: `(O, 3)` score of each value of `objects`, 0 to 1; None where values are given, not perceived.
        collision_scores: `(C,)` score of each observed collision; None where collisions are given.
        moving: `(S, O)` True where an object moves at a sample, read by a unit; None: computed from positions.
        truth: the true objects and collisions, where the file of a perceived scene has them beside.
        extent: size of the picture along x and y, of which the longer one runs to the right.

    Example:
        >>> scene = Scene.from_lists(
        ...     1,
        ...     objects=[["red", "metal", "cube"], ["blue", "rubber", "sphere"]],
        ...     trajectory=[[0, [[0, 10.0, 20.0]]], [5, [[0, 10.0, 21.0], [1, 0.0, 50.0]]]],
        ...     collisions=[[5, 0, 1], [140, 0, 1]],
        ... )
        >>> scene.collisions.tolist(), scene.predicted.tolist()
        ([[5, 0, 1]], [[140, 0, 1]])
        >>> scene.visible.tolist()
        [[True, False], [True, True]]
    """

    video: int | str
    objects: tuple[tuple[str, str, str], ...]
    frames: Int[np.ndarray, "S"]
    positions: Float[np.ndarray, "S O 2"]
    collisions: Int[np.ndarray, "C 3"] = field(default_factory=_NONE.copy)
    predicted: Int[np.ndarray, "P 3"] = field(default_factory=_NONE.copy)
    what_if: Mapping[int, Int[np.ndarray, "_ 3"]] = field(default_factory=dict)
    attribute_scores: Float[np.ndarray, "O 3"] | None = None
    collision_scores: Float[np.ndarray, "C"] | None = None
    moving: Bool[np.ndarray, "S O"] | None = None
    truth: "Scene | None" = None
    extent: tuple[float, float] = PICTURE

    @classmethod
    def from_lists(
        cls,
        video: int | str,
        objects: Sequence[Sequence[str]],
        trajectory: Sequence[Sequence[Any]],
        collisions: Sequence[Sequence[int]],
        what_if: Mapping[int | str, Sequence[Sequence[int]]] | None = None,
        attributes: Mapping[str, Sequence[str]] = ATTRIBUTES,
    ) -> "Scene":
        """A checked scene from nested lists, as they stand in a scene file.

        Args:
            video: its number or name.
            objects: `[colour, material, shape]` each.
            trajectory: `[frame, [[object, x, y], ...]]` each, in any order.
            collisions: `[frame, object, object]` each, in any order; frames from 128 on are predictions.
            what_if: `{removed object: collisions}`.
            attributes: kinds of attribute and their values.

        Raises:
            DataError: a value is not known, an object is not listed, a coordinate is not finite, and the like.
        """
        triples = _triples(video, objects, attributes)
        frames, positions = _positions(video, trajectory, len(triples))
        rows = _collisions(video, collisions, len(triples))
        is_observed = rows[:, 0] < NUM_OBSERVED_FRAMES

        roll_outs = {}
        for removed, listed in (what_if or {}).items():
            index = _object(video, "what_if", removed, len(triples))
            roll_outs[index] = _collisions(video, listed, len(triples))

        return cls(video, triples, frames, positions, rows[is_observed], rows[~is_observed], roll_outs)

    @property
    def num_objects(self) -> int:
        """Number of objects."""
        return len(self.objects)

    @property
    def visible(self) -> Bool[np.ndarray, "S O"]:
        """`(S, O)` True where an object is visible at a sample."""
        return ~np.isnan(self.positions[..., 0])

    def with_collisions(
        self, collisions: Int[np.ndarray, "C 3"], scores: Float[np.ndarray, "C"] | None = None
    ) -> "Scene":
        """The same scene with other observed collisions and their scores."""
        rows = np.asarray(collisions, dtype=np.int64).reshape(-1, 3)
        return replace(self, collisions=rows, collision_scores=scores)


def _triples(
    video: int | str, objects: Sequence[Sequence[str]], attributes: Mapping[str, Sequence[str]]
) -> tuple[tuple[str, str, str], ...]:
    triples: list[tuple[str, str, str]] = []
    for i, words in enumerate(objects):
        if len(words) != 3:
            raise DataError(f"video {video}, object {i}: expected [colour, material, shape], but got {list(words)}")

        # an unknown value has no neuron in the graph
        for word, (kind, values) in zip(words, attributes.items(), strict=True):
            if word not in values:
                raise DataError(
                    f"video {video}, object {i}: unknown {kind} {word!r}; {did_you_mean(str(word), values)}"
                )

        # objects have no names: programs refer to them by their values alone
        triple = (str(words[0]), str(words[1]), str(words[2]))
        if triple in triples:
            raise DataError(
                f"video {video}: objects {triples.index(triple)} and {i} are both a {' '.join(triple)}; no two objects "
                "share all three attributes"
            )

        triples.append(triple)

    return tuple(triples)


def _object(video: int | str, place: str, value: Any, num_objects: int) -> int:
    # keys of JSON objects are texts, so a removed object is named by one
    try:
        index = parse_integer(value) if isinstance(value, str) else _frame(video, place, value)
    except (TypeError, ValueError, DataError):
        index = -1

    if not 0 <= index < num_objects:
        raise DataError(f"video {video}, {place}: object {value!r} is not listed; there are {num_objects} objects")

    return index


def _frame(video: int | str, place: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer) or value != int(value) or value < 0:
        raise DataError(f"video {video}, {place}: expected a frame as an integer of at least 0, but got {value!r}")
    return int(value)


def _positions(
    video: int | str, trajectory: Sequence[Sequence[Any]], num_objects: int
) -> tuple[np.ndarray, np.ndarray]:
    samples = sorted(trajectory, key=lambda sample: _frame(video, "trajectory", sample[0]))
    frames = np.array([int(frame) for frame, _ in samples], dtype=np.int64)
    if (np.diff(frames) <= 0).any():
        repeated = int(frames[1:][np.diff(frames) <= 0][0])
        raise DataError(f"video {video}, trajectory: frame {repeated} is listed twice")

    positions = np.full((len(samples), num_objects, 2), np.nan)
    for s, (frame, rows) in enumerate(samples):
        for name, x, y in rows:
            place = f"trajectory at frame {frame}"
            o = _object(video, place, name, num_objects)
            if isinstance(x, bool) or isinstance(y, bool):
                raise DataError(f"video {video}, {place}: object {o} is at ({x}, {y}); coordinates are numbers")

            # false for NaN too
            if not (abs(x) <= _MAX_COORDINATE and abs(y) <= _MAX_COORDINATE):
                raise DataError(
                    f"video {video}, {place}: object {o} is at ({x}, {y}), which is not finite or has diverged; "
                    f"coordinates stay within {_MAX_COORDINATE:g}"
                )

            if not np.isnan(positions[s, o, 0]):
                raise DataError(f"video {video}, {place}: object {o} is listed twice")

            positions[s, o] = x, y

    return frames, positions


def _collisions(video: int | str, rows: Sequence[Sequence[int]], num_objects: int) -> np.ndarray:
    checked: list[tuple[int, int, int]] = []
    keys: set[tuple[int, int, int]] = set()

    for row in rows:
        if len(row) != 3:
            raise DataError(f"video {video}, collisions: expected [frame, object, object], but got {list(row)}")

        frame = _frame(video, "collisions", row[0])
        place = f"collision at frame {frame}"
        a, b = (_object(video, place, value, num_objects) for value in row[1:])
        if a == b:
            raise DataError(f"video {video}, {place}: object {a} collides with itself")

        # a collision is symmetric
        key = (frame, min(a, b), max(a, b))
        if key in keys:
            raise DataError(f"video {video}, {place}: objects {a} and {b} are listed twice")

        keys.add(key)
        checked.append((frame, a, b))

    return np.array(checked, dtype=np.int64).reshape(-1, 3)


# About observations, causes, future events, and events without one of the objects.
KINDS = ("descriptive", "explanatory", "predictive", "counterfactual")


@dataclass(frozen=True)
class Choice:
    """One choice of a question, to be judged correct or wrong; `unused` words have no place in the program."""

    program: tuple[str, ...]
    text: str = ""
    answer: str | None = None
    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """A question about one video.

    Args:
        video: of the scene.
        kind: one of `KINDS`.
        program: postfix tokens.
        choices: none for a descriptive question.
        text: its words.
        subtype: a finer kind, such as `count`.
        answer: of a descriptive question, None if unknown.
        unused: words of the text that have no place in the program.

    Raises:
        DataError: the kind is not known.

    Example:
        >>> question = Question(1, "descriptive", ("objects", "red", "filter_color", "count"), answer="2")
        >>> question.programs
        (('objects', 'red', 'filter_color', 'count'),)
        >>> which = Question(1, "explanatory", ("belong_to",), (Choice(("objects", "unique")), Choice(("events",))))
        >>> which.programs
        (('objects', 'unique', 'belong_to'), ('events', 'belong_to'))
    """

    video: int | str
    kind: str
    program: tuple[str, ...]
    choices: tuple[Choice, ...] = ()
    text: str = ""
    subtype: str = ""
    answer: str | None = None
    unused: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DataError(
                f"video {self.video}: unknown question type {self.kind!r}; {did_you_mean(self.kind, KINDS)}"
            )

    @property
    def programs(self) -> tuple[tuple[str, ...], ...]:
        """The whole programs: one for a descriptive question, else one for each choice."""
        if self.kind == "descriptive":
            return (self.program,)
        return tuple((*choice.program, *self.program) for choice in self.choices)

    @property
    def answers(self) -> tuple[str | None, ...]:
        """The known answer of each whole program."""
        return (self.answer,) if self.kind == "descriptive" else tuple(choice.answer for choice in self.choices)


def object_tokens(triple: tuple[str, str, str]) -> tuple[str, ...]:
    """The tokens that select one object by its three values."""
    filters = [(value, f"filter_{kind}") for value, kind in zip(triple, ATTRIBUTES, strict=True)]
    return ("objects", *(token for pair in filters for token in pair), "unique")
