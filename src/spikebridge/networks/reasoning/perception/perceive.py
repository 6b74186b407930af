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
    """The scene of a video; raises `DataError` for one outside of the training range of the detector."""
    # the rate is checked only if the file has one
    check_pictures(pictures.shape, rate)
    tracks = track_objects(detect(detector, pictures), len(pictures), detector.attributes)
    check_tracks(tracks)
    motion = fit_motion(tracks.positions)
    frames = np.arange(0, NUM_OBSERVED_FRAMES, GRID)
    collisions = roll_out(motion)
    is_observed = collisions[:, 0] < NUM_OBSERVED_FRAMES

    scene = Scene(
        name,
        tracks.objects,
        frames,
        motion.positions()[frames],
        collisions[is_observed],
        collisions[~is_observed],
        {o: roll_out(motion, removed=o) for o in range(len(tracks.objects))} if what_if else {},
        attribute_scores=tracks.attribute_scores,
        extent=(WIDTH, HEIGHT),
    )
    return Perceived(scene, tracks, motion)


def check_pictures(shape: tuple[int, ...], rate: float | None = None) -> None:
    """Raises `DataError` for a video of another size, length or rate."""
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
    """Raises `DataError` for a video without objects, with too many, or with low scores."""
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


def roll_out(motion: FittedMotion, removed: int | None = None) -> Int[np.ndarray, "C 3"]:
    """Observed and simulated collisions from the first frame, in order of time, with all objects or without one."""
    table = _PartlyRecordedTable(motion, removed)
    rows = [row for frame in range(NUM_FRAMES) for row in table.step(frame)]
    return np.array(sorted(rows), dtype=np.int64).reshape(-1, 3)


class _PartlyRecordedTable:
    """A table on which objects follow their recorded motion until a collision differs from the record."""

    def __init__(self, motion: FittedMotion, removed: int | None) -> None:
        self.motion = motion
        self.table = RollingTable(motion.friction)
        self.recorded = {o for o in range(len(motion.segments)) if o != removed and motion.segments[o]}

    def step(self, frame: int) -> list[tuple[int, int, int]]:
        """Simulates one frame; returns its collisions."""
        contacts = self.table.step() if frame > 0 else []
        collisions = [contact[:3] for contact in contacts if self._is_new(contact)]

        for collision in self.motion.collisions:
            at, *pair = collision
            recorded = self.recorded & set(pair)
            if at == frame and len(recorded) == 2:
                collisions.append(collision)
            # without its partner an object leaves its record just before the collision
            if at == frame + 1 and len(recorded) == 1:
                self._release(recorded.pop(), frame)

        # the record ends with the video
        if frame == self.motion.num_frames - 1:
            for o in list(self.recorded):
                self._release(o, frame)

        for o in self.recorded:
            self._place(o, frame)

        for o in self.table.numbers:
            if o not in self.recorded and is_gone(np.array(self.table.position(o))):
                self.table.take(o)

        return collisions

    def _is_new(self, contact: Contact) -> bool:
        """True for a simulated contact that was not recorded; both objects are simulated after it."""
        pair = {contact.first, contact.second}
        if pair <= self.recorded:
            return False

        # both objects are simulated from here on
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
