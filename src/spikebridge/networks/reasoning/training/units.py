"""Trains the collision unit and the presence unit, each alone on its own objective (way 2), and chooses thresholds.

The thresholds are chosen on validation videos. A missed collision breaks a chain of causes, a false one rarely does; an
answer that counts is wrong with either. So the spike of the collision unit has one threshold for explanatory questions
and one for all others.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from spikebridge.hybrid import HybridUnit
from spikebridge.networks.reasoning.data.scene import Question, Scene
from spikebridge.networks.reasoning.events.collision_inputs import (
    FRAMES_PER_SAMPLE,
    CandidatePairs,
    candidate_pairs,
    mirrored,
)
from spikebridge.networks.reasoning.events.collision_unit import CollisionUnit, FixedCollisionUnit
from spikebridge.networks.reasoning.events.presence_unit import PresenceUnit, track_signals
from spikebridge.networks.reasoning.events.reader import CollisionReader, detect_collisions
from spikebridge.networks.reasoning.executor import execute
from spikebridge.networks.reasoning.scores import score
from spikebridge.networks.reasoning.simulation.questions import descriptive_question
from spikebridge.networks.reasoning.training.labels import (
    UNKNOWN,
    SceneSet,
    cause_questions,
    collision_labels,
    presence_labels,
)
from spikebridge.training.batches import Batches
from spikebridge.training.phase import WHOLE, Phase

THRESHOLDS = (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0)  # candidates of the collision spike, log-odds
_NUM_QUESTIONS = 4  # descriptive ones about each scene
# largest distance [px] and smallest acceleration [px/sample] of the fixed unit
_RULES = tuple(product((16.0, 18.0, 20.0, 22.0), (0.2, 0.3, 0.5, 0.8)))


def collision_phase(scenes: SceneSet, epochs: int, lr: float, jitter: float) -> Phase:
    """The training phase of the collision unit: candidate pairs of perceived scenes, labels of the references."""
    pairs = candidate_pairs(scenes.perceived)
    labels = collision_labels(pairs, scenes)
    # a pair that the reference does not have may collide or not
    labeled = torch.nonzero(labels != UNKNOWN).squeeze(1)
    signals = {name: getattr(pairs, name)[:, labeled] for name in ("places", "visible", "third")}
    data = Batches(
        {**signals, "kinds": pairs.kinds[labeled], "labels": labels[labeled]},
        batch={**dict.fromkeys(signals, 1), "kinds": 0, "labels": 0},
    )
    return _phase("collision unit", partial(collision_objective, jitter=jitter), data, epochs, lr)


def presence_phase(scenes: SceneSet, epochs: int, lr: float) -> Phase:
    """The training phase of the presence unit: objects of perceived scenes, labels of the references."""
    labels = presence_labels(scenes)
    labeled = torch.nonzero(~labels[..., 0].isnan().any(0)).squeeze(1)
    tensors = {"tracks": track_signals(scenes.perceived)[:, labeled], "labels": labels[:, labeled]}
    return _phase("presence unit", _presence_objective, Batches(tensors, batch={"tracks": 1, "labels": 1}), epochs, lr)


def _phase(name: str, objective: Callable[..., Any], data: Batches, epochs: int, lr: float) -> Phase:
    return Phase(
        name,
        train=WHOLE,
        objective=objective,
        epochs=epochs,
        optimizer=partial(torch.optim.AdamW, lr=lr, weight_decay=0.02),
        scheduler=partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=lr, total_steps=epochs + 1),
        clip=1.0,
        data=data,
    )


def collision_objective(
    unit: CollisionUnit, batch: dict[str, Tensor], *, jitter: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy over "at sample t" and "never", on augmented pairs."""
    scores = unit.scores(augmented(batch, jitter), orders=1)
    labels = batch["labels"]
    hits = ((scores.argmax(1) < scores.shape[1] - 1) == (labels >= 0)).float().mean()

    return collision_time_loss(scores, labels), {"accuracy": hits}


def collision_time_loss(scores: Float[Tensor, "B T2"], labels: Float[Tensor, "B"]) -> Tensor:
    """Cross-entropy with labels that are frames, or below 0 for never."""
    logs = scores.log_softmax(1)
    # a frame between two samples is split between them, so that the expectation over samples is the frame
    sample = (labels.clamp(min=0) / FRAMES_PER_SAMPLE).clamp(max=scores.shape[1] - 2)
    before = sample.floor().long().clamp(max=scores.shape[1] - 3)
    share = sample - before
    rows = torch.arange(len(labels))
    collides = -(logs[rows, before] * (1 - share) + logs[rows, before + 1] * share)

    return torch.where(labels >= 0, collides, -logs[:, -1]).mean()


