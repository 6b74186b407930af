"""The presence unit: a hybrid unit that reads from an object's track when it was really in view, and when it moved.

A detector misses objects at the border and behind others, and places that are a little off make a still object move.
One spike says that the object is there, seen or not; entrances and exits follow from that. The other says that it
moves. The unit is trained alone, on an objective of its own, as the collision unit is.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikebridge.hybrid import HybridUnit, Threshold, Tumbling
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.events.collision_inputs import (
    FAR,
    GRID,
    HEIGHT,
    NUM_SAMPLES,
    SCALES,
    acceleration,
    kinds,
    on_grid,
    velocity,
)
from spikebridge.networks.reasoning.events.collision_unit import Residual, TemporalConvolution, temporal_conv

_NUM_CHANNELS = 16
_SEEN = 6  # the channel of sight
_STILL = 0.5
"""Slower than this is still [px/sample]: the scale of the channels of slow motion."""

PRESENCE_MARGIN = 3.0
"""Chosen on validation videos: with 0 more wrong entrances go, but true ones go with them, and those cost more."""


class PresenceScores(nn.Module):
    """How likely the object is there, and moves, at each sample, as log-odds.

    Args:
        num_features: of the kernel's output.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*(Residual(num_features, dilation, 0.0) for dilation in (1, 2, 4)))
        self.at = temporal_conv(num_features, 2, width=1)

    def forward(self, h: Float[Tensor, "B F T"]) -> Float[Tensor, "B 2 T"]:
        """Of each object at each sample."""
        return self.at(self.body(h.unsqueeze(2).contiguous(memory_format=torch.channels_last)))[:, :, 0]


class PresenceUnit(HybridUnit):
    """From the tracks of objects to spikes where they are in view, and where they move.

    Args:
        num_features: channels inside.

    Example:
        >>> y, _ = PresenceUnit(num_features=8)(torch.zeros(26, 3, 16))  # three objects
        >>> y.shape  # one window; in view and moving, a spike or none at each of its samples
        torch.Size([1, 3, 2, 26])
    """

    def __init__(self, num_features: int = 24) -> None:
        super().__init__(
            Tumbling(NUM_SAMPLES),
            TemporalConvolution(_NUM_CHANNELS, num_features),
            PresenceScores(num_features),
            Threshold(0.0),
        )


def track_signals(scenes: Sequence[Scene]) -> Float[Tensor, "T O C"]:
    """The unit's input: place, velocity, acceleration, sight, distance to the nearest other and kind of each object.

    Velocity stands there twice more, on the scale at which motion ends, and as the logarithm of the speed.

    Args:
        scenes: whose objects stand one after the other.

    Example:
        >>> scene = Scene.from_lists(1, [["red", "metal", "cube"]], [[0, [[0, 75.0, 75.0]]]], [])
        >>> track_signals([scene]).shape
        torch.Size([26, 1, 16])
    """
    rows = []
    for scene in scenes:
        places, visible = on_grid(scene)
        apart = np.linalg.norm(places[:, :, None] - places[:, None], axis=-1)
        apart[:, range(scene.num_objects), range(scene.num_objects)] = np.inf
        nearest = np.minimum(apart.min(axis=-1, initial=np.inf), FAR)
        track = torch.from_numpy(places)
        pace = velocity(track)
        channels = (
            (track - HEIGHT / 2) / SCALES["place"],
            pace / SCALES["velocity"],
            acceleration(track) / SCALES["acceleration"],
            torch.from_numpy(visible).unsqueeze(-1),
            torch.from_numpy(nearest).unsqueeze(-1) / SCALES["distance"],
            torch.from_numpy(kinds(scene)).expand(NUM_SAMPLES, -1, -1),
            pace / _STILL,
            (pace.norm(dim=-1, keepdim=True) + 0.02).log(),
        )
        rows.append(torch.cat(channels, -1).clamp(-8, 8).float())
    return torch.cat(rows, 1) if rows else torch.zeros(NUM_SAMPLES, 0, _NUM_CHANNELS)


def with_presence(scene: Scene, there: np.ndarray, moving: np.ndarray | None = None) -> Scene:
    """The scene with its objects placed where they are there, and nowhere else, and moving when they do.

    Gaps are filled; before the first and after the last time that it was seen, an object goes on straight. A scene
    whose samples do not lie on the grid is left as it is, and so is an object that would not be anywhere.

    Args:
        scene: on the grid.
        there: `(T, O)` whether each object is in view.
        moving: `(T, O)` whether it moves; None leaves that to its places.

    Example:
        >>> track = [[5 * t, [[0, 9.0, 2.0 * t]]] for t in range(26)]
        >>> scene = Scene.from_lists(1, [["red", "metal", "cube"]], track, [])
        >>> hidden = scene.visible.copy()
        >>> hidden[0] = False
        >>> with_presence(scene, hidden).visible[:2, 0].tolist()
        [False, True]
    """
    if not np.array_equal(scene.frames, GRID):
        return scene
    positions = scene.positions.copy()
    for o in range(scene.num_objects):
        seen = np.flatnonzero(scene.visible[:, o])
        if len(seen) and there[:, o].any():
            for axis in range(2):
                positions[:, o, axis] = _straight_on(seen, scene.positions[seen, o, axis])
            positions[~there[:, o], o] = np.nan
    return replace(scene, positions=positions, moving=moving)


def _straight_on(seen: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values at all samples: between those seen by interpolation, beyond them along the first or last step."""
    at = np.arange(NUM_SAMPLES)
    filled = np.interp(at, seen, values)
    if len(seen) > 1:
        first = (values[1] - values[0]) / (seen[1] - seen[0])
        last = (values[-1] - values[-2]) / (seen[-1] - seen[-2])
        filled = filled + np.minimum(at - seen[0], 0) * first + np.maximum(at - seen[-1], 0) * last
    return filled


def read_presence(unit: PresenceUnit, scenes: Sequence[Scene], doubt: float = PRESENCE_MARGIN) -> list[Scene]:
    """The scenes with entrances, exits and motion as the unit reads them.

    Args:
        unit: trained.
        scenes: with trajectories.
        doubt: log-odds by which the unit has to be sure before it goes against what was seen.
    """
    if not scenes:
        return []
    tracks = track_signals(scenes)
    with torch.no_grad():
        stages, _ = unit.stages(tracks)
    in_view, moves = stages.nonlinearity[0, 0].permute(1, 2, 0)
    there = (in_view + doubt * (2 * tracks[:, :, _SEEN] - 1) > 0).numpy()
    cuts = np.cumsum([scene.num_objects for scene in scenes])[:-1]
    parts = zip(scenes, np.split(there, cuts, axis=1), np.split((moves > 0).numpy(), cuts, axis=1), strict=True)
    return [with_presence(scene, seen, moving) for scene, seen, moving in parts]
