"""Claim: a hybrid unit may be learned in several ways (Fig. 1e), on the collisions of the reasoning network.

    python research/claims/units/ways_in_reasoning.py           # writes results/ways_in_reasoning.json
    python research/claims/units/ways_in_reasoning.py --quick   # one seed, a few videos; printed only

The collision unit lies between the tracks of a detector and the neurons of the concept graph. No gradient can train its
neighbours: tracks come from an assignment, the graph's weights from the question. So to learn with frozen neighbours
and to learn with the whole model are the same here, which leaves four ways:

- designed: a rule on distance and acceleration, whose two limits are chosen on validation videos.
- alone: on the signals at both borders, the tracks and the collisions that the graph should get.
- neighbours frozen: from answers alone. The graph counts the spikes of its collision neurons; the unit learns from the
  numbers of collisions of whole videos, without the objects that collide and the times.
- alone, then neighbours frozen: half of the epochs each.

Generated videos; tracks with position noise of 0.5 px, of which one sample in thirty is lost. Then the detector is
exchanged for a worse one, without further training.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from research.claims.experiment import Results, main, run_plan, spread
from spikebridge.hybrid import HybridUnit
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.events.collision_inputs import candidate_pairs
from spikebridge.networks.reasoning.events.collision_unit import CollisionUnit, FixedCollisionUnit, log_odds
from spikebridge.networks.reasoning.events.reader import CollisionReader
from spikebridge.networks.reasoning.simulation.video import generate_video
from spikebridge.networks.reasoning.training.labels import SceneSet, cause_questions
from spikebridge.networks.reasoning.training.units import augmented, choose_rule, collision_phase, detection_scores
from spikebridge.training import Phase, Settings, fit
from spikebridge.training.batches import Batches

NAME = "ways_in_reasoning"
WAYS = ("designed", "alone", "neighbours frozen", "alone, then neighbours frozen")
DETECTORS = {"as in training": (0.5, 1 / 30), "exchanged": (1.5, 1 / 10)}
"""Position noise [px], and the share of samples that are lost."""
FEATURES = 16
JITTER = 0.3
LR = 3e-3


def perceived_scenes(references: list[Scene], detector: str) -> SceneSet:
    """True scenes, and scenes as a detector perceives them, tracks without collisions."""
    noise, lost = DETECTORS[detector]
    perceived = []

    for number, scene in enumerate(references):
        generator = np.random.default_rng([7, number])
        positions = scene.positions + generator.normal(0, noise, scene.positions.shape)
        positions[generator.random(positions.shape[:2]) < lost] = np.nan
        perceived.append(Scene(scene.video, scene.objects, scene.frames, positions))

    return SceneSet(perceived, references)


def answers(scenes: SceneSet) -> Batches:
    """The candidate pairs of each video, padded to the same number, and its number of collisions."""
    pairs = candidate_pairs(scenes.perceived)
    numbers = torch.bincount(pairs.scene, minlength=len(scenes.perceived))
    max_pairs = int(numbers.max())
    column = torch.cat([torch.arange(int(number)) for number in numbers])

    def padded(x: Tensor, axis: int) -> Tensor:
        rows = x.movedim(axis, 0)
        table = rows.new_zeros(len(scenes.perceived), max_pairs, *rows.shape[1:])
        table[pairs.scene, column] = rows
        return table

    return Batches(
        {
            **{name: padded(getattr(pairs, name), 1) for name in ("places", "visible", "third")},
            "kinds": padded(pairs.kinds, 0),
            "is_pair": padded(torch.ones(len(pairs.scene)), 0),
            "count": torch.tensor([min(len(scene.collisions), max_pairs) for scene in scenes.reference]),
        },
        batch=dict.fromkeys(("places", "visible", "third", "kinds", "is_pair", "count"), 0),
    )


def counting_loss(share: Tensor, count: Tensor) -> Tensor:
    """Negative logarithm of the probability of a number of spikes, one of each pair with its own probability.

    Args:
        share: probabilities, `(S, M)`.
        count: true numbers, `(S,)`.
    """
    # the distribution of the number of spikes, pair after pair
    distribution = F.pad(torch.ones_like(share[:, :1]), (0, share.shape[1]))
    for p in share.split(1, 1):
        distribution = distribution * (1 - p) + F.pad(distribution[:, :-1], (1, 0)) * p

    return -distribution.gather(1, count[:, None]).clamp(min=1e-6).log().mean()


def answer_objective(unit: CollisionUnit, batch: dict[str, Tensor]) -> Tensor:
    """The loss of the graph's counts, without labels of pairs."""
    is_pair = batch["is_pair"].flatten() > 0
    rows = {name: batch[name].flatten(0, 1)[is_pair] for name in ("places", "visible", "third", "kinds")}
    signals = {name: x if name == "kinds" else x.movedim(0, 1) for name, x in rows.items()}
    odds = log_odds(unit.scores(augmented(signals, JITTER), orders=1))
    share = torch.zeros(len(is_pair)).masked_scatter(is_pair, odds.sigmoid())

    return counting_loss(share.view_as(batch["is_pair"]), batch["count"])


