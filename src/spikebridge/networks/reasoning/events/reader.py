"""Reading collisions anew from the trajectories of scenes, with a collision unit, fixed or learned."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spikebridge.hybrid import HybridUnit
from spikebridge.networks.reasoning.data.scene import NUM_OBSERVED_FRAMES, Scene
from spikebridge.networks.reasoning.events.collision_inputs import Pairs, candidate_pairs, signals
from spikebridge.networks.reasoning.events.collision_unit import log_odds
from spikebridge.networks.reasoning.events.presence_unit import PresenceUnit, read_presence

_AT_ONCE = 2048  # pairs: more take more memory and are not faster


class CollisionReader:
    """Gives scenes the observed collisions that a unit reads; what is foreseen or supposed stays as it was.

    A collision is not told before both objects have come into view, nor after the video's end. How sure it is stands
    in `Scene.collision_scores`.

    Args:
        unit: from tracks of pairs to collisions, `CollisionUnit` or `FixedCollisionUnit`.
        presence: reads entrances and exits, too; None keeps those of the scenes.

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
        """The same scenes, in order, with collisions read anew.

        Args:
            scenes: with trajectories.
        """
        pairs = candidate_pairs(scenes)
        spikes, frames, sure = read_pairs(self.unit, pairs)
        placed = list(scenes) if self.presence is None else read_presence(self.presence, scenes)
        found = spikes.numpy()
        rows = np.column_stack([frames.numpy(), pairs.objects.numpy()])[found]
        scores = sure.numpy()[found]
        # pairs stand in the order of their scenes
        cuts = np.searchsorted(pairs.scene.numpy()[found], np.arange(len(placed) + 1))
        return [
            _with_collisions(scene, rows[first:last], scores[first:last])
            for scene, first, last in zip(placed, cuts[:-1], cuts[1:], strict=True)
        ]


def read_pairs(unit: HybridUnit, pairs: Pairs) -> tuple[Bool[Tensor, "P"], Float[Tensor, "P"], Float[Tensor, "P"]]:
    """What a unit says of candidate pairs.

    Args:
        unit: fixed or learned.
        pairs: from `candidate_pairs`.

    Returns:
        Whether they collide, at which frame, and how likely.
    """
    spikes, frames, odds = [torch.zeros(0)], [torch.zeros(0)], [torch.zeros(0)]
    with torch.no_grad():
        for some in torch.arange(len(pairs.scene)).split(_AT_ONCE):
            x = signals(pairs.places[:, some], pairs.visible[:, some], pairs.third[:, some], pairs.kinds[some])
            stages, _ = unit.stages(x)
            spikes.append(stages.discretizer[0, 0, :, 0])
            frames.append(stages.discretizer[0, 0, :, 1])
            odds.append(log_odds(stages.nonlinearity[0, 0]))
    return torch.cat(spikes) > 0.5, torch.cat(frames), torch.cat(odds).sigmoid()


def _with_collisions(scene: Scene, rows: Float[np.ndarray, "C 3"], scores: Float[np.ndarray, "C"]) -> Scene:
    """With frames that are whole, and within what is seen of both objects."""
    whole = np.rint(rows).astype(np.int64)
    if len(whole):
        seen = scene.visible
        begins = np.where(seen.any(0), scene.frames[seen.argmax(0)] if len(seen) else 0, 0)
        earliest = begins[whole[:, 1:]].max(axis=1)
        whole[:, 0] = np.clip(whole[:, 0], earliest.clip(max=NUM_OBSERVED_FRAMES - 1), NUM_OBSERVED_FRAMES - 1)
    order = np.argsort(whole[:, 0], kind="stable")
    return scene.with_collisions(whole[order], scores[order].astype(np.float64))
