"""The presence unit: a hybrid unit that detects from an object's track when it is in view, and when it moves.

A detector misses objects at the border and behind others, and position noise makes still objects move. One output spike
means that the object is in view, detected or not; entrances and exits follow from it. The other means that it moves.
The unit is trained alone, on an objective of its own, like the collision unit.
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
_VISIBLE = 6  # channel of the visibility
_SLOW = 0.5  # scale of the channels of slow motion [px/sample]

_MARGIN = 3.0  # chosen on validation videos: 0 removes more false entrances, but also true ones, which cost more


class _PresenceScores(nn.Module):
    """Log-odds that the object is in view, and that it moves, at each sample.

    Args:
        num_features: of the kernel's output.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*(Residual(num_features, dilation, 0.0) for dilation in (1, 2, 4)))
        self.at = temporal_conv(num_features, 2, width=1)

    def forward(self, h: Float[Tensor, "B F T"]) -> Float[Tensor, "B 2 T"]:
        """Scores of each object at each sample."""
        return self.at(self.body(h.unsqueeze(2).contiguous(memory_format=torch.channels_last)))[:, :, 0]


class PresenceUnit(HybridUnit):
    """The hybrid unit from tracks of objects to spikes: in view, and moving.

    Args:
        num_features: hidden channels.

    Example:
        >>> y, _ = PresenceUnit(num_features=8)(torch.zeros(26, 3, 16))  # three objects
        >>> y.shape  # one window; in view and moving, a spike or none at each of its samples
        torch.Size([1, 3, 2, 26])
    """

    def __init__(self, num_features: int = 24) -> None:
        super().__init__(
            Tumbling(NUM_SAMPLES),
            TemporalConvolution(_NUM_CHANNELS, num_features),
            _PresenceScores(num_features),
            Threshold(0.0),
        )


def track_signals(scenes: Sequence[Scene]) -> Float[Tensor, "T O C"]:
    """The input of the unit: position, velocity, acceleration, visibility, nearest distance and kind of each object.

    Velocity appears twice more: on the scale of slow motion, and as the logarithm of the speed.

    Args:
        scenes: their objects follow each other.

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
        speed = velocity(track)

        channels = (
            (track - HEIGHT / 2) / SCALES["place"],
            speed / SCALES["velocity"],
            acceleration(track) / SCALES["acceleration"],
            torch.from_numpy(visible).unsqueeze(-1),
            torch.from_numpy(nearest).unsqueeze(-1) / SCALES["distance"],
            torch.from_numpy(kinds(scene)).expand(NUM_SAMPLES, -1, -1),
            speed / _SLOW,
            (speed.norm(dim=-1, keepdim=True) + 0.02).log(),
        )

        rows.append(torch.cat(channels, -1).clamp(-8, 8).float())

    return torch.cat(rows, 1) if rows else torch.zeros(NUM_SAMPLES, 0, _NUM_CHANNELS)


def with_presence(scene: Scene, there: np.ndarray, moving: np.ndarray | None = None) -> Scene:
    """The scene with other visibility and motion of its objects.

    Gaps are interpolated; before the first and after the last observation positions are extrapolated linearly. A scene
    whose samples do not lie on the grid stays unchanged, as does an object that would be nowhere in view.

    Args:
        scene: on the grid.
        there: `(T, O)` whether each object is in view.
        moving: `(T, O)` whether it moves; None: computed from positions.

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
                positions[:, o, axis] = _fill_gaps(seen, scene.positions[seen, o, axis])
            positions[~there[:, o], o] = np.nan

    return replace(scene, positions=positions, moving=moving)


def _fill_gaps(seen: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values at all samples: interpolated between observations, extrapolated linearly beyond them."""
    samples = np.arange(NUM_SAMPLES)
    filled = np.interp(samples, seen, values)
    if len(seen) > 1:
        first = (values[1] - values[0]) / (seen[1] - seen[0])
        last = (values[-1] - values[-2]) / (seen[-1] - seen[-2])
        filled = filled + np.minimum(samples - seen[0], 0) * first + np.maximum(samples - seen[-1], 0) * last

    return filled


def read_presence(unit: PresenceUnit, scenes: Sequence[Scene], margin: float = _MARGIN) -> list[Scene]:
    """The scenes with the entrances, exits and motion that the unit detects.

    Args:
        unit: trained.
        scenes: with trajectories.
        margin: log-odds that the unit needs to overrule the detector's visibility.
    """
    if not scenes:
        return []

    tracks = track_signals(scenes)
    with torch.no_grad():
        stages, _ = unit.stages(tracks)

    in_view, moves = stages.nonlinearity[0, 0].permute(1, 2, 0)
    there = (in_view + margin * (2 * tracks[:, :, _VISIBLE] - 1) > 0).numpy()
    cuts = np.cumsum([scene.num_objects for scene in scenes])[:-1]
    parts = zip(scenes, np.split(there, cuts, axis=1), np.split((moves > 0).numpy(), cuts, axis=1), strict=True)

    return [with_presence(scene, seen, moving) for scene, seen, moving in parts]
