"""What a sensing tracker knows: of the target in frames, of the stream of events since, and both together."""

from math import exp
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from spikebridge.data.event_bins import BinEvents, Crop
from spikebridge.networks.sensing_looking import Sight
from spikebridge.networks.sensing_motion import Start
from spikebridge.networks.sensing_ready import Ready
from spikebridge.networks.sensing_room import Room

PATIENCE = 3
"""After so many frames without confidence a target is lost."""


def confidence(spread: float, box: Float[np.ndarray, "4"]) -> float:
    """The chance that a place is less than a quarter of its target's size off.

    Args:
        spread: standard deviation of the place along each axis [px].
        box: of the target [px]; its size is the root of its area.

    Example:
        >>> round(confidence(3.0, np.array([0.0, 0.0, 12.0, 12.0])), 3)  # 3 px off: 1 - exp(-1/2)
        0.393
    """
    return 1 - exp(-max(float(box[2:].prod()), 0.0) / 16 / (2 * max(spread, 1e-3) ** 2))


class Sighting(NamedTuple):
    """What is known of a target from frames.

    Args:
        box: where it was in the last frame, by what was told or found [px].
        spread: how far that may be off along an axis [px].
        unsure: how many frames in a row it was not surely seen.
        first: template of the frame whose box was told last, `K_0`; None without a finder.
        newest: what was seen around it in the last frame in which it was surely seen, of which `K_new` is made.
    """

    box: Float[np.ndarray, "4"]
    spread: float
    unsure: int
    first: Tensor | None
    newest: Sight | None


class Doubt(NamedTuple):
    """A frame that nobody has looked for the target in yet.

    Args:
        box: where the target is believed to be in it [px].
        before: the frame before.
        events: between the two.
        since: time between the two frames [s].
    """

    box: Float[np.ndarray, "4"]
    before: NDArray[np.uint8]
    events: BinEvents
    since: float


class Stream(NamedTuple):
    """What was known when a stream of events began.

    Args:
        start: what was expected.
        period: in which the target goes as far as `start.motion` [s].
        age: time since the stream began [s].
        gone: how far the target had gone since the frame [px].
        moved: how far the crop had, in whole pixels.
    """

    start: Start
    period: float
    age: float
    gone: Float[np.ndarray, "2"]
    moved: Float[np.ndarray, "2"]


class TrackingState(NamedTuple):
    """What a tracker knows.

    Args:
        box: where the target is now [px].
        spread: standard deviation of its place along an axis [px].
        confidence: chance that the place is less than a quarter of the target's size off, as far as the network can
            tell; from 0 to 1.
        sighting: of the last frame.
        frame: the last frame.
        frame_box: where the target was in it, mended by what the pictures say of its motion.
        events: since that frame.
        age: time since it [s].
        stream: what was known when the stream of events began.
        crop: what the network sees.
        room: what is behind the target.
        ready: the network, as it was when the tracker began.
        network: its state since the stream began.
        doubt: what the finder has still to look at.
    """

    box: Float[np.ndarray, "4"]
    spread: float
    confidence: float
    sighting: Sighting
    frame: NDArray[np.uint8]
    frame_box: Float[np.ndarray, "4"]
    events: tuple[BinEvents, ...]
    age: float
    stream: Stream
    crop: Crop
    room: Room
    ready: Ready
    network: Any
    doubt: Doubt | None = None

    @property
    def lost(self) -> bool:
        """Whether the target was not surely seen in the last three frames."""
        return self.sighting.unsure >= PATIENCE
