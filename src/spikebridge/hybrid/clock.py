"""Clocks: when a signal has its samples.

Users write seconds, `every(1 / 40)`; a network converts them to base ticks, here and nowhere else.
"""

from dataclasses import dataclass
from typing import NamedTuple

from spikebridge.errors import ConfigError


@dataclass(frozen=True)
class Every:
    """A period and the time of the first sample [s]."""

    period: float
    phase: float = 0.0

    def clock(self, dt: float, name: str) -> "Clock":
        """This rhythm in base ticks of `dt` seconds; `name` is what the error speaks of.

        Example:
            >>> every(1 / 40).clock(1 / 240, "frames")
            Clock(period=6, phase=0)
        """
        ticks = []
        for what, seconds in (("period", self.period), ("phase", self.phase)):
            count = round(seconds / dt)
            if abs(seconds / dt - count) > 1e-6 * max(1.0, count) or count < (what == "period"):
                raise ConfigError(
                    f"the {what} of {name!r} is {seconds:g} s, which is {seconds / dt:.6g} base steps of {dt:g} s, but must be a "
                    f"whole number{' of at least 1' if what == 'period' else ''}; choose a base step that divides every clock"
                )
            ticks.append(count)
        return Clock(*ticks)


def every(period: float, phase: float = 0.0) -> Every:
    """A sample every `period` seconds, the first one at `phase` seconds.

    Example:
        >>> every(1 / 40, phase=0.1)
        Every(period=0.025, phase=0.1)
    """
    if not period > 0 or not phase >= 0:
        raise ConfigError(f"a clock needs a period > 0 s and a phase >= 0 s, but got {period} and {phase}")
    return Every(period, phase)


class Clock(NamedTuple):
    """A period and the tick of the first sample, in base ticks. The phase may exceed the period.

    Example:
        >>> clock = Clock(period=6, phase=5)  # samples at 5, 11, 17, ...
        >>> clock.count(12), clock.next(6), clock.ticks(0, 18)
        (2, 11, [5, 11, 17])
    """

    period: int
    phase: int

    def count(self, stop: int) -> int:
        """How many samples there are before tick `stop`."""
        return max(0, -((self.phase - stop) // self.period))

    def next(self, start: int) -> int:
        """The first sample's tick at or after `start`."""
        return self.phase + self.count(start) * self.period

    def ticks(self, start: int, stop: int) -> list[int]:
        """The ticks of all samples from `start` to before `stop`."""
        return list(range(self.next(start), stop, self.period))

    def delayed(self, delay: int) -> "Clock":
        """The clock of the signal `delay` ticks later, its gap filled with initial values.

        Example:
            >>> Clock(period=6, phase=2).delayed(8)
            Clock(period=6, phase=4)
        """
        return Clock(self.period, self.phase + delay % self.period)

    def describe(self, dt: float) -> str:
        """A sentence for people.

        Example:
            >>> Clock(6, 5).describe(1 / 240)
            'every 6 ticks from tick 5 (40 Hz)'
        """
        return f"every {self.period} ticks from tick {self.phase} ({1 / (self.period * dt):g} Hz)"
