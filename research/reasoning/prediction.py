"""Predicted collisions of CLEVRER's validation videos: tracks until frame 95, who collides in frames 96 to 127?

    python research/reasoning/training/predictor.py --seed 0 --out runs/prediction/ann-0      # and seeds 1 and 2
    python research/reasoning/training/predictor.py --seed 0 --out runs/prediction/spiking-0 --kind spiking --epochs 16
    python research/reasoning/prediction.py --runs runs/prediction --baselines

All is chosen on training videos: the last 600 choose the thresholds and distances. The 4000 validation videos are only
scored. A pair counts once, objects that are not perceived count as missed.

| row | who collides |
|---|---|
| nearest | pairs nearer than a distance at frame 95 |
| straight | pairs that come nearer than a distance on straight lines on the table, at the last speed |
| decay | the same with 2 % of the speed lost a frame |
| trees | gradient-boosted trees on the features of these roll-outs |
| ann, spiking | the prediction unit, with either kind of neurons |
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier

from research.reasoning.question_answering.calibration import calibration
from research.reasoning.training.predictor import KINDS, NUM_HELD_OUT, first_frames, training_scenes
from research.reasoning.training.spiking_roll_out import SpikingSteps
from spikebridge.data.catalog import find_files
from spikebridge.networks.reasoning.data.clevrer_scenes import read_scenes
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.events.prediction_inputs import DETECTED, KIND, past_of
from spikebridge.networks.reasoning.events.prediction_unit import PredictionUnit
from spikebridge.networks.reasoning.events.predictor import HORIZON, Prediction, predict_collisions
from spikebridge.networks.reasoning.scores import prediction_scores
from spikebridge.training.run.environment import describe_environment
from spikebridge.training.run.run import Run

RESULTS = Path(__file__).parent / "results" / "prediction.json"
FIRST = 96
TREE_FRAMES = (56, 76, 96)  # first frames of the samples of the trees
DISTANCES = np.arange(0.5, 1.51, 0.1)
PROBABILITIES = np.arange(0.2, 0.71, 0.1)
Predictor = Callable[[Sequence[Scene]], list[Prediction]]


def lines(scene: Scene, first: int, decay: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of objects, their past, and their places in the frames from `first` on, on straight lines."""
    past = past_of([scene], [first - 1])
    seen = past.objects[0] >= 0
    samples = past.samples[:, 0, seen].numpy()
    speed = (samples[-1, :, :2] - samples[-2, :, :2]) / 5
    left = (1 - decay) ** np.arange(1, HORIZON + 1)
    places = samples[-1, :, :2] + np.cumsum(left)[:, None, None] * speed

    return past.objects[0, seen].numpy(), samples, places


def by_distance(scenes: Sequence[Scene], near: float, decay: float | None) -> list[Prediction]:
    """Pairs that come nearer than a distance; without a decay those that are nearer at the start."""
    predictions = []
    for scene in scenes:
        objects, samples, places = lines(scene, FIRST, decay or 0.0)
        rows = []
        for i in range(len(objects)):
            for k in range(i + 1, len(objects)):
                now = np.linalg.norm(samples[-1, i, :2] - samples[-1, k, :2])
                later = np.linalg.norm(places[:, i] - places[:, k], axis=1)
                is_hit = later < near
                if decay is None and now < near:
                    rows.append([FIRST, objects[i], objects[k]])
                elif decay is not None and is_hit.any() and later[0] < now:
                    rows.append([FIRST + int(is_hit.argmax()), objects[i], objects[k]])

        predictions.append(prediction_of(rows, np.ones(len(rows))))

    return predictions


def prediction_of(rows: Sequence[Sequence[int]], scores: np.ndarray) -> Prediction:
    """A prediction from rows of frame, object and object."""
    return Prediction(np.array(rows, dtype=np.int64).reshape(-1, 3), scores, float(np.prod(1 - scores)))


