"""What-if texts: a question in words, the object that is removed, and the collisions that happen without it.

The texts are real, the collisions come from a simulation ("silver": about 97 % right). They have no choices; these are
made by a rule: the pairs without the removed object that collide in the observed scene or in its roll-out without that
object, at most four, drawn by seed. A choice is right where the pair is among the text's collisions.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikebridge.data.clevrer_scenes import video_name
from spikebridge.data.scene_questions import Choice, Question
from spikebridge.data.scenes import ATTRIBUTES, COLORS, MATERIALS, SHAPES, Scene
from spikebridge.errors import DataError, did_you_mean

Triple = tuple[str, str, str]
MOST_CHOICES = 4

_NAME = re.compile(f"({'|'.join(COLORS)}) ?({'|'.join(MATERIALS)}) ?({'|'.join(SHAPES)})")


@dataclass(frozen=True)
class WhatIfText:
    """A what-if question in words, and what a simulation answers.

    Args:
        video: the scene it is about.
        text: its words.
        removed: the object that is taken away.
        collisions: frame and the two objects.
    """

    video: int | str
    text: str
    removed: Triple
    collisions: tuple[tuple[int, Triple, Triple], ...]


def read_what_if_text(plain: Mapping[str, Any], place: str) -> WhatIfText:
    """A text from plain values.

    Args:
        plain: `video`, `question`, `removed`, `collisions` with objects by name (`yellowmetalcube`).
        place: where it stands, for messages.

    Raises:
        DataError: an object that no triple of known values names, or a collision that is not `[frame, name, name]`.

    Example:
        >>> plain = {"video": 7, "removed": "redmetalcube", "collisions": [[9, "graymetalcube", "bluerubbersphere"]]}
        >>> text = read_what_if_text(plain, "line 1")
        >>> text.removed, text.collisions[0][2]
        (('red', 'metal', 'cube'), ('blue', 'rubber', 'sphere'))
    """
    rows = plain.get("collisions", [])
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == 3 for row in rows):
        raise DataError(f"{place}: collisions are [[frame, object, object], ...], but got {rows!r:.80}")
    collisions = []
    for frame, first, second in rows:
        if isinstance(frame, bool) or not isinstance(frame, int):
            raise DataError(f"{place}: expected a frame as a whole number, but got {frame!r}")
        collisions.append((frame, triple_named(first, place), triple_named(second, place)))
    video = video_name(plain.get("video", plain.get("scene_index")), place)
    return WhatIfText(video, str(plain.get("question", "")), triple_named(plain["removed"], place), tuple(collisions))


def triple_named(name: Any, place: str) -> Triple:
    """Colour, material and shape of a name such as `yellowmetalcube`.

    Example:
        >>> triple_named("yellowmetalcube", "line 1")
        ('yellow', 'metal', 'cube')
    """
    found = _NAME.fullmatch(name) if isinstance(name, str) else None
    if found is None:
        names = [f"{c}{m}{s}" for c in COLORS for m in MATERIALS for s in SHAPES]
        near = did_you_mean(str(name), names).partition(" Known")[0]
        raise DataError(f"{place}: expected colour, material and shape in one word, but got {name!r}; {near}")
    return found[1], found[2], found[3]


def what_if_questions(texts: Sequence[WhatIfText], scenes: Mapping[int | str, Scene], seed: int = 0) -> list[Question]:
    """Questions with choices and programs, made of texts and scenes by the rule above.

    Args:
        texts: whose scenes are there.
        scenes: by video.
        seed: of the draws; each text draws alone, so that a part of a file gets the same choices as the whole.

    Returns:
        One question a text, in order, but for texts without any candidate pair and those whose removed object the
        scene does not show: about them nothing can be asked.

    Raises:
        DataError: a text is about a video that is not among the scenes.
    """
    made = []
    for number, text in enumerate(texts):
        if text.video not in scenes:
            raise DataError(f"what-if text {number + 1} is about video {text.video}, which is not among the scenes")
        scene = scenes[text.video]
        if text.removed in scene.objects:
            pairs = _drawn(_candidates(scene, scene.objects.index(text.removed)), text, seed)
            if pairs:
                made.append(_question(text, scene, pairs))
    return made


def _candidates(scene: Scene, removed: int) -> list[tuple[int, int]]:
    """Pairs without the removed object that collide in the observed scene or in its roll-out."""
    rows = [*scene.collisions.tolist(), *scene.what_if.get(removed, np.zeros((0, 3))).tolist()]
    pairs = {(min(a, b), max(a, b)) for _, a, b in rows if removed not in (a, b)}
    return sorted((int(a), int(b)) for a, b in pairs)


def _drawn(pairs: list[tuple[int, int]], text: WhatIfText, seed: int) -> list[tuple[int, int]]:
    if len(pairs) <= MOST_CHOICES:
        return pairs
    words = f"{text.video} {' '.join(text.removed)} {text.text}".encode()
    order = np.random.default_rng([seed, *words]).permutation(len(pairs))[:MOST_CHOICES]
    return [pairs[i] for i in sorted(order)]


def _question(text: WhatIfText, scene: Scene, pairs: Iterable[tuple[int, int]]) -> Question:
    happens = {frozenset((first, second)) for _, first, second in text.collisions}
    choices = tuple(
        Choice(
            program=("all_events", *_meets(scene.objects[pair[0]]), *_meets(scene.objects[pair[1]]), "unique"),
            text=f"the {' '.join(scene.objects[pair[0]])} collides with the {' '.join(scene.objects[pair[1]])}",
            answer="correct" if frozenset(scene.objects[o] for o in pair) in happens else "wrong",
        )
        for pair in pairs
    )
    program = ("all_events", *named(text.removed), "filter_counterfact", "belong_to")
    return Question(text.video, "counterfactual", program, choices, text.text)


def _meets(triple: Triple) -> tuple[str, ...]:
    return (*named(triple), "filter_collision")


def named(triple: Triple) -> tuple[str, ...]:
    """The tokens that find one object by its three values.

    Example:
        >>> named(("red", "metal", "cube"))
        ('objects', 'red', 'filter_color', 'metal', 'filter_material', 'cube', 'filter_shape', 'unique')
    """
    values = [token for value, kind in zip(triple, ATTRIBUTES, strict=True) for token in (value, f"filter_{kind}")]
    return ("objects", *values, "unique")
