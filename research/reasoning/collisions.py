"""Fixed and learned collision units, and the learned one without each of its parts.

    python research/reasoning/collisions.py --epochs 10 --videos 1500 --seeds 3 [--rows "two heads" ...]

All are trained on the same real videos without a real question, with the same seeds, epochs and rates; their thresholds
are chosen on the same 400 validation videos, and they answer the same 442 real questions. Further rows are the rule,
the collisions of the scene file, and near truth. Entrances and exits are those of the scenes everywhere. The full unit
has fewer videos and epochs than the shipped one, and a row differs from `full` only as its name says. Rows that are not
chosen keep their results.

| row | differs from `full` in |
|---|---|
| no thirds | no distances to third objects |
| no kinds | no material and shape |
| no motion | positions only: no velocities, no accelerations |
| no augmentation | no mirroring, no jitter, pairs in one order |
| one order | the scores of one order of a pair, not the mean of both |
| two heads | separate heads for collision and frame, loss 5 cross-entropy + squared error, as published |
| loss weight 1 | the same with weight 1 |
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from research.reasoning.graphs.published_graph import published, score_form
from spikebridge.data.catalog import find_files
from spikebridge.hybrid import HybridUnit
from spikebridge.networks.reasoning.data.clevrer_questions import read_questions
from spikebridge.networks.reasoning.data.scene import Question, Scene
from spikebridge.networks.reasoning.events.collision_inputs import NUM_CHANNELS, NUM_SAMPLES, CandidatePairs
from spikebridge.networks.reasoning.events.collision_unit import (
    CollisionUnit,
    FixedCollisionUnit,
    Residual,
    TemporalConvolution,
    expected_frame,
    log_odds,
)
from spikebridge.networks.reasoning.events.reader import CollisionReader
from spikebridge.networks.reasoning.scores import score
from spikebridge.networks.reasoning.training.labels import SceneSet, Split, cause_questions, real_split
from spikebridge.networks.reasoning.training.units import (
    THRESHOLDS,
    augmented,
    choose_rule,
    collision_objective,
    collision_phase,
    collision_time_loss,
    detection_scores,
)
from spikebridge.training import Settings, fit
from spikebridge.training.run.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "collisions.json"
OWN = 13  # channels of one object
MOTION = [c + OWN * o for o in (0, 1) for c in (2, 3, 4, 5)] + [29, 30]
THIRDS = [7, 7 + OWN]
KINDS = [c + OWN * o for o in (0, 1) for c in range(8, 13)]


class Ablated(CollisionUnit):
    """The collision unit without some of its channels, or with only the first order of a pair."""

    mask: Tensor

    def __init__(self, channels: list[int], orders: int = 2) -> None:
        super().__init__()
        self.register_buffer(
            "mask", torch.ones(NUM_CHANNELS).index_fill(0, torch.tensor(channels, dtype=torch.long), 0)
        )
        self.orders = orders

    def stages(self, x: Tensor, *arguments: Any, **options: Any) -> Any:
        """The stages from masked channels."""
        return super().stages(x[:, :, : self.orders] * self.mask, *arguments, **options)


class TwoHeads(nn.Module):
    """Two numbers, the odds of a collision and its sample, as scores of all samples and of never."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*(Residual(num_features, dilation, 0.0) for dilation in (1, 2, 4, 1)))
        self.heads = nn.Sequential(
            nn.Linear(2 * num_features + NUM_SAMPLES, num_features), nn.SiLU(), nn.Linear(num_features, 2)
        )
        self.track = nn.Conv2d(num_features, 1, 1)

    def forward(self, h: Tensor) -> Tensor:
        """Scores `(B, T + 1)` from features `(B, V, F, T)`."""
        rows = self.body(h.flatten(0, 1).unsqueeze(2).contiguous(memory_format=torch.channels_last))
        pooled = torch.cat([rows.mean(-1), rows.amax(-1)], 1).squeeze(-1)
        outputs = self.heads(torch.cat([pooled, self.track(rows)[:, 0, 0]], 1)).unflatten(0, h.shape[:2]).mean(1)
        collide = outputs[:, :1]
        when = NUM_SAMPLES * outputs[:, 1:].sigmoid()
        # a bell of half a sample around the predicted one
        bump = -((torch.arange(NUM_SAMPLES, device=h.device) - when) ** 2) / 0.5

        return torch.cat([collide + bump.log_softmax(1), torch.zeros_like(collide)], 1)


class TwoHeadedUnit(CollisionUnit):
    """The collision unit with the two published heads."""

    def __init__(self, num_features: int = 48) -> None:
        super().__init__(num_features)
        self.kernel = TemporalConvolution(NUM_CHANNELS, num_features)
        self.nonlinearity = TwoHeads(num_features)


