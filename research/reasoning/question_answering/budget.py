"""Error budget: perceived scenes with one part at a time from near truth."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.events.events import tracks_of
from spikebridge.networks.reasoning.events.presence_unit import with_presence

Repair = Callable[[Scene, Scene], Scene]


def truth_in(noisy: Scene, near: Scene) -> Scene:
    """The near-truth scene with the objects of the perceived scene, in their order; unknown ones are never visible."""
    place = {triple: i for i, triple in enumerate(noisy.objects)}
    index = np.array([place.get(triple, -1) for triple in near.objects], dtype=np.int64)
    positions = np.full((len(near.frames), noisy.num_objects, 2), np.nan)
    is_matched = index >= 0
    positions[:, index[is_matched]] = near.positions[:, is_matched]
    rows = near.collisions
    rows = rows[(index[rows[:, 1:]] >= 0).all(1)] if len(rows) else rows
    rows = np.concatenate([rows[:, :1], index[rows[:, 1:]]], 1) if len(rows) else rows

    return replace(noisy, frames=near.frames, positions=positions, collisions=rows, collision_scores=None, moving=None)


def _first_frames(scene: Scene) -> dict[frozenset[int], int]:
    first: dict[frozenset[int], int] = {}
    for frame, a, b in scene.collisions.tolist():
        pair = frozenset((a, b))
        first[pair] = min(frame, first.get(pair, frame))

    return first


def _rows(frames: dict[frozenset[int], int]) -> np.ndarray:
    rows = sorted((frame, *sorted(pair)) for pair, frame in frames.items())
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def missed_added(noisy: Scene, near: Scene) -> Scene:
    """The scene with the collisions that were missed."""
    return noisy.with_collisions(_rows({**_first_frames(truth_in(noisy, near)), **_first_frames(noisy)}))


def false_removed(noisy: Scene, near: Scene) -> Scene:
    """The scene without the collisions that did not happen."""
    true = _first_frames(truth_in(noisy, near))
    return noisy.with_collisions(_rows({p: f for p, f in _first_frames(noisy).items() if p in true}))


def timing_true(noisy: Scene, near: Scene) -> Scene:
    """The scene with true frames of the detected collisions."""
    true = _first_frames(truth_in(noisy, near))
    return noisy.with_collisions(_rows({p: true.get(p, f) for p, f in _first_frames(noisy).items()}))


def collisions_true(noisy: Scene, near: Scene) -> Scene:
    """The scene with all true collisions."""
    return noisy.with_collisions(truth_in(noisy, near).collisions)


def presence_true(noisy: Scene, near: Scene) -> Scene:
    """The scene with true entrances, exits and positions."""
    true = truth_in(noisy, near)
    return replace(noisy, frames=true.frames, positions=true.positions, moving=None)


def visibility_true(noisy: Scene, near: Scene) -> Scene:
    """The scene with true entrances and exits; positions and motion are the perceived ones."""
    true = truth_in(noisy, near)
    return with_presence(noisy, true.visible, noisy.moving) if np.array_equal(true.frames, noisy.frames) else noisy


def motion_true(noisy: Scene, near: Scene) -> Scene:
    """The scene with the true motion of perceived objects."""
    true = truth_in(noisy, near)
    if not np.array_equal(true.frames, noisy.frames):
        return noisy

    perceived = tracks_of([noisy]).moving[0]
    return replace(noisy, moving=np.where(true.visible, tracks_of([true]).moving[0], perceived))


def both_true(noisy: Scene, near: Scene) -> Scene:
    """The scene with true collisions, entrances, exits and positions; only the values of objects are perceived."""
    return collisions_true(presence_true(noisy, near), near)


def all_true(noisy: Scene, near: Scene) -> Scene:
    """The true scene; predicted and counterfactual collisions are kept, by the values of the objects."""
    place = {triple: i for i, triple in enumerate(near.objects)}
    index = [place.get(triple, -1) for triple in noisy.objects]
    what_if = {
        index[removed]: _renumbered(rows, index) for removed, rows in noisy.what_if.items() if index[removed] >= 0
    }

    return replace(near, predicted=_renumbered(noisy.predicted, index), what_if=what_if)


def _renumbered(rows: np.ndarray, index: list[int]) -> np.ndarray:
    kept = [(f, index[a], index[b]) for f, a, b in rows.tolist() if index[a] >= 0 and index[b] >= 0]
    return np.array(kept, dtype=np.int64).reshape(-1, 3)


# The parts that are taken from near truth; the last row is the ceiling.
REPAIRS: dict[str, Repair] = {
    "as it is": lambda noisy, near: noisy,
    "missed collisions added": missed_added,
    "false collisions removed": false_removed,
    "true timing": timing_true,
    "true collisions": collisions_true,
    "true entrances and exits": visibility_true,
    "true motion": motion_true,
    "true entrances, exits and places": presence_true,
    "true collisions, entrances, exits and places": both_true,
    "all true": all_true,
}
