"""Motion of generated objects: position, size and angle as smooth random functions of time, exact at any time."""

from math import log, pi, sin
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Waves(NamedTuple):
    """A smooth random number of time: a sum of sines, each with a strength, a rate [rad/s] and a phase."""

    strength: Float[np.ndarray, " K"]
    rate: Float[np.ndarray, " K"]
    phase: Float[np.ndarray, " K"]

    def at(self, t: float) -> float:
        """The value at a time [s], within the sum of the strengths."""
        return float((self.strength * np.sin(self.rate * t + self.phase)).sum())


class Motion(NamedTuple):
    """How one object moves: place, size, angle. Its way is walked at a pace that comes to rest again and again."""

    x: Waves
    y: Waves
    log_scale: Waves
    angle: Waves
    pace: float  # mean, in waves' seconds a second
    stop_rate: float  # of the stops [rad/s]
    stop_phase: float

    def walked(self, t: float) -> float:
        """How much of the way is walked: the integral of `pace (1 - cos)`, which is 0 at every stop."""
        return self.pace * (t - (sin(self.stop_rate * t + self.stop_phase) - sin(self.stop_phase)) / self.stop_rate)


def smooth_waves(generator: np.random.Generator, strength: float, slowest: float, fastest: float) -> Waves:
    """Three sines of different rates; slow ones are stronger, and together they reach `strength` at most.

    Args:
        generator: draws rates and phases.
        strength: the furthest from 0.
        slowest: rate [rad/s].
        fastest: rate [rad/s].

    Example:
        >>> waves = smooth_waves(np.random.default_rng(0), strength=2.0, slowest=1.0, fastest=4.0)
        >>> max(abs(waves.at(0.1 * i)) for i in range(100)) <= 2
        True
    """
    rate = np.sort(generator.uniform(slowest, fastest, 3))
    shares = (1 / rate) / (1 / rate).sum()
    return Waves(strength * shares, rate, generator.uniform(0, 2 * pi, 3))


def smooth_motion(
    generator: np.random.Generator, reach: tuple[float, float], speed: float, scale_change: float, turning: float
) -> Motion:
    """A random motion around 0.

    Args:
        generator: draws it.
        reach: how far the middle goes to each side along both axes [px].
        speed: mean speed, stops included [px/s].
        scale_change: largest size over the smallest.
        turning: how far to each side [rad].

    Example:
        >>> motion = smooth_motion(np.random.default_rng(0), (40.0, 30.0), 200.0, scale_change=1.5, turning=0.5)
        >>> abs(motion.y.at(motion.walked(0.7))) <= 30
        True
    """
    log_scale = smooth_waves(generator, log(scale_change) / 2, slowest=1.0, fastest=4.0)
    angle = smooth_waves(generator, turning, slowest=1.0, fastest=6.0)
    x, y = (smooth_waves(generator, most, slowest=1.0, fastest=4.0) for most in reach)
    stop_rate, stop_phase = 2 * pi * generator.uniform(0.7, 2.0), generator.uniform(0, 2 * pi)
    return Motion(x, y, log_scale, angle, speed / _mean_speed(x, y), stop_rate, stop_phase)


def _mean_speed(x: Waves, y: Waves) -> float:
    """Of the way that two waves make, walked at an even pace."""
    t = np.linspace(0, 60, 6000)[:, None]
    x_speed, y_speed = ((w.strength * w.rate * np.cos(w.rate * t + w.phase)).sum(axis=1) for w in (x, y))
    return float(np.hypot(x_speed, y_speed).mean())
