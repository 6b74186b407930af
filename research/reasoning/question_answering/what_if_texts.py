"""What-if texts: questions in real words about removed objects, and the choices that a rule makes for them.

A line has `video`, `question`, `removed` and `collisions`, with objects by name (`yellowmetalcube`). The collisions
are from a simulation ("silver": about 97 % right). The candidates for choices are the pairs without the removed object
that collide in the observed scene or in its roll-out without that object; at most four are drawn by seed. A choice is
correct where the pair is among the text's collisions.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from spikebridge.data.io.json_stream import json_objects
from spikebridge.errors import DataError, did_you_mean
from spikebridge.networks.reasoning.data.clevrer_scenes import video_name
from spikebridge.networks.reasoning.data.scene import ATTRIBUTES, Choice, Question, Scene, object_tokens

_Triple: TypeAlias = tuple[str, str, str]

_NAME = re.compile(" ?".join(f"({'|'.join(values)})" for values in ATTRIBUTES.values()))
_MAX_CHOICES = 4


@dataclass(frozen=True)
class WhatIfText:
    """A what-if question in words, with the removed object and simulated collisions: frame and two objects."""

    video: int | str
    text: str
    removed: _Triple
    collisions: tuple[tuple[int, _Triple, _Triple], ...]


def read_what_if_texts(path: Path) -> list[WhatIfText]:
    """The texts of a file of JSON lines."""
    return [read_what_if_text(plain, place) for place, plain in json_objects(path, "what-if texts")]


def read_what_if_text(plain: Mapping[str, Any], place: str) -> WhatIfText:
    """A text from plain values."""
    rows = plain.get("collisions", [])
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == 3 for row in rows):
        raise DataError(f"{place}: collisions are [[frame, object, object], ...], but got {rows!r:.80}")

    collisions = []
    for frame, first, second in rows:
        if isinstance(frame, bool) or not isinstance(frame, int):
            raise DataError(f"{place}: expected a frame as an integer, but got {frame!r}")
        collisions.append((frame, _triple(first, place), _triple(second, place)))

    video = video_name(plain.get("video", plain.get("scene_index")), place)
    return WhatIfText(video, str(plain.get("question", "")), _triple(plain["removed"], place), tuple(collisions))


def _triple(name: Any, place: str) -> _Triple:
    """Colour, material and shape of a name such as `yellowmetalcube`."""
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        names = ["".join(triple) for triple in product(*ATTRIBUTES.values())]
        hint = did_you_mean(str(name), names).partition(" Known")[0]
        raise DataError(f"{place}: expected colour, material and shape in one word, but got {name!r}; {hint}")

    return match[1], match[2], match[3]


def what_if_questions(texts: Sequence[WhatIfText], scenes: Mapping[int | str, Scene], seed: int = 0) -> list[Question]:
    """Questions with choices and programs from texts and scenes by video; texts without a choice are left out."""
    questions = []
    for number, text in enumerate(texts, start=1):
        if text.video not in scenes:
            raise DataError(f"what-if text {number} is about video {text.video}, which is not among the scenes")

        # a text about an object that perception missed has no answer
        scene = scenes[text.video]
        if text.removed in scene.objects:
            pairs = _drawn(_candidates(scene, scene.objects.index(text.removed)), text, seed)
            if pairs:
                questions.append(_question(text, scene, pairs))

    return questions


def _candidates(scene: Scene, removed: int) -> list[tuple[int, int]]:
    # a pair that collides in neither run would be too easy a wrong choice
    rows = [*scene.collisions.tolist(), *scene.what_if.get(removed, np.zeros((0, 3), dtype=np.int64)).tolist()]
    return sorted({(min(a, b), max(a, b)) for _, a, b in rows if removed not in (a, b)})


def _drawn(pairs: list[tuple[int, int]], text: WhatIfText, seed: int) -> list[tuple[int, int]]:
    if len(pairs) <= _MAX_CHOICES:
        return pairs

    # each text has a generator of its own, so that a part of a file gets the same choices
    words = f"{text.video} {' '.join(text.removed)} {text.text}".encode()
    order = np.random.default_rng([seed, *words]).permutation(len(pairs))[:_MAX_CHOICES]
    return [pairs[i] for i in sorted(order)]


def _question(text: WhatIfText, scene: Scene, pairs: Sequence[tuple[int, int]]) -> Question:
    colliding = {frozenset((first, second)) for _, first, second in text.collisions}
    choices = []
    for first, second in ((scene.objects[a], scene.objects[b]) for a, b in pairs):
        filters = (*object_tokens(first), "filter_collision", *object_tokens(second), "filter_collision")
        words = f"the {' '.join(first)} collides with the {' '.join(second)}"
        answer = "correct" if frozenset((first, second)) in colliding else "wrong"
        choices.append(Choice(("all_events", *filters, "unique"), words, answer))

    program = ("all_events", *object_tokens(text.removed), "filter_counterfact", "belong_to")
    return Question(text.video, "counterfactual", program, tuple(choices), text.text)