def augmented(batch: dict[str, Tensor], jitter: float) -> CandidatePairs:
    """Data augmentation of pairs: random mirroring, order of the objects and position noise."""
    size = len(batch["kinds"])
    # the mirror image of a collision is one, and so is the same pair in the other order
    turned, swapped = torch.rand(2, size) < 0.5
    places = torch.where(turned[:, None, None], mirrored(batch["places"]), batch["places"])
    places = places + jitter * torch.rand(size, 1, 1) * torch.randn_like(places)
    none = torch.zeros(size, dtype=torch.long)

    return CandidatePairs(
        places=torch.where(swapped[:, None, None], places.flip(2), places),
        visible=torch.where(swapped[:, None], batch["visible"].flip(2), batch["visible"]),
        third=torch.where(swapped[:, None], batch["third"].flip(2), batch["third"]),
        kinds=torch.where(swapped[:, None, None], batch["kinds"].flip(1), batch["kinds"]),
        scene=none,
        objects=none,
    )


def _presence_objective(unit: PresenceUnit, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    stages, _ = unit.stages(batch["tracks"])
    scores = stages.nonlinearity[0, 0]
    labels = batch["labels"].permute(1, 2, 0)
    is_labeled = ~labels.isnan()
    loss = F.binary_cross_entropy_with_logits(scores, labels.nan_to_num(), weight=is_labeled.float(), reduction="none")
    hits = ((scores > 0) == (labels > 0.5))[is_labeled].float().mean()

    return loss.sum((0, 2)).div(is_labeled.sum((0, 2)).clamp(min=1)).sum(), {"accuracy": hits}


def choose_rule(scenes: Sequence[Scene], questions: Sequence[Question]) -> dict[str, float]:
    """The two limits of the rule with the most correct choices on validation videos."""
    accuracy: dict[tuple[float, float], float] = {}
    for limits in _RULES:
        read = CollisionReader(FixedCollisionUnit(*limits))(scenes)
        accuracy[limits] = score(read, questions)["explanatory"]["per_option"]

    near, jolt = max(accuracy, key=lambda limits: accuracy[limits])

    return {"near": near, "jolt": jolt}


def detection_scores(unit: HybridUnit, scenes: SceneSet) -> dict[str, float]:
    """Recall and precision of the collisions that a unit detects, and the timing of the hits [frames]."""
    pairs = candidate_pairs(scenes.perceived)
    labels = collision_labels(pairs, scenes)
    spikes, frames, _ = detect_collisions(unit, pairs)
    detected = spikes & (labels != UNKNOWN)
    collides = labels >= 0
    # late: off by more than half a sample
    error = (frames - labels)[detected & collides].abs()

    return {
        "recall": _mean(detected[collides].float()),
        "precision": _mean(collides[detected].float()),
        "timing_frames": _mean(error),
        "late": _mean((error > FRAMES_PER_SAMPLE / 2).float()),
    }


def _mean(values: Tensor) -> float:
    return float(values.mean()) if len(values) else float("nan")


def threshold_kind(kind: str) -> str:
    """The kind of question whose threshold applies to a kind of question."""
    return "explanatory" if kind == "explanatory" else "descriptive"


def choose_thresholds(unit: CollisionUnit, presence: PresenceUnit, scenes: SceneSet) -> dict[str, Any]:
    """Chooses the threshold with the most correct options for each kind of question; sets that for causes."""
    questions = {
        "descriptive": _descriptive_questions(scenes.reference),
        "explanatory": cause_questions(scenes.reference),
    }
    reader = CollisionReader(unit, presence)
    tried: dict[str, dict[str, float]] = {kind: {} for kind in questions}

    for value in THRESHOLDS:
        unit.set_threshold(value)
        read = reader(scenes.perceived)
        for kind, of_kind in questions.items():
            tried[kind][f"{value:g}"] = round(score(read, of_kind)[kind]["per_option"], 5)

    # of equal thresholds the highest: it reports fewer collisions
    best = {kind: float(max(accuracy, key=lambda v: (accuracy[v], float(v)))) for kind, accuracy in tried.items()}
    unit.set_threshold(best["explanatory"])

    return {"thresholds": best, "tried": tried}


def _descriptive_questions(scenes: Sequence[Scene]) -> list[Question]:
    generator = np.random.default_rng([19, 0])
    questions = [descriptive_question(scene, generator) for scene in scenes for _ in range(_NUM_QUESTIONS)]
    # a question that the executor refuses has no answer to compare with
    answers, _ = execute(scenes, questions)

    return [replace(one, answer=a) for one, (a,) in zip(questions, answers, strict=True) if a is not None]