def phases_of(way: str, scenes: SceneSet, epochs: int) -> list[tuple[Phase, int]]:
    """Phases and their batch sizes, in pairs or in videos; the same number of epochs for each way."""

    def alone(length: int) -> tuple[Phase, int]:
        return collision_phase(scenes, length, LR, JITTER), 128

    def from_answers(length: int) -> tuple[Phase, int]:
        phase = collision_phase(scenes, length, LR, JITTER)
        return replace(phase, name="answers", objective=answer_objective, data=answers(scenes)), 16

    half = epochs // 2
    return {
        "alone": [alone(epochs)],
        "neighbours frozen": [from_answers(epochs)],
        "alone, then neighbours frozen": [alone(half), from_answers(epochs - half)],
    }[way]


def trained(way: str, seed: int, scenes: SceneSet, epochs: int) -> CollisionUnit:
    """A learned unit; its threshold stays at even odds."""
    torch.manual_seed(seed)
    unit = CollisionUnit(FEATURES)
    for phase, size in phases_of(way, scenes, epochs):
        fit(unit, [phase], settings=Settings(seed=seed, batch_size=size, accelerator="cpu", quiet=True))

    return unit.eval()


def scores(unit: HybridUnit, scored: dict[str, SceneSet]) -> dict[str, dict[str, float]]:
    """Scores of detected collisions, and the share of videos with the right number of them, with each detector."""
    by_detector = {}
    for detector, scenes in scored.items():
        numbers = [len(scene.collisions) for scene in CollisionReader(unit)(scenes.perceived)]
        is_right = [n == len(scene.collisions) for n, scene in zip(numbers, scenes.reference, strict=True)]
        by_detector[detector] = {**detection_scores(unit, scenes), "counts_right": fmean(is_right)}

    return by_detector


def row_of(way: str, steps: list[Results]) -> Results:
    """A way, over seeds; the rule has no seed."""
    results = [step["result"] for step in steps]
    return {
        "way": way,
        "seeds": len(results),
        **{
            detector: {name: spread([scores[detector][name] for scores in results]) for name in results[0][detector]}
            for detector in DETECTORS
        },
        "cpu_s": round(fmean(step["cpu_s"] for step in steps), 1),
    }


def run(quick: bool) -> Results:
    """Scores of all ways, saved after each training; a stopped run resumes."""
    seeds = 3
    numbers = {"train": 400, "validation": 60, "test": 300}
    epochs = 30
    if quick:
        seeds = 1
        numbers = {"train": 6, "validation": 1, "test": 2}
        epochs = 2

    true = {split: [generate_video(split, k).scene() for k in range(number)] for split, number in numbers.items()}
    train, validation = (perceived_scenes(true[split], "as in training") for split in ("train", "validation"))
    scored = {detector: perceived_scenes(true["test"], detector) for detector in DETECTORS}
    results: Results = {"videos": numbers, "epochs": epochs}

    def designed() -> dict[str, dict[str, float]]:
        limits = choose_rule(validation.perceived, cause_questions(validation.reference))
        return scores(FixedCollisionUnit(limits["near"], limits["jolt"]), scored)

    def learned(way: str, seed: int) -> dict[str, dict[str, float]]:
        return scores(trained(way, seed, train, epochs), scored)

    plan: list[tuple[str, int, Callable[[], Any]]] = [("designed", 0, designed)]
    plan += [(way, seed, partial(learned, way, seed)) for seed in range(seeds) for way in WAYS[1:]]

    def rows(finished: dict[str, list[Results]]) -> list[Results]:
        return [row_of(name, steps) for name, steps in finished.items()]

    return run_plan(NAME, plan, results, rows, quick)


if __name__ == "__main__":
    main(NAME, __doc__, run)