def tree_features(scene: Scene, first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of each pair, its two objects, and the frame of its nearest approach."""
    objects, samples, straight = lines(scene, first, 0.0)
    _, _, slowing = lines(scene, first, 0.02)
    rows = []
    pairs = []
    frames = []
    for i in range(len(objects)):
        for k in range(i + 1, len(objects)):
            past = np.linalg.norm(samples[:, i, :2] - samples[:, k, :2], axis=1)
            ahead = [np.linalg.norm(one[:, i] - one[:, k], axis=1) for one in (straight, slowing)]
            speeds = [np.linalg.norm(samples[-1, o, :2] - samples[-2, o, :2]) for o in (i, k)]
            turns = [np.linalg.norm(samples[-1, o, :2] - 2 * samples[-2, o, :2] + samples[-3, o, :2]) for o in (i, k)]
            others = [o for o in range(len(objects)) if o not in (i, k)]
            third = [
                min([9.0, *(np.linalg.norm(slowing[:, m] - slowing[:, o], axis=1).min() for o in others)])
                for m in (i, k)
            ]
            rows.append(
                [
                    *past[[-1, -2, -4]],
                    past.min(),
                    past.argmin(),
                    *(value for one in ahead for value in (one.min(), one.argmin(), (one < 1).argmax(), one[-1])),
                    *sorted(speeds),
                    *sorted(turns),
                    *third,
                    *(samples[-1, i, KIND:] + samples[-1, k, KIND:]),
                    samples[-4:, i, DETECTED].sum() + samples[-4:, k, DETECTED].sum(),
                    *samples[-1, i, 4:6],
                    *samples[-1, k, 4:6],
                ]
            )
            pairs.append([objects[i], objects[k]])
            frames.append(first + int((ahead[1] < 1).argmax() if ahead[1].min() < 1 else ahead[1].argmin()))

    return np.array(rows), np.array(pairs), np.array(frames)


def tree_samples(scenes: Sequence[Scene]) -> tuple[np.ndarray, np.ndarray]:
    """Features and labels of the pairs of training videos at several frames."""
    features = []
    labels = []
    for scene in scenes:
        until = first_frames(scene)
        for first in TREE_FRAMES:
            rows, pairs, _ = tree_features(scene, first)
            if len(pairs):
                frame = until[pairs[:, 0], pairs[:, 1]]
                is_known = ~np.isnan(frame)
                features.append(rows[is_known])
                labels.append(((frame >= first) & (frame < first + HORIZON))[is_known])

    return np.concatenate(features), np.concatenate(labels)


def by_trees(trees: HistGradientBoostingClassifier, scenes: Sequence[Scene], threshold: float) -> list[Prediction]:
    """Pairs whose probability exceeds a threshold."""
    predictions = []
    for scene in scenes:
        rows, pairs, frames = tree_features(scene, FIRST)
        scores = trees.predict_proba(rows)[:, 1] if len(pairs) else np.zeros(0)
        hit = np.flatnonzero(scores > threshold)
        predictions.append(prediction_of([[frames[h], *pairs[h]] for h in hit], scores[hit]))

    return predictions


def best(tried: Sequence[float], predictor: Callable[[Sequence[Scene], float], list[Prediction]], on: Any) -> float:
    """The value with the highest F1 of pairs on held-out training videos."""
    scores = [prediction_scores(on, predictor(on, value), FIRST)["f1_pairs"] for value in tried]
    return float(tried[int(np.argmax(scores))])


def baselines(training: Sequence[Scene], scored: Sequence[Scene], seeds: int) -> dict[str, Any]:
    """The rows without a prediction unit."""
    held_out = training[-NUM_HELD_OUT:]
    rows: dict[str, Any] = {}
    for name, decay in (("nearest", None), ("straight", 0.0), ("decay", 0.02)):

        def predictor(scenes: Sequence[Scene], near: float, decay: float | None = decay) -> list[Prediction]:
            return by_distance(scenes, near, decay)

        near = best(list(DISTANCES), predictor, held_out)
        rows[name] = {"distance": near, **prediction_scores(scored, predictor(scored, near), FIRST)}

    by_seed = []
    samples = tree_samples(training[:-NUM_HELD_OUT]) if seeds else ()
    for seed in range(seeds):
        trees = HistGradientBoostingClassifier(max_iter=300, learning_rate=0.06, random_state=seed).fit(*samples)
        threshold = best(list(PROBABILITIES), lambda scenes, value, t=trees: by_trees(t, scenes, value), held_out)
        by_seed.append(prediction_scores(scored, by_trees(trees, scored, threshold), FIRST))
    if seeds:
        rows["trees"] = over_seeds(by_seed)

    return rows


def over_seeds(scores: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Mean and standard deviation of each score, and the scores by seed."""
    return {
        name: {
            "mean": round(fmean(row[name] for row in scores), 5),
            "sd": round(stdev(row[name] for row in scores), 5) if len(scores) > 1 else None,
            "seeds": [row[name] for row in scores],
        }
        for name in scores[0]
    }


def load_unit(run: Run) -> PredictionUnit:
    """The prediction unit of a run of either kind."""
    unit = KINDS[str(run.config["kind"])](int(run.config["num_features"]))
    run.load_weights(unit)

    return unit.eval()


def spike_rate(unit: PredictionUnit, scenes: Sequence[Scene]) -> float | None:
    """Spikes of a neuron of the roll-out in a frame, None without spiking neurons."""
    rates: list[float] = []
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, spikes: rates.append(float(spikes.mean())))
        for module in unit.modules()
        if isinstance(module, SpikingSteps)
    ]
    predict_collisions(unit, scenes, FIRST)
    for hook in hooks:
        hook.remove()

    return round(fmean(rates), 4) if rates else None


