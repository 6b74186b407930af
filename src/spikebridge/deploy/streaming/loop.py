"""A step of a network at every bin of a live stream, in real time, in constant memory.

The rule when the network falls behind: while at most `most_behind` bins wait, each gets a step of its own; with more,
all that wait are taken in one step, which answers for the newest of them. No event of a stream is lost; the bins
without an answer of their own are counted as skipped. The first bin of a stream is always taken alone. Where the bins
that wait reach into a newer stream (a recording in a loop), the network starts anew with it at once: nothing of the
older one can change a later answer, and two steps a pass would be too many where passes are short.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64

from spikebridge.errors import ConfigError

_FASTEST = 1e-6
_SLOWEST = 100.0
_EACH_DECADE = 100


@runtime_checkable
class Source(Protocol):
    """Bins of a stream, numbered from 0, as they become complete.

    Attributes:
        dt: length of a bin [s].
    """

    dt: float

    def wait(self, done: int) -> int | None:
        """Waits until a bin after the first `done` is complete; how many are by then, or None at the end.

        Where nothing comes for a while it gives `done` itself, so that the caller may look at the clock.
        """

    def ready_at(self, bin_: int) -> float:
        """When a bin was complete, by `time.perf_counter` [s]."""

    def inputs(self, first: int, stop: int) -> Any:
        """What the bins from `first` up to `stop` brought; they are not asked for again. None: nothing to step with."""

    def newest_restart(self, first: int, stop: int) -> int | None:
        """The newest bin from `first` up to `stop` with which a stream of its own begins; None without one.

        No state goes over to that bin, so those before it may never be asked for.
        """


class _LiveOutput(NamedTuple):
    """What a step gave.

    Args:
        bin: the newest bin that it knows.
        num_bins: bins since the answer before; all but one of them are skipped.
        output: of the network.
        latency: from the end of that bin to the answer [s].
    """

    bin: int
    num_bins: int
    output: Any
    latency: float


class Latency:
    """A distribution of times in constant memory: counts on a scale of 100 steps a decade, so to within 1.2 %.

    Example:
        >>> latency = Latency()
        >>> for milliseconds in (1, 1, 1, 50):
        ...     latency.add(milliseconds / 1000)
        >>> round(latency.quantile(0.5), 4), round(latency.quantile(0.99), 2), latency.largest
        (0.001, 0.05, 0.05)
    """

    def __init__(self) -> None:
        decades = round(np.log10(_SLOWEST / _FASTEST))
        self.counts: Int64[np.ndarray, " n"] = np.zeros(decades * _EACH_DECADE + 1, np.int64)
        self.largest = 0.0

    def add(self, seconds: float) -> None:
        """Counts a time [s]."""
        inside = min(max(seconds, _FASTEST), _SLOWEST)
        self.counts[round(np.log10(inside / _FASTEST) * _EACH_DECADE)] += 1
        self.largest = max(self.largest, seconds)

    def quantile(self, share: float) -> float | None:
        """The time that a share of all stayed below [s], None without any.

        Args:
            share: 0 to 1.
        """
        total = int(self.counts.sum())
        if not total:
            return None

        place = int(np.searchsorted(np.cumsum(self.counts), max(1, np.ceil(share * total))))
        return min(float(_FASTEST * 10 ** (place / _EACH_DECADE)), self.largest)  # a step of the scale may lie above it


@dataclass
class Live:
    """A network on a stream: iterate over it for answers, ask it for a summary at any time.

    Args:
        source: of bins.
        step: `output, state = step(inputs, state)`, with state None where a stream begins.
        most_behind: bins that may wait before they are taken together, 1 or more.
        seconds: stop after so long; None runs to the end.

    Raises:
        ConfigError: `most_behind` is below 1, or the time is none.
    """

    source: Source
    step: Callable[[Any, Any], tuple[Any, Any]]
    most_behind: int = 2
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.most_behind < 1:
            raise ConfigError(f"most_behind needs to be 1 bin or more, but got {self.most_behind}")
        if self.seconds is not None and not self.seconds > 0:
            raise ConfigError(f"seconds needs to be above 0, but got {self.seconds}")

        self.latency = Latency()
        self.num_bins = self.num_steps = self.num_skipped = 0
        self.working = 0.0
        self.started: float | None = None

    def __iter__(self) -> Iterator[_LiveOutput]:
        state: Any = None
        self.started = perf_counter()
        while (complete := self.source.wait(self.num_bins)) is not None:
            if complete == self.num_bins:
                if self._is_late():
                    return
                continue

            first = begin = self.num_bins
            stop = begin + 1 if complete - begin <= self.most_behind else complete
            restart = self.source.newest_restart(begin, stop)
            if restart is not None:
                # a new stream begins with a bin of its own: what its first frame says does not hold for a later one
                state = None
                begin = restart
                stop = restart + 1

            begun = perf_counter()
            inputs = self.source.inputs(begin, stop)
            self.num_bins = stop

            if inputs is not None:
                output, state = self.step(inputs, state)
                now = perf_counter()
                self.working += now - begun
                answer = _LiveOutput(stop - 1, stop - first, output, now - self.source.ready_at(stop - 1))
                self.latency.add(answer.latency)
                self.num_steps += 1
                self.num_skipped += stop - first - 1
                yield answer

            if self._is_late():
                return

    def _is_late(self) -> bool:
        return self.seconds is not None and perf_counter() - (self.started or 0.0) >= self.seconds

    def summary(self) -> dict[str, Any]:
        """How it went so far: bins, steps, skipped bins, latencies [ms], and the share of time spent working."""
        passed = perf_counter() - self.started if self.started is not None else 0.0
        milliseconds = {
            name: None if (value := self.latency.quantile(share)) is None else round(1e3 * value, 3)
            for name, share in (("latency_median_ms", 0.5), ("latency_99_ms", 0.99))
        }

        return {
            "num_bins": self.num_bins,
            "num_steps": self.num_steps,
            "num_skipped": self.num_skipped,
            "seconds": round(passed, 3),
            **milliseconds,
            "latency_largest_ms": round(1e3 * self.latency.largest, 3),
            "busy_share": round(self.working / passed, 4) if passed else 0.0,
            "bin_ms": round(1e3 * self.source.dt, 4),
        }
