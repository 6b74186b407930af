"""Claim: a hybrid unit may be learned in several ways (Fig. 1e), on the collisions of the reasoning network.

    python research/claims/units/ways_in_reasoning.py           # writes results/claims/ways_in_reasoning.json
    python research/claims/units/ways_in_reasoning.py --quick   # one seed, a few videos; printed only

The collision unit lies between the tracks of a detector and the neurons of the concept graph. Its neighbours have
nothing that a gradient could train beside it: tracks come from an assignment, the graph's weights from the question. So
to learn with frozen neighbours and to learn with the whole model are the same here, which leaves four ways:

- designed: a rule on distance and acceleration, whose two limits are chosen on validation videos.
- alone: on the signals at both borders, the tracks and the collisions that the graph should get.
- neighbours frozen: from answers alone. The graph counts the spikes of its collision neurons; the unit learns from the
  numbers of collisions of whole videos, and nobody says which objects collide, or when.
- alone, then neighbours frozen: half of the epochs each.

Generated videos; tracks with position noise of 0.5 px, of which one sample in thirty is lost. Then the detector is
exchanged for a worse one, and nothing is trained again.
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


def seen(references: list[Scene], detector: str) -> SceneSet:
    """True scenes, and what a detector sees of them: tracks without collisions."""
    noise, lost = DETECTORS[detector]
    perceived = []

    for number, scene in enumerate(references):
        generator = np.random.default_rng([7, number])
        positions = scene.positions + generator.normal(0, noise, scene.positions.shape)
        positions[generator.random(positions.shape[:2]) < lost] = np.nan
        perceived.append(Scene(scene.video, scene.objects, scene.frames, positions))

    return SceneSet(perceived, references)


def answers(scenes: SceneSet) -> Batches:
    """The candidate pairs of each video, padded to the same number, and how many collisions it has."""
    pairs = candidate_pairs(scenes.perceived)
    most = int(torch.bincount(pairs.scene).max())
    place = torch.cat([torch.arange(int(n)) for n in torch.bincount(pairs.scene, minlength=len(scenes.perceived))])

    def padded(x: Tensor, axis: int) -> Tensor:
        rows = x.movedim(axis, 0)
        laid = rows.new_zeros(len(scenes.perceived), most, *rows.shape[1:])
        laid[pairs.scene, place] = rows
        return laid

    return Batches(
        {
            **{name: padded(getattr(pairs, name), 1) for name in ("places", "visible", "third")},
            "kinds": padded(pairs.kinds, 0),
            "there": padded(torch.ones(len(pairs.scene)), 0),
            "count": torch.tensor([min(len(scene.collisions), most) for scene in scenes.reference]),
        },
        batch=dict.fromkeys(("places", "visible", "third", "kinds", "there", "count"), 0),
    )


def counting_loss(share: Tensor, count: Tensor) -> Tensor:
    """Negative logarithm of the probability of a number of spikes, one of each pair with its own probability.

    Args:
        share: `(S, M)` probabilities.
        count: `(S,)` true numbers.
    """
    known = F.pad(torch.ones_like(share[:, :1]), (0, share.shape[1]))
    for p in share.split(1, 1):
        known = known * (1 - p) + F.pad(known[:, :-1], (1, 0)) * p

    return -known.gather(1, count[:, None]).clamp(min=1e-6).log().mean()


def answer_objective(unit: CollisionUnit, batch: dict[str, Tensor]) -> Tensor:
    """The loss of the graph's counts; no pair has a label."""
    there = batch["there"].flatten() > 0
    rows = {name: batch[name].flatten(0, 1)[there] for name in ("places", "visible", "third", "kinds")}
    signals = {name: x if name == "kinds" else x.movedim(0, 1) for name, x in rows.items()}
    unlabelled = {**signals, "when": torch.zeros(int(there.sum()))}
    odds = log_odds(unit.scores(augmented(unlabelled, JITTER), orders=1))
    share = torch.zeros(len(there)).masked_scatter(there, odds.sigmoid())

    return counting_loss(share.view_as(batch["there"]), batch["count"])


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
    """Collisions found, and videos whose number of collisions is right, with each detector."""
    found = {}
    for detector, scenes in scored.items():
        numbers = [len(scene.collisions) for scene in CollisionReader(unit)(scenes.perceived)]
        right = [n == len(scene.collisions) for n, scene in zip(numbers, scenes.reference, strict=True)]
        found[detector] = {**detection_scores(unit, scenes), "counts_right": fmean(right)}

    return found


def row_of(way: str, done: list[Results]) -> Results:
    """A way, over seeds; the rule has no seed."""
    found = [one["found"] for one in done]
    return {
        "way": way,
        "seeds": len(found),
        **{
            detector: {name: spread([one[detector][name] for one in found]) for name in found[0][detector]}
            for detector in DETECTORS
        },
        "cpu_s": round(fmean(one["cpu_s"] for one in done), 1),
    }


def run(quick: bool) -> Results:
    """All ways; saved after each training, and a run that was stopped goes on."""
    seeds = 3
    numbers = {"train": 400, "validation": 60, "test": 300}
    epochs = 30
    if quick:
        seeds = 1
        numbers = {"train": 6, "validation": 1, "test": 2}
        epochs = 2

    true = {split: [generate_video(split, k).scene() for k in range(number)] for split, number in numbers.items()}
    train, validation = (seen(true[split], "as in training") for split in ("train", "validation"))
    scored = {detector: seen(true["test"], detector) for detector in DETECTORS}
    found: Results = {"videos": numbers, "epochs": epochs}

    def designed() -> dict[str, dict[str, float]]:
        limits = choose_rule(validation.perceived, cause_questions(validation.reference))
        return scores(FixedCollisionUnit(limits["near"], limits["jolt"]), scored)

    def learned(way: str, seed: int) -> dict[str, dict[str, float]]:
        return scores(trained(way, seed, train, epochs), scored)

    plan: list[tuple[str, int, Callable[[], Any]]] = [("designed", 0, designed)]
    plan += [(way, seed, partial(learned, way, seed)) for seed in range(seeds) for way in WAYS[1:]]

    def rows(done: dict[str, list[Results]]) -> list[Results]:
        return [row_of(name, some) for name, some in done.items()]

    return run_plan(NAME, plan, found, rows, quick)


if __name__ == "__main__":
    main(NAME, __doc__, run)
