"""Objects followed through a video: detections of one object joined, its colour, material and shape agreed upon.

From picture to picture tracks and detections are assigned at the lowest total cost of distance and unlike attributes
(H. W. Kuhn's Hungarian method); a track goes on at constant velocity while nothing is found. At the end tracks that
can only be one object are joined, and all objects are named at once, no two alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from spikebridge.networks.reasoning.data.scene import ATTRIBUTES
from spikebridge.networks.reasoning.perception.detector import Detections

_REACH = 7.0  # farther than this from where it is expected an object is another one [px]
_REACH_LOST = 1.0  # and so much more for each frame in which nothing was found
_FARTHEST = 30.0
_UNLIKE = 8.0  # cost of attributes without any likeness [px]
_LEAST_ALIKE = 0.05
_LEAST_SCORE = 0.6  # mean score of an object that moves; what lies where four cells meet shares its score with them,
_LEAST_SHARE = 0.7  # but it is found in at least this share of the pictures
_SOME = 12  # and in so many
_FEWEST = 4  # detections of an object; fewer are taken for an error


class Tracks(NamedTuple):
    """Objects of a video, and where each was found."""

    objects: tuple[tuple[str, str, str], ...]
    """Colour, material and shape of each; no two alike."""
    attribute_scores: Float[np.ndarray, "O 3"]
    """How probable each of these is."""
    positions: Float[np.ndarray, "F O 2"]
    """x and y of the centres, NaN where an object was not found [px]."""
    scores: Float[np.ndarray, "O"]
    """Mean score of the detections of each object."""


@dataclass
class _Track:
    frames: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    position: np.ndarray = field(default_factory=lambda: np.zeros(2))
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))
    likeness: np.ndarray = field(default_factory=lambda: np.zeros(0))  # sum of log-probabilities

    def add(self, frame: int, row: int, position: np.ndarray, logs: np.ndarray) -> None:
        if self.frames:
            step = (position - self.position) / (frame - self.frames[-1])
            self.velocity = step if len(self.frames) == 1 else 0.6 * self.velocity + 0.4 * step
        self.likeness = logs if not self.frames else self.likeness + logs
        self.position = position
        self.frames.append(frame)
        self.rows.append(row)


def track_objects(
    detections: Detections, num_frames: int, attributes: Mapping[str, tuple[str, ...]] = ATTRIBUTES
) -> Tracks:
    """Follows every object through a video.

    Args:
        detections: of all its pictures.
        num_frames: how many pictures there are.
        attributes: kinds of attribute and their values.

    Returns:
        The objects, in the order in which they were first found; none where too little was found.

    Example:
        >>> sure = [np.log(np.full((5, n), 0.1 / (n - 1))) for n in (8, 2, 3)]
        >>> for logs in sure:
        ...     logs[:, 1] = np.log(0.9)
        >>> place = np.array([[10.0 + 2 * t, 30.0] for t in (0, 1, 2, 5, 6)])
        >>> found = Detections(np.array([0, 1, 2, 5, 6]), place, place, np.ones(5), *sure)
        >>> tracks = track_objects(found, 7)
        >>> tracks.objects, np.isnan(tracks.positions[:, 0, 0]).tolist()
        ((('red', 'rubber', 'sphere'),), [False, False, False, True, True, False, False])
    """
    logs = np.concatenate([detections.color, detections.material, detections.shape], axis=1)
    names = _Names(attributes)
    found = _follow(detections, logs, names)
    tracks = _join([track for track in found if _is_sure(track, detections.score)], names)
    tracks = sorted((track for track in tracks if len(track.frames) >= _FEWEST), key=lambda track: track.frames[0])
    positions = np.full((num_frames, len(tracks), 2), np.nan)
    for o, track in enumerate(tracks):
        positions[track.frames, o] = detections.position[track.rows]
    scores = np.array([detections.score[track.rows].mean() for track in tracks])
    objects, attribute_scores = names.given(tracks)
    return Tracks(objects, attribute_scores, positions, scores)


def _is_sure(track: _Track, scores: np.ndarray) -> bool:
    number = len(track.frames)
    share = number / (track.frames[-1] - track.frames[0] + 1)
    return bool(scores[track.rows].mean() >= _LEAST_SCORE) or (number >= _SOME and share >= _LEAST_SHARE)


def _follow(detections: Detections, logs: np.ndarray, names: "_Names") -> list[_Track]:
    tracks: list[_Track] = []
    for frame in np.unique(detections.frame).tolist():
        rows = np.flatnonzero(detections.frame == frame)
        taken = _assign(tracks, frame, detections.position[rows], logs[rows], names)
        for k, row in enumerate(rows.tolist()):
            track = taken.get(k)
            if track is None:
                track = _Track()
                tracks.append(track)
            track.add(frame, row, detections.position[row], logs[row])
    return tracks


def _assign(
    tracks: list[_Track], frame: int, positions: np.ndarray, logs: np.ndarray, names: "_Names"
) -> dict[int, _Track]:
    """Which track each detection continues."""
    if not tracks:
        return {}
    lost = np.array([frame - track.frames[-1] for track in tracks])
    expected = np.stack([track.position + track.velocity * n for track, n in zip(tracks, lost, strict=True)])
    away = np.linalg.norm(expected[:, None] - positions[None], axis=2)
    known = np.stack([track.likeness / len(track.frames) for track in tracks])
    alike = names.alike(known, logs)
    cost = away + _UNLIKE * (1 - alike)
    reach = np.minimum(_REACH + _REACH_LOST * (lost - 1), _FARTHEST)
    # in the next picture the place says enough; later on another object may have come there
    impossible = (away > reach[:, None]) | ((alike < _LEAST_ALIKE) & (lost[:, None] > 2))
    chosen = linear_sum_assignment(np.where(impossible, 1e4, cost))
    return {int(k): tracks[t] for t, k in zip(*chosen, strict=True) if not impossible[t, k]}


def _join(tracks: list[_Track], names: "_Names") -> list[_Track]:
    """Joins tracks that follow each other in time and look alike: no two objects of a video do."""
    tracks = [track for track in tracks if len(track.frames) > 1]
    joined = True
    while joined:
        joined = False
        for one, other in combinations(tracks, 2):
            first, second = sorted((one, other), key=lambda track: track.frames[0])
            if first.frames[-1] < second.frames[0] and names.best(first) == names.best(second):
                first.likeness = first.likeness + second.likeness
                first.frames += second.frames
                first.rows += second.rows
                tracks.remove(second)
                joined = True
                break
    return tracks


class _Names:
    """What objects may be called: one value of each kind."""

    def __init__(self, attributes: Mapping[str, tuple[str, ...]]) -> None:
        self.kinds = list(attributes.values())
        sizes = [len(values) for values in self.kinds]
        self.ends = np.cumsum(sizes)[:-1]
        self.triples = np.array(list(product(*(range(size) for size in sizes))))

    def alike(self, known: np.ndarray, logs: np.ndarray) -> np.ndarray:
        """Chance that two have the same attributes, kind by kind multiplied."""
        chance = np.ones((len(known), len(logs)))
        for one, other in zip(np.split(known, self.ends, 1), np.split(logs, self.ends, 1), strict=True):
            chance *= np.exp(one) @ np.exp(other).T
        return chance

    def best(self, track: _Track) -> int:
        """The number of the likeliest triple."""
        return int(self.triple_logs(track.likeness).argmax())

    def triple_logs(self, likeness: np.ndarray) -> np.ndarray:
        """Log-probability of each triple of values."""
        parts = np.split(likeness, self.ends)
        return np.sum([part[self.triples[:, k]] for k, part in enumerate(parts)], axis=0)

    def given(self, tracks: list[_Track]) -> tuple[tuple[tuple[str, str, str], ...], np.ndarray]:
        """Names of all tracks, no two alike, and how probable each value is."""
        if not tracks:
            return (), np.zeros((0, 3))
        logs = np.stack([self.triple_logs(track.likeness) for track in tracks])
        chosen = self.triples[linear_sum_assignment(-logs)[1]]
        objects = tuple((self.kinds[0][c], self.kinds[1][m], self.kinds[2][s]) for c, m, s in chosen.tolist())
        sure = []
        for track, triple in zip(tracks, chosen, strict=True):
            parts = np.split(track.likeness / len(track.frames), self.ends)
            shares = [np.exp(part - part.max()) / np.exp(part - part.max()).sum() for part in parts]
            sure.append([share[v] for share, v in zip(shares, triple, strict=True)])
        return objects, np.array(sure)
