"""Detects collisions in the trajectories of scenes with a collision unit, fixed or learned."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spikebridge.hybrid import HybridUnit
from spikebridge.networks.reasoning.data.scene import NUM_OBSERVED_FRAMES, Scene
from spikebridge.networks.reasoning.events.collision_inputs import CandidatePairs, candidate_pairs, signals
from spikebridge.networks.reasoning.events.collision_unit import log_odds
from spikebridge.networks.reasoning.events.presence_unit import PresenceUnit, read_presence

_BATCH_SIZE = 2048  # more pairs take more memory and are not faster


class CollisionReader:
    """Replaces the observed collisions of scenes by those that a unit detects, with their probabilities as scores.

    Without a presence unit, entrances, exits and motion are those of the scenes.
    """

    def __init__(self, unit: HybridUnit, presence: PresenceUnit | None = None) -> None:
        self.unit = unit
        self.presence = presence

    def __call__(self, scenes: Sequence[Scene]) -> list[Scene]:
        """The same scenes, in order, with the collisions that the unit detects."""
        pairs = candidate_pairs(scenes)
        spikes, frames, probabilities = detect_collisions(self.unit, pairs)
        scenes = list(scenes) if self.presence is None else read_presence(self.presence, scenes)
        collides = spikes.numpy()
        rows = np.column_stack([frames.numpy(), pairs.objects.numpy()])[collides]
        scores = probabilities.numpy()[collides]

        # pairs stand in the order of their scenes
        bounds = np.searchsorted(pairs.scene.numpy()[collides], np.arange(len(scenes) + 1))
        return [
            _with_collisions(scene, rows[first:last], scores[first:last])
            for scene, (first, last) in zip(scenes, pairwise(bounds), strict=True)
        ]


def detect_collisions(
    unit: HybridUnit, pairs: CandidatePairs
) -> tuple[Bool[Tensor, "P"], Float[Tensor, "P"], Float[Tensor, "P"]]:
    """The output of a unit for candidate pairs: collisions, their frames, and their probabilities."""
    # an empty part first, so that no pairs give empty tensors
    spikes = [torch.zeros(0)]
    frames = [torch.zeros(0)]
    odds = [torch.zeros(0)]

    with torch.no_grad():
        for part in torch.arange(len(pairs.scene)).split(_BATCH_SIZE):
            x = signals(pairs.places[:, part], pairs.visible[:, part], pairs.third[:, part], pairs.kinds[part])
            stages, _ = unit.stages(x)
            spikes.append(stages.discretizer[0, 0, :, 0])
            frames.append(stages.discretizer[0, 0, :, 1])
            odds.append(log_odds(stages.nonlinearity[0, 0]))

    return torch.cat(spikes) > 0.5, torch.cat(frames), torch.cat(odds).sigmoid()


def _with_collisions(scene: Scene, rows: Float[np.ndarray, "C 3"], scores: Float[np.ndarray, "C"]) -> Scene:
    # the expected frame may lie before both objects are in view, or after the end of the video
    collisions = np.rint(rows).astype(np.int64)
    last = NUM_OBSERVED_FRAMES - 1
    if len(collisions):
        visible = scene.visible
        first_frame = np.where(visible.any(0), scene.frames[visible.argmax(0)] if len(visible) else 0, 0)
        earliest = first_frame[collisions[:, 1:]].max(axis=1)
        collisions[:, 0] = np.clip(collisions[:, 0], earliest.clip(max=last), last)

    order = np.argsort(collisions[:, 0], kind="stable")
    return scene.with_collisions(collisions[order], scores[order].astype(np.float64))