def confidence(unit: PredictionUnit, scenes: Sequence[Scene]) -> dict[str, Any]:
    """Calibration of the probabilities of the pairs that are predicted."""
    probabilities: list[float] = []
    is_right: list[bool] = []
    for scene, prediction in zip(scenes, predict_collisions(unit, scenes, FIRST), strict=True):
        until = first_frames(scene)
        for (_, a, b), score in zip(prediction.collisions.tolist(), prediction.scores.tolist(), strict=True):
            probabilities.append(score)
            is_right.append(bool(FIRST <= until[a, b] < FIRST + HORIZON))

    return calibration(probabilities, is_right)


def main() -> None:
    """Scores all rows, and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=None, help="folder of the runs ann-0, ..., spiking-2")
    parser.add_argument("--baselines", action="store_true", help="measure the other rows too, else they are kept")
    parser.add_argument("--seeds", type=int, default=3, help="of the boosted trees; 0: they are kept")
    options = parser.parse_args()

    _, validation = find_files("clevrer_perceived")
    scored = read_scenes(validation)
    rows = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else {}
    if options.baselines:
        rows |= baselines(training_scenes(), scored, options.seeds)
    for kind in KINDS if options.runs is not None else ():
        runs = [Run.open(path) for path in sorted(options.runs.glob(f"{kind}-*"))]
        units = [load_unit(run) for run in runs]
        scores = [prediction_scores(scored, predict_collisions(unit, scored, FIRST), FIRST) for unit in units]
        if units:
            rows[kind] = {
                **over_seeds(scores),
                "held_out": [run.results()["held_out"]["f1_pairs"] for run in runs],
                "epochs": runs[0].config["epochs"],
                "num_values": sum(values.numel() for values in units[0].parameters()),
                "spikes_a_frame": spike_rate(units[0], scored[:200]),
                "confidence": confidence(units[0], scored),
            }
            print(kind, rows[kind]["f1_pairs"], rows[kind]["f1_5_frames"], flush=True)

    results = {"videos": len(scored), "frames": [FIRST, FIRST + HORIZON - 1], "rows": rows}
    RESULTS.write_text(json.dumps({**results, "environment": describe_environment()}, indent=2) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
