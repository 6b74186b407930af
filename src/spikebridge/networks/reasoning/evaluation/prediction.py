"""Scores of predicted collisions against the true ones of the same videos."""

from collections.abc import Sequence
from pathlib import Path

import spikebridge
from spikebridge.errors import DataError
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.events import predictor
from spikebridge.networks.reasoning.events.predictor import Prediction
from spikebridge.training.run.run import Run

SHIPPED = Path(spikebridge.__file__).parent / "pretrained" / "reasoning_predictor"
_MAX_FRAMES = 5  # between a predicted and a true collision


def evaluate_prediction(scenes: Sequence[Scene], first: int) -> dict[str, float]:
    """The scores of the shipped prediction unit, which sees each scene until the frame `first`.

    Raises `DataError` where no scene reaches that frame, or none has a collision to compare with.
    """
    if max(predictor.last_frames(scenes, first)) < 0:
        raise DataError(f"no scene has a sample shortly before frame {first} to predict from; choose an earlier frame")

    unit = predictor.load_predictor(Run.open(SHIPPED))
    return prediction_scores(scenes, predictor.predict_collisions(unit, scenes, first), first)


def prediction_scores(scenes: Sequence[Scene], predictions: Sequence[Prediction], first: int) -> dict[str, float]:
    """F1 of pairs, F1 of pairs within 5 frames, precision and recall of pairs.

    True collisions are those of `truth`, where a scene has it, else those of the scene; objects are matched by their
    three values. Raises `DataError` where no scene has a collision to compare with.
    """
    if not any(len(_reference(scene).collisions) for scene in scenes):
        raise DataError("expected scenes with true collisions to compare with, but none of them has any")

    num_predicted = 0
    num_true = 0
    hits = 0
    timely = 0
    for scene, prediction in zip(scenes, predictions, strict=True):
        reference = _reference(scene)
        true = _frames_of_pairs(reference, reference.collisions.tolist())
        true = {pair: frame for pair, frame in true.items() if first <= frame < first + predictor.HORIZON}
        predicted = _frames_of_pairs(scene, prediction.collisions.tolist())
        num_predicted += len(predicted)
        num_true += len(true)
        errors = [abs(frame - true[pair]) for pair, frame in predicted.items() if pair in true]
        hits += len(errors)
        timely += sum(error <= _MAX_FRAMES for error in errors)

    return {
        "f1_pairs": _share(2 * hits, num_predicted + num_true),
        "f1_5_frames": _share(2 * timely, num_predicted + num_true),
        "precision": _share(hits, num_predicted),
        "recall": _share(hits, num_true),
    }


def _reference(scene: Scene) -> Scene:
    return scene if scene.truth is None else scene.truth


def _frames_of_pairs(scene: Scene, rows: Sequence[list[int]]) -> dict[frozenset[tuple[str, str, str]], int]:
    """The first frame of each pair of objects."""
    return {frozenset((scene.objects[a], scene.objects[b])): frame for frame, a, b in sorted(rows, reverse=True)}


def _share(part: int, whole: int) -> float:
    """A share; 0 where there is nothing to share."""
    return round(part / whole, 5) if whole else 0.0
