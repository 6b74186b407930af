"""The track unit: a designed hybrid unit that detects in the track of one object what it does, and when.

| W window | H kernel | F nonlinearity | Q discretizer |
|---|---|---|---|
| whole video, 26 samples | window history | rules on place, speed and angle | threshold |

An object enters or leaves where its track begins or ends near the border, at the frame to which its speed leads. It
rests where it keeps its place; what returns to that place was hidden in between, and did not move. Where the collisions
of a scene are known, nothing starts to move or turns without one, and the collision gives the frame.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from spikebridge.axes import Windows
from spikebridge.hybrid import HybridUnit, Tumbling
from spikebridge.hybrid.unit.discretizer import Discretizer
from spikebridge.networks.reasoning.data.scene import NUM_OBSERVED_FRAMES, PICTURE, Scene
from spikebridge.networks.reasoning.events import collision_inputs as inputs
from spikebridge.networks.reasoning.events.collision_unit import WindowHistory
from spikebridge.networks.reasoning.events.events import BEGIN, IN, MOVE, OUT, STOP, TURN
from spikebridge.neurons.surrogate import ARCTAN

KINDS = (IN, OUT, BEGIN, MOVE, STOP, TURN)  # kinds of event of one object, in the order of the unit's outputs
_SPAN = inputs.FRAMES_PER_SAMPLE
_END = _SPAN * (inputs.NUM_SAMPLES - 1)  # frame of the last sample

_MAX_BORDER_DISTANCE = 14.0  # of a track's end that is an entrance or exit [px]
_HALF_SIZE = 0.5  # added to the distance from the border [px]
_MIN_BORDER_SPEED = 0.1  # towards the border [px/frame]
_MAX_EXTRAPOLATION = 30.0  # beyond the ends of a track [frames]
_SAME_PLACE = 0.5  # largest distance of two places that are one [px]
_SPEED_LIMIT = 0.1  # slower objects are still [px/frame]
_TURNING_SPEED = 0.2  # slower objects have no clear direction [px/frame]
_MIN_TURN = 30.0  # smallest change of direction [degrees]
# frames before and after a start or turn as seen in which the collision lies that caused it
_STRIKES = {MOVE: (8, 20), TURN: (8, 8)}


class EventSpike(Discretizer):
    """A spike where a score is above 0, and the frame of the event."""

    def __init__(self) -> None:
        super().__init__()
        self.surrogate = ARCTAN

    def forward(self, h: Windows, length: int, state: None = None) -> tuple[Float[Tensor, "K M B *N2"], None]:
        """From scores and frames `(K, M, B, 2, E, T)` to spikes and frames of the same shape."""
        return torch.stack([self.surrogate(h[..., 0, :, :]), h[..., 1, :, :]], -3), None


class _TrackRules(nn.Module):
    """Scores and frames of every kind of event at every sample, by rules; above 0 where the event happens."""

    def forward(self, h: Float[Tensor, "B 5 T"]) -> Float[Tensor, "B 2 E T"]:
        places = h[:, :2].transpose(1, 2)
        seen, struck, is_known = (h[:, 2:] > 0.5).unbind(1)
        samples = torch.arange(h.shape[-1], device=h.device)
        first = seen.int().argmax(1)[:, None]
        last = (samples * seen).amax(1)[:, None]
        inside = (samples >= first) & (samples <= last) & seen.any(1, keepdim=True)
        track = _Track(places, inside, first, last)

        enters, entered = _border(track, earliest=0.0)
        leaves, left = _border(track.reversed(), earliest=_END - NUM_OBSERVED_FRAMES)
        starts = _starts(track, min_rest=2) & (~is_known | _within(struck, 2, 5))
        stops = _starts(track.reversed(), min_rest=3).flip(1)

        at_samples = (samples * _SPAN).expand_as(entered).to(entered.dtype)
        happens = [enters, leaves.flip(1), _moving_at_first(track), starts, stops, _turns(track, struck, is_known)]
        frames = [entered, _END - left.flip(1), at_samples, at_samples + _SPAN / 2, at_samples, at_samples]

        return torch.stack([torch.stack(happens, 1).float() - 0.5, torch.stack(frames, 1)], 1)


class _Track:
    """Places of objects at the samples of a window, with the first and the last one at which each was seen."""

    def __init__(
        self,
        places: Float[Tensor, "B T 2"],
        inside: Bool[Tensor, "B T"],
        first: Int[Tensor, "B 1"],
        last: Int[Tensor, "B 1"],
    ) -> None:
        self.places = places
        self.inside = inside
        self.first = first
        self.last = last
        self.samples = torch.arange(places.shape[1], device=places.device)

    def reversed(self) -> "_Track":
        """The same track backwards in time."""
        end = self.places.shape[1] - 1
        return _Track(self.places.flip(1), self.inside.flip(1), end - self.last, end - self.first)

    def at(self, offset: int) -> Float[Tensor, "B T 2"]:
        """The places some samples later (or earlier), within the track."""
        return self.places.gather(1, self.sample(offset)[..., None].expand_as(self.places))

    def sample(self, offset: int) -> Int[Tensor, "B T"]:
        """The samples some samples later (or earlier), within the track."""
        return (self.samples + offset).expand_as(self.inside).maximum(self.first).minimum(self.last)

    def velocity(self, begin: int, end: int) -> Float[Tensor, "B T 2"]:
        """The mean velocity per frame between two offsets from each sample."""
        span = (self.sample(end) - self.sample(begin)) * _SPAN
        return (self.at(end) - self.at(begin)) / span.clamp(min=1)[..., None]


def _border(track: _Track, earliest: float) -> tuple[Bool[Tensor, "B T"], Float[Tensor, "B T"]]:
    """The begin of a track near the border, later than that of the video, and the frame at which it was crossed."""
    distances = border_distances(track.places)
    distance, side = distances.min(-1)
    next_distance = border_distances(track.at(1)).gather(-1, side[..., None])[..., 0]
    speed = ((next_distance - distance).abs() / _SPAN).clamp(min=_MIN_BORDER_SPEED)
    frame = track.samples * _SPAN - ((distance.clamp(min=0) + _HALF_SIZE) / speed).clamp(max=_MAX_EXTRAPOLATION)
    begins = track.inside & (track.samples == track.first) & (track.samples > 0)

    return begins & (distance < _MAX_BORDER_DISTANCE) & (frame > earliest), frame


def border_distances(places: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B 4"]:
    """The distances from the borders of the picture: left, right, top, bottom."""
    x, y = places.unbind(-1)
    return torch.stack([y, PICTURE[1] - y, x, PICTURE[0] - x], -1)


def _moving_at_first(track: _Track) -> Bool[Tensor, "B T"]:
    moves = track.velocity(0, 2).norm(dim=-1) > _SPEED_LIMIT
    return moves & track.inside & (track.samples == 0)


def _starts(track: _Track, min_rest: int) -> Bool[Tensor, "B T"]:
    """The last samples at rest: the place is that of the samples before, and the object never returns to it."""
    distance = (track.places[:, :, None] - track.places[:, None]).norm(dim=-1)
    gap = track.samples - track.samples[:, None]
    both = track.inside[:, :, None] & track.inside[:, None]
    is_same = distance < _SAME_PLACE
    rests = (
        (is_same | ~both | (gap > 0) | (gap < -2)).all(2) & track.inside & (track.samples - track.first >= min_rest - 1)
    )
    departs = (~is_same | ~both | (gap < 3)).all(2)
    moves = (track.velocity(0, 3).norm(dim=-1) > _SPEED_LIMIT) & (track.samples + 1 < track.last)
    leaves = rests & departs & moves

    # of several samples in a row the last one
    leaves[:, :-1] &= ~leaves[:, 1:]
    return leaves


def _turns(track: _Track, struck: Bool[Tensor, "B T"], is_known: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """The samples at which a moving object changes its direction: where it is struck, or else where it turns most."""
    angles = []
    # a strike lies between a sample and the next one
    for begin, end in ((1, 4), (0, 2)):
        before = track.velocity(-2, 0)
        after = track.velocity(begin, end)
        is_fast = (before.norm(dim=-1) > _TURNING_SPEED) & (after.norm(dim=-1) > _TURNING_SPEED)
        cosine = torch.cosine_similarity(before, after, dim=-1).clamp(-1, 1)
        angles.append(torch.where(is_fast & track.inside, cosine.acos().rad2deg(), 0.0))

    at_strike, at_sample = angles
    sharpest = nn.functional.max_pool1d(at_sample[:, None], 5, 1, 2)[:, 0]
    turns = torch.where(is_known, struck * at_strike, torch.where(at_sample == sharpest, at_sample, 0.0))

    return turns > _MIN_TURN


def _within(marks: Bool[Tensor, "B T"], before: int, after: int) -> Bool[Tensor, "B T"]:
    """The samples with a mark at most some samples before, or after."""
    padded = nn.functional.pad(marks.float(), (before, after))
    return nn.functional.max_pool1d(padded[:, None], before + after + 1, 1)[:, 0] > 0


class TrackEventUnit(HybridUnit):
    """The designed hybrid unit from tracks to spikes and frames `(2, E, T)` of the kinds of event `KINDS`."""

    def __init__(self) -> None:
        super().__init__(Tumbling(inputs.NUM_SAMPLES), WindowHistory(), _TrackRules(), EventSpike())


def in_picture(places: Float[np.ndarray, "*B 2"], scene: Scene) -> Float[np.ndarray, "*B 2"]:
    """Places of a scene in a picture of the size `PICTURE`, in which x runs down and y to the right."""
    scaled = places / scene.extent
    return np.asarray((scaled if scene.extent[0] < scene.extent[1] else scaled[..., ::-1]) * PICTURE)


def track_channels(scene: Scene) -> Float[Tensor, "T O 5"]:
    """The input of the unit: places, visibility, collisions, and whether those of the scene are known."""
    places, visible = inputs.on_grid(scene)
    places = in_picture(places, scene)
    struck = np.zeros((2, *visible.shape))
    struck[1] = len(scene.collisions) > 0
    for frame, *pair in scene.collisions.tolist():
        struck[0, min(frame // _SPAN, inputs.NUM_SAMPLES - 1), pair] = 1

    return torch.from_numpy(np.concatenate([places, visible[..., None], np.moveaxis(struck, 0, -1)], -1)).float()


def detect_track_events(scene: Scene, unit: HybridUnit) -> Int[np.ndarray, "R 3"]:
    """The events of single objects that a unit detects, as rows `kind, frame, object`."""
    if not scene.num_objects:
        return np.zeros((0, 3), dtype=np.int64)

    with torch.no_grad():
        stages, _ = unit.stages(track_channels(scene))

    spikes, frames = stages.discretizer[0, 0].unbind(1)
    o, kind, sample = np.nonzero(spikes.numpy() > 0)
    rows = np.stack([np.array(KINDS)[kind], frames.numpy()[o, kind, sample].round().astype(np.int64), o], 1)

    return np.array([_at_strike(row, scene.collisions) for row in rows.tolist()], dtype=np.int64).reshape(-1, 3)


def _at_strike(row: list[int], collisions: Int[np.ndarray, "C 3"]) -> list[int]:
    """A start or turn at the frame of the collision that caused it, if one is known."""
    kind, frame, o = row
    before, after = _STRIKES.get(kind, (0, 0))
    near = [f for f, *pair in collisions.tolist() if o in pair and -before <= f - frame <= after]

    return [kind, min(near, key=lambda f: abs(f - frame)), o] if near else row
