"""Inputs of the prediction unit: the past of all objects of a scene, one sample every five frames.

Nothing after the last sample is read. Gaps are interpolated; beyond its last detection an object rolls on, ever slower.
Places are those on the table: the camera foreshortens it, and the map undoes that.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.events.collision_inputs import FRAMES_PER_SAMPLE, kinds

NUM_PAST = 20  # samples of the window: 95 frames

# fitted to the true collisions of CLEVRER's training videos, so that objects touch at one distance everywhere
_CENTER = np.array([50.0, 75.0])  # of the map [px]
_STRETCH = 1.2364  # of the first axis
_PERSPECTIVE = 0.008479  # [1/px]
_CONTACT = 13.0  # distance of two objects that touch, in the map's units
_SIZE = np.array([100.0, 150.0])  # of the picture [px]

_DECAY = 0.9  # of the speed, a sample, beyond the last detection
_MAX_SLOPE_SAMPLES = 3  # samples of the speed that an object rolls on with

# channels of a sample: place on the table, distance to the border and place in the picture, detected, there, kind
NUM_CHANNELS = 13
DETECTED = 6
THERE = 7
KIND = 8


class Past(NamedTuple):
    """The past of the objects of any number of scenes, and the numbers of the objects in their scene (-1: none)."""

    samples: Float[Tensor, "T B O C"]
    objects: Int[Tensor, "B O"]


def past_of(scenes: Sequence[Scene], last: Sequence[int]) -> Past:
    """The past of each scene up to its frame `last`; objects that were not seen by then are left out."""
    parts = [_past(scene, frame) for scene, frame in zip(scenes, last, strict=True)]
    # at least one object, so that no scenes give tensors of the right shape
    most = max([1, *(len(numbers) for _, numbers in parts)])
    samples = torch.zeros(NUM_PAST, len(parts), most, NUM_CHANNELS)
    objects = torch.full((len(parts), most), -1)
    for b, (rows, numbers) in enumerate(parts):
        samples[:, b, : len(numbers)] = torch.from_numpy(rows)
        objects[b, : len(numbers)] = torch.from_numpy(numbers)

    return Past(samples, objects)


def _past(scene: Scene, last: int) -> tuple[Float[np.ndarray, "T O C"], Int[np.ndarray, "O"]]:
    is_past = (scene.frames <= last) & (scene.frames > last - FRAMES_PER_SAMPLE * NUM_PAST)
    frames = scene.frames[is_past]
    positions = scene.positions[is_past]
    detected = scene.visible[is_past]
    numbers = np.flatnonzero(detected.any(axis=0))
    grid = last - FRAMES_PER_SAMPLE * np.arange(NUM_PAST)[::-1]
    rows = np.zeros((NUM_PAST, len(numbers), NUM_CHANNELS), dtype=np.float32)

    for row, o in enumerate(numbers):
        own = frames[detected[:, o]]
        places = _rolled_on(own, positions[detected[:, o], o], grid)
        rows[:, row, 0:2] = on_table(places)
        rows[:, row, 2:4] = np.minimum(places, _SIZE - places).clip(-10, 20) / 10
        rows[:, row, 4:6] = places / 50 - 1
        rows[:, row, DETECTED] = np.abs(own[None] - grid[:, None]).min(axis=1) <= FRAMES_PER_SAMPLE // 2

    rows[..., THERE] = 1
    rows[..., KIND:] = kinds(scene)[numbers]

    return rows, numbers


def _rolled_on(
    frames: Int[np.ndarray, "S"], places: Float[np.ndarray, "S 2"], grid: Int[np.ndarray, "T"]
) -> Float[np.ndarray, "T 2"]:
    filled = np.stack([np.interp(grid, frames, places[:, axis]) for axis in range(2)], axis=1)
    first = max(0, len(frames) - _MAX_SLOPE_SAMPLES)
    if first < len(frames) - 1:
        slope = (places[-1] - places[first]) * FRAMES_PER_SAMPLE / (frames[-1] - frames[first])
        beyond = np.maximum(grid - frames[-1], 0) / FRAMES_PER_SAMPLE
        filled += slope * (_DECAY * (1 - _DECAY**beyond) / (1 - _DECAY))[:, None]

    return filled


def on_table(places: Float[np.ndarray, "*N 2"]) -> Float[np.ndarray, "*N 2"]:
    """Places in the picture [px] as places on the table, in distances at which two objects touch."""
    x, y = np.moveaxis(places - _CENTER, -1, 0)
    depth = np.maximum(1 + _PERSPECTIVE * x, 0.1)
    return np.stack([_STRETCH * x / depth, y / depth], axis=-1) / _CONTACT