def two_heads_objective(
    unit: CollisionUnit, batch: dict[str, Tensor], *, jitter: float, weight: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """`weight` times the cross-entropy of the collision, plus the squared error of its sample."""
    scores = unit.scores(augmented(batch, jitter), orders=1)
    labels = batch["labels"]
    collides = (labels >= 0).float()
    error = collides * ((expected_frame(scores) - labels) / 5) ** 2
    entropy = F.binary_cross_entropy_with_logits(log_odds(scores), collides)

    return weight * entropy + error.sum() / collides.sum().clamp(min=1), {}


def plain_objective(unit: CollisionUnit, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The default loss without data augmentation."""
    none = torch.zeros(len(batch["labels"]), dtype=torch.long)
    signals = {name: batch[name] for name in ("places", "visible", "third", "kinds")}
    scores = unit.scores(CandidatePairs(**signals, scene=none, objects=none), orders=1)

    return collision_time_loss(scores, batch["labels"]), {}


JITTERED = partial(collision_objective, jitter=0.3)
ROWS: dict[str, tuple[Callable[[], CollisionUnit], Callable[..., Any]]] = {
    "full": (CollisionUnit, JITTERED),
    "no thirds": (partial(Ablated, THIRDS), JITTERED),
    "no kinds": (partial(Ablated, KINDS), JITTERED),
    "no motion": (partial(Ablated, MOTION), JITTERED),
    "no augmentation": (CollisionUnit, plain_objective),
    "one order": (partial(Ablated, [], orders=1), JITTERED),
    "two heads": (TwoHeadedUnit, partial(two_heads_objective, jitter=0.3, weight=5.0)),
    "loss weight 1": (TwoHeadedUnit, partial(two_heads_objective, jitter=0.3, weight=1.0)),
}


def train_row(name: str, scenes: SceneSet, epochs: int, seed: int) -> CollisionUnit:
    """The trained unit of a row."""
    make, objective = ROWS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unit = make()

    phase = replace(collision_phase(scenes, epochs, 3e-3, 0.3), objective=objective)
    fit(unit, [phase], settings=Settings(seed=seed, batch_size=256, accelerator="cpu", quiet=True))

    return unit.eval()


def accuracy(scenes: list[Scene], real: list[Question]) -> dict[str, float]:
    """Shares of correct options and questions."""
    shares = score(scenes, real)["explanatory"]
    return {name: round(shares[name], 5) for name in ("per_option", "per_question")}


def score_unit(unit: HybridUnit, split: Split, real: list[Question]) -> dict[str, float]:
    """Scores of detection and of answers on the videos of the real questions."""
    return {**detection_scores(unit, split.test), **accuracy(CollisionReader(unit)(split.test.perceived), real)}


def set_best_threshold(unit: CollisionUnit, split: Split, questions: list[Question]) -> float:
    """Sets the threshold with the best answers on validation videos, and gives it."""
    accuracies = {}
    for value in THRESHOLDS:
        unit.set_threshold(value)
        scenes = CollisionReader(unit)(split.validation.perceived)
        accuracies[value] = score_form(scenes, questions, published())["explanatory"]["per_option"]

    # of several best thresholds the largest
    best = max(accuracies, key=lambda value: (accuracies[value], value))
    unit.set_threshold(best)

    return best


def main() -> None:
    """Trains every row, and writes its results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--videos", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    options = parser.parse_args()
    split = real_split(400, 0)
    train = SceneSet(*(part[: options.videos] for part in split.train))
    questions = cause_questions(split.validation.reference)
    path = next(path for path in find_files("clevrer") if path.name == "questions_explanatory_real.jsonl.gz")
    real = read_questions(path)
    rule = choose_rule(split.validation.perceived, questions)
    how = {"epochs": options.epochs, "videos": len(train.perceived)}

    rows: dict[str, Any] = {
        "baked": accuracy(split.test.perceived, real),
        "near truth": accuracy(split.test.reference, real),
        "fixed": {**rule, **score_unit(FixedCollisionUnit(rule["near"], rule["jolt"]), split, real)},
    }

    measured = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"how": how, "rows": {}}
    if measured["how"] != how:
        parser.error(f"{RESULTS} was measured with {measured['how']}; move it away, or use the same settings")

    rows |= {name: measured["rows"][name] for name in ROWS if name in measured["rows"]}
    for name in options.rows:
        runs = []
        for seed in range(options.seeds):
            unit = train_row(name, train, options.epochs, seed)
            threshold = set_best_threshold(unit, split, questions)
            runs.append({"threshold": threshold, **score_unit(unit, split, real)})

        rows[name] = {
            key: {"mean": round(fmean(run[key] for run in runs), 5),
                  "sd": round(stdev(run[key] for run in runs), 5) if len(runs) > 1 else None}
            for key in runs[0]
        }  # fmt: skip

        rows[name] |= {"seeds": options.seeds, "git_revision": describe_environment()["git_revision"]}
        print(name, rows[name], flush=True)
        RESULTS.write_text(
            json.dumps({"how": how, "rows": rows, "environment": describe_environment()}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
