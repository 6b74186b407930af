"""Motion of generated objects: position, size and angle as smooth random functions of time, exact at any time."""

from math import log, pi, sin
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class SumOfSines(NamedTuple):
    """A sum of sines of time, each with an amplitude, an angular frequency `rate` [rad/s] and a phase."""

    amplitude: Float[np.ndarray, " K"]
    rate: Float[np.ndarray, " K"]
    phase: Float[np.ndarray, " K"]

    def at(self, t: float) -> float:
        """The value at a time [s]."""
        return float((self.amplitude * np.sin(self.rate * t + self.phase)).sum())


class Motion(NamedTuple):
    """Motion of one object: position along a path, size and angle. It stops and starts at a steady rate."""

    x: SumOfSines
    y: SumOfSines
    log_scale: SumOfSines
    angle: SumOfSines
    pace: float  # mean rate of the path parameter
    stop_rate: float  # of the stops [rad/s]
    stop_phase: float
    stops: float = 1.0  # how far the speed falls at a stop, as a share of the mean
    jitter: tuple[SumOfSines, SumOfSines] | None = None  # along x and y, of time [px]

    def path_position(self, t: float) -> float:
        """Parameter of the path at a time: the integral of `pace (1 - stops cos)`."""
        phase = sin(self.stop_rate * t + self.stop_phase) - sin(self.stop_phase)
        return self.pace * (t - self.stops * phase / self.stop_rate)

    def position(self, t: float) -> tuple[float, float]:
        """Offset x and y from the middle at a time [px]."""
        s = self.path_position(t)
        x = self.x.at(s)
        y = self.y.at(s)
        return (x, y) if self.jitter is None else (x + self.jitter[0].at(t), y + self.jitter[1].at(t))


def random_sines(generator: np.random.Generator, amplitude: float, slowest: float, fastest: float) -> SumOfSines:
    """Three sines of different rates [rad/s]; slow ones are stronger, and together they reach `amplitude` at most."""
    rate = np.sort(generator.uniform(slowest, fastest, 3))
    shares = (1 / rate) / (1 / rate).sum()

    return SumOfSines(amplitude * shares, rate, generator.uniform(0, 2 * pi, 3))


def random_pair(
    generator: np.random.Generator, amplitude: float, slowest: float, fastest: float
) -> tuple[SumOfSines, SumOfSines]:
    """Two sums of sines, one for each axis."""
    first = random_sines(generator, amplitude, slowest, fastest)
    second = random_sines(generator, amplitude, slowest, fastest)
    return first, second


def random_motion(
    generator: np.random.Generator, reach: tuple[float, float], speed: float, scale_change: float, turning: float
) -> Motion:
    """A random motion around 0, within `reach` along both axes, at a mean `speed` with stops [px, px/s].

    `scale_change` is the largest size over the smallest, `turning` the largest angle to each side [rad].
    """
    log_scale = random_sines(generator, log(scale_change) / 2, slowest=1.0, fastest=4.0)
    angle = random_sines(generator, turning, slowest=1.0, fastest=6.0)
    x, y = (random_sines(generator, most, slowest=1.0, fastest=4.0) for most in reach)
    stop_rate = 2 * pi * generator.uniform(0.7, 2.0)
    stop_phase = generator.uniform(0, 2 * pi)

    return Motion(x, y, log_scale, angle, speed / _mean_speed(x, y), stop_rate, stop_phase)


def orbiting_motion(generator: np.random.Generator, motion: Motion, radius: float) -> Motion:
    """The motion of an object that moves with another one and around it, on a circle of a radius [px]."""
    rate = generator.choice([-1, 1]) * generator.uniform(0.3, 1.0)
    phase = generator.uniform(0, 2 * pi)

    def added(path: SumOfSines, phase: float) -> SumOfSines:
        return SumOfSines(*(np.append(a, b) for a, b in zip(path, (radius, rate, phase), strict=True)))

    return motion._replace(x=added(motion.x, phase), y=added(motion.y, phase + pi / 2))


def _mean_speed(x: SumOfSines, y: SumOfSines) -> float:
    """Mean speed along the path of two sums of sines at unit pace."""
    t = np.linspace(0, 60, 6000)[:, None]
    x_speed, y_speed = ((w.amplitude * w.rate * np.cos(w.rate * t + w.phase)).sum(axis=1) for w in (x, y))
    return float(np.hypot(x_speed, y_speed).mean())
