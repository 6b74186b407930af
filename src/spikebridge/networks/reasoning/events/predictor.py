"""Predicts collisions from the tracks of scenes until a frame, with a prediction unit."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from spikebridge.hybrid import HybridUnit
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.events.collision_inputs import FRAMES_PER_SAMPLE
from spikebridge.networks.reasoning.events.collision_unit import log_odds
from spikebridge.networks.reasoning.events.prediction_inputs import past_of
from spikebridge.networks.reasoning.events.prediction_unit import PredictionUnit
from spikebridge.training.run.run import Run

HORIZON = 32  # frames in which collisions are predicted
_BATCH_SIZE = 256  # more scenes take more memory and are not faster


class Prediction(NamedTuple):
    """Predicted collisions of a scene in order of time, their probabilities, and that of no collision at all."""

    collisions: Int[np.ndarray, "C 3"]
    scores: Float[np.ndarray, "C"]
    none: float


def load_predictor(run: Run) -> PredictionUnit:
    """The prediction unit of a run, in eval mode."""
    unit = PredictionUnit(int(run.config["num_features"]))
    run.load_weights(unit)

    return unit.eval()


def predict_collisions(unit: HybridUnit, scenes: Sequence[Scene], first: int) -> list[Prediction]:
    """The collisions of each scene in the frames from `first` on; none where no sample lies shortly before it."""
    predictions = [Prediction(np.zeros((0, 3), dtype=np.int64), np.zeros(0), 1.0)] * len(scenes)
    last = last_frames(scenes, first)
    numbers = [i for i, frame in enumerate(last) if frame >= 0]

    for start in range(0, len(numbers), _BATCH_SIZE):
        part = numbers[start : start + _BATCH_SIZE]
        found = _predict(unit, [scenes[i] for i in part], [last[i] for i in part], first)
        for i, prediction in zip(part, found, strict=True):
            predictions[i] = prediction

    return predictions


def last_frames(scenes: Sequence[Scene], first: int) -> list[int]:
    """The frame of the last sample of each scene before a frame; -1 where there is none shortly before it."""
    last = [int(scene.frames[scene.frames < first].max(initial=-1)) for scene in scenes]
    return [frame if frame >= first - FRAMES_PER_SAMPLE else -1 for frame in last]


def _predict(unit: HybridUnit, scenes: Sequence[Scene], last: Sequence[int], first: int) -> list[Prediction]:
    past = past_of(scenes, last)
    with torch.no_grad():
        stages, _ = unit.stages(past.samples)

    spikes, after = stages.discretizer[0, 0].unbind(-1)
    scores = log_odds(stages.nonlinearity[0, 0]).sigmoid().double().numpy()
    frames = (after.round().long() + torch.tensor(last).unsqueeze(1)).clamp(first, first + HORIZON - 1).numpy()
    most = past.objects.shape[1]
    pairs = past.objects[:, torch.triu_indices(most, most, 1)].numpy()

    predictions = []
    for b in range(len(scenes)):
        fired = np.flatnonzero(spikes[b].numpy() > 0.5)
        in_time = fired[np.argsort(frames[b, fired], kind="stable")]
        rows = np.column_stack([frames[b, in_time], pairs[b][:, in_time].T])
        predictions.append(Prediction(rows, scores[b, in_time], float(np.prod(1 - scores[b]))))

    return predictions
