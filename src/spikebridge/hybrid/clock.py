"""Clocks: the base ticks at which a signal has its samples.

Users give seconds, `every(1 / 40)`; the functions of this file alone convert them to base ticks.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import NamedTuple

from spikebridge.errors import ConfigError, ShapeError, in_words, is_number
from spikebridge.neurons.dt import format_seconds

_MAX_MISS = 1e-3  # base ticks by which a period or a phase may miss an integer


@dataclass(frozen=True)
class Every:
    """A period and the time of the first sample [s]."""

    period: float
    phase: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("period", self.period), ("phase", self.phase)):
            if not is_number(value):
                raise ConfigError(f"every takes a {name} in seconds, but got {in_words(value)}; 40 Hz is every(1 / 40)")

        if not 0 < self.period < math.inf or not 0 <= self.phase < math.inf:
            raise ConfigError(
                f"a clock needs a period > 0 s and a phase >= 0 s, but got a period of {self.period} s and a phase of "
                f"{self.phase} s"
            )

    def clock(self, dt: float, name: str) -> "Clock":
        """The clock of a signal in base ticks of `dt` [s].

        Raises:
            ConfigError: the base step does not divide the period or the phase.

        Example:
            >>> every(1 / 40).clock(1 / 240, "frames")
            Clock(period=6, phase=0)
        """
        return Clock(
            _in_ticks(self.period, dt, f"the period of {name!r}", minimum=1),
            _in_ticks(self.phase, dt, f"the phase of {name!r}", minimum=0),
        )


def _in_ticks(seconds: float, dt: float, what: str, minimum: int) -> int:
    ticks = seconds / dt
    if ticks == math.inf:
        raise ConfigError(f"{what} is {seconds:g} s, which is too many base steps of {dt:g} s to be counted")

    count = round(ticks)
    # decimals of six digits pass, but no share of a tick that adds up over a recording; the rest is rounding
    tolerance = min(1e-6 * max(1, count), _MAX_MISS) + 4 * sys.float_info.epsilon * count
    if abs(ticks - count) > tolerance or count < minimum:
        digits = len(str(count)) + 5  # enough to show the share of a tick
        raise ConfigError(
            f"{what} is {seconds:.{digits}g} s, which is {ticks:.{digits}g} base steps of {dt:g} s, but must be an "
            f"integer{' of at least 1' if minimum else ''}; choose a base step that divides every clock, for "
            f"example dt={_dividing_step(seconds, dt, max(1, math.ceil(ticks)))}"
        )

    return count


def _dividing_step(seconds: float, dt: float, count: int) -> str:
    """A step that divides a time, as a program can state it: its `count`-th part, or a shorter one of fewer digits."""
    part = format_seconds(seconds / count)
    decimal = math.gcd(round(seconds * 1e9), round(dt * 1e9)) / 1e9  # of whole nanoseconds
    return format_seconds(decimal) if len(part) > 12 and decimal * 1000 >= dt else part


def every(period: float, phase: float = 0.0) -> Every:
    """A sample every `period` seconds, the first one at `phase` seconds.

    Args:
        period: above 0 [s].
        phase: time of the first sample, 0 or more; it may exceed the period [s].

    Returns:
        The period and phase, which a network turns into a clock.

    Raises:
        ConfigError: a period or phase out of range.

    Example:
        >>> every(1 / 40, phase=0.1)
        Every(period=0.025, phase=0.1)
    """
    return Every(period, phase)


@dataclass(frozen=True)
class Ticks:
    """A time in base ticks, where a time in seconds is expected otherwise."""

    count: int

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 0:
            raise ConfigError(f"ticks needs an integer, 0 or more, but got {in_words(self.count)}")

    def __repr__(self) -> str:
        return f"ticks({self.count})"


def ticks(count: int) -> Ticks:
    """A delay of `count` base ticks.

    Args:
        count: 0 or more.

    Raises:
        ConfigError: no integer, or one below 0.

    Example:
        >>> ticks(1)
        ticks(1)
    """
    return Ticks(count)


def check_delay(delay: float | Ticks, what: str) -> None:
    """Raises if a delay is neither seconds nor `ticks(...)`."""
    # any other bare integer could mean both
    if isinstance(delay, Ticks) or (type(delay) is int and delay == 0):
        return

    if isinstance(delay, Integral) and not isinstance(delay, bool):
        number = int(delay)
        if number > 0:
            raise ConfigError(f"{what} has delay={number}: write ticks({number}) or seconds")
        raise ConfigError(f"{what} needs a delay of 0 s or more, but got {number}")

    if not is_number(delay) or not 0 <= delay < math.inf:
        raise ConfigError(f"{what} needs its delay in seconds, 0 or more, or as ticks(1), but got {in_words(delay)}")


def delay_in_ticks(delay: float | Ticks, dt: float, what: str) -> int:
    """A delay in base ticks of `dt` [s], or a `ConfigError` if the base step does not divide it."""
    return delay.count if isinstance(delay, Ticks) else _in_ticks(delay, dt, f"the delay of {what}", minimum=0)


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
        """The number of samples before tick `stop`."""
        return max(0, -((self.phase - stop) // self.period))

    def counts(self, ticks: list[int], shift: int = 0) -> list[int]:
        """The numbers of samples up to and including each of some ticks, when all come `shift` ticks later.

        Example:
            >>> Clock(period=6, phase=5).counts([4, 5, 11, 12])
            [0, 1, 2, 2]
        """
        period = self.period
        first = self.phase + shift

        return [(tick - first) // period + 1 if tick >= first else 0 for tick in ticks]

    def has(self, tick: int) -> bool:
        """True if there is a sample at a tick."""
        return tick >= self.phase and (tick - self.phase) % self.period == 0

    def between(self, start: int, stop: int) -> int:
        """The number of samples from tick `start` to before tick `stop`."""
        return self.count(stop) - self.count(start)

    def next(self, start: int) -> int:
        """The tick of the first sample at or after `start`."""
        return self.phase + self.count(start) * self.period

    def ticks(self, start: int, stop: int) -> list[int]:
        """The ticks of all samples from `start` to before `stop`."""
        return list(range(self.next(start), stop, self.period))

    def delayed(self, delay: int) -> "Clock":
        """The clock of the signal `delay` ticks later, when initial values fill the gap.

        Example:
            >>> Clock(period=6, phase=2).delayed(8)
            Clock(period=6, phase=4)
        """
        return Clock(self.period, self.phase + delay % self.period)

    def describe(self, dt: float) -> str:
        """The clock in words; `dt` is the base step [s].

        Example:
            >>> Clock(6, 5).describe(1 / 240)
            'every 6 ticks from tick 5 (40 Hz)'
        """
        return f"every {self.period} ticks from tick {self.phase} ({1 / (self.period * dt):g} Hz)"


def clocks_in_ticks(periods: Mapping[str, Every], dt: float) -> dict[str, Clock]:
    """Clocks in base ticks of `dt` [s], or a `ConfigError` for a period that is not given as `every(seconds)`."""
    for name, period in periods.items():
        if not isinstance(period, Every):
            hint = f"; did you mean every({period})?" if is_number(period) else ""
            raise ConfigError(f"the clock of {name!r} is given as every(seconds), but got {in_words(period)}{hint}")

    return {name: period.clock(dt, name) for name, period in periods.items()}


def _end(clock: Clock, count: int, start: int) -> int:
    """The tick before which an input lasts: that of the first sample that it lacks."""
    return clock.phase + (clock.count(start) + count) * clock.period


def count_ticks(
    clocks: Mapping[str, Clock], counts: Mapping[str, int], start: int, ticks: int | None, dt: float
) -> int:
    """The base ticks of `dt` [s] that a call covers, or a `ShapeError` for an input with another number of samples.

    `counts` holds the samples of each input; with `ticks=None` they decide, the most ticks that need no more of them.
    """
    if ticks is None:
        ticks = max(0, min(_end(clock, counts[name], start) for name, clock in clocks.items()) - start)
    elif isinstance(ticks, bool) or not isinstance(ticks, int) or ticks < 0:
        raise ConfigError(f"ticks must be an integer, 0 or more, but got {ticks!r}")

    for name, clock in clocks.items():
        expected = clock.between(start, start + ticks)
        if counts[name] != expected:
            end, short = min((_end(other, counts[one], start), one) for one, other in clocks.items())
            raise ShapeError(
                f"input {name!r} has {expected} samples in the {ticks} ticks from tick {start} ({clock.describe(dt)}), "
                f"but {counts[name]} were given; the shortest input is {short!r}, whose {counts[short]} last to tick "
                f"{end - 1}"
            )

    return ticks
