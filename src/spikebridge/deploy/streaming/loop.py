"""The loop of a live stream: one step of a network for every bin, in real time and constant memory.

If the network falls behind: while at most `max_behind` bins wait, each gets a step of its own. If more wait, one step
takes all of them and answers for the newest. No event is lost; bins without an answer of their own are counted as
skipped. The first bin of a stream is always taken alone. If the waiting bins reach into a newer stream (a recording in
a loop), the network starts again with it at once: nothing of the older stream can change a later answer, and two steps
a pass would be too many if passes are short.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64

from spikebridge.errors import ConfigError

# the scale of latencies [s]
_MIN_LATENCY = 1e-6
_MAX_LATENCY = 100.0
_STEPS_PER_DECADE = 100


@runtime_checkable
class Source(Protocol):
    """Bins of a stream, numbered from 0, as they become complete; `dt` is the length of a bin [s]."""

    dt: float

    def wait(self, done: int) -> int | None:
        """Waits for a bin after the first `done`; returns the number of complete bins, None at the end of the stream.

        After a while without a bin it returns `done`, so that the caller can look at the clock.
        """

    def ready_at(self, bin_: int) -> float:
        """The time at which a bin was complete, by `time.perf_counter` [s]."""

    def inputs(self, first: int, stop: int) -> Any:
        """The inputs of the bins from `first` up to `stop`, each asked for once; None if there is nothing to step."""

    def newest_restart(self, first: int, stop: int) -> int | None:
        """The newest bin from `first` up to `stop` that begins a stream of its own, None without one.

        The state is reset at that bin, so the bins before it may never be asked for.
        """


class _LiveOutput(NamedTuple):
    """The output of a step: its newest bin, the bins since the last output, and the time from bin to output [s]."""

    bin: int
    num_bins: int
    output: Any
    latency: float


class Latency:
    """A histogram of latencies in constant memory, 100 steps a decade, so exact to 1.2 %."""

    def __init__(self) -> None:
        decades = round(np.log10(_MAX_LATENCY / _MIN_LATENCY))
        self.counts: Int64[np.ndarray, " n"] = np.zeros(decades * _STEPS_PER_DECADE + 1, np.int64)
        self.largest = 0.0

    def add(self, seconds: float) -> None:
        bounded = min(max(seconds, _MIN_LATENCY), _MAX_LATENCY)
        self.counts[round(np.log10(bounded / _MIN_LATENCY) * _STEPS_PER_DECADE)] += 1
        self.largest = max(self.largest, seconds)

    def quantile(self, share: float) -> float | None:
        """The latency that a share from 0 to 1 of all stayed below [s], None without any."""
        total = int(self.counts.sum())
        if not total:
            return None

        index = int(np.searchsorted(np.cumsum(self.counts), max(1, np.ceil(share * total))))
        # the step of the scale may lie above the largest latency
        return min(float(_MIN_LATENCY * 10 ** (index / _STEPS_PER_DECADE)), self.largest)


@dataclass
class Live:
    """A network on a live stream: iterate over it for outputs, ask it for a summary at any time.

    Args:
        source: the bins of the stream.
        step: `output, state = step(inputs, state)`; the state is None at the start of a stream.
        max_behind: bins that may wait before one step takes them together, 1 or more.
        seconds: the time after which the loop stops [s]; None runs to the end of the stream.
        prepare: called with the number of the next bins and the state before them, before they are asked for.

    Raises:
        ConfigError: `max_behind` is below 1, or `seconds` is not above 0.
    """

    source: Source
    step: Callable[[Any, Any], tuple[Any, Any]]
    max_behind: int = 2
    seconds: float | None = None
    prepare: Callable[[int, Any], None] | None = None

    def __post_init__(self) -> None:
        if self.max_behind < 1:
            raise ConfigError(f"max_behind needs to be 1 bin or more, but got {self.max_behind}")
        if self.seconds is not None and not self.seconds > 0:
            raise ConfigError(f"seconds needs to be above 0, but got {self.seconds}")

        self.latency = Latency()
        self.num_bins = 0
        self.num_steps = 0
        self.num_skipped = 0
        self.busy_seconds = 0.0
        self.started: float | None = None

    def __iter__(self) -> Iterator[_LiveOutput]:
        state: Any = None
        self.started = perf_counter()

        while (complete := self.source.wait(self.num_bins)) is not None:
            if complete > self.num_bins:
                previous = self.num_bins
                begin, stop, is_restart = self._next_bins(complete)
                started = perf_counter()
                if self.prepare is not None:
                    self.prepare(stop - begin, None if is_restart else state)
                inputs = self.source.inputs(begin, stop)
                self.num_bins = stop

                if inputs is not None:
                    output, state = self.step(inputs, None if is_restart else state)
                    yield self._record(previous, stop, output, started)
                elif is_restart:
                    state = None

            if self._is_over():
                return

    def _next_bins(self, complete: int) -> tuple[int, int, bool]:
        """The first bin of the next step and the one behind its last, and True if a new stream begins with it."""
        begin = self.num_bins
        stop = begin + 1 if complete - begin <= self.max_behind else complete
        restart = self.source.newest_restart(begin, stop)
        if restart is None:
            return begin, stop, False

        # the first bin of a stream is taken alone: the box of its first frame does not hold for a later frame
        return restart, restart + 1, True

    def _record(self, previous: int, stop: int, output: Any, started: float) -> _LiveOutput:
        """Counts a step from bin `previous` up to `stop`."""
        finished = perf_counter()
        latency = finished - self.source.ready_at(stop - 1)
        self.busy_seconds += finished - started
        self.latency.add(latency)
        self.num_steps += 1
        self.num_skipped += stop - previous - 1

        return _LiveOutput(stop - 1, stop - previous, output, latency)

    def _is_over(self) -> bool:
        return self.seconds is not None and perf_counter() - (self.started or 0.0) >= self.seconds

    def summary(self) -> dict[str, Any]:
        """The counts of bins, steps and skipped bins, the latencies [ms], and the busy share of the time."""
        passed = perf_counter() - self.started if self.started is not None else 0.0
        median = self.latency.quantile(0.5)
        quantile_99 = self.latency.quantile(0.99)

        return {
            "num_bins": self.num_bins,
            "num_steps": self.num_steps,
            "num_skipped": self.num_skipped,
            "seconds": round(passed, 3),
            "latency_median_ms": None if median is None else round(1e3 * median, 3),
            "latency_99_ms": None if quantile_99 is None else round(1e3 * quantile_99, 3),
            "latency_largest_ms": round(1e3 * self.latency.largest, 3),
            "busy_share": round(self.busy_seconds / passed, 4) if passed else 0.0,
            "bin_ms": round(1e3 * self.source.dt, 4),
        }
