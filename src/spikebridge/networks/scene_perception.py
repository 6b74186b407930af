"""From the pictures of a video to a scene: objects found, followed, their motion fitted, the table simulated on.

What is outside of what the detector was trained for is refused: another size, rate or length, no object, objects that
it is not sure of, motion that is not that of objects on a table.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from spikebridge.data.rolling_objects import GRID, HEIGHT, WIDTH
from spikebridge.data.scenes import NUM_OBSERVED_FRAMES, Scene
from spikebridge.errors import DataError
from spikebridge.networks.detector import Detector, detect
from spikebridge.networks.object_tracks import Tracks, track_objects
from spikebridge.networks.roll_out import roll_out
from spikebridge.networks.track_motion import Motion, fit_motion

RATE = 25.0
"""Pictures a second."""
LEAST_SCORE = 0.5
"""Mean score of the objects of a video below which it is refused; test videos have 0.75 and more."""
MOST_OBJECTS = 8


class Perceived(NamedTuple):
    """What was made of a video: the scene, and what stands behind it."""

    scene: Scene
    tracks: Tracks
    motion: Motion


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
