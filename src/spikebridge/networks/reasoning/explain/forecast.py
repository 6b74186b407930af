"""The answer to "What will happen next?": the collisions to come, each with its confidence.

A scene is continued by the prediction unit. A video has been continued by the simulation that perceived it; there the
confidence is that of the perceived objects.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikebridge.errors import DataError
from spikebridge.hybrid import HybridUnit
from spikebridge.networks.reasoning.data.scene import NUM_OBSERVED_FRAMES, Scene
from spikebridge.networks.reasoning.events.predictor import HORIZON, Prediction, predict_collisions
from spikebridge.networks.reasoning.explain.ask import Observation
from spikebridge.networks.reasoning.explain.labels import object_labels

_ASKS = re.compile(
    r"what (will|is going to|is about to|could|might|would)? ?happens? (next|then|after.*|in the future)"
)


def asks_for_future(question: str) -> bool:
    """True for "What will happen next?" in its usual forms."""
    words = re.sub(r"[^a-z ]+", " ", question.lower().replace("'s ", " is "))
    return _ASKS.fullmatch(" ".join(words.split())) is not None


@dataclass(frozen=True, eq=False)
class Forecast:
    """The collisions of a scene to come, from a frame on."""

    scene: Scene
    first: int
    prediction: Prediction

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        labels = object_labels(self.scene)
        rows = zip(self.prediction.collisions.tolist(), self.prediction.scores.tolist(), strict=True)
        collisions = [
            {"objects": [labels[a], labels[b]], "frame": frame, "confidence": round(score, 4)}
            for (frame, a, b), score in rows
        ]
        return {
            "kind": "predictive",
            "frames": [self.first, self.first + HORIZON - 1],
            "collisions": collisions,
            "no_collision": round(self.prediction.none, 4),
        }

    def text(self) -> str:
        """Text, one line for each collision."""
        plain = self.as_dict()
        first, last = plain["frames"]
        if not plain["collisions"]:
            return f"no collision in frames {first} to {last}  (confidence {plain['no_collision']:.2f})"

        return "\n".join(
            f"{' and '.join(row['objects'])} collide, frame {row['frame']}  (confidence {row['confidence']:.2f})"
            for row in plain["collisions"]
        )


def forecast(observation: Observation, unit: HybridUnit) -> Forecast:
    """The collisions after the last sample of a scene; raises `DataError` for one from which nothing can be read."""
    scene = observation.scene
    if observation.pictures is not None:
        rows = scene.predicted[scene.predicted[:, 0] < NUM_OBSERVED_FRAMES + HORIZON]
        objects = np.ones(scene.num_objects) if scene.attribute_scores is None else scene.attribute_scores.prod(axis=1)
        scores = objects[rows[:, 1:]].prod(axis=1)
        return Forecast(scene, NUM_OBSERVED_FRAMES, Prediction(rows, scores, float(np.prod(1 - scores))))

    if len(scene.frames) < 2 or not scene.num_objects:
        found = f"{scene.num_objects} objects in {len(scene.frames)} samples"
        raise DataError(f"video {scene.video}: motion is read from objects in at least two samples, but it has {found}")

    first = int(scene.frames[-1]) + 1
    return Forecast(scene, first, predict_collisions(unit, [scene], first)[0])
