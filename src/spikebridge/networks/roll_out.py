"""What happens next, and what would have happened without an object: the table of a video simulated on.

Next: all objects go on from the last frame seen. Without an object: the others do what they were seen to do, until they
meet, or fail to meet, something that is not as it was; from then on they are simulated.
"""

import numpy as np
from jaxtyping import Int

from spikebridge.data.rolling_objects import NUM_FRAMES, in_view, is_gone
from spikebridge.data.rolling_table import RollingTable, Touch
from spikebridge.networks.track_motion import Motion


def roll_out(motion: Motion, removed: int | None = None, num_frames: int = NUM_FRAMES) -> Int[np.ndarray, "C 3"]:
    """Collisions from the first frame on: those seen, and those simulated.

    Args:
        motion: of the objects of a video.
        removed: an object that is taken away; None leaves all of them.
        num_frames: where to stop.

    Returns:
        Rows `frame, object, object`, in the order of time.

    Example:
        >>> from spikebridge.networks.free_motion import Stretch
        >>> def on_row(first, last, x, speed):
        ...     return Stretch(first, last, np.array([x, 50.0]), np.array([speed, 0.0]))
        >>> chain = (  # a ball hits a second one, which then is on its way to a third
        ...     (on_row(0, 15, 10.0, 1.0), on_row(15, 30, 25.0, 0.0)),
        ...     (on_row(0, 15, 39.0, 0.0), on_row(15, 30, 39.0, 1.0)),
        ...     (on_row(0, 30, 70.5, 0.0),),
        ... )
        >>> motion = Motion(0.0, chain, ((15, 0, 1),), 30)
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

    def __init__(self, motion: Motion, removed: int | None) -> None:
        self.motion = motion
        self.removed = removed
        self.table = RollingTable(motion.friction)
        self.recorded = {o for o in range(len(motion.stretches)) if o != removed and motion.stretches[o]}

    def step(self, frame: int) -> list[tuple[int, int, int]]:
        """One frame; the collisions in it."""
        touches = self.table.step() if frame > 0 else []
        rows = [(t.frame, t.first, t.second) for t in touches if self._counts(t)]
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

    def _counts(self, touch: Touch) -> bool:
        """Whether a simulated touch is a new one; both are free after it, unless both keep to their record."""
        pair = {touch.first, touch.second}
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
