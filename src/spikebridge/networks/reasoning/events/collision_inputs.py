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

_MAX_CANDIDATE_DISTANCE = 28.0  # of a pair at its nearest; colliding objects come within 26 [px]

HEIGHT = 150.0  # the mirror image of the second coordinate y is `HEIGHT - y` [px]

FAR = 60.0  # distances to a third object are clipped here [px]

_LIMIT = 8.0  # of scaled channels


class CandidatePairs(NamedTuple):
    """Candidate pairs of objects of any number of scenes."""

    places: Float[Tensor, "T P 2 2"]  # x and y of both objects, gaps filled [px]
    visible: Float[Tensor, "T P 2"]  # 1 where an object is visible, else 0
    third: Float[Tensor, "T P 2"]  # distance of each object to the nearest other object [px]
    kinds: Float[Tensor, "P 2 5"]  # material and shape, one-hot
    scene: Int[Tensor, "P"]
    objects: Int[Tensor, "P 2"]  # numbers of the objects in their scene


def candidate_pairs(scenes: Sequence[Scene]) -> CandidatePairs:
    """The pairs of objects that come near enough to collide, in the order of the scenes."""
    parts = [_pairs_of(scene, number) for number, scene in enumerate(scenes)]
    # no scenes give tensors of the right shape without a row
    if not parts:
        parts = [_pairs_of(Scene.from_lists(0, [], [], []), 0)]

    # pairs lie along the second axis of signals, and along the first of the others
    axes = (1, 1, 1, 0, 0, 0)
    return CandidatePairs(*(torch.cat(part, axis) for part, axis in zip(zip(*parts, strict=True), axes, strict=True)))


def _pairs_of(scene: Scene, number: int) -> CandidatePairs:
    places, visible = on_grid(scene)
    distance = np.linalg.norm(places[:, :, None] - places[:, None], axis=-1)
    first, second = np.triu_indices(scene.num_objects, 1)
    near = distance.min(axis=0, initial=np.inf)[first, second] < _MAX_CANDIDATE_DISTANCE
    pairs = np.stack([first[near], second[near]], axis=1)
    signals = (places[:, pairs], visible[:, pairs], _distance_to_third(distance, pairs), kinds(scene)[pairs])
    tensors = [torch.from_numpy(signal.astype(np.float32)) for signal in signals]

    return CandidatePairs(*[*tensors, torch.full((len(pairs),), number), torch.from_numpy(pairs)])


def on_grid(scene: Scene) -> tuple[Float[np.ndarray, "T O 2"], Float[np.ndarray, "T O"]]:
    """Positions on the grid with gaps filled, and 1 where an object is visible."""
    places = np.empty((NUM_SAMPLES, scene.num_objects, 2))
    for o in range(scene.num_objects):
        is_visible = scene.visible[:, o]
        frames = scene.frames[is_visible]
        for axis in range(2):
            coordinate = scene.positions[is_visible, o, axis]
            # an object that is never visible stands far away from all others, so that it is in no candidate pair
            places[:, o, axis] = np.interp(GRID, frames, coordinate) if len(frames) else 1e4 * (1 + o)

    visible = np.zeros((NUM_SAMPLES, scene.num_objects))
    if len(scene.frames):
        # scenes of other programs have other samples: one within two frames counts
        away = np.abs(scene.frames[None] - GRID[:, None])
        is_close = away.min(axis=1) <= FRAMES_PER_SAMPLE // 2
        visible[is_close] = scene.visible[away.argmin(axis=1)[is_close]]

    return places, visible


def _distance_to_third(
    distance: Float[np.ndarray, "T O O"], pairs: Int[np.ndarray, "P 2"]
) -> Float[np.ndarray, "T P 2"]:
    """The distance of each object of a pair to the nearest object outside of the pair."""
    to_others = distance[:, pairs].copy()  # (T, P, 2, O)
    # neither object of the pair is a third one
    for members in pairs.T:
        to_others[:, np.arange(len(pairs)), :, members] = np.inf

    return np.minimum(to_others.min(axis=-1, initial=np.inf), FAR)


def kinds(scene: Scene) -> Float[np.ndarray, "O 5"]:
    """Material and shape of each object, one-hot."""
    names = (*MATERIALS, *SHAPES)
    return np.array([[float(name in triple[1:]) for name in names] for triple in scene.objects]).reshape(-1, len(names))


# Channels of `signals`: 13 of each object (6 of motion, visibility, third object, 5 of kind), 5 of the pair.
NUM_CHANNELS = 31
SCALES = {"place": 50.0, "velocity": 5.0, "acceleration": 2.0, "distance": 20.0}  # divisors of the channels
ACCELERATIONS = [4, 5, 17, 18]  # channels of both accelerations
DISTANCE = 28  # channel of the distance


def signals(
    places: Float[Tensor, "T P 2 2"],
    visible: Float[Tensor, "T P 2"],
    third: Float[Tensor, "T P 2"],
    kinds: Float[Tensor, "P 2 5"],
    orders: int = 2,
) -> Float[Tensor, "T P V C"]:
    """The input of the unit, scaled to about 1: every pair in both orders, or in one."""
    speed = velocity(places)
    change = acceleration(places)

    # 13 channels of each object: position, velocity, acceleration, visibility, third object, kind
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

    # 5 channels of the pair: distance vector, its length, relative velocity
    offset = places.flip(2) - places
    towards = torch.cat([offset, offset.norm(dim=-1, keepdim=True)], -1) / SCALES["distance"]
    relative = torch.cat([towards, (speed.flip(2) - speed) / SCALES["velocity"]], -1)

    # two orders make the result symmetric; one is enough for training on pairs in random order
    return torch.cat([own, other, relative], -1)[:, :, :orders].clamp(-_LIMIT, _LIMIT)


def velocity(places: Float[Tensor, "T *N"]) -> Float[Tensor, "T *N"]:
    """Velocity per sample: central differences, one-sided at the ends."""
    step = places[1:] - places[:-1]
    return torch.cat([step[:1], (step[1:] + step[:-1]) / 2, step[-1:]])


def acceleration(places: Float[Tensor, "T *N"]) -> Float[Tensor, "T *N"]:
    """Second difference per sample; 0 at both ends."""
    step = places[1:] - places[:-1]
    edge = torch.zeros_like(places[:1])
    return torch.cat([edge, step[1:] - step[:-1], edge])


def mirrored(places: Float[Tensor, "T P 2 2"]) -> Float[Tensor, "T P 2 2"]:
    """The same motion with the second coordinate mirrored."""
    return torch.stack([places[..., 0], HEIGHT - places[..., 1]], -1)
