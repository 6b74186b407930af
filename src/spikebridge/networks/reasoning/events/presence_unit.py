"""The presence unit: a hybrid unit that detects from an object's track when it is in view, and when it moves.

A detector misses objects at the border and behind others, and position noise makes still objects move. One output spike
means that the object is in view, detected or not; entrances and exits follow from it. The other means that it moves.
The unit is trained alone, on an objective of its own, like the collision unit.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from spikebridge.hybrid import HybridUnit, Threshold, Tumbling
from spikebridge.networks.reasoning.data.scene import Scene
from spikebridge.networks.reasoning.events import collision_inputs as inputs
from spikebridge.networks.reasoning.events.collision_unit import Residual, TemporalConvolution, temporal_conv

_NUM_CHANNELS = 16
_VISIBLE = 6  # channel of the visibility
_SLOW_SCALE = 0.5  # of the channels of slow motion [px/sample]

# log-odds; chosen on validation videos: 0 removes more false entrances, but also true ones, which cost more
_MARGIN = 3.0


class _PresenceScores(nn.Module):
    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*(Residual(num_features, dilation) for dilation in (1, 2, 4)))
        self.at = temporal_conv(num_features, 2, width=1)

    def forward(self, h: Float[Tensor, "B F T"]) -> Float[Tensor, "B 2 T"]:
        return self.at(self.body(h.unsqueeze(2).contiguous(memory_format=torch.channels_last)))[:, :, 0]


class PresenceUnit(HybridUnit):
    """The hybrid unit from tracks of objects to spikes at each sample: in view, and moving."""

    def __init__(self, num_features: int = 24) -> None:
        super().__init__(
            Tumbling(inputs.NUM_SAMPLES),
            TemporalConvolution(_NUM_CHANNELS, num_features),
            _PresenceScores(num_features),
            Threshold(0.0),
        )


def track_signals(scenes: Sequence[Scene]) -> Float[Tensor, "T O C"]:
    """The input of the unit: the tracks of all objects of the scenes, one after the other."""
    rows = []
    for scene in scenes:
        places, visible = inputs.on_grid(scene)
        distance = np.linalg.norm(places[:, :, None] - places[:, None], axis=-1)
        # an object is not its own neighbour
        distance[:, range(scene.num_objects), range(scene.num_objects)] = np.inf
        nearest = np.minimum(distance.min(axis=-1, initial=np.inf), inputs.FAR)
        track = torch.from_numpy(places)
        speed = inputs.velocity(track)

        channels = (
            (track - inputs.HEIGHT / 2) / inputs.SCALES["place"],
            speed / inputs.SCALES["velocity"],
            inputs.acceleration(track) / inputs.SCALES["acceleration"],
            torch.from_numpy(visible).unsqueeze(-1),
            torch.from_numpy(nearest).unsqueeze(-1) / inputs.SCALES["distance"],
            torch.from_numpy(inputs.kinds(scene)).expand(inputs.NUM_SAMPLES, -1, -1),
            # velocity twice more: on the scale of slow motion, and as the logarithm of the speed
            speed / _SLOW_SCALE,
            (speed.norm(dim=-1, keepdim=True) + 0.02).log(),
        )

        rows.append(torch.cat(channels, -1).clamp(-8, 8).float())

    return torch.cat(rows, 1) if rows else torch.zeros(inputs.NUM_SAMPLES, 0, _NUM_CHANNELS)


def with_presence(
    scene: Scene, in_view: Bool[np.ndarray, "T O"], moving: Bool[np.ndarray, "T O"] | None = None
) -> Scene:
    """The scene with other visibility and motion of its objects; without motion it is computed from positions."""
    # the unit says nothing about the samples of a scene on other frames
    if not np.array_equal(scene.frames, inputs.GRID):
        return scene

    positions = scene.positions.copy()
    for o in range(scene.num_objects):
        # an object that would be nowhere in view stays as it is: something was detected
        observed = np.flatnonzero(scene.visible[:, o])
        if len(observed) and in_view[:, o].any():
            for axis in range(2):
                positions[:, o, axis] = _fill_gaps(observed, scene.positions[observed, o, axis])
            positions[~in_view[:, o], o] = np.nan

    return replace(scene, positions=positions, moving=moving)


def _fill_gaps(observed: np.ndarray, values: np.ndarray) -> np.ndarray:
    samples = np.arange(inputs.NUM_SAMPLES)
    filled = np.interp(samples, observed, values)
    if len(observed) > 1:
        first_slope = (values[1] - values[0]) / (observed[1] - observed[0])
        last_slope = (values[-1] - values[-2]) / (observed[-1] - observed[-2])
        before = np.minimum(samples - observed[0], 0)
        after = np.maximum(samples - observed[-1], 0)
        filled = filled + before * first_slope + after * last_slope

    return filled


def read_presence(unit: PresenceUnit, scenes: Sequence[Scene], margin: float = _MARGIN) -> list[Scene]:
    """The scenes with the entrances, exits and motion that the unit detects."""
    if not scenes:
        return []

    tracks = track_signals(scenes)
    with torch.no_grad():
        stages, _ = unit.stages(tracks)

    view_scores, motion_scores = stages.nonlinearity[0, 0].permute(1, 2, 0)
    # the unit needs log-odds of `margin` to overrule the detector's visibility
    in_view = (view_scores + margin * (2 * tracks[:, :, _VISIBLE] - 1) > 0).numpy()
    moving = (motion_scores > 0).numpy()

    ends = np.cumsum([scene.num_objects for scene in scenes])[:-1]
    parts = zip(scenes, np.split(in_view, ends, axis=1), np.split(moving, ends, axis=1), strict=True)
    return [with_presence(*part) for part in parts]
