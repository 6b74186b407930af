"""Warnings about inputs that a tracker can hardly track; each is given once, in words.

| input | time of the warning |
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

# noise alone has a contrast of .01
_MIN_CONTRAST = 0.02
# displacement in sizes of the target
_MIN_MOTION = 0.05
# on training scenes, none of 460 boxes below this overlapped the true one by half
_MIN_FILLED = 0.6
# time from the first frame until a stream can be judged
_SECONDS = 0.25
# events a second on the whole sensor
_MIN_RATE = 240.0


class TrackingWarning(UserWarning):
    """A warning of an input that can hardly be tracked."""


class Beginning(NamedTuple):
    """The first box of a stream [px], the time since its frame [s], and the number of events since then."""

    box: Box
    seconds: float = 0.0
    num_events: int = 0

    def later(self, seconds: float, num_events: int) -> "Beginning":
        """The same after a further step."""
        return Beginning(self.box, self.seconds + seconds, self.num_events + num_events)


def warn(messages: list[str]) -> None:
    """Gives each message as a `TrackingWarning`."""
    for text in messages:
        warnings.warn(text, TrackingWarning, stacklevel=2)


def first_box_warnings(frame: NDArray[np.uint8], box: Box) -> list[str]:
    """Warnings about a first box: no contrast to its surroundings, a small target."""
    contrast = target_contrast(frame, box)
    messages = []

    if contrast < _MIN_CONTRAST:
        messages.append(
            f"first box: its grey levels are those of its surroundings (contrast {contrast:.2f}, expected at least "
            f"{_MIN_CONTRAST}); check that it is on the target"
        )

    if size_of(box) < MIN_TARGET_SIDE:
        messages.append(
            f"first box: {box[2]:g} x {box[3]:g} px is below the smallest size of {MIN_TARGET_SIDE:g} x "
            f"{MIN_TARGET_SIDE:g} px; such a target is lost easily"
        )

    return messages


def stream_warnings(beginning: Beginning, before: float, box: Box, filled: float = 0.75) -> list[str]:
    """Warnings about a stream with hardly any events, and a box that does not move or is larger than its target.

    They are given in the step that ends a quarter of a second; `before` is the time from the first frame to the start
    of the step [s], `filled` the share of the events in the box outside its middle (`Signals`).
    """
    first, seconds, num_events = beginning
    if not before < _SECONDS <= seconds:
        return []

    messages = []
    if np.hypot(*(box_center(box) - box_center(first))) < _MIN_MOTION * size_of(first):
        messages.append(
            f"first box: it has not moved in {seconds:.2f} s; check that it is on the target and not on background"
        )

    if filled < _MIN_FILLED:
        messages.append(
            f"first box: {1 - filled:.0%} of its events fall into its middle; check that it is not much larger than the"
            " target"
        )

    if num_events < _MIN_RATE * seconds:
        messages.append(
            f"stream: {num_events} events in {seconds:.2f} s; without events a box moves at constant velocity between "
            "frames"
        )

    return messages
