"""From the pictures of a video to a scene: objects found, followed, their motion fitted, the table simulated on.

What is outside of what the detector was trained for is refused: another size, rate or length, no object, objects that
it is not sure of, motion that is not that of objects on a table.

What happens next, and what would have happened without an object: the table of a video simulated on.

Next: all objects go on from the last frame seen. Without an object: the others do what they were seen to do, until they
meet, or fail to meet, something that is not as it was; from then on they are simulated.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from spikebridge.errors import DataError
from spikebridge.networks.reasoning.data.scene import NUM_OBSERVED_FRAMES, Scene
from spikebridge.networks.reasoning.perception.detector import Detector, detect
from spikebridge.networks.reasoning.perception.object_tracks import Tracks, track_objects
from spikebridge.networks.reasoning.perception.track_motion import FittedMotion, fit_motion
from spikebridge.networks.reasoning.simulation.table import Contact, RollingTable
from spikebridge.networks.reasoning.simulation.video import GRID, HEIGHT, NUM_FRAMES, WIDTH, in_view, is_gone

RATE = 25.0
"""Pictures a second."""
LEAST_SCORE = 0.5
"""Mean score of the objects of a video below which it is refused; test videos have 0.75 and more."""
MOST_OBJECTS = 8


class Perceived(NamedTuple):
    """What was made of a video: the scene, and what stands behind it."""

    scene: Scene
    tracks: Tracks
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
        rate: pictures a second, where it is known.
        what_if: simulate what would be without each object, too.

    Raises:
        DataError: the video is outside of what the detector knows; the message says why.
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
        DataError: it has one.

    Example:
        >>> check_pictures((128, 320, 480, 3))
        Traceback (most recent call last):
        ...
        spikebridge.errors.DataError: the detector knows pictures of 144 x 96 pixels, but this video has 480 x 320; ...
    """
    if len(shape) != 4 or shape[3] != 3:
        raise DataError(
            f"a video is pictures of red, green and blue (F, {HEIGHT}, {WIDTH}, 3), but this one is {shape}"
        )
    if shape[1:3] != (HEIGHT, WIDTH):
        raise DataError(
            f"the detector knows pictures of {WIDTH} x {HEIGHT} pixels, but this video has {shape[2]} x {shape[1]}; "
            "scale it, or train a detector for it"
        )
    if shape[0] != NUM_OBSERVED_FRAMES:
        raise DataError(f"the detector knows videos of {NUM_OBSERVED_FRAMES} pictures, but this one has {shape[0]}")
    if rate is not None and not 0.9 < rate / RATE < 1.1:
        raise DataError(f"the detector knows videos of {RATE:g} pictures a second, but this one has {rate:g}")


def check_tracks(tracks: Tracks) -> None:
    """Refuses a video in which too little, too much or nothing sure was found.

    Raises:
        DataError: it is one.
    """
    number = len(tracks.objects)
    if number == 0:
        raise DataError("no object was found in this video; the detector knows rolling objects on a table, from above")
    if number > MOST_OBJECTS:
        raise DataError(f"{number} objects were found in this video, but the detector knows at most {MOST_OBJECTS}")
    sure = float(np.mean(tracks.scores))
    if sure < LEAST_SCORE:
        raise DataError(
            f"the detector is not sure of what it sees in this video (mean score {sure:.2f}, needed {LEAST_SCORE:.2f})"
        )


def roll_out(motion: FittedMotion, removed: int | None = None, num_frames: int = NUM_FRAMES) -> Int[np.ndarray, "C 3"]:
    """Collisions from the first frame on: those seen, and those simulated.

    Args:
        motion: of the objects of a video.
        removed: an object that is taken away; None leaves all of them.
        num_frames: where to stop.

    Returns:
        Rows `frame, object, object`, in the order of time.

    Example:
        >>> from spikebridge.networks.reasoning.simulation.table import MotionSegment
        >>> def on_row(first, last, x, speed):
        ...     return MotionSegment(first, last, np.array([x, 50.0]), np.array([speed, 0.0]))
        >>> chain = (  # a ball hits a second one, which then is on its way to a third
        ...     (on_row(0, 15, 10.0, 1.0), on_row(15, 30, 25.0, 0.0)),
        ...     (on_row(0, 15, 39.0, 0.0), on_row(15, 30, 39.0, 1.0)),
        ...     (on_row(0, 30, 70.5, 0.0),),
        ... )
        >>> motion = FittedMotion(0.0, chain, ((15, 0, 1),), 30)
        >>> roll_out(motion).tolist(), roll_out(motion, removed=0).tolist()
        ([[15, 0, 1], [33, 1, 2]], [])
        >>> roll_out(motion, removed=1).tolist()  # the first one now goes all the way
        [[47, 0, 2]]
    """
    world = _World(motion, removed)
    rows = []
    for frame in range(num_frames):
        rows += world.step(frame)
    return np.array(sorted(rows), dtype=np.int64).reshape(-1, 3)


class _World:
    """A table on which objects keep to their record until something is not as it was."""

    def __init__(self, motion: FittedMotion, removed: int | None) -> None:
        self.motion = motion
        self.removed = removed
        self.table = RollingTable(motion.friction)
        self.recorded = {o for o in range(len(motion.segments)) if o != removed and motion.segments[o]}

    def step(self, frame: int) -> list[tuple[int, int, int]]:
        """One frame; the collisions in it."""
        contacts = self.table.step() if frame > 0 else []
        rows = [(t.frame, t.first, t.second) for t in contacts if self._counts(t)]
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

    def _counts(self, contact: Contact) -> bool:
        """Whether a simulated touch is a new one; both are free after it, unless both keep to their record."""
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
