"""Free motion on the table of `spikebridge.data.rolling_table`: where an object is, how fast, and until when.

Place and velocity of a stretch of free motion are two numbers an axis, found by least squares; the friction is known.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from spikebridge.data.rolling_table import REST, distance


class Stretch(NamedTuple):
    """Free motion of one object from `first` to before `last`, by place and velocity at `first`."""

    first: int
    last: int
    position: Float[np.ndarray, "2"]
    velocity: Float[np.ndarray, "2"]
    rest: float = np.inf
    """Frames after `first` at which it comes to rest."""

    def at(self, frame: int, friction: float) -> tuple[np.ndarray, np.ndarray]:
        """Place [px] and velocity [px/frame] at a frame, also outside of the stretch."""
        num_frames = frame - self.first
        moved = float(distance(np.array(min(num_frames, self.rest)), friction))
        left = self.velocity * np.exp(-friction * num_frames) if num_frames < self.rest else np.zeros(2)
        return self.position + self.velocity * moved, left


def fit_stretch(frames: np.ndarray, places: np.ndarray, friction: float) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Place and velocity at frame 0 of a piece, frames until it rests, and the sum of squared errors.

    Every frame is tried as the one of rest, and a speed is taken that comes to rest about then.
    """
    lying = places.mean(0)
    still = (lying, np.zeros(2), 0.0, float(((places - lying) ** 2).sum()))
    rests = np.append(np.arange(2.0, frames.max() - 1), np.inf)  # at least two frames show the rest
    moved = distance(np.minimum(frames[None, :], rests[:, None]), friction)
    spread = moved - moved.mean(1, keepdims=True)
    power = (spread**2).sum(1)
    velocity = spread @ places / np.maximum(power, 1e-9)[:, None]
    errors = still[3] - power * (velocity**2).sum(1)
    speed = np.hypot(*velocity.T)
    stops = np.log(np.maximum(speed, 1e-9) / REST) / max(friction, 1e-9)
    slack = 4 + 0.05 / (np.maximum(speed, REST) * max(friction, 1e-9))  # a speed is known to about 0.05 px/frame
    fits = np.where(np.isinf(rests), stops > frames.max() - slack, abs(stops - rests) < slack)
    errors[~fits | (speed < 0.8 * REST) | (power < 1e-9)] = np.inf
    best = int(errors.argmin())
    if not errors[best] < still[3]:
        return still
    rest = max(float(np.floor(stops[best])) + 1, float(frames.max())) if np.isinf(rests[best]) else float(rests[best])
    position = lying - velocity[best] * moved[best].mean()
    return position, velocity[best], rest, float(errors[best])
