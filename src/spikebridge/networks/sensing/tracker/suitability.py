"""Warnings about inputs that a tracker can hardly follow; each is given once, in words.

| input | when |
|---|---|
| a first box without contrast | at the first frame |
| a target below the smallest size | at the first frame |
| a first box that stays where it is, as one on background does | a quarter of a second after the start |
| a first box much larger than the target: its events fall into its middle | a quarter of a second after the start |
| a stream without events | a quarter of a second after the start |

Grey levels alone do not tell a target from textured background: of 56 boxes on generated background the contrast was
as large as that of targets.
"""

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikebridge.networks.sensing.model.boxes import Box, box_center
from spikebridge.networks.sensing.model.detector import MIN_TARGET_SIDE
from spikebridge.networks.sensing.tracker.confidence import size_of, target_contrast

_LEAST_CONTRAST = 0.02  # of noise alone it is .01
_LEAST_MOTION = 0.05  # in sizes of the target
_LEAST_FILLED = 0.6  # of 460 boxes below, on training scenes, none overlapped by half
_SECONDS = 0.25  # from the first frame until what a stream looks like is known
_LEAST_RATE = 240.0  # events a second on the whole sensor


class TrackingWarning(UserWarning):
    """A tracker warns of an input that it can hardly follow."""


def warn(messages: list[str]) -> None:
    """Gives each message as a `TrackingWarning`.

    Args:
        messages: in words.
    """
    for text in messages:
        warnings.warn(text, TrackingWarning, stacklevel=2)


def first_box_warnings(frame: NDArray[np.uint8], box: Box) -> list[str]:
    """What speaks against a first box: no contrast to what is around it, a small target.

    Args:
        frame: grey levels.
        box: of the target [px].

    Example:
        >>> first_box_warnings(np.zeros((40, 40), np.uint8), np.array([10.0, 10.0, 8.0, 9.0]))[1]
        'first box: 8 x 9 px is below the smallest size of 12 x 12 px; such a target is lost easily'
    """
    contrast = target_contrast(frame, box)
    found = []

    if contrast < _LEAST_CONTRAST:
        found.append(
            f"first box: its grey levels are those of its surroundings (contrast {contrast:.2f}, expected at least "
            f"{_LEAST_CONTRAST}); check that it is on the target"
        )

    if size_of(box) < MIN_TARGET_SIDE:
        found.append(
            f"first box: {box[2]:g} x {box[3]:g} px is below the smallest size of {MIN_TARGET_SIDE:g} x "
            f"{MIN_TARGET_SIDE:g} px; such a target is lost easily"
        )

    return found


class Beginning(NamedTuple):
    """What is known of a stream since its first frame.

    Args:
        box: the first one [px].
        seconds: since the first frame.
        num_events: since then.
    """

    box: Box
    seconds: float = 0.0
    num_events: int = 0


def stream_warnings(beginning: Beginning, before: float, box: Box, filled: float = 0.75) -> list[str]:
    """Whether a stream has hardly any events, whether the box moves, and whether it has the size of the target.

    In the step that ends a quarter of a second.

    Args:
        beginning: of the stream.
        before: time from the first frame to the beginning of the step [s].
        box: now [px].
        filled: share of the events in the box outside its middle (`Signals`), if it is known.

    Example:
        >>> first = np.array([10.0, 10.0, 20.0, 20.0])
        >>> stream_warnings(Beginning(first, seconds=0.25, num_events=2), before=0.246, box=first + 3, filled=0.75)
        ['stream: 2 events in 0.25 s; without events a box moves at constant velocity between frames']
    """
    first, seconds, num_events = beginning
    if not before < _SECONDS <= seconds:
        return []

    found = []
    if np.hypot(*(box_center(box) - box_center(first))) < _LEAST_MOTION * size_of(first):
        found.append(
            f"first box: it has not moved in {seconds:.2f} s; check that it is on the target and not on background"
        )

    if filled < _LEAST_FILLED:
        found.append(
            f"first box: {1 - filled:.0%} of its events fall into its middle; check that it is not much larger than the"
            " target"
        )

    if num_events < _LEAST_RATE * seconds:
        found.append(
            f"stream: {num_events} events in {seconds:.2f} s; without events a box moves at constant velocity between "
            "frames"
        )

    return found
