"""What is behind a target in a recording whose boxes are known, as a tracker would have seen it: by boxes that are a
little wrong, and not from its first frame on.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from spikebridge.data.recording import Recording
from spikebridge.networks.sensing_boxes import middle_of
from spikebridge.networks.sensing_crops import Reader
from spikebridge.networks.sensing_room import Room, new_room

_ANEW = 0.03  # of the frames
_OFF, _SWOLLEN = 0.06, 0.1  # of a target's size; as a logarithm
_LASTS = 0.9  # share of an error that the next frame has, too


def rooms(
    recording: Recording, frames: Sequence[int], read: Reader, generator: np.random.Generator, wrong: float = 1.0
) -> Iterator[tuple[int, Mapping[int, Room]]]:
    """What is behind the target in one frame after the other, by how many frames ago the last one was: one, or two.

    A frame without a box, or one that does not come at once after the last one, begins anew.

    Args:
        recording: with boxes at frames.
        frames: in the order in which they are seen, forwards or backwards in time.
        read: gives a frame of a number.
        generator: draws errors.
        wrong: how wrong boxes are; 0 for true ones that are followed from the first frame on.
    """
    found: dict[int, Room] = {}
    error, last = generator.normal(size=4), None
    for k in frames:
        box = recording.frame_boxes[k]
        if last is None or abs(k - last) > 1 or not np.isfinite(box).all():
            found = {}
        else:
            before = found[1] if found and generator.random() >= wrong * _ANEW else new_room(read(last))
            known = _mistaken(recording.frame_boxes[last], wrong * error)
            room = before.followed(read(last), known, read(k), box)
            found = {1: room, 2: room.since(before)} if found else {1: room}
        last = k if np.isfinite(box).all() else None
        error = _LASTS * error + (1 - _LASTS**2) ** 0.5 * generator.normal(size=4)
        yield k, found


def _mistaken(box: np.ndarray, error: np.ndarray) -> np.ndarray:
    middle = middle_of(box) + _OFF * box[2:].prod() ** 0.5 * error[:2]
    size = box[2:] * np.exp(_SWOLLEN * error[2:])
    return np.concatenate([middle - size / 2, size])
