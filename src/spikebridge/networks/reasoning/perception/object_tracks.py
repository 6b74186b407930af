"""Multi-object tracking: joins the detections of a video to tracks of objects with colour, material and shape.

From frame to frame tracks and detections are assigned at the lowest total cost of distance and attribute dissimilarity
(Hungarian method). A track without detection is predicted at constant velocity. At the end compatible tracks are
merged, and all objects are classified jointly, no two alike.
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

_GATE = 7.0  # largest distance between prediction and detection [px]
_GATE_GROWTH = 1.0  # for each frame without detection [px]
_MAX_GATE = 30.0
_DISSIMILARITY_COST = 8.0  # of attributes without any similarity [px]
_MIN_SIMILARITY = 0.05
_MIN_SCORE = 0.6  # mean score of a track
# an object at rest between four cells has a lower score, but is detected in most frames
_MIN_SHARE = 0.7
_MIN_FRAMES = 12
_MIN_DETECTIONS = 4  # of an object; fewer are taken as errors


class ObjectTracks(NamedTuple):
    """Objects of a video with their positions, in the order of their first detection."""

    objects: tuple[tuple[str, str, str], ...]  # colour, material and shape of each; no two alike
    attribute_scores: Float[np.ndarray, "O 3"]  # probability of each value
    positions: Float[np.ndarray, "F O 2"]  # x and y of the centres, NaN without detection [px]
    scores: Float[np.ndarray, "O"]  # mean score of the detections of each object


@dataclass
class _Track:
    """The detections of an object, and its expected motion."""

    frames: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    position: np.ndarray = field(default_factory=lambda: np.zeros(2))
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))
    log_likelihood: np.ndarray = field(default_factory=lambda: np.zeros(0))  # sum of log-probabilities

    def add(self, frame: int, row: int, position: np.ndarray, logs: np.ndarray) -> None:
        if self.frames:
            velocity = (position - self.position) / (frame - self.frames[-1])
            self.velocity = velocity if len(self.frames) == 1 else 0.6 * self.velocity + 0.4 * velocity

        self.log_likelihood = self.log_likelihood + logs if self.frames else logs
        self.position = position
        self.frames.append(frame)
        self.rows.append(row)

    def join(self, later: "_Track") -> None:
        """Adds the detections of a later track."""
        self.log_likelihood = self.log_likelihood + later.log_likelihood
        self.frames += later.frames
        self.rows += later.rows


def track_objects(
    detections: Detections, num_frames: int, attributes: Mapping[str, tuple[str, ...]] = ATTRIBUTES
) -> ObjectTracks:
    """Tracks every object through a video."""
    classifier = _Classifier(attributes)
    tracks = [track for track in _link(detections, classifier) if _is_reliable(track, detections.score)]
    tracks = [track for track in _merge(tracks, classifier) if len(track.frames) >= _MIN_DETECTIONS]
    tracks.sort(key=lambda track: track.frames[0])

    positions = np.full((num_frames, len(tracks), 2), np.nan)
    for o, track in enumerate(tracks):
        positions[track.frames, o] = detections.position[track.rows]

    scores = np.array([detections.score[track.rows].mean() for track in tracks])
    objects, attribute_scores = classifier.classify(tracks)

    return ObjectTracks(objects, attribute_scores, positions, scores)


def _is_reliable(track: _Track, scores: np.ndarray) -> bool:
    number = len(track.frames)
    share = number / (track.frames[-1] - track.frames[0] + 1)
    return bool(scores[track.rows].mean() >= _MIN_SCORE) or (number >= _MIN_FRAMES and share >= _MIN_SHARE)


def _link(detections: Detections, classifier: "_Classifier") -> list[_Track]:
    """Links detections to tracks, frame by frame."""
    logs = np.concatenate([detections.color, detections.material, detections.shape], axis=1)
    tracks: list[_Track] = []

    for frame in np.unique(detections.frame).tolist():
        rows = np.flatnonzero(detections.frame == frame)
        track_of = _assign(tracks, frame, detections.position[rows], logs[rows], classifier)
        # a detection without a track begins one; false ones are dropped at the end
        for k, row in enumerate(rows.tolist()):
            track = track_of.get(k)
            if track is None:
                track = _Track()
                tracks.append(track)

            track.add(frame, row, detections.position[row], logs[row])

    return tracks


def _assign(
    tracks: list[_Track], frame: int, positions: np.ndarray, logs: np.ndarray, classifier: "_Classifier"
) -> dict[int, _Track]:
    """The track of each detection of a frame."""
    if not tracks:
        return {}

    num_frames = np.array([frame - track.frames[-1] for track in tracks])
    expected = np.stack([track.position + track.velocity * n for track, n in zip(tracks, num_frames, strict=True)])
    distance = np.linalg.norm(expected[:, None] - positions[None], axis=2)
    mean_logs = np.stack([track.log_likelihood / len(track.frames) for track in tracks])
    similarity = classifier.similarity(mean_logs, logs)
    cost = distance + _DISSIMILARITY_COST * (1 - similarity)
    gate = np.minimum(_GATE + _GATE_GROWTH * (num_frames - 1), _MAX_GATE)

    # in the next frame the position suffices; later another object may be there
    is_other = (similarity < _MIN_SIMILARITY) & (num_frames[:, None] > 2)
    impossible = (distance > gate[:, None]) | is_other
    assigned = linear_sum_assignment(np.where(impossible, 1e4, cost))

    return {int(k): tracks[t] for t, k in zip(*assigned, strict=True) if not impossible[t, k]}


def _merge(tracks: list[_Track], classifier: "_Classifier") -> list[_Track]:
    """Merges tracks that follow each other in time with similar attributes; no two objects of a video are alike."""
    tracks = [track for track in tracks if len(track.frames) > 1]
    pair = _mergeable(tracks, classifier)
    while pair is not None:
        first, second = pair
        first.join(second)
        tracks.remove(second)
        pair = _mergeable(tracks, classifier)

    return tracks


def _mergeable(tracks: list[_Track], classifier: "_Classifier") -> tuple[_Track, _Track] | None:
    for pair in combinations(tracks, 2):
        first, second = sorted(pair, key=lambda track: track.frames[0])
        if first.frames[-1] < second.frames[0] and classifier.best(first) == classifier.best(second):
            return first, second

    return None


class _Classifier:
    """Classifies tracks: one attribute value of each kind."""

    def __init__(self, attributes: Mapping[str, tuple[str, ...]]) -> None:
        self.kinds = list(attributes.values())
        sizes = [len(values) for values in self.kinds]
        self.ends = np.cumsum(sizes)[:-1]
        self.triples = np.array(list(product(*(range(size) for size in sizes))))

    def similarity(self, logs: np.ndarray, other_logs: np.ndarray) -> np.ndarray:
        """Probability that two have the same attributes: the product over the kinds."""
        probability = np.ones((len(logs), len(other_logs)))
        for part, other in zip(np.split(logs, self.ends, 1), np.split(other_logs, self.ends, 1), strict=True):
            probability *= np.exp(part) @ np.exp(other).T

        return probability

    def best(self, track: _Track) -> int:
        """The number of the likeliest triple."""
        return int(self.triple_logs(track).argmax())

    def triple_logs(self, track: _Track) -> np.ndarray:
        """Log-probability of each triple of values."""
        parts = np.split(track.log_likelihood, self.ends)
        return np.sum([part[self.triples[:, k]] for k, part in enumerate(parts)], axis=0)

    def classify(self, tracks: list[_Track]) -> tuple[tuple[tuple[str, str, str], ...], np.ndarray]:
        """Attribute values of all tracks, no two alike, and their probabilities."""
        if not tracks:
            return (), np.zeros((0, 3))

        # jointly, since no two objects of a video are alike
        logs = np.stack([self.triple_logs(track) for track in tracks])
        triples = self.triples[linear_sum_assignment(-logs)[1]]
        objects = tuple((self.kinds[0][c], self.kinds[1][m], self.kinds[2][s]) for c, m, s in triples.tolist())
        scores = []

        for track, triple in zip(tracks, triples, strict=True):
            # the mean, not the sum: neighbouring frames are no independent evidence
            parts = np.split(track.log_likelihood / len(track.frames), self.ends)
            shares = [np.exp(part - part.max()) / np.exp(part - part.max()).sum() for part in parts]
            scores.append([share[value] for share, value in zip(shares, triple, strict=True)])

        return objects, np.array(scores)
