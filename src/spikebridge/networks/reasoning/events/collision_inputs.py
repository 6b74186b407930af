"""Inputs of the collision unit: the tracks of two objects on a grid of one sample every five frames.

Gaps of a track are interpolated linearly, with a visibility channel. Further channels are the distance of each object
to the nearest third object (which may cause an impact), material and shape.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from spikebridge.networks.reasoning.data.scene import MATERIALS, SHAPES, Scene

NUM_SAMPLES = 26
FRAMES_PER_SAMPLE = 5
GRID = np.arange(NUM_SAMPLES) * FRAMES_PER_SAMPLE

_MAX_CANDIDATE_DISTANCE = 28.0
"""CandidatePairs that never come nearer than this are no candidates; colliding objects come within 26 [px]."""

HEIGHT = 150.0
"""The mirror image of the second coordinate y is `HEIGHT - y` [px]."""

FAR = 60.0
"""Distances to a third object are clipped here [px]."""
_LIMIT = 8.0


class CandidatePairs(NamedTuple):
    """Candidate pairs of objects of any number of scenes: P pairs, the two objects along the third axis.

    Attributes:
        places: `(T, P, 2, 2)` x and y of both objects, gaps filled.
        visible: `(T, P, 2)` 1 where an object is visible.
        third: `(T, P, 2)` distance to the nearest other object.
        kinds: `(P, 2, 5)` material and shape, one-hot.
        scene: `(P,)` index of the scene.
        objects: `(P, 2)` indices of the objects in their scene.
    """

    places: Tensor
    visible: Tensor
    third: Tensor
    kinds: Tensor
    scene: Tensor
    objects: Tensor


def candidate_pairs(scenes: Sequence[Scene]) -> CandidatePairs:
    """The pairs of objects that come near enough to collide, in the order of the scenes.

    Args:
        scenes: with trajectories.

    Example:
        >>> objects = [["red", "metal", "cube"], ["blue", "rubber", "sphere"], ["red", "rubber", "cube"]]
        >>> places = [[0, 10.0, 10.0], [1, 20.0, 10.0], [2, 100.0, 100.0]]
        >>> pairs = candidate_pairs([Scene.from_lists(1, objects, [[0, places], [5, places]], [])])
        >>> pairs.objects.tolist(), pairs.places[0, 0].tolist()
        ([[0, 1]], [[10.0, 10.0], [20.0, 10.0]])
    """
    columns: list[list[np.ndarray]] = [[] for _ in CandidatePairs._fields]
    for number, scene in enumerate(scenes):
        places, visible = on_grid(scene)
        distance = np.linalg.norm(places[:, :, None] - places[:, None], axis=-1)
        first, second = np.triu_indices(scene.num_objects, 1)
        near = distance.min(axis=0, initial=np.inf)[first, second] < _MAX_CANDIDATE_DISTANCE
        pairs = np.stack([first[near], second[near]], axis=1)

        found = (
            places[:, pairs],
            visible[:, pairs],
            _to_the_third(distance, pairs),
            kinds(scene)[pairs],
            np.full(len(pairs), number),
            pairs,
        )
        for column, values in zip(columns, found, strict=True):
            column.append(values)

    axes = (1, 1, 1, 0, 0, 0)
    empty = _empty_shapes()
    joined = [
        np.concatenate(column, axis) if column else np.zeros(shape)
        for column, axis, shape in zip(columns, axes, empty, strict=True)
    ]

    signals = [torch.from_numpy(values.astype(np.float32)) for values in joined[:4]]
    return CandidatePairs(*signals, *(torch.from_numpy(values.astype(np.int64)) for values in joined[4:]))


def _empty_shapes(num_pairs: int = 0) -> tuple[tuple[int, ...], ...]:
    """The shapes of the fields of `CandidatePairs`."""
    t = NUM_SAMPLES
    return ((t, num_pairs, 2, 2), (t, num_pairs, 2), (t, num_pairs, 2), (num_pairs, 2, 5), (num_pairs,), (num_pairs, 2))


def on_grid(scene: Scene) -> tuple[Float[np.ndarray, "T O 2"], Float[np.ndarray, "T O"]]:
    """The tracks of a scene on the grid with gaps filled, and 1 where an object is visible.

    Before it is first visible an object stands at its first position, afterwards at its last one. An object that is
    never visible is placed far away from all others.

    Args:
        scene: its samples may lie on any frames; those beyond the grid are left out.

    Example:
        >>> sphere = [["red", "metal", "sphere"]]
        >>> scene = Scene.from_lists(1, sphere, [[0, [[0, 0.0, 0.0]]], [5, []], [10, [[0, 4.0, 2.0]]]], [])
        >>> places, visible = on_grid(scene)
        >>> places[1].tolist(), visible[:4, 0].tolist()
        ([[2.0, 1.0]], [1.0, 0.0, 1.0, 0.0])
    """
    places = np.empty((NUM_SAMPLES, scene.num_objects, 2))
    seen = scene.visible
    visible = np.zeros((NUM_SAMPLES, scene.num_objects))
    nearest, close = _nearest_samples(scene.frames)
    visible[close] = seen[nearest[close]]

    for o in range(scene.num_objects):
        when = scene.frames[seen[:, o]]
        for axis in range(2):
            known = scene.positions[seen[:, o], o, axis]
            places[:, o, axis] = np.interp(GRID, when, known) if len(when) else 1e4 * (1 + o)

    return places, visible


def _nearest_samples(frames: Int[np.ndarray, "S"]) -> tuple[Int[np.ndarray, "T"], np.ndarray]:
    """For each grid frame the nearest sample, and whether it is within half a grid step."""
    if not len(frames):
        return np.zeros(NUM_SAMPLES, dtype=np.int64), np.zeros(NUM_SAMPLES, dtype=bool)
    away = np.abs(frames[None] - GRID[:, None])
    return away.argmin(axis=1), away.min(axis=1) <= FRAMES_PER_SAMPLE // 2


def _to_the_third(distance: Float[np.ndarray, "T O O"], pairs: Int[np.ndarray, "P 2"]) -> Float[np.ndarray, "T P 2"]:
    """The distance of each object of a pair to the nearest object outside of the pair."""
    apart = distance[:, pairs].copy()  # (T, P, 2, O)
    rows = np.arange(len(pairs))
    for one in range(2):
        apart[:, rows, :, pairs[:, one]] = np.inf

    return np.minimum(apart.min(axis=-1, initial=np.inf), FAR)


def kinds(scene: Scene) -> Float[np.ndarray, "O 5"]:
    """Material and shape of each object, one-hot.

    Example:
        >>> kinds(Scene.from_lists(1, [["red", "rubber", "cube"]], [], [])).tolist()
        [[0.0, 1.0, 1.0, 0.0, 0.0]]
    """
    names = (*MATERIALS, *SHAPES)
    return np.array([[float(name in triple[1:]) for name in names] for triple in scene.objects]).reshape(-1, len(names))


NUM_CHANNELS = 31
"""Channels of `signals`: 13 of each object (6 of motion, visibility, third object, 5 of kind), 5 of the pair."""
SCALES = {"place": 50.0, "velocity": 5.0, "acceleration": 2.0, "distance": 20.0}
"""Divisors of the channels."""
ACCELERATIONS = [4, 5, 17, 18]
"""Channels of both accelerations."""
DISTANCE = 28
"""Channel of the distance."""


def signals(
    places: Float[Tensor, "T P 2 2"],
    visible: Float[Tensor, "T P 2"],
    third: Float[Tensor, "T P 2"],
    kinds: Float[Tensor, "P 2 5"],
    orders: int = 2,
) -> Float[Tensor, "T P V C"]:
    """The input of the unit: every pair in both orders, so that the result does not depend on the order.

    Args:
        places: as in `CandidatePairs`; so are the others.
        visible: 1 where visible.
        third: distance to the nearest other object.
        kinds: material and shape.
        orders: 1 gives each pair in one order only, enough for training on pairs in random order.

    Returns:
        For each order of the pair: position, velocity, acceleration, visibility, third object and kind of both, and
        the distance vector, its length and the relative velocity, all scaled to about 1.
    """
    speed = velocity(places)
    change = acceleration(places)
    own = torch.cat(
        [
            (places - HEIGHT / 2) / SCALES["place"],
            speed / SCALES["velocity"],
            change / SCALES["acceleration"],
            visible.unsqueeze(-1),
            third.unsqueeze(-1) / SCALES["distance"],
            kinds.expand(len(places), -1, -1, -1),
        ],
        -1,
    )

    other = own.flip(2)
    apart = places.flip(2) - places
    towards = torch.cat([apart, apart.norm(dim=-1, keepdim=True)], -1) / SCALES["distance"]
    relative = torch.cat([towards, (speed.flip(2) - speed) / SCALES["velocity"]], -1)

    return torch.cat([own, other, relative], -1)[:, :, :orders].clamp(-_LIMIT, _LIMIT)


def velocity(places: Float[Tensor, "T *N"]) -> Float[Tensor, "T *N"]:
    """Velocity per sample: central differences, one-sided at the ends.

    Example:
        >>> velocity(torch.tensor([0.0, 1.0, 4.0])).tolist()
        [1.0, 2.0, 3.0]
    """
    step = places[1:] - places[:-1]
    return torch.cat([step[:1], (step[1:] + step[:-1]) / 2, step[-1:]])


def acceleration(places: Float[Tensor, "T *N"]) -> Float[Tensor, "T *N"]:
    """Second difference per sample; 0 at both ends.

    Example:
        >>> acceleration(torch.tensor([0.0, 1.0, 4.0])).tolist()
        [0.0, 2.0, 0.0]
    """
    step = places[1:] - places[:-1]
    nothing = torch.zeros_like(places[:1])

    return torch.cat([nothing, step[1:] - step[:-1], nothing])


def mirrored(places: Float[Tensor, "T P 2 2"]) -> Float[Tensor, "T P 2 2"]:
    """The same motion with the second coordinate mirrored.

    Example:
        >>> mirrored(torch.tensor([[[[10.0, 20.0], [0.0, 75.0]]]])).tolist()
        [[[[10.0, 130.0], [0.0, 75.0]]]]
    """
    return torch.stack([places[..., 0], HEIGHT - places[..., 1]], -1)
