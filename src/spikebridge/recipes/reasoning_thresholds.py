"""How sure a collision has to be before it counts: chosen on validation videos, for causes and for what was seen.

A missed collision breaks a chain of causes, a made-up one rarely does; whoever counts is wrong by either. So the spike
of the collision unit has one threshold for explanatory questions and one for all others.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from spikebridge.data.question_generator import descriptive_question
from spikebridge.data.scene_questions import Question
from spikebridge.data.scenes import Scene
from spikebridge.networks.collision import CollisionUnit
from spikebridge.networks.collision_reading import CollisionReader
from spikebridge.networks.presence import PresenceUnit
from spikebridge.recipes.reasoning_labels import SceneSet, cause_questions
from spikebridge.recipes.reasoning_scores import execute, score

THRESHOLDS = (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0)


def threshold_kind(kind: str) -> str:
    """By which kind of question the threshold for a kind of question was chosen.

    Example:
        >>> threshold_kind("explanatory"), threshold_kind("counterfactual")
        ('explanatory', 'descriptive')
    """
    return "explanatory" if kind == "explanatory" else "descriptive"


def choose_thresholds(unit: CollisionUnit, presence: PresenceUnit, scenes: SceneSet) -> dict[str, Any]:
    """The threshold at which most is judged rightly, by kind of question; leaves that for causes in the unit.

    Args:
        unit: trained, in eval mode.
        presence: trained, in eval mode.
        scenes: of the validation videos.

    Returns:
        `thresholds`, and under `tried` what each of them would give.
    """
    asked = {"descriptive": seen_questions(scenes.near), "explanatory": cause_questions(scenes.near)}
    reader = CollisionReader(unit, presence)
    tried: dict[str, dict[str, float]] = {kind: {} for kind in asked}
    for value in THRESHOLDS:
        unit.set_threshold(value)
        read = reader(scenes.noisy)
        for kind, questions in asked.items():
            tried[kind][f"{value:g}"] = round(score(read, questions)[kind]["per_option"], 5)
    best = {kind: float(max(found, key=lambda v: (found[v], float(v)))) for kind, found in tried.items()}
    unit.set_threshold(best["explanatory"])
    return {"thresholds": best, "tried": tried}


def seen_questions(near: Sequence[Scene], seed: int = 0, num_each: int = 4) -> list[Question]:
    """Descriptive questions about true scenes with the answers of the plain executor; what it refuses is left out.

    They serve to choose settings where no question of a test may be looked at.

    Args:
        near: true scenes.
        seed: of the draws.
        num_each: drawn for a scene.
    """
    generator = np.random.default_rng([19, seed])
    questions = [descriptive_question(scene, generator) for scene in near for _ in range(num_each)]
    said, _ = execute(near, questions)
    return [replace(one, answer=a) for one, (a,) in zip(questions, said, strict=True) if a is not None]
