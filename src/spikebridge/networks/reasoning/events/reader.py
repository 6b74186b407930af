"""Detects collisions in the trajectories of scenes with a collision unit, fixed or learned."""

from collections.abc import Sequence

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
    """Replaces the observed collisions of scenes by those that a unit detects.

    Predicted and counterfactual collisions are kept. A collision is reported no earlier than both objects are in view,
    and no later than the end of the video. Its probability becomes `Scene.collision_scores`.

    Args:
        unit: from tracks of pairs to collisions, `CollisionUnit` or `FixedCollisionUnit`.
        presence: detects entrances, exits and motion; None keeps those of the scenes.

    Example:
        >>> from spikebridge.networks.reasoning.events.collision_unit import FixedCollisionUnit
        >>> objects = [["red", "metal", "cube"], ["blue", "rubber", "sphere"]]
        >>> push = [[5.0 * min(t, 12), 70.0 + 5.0 * max(t - 12, 0)] for t in range(26)]
        >>> track = [[5 * t, [[0, push[t][0], 9.0], [1, push[t][1], 9.0]]] for t in range(26)]
        >>> (scene,) = CollisionReader(FixedCollisionUnit())([Scene.from_lists(1, objects, track, [[99, 0, 1]])])
        >>> scene.collisions.tolist()
        [[60, 0, 1]]
    """

    def __init__(self, unit: HybridUnit, presence: PresenceUnit | None = None) -> None:
        self.unit = unit
        self.presence = presence

    def __call__(self, scenes: Sequence[Scene]) -> list[Scene]:
        """The same scenes, in order, with the collisions that the unit detects.

        Args:
            scenes: with trajectories.
        """
        pairs = candidate_pairs(scenes)
        spikes, frames, probabilities = detect_collisions(self.unit, pairs)
        placed = list(scenes) if self.presence is None else read_presence(self.presence, scenes)
        found = spikes.numpy()
        rows = np.column_stack([frames.numpy(), pairs.objects.numpy()])[found]
        scores = probabilities.numpy()[found]

        # pairs stand in the order of their scenes
        cuts = np.searchsorted(pairs.scene.numpy()[found], np.arange(len(placed) + 1))
        return [
            _with_collisions(scene, rows[first:last], scores[first:last])
            for scene, first, last in zip(placed, cuts[:-1], cuts[1:], strict=True)
        ]


def detect_collisions(
    unit: HybridUnit, pairs: CandidatePairs
) -> tuple[Bool[Tensor, "P"], Float[Tensor, "P"], Float[Tensor, "P"]]:
    """The output of a unit for candidate pairs.

    Args:
        unit: fixed or learned.
        pairs: from `candidate_pairs`.

    Returns:
        Whether each pair collides, the frame, and the probability.
    """
    spikes = [torch.zeros(0)]
    frames = [torch.zeros(0)]
    odds = [torch.zeros(0)]

    with torch.no_grad():
        for some in torch.arange(len(pairs.scene)).split(_BATCH_SIZE):
            x = signals(pairs.places[:, some], pairs.visible[:, some], pairs.third[:, some], pairs.kinds[some])
            stages, _ = unit.stages(x)
            spikes.append(stages.discretizer[0, 0, :, 0])
            frames.append(stages.discretizer[0, 0, :, 1])
            odds.append(log_odds(stages.nonlinearity[0, 0]))

    return torch.cat(spikes) > 0.5, torch.cat(frames), torch.cat(odds).sigmoid()


def _with_collisions(scene: Scene, rows: Float[np.ndarray, "C 3"], scores: Float[np.ndarray, "C"]) -> Scene:
    """The scene with collisions at whole frames, while both objects are in view."""
    whole = np.rint(rows).astype(np.int64)
    if len(whole):
        seen = scene.visible
        begins = np.where(seen.any(0), scene.frames[seen.argmax(0)] if len(seen) else 0, 0)
        earliest = begins[whole[:, 1:]].max(axis=1)
        whole[:, 0] = np.clip(whole[:, 0], earliest.clip(max=NUM_OBSERVED_FRAMES - 1), NUM_OBSERVED_FRAMES - 1)

    order = np.argsort(whole[:, 0], kind="stable")
    return scene.with_collisions(whole[order], scores[order].astype(np.float64))
