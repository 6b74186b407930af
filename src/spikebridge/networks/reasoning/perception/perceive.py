"""Perceives the scene of a video: detection, tracking, motion fit, and simulation of the future and of counterfactuals.

Videos outside of the training range of the detector are refused: another size, rate or length, no object, or objects
with low scores.

The future is simulated from the last observed frame. In a counterfactual the other objects follow their observed
motion until a collision is missing or new; from then on they are simulated.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from spikebridge.errors import DataError
from spikebridge.networks.reasoning.data.scene import NUM_OBSERVED_FRAMES, Scene
from spikebridge.networks.reasoning.perception.detector import Detector, detect
from spikebridge.networks.reasoning.perception.object_tracks import ObjectTracks, track_objects
from spikebridge.networks.reasoning.perception.track_motion import FittedMotion, fit_motion
from spikebridge.networks.reasoning.simulation.table import Contact, RollingTable
from spikebridge.networks.reasoning.simulation.video import GRID, HEIGHT, NUM_FRAMES, WIDTH, in_view, is_gone

_RATE = 25.0  # pictures per second
_MIN_SCORE = 0.5  # lowest mean score of the objects of a video; test videos have 0.75 and more
_MAX_OBJECTS = 8


class Perceived(NamedTuple):
    """The scene of a video, with its tracks and fitted motion."""

    scene: Scene
    tracks: ObjectTracks
    motion: FittedMotion


def perceive(
    detector: Detector,
    pictures: UInt8[np.ndarray, "F H W 3"],
    name: int | str = "video",
    rate: float | None = None,
    what_if: bool = True,
) -> Perceived:
    """The scene of a video.

    Args:
        detector: in eval mode.
        pictures: red, green and blue from 0 to 255.
        name: by which questions refer to it.
        rate: pictures per second, if known.
        what_if: simulate the counterfactuals without each object, too.

    Raises:
        DataError: the video is outside of the training range of the detector.
    """
    check_pictures(pictures.shape, rate)
    tracks = track_objects(detect(detector, pictures), len(pictures), detector.attributes)
    check_tracks(tracks)
    motion = fit_motion(tracks.positions)
    frames = np.arange(0, NUM_OBSERVED_FRAMES, GRID)
    rows = roll_out(motion)
    number = len(tracks.objects)

    scene = Scene(
        name,
        tracks.objects,
        frames,
        motion.positions()[frames],
        rows[rows[:, 0] < NUM_OBSERVED_FRAMES],
        rows[rows[:, 0] >= NUM_OBSERVED_FRAMES],
        {o: roll_out(motion, removed=o) for o in range(number)} if what_if else {},
        attribute_scores=tracks.attribute_scores,
    )
    return Perceived(scene, tracks, motion)


def check_pictures(shape: tuple[int, ...], rate: float | None = None) -> None:
    """Refuses a video of another size, length or rate.

    Raises:
        DataError: another size, length or rate.

    Example:
        >>> check_pictures((128, 320, 480, 3))
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: the detector expects pictures of 144 x 96 pixels, but ...
    """
    if len(shape) != 4 or shape[3] != 3:
        raise DataError(
            f"a video is pictures of red, green and blue (F, {HEIGHT}, {WIDTH}, 3), but this one is {shape}"
        )

    if shape[1:3] != (HEIGHT, WIDTH):
        raise DataError(
            f"the detector expects pictures of {WIDTH} x {HEIGHT} pixels, but this video has {shape[2]} x {shape[1]}; "
            "scale it, or train a detector for it"
        )

    if shape[0] != NUM_OBSERVED_FRAMES:
        raise DataError(f"the detector expects videos of {NUM_OBSERVED_FRAMES} pictures, but this one has {shape[0]}")
    if rate is not None and not 0.9 < rate / _RATE < 1.1:
        raise DataError(f"the detector expects videos of {_RATE:g} pictures a second, but this one has {rate:g}")


def check_tracks(tracks: ObjectTracks) -> None:
    """Refuses a video without objects, with too many, or with low scores.

    Raises:
        DataError: such a video.
    """
    number = len(tracks.objects)
    if number == 0:
        raise DataError("no object was found in this video; expected objects rolling on a table, seen from above")
    if number > _MAX_OBJECTS:
        raise DataError(f"{number} objects were found in this video, but the detector supports at most {_MAX_OBJECTS}")

    score = float(np.mean(tracks.scores))
    if score < _MIN_SCORE:
        raise DataError(
            f"the detections in this video are unreliable (mean score {score:.2f}, needed {_MIN_SCORE:.2f})"
        )


def roll_out(motion: FittedMotion, removed: int | None = None, num_frames: int = NUM_FRAMES) -> Int[np.ndarray, "C 3"]:
    """Observed and simulated collisions, from the first frame on.

    Args:
        motion: of the objects of a video.
        removed: an object that is removed; None keeps all.
        num_frames: end of the simulation.

    Returns:
        Rows `frame, object, object`, in the order of time.

    Example:
        >>> from spikebridge.networks.reasoning.simulation.table import MotionSegment
        >>> def on_row(first, last, x, speed):
        ...     return MotionSegment(first, last, np.array([x, 50.0]), np.array([speed, 0.0]))
        >>> chain = (  # a ball hits a second one, which then moves towards a third
        ...     (on_row(0, 15, 10.0, 1.0), on_row(15, 30, 25.0, 0.0)),
        ...     (on_row(0, 15, 39.0, 0.0), on_row(15, 30, 39.0, 1.0)),
        ...     (on_row(0, 30, 70.5, 0.0),),
        ... )
        >>> motion = FittedMotion(0.0, chain, ((15, 0, 1),), 30)
        >>> roll_out(motion).tolist(), roll_out(motion, removed=0).tolist()
        ([[15, 0, 1], [33, 1, 2]], [])
        >>> roll_out(motion, removed=1).tolist()  # the first one now reaches the third
        [[47, 0, 2]]
    """
    world = _PartlyRecordedTable(motion, removed)
    rows = []
    for frame in range(num_frames):
        rows += world.step(frame)

    return np.array(sorted(rows), dtype=np.int64).reshape(-1, 3)


class _PartlyRecordedTable:
    """A table on which objects follow their recorded motion until a collision differs from the record."""

    def __init__(self, motion: FittedMotion, removed: int | None) -> None:
        self.motion = motion
        self.removed = removed
        self.table = RollingTable(motion.friction)
        self.recorded = {o for o in range(len(motion.segments)) if o != removed and motion.segments[o]}

    def step(self, frame: int) -> list[tuple[int, int, int]]:
        """Simulates one frame; returns its collisions."""
        contacts = self.table.step() if frame > 0 else []
        rows = [(t.frame, t.first, t.second) for t in contacts if self._is_new(t)]

        for at, a, b in self.motion.collisions:
            if at == frame and {a, b} <= self.recorded:
                rows.append((at, a, b))
            if at == frame + 1 and len({a, b} & self.recorded) == 1:
                self._release(({a, b} & self.recorded).pop(), frame)

        if frame == self.motion.num_frames - 1:
            for o in list(self.recorded):
                self._release(o, frame)

        for o in self.recorded:
            self._place(o, frame)

        for o in self.table.numbers:
            if o not in self.recorded and is_gone(np.array(self.table.position(o))):
                self.table.take(o)

        return rows

    def _is_new(self, contact: Contact) -> bool:
        """Whether a simulated contact is new; both objects are simulated after it."""
        pair = {contact.first, contact.second}
        if pair <= self.recorded:
            return False

        self.recorded -= pair
        return bool(in_view(np.array([self.table.position(o) for o in pair])).all())

    def _release(self, number: int, frame: int) -> None:
        self._place(number, frame)
        self.recorded.discard(number)

    def _place(self, number: int, frame: int) -> None:
        position, velocity = self.motion.at(number, frame)
        if not is_gone(position):
            self.table.put(number, position, velocity)
        elif number in self.table.numbers:
            self.table.take(number)
